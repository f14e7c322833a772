//! An incident that begins and ends repeatedly is reported once as flapping. The next report follows when it has not
//! changed for an hour.

use std::collections::BTreeSet;

use chrono::TimeDelta;
use uuid::Uuid;

use super::{EventKind, SinkState};
use crate::process::clock::Timestamp;

/// An incident flaps after this many ends within `WITHIN`.
const ENDS: usize = 3;
/// See `ENDS`.
const WITHIN: TimeDelta = TimeDelta::hours(6);
/// A flapping incident is reported again after this long without a change.
const QUIET_FOR: TimeDelta = TimeDelta::hours(1);

/// The recent ends of one incident.
#[derive(Clone, Debug)]
pub(super) struct Flaps {
    ends: Vec<Timestamp>,
    holds: bool,
    changed_at: Timestamp,
    /// Whether flapping was reported to the sink.
    is_told: bool,
}

impl Flaps {
    /// Whether flapping was reported to the sink.
    pub(super) fn is_told(&self) -> bool {
        self.is_told
    }

    /// Whether flapping was reported and the incident has not changed for `QUIET_FOR`.
    pub(super) fn is_quiet(&self, now: Timestamp) -> bool {
        self.quiet_at().is_some_and(|at| at <= now)
    }

    /// When a flapping incident will have been quiet for `QUIET_FOR`.
    pub(super) fn quiet_at(&self) -> Option<Timestamp> {
        self.is_told.then_some(self.changed_at + QUIET_FOR)
    }

    /// Corrects times that were taken from a wrong clock.
    pub(super) fn correct(&mut self, now: Timestamp) {
        self.changed_at = self.changed_at.min(now);
        for end in &mut self.ends {
            *end = (*end).min(now);
        }
    }
}

impl SinkState {
    /// Records beginnings and ends since the last call.
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

    /// The notification for a reported incident that no longer holds.
    pub(super) fn end_of(&self, id: Uuid, now: Timestamp) -> Option<EventKind> {
        match self.flaps.get(&id) {
            Some(flaps) if flaps.is_told => flaps.is_quiet(now).then_some(EventKind::Resolved),
            Some(flaps) if flaps.ends.len() >= ENDS => Some(EventKind::Flapping),
            Some(_) | None => Some(EventKind::Resolved),
        }
    }

    /// Records a delivery.
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
