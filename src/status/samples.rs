//! What unit tests begin with: a token as a daemon shows it.

use std::sync::Arc;

use crate::process::clock::Timestamp;
use crate::rotation::schedule::{Next, Timing};
use crate::rotation::state::State;
use crate::status::snapshot::{Periods, Snapshot};
use crate::token::managed::ManagedToken;

/// A token as it is shown by a daemon whose next step is due then.
pub(crate) fn snapshot(grant: ManagedToken, state: &State, next_at: Timestamp, now: Timestamp) -> Snapshot {
    let periods = Periods::of(&Timing::new(&grant.policy, &grant.name, 0.0));
    Snapshot::of(&Arc::new(grant), periods, state, Some(&Next::Wait(next_at)), now)
}
