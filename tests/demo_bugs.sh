#!/bin/sh
# Shows that the demo notices when Perennial is broken: a check counts only once it has been seen to fail.
#
# Builds a copy of the tree with one deliberate bug at a time and runs its demo, which has to end with
# code 1 and to name what broke. Takes some minutes; not part of the tests.
#
#   tests/demo_bugs.sh            all bugs
#   tests/demo_bugs.sh forgets    one of them
set -eu

root=$(cd "$(dirname "$0")/.." && pwd)
copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$root/target}/demo-bugs
export CARGO_TARGET_DIR
failed=0

# bug NAME FILE SED EXPECTED: what is done to a file, and what the demo has to say about it.
bug() {
    case " ${wanted:-$1} " in *" $1 "*) ;; *) return 0 ;; esac
    (cd "$root" && git ls-files -z | tar --null -T - -cf -) | tar -xf - -C "$copy"
    sed -i "$3" "$copy/$2"
    if cmp -s "$root/$2" "$copy/$2"; then
        echo "$1: the bug does not fit $2 any more"
        failed=1
        return 0
    fi
    (cd "$copy" && cargo build --quiet --locked)
    code=0
    "$CARGO_TARGET_DIR/debug/perennial" demo --speed 12 >"$copy/shown" 2>&1 || code=$?
    if [ "$code" = 1 ] && grep -q "$4" "$copy/shown"; then
        echo "$1: noticed"
        grep 'BROKEN  ' "$copy/shown" | head -3
    else
        echo "$1: NOT noticed (code $code)"
        tail -20 "$copy/shown"
        failed=1
    fi
}

wanted=$*

# A successor that could not be saved for a day is dropped.
bug forgets src/rotation/rotate/saving.rs \
    's|^        pending.read_at = newest.read_at;$|&\n        if pending.successor.issued_at + chrono::TimeDelta::days(1) < self.clock.now() { return Ok(Pass::LetGo(pending.successor.redeemed.clone())); }|' \
    'Promise 3'

# The log contains the successor.
bug blabs src/rotation/rotate/saving.rs \
    's|^        let successor = &pending.successor;$|&\n        tracing::info!(text = successor.token.expose());|' \
    'Promise 5'

# The token is proved once a day, whatever the configuration says.
bug sleeps src/rotation/schedule.rs \
    's|prove_every: delta(policy.prove_every.mul_f64(|prove_every: delta(policy.prove_every.mul_f64(4.0 * |' \
    'Promise [49]'

# A buried sign-in is not searched for.
bug buries src/rotation/save.rs \
    's|^    let own = root_of(newest, versions, place);$|    if newest.enabled { return None; }\n&|' \
    'the sign-in to be found was expected'

# A dead token is treated as an outage.
bug hopes src/ports/diagnosis/table.rs \
    's|row(codes, Remedy::Login, Kind::LoginRequired, advice, meaning)|row(codes, Remedy::Retry, Kind::EntraUnreachable, advice, meaning)|' \
    'the dead token to be told was expected\|Promise 4'

# The predecessor is disabled as soon as its successor is written.
bug cuts src/rotation/save.rs \
    's|version.created < from.created)|version.created <= from.created)|' \
    'Promise 3'

# A task panics.
bug panics src/rotation/rotate/saving.rs \
    's|^        pending.read_at = newest.read_at;$|&\n        assert!(pending.seen.len() > 9, "deliberate");|' \
    'deliberate'

exit "$failed"
