//! When a due message is sent to a sink.
//!
//! One rule: nothing is sent before the receiver's next time, and a rejected message not before its own next time. So
//! a message that a receiver always rejects delays no other.

use std::collections::BTreeMap;

use tokio::time::Instant;
use uuid::Uuid;

use super::{PACE, Undelivered, wait};
use crate::alert::rules::Notification;

/// When the receiver and each rejected message may be tried again.
#[derive(Debug)]
pub(super) struct Retries {
    receiver: Retry,
    messages: BTreeMap<Uuid, Retry>,
}

/// The next attempt after a number of failed attempts in a row.
#[derive(Clone, Copy, Debug)]
struct Retry {
    attempts: u32,
    at: Instant,
}

impl Retry {
    fn after(self, missed: &Undelivered, now: Instant) -> Self {
        let at = now + wait(self.attempts, missed, fastrand::f64());
        Self { attempts: self.attempts.saturating_add(1), at }
    }
}

impl Retries {
    /// The state before any failure.
    pub(super) fn new() -> Self {
        let receiver = Retry { attempts: 0, at: Instant::now() };
        Self { receiver, messages: BTreeMap::new() }
    }

    /// The due messages that may be sent now. Forgets messages that are no longer due.
    pub(super) fn ready(&mut self, due: Vec<Notification>) -> Vec<Notification> {
        let now = Instant::now();
        self.messages.retain(|id, _| due.iter().any(|change| change.id() == *id));
        due.into_iter().filter(|change| self.at(change) <= now).collect()
    }

    /// When the first of these may be sent.
    pub(super) fn next_at(&self, due: &[Notification]) -> Option<Instant> {
        due.iter().map(|change| self.at(change)).min()
    }

    /// Records a delivery.
    pub(super) fn delivered(&mut self, message: &[Notification]) {
        for change in message {
            self.messages.remove(&change.id());
        }
        self.receiver = Retry { attempts: 0, at: Instant::now() + PACE };
    }

    /// Records a failed delivery.
    pub(super) fn missed(&mut self, message: &[Notification], missed: &Undelivered) {
        let now = Instant::now();
        if !missed.message_rejected {
            self.receiver = self.receiver.after(missed, now);
            return;
        }
        self.receiver = Retry { attempts: 0, at: now + PACE };
        for change in message {
            let known = self.messages.entry(change.id()).or_insert(Retry { attempts: 0, at: now });
            *known = known.after(missed, now);
        }
    }

    /// Whether a rejected message is waiting.
    pub(super) fn has_refused(&self) -> bool {
        !self.messages.is_empty()
    }

    fn at(&self, change: &Notification) -> Instant {
        let own = self.messages.get(&change.id()).map(|retry| retry.at);
        own.map_or(self.receiver.at, |at| at.max(self.receiver.at))
    }
}
