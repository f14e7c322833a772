//! Promise 4 (docs/promises.md): what the conditions on the board have to be like while the story goes on.
//!
//! Owns the memory of which conditions are open, what the story calls for, and which ids were seen. An
//! alert is a condition that opened or closed: this is what alerts are made of.

use std::collections::BTreeMap;

use chrono::TimeDelta;
use uuid::Uuid;

use super::promise::{Promise, Promises};
use crate::ports::failure::Kind;
use crate::process::clock::Timestamp;
use crate::status::condition::{Condition, Severity};

/// Kind and cause: what makes an incident.
type Incident = (Kind, String);

/// A condition that was told.
#[derive(Clone, Copy)]
struct Open {
    id: Uuid,
    at: Timestamp,
    severity: Severity,
}

/// News about conditions.
pub(super) enum News {
    /// One opened, or became graver.
    Opened(Box<Condition>),
    /// One is over.
    Closed {
        /// What it was.
        kind: Kind,
        /// How long it was open.
        after: TimeDelta,
    },
}

/// The conditions that are open, and what is known about earlier ones.
#[derive(Default)]
pub(super) struct OpenConditions {
    open: BTreeMap<Incident, Open>,
    ids: BTreeMap<Incident, Uuid>,
    /// What the story calls for at present.
    expected: Vec<Kind>,
    /// How often each opened since the story last changed what it expects.
    openings: BTreeMap<Incident, u32>,
    incidents: usize,
}

impl OpenConditions {
    /// A new part of the story, with the kinds that belong to it.
    pub(super) fn expect(&mut self, kinds: &[Kind]) {
        self.expected = kinds.to_vec();
        self.openings.clear();
    }

    /// Compares with what is on the board.
    pub(super) fn compare(
        &mut self,
        conditions: &[Condition],
        now: Timestamp,
        promises: &mut Promises,
    ) -> Vec<News> {
        let mut news = Vec::new();
        for condition in conditions {
            let incident = (condition.kind, condition.cause.clone());
            let same = *self.ids.entry(incident.clone()).or_insert(condition.id) == condition.id;
            promises.check(Promise::Told, now, same, || {
                format!("{} has another id than it had before", condition.kind.as_str())
            });
            match self.open.get_mut(&incident) {
                Some(open) if open.severity == condition.severity => continue,
                Some(open) => open.severity = condition.severity,
                None => self.opened(incident, condition, now, promises),
            }
            news.push(News::Opened(Box::new(condition.clone())));
        }
        self.open.retain(|(kind, cause), open| {
            let holds = conditions.iter().any(|there| there.kind == *kind && there.cause == *cause);
            if !holds {
                news.push(News::Closed { kind: *kind, after: now - open.at });
            }
            holds
        });
        news
    }

    fn opened(&mut self, incident: Incident, condition: &Condition, now: Timestamp, promises: &mut Promises) {
        let kind = condition.kind;
        self.incidents += 1;
        promises.check(Promise::Told, now, self.expected.contains(&kind), || {
            format!("{} was told, and nothing had happened: {}", kind.as_str(), condition.summary)
        });
        let times = self.openings.entry(incident.clone()).or_default();
        *times += 1;
        promises.check(Promise::Told, now, *times == 1, || {
            format!("{} was told twice for the same cause", kind.as_str())
        });
        let open = Open { id: condition.id, at: now, severity: condition.severity };
        self.open.insert(incident, open);
    }

    /// When an open condition of this kind was told.
    pub(super) fn since(&self, kind: Kind) -> Option<Timestamp> {
        self.open.iter().find(|((open, _), _)| *open == kind).map(|(_, open)| open.at)
    }

    /// The kinds that are open.
    pub(super) fn kinds(&self) -> Vec<Kind> {
        self.open.keys().map(|(kind, _)| *kind).collect()
    }

    /// The ids of what is open, in order.
    pub(super) fn ids(&self) -> Vec<Uuid> {
        self.open.values().map(|open| open.id).collect()
    }

    /// Whether the story calls for this kind at present.
    pub(super) fn expects(&self, kind: Kind) -> bool {
        self.expected.contains(&kind)
    }

    /// How many incidents there were.
    pub(super) fn incidents(&self) -> usize {
        self.incidents
    }
}
