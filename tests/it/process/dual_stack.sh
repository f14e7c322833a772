#!/bin/sh
# A host with both families whose IPv6 leads nowhere: nobody answers at the peers' first address. Rotates all the same.
# Arguments: the program and a directory.
set -eu
program=$1
dir=$2
ip link set lo up
ip link add here type veth peer name there
ip link set here up
ip link set there up
ip -6 address add 2001:db8::1/64 dev here nodad
printf '2001:db8::2 localhost\n127.0.0.1 localhost\n' > "$dir.hosts"
mount --bind "$dir.hosts" /etc/hosts
"$program" sandbox --dir "$dir" --listen 127.0.0.1:0 --age 80d > "$dir.log" 2>&1 &
sandbox=$!
trap 'kill $sandbox; rm -f "$dir.log" "$dir.hosts"' EXIT
# Bounded: it writes its configuration within milliseconds.
n=0
until grep -qs PERENNIAL_CONFIG "$dir.log"; do
    n=$((n + 1))
    [ $n -lt 1000 ] || { cat "$dir.log" >&2; exit 1; }
    kill -0 $sandbox || { cat "$dir.log" >&2; exit 1; }
    sleep 0.01
done
getent ahosts localhost | head -1
"$program" rotate --json --config "$dir/perennial.toml"
