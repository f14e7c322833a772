//! Alert rules: decides which notifications are due at each sink.
//!
//! This module owns the rules for opened, changed, reminder, flapping and resolved notifications. There is no queue: a
//! sink's `SinkState` compares delivered notifications with the current conditions. So a notification stays due if its
//! delivery fails. A condition that begins and ends between two deliveries is never reported. This module is pure:
//! `forms` formats the messages, and `notifier` delivers them.
//!
//! Perennial records each delivered incident as a mark in the tags of a few tokens (`rotation::told`). Some sinks
//! (`PagerDuty`, `webhook`) keep incidents: they track each incident by its id. After a start, these sinks get all
//! current incidents again under the same ids. The other sinks then get only incidents without a mark, and the daily
//! reminders. The marks also show which incidents ended while no process was running. While a vault denies access,
//! Perennial cannot write a mark. So after each start, as soon as a token works, sinks that keep incidents also get a
//! resolved notification for each ended incident that may have had no mark.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use chrono::TimeDelta;
use uuid::Uuid;

use crate::alert::sink::Sink;
use crate::ports::failure::Remedy;
use crate::process::clock::Timestamp;
use crate::status::condition;
use crate::status::condition::{Condition, Severity};
use crate::status::sink_health;
use crate::status::snapshot::Snapshot;
use crate::token::managed::Deployment;

mod before;
mod flapping;

pub use self::before::was_undeliverable;
use self::flapping::Flaps;

/// The interval of reminders for an incident that continues.
pub const REMIND_EVERY: TimeDelta = TimeDelta::days(1);

/// How long a condition with remedy `Retry` must last before it is reported. Such a condition often ends by itself: a
/// step that is overdue at start-up is usually done within seconds.
const HELD_FOR: TimeDelta = TimeDelta::seconds(30);

/// How long Perennial waits before it reports tokens that join an incident. The wait doubles after each report. So an
/// outage that affects tokens one by one does not cause a hundred messages.
const JOIN_WAIT: TimeDelta = TimeDelta::minutes(1);
const JOIN_WAIT_DOUBLES: u32 = 10;

/// The kinds of notification.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum EventKind {
    /// The incident is new.
    Opened,
    /// The severity rose, tokens joined the incident, or the remedy or the owners changed.
    Changed,
    /// The incident continues, and its daily reminder is due.
    Reminder,
    /// The incident has ended.
    Resolved,
    /// The incident began and ended several times. The next message about it follows after an hour without a change.
    Flapping,
    /// The notification is a test of the sink, and no problem exists.
    Test,
}

impl EventKind {
    /// The event's name in messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Opened => "opened",
            Self::Changed => "changed",
            Self::Reminder => "reminder",
            Self::Resolved => "resolved",
            Self::Flapping => "flapping",
            Self::Test => "test",
        }
    }
}

/// A notification about one incident.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notification {
    /// The kind of event.
    pub what: EventKind,
    /// The incident's condition. For a resolved incident, this is the last reported condition, with all tokens that the
    /// incident has ever affected.
    pub condition: Condition,
    /// How long a resolved incident lasted, if its start is known.
    pub lasted: Option<TimeDelta>,
    /// The day of the notification, counted from 1970. The day gives each daily reminder a different id.
    pub day: i64,
}

impl Notification {
    /// The id of this notification. Every process computes the same id for the same notification.
    pub fn id(&self) -> Uuid {
        let Condition { id, since, severity, remedy, tokens, owners, .. } = &self.condition;
        let since = since.timestamp();
        let text = match self.what {
            EventKind::Reminder => format!("reminder/{since}/{}", self.day),
            EventKind::Changed => {
                let (tokens, owners) = (tokens.join(","), owners.join(","));
                format!("changed/{since}/{severity:?}/{remedy:?}/{tokens}/{owners}")
            }
            what => format!("{}/{since}", what.as_str()),
        };
        Uuid::new_v5(id, text.as_bytes())
    }
}

/// Creates a test message for a sink.
pub fn test_message(sink: &str, here: &Deployment, now: Timestamp) -> Notification {
    let mut condition = sink_health::undeliverable(sink, here, "", (Severity::Warning, now));
    // Each test counts as a separate incident.
    condition.id = Uuid::new_v5(&condition.id, format!("test/{}", now.timestamp()).as_bytes());
    condition.summary = format!("this is a test of the alert sink {sink}; nothing is wrong");
    "nothing: this test shows that alerts reach you".clone_into(&mut condition.action);
    Notification { what: EventKind::Test, condition, lasted: None, day: day(now) }
}

/// The notifications that one sink has received so far.
#[derive(Clone, Debug)]
pub struct SinkState {
    sink: Sink,
    others: Vec<Arc<str>>,
    started: Timestamp,
    told: BTreeMap<Uuid, Notified>,
    /// Incidents that are not reported yet, with the time when this process first saw each.
    pending: BTreeMap<Uuid, Timestamp>,
    /// Incidents that this process has already reported.
    known: BTreeSet<Uuid>,
    /// The times at which each incident has recently ended. An incident that ends often is flapping.
    flaps: BTreeMap<Uuid, Flaps>,
    /// The indices of the tokens whose earlier incidents have ended: at this sink, no incident that the previous
    /// process reported about such a token is still open.
    settled: BTreeSet<usize>,
}

#[derive(Clone, Debug)]
struct Notified {
    /// The condition as last reported, without the tokens that have left the incident since then.
    condition: Condition,
    /// All tokens that the incident has ever affected.
    tokens: BTreeSet<String>,
    remind_at: Timestamp,
    /// The earliest time for a report about tokens that joined the incident.
    joins_at: Timestamp,
    changes: u32,
}

impl SinkState {
    /// Creates the state of a process that began at `started` and has sent no notifications.
    pub fn new(sink: Sink, started: Timestamp) -> Self {
        Self {
            sink,
            others: Vec::new(),
            started,
            told: BTreeMap::new(),
            pending: BTreeMap::new(),
            known: BTreeSet::new(),
            flaps: BTreeMap::new(),
            settled: BTreeSet::new(),
        }
    }

    /// Sets the names of all sinks, so that this sink can report that deliveries to another sink succeed again.
    #[must_use]
    pub fn beside(self, sinks: Vec<Arc<str>>) -> Self {
        Self { others: sinks, ..self }
    }

    /// Returns the due notifications: the most severe first, resolved incidents last.
    pub fn due(
        &mut self,
        snapshots: &[Snapshot],
        holding: &[Condition],
        now: Timestamp,
    ) -> Vec<Notification> {
        self.correct(now);
        let seen = self.seen(snapshots, holding, now);
        let day = day(now);
        let mut due = Vec::new();
        let holds: BTreeSet<Uuid> = seen.iter().map(|condition| condition.id).collect();
        self.pending.retain(|id, _| holds.contains(id));
        self.watch_flapping(&holds, now);
        for condition in &seen {
            self.adopt(snapshots, condition, now);
            if let Some(what) = self.news(condition, now) {
                due.push(Notification { what, condition: condition.clone(), lasted: None, day });
            }
        }
        let over = self.told.iter().filter(|(id, _)| !holds.contains(id));
        due.extend(over.filter_map(|(id, told)| {
            let what = self.end_of(*id, now)?;
            let tokens = told.tokens.iter().cloned().collect();
            let condition = Condition { tokens, ..told.condition.clone() };
            let lasted = (what == EventKind::Resolved).then(|| now - condition.since);
            Some(Notification { what, condition, lasted, day })
        }));
        let mut before = self.ended_before(snapshots, now);
        before.extend(self.renamed(snapshots, now));
        let before = before.into_iter().filter(|told| !holds.contains(&told.id));
        due.extend(before.map(|condition| Notification {
            what: EventKind::Resolved,
            condition,
            lasted: None,
            day,
        }));
        due
    }

    /// Corrects the times that were set while the clock was ahead. Each time is limited to the latest value that is
    /// possible at `now`.
    fn correct(&mut self, now: Timestamp) {
        self.started = self.started.min(now);
        for since in self.pending.values_mut() {
            *since = (*since).min(now);
        }
        for told in self.told.values_mut() {
            told.remind_at = told.remind_at.min(now + REMIND_EVERY);
            told.joins_at = told.joins_at.min(now + JOIN_WAIT * 2_i32.pow(JOIN_WAIT_DOUBLES));
        }
        for flaps in self.flaps.values_mut() {
            flaps.correct(now);
        }
    }

    /// Records that a notification was delivered.
    pub fn note(&mut self, change: &Notification, now: Timestamp) {
        let id = change.condition.id;
        self.known.insert(id);
        self.pending.remove(&id);
        self.note_flapping(id, change.what);
        let before = self.told.remove(&id);
        if change.what == EventKind::Resolved {
            return;
        }
        let changes = match change.what {
            EventKind::Changed => before.as_ref().map_or(0, |told| told.changes).saturating_add(1),
            _ => 0,
        };
        let joins_at = now + JOIN_WAIT * 2_i32.pow(changes.min(JOIN_WAIT_DOUBLES));
        let remind_at = now + REMIND_EVERY;
        let mut condition = change.condition.clone();
        let mut tokens: BTreeSet<String> = condition.tokens.iter().cloned().collect();
        if let Some(before) = before {
            condition.since = condition.since.min(before.condition.since);
            tokens.extend(before.tokens);
        }
        self.told.insert(id, Notified { condition, tokens, remind_at, joins_at, changes });
    }

    /// When a notification may become due next without any change of conditions.
    pub fn next_at(&self, now: Timestamp) -> Option<Timestamp> {
        let times = self.told.values().flat_map(|told| [told.remind_at, told.joins_at]);
        let times = times.chain(self.pending.values().map(|since| *since + HELD_FOR));
        let times = times.chain(self.flaps.values().filter_map(Flaps::quiet_at));
        times.filter(|at| *at > now).min()
    }

    /// The current conditions that this sink may see. The sink's own delivery failure is excluded. Conditions below the
    /// sink's minimum severity are excluded, unless the sink already got a message about them. Only data of the sink's
    /// own tokens is included.
    fn seen(&self, snapshots: &[Snapshot], holding: &[Condition], now: Timestamp) -> Vec<Condition> {
        let mut seen = if self.sink.tokens.is_empty() {
            holding.to_vec()
        } else {
            let ours: Vec<&Snapshot> = snapshots.iter().filter(|of| self.is_ours(of)).collect();
            condition::narrowed(holding, &ours, now)
        };
        seen.retain(|told| {
            let is_grave = told.severity >= self.sink.min_severity || self.told.contains_key(&told.id);
            is_grave && !told.is_of_sink(&self.sink.name)
        });
        seen
    }

    fn is_ours(&self, of: &Snapshot) -> bool {
        self.sink.is_about(of.grant.name.as_str())
    }

    /// The mark (`rotation::told`) for an incident that was delivered to this sink.
    pub fn mark(&self, incident: Uuid) -> u32 {
        before::mark(incident, &self.sink.name)
    }

    /// Adopts an incident that the previous process reported to this sink, so that the incident is not reported again.
    /// Only for sinks that do not track incidents by id. The other sinks get the incident again and recognize its id.
    fn adopt(&mut self, snapshots: &[Snapshot], condition: &Condition, now: Timestamp) {
        let id = condition.id;
        if self.sink.to.keeps_incidents() || self.known.contains(&id) || self.told.contains_key(&id) {
            return;
        }
        let mark = self.mark(id);
        if snapshots.iter().filter_map(before::marks).any(|marks| marks.contains(mark)) {
            let remind_at = next_reminder(condition.since, now);
            let (condition, tokens) = (condition.clone(), condition.tokens.iter().cloned().collect());
            self.told.insert(id, Notified { condition, tokens, remind_at, joins_at: now, changes: 0 });
        }
    }

    fn news(&mut self, condition: &Condition, now: Timestamp) -> Option<EventKind> {
        let flaps = self.flaps.get(&condition.id);
        let (is_flapping, is_quiet) =
            (flaps.is_some_and(Flaps::is_told), flaps.is_some_and(|of| of.is_quiet(now)));
        let Some(told) = self.told.get_mut(&condition.id) else {
            let since = *self.pending.entry(condition.id).or_insert(now);
            let passes = condition.remedy == Remedy::Retry && since + HELD_FOR > now;
            return (!passes).then_some(EventKind::Opened);
        };
        // A token that left the incident counts as new if it joins again.
        let affected: BTreeSet<&String> = condition.tokens.iter().collect();
        told.condition.tokens.retain(|token| affected.contains(token));
        let joined = told.condition.tokens.len() < affected.len();
        let is_graver = condition.severity > told.condition.severity;
        if is_flapping && !is_graver {
            return is_quiet.then_some(EventKind::Reminder);
        }
        let is_others = condition.remedy != told.condition.remedy
            || (condition.owners != told.condition.owners && condition.tokens == told.condition.tokens);
        if is_graver || is_others || (joined && told.joins_at <= now) {
            Some(EventKind::Changed)
        } else if told.remind_at <= now {
            Some(EventKind::Reminder)
        } else {
            None
        }
    }
}

fn day(now: Timestamp) -> i64 {
    now.timestamp().div_euclid(REMIND_EVERY.num_seconds())
}

/// The first time after `now` that is a whole number of days after `since`.
fn next_reminder(since: Timestamp, now: Timestamp) -> Timestamp {
    let days = (now - since).num_days() + 1;
    since + REMIND_EVERY * i32::try_from(days).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests;
