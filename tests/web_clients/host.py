"""The meeting of meeting.mjs with the Python client: evaluates the lines of its input, which are the same ones."""

import asyncio
import base64
import hashlib
import hmac
import json
import sys
import time

from switchboard_client import Client, SwitchboardError


def encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def signed(secret: str, claims: dict) -> str:
    body = ".".join(encode(json.dumps(part).encode()) for part in ({"alg": "HS256", "typ": "JWT"}, claims))
    return f"{body}.{encode(hmac.digest(secret.encode(), body.encode(), hashlib.sha256))}"


class Meeting:
    def __init__(self, url: str, secret: str) -> None:
        self.tokensAsked = 0
        self.isWithoutTokens = False
        self.failures, self.gaps = [], []
        self.sent, self.acknowledged, self.heard = [0, 0], [0, 0], [[], []]
        self.isOver = False
        self.tasks = set()

        def token_of(user: str):
            async def token() -> str:
                self.tokensAsked += 1
                if self.isWithoutTokens:
                    raise RuntimeError("there are no tokens")
                return signed(secret, {"sub": user, "exp": int(time.time()) + 3})

            return token

        self.clients = [Client(url, token=token_of(user), queue_max=100_000) for user in ("ada", "bob")]

    async def begin(self) -> bool:
        self.rooms = [(await client.__aenter__()).join("tea") for client in self.clients]
        for index, room in enumerate(self.rooms):
            room.on("number", lambda number, message, heard=self.heard[index]: heard.append(number))
            room.when("gap", self.gaps.append)
            await room.joined
        self.talk = asyncio.create_task(self.say())
        return True

    async def say(self) -> None:
        while not self.isOver:
            for index, room in enumerate(self.rooms):
                task = asyncio.create_task(self.publish(index, room, self.sent[index]))
                self.tasks.add(task)
                task.add_done_callback(self.tasks.discard)
                self.sent[index] += 1
            await asyncio.sleep(0.005)

    async def publish(self, index: int, room, number: int) -> None:
        try:
            await room.publish(number, event="number")
            self.acknowledged[index] += 1
        except SwitchboardError as error:
            self.failures.append(f"{number} {error.code}")

    async def drop(self) -> bool:
        for client in self.clients:
            await client.drop()
        return True

    def isBack(self) -> bool:
        return all(client.state == "online" for client in self.clients) and all(room.is_joined for room in self.rooms)

    def isCut(self) -> bool:
        return all(client.state != "online" for client in self.clients)

    def isHeard(self) -> bool:
        self.isOver = True
        return all(self.acknowledged[i] == self.sent[i] and len(self.heard[1 - i]) >= self.sent[i] for i in (0, 1))

    def faults(self) -> list:
        wrong = [f"client {i} heard {len(numbers)} of {self.sent[1 - i]}, or in another order"
                 for i, numbers in enumerate(self.heard) if numbers != list(range(self.sent[1 - i]))]
        return self.failures + [str(gap) for gap in self.gaps] + wrong

    async def close(self) -> bool:
        for client in self.clients:
            await client.close()
        return True


async def main() -> None:
    meeting = Meeting(sys.argv[1], sys.argv[2])
    while line := await asyncio.to_thread(sys.stdin.readline):
        for written, meant in ((" && ", " and "), ("= true", "= True"), ("= false", "= False")):
            line = line.replace(written, meant)
        if " = " in line:
            exec(line, {"meeting": meeting})
            value = True
        else:
            value = eval(line, {"meeting": meeting})
        if asyncio.iscoroutine(value):
            value = await value
        print(json.dumps(value), flush=True)


asyncio.run(main())
