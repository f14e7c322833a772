//! Alert rules: what is due at each sink.
//!
//! Owns the rules of opened, changed, reminder, flapping and resolved. There is no queue. A sink's `SinkState`
//! compares the delivered changes with the current conditions, so nothing overflows, and a failed delivery stays due.
//! A condition that begins and ends between two deliveries is never reported. Pure: `notifier` delivers, `forms`
//! formats.
//!
//! Delivered incidents are marked in the tags of a few tokens (`rotation::told`). After a start, sinks that keep
//! incidents themselves (`PagerDuty`, `webhook`) get everything again under the same ids. People get only what no
//! mark records as delivered, and the daily reminder. The same marks show which incidents ended meanwhile. While a
//! vault denies access, nothing can be marked: sinks that keep incidents get the end of such incidents at each start,
//! as soon as the token works.

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

/// Interval of reminders for an incident that lasts.
pub const REMIND_EVERY: TimeDelta = TimeDelta::days(1);

/// A condition that may clear by itself is reported once it has lasted this long. After a start, an overdue step is
/// usually done within seconds.
const HELD_FOR: TimeDelta = TimeDelta::seconds(30);

/// Tokens that join an incident are reported after this wait, which doubles each time. An outage that tokens notice
/// one by one is one incident and not a hundred messages.
const JOIN_WAIT: TimeDelta = TimeDelta::minutes(1);
const JOIN_WAIT_DOUBLES: u32 = 10;

/// The kinds of notification.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum EventKind {
    /// The incident is new.
    Opened,
    /// Its severity rose, or tokens joined it.
    Changed,
    /// It still holds.
    Reminder,
    /// It has cleared.
    Resolved,
    /// It began and ended several times. The next message follows when it has not changed for an hour.
    Flapping,
    /// A test of the sink; nothing is wrong.
    Test,
}

impl EventKind {
    /// Its name in messages.
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

/// One notification.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notification {
    /// Its kind.
    pub what: EventKind,
    /// The incident. A resolved one is as last reported, with all tokens that were ever in it.
    pub condition: Condition,
    /// How long a resolved incident lasted, if its beginning is known.
    pub lasted: Option<TimeDelta>,
    /// The day, counted from 1970: each day's reminder has its own id.
    pub day: i64,
}

impl Notification {
    /// An id that is the same for the same notification, also in another process.
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

/// A test message for a sink.
pub fn test_message(sink: &str, here: &Deployment, now: Timestamp) -> Notification {
    let mut condition = sink_health::undeliverable(sink, here, "", (Severity::Warning, now));
    // Each test is an incident of its own.
    condition.id = Uuid::new_v5(&condition.id, format!("test/{}", now.timestamp()).as_bytes());
    condition.summary = format!("this is a test of the alert sink {sink}; nothing is wrong");
    "nothing: this test shows that alerts reach you".clone_into(&mut condition.action);
    Notification { what: EventKind::Test, condition, lasted: None, day: day(now) }
}

/// What one sink has received so far.
#[derive(Clone, Debug)]
pub struct SinkState {
    sink: Sink,
    others: Vec<Arc<str>>,
    started: Timestamp,
    told: BTreeMap<Uuid, Notified>,
    /// Incidents that are not reported yet, and when this process first saw them.
    pending: BTreeMap<Uuid, Timestamp>,
    /// Incidents that this process has reported.
    known: BTreeSet<Uuid>,
    /// Incidents that have ended lately.
    flaps: BTreeMap<Uuid, Flaps>,
    /// Tokens, by index, whose incidents from the previous process are all dealt with.
    settled: BTreeSet<usize>,
}

#[derive(Clone, Debug)]
struct Notified {
    /// As last reported, without the tokens that have left since.
    condition: Condition,
    /// All tokens that were ever in it.
    tokens: BTreeSet<String>,
    remind_at: Timestamp,
    /// Tokens that join are reported from this time on.
    joins_at: Timestamp,
    changes: u32,
}

impl SinkState {
    /// The state of a process that began at `started` and has sent nothing.
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

    /// The same, also reporting delivery failures of the sinks with these names.
    #[must_use]
    pub fn beside(self, sinks: Vec<Arc<str>>) -> Self {
        Self { others: sinks, ..self }
    }

    /// Notifications that are due: the most severe first, resolved ones last.
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

    /// Corrects times that were taken from a wrong clock: no wait is longer than one that begins now.
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

    /// Records a delivery.
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

    /// When time alone may next make something due.
    pub fn next_at(&self, now: Timestamp) -> Option<Timestamp> {
        let times = self.told.values().flat_map(|told| [told.remind_at, told.joins_at]);
        let times = times.chain(self.pending.values().map(|since| *since + HELD_FOR));
        let times = times.chain(self.flaps.values().filter_map(Flaps::quiet_at));
        times.filter(|at| *at > now).min()
    }

    /// The current conditions as this sink may see them: none about itself; none below its severity, unless reported
    /// before; each drawn from the sink's own tokens only.
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

    /// The mark that records a delivered incident.
    pub fn mark(&self, incident: Uuid) -> u32 {
        before::mark(incident, &self.sink.name)
    }

    /// Adopts the incidents that the previous process reported to people.
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
        // A token that has left may join again.
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

/// The next whole number of days after the beginning.
fn next_reminder(since: Timestamp, now: Timestamp) -> Timestamp {
    let days = (now - since).num_days() + 1;
    since + REMIND_EVERY * i32::try_from(days).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests;
