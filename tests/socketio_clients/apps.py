"""The stock Python client in a namespace of the application. Run as

    python apps.py PORTS BACKEND

PORTS are those of servers that are one, which let in guests, relay `drawing` and have the hook `event` acknowledge `echo` with its
arguments; BACKEND is the token of a backend. Prints a line for each transport that went well; exits with 1 at the first that did not.
"""

import base64
import json
import sys
import threading
import urllib.request

import socketio

PATIENCE_S = 20
PORTS = sys.argv[1].split(",")
BACKEND = sys.argv[2]


def call(port, **body):
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/api/v1/socketio/emit",
        json.dumps({"namespace": "/", **body}).encode(),
        {"authorization": f"Bearer {BACKEND}", "content-type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=PATIENCE_S) as response:
        return json.load(response)


class Guest:
    """A client that notes what it gets."""

    def __init__(self, port, transports):
        self.heard, self.changed = [], threading.Condition()
        self.client = socketio.Client(reconnection_delay=0.1, reconnection_delay_max=0.5)
        self.client.on("*", lambda event, *arguments: self.note((event, *arguments)))
        self.client.on("connect", lambda: self.note(("connected",)))
        self.client.on("question", lambda word, data: (word + "!", data + b"\x09"))
        self.client.connect(f"http://127.0.0.1:{port}", transports=transports, wait_timeout=PATIENCE_S)
        self.wait(("connected",))

    def note(self, event):
        with self.changed:
            self.heard.append(event)
            self.changed.notify_all()

    def wait(self, event, times=1):
        with self.changed:
            assert self.changed.wait_for(lambda: self.heard.count(event) >= times, PATIENCE_S), (event, self.heard)


def conversation(transports):
    a, b = Guest(PORTS[0], transports), Guest(PORTS[-1], transports)
    drawing = {"x": 1.5, "pixels": b"\x00\xff"}
    a.client.emit("drawing", (drawing, b"\x01"))
    b.wait(("drawing", drawing, b"\x01"))
    said = a.client.call("echo", ({"deep": [b"\x02", "ü"]}, b"\x03"), timeout=PATIENCE_S)
    assert tuple(said) == ({"deep": [b"\x02", "ü"]}, b"\x03"), said
    coded = {"$binary": base64.b64encode(b"\x07").decode()}
    answers = call(PORTS[0], event="question", args=["why", coded], sockets=[b.client.get_sid()], ackTimeoutMs=15_000)
    expected = ["why!", {"$binary": base64.b64encode(b"\x07\x09").decode()}]
    assert [ack["args"] for ack in answers["acks"]] == [expected] and not answers["timedOut"], answers
    # A connection that is lost is made anew; its socket is in the rooms of the rule again.
    first = b.client.get_sid()
    if transports == ["websocket"]:
        b.client.eio.ws.close()
        b.wait(("connected",), 2)
        assert b.client.get_sid() != first
        a.client.emit("drawing", "again")
        b.wait(("drawing", "again"))
    a.client.disconnect()
    b.client.disconnect()


for transports in (["websocket"], ["polling"]):
    conversation(transports)
    print(transports[0])
