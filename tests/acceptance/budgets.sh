#!/usr/bin/env bash
# The budgets of the shipped binary, measured on this machine against the sandbox: a table, and failure where
# one is broken. Takes the program as it is shipped, or builds it. Needs curl. About a minute and a half.
#
# A MB is 1024 kB here, as the kernel counts. Memory is RSS after every token is current and nothing has been
# due for a while; times are between the start of the process and the timestamp of a log line, the best of five.
set -euo pipefail
cd "$(dirname "$0")/../.."

if [ $# -gt 0 ]; then
    program=$1
else
    program=$(deploy/release/build)
fi
some=100
more=500
broken=0
. tests/acceptance/lab.sh

# name, measured, unit, budget
row() {
    local verdict=ok
    if [ "$2" -gt "$4" ]; then
        verdict=BROKEN
        broken=1
    fi
    printf '%-34s %9s %-6s budget %9s  %s\n' "$1" "$2" "$3" "$4" "$verdict"
}

rss() { sed -n 's/^VmRSS:\s*\([0-9]*\) kB/\1/p' "/proc/$1/status"; }
ticks() { awk '{ print $14 + $15 }' "/proc/$1/stat"; }

# The milliseconds from a start in nanoseconds to the first such event in a log.
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
# Asked of the log: to be asked for its metrics all the time is work too.
rotated() { [ "$(grep -c '"event":"rotated"' "$lab/log")" -ge "$1" ]; }
current() {
    local address
    address=$(sed -n 's/.*"event":"listening".*"address":"\([^"]*\)".*/\1/p' "$lab/log")
    curl -s "http://$address/metrics" | grep -c "^perennial_tokens{state=\"current\"} $1\$" > /dev/null
}

# Each token has a tenant, a user, an app and a task of its own, so that no loop rule holds one up.
"$program" sandbox --dir "$lab" --listen 127.0.0.1:0 --tokens $((more + 1)) > "$lab/sandbox.log" 2>&1 &
pids+=($!)
await 100 grep -qs PERENNIAL_CONFIG "$lab/sandbox.log"

first() { awk -v most="$1" '/^\[\[token\]\]/ { n++ } n <= most' "$lab/perennial.toml"; }
first 1 > "$lab/one.toml"
first $((some + 1)) > "$lab/some.toml"

row "binary" "$(stat -c %s "$program")" bytes 7340032

listening=999999
ready=999999
for _ in 1 2 3 4 5; do
    run "$lab/one.toml"
    await 100 grep -qs '"event":"proved"' "$lab/log"
    at=$(after "$lab/log" listening "$started")
    [ "$at" -lt "$listening" ] && listening=$at
    at=$(after "$lab/log" proved "$started")
    [ "$at" -lt "$ready" ] && ready=$at
    end "$pid"
done
row "start to listening" "$listening" ms 50
row "start to the first proof" "$ready" ms 200

run "$lab/one.toml"
await 100 current 1
sleep 2
one=$(rss "$pid")
row "memory, 1 token" "$one" kB 9216
before=$(ticks "$pid")
sleep 10
row "processor, 10 s idle" $(($(ticks "$pid") - before)) ticks 0
end "$pid"

# From some to many, since the open connections are as many in both, and not more with more tokens.
run "$lab/some.toml"
await 900 rotated "$some"
await 100 current $((some + 1))
sleep 2
fewer=$(rss "$pid")
end "$pid"

run "$lab/perennial.toml"
await 900 rotated $((more - some))
worked=$(ticks "$pid")
took=$((($(date +%s%N) - started) / 1000000))
address=$(sed -n 's/.*"event":"listening".*"address":"\([^"]*\)".*/\1/p' "$lab/log")
requests=$(curl -s "http://$address/metrics" | sed -n 's/^perennial_http_client_request_duration_seconds_count{.*} //p' | paste -sd+)
await 100 current $((more + 1))
printf '%-34s %9s ms, %s requests\n' "all $((more + 1)) tokens rotated after" "$took" "$((requests))"
# With the start and all that a rotation needs: reads, a redemption, a question to Partner Center, a write, a list.
row "processor per rotation" $((worked * 1000000 / $(getconf CLK_TCK) / (more - some))) us 1500
sleep 2
all=$(rss "$pid")
printf '%-34s %9s kB\n' "memory, $((more + 1)) tokens" "$all"
row "memory, each further token" $(((all - fewer) * 1024 / (more - some))) bytes 4096
before=$(ticks "$pid")
sleep 10
row "processor, 10 s idle, $((more + 1)) tokens" $(($(ticks "$pid") - before)) ticks 1
end "$pid"

exit "$broken"
