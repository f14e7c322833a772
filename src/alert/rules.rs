//! Alerts: what each sink is to be told, by what it was told and what holds.
//!
//! Owns the rules of opened, changed, reminder and resolved. There is no queue: a sink's `SinkState` compares what
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
use crate::ports::failure::{Kind, Remedy};
use crate::process::clock::Timestamp;
use crate::rotation::state::Inherited;
use crate::rotation::told::Marks;
use crate::status::board::MARKED;
use crate::status::condition;
use crate::status::condition::{Cause, Condition, Severity};
use crate::status::sink_health;
use crate::status::snapshot::Snapshot;
use crate::token::managed::Deployment;

/// An incident that lasts is told again this often.
pub const REMIND_EVERY: TimeDelta = TimeDelta::days(1);

/// What may have been told although no tag could say so: the vault was away, or said no, or does not take a successor.
const UNMARKED: [Kind; 6] = [
    Kind::VaultUnreachable,
    Kind::VaultIdentity,
    Kind::VaultRefused,
    Kind::SecretDeleted,
    Kind::TurnedOff,
    Kind::Unsaved,
];

/// A sink that takes one incident at a time is told no more ends at once of what began before the start.
const ENDS_AT_ONCE: usize = 8;

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
            Self::Test => "test",
        }
    }
}

/// One thing to tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notification {
    /// What about it.
    pub what: EventKind,
    /// The incident; for one that is over, as it was last told.
    pub condition: Condition,
    /// On which day, counted from 1970: a reminder is another one each day.
    pub day: i64,
}

impl Notification {
    /// An id that is the same whenever the same thing is told, also by another process.
    pub fn id(&self) -> Uuid {
        let Condition { id, since, severity, tokens, kind, .. } = &self.condition;
        // How far a clock is off has no beginning that anybody knows.
        let since = if *kind == Kind::ClockSkew { 0 } else { since.timestamp() };
        let text = match self.what {
            EventKind::Reminder => format!("reminder/{since}/{}", self.day),
            EventKind::Changed => format!("changed/{since}/{severity:?}/{}", tokens.join(",")),
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
    "nothing: that you can read this is what was to be shown".clone_into(&mut condition.action);
    Notification { what: EventKind::Test, condition, day: day(now) }
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
    /// Tokens, by their place, of which nothing of the process before is left to tell.
    settled: BTreeSet<usize>,
}

#[derive(Clone, Debug)]
struct Notified {
    condition: Condition,
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
        self.pending.retain(|id, _| seen.iter().any(|condition| condition.id == *id));
        for condition in &seen {
            self.adopt(snapshots, condition, now);
            if let Some(what) = self.news(condition, now) {
                due.push(Notification { what, condition: condition.clone(), day });
            }
        }
        let mut before = self.ended_before(snapshots, now);
        before.extend(self.renamed(snapshots, now));
        let over = self.told.values().map(|told| told.condition.clone()).chain(before);
        let over = over.filter(|told| !seen.iter().any(|condition| condition.id == told.id));
        due.extend(over.map(|condition| Notification { what: EventKind::Resolved, condition, day }));
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
    }

    /// Takes note that something was delivered.
    pub fn note(&mut self, change: &Notification, now: Timestamp) {
        let id = change.condition.id;
        self.known.insert(id);
        self.pending.remove(&id);
        if change.what == EventKind::Resolved {
            self.told.remove(&id);
            return;
        }
        let changes = match change.what {
            EventKind::Changed => self.told.get(&id).map_or(0, |told| told.changes).saturating_add(1),
            _ => 0,
        };
        let joins_at = now + JOIN_WAIT * 2_i32.pow(changes.min(JOIN_WAIT_DOUBLES));
        let remind_at = now + REMIND_EVERY;
        let condition = change.condition.clone();
        self.told.insert(id, Notified { condition, remind_at, joins_at, changes });
    }

    /// When something may become due by the mere passing of time.
    pub fn next_at(&self, now: Timestamp) -> Option<Timestamp> {
        let times = self.told.values().flat_map(|told| [told.remind_at, told.joins_at]);
        let times = times.chain(self.pending.values().map(|since| *since + HELD_FOR));
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
        let patterns = &self.sink.tokens;
        patterns.is_empty() || patterns.iter().any(|pattern| fits(pattern, of.grant.name.as_str()))
    }

    /// The mark that this sink was told of an incident.
    pub fn mark(&self, incident: Uuid) -> u32 {
        mark(incident, &self.sink.name)
    }

    /// Takes as told what the process before has told people.
    fn adopt(&mut self, snapshots: &[Snapshot], condition: &Condition, now: Timestamp) {
        let id = condition.id;
        if self.sink.to.keeps_incidents() || self.known.contains(&id) || self.told.contains_key(&id) {
            return;
        }
        let mark = self.mark(id);
        if snapshots.iter().filter_map(marks).any(|marks| marks.contains(mark)) {
            let remind_at = next_reminder(condition.since, now);
            let told = Notified { condition: condition.clone(), remind_at, joins_at: now, changes: 0 };
            self.told.insert(id, told);
        }
    }

    fn news(&mut self, condition: &Condition, now: Timestamp) -> Option<EventKind> {
        let Some(told) = self.told.get_mut(&condition.id) else {
            let since = *self.pending.entry(condition.id).or_insert(now);
            let passes = condition.remedy == Remedy::Retry && since + HELD_FOR > now;
            return (!passes).then_some(EventKind::Opened);
        };
        // Who has left may join again.
        told.condition.tokens.retain(|token| condition.tokens.contains(token));
        let joined = condition.tokens.iter().any(|token| !told.condition.tokens.contains(token));
        if condition.severity > told.condition.severity || (joined && told.joins_at <= now) {
            Some(EventKind::Changed)
        } else if told.remind_at <= now {
            Some(EventKind::Reminder)
        } else {
            None
        }
    }

    /// What the process before has told, and what is over by now.
    fn ended_before(&mut self, snapshots: &[Snapshot], now: Timestamp) -> Vec<Condition> {
        let most = if self.sink.to.keeps_incidents() { ENDS_AT_ONCE } else { usize::MAX };
        let mut ended: BTreeMap<Uuid, Condition> = BTreeMap::new();
        for (place, of) in snapshots.iter().enumerate() {
            let is_searched = of.inherited != Some(Inherited::SignIn);
            if self.settled.contains(&place) || !is_searched || !of.shows_the_end_of(Kind::Overdue) {
                continue;
            }
            let open = self.may_be_open(of, now);
            if open.is_empty() {
                self.settled.insert(place);
            }
            let over = open
                .into_iter()
                .filter(|told| of.shows_the_end_of(told.kind) && !self.told.contains_key(&told.id));
            ended.extend(over.map(|told| (told.id, told)));
            if ended.len() >= most {
                break;
            }
        }
        ended.into_values().take(most).collect()
    }

    /// What the first version told about refused tokens: it goes on under another id.
    fn renamed(&self, snapshots: &[Snapshot], now: Timestamp) -> Vec<Condition> {
        let keeps = self.sink.to.keeps_incidents();
        let refused = snapshots.iter().filter(|of| keeps && self.is_ours(of)).filter_map(|of| {
            let Some(Inherited::Refused(kind)) = of.inherited else { return None };
            let told = ended_of(kind, &Cause::token_by_name(&of.grant.name), of, (self.started, now));
            Some(told.with_texts("it is told under another id from now on".to_owned(), "nothing".to_owned()))
        });
        refused.filter(|told| !self.known.contains(&told.id)).take(ENDS_AT_ONCE).collect()
    }

    fn causes(&self, kind: Kind, of: &Snapshot) -> Vec<Cause> {
        let here = &of.grant.deployment;
        match kind {
            Kind::AlertUndeliverable => self.others.iter().map(|other| Cause::sink(other, here)).collect(),
            _ => condition::causes(kind, of),
        }
    }

    /// What this sink may hold open that affects this token: by the marks, or because nothing could be marked.
    fn may_be_open(&self, of: &Snapshot, now: Timestamp) -> Vec<Condition> {
        let is_first = of.inherited == Some(Inherited::FirstSignIn);
        let keeps = self.sink.to.keeps_incidents();
        let marks = marks(of);
        let mut open = Vec::new();
        for kind in Kind::ALL {
            let is_refused = of.inherited == Some(Inherited::Refused(kind));
            let is_unmarked = keeps
                && (is_refused || UNMARKED.contains(&kind) || (is_first && kind == Kind::NeverSignedIn));
            if !is_unmarked && marks.is_none() {
                continue;
            }
            for cause in self.causes(kind, of) {
                let told = ended_of(kind, &cause, of, (self.started, now));
                let is_marked = || marks.is_some_and(|marks| marks.contains(self.mark(told.id)));
                let is_seen =
                    !told.is_of_sink(&self.sink.name) && (told.tokens.is_empty() || self.is_ours(of));
                if is_seen && !self.known.contains(&told.id) && (is_unmarked || is_marked()) {
                    open.push(told);
                }
            }
        }
        open
    }
}

/// Whether the process before has told one of these sinks that this one cannot be delivered to.
pub fn was_undeliverable(sink: &str, snapshots: &[Snapshot], sinks: &[Arc<str>]) -> bool {
    let Some(of) = snapshots.first() else { return false };
    let incident = Cause::sink(sink, &of.grant.deployment).incident(Kind::AlertUndeliverable);
    let told = |marks: &Marks| sinks.iter().any(|other| marks.contains(mark(incident, other)));
    snapshots.iter().take(MARKED).filter_map(marks).any(told)
}

fn mark(incident: Uuid, sink: &str) -> u32 {
    Uuid::new_v5(&incident, sink.as_bytes()).as_fields().0
}

fn marks(of: &Snapshot) -> Option<&Marks> {
    match &of.inherited {
        Some(Inherited::Told(marks)) => Some(marks),
        Some(Inherited::SignIn | Inherited::FirstSignIn | Inherited::Refused(_)) | None => None,
    }
}

/// An incident that ended while no process was there. When it began is not known; each process tells its own end.
fn ended_of(kind: Kind, cause: &Cause, of: &Snapshot, (started, now): (Timestamp, Timestamp)) -> Condition {
    let told = Condition::new(kind, cause, (Severity::Critical, Remedy::Login), started);
    let told = match kind {
        Kind::ClockSkew | Kind::AlertUndeliverable => told,
        _ => told.of_token(of, now),
    };
    told.with_texts("first reported before the last restart".to_owned(), "nothing".to_owned())
}

fn day(now: Timestamp) -> i64 {
    now.timestamp().div_euclid(REMIND_EVERY.num_seconds())
}

/// The first whole number of days after the beginning that is still to come.
fn next_reminder(since: Timestamp, now: Timestamp) -> Timestamp {
    let days = (now - since).num_days() + 1;
    since + REMIND_EVERY * i32::try_from(days).unwrap_or(i32::MAX)
}

/// Whether a name fits a pattern, in which `*` stands for any letters. Case makes no difference.
pub(crate) fn fits(pattern: &str, name: &str) -> bool {
    let (pattern, name) = (pattern.to_ascii_lowercase(), name.to_ascii_lowercase());
    let Some((start, rest)) = pattern.split_once('*') else { return pattern == name };
    let Some(mut left) = name.strip_prefix(start) else { return false };
    let mut parts: Vec<&str> = rest.split('*').collect();
    let end = parts.pop().unwrap_or_default();
    for part in parts {
        let Some(at) = left.find(part) else { return false };
        left = &left[at + part.len()..];
    }
    left.ends_with(end)
}

#[cfg(test)]
mod tests;
