//! Limits the size of a token's task and the size of a token's entry on the status board. `tests/acceptance/budgets.sh`
//! measures the memory of the whole program.

use std::sync::Arc;

use perennial::rotation::daemon;
use perennial::rotation::daemon::Signals;
use perennial::rotation::liveness::LivenessOfAll;
use perennial::rotation::state::State;
use perennial::rotation::told::Told;
use perennial::status::board::StatusBoard;
use perennial::status::snapshot::Snapshot;
use perennial::token::managed::Policy;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::support::harness;

/// A token may need 4 KB. Half of this memory is for the token's task. The rest is for the token's entry on the status
/// board and for strings.
const TASK_BYTES: usize = 2048;
const PLACE_BYTES: usize = 512;

#[tokio::test]
async fn a_waiting_token_is_small() {
    let (world, partner) = harness::still_world();
    let grant = harness::grant("contoso", &partner, &Policy::default());
    let rotator = harness::rotator(&world, harness::still_clock(), &grant, "run", 1);
    let tokens = std::iter::once((&rotator.grant, &rotator.timing));
    let board = Arc::new(StatusBoard::new(tokens, harness::still_clock()));
    let (_reload, reloads) = watch::channel(0);
    let signals = Signals { stop: CancellationToken::new(), reload: reloads, told: Told::default() };
    let state = State::unknown(harness::base());

    let task = daemon::keep(rotator, state, signals, LivenessOfAll::new(1).of(0), board.publisher(0));

    let bytes = std::mem::size_of_val(&task);
    assert!(bytes <= TASK_BYTES, "{bytes}: is something held twice, or a step that is not boxed?");
    assert!(size_of::<Snapshot>() <= PLACE_BYTES, "{}", size_of::<Snapshot>());
}
