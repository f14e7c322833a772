# A Debian 12 machine with a real systemd as PID 1, in a container that sees only its own loopback. `boot` starts the
# machine, and `inside` runs a command in it. It ends with the script. A script sources this file from the repository's root,
# after it has set `program` and `target`. Needs root.
#
# The root file system is made once, below the build's target directory. The changes of a script are in an overlay, which is
# removed at the end.

. tests/acceptance/lab.sh

page=docs/deploy-systemd.md
packages=ca-certificates,curl,dbus,systemd,systemd-sysv
base=$target/debian-12
# An overlay needs a suitable file system. A temporary directory may be an overlay itself, or too small.
mkdir -p "$target"
machine=$(mktemp -d "$target/machine.XXXXXX")
root=$machine/root
cgroups=()

switch_off() {
    # The signal may come more than once if a whole process group is killed.
    trap '' HUP INT TERM
    if [ -n "${nspawn:-}" ]; then
        kill "$nspawn" 2>/dev/null || true
        wait "$nspawn" 2>/dev/null || true
    fi
    # A lazy unmount: if the script was killed, a process may still use the mount.
    if mountpoint -q "$root"; then umount --lazy "$root"; fi
    rm -rf "$machine"
    for group in "${cgroups[@]}"; do
        find "$group" -depth -type d -exec rmdir {} +
    done
    finish
}
trap switch_off EXIT
trap 'exit 1' HUP INT TERM

# Installs the packages that this needs and that the host lacks.
needs() {
    local missing=() pair
    for pair in systemd-nspawn:systemd-container debootstrap:debootstrap "$@"; do
        command -v "${pair%%:*}" > /dev/null || missing+=("${pair#*:}")
    done
    if [ ${#missing[@]} -gt 0 ]; then
        apt-get update -qq
        DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends "${missing[@]}"
    fi
}

boot() {
    if [ "$(cat "$base/packages" 2>/dev/null)" != "$packages" ]; then
        rm -rf "$base"
        debootstrap --variant=minbase --include="$packages" bookworm "$base" > "$machine/debootstrap.log" \
            || { tail "$machine/debootstrap.log" >&2; exit 1; }
        echo "$packages" > "$base/packages"
    fi
    mkdir "$machine"/{root,upper,work}
    mount -t overlay overlay -o "lowerdir=$base,upperdir=$machine/upper,workdir=$machine/work" "$root"
    : > "$root/etc/machine-id"
    echo '127.0.0.1 localhost' > "$root/etc/hosts"
    # Creates separate control groups for systemd's own groups, so that they can be removed at the end.
    local hierarchy
    for hierarchy in /sys/fs/cgroup/systemd /sys/fs/cgroup/unified; do
        if [ -d "$hierarchy" ]; then cgroups+=("$hierarchy/$(basename "$machine")"); fi
    done
    [ ${#cgroups[@]} -eq 0 ] || mkdir "${cgroups[@]}"
    (
        for group in "${cgroups[@]}"; do echo "$BASHPID" > "$group/cgroup.procs"; done
        export SYSTEMD_NSPAWN_LOCK=0 SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1
        exec systemd-nspawn --quiet --directory "$root" --boot --register=no --keep-unit --private-network \
            --machine=perennial --link-journal=no --resolv-conf=off --timezone=off
    ) < /dev/null > "$machine/console" 2>&1 &
    nspawn=$!
    await 100 is_up
}

is_up() {
    init=$(cut -d ' ' -f 1 "/proc/$nspawn/task/$nspawn/children")
    [ -n "$init" ] && [ "$(cat "/proc/$init/comm")" = systemd ] \
        && [[ $(inside systemctl is-system-running 2>&1) =~ ^(running|degraded)$ ]]
}

inside() {
    nsenter -t "$init" -m -u -i -n -p -- "$@"
}

# Takes a claim, and the command that must succeed within half a minute. Do not use `grep -q` in such a command: it closes
# the pipe early, and `pipefail` counts that as a failure.
shows() {
    local claim=$1 until=$((EPOCHSECONDS + 30))
    shift
    while [ $EPOCHSECONDS -le $until ]; do
        if "$@" > "$lab/shown" 2>&1; then
            echo "ok: $claim"
            return
        fi
        sleep 0.1
    done
    inside journalctl --no-pager --output=cat --lines=20 >&2
    cat "$lab/shown" >&2
    echo "NOT SO: $claim: $*" >&2
    exit 1
}

fails() {
    ! "$@" 2> /dev/null
}

# Checks a property of a unit, as `systemctl show` prints it.
is() {
    [ "$(inside systemctl show "$1" --property="$2" --value)" = "$3" ]
}

logged() {
    inside journalctl --unit="$1" --output=cat --no-pager | grep "$2"
}

# Prints the commands of a section of docs/deploy-systemd.md, or of one of its blocks.
typed() {
    awk -v heading="## $1" -v nth="${2:-0}" '
        /^## / { here = $0 == heading }
        here && $0 == "```sh" { block++; code = 1; next }
        $0 == "```" { code = 0 }
        code && (nth == 0 || nth == block) { print; found = 1 }
        END { exit !found }' "$page"
}

# Types the lines of stdin in the machine, in /root. An argument names the file that these commands get as input.
there() {
    { echo "cd /root"; cat; } > "$root/typed"
    inside sh -eu /typed < "${1:-/dev/null}"
}

# Runs the simulated Azure in the machine, without a stored sign-in.
sandbox() {
    install -D "$program" "$root/opt/sandbox/perennial"
    inside systemd-run --quiet --unit=sandbox /opt/sandbox/perennial sandbox --dir /srv/sandbox --never-signed-in
    await 100 grep -qs refresh_token "$root/srv/sandbox/perennial.toml"
}

# The value of a key in a section of the sandbox's own configuration.
sandbox_says() {
    sed -n "/^\[*$1\]*\$/,/^$/s/^$2 = \"\(.*\)\"/\1/p" "$root/srv/sandbox/perennial.toml"
}

# Replaces the placeholders of the page with the values of the sandbox.
filled_in() {
    sed -e "s|https://contoso.vault.azure.net|$(sandbox_says vault url)|" \
        -e "s|0\{8\}-.*0001$|$(sandbox_says token tenant_id)|" -e "s|0\{8\}-.*0002$|$(sandbox_says token client_id)|" \
        -e "s|0\{8\}-.*0003$|$(sandbox_says vault tenant_id)|" -e "s|0\{8\}-.*0004$|$(sandbox_says vault client_id)|"
}

# Calls a control of the sandbox.
control() {
    inside curl --silent --show-error --fail --cacert /srv/sandbox/ca.pem "https://localhost:8443/_sandbox/$@"
}
