#!/usr/bin/env bash
# Checks that two builds of the same source have the same bytes. They use two directories, two cargo homes and two time
# zones. Takes a program that deploy/release/build made from this source as the first build, or makes both. Takes some
# minutes, since each build starts from nothing.
set -euo pipefail
cd "$(dirname "$0")/../.."

. tests/acceptance/lab.sh
# The copies are not git checkouts, as a source archive is not one either.
PERENNIAL_REVISION=${PERENNIAL_REVISION:-$(git rev-parse --short=12 HEAD)}
export PERENNIAL_REVISION
cargo fetch --locked --quiet

# Both builds share only the downloaded crates, under different paths.
home=${CARGO_HOME:-$HOME/.cargo}
mkdir "$lab/home"
for part in registry config.toml; do
    [ ! -e "$home/$part" ] || ln -s "$(realpath "$home/$part")" "$lab/home/$part"
done

built() {
    mkdir -p "$1"
    tar --create --exclude=./target --exclude=./.git . | tar --extract --directory "$1"
    env --unset=CARGO_TARGET_DIR "${@:2}" "$1/deploy/release/build"
}
if [ $# -gt 0 ]; then
    first=$(realpath "$1")
else
    first=$(built "$lab/first" TZ=UTC)
fi
second=$(built "$lab/further/down/second" TZ=Pacific/Kiritimati CARGO_HOME="$lab/home")

sha256sum "$first" "$second"
cmp "$first" "$second"
for path in "$lab" "$home" "$PWD" "$HOME/"; do
    if grep --quiet --binary --fixed-strings "$path" "$second"; then
        echo "the program holds a path of its build: $path" >&2
        exit 1
    fi
done
"$second" --version
echo "two builds, the same bytes"
