//! Tests of one redemption: its limits, and what Perennial learns from its answer about the user and the credential.

use std::time::Duration;

use super::*;
use crate::rotation::rotate::lab::Lab;
use crate::rotation::rotate::samples::{Peers, USER, ours, start, stored};
use crate::rotation::samples::grant;
use crate::rotation::schedule::Next;
use crate::rotation::turns::Turns;
use crate::token::version::VersionId;

const OTHER: &str = "22222222-2222-4222-8222-222222222222";
const SECOND: TimeDelta = TimeDelta::seconds(1);

#[test]
fn a_rejected_credential_is_waited_for_only_while_it_is_new() {
    let now = Timestamp::UNIX_EPOCH;
    let waits = |advice, age: Option<TimeDelta>| {
        let about = FailureSubject::AppCredential;
        let failure = Failure::new(Kind::AppCredentialRefused, Remedy::Operator, about, "as told");
        let failure = Failure { advice: Some(advice), ..failure };
        let told = unless_fresh(failure, age.map(|age| now - age), now);
        assert_eq!(told.remedy == Remedy::Retry, !told.is_definite, "{told:?}");
        !told.is_definite
    };

    for advice in [Advice::ClientSecret, Advice::Assertion, Advice::FederatedCredential] {
        assert!(waits(advice, Some(CREDENTIAL_SETTLES - SECOND)), "{advice:?}");
        assert!(!waits(advice, Some(CREDENTIAL_SETTLES)) && !waits(advice, None), "{advice:?}");
    }
    assert!(!waits(Advice::AppId, Some(SECOND)), "time does not end it");
}

#[tokio::test(start_paused = true)]
async fn only_a_rejection_is_excused_by_a_new_credential() {
    let peers = Peers::new();
    peers.reject("x", "invalid_client", 7_000_215);
    let rejected = peers.all().rejects["x"].clone();
    let rotator = peers.rotator(|_| {});
    for (minutes, error, waits) in
        [(0, &rejected, true), (-15, &rejected, false), (0, &IssuerError::NoRefreshToken, false)]
    {
        peers.all().app = vec![stored("a1", "s1", minutes)];
        let (credential, _) = rotator.read_credential(Uuid::nil()).await.expect("it can be read");
        let failure = rotator.refused(error, &credential, Some(start()));
        assert_eq!(failure.remedy == Remedy::Retry, waits, "{minutes} {error:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_value_that_is_no_token_is_not_sent() {
    let peers = Peers::new();
    peers.all().versions = vec![stored("v0", "two words", -60)];
    let mut lab = Lab::new(&peers, |_| {});

    lab.step(Next::Prove).await;

    assert_eq!(lab.calls, ["newest", "list"]);
    let failure = lab.state.failure().expect("it failed");
    assert_eq!((failure.kind, failure.remedy), (Kind::LoginRequired, Remedy::Operator));
    assert!(failure.never_was_a_token && failure.summary.contains("not a refresh token"));
}

#[tokio::test(start_paused = true)]
async fn a_token_is_redeemed_24_times_a_day() {
    let peers = Peers::new();
    peers.all().versions.push(ours("v1", "rt", -30, "v0"));
    let mut lab = Lab::new(&peers, |_| {});
    let mut redeemed = 0;
    for _ in 0..26 {
        lab.step(Next::Prove).await;
        redeemed += lab.calls.iter().filter(|call| call.starts_with("redeem")).count();
    }

    assert_eq!((redeemed, lab.kind()), (24, Some(Kind::Overdue)));
    let summary = lab.state.failure().map(|failure| failure.summary.clone());
    assert_eq!(
        summary.as_deref(),
        Some("Perennial has reached its daily limit of redemptions for this token")
    );
}

#[tokio::test(start_paused = true)]
async fn a_stop_waits_for_the_answer_and_for_a_held_successor() {
    let peers = Peers::new();
    let mut lab = Lab::new(&peers, |_| {});
    lab.step(Next::Prove).await;
    peers.store("v1", "new", 0);
    lab.step(Next::Save).await;
    assert_eq!(peers.all().stakes, [Stake::Answer, Stake::Successor]);
    assert!(!lab.rotator.hold.is_successor());

    peers.all().rejects.insert("new+".into(), IssuerError::NoRefreshToken);
    lab.step(Next::Prove).await;
    assert!(!lab.rotator.hold.is_successor());
}

#[tokio::test(start_paused = true)]
async fn the_user_of_an_answer_is_compared_with_the_tag() {
    for (noted, changed) in
        [(None, false), (Some(USER.to_ascii_uppercase()), false), (Some(OTHER.into()), true)]
    {
        let peers = Peers::new();
        if let Some(user) = &noted {
            peers.all().versions[0].version.tags.insert(tag::USER_OID, user);
        }
        let mut lab = Lab::new(&peers, |_| {});

        let events = lab.step(Next::Prove).await;

        assert_eq!(events.contains(&"UserChanged".into()), changed, "{noted:?}");
        assert_eq!(lab.state.known().and_then(|facts| facts.user_oid.as_deref()), Some(USER), "{noted:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_without_a_user_keeps_the_known_one_of_the_chain() {
    let peers = Peers::new();
    for (what, mut stored, user) in [
        ("a rotation", ours("v1", "rt", -30, "v0"), Some(USER)),
        ("a sign-in may be another user's", stored("v1", "rt", -30), None),
    ] {
        stored.version.tags.insert(tag::USER_OID, USER);
        peers.all().user = None;
        peers.all().versions[0] = stored;
        let mut rotator = peers.rotator(|_| {});
        let mut state = State::unknown(start());
        state.facts_of(&VersionId("v1".into())).user_oid = Some(OTHER.into());

        let mut state = rotator.prove(state, true).await.state;

        let held = state.pending().and_then(|pending| pending.successor.user_oid.clone());
        assert_eq!(held.as_deref(), user, "{what}");
        assert_eq!(state.known().and_then(|facts| facts.user_oid.as_deref()), Some(OTHER), "{what}");
    }
}

#[test]
fn an_unverified_identity_is_told_when_it_changes_and_keeps_its_beginning() {
    let now = start();
    let mut facts = Facts::of(VersionId("v".into()));
    let mut note = |unverified, seconds: i32| {
        let mut attempt = Attempt::new(Uuid::nil());
        note_unverified(&mut facts, unverified, now + SECOND * seconds, &mut attempt);
        (attempt.events.len(), facts.unverified.map(|(_, since)| (since - now).num_seconds()))
    };
    let user = Unverified { user: true, ..Unverified::default() };

    assert_eq!(note(Unverified::default(), 0), (0, None));
    assert_eq!(note(user, 1), (1, Some(1)));
    assert_eq!(note(user, 2), (0, Some(1)));
    assert_eq!(note(Unverified { app: true, ..user }, 3), (1, Some(1)));
    assert_eq!(note(Unverified::default(), 4), (0, None));
}

#[tokio::test(start_paused = true)]
async fn a_pause_that_entra_asks_for_delays_all_redemptions_of_the_user() {
    for (asked, waits) in [(None, 0), (Some(120), 120), (Some(7_200), 3_600)] {
        let peers = Peers::new();
        let retry_after = asked.map(Duration::from_secs);
        peers.all().rejects.insert("rt".into(), IssuerError::Unavailable { status: 429, retry_after });
        let mut lab = Lab::new(&peers, |_| {});
        lab.rotator.turns = Turns::new(lab.rotator.clock.clone());
        lab.step(Next::Prove).await;

        let began = tokio::time::Instant::now();
        let whom = Redeemer::of(&grant("t"), None, None);
        lab.rotator.turns.take(Limited::Redemptions(whom), false).await;

        assert_eq!(began.elapsed().as_secs(), waits, "{asked:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_redemption_counts_for_the_user_that_the_answer_names() {
    let peers = Peers::new();
    let mut lab = Lab::new(&peers, |_| {});
    lab.rotator.turns = Turns::new(lab.rotator.clock.clone());
    lab.step(Next::Prove).await;
    let began = tokio::time::Instant::now();
    let unknown = Redeemer::of(&grant("t"), None, None);
    let take = async |user: &str, count| {
        let what = Limited::Redemptions(unknown.with_user(user));
        let mut permits = Vec::new();
        for _ in 0..count {
            permits.push(lab.rotator.turns.take(what, false).await);
        }
        (permits, began.elapsed().as_secs())
    };

    assert_eq!(take(OTHER, 14).await.1, 0, "another user's");
    assert_eq!(take(USER, 13).await.1, 0);
    let (_permits, waited) = take(USER, 14).await;
    assert_eq!(waited, 300, "one redemption still counts");
}

#[tokio::test(start_paused = true)]
async fn another_writers_rejected_version_is_redeemed_again_only_after_a_day() {
    let peers = Peers::new();
    let mut lab = Lab::new(&peers, |_| {});
    lab.step(Next::Prove).await;
    peers.store("v1", "theirs", 0);
    peers.reject("theirs", "invalid_grant", 53_003);
    let redeemed = async |lab: &mut Lab<'_>| {
        lab.step(Next::Save).await;
        lab.calls.iter().any(|call| call.starts_with("redeem"))
    };

    assert!(redeemed(&mut lab).await);
    assert!(!redeemed(&mut lab).await);
    assert_eq!(lab.state.refused.len(), 1);
    tokio::time::advance(Duration::from_secs(24 * 3600)).await;
    peers.all().rejects.clear();
    assert!(redeemed(&mut lab).await);
    assert!(lab.state.refused.is_empty(), "it works");
}
