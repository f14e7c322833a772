"""The stage: the sandbox behind the recorder, its certificates, and the program with a configuration for each case.

Owns the processes, the configurations and the count of cases. Keeps what Perennial sent and printed, for the last cases.
"""

import base64
import contextlib
import hashlib
import os
import re
import resource
import signal
import subprocess
import sys
import time
import tomllib
import traceback
from pathlib import Path

import memory
import requests
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.serialization import pkcs12
from recorder import SANDBOX, Recorder

PROGRAM, LAB, LIBRARIES = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
PEM, PKCS12 = "application/x-pem-file", "application/x-pkcs12"
PARTNER_CENTER = "https://api.partnercenter.microsoft.com/user_impersonation"
ROOT_CA = str(LAB / "root.pem")
# Everything that Perennial printed or served, by its source.
PRINTED = {}
# Every assertion that Perennial sent, every private key of the test, and the secrets that hold them in PKCS#12.
SENT, KEYS, CONTAINERS = [], [], []

recorder = Recorder(LAB)
session = requests.Session()
processes = []
results = []
# The sandbox's configuration.
CONFIG = {}


@contextlib.contextmanager
def case(name):
    """One case of the count. A failed case does not stop the others."""
    try:
        yield
        results.append(True)
        print(f"ok: {name}", flush=True)
    except Exception as error:
        results.append(False)
        here = str(Path(__file__).parent)
        place = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename.startswith(here)][-1]
        where = f"{Path(place.filename).name}:{place.lineno}"
        print(f"NOT SO: {name}: {type(error).__name__} at {where}, {place.line}\n{error}", flush=True)


def until(what, wanted, seconds=30):
    """Waits until the function returns a true value, and returns this value."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if value := wanted():
            return value
        time.sleep(0.02)
    raise AssertionError(f"in vain: {what}")


def start(name, *command, cwd=LAB, **variables):
    """Starts a process that may write core dumps. Its output goes to a file."""
    unlimited = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
    with open(LAB / f"{name}.log", "w") as log:
        process = subprocess.Popen(
            command, stdout=log, stderr=log, cwd=cwd, env=os.environ | variables,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_CORE, unlimited),
        )
    process.log = LAB / f"{name}.log"
    processes.append(process)
    return process


def stop(process, how=signal.SIGTERM):
    """Stops a process. Returns whether it wrote a core dump."""
    process.send_signal(how)
    ended = until("the process ends", lambda: os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT))
    process.wait(10)
    return ended.si_code == os.CLD_DUMPED


def control(name, /, **form):
    answer = session.post(f"{recorder.origin}/_sandbox/{name}", json=form, timeout=30)
    assert answer.ok, answer.text
    return answer.json()


def start_sandbox():
    """Starts the sandbox with a token for each kind, and reads its configuration."""
    options = ["--age", "80d", "--inbox", "--tokens", "8", "--listen", f"{SANDBOX}:{recorder.port}"]
    sandbox = start("sandbox", PROGRAM, "sandbox", "--dir", str(LAB / "sandbox"), *options)

    def is_up():
        assert sandbox.poll() is None, sandbox.log.read_text()
        return "PERENNIAL_CONFIG" in sandbox.log.read_text()

    until("the sandbox is up", is_up)
    recorder.start(LAB / "sandbox/ca.pem")
    with open(LAB / "sandbox/perennial.toml", "rb") as file:
        CONFIG.update(tomllib.load(file))


def vault_token():
    """A token for the vault, for the app of `[vault]`."""
    vault = CONFIG["vault"]
    answer = session.post(f"{recorder.origin}/{vault['tenant_id']}/oauth2/v2.0/token", timeout=30, data={
        "grant_type": "client_credentials", "client_id": vault["client_id"], "scope": "https://vault.azure.net/.default",
        "client_secret": Path(vault["client_secret"]["file"]).read_text(),
    })
    return answer.json()["access_token"]


def secret(name):
    """The value of a secret in the vault."""
    answer = session.get(
        f"{recorder.origin}/secrets/{name}?api-version=7.4", timeout=30,
        headers={"Authorization": f"Bearer {vault_token()}"},
    )
    assert answer.ok, answer.text
    return answer.json()["value"]


class Certificate:
    """A certificate of the vault, registered at an app."""

    def __init__(self, name, client, content_type=PEM, exportable=True, register=True):
        self.name = name
        made = control("create-certificate", name=name, content_type=content_type, exportable=exportable)
        self.version = made["version"]
        if register:
            control("register-certificate", name=name, client_id=client)
        self.value = secret(name)
        if content_type == PEM:
            self.public = x509.load_pem_x509_certificate(self.value.encode())
            self.key = serialization.load_pem_private_key(self.value.encode(), None) if exportable else None
        else:
            CONTAINERS.append(self.value)
            self.key, public, others = pkcs12.load_key_and_certificates(base64.b64decode(self.value), None)
            self.public = public or others[0]
        assert (self.key is not None) == exportable, "the secret holds the private key exactly if it is exportable"
        if self.key:
            KEYS.append(self.key)
        self.der = self.public.public_bytes(serialization.Encoding.DER)
        self.pem = self.public.public_bytes(serialization.Encoding.PEM).decode()
        self.thumbprint = base64.urlsafe_b64encode(hashlib.sha256(self.der).digest()).rstrip(b"=").decode()


def configure(name, token, credential, vault=None):
    """Writes the sandbox's configuration with one token and another credential."""
    text = (LAB / "sandbox/perennial.toml").read_text()
    before, *tokens = re.split(r"(?m)^(?=\[\[token\]\])", text)
    [block] = [block for block in tokens if f'name = "{token["name"]}"' in block]
    block, _, _ = block.partition("\n[")
    alerts = text[text.index("[[alert]]") :]
    block, changed = re.subn(r"(?m)^client_secret = .*$", lambda _: credential or _[0], block)
    assert changed == 1, block
    if vault:
        own = r"(?m)^credential = .*\n((?:.*_id = .*\n)*)client_secret = .*$"
        before, changed = re.subn(own, lambda _: vault + "\n" + _[1], before)
        assert changed == 1, before
    before = re.sub(r"(?m)^ca_file = .*$", lambda _: f'ca_file = "{LAB}/root.pem"', before)
    path = LAB / f"{name}.toml"
    path.write_text("\n".join([before, block, alerts]))
    return path


def perennial(config, *words):
    """Runs a command with the most verbose log."""
    command = [PROGRAM, *words, "--config", str(config), "--log-format", "json"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, env=os.environ | {"RUST_LOG": "trace"})
    place = f"{config.stem}: {' '.join(words)}"
    PRINTED[f"{place}, stdout"], PRINTED[f"{place}, stderr"] = ended.stdout, ended.stderr
    assert ended.returncode == 0, f"{place} ended with {ended.returncode}: {ended.stdout}{ended.stderr}"


def assertions(requests_seen):
    """The token requests with an assertion, of which the test keeps track."""
    seen = [request for request in requests_seen if request.assertion]
    SENT.extend(seen)
    return seen


def domain_of(token):
    """The domain of a token's tenant."""
    users = session.get(f"{recorder.origin}/_sandbox/state", timeout=30).json()["users"]
    [name] = {user["upn"].partition("@")[2] for user in users if user["tenant"] == token["tenant_id"]}
    return name


def write(name, content):
    path = LAB / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return f'{{ file = "{path}" }}'


def daemon(name, config):
    """Starts the daemon, in a folder of its own."""
    (LAB / name).mkdir()
    command = [PROGRAM, "run", "--config", str(config), "--log-format", "json"]
    return start(name, *command, cwd=LAB / name, RUST_LOG="trace", PERENNIAL__HTTP__LISTEN="127.0.0.1:0")


def logged(process, pattern):
    """Searches the log of a daemon, and returns the match's group."""
    def search():
        assert process.poll() is None, process.log.read_text()
        return re.search(pattern, process.log.read_text())

    return until(f"{pattern} in {process.log.name}", search)[1]


class Run:
    """A daemon that has rotated: its memory while an assertion is in flight and after the rotation, the held request, and
    all requests."""

    def __init__(self, process, loaded, after, held, seen):
        self.process, self.loaded, self.after, self.held, self.seen = process, loaded, after, held, seen


def snapshots(name, token, credential):
    """Runs a daemon until it has rotated the token, and keeps what it serves."""
    config = configure(name, token, credential)
    with recorder.during() as seen:
        with recorder.hold(token["client_id"]) as hold:
            process = daemon(name, config)
            assert hold.arrived.wait(30), f"no redemption: {process.log.read_text()}"
            loaded = memory.memory(process)
        logged(process, r'("event":"rotated")')
        after = memory.memory(process)
        served(name, process)
    assertions(seen)
    return Run(process, loaded, after, hold.request, seen)


def served(name, process):
    """Keeps everything that a daemon serves."""
    address = logged(process, r'"event":"listening".*?"address":"([^"]*)"')
    for path in ("/status", "/metrics", "/", "/health"):
        answer = requests.get(f"http://{address}{path}", timeout=10)
        assert answer.ok and answer.text, f"{path}: {answer.status_code}"
        PRINTED[f"{name}: {path}"] = answer.text
