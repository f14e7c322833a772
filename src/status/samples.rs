//! Sample snapshots for unit tests.

use std::sync::Arc;

use crate::process::clock::Timestamp;
use crate::rotation::schedule::{Next, Timing};
use crate::rotation::state::State;
use crate::status::snapshot::{Periods, Snapshot};
use crate::token::managed::ManagedToken;

/// Creates a token's snapshot as a daemon does. The token's next step is due at `next_at`.
pub(crate) fn snapshot(grant: ManagedToken, state: &State, next_at: Timestamp, now: Timestamp) -> Snapshot {
    let periods = Periods::of(&Timing::new(&grant.policy, &grant.name, 0.0));
    Snapshot::of(&Arc::new(grant), periods, state, Some(&Next::Wait(next_at)), now)
}
