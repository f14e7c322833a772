#!/usr/bin/env bash
# Every fuzz target for some seconds (20, or as many as the argument says) from the saved corpus, which it does not
# change: whatever a peer, a vault or a file says, the program does not panic, does not grow and does not talk. An
# input that breaks this is kept below `fuzz/artifacts/`. For hours instead of seconds, with cargo-fuzz:
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
    # A target that does not see where it gets to, or hardly runs, would hold for nothing.
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
    # Two at a time.
    if [ ${#running[@]} -eq 2 ]; then
        wait "${running[0]}" || broken=1
        running=("${running[1]}")
    fi
done
for pid in "${running[@]}"; do
    wait "$pid" || broken=1
done
exit $broken
