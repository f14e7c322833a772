//! Promise 4 (docs/promises.md): the expected conditions on the board during the story.
//!
//! Owns the open conditions, the kinds that the story expects, and the ids so far. Each condition that opens or closes
//! becomes an alert.

use std::collections::BTreeMap;

use chrono::TimeDelta;
use uuid::Uuid;

use super::promise::{Promise, Promises};
use crate::ports::failure::Kind;
use crate::process::clock::Timestamp;
use crate::status::condition::{Condition, Severity};

/// Kind and cause, which identify an incident.
type Incident = (Kind, String);

/// A reported condition.
#[derive(Clone, Copy)]
struct Open {
    id: Uuid,
    at: Timestamp,
    severity: Severity,
}

/// A change of a condition.
pub(super) enum News {
    /// One opened, or its severity rose.
    Opened(Box<Condition>),
    /// One has cleared.
    Closed {
        /// Its kind.
        kind: Kind,
        /// How long it was open.
        after: TimeDelta,
    },
}

/// The open conditions, and the history of earlier ones.
#[derive(Default)]
pub(super) struct OpenConditions {
    open: BTreeMap<Incident, Open>,
    ids: BTreeMap<Incident, Uuid>,
    /// The kinds that the story expects now.
    expected: Vec<Kind>,
    /// How often each opened since the expectation last changed.
    openings: BTreeMap<Incident, u32>,
    incidents: usize,
}

impl OpenConditions {
    /// A new part of the story, with the kinds that belong to it.
    pub(super) fn expect(&mut self, kinds: &[Kind]) {
        self.expected = kinds.to_vec();
        self.openings.clear();
    }

    /// Compares with the board.
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

    /// When an open condition of this kind was reported.
    pub(super) fn since(&self, kind: Kind) -> Option<Timestamp> {
        self.open.iter().find(|((open, _), _)| *open == kind).map(|(_, open)| open.at)
    }

    /// The kinds that are open.
    pub(super) fn kinds(&self) -> Vec<Kind> {
        self.open.keys().map(|(kind, _)| *kind).collect()
    }

    /// The ids of open conditions, in order.
    pub(super) fn ids(&self) -> Vec<Uuid> {
        self.open.values().map(|open| open.id).collect()
    }

    /// Whether the story expects this kind now.
    pub(super) fn expects(&self, kind: Kind) -> bool {
        self.expected.contains(&kind)
    }

    /// The number of incidents so far.
    pub(super) fn incidents(&self) -> usize {
        self.incidents
    }
}
