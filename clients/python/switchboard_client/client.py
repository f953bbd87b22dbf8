"""The connection of a client, and its requests."""

from __future__ import annotations

import asyncio
import base64
import inspect
import json
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from .room import Message, Room
from .shared import Done, Frame, Handler, Handlers, SwitchboardError, new_id

Token = str | None | Callable[[], "str | None | Awaitable[str | None]"]

# Close codes after which another attempt would meet the same answer.
FINAL = {4403: "blocked", 4409: "replaced", 4410: "removed"}
TOKEN_REFUSED = 4401
TOO_LARGE = 1009
BACKOFF_S = (0.5, 15.0)
PATIENCE_S = 10.0
STABLE_S = 10.0
# The server remembers a `clientMessageId` for five minutes.
REPEATABLE_S = 290.0
KNOWN_MAX = 1_000


@dataclass(slots=True)
class _Entry:
    frame: Frame
    done: Done
    is_kept: bool
    is_repeatable: bool
    link: ClientConnection | None = None
    sent_at: float = 0.0


class Client:
    """Keeps one WebSocket up: `async with Client(url, token=…) as client`."""

    def __init__(self, url: str, *, token: Token = None, queue_max: int = 1_000) -> None:
        parts = urlsplit(url)
        path = "/ws" if parts.path in ("", "/") else parts.path
        query = "&".join(filter(None, (parts.query, "events=all")))
        self._url = urlunsplit((parts.scheme.replace("http", "ws"), parts.netloc, path, query, ""))
        self._token = token
        self._queue_max = queue_max
        self.state = "connecting"
        self.user_id: str | None = None
        self._handlers = Handlers()
        self._rooms: dict[str, Room] = {}
        self._outbox: dict[int, _Entry] = {}
        self._next_id = 1
        self._tokens: list[str] = []
        self._directs: dict[str, None] = {}
        self._link: ClientConnection | None = None
        self._outgoing: asyncio.Queue[str] = asyncio.Queue()
        self._current: str | None = None
        self._retry_at = 0.0
        self._end_reason: str | None = None
        self._runner: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Client:
        self._runner = asyncio.get_running_loop().create_task(self._run())
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.close()

    def when(self, name: str, handler: Handler) -> Callable[[], None]:
        """Calls a handler for `state`, `ready`, `message` to the user, `presence`, `error`, and events by their types."""
        return self._handlers.add(name, handler)

    def join(self, room_id: str, *, peer_id: str | None = None, display_name: str | None = None) -> Room:
        """The room of this id, which is joined, and joined again whenever it must be."""
        if room_id not in self._rooms:
            options = {"peerId": peer_id, "displayName": display_name}
            room = Room(self, room_id, {name: value for name, value in options.items() if value is not None})
            self._rooms[room_id] = room
            if self.state == "online":
                room._join()
        return self._rooms[room_id]

    async def request(self, kind: str, **fields: Any) -> Frame:
        """Sends a request, now or when the connection is back; its answer."""
        if self.state == "ended":
            raise SwitchboardError("ENDED", self._end_reason)
        if len(self._outbox) >= self._queue_max:
            raise SwitchboardError("QUEUE_FULL")
        future: asyncio.Future[Frame] = asyncio.get_running_loop().create_future()

        def done(answer: Frame | None, error: SwitchboardError | None) -> None:
            if future.done():
                return
            if error:
                future.set_exception(error)
            elif answer is not None:
                future.set_result(answer)

        frame = {"type": kind, **{name: value for name, value in fields.items() if value is not None or name in ("content", "data")}}
        self._keep(frame, done, is_kept=True)
        self._flush()
        return await future

    async def send_to(self, user_id: str, content: Any, **options: Any) -> Frame:
        """Sends any JSON to a user."""
        return await self.request("message", toUserId=user_id, content=content, **options)

    def presence(self, status: str) -> None:
        self._send({"type": "presence", "status": status})

    async def drop(self) -> None:
        """Ends this connection as a failure of the network would."""
        if self._link:
            await self._link.close(4000)

    async def close(self, reason: str = "closed") -> None:
        """Leaves all rooms and ends the client."""
        link = self._link
        self._end(reason)
        if link:
            await link.close(1000)
        if self._runner and self._runner is not asyncio.current_task():
            self._runner.cancel()
            await asyncio.gather(self._runner, return_exceptions=True)

    async def _run(self) -> None:
        attempts, was_open = 0, True
        while self.state != "ended":
            opened_at = time.monotonic()
            self._enter("connecting")
            try:
                token = await self._credentials(was_open)
                was_open = False
                protocols = [Subprotocol("bearer"), Subprotocol(token)] if token else None
                async with connect(self._url, subprotocols=protocols, open_timeout=PATIENCE_S, max_size=None) as link:
                    was_open = True
                    await self._serve(link)
            except asyncio.CancelledError:
                raise
            except Exception as error:
                self._handlers.emit("error", error)
            if self.state == "ended":
                return
            if time.monotonic() - opened_at > STABLE_S and was_open:
                attempts = 0
            ceiling = min(BACKOFF_S[1], BACKOFF_S[0] * 2**attempts)
            attempts += 1
            told = max(0.0, self._retry_at - time.monotonic()) * random.uniform(1, 1.2)
            delay = max(random.uniform(ceiling / 2, ceiling), told)
            self._enter("waiting", delay)
            await asyncio.sleep(delay)

    async def _credentials(self, was_open: bool) -> str | None:
        if not callable(self._token):
            return self._token
        if not self._current or not was_open or _expiry(self._current) < time.time() + PATIENCE_S / 2:
            self._current = await self._fresh_token()
        return self._current

    async def _fresh_token(self) -> str | None:
        assert callable(self._token)
        token = self._token()
        return await token if inspect.isawaitable(token) else token

    async def _serve(self, link: ClientConnection) -> None:
        self._link, self._outgoing = link, asyncio.Queue()
        helpers = [asyncio.create_task(self._write(link, self._outgoing)), asyncio.create_task(self._renew())]
        try:
            async for text in link:
                if isinstance(text, str) and link is self._link:
                    self._receive(json.loads(text))
        except ConnectionClosed:
            pass
        finally:
            for helper in helpers:
                helper.cancel()
            self._lost(link)
        code = link.close_code or 1006
        if code == TOKEN_REFUSED:
            self._current = None
            if not callable(self._token):
                self._end(link.close_reason or "token-expired")
        elif code in FINAL or self._end_reason:
            self._end(self._end_reason or link.close_reason or FINAL[code])

    @staticmethod
    async def _write(link: ClientConnection, outgoing: asyncio.Queue[str]) -> None:
        try:
            while True:
                await link.send(await outgoing.get())
        except ConnectionClosed:
            return

    async def _renew(self) -> None:
        """Renews the token at three quarters of its life."""
        while callable(self._token) and self._current and _expiry(self._current) < float("inf"):
            await asyncio.sleep(max(1.0, (_expiry(self._current) - time.time()) * random.uniform(0.7, 0.8)))
            try:
                fresh = await self._fresh_token()
            except Exception as error:
                self._handlers.emit("error", error)
                continue

            def done(answer: Frame | None, error: SwitchboardError | None, token: str | None = fresh) -> None:
                if answer:
                    self._current = token
                elif error and error.code != "LINK_DOWN":
                    self._handlers.emit("error", error)

            self._ask({"type": "authenticate", "token": fresh}, done)
            await asyncio.sleep(0.5)

    def _send(self, frame: Frame) -> bool:
        if not self._link or (self.state != "online" and frame["type"] != "resume"):
            return False
        self._outgoing.put_nowait(json.dumps(frame))
        return True

    def _receive(self, frame: Frame) -> None:
        kind, room_id = frame["type"], frame.get("roomId")
        request_id = frame.get("requestId")
        entry = self._outbox.get(request_id) if isinstance(request_id, int) else None
        if entry and entry.link is self._link:
            return entry.done(*((None, _error(frame)) if kind == "error" else (frame, None)))
        if kind == "connect":
            return self._greeted(frame)
        if kind == "disconnect" and not room_id:
            self._retry_at = time.monotonic() + frame.get("retryAfterMs", 0) / 1000
            if frame.get("reconnect") is False and not frame["reason"].startswith("token"):
                self._end_reason = frame["reason"]
            return
        if room_id:
            if room_id in self._rooms:
                self._rooms[room_id]._receive(frame)
            return
        if kind == "message":
            if frame["id"] in self._directs:
                return
            self._directs[frame["id"]] = None
            if len(self._directs) > KNOWN_MAX:
                del self._directs[next(iter(self._directs))]
            return self._handlers.emit(kind, Message.of(frame))
        self._handlers.emit(kind, _error(frame) if kind == "error" else frame)

    def _greeted(self, frame: Frame) -> None:
        tokens = self._tokens
        self._tokens = [*tokens[:2], frame["recoveryToken"]]
        self._resume(list(tokens), frame["userId"])

    def _resume(self, tokens: list[str], user_id: str) -> None:
        if not tokens:
            return self._ready(user_id, {}, False)
        positions = {room_id: room._position() for room_id, room in self._rooms.items() if room._position()}

        def done(answer: Frame | None, error: SwitchboardError | None) -> None:
            if answer:
                self._ready(answer["userId"], answer["rooms"], True)
            elif error and error.code == "RECOVERY_FAILED":
                self._resume(tokens[1:], user_id)
            elif error and error.code != "LINK_DOWN" and self._link:
                asyncio.ensure_future(self._link.close(4000))

        self._ask({"type": "resume", "recoveryToken": tokens[0], "rooms": positions}, done)

    def _ready(self, user_id: str, rooms: dict[str, Frame], is_resumed: bool) -> None:
        self.user_id = user_id
        self._tokens = self._tokens[-1:]
        self._enter("online")
        for room_id, room in list(self._rooms.items()):
            if room_id in rooms and "code" not in rooms[room_id]:
                room._resumed(rooms[room_id])
            else:
                room._join()
        for room_id, entry in rooms.items():
            if room_id not in self._rooms and "code" not in entry:
                self._send({"type": "leave-room", "roomId": room_id})
        self._flush()
        self._handlers.emit("ready", is_resumed)

    def _ask(self, frame: Frame, done: Done) -> None:
        """Sends a request that ends with the connection."""
        self._transmit(self._keep(frame, done, is_kept=False))

    def _keep(self, frame: Frame, done: Done, *, is_kept: bool) -> _Entry:
        request_id = self._next_id
        self._next_id += 1
        is_room_message = frame["type"] == "message" and "roomId" in frame and "toPeerId" not in frame
        if is_room_message:
            frame.setdefault("clientMessageId", new_id())

        def end(answer: Frame | None, error: SwitchboardError | None) -> None:
            if self._outbox.pop(request_id, None):
                done(answer, error)

        # Messages to one peer or user are not recognised when they come twice.
        is_repeatable = is_kept and (frame["type"] != "message" or is_room_message)
        entry = _Entry({**frame, "requestId": request_id}, end, is_kept, is_repeatable)
        self._outbox[request_id] = entry
        return entry

    def _transmit(self, entry: _Entry) -> None:
        entry.link = self._link
        entry.sent_at = entry.sent_at or time.monotonic()
        if not self._send(entry.frame):
            entry.done(None, SwitchboardError("LINK_DOWN"))

    def _flush(self) -> None:
        """Sends what waits, in order; that of a room once the room is joined."""
        if self.state != "online":
            return
        for entry in list(self._outbox.values()):
            room = self._rooms.get(entry.frame.get("roomId", ""))
            if entry.link is self._link or (room and not room.is_joined):
                continue
            is_old = entry.sent_at and time.monotonic() - entry.sent_at > REPEATABLE_S
            if is_old and entry.frame["type"] == "message":
                entry.done(None, SwitchboardError("UNKNOWN_OUTCOME"))
            else:
                self._transmit(entry)

    def _lost(self, link: ClientConnection) -> None:
        self._link = None
        sent = [entry for entry in self._outbox.values() if entry.link is link]
        # A frame that the server does not take would end each connection that it is sent on.
        if link.close_code == TOO_LARGE and sent:
            largest = max(sent, key=lambda entry: len(json.dumps(entry.frame)))
            largest.done(None, SwitchboardError("MESSAGE_TOO_LARGE"))
        if self.state != "ended":
            self._enter("waiting")
        for entry in sent:
            if not entry.is_kept:
                entry.done(None, SwitchboardError("LINK_DOWN"))
            elif not entry.is_repeatable:
                entry.done(None, SwitchboardError("UNKNOWN_OUTCOME"))
            entry.link = None
        for room in self._rooms.values():
            room._lost()

    def _gone(self, room_id: str, error: SwitchboardError | None) -> None:
        self._rooms.pop(room_id, None)
        for entry in list(self._outbox.values()) if error else ():
            if entry.frame.get("roomId") == room_id:
                entry.done(None, error)

    def _end(self, reason: str) -> None:
        if self.state == "ended":
            return
        self._end_reason = reason
        self._enter("ended", reason)
        for entry in list(self._outbox.values()):
            entry.done(None, SwitchboardError("ENDED", reason))
        for room in list(self._rooms.values()):
            room._end(reason)

    def _enter(self, state: str, detail: float | str | None = None) -> None:
        self.state = state
        self._handlers.emit("state", state, detail)


def _error(frame: Frame) -> SwitchboardError:
    return SwitchboardError(frame["code"], frame.get("error"), frame.get("retryAfter"))


def _expiry(token: str) -> float:
    """When a token expires, in Unix seconds; infinity if it does not say so."""
    try:
        body = token.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
        return float(claims["exp"])
    except (LookupError, ValueError, TypeError):
        return float("inf")
