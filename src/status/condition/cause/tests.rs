//! Tests that a restarted process finds an incident again by the kind and the token of the condition.

use std::collections::BTreeSet;
use std::sync::Arc;

use chrono::TimeDelta;

use super::*;
use crate::ports::IdentityExpiry;
use crate::ports::failure::{Failure, FailureSubject, Remedy};
use crate::process::clock::Timestamp;
use crate::rotation::samples;
use crate::rotation::state::{OlderCredential, State};
use crate::status::condition::{Condition, conditions};
use crate::status::samples::snapshot;
use crate::token::app::ManagedApp;
use crate::token::managed::ManagedToken;
use crate::token::secret::{ConfigValue, Source};
use crate::token::version::VersionId;

fn now() -> Timestamp {
    Timestamp::from_timestamp(1_770_000_000, 0).expect("in range")
}

/// Creates a token. The token and its app's secret are in different vaults.
fn token() -> ManagedToken {
    let elsewhere =
        SecretAddress { vault: "https://other.vault.azure.net".into(), ..samples::address("app") };
    ManagedToken { app: samples::app(Source::Secret(elsewhere)), ..samples::grant("a") }
}

fn told(grant: ManagedToken, state: &State) -> (Snapshot, Vec<Condition>) {
    let of = snapshot(grant, state, now(), now());
    let told = conditions(std::slice::from_ref(&of), TimeDelta::hours(1), now());
    (of, told)
}

fn found_again(of: &Snapshot, told: &[Condition]) -> BTreeSet<Kind> {
    for condition in told {
        let known = causes(condition.kind, of);
        let ids: Vec<Uuid> = known.iter().map(|cause| cause.incident(condition.kind)).collect();
        assert!(ids.contains(&condition.id), "{:?} of {}", condition.kind, condition.cause);
        let names: Vec<&str> = known.iter().map(Cause::name).collect();
        assert!(names.contains(&&*condition.cause), "{names:?}");
    }
    told.iter().map(|condition| condition.kind).collect()
}

/// Conditions of these kinds never come from the failure of a proof or a save. They come, for example, from an expiry
/// date, from the renewal of a credential or from an alert sink.
const NO_FAILURES: [Kind; 7] = [
    Kind::AppSecretExpiring,
    Kind::AppSecretExpiryUnknown,
    Kind::AppCertificateUnregistered,
    Kind::AppCredentialRenewalFailed,
    Kind::AppCredentialUnknown,
    Kind::ClockSkew,
    Kind::AlertUndeliverable,
];

#[test]
fn an_incident_of_a_failure_is_found_again_by_its_kind_and_its_token() {
    for kind in Kind::ALL.into_iter().filter(|kind| !NO_FAILURES.contains(kind)) {
        let of_app = matches!(kind, Kind::AppCredentialRefused | Kind::AppMisconfigured | Kind::UnknownCode);
        let about = [FailureSubject::Grant, FailureSubject::AppCredential, FailureSubject::CredentialSource];
        for about in about.into_iter().take(if of_app { 3 } else { 1 }) {
            for vault in [None, Some("https://other.vault.azure.net".into())] {
                let failure = Failure { vault, ..Failure::new(kind, Remedy::Operator, about, "as told") };
                let state = samples::failed(State::unknown(now()), failure, now(), 1);
                let (of, told) = told(token(), &state);
                assert!(found_again(&of, &told).is_superset(&[kind, Kind::ClockSkew].into()), "{kind:?}");
            }
        }
    }
}

#[test]
fn incidents_about_credentials_are_found_again() {
    let soon = now() + TimeDelta::days(1);
    let older = OlderCredential {
        newest: VersionId("new".into()),
        created: now() - TimeDelta::days(1),
        tried_at: now(),
        used: VersionId("old".into()),
        expires: None,
    };
    let state = State {
        app_secret_expires: Some(soon),
        identity_expiry: Some(Arc::new(IdentityExpiry { at: soon, action: "make a new one".into() })),
        older_credential: Some(Box::new(older)),
        ..State::unknown(now())
    };
    let (of, both) = told(token(), &state);
    let expiring = both.iter().filter(|told| told.kind == Kind::AppSecretExpiring);
    let causes: Vec<&str> = expiring.map(|told| told.cause.as_str()).collect();
    assert_eq!(causes, ["app:tenant/app", "identity:[vault]"]);
    assert!(found_again(&of, &both).contains(&Kind::AppCertificateUnregistered));

    let unknown = State { credential_read_at: Some(now()), ..State::unknown(now()) };
    let (of, told) = told(token(), &unknown);
    assert!(found_again(&of, &told).contains(&Kind::AppSecretExpiryUnknown));
}

#[test]
fn an_alert_sink_is_no_cause_that_a_token_knows() {
    let of = snapshot(token(), &State::unknown(now()), now(), now());

    assert_eq!(causes(Kind::AlertUndeliverable, &of), []);
    let vaults: Vec<String> =
        causes(Kind::VaultRefused, &of).iter().map(|cause| cause.name().to_owned()).collect();
    assert_eq!(vaults, ["vault:https://contoso.vault.azure.net", "vault:https://other.vault.azure.net"]);
}

/// If the configuration says only where an app's client id is stored, for example in an environment variable, the
/// cause cannot contain the client id.
#[test]
fn an_app_without_a_known_id_is_named_by_the_secret_of_its_token() {
    let from = ConfigValue::From(Source::Env("APP_ID".into()));
    let app = Arc::new(ManagedApp::with_secret(from, Source::Env("SECRET".into())));
    let of = snapshot(ManagedToken { app, ..token() }, &State::unknown(now()), now(), now());

    assert_eq!(Cause::app(&of).name(), "app:https://contoso.vault.azure.net/secrets/token");
    assert_eq!(Cause::token_by_name(&of.grant.name).name(), "token:a");
}
