//! Tests of a save together with other writers and with failures of the vault.

use super::*;
use crate::rotation::rotate::lab::Lab;
use crate::rotation::rotate::samples::{Peers, USER, ours, start, stored, unavailable};
use crate::rotation::schedule::Next;
use crate::token::managed::Verify;
use crate::token::version::tag;

/// Returns a token whose successor `rt+` is not saved yet.
async fn held(peers: &Peers) -> Lab<'_> {
    let mut lab = Lab::new(peers, |_| {});
    lab.step(Next::Prove).await;
    assert!(lab.state.is_unsaved());
    lab
}

#[tokio::test(start_paused = true)]
async fn a_save_records_where_the_token_comes_from() {
    let peers = Peers::new();
    peers.all().accepts = Some(true);
    peers.all().versions[0].version.tags.insert("team", "a");
    let mut lab = Lab::new(&peers, |grant| grant.verify = Verify::PartnerCenter);
    lab.step(Next::Prove).await;
    let mut marks = crate::rotation::told::Marks::default();
    marks.add(7);
    lab.state.told = Some(marks);

    lab.step(Next::Save).await;

    let tags = peers.tags("v1");
    let wanted = [
        ("team", "a"),
        (tag::REDEEMED_FROM, "v0"),
        (tag::USER_OID, USER),
        (tag::TOLD, "00000007"),
        (tag::SIGNED_IN_AT, "2026-02-28T23:00:00Z"),
        (tag::VERDICT, "usable 2026-03-01T00:00:00Z"),
    ];
    for (name, value) in wanted {
        assert_eq!(tags.get(name), Some(value), "{name}");
    }
    assert_eq!(lab.state.last_rotation_at, Some(start()));
    assert_eq!(lab.state.foreign_rotated_at, Some(start()), "a sign-in is a foreign version");
    assert_eq!(lab.state.searched, Some(VersionId("v1".into())));
    assert_eq!(lab.state.newest.as_ref().map(|newest| &*newest.id.0), Some("v1"));
}

#[tokio::test(start_paused = true)]
async fn a_rotation_of_ones_own_version_is_no_foreign_rotation() {
    let peers = Peers::new();
    peers.all().versions.push(ours("v1", "mine", -30, "v0"));
    let mut rotator = peers.rotator(|_| {});
    let state = rotator.prove(State::unknown(start()), true).await.state;

    let stepped = rotator.step(state, Next::Save).await;

    assert!(!stepped.state.is_unsaved() && stepped.state.foreign_rotated_at.is_none());
    assert_eq!(stepped.state.last_rotation_at, Some(start()));
}

#[tokio::test(start_paused = true)]
async fn tags_without_room_are_dropped_and_told() {
    let peers = Peers::new();
    (0..12).for_each(|nth| peers.all().versions[0].version.tags.insert(&format!("team-{nth}"), "a"));
    let mut lab = held(&peers).await;

    assert_eq!(lab.step(Next::Save).await, ["TagsDropped", "Rotated"]);
}

#[tokio::test(start_paused = true)]
async fn a_failed_save_keeps_the_successor_and_its_failure() {
    for (call, again) in [
        ("newest", &["newest", "write rt+", "list"][..]),
        ("write", &["newest", "write rt+", "list"]),
        ("list", &["list"]),
    ] {
        let peers = Peers::new();
        let mut lab = held(&peers).await;
        peers.fail(call, unavailable());

        assert_eq!(lab.step(Next::Save).await, ["Failed"], "{call}");
        assert_eq!(lab.kind(), Some(Kind::VaultUnreachable), "{call}");
        assert!(lab.rotator.hold.is_successor(), "{call}");
        lab.step(Next::Save).await;

        assert_eq!(lab.calls, again, "{call}");
        assert_eq!((peers.newest_value().as_str(), lab.kind()), ("rt+", None), "{call}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_write_whose_answer_was_lost_is_not_repeated() {
    let peers = Peers::new();
    let mut lab = held(&peers).await;
    peers.all().versions.push(ours("v1", "rt+", 0, "v0"));

    assert_eq!(lab.step(Next::Save).await, ["VersionSeen", "Rotated"]);

    assert_eq!(lab.calls, ["newest", "list"]);
}

#[tokio::test(start_paused = true)]
async fn a_write_that_the_vault_does_not_show_is_repeated() {
    let peers = Peers::new();
    peers.all().hides_writes = true;
    let mut lab = held(&peers).await;

    lab.step(Next::Save).await;
    assert_eq!((lab.kind(), lab.held().as_deref()), (Some(Kind::Unsaved), Some("rt+")));
    peers.all().hides_writes = false;
    lab.step(Next::Save).await;

    assert_eq!(lab.calls, ["newest", "write rt+", "list"]);
}

#[tokio::test(start_paused = true)]
async fn another_writers_version_that_works_is_kept_or_rotated() {
    for (what, other, rotates) in [
        ("a sign-in", stored("v1", "new", 0), true),
        ("another instance's rotation", ours("v1", "new", 0, "v0"), false),
    ] {
        let peers = Peers::new();
        let mut lab = held(&peers).await;
        let before = lab.state.pending().map(|pending| pending.successor.rotation_id);
        peers.all().versions.push(other);

        let events = lab.step(Next::Save).await;

        assert_eq!(events[..2], ["VersionSeen", "YieldedToNewerVersion"], "{what}");
        assert_eq!(lab.state.proved_at(), Some(start()), "{what}");
        assert!(!lab.state.is_unsaved(), "{what}");
        assert_eq!(peers.newest_value(), if rotates { "new+" } else { "new" }, "{what}");
        let id = lab.state.newest.as_ref().and_then(|newest| newest.tags.get(tag::ROTATION_ID));
        assert_ne!(id.map(str::to_owned), before.map(|id| id.to_string()), "{what}: a rotation of its own");
    }
}

#[tokio::test(start_paused = true)]
async fn a_strict_token_of_another_writer_is_always_rotated() {
    let peers = Peers::new();
    let mut lab = Lab::new(&peers, |grant| grant.strict = true);
    lab.step(Next::Prove).await;
    peers.all().versions.push(ours("v1", "new", 0, "v0"));

    lab.step(Next::Save).await;

    assert_eq!(peers.newest_value(), "new+");
}

#[tokio::test(start_paused = true)]
async fn another_writers_version_is_replaced_only_if_it_is_dead() {
    for (code, replaced) in [(50_173, true), (53_003, false)] {
        let peers = Peers::new();
        let mut lab = held(&peers).await;
        peers.store("v1", "theirs", 0);
        peers.reject("theirs", "invalid_grant", code);

        lab.step(Next::Save).await;

        assert_eq!(peers.newest_value(), if replaced { "rt+" } else { "theirs" }, "{code}");
        assert_eq!(lab.state.is_unsaved(), !replaced, "{code}");
        assert_eq!(peers.tags("v1").contains(tag::REFUSED_AT), replaced, "{code}");
        let again = lab.calls.iter().filter(|call| call.starts_with("redeem")).count();
        assert_eq!(again, 1, "{code}");
        lab.step(Next::Save).await;
        assert!(!lab.calls.iter().any(|call| call.starts_with("redeem")), "{code}: {:?}", lab.calls);
    }
}

#[tokio::test(start_paused = true)]
async fn a_copy_of_the_redeemed_value_becomes_the_version_that_was_redeemed() {
    let peers = Peers::new();
    let mut lab = held(&peers).await;
    peers.store("v1", "rt", 0);

    lab.step(Next::Save).await;

    assert_eq!(peers.tags("v2").get(tag::REDEEMED_FROM), Some("v1"));
    assert_eq!(lab.state.known().and_then(|facts| facts.user_oid.as_deref()), Some(USER));
}

#[tokio::test(start_paused = true)]
async fn a_sign_in_just_before_the_write_is_restored() {
    let peers = Peers::new();
    let mut lab = held(&peers).await;
    peers.all().meanwhile.push_back(("write rt+", stored("v1", "sign-in", 0)));

    let events = lab.step(Next::Save).await;

    assert_eq!(events, ["BuriedSignIn", "VersionSeen", "Rotated"]);
    let calls = ["newest", "write rt+", "list", "read v1", "app: newest", "redeem sign-in with s1"];
    assert_eq!(lab.calls[..6], calls);
    assert_eq!(lab.calls[6..], ["newest", "write sign-in+", "list"]);
    assert_eq!(peers.newest_value(), "sign-in+");
    assert_ne!(peers.tags("v2").get(tag::ROTATION_ID), peers.tags("v3").get(tag::ROTATION_ID));
}

#[tokio::test(start_paused = true)]
async fn a_buried_sign_in_that_is_rejected_stays_below_the_save() {
    let peers = Peers::new();
    peers.reject("sign-in", "invalid_grant", 53_003);
    let mut lab = held(&peers).await;
    peers.all().meanwhile.push_back(("write rt+", stored("v1", "sign-in", 0)));

    let events = lab.step(Next::Save).await;

    assert_eq!(events, ["BuriedSignInRefused", "Rotated"]);
    assert_eq!(lab.calls.iter().filter(|call| call.starts_with("redeem")).count(), 1, "{:?}", lab.calls);
    assert_eq!(peers.newest_value(), "rt+");
}

/// Two sign-ins of the same second do not replace each other again and again.
#[tokio::test(start_paused = true)]
async fn a_restored_sign_in_is_not_replaced_by_the_one_below() {
    let peers = Peers::new();
    peers.all().versions = vec![stored("u", "older", -900), stored("v0", "rt", 0)];
    let mut lab = held(&peers).await;
    peers.all().meanwhile.push_back(("write rt+", stored("v1", "sign-in", 0)));

    lab.step(Next::Save).await;

    let redeemed = lab.calls.iter().filter(|call| call.starts_with("redeem")).count();
    assert_eq!((redeemed, lab.state.is_unsaved()), (1, false), "{:?}", lab.calls);
    assert_eq!(peers.newest_value(), "sign-in+");
}

#[tokio::test(start_paused = true)]
async fn a_writer_that_never_stops_makes_the_save_pause() {
    let peers = Peers::new();
    let mut lab = held(&peers).await;
    for nth in 0..20 {
        peers.reject(&format!("theirs {nth}").replace(' ', "-"), "invalid_grant", 50_173);
        peers.all().meanwhile.push_back(("newest", stored(&format!("x{nth}"), &format!("theirs-{nth}"), 0)));
    }

    lab.step(Next::Save).await;

    assert_eq!(lab.kind(), Some(Kind::ForeignWriter));
    let reads = lab.calls.iter().filter(|call| *call == "newest").count();
    assert_eq!((reads, lab.held().as_deref()), (MAX_ROUNDS, Some("rt+")));
}

#[tokio::test(start_paused = true)]
async fn replaced_versions_are_disabled_and_a_failure_of_that_is_only_told() {
    let peers = Peers::new();
    peers.all().versions = vec![
        stored("v0", "first", -400),
        ours("v1", "second", -300, "v0"),
        ours("v2", "third", -200, "v1"),
        ours("v3", "rt", -100, "v2"),
    ];
    peers.fail("disable v1", unavailable());
    let mut rotator = peers.rotator(|_| {});
    let state = rotator.prove(State::unknown(start()), true).await.state;
    peers.calls();

    let stepped = rotator.step(state, Next::Save).await;

    assert_eq!(peers.calls(), ["newest", "write rt+", "list", "disable v1", "disable v2"]);
    assert!(matches!(stepped.events[..], [Event::RetireFailed(..), Event::Rotated(..)]));
    let enabled: Vec<bool> = peers.all().versions.iter().map(|one| one.version.enabled).collect();
    assert_eq!(enabled, [true, true, false, true, true]);
}

#[tokio::test(start_paused = true)]
async fn a_hurried_save_is_due_at_once() {
    let peers = Peers::new();
    let mut lab = held(&peers).await;
    peers.fail("newest", unavailable());
    lab.step(Next::Save).await;
    let state = std::mem::replace(&mut lab.state, State::unknown(start()));
    assert!(state.outage.as_ref().is_some_and(|outage| outage.retry_at > start()));

    let hurried = lab.rotator.hurry(state);

    assert_eq!(hurried.outage.map(|outage| outage.retry_at), Some(start()));
}

#[tokio::test(start_paused = true)]
async fn without_a_successor_a_save_does_nothing() {
    let peers = Peers::new();
    let mut lab = Lab::new(&peers, |_| {});

    assert_eq!(lab.step(Next::Save).await, [""; 0]);

    assert!(lab.calls.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_dead_version_is_not_redeemed_again_after_a_restore() {
    let peers = Peers::new();
    let mut lab = held(&peers).await;
    peers.store("v1", "theirs", 0);
    peers.reject("theirs", "invalid_grant", 50_173);
    peers.fail("tag", unavailable());
    peers.all().meanwhile.push_back(("write rt+", stored("v2", "sign-in", 0)));

    lab.step(Next::Save).await;

    let redeemed: Vec<&String> = lab.calls.iter().filter(|call| call.starts_with("redeem")).collect();
    assert_eq!(redeemed, ["redeem theirs with s1", "redeem sign-in with s1"]);
    assert_eq!(peers.newest_value(), "sign-in+");
}
