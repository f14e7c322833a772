"""Tests the effects of an upgrade or rollback on a token and on the receivers of alerts.

Each story has its own simulated world. After each story, no token is lost. docs/upgrading.md describes the messages that
people get a second time.
"""

import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

from town import Town, until

PROGRAMS, LAB = [str(Path(program).resolve()) for program in sys.argv[2:0:-1]], Path(sys.argv[3])
OPENED = "Critical: Sign-in required (partner-center)"
OVER = "Resolved: Sign-in required (partner-center)"
OF_THE_OLD = "Critical: Somebody must sign in again (partner-center)"
OVER_OF_THE_OLD = "Over: Somebody must sign in again (partner-center)"
# The first version treats conditions older than two minutes, by the vault's clock, as reported.
GROWN_OLD = "4m"
LOOP_RULE = "6m"


def rotated(town, program):
    """Rotates once, with a command."""
    before = town.newest()["id"]
    code, said = town.apart(lambda: town.command(program, "rotate", "--force", "--json"))
    assert code == 0, said
    assert town.newest()["tags"]["redeemed-from"] == before
    town.sound()


def noted(town, tag="refused-kind"):
    return until(f"the tag {tag}", lambda: town.newest()["tags"].get(tag))


def upgrade_and_back_without_trouble(town):
    """Old, new, old, new version on a working token: each continues without an alert."""
    rotated(town, town.old)
    old = town.run(town.old)
    old.proves(2)
    old.stop()
    # The first version does not record that Partner Center accepted the token.
    code, said = town.command(town.new, "status", "--monitor")
    assert code == 3 and "UNKNOWN" in said, (code, said)
    new = town.run(town.new)
    new.proves()
    until("the verdict", lambda: town.newest()["tags"].get("verdict", "").startswith("usable"))
    code, said = town.command(town.new, "status", "--monitor")
    assert code == 0, (code, said)
    for program in [town.old, town.new, town.old, town.old, town.new, town.new]:
        town.daemons[-1].stop()
        town.passes("8d")
        daemon = town.run(program)
        until("a rotation by the daemon", lambda: daemon.events("rotated"))
        daemon.proves()
        town.sound()
    town.daemons[-1].stop()
    # Perennial's own versions are disabled once they are two rotations old, whichever program wrote them.
    on = [version for version in town.versions() if version["enabled"] and version["tags"].get("managed-by")]
    assert len(on) == 2, [version["created"] for version in on]
    assert not town.read() and not town.opened(), (town.read(), town.opened())


def an_incident_goes_on_in_the_new_version(town):
    """Rejected before the upgrade, signed in after it: one open incident, closed under its old id and its new one."""
    rotated(town, town.old)
    old = town.run(town.old)
    old.proves()
    town.control("revoke", {})
    old.look()
    until("both are told", lambda: town.read() and town.opened())
    assert noted(town) == "login_required"
    assert "refused-code" not in town.newest()["tags"]
    town.passes(GROWN_OLD)
    old.stop()

    code, said = town.command(town.new, "status")
    assert code == 3 and "login_required" in said, (code, said)
    [old_id] = town.incidents()[0]
    new = town.run(town.new)
    assert until("the code", lambda: town.newest()["tags"].get("refused-code")) == "AADSTS50173"
    # The first version did not record its alerts, so people get one more message (docs/upgrading.md).
    until("people are told again", lambda: len(town.read()) == 2)
    until("it has its new id", lambda: len(town.incidents()[0]) == 1 and old_id not in town.incidents()[0])
    new.look()
    until("it is marked as told", lambda: town.newest()["tags"].get("told"))
    new.stop()
    again = town.run(town.new)
    until("a look", lambda: again.events("attempt_failed"))
    again.look()
    until("a second look", lambda: len(again.events("attempt_failed")) > 1)
    town.signs_in()
    again.look()
    until("all is over", lambda: not town.incidents()[0] and len(town.read()) == 3)
    town.sound()
    assert town.read() == [OF_THE_OLD, OPENED, OVER], town.read()
    assert [kind for kind, _ in town.opened()] == ["login_required"] * 2, town.opened()


def an_incident_that_ends_between_the_versions(town):
    """Rejected and reported before the upgrade, signed in while no daemon runs: the pager and the webhook get the end."""
    rotated(town, town.old)
    old = town.run(town.old)
    old.proves()
    town.control("revoke", {})
    old.look()
    until("both are told", lambda: town.read() and town.opened())
    noted(town)
    town.passes(GROWN_OLD)
    old.stop()
    town.signs_in()
    new = town.run(town.new)
    new.proves()
    until("the incident is closed", lambda: not town.incidents()[0])
    town.sound()
    assert town.read() == [OF_THE_OLD], town.read()
    assert len(town.opened()) == 1, town.opened()


def a_rollback_in_the_middle_of_an_incident(town):
    """Rejected under the new version, signed in under the old version, then a second upgrade."""
    rotated(town, town.new)
    new = town.run(town.new)
    new.proves()
    town.control("revoke", {})
    new.look()
    until("both are told", lambda: town.read() and town.opened())
    [new_id] = town.incidents()[0]
    new.look()
    for tag in ("refused-code", "told"):
        noted(town, tag)
    town.passes(GROWN_OLD)
    new.stop()
    old = town.run(town.old)
    until("a look", lambda: old.events("attempt_failed"))
    old.look()
    until("a second look", lambda: len(old.events("attempt_failed")) > 1)
    assert town.read() == [OPENED], town.read()
    town.signs_in()
    old.look()
    until("what the old version told is over", lambda: [*town.incidents()[0]] == [new_id] and len(town.read()) == 2)
    town.sound()
    old.stop()
    rotated(town, town.old)
    new = town.run(town.new)
    new.proves(2)
    # The old version did not know the incident of the new version and kept no mark of it. A person closes it by hand
    # (docs/upgrading.md).
    assert [*town.incidents()[0]] == [new_id], town.incidents()
    assert town.read() == [OPENED, OVER_OF_THE_OLD], town.read()
    assert len(town.opened()) == 2, town.opened()
    town.sound()


def a_kind_that_has_a_new_name(town):
    """The old version reported these failures under a broader kind: no incident stays open under the old name."""
    rotated(town, town.old)
    old = town.run(town.old)
    old.proves()
    scope = {"peer": "entra", "operation": "redeem", "error": "invalid_scope", "code": 70011}
    town.control("faults", scope)
    old.look()
    until("both are told", lambda: town.read() and town.opened())
    assert noted(town) == "policy_blocked"
    town.passes(GROWN_OLD)
    old.stop()
    new = town.run(town.new)
    until("it has its new name", lambda: "app_misconfigured" in town.incidents()[0].values())
    new.look()
    until("its new name is noted", lambda: town.newest()["tags"].get("refused-kind") == "app_misconfigured")
    town.control("faults", method="DELETE")
    new.look()
    until("all is over", lambda: not town.incidents()[0])
    town.sound()
    kinds = [kind for kind, _ in town.opened()]
    assert kinds == ["app_misconfigured", "policy_blocked"], kinds


def a_policys_mark_without_a_code(town):
    """A policy rejects a sign-in, and the old version records that: the new version does not count it as dead."""
    rotated(town, town.old)
    old = town.run(town.old)
    old.proves()
    sign_in = town.signs_in()
    town.control("faults", {"peer": "entra", "operation": "redeem", "error": "invalid_grant", "code": 53003})
    old.look()
    assert noted(town) == "policy_blocked"
    old.stop()
    new = town.run(town.new)
    until("a look", lambda: new.events("attempt_failed", kind="policy_blocked"))
    new.look()
    until("a second look", lambda: len(new.events("attempt_failed")) > 1)
    assert town.newest()["id"] == sign_in, "a sign-in under a policy was written over"
    town.control("faults", method="DELETE")
    new.proves()
    until("all is over", lambda: not town.incidents()[0])
    town.sound(sign_in)


def both_at_once(town):
    """Both daemons and both commands on one secret, while users sign in."""
    rng = random.Random(7)
    daemons = [town.run(program) for program in PROGRAMS]
    for daemon in daemons:
        daemon.proves()
    sign_ins = 0
    for round in range(24):
        town.passes(LOOP_RULE)
        ended = []
        commands = [
            threading.Thread(target=lambda program=program: ended.append(town.command(program, "rotate", "--force")))
            for program in PROGRAMS
        ]
        for command in commands:
            command.start()
        if round % 2:
            time.sleep(rng.random() * 0.3)
            town.signs_in()
            sign_ins += 1
        for daemon in daemons:
            daemon.look()
        for command in commands:
            command.join()
        # To a daemon, the moved clock was wrong and is now correct. So its day with 24 redemptions continues and ends
        # normally.
        if round % 4 == 3:
            for index, program in enumerate(PROGRAMS):
                # The daemon dies in the middle of its work.
                daemons[index].stop(signal.SIGKILL if round // 4 % 2 == index else signal.SIGTERM)
                daemons[index] = town.run(program)
        for daemon in daemons:
            daemon.proves()
        bad = [said for code, said in ended if code not in (0, 1)]
        assert not bad, bad
        town.sound()
    assert sign_ins == 12
    for daemon in daemons:
        daemon.stop()
    kinds = {kind for kind, _ in town.opened()}
    # Perennial reports an overwritten and restored sign-in, and also a second writer.
    assert kinds <= {"buried_sign_in", "foreign_writer"}, town.opened()
    return f"{len(town.versions())} versions"


def a_strict_token(town):
    """An issuer that ends used tokens: old, new, old, new version, one after the other."""
    for program in [town.old, town.new] * 2:
        rotated(town, program)
        daemon = town.run(program)
        daemon.proves()
        daemon.stop()
        town.sound()
        town.passes(LOOP_RULE)
    assert not town.read(), town.read()


def a_configuration_of_the_new_version(town):
    """The first version ends with 78 and names the keys that it does not know. Without these keys it runs."""
    variable = {"PERENNIAL__ALERTS__COMMAND": "docker exec perennial perennial"}
    code, said = town.command(town.new, "rotate", **variable)
    assert code == 0, said
    code, said = town.command(town.old, "rotate", **variable)
    assert code == 78 and "alerts" in said.lower(), (code, said)
    rotated(town, town.old)


STORIES = [
    (upgrade_and_back_without_trouble, []),
    (an_incident_goes_on_in_the_new_version, []),
    (an_incident_that_ends_between_the_versions, []),
    (a_rollback_in_the_middle_of_an_incident, []),
    (a_kind_that_has_a_new_name, []),
    (a_policys_mark_without_a_code, []),
    (both_at_once, []),
    (a_strict_token, ["--issuer", "strict"]),
    (a_configuration_of_the_new_version, []),
]


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    wanted = sys.argv[4:]
    failed = []
    for story, sandbox in STORIES:
        if wanted and story.__name__ not in wanted:
            continue
        began = time.monotonic()
        town = Town(PROGRAMS, LAB, story.__name__, *sandbox)
        try:
            told = story(town)
            result = "ok" + (f", {told}" if told else "")
        except (AssertionError, KeyError, OSError, subprocess.SubprocessError) as error:
            failed.append(story.__name__)
            result = f"FAILED: {type(error).__name__} {error}"
            for daemon in town.daemons:
                print(f"--- {daemon.path.name}\n{daemon.path.read_text()[-6000:]}", file=sys.stderr)
            print(f"--- webhook {town.incidents()}\n--- people {town.read()}", file=sys.stderr)
        finally:
            town.end()
        print(f"{time.monotonic() - began:5.1f} s  {story.__name__}: {result}", flush=True)
    assert not failed, failed


main()
