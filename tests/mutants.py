#!/usr/bin/env python3
"""Changes the code that decides at random places, one at a time, and counts how many changes the tests notice.

    tests/mutants.py SEED [COUNT]    COUNT changes (60) that SEED picks

The unit tests run first; what they let pass, the simulations run on, for forty seconds at most. Needs cargo-mutants
(`cargo install cargo-mutants --locked`) and works in a copy of the tree below the target directory. An hour on two cores.
"""

import json
import os
import pathlib
import random
import re
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")).resolve()
# The rooms that decide; what tests are made of does not count.
ROOMS = ["src/rotation/**", "src/status/**", "src/alert/rules.rs", "src/alert/rules/**", "src/ports/diagnosis/**"]
NO_ROOMS = ["**/samples.rs", "**/tests.rs"]
FAST = {"CARGO_PROFILE_TEST_OPT_LEVEL": "0", "CARGO_PROFILE_TEST_DEBUG": "0", "CARGO_INCREMENTAL": "1"}
SIMULATIONS = ["simulation", "whole_process"]


def mutants(copy, *words, **kind):
    rooms = [word for room in ROOMS for word in ("--file", room)] + [
        word for room in NO_ROOMS for word in ("--exclude", room)]
    return subprocess.run(["cargo", "mutants", *rooms, *words], cwd=copy, text=True, check=False, **kind)


def run(copy, chosen, place, environment, tests):
    """Runs the tests on each change. Returns those that were not noticed, and those that do not compile."""
    names = [word for name in chosen for word in ("--re", f"^{re.escape(name)}$")]
    out = TARGET / "mutants" / place
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    mutants(copy, "--in-place", "--baseline", "skip", "--timeout", "300", "--output", str(out), *names, "--", *tests,
            env={**os.environ, **environment, "CARGO_TARGET_DIR": str(TARGET / "mutants" / "build")},
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    listed = {end: (out / "mutants.out" / f"{end}.txt").read_text().splitlines()
              for end in ("caught", "missed", "timeout", "unviable")}
    missing = set(chosen) - {name for names in listed.values() for name in names}
    assert not missing, f"not run: {missing}"
    return listed["missed"], listed["unviable"]


def main():
    seed, count = int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 60
    copy = TARGET / "mutants" / "tree"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns("target", ".git"))
    listed = mutants(copy, "--list", "--json", capture_output=True)
    names = [one["name"] for one in json.loads(listed.stdout)]
    # Some do not compile, which shows only in the build, so as many more are drawn.
    drawn = random.Random(seed).sample(names, min(len(names), count * 2))
    missed, unviable, chosen = [], set(), []
    while len(chosen) < count and drawn:
        batch, drawn = drawn[:count - len(chosen)], drawn[count - len(chosen):]
        passed, broken = run(copy, batch, "units", FAST, ["--lib"])
        missed += passed
        chosen += [name for name in batch if name not in broken]
    if missed:
        missed, _ = run(copy, missed, "simulations", {},
                        ["--test", "it", "--", *SIMULATIONS])
    for name in missed:
        print(f"missed {name}")
    print(f"seed {seed}: {len(chosen) - len(missed)} caught of {len(chosen)}, of {len(names)} that there are")
    return 0 if len(missed) * 20 <= len(chosen) else 1


sys.exit(main())
