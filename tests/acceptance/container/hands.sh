# Shared by the parts of tests/acceptance/container/run. To be sourced, with $lab set.

await() {
    local tenths=$1
    shift
    for _ in $(seq "$tenths"); do
        "$@" && return
        sleep 0.1
    done
    echo "in vain: $*" >&2
    podman ps --all >&2
    exit 1
}

# Where systemd is at home the kernel's groups are mounted in a form that podman knows; elsewhere it may take a mount of its own.
if [ "$(stat --file-system --format %T /sys/fs/cgroup)" != cgroup2fs ]; then
    umount --lazy /sys/fs/cgroup
    mount -t cgroup2 none /sys/fs/cgroup
fi
# The storage belongs to this run only, and is removed with it.
mount -t tmpfs none /run
ip link set lo up

confined() {
    podman run --network host --read-only --read-only-tmpfs=false --cap-drop ALL --security-opt no-new-privileges "$@"
}

expect() {
    if [ "$2" != "$3" ]; then
        printf '%s: expected\n%s\nfound\n%s\n' "$1" "$3" "$2" >&2
        exit 1
    fi
}

told() { podman image inspect --format "{{.Config.$1}}" perennial:local; }

name=perennial
logged() { podman logs "$name" 2>&1 | grep "\"event\":\"$1\"" > /dev/null; }

asked() {
    curl --silent --show-error --fail --cacert "$lab/perennial/ca.pem" "https://localhost:8443/_sandbox/$1" "${@:2}"
}

# The number of the token's versions in the vault, and the writer of the newest.
versions() {
    asked state | python3 -c '
import json, sys
secrets = {secret["name"]: secret["versions"] for secret in json.load(sys.stdin)["secrets"]}
versions = secrets["partner-refresh-token"]
print(len(versions), versions[-1]["tags"].get("managed-by", versions[-1]["writer"]))'
}

# The image's health check, as Docker would run it: the expected result, and the command that must hold meanwhile.
health() {
    local found=green
    podman healthcheck run perennial > /dev/null || found=red
    expect "health check, $2" "$found" "$1"
    echo "$1: $2"
}

# Types one of the shell blocks below a heading of the page, by its number, as it stands there. What differs is the network,
# which is this lab's, and the limits that the kernel's groups would keep.
typed() {
    local block
    block=$(awk -v heading="## $1" -v number="$2" '
        /^## / { here = $0 == heading; blocks = 0 }
        /^```$/ { inside = 0 }
        here && inside && blocks == number
        /^```sh$/ { inside = 1; blocks++ }' docs/deploy-container.md | sed 's/--memory 64m --pids-limit 128//')
    [ -n "$block" ]
    printf '%s\n' "$block" | sed 's/^/$ /'
    (cd "$lab" && eval "$block")
}
docker() {
    if [ "$1" = run ]; then
        set -- run --network host "${@:2}"
    fi
    podman "$@"
}
