"""Checks that a message has the form that its receiver documents, and the expected content.

Owns the parsing of messages. The schemas are in the folder beside this file. The code that verifies signatures comes from
docs/alerting.md.
"""

import base64
import datetime
import email
import email.policy
import json
import os
import re
import subprocess
import tempfile
from pathlib import Path

from cloudevents.http import from_http
from jsonschema import Draft202012Validator
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

HERE = Path(__file__).parent
PAGE = (HERE / "../../../docs/alerting.md").read_text()
SCHEMAS = {
    path.stem: Draft202012Validator(json.loads(path.read_text())) for path in (HERE / "schemas").glob("*.json")
}
CONTENT_TYPES = {"webhook": "application/cloudevents+json; charset=utf-8"}
# Teams accepts 28 KB, which is the lowest limit of all receivers.
LARGEST = 28_000


def block(language, mark):
    """Returns the code block of docs/alerting.md that contains this text."""
    blocks = re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.S | re.M)
    [found] = [text for text in blocks if mark in text]
    return found


def sound(message, schema):
    """Checks a message against its documented form, and returns its JSON."""
    assert message.headers["content-type"] == CONTENT_TYPES.get(schema, "application/json"), message.headers
    assert len(message.body) <= LARGEST, f"{len(message.body)} bytes"
    body = json.loads(message.body)
    problems = [f"{error.json_path}: {error.message}" for error in SCHEMAS[schema].iter_errors(body)]
    assert not problems, f"{schema}: {problems}"
    return body


def teams(message):
    """Returns the headline."""
    return sound(message, "teams")["attachments"][0]["content"]["body"][0]["text"]


def slack(message):
    """Returns the headline."""
    return sound(message, "slack")["text"]


def text(kind, message):
    """Checks a message against its documented form, and returns all text that people read."""
    if kind == "email":
        letter = mail(message)
        return f"{letter['Subject']}\n{letter.get_content()}"
    # The JSON is not parsed: the tests search it for text that has no escaped characters.
    return json.dumps(sound(message, kind), ensure_ascii=False)


def pagerduty(message, routing_key):
    """The action on an incident, and the incident's kind if the message has it."""
    event = sound(message, "pagerduty")
    assert event["routing_key"] == routing_key
    return event["event_action"], event["dedup_key"], event.get("payload", {}).get("class")


def event(message):
    """Returns the event, its incident and its id."""
    event = sound(message, "webhook")
    assert event["id"] == message.headers["webhook-id"]
    read = from_http(message.headers, message.body)
    assert (read["id"], read["source"], read.data) == (event["id"], event["source"], event["data"])
    assert event["type"].split(".")[3] == event["data"]["what"]
    condition = event["data"]["condition"]
    return event["data"]["what"], condition["id"], condition["kind"], event["id"]


def webhook(message, key):
    """Verifies the signature, and returns the event, its incident and its id."""
    signed_by(key, message)
    return event(message)


def mail(message):
    """Checks that Perennial may send this mail, and returns it."""
    assert message.sender == "perennial@contoso.com"
    assert message.recipients == ["on-call@contoso.com", "second@contoso.com"]
    letter = email.message_from_bytes(message.body, policy=email.policy.default)
    assert not letter.defects, letter.defects
    for header in ("From", "To", "Date", "Subject", "Message-ID", "MIME-Version"):
        assert len(letter.get_all(header, [])) == 1, f"{header}: {letter.get_all(header)}"
    # A mail about several incidents belongs to no thread.
    assert len(letter.get_all("References", [])) <= 1, letter.get_all("References")
    assert letter["Auto-Submitted"] == "auto-generated"
    assert letter.get_content_type() == "text/plain"
    return letter


_page = {}
exec(block("python", "def is_genuine"), _page)
is_genuine = _page["is_genuine"]


def is_genuine_by_hand(key, headers, body):
    """Verifies the signature with the shell commands of docs/alerting.md."""
    names = {"ID": "webhook-id", "TIMESTAMP": "webhook-timestamp", "SIGNATURE": "webhook-signature"}
    given = {name: headers[header] for name, header in names.items()}
    with tempfile.NamedTemporaryFile() as file:
        file.write(body)
        file.flush()
        known = os.environ | given | {"KEY": key, "BODY": file.name}
        return subprocess.run(["sh", "-c", block("sh", "wanted=")], env=known).returncode == 0


def is_genuine_to_others(key, headers, body):
    """Verifies the signature with the library of Standard Webhooks, for a key that begins with `whsec_`."""
    try:
        Webhook(key).verify(body, headers)
        return True
    except WebhookVerificationError:
        return False


def signed_by(key, message):
    """Checks that all three verifiers accept the event, and reject a changed one."""
    headers, body = message.headers, message.body
    later = str(int(headers["webhook-timestamp"]) + 1)
    cases = [
        (True, key, headers, body),
        (False, key[:-8] + "AAAAAAA=", headers, body),
        (False, key, headers, body + b"\n"),
        (False, key, headers | {"webhook-timestamp": later}, body),
    ]
    for wanted, key_used, headers_used, body_used in cases:
        found = [
            is_genuine(key_used, headers_used, body_used),
            is_genuine_by_hand(key_used, headers_used, body_used),
            is_genuine_to_others(key_used, headers_used, body_used),
        ]
        assert found == [wanted] * 3, f"wanted {wanted}, found {found}"


def old_events_are_refused():
    """Checks that the verifiers reject a replayed event, although its signature is valid."""
    # The events of the scenario are signed with a key of the other kind.
    key = "a plain key, of any letters"
    signer = Webhook(base64.b64encode(key.encode()).decode())
    for age, wanted in [(0, True), (3600, False), (-3600, False)]:
        when = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(seconds=age)
        signature, seconds = signer.sign("msg", when, "{}"), str(int(when.timestamp()))
        headers = {"webhook-id": "msg", "webhook-timestamp": seconds, "webhook-signature": signature}
        assert is_genuine(key, headers, b"{}") is wanted, age
        assert is_genuine_by_hand(key, headers, b"{}"), "by hand no time is looked at"
