#!/bin/sh
# Shows that the demo notices bugs in Perennial. A check is useful only if it can fail.
#
# Adds one deliberate bug at a time to a copy of the source, builds it, and runs its demo. The demo must end with exit code 1
# and name the broken promise. Takes some minutes. Not part of the tests.
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

# bug NAME FILE SED EXPECTED: edits a file, and expects this text in the demo's output.
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

# The program drops a new token that it could not save for a day.
bug forgets src/rotation/rotate/saving.rs \
    's|^        pending.read_at = newest.read_at;$|&\n        if pending.successor.issued_at + chrono::TimeDelta::days(1) < self.clock.now() { return Ok(Pass::LetGo(pending.successor.redeemed.clone())); }|' \
    'Promise 3'

# The log contains the new token.
bug blabs src/rotation/rotate/saving.rs \
    's|^        let successor = &pending.successor;$|&\n        tracing::info!(text = successor.token.expose());|' \
    'Promise 5'

# The program proves the token once a day and ignores the configuration.
bug sleeps src/rotation/schedule.rs \
    's|prove_every: delta(policy.prove_every.mul_f64(|prove_every: delta(policy.prove_every.mul_f64(4.0 * |' \
    'Promise [49]'

# The program does not search for an overwritten sign-in.
bug buries src/rotation/save.rs \
    's|^    let own = root_of(newest, versions, place);$|    if newest.enabled { return None; }\n&|' \
    'a report of the overwritten sign-in was expected'

# The program treats a dead token as an outage.
bug hopes src/ports/diagnosis/table.rs \
    's|row(codes, Remedy::Login, Kind::LoginRequired, advice, meaning)|row(codes, Remedy::Retry, Kind::EntraUnreachable, advice, meaning)|' \
    'a report of the dead token was expected\|Promise 4'

# The program disables the previous version as soon as it has written the new one.
bug cuts src/rotation/save.rs \
    's|version.created < from.created)|version.created <= from.created)|' \
    'Promise 3'

# A task panics.
bug panics src/rotation/rotate/saving.rs \
    's|^        pending.read_at = newest.read_at;$|&\n        assert!(pending.seen.len() > 9, "deliberate");|' \
    'deliberate'

exit "$failed"
