//! Tests of the conditions about credentials.

use std::sync::Arc;

use chrono::TimeDelta;
use uuid::Uuid;

use crate::ports::IdentityExpiry;
use crate::ports::directory::ListedSecret;
use crate::ports::failure::{Failure, FailureSubject, Kind, Remedy};
use crate::process::clock::{Timestamp, rfc3339};
use crate::renewal::health::RenewalTrouble;
use crate::renewal::report::{RenewalReport, RenewalStage};
use crate::rotation::samples;
use crate::rotation::state::{OlderCredential, State};
use crate::status::condition::{Severity, conditions};
use crate::status::samples::snapshot;
use crate::status::snapshot::Snapshot;
use crate::token::app::{CredentialSource, ManagedApp, RenewPolicy};
use crate::token::managed::ManagedToken;
use crate::token::secret::Source;
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

/// All tokens use the same identity for Key Vault. So the expiry of this identity's credential is one incident.
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
        reported.summary.contains("version new")
            && reported.summary.contains("version old is in use and expires at")
    );
}

/// Without `renew`, a person must replace the secret before its expiry, so the expiry is reported. With `renew`, only a
/// failed renewal is reported.
#[test]
fn the_end_of_a_renewed_secret_is_not_reported_and_its_failed_renewal_is() {
    let kinds = |of: &Snapshot| -> Vec<Kind> {
        let all = conditions(std::slice::from_ref(of), TimeDelta::zero(), now());
        all.into_iter().map(|told| told.kind).filter(|kind| kind.as_str().starts_with("app_")).collect()
    };
    let ends = State { app_secret_expires: Some(now() + TimeDelta::days(9)), ..State::unknown(now()) };
    let renewed = |report: Option<RenewalReport>| {
        let mut grant = samples::grant("a");
        let app = ManagedApp { renew: Some(RenewPolicy::default()), ..(*grant.app).clone() };
        grant.app = Arc::new(app);
        let mut of = snapshot(grant, &ends, now(), now());
        of.renewal = report.map(Arc::new);
        of
    };
    let failure = Failure {
        action: Some("give the right".into()),
        ..Failure::new(
            Kind::AppCredentialRenewalFailed,
            Remedy::Operator,
            FailureSubject::AppCredential,
            "no right",
        )
    };
    let report = RenewalReport {
        unaccepted: None,
        stage: RenewalStage::Due,
        key_id: None,
        ends: Some(now() + TimeDelta::days(9)),
        renews_at: None,
        trouble: Some(RenewalTrouble { failure, is_told_at_once: true, since: now() }),
        strangers: Vec::new(),
    };
    let stranger = |nth: u128| ListedSecret {
        key_id: Uuid::from_u128(nth),
        name: Some("back\u{7}door".to_owned()),
        hint: None,
        starts: Some(now()),
        ends: None,
    };

    assert_eq!(kinds(&drawn("a", &ends)), [Kind::AppSecretExpiring]);
    assert_eq!(kinds(&renewed(None)), []);
    let failed = renewed(Some(report.clone()));
    let [told] = conditions(std::slice::from_ref(&failed), TimeDelta::zero(), now()).try_into().expect("one");
    assert_eq!((told.kind, &*told.action), (Kind::AppCredentialRenewalFailed, "give the right"));
    assert!(told.summary.starts_with("no right; the secret in use expires at "), "{}", told.summary);

    let strangers = (1..=5).map(stranger).collect();
    let found = renewed(Some(RenewalReport { trouble: None, strangers, ..report }));
    let [told] = conditions(std::slice::from_ref(&found), TimeDelta::zero(), now()).try_into().expect("one");
    assert_eq!((told.kind, told.severity), (Kind::AppCredentialUnknown, Severity::Warning));
    assert!(told.summary.ends_with(" and 2 more") && !told.summary.contains('\u{7}'), "{}", told.summary);
    assert!(told.action.contains("--key-id 00000000-0000-0000-0000-000000000001"), "{}", told.action);
}

fn second() -> TimeDelta {
    TimeDelta::seconds(1)
}

/// Returns the start and the summary of the condition of this kind, if it is reported.
fn found(of: Snapshot, kind: Kind) -> Option<(Timestamp, String)> {
    let all = conditions(&[of], TimeDelta::zero(), now());
    all.into_iter().find(|told| told.kind == kind).map(|told| (told.since, told.summary))
}

#[test]
fn the_expiry_of_a_credential_is_reported_from_thirty_days_before() {
    let month = TimeDelta::days(30);
    let secret = |at| drawn("a", &State { app_secret_expires: Some(at), ..proved() });
    let identity = |at| {
        let expiry = IdentityExpiry { at, action: "make a new one".into() };
        drawn("a", &State { identity_expiry: Some(Arc::new(expiry)), ..proved() })
    };
    for (what, told) in
        [("the app's secret", &secret as &dyn Fn(_) -> _), ("the credential of [vault]", &identity)]
    {
        let of = |at| found(told(at), Kind::AppSecretExpiring);
        let at = now() + month;

        let summary = format!("{what} expires at {}", rfc3339(at));
        assert_eq!(of(at), Some((now(), summary)), "{what}");
        assert_eq!(of(at + second()), None, "{what}");
        assert_eq!(of(now()).map(|(since, _)| since), Some(now() - month), "{what}");
    }
}

/// A certificate contains its expiry. A secret does not, so its expiry must be recorded elsewhere.
#[test]
fn an_unknown_expiry_is_reported_once_the_secret_was_read() {
    let read = State { credential_read_at: Some(now()), ..State::unknown(now()) };
    let of = |credential, state: &State| {
        let app = ManagedApp { credential, ..(*samples::grant("a").app).clone() };
        let grant = ManagedToken { app: Arc::new(app), ..samples::grant("a") };
        found(snapshot(grant, state, now(), now()), Kind::AppSecretExpiryUnknown).map(|(since, _)| since)
    };
    let source = || Source::Env("SECRET".into());
    let known = State { app_secret_expires: Some(now() + TimeDelta::days(300)), ..read.clone() };

    assert_eq!(of(CredentialSource::Secret(source()), &read), Some(now()));
    assert_eq!(of(CredentialSource::Secret(source()), &State::unknown(now())), None, "it was not read yet");
    assert_eq!(of(CredentialSource::Secret(source()), &known), None);
    assert_eq!(of(CredentialSource::Certificate(source()), &read), None);
}

#[test]
fn a_rejected_newest_credential_is_reported_since_it_must_be_known_everywhere() {
    let created = now() - TimeDelta::hours(1);
    let older = |waited, expires| {
        let older = OlderCredential {
            newest: VersionId("new".into()),
            created,
            tried_at: created + waited,
            used: VersionId("old".into()),
            expires,
        };
        let state = State { older_credential: Some(Box::new(older)), ..proved() };
        found(drawn("a", &state), Kind::AppCertificateUnregistered)
    };
    let quarter = TimeDelta::minutes(15);

    assert_eq!(older(quarter - second(), None), None);
    let told = "Entra rejects version new of the app's secret; version old is in use";
    assert_eq!(older(quarter, None), Some((created + quarter, told.to_owned())));
    let until = format!("{told} and expires at {}", rfc3339(now()));
    assert_eq!(older(quarter, Some(now())), Some((created + quarter, until)));
}

#[test]
fn a_failed_renewal_keeps_the_identifiers_and_the_start_of_its_failure() {
    let since = now() - TimeDelta::hours(3);
    let mut failure =
        Failure::new(Kind::AppCredentialRenewalFailed, Remedy::Retry, FailureSubject::AppCredential, "down");
    failure.trace.code = Some(503);
    let report = RenewalReport {
        unaccepted: None,
        stage: RenewalStage::Due,
        key_id: None,
        ends: None,
        renews_at: None,
        trouble: Some(RenewalTrouble { failure, is_told_at_once: false, since }),
        strangers: Vec::new(),
    };
    let mut of = drawn("a", &proved());
    of.renewal = Some(Arc::new(report));

    let [told] = conditions(&[of], TimeDelta::zero(), now()).try_into().expect("one");

    assert_eq!((told.kind, told.remedy), (Kind::AppCredentialRenewalFailed, Remedy::Retry));
    assert_eq!((told.since, told.trace.code, &*told.summary), (since, Some(503), "down"));
    assert!(told.action.starts_with("compare the app's secrets with the vault"), "{}", told.action);
}
