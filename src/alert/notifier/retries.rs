//! When a sink is sent what is due.
//!
//! One rule: nothing is sent before the receiver's own time, and a message that was refused for what it says not before
//! its own. So a message that a receiver never takes holds up no other.

use std::collections::BTreeMap;

use tokio::time::Instant;
use uuid::Uuid;

use super::{PACE, Undelivered, wait};
use crate::alert::rules::Notification;

/// When the receiver is sent something again, and each message that it refused.
#[derive(Debug)]
pub(super) struct Retries {
    receiver: Retry,
    messages: BTreeMap<Uuid, Retry>,
}

/// When to try again, after so many failed attempts in a row.
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
    /// Nothing has failed yet.
    pub(super) fn new() -> Self {
        let receiver = Retry { attempts: 0, at: Instant::now() };
        Self { receiver, messages: BTreeMap::new() }
    }

    /// What of that which is due may be sent now. What is no longer due is forgotten.
    pub(super) fn ready(&mut self, due: Vec<Notification>) -> Vec<Notification> {
        let now = Instant::now();
        self.messages.retain(|id, _| due.iter().any(|change| change.id() == *id));
        due.into_iter().filter(|change| self.at(change) <= now).collect()
    }

    /// When the first of these may be sent.
    pub(super) fn next_at(&self, due: &[Notification]) -> Option<Instant> {
        due.iter().map(|change| self.at(change)).min()
    }

    /// Takes note that a message got through.
    pub(super) fn delivered(&mut self, message: &[Notification]) {
        for change in message {
            self.messages.remove(&change.id());
        }
        self.receiver = Retry { attempts: 0, at: Instant::now() + PACE };
    }

    /// Takes note that a message did not.
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

    /// Whether a message waits that was refused.
    pub(super) fn has_refused(&self) -> bool {
        !self.messages.is_empty()
    }

    fn at(&self, change: &Notification) -> Instant {
        let own = self.messages.get(&change.id()).map(|retry| retry.at);
        own.map_or(self.receiver.at, |at| at.max(self.receiver.at))
    }
}
