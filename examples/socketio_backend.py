"""The backend of a chat and a whiteboard over Socket.IO: answers the hooks `connect` and `event`. Standard library only.

    HOOK_SECRET=whsec_… python3 socketio_backend.py 9000

The whiteboard's event `drawing` is relayed by the server without a question.
"""

import base64
import hashlib
import hmac
import json
import os
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

KEY = base64.b64decode(os.environ["HOOK_SECRET"].removeprefix("whsec_"))
names = {}


def answer(kind, ask):
    """What becomes of a connection or an event; an empty answer permits it."""
    if kind == "connect":
        banned = ask["auth"].get("name") == "banned"
        return {"refuse": {"code": "BANNED", "message": "You are banned"}} if banned else {}
    socket, event, name = ask["socket"], ask["event"], (ask.get("data") or {}).get("name")
    others = lambda event, **data: {"event": event, "args": [data], "except": [socket]}
    if event == "add user" and name is None:
        name = names[socket] = ask["args"][0]
        login = {"event": "login", "args": [{"numUsers": len(names)}], "sockets": [socket]}
        return {"data": {"name": name}, "emit": [login, others("user joined", username=name, numUsers=len(names))]}
    if event == "new message":
        return {"emit": [others("new message", username=name, message=ask["args"][0])]}
    if event in ("typing", "stop typing"):
        return {"emit": [others(event, username=name)]}
    if event == "disconnect" and names.pop(socket, None):
        return {"emit": [others("user left", username=name, numUsers=len(names))]}
    return {"ack": ask["args"]} if event == "echo" else {}


class Hooks(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        signed = f"{self.headers['webhook-id']}.{self.headers['webhook-timestamp']}.".encode() + body
        mac = "v1," + base64.b64encode(hmac.new(KEY, signed, hashlib.sha256).digest()).decode()
        is_signed = any(hmac.compare_digest(mac, given) for given in self.headers["webhook-signature"].split())
        ask = json.loads(body)
        out = json.dumps(answer(ask["type"], ask["data"])).encode() if is_signed else b"{}"
        self.send_response(200 if is_signed else 401)
        self.send_header("content-length", str(len(out)))
        self.end_headers()
        self.wfile.write(out)

    def log_message(self, *_):
        pass


ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Hooks).serve_forever()
