// Reads the events of the scenario's webhook with the official JavaScript libraries of CloudEvents and Standard Webhooks.
// Takes the events as JSON (headers, body in base64) and the signing key in EVENTS_KEY.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { HTTP } from "cloudevents";
import { Webhook, WebhookVerificationError } from "standardwebhooks";

const events = JSON.parse(readFileSync(process.argv[2], "utf8"));
assert(events.length > 0, "no event was received");
const webhook = new Webhook(process.env.EVENTS_KEY);
for (const { headers, body: encoded } of events) {
  const body = Buffer.from(encoded, "base64").toString("utf8");
  webhook.verify(body, headers);
  assert.throws(() => webhook.verify(`${body} `, headers), WebhookVerificationError);

  const event = HTTP.toEvent({ headers, body });
  assert.equal(event.validate(), true);
  assert.equal(event.id, headers["webhook-id"]);
  assert.equal(event.data.condition.kind.length > 0, true);
}
// A receiver that accepts any character set could not show that Perennial's is the right one.
const [{ headers, body }] = events;
const upper = { ...headers, "content-type": "application/cloudevents+json; charset=UTF-8" };
assert.throws(() => HTTP.toEvent({ headers: upper, body: Buffer.from(body, "base64").toString("utf8") }).validate());
console.log(`official JavaScript libraries: ${events.length} events accepted`);
