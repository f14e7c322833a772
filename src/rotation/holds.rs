//! Records for each token what would be lost if the process ended now. This can be an unsaved successor or the answer
//! to a redemption. A stop waits for an unsaved successor until the end of the grace period. A stop waits for such an
//! answer for at most a second (`ANSWER_WITHIN`). A stop waits for nothing else.
//!
//! All tasks share one byte array, with one byte per token.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// What would be lost if the process canceled a token's step now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stake {
    /// No loss: the step can be repeated.
    Nothing,
    /// The answer to a redemption would be lost. Entra leaves the redeemed token valid.
    Answer,
    /// A successor that the vault may not contain yet would be lost. The redeemed token may already be invalid.
    Successor,
}

/// The longest time that a stop waits for the answer to a redemption. Most answers arrive sooner, and then the
/// successor can be saved. A lost answer does no harm, since Entra leaves the redeemed token valid. The limit does not
/// apply to a `strict` token, because its stake is already `Successor` before the redemption.
const ANSWER_WITHIN: Duration = Duration::from_secs(1);

/// The stakes of all tasks in a process. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct Holds(Arc<HoldsState>);

#[derive(Debug)]
struct HoldsState {
    stakes: Box<[AtomicU8]>,
    changed: Notify,
}

impl Holds {
    /// Creates one stake for each of this many tasks. All stakes begin as `Nothing`.
    pub fn new(tasks: usize) -> Self {
        let stakes = (0..tasks).map(|_| AtomicU8::new(Stake::Nothing as u8)).collect();
        Self(Arc::new(HoldsState { stakes, changed: Notify::new() }))
    }

    /// Returns the handle to one task's stake.
    pub fn of(&self, task: usize) -> Hold {
        Hold { all: self.clone(), task }
    }

    /// Returns the number of tasks that hold a successor.
    pub fn successors(&self) -> usize {
        let is_held = |stake: &&AtomicU8| stake.load(Ordering::Relaxed) == Stake::Successor as u8;
        self.0.stakes.iter().filter(is_held).count()
    }
}

/// The handle with which one task sets its stake.
#[derive(Clone, Debug)]
pub struct Hold {
    all: Holds,
    task: usize,
}

impl Default for Hold {
    /// Creates the handle for the only task of a process.
    fn default() -> Self {
        Holds::new(1).of(0)
    }
}

impl Hold {
    pub fn set(&self, stake: Stake) {
        let Some(known) = self.all.0.stakes.get(self.task) else { return };
        if known.swap(stake as u8, Ordering::Relaxed) != stake as u8 {
            self.all.0.changed.notify_waiters();
        }
    }

    /// Whether the task holds a successor. In that case, its requests take precedence over those of other tasks.
    pub fn is_successor(&self) -> bool {
        self.is(Stake::Successor)
    }

    fn is(&self, stake: Stake) -> bool {
        self.all.0.stakes.get(self.task).is_some_and(|known| known.load(Ordering::Relaxed) == stake as u8)
    }

    /// Waits until a stop is requested and the task holds no successor. If the task waits for the answer to a
    /// redemption, this function returns `ANSWER_WITHIN` after the stop request at the latest. The caller may then
    /// cancel all work of the task.
    pub async fn may_end(&self, stop: &CancellationToken) {
        stop.cancelled().await;
        let answered_by = Instant::now() + ANSWER_WITHIN;
        loop {
            // Register for changes before the check of the stake. Otherwise, a change between the check and the wait
            // would be missed.
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
        assert!(!mine.is_successor());
        mine.set(Stake::Successor);
        other.set(Stake::Successor);
        assert!(mine.is_successor());
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
