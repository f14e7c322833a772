//! The steps of `check` for a `strict` token, from the redemption on. Without `--write`, the command redeems nothing,
//! since a redemption without a save would invalidate the token. With `--write`, the command rotates the token once, as
//! the daemon does.

use tokio_util::sync::CancellationToken;

use super::{PARTNER_CENTER, REDEEM, UPDATE, WRITE};
use crate::cli::azure_clients::AzureRotator;
use crate::cli::check::CheckStep;
use crate::cli::proof;
use crate::login::StepFailure;
use crate::ports::failure::{FailureSubject, Remedy};
use crate::rotation::state::State;
use crate::rotation::{daemon, schedule};
use crate::token::managed::Verify;
use crate::token::rotation_id;
use crate::token::version::Stored;

const NOT_REDEEMED: &str = "the token was not redeemed";

pub(super) async fn check(
    rotator: &mut AzureRotator,
    stored: &Stored,
    write: bool,
    stop: &CancellationToken,
) -> Vec<CheckStep> {
    if let Some(refused) = unusable(rotator, stored) {
        let mut steps = vec![CheckStep::failed(REDEEM, refused)];
        steps.extend([PARTNER_CENTER, UPDATE, WRITE].map(|step| CheckStep::not_tried(step, NOT_REDEEMED)));
        return steps;
    }
    if !write {
        let told = "Perennial redeems a strict token only if `check` may save the new token: add --write";
        return [REDEEM, PARTNER_CENTER, UPDATE, WRITE].map(|step| CheckStep::not_tried(step, told)).into();
    }
    let update = super::update(rotator, stored, rotation_id()).await;
    let state = super::rotate(rotator, stop).await;
    let state = daemon::note(rotator, state).await;
    let [redeemed, asked] = redeemed(rotator, &state);
    let written = if state.last_rotation_at.is_none() && state.failure().is_some_and(of_the_issuer) {
        CheckStep::not_tried(WRITE, NOT_REDEEMED)
    } else {
        super::written(rotator, &state, "")
    };
    vec![redeemed, asked, update, written]
}

/// Returns a problem that is visible without a redemption: the value is not a token, or the version's tags record a
/// rejection.
fn unusable(rotator: &AzureRotator, stored: &Stored) -> Option<StepFailure> {
    let again = format!("`perennial login {}`", rotator.grant.name);
    if !stored.refresh_token().is_plausible() {
        let summary =
            "the stored value is not a refresh token: it is empty, has more than one word, or is quoted";
        return Some(StepFailure::new(Remedy::Operator, summary, again));
    }
    schedule::is_known_dead(&stored.version).then(|| {
        let summary = "Entra rejected this version permanently, according to its tags in Key Vault";
        StepFailure::new(Remedy::Login, summary, again)
    })
}

fn of_the_issuer(failure: &crate::ports::failure::Failure) -> bool {
    matches!(
        failure.about,
        FailureSubject::Grant | FailureSubject::AppCredential | FailureSubject::CredentialSource
    )
}

fn redeemed(rotator: &AzureRotator, state: &State) -> [CheckStep; 2] {
    let asked = |told: &str| CheckStep::not_tried(PARTNER_CENTER, told);
    match state.failure() {
        Some(failure) if of_the_issuer(failure) => {
            let refused = super::refused(rotator, failure, "");
            return [CheckStep::failed(REDEEM, refused), asked(NOT_REDEEMED)];
        }
        _ if state.redemptions.is_empty() => {
            let told = "Perennial did not redeem the token: the step `write` says why";
            return [CheckStep::not_tried(REDEEM, told), asked(NOT_REDEEMED)];
        }
        _ => {}
    }
    let facts = state.known();
    let user = facts.and_then(|facts| facts.user_oid.as_deref());
    let user = user.map_or_else(|| "a user".to_owned(), |id| format!("user {id}"));
    let said = facts.and_then(|facts| facts.verdict.as_ref()).map(|verdict| &verdict.acceptance);
    let asked = match said {
        Some(said) => match proof::objection(&rotator.grant, said) {
            Some(refused) => CheckStep::failed(PARTNER_CENTER, refused),
            None => super::accepted(said),
        },
        None if rotator.grant.verify == Verify::Nothing => asked("verify = \"none\""),
        None => {
            let silent = "Partner Center does not say whether it accepts the access token";
            CheckStep::failed(
                PARTNER_CENTER,
                StepFailure::new(Remedy::Retry, silent, "try again in a few minutes"),
            )
        }
    };
    [CheckStep::ok(REDEEM, user), asked]
}
