#!/usr/bin/env python3
"""Latency of small rooms before, while, and after others flood a large room.

    loadtest/fairness.py target/release/switchboard --members 1500 --publishers 100

Starts a server with one shard on the first processor and runs on the second. Twenty rooms of two get 400 messages a second in
all. Meanwhile publishers in a large room send as fast as their sockets take it, never waiting for a receipt, and the other
members read. Needs Python 3.9 alone; ends by itself after half a minute.
"""

import argparse
import base64
import hashlib
import hmac
import json
import multiprocessing
import os
import re
import select
import shutil
import socket
import struct
import subprocess
import tempfile
import threading
import time

SECRET = b"a secret of thirty-two bytes: 32"
ROOMS = 20
RATE = 400
UNLIMITED = ("connection_attempts", "messages_per_minute", "cost_per_user", "cost_per_ip", "outbound_bytes")


def token(user):
    def encoded(data):
        return base64.urlsafe_b64encode(data).rstrip(b"=").decode()

    claims = json.dumps({"sub": user, "exp": int(time.time()) + 3600}).encode()
    text = encoded(b'{"alg":"HS256","typ":"JWT"}') + "." + encoded(claims)
    return text + "." + encoded(hmac.new(SECRET, text.encode(), hashlib.sha256).digest())


def frame(value):
    """A WebSocket text frame, masked with zeros."""
    text = json.dumps(value).encode()
    length = bytes([0x80 | len(text)]) if len(text) < 126 else b"\xfe" + struct.pack(">H", len(text))
    return b"\x81" + length + bytes(4) + text


def member(port, user, room):
    """A socket whose client is in a room."""
    client = socket.create_connection(("127.0.0.1", port))
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    head = (
        f"GET /ws?events=all&token={token(user)} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
        "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    client.sendall(head.encode() + frame({"type": "join-room", "roomId": room}))
    got = b""
    while b"room-joined" not in got:
        part = client.recv(65536)
        got += part
        if not part:
            raise SystemExit(f"the server closed a connection: {got!r}")
    client.setblocking(False)
    return client


def read_all(port, members, ready, stop):
    """Members of the large room that only read."""
    clients = {client.fileno(): client for client in (member(port, f"reader-{at}", "large") for at in range(members))}
    poll = select.epoll()
    for number in clients:
        poll.register(number, select.EPOLLIN)
    ready.set()
    buffer = bytearray(1 << 20)
    while not stop.is_set():
        for number, _ in poll.poll(0.1):
            try:
                clients[number].recv_into(buffer)
            except BlockingIOError:
                pass


def flood(port, publishers, ready, start, stop):
    """Members of the large room that send all the time."""
    clients = {client.fileno(): client for client in (member(port, f"publisher-{at}", "large") for at in range(publishers))}
    rest = dict.fromkeys(clients, b"")
    poll = select.epoll()
    for number in clients:
        poll.register(number, select.EPOLLIN | select.EPOLLOUT)
    ready.set()
    start.wait()
    messages = frame({"type": "message", "roomId": "large", "content": "x" * 128}) * 16
    buffer = bytearray(1 << 20)
    while not stop.is_set():
        for number, event in poll.poll(0.1):
            try:
                if event & select.EPOLLIN:
                    clients[number].recv_into(buffer)
                if event & select.EPOLLOUT:
                    waiting = rest[number] or messages
                    rest[number] = waiting[clients[number].send(waiting):]
            except BlockingIOError:
                pass


def measure(senders, receivers, poll, seconds):
    """Latencies of messages to the small rooms, from the moment at which each was due; sorted, in seconds."""
    latencies = []
    sent, due = 0, time.perf_counter()
    end = due + seconds
    while time.perf_counter() < end:
        if time.perf_counter() >= due:
            room = sent % ROOMS
            senders[room].send(frame({"type": "message", "roomId": f"small-{room}", "content": f"<{due:.6f}>"}))
            sent, due = sent + 1, due + 1 / RATE
        for number, _ in poll.poll(max(0.0, due - time.perf_counter())):
            client = receivers.get(number)
            got = (client or senders_by_number[number]).recv(65536)
            if client:
                now = time.perf_counter()
                latencies += [now - float(at) for at in re.findall(rb"<([0-9.]+)>", got)]
    return sorted(latencies)


senders_by_number = {}


def measure_phases(port, start, stop):
    try:
        os.setpriority(os.PRIO_PROCESS, 0, -20)
    except PermissionError:
        print("not privileged: the load's own scheduling is part of the latencies")
    senders = [member(port, f"sender-{at}", f"small-{at}") for at in range(ROOMS)]
    receivers = {it.fileno(): it for it in (member(port, f"receiver-{at}", f"small-{at}") for at in range(ROOMS))}
    senders_by_number.update({it.fileno(): it for it in senders})
    poll = select.epoll()
    for number in [*receivers, *senders_by_number]:
        poll.register(number, select.EPOLLIN)
    for name, event, seconds in (("before", None, 5), ("during", start, 8), ("after", stop, 5)):
        if event:
            event.set()
        measure(senders, receivers, poll, 2)
        latencies = measure(senders, receivers, poll, seconds)
        p50, p99, most = (latencies[int(len(latencies) * share)] * 1000 for share in (0.5, 0.99, 0.99999))
        print(f"{name:7}{len(latencies):6} messages  p50 {p50:.2f} ms  p99 {p99:.2f} ms  max {most:.2f} ms", flush=True)


def main():
    options = argparse.ArgumentParser(description="Latency of small rooms beside a flood of a large one")
    options.add_argument("binary")
    options.add_argument("--members", type=int, default=1500)
    options.add_argument("--publishers", type=int, default=100)
    options.add_argument("--data", action="store_true", help="store messages in a directory for the run")
    given = options.parse_args()
    directory = tempfile.mkdtemp() if given.data else ""
    command = ["taskset", "-c", "0", given.binary, "serve", "--listen", "127.0.0.1:0", "--shards", "1", "--data", directory]
    for setting in [f"limits.{name}=0" for name in UNLIMITED] + ["rooms.create_on_join=always", "presence.scope=none"]:
        command += ["--set", setting]
    environment = dict(os.environ, JWT_SECRET=SECRET.decode())
    server = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    port = next(int(found[1]) for line in server.stdout if (found := re.search(r"127\.0\.0\.1:(\d+)", line)))
    threading.Thread(target=server.stdout.read, daemon=True).start()
    os.sched_setaffinity(0, {1})
    ready = [multiprocessing.Event(), multiprocessing.Event()]
    start, stop, end = (multiprocessing.Event() for _ in range(3))
    crowd = [
        multiprocessing.Process(target=read_all, args=(port, given.members - given.publishers, ready[0], end)),
        multiprocessing.Process(target=flood, args=(port, given.publishers, ready[1], start, stop)),
    ]
    try:
        for process in crowd:
            process.start()
        if not all(event.wait(60) for event in ready):
            raise SystemExit("the members have not joined within a minute")
        measure_phases(port, start, stop)
    finally:
        for event in (start, stop, end):
            event.set()
        for process in crowd:
            process.join(5)
        server.terminate()
        server.wait(30)
        if directory:
            shutil.rmtree(directory)


if __name__ == "__main__":
    main()
