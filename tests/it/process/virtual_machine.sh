#!/bin/sh
# What a virtual machine in Azure is to the program: an address that hands out tokens. Rotates with the identity
# named, then found by itself, then through the daemon's eyes. Arguments: the program and a directory.
set -eu
program=$1
dir=$2
ip link set lo up
ip addr add 169.254.169.254/32 dev lo
"$program" sandbox --dir "$dir" --listen 127.0.0.1:8443 --identity-listen 169.254.169.254:80 > "$dir.log" 2>&1 &
sandbox=$!
trap 'kill $sandbox; rm -f "$dir.log"' EXIT
# Bounded: it writes its configuration within milliseconds.
n=0
until grep -qs PERENNIAL_CONFIG "$dir.log"; do
    n=$((n + 1))
    [ $n -lt 1000 ] || { cat "$dir.log" >&2; exit 1; }
    kill -0 $sandbox || { cat "$dir.log" >&2; exit 1; }
    sleep 0.01
done
client_id=$(sed -n 's/^client_id = "\(.*\)"/\1/p' "$dir/perennial.toml" | head -1)
# Everything of [vault] but the URL goes.
sed -i '/^\[vault\]/,/^\[cloud\]/{/^credential\|^tenant_id\|^client_id\|^client_secret/d}' "$dir/perennial.toml"
# No proxy is asked for this address, whatever the environment says.
export HTTP_PROXY=http://127.0.0.1:1 http_proxy=http://127.0.0.1:1
rotate() {
    "$program" rotate --force --json --config "$dir/perennial.toml" | tr -d '\n'
    echo
}
rotate
PERENNIAL__VAULT__CREDENTIAL=managed_identity rotate
PERENNIAL__VAULT__CREDENTIAL=managed_identity PERENNIAL__VAULT__CLIENT_ID=$client_id rotate
