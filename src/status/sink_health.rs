//! The health of the alert sinks: delivery counts of each sink and the sinks that fail.
//!
//! This module owns the counters behind `alert_deliveries_total` and the condition `alert_undeliverable`. It does not
//! know the messages or their formats.
//!
//! Invariant: the condition of a sink ends only when the last due message is delivered to the sink.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::ports::failure::{Kind, Remedy};
use crate::process::clock::Timestamp;
use crate::status::condition::{Cause, Condition, Severity, action};
use crate::token::managed::Deployment;

/// A temporary failure is reported after this many failed attempts in a row.
const TOLD_AFTER_ATTEMPTS: u32 = 3;

/// The outcomes of a delivery, as metrics name them.
pub const OUTCOMES: [&str; 2] = ["delivered", "failed"];

/// The health of all sinks, in the order of the configuration. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct SinkHealth(Arc<[Mutex<Record>]>);

#[derive(Debug)]
struct Record {
    sink: Arc<str>,
    counts: [u64; OUTCOMES.len()],
    trouble: Option<Trouble>,
    /// Whether `inherit` has already been called for this sink.
    has_inherited: bool,
}

#[derive(Debug)]
struct Trouble {
    since: Timestamp,
    why: String,
    attempts: u32,
    /// Whether the condition is open. It stays open until all due alerts are delivered.
    is_told: bool,
    severity: Severity,
}

/// A failed delivery attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Miss {
    /// The reason for the failure, without addresses or secrets.
    pub why: String,
    /// Whether each retry fails until a person fixes the cause.
    pub permanent: bool,
    /// The highest severity among the undelivered alerts.
    pub severity: Severity,
}

impl SinkHealth {
    /// Creates records for these sinks, without any deliveries.
    pub fn new(sinks: impl Iterator<Item = Arc<str>>) -> Self {
        let records = sinks
            .map(|sink| Mutex::new(Record { sink, counts: [0; 2], trouble: None, has_inherited: false }));
        Self(records.collect())
    }

    /// Counts a successful delivery.
    pub fn delivered(&self, place: usize) {
        if let Some(mut record) = self.record(place) {
            record.counts[0] += 1;
        }
    }

    /// Records that all due alerts were delivered. Returns whether this ends a condition.
    pub fn all_delivered(&self, place: usize) -> bool {
        let Some(mut record) = self.record(place) else { return false };
        record.trouble.take().is_some_and(|trouble| trouble.is_told)
    }

    /// Counts a failed attempt. Returns whether this opens or changes a condition.
    pub fn missed(&self, place: usize, miss: Miss, now: Timestamp) -> bool {
        let Some(mut record) = self.record(place) else { return false };
        record.counts[1] += 1;
        let Miss { why, permanent, severity } = miss;
        let known = record.trouble.take();
        let before = known.as_ref().filter(|trouble| trouble.is_told).map(|trouble| trouble.severity);
        let attempts = known.as_ref().map_or(0, |known| known.attempts).saturating_add(1);
        let is_told = permanent || attempts >= TOLD_AFTER_ATTEMPTS || before.is_some();
        let since = known.map_or(now, |known| known.since);
        record.trouble = Some(Trouble { since, why, attempts, is_told, severity });
        is_told && before != Some(severity)
    }

    /// Opens the condition for a failure that the previous process reported. Does nothing on a second call for the same
    /// sink, or if this process already fails to deliver to the sink. Returns whether the condition opened.
    pub fn inherit(&self, place: usize, now: Timestamp) -> bool {
        let Some(mut record) = self.record(place) else { return false };
        if std::mem::replace(&mut record.has_inherited, true) || record.trouble.is_some() {
            return false;
        }
        let why = "the failure began before Perennial's last restart".to_owned();
        record.trouble =
            Some(Trouble { since: now, why, attempts: 0, is_told: true, severity: Severity::Warning });
        true
    }

    /// The names of the sinks, in the order of the configuration.
    pub fn names(&self) -> Vec<Arc<str>> {
        (0..self.0.len()).filter_map(|place| Some(self.record(place)?.sink.clone())).collect()
    }

    /// When deliveries began to fail. `None` if they do not fail now.
    pub fn troubled_since(&self, place: usize) -> Option<Timestamp> {
        self.record(place)?.trouble.as_ref().map(|trouble| trouble.since)
    }

    /// The conditions of the sinks. If the clock was set back, a condition's start is limited to `now`.
    pub fn conditions(&self, here: &Deployment, now: Timestamp) -> Vec<Condition> {
        (0..self.0.len()).filter_map(|place| self.condition(place, here, now)).collect()
    }

    /// The name of each sink, and its number of deliveries with each of `OUTCOMES`. The sinks are in the order of the
    /// configuration.
    pub fn counts(&self) -> Vec<(Arc<str>, [u64; OUTCOMES.len()])> {
        let all = (0..self.0.len()).filter_map(|place| self.record(place));
        all.map(|record| (record.sink.clone(), record.counts)).collect()
    }

    fn condition(&self, place: usize, here: &Deployment, now: Timestamp) -> Option<Condition> {
        let mut record = self.record(place)?;
        if let Some(trouble) = &mut record.trouble {
            trouble.since = trouble.since.min(now);
        }
        let trouble = record.trouble.as_ref().filter(|trouble| trouble.is_told)?;
        Some(undeliverable(&record.sink, here, &trouble.why, (trouble.severity, trouble.since)))
    }

    fn record(&self, place: usize) -> Option<MutexGuard<'_, Record>> {
        self.0.get(place).map(|record| record.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Creates the condition for a sink whose deliveries fail.
pub fn undeliverable(
    sink: &str,
    here: &Deployment,
    why: &str,
    (severity, since): (Severity, Timestamp),
) -> Condition {
    let summary = format!("delivery to the alert sink {sink} failed: {why}");
    let cause = Cause::sink(sink, here);
    Condition::new(Kind::AlertUndeliverable, &cause, (severity, Remedy::Operator), since)
        .with_texts(summary, here.typed(&action::of_sink(sink)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rotation::samples;

    fn now() -> Timestamp {
        Timestamp::from_timestamp(1_770_000_000, 0).expect("in range")
    }

    fn here() -> Deployment {
        (*samples::grant("a").deployment).clone()
    }

    fn one() -> SinkHealth {
        SinkHealth::new(std::iter::once("on-call".into()))
    }

    fn miss(permanent: bool) -> Miss {
        Miss { why: "it answered 503".into(), permanent, severity: Severity::Warning }
    }

    #[test]
    fn a_failure_that_may_pass_is_reported_once_at_the_third_attempt() {
        let sinks = one();

        let news: Vec<bool> = (0..4).map(|_| sinks.missed(0, miss(false), now())).collect();

        assert_eq!(news, [false, false, true, false]);
        let [condition] = sinks.conditions(&here(), now()).try_into().expect("one");
        assert_eq!((condition.cause.as_str(), condition.since), ("sink:on-call", now()));
        assert_eq!(sinks.counts(), [("on-call".into(), [0, 4])]);
    }

    #[test]
    fn a_rejection_is_reported_at_once_and_ended_only_by_a_delivery() {
        let sinks = one();

        assert!(sinks.missed(0, miss(true), now()));
        assert!(sinks.missed(0, Miss { severity: Severity::Critical, ..miss(true) }, now()), "it got worse");
        sinks.delivered(0);
        assert!(sinks.troubled_since(0).is_some(), "something else may have been refused");
        assert!(sinks.all_delivered(0));

        assert!(sinks.conditions(&here(), now()).is_empty() && sinks.troubled_since(0).is_none());
        assert!(!sinks.all_delivered(0));
        assert_eq!(sinks.counts(), [("on-call".into(), [1, 2])]);
    }

    #[test]
    fn a_failure_that_may_pass_does_not_end_a_reported_one() {
        let rejected = one();
        assert!(rejected.missed(0, miss(true), now()));
        let adopted = one();
        assert!(adopted.inherit(0, now()));

        for sinks in [rejected, adopted] {
            assert!(!sinks.missed(0, miss(false), now()), "it is reported already");
            assert_eq!(sinks.conditions(&here(), now()).len(), 1);
            assert!(sinks.all_delivered(0));
        }
    }

    #[test]
    fn a_failure_before_the_restart_is_adopted_once_and_never_beside_a_new_one() {
        let sinks = SinkHealth::new(["chat".into(), "mail".into()].into_iter());
        assert_eq!(sinks.names(), ["chat".into(), "mail".into()]);

        assert!(sinks.inherit(0, now()));
        assert!(!sinks.inherit(0, now()), "it is adopted already");
        let [told] = sinks.conditions(&here(), now()).try_into().expect("one");
        assert_eq!((&*told.cause, told.severity), ("sink:chat", Severity::Warning));
        assert!(
            told.summary.ends_with("the failure began before Perennial's last restart"),
            "{}",
            told.summary
        );
        assert!(told.action.contains("[[alert]] chat"), "{}", told.action);
        assert!(sinks.all_delivered(0), "a delivery ends it");
        assert!(!sinks.inherit(0, now()), "it ended in this process");

        assert!(!sinks.missed(1, miss(false), now()));
        assert!(!sinks.inherit(1, now()), "this process has seen a failure");
        assert_eq!(sinks.conditions(&here(), now()), [], "which may pass");
    }

    #[test]
    fn a_failure_never_begins_in_the_future() {
        let sinks = one();
        sinks.missed(0, miss(true), now());

        let earlier = now() - chrono::TimeDelta::hours(1);
        let [told] = sinks.conditions(&here(), earlier).try_into().expect("one");

        assert_eq!(told.since, earlier, "the clock was set back");
    }

    #[test]
    fn an_unknown_sink_changes_nothing() {
        let sinks = one();

        sinks.delivered(1);
        assert!(!sinks.missed(1, miss(true), now()) && !sinks.inherit(1, now()) && !sinks.all_delivered(1));

        assert_eq!(sinks.troubled_since(1), None);
        assert_eq!(sinks.counts(), [("on-call".into(), [0, 0])]);
    }
}
