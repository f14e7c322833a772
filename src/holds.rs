//! Which tokens have something to lose: a successor that the vault does not show yet, or a redemption of a strict token
//! whose answer is still to come. A stop waits for these and for nothing else.
//!
//! One byte a token, shared by all tasks.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// What the tasks of a process hold. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Holds(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    held: Box<[AtomicBool]>,
    freed: Notify,
}

impl Holds {
    /// Of so many tasks, none of which holds anything.
    pub fn new(tasks: usize) -> Self {
        let held = (0..tasks).map(|_| AtomicBool::new(false)).collect();
        Self(Arc::new(Inner { held, freed: Notify::new() }))
    }

    /// What one task holds.
    pub fn of(&self, task: usize) -> Hold {
        Hold { all: self.clone(), task }
    }

    /// The tasks that hold something, in order.
    pub fn tasks(&self) -> impl Iterator<Item = usize> {
        let is_held = |(_, held): &(usize, &AtomicBool)| held.load(Ordering::Relaxed);
        self.0.held.iter().enumerate().filter(is_held).map(|(task, _)| task)
    }
}

/// One task's own.
#[derive(Clone, Debug)]
pub struct Hold {
    all: Holds,
    task: usize,
}

impl Default for Hold {
    /// Of a process with one task.
    fn default() -> Self {
        Holds::new(1).of(0)
    }
}

impl Hold {
    /// Takes note whether there is something to lose.
    pub fn set(&self, held: bool) {
        let Some(known) = self.all.0.held.get(self.task) else { return };
        if known.swap(held, Ordering::Relaxed) && !held {
            self.all.0.freed.notify_waiters();
        }
    }

    fn is_held(&self) -> bool {
        self.all.0.held.get(self.task).is_some_and(|held| held.load(Ordering::Relaxed))
    }

    /// Ends once `stop` is asked for and nothing is held: then whatever is under way may be dropped.
    pub async fn may_end(&self, stop: &CancellationToken) {
        stop.cancelled().await;
        loop {
            // Before the look: what is freed between the two is not missed.
            let freed = self.all.0.freed.notified();
            if !self.is_held() {
                return;
            }
            freed.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_stop_waits_for_what_is_held_and_for_nothing_else() {
        let holds = Holds::new(2);
        let (mine, other) = (holds.of(0), holds.of(1));
        let stop = CancellationToken::new();
        mine.set(true);
        other.set(true);
        stop.cancel();

        let freed = async {
            tokio::task::yield_now().await;
            other.set(false);
            tokio::task::yield_now().await;
            assert_eq!(holds.tasks().collect::<Vec<_>>(), [0]);
            mine.set(false);
        };
        tokio::join!(mine.may_end(&stop), freed);

        assert_eq!(holds.tasks().count(), 0);
    }
}
