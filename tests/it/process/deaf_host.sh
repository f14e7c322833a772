#!/bin/sh
# A network in which the address of Azure's metadata service takes every call and says nothing. Whoever types a command
# there is not kept waiting and goes on with the Azure CLI. Arguments: the program and a directory.
set -eu
program=$1
dir=$2
ip link set lo up
ip addr add 169.254.169.254/32 dev lo
"$program" sandbox --dir "$dir" --listen 127.0.0.1:0 > "$dir.log" 2>&1 &
sandbox=$!
python3 -c 'import signal, socket; s = socket.create_server(("169.254.169.254", 80)); signal.pause()' &
deaf=$!
trap 'kill $sandbox $deaf; rm -f "$dir.log"' EXIT
# Bounded: they are there within a second.
n=0
until grep -qs PERENNIAL_CONFIG "$dir.log" && ss -Hltn 'sport = :80' | grep -q :; do
    n=$((n + 1))
    [ $n -lt 1000 ] || { cat "$dir.log" >&2; exit 1; }
    kill -0 $sandbox $deaf || { cat "$dir.log" >&2; exit 1; }
    sleep 0.01
done
# Everything of [vault] but the URL goes.
sed -i '/^\[vault\]/,/^\[cloud\]/{/^credential\|^tenant_id\|^client_id\|^client_secret/d}' "$dir/perennial.toml"
mkdir "$dir/bin"
printf '#!/bin/sh\necho "ERROR: Please run '\''az login'\'' to setup account." >&2\nexit 1\n' > "$dir/bin/az"
chmod +x "$dir/bin/az"
export PATH="$dir/bin:$PATH"
# The metadata service is given a second; what is asked of the others takes far less. A failure is what is looked for.
timeout 10 "$program" rotate --json --config "$dir/perennial.toml" || [ $? -ne 124 ]
