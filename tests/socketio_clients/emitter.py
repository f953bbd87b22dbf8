"""A manager of python-socketio that only writes, as other programs use it. Run as

    python emitter.py REDIS

Reads calls, one a line, as JSON lists, in which `{"$binary": "<base64>"}` is a binary value; prints `done` after each.
"""

import asyncio
import base64
import json
import sys

import socketio


def binary(value):
    if isinstance(value, dict):
        marked = value.get("$binary")
        return base64.b64decode(marked) if marked is not None else {name: binary(part) for name, part in value.items()}
    return [binary(part) for part in value] if isinstance(value, list) else value


async def main(url):
    manager = socketio.AsyncRedisManager(url, write_only=True)
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        kind, *call = json.loads(line)
        if kind == "emit":
            event, args, room, skip = call
            data = tuple(binary(args))
            await manager.emit(event, data, namespace="/game", room=room, skip_sid=skip)
        elif kind in ("enter_room", "leave_room"):
            await getattr(manager, kind)(call[0], "/game", call[1])
        elif kind == "close_room":
            await manager.close_room(call[0], namespace="/game")
        else:
            # Its `disconnect` needs a server; this publishes the same.
            await manager.can_disconnect(call[0], "/game")
        print("done", flush=True)


asyncio.run(main(sys.argv[1]))
