"""Verifiers: PyJWT and jose, and the comparison of two assertions.

Owns what an assertion must have.
"""

import base64
import json
import os
import subprocess
import uuid

import jwt
from stage import LIBRARIES, ROOT_CA, case, recorder

LONGEST = 10 * 60


def endpoint(request):
    return recorder.origin + request.path


def verify_with_pyjwt(request, certificate, client):
    """Verifies an assertion. Returns its header and its claims."""
    names = ["aud", "iss", "sub", "jti", "nbf", "iat", "exp"]
    claims = jwt.decode(
        request.assertion, certificate.public.public_key(), algorithms=["PS256"], audience=endpoint(request),
        issuer=client, subject=client, options={"require": names, "strict_aud": True},
    )
    header = jwt.get_unverified_header(request.assertion)
    assert header == {"alg": "PS256", "typ": "JWT", "x5t#S256": certificate.thumbprint}, header
    assert 0 < claims["exp"] - claims["nbf"] <= LONGEST, claims
    uuid.UUID(claims["jti"])
    return header, claims


def verify_with_jose(asked):
    """What jose says of assertions: a list of errors, with None for each that it accepts."""
    given = [
        {"assertion": text, "certificate": certificate.pem, "client": client, "endpoint": where}
        for text, certificate, client, where in asked
    ]
    return node("verify.mjs", given)


def node(script, given):
    ended = subprocess.run(
        ["node", LIBRARIES / script], input=json.dumps(given), capture_output=True, text=True, timeout=60,
        env=os.environ | {"NODE_EXTRA_CA_CERTS": ROOT_CA},
    )
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout)


def verify(name, requests_seen, certificate, client, least):
    """Lets both libraries verify the assertions of one configuration."""
    count = f"{len(requests_seen)} assertion{'s' * (len(requests_seen) != 1)}"
    with case(f"{name}: PyJWT accepts {count}"):
        for request in requests_seen:
            verify_with_pyjwt(request, certificate, client)
        assert len(requests_seen) >= least, f"instead of {least} or more"
    with case(f"{name}: jose accepts {count}"):
        asked = [(request.assertion, certificate, client, endpoint(request)) for request in requests_seen]
        assert asked and verify_with_jose(asked) == [None] * len(asked), verify_with_jose(asked)


def changed_signature(text):
    """The same assertion with one changed bit in its signature."""
    head, _, signature = text.rpartition(".")
    raw = bytearray(base64.urlsafe_b64decode(signature + "=="))
    raw[100] ^= 1
    return f"{head}.{base64.urlsafe_b64encode(raw).rstrip(b'=').decode()}"


def fields(request):
    """Header and claims of an assertion, by name."""
    header = jwt.get_unverified_header(request.assertion)
    claims = jwt.decode(request.assertion, options={"verify_signature": False})
    known = {f"header {name}": value for name, value in header.items()}
    return known | {f"claim {name}": value for name, value in claims.items()}


TIMES = {"claim exp", "claim iat", "claim nbf"}


def compare(ours, theirs):
    """Checks that two assertions for one app and one certificate agree."""
    for name in set(ours) & set(theirs):
        if name in TIMES:
            # The numbers are of the same minute, or ten minutes ahead.
            assert abs(ours[name] - theirs[name]) <= LONGEST, f"{name}: {ours[name]} and {theirs[name]}"
        elif name == "header x5t#S256":
            # RFC 7515 has no padding in base64url (2). msal for Python pads.
            assert ours[name] == theirs[name].rstrip("="), f"{name}: {ours[name]} and {theirs[name]}"
        elif name == "claim jti":
            assert ours[name] != theirs[name] and uuid.UUID(ours[name]) and uuid.UUID(theirs[name]), name
        else:
            assert ours[name] == theirs[name], f"{name}: {ours[name]} and {theirs[name]}"


def print_table(known, tenant, client):
    """Prints the fields side by side. Times are in seconds after the start of validity."""
    names = sorted(set().union(*known.values()), key=lambda name: (not name.startswith("header"), name))
    print(f"| {'field':18} | {' | '.join(f'{library:44}' for library in known)} |")
    print(f"|{'-' * 20}|{'|'.join('-' * 46 for _ in known)}|")
    for name in names:
        cells = []
        for of_library in known.values():
            value = of_library.get(name, "-")
            if name in TIMES and value != "-":
                begin = of_library.get("claim nbf", of_library.get("claim iat"))
                value = f"{type(value).__name__}, {value - begin:+.0f} s"
            text = str(value).replace(recorder.origin, "ORIGIN").replace(tenant, "TENANT").replace(client, "CLIENT")
            cells.append(f"{text if len(text) <= 44 else text[:43] + '…':44}")
        print(f"| {name:18} | {' | '.join(cells)} |", flush=True)
