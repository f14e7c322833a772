//! What fails in a renewal, since when, and how long the next step waits. This module is pure.

use std::collections::BTreeMap;

use chrono::TimeDelta;

use crate::net::backoff;
use crate::ports::failure::{Failure, FailureSubject, Kind, Remedy};
use crate::process::clock::{Timestamp, delta};
use crate::renewal::times::{FIRST_RETRY, LONGEST_RETRY};

/// What fails in a renewal.
#[derive(Clone, Debug, Default)]
pub struct RenewalHealth {
    /// The parts that fail now, with their failures.
    pub troubles: BTreeMap<Part, RenewalTrouble>,
    /// The wait after failed steps.
    pub backoff: Option<Backoff>,
}

/// The parts of a renewal that can fail. If several parts fail, the first one in this order is reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// Creating, trying or saving a new secret or certificate.
    Renewing,
    /// Reading the vault or the app registration.
    Looking,
    /// Removing an old secret or certificate.
    Removing,
}

/// A failure of one part of a renewal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RenewalTrouble {
    pub failure: Failure,
    /// Whether the failure is reported at once. Any other failure is reported only if it lasts for
    /// `report::TOLD_AFTER`.
    pub is_told_at_once: bool,
    /// When this part began to fail.
    pub since: Timestamp,
}

/// The wait after one or more failed steps.
#[derive(Clone, Copy, Debug)]
pub struct Backoff {
    /// The uptime at which the next step is allowed.
    pub until: TimeDelta,
    /// The number of failed steps in a row.
    pub failures: usize,
}

impl RenewalHealth {
    /// Records a failed step at the uptime `up`, and the wait before the next step.
    pub fn failed(&mut self, part: Part, failure: Failure, now: Timestamp, up: TimeDelta) {
        let failures = self.backoff.map_or(0, |backoff| backoff.failures);
        let (first, longest) = (FIRST_RETRY, LONGEST_RETRY);
        let std = |span: TimeDelta| span.to_std().unwrap_or_default();
        let wait = backoff::doubled(std(first), std(longest), failures);
        let wait = backoff::heed(wait, failure.retry_after, std(longest));
        self.backoff = Some(Backoff { until: up + delta(wait), failures: failures + 1 });
        self.trouble_since(part, failure, now);
    }

    /// Records a failure without a wait.
    pub fn trouble_since(&mut self, part: Part, failure: Failure, now: Timestamp) {
        let since = self.troubles.get(&part).map_or(now, |trouble| trouble.since);
        let is_told_at_once = failure.remedy != Remedy::Retry;
        self.troubles.insert(part, RenewalTrouble { failure, is_told_at_once, since });
    }

    /// Records that a part of the renewal works.
    pub fn succeeded(&mut self, part: Part) {
        self.troubles.remove(&part);
        // The wait stays as long as any part fails.
        if self.troubles.is_empty() {
            self.backoff = None;
        }
    }
}

/// Creates a failure of the kind `AppCredentialRenewalFailed`.
pub fn failure(remedy: Remedy, summary: impl Into<String>) -> Failure {
    Failure::new(Kind::AppCredentialRenewalFailed, remedy, FailureSubject::AppCredential, summary)
}
