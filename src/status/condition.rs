//! Conditions are problems that an operator or a user must know about. A condition says who must act and what to do.
//!
//! This module derives the conditions from snapshots: which conditions exist, which tokens share a condition, and how
//! severe each condition is. The submodule `action` owns the action texts. This module is pure: the same snapshots
//! always give the same conditions. So an incident keeps its id after a restart.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use chrono::SubsecRound as _;
use chrono::TimeDelta;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::ports::SECOND_FACTOR;
use crate::ports::failure::{Failure, FailureSubject, Kind, Remedy, Trace};
use crate::process::clock::{Timestamp, delta};
use crate::rotation::state::{Blocked, Outage};
use crate::status::snapshot::Snapshot;
use crate::token::managed::Deployment;

pub(crate) mod action;
mod cause;
mod credential;
mod severity;

pub use self::cause::{Cause, causes};
pub use self::severity::Severity;
pub(crate) use self::severity::severity;

/// A temporary failure is reported after this many failed attempts.
const TOLD_AFTER_ATTEMPTS: u32 = 3;
/// The maximum tolerated error of the host's clock. With a larger error, a valid certificate or token may seem invalid.
pub const CLOCK_TOLERANCE: TimeDelta = TimeDelta::minutes(5);
/// Every token must be tried once within this time after the start of the process.
pub const TRIED_WITHIN: TimeDelta = TimeDelta::minutes(15);
/// For how long a restored sign-in (`BuriedSignIn`) and a foreign writer are reported.
const TOLD_FOR: TimeDelta = TimeDelta::days(1);

/// A problem that an operator or a user must know about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Condition {
    /// The incident's id, which stays the same across restarts.
    pub id: Uuid,
    /// The kind of the problem.
    pub kind: Kind,
    /// The name of the cause: a token, an app, a vault, the issuer, an alert sink, this host, or the identity of
    /// `[vault]`.
    pub cause: String,
    /// How soon a person must act.
    pub severity: Severity,
    /// When the condition began.
    pub since: Timestamp,
    /// The names of the affected tokens, in order.
    pub tokens: Vec<String>,
    /// Who must act.
    pub remedy: Remedy,
    /// One sentence that says what failed and why.
    pub summary: String,
    /// The action that ends the condition.
    pub action: String,
    /// Seconds until an affected token or its app secret expires, whichever is first. Null if unknown. The value is 0
    /// while an affected token gives no usable access token.
    pub runway_seconds: Option<i64>,
    /// The owners of the affected tokens.
    pub owners: Vec<String>,
    /// The identifiers to give to Microsoft's support.
    #[serde(flatten)]
    pub trace: Trace,
}

impl Condition {
    /// Creates a condition without tokens, texts, owners, time left or trace. `kind` and `cause` determine the incident
    /// id.
    pub fn new(kind: Kind, cause: &Cause, (severity, remedy): (Severity, Remedy), since: Timestamp) -> Self {
        Self {
            id: cause.incident(kind),
            kind,
            cause: cause.name().to_owned(),
            severity,
            // After a restart, Perennial reads this time from a tag, which has whole seconds. Without truncation, the
            // restart would change the time.
            since: since.trunc_subsecs(0),
            tokens: Vec::new(),
            remedy,
            summary: String::new(),
            action: String::new(),
            runway_seconds: None,
            owners: Vec::new(),
            trace: Trace::default(),
        }
    }

    /// Whether this condition reports that delivery to `sink` fails.
    pub fn is_of_sink(&self, sink: &str) -> bool {
        self.kind == Kind::AlertUndeliverable && self.cause.strip_prefix("sink:") == Some(sink)
    }

    /// Sets the condition's token, the token's owner and the time left.
    #[must_use]
    pub fn of_token(self, of: &Snapshot, now: Timestamp) -> Self {
        Self {
            tokens: vec![of.grant.name.to_string()],
            runway_seconds: of.runway(now).map(|runway| runway.num_seconds()),
            owners: of.grant.owner.iter().cloned().collect(),
            ..self
        }
    }

    /// The names of the first `most` tokens, followed by the number of the other tokens.
    pub fn names(&self, most: usize) -> String {
        let named = self.tokens.iter().take(most).map(String::as_str).collect::<Vec<_>>().join(", ");
        match self.tokens.len().saturating_sub(most) {
            0 => named,
            more => format!("{named} and {more} more"),
        }
    }

    /// Sets the summary and the action.
    #[must_use]
    pub fn with_texts(self, summary: String, action: String) -> Self {
        Self { summary, action, ..self }
    }
}

/// The conditions that the snapshots and the clock's error show, the most severe first.
pub fn conditions(snapshots: &[Snapshot], clock_skew: TimeDelta, now: Timestamp) -> Vec<Condition> {
    let mut all = of_tokens(snapshots.iter(), now);
    let skewed = snapshots.first().filter(|_| clock_skew.abs() > CLOCK_TOLERANCE);
    all.extend(skewed.map(|of| clock_skewed(clock_skew, &of.grant.deployment, now)));
    sort(&mut all);
    all
}

/// Limits conditions to the tokens in `to`. The result contains no data of other tokens.
pub fn narrowed(holding: &[Condition], to: &[&Snapshot], now: Timestamp) -> Vec<Condition> {
    let names: BTreeSet<&str> = to.iter().map(|of| of.grant.name.as_str()).collect();
    let is_theirs = |name: &String| names.contains(name.as_str());
    let mut drawn = None;
    let narrow = |told: &Condition| {
        if told.tokens.iter().all(is_theirs) {
            return Some(told.clone());
        }
        let drawn = drawn.get_or_insert_with(|| of_tokens(to.iter().copied(), now));
        drawn.iter().find(|own| own.id == told.id).cloned()
    };
    let mut all: Vec<Condition> = holding.iter().filter_map(narrow).collect();
    sort(&mut all);
    all
}

/// The conditions of these tokens. Symptoms with the same kind and cause become one condition.
fn of_tokens<'a>(snapshots: impl Iterator<Item = &'a Snapshot>, now: Timestamp) -> Vec<Condition> {
    let mut found: BTreeMap<Uuid, Condition> = BTreeMap::new();
    for snapshot in snapshots {
        for symptom in symptoms(snapshot, now) {
            let condition = symptom.condition(snapshot, now);
            match found.entry(condition.id) {
                Entry::Occupied(mut known) => join(known.get_mut(), condition),
                Entry::Vacant(place) => {
                    place.insert(condition);
                }
            }
        }
    }
    found.into_values().collect()
}

/// Returns the conditions about tokens that have not been tried although the process has run for longer than
/// `TRIED_WITHIN`. Tokens that wait for their turn (`State::in_line`) are not reported. `up` is how long the process
/// has run.
pub fn untried(snapshots: &[Snapshot], up: TimeDelta, now: Timestamp) -> Vec<Condition> {
    if up <= TRIED_WITHIN {
        return Vec::new();
    }
    let since = now - (up - TRIED_WITHIN);
    let untried = snapshots.iter().filter(|of| !of.was_tried() && !of.in_line);
    let retry = Remedy::Retry;
    untried
        .map(|of| {
            let summary = "the token has not been checked since Perennial started".to_owned();
            Symptom::own(Kind::Overdue, retry, since, of, summary).condition(of, now)
        })
        .collect()
}

/// Sorts conditions: the most severe first and, within one severity, the oldest first.
pub fn sort(conditions: &mut [Condition]) {
    conditions.sort_by(|one, other| {
        let key = |of: &Condition| (std::cmp::Reverse(of.severity), of.since, of.kind);
        key(one).cmp(&key(other)).then_with(|| one.cause.cmp(&other.cause))
    });
}

/// One token's share of a condition.
struct Symptom {
    kind: Kind,
    cause: Cause,
    remedy: Remedy,
    since: Timestamp,
    summary: String,
    /// What to do. If `None`, `action::of` determines the action.
    action: Option<Arc<str>>,
    trace: Trace,
}

impl Symptom {
    fn own(kind: Kind, remedy: Remedy, since: Timestamp, of: &Snapshot, summary: String) -> Self {
        let cause = match kind {
            Kind::AppSecretExpiring
            | Kind::AppSecretExpiryUnknown
            | Kind::AppCertificateUnregistered
            | Kind::AppCredentialRenewalFailed
            | Kind::AppCredentialUnknown => Cause::app(of),
            _ => Cause::token(&of.grant.secret),
        };
        Self { kind, cause, remedy, since, summary, action: None, trace: Trace::default() }
    }

    fn condition(self, of: &Snapshot, now: Timestamp) -> Condition {
        let action = self.action.map_or_else(|| action::of(self.kind, of, now), |action| action.to_string());
        let how_grave = (severity(self.kind, of.runway(now), of.lifetime()), self.remedy);
        Condition { trace: self.trace, ..Condition::new(self.kind, &self.cause, how_grave, self.since) }
            .of_token(of, now)
            .with_texts(self.summary, of.grant.deployment.typed(&action))
    }
}

fn symptoms(of: &Snapshot, now: Timestamp) -> Vec<Symptom> {
    let mut found: Vec<Symptom> = failures(of, now);
    let told_since = found.iter().map(|symptom| symptom.since).min();
    let retry = Remedy::Retry;
    let mut add = |kind, remedy, since, summary: String| {
        if of.failure_of(kind).is_none() {
            found.push(Symptom::own(kind, remedy, since, of, summary));
        }
    };
    let expired_at = of.expired_at(now);
    if let Some(at) = expired_at
        && of.failure_of(Kind::LoginRequired).is_none()
    {
        add(Kind::TokenExpired, Remedy::Login, at, expired(of, at));
    }
    if of.standing(now) == crate::status::snapshot::TokenState::Unsaved
        && let Some(since) = told_since
    {
        let held = "a new token could not be saved in Key Vault yet, and is held in memory only";
        let spent = if of.grant.strict {
            "; the stored token no longer works, so no program has a working token until the new token is saved"
        } else {
            ""
        };
        add(Kind::Unsaved, retry, since, format!("{held}{spent}"));
    }
    if of.lacks_mfa() {
        let since = of.verdict_since().unwrap_or(now);
        add(Kind::MfaRequired, Remedy::Login, since, SECOND_FACTOR.to_owned());
    } else if of.accepted() == Some(false) {
        let summary = "Entra redeems the token, but Partner Center rejects the access token".to_owned();
        add(Kind::PartnerCenterRefused, Remedy::Operator, of.verdict_since().unwrap_or(now), summary);
    }
    if let Some(since) = of.same_token_at {
        let summary =
            "the issuer (authority of [cloud]) returned the redeemed refresh token instead of a new one, so Perennial cannot rotate the token"
                .to_owned();
        add(Kind::SameRefreshToken, Remedy::Operator, since, summary);
    }
    if let Some((what, since)) = of.unverified {
        let summary = format!(
            "the issuer (authority of [cloud]) redeems the token, but the answer does not clearly name the {what}, so Perennial cannot compare the answer with the configuration"
        );
        add(Kind::IdentityUnverified, Remedy::Operator, since, summary);
    }
    // An overdue step is not reported if another condition already explains the delay.
    if let Some(at) = overdue_since(of, now).filter(|_| told_since.is_none() && expired_at.is_none()) {
        add(Kind::Overdue, retry, at, "a rotation or a proof is late".to_owned());
    }
    for (kind, since, summary) in credential::reported(of, now) {
        add(kind, Remedy::Operator, since, summary);
    }
    if let Some(at) = of.unburied_at.filter(|at| *at + TOLD_FOR > now) {
        let summary = "a rotation overwrote a newer sign-in; Perennial restored the sign-in".to_owned();
        add(Kind::BuriedSignIn, Remedy::Operator, at, summary);
    }
    if let Some(writer) = of.foreign_writer.filter(|writer| writer.seen_at + TOLD_FOR > now) {
        let summary = "another program or person keeps replacing the token in the vault".to_owned();
        add(Kind::ForeignWriter, Remedy::Operator, writer.since, summary);
    }
    found.extend(credential::renewal(of));
    found.extend(credential::identity_expiring(of, now));
    found
}

fn expired(of: &Snapshot, at: Timestamp) -> String {
    let (day, days) = (at.format("%Y-%m-%d"), of.lifetime().num_days());
    format!("the token expired on {day}, {days} days after it was issued")
}

/// The failures to report. A failure that a person must fix is reported once it is confirmed. Other failures are
/// reported after several attempts. If no further attempt follows, as in a command, all failures are reported.
fn failures(of: &Snapshot, now: Timestamp) -> Vec<Symptom> {
    let is_told = |blocked: &&Blocked| blocked.is_confirmed || of.next_step_at.is_none();
    let blocked = of.blocked.as_deref().filter(is_told).map(|blocked| (&blocked.failure, blocked.since));
    let lasts = |outage: &&Outage| outage.attempts >= TOLD_AFTER_ATTEMPTS || of.next_step_at.is_none();
    let outage = of.outage.as_deref().filter(lasts).map(|outage| (&outage.failure, outage.since));
    // If two failures have the same kind, only the one that a person must fix is reported.
    let outage = outage.filter(|(failure, _)| blocked.is_none_or(|(known, _)| known.kind != failure.kind));
    blocked.into_iter().chain(outage).map(|(failure, since)| failed(failure, since, of, now)).collect()
}

fn failed(failure: &Failure, since: Timestamp, of: &Snapshot, now: Timestamp) -> Symptom {
    // A rejection after the token's expiry belongs to the same incident as the expiry.
    let expired_at = of.expired_at(now).filter(|end| failure.kind == Kind::LoginRequired && *end <= since);
    let expiry = expired_at.map_or_else(String::new, |at| format!("; {}", expired(of, at)));
    let kind = if expired_at.is_some() { Kind::TokenExpired } else { failure.kind };
    let cause = match (failure.about, failure.kind) {
        (_, Kind::EntraUnreachable | Kind::EntraThrottled) => Cause::issuer(of),
        (_, Kind::VaultUnreachable | Kind::VaultIdentity | Kind::VaultRefused) => {
            Cause::vault(failure.vault.as_ref().unwrap_or(&of.grant.secret.vault), of)
        }
        (FailureSubject::AppCredential | FailureSubject::CredentialSource, _) => Cause::app(of),
        _ => Cause::token(&of.grant.secret),
    };
    Symptom {
        kind,
        cause,
        remedy: failure.remedy,
        since: expired_at.map_or(since, |at| at.min(since)),
        summary: format!("{}{expiry}", failure.summary),
        action: None,
        trace: failure.trace.clone(),
    }
}

/// When the token's next step became overdue. `None` if the step is not overdue. A proof is overdue if more than twice
/// `prove_every` has passed since the last proof and since the last save. The save counts, because a save may take
/// days: the last proof is then already old when the save succeeds. The first proof of a new version is overdue 15
/// minutes after its due time. A rotation is overdue one day after its due time. A token that waits for its turn
/// (`State::in_line`) is not overdue.
fn overdue_since(of: &Snapshot, now: Timestamp) -> Option<Timestamp> {
    if of.in_line {
        return None;
    }
    let prove_by = match of.proved_at {
        Some(_) => of.proved_at.max(of.last_rotation_at)? + delta(2 * of.prove_every()),
        None => of.first_proof_due_at? + TRIED_WITHIN,
    };
    let rotate_by = of.rotate_at.map(|at| at + TimeDelta::days(1));
    let late = [Some(prove_by), rotate_by].into_iter().flatten().min()?;
    (late < now).then_some(late)
}

fn join(known: &mut Condition, other: Condition) {
    known.severity = known.severity.max(other.severity);
    known.since = known.since.min(other.since);
    known.runway_seconds = known.runway_seconds.into_iter().chain(other.runway_seconds).min();
    known.tokens.extend(other.tokens);
    known.owners.extend(other.owners);
    known.owners.sort();
    known.owners.dedup();
}

fn clock_skewed(skew: TimeDelta, here: &Deployment, now: Timestamp) -> Condition {
    let (by, way) = match skew.num_seconds() {
        ahead @ ..0 => (-ahead, "ahead of"),
        behind => (behind, "behind"),
    };
    let summary = format!("this host's clock is {by} s {way} the vault's");
    Condition::new(Kind::ClockSkew, &Cause::host(here), (Severity::Warning, Remedy::Operator), now)
        .with_texts(summary, action::CLOCK.into())
}

/// The kinds of conditions of each token.
pub fn kinds_by_token(conditions: &[Condition]) -> BTreeMap<&str, Vec<Kind>> {
    let mut kinds: BTreeMap<&str, Vec<Kind>> = BTreeMap::new();
    for condition in conditions {
        for token in &condition.tokens {
            kinds.entry(token).or_default().push(condition.kind);
        }
    }
    kinds
}

#[cfg(test)]
mod tests;
