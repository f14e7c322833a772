"""Sets up Microsoft's clients for the sandbox, as its configuration describes it.

Owns what the tests share: the sandbox's address, its identities and rights, and its controls below `/_sandbox/`.
"""

import base64
import contextlib
import itertools
import json
import logging
import os
import subprocess
import tomllib

import msal
import requests
from azure.identity import ClientSecretCredential
from azure.keyvault.secrets import SecretClient

with open(os.environ["PERENNIAL_CONFIG"], "rb") as file:
    CONFIG = tomllib.load(file)
ORIGIN = CONFIG["vault"]["url"]
VAULT_TENANT = CONFIG["vault"]["tenant_id"]
VAULT_CLIENT = CONFIG["vault"]["client_id"]
with open(CONFIG["vault"]["client_secret"]["file"], encoding="utf-8") as file:
    VAULT_CLIENT_SECRET = file.read()
TOKEN = CONFIG["token"][0]

PARTNER_CENTER = "https://api.partnercenter.microsoft.com/user_impersonation"

_numbers = itertools.count(1)

# The client warns of rejections. The tests cause them on purpose.
logging.getLogger("azure.identity").setLevel(logging.ERROR)


def environment(file):
    """The variables of a file in the folder of the configuration."""
    path = os.path.join(os.path.dirname(os.environ["PERENNIAL_CONFIG"]), file)
    with open(path, encoding="utf-8") as lines:
        return dict(line.strip().split("=", 1) for line in lines)


def fresh_name():
    """A name that no other test uses."""
    return f"client-test-{next(_numbers)}"


def credential(**changed):
    """The app with access to the sandbox's vault, as azure-identity knows it."""
    known = {"tenant_id": VAULT_TENANT, "client_id": VAULT_CLIENT, "client_secret": VAULT_CLIENT_SECRET}
    return ClientSecretCredential(**known | changed, authority=ORIGIN, disable_instance_discovery=True)


def vault(by=None, **options):
    """Key Vault's client. It does not retry unless the test asks for it, so that rejections show at once."""
    options = {"retry_total": 0, "verify_challenge_resource": False} | options
    return SecretClient(ORIGIN, by or credential(), **options)


def partner_app(**changed):
    """The partner's app as msal knows it. The vault holds its secret."""
    with vault() as client:
        secret = client.get_secret(TOKEN["client_secret"]["secret"]).value
    known = {
        "client_id": TOKEN["client_id"],
        "client_credential": secret,
        "authority": f"{ORIGIN}/{TOKEN['tenant_id']}",
    }
    return msal.ConfidentialClientApplication(**known | changed, instance_discovery=False)


def perennial(*words):
    """The program's stdout."""
    told = subprocess.run([os.environ["PERENNIAL"], *words], capture_output=True, text=True, timeout=60, check=False)
    assert told.returncode == 0, told.stderr
    return told.stdout


def claims(token):
    """The claims of an access token."""
    body = token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))


def stored_token():
    """The partner's refresh token."""
    with vault() as client:
        return client.get_secret(TOKEN["refresh_token"]).value


def control(name, /, **form):
    """Uses a control of the sandbox."""
    answer = requests.post(f"{ORIGIN}/_sandbox/{name}", json=form, timeout=10)
    assert answer.ok, answer.text
    return answer.json()


def state():
    """The sandbox's state."""
    answer = requests.get(f"{ORIGIN}/_sandbox/state", timeout=10)
    answer.raise_for_status()
    return answer.json()


@contextlib.contextmanager
def fault(peer, **form):
    """Adds a fault for the duration of the `with` block."""
    control("faults", peer=peer, **form)
    try:
        yield
    finally:
        requests.delete(f"{ORIGIN}/_sandbox/faults", timeout=10).raise_for_status()
