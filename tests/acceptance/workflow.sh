#!/usr/bin/env bash
# The forge's workflow, as far as it can be judged without the forge: its schema, what zizmor finds unsafe (unpinned actions,
# injected text, rights too wide), and its scripts by shellcheck. Needs Python 3.11 with venv, and shellcheck; what it
# installs goes below the build's target directory.
set -euo pipefail
cd "$(dirname "$0")/../.."

workflow=.github/workflows/release.yml
venv=$(realpath -m "${CARGO_TARGET_DIR:-target}/workflow-venv")
wanted='check-jsonschema==0.39.0 zizmor==1.32.0'
if [ "$(cat "$venv/wanted" 2> /dev/null)" != "$wanted" ]; then
    rm -rf "$venv"
    python3 -m venv "$venv"
    read -ra packages <<< "$wanted"
    "$venv/bin/pip" install --quiet --disable-pip-version-check --require-virtualenv "${packages[@]}"
    echo "$wanted" > "$venv/wanted"
fi

"$venv/bin/check-jsonschema" --builtin-schema vendor.github-workflows "$workflow"
"$venv/bin/zizmor" --offline --quiet --no-progress "$workflow"
scripts=$("$venv/bin/python" - "$workflow" << 'EOF_PYTHON'
import sys
from ruamel.yaml import YAML

for job in YAML(typ="safe").load(open(sys.argv[1]))["jobs"].values():
    for step in job["steps"]:
        if "run" in step:
            # Each in a shell of its own, as on the forge.
            print("(\n" + step["run"] + "\n)")
EOF_PYTHON
)
printf '#!/usr/bin/env bash\n%s\n' "$scripts" | shellcheck --exclude SC2153 -
shellcheck deploy/release/{build,notes,papers}
echo "$workflow: nothing to say"
