"""The stock Python client in conversation with a server, with each of its transports. Run as

    python client.py http://HOST:PORT TOKEN

with a server for suites (started with --conformance) or, if there is a token, one for users. Prints a line for each
conversation that went well; exits with 1 at the first that did not.
"""

import sys
import threading

import socketio

PATIENCE_S = 20

TRANSPORTS = {"default": None, "websocket": ["websocket"], "polling": ["polling"]}


class Heard:
    """What came, to be waited for."""

    def __init__(self):
        self.event = threading.Event()
        self.arguments = None

    def __call__(self, *arguments):
        self.arguments = arguments
        self.event.set()

    def wait(self):
        assert self.event.wait(PATIENCE_S), "it did not come"
        return self.arguments


def suite(url, transports):
    client = socketio.Client(reconnection=False)
    auth, back = Heard(), Heard()
    client.on("auth", auth)
    client.on("message-back", back)
    client.connect(url, auth={"token": "123"}, transports=transports, wait_timeout=PATIENCE_S)
    assert auth.wait() == ({"token": "123"},), auth.arguments
    client.emit("message", (1, "2", {"3": [True]}, b"\x01\x02\x03", "ünï"))
    assert back.wait() == (1, "2", {"3": [True]}, b"\x01\x02\x03", "ünï"), back.arguments
    for number in range(20):
        assert client.call("message-with-ack", number, timeout=PATIENCE_S) == number
        client.sleep(0.05)
    assert client.call("message-with-ack", b"\x04\x05", timeout=PATIENCE_S) == b"\x04\x05"
    client.disconnect()


def users(url, transports, token):
    client = socketio.Client(reconnection=False)
    namespaces = ["/", "/chat"]
    client.connect(url, auth={"token": token}, transports=transports, namespaces=namespaces, wait_timeout=PATIENCE_S)
    for namespace in namespaces:
        offer = {"roomId": "nowhere", "toPeerId": "nobody", "offer": {}}
        answer = client.call("offer", offer, namespace=namespace, timeout=PATIENCE_S)
        assert answer["code"] == "ROOM_NOT_FOUND", answer
    client.disconnect()
    refused, why = socketio.Client(reconnection=False), Heard()
    refused.on("connect_error", why)
    try:
        refused.connect(url, auth={"token": "x"}, transports=transports, wait_timeout=PATIENCE_S)
        raise AssertionError("it was let in")
    except socketio.exceptions.ConnectionError:
        assert why.wait()[0]["data"]["code"] == "UNAUTHENTICATED", why.arguments
    refused.disconnect()


for kind, transports in TRANSPORTS.items():
    if len(sys.argv) > 2:
        users(sys.argv[1], transports, sys.argv[2])
    else:
        suite(sys.argv[1], transports)
    print(f"python-socketio, {kind}")
