"""The outage: the story, the messages that each receiver must get, and their delays.

Owns the story and its processes. All times are divided by sixty, so that a minute lasts a second: the times in the rules, in
the configurations on the page, and in the promise "prove_every plus five minutes". Only the addresses and the trusted
certificates differ too.
"""

import base64
import datetime
import json
import os
import re
import secrets
import signal
import ssl
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from pathlib import Path

import checks
from receivers import MAIL_LOGIN, Receivers

PROGRAM, LAB = sys.argv[1], Path(sys.argv[2])
RULES = Path(__file__).parent / "../../../deploy/prometheus/rules.yml"
PROVE_EVERY = 25  # below the 14 redemptions of one user and app in five minutes
# Of the promise "within prove_every plus five minutes".
PROMISED = PROVE_EVERY + 5
# The time from the log line of the failure until the message arrives.
AT_ONCE = 1
PING_EVERY = 15
# At a start, a condition older than two minutes counts as reported. So the test advances the vault's clock by this time.
GROWN_OLD = "4m"

ROUTING_KEY = secrets.token_hex(16)
SIGNING_KEY = "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()
PEOPLE = ["teams", "slack", "email", "email-starttls"]
SINKS = PEOPLE + ["pagerduty", "webhook"]

processes = []


def until(what, wanted, seconds=30):
    """Waits until the function returns a true value, and returns this value."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := wanted():
            return found
        time.sleep(0.02)
    raise AssertionError(f"in vain: {what}")


# The addresses to which the messages link.
RUNBOOK = "https://wiki.contoso.com/runbook"


def start(name, *command, **variables):
    """Starts a process. Its output goes to a file."""
    with open(LAB / f"{name}.log", "w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=os.environ | variables)
    processes.append(process)
    process.log = LAB / f"{name}.log"
    return process


def stop(process, how=signal.SIGTERM):
    """Stops the process, and returns its exit code."""
    process.send_signal(how)
    return process.wait(30)


def said(process, pattern, seconds=30):
    """Searches the output of a process with a pattern that has one group."""
    def found():
        return process.poll() is not None or re.search(pattern, process.log.read_text())

    match = until(f"{pattern} in {process.log.name}", found, seconds)
    assert match is not True, f"{process.log.name} ended: {process.log.read_text()}"
    return match[1]


def ended(process):
    """Waits until a process has finished."""
    assert process.wait(60) == 0, process.log.read_text()


def events(daemon, name, **fields):
    """Returns lines of the daemon's log."""
    lines = [json.loads(line) for line in daemon.log.read_text().splitlines() if line.endswith("}")]
    lines = [line for line in lines if line.get("event") == name]
    return [line for line in lines if all(line.get(field) == value for field, value in fields.items())]


def logged_at(event):
    return datetime.datetime.fromisoformat(event["timestamp"]).timestamp()


def get(url, body=None, method=None):
    """Reads JSON from one of the servers of this test."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, method=method)
    trust = ssl.create_default_context(cafile=LAB / "roots.pem")
    with urllib.request.urlopen(request, timeout=10, context=trust) as answer:
        return json.load(answer)


def hastened(text):
    """Divides every time in a text by sixty."""
    spans = re.compile(r"\b(for|keep_firing_for|group_wait|\w+_interval): (\d+)([smh])\b")
    units = {"s": 1, "m": 60, "h": 3600}
    return spans.sub(lambda span: f"{span[1]}: {int(span[2]) * units[span[3]] * 1000 // 60}ms", text)


def file(name, text):
    path = LAB / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    return path


def configure(receivers):
    """Writes the sandbox's configuration with every kind of sink."""
    def source(name, value):
        return f'{{ file = "{file(name, value)}" }}'

    text = (LAB / "perennial.toml").read_text()
    for sink in SINKS:
        kind = sink.split("-")[0]
        text += f'\n[[alert]]\nname = "{sink}"\nkind = "{kind}"\n'
        if kind == "pagerduty":
            text += f'endpoint = "{receivers.origin}/pagerduty"\nrouting_key = {source(sink, ROUTING_KEY)}\n'
        elif kind == "email":
            text += f'server = "{receivers.mail_servers[sink]}"\nfrom = "perennial@contoso.com"\n'
            text += 'to = ["on-call@contoso.com", "second@contoso.com"]\n'
        else:
            text += f'url = {source(sink, f"{receivers.origin}/{sink}/canary-path")}\n'
        if kind == "webhook":
            text += f'signing_key = {source("signing-key", SIGNING_KEY)}\n'
        if sink == "email-starttls":
            text += f'username = "{MAIL_LOGIN[0]}"\npassword = {source("mail-password", MAIL_LOGIN[1])}\n'
    address = source("heartbeat", f"{receivers.origin}/heartbeat/canary-path")
    text += f'\n[heartbeat]\nurl = {address}\nevery = "{PING_EVERY}s"\n'
    (LAB / "perennial.toml").write_text(text)


def perennial(name, *command, **variables):
    """Runs a command of Perennial that trusts the sandbox and the receivers."""
    variables |= {"PERENNIAL_CONFIG": str(LAB / "perennial.toml"), "PERENNIAL__CLOUD__CA_FILE": str(LAB / "roots.pem")}
    return start(name, PROGRAM, *command, "--log-format", "json", **variables)


def run(name, listen):
    """Starts the daemon."""
    return perennial(name, "run", PERENNIAL__HTTP__LISTEN=listen)


def exchanged(text, written, address):
    """Replaces an address in a text. It must occur once."""
    assert text.count(written) == 1, written
    return text.replace(written, address)


def watch(receivers, daemon):
    """Starts Prometheus and Alertmanager as on the page: first checks the configuration, then shortens its times."""
    prometheus, alertmanager = checks.block("yaml", "# prometheus.yml"), checks.block("yaml", "# alertmanager.yml")
    file("verbatim/rules.yml", RULES.read_text())
    checkers = [(["promtool", "check", "config"], prometheus), (["amtool", "check-config"], alertmanager)]
    for checker, text in checkers:
        path = file(f"verbatim/{checker[0]}.yml", text)
        subprocess.run([*checker, path], check=True, stdout=subprocess.DEVNULL)

    addresses = [("alerts.example.com/on-call", "on-call"), ("hc-ping.com", "dead-mans-switch")]
    for written, sink in addresses:
        alertmanager = exchanged(alertmanager, f"https://{written}", f"{receivers.origin}/{sink}")
    trust = f"global: {{http_config: {{tls_config: {{ca_file: {LAB}/root.pem}}}}}}\n"
    path = file("alertmanager.yml", trust + hastened(alertmanager))
    manager = start(
        "alertmanager", "prometheus-alertmanager", f"--config.file={path}",
        f"--storage.path={LAB}/alertmanager", "--cluster.listen-address=", "--web.listen-address=127.0.0.1:0",
    )
    manager.address = said(manager, r'msg="Listening on" address=(\S+)')

    prometheus = exchanged(prometheus, "127.0.0.1:9093", manager.address)
    prometheus = exchanged(prometheus, "127.0.0.1:9464", daemon)
    file("rules.yml", "groups: []")
    path = file("prometheus.yml", hastened(prometheus))
    server = start(
        "prometheus", "prometheus", f"--config.file={path}", f"--storage.tsdb.path={LAB}/prometheus",
        "--web.listen-address=127.0.0.1:0", "--rules.alert.resend-delay=1s",
    )
    server.address = said(server, r'msg="Listening on" address=(\S+)')
    said(server, "(Server is ready to receive web requests)")
    # Prometheus may wait five seconds before the first scrape. With the shortened times, that is five minutes without
    # Perennial.
    until("a scrape", lambda: sampled(server, "perennial_token_proved_timestamp_seconds"))
    file("rules.yml", hastened(RULES.read_text()))
    server.send_signal(signal.SIGHUP)
    return server, manager


def sampled(server, query):
    """Returns the first value of Prometheus' answer to a query, or nothing."""
    answer = get(f"http://{server.address}/api/v1/query?" + urllib.parse.urlencode({"query": query}))
    result = answer["data"]["result"]
    return result[0]["value"][1] if result else None


def incidents(receivers, name):
    """Returns Alertmanager's messages about an alert: status, labels, annotations, and start time."""
    told = [checks.sound(message, "alertmanager") for message in receivers.at("on-call")]
    alerts = [alert for body in told for alert in body["alerts"] if alert["labels"]["alertname"] == name]
    return [(one["status"], one["labels"], one["annotations"], one["startsAt"]) for one in alerts]


def told_once(receivers, name, severity, kind):
    """Checks that Alertmanager reported the alert once, and its end once."""
    told = incidents(receivers, name)
    assert [status for status, *_ in told] == ["firing", "resolved"], (name, told)
    for _, labels, annotations, since in told:
        assert labels["severity"] == severity and labels.get("kind") == kind, labels
        assert since == told[0][3], f"{name} began twice: {told}"
        if kind:
            link = f"docs/runbook.md#{kind}"
            assert annotations == {"summary": f"partner-center: {kind}", "runbook_url": link}, annotations


def heard(receivers, sink):
    """Drops the ends of incidents that the receiver does not have. A start sends them too (docs/alerting.md)."""
    held, kept = set(), []
    for message in receivers.at(sink):
        if sink == "pagerduty":
            what, incident, _ = checks.pagerduty(message, ROUTING_KEY)
        elif sink == "webhook":
            what, incident, *_ = checks.event(message)
        else:
            return receivers.at(sink)
        is_end = what in ("resolve", "resolved")
        if not is_end or incident in held:
            kept.append(message)
        (held.discard if is_end else held.add)(incident)
    return kept


def all_told(receivers, count, sinks=SINKS):
    """Returns the time when every sink had the message with this number."""
    def arrived():
        return all(len(heard(receivers, sink)) >= count for sink in sinks)

    until(f"message {count} at each of {sinks}", arrived)
    return {sink: heard(receivers, sink)[count - 1].at for sink in sinks}


def soon(what, since, arrivals, within):
    """Prints the delay, and checks it against its limit."""
    took = {sink: at - since for sink, at in arrivals.items()}
    print(f"{what}: " + ", ".join(f"{sink} {span:.2f} s" for sink, span in took.items()))
    assert max(took.values()) < within, f"{what}: more than {within} s"


def story(receivers, sandbox):
    controls = sandbox.origin + "/_sandbox"
    configure(receivers)
    # Perennial would report a first token as a first sign-in. This token is managed already.
    ended(perennial("rotate", "rotate"))
    first = run("run-1", "127.0.0.1:0")
    listen = said(first, r'"event":"listening".*"address":"([^"]+)"')
    until("a proof", lambda: events(first, "proved"))
    prometheus, manager = watch(receivers, listen)
    until("a ping", lambda: receivers.at("heartbeat"))
    until("the watchdog", lambda: receivers.at("dead-mans-switch"))
    told = [message for sink in [*SINKS, "on-call"] for message in heard(receivers, sink)]
    assert not told, f"told while all is well: {told}"

    # The user's sessions are revoked.
    revoked = time.time()
    get(f"{controls}/revoke", {})
    arrivals = all_told(receivers, 1)
    [failure, *_] = events(first, "attempt_failed", kind="login_required")
    soon("from the first refusal to the message", logged_at(failure), arrivals, AT_ONCE)
    soon("from the revocation to the message", revoked, arrivals, PROMISED)
    until("Alertmanager tells it", lambda: incidents(receivers, "PerennialActionNeeded"))
    print(f"from the revocation to Alertmanager's message: {receivers.at('on-call')[0].at - revoked:.1f} s")

    # The process is killed. Once that is noticed, it starts again.
    def noted():
        versions = [secret["versions"] for secret in get(f"{controls}/state")["secrets"]]
        return any("refused-kind" in version["tags"] for of in versions for version in of)

    until("the refusal is noted in the vault", noted)
    get(f"{controls}/clock", {"advance": GROWN_OLD})
    assert stop(first, signal.SIGKILL) == -signal.SIGKILL
    until("Prometheus misses it", lambda: sampled(prometheus, "up") == "0")
    second = run("run-2", listen)
    for attempt in range(3):
        until("refused again", lambda: len(events(second, "attempt_failed", kind="login_required")) > attempt)
        second.send_signal(signal.SIGHUP)
    until("Prometheus has it again", lambda: sampled(prometheus, 'perennial_condition{kind="login_required"}'))
    # The sinks that keep incidents get the message once more.
    all_told(receivers, 2, ["pagerduty", "webhook"])

    # The user signs in.
    get(f"{controls}/sign-in", {})
    signed_in = time.time()
    second.send_signal(signal.SIGHUP)
    over = all_told(receivers, 2, PEOPLE) | all_told(receivers, 3, ["pagerduty", "webhook"])
    soon("from the sign-in to the message that it is over", signed_in, over, PROMISED)

    # The vault denies access for long enough to trigger Prometheus' rule.
    no_role = {"status": 403, "code": "Forbidden", "inner": "ForbiddenByRbac"}
    get(f"{controls}/faults", {"peer": "key_vault"} | no_role)
    arrivals = all_told(receivers, 3, PEOPLE) | all_told(receivers, 4, ["pagerduty", "webhook"])
    [failure, *_] = events(second, "attempt_failed", kind="vault_refused")
    soon("from the vault's first refusal to the message", logged_at(failure), arrivals, AT_ONCE)
    until("Alertmanager tells it", lambda: incidents(receivers, "PerennialWarning"))
    get(f"{controls}/faults", method="DELETE")
    second.send_signal(signal.SIGHUP)
    all_told(receivers, 4, PEOPLE)
    all_told(receivers, 5, ["pagerduty", "webhook"])
    for name in ("PerennialActionNeeded", "PerennialWarning"):
        until(f"Alertmanager tells that {name} is over", lambda: incidents(receivers, name)[-1][0] == "resolved")

    # The process is killed and does not start again. Meanwhile two pings would be due.
    assert stop(second, signal.SIGKILL) == -signal.SIGKILL
    killed = time.time()
    until("Alertmanager tells that it is gone", lambda: incidents(receivers, "PerennialGone"))
    until("time for pings", lambda: time.time() > killed + 1.2 * PING_EVERY)
    restarted = time.time()
    third = run("run-3", listen)
    until("pings again", lambda: receivers.at("heartbeat")[-1].at > restarted)
    until("Alertmanager tells that it is back", lambda: incidents(receivers, "PerennialGone")[-1][0] == "resolved")
    heartbeat(receivers, killed, restarted)
    until("a proof", lambda: events(third, "proved"))
    metrics(listen)
    assert stop(third) == 0 and events(third, "stopped")
    # A test message, marked as a test, goes to every sink in the same way.
    ended(perennial("check", "check", "--alerts"))

    # The dead man's switch: without Prometheus, its signal stops.
    beats = receivers.at("dead-mans-switch")
    assert all(checks.sound(beat, "alertmanager")["status"] == "firing" for beat in beats)
    stop(prometheus)
    until("Alertmanager forgets the watchdog", lambda: "PerennialWatchdog" not in alerts(manager))
    beats, silent = len(receivers.at("dead-mans-switch")), time.monotonic()
    until("five intervals", lambda: time.monotonic() > silent + 5)
    assert len(receivers.at("dead-mans-switch")) == beats, "the dead man's switch got a signal without a sender"
    print(f"dead man's switch: {beats} signals, and none without Prometheus")
    judge(receivers)
    every_word(receivers, controls)


def every_word(receivers, controls):
    """Checks all messages about one incident, at each sink. Moves the vault's clock to get the later messages."""
    kind, title = "vault_refused", "Key Vault denied access"
    daemon = run("run-4", "127.0.0.1:0")
    until("a proof", lambda: events(daemon, "proved"))
    seen = {sink: len(receivers.at(sink)) for sink in SINKS}

    def told(sink, what, word):
        messages = receivers.at(sink)[seen[sink]:]
        if sink == "webhook":
            # To verify this event, a receiver would need a clock that is ahead by the same time.
            told = [checks.event(message) for message in messages]
            return any((done, of) == (what, kind) for done, _, of, _ in told)
        if sink == "pagerduty":
            told = [checks.pagerduty(message, ROUTING_KEY) for message in messages]
            incidents = {key for _, key, of in told if of == kind}
            if what == "resolved":
                return any(action == "resolve" and key in incidents for action, key, _ in told)
        return any(f"{word}: {title}" in checks.text(sink.split("-")[0], message) for message in messages)

    def hear(what, word, advance=None):
        if advance:
            get(f"{controls}/clock", {"advance": advance})
        daemon.send_signal(signal.SIGHUP)
        for sink in SINKS:
            until(f"{what} at {sink}", lambda: told(sink, what, word))

    # The vault still answers reads of the token, which tells the time. It no longer returns the app secret.
    no_role = {"status": 403, "code": "Forbidden", "inner": "ForbiddenByRbac"}
    get(f"{controls}/faults", {"peer": "key_vault", "subject": "partner-app-secret"} | no_role)
    hear("opened", "Warning")
    # A tenth of the token's 90 days is left, so the condition is critical now.
    hear("changed", "Changed, critical", advance="83d")
    hear("reminder", "Still critical", advance="25h")
    get(f"{controls}/faults", method="DELETE")
    hear("resolved", "Resolved")
    assert stop(daemon) == 0
    print("opened, changed, reminder and resolved at each sink, each as documented")


def alerts(manager):
    """Returns the list that Alertmanager's own tool prints."""
    command = ["amtool", "alert", "query", f"--alertmanager.url=http://{manager.address}"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def heartbeat(receivers, killed, restarted):
    """Checks that pings came while the daemon ran, and none while it was dead."""
    pings = receivers.at("heartbeat")
    assert all(b"1 token" in ping.body for ping in pings), pings
    silent = [ping.at for ping in pings if killed < ping.at < restarted]
    assert not silent, "pings of a dead process"
    times = [ping.at for ping in pings if ping.at < killed]
    gaps = [later - earlier for earlier, later in zip(times, times[1:])]
    assert len(gaps) >= 2 and max(gaps) < 1.3 * PING_EVERY, gaps
    print(f"heartbeat: {len(pings)} pings, none in the {restarted - times[-1]:.0f} s around the silence")


def metrics(listen):
    """Checks that Perennial's own metric counts no failed delivery."""
    with urllib.request.urlopen(f"http://{listen}/metrics", timeout=10) as answer:
        served = answer.read().decode()
    failed = re.findall(r'^perennial_alert_deliveries_total\{.*outcome="failed".*\} (\d+)', served, re.M)
    assert len(failed) == len(SINKS) and set(failed) == {"0"}, failed


def judge(receivers):
    """Every message, from the first to the last."""
    headlines = [
        "Critical: Sign-in required (partner-center)",
        "Resolved: Sign-in required (partner-center)",
        "Warning: Key Vault denied access (partner-center)",
        "Resolved: Key Vault denied access (partner-center)",
        "Test message",
    ]
    for sink, headline in [("teams", checks.teams), ("slack", checks.slack)]:
        told = [headline(message) for message in receivers.at(sink)]
        assert told == headlines, (sink, told)
    for sink in ("email", "email-starttls"):
        letters = [checks.mail(message) for message in receivers.at(sink)]
        subjects = [letter["Subject"] for letter in letters]
        assert subjects == headlines, (sink, subjects)
        threads = [letter["References"] for letter in letters]
        assert threads[0] == threads[1] != threads[2] == threads[3], threads
        assert len({letter["Message-ID"] for letter in letters}) == len(letters)

    # The restart sent the message again, with the same `dedup_key` and the same `id`.
    told = [checks.pagerduty(message, ROUTING_KEY) for message in heard(receivers, "pagerduty")]
    (_, login, _), (_, vault, _), (_, test, _) = told[0], told[3], told[-1]
    opened = ("trigger", login, "login_required")
    wanted = [opened, opened, ("resolve", login, None), ("trigger", vault, "vault_refused"), ("resolve", vault, None)]
    wanted += [("trigger", test, "test"), ("resolve", test, None)]
    assert told == wanted and len({login, vault, test}) == 3, told
    for message in receivers.at("webhook"):
        checks.webhook(message, SIGNING_KEY)
    told = [checks.event(message) for message in heard(receivers, "webhook")]
    events_told = [(what, kind) for what, _, kind, _ in told]
    wanted = [("opened", "login_required")] * 2 + [("resolved", "login_required")]
    wanted += [("opened", "vault_refused"), ("resolved", "vault_refused"), ("test", "test")]
    assert events_told == wanted, events_told
    assert [incident for _, incident, _, _ in told][:5] == [login] * 3 + [vault] * 2
    ids = [identity for *_, identity in told]
    assert ids[0] == ids[1] and len(set(ids)) == 5, ids
    checks.old_events_are_refused()
    keep_events(receivers.at("webhook"))

    # The first message must contain everything that a person needs.
    for sink in SINKS:
        body = heard(receivers, sink)[0].body.decode()
        for text in ("perennial login partner-center", "AADSTS50173", f"{RUNBOOK}#login_required"):
            assert text in body.replace("=\r\n", ""), (sink, text, body)

    told_once(receivers, "PerennialActionNeeded", "critical", "login_required")
    told_once(receivers, "PerennialWarning", "warning", "vault_refused")
    told_once(receivers, "PerennialGone", "critical", None)
    told = [json.loads(message.body)["commonLabels"]["alertname"] for message in receivers.at("on-call")]
    names = set(told)
    assert names == {"PerennialActionNeeded", "PerennialWarning", "PerennialGone"}, names

    secret = ["canary", ROUTING_KEY, SIGNING_KEY[6:]]
    logs = "".join(path.read_text() for path in LAB.glob("run-*.log"))
    assert not any(text in logs for text in secret), "a secret in the log"
    print("messages: " + ", ".join(f"{sink} {len(receivers.at(sink))}" for sink in [*SINKS, "on-call"]))


def keep_events(messages):
    """Writes the events for `official_libraries.mjs`."""
    kept = [
        {"headers": message.headers, "body": base64.b64encode(message.body).decode()} for message in messages
    ]
    (LAB / "events.json").write_text(json.dumps(kept))
    (LAB / "events.key").write_text(SIGNING_KEY)


def main():
    os.environ["PERENNIAL__ALERTS__RUNBOOK_URL"] = RUNBOOK
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    began = time.monotonic()
    receivers = Receivers(LAB / "server.pem", LAB / "server.key")
    try:
        sandbox = start(
            "sandbox", PROGRAM, "sandbox", "--dir", str(LAB), "--listen", "127.0.0.1:0",
            "--prove-every", f"{PROVE_EVERY}s",
        )
        sandbox.origin = said(sandbox, r"are running at (https://\S+?)\.\s")
        said(sandbox, "(PERENNIAL_CONFIG)")
        (LAB / "roots.pem").write_text((LAB / "ca.pem").read_text() + (LAB / "root.pem").read_text())
        story(receivers, sandbox)
    except AssertionError:
        for path in sorted(LAB.glob("run-*.log")):
            print(f"--- {path.name}\n{path.read_text()[-4000:]}", file=sys.stderr)
        raise
    finally:
        for process in processes:
            if process.poll() is None:
                stop(process)
    print(f"each told once, and once that it was over: {time.monotonic() - began:.0f} s")


main()
