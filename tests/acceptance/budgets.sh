#!/usr/bin/env bash
# Measures the budgets of the shipped program on this machine, against the sandbox. Prints a table, and fails if a budget is
# broken. Takes the shipped program, or builds it. Needs curl. Takes about four minutes. With `--many` as first argument, it
# also measures 100, 1,000 and 10,000 tokens. That takes a quarter of an hour.
#
# A MB is 1024 kB here, as the kernel counts. Memory is the RSS when every token is current and no step has been due for a
# while. A time runs from the start of the process to the timestamp of a log line. It is the best of five.
set -euo pipefail
cd "$(dirname "$0")/../.."

many=
if [ "${1:-}" = --many ]; then
    many=yes
    shift
fi
if [ $# -gt 0 ]; then
    program=$1
else
    program=$(deploy/release/build)
fi
some=501
more=2001
broken=0
. tests/acceptance/lab.sh

# name, measured, unit, budget
row() {
    local verdict=ok
    if [ "$2" -gt "$4" ]; then
        verdict=BROKEN
        broken=1
    fi
    printf '%-40s %9s %-6s budget %9s  %s\n' "$1" "$2" "$3" "$4" "$verdict"
}

rss() { sed -n 's/^VmRSS:\s*\([0-9]*\) kB/\1/p' "/proc/$1/status"; }
ticks() { awk '{ print $14 + $15 }' "/proc/$1/stat"; }

# The milliseconds from a start (in nanoseconds) to the first event of this name in a log.
after() {
    local at
    at=$(sed -n "s/.*\"timestamp\":\"\([^\"]*\)\".*\"event\":\"$2\".*/\1/p" "$1" | head -1)
    echo $((($(date -d "$at" +%s%N) - $3) / 1000000))
}

run() {
    : > "$lab/log"
    started=$(date +%s%N)
    PERENNIAL__HTTP__LISTEN=127.0.0.1:0 "$program" run --config "$1" --log-format json 2> "$lab/log" &
    pid=$!
    pids+=($pid)
}
end() {
    kill "$1"
    wait "$1" || true
}
# Counts in the log, since frequent requests for metrics would cost processor time too.
rotated() { [ "$(grep -c '"event":"rotated"' "$lab/log")" -ge "$1" ]; }
address() { sed -n 's/.*"event":"listening".*"address":"\([^"]*\)".*/\1/p' "$lab/log"; }
current() {
    curl -s "http://$(address)/metrics" | grep -c "^perennial_tokens{state=\"current\"} $1\$" > /dev/null
}

requests() {
    local counts
    counts=$(curl -s "http://$(address)/metrics" | sed -n 's/^perennial_http_client_request_duration_seconds_count{.*} //p' | paste -sd+)
    echo $((counts))
}
# The shortest time that the limits allow, in milliseconds: 200 new versions in ten seconds, all in one vault.
floor() { echo $((($1 - 1) / 200 * 10000)); }

# Starts a sandbox with this number of tokens. Each has its own tenant, user, app and task, so that no loop rule delays a
# token.
stand_in() {
    "$program" sandbox --dir "$lab/$1" --listen 127.0.0.1:0 --tokens "$1" > "$lab/sandbox.log" 2>&1 &
    sandbox=$!
    pids+=("$sandbox")
    await 300 grep -qs PERENNIAL_CONFIG "$lab/sandbox.log"
}

# Rotates this number of tokens, measures until no step is due, and leaves the process idle.
rotate_all() {
    stand_in "$1"
    run "$lab/$1/perennial.toml"
    await $(($1 + 900)) rotated "$1"
    took=$((($(date +%s%N) - started) / 1000000))
    worked=$(ticks "$pid")
    await 100 current "$1"
    # Includes the start and everything that a rotation needs: reads, a redemption, a call to Partner Center, a write, a
    # list.
    each=$((worked * 1000000 / $(getconf CLK_TCK) / $1))
    printf '%-40s %9s ms, %s requests, %s ms at best\n' "$1 tokens, all rotated after" "$took" "$(requests)" "$(floor "$1")"
    sleep 2
    all=$(rss "$pid")
    printf '%-40s %9s kB\n' "$1 tokens, memory" "$all"
}
end_all() {
    end "$pid"
    end "$sandbox"
}

stand_in 1

row "binary" "$(stat -c %s "$program")" bytes 7340032

listening=999999
ready=999999
for _ in 1 2 3 4 5; do
    run "$lab/1/perennial.toml"
    await 100 grep -qs '"event":"proved"' "$lab/log"
    at=$(after "$lab/log" listening "$started")
    [ "$at" -lt "$listening" ] && listening=$at
    at=$(after "$lab/log" proved "$started")
    [ "$at" -lt "$ready" ] && ready=$at
    end "$pid"
done
row "start to listening" "$listening" ms 50
row "start to the first proof" "$ready" ms 200

run "$lab/1/perennial.toml"
await 100 current 1
sleep 2
one=$(rss "$pid")
row "memory, 1 token" "$one" kB 9216
before=$(ticks "$pid")
sleep 10
row "processor, 10 s idle" $(($(ticks "$pid") - before)) ticks 0
end_all

# Compares two runs with many tokens, since both have the same number of open connections.
rotate_all $some
fewer=$all
end_all

rotate_all $more
row "processor per rotation" "$each" us 1500
row "memory, each further token" $(((all - fewer) * 1024 / (more - some))) bytes 4096
before=$(ticks "$pid")
sleep 10
row "processor, 10 s idle, $more tokens" $(($(ticks "$pid") - before)) ticks 1
end_all

if [ -n "$many" ]; then
    for count in 100 1000 10000; do
        rotate_all $count
        end_all
        [ "$count" -gt 100 ] || least=$each
        row "$count tokens, processor per rotation" "$each" us $((least * 11 / 10))
        [ "$count" -lt 10000 ] || row "$count tokens, all rotated after" "$took" ms $(($(floor "$count") * 11 / 10))
    done
    row "memory, each further of 10000 tokens" $(((all - fewer) * 1024 / (10000 - some))) bytes 4096
fi

exit "$broken"
