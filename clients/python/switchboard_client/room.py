"""A room: its members, its messages in order, and the position up to which they have been handed out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .shared import TEMPORARY, Frame, Handler, Handlers, SwitchboardError, new_id

if TYPE_CHECKING:
    from .client import Client

PAGE = 500
TYPING_S = 3.0
RECEIPTS_S = 0.25
RECEIPTS_MAX = 100
RETRY_S = 1.0


@dataclass(frozen=True, slots=True)
class Message:
    """A message of a room or to a user; `frame` has all fields of the protocol."""

    id: str
    seq: int | None
    sender: str
    event: str
    data: Any
    frame: Frame

    @classmethod
    def of(cls, frame: Frame) -> Message:
        data = frame["content"] if "content" in frame else frame.get("data")
        return cls(frame["id"], frame.get("seq"), frame.get("sender", ""), frame.get("event", "message"), data, frame)


Answered = tuple[Frame | None, SwitchboardError | None]


def _settle(future: asyncio.Future[Answered]) -> Callable[[Frame | None, SwitchboardError | None], None]:
    return lambda answer, error: None if future.done() else future.set_result((answer, error))


class Room:
    """Made by `Client.join`."""

    def __init__(self, client: Client, room_id: str, options: Frame) -> None:
        self.id = room_id
        self.is_joined = False
        self.members: dict[str, Frame] = {}
        self.count = 0
        self.joined: asyncio.Future[Room] = asyncio.get_running_loop().create_future()
        # A failure that no task awaits is none.
        self.joined.add_done_callback(lambda future: None if future.cancelled() else future.exception() and None)
        self._client = client
        self._options = options
        self._handlers = Handlers()
        self._notices = Handlers()
        self._epoch: str | None = None
        self._seq = 0
        self._held: list[Frame] | None = None
        self._peer_ids = [options.get("peerId") or new_id()]
        self._turn = 0
        self._is_over = False
        self._typing_until = 0.0
        self._receipts: dict[str, str] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def on(self, event: str, handler: Callable[[Any, Message], None]) -> Callable[[], None]:
        """Calls a handler for the messages of others with this event; `*` stands for all."""
        return self._handlers.add(event, handler)

    def when(self, name: str, handler: Handler) -> Callable[[], None]:
        """Calls a handler for `joined`, `members`, `gap`, `left` and events of the protocol by their types."""
        return self._notices.add(name, handler)

    async def publish(self, data: Any, *, event: str = "message", **options: Any) -> Frame:
        """Sends a message, now or when the connection is back; the receipt."""
        body = {"content": data} if event == "message" else {"event": event, "data": data}
        return await self._client.request("message", roomId=self.id, **body, **options)

    async def history(self, after: int | None = None, limit: int | None = None) -> AsyncIterator[Message]:
        """Stored messages, oldest first: those after a `seq`, or the newest."""
        is_tail = after is None
        left = limit if limit is not None else (50 if is_tail else None)
        while left is None or left > 0:
            page = await self._client.request("history", roomId=self.id, after=after, limit=min(left or PAGE, PAGE))
            for frame in page["messages"]:
                after = frame["seq"]
                yield Message.of(frame)
            left = left - len(page["messages"]) if left is not None else None
            if is_tail or not page["messages"] or (after or 0) >= page["seq"]:
                return

    async def messages(self) -> AsyncIterator[Message]:
        """The messages of others from now on."""
        queue: asyncio.Queue[Message | None] = asyncio.Queue()
        off = [self.on("*", lambda _, message: queue.put_nowait(message)), self.when("left", lambda _: queue.put_nowait(None))]
        try:
            while not self._is_over:
                message = await queue.get()
                if message is None:
                    return
                yield message
        finally:
            for remove in off:
                remove()

    def typing(self, is_typing: bool = True) -> None:
        """To be called with each key; sends at most one event in three seconds."""
        now = asyncio.get_running_loop().time()
        if (now < self._typing_until) if is_typing else not self._typing_until:
            return
        self._typing_until = now + TYPING_S if is_typing else 0.0
        self._client._send({"type": "typing", "roomId": self.id, "isTyping": is_typing})

    def delivered(self, message_id: str) -> None:
        self._receipt(message_id, "delivered")

    def read(self, message_id: str) -> None:
        self._receipt(message_id, "read-receipt")

    async def request(self, kind: str, **fields: Any) -> Frame:
        """Any other request of the room."""
        return await self._client.request(kind, roomId=self.id, **fields)

    async def leave(self) -> None:
        was_joined = self.is_joined
        self._end("left")
        if was_joined:
            await self._client.request("leave-room", roomId=self.id)

    def _receipt(self, message_id: str, kind: str) -> None:
        if not self._receipts:
            asyncio.get_running_loop().call_later(RECEIPTS_S, self._send_receipts)
        if self._receipts.get(message_id) != "read-receipt":
            self._receipts[message_id] = kind

    def _send_receipts(self) -> None:
        if not self.is_joined:
            return
        for kind in ("delivered", "read-receipt"):
            ids = [message_id for message_id, known in self._receipts.items() if known == kind]
            for start in range(0, len(ids), RECEIPTS_MAX):
                self._client._send({"type": kind, "roomId": self.id, "messageIds": ids[start : start + RECEIPTS_MAX]})
        self._receipts.clear()

    def _spawn(self, coroutine: Any) -> None:
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _position(self) -> Frame | None:
        return None if self._epoch is None else {"epoch": self._epoch, "seq": self._seq}

    def _join(self) -> None:
        self._turn += 1
        turn = self._turn

        def done(answer: Frame | None, error: SwitchboardError | None) -> None:
            if answer and self._is_over:
                self._client._send({"type": "leave-room", "roomId": self.id})
            if turn != self._turn or (error and error.code == "LINK_DOWN"):
                return
            if answer:
                self._entered(answer, False)
            elif error and error.code == "PEER_ID_TAKEN" and "peerId" not in self._options:
                self._peer_ids.append(new_id())
                self._join()
            elif error and error.code in TEMPORARY:
                self._spawn(self._join_later(turn, error.retry_after_s or RETRY_S))
            elif error:
                self._end(error.code, error)

        self._client._ask({"type": "join-room", "roomId": self.id, **self._options, "peerId": self._peer_ids[-1]}, done)

    async def _join_later(self, turn: int, delay_s: float) -> None:
        await asyncio.sleep(delay_s)
        if turn == self._turn:
            self._join()

    def _resumed(self, entry: Frame) -> None:
        self._turn += 1
        self._entered(entry, entry["recovered"])

    def _entered(self, view: Frame, is_recovered: bool) -> None:
        epoch, seq = view["epoch"], view["seq"]
        self.is_joined = True
        self.count = view["participantCount"]
        self.members = {peer["peerId"]: peer for peer in view["peers"]}
        is_same = self._epoch == epoch
        if self._epoch is not None and not is_same:
            self._notices.emit("gap", {"after": self._seq, "epoch": epoch})
        self._epoch = epoch
        if is_recovered:
            for message in view.get("messages", ()):
                self._hand(message)
            self._seq = max(seq, self._seq)
        elif is_same and seq > self._seq:
            self._held = []
            self._spawn(self._fill(seq, self._turn))
        else:
            self._seq = seq
        if not self.joined.done():
            self.joined.set_result(self)
        self._notices.emit("joined", self)
        self._notices.emit("members", self.members)
        self._client._flush()
        self._send_receipts()

    async def _fill(self, seq: int, turn: int) -> None:
        """Fetches the messages up to `seq` that recovery did not bring, while newer ones are held."""
        while turn == self._turn and self._seq < seq:
            after = self._seq
            answered: asyncio.Future[Answered] = asyncio.get_running_loop().create_future()
            ask = {"type": "history", "roomId": self.id, "after": after, "limit": PAGE}
            self._client._ask(ask, _settle(answered))
            answer, error = await answered
            if turn != self._turn or (error and error.code == "LINK_DOWN"):
                return
            if error and error.code in TEMPORARY:
                await asyncio.sleep(error.retry_after_s or RETRY_S)
                continue
            messages = [message for message in (answer or {}).get("messages", ()) if message["seq"] <= seq]
            if not messages or messages[0]["seq"] != after + 1:
                self._notices.emit("gap", {"after": after, "before": messages[0]["seq"] if messages else seq + 1})
            for message in messages:
                self._hand(message)
            if not messages:
                break
        if turn != self._turn:
            return
        held, self._held = self._held or [], None
        self._seq = max(seq, self._seq)
        for message in held:
            self._hand(message)

    def _lost(self) -> None:
        self._turn += 1
        self.is_joined = False
        self._held = None
        self._typing_until = 0.0

    def _end(self, reason: str, error: SwitchboardError | None = None) -> None:
        if self._is_over:
            return
        self._is_over = True
        self._lost()
        self._client._gone(self.id, error)
        if not self.joined.done():
            self.joined.set_exception(error or SwitchboardError("ENDED", reason))
        self._notices.emit("left", {"reason": reason, "error": error})

    def _hand(self, frame: Frame) -> None:
        seq = frame.get("seq")
        if seq is not None:
            if seq <= self._seq:
                return
            self._seq = seq
        if frame.get("fromPeerId") in self._peer_ids:
            return
        message = Message.of(frame)
        self._handlers.emit(message.event, message.data, message)
        self._handlers.emit("*", message.data, message)

    def _receive(self, frame: Frame) -> None:
        kind = frame["type"]
        if kind == "message":
            if self._held is not None and "seq" in frame:
                self._held.append(frame)
            else:
                self._hand(frame)
            return
        if kind == "disconnect":
            return self._end(frame["reason"])
        if kind == "room-closed":
            # A room that lost its log goes on with another one.
            if frame["reason"].startswith("closed"):
                return self._end(frame["reason"])
            self._lost()
            return self._join()
        if kind == "peer-joined":
            self.members[frame["peerId"]] = frame
            self.count += 1
        elif kind == "peer-left" and self.members.pop(frame["peerId"], None):
            self.count -= 1
        elif kind == "room-stats":
            self.count = frame["participantCount"]
        self._notices.emit(kind, frame)
        if kind in ("peer-joined", "peer-left", "room-stats", "media-state-changed"):
            self._notices.emit("members", self.members)
