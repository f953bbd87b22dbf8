"""A backend without dependencies: signs tokens, creates a room and pushes a notification by REST.

    JWT_SECRET=… python3 backend.py http://127.0.0.1:8090 ann bob

JWT_SECRET is the server's (auth.secret). Creates a private room of these users, prints a token for each, so that their
clients can join it, and notifies each of them.
"""

import base64
import hashlib
import hmac
import json
import os
import sys
import time
import urllib.error
import urllib.request


def sign(secret: str, **claims) -> str:
    """A JSON Web Token, signed with HS256 (RFC 7519, RFC 7518 section 3.2)."""

    def encode(data: bytes) -> str:
        return base64.urlsafe_b64encode(data).rstrip(b"=").decode()

    now = int(time.time())
    header, payload = {"alg": "HS256", "typ": "JWT"}, {"iat": now, "exp": now + 3600, **claims}
    signed = ".".join(encode(json.dumps(part).encode()) for part in (header, payload))
    mac = hmac.new(secret.encode(), signed.encode(), hashlib.sha256).digest()
    return f"{signed}.{encode(mac)}"


class Switchboard:
    """The calls of a server's REST interface that this backend uses."""

    def __init__(self, url: str, token: str):
        self.url, self.token = url.rstrip("/"), token

    def call(self, method: str, path: str, body: dict | None = None) -> dict:
        data = None if body is None else json.dumps(body).encode()
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
        request = urllib.request.Request(self.url + path, data=data, headers=headers, method=method)
        while True:
            try:
                with urllib.request.urlopen(request, timeout=10) as response:
                    return json.loads(response.read() or b"{}")
            except urllib.error.HTTPError as error:
                if error.code not in (429, 503):
                    raise RuntimeError(json.loads(error.read())["error"]) from error
                time.sleep(int(error.headers.get("Retry-After", 1)))

    def create_room(self, name: str, participants: list[str]) -> str:
        body = {"name": name, "participants": participants, "isPrivate": True}
        return self.call("POST", "/rooms", body)["room"]["roomId"]

    def notify(self, user: str, title: str, body: str, data: dict) -> int:
        """The number of connections that it reached; 0 if the user is offline."""
        message = {"userId": user, "title": title, "body": body, "data": data}
        return self.call("POST", "/websocket/notification", message)["delivered"]


def main() -> None:
    url, users = sys.argv[1], sys.argv[2:]
    secret = os.environ["JWT_SECRET"]
    server = Switchboard(url, sign(secret, sub="backend", scope="push"))
    room = server.create_room("Tea", users)
    print(f"room {room}")
    for user in users:
        print(f"token {user} {sign(secret, sub=user, name=user.title())}")
        reached = server.notify(user, "Tea", "You are invited", {"roomId": room})
        print(f"notified {user} on {reached} connections")


if __name__ == "__main__":
    main()
