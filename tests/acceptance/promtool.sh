#!/usr/bin/env bash
# Checks a running daemon's metrics and the alert rules with promtool, the checker of Prometheus. Takes the program to run.
# Needs promtool (Debian: prometheus) and curl.
set -euo pipefail

program=${1:?the program to run}
rules=$(dirname "$0")/../../deploy/prometheus
promtool check rules "$rules/rules.yml"
promtool test rules "$rules/rules_test.yml"
. "$(dirname "$0")/lab.sh"

"$program" sandbox --dir "$lab" --listen 127.0.0.1:0 > "$lab/sandbox.log" 2>&1 &
pids+=($!)
await 200 grep -qs PERENNIAL_CONFIG "$lab/sandbox.log"
PERENNIAL__HTTP__LISTEN=127.0.0.1:0 "$program" run --config "$lab/perennial.toml" --log-format json 2> "$lab/run.log" &
pids+=($!)
# Waits until the metrics contain a rotation, and calls to all services.
await 200 grep -qs '"event":"rotated"' "$lab/run.log"
address=$(sed -n 's/.*"event":"listening".*"address":"\([^"]*\)".*/\1/p' "$lab/run.log")

curl --fail --silent --show-error "http://$address/metrics" > "$lab/metrics"
promtool check metrics < "$lab/metrics"
echo "$(grep -c '^# TYPE' "$lab/metrics") metrics, $(grep -vc '^#' "$lab/metrics") series: promtool has nothing to say"
