//! Tests unrealistic dates and time spans from every source. A mistake in the configuration must be reported, and no
//! date may cause a panic.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use perennial::azure::vault_answers;
use perennial::config::Config;
use perennial::ports::failure::{Failure, FailureSubject, Kind, Remedy};
use perennial::process::clock::Timestamp;
use perennial::rotation::schedule::{Next, Timing};
use perennial::rotation::state::{Facts, Phase, State};
use perennial::status::document::{Status, StatusSource};
use perennial::status::snapshot::{Periods, Snapshot};
use perennial::token::RefreshToken;
use perennial::token::managed::{ManagedToken, Policy};
use perennial::token::secret::{SecretAddress, SecretName};
use perennial::token::version::{NewVersion, Provenance, Version, tag};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::harness;

const DATES: [&str; 13] = [
    "-262143-01-01",
    "+262142-12-31",
    "-0001-01-01",
    "0000-01-01",
    "0001-01-01",
    "1999-12-31",
    "1999-12-31T23:59:59Z",
    "2000-01-01T00:00:00+00:01",
    "2200-01-01",
    "9999-12-31",
    "9999-12-31T23:59:59-23:59",
    "262142-01-01",
    "99999999999999999999-01-01",
];

const SPANS: [&str; 6] = [
    "999999999999d",
    "584542046090y",
    "99999999y",
    "18446744073709551615s",
    "18446744073709551616s",
    "3651d",
];

fn config(policy: &str, token: &str) -> String {
    format!(
        r#"
        [vault]
        url = "https://contoso.vault.azure.net"
        [policy]
        {policy}
        [[token]]
        name = "one"
        tenant_id = "contoso.onmicrosoft.com"
        client_id = "5f2a1f0e-3b86-4b0e-9f7a-1c1d2e3f4a5b"
        client_secret = {{ env = "APP_SECRET" }}
        refresh_token = "token"
        {token}
        "#
    )
}

/// Returns the key and the description of the problem in a configuration. Returns `None` if the configuration is valid.
fn problem(text: &str) -> Option<(String, String)> {
    let problems = Config::parse(Path::new("perennial.toml"), text, std::iter::empty()).err()?.problems;
    let [problem] = problems.as_slice() else { panic!("{problems:?}") };
    Some((problem.key.clone(), problem.what.clone()))
}

#[test]
fn an_unrealistic_date_is_a_configuration_problem() {
    for date in DATES {
        let (key, what) = problem(&config("", &format!("app_secret_expires = {date:?}"))).expect(date);
        assert_eq!(key, "token[0].app_secret_expires", "{date}");
        assert!(what.contains("a date, such as 2027-03-31"), "{date}: {what}");
    }
    for date in ["2000-01-01", "2199-12-31T23:59:59Z"] {
        assert_eq!(problem(&config("", &format!("app_secret_expires = {date:?}"))), None, "{date}");
    }
}

#[test]
fn an_unrealistic_span_is_a_configuration_problem() {
    for key in ["rotate_after", "prove_every", "lifetime"] {
        for span in SPANS {
            let (found, _) = problem(&config(&format!("{key} = {span:?}"), "")).expect(span);
            assert_eq!(found, format!("policy.{key}"), "{span}");
        }
    }
}

fn address() -> SecretAddress {
    let name = SecretName::parse("token").expect("a name");
    SecretAddress { vault: "https://contoso.vault.azure.net".into(), name }
}

/// Returns the body of a vault answer that contains a version with these attributes and tags.
fn stored(attributes: &Value, tags: &Value) -> String {
    let id = "https://contoso.vault.azure.net/secrets/token/0123456789abcdef0123456789abcdef";
    json!({"value": "0.AX", "id": id, "attributes": attributes, "tags": tags}).to_string()
}

/// Perennial adds time spans to the vault's time. With an unrealistic time, such a sum could cause a panic.
#[test]
fn an_unrealistic_date_of_the_vault_is_ignored() {
    let body = stored(&json!({"enabled": true, "created": 1_767_225_600}), &json!({}));
    let read_at =
        |date| vault_answers::stored(&address(), Some(date), body.as_bytes()).expect("readable").read_at;

    assert!(read_at("Thu, 26 Nov 2026 08:00:00 GMT").is_some());
    for date in [
        "01 Jan 262142 00:00:00 GMT",
        "Fri, 31 Dec 9999 23:59:59 GMT",
        "Sat, 01 Jan 2200 00:00:00 GMT",
        "01 Jan 0001 00:00:00 GMT",
        "Fri, 31 Dec 1999 23:59:59 GMT",
    ] {
        assert_eq!(read_at(date), None, "{date}");
    }
}

/// Returns versions with unrealistic times in the vault's attributes and in the tags. Within a version, all tags
/// contain the same time.
fn odd_versions() -> Vec<Version> {
    let ends_of_time: [i64; 9] = [
        i64::MIN,
        -62_167_219_200,
        -62_135_596_800,
        -1,
        0,
        946_684_799,
        7_258_118_400,
        253_402_300_799,
        i64::MAX,
    ];
    let mut versions = Vec::new();
    for seconds in ends_of_time {
        let times = [tag::ISSUED_AT, tag::SIGNED_IN_AT, tag::PROVED_AT, tag::REFUSED_AT];
        for text in
            DATES.into_iter().chain(["9999-12-31T23:59:59Z", "0000-01-01T00:00:00Z", "2026-01-01T00:00:00Z"])
        {
            let mut tags =
                json!({tag::MANAGED_BY: "perennial/0.1.0 run", tag::REFUSED_KIND: "login_required"});
            for name in times {
                tags[name] = json!(text);
            }
            for attributes in [
                json!({"created": seconds, "exp": seconds}),
                json!({"created": 1_767_225_600, "exp": seconds}),
            ] {
                let body = stored(&attributes, &tags);
                versions
                    .extend(vault_answers::stored(&address(), None, body.as_bytes()).map(|it| it.version));
            }
        }
    }
    versions
}

fn at(text: &str) -> Timestamp {
    text.parse().expect("a time")
}

/// For each version, plans the next step, creates the status document, and composes a new version. The clocks, the
/// policies and the expiry times of the app secret are extreme.
#[test]
fn no_time_in_the_vault_causes_a_panic() {
    const DAY: u64 = 86_400;
    let (_, partner) = harness::still_world();
    let versions = odd_versions();
    assert!(versions.len() > 150, "{}: most can be read", versions.len());
    let policy = |rotate_after, prove_every, lifetime| Policy {
        rotate_after: Duration::from_secs(rotate_after),
        prove_every: Duration::from_secs(prove_every),
        lifetime: Duration::from_secs(lifetime),
    };
    for policy in [policy(10, 10, 30), Policy::default(), policy(1216 * DAY, 1216 * DAY, 3650 * DAY)] {
        for app_secret_expires in [None, Some(at("2000-01-01T00:00:00Z")), Some(at("2199-12-31T23:59:59Z"))] {
            let grant =
                Arc::new(ManagedToken { app_secret_expires, ..harness::grant("one", &partner, &policy) });
            let timing = Timing::new(&policy.clone().into(), &grant.name, 0.999);
            for now in ["2000-01-01T00:00:00Z", "2026-11-26T00:00:00Z", "2199-12-31T23:59:59Z"].map(at) {
                for version in &versions {
                    look_at(&grant, &timing, version, now);
                }
            }
        }
    }
}

fn look_at(grant: &Arc<ManagedToken>, timing: &Timing, version: &Version, now: Timestamp) {
    let facts = Facts { proved_at: Some(now), ..Facts::of(version.id.clone()) };
    let read = State {
        phase: Phase::Current,
        newest: Some(version.clone()),
        facts: Some(Box::new(facts)),
        app_secret_expires: version.expires,
        credential_read_at: Some(now),
        ..State::unknown(now)
    };
    let (kind, about) = (Kind::LoginRequired, FailureSubject::Grant);
    let refused = Failure::new(kind, Remedy::Login, about, "x");
    let outage = Failure {
        retry_after: Some(Duration::MAX),
        ..Failure::new(Kind::EntraUnreachable, Remedy::Retry, about, "x")
    };
    let useless = Failure { never_was_a_token: true, ..refused.clone() };
    let failed = |failure| timing.after_failure(read.clone(), failure, now, 0.999);
    for state in [failed(refused), failed(outage), failed(useless), read.clone()] {
        let next = timing.next(&state, now);
        assert!(!matches!(next, Next::Wait(at) if at <= now), "{next:?}");
        let snapshot = Snapshot::of(grant, Periods::of(timing), &state, Some(&next), now);
        assert!(snapshot.runway(now).is_none_or(|left| left >= TimeDelta::zero()), "{snapshot:?}");
        let status = Status::of(&[snapshot], TimeDelta::zero(), now, StatusSource::Vault);
        serde_json::to_string(&status).expect("it can be served");
    }
    let provenance = Provenance {
        command: "run",
        issued_at: now,
        signed_in_at: version.signed_in_at(),
        tenant_id: "t",
        client_id: "a",
        user_oid: None,
        redeemed_from: Some(&version.id),
        verdict: None,
        foreign: version.tags.clone(),
        rotation_id: Uuid::nil(),
    };
    let (new, _) = NewVersion::compose(&RefreshToken::new("r"), timing.policy().lifetime, &provenance);
    assert!(new.expires > now);
}
