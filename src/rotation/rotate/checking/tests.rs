//! Tests of the checks for a person's action: what a check reads, and which changes it finds.

use chrono::TimeDelta;

use super::*;
use crate::ports::failure::Kind;
use crate::rotation::rotate::lab::Lab;
use crate::rotation::rotate::samples::{Peers, start, stored, unavailable};
use crate::rotation::samples::{address, failed};
use crate::rotation::schedule::{Next, WATCH_EVERY};
use crate::token::app::ManagedApp;
use crate::token::secret::{ConfigValue, Source};
use crate::token::version::tag;

/// Returns a token that was proved and that now waits for a person, because of this failure.
async fn waiting(peers: &Peers, kind: Kind, about: FailureSubject) -> Lab<'_> {
    let mut lab = Lab::new(peers, |_| {});
    lab.step(Next::Prove).await;
    lab.step(Next::Save).await;
    let failure = Failure::new(kind, Remedy::Operator, about, "as told");
    lab.state = failed(lab.state, failure, start(), 1);
    lab.state.blocked.as_mut().expect("blocked").checks = 1;
    lab
}

/// Carries out one check. Returns whether it found a change.
async fn finds_news(lab: &mut Lab<'_>) -> bool {
    let events = lab.step(Next::CheckVault).await;
    !events.is_empty()
}

#[tokio::test(start_paused = true)]
async fn without_a_failure_nothing_is_checked() {
    let peers = Peers::new();
    let mut lab = Lab::new(&peers, |_| {});

    assert!(!finds_news(&mut lab).await && lab.calls.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_check_is_repeated_after_a_minute_and_news_makes_the_attempt_due() {
    let peers = Peers::new();
    let mut lab = waiting(&peers, Kind::LoginRequired, FailureSubject::Grant).await;
    let times = |lab: &Lab<'_>| {
        let blocked = lab.state.blocked.as_ref().expect("still blocked");
        (blocked.next_check_at, blocked.checks)
    };

    assert!(!finds_news(&mut lab).await);
    assert_eq!((lab.calls.as_slice(), times(&lab)), (&["newest".to_owned()][..], (start() + WATCH_EVERY, 2)));
    peers.store("v9", "sign-in", 0);
    assert!(finds_news(&mut lab).await);

    assert_eq!(times(&lab), (start(), 0));
    assert_eq!(lab.state.blocked.as_ref().map(|blocked| blocked.again_at), Some(start()));
}

#[tokio::test(start_paused = true)]
async fn a_change_of_the_token_is_news() {
    let mark = |peers: &Peers, is_on: bool| {
        let mut all = peers.all();
        let tags = &mut all.versions.last_mut().expect("one").version.tags;
        if is_on {
            tags.insert(tag::REFUSED_AT, "2026-03-01T00:00:00Z");
        } else {
            tags.remove(tag::REFUSED_AT);
        }
    };
    for (known_mark, new_mark, is_news) in
        [(false, false, false), (true, true, false), (true, false, true), (false, true, false)]
    {
        let peers = Peers::new();
        let mut lab = waiting(&peers, Kind::LoginRequired, FailureSubject::Grant).await;
        mark(&peers, known_mark);
        lab.state.newest = peers.all().versions.last().map(|newest| newest.version.clone());
        mark(&peers, new_mark);

        assert_eq!(finds_news(&mut lab).await, is_news, "{known_mark} {new_mark}");
    }
    let peers = Peers::new();
    let mut unread = waiting(&peers, Kind::VaultRefused, FailureSubject::Token).await;
    assert!(finds_news(&mut unread).await, "the token can be read again");
    for (kind, is_news) in [(Kind::LoginRequired, true), (Kind::TurnedOff, false)] {
        let mut lab = waiting(&peers, kind, FailureSubject::Token).await;
        peers.fail("newest", VaultError::Disabled);
        assert_eq!(finds_news(&mut lab).await, is_news, "{kind:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn checks_after_a_failed_list_alternate_between_the_list_and_the_token() {
    let peers = Peers::new();
    let mut lab = waiting(&peers, Kind::VaultRefused, FailureSubject::History).await;
    let mut calls = Vec::new();
    for _ in 0..4 {
        peers.fail("list", unavailable());
        assert!(!finds_news(&mut lab).await);
        calls.append(&mut lab.calls);
    }
    assert_eq!(calls, ["newest", "list", "newest", "list"]);

    peers.all().faults.clear();
    lab.state.blocked.as_mut().expect("blocked").checks = 2;
    assert!(finds_news(&mut lab).await, "the versions can be listed");
}

#[tokio::test(start_paused = true)]
async fn a_change_of_the_apps_credential_is_news_and_the_token_is_read_each_20th_time() {
    let peers = Peers::new();
    for (about, expected) in
        [(FailureSubject::AppCredential, false), (FailureSubject::CredentialSource, true)]
    {
        let mut lab = waiting(&peers, Kind::AppCredentialRefused, about).await;
        assert_eq!(finds_news(&mut lab).await, expected, "{about:?}");
        assert_eq!(lab.calls, ["app: newest"], "a wrong client secret stays wrong");
        assert_eq!(
            lab.state.blocked.as_ref().map(|blocked| blocked.next_check_at),
            Some(if expected { start() } else { start() + WATCH_EVERY })
        );
    }
    let mut lab = waiting(&peers, Kind::AppCredentialRefused, FailureSubject::AppCredential).await;
    peers.all().app.push(stored("a2", "s2", 0));
    assert!(finds_news(&mut lab).await, "a new client secret");
    peers.all().app.pop();

    for (checks, is_news) in [(19, false), (20, true), (21, false), (40, true)] {
        let peers = Peers::new();
        let mut lab = waiting(&peers, Kind::AppCredentialRefused, FailureSubject::AppCredential).await;
        peers.store("v9", "sign-in", 0);
        let mut state = lab.state.clone();
        state.blocked.as_mut().expect("blocked").checks = checks;
        let stepped = lab.rotator.check_vault(state).await;
        assert_eq!(!stepped.events.is_empty(), is_news, "{checks}");
    }
    let mut lab = waiting(&peers, Kind::AppCredentialRefused, FailureSubject::AppCredential).await;
    peers.fail("app: newest", unavailable());
    assert!(!finds_news(&mut lab).await, "an outage is no news");
}

#[tokio::test(start_paused = true)]
async fn a_credential_that_entra_may_accept_later_is_tried_again() {
    let peers = Peers::new();
    let place = Source::Secret(address("app-secret"));
    let assertion = ManagedApp {
        credential: CredentialSource::Assertion(place.clone()),
        ..(*crate::rotation::samples::app(place)).clone()
    };
    let mut lab = Lab::new(&peers, |grant| grant.app = assertion.into());
    lab.step(Next::Prove).await;
    let failure =
        Failure::new(Kind::AppCredentialRefused, Remedy::Operator, FailureSubject::AppCredential, "x");
    lab.state = failed(lab.state, failure, start(), 1);
    lab.state.blocked.as_mut().expect("blocked").checks = 1;

    peers.reject("s1", "invalid_client", 700_024);
    assert!(!finds_news(&mut lab).await);
    assert_eq!(lab.calls, ["app: newest", "authenticate with s1"]);
    peers.all().rejects.clear();
    assert!(finds_news(&mut lab).await);
}

#[test]
fn a_check_that_makes_more_calls_is_made_less_often() {
    let peers = Peers::new();
    let local = ManagedApp::with_secret(ConfigValue::Plain("app".into()), Source::Env("SECRET".into()));
    let id = ConfigValue::From(Source::Secret(address("app-id")));
    let secret = CredentialSource::Secret(Source::Secret(address("app-secret")));
    // For a key in Key Vault, a check makes two calls: a read of the certificate, and a signature with the key.
    let key = CredentialSource::VaultKey(address("key"));
    for (app, calls) in [
        (local.clone(), 1),
        (ManagedApp { credential: secret.clone(), ..local.clone() }, 1),
        (ManagedApp { client_id: id.clone(), credential: secret, ..local.clone() }, 2),
        (ManagedApp { credential: key.clone(), ..local.clone() }, 2),
        (ManagedApp { client_id: id, credential: key, ..local }, 3),
    ] {
        let mut lab = Lab::new(&peers, |grant| grant.app = app.clone().into());
        let failure =
            Failure::new(Kind::AppCredentialRefused, Remedy::Operator, FailureSubject::AppCredential, "x");
        lab.state = failed(lab.state, failure, start(), 1);
        assert_eq!(lab.rotator.credential_secrets(), calls, "{app:?}");

        // The wait after a check grows with the number of its calls. `Timing::correct` does not shorten this wait.
        let due_at = start() + WATCH_EVERY * calls;
        lab.state.blocked.as_mut().expect("blocked").next_check_at = due_at;
        lab.rotator.timing.correct(&mut lab.state, start());
        assert_eq!(lab.state.blocked.expect("blocked").next_check_at, due_at, "{app:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_right_to_save_is_news_and_its_trial_counts_its_own_calls() {
    let peers = Peers::new();
    let mut lab = Lab::new(&peers, |grant| grant.strict = true);
    lab.step(Next::Prove).await;
    lab.step(Next::Save).await;
    let forbidden = || VaultError::Forbidden(crate::ports::Forbidden::Policy { caller: None });
    let failure = Failure::new(Kind::VaultRefused, Remedy::Operator, FailureSubject::Saving, "x");
    lab.state = failed(lab.state, failure, start(), 1);
    // This check does not count its first read towards the limit of vault calls.
    let check = async |lab: &mut Lab<'_>| {
        let now = lab.rotator.clock.now();
        let stepped = lab.rotator.check_vault(lab.state.clone()).await;
        let next_check_at = stepped.state.blocked.map(|blocked| blocked.next_check_at - now);
        let free = stepped.state.watch.room_at(87, now) - lab.state.watch.room_at(87, now);
        (!stepped.events.is_empty(), peers.calls().len(), next_check_at, free.num_minutes())
    };

    for (fails, calls, checks, minutes) in [("newest", 1, 1, 0), ("write", 2, 1, 1), ("tag", 3, 2, 2)] {
        peers.fail(fails, forbidden());
        assert_eq!(check(&mut lab).await, (false, calls, Some(WATCH_EVERY * checks), minutes), "{fails}");
    }
    assert_eq!(check(&mut lab).await, (true, 3, Some(TimeDelta::zero()), 2));
}

#[test]
fn a_read_that_fails_for_another_reason_is_news() {
    use FailureSubject::{AppCredential, Grant, History, Token};
    use Remedy::{Operator, Retry};
    let version = crate::rotation::samples::version("v", start());
    let failure = |kind, remedy, about, summary: &'static str| Failure::new(kind, remedy, about, summary);
    for (what, about, (kind, remedy, now_about), is_news, is_updated) in [
        ("another text", Token, (Kind::VaultRefused, Operator, Token), false, true),
        ("another kind", Token, (Kind::SecretDeleted, Operator, Token), true, false),
        ("an outage", Token, (Kind::VaultUnreachable, Retry, Token), false, false),
        ("another subject", History, (Kind::SecretDeleted, Operator, Token), false, false),
        ("a rejected token that cannot be read", Grant, (Kind::SecretDeleted, Operator, Token), true, false),
        ("an outage of a rejected token", Grant, (Kind::VaultUnreachable, Retry, Token), false, false),
        ("a rejected token and an app", Grant, (Kind::SecretDeleted, Operator, AppCredential), false, false),
        ("an app and its token", AppCredential, (Kind::SecretDeleted, Operator, Token), false, false),
    ] {
        let known = failure(Kind::VaultRefused, Operator, about, "before");
        let mut state = failed(crate::rotation::samples::proved(version.clone(), start()), known, start(), 1);

        let found = is_unread_otherwise(&mut state, failure(kind, remedy, now_about, "now"));

        assert_eq!(found, is_news, "{what}");
        let summary = state.failure().map(|failure| failure.summary.clone());
        assert_eq!(summary.as_deref(), Some(if is_updated { "now" } else { "before" }), "{what}");
    }
    let unblocked = &mut State::unknown(start());
    assert!(!is_unread_otherwise(unblocked, failure(Kind::VaultRefused, Operator, Token, "x")));
}
