//! What each token would lose if the process ended: a successor that the vault does not show yet, or the answer to a
//! redemption. A stop waits for the successor as long as it may, for the answer a moment, and for nothing else.
//!
//! One byte per token, shared by all tasks.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// The loss if a token's step were cancelled now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stake {
    /// Nothing: everything in progress can be repeated.
    Nothing,
    /// The answer to a redemption; Entra leaves the redeemed token valid.
    Answer,
    /// A successor that the vault may not show: its predecessor may be spent.
    Successor,
}

/// How long a stop waits for the answer to a redemption. Most come sooner, and then the successor is saved too.
/// Without the answer nothing is lost: Entra leaves the redeemed token valid. A `strict` token counts as a successor
/// from just before it is marked.
const ANSWER_WITHIN: Duration = Duration::from_secs(1);

/// The stakes of a process's tasks. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Holds(Arc<HoldsState>);

#[derive(Debug)]
struct HoldsState {
    stakes: Box<[AtomicU8]>,
    changed: Notify,
}

impl Holds {
    /// For this many tasks, none of which holds anything.
    pub fn new(tasks: usize) -> Self {
        let stakes = (0..tasks).map(|_| AtomicU8::new(Stake::Nothing as u8)).collect();
        Self(Arc::new(HoldsState { stakes, changed: Notify::new() }))
    }

    /// The stake of one task.
    pub fn of(&self, task: usize) -> Hold {
        Hold { all: self.clone(), task }
    }

    /// The number of tasks that hold a successor.
    pub fn successors(&self) -> usize {
        let is_held = |stake: &&AtomicU8| stake.load(Ordering::Relaxed) == Stake::Successor as u8;
        self.0.stakes.iter().filter(is_held).count()
    }
}

/// One task's stake.
#[derive(Clone, Debug)]
pub struct Hold {
    all: Holds,
    task: usize,
}

impl Default for Hold {
    /// For a process with one task.
    fn default() -> Self {
        Holds::new(1).of(0)
    }
}

impl Hold {
    /// Records the stake.
    pub fn set(&self, stake: Stake) {
        let Some(known) = self.all.0.stakes.get(self.task) else { return };
        if known.swap(stake as u8, Ordering::Relaxed) != stake as u8 {
            self.all.0.changed.notify_waiters();
        }
    }

    /// Whether it is a successor, so that its requests go before those of others.
    pub fn is_successor(&self) -> bool {
        self.is(Stake::Successor)
    }

    fn is(&self, stake: Stake) -> bool {
        self.all.0.stakes.get(self.task).is_some_and(|known| known.load(Ordering::Relaxed) == stake as u8)
    }

    /// Completes once `stop` is requested and nothing is held: then everything in progress may be cancelled.
    pub async fn may_end(&self, stop: &CancellationToken) {
        stop.cancelled().await;
        let answered_by = Instant::now() + ANSWER_WITHIN;
        loop {
            // Registered before the check, so that a change between the two is not missed.
            let changed = self.all.0.changed.notified();
            if self.is(Stake::Nothing) {
                return;
            }
            if self.is(Stake::Successor) {
                changed.await;
            } else if tokio::time::timeout_at(answered_by, changed).await.is_err() {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_stop_waits_for_a_successor_and_for_no_other_token() {
        let holds = Holds::new(2);
        let (mine, other) = (holds.of(0), holds.of(1));
        let stop = CancellationToken::new();
        mine.set(Stake::Successor);
        other.set(Stake::Successor);
        stop.cancel();

        let freed = async {
            tokio::time::sleep(20 * ANSWER_WITHIN).await;
            other.set(Stake::Nothing);
            tokio::task::yield_now().await;
            assert_eq!(holds.successors(), 1);
            mine.set(Stake::Nothing);
        };
        tokio::join!(mine.may_end(&stop), freed);

        assert_eq!(holds.successors(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_stop_waits_briefly_for_an_answer_and_fully_for_its_successor() {
        let hold = Hold::default();
        let stop = CancellationToken::new();
        hold.set(Stake::Answer);
        stop.cancel();
        let since = Instant::now();
        hold.may_end(&stop).await;
        assert_eq!(since.elapsed(), ANSWER_WITHIN, "none came");

        let answered = async {
            hold.set(Stake::Successor);
            tokio::time::sleep(3 * ANSWER_WITHIN).await;
            hold.set(Stake::Nothing);
        };
        let since = Instant::now();
        tokio::join!(hold.may_end(&stop), answered);

        assert_eq!(since.elapsed(), 3 * ANSWER_WITHIN);
    }
}
