//! What one command knows about a token's state, from its own steps and from the tags that earlier processes wrote.
//!
//! `rotate`, `rotate --dry-run` and `status` use the same rule for the exit code. Each failure and each critical
//! condition leads to an exit code other than 0, unless the newest version is disabled. If there are several,
//! `ExitCode::gravest` chooses the exit code. Under the default policy, `rotate` also ends with exit code 1 if Entra
//! redeemed the token but Partner Center has given no verdict for 36 hours.

use chrono::TimeDelta;

use super::ExitCode;
use crate::ports::failure::{Failure, FailureSubject, Kind, Remedy};
use crate::process::clock::Timestamp;
use crate::rotation::rotate::Rotator;
use crate::rotation::schedule::MARK_EVERY;
use crate::rotation::state::{Blocked, Noted, Outage, State};
use crate::rotation::strict;
use crate::status::condition::{Condition, Severity, conditions};
use crate::status::snapshot::{Periods, Snapshot, TokenState};
use crate::token::version::{Version, tag};

/// Returns the snapshot of a token after a command's steps. The vault's tags add what the steps did not find out.
pub(super) fn draw<I, V, R>(rotator: &Rotator<I, V, R>, state: State) -> Snapshot {
    let now = rotator.clock.now();
    let mut state = as_noted(state, now);
    if rotator.grant.strict
        && state.failure().is_none()
        && let Some((failure, since)) =
            state.newest.as_ref().and_then(|newest| strict::unsettled(newest, now))
    {
        state.outage = Some(Box::new(Outage { failure, since, attempts: 1, retry_at: now }));
    }
    let mut periods = Periods::of(&rotator.timing);
    // The tags record at most one proof a day, so the last proof may be up to one day newer than the recorded proof. A
    // proof expires after twice `prove_every`. The next line adds half a day to `prove_every`, which adds one day to
    // this limit.
    periods.prove_every += (MARK_EVERY / 2).to_std().unwrap_or_default();
    // The next step is `None`, because only a daemon has a next step.
    Snapshot::of(&rotator.grant, periods, &state, None, now)
}

/// Returns the state that a daemon would have after the same steps and with the same tags.
fn as_noted(mut state: State, now: Timestamp) -> State {
    if let Some((failure, since)) = noted(&state, now) {
        let version = state.newest.as_ref().map(|newest| newest.id.clone());
        let (next_check_at, again_at) = (now, now);
        let blocked =
            Blocked { failure, since, version, next_check_at, again_at, checks: 0, is_confirmed: true };
        state.blocked = Some(Box::new(blocked));
    }
    state
}

/// Returns the failure that an earlier process recorded, and when the failure began. Returns `None` if the failure is
/// no longer valid. A recorded failure stays valid until this command redeems the newest version. A redemption without
/// an answer does not clear the failure.
fn noted(state: &State, now: Timestamp) -> Option<(Failure, Timestamp)> {
    let newest = state.newest.as_ref().filter(|_| state.proved_at().is_none())?;
    let (failure, since) = if newest.is_refused() { refusal(newest) } else { obstacle(newest)? };
    let stands = state.failure().is_none_or(|held| {
        matches!(held.remedy, Remedy::Retry)
            && held.kind != failure.kind
            && held.about != FailureSubject::Token
    });
    stands.then(|| (failure, since.unwrap_or(now).min(now)))
}

fn refusal(newest: &Version) -> (Failure, Option<Timestamp>) {
    let kind = newest.tags.get(tag::REFUSED_KIND).and_then(Kind::parse);
    let kind = kind.unwrap_or(Kind::LoginRequired);
    let remedy = match kind {
        Kind::LoginRequired | Kind::MfaRequired | Kind::NeverSignedIn => Remedy::Login,
        _ => Remedy::Operator,
    };
    let summary = "Entra rejected this version, according to its tags in Key Vault";
    (Failure::new(kind, remedy, FailureSubject::Grant, summary), newest.time(tag::REFUSED_AT))
}

/// Returns the failure that this version's tags record, and when it was recorded. Returns `None` for a rejection by
/// Partner Center, since the snapshot already contains this rejection.
fn obstacle(newest: &Version) -> Option<(Failure, Option<Timestamp>)> {
    let noted = Noted::on(newest).filter(|noted| !noted.is_partner_centers())?;
    let (kind, about, summary) = match noted.kind? {
        kind @ Kind::AppCredentialRefused => (
            kind,
            FailureSubject::AppCredential,
            "Entra rejected the app credential, according to the tags in Key Vault",
        ),
        kind @ Kind::NoRefreshToken => (
            kind,
            FailureSubject::Grant,
            "Entra returned no refresh token, according to the tags in Key Vault",
        ),
        kind => (
            kind,
            FailureSubject::CredentialSource,
            "the app's secret could not be read, according to the tags in Key Vault",
        ),
    };
    Some((Failure::new(kind, Remedy::Operator, about, summary), Some(noted.at)))
}

/// Returns a token's exit code, and the failure or critical condition that causes this code. If there are several,
/// `ExitCode::gravest` chooses. If the token's newest version is disabled, the exit code is 0 in any case.
pub(super) fn in_the_way(of: &Snapshot, now: Timestamp) -> (ExitCode, Option<Condition>) {
    let failed = of.failure().map(|failure| failure.kind);
    let all = conditions(std::slice::from_ref(of), TimeDelta::zero(), now);
    let told =
        all.into_iter().filter(|told| told.severity == Severity::Critical || Some(told.kind) == failed);
    let mut gravest = (ExitCode::Done, None);
    for told in told {
        let code = ExitCode::from(told.remedy);
        if gravest.1.is_none() || gravest.0.gravest(code) != gravest.0 {
            gravest = (code, Some(told));
        }
    }
    match of.standing(now) {
        TokenState::Off => (ExitCode::Done, gravest.1),
        _ => gravest,
    }
}
