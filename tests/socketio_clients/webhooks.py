"""Verifies requests of webhooks: argument 1 is a file with a list of {secret, headers, body}."""

import json
import sys

from standardwebhooks import Webhook, WebhookVerificationError

with open(sys.argv[1], encoding="utf-8") as file:
    requests = json.load(file)
for request in requests:
    webhook = Webhook(request["secret"])
    payload = webhook.verify(request["body"], request["headers"])
    assert payload["type"] == "batch", payload
    try:
        webhook.verify(request["body"] + " ", request["headers"])
    except WebhookVerificationError:
        continue
    raise AssertionError("a changed body was accepted")
print(f"verified {len(requests)}")
