//! Decides when a due message is sent to a sink.
//!
//! This module stores when the next attempt may start: one time for the receiver, and one for each rejected message. A
//! rejected message waits for both times. The other messages wait only for the receiver's time, so a message that the
//! receiver always rejects does not delay them.

use std::collections::BTreeMap;

use tokio::time::Instant;
use uuid::Uuid;

use super::{PACE, Undelivered, wait};
use crate::alert::rules::Notification;

/// The times of the next attempts at one sink: one for the receiver, and one for each rejected message.
#[derive(Debug)]
pub(super) struct Retries {
    receiver: Retry,
    messages: BTreeMap<Uuid, Retry>,
}

/// The time of the next attempt and the number of failed attempts in a row.
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
    /// Creates the state of a sink that has no failed deliveries yet.
    pub(super) fn new() -> Self {
        let receiver = Retry { attempts: 0, at: Instant::now() };
        Self { receiver, messages: BTreeMap::new() }
    }

    /// Returns the due messages that may be sent now. Forgets messages that are no longer due.
    pub(super) fn ready(&mut self, due: Vec<Notification>) -> Vec<Notification> {
        let now = Instant::now();
        self.messages.retain(|id, _| due.iter().any(|change| change.id() == *id));
        due.into_iter().filter(|change| self.at(change) <= now).collect()
    }

    /// When the first of the due messages may be sent.
    pub(super) fn next_at(&self, due: &[Notification]) -> Option<Instant> {
        due.iter().map(|change| self.at(change)).min()
    }

    /// Records a successful delivery.
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

    /// Whether any rejected message waits for its next attempt.
    pub(super) fn has_refused(&self) -> bool {
        !self.messages.is_empty()
    }

    fn at(&self, change: &Notification) -> Instant {
        let own = self.messages.get(&change.id()).map(|retry| retry.at);
        own.map_or(self.receiver.at, |at| at.max(self.receiver.at))
    }
}
