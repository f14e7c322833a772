//! The steps of `check` for one token: identity, read, list, the app's credential, redemption, Partner Center and, on
//! request, write.

mod strict;

use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{CheckArgs, CheckStep, StepOutcome};
use crate::cli::azure_clients::AzureRotator;
use crate::cli::proof::ProvenToken;
use crate::cli::{explain, proof};
use crate::login::StepFailure;
use crate::ports::Vault as _;
use crate::ports::failure::{Failure, Remedy};
use crate::ports::{Acceptance, SecretRole, SecretUpdate, VaultError};
use crate::process::relative;
use crate::rotation::daemon;
use crate::rotation::rotate::AppCredential;
use crate::rotation::state::State;
use crate::token::app::CredentialSource;
use crate::token::rotation_id;
use crate::token::version::Stored;

const IDENTITY: &str = "identity";
const READ: &str = "read";
const LIST: &str = "list";
const CREDENTIAL: &str = "app credential";
const REDEEM: &str = "redeem";
const PARTNER_CENTER: &str = "partner center";
const UPDATE: &str = "update";
const WRITE: &str = "write";

/// Whether a failed step may succeed later without further action. A step that calls the vault may succeed later, since
/// a new role assignment takes effect only after some minutes. If the user must sign in first, a retry cannot succeed.
pub(super) fn may_come_by_itself(step: &CheckStep) -> bool {
    let of_the_vault = [IDENTITY, READ, LIST, CREDENTIAL, UPDATE, WRITE].contains(&step.name);
    step.outcome == StepOutcome::Failed && of_the_vault && step.code != crate::cli::ExitCode::Login
}

/// Runs the steps in order. Stops after a step whose failure makes the next step impossible.
pub(super) async fn check(
    mut rotator: AzureRotator,
    identity: &str,
    args: &CheckArgs,
    stop: &CancellationToken,
) -> Vec<CheckStep> {
    let id = rotation_id();
    let grant = rotator.grant.clone();
    let own = |error: &VaultError| explain::vault(error, SecretRole::Own, &grant.secret, grant.name.as_str());
    let read = rotator.vault.newest(&grant.secret, id).await;
    let known = |told: &str| CheckStep::ok(IDENTITY, format!("{identity} {told}"));
    let mut steps = match &read {
        Err(error @ (VaultError::NoIdentity { .. } | VaultError::Unauthorized { .. })) => {
            return vec![CheckStep::failed(IDENTITY, own(error))];
        }
        // These errors say nothing about the identity. The step `read` reports these errors.
        Err(
            error @ (VaultError::Unreachable(_) | VaultError::Unavailable { .. } | VaultError::NotUnderstood),
        ) => {
            return vec![CheckStep::failed(READ, own(error))];
        }
        Ok(_) | Err(_) => vec![known("got an access token that the vault accepts")],
    };
    let stored = match read {
        Ok(stored) => {
            steps.push(CheckStep::ok(READ, seen(&rotator, &stored)));
            Some(stored)
        }
        Err(error) => {
            steps.push(CheckStep::failed(READ, own(&error)));
            None
        }
    };
    steps.push(match rotator.vault.versions(&grant.secret, id).await {
        Ok(versions) => {
            let s = if versions.len() == 1 { "" } else { "s" };
            CheckStep::ok(LIST, format!("{} version{s} of {}", versions.len(), grant.secret))
        }
        // The previous step has reported the missing secret.
        Err(VaultError::NotFound) => CheckStep::not_tried(LIST, "the token's secret does not exist yet"),
        Err(error) => CheckStep::failed(LIST, own(&error)),
    });
    let credential = match proof::credential(&rotator, id).await {
        Ok(credential) => {
            steps.push(CheckStep::ok(CREDENTIAL, readable(&rotator, &credential)));
            Some(credential)
        }
        Err(refused) => {
            steps.push(CheckStep::failed(CREDENTIAL, refused));
            None
        }
    };
    let (Some(stored), Some(credential)) = (stored, credential) else {
        steps.extend(
            [REDEEM, PARTNER_CENTER].map(|step| CheckStep::not_tried(step, "an earlier step failed")),
        );
        return steps;
    };
    if args.no_redeem {
        steps.extend([REDEEM, PARTNER_CENTER].map(|step| CheckStep::not_tried(step, "--no-redeem")));
        steps.extend(unwritten());
        return steps;
    }
    if grant.strict {
        steps.extend(strict::check(&mut rotator, &stored, args.write, stop).await);
        return steps;
    }
    match proof::redeem(&rotator, stored, &credential, id).await {
        Ok(proof) => {
            steps.push(CheckStep::ok(REDEEM, redeemed(&proof)));
            steps.push(ask(&rotator, &proof, id).await);
            if args.write {
                steps.push(update(&rotator, &proof.stored, id).await);
                let state = rotate(&mut rotator, stop).await;
                steps.push(written(&rotator, &state, "; the stored token is unaffected"));
            } else {
                steps.extend(unwritten());
            }
        }
        Err(refused) => {
            steps.push(CheckStep::failed(REDEEM, refused));
            let told = "the token was not redeemed";
            steps.extend([PARTNER_CENTER, UPDATE, WRITE].map(|step| CheckStep::not_tried(step, told)));
        }
    }
    steps
}

fn unwritten() -> [CheckStep; 2] {
    [(UPDATE, "update"), (WRITE, "setSecret")].map(|(step, right)| {
        CheckStep::not_tried(step, format!("add --write to test whether {right} is allowed"))
    })
}

/// Describes the credential that was read: its expiry, and whether its private key can be read from the vault.
fn readable(rotator: &AzureRotator, credential: &AppCredential) -> String {
    let source = &rotator.grant.app.credential;
    let ends = match credential.expires {
        Some(at) => format!(", which expires on {}", at.format("%Y-%m-%d")),
        None => String::new(),
    };
    let exportable = match (source, credential.is_exportable) {
        (CredentialSource::VaultKey(_), Some(true)) => {
            "; its private key is exportable: anyone who may read the vault's secrets \
             (role Key Vault Secrets User or Key Vault Certificate User, for example) can read this key"
        }
        (CredentialSource::VaultKey(_), Some(false)) => "; its private key cannot leave the vault",
        _ => "",
    };
    format!("app {} and its {}{ends}{exportable}", credential.client_id, source.noun())
}

fn seen(rotator: &AzureRotator, stored: &Stored) -> String {
    if let Some(vault_time) = stored.read_at {
        rotator.clock.observe(vault_time);
    }
    let version = &stored.version;
    format!("version {}, written {}", version.id, relative::ago(version.created, rotator.clock.now()))
}

fn redeemed(proof: &ProvenToken) -> String {
    let whose = &proof.whose;
    let user = proof.facts.user_oid.as_deref().map_or_else(|| "a user".to_owned(), |id| format!("user {id}"));
    let tenant = proof.facts.tenant_id.as_deref();
    let tenant = tenant.map_or_else(|| "the tenant".to_owned(), |id| format!("tenant {id}"));
    let unverified = if whose.unverified.is_any() {
        format!("; not verified: Entra's answer does not name the {}", whose.unverified)
    } else {
        String::new()
    };
    format!("{user} of {tenant}, for app {}{unverified}", proof.client_id)
}

async fn ask(rotator: &AzureRotator, proof: &ProvenToken, id: Uuid) -> CheckStep {
    let said = match proof::ask(rotator, proof, id).await {
        Ok(Some(said)) => said,
        Ok(None) => return CheckStep::not_tried(PARTNER_CENTER, "verify = \"none\""),
        Err(refused) => return CheckStep::failed(PARTNER_CENTER, refused),
    };
    if let Some(refused) = proof::objection(&rotator.grant, &said) {
        return CheckStep::failed(PARTNER_CENTER, refused);
    }
    accepted(&said)
}

fn accepted(said: &Acceptance) -> CheckStep {
    let company = said.company.clone();
    let of_whom = company.as_deref().map(|company| format!(" (company: {company})")).unwrap_or_default();
    let summary = format!("Partner Center accepts the access token{of_whom}");
    CheckStep { company, ..CheckStep::ok(PARTNER_CENTER, summary) }
}

/// Tests the `update` right: writes the newest version's tags unchanged.
async fn update(rotator: &AzureRotator, stored: &Stored, id: Uuid) -> CheckStep {
    let (grant, version) = (&rotator.grant, &stored.version);
    let change = SecretUpdate { enabled: None, tags: Some(version.tags.clone()) };
    match rotator.vault.update(&grant.secret, &version.id, &change, id).await {
        Ok(()) => CheckStep::ok(UPDATE, format!("wrote the same tags to version {} again", version.id)),
        Err(error) => CheckStep::failed(
            UPDATE,
            explain::vault(&error, SecretRole::Own, &grant.secret, grant.name.as_str()),
        ),
    }
}

/// Rotates once with the daemon's own steps. These steps save a new token only after a proof.
async fn rotate(rotator: &mut AzureRotator, stop: &CancellationToken) -> State {
    let started = rotator.clock.now();
    let state = if rotator.grant.strict {
        daemon::prove_within_grace(rotator, State::unknown(started), true).await
    } else {
        let proved = Box::pin(rotator.prove(State::unknown(started), true)).await;
        proved.logged(&rotator.grant.name)
    };
    let passes = |state: &State| state.blocked.is_none();
    let state = daemon::save_within_grace(rotator, state, stop, passes).await;
    daemon::own_up(rotator, state)
}

fn written(rotator: &AzureRotator, state: &State, consequence: &str) -> CheckStep {
    match (state.failure(), &state.newest) {
        (Some(failure), _) => CheckStep::failed(WRITE, refused(rotator, failure, consequence)),
        (None, Some(newest)) => CheckStep::ok(WRITE, format!("saved version {}", newest.id)),
        (None, None) => CheckStep::ok(WRITE, "saved the new token"),
    }
}

fn refused(rotator: &AzureRotator, failure: &Failure, consequence: &str) -> StepFailure {
    let name = &rotator.grant.name;
    let again = match failure.remedy {
        Remedy::Login => format!("`perennial login {name}`"),
        _ => format!("type `perennial rotate {name} --force`, and do what its output says"),
    };
    let action = failure.action.as_deref().unwrap_or(&again);
    StepFailure::new(failure.remedy, format!("{}{consequence}", failure.summary), action)
}
