#!/usr/bin/env bash
# Tests deploy/azure as far as possible without Azure. The real Azure CLI runs deploy.sh against a simulated Azure
# (azure/az). main.bicep must ask for the same resources (azure/compare.py). Then Perennial runs against the sandbox, with
# the managed identity and only the files, variables and probes of the container app.
#
# Not tested: whether Azure accepts the requests, and the checks that only the Bicep compiler makes.
#
# Takes the program to run. Needs Python 3.11 with venv, curl, jq, shellcheck, iproute2, and the right to make a network
# namespace. Installs azure-cli (750 MB) below the build's target directory, or in the directory of AZURE_VENV.
set -euo pipefail
cd "$(dirname "$0")/../.."

program=$(realpath "${1:?the program to run}")
venv=$(realpath -m "${AZURE_VENV:-${CARGO_TARGET_DIR:-target}/azure-venv}")
if ! cmp -s tests/acceptance/azure/requirements.txt "$venv/requirements.txt"; then
    rm -rf "$venv"
    python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check --require-virtualenv -r tests/acceptance/azure/requirements.txt
    cp tests/acceptance/azure/requirements.txt "$venv/requirements.txt"
fi
# The script runs in its own network namespace. The app's port is free there, and no request can leave the machine.
if [ "${2:-}" != apart ]; then
    exec unshare --net --map-root-user "$0" "$program" apart
fi
ip link set lo up

. tests/acceptance/lab.sh
shellcheck deploy/azure/deploy.sh

"$program" sandbox --dir "$lab/sandbox" --listen 127.0.0.1:0 --identity-listen 127.0.0.1:0 --age 80d > "$lab/said" 2>&1 &
pids+=($!)
await 200 grep -qs PERENNIAL_CONFIG "$lab/said"
of_vault() { sed -n "/^\[vault\]/,/^\[cloud\]/s/^$1 = \"\(.*\)\"/\1/p" "$lab/sandbox/perennial.toml"; }

# Takes steps 2 and 3 from the guide as they are, and adds only the addresses of the sandbox.
block() { awk -v nth="$1" '/^```sh/ { on = ++n == nth; next } /^```/ { on = 0 } on' docs/deploy-azure.md; }
of_token() { sed -n "/^\[\[token\]\]/,\$s/^$1 = \"\(.*\)\"/\1/p" "$lab/sandbox/perennial.toml"; }
TENANT_ID=$(of_token tenant_id) APP_ID=$(of_token client_id)
export TENANT_ID APP_ID
block 1 | sed "s|> perennial.toml|> '$lab/perennial.toml'|" > "$lab/step-2"
block 2 | sed "s|=perennial.toml|='$lab/wanted.toml'|" > "$lab/step-3"
# shellcheck source=/dev/null
. "$lab/step-2"
{ sed -n '/^\[cloud\]/,/^$/p' "$lab/sandbox/perennial.toml" && cat "$lab/perennial.toml"; } > "$lab/wanted.toml"
export AZURE_CONFIG_DIR=$lab/az AZURE_CORE_COLLECT_TELEMETRY=no AZURE_PLAYED=$lab/played
AZURE_PLAYED_CLIENT=$(of_vault client_id) AZURE_PLAYED_VAULT=$(of_vault url)
export AZURE_PLAYED_CLIENT AZURE_PLAYED_VAULT
mkdir "$lab/bin"
printf '#!/bin/sh\nexec "%s" "%s" "$@"\n' "$venv/bin/python" "$PWD/tests/acceptance/azure/az" > "$lab/bin/az"
chmod +x "$lab/bin/az"
export PATH=$lab/bin:$PATH

deploy() {
    if ! bash -e "$lab/step-3" > "$lab/deployed" 2>&1; then
        cat "$lab/deployed" >&2
        exit 1
    fi
}
same() {
    "$venv/bin/python" tests/acceptance/azure/compare.py deploy/azure/main.bicep "$AZURE_PLAYED" vaultName="$VAULT" image="$IMAGE" \
        alertEmail="$ALERT_EMAIL" configuration="$(cat "$lab/wanted.toml")" "$@"
}
refused() {
    local wanted=$1 says=$2 code=0
    shift 2
    env CONFIGURATION="$lab/wanted.toml" "$@" deploy/azure/deploy.sh > "$lab/refused" 2>&1 || code=$?
    if [ "$code" -ne "$wanted" ] || ! grep -q "$says" "$lab/refused"; then
        cat "$lab/refused" >&2
        echo "$code, where $wanted was expected: $says" >&2
        exit 1
    fi
}

refused 2 'ALERT_EMAIL is missing' env -u ALERT_EMAIL
ALERT_URL=https://alerts.example/x deploy
same alertUrl=https://alerts.example/x
# The CLI chooses the version of the Key Vault API itself. Older versions end (docs/azure-facts.md F221).
oldest=$(sed -n "s|.*'Microsoft.KeyVault/vaults@\([0-9-]*\)'.*|\1|p" deploy/azure/main.bicep)
jq --exit-status --arg oldest "$oldest" \
    '[to_entries[] | select(.key | test("/vaults/[^/]*$")) | .value.api] | length > 0 and all(. >= $oldest)' "$AZURE_PLAYED" > "$lab/apis"
resources=$(jq length "$AZURE_PLAYED")
deploy
same
if [ "$(jq length "$AZURE_PLAYED")" -ne "$resources" ]; then
    echo "deployed again, it makes something new" >&2
    exit 1
fi
jq 'map_values(if .is.properties.vaultUri then .is.properties.enableRbacAuthorization = false else . end)' \
    "$AZURE_PLAYED" > "$lab/policies"
refused 1 'uses access policies' env AZURE_PLAYED="$lab/policies"

# Runs the program as in the container, but without a container.
app() { jq --raw-output "[.[] | select(.sent.properties.template)][0].sent.properties$1" "$AZURE_PLAYED"; }
mkdir "$lab/files"
while read -r secret file; do
    app ".configuration.secrets[] | select(.name == \"$secret\").value" > "$lab/files/$file"
done < <(app '.template.volumes[].secrets[] | "\(.secretRef) \(.path)"')
mapfile -t environment < <(app '.template.containers[0].env[] | "\(.name)=\(.value)"')
check=$(sed -n 's/.*--command ".*perennial \(check[^"]*\)"$/\1/p' docs/deploy-azure.md)
mapfile -t host < "$lab/sandbox/managed-identity.env"
env -i "${environment[@]}" "${host[@]}" "$program" run --config "$lab/files/perennial.toml" 2> "$lab/run.log" &
pids+=($!)
await 200 grep -qs '"event":"rotated"' "$lab/run.log"
mapfile -t probes < <(app '.template.containers[0].probes[].httpGet | "http://127.0.0.1:\(.port)\(.path)"')
for probe in "${probes[@]}"; do
    await 100 curl --fail --silent --show-error --output "$lab/probe" "$probe"
done
grep -o '"vault_identity":"managed_identity"' "$lab/run.log"
read -ra check <<< "$check"
env -i "${environment[@]}" "${host[@]}" "$program" "${check[@]}" --config "$lab/files/perennial.toml"
echo "${#probes[@]} probes are green, the token was rotated, and \`${check[*]}\` is green"
