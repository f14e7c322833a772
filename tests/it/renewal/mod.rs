//! Tests the renewal of client secrets, with the shipped steps over the simulated world.

use std::sync::Arc;

use chrono::TimeDelta;
use perennial::process::clock::Clock;
use perennial::renewal::look::prefix;
use perennial::renewal::renewer::Renewer;
use perennial::renewal::schedule::Target;
use perennial::rotation::turns::Turns;
use perennial::sandbox::world::{
    Actor, AppProof, AppSecret, GraphRole, IdentityRequest, Partner, Trouble, World,
};
use perennial::token::app::{ManagedApp, RenewIdentity, RenewPolicy};
use perennial::token::secret::{ConfigValue, SecretAddress, SecretName, Source};
use secrecy::ExposeSecret as _;

use crate::support::harness::VAULT;

mod baselines;
mod certificates;
mod duration;
mod orders;
mod simulation;

/// The principal ID of the identity for Key Vault. The renewals use the same identity for Microsoft Graph.
const IDENTITY: &str = "9c9c9c9c-0000-4000-8000-000000000001";
/// The name of a secret that a person created. No program may remove this secret.
const BY_HAND: &str = "made by hand";
const SCOPE: &str = "https://api.partnercenter.microsoft.com/.default";

type WorldRenewer = Renewer<Actor, Actor, Actor>;

/// Adds a partner whose app secret is renewed. The app has a secret in the vault and another secret that is used
/// elsewhere. A person created both secrets.
fn partner_in(world: &World, ends: TimeDelta) -> Partner {
    let partner = world.add_partner("contoso", VAULT, Some(world.now() + ends));
    world
        .add_named_secret(
            &partner.client_id,
            Some(BY_HAND),
            "Zzz~elsewhere",
            Some(world.now() + TimeDelta::days(730)),
        )
        .expect("the app exists");
    world.set_graph_identity(&partner.tenant_id, IDENTITY);
    world.set_graph_roles(IDENTITY, &[GraphRole::ReadWriteOwned]);
    world.add_app_owner(&partner.client_id, IDENTITY);
    partner
}

fn policy(lifetime: i64, before: i64) -> RenewPolicy {
    RenewPolicy {
        lifetime: TimeDelta::days(lifetime),
        before: TimeDelta::days(before),
        identity: RenewIdentity::Vault,
        known: Vec::new(),
    }
}

fn renewer(
    world: &World,
    clock: &Clock,
    partner: &Partner,
    at: &SecretAddress,
    actor: &str,
    policy: RenewPolicy,
) -> WorldRenewer {
    let actor = world.as_actor(actor);
    let client_id = ConfigValue::Plain(partner.client_id.clone());
    Renewer {
        issuer: actor.clone(),
        vault: actor.clone(),
        directory: actor,
        clock: clock.clone(),
        app: Arc::new(ManagedApp::with_secret(client_id, Source::Secret(at.clone()))),
        name: "contoso".into(),
        target: Target { at: at.clone(), policy, is_forced: false },
        tenant: partner.tenant_id.clone(),
        graph: "https://graph.microsoft.com".to_owned(),
        vault_client_id: None,
        scope: SCOPE.to_owned(),
        command: "run",
        turns: Turns::default(),
    }
}

fn secrets_of(world: &World, partner: &Partner) -> Vec<AppSecret> {
    let app =
        world.apps().into_iter().find(|app| app.client_id == partner.client_id).expect("the app exists");
    app.secrets.into_iter().filter(AppSecret::is_listed).collect()
}

/// Returns the orphans of the vault secret `at`. An orphan is an app secret that Perennial created for `at` and that
/// Entra still lists. No version of `at` contains an orphan.
fn orphans(world: &World, partner: &Partner, at: &SecretAddress) -> Vec<AppSecret> {
    let versions = world.versions_of(at);
    let is_held = |secret: &AppSecret| {
        versions.iter().any(|version| version.value.expose_secret() == secret.value.expose_secret())
    };
    let is_ours =
        |secret: &AppSecret| secret.name.as_deref().is_some_and(|name| name.starts_with(&prefix(at)));
    secrets_of(world, partner).into_iter().filter(|secret| is_ours(secret) && !is_held(secret)).collect()
}

/// Whether Entra accepts a value as the app's secret now.
fn is_accepted(world: &World, partner: &Partner, value: &str) -> bool {
    let answer = world.identity_token(
        "consumer",
        &IdentityRequest {
            tenant: &partner.tenant_id,
            client_id: &partner.client_id,
            proof: AppProof::Secret(value),
            scope: SCOPE,
            correlation_id: None,
        },
    );
    // After an injected fault, it is unknown whether Entra accepts the secret. The secret then counts as accepted.
    !matches!(answer, Err(Trouble::Refused(_)))
}

fn newest_value(world: &World, at: &SecretAddress) -> String {
    world.newest_value(at).expect("the secret exists").expose().to_owned()
}

/// Checks two rules that apply at every moment. Entra must list the secret in the newest version, and this secret must
/// not have expired. Entra must also list the secret that a person created.
fn check_now(world: &World, partner: &Partner, at: &SecretAddress, told: &dyn std::fmt::Debug) {
    let held = newest_value(world, at);
    let all = secrets_of(world, partner);
    let ends = |secret: &AppSecret| secret.expires.is_none_or(|end| end > world.now());
    let lists = |value: &str| all.iter().any(|one| one.value.expose_secret() == value && ends(one));
    assert!(lists(&held), "Entra does not list the held secret: {told:?}");
    assert!(
        all.iter().any(|one| one.name.as_deref() == Some(BY_HAND)),
        "a hand-made secret was removed: {told:?}"
    );
}

fn second_secret(partner: &Partner) -> SecretAddress {
    SecretAddress {
        name: SecretName::parse("other-app-secret").expect("a name"),
        vault: partner.app_secret.vault.clone(),
    }
}
