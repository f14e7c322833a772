//! Tests which version of the app's secret is used when Entra rejects the newest one.

use std::time::Duration;

use super::*;
use crate::ports::VaultError;
use crate::ports::failure::Kind;
use crate::rotation::rotate::lab::Lab;
use crate::rotation::rotate::samples::{Peers, certificates, start, stored, unavailable, with};
use crate::rotation::samples::address;
use crate::rotation::schedule::Next;
use crate::token::app::CredentialSource;

const WRONG_SECRET: u32 = 7_000_215;

/// The app has the secrets `s1` to `s{count}`. Entra rejects those in `rejected`.
fn secrets(count: i64, rejected: &[&str]) -> Peers {
    let peers = Peers::new();
    peers.all().app = (1..=count)
        .map(|nth| {
            let mut stored = stored(&format!("a{nth}"), &format!("s{nth}"), -1_000 + nth);
            stored.version.expires = Some(start() + TimeDelta::days(nth));
            stored
        })
        .collect();
    for secret in rejected {
        peers.reject(secret, "invalid_client", WRONG_SECRET);
    }
    peers
}

#[tokio::test(start_paused = true)]
async fn an_older_secret_that_entra_accepts_replaces_the_rejected_one() {
    let peers = secrets(3, &["s3", "s2"]);
    let mut lab = Lab::new(&peers, |_| {});

    assert!(lab.step(Next::Prove).await.contains(&"Proved".to_owned()));

    let calls = [
        "newest",
        "list",
        "app: newest",
        "redeem rt with s3",
        "app: list",
        "app: read a2",
        "authenticate with s2",
        "app: read a1",
        "authenticate with s1",
        "redeem rt with s1",
    ];
    assert_eq!(lab.calls, calls);
    let older = OlderCredential {
        newest: VersionId("a3".into()),
        created: start() - TimeDelta::minutes(997),
        used: VersionId("a1".into()),
        tried_at: start(),
        expires: Some(start() + TimeDelta::days(1)),
    };
    assert_eq!(lab.state.older_credential.as_deref(), Some(&older));
    assert_eq!(lab.state.app_secret_expires, older.expires);
    assert_eq!(lab.state.redemptions.room_at(2, 1, start()), start() + TimeDelta::days(1), "two redemptions");
    assert_eq!(lab.state.redemptions.room_at(3, 1, start()), start());
}

#[tokio::test(start_paused = true)]
async fn a_rejected_secret_is_tried_before_the_next_redemption() {
    let peers = secrets(2, &["s2"]);
    let mut lab = Lab::new(&peers, |_| {});
    lab.step(Next::Prove).await;
    lab.step(Next::Save).await;

    lab.step(Next::Prove).await;
    let calls = ["newest", "app: newest", "authenticate with s2", "app: list", "app: read a1"];
    assert_eq!(lab.calls[..5], calls);
    assert_eq!(lab.calls[5..], ["authenticate with s1", "redeem rt+ with s1"]);
    peers.all().rejects.clear();
    lab.step(Next::Prove).await;

    assert_eq!(lab.calls, ["newest", "app: newest", "authenticate with s2", "redeem rt+ with s2"]);
    assert!(lab.state.older_credential.is_none());
    assert_eq!(lab.state.app_secret_expires, Some(start() + TimeDelta::days(2)));
}

#[tokio::test(start_paused = true)]
async fn a_new_secret_is_used_without_a_trial() {
    let peers = secrets(2, &["s2"]);
    let mut lab = Lab::new(&peers, |_| {});
    lab.step(Next::Prove).await;
    lab.step(Next::Save).await;
    peers.all().app.push(stored("a3", "s3", 0));

    lab.step(Next::Prove).await;

    assert_eq!(lab.calls, ["newest", "app: newest", "redeem rt+ with s3"]);
    assert!(lab.state.older_credential.is_none());
}

#[tokio::test(start_paused = true)]
async fn older_secrets_are_searched_every_six_hours_while_entra_rejects_all() {
    let peers = secrets(2, &["s2", "s1"]);
    let mut lab = Lab::new(&peers, |_| {});
    let searches = async |lab: &mut Lab<'_>| {
        lab.step(Next::Prove).await;
        assert_eq!(lab.kind(), Some(Kind::AppCredentialRefused));
        lab.calls.contains(&"app: list".to_owned())
    };

    assert!(searches(&mut lab).await);
    assert!(!searches(&mut lab).await);
    tokio::time::advance(Duration::from_secs(6 * 3600 - 1)).await;
    assert!(!searches(&mut lab).await);
    tokio::time::advance(Duration::from_secs(1)).await;
    assert!(searches(&mut lab).await);
    peers.all().app.push(stored("a3", "s3", 0));
    peers.reject("s3", "invalid_client", WRONG_SECRET);
    assert!(searches(&mut lab).await, "another secret was rejected");
}

#[tokio::test(start_paused = true)]
async fn a_search_that_an_outage_interrupted_is_repeated() {
    let entra = || crate::ports::IssuerError::Unavailable { status: 503, retry_after: None };
    for fails in ["app: list", "app: read", "authenticate"] {
        let peers = secrets(2, &["s2", "s1"]);
        if fails == "authenticate" {
            peers.all().rejects.insert("s1".into(), entra());
        } else {
            peers.fail(fails, unavailable());
        }
        let mut lab = Lab::new(&peers, |_| {});
        lab.step(Next::Prove).await;
        assert_eq!(lab.state.older_tried, None, "{fails}");

        lab.step(Next::Prove).await;

        assert!(lab.calls.contains(&"app: list".to_owned()), "{fails}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_search_that_finds_nothing_forgets_the_older_secret() {
    let peers = secrets(2, &["s2"]);
    let mut lab = Lab::new(&peers, |_| {});
    lab.step(Next::Prove).await;
    lab.step(Next::Save).await;
    peers.reject("s1", "invalid_client", WRONG_SECRET);

    lab.step(Next::Prove).await;

    assert!(lab.state.older_credential.is_none() && lab.state.older_tried.is_some());
    assert_eq!(lab.calls.iter().filter(|call| *call == "app: list").count(), 1, "once in a step");
}

#[tokio::test(start_paused = true)]
async fn the_first_read_of_the_credential_is_remembered() {
    let peers = secrets(1, &[]);
    let mut lab = Lab::new(&peers, |grant| grant.app_secret_expires = Some(start()));
    peers.fail("app: newest", VaultError::NotFound);
    lab.step(Next::Prove).await;
    assert_eq!((lab.state.credential_read_at, lab.state.credential_used), (None, None));
    lab.step(Next::Prove).await;
    let used = lab.state.credential_used;
    assert!(used.is_some());
    lab.step(Next::Save).await;
    tokio::time::advance(Duration::from_secs(60)).await;

    peers.all().app = vec![stored("a2", "s2", 0)];
    lab.step(Next::Prove).await;

    assert_eq!(lab.state.credential_read_at, Some(start()));
    assert_ne!(lab.state.credential_used, used);
    assert_eq!(lab.state.app_secret_expires, Some(start()), "the vault names no expiry");
}

#[tokio::test(start_paused = true)]
async fn a_command_uses_the_credential_that_entra_accepts() {
    let id = Uuid::nil();
    for (rejected, used, calls) in [
        (&[][..], "a2", &["app: newest", "authenticate with s2"][..]),
        (
            &["s2"],
            "a1",
            &["app: newest", "authenticate with s2", "app: list", "app: read a1", "authenticate with s1"],
        ),
        (
            &["s2", "s1"],
            "a2",
            &["app: newest", "authenticate with s2", "app: list", "app: read a1", "authenticate with s1"],
        ),
    ] {
        let peers = secrets(2, rejected);

        let found = peers.rotator(|_| {}).accepted_credential(id).await.expect("it can be read");

        assert_eq!(found.version.map(|version| version.id), Some(VersionId(used.into())));
        assert_eq!(peers.calls(), calls);
    }
}

#[tokio::test(start_paused = true)]
async fn only_three_older_secrets_that_are_valid_are_tried() {
    let peers = secrets(8, &["s8", "s7", "s6", "s5", "s4", "s3", "s2"]);
    {
        let mut all = peers.all();
        all.app[6].version.enabled = false;
        all.app[5].version.expires = Some(start());
        all.app.swap(0, 4);
    }
    let rotator = peers.rotator(|_| {});

    let search = rotator.older_credential("app", &VersionId("a8".into()), Uuid::nil()).await;

    let calls: Vec<String> = peers.calls().into_iter().filter(|call| call.starts_with("app")).collect();
    assert_eq!(calls, ["app: list", "app: read a5", "app: read a4", "app: read a3"]);
    assert!(search.found.is_none() && search.is_certain);
    assert_eq!(search.calls, 4);
}

#[tokio::test(start_paused = true)]
async fn an_expired_certificate_is_replaced_by_an_older_one_before_the_redemption() {
    let peers = Peers::new();
    peers.all().certificates = certificates(&[(1, 6), (1, 2)]);
    let key = || with(CredentialSource::VaultKey(address("key")));
    let mut rotator = peers.rotator(|grant| grant.app = key());

    let state = rotator.step(State::unknown(start()), Next::Prove).await.state;

    let calls = peers.calls();
    let found = ["certificate", "certificates", "certificate c0", "sign c0", "authenticate with YzA"];
    assert_eq!(calls[2..7], found);
    assert_eq!((calls[7].as_str(), state.is_unsaved()), ("sign c0", true));
    assert_eq!(state.older_credential.map(|older| older.used), Some(VersionId("c0".into())));

    peers.all().certificates.remove(0);
    let mut rotator = peers.rotator(|grant| grant.app = key());
    let state = rotator.step(State::unknown(start()), Next::Prove).await.state;
    assert_eq!(state.failure().map(|failure| failure.kind), Some(Kind::AppCredentialRefused));
    let calls = peers.calls();
    assert!(!calls.iter().any(|call| call.starts_with("redeem")), "{calls:?}");
}
