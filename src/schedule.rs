//! Every timing decision about one token: what is next, and how long to wait after a failure.
//!
//! Pure: time and chance are arguments. Knows nothing of vaults or issuers beyond what `State` says.

use std::time::Duration;

use backon::BackoffBuilder as _;
use backon::ExponentialBuilder;
use chrono::TimeDelta;

use crate::failure::About;
use crate::failure::Failure;
use crate::failure::Remedy;
use crate::state::DAY;
use crate::state::Failing;
use crate::state::Phase;
use crate::state::REDEMPTIONS_A_DAY;
use crate::state::State;
use crate::state::VAULT_CALLS_A_DAY;
use crate::state::VAULT_CALLS_A_STEP;
use crate::state::delta;
use crate::token::Policy;
use crate::token::Timestamp;
use crate::token::TokenName;
use crate::version::Tags;
use crate::version::Version;
use crate::version::rfc3339;
use crate::version::tag;

/// How often the vault is looked at while a person is expected to act. 1,440 a day.
pub const WATCH_EVERY: TimeDelta = TimeDelta::minutes(1);
/// How often a save is tried while a person is expected to act: two calls each, so 1,440 a day.
const SAVE_AGAIN_EVERY: TimeDelta = TimeDelta::minutes(2);
/// How often a refused version is redeemed again: disabled accounts and policies heal by themselves.
pub const AGAIN_AFTER: TimeDelta = DAY;
/// How often a proof is noted in the vault.
const MARK_EVERY: TimeDelta = DAY;
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
    rotate_after: TimeDelta,
    prove_every: TimeDelta,
}

impl Timing {
    /// Spreads names over a tenth of the policy either way and processes over a fiftieth.
    pub fn new(policy: &Policy, name: &TokenName, process_sample: f64) -> Self {
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
            Next::Prove => at.max(state.redemptions.room_at(REDEMPTIONS_A_DAY, 1, at.max(now))),
            _ => at,
        };
        let at = match step {
            _ if state.awaits_person() => at,
            Next::Prove => {
                at.max(state.vault_calls.room_at(VAULT_CALLS_A_DAY, VAULT_CALLS_A_STEP, at.max(now)))
            }
            // A successor in hand goes before politeness as far as there is any room.
            Next::Save => at.max(state.vault_calls.room_at(VAULT_CALLS_A_DAY, 1, at.max(now))),
            Next::Look | Next::Mark(_) | Next::Wait(_) => at,
        };
        if at <= now { step } else { Next::Wait(at) }
    }

    fn wanted_step(&self, state: &State, now: Timestamp) -> (Next, Timestamp) {
        let retry_at = state.failing.as_ref().map(|failing| failing.retry_at);
        match &state.phase {
            Phase::Unproved { due_at } => (Next::Prove, retry_at.unwrap_or(*due_at)),
            Phase::Current => (Next::Prove, retry_at.unwrap_or_else(|| self.due_at(state, now))),
            Phase::Unsaved(_) => (Next::Save, retry_at.unwrap_or(now)),
            Phase::Waiting { look_at, again_at } => {
                let again_at = state.redemptions.room_at(REDEMPTIONS_A_DAY, 1, *again_at);
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
        let kind = failure.kind;
        let before = state.failing.take().filter(|failing| failing.failure.kind == kind);
        // What an earlier process found out is the same incident.
        let noted = state.newest.as_ref().filter(|version| {
            version.tags.get(tag::REFUSED_KIND).is_some_and(|noted| noted == kind.as_str())
        });
        let since = before.as_ref().map(|failing| failing.since);
        let since = since.or_else(|| noted.and_then(|version| version.time(tag::REFUSED_AT)));
        let attempts = before.map_or(0, |failing| failing.attempts);
        let left = state.newest.as_ref().map(|version| self.expires_at(version) - now);
        let retry_at = now + delta(retry_wait(attempts, failure.remedy, left, sample));
        let waits_for_person = !matches!(failure.remedy, Remedy::Retry { .. });
        let retry_at = match failure.about {
            _ if !waits_for_person || !state.is_unsaved() => retry_at,
            About::Token => now + SAVE_AGAIN_EVERY,
            // To know more, something would have to be redeemed.
            About::AppCredential | About::CredentialSource | About::Grant => now + delta(LONGEST),
        };
        if waits_for_person && !state.is_unsaved() {
            state.phase = Phase::Waiting { look_at: now + WATCH_EVERY, again_at: now + AGAIN_AFTER };
        }
        state.failing = Some(Failing {
            failure,
            since: since.unwrap_or(now).min(now),
            attempts: attempts.saturating_add(1),
            retry_at,
        });
        state
    }
}

/// A foreign version is rotated ahead of its turn at most once a day.
fn may_rotate(version: &Version, state: &State, now: Timestamp) -> bool {
    version.is_ours() || state.foreign_rotated_at.is_none_or(|at| at + FOREIGN_EVERY <= now)
}

/// The tags that the newest version should carry and does not.
///
/// A proof is noted at most daily, a refusal when it changes.
fn wanted_marks(state: &State, now: Timestamp) -> Option<Tags> {
    let version = state.newest.as_ref()?;
    if state.mark_after.is_some_and(|at| at > now) {
        return None;
    }
    let mut tags = version.tags.clone();
    match (&state.phase, &state.failing) {
        (Phase::Current, None) => {
            let proved_at = state.proved_at?;
            let noted = version.time(tag::PROVED_AT);
            let outdated = noted.is_none_or(|at| at + MARK_EVERY <= proved_at);
            let user_changed = match (&state.user_oid, version.tags.get(tag::USER_OID)) {
                (Some(user), Some(noted)) => !user.eq_ignore_ascii_case(noted),
                _ => false,
            };
            if !outdated && !version.is_refused() && !user_changed {
                return None;
            }
            tags.insert(tag::PROVED_AT.into(), rfc3339(proved_at));
            tags.remove(tag::REFUSED_AT);
            tags.remove(tag::REFUSED_KIND);
            if let (true, Some(user)) = (user_changed, &state.user_oid) {
                tags.insert(tag::USER_OID.into(), user.clone());
            }
        }
        (Phase::Waiting { .. }, Some(failing)) if failing.failure.token_refused() => {
            let kind = failing.failure.kind.as_str();
            if version.is_refused() && version.tags.get(tag::REFUSED_KIND).is_some_and(|k| k == kind) {
                return None;
            }
            tags.insert(tag::REFUSED_AT.into(), rfc3339(failing.since));
            tags.insert(tag::REFUSED_KIND.into(), kind.into());
        }
        _ => return None,
    }
    (tags.len() <= crate::version::MAX_TAGS).then_some(tags)
}

/// How long to wait after a failed attempt; `attempts` counts those that failed before it.
///
/// Full jitter over a doubling span, clamped to a minute and an hour after the first quick ones. A
/// peer's `Retry-After` raises the wait up to that hour. The nearer the expiry, the shorter.
pub fn retry_wait(attempts: u32, remedy: Remedy, left: Option<TimeDelta>, sample: f64) -> Duration {
    let asked = match remedy {
        Remedy::Retry { after } => after.unwrap_or_default().min(LONGEST),
        Remedy::Login | Remedy::Operator => Duration::ZERO,
    };
    let wait = match QUICK.get(attempts as usize) {
        Some(quick) => quick.mul_f64(sample).max(Duration::from_secs(1)),
        None => span(attempts as usize - QUICK.len()).mul_f64(sample).clamp(SHORTEST, LONGEST),
    };
    let wait = match left {
        Some(left) if left > LAST_MINUTES => wait.min((left / 20).to_std().unwrap_or(SHORTEST)),
        _ => wait,
    };
    wait.max(asked)
}

/// The span that a wait is drawn from: doubling, far beyond the clamp, so that in a long outage nearly
/// every wait is the longest.
fn span(nth: usize) -> Duration {
    const SPANS: usize = 12;
    let widest = Duration::from_secs(60 << SPANS);
    let doubling = ExponentialBuilder::default().with_min_delay(2 * SHORTEST).with_max_delay(widest);
    doubling.with_factor(2.0).with_max_times(SPANS).build().nth(nth).unwrap_or(widest)
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
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::failure::Kind;
    use crate::version::VersionId;

    fn at(hours: i64) -> Timestamp {
        Timestamp::from_timestamp(1_760_000_000 + hours * 3600, 0).expect("in range")
    }

    fn timing() -> Timing {
        Timing::new(&Policy::default(), &TokenName::new("partner-center"), 0.5)
    }

    fn version(tags: &[(&str, &str)]) -> Version {
        Version {
            id: VersionId("v1".into()),
            created: at(0),
            enabled: true,
            expires: None,
            tags: tags.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
        }
    }

    fn ours() -> Version {
        version(&[(tag::MANAGED_BY, "perennial/0.1.0 run"), (tag::PROVED_AT, "2025-10-09T08:53:20Z")])
    }

    fn current(version: Version) -> State {
        let state = State::unknown(at(0));
        State { phase: Phase::Current, newest: Some(version), proved_at: Some(at(0)), ..state }
    }

    fn failure(remedy: Remedy) -> Failure {
        Failure::new(Kind::EntraUnreachable, remedy, About::Grant, "x")
    }

    const RETRY: Remedy = Remedy::Retry { after: None };

    #[test]
    fn a_token_is_proved_at_start_and_then_within_prove_every() {
        let timing = timing();

        assert_eq!(timing.next(&State::unknown(at(0)), at(0)), Next::Prove);
        let Next::Wait(due) = timing.next(&current(ours()), at(0)) else { panic!("not due") };
        assert!(due > at(5) && due <= at(6), "{due}");
        assert_eq!(timing.next(&current(ours()), at(6)), Next::Prove);
    }

    #[test]
    fn a_rotation_is_due_about_a_week_after_the_token_was_issued() {
        let timing = timing();

        assert!(!timing.rotation_is_due(&ours(), &current(ours()), at(6 * 24)));
        assert!(timing.rotation_is_due(&ours(), &current(ours()), at(8 * 24)));
    }

    #[test]
    fn a_foreign_version_is_rotated_at_once_but_only_once_a_day() {
        let timing = timing();
        let foreign = version(&[]);
        let mut state = current(foreign.clone());

        assert!(timing.rotation_is_due(&foreign, &state, at(1)));
        state.foreign_rotated_at = Some(at(0));
        assert!(!timing.rotation_is_due(&foreign, &state, at(23)));
        assert!(timing.rotation_is_due(&foreign, &state, at(24)));
    }

    #[test]
    fn names_are_spread_and_stay_within_the_tenth_either_way() {
        let policy = Policy::default();
        let mut due: Vec<Timestamp> = Vec::new();
        for n in 0..200 {
            let timing = Timing::new(&policy, &TokenName::new(&format!("customer-{n}")), 0.999);
            due.push(timing.rotate_at(&version(&[])));
        }
        due.sort();

        assert!(due[0] > at(6 * 24) && due[199] < at(8 * 24));
        assert!(due[150] - due[50] > TimeDelta::hours(10), "{} {}", due[50], due[150]);
    }

    #[test]
    fn a_person_is_waited_for_by_the_minute_and_the_version_tried_again_each_day() {
        let timing = timing();

        let state = timing.after_failure(current(ours()), failure(Remedy::Login), at(0), 0.5);

        assert!(matches!(timing.next(&state, at(0)), Next::Mark(_)), "a refusal is noted");
        let state = State { mark_after: Some(at(99)), ..state };
        assert_eq!(timing.next(&state, at(0)), Next::Wait(at(0) + WATCH_EVERY));
        assert_eq!(timing.next(&state, at(1)), Next::Look);
        let looked = Phase::Waiting { look_at: at(25), again_at: at(24) };
        assert_eq!(timing.next(&State { phase: looked, ..state }, at(24)), Next::Prove);
    }

    #[test]
    fn a_refusal_that_an_earlier_process_noted_is_the_same_incident() {
        let noted =
            version(&[(tag::REFUSED_AT, "2025-10-01T00:00:00Z"), (tag::REFUSED_KIND, "entra_unreachable")]);

        let state = timing().after_failure(current(noted), failure(Remedy::Login), at(0), 0.5);

        let since = state.failing.expect("failing").since;
        assert_eq!(rfc3339(since), "2025-10-01T00:00:00Z");
    }

    #[test]
    fn a_proof_is_noted_at_most_daily() {
        let timing = timing();
        let mut state = current(ours());

        state.proved_at = Some(at(23));
        assert!(!matches!(timing.next(&state, at(23)), Next::Mark(_)));
        state.proved_at = Some(at(24));
        let Next::Mark(tags) = timing.next(&state, at(24)) else { panic!("a mark") };
        assert_eq!(tags[tag::PROVED_AT], rfc3339(at(24)));
    }

    #[test]
    fn a_full_budget_of_redemptions_puts_a_proof_off() {
        let timing = timing();
        let mut state = State::unknown(at(0));
        (0..24).for_each(|n| state.redemptions.note(at(0) + TimeDelta::minutes(n)));

        assert_eq!(timing.next(&state, at(1)), Next::Wait(at(24)));
    }

    #[test]
    fn a_held_successor_is_saved_at_once_and_retried_at_least_hourly() {
        let timing = timing();
        let mut state = current(ours());
        state.phase = Phase::Unsaved(Box::new(held()));
        assert_eq!(timing.next(&state, at(0)), Next::Save);

        for attempt in 0..40 {
            state = timing.after_failure(state, failure(RETRY), at(attempt), 0.999);
            let retry_at = state.failing.as_ref().expect("failing").retry_at;
            assert!(state.is_unsaved() && retry_at <= at(attempt + 1));
        }
    }

    fn held() -> crate::state::Held {
        crate::state::Held {
            successor: crate::token::RefreshToken::new("s"),
            issued_at: at(0),
            from: ours(),
            from_value: crate::token::RefreshToken::new("r"),
            over: None,
            written: None,
            dead: Vec::new(),
            lifted: Vec::new(),
            client_id: "app".into(),
            user_oid: None,
            rotation_id: uuid::Uuid::nil(),
        }
    }

    proptest! {
        #[test]
        fn waits_are_bounded(attempts: u32, sample in 0.0..1.0f64, left in -90i64..90 * 24 * 60, after in 0u64..1_000_000) {
            let remedy = Remedy::Retry { after: Some(Duration::from_secs(after)) };
            let left = Some(TimeDelta::minutes(left));

            let wait = retry_wait(attempts, remedy, left, sample);

            prop_assert!(wait >= Duration::from_secs(1) && wait <= LONGEST);
            prop_assert!(wait >= Duration::from_secs(after).min(LONGEST));
        }

        #[test]
        fn the_nearer_the_end_the_shorter_the_wait(attempts in 2u32..100, sample in 0.0..1.0f64, left in 21i64..90 * 24 * 60) {
            let wait = retry_wait(attempts, RETRY, Some(TimeDelta::minutes(left)), sample);

            prop_assert!(delta(wait) <= TimeDelta::minutes(left) / 20);
            prop_assert!(wait >= SHORTEST);
        }

        #[test]
        fn a_long_outage_is_tried_about_hourly(attempts in 14u32..1000, sample in 0.05..1.0f64) {
            prop_assert_eq!(retry_wait(attempts, RETRY, None, sample), LONGEST);
        }
    }
}
