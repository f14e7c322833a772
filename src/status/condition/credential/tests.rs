//! Tests when the conditions about credentials open.

use std::sync::Arc;

use chrono::TimeDelta;

use crate::ports::IdentityExpiry;
use crate::ports::failure::Kind;
use crate::process::clock::Timestamp;
use crate::rotation::samples;
use crate::rotation::state::{OlderCredential, State};
use crate::status::condition::{Severity, conditions};
use crate::status::samples::snapshot;
use crate::status::snapshot::Snapshot;
use crate::token::version::VersionId;

fn now() -> Timestamp {
    Timestamp::default() + TimeDelta::days(20_000)
}

fn drawn(name: &str, state: &State) -> Snapshot {
    snapshot(samples::grant(name), state, now(), now())
}

fn proved() -> State {
    State { app_secret_expires: Some(now() + TimeDelta::days(300)), ..State::unknown(now()) }
}

/// The identity for Key Vault belongs to all tokens. Its expiry is one incident.
#[test]
fn the_expiry_of_the_identity_for_key_vault_is_one_incident() {
    let ends = |days| {
        let expiry =
            Arc::new(IdentityExpiry { at: now() + TimeDelta::days(days), action: "make a new one".into() });
        State { identity_expiry: Some(expiry), ..proved() }
    };
    let told = |days| {
        let snapshots = [drawn("a", &ends(days)), drawn("b", &ends(days))];
        let all = conditions(&snapshots, TimeDelta::zero(), now());
        all.into_iter().filter(|told| told.kind == Kind::AppSecretExpiring).collect::<Vec<_>>()
    };

    assert_eq!(told(31), []);
    let [expiring] = told(29).try_into().expect("one");
    assert_eq!((expiring.tokens.len(), &*expiring.action), (2, "make a new one"));
    assert!(expiring.summary.starts_with("the credential of [vault] expires at "), "{}", expiring.summary);
}

/// A new credential may take 15 minutes to reach all of Entra's servers.
#[test]
fn a_rejected_newest_credential_is_reported_after_fifteen_minutes() {
    let in_use = |age| {
        let older = OlderCredential {
            newest: VersionId("new".into()),
            created: now() - age,
            tried_at: now(),
            used: VersionId("old".into()),
            expires: Some(now() + TimeDelta::days(100)),
        };
        State { older_credential: Some(Box::new(older)), ..proved() }
    };
    let told = |age| {
        let all = conditions(&[drawn("a", &in_use(age))], TimeDelta::zero(), now());
        all.into_iter().find(|told| told.kind == Kind::AppCertificateUnregistered)
    };

    assert_eq!(told(TimeDelta::minutes(14)), None);
    let reported = told(TimeDelta::minutes(15)).expect("reported");
    assert_eq!(reported.severity, Severity::Warning);
    assert!(
        reported.summary.contains("version new") && reported.summary.contains("version old is in use until")
    );
}
