#!/usr/bin/env bash
# Runs every fuzz target for 20 seconds, or for the number of seconds in the argument. It starts from the saved corpus and
# does not change it. Whatever a service, a vault or a file contains, the program must not panic, use too much memory or show
# a secret. The script keeps an input that breaks this rule below `fuzz/artifacts/`. To run for hours, with cargo-fuzz:
# `RUSTC_BOOTSTRAP=1 cargo fuzz run TARGET --sanitizer none`.
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=${1:-20}
target=$(realpath -m "${CARGO_TARGET_DIR:-target}")

RUSTC_WRAPPER=$PWD/fuzz/instrument.sh cargo build --locked --manifest-path fuzz/Cargo.toml --target-dir "$target" --bins

found=$(mktemp -d)
trap 'rm -rf "$found"' EXIT
fuzz() {
    local name=$1
    mkdir -p "$found/$name" "fuzz/artifacts/$name"
    if ! "$target/debug/$name" -max_total_time="$seconds" -max_len=8192 -rss_limit_mb=256 -malloc_limit_mb=64 \
        -timeout=5 -print_final_stats=1 -artifact_prefix="fuzz/artifacts/$name/" \
        "$found/$name" "fuzz/corpus/$name" >"$found/$name.log" 2>&1; then
        cat "$found/$name.log" >&2
        return 1
    fi
    local runs new peak
    stat() { sed -n "s/^stat::$1: *//p" "$found/$name.log"; }
    runs=$(stat number_of_executed_units) new=$(stat new_units_added) peak=$(stat peak_rss_mb)
    # A target without coverage data, or with too few runs, would prove nothing.
    if [ "$new" -lt 20 ] || [ "$runs" -lt 1000 ]; then
        cat "$found/$name.log" >&2
        return 1
    fi
    printf '%-16s %9s inputs, %5s of them new, peak %s MB\n' "$name" "$runs" "$new" "$peak"
}
broken=0
running=()
for corpus in fuzz/corpus/*/; do
    fuzz "$(basename "$corpus")" &
    running+=($!)
    # Runs two targets at a time.
    if [ ${#running[@]} -eq 2 ]; then
        wait "${running[0]}" || broken=1
        running=("${running[1]}")
    fi
done
for pid in "${running[@]}"; do
    wait "$pid" || broken=1
done
exit $broken
