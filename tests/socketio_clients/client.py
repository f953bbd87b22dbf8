"""The stock Python client in conversation with a server, with each of its transports. Run as

    python client.py http://HOST:PORT
    python client.py http://HOST:PORT,… TOKEN OTHER

with a server for suites (started with --conformance) or, if there are tokens of two, servers for users that are one, where
joining makes rooms; each client is at another one than the one before it then. Prints a line for each conversation that
went well; exits with 1 at the first that did not.
"""

import sys
import threading

import socketio

PATIENCE_S = 20

TRANSPORTS = {"default": None, "websocket": ["websocket"], "polling": ["polling"]}


class Heard:
    """What came, to be waited for."""

    def __init__(self, is_meant=lambda *_: True):
        self.event = threading.Event()
        self.arguments = None
        self.is_meant = is_meant

    def __call__(self, *arguments):
        if self.is_meant(*arguments):
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


def user(url, transports, token):
    client = socketio.Client(reconnection=False)
    namespaces = ["/", "/chat"]
    client.connect(url, auth={"token": token}, transports=transports, namespaces=namespaces, wait_timeout=PATIENCE_S)
    for namespace in namespaces:
        offer = {"roomId": "nowhere", "toPeerId": "nobody", "offer": {}}
        answer = client.call("offer", offer, namespace=namespace, timeout=PATIENCE_S)
        assert answer["code"] == "ROOM_NOT_FOUND", answer
    return client


def meet(clients, room):
    """Two in a room: each hears the other."""
    for client in clients:
        joined = client.call("join:chat", {"chatId": room}, namespace="/chat", timeout=PATIENCE_S)
        assert joined["roomInfo"]["chatId"] == room, joined
    for speaker, listener in (clients, clients[::-1]):
        to = listener.get_sid("/chat")
        # A sender hears its own messages, too.
        heard, offered = Heard(lambda message: message["content"] == f"ünï {to}"), Heard()
        listener.on("message:new", heard, namespace="/chat")
        listener.on("offer", offered, namespace="/chat")
        said = {"chatId": room, "content": f"ünï {to}", "type": "text"}
        sent = speaker.call("message:send", said, namespace="/chat", timeout=PATIENCE_S)
        assert heard.wait() == (sent["sentMessage"],), heard.arguments
        offer = {"roomId": room, "toPeerId": to, "offer": {"type": "offer", "sdp": to}}
        speaker.emit("offer", offer, namespace="/chat")
        assert offered.wait()[0]["offer"]["sdp"] == to, offered.arguments


def users(urls, kind, transports, tokens):
    places = [urls[0], urls[1 % len(urls)]]
    clients = [user(url, transports, token) for url, token in zip(places, tokens)]
    meet(clients, f"room-{kind}")
    # Whoever goes may come to another server, and be there again.
    clients[0].disconnect()
    clients[0] = user(urls[-1], transports, tokens[0])
    meet(clients, f"room-{kind}")
    for client in clients:
        client.disconnect()
    url = urls[0]
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
        users(sys.argv[1].split(","), kind, transports, sys.argv[2:])
    else:
        suite(sys.argv[1], transports)
    print(f"python-socketio, {kind}")
