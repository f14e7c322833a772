//! Decides when each step of one token happens: the next step, and the wait after a failure.
//!
//! This module is pure: time and randomness are arguments. `State` contains all facts about vaults and issuers that
//! this module uses.

use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;

use crate::net::backoff::{doubled, full_jitter, heed};
use crate::ports::failure::{Failure, FailureSubject, Remedy};
use crate::process::clock::{Timestamp, delta};
use crate::rotation::state::{Blocked, DAY, Limits, Noted, Outage, Phase, State, VAULT_CALLS_A_STEP};
use crate::rotation::strict;
use crate::token::managed::{Policy, TokenName};
use crate::token::tags::Tags;
use crate::token::version::{Version, tag};

mod correct;
mod refused;
mod tags;
mod verdict;

pub use self::refused::{
    ask_again, forget, is_final, is_known_dead, may_ask_again, refusal_tags, remember, remember_buried,
    standing,
};

/// The interval of the checks whether a person has acted: about a minute. With this interval, all vault calls of a day
/// stay below 1,500 (promise 6, docs/promises.md).
pub const WATCH_EVERY: TimeDelta = TimeDelta::seconds(65);
/// The number of checks of an app's credential for each read of the token's secret. With [`WATCH_EVERY`], these checks
/// and reads make 1,396 calls a day. So 104 of the 1,500 calls are left for proofs and saves, including their lists of
/// versions.
pub const TOKEN_READ_EACH: u32 = 20;
/// The longest interval of these checks. A check of an app makes up to three calls: it reads the client id, reads the
/// certificate, and signs with the key. The interval is [`WATCH_EVERY`] times the number of calls.
const LONGEST_WATCH: TimeDelta = TimeDelta::seconds(3 * 65);
/// The interval of save attempts while a person must act. Each attempt makes two calls, so the interval is twice
/// [`WATCH_EVERY`].
const SAVE_AGAIN_EVERY: TimeDelta = TimeDelta::seconds(130);
/// The time after which a rejected version is redeemed again, because an account may have been enabled or a policy may
/// have changed.
pub const AGAIN_AFTER: TimeDelta = DAY;
/// The time after which a second redemption confirms a rejection that is not definite. A person is alerted only after
/// this confirmation.
pub const CONFIRM_AFTER: TimeDelta = TimeDelta::minutes(1);
/// The interval of redemptions while Entra rejects a new credential that Entra may accept soon. Meanwhile, the source
/// of the credential is checked every minute.
const FRESH_AGAIN_EVERY: TimeDelta = TimeDelta::minutes(2);
/// The wait for the next redemption of a blocked token after a transient failure. The checks of the vault continue
/// meanwhile, so more frequent redemptions are not needed.
const AGAIN_SOON: TimeDelta = TimeDelta::hours(3);
/// The interval at which a proof is recorded in the vault. The record costs one request in addition to the three
/// requests of a proof.
pub const MARK_EVERY: TimeDelta = DAY;
/// The wait after a failed update of tags.
pub const MARK_AGAIN_AFTER: TimeDelta = TimeDelta::hours(1);
/// The shortest interval between rotations of foreign versions. Without this interval, Perennial and another writer
/// could replace each other's versions all the time.
pub const FOREIGN_EVERY: TimeDelta = DAY;
/// If the value of a foreign version never was a token, Perennial replaces the version only when it is at least this
/// old.
pub const RESCUE_AFTER: TimeDelta = DAY;

/// The first waits after a failure, before jitter. Most faults are over after these waits.
const QUICK: [Duration; 2] = [Duration::from_secs(5), Duration::from_secs(30)];
/// The minimum of each wait that follows the waits in `QUICK`.
const SHORTEST: Duration = Duration::from_secs(60);
/// A random wait is chosen from a range that doubles after each failure, up to this width. Waits above `LONGEST` are
/// then reduced to `LONGEST`. So in a long outage nearly every wait is `LONGEST`.
const WIDEST: Duration = Duration::from_secs(60 << 12);
/// The longest wait after a failure. Promise 1 relies on at least one attempt an hour for thirty days.
pub const LONGEST: Duration = Duration::from_secs(60 * 60);
/// Waits become shorter as the expiry comes nearer, until only this much time is left.
const LAST_MINUTES: TimeDelta = TimeDelta::minutes(20);
/// The maximum fraction of `rotate_after` by which a token's rotation is moved, earlier or later.
const SPREAD: f64 = 0.1;
/// The maximum fraction of `rotate_after` and `prove_every` by which a process moves its rotations and proofs. So
/// several processes do not act at the same time.
const PROCESS_JITTER: f64 = 0.02;

/// The next step of one token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// Read, redeem and check the newest version. A save follows if a rotation is due.
    Prove,
    /// Write the held successor to the vault.
    Save,
    /// Check whether a person has acted.
    CheckVault,
    /// Write these tags to the newest version.
    UpdateTags(Tags),
    /// Wait until this time.
    Wait(Timestamp),
}

/// Calculates when a token is proved and rotated. The policy, the token's name, and one sample in `[0, 1)` per process
/// determine these times.
#[derive(Clone, Debug)]
pub struct Timing {
    policy: Arc<Policy>,
    rotate_after: TimeDelta,
    prove_every: TimeDelta,
}

impl Timing {
    /// Moves the rotations of each token by up to a tenth of `rotate_after`, earlier or later. The process's sample
    /// also makes rotations later and proofs earlier, by up to a fiftieth.
    pub fn new(policy: &Arc<Policy>, name: &TokenName, process_sample: f64) -> Self {
        let spread = SPREAD * (2.0 * fraction(name) - 1.0) + PROCESS_JITTER * process_sample;
        Self {
            policy: policy.clone(),
            rotate_after: delta(policy.rotate_after.mul_f64(1.0 + spread)),
            // Proofs are never moved later, because a dead grant must be noticed within `prove_every`.
            prove_every: delta(policy.prove_every.mul_f64(1.0 - PROCESS_JITTER * process_sample)),
        }
    }

    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Returns the daily limits under this policy.
    pub fn limits(&self) -> Limits {
        Limits::of(&self.policy)
    }

    /// Returns the age at which a version is rotated.
    pub fn rotate_after(&self) -> TimeDelta {
        self.rotate_after
    }

    /// Returns the time at which this version is rotated.
    pub fn rotate_at(&self, version: &Version) -> Timestamp {
        version.issued_at() + self.rotate_after
    }

    /// Returns the time at which this version's token expires, counted from its issue.
    pub fn expires_at(&self, version: &Version) -> Timestamp {
        version.issued_at() + delta(self.policy.lifetime)
    }

    /// Decides the next step.
    pub fn next(&self, state: &State, now: Timestamp) -> Next {
        if let Some(tags) = tags::wanted_tags(state, now).or_else(|| self.told_tags(state, now)) {
            return Next::UpdateTags(tags);
        }
        let (step, at) = self.wanted_step(state, now);
        let at = match step {
            Next::Prove => at.max(state.redemptions.room_at(self.limits().redemptions, 1, at.max(now))),
            _ => at,
        };
        let calls = match &step {
            Next::Prove => self.calls_of_a_proof(state, at.max(now)),
            // A save reserves no calls for a later step, so that it can use the last calls of the day.
            Next::Save => state.calls_of_a_save(),
            Next::CheckVault => 1,
            Next::UpdateTags(_) | Next::Wait(_) => 0,
        };
        let at = if state.awaits_person() && !state.is_unsaved() {
            at.max(state.watch.room_at(calls, at.max(now)))
        } else {
            at.max(self.room_for_vault_calls(state, calls, at.max(now)))
        };
        if at <= now { step } else { Next::Wait(at) }
    }

    /// Returns the number of vault calls that a proof may need, including the rotation if one is due.
    fn calls_of_a_proof(&self, state: &State, at: Timestamp) -> usize {
        let due = state.newest.as_ref().is_some_and(|version| self.rotation_is_due(version, state, at));
        if due { state.calls_of_a_rotation() } else { VAULT_CALLS_A_STEP }
    }

    /// Returns the first instant, `now` or later, at which the limits allow this many calls to the vault. While the
    /// vault is checked every minute (`is_watching`), another limit applies, and this function returns `now`.
    pub fn room_for_vault_calls(&self, state: &State, calls: usize, now: Timestamp) -> Timestamp {
        if calls == 0 || state.is_watching() {
            return now;
        }
        state.vault_calls.room_at(self.limits().vault_calls, calls, now)
    }

    fn wanted_step(&self, state: &State, now: Timestamp) -> (Next, Timestamp) {
        let retry_at = state.outage.as_ref().map(|outage| outage.retry_at);
        match (&state.phase, &state.blocked) {
            (Phase::Unsaved(_), blocked) => {
                let again_at = blocked.as_ref().map(|blocked| blocked.again_at);
                (Next::Save, retry_at.or(again_at).unwrap_or(now))
            }
            (Phase::Unproved { .. } | Phase::Current, Some(blocked)) => self.step_while(blocked, state, now),
            (Phase::Unproved { due_at }, None) => (Next::Prove, retry_at.unwrap_or(*due_at)),
            (Phase::Current, None) => (Next::Prove, retry_at.unwrap_or_else(|| self.due_at(state, now))),
        }
    }

    /// Returns the next step while Perennial waits for a person to act. The step is a check of the vault, or another
    /// redemption.
    fn step_while(&self, blocked: &Blocked, state: &State, now: Timestamp) -> (Next, Timestamp) {
        // The redemption is due and waits only for the limits. A check of the vault would not bring the redemption
        // forward.
        if blocked.again_at <= now {
            return (Next::Prove, blocked.again_at);
        }
        let again_at = state.redemptions.room_at(self.limits().redemptions, 1, blocked.again_at);
        if again_at <= blocked.next_check_at {
            (Next::Prove, again_at)
        } else {
            (Next::CheckVault, blocked.next_check_at)
        }
    }

    /// Returns when the next proof or rotation of a current token is due.
    fn due_at(&self, state: &State, now: Timestamp) -> Timestamp {
        let prove_at = state.proved_at().map_or(now, |at| at + self.prove_every);
        match &state.newest {
            Some(version) if may_rotate(version, state, now) && !is_same_token(state) => {
                prove_at.min(self.rotate_at(version))
            }
            _ => prove_at,
        }
    }

    /// Whether the rotation of the redeemed version is due now. The rotation of a foreign version is due as soon as a
    /// proof, a SIGHUP or a check finds this version. Perennial does not search for foreign versions every minute,
    /// because this would exceed the limit of 60 calls a day.
    pub fn rotation_is_due(&self, version: &Version, state: &State, now: Timestamp) -> bool {
        let foreign = !version.is_ours() && may_rotate(version, state, now);
        foreign || self.rotate_at(version) <= now
    }

    /// Records a failure. A transient failure is retried. Any other failure waits for a person.
    pub fn after_failure(&self, state: State, failure: Failure, now: Timestamp, sample: f64) -> State {
        // If Entra rejects a new credential, the failure is transient but not definite. Perennial then checks the
        // source of the credential every minute, as if a person had to replace the credential.
        if is_passing(failure.remedy) && failure.is_definite {
            self.after_outage(state, failure, now, sample)
        } else {
            blocked_by(state, failure, now)
        }
    }

    /// Records a transient failure. A permanent failure of the newest version stays.
    fn after_outage(&self, mut state: State, failure: Failure, now: Timestamp, sample: f64) -> State {
        let newest = state.newest.as_ref().map(|version| version.id.clone());
        // A failure belongs to the version that failed. A user may sign in as requested while Entra is down. After
        // that, the failure of the old version must not request another sign-in. The state of the new token is unknown
        // until its proof.
        let is_of_another = |known: &mut Box<Blocked>| {
            known.failure.about == FailureSubject::Grant && known.version != newest
        };
        state.blocked.take_if(is_of_another);
        if let Some(blocked) = &mut state.blocked {
            (blocked.next_check_at, blocked.again_at) = (now + WATCH_EVERY, now + AGAIN_SOON);
        }
        let before = state.outage.take();
        let attempts = before.as_ref().map_or(0, |known| known.attempts);
        let since =
            before.filter(|known| known.failure.kind == failure.kind).map_or(now, |known| known.since);
        let left = state.newest.as_ref().map(|version| self.expires_at(version) - now);
        let wait = retry_wait(attempts, None, left, sample);
        let is_looked_for = state.holds_only_copy() || strict::is_elsewhere(&failure);
        let wait = if is_looked_for { wait.min(strict::LOOK_EVERY) } else { wait };
        let mut retry_at = now + delta(heed(wait, failure.retry_after, LONGEST));
        if !state.is_unsaved() && !is_looked_for {
            retry_at = retry_at.max(state.redemptions.spread_at(self.limits().redemptions, now));
        }
        // If the newest value never was a token, older versions are tried once the outage is over (promise 1).
        if let Some(blocked) = state.blocked.as_mut().filter(|blocked| blocked.failure.never_was_a_token) {
            blocked.again_at = retry_at;
        }
        let attempts = attempts.saturating_add(1);
        state.outage = Some(Box::new(Outage { failure, since, attempts, retry_at }));
        state
    }
}

/// Returns the state in which a person must fix this failure. Such a failure is an answer of the service, so this
/// function also ends a recorded outage.
fn blocked_by(mut state: State, failure: Failure, now: Timestamp) -> State {
    let before = state.blocked.take().filter(|known| known.failure.kind == failure.kind);
    let passes = is_passing(failure.remedy);
    let is_confirmed = failure.is_definite || (before.is_some() && !passes);
    let again_at = match failure.about {
        _ if !is_confirmed && !state.is_unsaved() => {
            now + if passes { FRESH_AGAIN_EVERY } else { CONFIRM_AFTER }
        }
        _ if !state.is_unsaved() => again_at(&failure, state.newest.as_ref(), now),
        // Each attempt to save reads a rejected foreign version again, but does not redeem it again (`standing`). So
        // attempts can be frequent.
        FailureSubject::Token | FailureSubject::History | FailureSubject::Saving | FailureSubject::Grant => {
            now + if state.holds_only_copy() { WATCH_EVERY } else { SAVE_AGAIN_EVERY }
        }
        // If the app's credential fails, each attempt to save costs a redemption, so attempts are less frequent.
        FailureSubject::AppCredential | FailureSubject::CredentialSource => now + delta(LONGEST),
    };
    let noted = || noted_since(state.newest.as_ref(), &failure).unwrap_or(now).min(now);
    let (since, checks) = before.map_or_else(|| (noted(), 0), |known| (known.since, known.checks));
    let version = state.newest.as_ref().map(|version| version.id.clone());
    let next_check_at = now + WATCH_EVERY;
    let blocked = Blocked { failure, since, version, next_check_at, again_at, checks, is_confirmed };
    state.blocked = Some(Box::new(blocked));
    state.outage = None;
    if !state.is_unsaved() {
        state.phase = Phase::Unproved { due_at: now };
    }
    state
}

fn is_passing(remedy: Remedy) -> bool {
    matches!(remedy, Remedy::Retry)
}

/// Returns the time at which a rejected version is redeemed again. If the value never was a token, the next attempt is
/// due as soon as a predecessor may replace this value.
fn again_at(failure: &Failure, newest: Option<&Version>, now: Timestamp) -> Timestamp {
    let rescue_at =
        newest.filter(|_| failure.never_was_a_token).map(|version| version.created + RESCUE_AFTER);
    rescue_at.filter(|at| *at > now).unwrap_or(now + AGAIN_AFTER)
}

/// Returns the start of a failure that an earlier process recorded. With this start, this process continues the earlier
/// process's incident.
fn noted_since(newest: Option<&Version>, failure: &Failure) -> Option<Timestamp> {
    let newest = newest?;
    if let Some(noted) = Noted::on(newest).filter(|noted| noted.kind == Some(failure.kind)) {
        return Some(noted.at);
    }
    let noted = newest.tags.get(tag::REFUSED_KIND)?;
    (noted == failure.kind.as_str()).then(|| newest.time(tag::REFUSED_AT))?
}

/// Whether the issuer returns the same token that it received. Perennial cannot rotate such a token and only proves the
/// token.
pub fn is_same_token(state: &State) -> bool {
    state.known().is_some_and(|facts| facts.same_token_at.is_some())
}

/// Whether the limit for foreign versions allows a rotation of this version. Foreign versions may be rotated at most
/// once a day.
fn may_rotate(version: &Version, state: &State, now: Timestamp) -> bool {
    version.is_ours() || state.foreign_rotated_at.is_none_or(|at| at + FOREIGN_EVERY <= now)
}

/// Returns the wait after a failed attempt. `attempts` counts the failures before this one.
///
/// The first waits are short. Later waits are random in a span that doubles each time (full jitter). Each of them is
/// at least a minute and at most an hour. A peer's `Retry-After` can make the wait longer, up to an hour. Waits become
/// shorter as the expiry comes nearer.
pub fn retry_wait(
    attempts: u32,
    retry_after: Option<Duration>,
    left: Option<TimeDelta>,
    sample: f64,
) -> Duration {
    let span = |nth| doubled(2 * SHORTEST, WIDEST, nth);
    let wait = match QUICK.get(attempts as usize) {
        Some(quick) => full_jitter(*quick, sample).max(Duration::from_secs(1)),
        None => full_jitter(span(attempts as usize - QUICK.len()), sample).clamp(SHORTEST, LONGEST),
    };
    let wait = match left {
        Some(left) if left > LAST_MINUTES => wait.min((left / 20).to_std().unwrap_or(SHORTEST)),
        _ => wait,
    };
    heed(wait, retry_after, LONGEST)
}

/// Returns a number in `[0, 1)` that depends only on the name (FNV-1a).
fn fraction(name: &TokenName) -> f64 {
    let hash = name
        .as_str()
        .bytes()
        .fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    f64::from(hash) / (f64::from(u32::MAX) + 1.0)
}

#[cfg(test)]
mod tests;
