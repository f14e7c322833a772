# Shared by the parts of tests/acceptance/container/run, which source this file with $lab set.

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

# On a host with systemd, the kernel's control groups are mounted in a form that podman knows. Other hosts may need a mount.
if [ "$(stat --file-system --format %T /sys/fs/cgroup)" != cgroup2fs ]; then
    umount --lazy /sys/fs/cgroup
    mount -t cgroup2 none /sys/fs/cgroup
fi
# The storage belongs to this run only. The run removes it at the end.
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

# Prints the number of the token's versions in the vault, and the writer of the newest version.
versions() {
    asked state | python3 -c '
import json, sys
secrets = {secret["name"]: secret["versions"] for secret in json.load(sys.stdin)["secrets"]}
versions = secrets["partner-refresh-token"]
print(len(versions), versions[-1]["tags"].get("managed-by", versions[-1]["writer"]))'
}

# Runs the image's health check as Docker would. Takes the expected result and the command that must succeed meanwhile.
health() {
    local found=green
    podman healthcheck run perennial > /dev/null || found=red
    expect "health check, $2" "$found" "$1"
    echo "$1: $2"
}

# Types a shell block of the page exactly as it is. Takes the heading above the block and the block's number. Only the
# network and the limits of control groups differ.
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
