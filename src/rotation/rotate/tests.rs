//! Tests of proofs, of their failures, and of updates of tags: which calls each step makes, and the state after the
//! step.

use chrono::TimeDelta;

use super::lab::Lab;
use super::samples::{Peers, USER, ours, start, stored, unavailable};
use super::*;
use crate::rotation::samples::failed;
use crate::token::version::tag;

/// Returns peers whose newest version Perennial wrote an hour ago.
fn recent() -> Peers {
    let peers = Peers::new();
    peers.all().versions = vec![stored("v0", "old", -120), ours("v1", "rt", -60, "v0")];
    peers
}

#[tokio::test(start_paused = true)]
async fn a_proof_of_a_recent_rotation_saves_nothing() {
    let peers = recent();
    peers.all().accepts = Some(true);
    let mut lab = Lab::new(&peers, |grant| grant.verify = Verify::PartnerCenter);

    let events = lab.step(Next::Prove).await;

    assert_eq!(events, ["VersionSeen", "Proved"]);
    assert_eq!(lab.calls, ["newest", "list", "app: newest", "redeem rt with s1", "ask"]);
    assert!(matches!(lab.state.phase, Phase::Current));
    assert_eq!(lab.state.proved_at(), Some(start()));
    assert!(!lab.rotator.hold.is_successor());
    assert_eq!(lab.step(Next::Prove).await, ["Proved"], "the version was seen and its history is searched");
    assert_eq!(lab.calls, ["newest", "app: newest", "redeem rt with s1", "ask"]);
}

#[tokio::test(start_paused = true)]
async fn a_rotation_holds_its_successor_until_the_vault_shows_it() {
    let peers = Peers::new();
    let mut lab = Lab::new(&peers, |_| {});

    lab.step(Next::Prove).await;
    assert_eq!(lab.calls, ["newest", "list", "app: newest", "redeem rt with s1"]);
    assert!(lab.rotator.hold.is_successor());
    assert_eq!(lab.held().as_deref(), Some("rt+"));
    let events = lab.step(Next::Save).await;

    assert_eq!(events, ["Rotated"]);
    assert_eq!(lab.calls, ["newest", "write rt+", "list"]);
    assert!(!lab.rotator.hold.is_successor());
    assert_eq!(lab.state.known().and_then(|facts| facts.user_oid.as_deref()), Some(USER));
    assert_eq!(lab.state.proved_at(), Some(start()));
}

#[tokio::test(start_paused = true)]
async fn a_rotation_can_be_forced_and_a_strict_token_is_always_rotated() {
    for (force, strict, rotates) in
        [(false, false, false), (true, false, true), (false, true, true), (true, true, true)]
    {
        let peers = recent();
        let mut rotator = peers.rotator(|grant| grant.strict = strict);

        let stepped = rotator.prove(State::unknown(start()), force).await;

        assert_eq!(stepped.state.is_unsaved(), rotates, "{force} {strict}");
        assert_eq!(rotator.hold.is_successor(), rotates, "{force} {strict}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_rotation_that_is_due_waits_for_a_day_with_room_for_all_its_calls() {
    let peers = recent();
    for (calls, rotates) in [(52, true), (53, false)] {
        let mut lab = Lab::new(&peers, |_| {});
        lab.state.listed = 1;
        lab.state.searched = Some(VersionId("v1".into()));
        peers.all().versions[1].version.tags.insert(tag::ISSUED_AT, "2026-02-01T00:00:00Z");
        lab.state.note_vault_calls(calls, start());

        lab.step(Next::Prove).await;

        assert_eq!(lab.state.is_unsaved(), rotates, "{calls}");
        assert_eq!(lab.state.proved_at(), Some(start()), "{calls}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_issuer_that_returns_the_same_token_needs_no_save() {
    let peers = Peers::new();
    peers.all().returns_same = true;
    let mut rotator = peers.rotator(|_| {});

    let state = rotator.prove(State::unknown(start()), true).await.state;
    assert!(!state.is_unsaved() && schedule::is_same_token(&state));
    tokio::time::advance(std::time::Duration::from_secs(60)).await;
    let state = rotator.prove(state, true).await.state;

    let since = |state: &State| state.known().and_then(|facts| facts.same_token_at);
    assert_eq!(since(&state), Some(start()), "the first answer counts");
    peers.all().returns_same = false;
    let state = rotator.prove(state, false).await.state;
    assert_eq!(since(&state), None);
}

#[tokio::test(start_paused = true)]
async fn a_peek_only_reads_the_newest_version() {
    let peers = Peers::new();
    let mut rotator = peers.rotator(|_| {});

    let peeked = rotator.peek(State::unknown(start())).await;

    assert_eq!(peers.calls(), ["newest"]);
    assert_eq!(peeked.state.newest.map(|newest| newest.id), Some(VersionId("v0".into())));
    peers.fail("newest", unavailable());
    let failed = rotator.peek(State::unknown(start())).await.state;
    assert_eq!(failed.failure().map(|failure| failure.kind), Some(Kind::VaultUnreachable));
}

#[tokio::test(start_paused = true)]
async fn a_wait_does_nothing_and_ends_the_place_in_line() {
    let peers = Peers::new();
    let mut lab = Lab::new(&peers, |_| {});
    lab.state.in_line = true;

    assert_eq!(lab.step(Next::Wait(start())).await, [""; 0]);

    assert!(lab.calls.is_empty() && !lab.state.in_line);
}

#[tokio::test(start_paused = true)]
async fn a_secret_that_vanished_was_deleted_and_one_never_seen_was_never_there() {
    let peers = Peers::new();
    let mut lab = Lab::new(&peers, |_| {});

    peers.fail("newest", VaultError::NotFound);
    lab.step(Next::Prove).await;
    assert_eq!(lab.kind(), Some(Kind::NeverSignedIn));
    lab.step(Next::Prove).await;
    assert_eq!(lab.kind(), None);
    let Phase::Unsaved(_) = lab.state.phase else { panic!("a sign-in is rotated") };
    lab.step(Next::Save).await;
    for (error, kind) in [
        (VaultError::NotFound, Kind::SecretDeleted),
        (VaultError::Disabled, Kind::TurnedOff),
        (unavailable(), Kind::VaultUnreachable),
    ] {
        lab.state.clear_failures();
        peers.fail("newest", error.clone());
        let events = lab.step(Next::Prove).await;
        assert_eq!(lab.kind(), Some(kind));
        let turned_off = events.iter().any(|event| event == "TurnedOff");
        assert_eq!(turned_off, error == VaultError::Disabled, "{error:?}");
    }
    let action = lab.rotator.own(&lab.state, &VaultError::NotFound).action.unwrap_or_default();
    assert!(action.contains("az keyvault secret recover --vault-name contoso --name token"), "{action}");
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_new_until_its_kind_repeats() {
    let peers = recent();
    let mut rotator = peers.rotator(|_| {});
    let mut state = State::unknown(start());
    let mut told = Vec::new();
    for error in [unavailable(), unavailable(), VaultError::Disabled, VaultError::Disabled] {
        peers.fail("newest", error);
        let stepped = rotator.prove(state, false).await;
        state = stepped.state;
        for event in stepped.events {
            match event {
                Event::Failed { is_new, attempts, saving, .. } => {
                    told.push(format!("{is_new} {attempts:?} {saving}"));
                }
                other => told.push(format!("{other:?}")),
            }
        }
    }

    let outage = ["true Some(1) false", "false Some(2) false"];
    assert_eq!(told, [&outage[..], &["TurnedOff", "true None false", "false None false"]].concat());
}

#[tokio::test(start_paused = true)]
async fn a_successful_read_clears_failures_of_reads_unless_a_save_failed() {
    let unread = || Failure::new(Kind::VaultRefused, Remedy::Operator, FailureSubject::Token, "x");
    let peers = Peers::new();
    let mut lab = Lab::new(&peers, |_| {});
    lab.step(Next::Prove).await;
    let unsaved = lab.state.clone();
    lab.step(Next::Save).await;
    for (state, is_cleared) in [(lab.state.clone(), true), (unsaved, false)] {
        let mut state = failed(state, unread(), start(), 1);

        let mut attempt = Attempt::new(Uuid::nil());
        lab.rotator.read_newest(&mut state, &mut attempt).await.expect("it can be read");

        assert_eq!(state.failure().is_none(), is_cleared);
    }
}

#[tokio::test(start_paused = true)]
async fn a_new_version_is_news_and_only_an_unexpected_one_is_foreign() {
    let hour = TimeDelta::hours(1);
    for (what, is_ours, refused, is_foreign, awaited) in [
        ("another writer's", false, false, true, false),
        ("another instance's", true, false, false, false),
        ("the sign-in that was asked for", false, true, false, true),
    ] {
        let peers = recent();
        let mut lab = Lab::new(&peers, |_| {});
        lab.step(Next::Prove).await;
        lab.state.foreign_rotated_at = Some(start() - hour);
        if refused {
            let refusal = Failure::new(Kind::LoginRequired, Remedy::Login, FailureSubject::Grant, "x");
            lab.state = failed(lab.state, refusal, start(), 1);
        }
        peers.all().versions.push(if is_ours { ours("v2", "x", 0, "v1") } else { stored("v2", "x", 0) });

        let mut attempt = Attempt::new(Uuid::nil());
        lab.rotator.read_newest(&mut lab.state, &mut attempt).await.expect("it can be read");
        assert!(matches!(attempt.events[..], [Event::VersionSeen(_)]), "{what}: {:?}", attempt.events);
        assert_eq!(lab.state.foreign_writer.is_some(), is_foreign, "{what}");
        assert_eq!(lab.state.foreign_rotated_at.is_none(), awaited, "{what}");
        lab.rotator.read_newest(&mut lab.state, &mut attempt).await.expect("it can be read");
        assert_eq!(attempt.events.len(), 1, "{what}: the same version is no news");
    }
}

#[tokio::test(start_paused = true)]
async fn the_first_read_tells_what_the_process_before_left() {
    let peers = recent();
    peers.all().versions[1].version.tags.insert(tag::TOLD, "00000007");
    let mut lab = Lab::new(&peers, |_| {});

    lab.step(Next::Prove).await;

    assert!(matches!(lab.state.inherited, Some(Inherited::Told(_))), "{:?}", lab.state.inherited);
}

#[tokio::test(start_paused = true)]
async fn an_outage_of_the_vault_begins_the_wait_for_a_mark_again() {
    let peers = Peers::new();
    let mut lab = Lab::new(&peers, |grant| grant.strict = true);
    let mark = crate::rotation::strict::Mark::new(
        &peers.all().versions[0].version,
        Uuid::from_u128(1),
        "rotate",
        start(),
    );
    lab.state.sighted = Some(Box::new((mark, start() - TimeDelta::minutes(4))));
    let sighted = |lab: &Lab<'_>| lab.state.sighted.as_ref().map(|seen| seen.1);

    peers.fail("newest", unavailable());
    lab.step(Next::Prove).await;

    assert_eq!(sighted(&lab), Some(start()));
}

#[tokio::test(start_paused = true)]
async fn partner_center_is_asked_only_if_wanted_and_within_its_limit() {
    let peers = recent();
    let asked = async |lab: &mut Lab<'_>| {
        let events = lab.step(Next::Prove).await;
        (lab.calls.iter().any(|call| call == "ask"), events.last().cloned().unwrap_or_default())
    };
    let mut unasked = Lab::new(&peers, |_| {});
    assert_eq!(asked(&mut unasked).await, (false, "Proved".into()));

    let mut lab = Lab::new(&peers, |grant| grant.verify = Verify::PartnerCenter);
    assert_eq!(asked(&mut lab).await, (true, "PartnerCenterUnknown".into()));
    assert!(lab.state.known().is_some_and(|facts| facts.verdict.is_none()));
    peers.all().accepts = Some(false);
    assert_eq!(asked(&mut lab).await, (true, "PartnerCenterRefused".into()));
    peers.all().accepts = Some(true);
    assert_eq!(asked(&mut lab).await, (true, "Proved".into()));
    let mut count = 3;
    while asked(&mut lab).await.0 {
        count += 1;
    }
    assert_eq!(count, 12);
}

#[tokio::test(start_paused = true)]
async fn a_reload_makes_everything_due_but_keeps_a_held_successor() {
    let peers = Peers::new();
    let mut lab = Lab::new(&peers, |_| {});
    let failure =
        || Failure::new(Kind::AppCredentialRefused, Remedy::Operator, FailureSubject::AppCredential, "x");
    let later = start() + TimeDelta::hours(1);
    lab.step(Next::Prove).await;
    let held = failed(lab.state.clone(), failure(), later, 1);
    lab.step(Next::Save).await;
    let blocked = failed(lab.state.clone(), failure(), later, 1);

    for (state, is_held) in [(held, true), (blocked, false)] {
        let reloaded = lab.rotator.reload(state);
        let times = reloaded.blocked.as_ref().map(|blocked| (blocked.next_check_at, blocked.again_at));
        assert_eq!(times, Some((start(), start())));
        assert_eq!(reloaded.is_unsaved(), is_held);
        assert!(is_held || matches!(reloaded.phase, Phase::Unproved { due_at } if due_at == start()));
    }
}

#[tokio::test(start_paused = true)]
async fn tags_that_could_not_be_written_are_tried_again_an_hour_later() {
    let peers = recent();
    let mut lab = Lab::new(&peers, |_| {});
    lab.step(Next::Prove).await;
    let tags = Tags::from([("a", "b")]);

    peers.fail("tag", unavailable());
    assert_eq!(lab.step(Next::UpdateTags(tags.clone())).await, ["TagsNotUpdated"]);
    assert_eq!(lab.state.mark_after, Some(start() + TimeDelta::hours(1)));
    assert_ne!(lab.state.newest.as_ref().map(|newest| &newest.tags), Some(&tags));
    assert_eq!(lab.step(Next::UpdateTags(tags.clone())).await, [""; 0]);

    assert_eq!(lab.state.newest.as_ref().map(|newest| &newest.tags), Some(&tags));
    assert_eq!(peers.tags("v1"), tags);
}

#[tokio::test(start_paused = true)]
async fn a_definite_failure_is_recorded_although_the_search_for_a_predecessor_was_interrupted() {
    let useless = || {
        let failure = Failure::new(Kind::LoginRequired, Remedy::Operator, FailureSubject::Grant, "x");
        Failure { never_was_a_token: true, ..failure }
    };
    let hindered = |remedy| Failure::new(Kind::VaultUnreachable, remedy, FailureSubject::History, "y");
    for (remedy, known, is_settled) in [
        (Remedy::Retry, None, true),
        (Remedy::Retry, Some(false), true),
        (Remedy::Retry, Some(true), false),
        (Remedy::Operator, None, false),
    ] {
        let peers = recent();
        let mut lab = Lab::new(&peers, |_| {});
        lab.step(Next::Prove).await;
        if let Some(is_confirmed) = known {
            let before = Failure { kind: Kind::PolicyBlocked, ..useless() };
            lab.state = failed(lab.state, before, start(), 1);
            lab.state.blocked.as_mut().expect("blocked").is_confirmed = is_confirmed;
        }

        let mut attempt = Attempt::new(Uuid::nil());
        lab.rotator.settle(&mut lab.state, useless(), &hindered(remedy), &mut attempt);

        assert_eq!(lab.kind() == Some(Kind::LoginRequired), is_settled, "{remedy:?} {known:?}");
        assert_eq!(attempt.events.len(), usize::from(is_settled), "{remedy:?} {known:?}");
    }
}
