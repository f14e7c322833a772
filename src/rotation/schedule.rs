//! Every timing decision about one token: what is next, and how long to wait after a failure.
//!
//! Pure: time and chance are arguments. Knows nothing of vaults or issuers beyond what `State` says.

use std::time::Duration;

use chrono::SubsecRound as _;
use chrono::TimeDelta;

use crate::net::backoff::{doubled, full_jitter, heed};
use crate::ports::failure::{About, Failure, Remedy};
use crate::process::clock::{Timestamp, delta, rfc3339};
use crate::rotation::state::{DAY, Failing, Limits, Noted, Phase, State, VAULT_CALLS_A_STEP};
use crate::token::managed::{Policy, TokenName};
use crate::token::tags::Tags;
use crate::token::version::{Version, tag};

mod correct;
mod refused;
mod verdict;

pub use self::refused::{
    ask_again, forget, is_final, is_known_dead, may_ask_again, refusal_tags, remember, standing,
};

/// How often the vault is looked at while a person is expected to act: about each minute. With what else
/// such a day may need, that stays below 1,500 calls (promise 6, docs/promises.md).
pub const WATCH_EVERY: TimeDelta = TimeDelta::seconds(65);
/// An app's id and secret may lie in a vault each: then it is looked at half as often.
const LONGEST_WATCH: TimeDelta = TimeDelta::seconds(2 * 65);
/// How often a save is tried while a person is expected to act: two calls each.
const SAVE_AGAIN_EVERY: TimeDelta = TimeDelta::seconds(130);
/// How often a refused version is redeemed again: disabled accounts and policies heal by themselves.
pub const AGAIN_AFTER: TimeDelta = DAY;
/// When it is redeemed again if that brought no answer. Goes on top of the watch, so not hourly.
const AGAIN_SOON: TimeDelta = TimeDelta::hours(3);
/// How often a proof is noted in the vault.
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
    /// Look whether a person has acted.
    Look,
    /// Write these tags to the newest version.
    Mark(Tags),
    /// Nothing before then.
    Wait(Timestamp),
}

/// When a token is due, given its policy, its name and one sample in `[0, 1)` drawn per process.
#[derive(Clone, Debug)]
pub struct Timing {
    policy: Policy,
    limits: Limits,
    rotate_after: TimeDelta,
    prove_every: TimeDelta,
}

impl Timing {
    /// Spreads names over a tenth of the policy either way and processes over a fiftieth.
    pub fn new(policy: &Policy, name: &TokenName, process_sample: f64) -> Self {
        let spread = SPREAD * (2.0 * fraction(name) - 1.0) + PROCESS_JITTER * process_sample;
        Self {
            policy: policy.clone(),
            limits: Limits::of(policy),
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
        self.limits
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
        if let Some(tags) = wanted_marks(state, now) {
            return Next::Mark(tags);
        }
        let (step, at) = self.wanted_step(state, now);
        let at = match step {
            Next::Prove => at.max(state.redemptions.room_at(self.limits.redemptions, 1, at.max(now))),
            _ => at,
        };
        let calls = match &step {
            Next::Prove => self.calls_of_a_proof(state, at.max(now)),
            // A successor in hand goes before politeness as far as there is any room.
            Next::Save => state.calls_of_a_save(),
            Next::Look | Next::Mark(_) | Next::Wait(_) => 0,
        };
        let at = at.max(self.room_for_vault_calls(state, calls, at.max(now)));
        if at <= now { step } else { Next::Wait(at) }
    }

    /// Vault calls that a proof may need: those of the rotation as well, where one is due.
    fn calls_of_a_proof(&self, state: &State, at: Timestamp) -> usize {
        let due = state.newest.as_ref().is_some_and(|version| self.rotation_is_due(version, state, at));
        if due { state.calls_of_a_rotation() } else { VAULT_CALLS_A_STEP }
    }

    /// The first instant, `now` or later, at which politeness allows that many calls to the vault. While a person is
    /// waited for, the watch has a limit of its own.
    pub fn room_for_vault_calls(&self, state: &State, calls: usize, now: Timestamp) -> Timestamp {
        if calls == 0 || state.awaits_person() {
            return now;
        }
        state.vault_calls.room_at(self.limits.vault_calls, calls, now)
    }

    fn wanted_step(&self, state: &State, now: Timestamp) -> (Next, Timestamp) {
        let retry_at = state.failing.as_ref().map(|failing| failing.retry_at);
        match &state.phase {
            Phase::Unproved { due_at } => (Next::Prove, retry_at.unwrap_or(*due_at)),
            Phase::Current => (Next::Prove, retry_at.unwrap_or_else(|| self.due_at(state, now))),
            Phase::Unsaved(_) => (Next::Save, retry_at.unwrap_or(now)),
            Phase::Waiting { look_at, again_at } => {
                let again_at = state.redemptions.room_at(self.limits.redemptions, 1, *again_at);
                if again_at <= *look_at { (Next::Prove, again_at) } else { (Next::Look, *look_at) }
            }
            Phase::Off { look_at } => (Next::Look, *look_at),
        }
    }

    /// When a current token is due, for a proof or for a rotation.
    fn due_at(&self, state: &State, now: Timestamp) -> Timestamp {
        let prove_at = state.proved_at.map_or(now, |at| at + self.prove_every);
        match &state.newest {
            Some(version) if may_rotate(version, state, now) => prove_at.min(self.rotate_at(version)),
            _ => prove_at,
        }
    }

    /// Whether the redeemed version is to be replaced now.
    pub fn rotation_is_due(&self, version: &Version, state: &State, now: Timestamp) -> bool {
        let foreign = !version.is_ours() && may_rotate(version, state, now);
        foreign || self.rotate_at(version) <= now
    }

    /// Takes a failure into the state: retry, wait for a person, or go on holding a successor.
    pub fn after_failure(&self, mut state: State, failure: Failure, now: Timestamp, sample: f64) -> State {
        let passing = is_passing(failure.remedy);
        let before = state.failing.take();
        let same_way = before.as_ref().filter(|known| passing || !is_passing(known.failure.remedy));
        let attempts = same_way.map_or(0, |known| known.attempts);
        let left = state.newest.as_ref().map(|version| self.expires_at(version) - now);
        let wait = now + delta(retry_wait(attempts, failure.remedy, left, sample));
        let retry_at = match failure.about {
            _ if passing || !state.is_unsaved() => wait,
            // Somebody's version that was refused is read and not redeemed again (`standing`).
            About::Token | About::History | About::Grant => now + SAVE_AGAIN_EVERY,
            // To know more, something would have to be redeemed.
            About::AppCredential | About::CredentialSource => now + delta(LONGEST),
        };
        let version = state.newest.as_ref().map(|version| version.id.clone());
        // What was settled is not undone by an answer that did not come: only a success closes it. But what is
        // known of a token says nothing about the one that a person has put in its place since.
        let before = before.filter(|known| {
            !passing
                || is_passing(known.failure.remedy)
                || known.failure.about != About::Grant
                || known.version == version
        });
        match &mut state.phase {
            Phase::Unsaved(_) => {}
            phase @ Phase::Waiting { .. } if passing && before.is_none() => {
                *phase = Phase::Unproved { due_at: now };
            }
            Phase::Waiting { look_at, again_at } if passing => {
                (*look_at, *again_at) = (now + WATCH_EVERY, now + AGAIN_SOON);
            }
            Phase::Unproved { .. } | Phase::Current | Phase::Off { .. } if passing => {}
            phase => {
                let again_at = again_at(&failure, state.newest.as_ref(), now);
                *phase = Phase::Waiting { look_at: now + WATCH_EVERY, again_at };
            }
        }
        let (failure, since, version) = match before {
            Some(known) if passing && !is_passing(known.failure.remedy) => {
                (known.failure, known.since, known.version)
            }
            Some(known) if known.failure.kind == failure.kind => (failure, known.since, version),
            _ => {
                let since = noted_since(state.newest.as_ref(), &failure).unwrap_or(now).min(now);
                (failure, since, version)
            }
        };
        let attempts = attempts.saturating_add(1);
        state.failing = Some(Box::new(Failing { failure, since, attempts, retry_at, version }));
        state
    }
}

fn is_passing(remedy: Remedy) -> bool {
    matches!(remedy, Remedy::Retry { .. })
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

/// A foreign version is rotated ahead of its turn at most once a day.
fn may_rotate(version: &Version, state: &State, now: Timestamp) -> bool {
    version.is_ours() || state.foreign_rotated_at.is_none_or(|at| at + FOREIGN_EVERY <= now)
}

/// The tags that the newest version should carry and does not.
///
/// A proof is noted at most daily, a refusal and a verdict when they change.
fn wanted_marks(state: &State, now: Timestamp) -> Option<Tags> {
    let version = state.newest.as_ref()?;
    if state.mark_after.is_some_and(|at| at > now) {
        return None;
    }
    let tags = match (&state.phase, &state.failing) {
        (Phase::Current, None) => proof_marks(version, state)?,
        (Phase::Waiting { .. }, Some(failing)) if failing.failure.token_refused() => {
            refusal_tags(version, &failing.failure, failing.since, now)?
        }
        (Phase::Waiting { .. }, Some(failing)) => {
            let mut tags = version.tags.clone();
            verdict::put(&mut tags, Some(verdict::of_failure(version, failing)?));
            tags
        }
        _ => return None,
    };
    (tags.len() <= crate::token::version::MAX_TAGS).then_some(tags)
}

fn proof_marks(version: &Version, state: &State) -> Option<Tags> {
    let proved_at = state.proved_at?;
    let outdated = version.time(tag::PROVED_AT).is_none_or(|at| {
        // The next process is to see that a daemon has taken over what `login` wrote.
        let first = version.redeemed_from().is_none() && !version.is_proved_since();
        at + MARK_EVERY <= proved_at || (first && at < proved_at.trunc_subsecs(0))
    });
    let user = match (&state.user_oid, version.tags.get(tag::USER_OID)) {
        (Some(user), Some(noted)) if !user.eq_ignore_ascii_case(noted) => Some(user),
        _ => None,
    };
    let verdict = verdict::after_proof(version, state);
    if !outdated && !version.is_refused() && user.is_none() && !verdict::is_news(verdict, version) {
        return None;
    }
    let mut tags = version.tags.clone();
    tags.insert(tag::PROVED_AT, &rfc3339(proved_at));
    tags.remove(tag::REFUSED_AT);
    tags.remove(tag::REFUSED_KIND);
    verdict::put(&mut tags, verdict);
    tags.remove(tag::REFUSED_CODE);
    if let Some(user) = user {
        tags.insert(tag::USER_OID, user);
    }
    Some(tags)
}

/// How long to wait after a failed attempt; `attempts` counts those that failed before it.
///
/// Full jitter over a doubling span, clamped to a minute and an hour after the first quick ones. A
/// peer's `Retry-After` raises the wait up to that hour. The nearer the expiry, the shorter.
pub fn retry_wait(attempts: u32, remedy: Remedy, left: Option<TimeDelta>, sample: f64) -> Duration {
    let asked = match remedy {
        Remedy::Retry { after } => after,
        Remedy::Login | Remedy::Operator => None,
    };
    let span = |nth| doubled(2 * SHORTEST, WIDEST, nth);
    let wait = match QUICK.get(attempts as usize) {
        Some(quick) => full_jitter(*quick, sample).max(Duration::from_secs(1)),
        None => full_jitter(span(attempts as usize - QUICK.len()), sample).clamp(SHORTEST, LONGEST),
    };
    let wait = match left {
        Some(left) if left > LAST_MINUTES => wait.min((left / 20).to_std().unwrap_or(SHORTEST)),
        _ => wait,
    };
    heed(wait, asked, LONGEST)
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
