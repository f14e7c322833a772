# A folder for a script's files, and its background processes. All of them end with the script, which sources this file.
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

# Waits until a command succeeds. The first argument is the limit in tenths of a second.
await() {
    local tenths=$1
    shift
    for _ in $(seq "$tenths"); do
        "$@" && return
        sleep 0.1
    done
    echo "in vain: $*" >&2
    exit 1
}
