//! Finds incidents that the previous process may have left open at a sink, so that the sink gets their ends.
//!
//! This module finds these incidents by the marks in the vault's tags (`rotation::told`). Some incidents cannot be
//! marked. Perennial does not know whether these incidents were reported. So it sends their ends only to sinks that
//! track incidents by id. Such a sink ignores an end for an unknown incident.

use std::collections::BTreeMap;
use std::sync::Arc;

use uuid::Uuid;

use super::SinkState;
use crate::ports::failure::{Kind, Remedy};
use crate::process::clock::Timestamp;
use crate::rotation::state::Inherited;
use crate::rotation::told::Marks;
use crate::status::board::MARKED;
use crate::status::condition;
use crate::status::condition::{Cause, Condition, Severity};
use crate::status::snapshot::Snapshot;

/// Kinds of incidents that can be open without a mark. If the vault is unreachable or denies access, an incident cannot
/// be marked.
pub(super) const UNMARKED: [Kind; 7] = [
    Kind::VaultUnreachable,
    Kind::VaultIdentity,
    Kind::VaultRefused,
    Kind::SecretDeleted,
    Kind::TurnedOff,
    Kind::Unsaved,
    Kind::Overdue,
];

/// A sink that tracks incidents by id gets the ends of at most this many earlier incidents at once.
const ENDS_AT_ONCE: usize = 8;

impl SinkState {
    /// Incidents that the previous process reported, or may have reported, and that have ended since then.
    pub(super) fn ended_before(&mut self, snapshots: &[Snapshot], now: Timestamp) -> Vec<Condition> {
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

    /// Incidents of rejected tokens that may be open under the ids of Perennial's first version. Perennial ends these
    /// incidents, because it now reports the same problems under new ids.
    pub(super) fn renamed(&self, snapshots: &[Snapshot], now: Timestamp) -> Vec<Condition> {
        let keeps = self.sink.to.keeps_incidents();
        let refused = snapshots.iter().filter(|of| keeps && self.is_ours(of)).filter_map(|of| {
            let Some(Inherited::Refused(kind)) = of.inherited else { return None };
            let told = ended_of(kind, &Cause::token_by_name(&of.grant.name), of, (self.started, now));
            Some(told.with_texts(
                "Perennial now reports this problem under a new incident id".to_owned(),
                "nothing".to_owned(),
            ))
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

    /// Incidents of this token that may be open at this sink. Either a mark shows the incident, or the incident could
    /// not be marked.
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

/// Whether the previous process told any of `sinks` that deliveries to `sink` fail.
pub fn was_undeliverable(sink: &str, snapshots: &[Snapshot], sinks: &[Arc<str>]) -> bool {
    let Some(of) = snapshots.first() else { return false };
    let incident = Cause::sink(sink, &of.grant.deployment).incident(Kind::AlertUndeliverable);
    let told = |marks: &Marks| sinks.iter().any(|other| marks.contains(mark(incident, other)));
    snapshots.iter().take(MARKED).filter_map(marks).any(told)
}

pub(super) fn marks(of: &Snapshot) -> Option<&Marks> {
    match &of.inherited {
        Some(Inherited::Told(marks)) => Some(marks),
        Some(Inherited::SignIn | Inherited::FirstSignIn | Inherited::Refused(_)) | None => None,
    }
}

/// Creates an incident that ended while no process was running. The start of the incident is unknown, so the start of
/// this process is used.
fn ended_of(kind: Kind, cause: &Cause, of: &Snapshot, (started, now): (Timestamp, Timestamp)) -> Condition {
    let told = Condition::new(kind, cause, (Severity::Critical, Remedy::Login), started);
    let told = match kind {
        Kind::ClockSkew | Kind::AlertUndeliverable => told,
        _ => told.of_token(of, now),
    };
    let summary = "Perennial reported this problem before its last restart";
    told.with_texts(summary.to_owned(), "nothing".to_owned())
}

/// The mark (`rotation::told`) for an incident that was delivered to a sink.
pub(super) fn mark(incident: Uuid, sink: &str) -> u32 {
    Uuid::new_v5(&incident, sink.as_bytes()).as_fields().0
}

#[cfg(test)]
pub(super) mod tests;
