//! Tests of the claim of a `strict` token: its calls, what blocks it, and when its mark is removed.

use std::time::Duration;

use chrono::TimeDelta;
use uuid::Uuid;

use super::*;
use crate::ports::failure::{Kind, Remedy};
use crate::rotation::rotate::lab::Lab;
use crate::rotation::rotate::samples::{Peers, USER, start, stored, unavailable};
use crate::rotation::schedule::Next;
use crate::token::version::{MAX_TAGS, tag};

fn strict(peers: &Peers) -> Lab<'_> {
    Lab::new(peers, |grant| grant.strict = true)
}

fn marked(version: &Version, by: u128, minutes: i64) -> Tags {
    let mark = Mark::new(version, Uuid::from_u128(by), "rotate", start() + TimeDelta::minutes(minutes));
    mark.put(&version.tags).expect("there is room")
}

fn redeems(lab: &Lab<'_>) -> bool {
    lab.calls.iter().any(|call| call.starts_with("redeem"))
}

const CLAIM: [&str; 7] = ["newest", "list", "app: newest", "write rt", "read v0", "tag v0", "read v0"];

#[test]
fn a_token_is_unspent_only_if_entra_cannot_have_redeemed_it() {
    let unavailable = |status| IssuerError::Unavailable { status, retry_after: None };
    for (error, unspent) in [
        (IssuerError::NoRefreshToken, true),
        (IssuerError::Refused(Box::default()), true),
        (IssuerError::NotUnderstood("x"), false),
        (unavailable(429), true),
        (unavailable(503), false),
        (IssuerError::Unreachable(NoResponse::Connect), true),
        (IssuerError::Unreachable(NoResponse::TimedOut), false),
        (IssuerError::Unreachable(NoResponse::Cut), false),
    ] {
        assert_eq!(leaves_unspent(&error), unspent, "{error:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_strict_token_is_marked_before_it_is_redeemed() {
    let peers = Peers::new();
    let mut lab = strict(&peers);
    let began = tokio::time::Instant::now();

    lab.step(Next::Prove).await;

    assert_eq!(lab.calls[..7], CLAIM);
    assert_eq!(lab.calls[7..], ["redeem rt with s1"]);
    assert_eq!(began.elapsed(), SETTLES);
    assert!(peers.tags("v0").contains(tag::REDEEMING));
    assert_eq!(peers.all().stakes, [Stake::Successor], "the token in the vault may be spent");
    assert!(lab.state.holds_only_copy());
    lab.step(Next::Save).await;
    assert_eq!(lab.state.claim, None);
}

#[tokio::test(start_paused = true)]
async fn a_token_that_is_not_strict_is_not_marked() {
    let peers = Peers::new();
    let mut lab = Lab::new(&peers, |_| {});

    lab.step(Next::Prove).await;

    assert!(!peers.tags("v0").contains(tag::REDEEMING));
    assert_eq!(peers.all().stakes, [Stake::Answer]);
    assert!(!lab.state.holds_only_copy());
}

#[tokio::test(start_paused = true)]
async fn a_rejection_removes_the_mark_and_a_lost_answer_keeps_it() {
    let mut told = Vec::new();
    for (error, stays) in [
        (IssuerError::Unavailable { status: 429, retry_after: None }, false),
        (IssuerError::Unavailable { status: 503, retry_after: None }, true),
    ] {
        let peers = Peers::new();
        peers.all().rejects.insert("rt".into(), error.clone());
        let mut lab = strict(&peers);

        lab.step(Next::Prove).await;

        assert_eq!(peers.tags("v0").contains(tag::REDEEMING), stays, "{error:?}");
        assert_eq!(lab.state.claim.is_some(), stays, "{error:?}");
        assert!(!lab.rotator.hold.is_successor(), "{error:?}");

        peers.all().rejects.insert("rt".into(), IssuerError::Unavailable { status: 429, retry_after: None });
        peers.fail("tag v0", unavailable());
        peers.fail("tag v0", unavailable());
        told.append(&mut lab.step(Next::Prove).await);
    }
    assert_eq!(told, ["Failed", "Failed"], "the claim itself failed");
}

#[tokio::test(start_paused = true)]
async fn a_mark_that_cannot_be_removed_is_told() {
    let peers = Peers::new();
    let mut lab = strict(&peers);
    lab.step(Next::Prove).await;
    let version = peers.all().versions[0].version.clone();
    let release = async |lab: &mut Lab<'_>| {
        let mut attempt = Attempt::new(Uuid::nil());
        lab.rotator.release(&mut lab.state, &version, &mut attempt).await;
        (peers.calls().len(), attempt.events.len())
    };

    peers.fail("tag v0", unavailable());
    assert_eq!(release(&mut lab).await, (1, 1));
    assert_eq!(release(&mut lab).await, (0, 0), "there is no claim any more");
    lab.state.claim = Some(Uuid::nil());
    assert_eq!(release(&mut lab).await, (1, 0));

    assert!(!peers.tags("v0").contains(tag::REDEEMING));
}

#[tokio::test(start_paused = true)]
async fn a_rejected_token_whose_earlier_answer_was_lost_is_lost() {
    let peers = Peers::new();
    peers.all().versions[0].version.created -= TimeDelta::days(1);
    peers.all().rejects.insert("rt".into(), IssuerError::NotUnderstood("x"));
    let mut lab = strict(&peers);
    lab.step(Next::Prove).await;
    peers.all().rejects.clear();
    peers.reject("rt", "invalid_grant", 70_000);

    lab.step(Next::Prove).await;

    let summary = lab.state.failure().map(|failure| failure.summary.clone()).unwrap_or_default();
    assert!(summary.contains("the answer with the new token was lost"), "{summary}");
}

#[tokio::test(start_paused = true)]
async fn an_obstacle_to_the_save_prevents_the_redemption() {
    let forbidden = || VaultError::Forbidden(crate::ports::Forbidden::Policy { caller: None });
    for (call, error, kind) in [
        ("write", forbidden(), Kind::VaultRefused),
        ("write", unavailable(), Kind::VaultUnreachable),
        ("tag", forbidden(), Kind::VaultRefused),
        ("read", unavailable(), Kind::VaultUnreachable),
    ] {
        let peers = Peers::new();
        peers.fail(call, error);
        let mut lab = strict(&peers);

        lab.step(Next::Prove).await;

        assert_eq!((lab.kind(), redeems(&lab)), (Some(kind), false), "{call}");
        assert_eq!(lab.state.failure().map(|failure| failure.about), Some(FailureSubject::Saving), "{call}");
        assert!(!lab.rotator.hold.is_successor(), "{call}");
    }
}

#[tokio::test(start_paused = true)]
async fn another_processs_mark_prevents_the_redemption() {
    for (what, minutes, redeemed) in [("a new mark", -1, false), ("a mark of a dead process", -6 * 60, true)]
    {
        let peers = Peers::new();
        {
            let version = &mut peers.all().versions[0].version;
            version.created -= TimeDelta::days(1);
            version.tags = marked(version, 7, minutes);
        }
        let mut lab = strict(&peers);

        lab.step(Next::Prove).await;

        assert_eq!(redeems(&lab), redeemed, "{what}: {:?}", lab.calls);
        assert_eq!(lab.state.failure().is_none(), redeemed, "{what}");
        assert!(redeemed || lab.calls == ["newest"], "{what}: {:?}", lab.calls);
    }
}

/// The process that wrote the old mark may still hold the successor. So it gets five minutes to replace the new mark.
#[tokio::test(start_paused = true)]
async fn a_mark_that_was_taken_over_must_stand_before_the_redemption() {
    let peers = Peers::new();
    {
        let version = &mut peers.all().versions[0].version;
        version.created -= TimeDelta::days(1);
        version.tags = marked(version, 7, -60);
    }
    let mut lab = strict(&peers);
    let mut redeemed_after = None;
    for minute in 0..20 {
        lab.step(Next::Prove).await;
        if redeems(&lab) {
            redeemed_after = Some(minute);
            break;
        }
        assert_eq!(lab.kind(), Some(Kind::Unsaved), "{minute}");
        tokio::time::advance(Duration::from_secs(60)).await;
    }
    assert_eq!(redeemed_after, Some(10), "five minutes for the old mark and five for the new one");
}

#[tokio::test(start_paused = true)]
async fn a_mark_that_another_process_replaced_prevents_the_redemption() {
    for (what, tags, kind) in
        [("by its own", Some(7), Kind::Unsaved), ("by none", None, Kind::VaultUnreachable)]
    {
        let peers = Peers::new();
        let mut lab = strict(&peers);
        let replaced = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let version = &mut peers.all().versions[0].version;
            version.tags = Tags::new();
            if let Some(by) = tags {
                version.tags = marked(version, by, 0);
            }
        };

        tokio::join!(lab.step(Next::Prove), replaced);

        assert_eq!((lab.kind(), redeems(&lab)), (Some(kind), false), "{what}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_claim_needs_calls_for_the_whole_redemption() {
    for (calls, redeemed) in [(48, true), (49, false)] {
        let peers = Peers::new();
        let mut lab = strict(&peers);
        // The step makes three calls before the claim. A claim needs nine more calls. The limit is 60 calls a day.
        lab.state.note_vault_calls(calls, start());

        lab.step(Next::Prove).await;

        assert_eq!(redeems(&lab), redeemed, "{calls}: {:?}", lab.calls);
        assert_eq!(lab.kind(), (!redeemed).then_some(Kind::Overdue), "{calls}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_token_of_another_user_or_without_room_for_a_mark_is_not_redeemed() {
    let peers = Peers::new();
    {
        let tags = &mut peers.all().versions[0].version.tags;
        tags.insert(tag::MANAGED_BY, "perennial");
        tags.insert(tag::USER_OID, "22222222-2222-4222-8222-222222222222");
    }
    let mut lab = Lab::new(&peers, |grant| (grant.strict, grant.user_oid) = (true, Some(USER.into())));
    lab.step(Next::Prove).await;
    assert_eq!((lab.kind(), redeems(&lab)), (Some(Kind::WrongIdentity), false));

    let peers = Peers::new();
    (0..MAX_TAGS).for_each(|nth| peers.all().versions[0].version.tags.insert(&format!("t{nth}"), "x"));
    let mut lab = strict(&peers);
    lab.step(Next::Prove).await;
    assert_eq!((lab.kind(), redeems(&lab)), (Some(Kind::VaultRefused), false));
}

#[tokio::test(start_paused = true)]
async fn the_successor_of_another_user_is_held_and_not_written() {
    let peers = Peers::new();
    peers.all().user = Some("22222222-2222-4222-8222-222222222222");
    let mut lab = Lab::new(&peers, |grant| (grant.strict, grant.user_oid) = (true, Some(USER.into())));

    lab.step(Next::Prove).await;
    assert_eq!((lab.kind(), lab.held().as_deref()), (Some(Kind::WrongIdentity), Some("rt+")));
    lab.step(Next::Save).await;

    assert_eq!(lab.calls, ["newest"]);
    assert_eq!((lab.kind(), lab.held().as_deref()), (Some(Kind::WrongIdentity), Some("rt+")));
    let mut lab = Lab::new(&peers, |grant| grant.user_oid = Some(USER.into()));
    lab.step(Next::Prove).await;
    assert_eq!((lab.kind(), lab.held()), (Some(Kind::WrongIdentity), None), "the token stays valid");
}

#[tokio::test(start_paused = true)]
async fn a_process_that_cannot_save_renews_its_mark_every_five_minutes() {
    let peers = Peers::new();
    let mut lab = strict(&peers);
    lab.step(Next::Prove).await;
    let mark = || Mark::on(&peers.all().versions[0].version).expect("it is marked");
    let first = mark();
    let save = async |lab: &mut Lab<'_>| {
        peers.fail("write", unavailable());
        lab.step(Next::Save).await;
        lab.calls.clone()
    };

    assert_eq!(save(&mut lab).await, ["newest", "write rt+"]);
    tokio::time::advance(Duration::from_secs(300)).await;
    assert_eq!(save(&mut lab).await, ["newest", "write rt+", "tag v0"]);
    assert!(mark() != first && lab.state.claim.is_some_and(|ours| mark().is_of(ours)));

    let other = marked(&peers.all().versions[0].version, 7, 0);
    peers.all().versions[0].version.tags = other;
    assert_eq!(save(&mut lab).await, ["newest", "write rt+", "tag v0"], "another's mark is a mistake");
    assert!(lab.state.claim.is_some_and(|ours| mark().is_of(ours)));
    tokio::time::advance(Duration::from_secs(300)).await;
    peers.fail("tag", unavailable());
    peers.fail("write", unavailable());
    assert_eq!(lab.step(Next::Save).await, ["TagsNotUpdated", "Failed"]);
}

#[tokio::test(start_paused = true)]
async fn only_the_spent_version_of_a_strict_token_gets_a_mark() {
    let peers = Peers::new();
    let mut lab = Lab::new(&peers, |_| {});
    lab.step(Next::Prove).await;
    peers.fail("write", unavailable());
    lab.step(Next::Save).await;
    assert_eq!(lab.calls, ["newest", "write rt+"], "it is not strict");

    let mut lab = strict(&peers);
    lab.step(Next::Prove).await;
    let other = stored("v9", "x", 0).version;
    let mut attempt = Attempt::new(Uuid::nil());
    tokio::time::advance(Duration::from_secs(300)).await;
    lab.rotator.renew_mark(&mut lab.state, &other, &mut attempt).await;
    assert_eq!(peers.calls(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_slow_vault_makes_the_mark_worthless() {
    let peers = Peers::new();
    peers.all().slow = Duration::from_millis(1_100);
    let mut lab = strict(&peers);

    lab.step(Next::Prove).await;

    assert_eq!((lab.kind(), redeems(&lab)), (Some(Kind::VaultUnreachable), false));
    assert_eq!(lab.state.claim, None);
    let failure = lab.state.failure().expect("it failed");
    assert_eq!((failure.remedy, failure.about), (Remedy::Retry, FailureSubject::Saving));
    peers.all().slow = Duration::from_secs(1);
    let peers = Peers::new();
    peers.all().slow = Duration::from_secs(1);
    let mut lab = strict(&peers);
    lab.step(Next::Prove).await;
    assert!(redeems(&lab), "two seconds are enough: {:?}", lab.state.failure());
}
