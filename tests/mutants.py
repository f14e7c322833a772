#!/usr/bin/env python3
"""Changes the code that decides at random places, one at a time, and counts how many changes the tests notice.

    tests/mutants.py SEED [COUNT]    COUNT changes (60) that SEED picks

All changes are compiled into one program. A changed function holds its body several times, and the environment variable
PERENNIAL_MUTANT picks one of them. The unit tests run first. The simulation, by chance and by story, runs on what the
unit tests let pass, which takes 40 seconds. Needs cargo-mutants (`cargo install cargo-mutants --locked`) and works in a
copy of the tree below the target directory. Half an hour on two cores.
"""

import collections
import concurrent.futures
import json
import os
import pathlib
import random
import shutil
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")).resolve()
COPY = TARGET / "mutants" / "tree"
# The rooms that decide; what tests are made of does not count.
ROOMS = ["src/rotation/**", "src/renewal/look.rs", "src/renewal/schedule.rs", "src/renewal/state.rs",
         "src/renewal/report.rs", "src/renewal/health.rs", "src/renewal/certificate/look.rs",
         "src/renewal/certificate/schedule.rs", "src/renewal/certificate/state.rs", "src/status/**", "src/alert/rules.rs", "src/alert/rules/**", "src/ports/diagnosis.rs",
         "src/ports/diagnosis/**"]
NO_ROOMS = ["**/samples.rs", "**/tests.rs"]
# Everything that plays the rotation or its alerts in simulated time, except what takes long by itself.
SIMULATIONS = ["rotation::", "alert::", "--skip", "long_list", "--skip", "pacing", "--skip", "interleavings"]
CHOOSER = """
/// The change that the environment picks; 0 for none.
#[doc(hidden)]
pub fn chosen_mutant() -> usize {
    static CHOSEN: std::sync::LazyLock<usize> =
        std::sync::LazyLock::new(|| std::env::var("PERENNIAL_MUTANT").map_or(0, |id| id.parse().expect("a number")));
    *CHOSEN
}
"""
ENVIRONMENT = {**os.environ, "CARGO_TARGET_DIR": str(TARGET / "mutants" / "build"), "CARGO_PROFILE_TEST_DEBUG": "0",
               "RUSTFLAGS": "--cap-lints warn"}


def listed():
    """All changes that cargo-mutants knows for these rooms."""
    rooms = [word for room in ROOMS for word in ("--file", room)] + [
        word for room in NO_ROOMS for word in ("--exclude", room)]
    told = subprocess.run(["cargo", "mutants", *rooms, "--list", "--json", "--diff"], cwd=COPY, text=True, check=True,
                          stdout=subprocess.PIPE)
    # A change outside a function is to a constant, which the compiler needs at once.
    return [one for one in json.loads(told.stdout) if one["function"]]


def position(text, place):
    """The index in a text of a line and column that count from one."""
    lines = text.splitlines(keepends=True)
    return sum(map(len, lines[:place["line"] - 1])) + place["column"] - 1


def changed(text, diff):
    """The text after a unified diff."""
    lines, result, taken = text.splitlines(keepends=True), [], 0
    for line in diff.splitlines(keepends=True):
        if line.startswith("@@"):
            start = int(line.split()[1][1:].split(",")[0]) - 1
            result += lines[taken:start]
            taken = start
        elif line.startswith(("---", "+++", "\\")):
            continue
        elif line.startswith("+"):
            result.append(line[1:])
        else:
            assert lines[taken] == line[1:], (lines[taken], line)
            taken += 1
            if line.startswith(" "):
                result.append(line[1:])
    return "".join(result + lines[taken:])


def body_of(text, start):
    """The index of the brace that opens the body of the function at an index."""
    depth = 0
    for index in range(start, len(text)):
        depth += {"(": 1, "[": 1, ")": -1, "]": -1}.get(text[index], 0)
        if text[index] == "{" and depth == 0:
            return index
    raise AssertionError("a function without a body")


def write(originals, numbered):
    """Writes each changed file with all its bodies. Returns the lines of each change, by file."""
    places = collections.defaultdict(list)
    for path, text in originals.items():
        of_file = {number: one for number, one in numbered.items() if one["file"] == path}
        spans = collections.defaultdict(list)
        for number, one in of_file.items():
            span = one["function"]["span"]
            spans[position(text, span["start"]), position(text, span["end"])].append(number)
        # From the end, so that the indices of the functions before stay right.
        pieces, rest = [], text
        for (start, end), numbers in sorted(spans.items(), reverse=True):
            body = body_of(text, text.index("fn ", start))
            # A constant function cannot choose, so none of its changes compiles.
            arms = [(numbers, "{ match crate::chosen_mutant() {"), "\n"]
            for number in numbers:
                other = changed(text, of_file[number]["diff"])
                arms.append(([number], f"{number} => {other[body:end + len(other) - len(text)]}\n"))
            arms.append(f"_ => {text[body:end]}\n}} }}")
            pieces.append(rest[end:])
            pieces.append(arms)
            rest = rest[:body]
        pieces.append(rest)
        written, line = [], 1
        for piece in reversed(pieces):
            for part in piece if isinstance(piece, list) else [piece]:
                numbers, part = part if isinstance(part, tuple) else ([], part)
                places[path] += [(line, line + part.count("\n"), number) for number in numbers]
                written.append(part)
                line += part.count("\n")
        (COPY / path).write_text("".join(written))
    return places


def build(originals, numbered):
    """Builds the tests. Returns the programs of unit and integration tests, and the changes that do not compile."""
    broken = set()
    while True:
        places = write(originals, {number: one for number, one in numbered.items() if number not in broken})
        told = subprocess.run(["cargo", "test", "--no-run", "--lib", "--test", "it", "--message-format", "json"], cwd=COPY,
                              env=ENVIRONMENT, text=True, check=False, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        messages = [json.loads(line) for line in told.stdout.splitlines() if line.startswith("{")]
        if told.returncode == 0:
            programs = {tuple(one["target"]["kind"]): one["executable"] for one in messages if one.get("executable")}
            return programs[("lib",)], programs[("test",)], broken
        errors = [one["message"] for one in messages
                  if one["reason"] == "compiler-message" and one["message"]["level"] == "error"]
        at = {(span["file_name"], span["line_start"]) for error in errors for span in error["spans"]}
        found = {number for path, line in at for start, end, number in places[path] if start <= line <= end}
        assert found, "\n".join(error["rendered"] for error in errors)
        broken |= found


def passes(program, number, words=(), longest=None):
    """Whether the tests pass with a change. A change that makes them hang is noticed."""
    environment = {**ENVIRONMENT, "PERENNIAL_MUTANT": str(number), "RUST_BACKTRACE": "0",
                   "CARGO_MANIFEST_DIR": str(COPY)}
    try:
        done = subprocess.run([program, *words], cwd=COPY, env=environment, check=False, timeout=longest,
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0


def main():
    seed, count = int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 60
    shutil.rmtree(COPY, ignore_errors=True)
    shutil.copytree(ROOT, COPY, ignore=shutil.ignore_patterns("target", ".git"))
    every = listed()
    # Some do not compile, which shows only in the build, so more are drawn.
    drawn = random.Random(seed).sample(every, min(len(every), count * 2))
    numbered = dict(enumerate(drawn, start=1))
    originals = {one["file"]: (COPY / one["file"]).read_text() for one in drawn}
    root = COPY / "src" / "lib.rs"
    root.write_text(root.read_text() + CHOOSER)
    units, whole, broken = build(originals, numbered)
    chosen = [number for number in numbered if number not in broken][:count]
    # A change that makes the tests ten times as slow has made them hang.
    longest = {}
    for program, words in ((units, ()), (whole, SIMULATIONS)):
        begun = time.monotonic()
        assert passes(program, 0, words), "the tests fail without a change"
        longest[program] = 60 + 10 * (time.monotonic() - begun)
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        missed = [number for number, passed in zip(chosen, pool.map(lambda one: passes(units, one, (), longest[units]), chosen)) if passed]
        by_units = len(chosen) - len(missed)
        print(f"{by_units} of {len(chosen)} caught by unit tests", flush=True)
        judged = pool.map(lambda one: passes(whole, one, SIMULATIONS, longest[whole]), missed)
        missed = [number for number, passed in zip(missed, judged) if passed]
    for number in missed:
        print(f"missed {numbered[number]['name']}")
    for number in sorted(number for number in broken if number < max(chosen)):
        print(f"does not compile {numbered[number]['name']}")
    print(f"seed {seed}: {len(chosen) - len(missed)} caught of {len(chosen)}, {by_units} of them by unit tests alone, "
          f"of {len(every)} that there are")
    return 0 if len(missed) * 20 <= len(chosen) else 1


sys.exit(main())
