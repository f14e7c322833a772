#!/usr/bin/env bash
# What a running daemon serves as metrics, read by Prometheus' own checker. Takes the program to run.
# Needs promtool (Debian: prometheus) and curl.
set -euo pipefail

program=${1:?the program to run}
lab=$(mktemp -d)
pids=()
finish() {
    for pid in "${pids[@]}"; do
        kill "$pid" 2>/dev/null || true
        wait "$pid" 2>/dev/null || true
    done
    rm -rf "$lab"
}
trap finish EXIT

# Waits until a file holds what is wanted.
await() {
    for _ in $(seq 200); do
        grep -qs "$1" "$2" && return
        sleep 0.1
    done
    cat "$2" >&2
    exit 1
}

"$program" sandbox --dir "$lab" --listen 127.0.0.1:0 > "$lab/sandbox.log" 2>&1 &
pids+=($!)
await PERENNIAL_CONFIG "$lab/sandbox.log"
PERENNIAL__HTTP__LISTEN=127.0.0.1:0 "$program" run --config "$lab/perennial.toml" --log-format json 2> "$lab/run.log" &
pids+=($!)
# Once there is something to be seen: a rotation, and calls to all peers.
await '"event":"rotated"' "$lab/run.log"
address=$(sed -n 's/.*"event":"listening".*"address":"\([^"]*\)".*/\1/p' "$lab/run.log")

curl --fail --silent --show-error "http://$address/metrics" > "$lab/metrics"
promtool check metrics < "$lab/metrics"
echo "$(grep -c '^# TYPE' "$lab/metrics") metrics, $(grep -vc '^#' "$lab/metrics") series: promtool has nothing to say"
