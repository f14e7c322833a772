//! Detects flapping: an incident that begins and ends repeatedly. Perennial reports flapping once. The next report
//! about the incident follows after an hour without a change.

use std::collections::BTreeSet;

use chrono::TimeDelta;
use uuid::Uuid;

use super::{EventKind, SinkState};
use crate::process::clock::Timestamp;

/// An incident that ends this many times within `WITHIN` is flapping.
const ENDS: usize = 3;
/// The time within which an incident must end `ENDS` times to count as flapping.
const WITHIN: TimeDelta = TimeDelta::hours(6);
/// How long a flapping incident must stay unchanged before it is reported again.
const QUIET_FOR: TimeDelta = TimeDelta::hours(1);

/// The recent ends of one incident, and the time when it last began or ended.
#[derive(Clone, Debug)]
pub(super) struct Flaps {
    ends: Vec<Timestamp>,
    holds: bool,
    changed_at: Timestamp,
    /// Whether the sink got a report that the incident is flapping.
    is_told: bool,
}

impl Flaps {
    pub(super) fn is_told(&self) -> bool {
        self.is_told
    }

    /// Whether flapping was reported and the incident has not changed for `QUIET_FOR`.
    pub(super) fn is_quiet(&self, now: Timestamp) -> bool {
        self.quiet_at().is_some_and(|at| at <= now)
    }

    /// When the incident will have been unchanged for `QUIET_FOR`. `None` if flapping was not reported.
    pub(super) fn quiet_at(&self) -> Option<Timestamp> {
        self.is_told.then_some(self.changed_at + QUIET_FOR)
    }

    /// Limits times to `now`, because a wrong clock may have set them in the future.
    pub(super) fn correct(&mut self, now: Timestamp) {
        self.changed_at = self.changed_at.min(now);
        for end in &mut self.ends {
            *end = (*end).min(now);
        }
    }
}

impl SinkState {
    /// Records which incidents began or ended since the last call.
    pub(super) fn watch_flapping(&mut self, holds: &BTreeSet<Uuid>, now: Timestamp) {
        for id in self.told.keys() {
            let new = || Flaps { ends: Vec::new(), holds: true, changed_at: now, is_told: false };
            self.flaps.entry(*id).or_insert_with(new);
        }
        for (id, flaps) in &mut self.flaps {
            let holds = holds.contains(id);
            if flaps.holds != holds {
                (flaps.holds, flaps.changed_at) = (holds, now);
                if !holds {
                    flaps.ends.push(now);
                }
            }
            flaps.ends.retain(|at| *at + WITHIN > now);
        }
        let told = &self.told;
        self.flaps.retain(|id, flaps| told.contains_key(id) || !flaps.ends.is_empty());
    }

    /// The notification for a reported incident that has ended. After a report of flapping, the result is `None` until
    /// the incident has not changed for `QUIET_FOR`.
    pub(super) fn end_of(&self, id: Uuid, now: Timestamp) -> Option<EventKind> {
        match self.flaps.get(&id) {
            Some(flaps) if flaps.is_told => flaps.is_quiet(now).then_some(EventKind::Resolved),
            Some(flaps) if flaps.ends.len() >= ENDS => Some(EventKind::Flapping),
            Some(_) | None => Some(EventKind::Resolved),
        }
    }

    /// Records that a notification about this incident was delivered.
    pub(super) fn note_flapping(&mut self, id: Uuid, what: EventKind) {
        let Some(flaps) = self.flaps.get_mut(&id) else { return };
        match what {
            EventKind::Flapping => flaps.is_told = true,
            EventKind::Resolved | EventKind::Reminder if flaps.is_told => drop(self.flaps.remove(&id)),
            EventKind::Opened
            | EventKind::Changed
            | EventKind::Reminder
            | EventKind::Resolved
            | EventKind::Test => {}
        }
    }
}

#[cfg(test)]
mod tests;
