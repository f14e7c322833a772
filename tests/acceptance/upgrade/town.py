"""A vault with one token, both versions of Perennial, and the receivers of their alerts.

Owns the processes, the sandbox's controls and the two receivers. `sound` checks that no token is lost.
"""

import json
import os
import re
import signal
import ssl
import subprocess
import threading
import time
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

SECRET = "partner-refresh-token"
TOKEN = "partner-center"
# Below Entra's limit of 14 redemptions of one user and app in five minutes.
PROVE_EVERY = "30s"


def until(what, wanted, seconds=30):
    """Waits until the function returns a true value, and returns this value."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := wanted():
            return found
        time.sleep(0.02)
    raise AssertionError(f"in vain: {what}")


class Receivers:
    """A webhook server that keeps incidents, and a chat room that people read."""

    def __init__(self, lab):
        self._received = received = []

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["content-length"]))
                received.append((self.path.strip("/"), json.loads(body)))
                self.send_response(200)
                self.send_header("content-length", "2")
                self.end_headers()
                self.wfile.write(b"ok")

            def log_message(self, *_):
                pass

        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(lab / "server.pem", lab / "server.key")
        web = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        # A client that is killed during a delivery does not wait for the answer.
        web.handle_error = lambda *_: None
        web.socket = tls.wrap_socket(web.socket, server_side=True, do_handshake_on_connect=False)
        self.origin = f"https://localhost:{web.server_port}"
        threading.Thread(target=web.serve_forever, daemon=True).start()

    def at(self, sink):
        """The received bodies, in order."""
        return [body for to, body in list(self._received) if to == sink]


class Daemon:
    """A `perennial run` of one of the two versions."""

    def __init__(self, town, program, name, variables):
        self.path = town.lab / f"{name}.log"
        with open(self.path, "w") as log:
            self.process = subprocess.Popen(
                [program, "run", "--log-format", "json"], stdout=log, stderr=log, env=town.environment(variables)
            )

    def events(self, name, **fields):
        """Returns lines of the daemon's log."""
        lines = [json.loads(line) for line in self.path.read_text().splitlines() if line.endswith("}")]
        lines = [line for line in lines if line.get("event") == name]
        return [line for line in lines if all(line.get(field) == value for field, value in fields.items())]

    def proves(self, more=1):
        """Waits for this number of further proofs, and triggers each with SIGHUP."""
        wanted = len(self.events("proved")) + more
        until("the daemon serves", lambda: self.events("listening"))
        until("its first look", lambda: self.events("proved") or self.events("attempt_failed"))
        while len(self.events("proved")) < wanted:
            seen = len(self.events("proved"))
            self.look()
            until(f"a proof in {self.path.name}", lambda: len(self.events("proved")) > seen)

    def look(self):
        """Reloads the daemon, as `systemctl reload` does after a change."""
        self.process.send_signal(signal.SIGHUP)

    def stop(self, how=signal.SIGTERM):
        """Stops the daemon as systemd does."""
        if self.process.poll() is None:
            self.process.send_signal(how)
        code = self.process.wait(40)
        assert how != signal.SIGTERM or code == 0, f"{self.path.name} ended with {code}"


class Town:
    """The simulated world of one story."""

    def __init__(self, programs, lab, name, *sandbox):
        self.old, self.new = programs
        self.lab = lab / name
        self.lab.mkdir()
        self.receivers = Receivers(lab)
        self.daemons = []
        with open(self.lab / "sandbox.log", "w") as log:
            self.sandbox = subprocess.Popen(
                [self.new, "sandbox", "--dir", self.lab, "--listen", "127.0.0.1:0", "--prove-every", PROVE_EVERY, *sandbox],
                stdout=log, stderr=log,
            )
        said = until("the sandbox", lambda: (self.lab / "sandbox.log").read_text().partition("PERENNIAL_CONFIG=")[0])
        self.origin = re.search(r"are running at (https://\S+?)\.\s", said)[1]
        until("its configuration", lambda: (self.lab / "perennial.toml").exists())
        (self.lab / "roots.pem").write_text((self.lab / "ca.pem").read_text() + (lab / "root.pem").read_text())
        self.trust = ssl.create_default_context(cafile=self.lab / "ca.pem")
        # The first version does not know the address of Microsoft Graph, which only `renew` uses.
        written = (self.lab / "perennial.toml").read_text()
        (self.lab / "perennial.toml").write_text(re.sub("(?m)^graph = .*\n", "", written))
        with open(self.lab / "perennial.toml", "a") as config:
            for sink in ("webhook", "slack"):
                (self.lab / sink).write_text(f"{self.receivers.origin}/{sink}")
                config.write(f'\n[[alert]]\nname = "{sink}"\nkind = "{sink}"\nurl = {{ file = "{self.lab / sink}" }}\n')

    def environment(self, variables):
        known = {"PERENNIAL_CONFIG": self.lab / "perennial.toml", "PERENNIAL__CLOUD__CA_FILE": self.lab / "roots.pem"}
        known |= {"PERENNIAL__HTTP__LISTEN": "127.0.0.1:0"} | variables
        return os.environ | {name: str(value) for name, value in known.items()}

    def run(self, program, **variables):
        """Starts a daemon of this version."""
        version = "old" if program == self.old else "new"
        daemon = Daemon(self, program, f"{len(self.daemons)}-{version}", variables)
        self.daemons.append(daemon)
        return daemon

    def command(self, program, *words, **variables):
        """Runs a command, and returns its exit code and output."""
        done = subprocess.run(
            [program, *words], capture_output=True, text=True, timeout=120, env=self.environment(variables)
        )
        return done.returncode, done.stdout + done.stderr

    def control(self, name, body=None, method=None):
        """Calls a control of the sandbox."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.origin}/_sandbox/{name}", data, method=method)
        with urllib.request.urlopen(request, timeout=10, context=self.trust) as answer:
            return json.load(answer)

    def passes(self, span):
        """Advances the time of the simulated world and of the vault's clock."""
        self.control("clock", {"advance": span})

    def apart(self, write):
        """Writes in a separate second, since the vault does not order two versions of the same second."""
        self.passes("2s")
        done = write()
        self.passes("2s")
        return done

    def signs_in(self):
        """Stores a new sign-in of a user, and returns its version."""
        return self.apart(lambda: self.control("sign-in", {})["version"])

    def versions(self):
        """Returns the token's versions, in the order in which the vault stored them."""
        [secret] = [secret for secret in self.control("state")["secrets"] if secret["name"] == SECRET]
        return secret["versions"]

    def newest(self):
        return self.versions()[-1]

    def sound(self, sign_in=None):
        """Checks that no token is lost: the newest version is enabled, works, and descends from the last sign-in."""
        state = self.control("state")
        [secret] = [secret for secret in state["secrets"] if secret["name"] == SECRET]
        grants = {grant["fingerprint"]: grant for grant in state["grants"]["newest"]}
        newest = secret["versions"][-1]
        grant = grants[newest["fingerprint"]]
        assert newest["enabled"] and grant["refused_with"] is None, (newest, grant)
        last = max(grant["sign_in"] for grant in grants.values())
        assert grant["sign_in"] == last, f"a sign-in is buried: {newest}"
        by_version = {version["id"]: version for version in secret["versions"]}
        if sign_in:
            assert by_version[sign_in]["writer"] == "human"
        people = [version for version in secret["versions"] if not version["tags"].get("managed-by")]
        assert all(version["enabled"] for version in people), "a person's version was disabled"
        return newest

    def incidents(self):
        """Returns the webhook server's open incidents, and its messages: (what, kind, incident, event) each."""
        held, told = {}, []
        for body in self.receivers.at("webhook"):
            what, condition = body["data"]["what"], body["data"]["condition"]
            incident = condition["id"]
            # A start also sends the end of incidents that may be open. A server drops the end of an unknown incident
            # (docs/alerting.md).
            if what != "resolved" or incident in held:
                told.append((what, condition["kind"], incident, body["id"]))
            if what == "resolved":
                held.pop(incident, None)
            else:
                held[incident] = condition["kind"]
        return {incident: kind for incident, kind in held.items() if kind != "clock_skew"}, told

    def opened(self):
        """Returns each event once. A repeated event has the same id, and a server drops it."""
        _, told = self.incidents()
        # The stories move the vault's clock, which is also the clock of the simulated world, away from this host's clock.
        told = [(kind, event) for what, kind, _, event in told if what == "opened" and kind != "clock_skew"]
        return sorted(set(told))

    def read(self):
        """Returns the headlines that people read, without the times, since the stories move the clock."""
        read = [body["text"] for body in self.receivers.at("slack")]
        return [headline for headline in read if "This host's clock is wrong" not in headline]

    def end(self):
        for daemon in self.daemons:
            daemon.process.kill()
            daemon.process.wait()
        self.sandbox.terminate()
        self.sandbox.wait()
