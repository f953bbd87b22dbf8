"""A backend that publishes with an API key, by Python's standard library. Run as

  publisher.py PORTS KEY ROOM COUNT AT_ONCE

Publishes COUNT numbers, one after the other, each with a key of its own, by the servers in turn; a call that is not answered with
success is repeated by the next server. Halfway, AT_ONCE calls with one key are made at once. Prints the receipts as a JSON list.
"""

import http.client
import json
import sys
import threading
import time

ports, key, room, count, at_once = sys.argv[1:]
PORTS = [int(port) for port in ports.split(",")]
HEADERS = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
PATIENCE_S = 60


def call(port, data, idempotency_key):
    body = {"rooms": [room], "event": "count", "data": data, "idempotencyKey": idempotency_key}
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request("POST", "/api/v1/publish", json.dumps(body), HEADERS)
        answer = connection.getresponse()
        text = answer.read()
        return json.loads(text)["rooms"][0] if answer.status == 200 else None
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def publish(data, idempotency_key, turn):
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until:
        receipt = call(PORTS[turn % len(PORTS)], data, idempotency_key)
        if receipt and "seq" in receipt:
            return receipt
        turn += 1
        time.sleep(0.01)
    sys.exit(f"no answer to {data}")


def publish_at_once():
    receipts = []
    threads = [
        threading.Thread(target=lambda turn=turn: receipts.append(publish("once", "once", turn)))
        for turn in range(int(at_once))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    different = {json.dumps(receipt, sort_keys=True) for receipt in receipts}
    if len(receipts) != int(at_once) or len(different) != 1:
        sys.exit(f"{len(receipts)} receipts, {len(different)} different ones")
    return receipts[0]


receipts = []
for number in range(int(count)):
    if number == int(count) // 2:
        receipts.append(publish_at_once())
    receipts.append(publish(number, f"n-{number}", number))
    print(number, file=sys.stderr, flush=True)
print(json.dumps(receipts))
