//! Tests that a condition ends if a person follows its action literally.

mod hands;
mod words;

use std::collections::BTreeSet;

use chrono::TimeDelta;
use futures::StreamExt as _;
use futures::stream;
use perennial::ports::failure::Kind;
use perennial::sandbox::world::{
    Action, CertificatePolicy, Distortion, Fault, FaultEffect, Operation, PartnerCenterRules, Peer, Rules,
};
use perennial::token::tags::Tags;
use secrecy::ExposeSecret as _;
use serde_json::Value;

use self::hands::Person;
use super::Stage;
use crate::support::child::{eventually, get};

/// When the failure begins.
#[derive(Clone, Copy, PartialEq)]
enum When {
    /// The failure begins before the daemon is started.
    Before,
    /// The failure begins after the daemon has rotated the token.
    After,
}
use When::{After, Before};

struct Row {
    kind: Kind,
    name: &'static str,
    when: When,
    cause: fn(&Stage),
    /// The first words of each alternative that the person follows, if the action has alternatives.
    applies: &'static [&'static str],
}

/// Kinds whose action this test cannot follow, each with the reason.
const OTHERS: [(Kind, &str); 11] = [
    (Kind::EntraUnreachable, "an outage, which time ends"),
    (Kind::EntraThrottled, "time ends it"),
    (Kind::VaultUnreachable, "an outage, or a network that no world has"),
    (Kind::UnknownCode, "nobody knows what ends it"),
    (Kind::Overdue, "another condition or the log says what to do"),
    (Kind::ForeignWriter, "it ends a day after the other writer stopped"),
    (Kind::BuriedSignIn, "it ends after a day"),
    (Kind::IdentityUnverified, "only another issuer ends it"),
    (Kind::SameRefreshToken, "only another issuer ends it"),
    (Kind::ClockSkew, "the clock of the host: process/wrong_clock.rs"),
    (Kind::AlertUndeliverable, "about a sink: process/alarm.rs"),
];

fn entra_says(stage: &Stage, error: &str, code: u32) {
    let what = FaultEffect::OAuth { status: 400, error: error.into(), code: Some(code), suberror: None };
    let fault = Fault::of(Peer::Entra, what).on(Operation::Redeem);
    stage.world().inject(fault.about(&stage.partner.user_oid));
}

fn is_deleted_and_purged(stage: &Stage) {
    stage.world().human_deletes(&stage.partner.refresh_token);
    stage.world().human_purges(&stage.partner.refresh_token);
}

fn signs_in_without_a_second_factor(stage: &Stage) {
    stage.world().set_user_mfa(&stage.partner.user_oid, false);
    stage.world().human_signs_in(&stage.partner).expect("may sign in");
}

/// Adds a line to the token's configuration.
fn configure(stage: &Stage, line: &str) {
    let text = std::fs::read_to_string(&stage.config).expect("written");
    let text = text.replace("name = \"one\"\n", &format!("name = \"one\"\n{line}\n"));
    std::fs::write(&stage.config, text).expect("our own file");
}

fn colleague(stage: &Stage) -> String {
    stage.world().add_user(&stage.partner.tenant_id, "colleague@one.onmicrosoft.com", true)
}

/// Stores the app's secret again, with a new expiry or without an expiry.
fn app_secret_ends(stage: &Stage, after: Option<TimeDelta>) {
    let (world, at) = (stage.world(), &stage.partner.app_secret);
    let value = world.versions_of(at).last().expect("stored").value.clone();
    let end = world.now() + after.unwrap_or(TimeDelta::days(200));
    world.replace_app_secret(&stage.partner.client_id, value.expose_secret(), Some(end));
    world.store_app_secret(at, value.expose_secret(), after.map(|_| end));
}

/// Replaces the client secret of token `one` by a certificate. The certificate's key never leaves the vault.
fn signs_in_the_vault(stage: &Stage, lifetime: TimeDelta, is_registered: bool) {
    let policy = CertificatePolicy { lifetime, exportable: false, ..CertificatePolicy::default() };
    let made = stage.makes_a_certificate("app-certificate", policy);
    stage.world().change_app(&stage.partner.client_id, |app| app.secrets.clear());
    if is_registered {
        stage.world().add_certificate(&stage.partner.client_id, &made).expect("a certificate");
    }
    stage.replaces_the_secret("client_certificate = { key = \"app-certificate\" }");
}

fn may_not(stage: &Stage, action: Action) {
    stage.world().change_vault(&stage.sandbox.origin, |vault| {
        vault.allowed.remove(&action);
    });
}

fn is_forbidden(stage: &Stage, why: &str, secret: &str) {
    let (code, inner) = ("Forbidden".into(), Some(why.into()));
    let what = FaultEffect::Coded { status: 403, code, inner, retry_after: None };
    stage.world().inject(Fault::of(Peer::KeyVault, what).about(secret));
}

#[rustfmt::skip]
fn of_the_grant() -> Vec<Row> {
    vec![
        Row { kind: Kind::NeverSignedIn, name: "no secret", when: Before, applies: &[],
            cause: is_deleted_and_purged },
        Row { kind: Kind::LoginRequired, name: "sessions revoked", when: After, applies: &[],
            cause: |stage| stage.world().revoke_user(&stage.partner.user_oid) },
        Row { kind: Kind::TokenExpired, name: "older than 90 days", when: Before, applies: &[],
            cause: |stage| stage.world().advance(TimeDelta::days(98)) },
        Row { kind: Kind::MfaRequired, name: "by Entra", when: After, applies: &[],
            cause: |stage| {
                signs_in_without_a_second_factor(stage);
                let rules = Rules { require_mfa: true, ..Rules::default() };
                stage.world().set_rules(&stage.partner.tenant_id, rules);
            } },
        Row { kind: Kind::MfaRequired, name: "by Partner Center", when: After, applies: &[],
            cause: signs_in_without_a_second_factor },
        Row { kind: Kind::PolicyBlocked, name: "conditional access", when: After, applies: &[],
            cause: |stage| {
                let rules = Rules { blocked: true, ..Rules::default() };
                stage.world().set_rules(&stage.partner.tenant_id, rules);
            } },
        Row { kind: Kind::PolicyBlocked, name: "no consent", when: After, applies: &[],
            cause: |stage| entra_says(stage, "invalid_grant", 65001) },
        Row { kind: Kind::PolicyBlocked, name: "not assigned", when: After, applies: &[],
            cause: |stage| entra_says(stage, "invalid_grant", 50105) },
        Row { kind: Kind::PolicyBlocked, name: "a risk", when: After, applies: &[],
            cause: |stage| entra_says(stage, "invalid_grant", 53004) },
        Row { kind: Kind::AccountDisabled, name: "whose id is known", when: After, applies: &[],
            cause: |stage| stage.world().disable_user(&stage.partner.user_oid, true) },
        Row { kind: Kind::AccountDisabled, name: "whose id is not known", when: Before, applies: &[],
            cause: |stage| stage.world().disable_user(&stage.partner.user_oid, true) },
        Row { kind: Kind::AccountDisabled, name: "locked", when: After, applies: &[],
            cause: |stage| entra_says(stage, "invalid_grant", 50053) },
        Row { kind: Kind::WrongIdentity, name: "a colleague", when: Before,
            applies: &["if the wrong account signed in"],
            cause: |stage| {
                configure(stage, &format!("user_oid = \"{}\"", stage.partner.user_oid));
                let theirs = stage.world().sign_in(&colleague(stage), &stage.partner.client_id);
                let theirs = theirs.expect("may sign in");
                stage.world().human_writes(&stage.partner.refresh_token, theirs.expose(), Tags::new());
            } },
        Row { kind: Kind::WrongIdentity, name: "an account that is gone", when: After,
            applies: &["if the account is the wrong account or a guest"],
            cause: |stage| {
                colleague(stage);
                stage.world().delete_user(&stage.partner.user_oid);
            } },
        Row { kind: Kind::NoRefreshToken, name: "not consented to", when: After, applies: &[],
            cause: |stage| {
                let none = FaultEffect::Distort(Distortion::NoRefreshToken);
                stage.world().inject(Fault::of(Peer::Entra, none).on(Operation::Redeem));
            } },
        Row { kind: Kind::PartnerCenterRefused, name: "no role", when: After, applies: &[],
            cause: |stage| {
                let forbidden = PartnerCenterRules { forbidden: true, ..PartnerCenterRules::default() };
                stage.world().set_partner_center(forbidden);
            } },
    ]
}

/// Adds a secret of unknown origin to the app after Perennial has renewed the app's secret.
fn a_stranger_adds_a_secret(stage: &Stage) {
    stage.renews("{}");
    stage.grants_the_right();
    let (world, app) = (stage.world(), &stage.partner.client_id);
    let held = world.app_secrets(app)[0].key_id.to_string();
    world.retag(&stage.partner.app_secret, |tags| tags.insert("key-id", &held));
    world.add_named_secret(app, Some("backup"), "Bkd~or", None).expect("the app exists");
}

#[rustfmt::skip]
fn of_the_app() -> Vec<Row> {
    vec![
        Row { kind: Kind::AppCredentialRefused, name: "secret expired", when: After, applies: &[],
            cause: |stage| stage.world().expire_app_secret(&stage.partner.client_id) },
        Row { kind: Kind::AppCredentialRefused, name: "secret removed", when: After, applies: &[],
            cause: |stage| stage.world().replace_app_secret(&stage.partner.client_id, "another", None) },
        Row { kind: Kind::AppCredentialRefused, name: "app disabled", when: After, applies: &[],
            cause: |stage| stage.world().disable_app(&stage.partner.client_id, true) },
        Row { kind: Kind::AppCredentialRefused, name: "app deleted", when: After, applies: &[],
            cause: |stage| {
                stage.world().withdraw_consent(&stage.partner.tenant_id, &stage.partner.client_id);
            } },
        Row { kind: Kind::AppCredentialRefused, name: "no service principal", when: After, applies: &[],
            cause: |stage| entra_says(stage, "unauthorized_client", 7_000_229) },
        Row { kind: Kind::AppSecretExpiring, name: "in ten days", when: Before, applies: &[],
            cause: |stage| app_secret_ends(stage, Some(TimeDelta::days(10))) },
        Row { kind: Kind::AppSecretExpiryUnknown, name: "stored without an expiry date", when: Before, applies: &[],
            cause: |stage| app_secret_ends(stage, None) },
        Row { kind: Kind::AppCertificateUnregistered, name: "renewed by the vault", when: Before, applies: &[],
            cause: |stage| {
                signs_in_the_vault(stage, TimeDelta::days(365), true);
                stage.makes_a_certificate("app-certificate", CertificatePolicy::default());
                stage.world().advance(TimeDelta::minutes(20));
            } },
        Row { kind: Kind::AppCredentialRefused, name: "certificate not registered", when: Before, applies: &[],
            cause: |stage| {
                signs_in_the_vault(stage, TimeDelta::days(365), false);
                stage.world().advance(TimeDelta::minutes(20));
            } },
        Row { kind: Kind::AppCredentialRefused, name: "certificate expired", when: Before, applies: &[],
            cause: |stage| {
                signs_in_the_vault(stage, TimeDelta::days(1), true);
                stage.world().advance(TimeDelta::days(2));
            } },
        Row { kind: Kind::AppSecretExpiring, name: "certificate in ten days", when: Before, applies: &[],
            cause: |stage| signs_in_the_vault(stage, TimeDelta::days(10), true) },
        Row { kind: Kind::AppSecretExpiring, name: "of the identity for the vault", when: Before, applies: &[],
            cause: |stage| {
                let text = std::fs::read_to_string(&stage.config).expect("written");
                let day = (stage.world().now() + TimeDelta::days(10)).format("%Y-%m-%d");
                let line = format!("credential = \"client_secret\"\nclient_secret_expires = {day}\n");
                let text = text.replacen("credential = \"client_secret\"\n", &line, 1);
                std::fs::write(&stage.config, text).expect("our own file");
            } },
        Row { kind: Kind::AppCredentialRenewalFailed, name: "no right at Graph", when: Before, applies: &[],
            cause: |stage| stage.renews("{}") },
        Row { kind: Kind::AppCredentialUnknown, name: "a secret of unknown origin", when: Before,
            applies: &["if no one knows this secret"], cause: a_stranger_adds_a_secret },
        Row { kind: Kind::AppMisconfigured, name: "wrong scope", when: Before, applies: &[],
            cause: |stage| configure(stage, "scope = \"partnercenter/user_impersonation\"") },
    ]
}

#[rustfmt::skip]
fn of_the_vault() -> Vec<Row> {
    vec![
        Row { kind: Kind::VaultRefused, name: "no role", when: After, applies: &[],
            cause: |stage| may_not(stage, Action::GetSecret) },
        Row { kind: Kind::VaultRefused, name: "no role to write", when: Before, applies: &[],
            cause: |stage| may_not(stage, Action::SetSecret) },
        Row { kind: Kind::Unsaved, name: "no role to write", when: Before, applies: &[],
            cause: |stage| may_not(stage, Action::SetSecret) },
        Row { kind: Kind::VaultRefused, name: "no role on the app's secret", when: After, applies: &[],
            cause: |stage| is_forbidden(stage, "ForbiddenByRbac", stage.partner.app_secret.name.as_str()) },
        Row { kind: Kind::VaultRefused, name: "no role to sign", when: Before, applies: &[],
            cause: |stage| {
                signs_in_the_vault(stage, TimeDelta::days(365), true);
                may_not(stage, Action::SignWithKey);
            } },
        Row { kind: Kind::VaultRefused, name: "no access policy", when: After, applies: &[],
            cause: |stage| is_forbidden(stage, "ForbiddenByPolicy", stage.partner.refresh_token.name.as_str()) },
        Row { kind: Kind::VaultRefused, name: "firewall", when: After, applies: &[],
            cause: |stage| stage.world().change_vault(&stage.sandbox.origin, |vault| {
                vault.firewall_refuses = Some("192.0.2.7".to_owned());
            }) },
        Row { kind: Kind::VaultRefused, name: "app's secret deleted", when: After, applies: &[],
            cause: |stage| stage.world().human_deletes(&stage.partner.app_secret) },
        Row { kind: Kind::VaultRefused, name: "app's secret purged", when: After,
            applies: &["if the secret was never there or was purged"],
            cause: |stage| {
                stage.world().human_deletes(&stage.partner.app_secret);
                stage.world().human_purges(&stage.partner.app_secret);
            } },
        Row { kind: Kind::VaultRefused, name: "app's secret disabled", when: After, applies: &[],
            cause: |stage| stage.world().switch_version(&stage.partner.app_secret, None, false) },
        Row { kind: Kind::SecretDeleted, name: "and can be recovered", when: After, applies: &[],
            cause: |stage| stage.world().human_deletes(&stage.partner.refresh_token) },
        Row { kind: Kind::SecretDeleted, name: "and purged", when: After, applies: &["if the secret was purged"],
            cause: is_deleted_and_purged },
        Row { kind: Kind::TurnedOff, name: "disabled", when: After, applies: &[],
            cause: |stage| stage.world().switch_version(&stage.partner.refresh_token, None, false) },
        Row { kind: Kind::VaultIdentity, name: "secret expired", when: Before, applies: &[],
            cause: |stage| stage.world().expire_app_secret(&stage.sandbox.vault_identity.client_id) },
    ]
}

/// Returns the daemon's status document.
fn status(address: &str) -> Option<Value> {
    let answer = get(address, "/status");
    serde_json::from_str(answer.split_once("\r\n\r\n")?.1).ok()
}

/// Finds token `one`'s condition of this kind, and returns the condition's action.
fn action(status: &Value, kind: Kind) -> Option<String> {
    let conditions = status["conditions"].as_array()?.iter();
    let is_of_one = |tokens: &Value| tokens.as_array().is_some_and(|names| names.contains(&"one".into()));
    let mut ours = conditions.filter(|one| one["kind"] == kind.as_str() && is_of_one(&one["tokens"]));
    Some(ours.next()?["action"].as_str()?.to_owned())
}

/// Causes the failure, follows the daemon's action, and waits until the condition ends.
async fn follow(row: &Row) -> Result<(), String> {
    let stage = Stage::set(TimeDelta::days(2)).await;
    let mut daemon = if row.when == Before {
        (row.cause)(&stage);
        stage.start(&["run"])
    } else {
        let daemon = stage.daemon().await.0;
        (row.cause)(&stage);
        daemon.signal("HUP");
        daemon
    };
    let mut address = daemon.address().await;
    let what = format!("{} ({}) is reported", row.kind.as_str(), row.name);
    let action_text = eventually(&what, || action(&status(&address)?, row.kind)).await;

    let mut person = Person::new(&stage, row.applies);
    let told = |error| format!("{} ({}): {error}\n  {action_text}", row.kind.as_str(), row.name);
    person.follow(&action_text).await.map_err(told)?;
    if person.must_restart {
        daemon.signal("TERM");
        daemon.ended("stopped").await;
        daemon = stage.start(&["run"]);
        address = daemon.address().await;
    } else {
        daemon.signal("HUP");
    }
    let what = format!("{} ({}) is over by following {action_text:?}", row.kind.as_str(), row.name);
    let is_over = |status: Value| {
        let token = status["tokens"].as_array()?.iter().find(|token| token["name"] == "one")?.clone();
        (action(&status, row.kind).is_none() && token["state"] == "current").then_some(())
    };
    eventually(&what, || is_over(status(&address)?)).await;
    Ok(())
}

#[tokio::test]
async fn an_action_that_is_followed_literally_ends_its_condition() {
    let rows: Vec<Row> = of_the_grant().into_iter().chain(of_the_app()).chain(of_the_vault()).collect();

    let followed = rows.iter().map(async |row| follow(row).await.err());
    let wrong: Vec<Option<String>> = stream::iter(followed).buffer_unordered(4).collect().await;

    let wrong: Vec<String> = wrong.into_iter().flatten().collect();
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
    let covered: BTreeSet<Kind> = rows.iter().map(|row| row.kind).collect();
    let others = BTreeSet::from(OTHERS.map(|(kind, _)| kind));
    assert!(covered.is_disjoint(&others), "in both tables");
    assert_eq!(&covered | &others, BTreeSet::from(Kind::ALL), "each kind is in one of the two tables");
}
