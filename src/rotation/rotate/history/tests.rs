//! Tests of searches in older versions: which versions are redeemed, and what Perennial records about a rejection.

use chrono::TimeDelta;

use super::*;
use crate::process::clock::Timestamp;
use crate::rotation::rotate::lab::Lab;
use crate::rotation::rotate::samples::{Peers, ours, start, stored, unavailable};
use crate::rotation::schedule::Next;
use crate::rotation::strict::Mark;
use crate::token::version::tag;

/// A person signed in (`v1`) just before Perennial wrote `v2`. `v2` is the successor of `v0`, not of `v1`, so `v2`
/// buries the sign-in.
fn buried() -> Peers {
    let peers = Peers::new();
    peers.all().versions =
        vec![stored("v0", "old", -120), stored("v1", "sign-in", -60), ours("v2", "rt", -60, "v0")];
    peers.all().versions[1].version.created = start() - TimeDelta::seconds(3601);
    peers.all().versions[0].version.created = start() - TimeDelta::minutes(120);
    peers
}

/// The newest version `v2` contains no token. Perennial wrote the version before it, `v1`, as the successor of `v0`.
fn useless(minutes: i64) -> Peers {
    let peers = Peers::new();
    peers.all().versions = vec![
        stored("v0", "first", -6_000),
        ours("v1", "second", -5_000, "v0"),
        stored("v2", "\"quoted\"", minutes),
    ];
    peers
}

const DAY_OLD: i64 = -24 * 60;

#[tokio::test(start_paused = true)]
async fn a_buried_sign_in_that_works_comes_on_top() {
    let peers = buried();
    peers.all().accepts = Some(true);
    let mut lab = Lab::new(&peers, |grant| grant.verify = crate::token::managed::Verify::PartnerCenter);

    let events = lab.step(Next::Prove).await;
    assert_eq!(events, ["VersionSeen", "BuriedSignIn"]);
    assert_eq!(lab.calls, ["newest", "list", "read v1", "app: newest", "redeem sign-in with s1", "ask"]);
    assert_eq!(lab.state.unburied_at, Some(start()));
    assert_eq!(lab.held().as_deref(), Some("sign-in+"));
    lab.step(Next::Save).await;

    assert_eq!(peers.newest_value(), "sign-in+");
}

#[tokio::test(start_paused = true)]
async fn a_rejected_buried_sign_in_stays_below_and_is_tried_again_a_day_later() {
    let peers = buried();
    peers.reject("sign-in", "invalid_grant", 53_003);
    let mut lab = Lab::new(&peers, |_| {});

    assert_eq!(lab.step(Next::Prove).await, ["VersionSeen", "BuriedSignInRefused", "Proved"]);
    assert!(peers.tags("v1").contains(tag::REFUSED_AT));
    assert!(lab.state.refused[0].is_buried && lab.state.unburied_at.is_none());
    lab.step(Next::Prove).await;
    assert_eq!(lab.calls, ["newest", "app: newest", "redeem rt with s1"], "it was searched");
    tokio::time::advance(std::time::Duration::from_secs(24 * 3600)).await;
    peers.all().rejects.clear();

    assert_eq!(lab.step(Next::Prove).await, ["BuriedSignIn"]);
}

#[tokio::test(start_paused = true)]
async fn a_search_without_a_list_does_not_prevent_the_proof_and_is_repeated() {
    let peers = buried();
    peers.fail("list", unavailable());
    let mut lab = Lab::new(&peers, |_| {});

    assert_eq!(lab.step(Next::Prove).await, ["VersionSeen", "HistoryUnread", "Proved"]);
    assert_eq!(lab.step(Next::Prove).await, ["BuriedSignIn"]);
}

#[tokio::test(start_paused = true)]
async fn a_sign_in_without_a_list_is_proved_too() {
    let peers = Peers::new();
    peers.fail("list", unavailable());
    let mut lab = Lab::new(&peers, |_| {});

    assert_eq!(lab.step(Next::Prove).await, ["VersionSeen", "HistoryUnread", "Proved"]);
    lab.state.inherited = None;
    lab.state.phase = crate::rotation::state::Phase::Current;
    lab.step(Next::Prove).await;
    assert!(!lab.calls.contains(&"list".to_owned()), "nothing is to be inherited: {:?}", lab.calls);
}

#[tokio::test(start_paused = true)]
async fn a_version_that_cannot_be_read_is_passed_over_only_if_it_is_disabled_or_gone() {
    for (error, proves) in
        [(VaultError::Disabled, true), (VaultError::NotFound, true), (unavailable(), false)]
    {
        let peers = buried();
        peers.fail("read v1", error.clone());
        let mut lab = Lab::new(&peers, |_| {});

        lab.step(Next::Prove).await;

        assert_eq!(lab.state.proved_at().is_some(), proves, "{error:?}");
        assert_eq!(lab.kind(), (!proves).then_some(Kind::VaultUnreachable), "{error:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_outage_of_the_issuer_interrupts_the_search_and_a_missing_successor_does_not() {
    for (error, kind, proves) in [
        (
            crate::ports::IssuerError::Unavailable { status: 503, retry_after: None },
            Some(Kind::EntraUnreachable),
            false,
        ),
        (crate::ports::IssuerError::NoRefreshToken, None, true),
    ] {
        let peers = buried();
        peers.all().rejects.insert("sign-in".into(), error);
        let mut lab = Lab::new(&peers, |_| {});

        lab.step(Next::Prove).await;

        assert_eq!((lab.kind(), lab.state.proved_at().is_some()), (kind, proves));
        assert!(!peers.tags("v1").contains(tag::REFUSED_AT), "no rejection");
    }
}

#[tokio::test(start_paused = true)]
async fn a_list_waits_for_a_day_with_room() {
    for (calls, room) in [(52, true), (53, false)] {
        let peers = Peers::new();
        let mut lab = Lab::new(&peers, |_| {});
        lab.state.note_vault_calls(calls, start());

        let listed = lab.rotator.list(&mut lab.state, 8, Uuid::nil()).await;

        assert_eq!(listed.is_ok(), room, "{calls}");
        assert!(listed.err().is_none_or(|failure| failure.about == FailureSubject::History));
    }
}

#[tokio::test(start_paused = true)]
async fn a_list_clears_failures_of_lists_and_its_length_counts_unless_the_token_is_strict() {
    for (strict, listed, calls) in [(false, 60, 3), (true, 0, 1)] {
        let peers = Peers::new();
        (1..60).for_each(|nth| peers.store(&format!("v{nth}"), "x", nth));
        let mut lab = Lab::new(&peers, |grant| grant.strict = strict);
        let failure = Failure::new(Kind::VaultRefused, Remedy::Operator, FailureSubject::History, "x");
        lab.state = crate::rotation::samples::failed(lab.state, failure, start(), 1);

        lab.rotator.list(&mut lab.state, 1, Uuid::nil()).await.expect("it can be listed");

        assert_eq!((lab.state.listed, lab.kind()), (listed, None), "{strict}");
        let free = |limit| lab.state.vault_calls.room_at(limit, 1, start()) == start();
        assert!(free(calls + 1) && !free(calls), "{strict}");
        peers.fail("list", VaultError::Disabled);
        let failure = lab.rotator.list(&mut lab.state, 1, Uuid::nil()).await.expect_err("it fails");
        assert_eq!(failure.about, FailureSubject::History);
    }
}

fn marked(version: &Version, at: Timestamp) -> crate::token::tags::Tags {
    Mark::new(version, Uuid::from_u128(7), "rotate", at).put(&version.tags).expect("there is room")
}

#[tokio::test(start_paused = true)]
async fn a_marked_strict_sign_in_is_redeemed_only_if_its_answer_was_lost_long_ago() {
    for (what, strict, mark_age, has_successor, redeems) in [
        ("not strict", false, 1, false, true),
        ("another process redeems it now", true, 1, false, false),
        ("its process died", true, 6 * 60, false, true),
        ("its successor is in the vault", true, 6 * 60, true, false),
    ] {
        let peers = buried();
        {
            let mut all = peers.all();
            all.versions.iter_mut().for_each(|stored| stored.version.created -= TimeDelta::days(1));
            let sign_in = &mut all.versions[1].version;
            sign_in.tags = marked(sign_in, start() - TimeDelta::minutes(mark_age));
        }
        if has_successor {
            peers.all().versions.insert(0, ours("w", "spent", -9_000, "v1"));
        }
        let mut lab = Lab::new(&peers, |grant| grant.strict = strict);
        let versions: Vec<Version> = peers.all().versions.iter().map(|one| one.version.clone()).collect();
        let sign_in = versions.iter().find(|version| &*version.id.0 == "v1").expect("stored");

        let mut attempt = Attempt::new(Uuid::nil());
        let under = (&VersionId("v2".into()), &*versions);
        let tried = lab.rotator.redeem_buried(&mut lab.state, sign_in, under, &mut attempt).await;

        assert_eq!(matches!(tried, Ok(Tried::Works(_))), redeems, "{what}");
        assert_eq!(peers.calls().iter().any(|call| call.starts_with("redeem")), redeems, "{what}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_value_that_is_no_token_is_replaced_by_its_predecessor_a_day_later() {
    let peers = useless(DAY_OLD + 1);
    let mut lab = Lab::new(&peers, |_| {});
    lab.step(Next::Prove).await;
    assert_eq!((lab.kind(), lab.calls.len()), (Some(Kind::LoginRequired), 2), "it may be a token in quotes");

    tokio::time::advance(std::time::Duration::from_secs(60)).await;
    let events = lab.step(Next::Prove).await;
    assert_eq!(events, ["Rescued"]);
    assert_eq!(lab.calls[1..], ["list", "read v1", "app: newest", "redeem second with s1", "tag v2"]);
    assert!(peers.tags("v2").contains(tag::REFUSED_CODE));
    lab.step(Next::Save).await;

    assert_eq!(lab.calls, ["newest", "write second+", "list"], "the value is known to be useless");
    assert_eq!(peers.newest_value(), "second+");
}

#[tokio::test(start_paused = true)]
async fn predecessors_are_tried_once_unless_one_may_work_again() {
    for (code, again) in [(50_173, false), (53_003, true)] {
        let peers = useless(DAY_OLD);
        peers.reject("second", "invalid_grant", code);
        peers.reject("first", "invalid_grant", 50_173);
        let mut lab = Lab::new(&peers, |_| {});
        lab.step(Next::Prove).await;
        assert_eq!(lab.kind(), Some(Kind::LoginRequired));
        assert_eq!(lab.state.rescued.is_none(), again, "{code}");

        lab.step(Next::Prove).await;

        assert_eq!(lab.calls.contains(&"list".to_owned()), again, "{code}: {:?}", lab.calls);
    }
}

#[tokio::test(start_paused = true)]
async fn a_rescue_does_not_put_an_older_sign_in_over_one_that_may_work_again() {
    for (what, second_from, code, rescues) in [
        ("the same chain", "v0", 53_003, true),
        ("an older sign-in", "", 53_003, false),
        ("an older sign-in, below a dead one", "", 50_173, true),
    ] {
        let peers = useless(DAY_OLD);
        if second_from.is_empty() {
            peers.all().versions[1] = stored("v1", "second", -5_000);
        }
        peers.reject("second", "invalid_grant", code);
        let mut lab = Lab::new(&peers, |_| {});

        let events = lab.step(Next::Prove).await;

        assert_eq!(lab.held().as_deref(), rescues.then_some("first+"), "{what}: {events:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_rescue_does_not_redeem_a_strict_token_again() {
    for (strict, marked_too, redeems) in [(true, true, false), (true, false, true), (false, true, true)] {
        let peers = useless(DAY_OLD);
        {
            let mut all = peers.all();
            all.versions.remove(0);
            if marked_too {
                let version = &mut all.versions[0].version;
                version.tags = marked(version, start() - TimeDelta::days(2));
            }
        }
        let mut lab = Lab::new(&peers, |grant| grant.strict = strict);

        lab.step(Next::Prove).await;

        let redeemed = lab.calls.iter().any(|call| call.starts_with("redeem"));
        assert_eq!(redeemed, redeems, "{strict} {marked_too}: {:?}", lab.calls);
    }
}

#[tokio::test(start_paused = true)]
async fn an_interrupted_rescue_is_told_beside_the_failure_of_the_value() {
    let peers = useless(DAY_OLD);
    (0..2).for_each(|_| peers.fail("list", unavailable()));
    let mut lab = Lab::new(&peers, |_| {});

    lab.step(Next::Prove).await;

    assert_eq!(lab.state.blocked.as_ref().map(|blocked| blocked.failure.kind), Some(Kind::LoginRequired));
    assert_eq!(lab.state.outage.as_ref().map(|outage| outage.failure.kind), Some(Kind::VaultUnreachable));
}

#[tokio::test(start_paused = true)]
async fn a_rejection_is_noted_once_and_a_failed_note_is_told() {
    let peers = Peers::new();
    let mut lab = Lab::new(&peers, |_| {});
    let failure = Failure::new(Kind::PolicyBlocked, Remedy::Operator, FailureSubject::Grant, "x");
    let note = async |lab: &mut Lab<'_>| {
        let mut attempt = Attempt::new(Uuid::nil());
        let version = peers.all().versions[0].version.clone();
        lab.rotator.note_refusal(&mut lab.state, &version, &failure, &mut attempt).await;
        (peers.calls().len(), attempt.events.len())
    };

    peers.fail("tag", unavailable());
    assert_eq!(note(&mut lab).await, (1, 1));
    assert_eq!(note(&mut lab).await, (1, 0));
    assert_eq!(note(&mut lab).await, (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_rescue_takes_no_sign_in_of_the_second_of_one_that_may_work_again() {
    let peers = useless(DAY_OLD);
    peers.all().versions[1] = stored("v1", "second", -6_000);
    peers.reject("first", "invalid_grant", 53_003);
    let mut lab = Lab::new(&peers, |_| {});

    lab.step(Next::Prove).await;

    assert_eq!(lab.held(), None);
    assert!(!lab.calls.contains(&"redeem second with s1".to_owned()), "{:?}", lab.calls);
}
