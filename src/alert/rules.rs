//! Alerts: what each sink is to be told, by what it was told and what holds.
//!
//! Owns the rules of opened, changed, reminder, flapping and resolved. There is no queue: a sink's `SinkState` compares what
//! it was told with what holds, so nothing overflows, and what was not delivered is still due. What begins and
//! ends between two deliveries is never reported. Pure: `notifier` delivers, `forms` gives a message its form.
//!
//! What was told is marked in the tags of a few tokens (`rotation::told`). After a start, sinks that keep incidents
//! themselves (`PagerDuty`, `webhook`) are told everything again under the same ids. People are told again only what no mark
//! says that they were told, but for the daily reminder. What ended meanwhile is read off the same marks. While a
//! vault says no, nothing can be marked: the end of that is told to sinks that keep incidents at each start, as soon as the
//! token works.

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

/// An incident that lasts is told again this often.
pub const REMIND_EVERY: TimeDelta = TimeDelta::days(1);

/// What passes by itself is told once it has held for so long: at a start a late step is made up for in a moment.
const HELD_FOR: TimeDelta = TimeDelta::seconds(30);

/// Tokens that join an incident are told after this long, then after twice as long, and so on: an outage
/// that tokens notice one by one is one incident and not a hundred messages.
const JOIN_WAIT: TimeDelta = TimeDelta::minutes(1);
const JOIN_WAIT_DOUBLES: u32 = 10;

/// What there is to tell about an incident.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum EventKind {
    /// It is new.
    Opened,
    /// It became graver, or tokens joined it.
    Changed,
    /// It still holds.
    Reminder,
    /// It is over.
    Resolved,
    /// It began and ended several times. Nothing more is told until it has not changed for an hour.
    Flapping,
    /// Nothing is wrong: somebody tries the sink.
    Test,
}

impl EventKind {
    /// The word for it.
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

/// One thing to tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notification {
    /// What about it.
    pub what: EventKind,
    /// The incident; for one that is over, as it was last told, with all tokens that were ever in it.
    pub condition: Condition,
    /// How long it lasted, where it is over and its beginning is known.
    pub lasted: Option<TimeDelta>,
    /// On which day, counted from 1970: a reminder is another one each day.
    pub day: i64,
}

impl Notification {
    /// An id that is the same whenever the same thing is told, also by another process.
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

/// What is sent to try a sink.
pub fn test_message(sink: &str, here: &Deployment, now: Timestamp) -> Notification {
    let mut condition = sink_health::undeliverable(sink, here, "", (Severity::Warning, now));
    // Each test is an incident of its own.
    condition.id = Uuid::new_v5(&condition.id, format!("test/{}", now.timestamp()).as_bytes());
    condition.summary = format!("this is a test of the alert sink {sink}; nothing is wrong");
    "nothing: this test shows that alerts reach you".clone_into(&mut condition.action);
    Notification { what: EventKind::Test, condition, lasted: None, day: day(now) }
}

/// What one sink has been told so far.
#[derive(Clone, Debug)]
pub struct SinkState {
    sink: Sink,
    others: Vec<Arc<str>>,
    started: Timestamp,
    told: BTreeMap<Uuid, Notified>,
    /// Since when this process has seen what was not told yet.
    pending: BTreeMap<Uuid, Timestamp>,
    /// Incidents that this process has told something about.
    known: BTreeSet<Uuid>,
    /// Incidents that have ended lately.
    flaps: BTreeMap<Uuid, Flaps>,
    /// Tokens, by their place, of which nothing of the process before is left to tell.
    settled: BTreeSet<usize>,
}

#[derive(Clone, Debug)]
struct Notified {
    /// As it was last told. Of its tokens those that have not left since.
    condition: Condition,
    /// All tokens that were ever in it.
    tokens: BTreeSet<String>,
    remind_at: Timestamp,
    /// Joining tokens are told from then on.
    joins_at: Timestamp,
    changes: u32,
}

impl SinkState {
    /// Of a process that began at `started` and has told nothing.
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

    /// The same beside sinks of these names, about which it is told as well.
    #[must_use]
    pub fn beside(self, sinks: Vec<Arc<str>>) -> Self {
        Self { others: sinks, ..self }
    }

    /// What is due, the gravest first and what is over at the end.
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

    /// Corrects what was noted by a clock that was wrong: no wait is longer than one that begins now.
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

    /// Takes note that something was delivered.
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

    /// When something may become due by the mere passing of time.
    pub fn next_at(&self, now: Timestamp) -> Option<Timestamp> {
        let times = self.told.values().flat_map(|told| [told.remind_at, told.joins_at]);
        let times = times.chain(self.pending.values().map(|since| *since + HELD_FOR));
        let times = times.chain(self.flaps.values().filter_map(Flaps::quiet_at));
        times.filter(|at| *at > now).min()
    }

    /// What holds as this sink may see it: not about itself, not below its severity unless it was told before, and drawn
    /// from its own tokens only.
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

    /// The mark that this sink was told of an incident.
    pub fn mark(&self, incident: Uuid) -> u32 {
        before::mark(incident, &self.sink.name)
    }

    /// Takes as told what the process before has told people.
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
        // Who has left may join again.
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

/// The first whole number of days after the beginning that is still to come.
fn next_reminder(since: Timestamp, now: Timestamp) -> Timestamp {
    let days = (now - since).num_days() + 1;
    since + REMIND_EVERY * i32::try_from(days).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests;
