//! Where the tokens' tasks publish and everything else reads.
//!
//! Each task writes its own place and no other; readers draw a status from all of them. A `watch`
//! channel, so that a reader may also wait for news.

use tokio::sync::watch;

use crate::clock::Clock;
use crate::schedule::Next;
use crate::schedule::Timing;
use crate::snapshot::Snapshot;
use crate::state::State;
use crate::status::Status;
use crate::status::StatusSource;
use crate::token::Grant;

/// All tokens' snapshots. Cheap to clone; all clones are the same board.
#[derive(Clone, Debug)]
pub struct Board {
    snapshots: watch::Sender<Vec<Snapshot>>,
    clock: Clock,
}

impl Board {
    /// A board on which nothing is known yet.
    pub fn new<'a>(tokens: impl Iterator<Item = (&'a Grant, &'a Timing)>, clock: Clock) -> Self {
        let now = clock.now();
        let unknown = State::unknown(now);
        let snapshots = tokens
            .map(|(grant, timing)| Snapshot::of(grant, timing, &unknown, &Next::Wait(now), now))
            .collect();
        Self { snapshots: watch::Sender::new(snapshots), clock }
    }

    /// Writes one token's place.
    pub fn publish(&self, place: usize, snapshot: Snapshot) {
        self.snapshots.send_modify(|all| {
            if let Some(known) = all.get_mut(place) {
                *known = snapshot;
            }
        });
    }

    /// The status now.
    pub fn status(&self) -> Status {
        let skew = self.clock.skew();
        Status::of(&self.snapshots.borrow(), skew, self.clock.now(), StatusSource::Daemon)
    }

    /// Looks at the snapshots as they are.
    pub fn read<T>(&self, look: impl FnOnce(&[Snapshot]) -> T) -> T {
        look(&self.snapshots.borrow())
    }

    /// Tells of each change from now on.
    pub fn subscribe(&self) -> watch::Receiver<Vec<Snapshot>> {
        self.snapshots.subscribe()
    }

    /// The time by which it is drawn.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }
}
