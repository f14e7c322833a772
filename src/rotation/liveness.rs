//! Tells whether every token's task makes progress.
//!
//! For each task, this module stores only the time of the last sign of life. If a task stalls, the health check fails,
//! and a supervisor can restart the process. Each task needs eight bytes of memory.
//!
//! This module uses tokio's clock. That clock stops while the host is suspended. So the tasks do not look stalled when
//! the host wakes up.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// A task is stalled if its last sign of life is older than this. Each wait of a task ends within four minutes, and
/// each step within twelve. The longest step is a save that yields to other writers several times, while each service
/// answers just before its timeout.
pub const STUCK_AFTER: Duration = Duration::from_secs(15 * 60);

/// The signs of life of all tasks. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct LivenessOfAll(Arc<Beats>);

#[derive(Debug)]
struct Beats {
    since: Instant,
    /// The last sign of life of each task, in milliseconds after `since`.
    last: Box<[AtomicU64]>,
}

impl LivenessOfAll {
    /// Creates the record for this many tasks. Each task starts with a sign of life now.
    pub fn new(tasks: usize) -> Self {
        let last = (0..tasks).map(|_| AtomicU64::new(0)).collect();
        Self(Arc::new(Beats { since: Instant::now(), last }))
    }

    /// Returns the handle for one task.
    pub fn of(&self, task: usize) -> Liveness {
        Liveness { all: Some(self.clone()), task }
    }

    /// Returns the age of the oldest sign of life.
    pub fn oldest(&self) -> Duration {
        let oldest = self.0.last.iter().map(|beat| beat.load(Ordering::Relaxed)).min();
        let now = self.0.since.elapsed();
        oldest.map_or(Duration::ZERO, |beat| now.saturating_sub(Duration::from_millis(beat)))
    }

    /// Whether all tasks make progress.
    pub fn all_turn(&self) -> bool {
        self.oldest() <= STUCK_AFTER
    }
}

/// The handle with which one task records its signs of life.
#[derive(Clone, Debug, Default)]
pub struct Liveness {
    all: Option<LivenessOfAll>,
    task: usize,
}

impl Liveness {
    /// Records a sign of life now.
    pub fn beat(&self) {
        let Some(LivenessOfAll(all)) = &self.all else { return };
        if let Some(beat) = all.last.get(self.task) {
            let now = u64::try_from(all.since.elapsed().as_millis()).unwrap_or(u64::MAX);
            beat.store(now, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn one_stalled_task_is_enough() {
        let pulses = LivenessOfAll::new(2);

        tokio::time::advance(STUCK_AFTER).await;
        pulses.of(0).beat();
        assert!(pulses.all_turn());
        tokio::time::advance(Duration::from_secs(1)).await;

        assert!(!pulses.all_turn());
        pulses.of(1).beat();
        assert!(pulses.all_turn());
    }

    #[tokio::test(start_paused = true)]
    async fn without_tasks_nothing_is_stuck() {
        let pulses = LivenessOfAll::new(0);

        tokio::time::advance(2 * STUCK_AFTER).await;

        assert!(pulses.all_turn());
    }
}
