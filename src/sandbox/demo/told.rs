//! Checks promise 4 (docs/promises.md). Compares the conditions on the status board with the conditions that the story
//! expects.
//!
//! This module owns the open conditions, the kinds of condition that the story expects, and the id of each incident so
//! far. Each condition that opens or closes is shown as an alert.

use std::collections::BTreeMap;

use chrono::TimeDelta;
use uuid::Uuid;

use super::promise::{Promise, Promises};
use crate::ports::failure::Kind;
use crate::process::clock::Timestamp;
use crate::status::condition::{Condition, Severity};

/// The kind and the cause, which identify an incident.
type Incident = (Kind, String);

/// An open condition that was reported.
#[derive(Clone, Copy)]
struct Open {
    id: Uuid,
    at: Timestamp,
    severity: Severity,
}

/// A change of a condition.
pub(super) enum News {
    /// A condition opened, or its severity changed.
    Opened(Box<Condition>),
    /// A condition has cleared.
    Closed {
        /// The kind of the condition.
        kind: Kind,
        /// How long the condition was open.
        after: TimeDelta,
    },
}

/// The open conditions, and the history of earlier conditions.
#[derive(Default)]
pub(super) struct OpenConditions {
    open: BTreeMap<Incident, Open>,
    ids: BTreeMap<Incident, Uuid>,
    /// The kinds of condition that the story expects now.
    expected: Vec<Kind>,
    /// How often each incident has opened since the story last changed the expected kinds.
    openings: BTreeMap<Incident, u32>,
    incidents: usize,
}

impl OpenConditions {
    /// Begins a new part of the story, in which these kinds of condition are expected.
    pub(super) fn expect(&mut self, kinds: &[Kind]) {
        self.expected = kinds.to_vec();
        self.openings.clear();
    }

    /// Compares the known open conditions with the status board and returns the changes.
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
                format!("the incident id of {} changed", condition.kind.as_str())
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
            format!(
                "Perennial reported {} without a cause in the story: {}",
                kind.as_str(),
                condition.summary
            )
        });
        let times = self.openings.entry(incident.clone()).or_default();
        *times += 1;
        promises.check(Promise::Told, now, *times == 1, || {
            format!("{} was reported twice for the same cause", kind.as_str())
        });
        let open = Open { id: condition.id, at: now, severity: condition.severity };
        self.open.insert(incident, open);
    }

    /// Returns the time at which an open condition of this kind was reported.
    pub(super) fn since(&self, kind: Kind) -> Option<Timestamp> {
        self.open.iter().find(|((open, _), _)| *open == kind).map(|(_, open)| open.at)
    }

    /// Returns the kinds of the open conditions.
    pub(super) fn kinds(&self) -> Vec<Kind> {
        self.open.keys().map(|(kind, _)| *kind).collect()
    }

    /// Returns the ids of the open conditions, ordered by kind and cause.
    pub(super) fn ids(&self) -> Vec<Uuid> {
        self.open.values().map(|open| open.id).collect()
    }

    /// Whether the story expects this kind of condition now.
    pub(super) fn expects(&self, kind: Kind) -> bool {
        self.expected.contains(&kind)
    }

    /// Returns the number of incidents so far.
    pub(super) fn incidents(&self) -> usize {
        self.incidents
    }
}
