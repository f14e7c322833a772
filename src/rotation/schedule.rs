//! Every timing decision about one token: what is next, and how long to wait after a failure.
//!
//! Pure: time and chance are arguments. Knows nothing of vaults or issuers beyond what `State` says.

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

/// How often the vault is looked at while a person is expected to act: about each minute. With what else
/// such a day may need, that stays below 1,500 calls (promise 6, docs/promises.md).
pub const WATCH_EVERY: TimeDelta = TimeDelta::seconds(65);
/// Of so many checks of an app's credential one reads the token's secret as well. With [`WATCH_EVERY`] that makes 1,396 calls
/// a day, and leaves 104 for attempts, each with its list of versions.
pub const TOKEN_READ_EACH: u32 = 20;
/// An app's id and secret may lie in a vault each: then it is looked at half as often.
const LONGEST_WATCH: TimeDelta = TimeDelta::seconds(2 * 65);
/// How often a save is tried while a person is expected to act: two calls each.
const SAVE_AGAIN_EVERY: TimeDelta = TimeDelta::seconds(130);
/// How often a refused version is redeemed again: disabled accounts and policies heal by themselves.
pub const AGAIN_AFTER: TimeDelta = DAY;
/// A refusal that is not definite is confirmed by a second one before a person is asked.
pub const CONFIRM_AFTER: TimeDelta = TimeDelta::minutes(1);
/// How often a credential made moments ago is tried again, while the place that it is read from is watched by the minute.
const FRESH_AGAIN_EVERY: TimeDelta = TimeDelta::minutes(2);
/// When it is redeemed again if that brought no answer. Goes on top of the watch, so not hourly.
const AGAIN_SOON: TimeDelta = TimeDelta::hours(3);
/// How often a proof is noted in the vault. The note is a step of its own: one request beside the three of that proof.
pub const MARK_EVERY: TimeDelta = DAY;
/// How long a mark that could not be written is left alone.
pub const MARK_AGAIN_AFTER: TimeDelta = TimeDelta::hours(1);
/// How often a foreign version is rotated: somebody who keeps writing is not raced.
pub const FOREIGN_EVERY: TimeDelta = DAY;
/// A foreign version younger than this is never written over, even if it is of no use.
pub const RESCUE_AFTER: TimeDelta = DAY;

/// The first waits after a failure, before jitter; most faults are over by then.
const QUICK: [Duration; 2] = [Duration::from_secs(5), Duration::from_secs(30)];
/// No later wait is shorter.
const SHORTEST: Duration = Duration::from_secs(60);
/// The widest span that a wait is drawn from: far beyond the clamp, so that in a long outage nearly every wait is the
/// longest.
const WIDEST: Duration = Duration::from_secs(60 << 12);
/// No wait is longer: promise 1 counts on an hour in thirty days.
pub const LONGEST: Duration = Duration::from_secs(60 * 60);
/// Below this much time left, waits are no longer shortened.
const LAST_MINUTES: TimeDelta = TimeDelta::minutes(20);
/// Part of `rotate_after` by which names are spread either way.
const SPREAD: f64 = 0.1;
/// Part of `rotate_after` by which processes are told apart.
const PROCESS_JITTER: f64 = 0.02;

/// What to do about one token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// Read, redeem, check; leads to a save when a rotation is due.
    Prove,
    /// Bring the held successor into the vault.
    Save,
    /// Check whether a person has acted.
    CheckVault,
    /// Write these tags to the newest version.
    UpdateTags(Tags),
    /// Nothing before then.
    Wait(Timestamp),
}

/// When a token is due, given its policy, its name and one sample in `[0, 1)` drawn per process.
#[derive(Clone, Debug)]
pub struct Timing {
    policy: Arc<Policy>,
    rotate_after: TimeDelta,
    prove_every: TimeDelta,
}

impl Timing {
    /// Spreads names over a tenth of the policy either way and processes over a fiftieth.
    pub fn new(policy: &Arc<Policy>, name: &TokenName, process_sample: f64) -> Self {
        let spread = SPREAD * (2.0 * fraction(name) - 1.0) + PROCESS_JITTER * process_sample;
        Self {
            policy: policy.clone(),
            rotate_after: delta(policy.rotate_after.mul_f64(1.0 + spread)),
            // Only ever earlier: `prove_every` bounds how late a dead grant may be noticed.
            prove_every: delta(policy.prove_every.mul_f64(1.0 - PROCESS_JITTER * process_sample)),
        }
    }

    /// The policy behind it.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// What politeness allows under it.
    pub fn limits(&self) -> Limits {
        Limits::of(&self.policy)
    }

    /// The age at which a version is replaced by a successor.
    pub fn rotate_after(&self) -> TimeDelta {
        self.rotate_after
    }

    /// When this version is to be replaced by a successor.
    pub fn rotate_at(&self, version: &Version) -> Timestamp {
        version.issued_at() + self.rotate_after
    }

    /// When the token in this version ends, by what is known of its issue.
    pub fn expires_at(&self, version: &Version) -> Timestamp {
        version.issued_at() + delta(self.policy.lifetime)
    }

    /// Decides what to do.
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
            // An unsaved successor may use the whole daily call budget.
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

    /// Vault calls that a proof may need: those of the rotation as well, where one is due.
    fn calls_of_a_proof(&self, state: &State, at: Timestamp) -> usize {
        let due = state.newest.as_ref().is_some_and(|version| self.rotation_is_due(version, state, at));
        if due { state.calls_of_a_rotation() } else { VAULT_CALLS_A_STEP }
    }

    /// The first instant, `now` or later, at which politeness allows that many calls to the vault. While the vault is
    /// watched, that has a limit of its own.
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

    /// The step while a person has to act: to check whether that was done, or to redeem again.
    fn step_while(&self, blocked: &Blocked, state: &State, now: Timestamp) -> (Next, Timestamp) {
        // A proof that is due waits for room at most: no check would hasten it.
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

    /// When a current token is due, for a proof or for a rotation.
    fn due_at(&self, state: &State, now: Timestamp) -> Timestamp {
        let prove_at = state.proved_at().map_or(now, |at| at + self.prove_every);
        match &state.newest {
            Some(version) if may_rotate(version, state, now) && !is_same_token(state) => {
                prove_at.min(self.rotate_at(version))
            }
            _ => prove_at,
        }
    }

    /// Whether the redeemed version is to be replaced now. A foreign version is due as soon as it is seen, by a proof, a
    /// SIGHUP or the watch. To look for one by the minute would break the 60 calls a day.
    pub fn rotation_is_due(&self, version: &Version, state: &State, now: Timestamp) -> bool {
        let foreign = !version.is_ours() && may_rotate(version, state, now);
        foreign || self.rotate_at(version) <= now
    }

    /// Takes a failure into the state: what passes by itself is tried again, for the rest a person is waited for.
    pub fn after_failure(&self, state: State, failure: Failure, now: Timestamp, sample: f64) -> State {
        // A credential made moments ago is watched like one that a person has to replace.
        if is_passing(failure.remedy) && failure.is_definite {
            self.after_outage(state, failure, now, sample)
        } else {
            blocked_by(state, failure, now)
        }
    }

    /// An answer that did not come does not undo what was settled: only a success closes that.
    fn after_outage(&self, mut state: State, failure: Failure, now: Timestamp, sample: f64) -> State {
        let newest = state.newest.as_ref().map(|version| version.id.clone());
        // A failure belongs to the version that failed. A user who signs in while Entra is down has met the demand: the old
        // refusal must not ask for a sign-in again. Whether the new token works is unknown until it is proved.
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
        // Its predecessors are tried as soon as what hindered that is over (promise 1).
        if let Some(blocked) = state.blocked.as_mut().filter(|blocked| blocked.failure.never_was_a_token) {
            blocked.again_at = retry_at;
        }
        let attempts = attempts.saturating_add(1);
        state.outage = Some(Box::new(Outage { failure, since, attempts, retry_at }));
        state
    }
}

/// The state in which a person has to settle this failure. That is an answer, which ends an outage.
fn blocked_by(mut state: State, failure: Failure, now: Timestamp) -> State {
    let before = state.blocked.take().filter(|known| known.failure.kind == failure.kind);
    let passes = is_passing(failure.remedy);
    let is_confirmed = failure.is_definite || (before.is_some() && !passes);
    let again_at = match failure.about {
        _ if !is_confirmed && !state.is_unsaved() => {
            now + if passes { FRESH_AGAIN_EVERY } else { CONFIRM_AFTER }
        }
        _ if !state.is_unsaved() => again_at(&failure, state.newest.as_ref(), now),
        // Somebody's version that was refused is read and not redeemed again (`standing`).
        FailureSubject::Token | FailureSubject::History | FailureSubject::Saving | FailureSubject::Grant => {
            now + if state.holds_only_copy() { WATCH_EVERY } else { SAVE_AGAIN_EVERY }
        }
        // Checking again would cost a redemption.
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

/// When a refused version is redeemed again; one that is no token at all, as soon as its predecessor may
/// take its place.
fn again_at(failure: &Failure, newest: Option<&Version>, now: Timestamp) -> Timestamp {
    let rescue_at =
        newest.filter(|_| failure.never_was_a_token).map(|version| version.created + RESCUE_AFTER);
    rescue_at.filter(|at| *at > now).unwrap_or(now + AGAIN_AFTER)
}

/// What an earlier process found out and noted is the same incident.
fn noted_since(newest: Option<&Version>, failure: &Failure) -> Option<Timestamp> {
    let newest = newest?;
    if let Some(noted) = Noted::on(newest).filter(|noted| noted.kind == Some(failure.kind)) {
        return Some(noted.at);
    }
    let noted = newest.tags.get(tag::REFUSED_KIND)?;
    (noted == failure.kind.as_str()).then(|| newest.time(tag::REFUSED_AT))?
}

/// Whether the issuer returns the token that it is given: then nothing can be rotated, and it is only proved.
pub fn is_same_token(state: &State) -> bool {
    state.known().is_some_and(|facts| facts.same_token_at.is_some())
}

/// A foreign version is rotated ahead of its turn at most once a day.
fn may_rotate(version: &Version, state: &State, now: Timestamp) -> bool {
    version.is_ours() || state.foreign_rotated_at.is_none_or(|at| at + FOREIGN_EVERY <= now)
}

/// How long to wait after a failed attempt; `attempts` counts those that failed before it.
///
/// Full jitter over a doubling span, clamped to a minute and an hour after the first quick ones. A
/// peer's `Retry-After` raises the wait up to that hour. The nearer the expiry, the shorter.
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

/// A number in `[0, 1)` that depends on the name alone (FNV-1a).
fn fraction(name: &TokenName) -> f64 {
    let hash = name
        .as_str()
        .bytes()
        .fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    f64::from(hash) / (f64::from(u32::MAX) + 1.0)
}

#[cfg(test)]
mod tests;
