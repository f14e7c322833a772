"""The cases: whose assertions are verified by whom, what the memory of a daemon holds, and what is printed.

Each kind of certificate source has its own token, so that Entra's limits on one user and app delay nothing.
"""

import base64
import os
import re
import secrets
import signal
import subprocess
import sys
import traceback
import uuid
from pathlib import Path

import jwt
import memory
import msal
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from stage import (
    CONFIG, CONTAINERS, Certificate, KEYS, LAB, PARTNER_CENTER, PEM, PKCS12, PRINTED, PROGRAM, ROOT_CA, SENT,
    assertions, case, configure, domain_of, perennial, processes, recorder, results, secret,
    session, snapshots, start, start_sandbox, stop, write,
)
from verifiers import (
    changed_signature, compare, endpoint, fields, node, print_table, verify, verify_with_jose, verify_with_pyjwt,
)


def redeem_every_way(config, token, seen):
    """Runs each command that redeems the token. Adds the requests to `seen`, by command."""
    domain = domain_of(token)
    for words in [
        ("verify",),
        ("rotate", "--force"),
        ("access-token", token["name"]),
        ("access-token", token["name"], "--tenant", domain),
        ("check", "--write"),
    ]:
        with recorder.during() as seen[" ".join(words)]:
            perennial(config, *words)
    asked = [request.path for request in seen[f"access-token {token['name']} --tenant {domain}"] if request.assertion]
    assert any(f"/{domain}/" in path for path in asked), f"no request to the tenant by its domain: {asked}"


def sources():
    """Each source of a certificate, with each command that redeems. Returns an assertion and its certificate."""
    kinds = [
        ("a PEM file", PEM, True, lambda made: write("app.pem", made.value)),
        ("a PKCS#12 file", PKCS12, True, lambda made: write("app.pfx", base64.b64decode(made.value))),
        ("a secret in PKCS#12", PKCS12, True, lambda made: f'{{ secret = "{made.name}" }}'),
        ("a secret in PEM", PEM, True, lambda made: f'{{ secret = "{made.name}" }}'),
        ("a key in the vault", PKCS12, False, lambda made: f'{{ key = "{made.name}" }}'),
    ]
    kept = {}
    for number, (name, content_type, exportable, source) in enumerate(kinds):
        token = CONFIG["token"][number]
        client = token["client_id"]
        certificate = Certificate(f"app-{number}", client, content_type, exportable)
        config = configure(f"source-{number}", token, f"client_certificate = {source(certificate)}")
        seen = {}
        with case(f"{name}: Entra accepts every command, and no request has a client secret"):
            redeem_every_way(config, token, seen)
            for words, requests_seen in seen.items():
                of_app = [request for request in requests_seen if request.form.get("client_id") == client]
                assert of_app, f"{words} asked nothing of Entra"
                assert all(request.assertion and request.status == 200 for request in of_app), f"{words}: {of_app}"
                assert not any("client_secret" in request.form for request in of_app), words
        flat = assertions(request for requests_seen in seen.values() for request in requests_seen)
        verify(name, flat, certificate, client, 5)
        kept[name] = token, certificate, flat
    return kept


def vault_identity():
    """The app of `[vault]` also signs."""
    token, client = CONFIG["token"][5], CONFIG["vault"]["client_id"]
    certificate = Certificate("vault-identity", client)
    given = f'credential = "client_certificate"\nclient_certificate = {write("vault.pem", certificate.value)}'
    config = configure("vault-identity", token, None, given)
    with case("the identity for the vault: Entra accepts its assertions"), recorder.during() as seen:
        perennial(config, "rotate", "--force")
    flat = assertions(seen)
    verify("the identity for the vault", flat, certificate, client, 1)


def renewed():
    """A newer version that Entra does not know: each assertion is of the version that its header names."""
    token = CONFIG["token"][5]
    client = token["client_id"]
    older = Certificate("renewed", client, PKCS12, False)
    newer = Certificate("renewed", client, PKCS12, False, register=False)
    config = configure("renewed", token, 'client_certificate = { key = "renewed" }')
    with case("a renewed key: the newest version is rejected, and the older one is accepted"):
        with recorder.during() as seen:
            perennial(config, "rotate", "--force")
        by_version = {older.thumbprint: (older, 200), newer.thumbprint: (newer, 401)}
        used = set()
        for request in assertions(seen):
            named = jwt.get_unverified_header(request.assertion)["x5t#S256"]
            certificate, status = by_version[named]
            verify_with_pyjwt(request, certificate, client)
            assert request.status == status, f"{request.status} instead of {status}"
            used.add(named)
        assert used == set(by_version), used


def rejections(kept):
    """The verifiers reject what is wrong, so their acceptance means something."""
    token, certificate, seen = kept["a key in the vault"]
    other = kept["a secret in PEM"][1]
    client, [request, *_] = token["client_id"], seen
    where = endpoint(request)
    wrong = [
        ("a changed signature", changed_signature(request.assertion), certificate, client, where),
        ("another certificate", request.assertion, other, client, where),
        ("another token endpoint", request.assertion, certificate, client, where + "x"),
        ("another app", request.assertion, certificate, str(uuid.uuid4()), where),
    ]
    with case("PyJWT rejects a changed signature, another certificate, another endpoint and another app"):
        for name, text, certificate_used, app, place in wrong:
            try:
                jwt.decode(text, certificate_used.public.public_key(), ["PS256"], audience=place, issuer=app, subject=app)
            except jwt.InvalidTokenError:
                continue
            raise AssertionError(f"accepted: {name}")
    with case("jose rejects the same"):
        said = verify_with_jose([one[1:] for one in wrong])
        codes = [error and error.partition(":")[0] for error in said]
        bad = ["ERR_JWS_SIGNATURE_VERIFICATION_FAILED"] * 2 + ["ERR_JWT_CLAIM_VALIDATION_FAILED"] * 2
        assert codes == bad, said


def compared(kept):
    """The assertions of msal for Python and msal for Node, for the app and the certificate of one of ours."""
    token, certificate, seen = kept["a secret in PEM"]
    client, tenant = token["client_id"], token["tenant_id"]
    private = certificate.key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    theirs = {}

    with case("the sandbox accepts msal for Python: a redemption, and a token for the app"):
        with recorder.during() as requests_seen:
            app = msal.ConfidentialClientApplication(
                client, authority=f"{recorder.origin}/{tenant}", instance_discovery=False, verify=ROOT_CA,
                client_credential={"private_key": private, "public_certificate": certificate.pem},
            )
            redeemed = app.acquire_token_by_refresh_token(secret(token["refresh_token"]), [PARTNER_CENTER])
            own = app.acquire_token_for_client([PARTNER_CENTER.replace("user_impersonation", ".default")])
        assert "access_token" in redeemed and "access_token" in own, (redeemed, own)
        theirs["msal for Python"] = [request for request in requests_seen if request.assertion]
    with case("the sandbox accepts msal for Node: a redemption, and a token for the app"):
        with recorder.during() as requests_seen:
            said = node("theirs.mjs", {
                "origin": recorder.origin, "tenant": tenant, "client": client, "privateKey": private,
                "thumbprint": certificate.public.fingerprint(hashes.SHA256()).hex(),
                "refreshToken": secret(token["refresh_token"]), "scope": PARTNER_CENTER,
            })
        assert said == {"redeemed": True, "own": True}, said
        theirs["msal for Node"] = [request for request in requests_seen if request.assertion]

    # Of the request to the tenant by its id, which is how msal names it.
    ours = next(request for request in seen if f"/{tenant}/" in request.path)
    known = {"Perennial": fields(ours)}
    for library, requests_seen in theirs.items():
        known[library] = fields(requests_seen[0])
        with case(f"{library}: the fields that Perennial has too are equal, except for times and ids"):
            for request in requests_seen:
                compare(fields(ours), fields(request))
    with case("Perennial has every field that both libraries have"):
        assert len(known) == 3, f"only {list(known)}"
        common = set(known["msal for Python"]) & set(known["msal for Node"])
        missing = common - set(known["Perennial"])
        assert len(common) >= 8 and not missing, f"{common}, missing {missing}"
    print_table(known, tenant, client)


def memories():
    """A key in the vault is not in the process that uses it. A key in a secret is, and the search finds it."""
    if not may_read_memory():
        return
    with case("the search finds every form of a key in a process that holds it, and no form elsewhere"):
        key = rsa.generate_private_key(65537, 2048)
        known = memory.forms(key)
        assert memory.found(known, planted(b"")) == []
        for name, texts in memory.whole(key).items():
            # The base64 of a number may also be a part of the PEM form.
            assert name in memory.found(known, planted(texts[-1])), name
        # The bytes of d, and not its edges.
        part = memory.numbers(key)["d"][17:81]
        assert memory.found(known, planted(part)) == ["d, big-endian"]

    key_in_vault()
    key_in_secret()


def key_in_vault():
    """The key could leave the vault, so that the test knows it."""
    token, name = CONFIG["token"][6], "a key in the vault"
    certificate = Certificate("signs-in-the-vault", token["client_id"])
    known = memory.forms(certificate.key)
    run = None
    with case(f"{name}: the daemon rotates the token"):
        run = snapshots("key-daemon", token, f'client_certificate = {{ key = "{certificate.name}" }}')
    if not run:
        return
    with case(f"{name}: no form of it is in the daemon's memory, before and after the rotation"):
        found = memory.found(known, run.loaded), memory.found(known, run.after)
        assert found == ([], []), found
        size = sum(map(len, run.loaded + run.after))
        assert size > 2_000_000, f"only {size} bytes"
        print(f"    searched {size:,} bytes for {sum(map(len, known.values()))} pieces of {len(known)} forms")
    with case(f"{name}: the same search finds the assertion that is in flight"):
        verify_with_pyjwt(run.held, certificate, token["client_id"])
        signature = run.held.assertion.rpartition(".")[2]
        assert memory.found({"assertion": [signature.encode()]}, run.loaded) == ["assertion"]
    with case(f"{name}: the daemon lets the vault sign, and never reads the certificate's secret"):
        paths = {(request.method, request.path) for request in run.seen}
        assert ("POST", f"/keys/{certificate.name}/{certificate.version}/sign") in paths, paths
        assert not [path for _, path in paths if path.startswith(f"/secrets/{certificate.name}")], paths
    with case(f"{name}: the daemon writes no core dump"):
        core_dump(run.process, LAB / "key-daemon")


def key_in_secret():
    """The control: a daemon that loads its key."""
    token, name = CONFIG["token"][7], "a key in a secret"
    certificate = Certificate("is-loaded", token["client_id"])
    known = memory.forms(certificate.key)
    run = None
    with case(f"{name}: the daemon rotates the token"):
        run = snapshots("secret-daemon", token, f'client_certificate = {{ secret = "{certificate.name}" }}')
    if not run:
        return
    with case(f"{name}: the same search finds it while it is loaded"):
        found, left = memory.found(known, run.loaded), memory.found(known, run.after)
        print(f"    while it is loaded: {'; '.join(found)}")
        print(f"    after the rotation: {'; '.join(left) or 'none'}")
        assert {"d, little-endian", "p, little-endian", "q, little-endian"} <= set(found), found
    with case(f"{name}: its numbers are wiped after the rotation"):
        assert not [form for form in left if form.endswith("endian")], left
    with case(f"{name}: the daemon writes no core dump"):
        core_dump(run.process, LAB / "secret-daemon")


def may_read_memory():
    """Whether this process may read the memory of others. A failure for root only, since others may lack the right."""
    try:
        planted(b"")
        return True
    except PermissionError as error:
        by_root = os.environ["STARTED_BY"] == "0"
        mark = "NOT SO" if by_root else "SKIPPED"
        print(f"{mark}: the memory of processes cannot be read: {error}. Start this as root")
        if by_root:
            results.append(False)
        return False


def planted(value):
    """The memory of a process that holds a value between random bytes."""
    script = "import sys, time; held = sys.stdin.buffer.read(); print('it holds', flush=True); time.sleep(60)"
    process = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    processes.append(process)
    process.stdin.write(secrets.token_bytes(4321) + value + secrets.token_bytes(4321))
    process.stdin.close()
    assert process.stdout.readline() == b"it holds\n"
    process.stdout.close()
    try:
        return memory.memory(process)
    finally:
        process.kill()
        process.wait(10)


def core_dump(process, folder):
    """Lets a daemon die as in a crash, and another program in the same way, which shows what the host writes."""
    other = LAB / f"{folder.name}-other"
    other.mkdir()
    control_process = start(other.name, sys.executable, "-c", "import time; time.sleep(60)", cwd=other)
    host_dumps = stop(control_process, signal.SIGABRT)
    limits = Path(f"/proc/{process.pid}/limits").read_text()
    limit = re.search(r"Max core file size +(\w+) +(\w+) ", limits).groups()
    dumped = stop(process, signal.SIGABRT)
    assert process.returncode == -signal.SIGABRT, process.returncode
    assert (limit, dumped, list(folder.iterdir())) == (("0", "0"), False, []), (limit, dumped, list(folder.iterdir()))
    print(f"    another program that dies alike {'leaves a' if host_dumps else 'leaves no'} core dump on this host")


def canaries():
    """Neither an assertion nor a private key is in anything that was printed or served."""
    for process in processes:
        if process.args[0] == PROGRAM:
            PRINTED[process.log.name] = process.log.read_text()
    PRINTED["inbox"] = session.get(f"{recorder.origin}/_sandbox/inbox", timeout=10).text
    for config in LAB.glob("*.toml"):
        assert "PRIVATE KEY" not in config.read_text()
    texts = {name: text.encode() for name, text in PRINTED.items()}
    pieces = {f"assertion {number}": pieces_of(request.assertion) for number, request in enumerate(SENT)}
    keys = [memory.readable_forms(key) for key in KEYS]
    keys += [{"PKCS#12": memory.pieces(value.encode())} for value in CONTAINERS]

    with case(f"no part of {len(SENT)} assertions is in any of {len(texts)} outputs"):
        assert len(SENT) >= 30 and len(texts) >= 50, (len(SENT), len(texts))
        assert any('"level":"DEBUG"' in text or '"level":"TRACE"' in text for text in PRINTED.values()), "no verbose log"
        shown = {name: memory.found(pieces, [text]) for name, text in texts.items()}
        assert not any(shown.values()), {name: found for name, found in shown.items() if found}
    with case(f"no form of {len(KEYS)} private keys is in any of these outputs"):
        shown = {name: [memory.found(known, [text]) for known in keys] for name, text in texts.items()}
        assert not any(map(any, shown.values())), {name: found for name, found in shown.items() if any(found)}
        assert not [name for name, text in PRINTED.items() if "PRIVATE KEY" in text]
    with case("the same search finds an assertion and a key in a text that has them"):
        number = len(SENT) - 1
        text = f'{{"form": "client_assertion={SENT[number].assertion}"}}'.encode()
        assert memory.found(pieces, [text]) == [f"assertion {number}"]
        for name, parts in keys[0].items():
            assert name in memory.found(keys[0], [b"key: " + parts[1]]), name


def pieces_of(assertion):
    """What only this assertion has: its whole claims, and the pieces of its signature."""
    _, claims, signature = assertion.encode().split(b".")
    return [claims, *memory.pieces(signature)]


def all_different():
    with case(f"no two of {len(SENT)} assertions have the same jti"):
        ids = [jwt.decode(request.assertion, options={"verify_signature": False})["jti"] for request in SENT]
        assert len(ids) >= 30 and len(set(ids)) == len(ids), f"{len(set(ids))} ids of {len(ids)}"


try:
    start_sandbox()
    kept = sources()
    vault_identity()
    renewed()
    rejections(kept)
    compared(kept)
    memories()
    all_different()
    canaries()
except Exception:
    # What the cases need is missing.
    traceback.print_exc()
    results.append(False)
finally:
    for process in processes:
        if process.poll() is None:
            process.kill()
            process.wait(10)
print(f"{sum(results)} passed, {len(results) - sum(results)} failed")
sys.exit(not all(results))
