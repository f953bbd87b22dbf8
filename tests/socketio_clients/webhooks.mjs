// Verifies requests of webhooks: argument 1 is a file with a list of { secret, headers, body }.
import { readFileSync } from "node:fs";
import { Webhook } from "standardwebhooks";

const requests = JSON.parse(readFileSync(process.argv[2], "utf8"));
for (const { secret, headers, body } of requests) {
  const webhook = new Webhook(secret);
  const payload = webhook.verify(body, headers);
  if (payload.type !== "batch") throw new Error(`a payload of type ${payload.type}`);
  let isRefused = false;
  try {
    webhook.verify(`${body} `, headers);
  } catch {
    isRefused = true;
  }
  if (!isRefused) throw new Error("a changed body was accepted");
}
console.log(`verified ${requests.length}`);
