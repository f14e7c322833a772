//! Tests of the actions. Each action names the object to change. If the failure itself states an action, the condition
//! has this action instead of the general one.

use std::path::PathBuf;
use std::sync::Arc;

use chrono::TimeDelta;

use super::*;
use crate::ports::failure::{Failure, Remedy};
use crate::rotation::samples;
use crate::rotation::state::State;
use crate::status::samples::snapshot;
use crate::token::app::ManagedApp;
use crate::token::secret::ConfigValue;

fn now() -> Timestamp {
    Timestamp::from_timestamp(1_770_000_000, 0).expect("in range")
}

/// Creates the token `partner` of the app `app`. The app authenticates with `credential`.
fn token(credential: CredentialSource) -> ManagedToken {
    let app = ManagedApp {
        credential,
        ..ManagedApp::with_secret(ConfigValue::Plain("app".into()), Source::Env("SECRET".into()))
    };
    ManagedToken { app: Arc::new(app), ..samples::grant("partner") }
}

fn plain() -> ManagedToken {
    token(CredentialSource::Secret(Source::Env("SECRET".into())))
}

/// Returns the action for a token without failures.
fn unfailed(kind: Kind, grant: ManagedToken) -> String {
    of(kind, &snapshot(grant, &State::unknown(now()), now(), now()), now())
}

/// Returns the action for a token with this failure.
fn failed(grant: ManagedToken, failure: Failure) -> String {
    let kind = failure.kind;
    let state = samples::failed(State::unknown(now()), failure, now(), 1);
    of(kind, &snapshot(grant, &state, now(), now()), now())
}

fn failure(kind: Kind) -> Failure {
    Failure::new(kind, Remedy::Operator, FailureSubject::Grant, "as told")
}

/// If Perennial reads a failure from the vault's tags, the service's answer is missing. The condition then has the
/// general action.
#[test]
fn each_kind_says_what_to_do_without_an_answer_of_a_service() {
    let login = "`perennial login partner`";
    let check = "`perennial check partner`";
    let picked_up = "Perennial uses the new token within about a minute";
    let retries = "Perennial retries daily, and immediately after `perennial rotate partner`";
    let secret = "https://contoso.vault.azure.net/secrets/token";
    let rows: &[(Kind, &[&str])] = &[
        (Kind::NeverSignedIn, &[login, "secret recover --vault-name contoso --name token`", picked_up]),
        (Kind::LoginRequired, &["sign in with a second factor", login, picked_up]),
        (Kind::TokenExpired, &["sign in with a second factor", login, picked_up]),
        (Kind::UnknownCode, &["sign in with a second factor", login, picked_up]),
        (Kind::MfaRequired, &["register MFA for the user", login, "immediately if you send SIGHUP"]),
        (Kind::PolicyBlocked, &["change the conditional access policy", "by app app", retries]),
        (Kind::AccountDisabled, &["enable the user's account", "tenant tenant", retries]),
        (Kind::AppCredentialRefused, &["find out Entra's error code", check]),
        (Kind::AppMisconfigured, &["find out Entra's error code", check, retries]),
        (Kind::AppCredentialRenewalFailed, &["compare the app's secrets", "credential list --id app`"]),
        (Kind::AppCredentialUnknown, &["find out who made the secret", "--id app --key-id KEY_ID`"]),
        (Kind::EntraUnreachable, &["wait for the end of the outage"]),
        (Kind::EntraThrottled, &["wait", "if the throttling lasts", "the user and app of partner"]),
        (Kind::VaultUnreachable, &["find out what Key Vault denies", check]),
        (Kind::VaultRefused, &["find out what Key Vault denies", check]),
        (Kind::SecretDeleted, &["find out what Key Vault denies", check]),
        (Kind::VaultIdentity, &["find out what Key Vault denies", check]),
        (
            Kind::TurnedOff,
            &["find out what Key Vault denies", check, "Perennial does not redeem a disabled version"],
        ),
        (Kind::Unsaved, &["restore write access", secret, "keep this process running"]),
        (Kind::Overdue, &["for the cause of the delay"]),
        (
            Kind::WrongIdentity,
            &["client_id and user_oid of partner", "`perennial login partner --replace-user`"],
        ),
        (Kind::IdentityUnverified, &["`perennial verify partner`", "Perennial still rotates partner"]),
        (Kind::NoRefreshToken, &["grant consent to offline_access for app app", login]),
        (Kind::SameRefreshToken, &["authority of [cloud]", "`perennial verify partner`"]),
        (
            Kind::PartnerCenterRefused,
            &["the user of partner", "role Admin agent", "partner tenant tenant", login],
        ),
        (Kind::ForeignWriter, &["find who else writes", secret, "--vault-name contoso --name token`"]),
        (Kind::BuriedSignIn, &["if the state of partner is current, do nothing", secret]),
        (Kind::ClockSkew, &["`timedatectl set-ntp true`"]),
        (Kind::AlertUndeliverable, &["[[alert]] partner", "`perennial check --alerts`"]),
    ];
    for (kind, parts) in rows {
        let text = unfailed(*kind, plain());
        for part in *parts {
            assert!(text.contains(part), "{kind:?}: {part} is missing: {text}");
        }
        assert_eq!(text.contains(retries), parts.contains(&retries), "{kind:?}: {text}");
    }
}

#[test]
fn the_action_of_a_service_comes_first() {
    for kind in [
        Kind::AppCredentialRefused,
        Kind::AppCredentialRenewalFailed,
        Kind::EntraUnreachable,
        Kind::EntraThrottled,
        Kind::VaultUnreachable,
        Kind::VaultRefused,
        Kind::SecretDeleted,
        Kind::VaultIdentity,
        Kind::TurnedOff,
        Kind::Unsaved,
    ] {
        let text = failed(plain(), Failure { action: Some("open the firewall".into()), ..failure(kind) });

        assert!(text.starts_with("open the firewall"), "{kind:?}: {text}");
    }
}

#[test]
fn the_advice_for_a_rejection_comes_before_all_other_actions() {
    for (kind, ends) in [
        (Kind::LoginRequired, "Perennial uses the new token within about a minute"),
        (Kind::MfaRequired, "Perennial uses the new token within about a minute"),
        (Kind::PolicyBlocked, "immediately after `perennial rotate partner`"),
        (Kind::AppCredentialRefused, "set-ntp true`"),
    ] {
        let action = Some("open the firewall".into());
        let text = failed(plain(), Failure { advice: Some(Advice::Clock), action, ..failure(kind) });

        assert!(text.starts_with("set this host's clock: `timedatectl set-ntp true`"), "{kind:?}: {text}");
        assert!(text.ends_with(ends), "{kind:?}: {text}");
    }
}

#[test]
fn an_unreadable_credential_is_told_apart_from_a_rejected_one() {
    let refused = |about| Failure { about, ..failure(Kind::AppCredentialRefused) };
    let certificate = || token(CredentialSource::Certificate(Source::File(PathBuf::from("/app.pem"))));

    let unread = failed(certificate(), refused(FailureSubject::CredentialSource));
    let rejected = failed(certificate(), refused(FailureSubject::AppCredential));

    assert_eq!(
        unread,
        "check that client_id and client_certificate of partner can be read: `perennial check partner`"
    );
    assert_eq!(rejected, "find out Entra's error code and what to do: `perennial check partner`");
}

#[test]
fn a_strict_token_that_is_not_saved_may_need_a_sign_in() {
    let strict = || ManagedToken { strict: true, ..plain() };
    let lost = "; if this process has ended, sign in: `perennial login partner`";

    assert!(unfailed(Kind::Unsaved, strict()).ends_with(lost));
    assert!(!unfailed(Kind::Unsaved, plain()).contains("login"));
}

#[test]
fn a_credential_is_replaced_by_one_of_its_own_sort_before_it_expires() {
    let file = || Source::File(PathBuf::from("/app.pem"));
    let told = |credential| unfailed(Kind::AppSecretExpiring, token(credential));

    let secret = told(CredentialSource::Secret(Source::Secret(samples::address("app-secret"))));
    let certificate = told(CredentialSource::Certificate(file()));
    let assertion = told(CredentialSource::Assertion(file()));

    let begins =
        "before the secret expires, create a new client secret in tenant tenant and store it: `s=$(az ad app";
    assert!(secret.starts_with(begins), "{secret}");
    // The command creates a secret that is valid for 180 days.
    let until = (now() + TimeDelta::days(180)).format("%Y-%m-%d").to_string();
    assert!(secret.contains(&until) && secret.contains("--name app-secret"), "{secret}");
    assert!(
        certificate.starts_with("before the credential expires, store a new certificate and its private key"),
        "{certificate}"
    );
    assert!(
        assertion.starts_with("before the credential expires, compare issuer, subject and audience"),
        "{assertion}"
    );
}

#[test]
fn an_unknown_certificate_is_removed_as_a_certificate() {
    let file = Source::File(PathBuf::from("/app.pem"));
    let text = unfailed(Kind::AppCredentialUnknown, token(CredentialSource::Certificate(file)));

    assert!(text.starts_with("find out who made the certificate"), "{text}");
    assert!(text.contains("`az ad app credential delete --id app --cert --key-id KEY_ID`"), "{text}");
}

#[test]
fn an_unknown_expiry_is_stored_beside_the_secret_or_configured() {
    let told = |source| unfailed(Kind::AppSecretExpiryUnknown, token(CredentialSource::Secret(source)));

    let in_vault = told(Source::Secret(samples::address("app-secret")));
    let elsewhere = told(Source::Env("SECRET".into()));

    let stored = "secret set-attributes --vault-name contoso --name app-secret --expires";
    assert!(in_vault.contains(stored) && in_vault.contains("--id app "), "{in_vault}");
    assert!(in_vault.ends_with("or set app_secret_expires of partner in the configuration"), "{in_vault}");
    assert!(elsewhere.starts_with("set app_secret_expires of partner in the configuration"), "{elsewhere}");
    assert!(elsewhere.contains("`az ad app credential list --id app "), "{elsewhere}");
}

#[test]
fn a_rejected_newest_credential_is_replaced_or_registered() {
    let told = |credential| unfailed(Kind::AppCertificateUnregistered, token(credential));

    let secret = told(CredentialSource::Secret(Source::Env("SECRET".into())));
    let key = told(CredentialSource::VaultKey(samples::address("app-cert")));

    assert!(
        secret.starts_with("in tenant tenant, create a new client secret and store its value"),
        "{secret}"
    );
    assert!(key.starts_with("register the certificate: `az ad app credential reset --id app "), "{key}");
    assert!(key.contains("Perennial uses the older version until Entra accepts the newest version"), "{key}");
}

/// If the configuration says only where the client id is stored, the action contains a placeholder for the client id.
#[test]
fn a_command_without_a_known_client_id_has_a_placeholder() {
    let from = ConfigValue::From(Source::Secret(samples::address("app-id")));
    let app = ManagedApp::with_secret(from, Source::Env("SECRET".into()));
    let grant = ManagedToken { app: Arc::new(app), ..samples::grant("partner") };

    let text = unfailed(Kind::NoRefreshToken, grant);

    assert!(text.starts_with("grant consent to offline_access for app CLIENT_ID"), "{text}");
}
