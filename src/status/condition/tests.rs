//! Tests of the conditions that a daemon derives from token states.

use std::sync::Arc;

use super::*;
use crate::ports::failure::{Failure, Remedy, Trace};
use crate::ports::{Acceptance, Forbidden, SecretRole, VaultError};
use crate::rotation::samples;
use crate::rotation::state::{Phase, State};
use crate::status::samples::snapshot;
use crate::status::sink_health::undeliverable;
use crate::status::snapshot::TokenState;
use crate::token::managed::{ManagedToken, Verify};
use crate::token::version::{Version, tag};

mod limits;

fn now() -> Timestamp {
    Timestamp::from_timestamp(1_770_000_000, 0).expect("in range")
}

/// Returns the conditions of a token proved three days ago. `failing`: a failure's kind, remedy and number of attempts.
fn kinds(phase: Phase, failing: Option<(Kind, Remedy, u32)>) -> Vec<Kind> {
    let state = State { phase, ..proved_three_days_ago() };
    let Some((kind, remedy, attempts)) = failing else { return kinds_of_state(&state) };
    let failure = Failure::new(kind, remedy, FailureSubject::Token, "as told");
    kinds_of_state(&samples::failed(state, failure, now() - TimeDelta::days(2), attempts))
}

fn proved_three_days_ago() -> State {
    samples::proved(version(), now() - TimeDelta::days(3))
}

fn drawn(name: &str, state: &State) -> Snapshot {
    let grant = ManagedToken {
        secret: samples::address("partner-refresh-token"),
        verify: Verify::PartnerCenter,
        ..samples::grant(name)
    };
    snapshot(grant, state, now(), now())
}

fn kinds_of_state(state: &State) -> Vec<Kind> {
    let snapshot = drawn("partner-center", state);
    conditions(&[snapshot], TimeDelta::zero(), now()).iter().map(|condition| condition.kind).collect()
}

fn version() -> Version {
    samples::version("v", now() - TimeDelta::days(3))
}

fn unsaved() -> Phase {
    Phase::Unsaved(Box::new(samples::pending(version(), now())))
}

#[test]
fn overdue_is_suppressed_when_another_condition_explains_it() {
    let retry = Remedy::Retry;
    assert_eq!(kinds(Phase::Current, None), [Kind::Overdue]);
    assert_eq!(kinds(Phase::Current, Some((Kind::EntraUnreachable, retry, 2))), [Kind::Overdue]);
    assert_eq!(kinds(Phase::Current, Some((Kind::EntraUnreachable, retry, 3))), [Kind::EntraUnreachable]);
    assert_eq!(kinds(Phase::Current, Some((Kind::LoginRequired, Remedy::Login, 1))), [Kind::LoginRequired]);
    assert_eq!(kinds(Phase::Current, Some((Kind::TurnedOff, Remedy::Operator, 1))), [Kind::TurnedOff]);
}

#[test]
fn an_untried_new_version_is_overdue_after_15_minutes() {
    let unproved = |minutes: i64, blocked: Option<Kind>| {
        let due_at = now() - TimeDelta::minutes(minutes);
        let mut state = State::unknown(due_at);
        state.newest = Some(version());
        let Some(kind) = blocked else { return state };
        let failure = Failure::new(kind, Remedy::Login, FailureSubject::Grant, "refused");
        let mut state = samples::failed(state, failure, due_at, 1);
        state.blocked.as_mut().expect("refused").is_confirmed = false;
        state
    };

    assert_eq!(kinds_of_state(&unproved(14, None)), []);
    assert_eq!(kinds_of_state(&unproved(16, None)), [Kind::Overdue]);
    let unconfirmed = unproved(16, Some(Kind::LoginRequired));
    assert_eq!(kinds_of_state(&unconfirmed), [Kind::Overdue], "its confirmation waits for the day's calls");
}

#[test]
fn a_write_that_fails_once_is_no_incident() {
    let down = |attempts| Some((Kind::VaultUnreachable, Remedy::Retry, attempts));

    assert!(!kinds(unsaved(), down(1)).contains(&Kind::Unsaved));
    let mut told = kinds(unsaved(), down(3));
    told.sort();
    assert_eq!(told, [Kind::VaultUnreachable, Kind::Unsaved]);
}

#[test]
fn a_successor_held_for_days_is_not_overdue_once_saved() {
    let saved = State { last_rotation_at: Some(now()), ..proved_three_days_ago() };

    assert_eq!(kinds_of_state(&saved), []);
}

/// The action text for a rejection by the vault or the issuer.
fn action_of(failure: Failure, newest: Version) -> String {
    let unproved = State { newest: Some(newest), ..State::unknown(now()) };
    let state = samples::failed(unproved, failure, now(), 1);
    let snapshot = snapshot(samples::grant("partner-center"), &state, now(), now());
    let [told] = conditions(&[snapshot], TimeDelta::zero(), now()).try_into().expect("one");
    told.action
}

#[test]
fn a_denied_app_secret_asks_for_a_role_on_that_secret() {
    let refused = VaultError::Forbidden(Forbidden::Rbac {
        action: None,
        caller: Some("0c0ffee0-1111-4111-8111-111111111111".into()),
    });
    let told = |asked, name| action_of(refused.failure(asked, &samples::address(name)), version());

    let (own, source) = (told(SecretRole::Own, "token"), told(SecretRole::Source, "app-secret"));

    assert!(own.contains("\"Perennial Secret Rotator\"") && own.contains("/secrets/token\""), "{own}");
    assert!(source.contains("\"Key Vault Secrets User\""), "{source}");
    assert!(source.contains("/secrets/app-secret\"") && !source.contains("Rotator"), "{source}");
}

#[test]
fn a_disabled_account_is_named_by_its_object_id_and_by_nothing_else() {
    const OID: &str = "00000000-0000-0000-0000-0000000000aa";
    let disabled = || Failure::new(Kind::AccountDisabled, Remedy::Operator, FailureSubject::Grant, "as told");
    let noted = |user| Version { tags: [(tag::USER_OID, user)].into(), ..version() };

    let known = action_of(disabled(), noted(OID));
    let unknown = action_of(disabled(), noted("$(reboot)"));

    assert!(known.contains(&format!("`az ad user update --id {OID} --account-enabled true`")), "{known}");
    assert!(unknown.contains("Entra admin center") && !unknown.contains("reboot"), "{unknown}");
}

#[test]
fn a_rejection_by_a_policy_names_its_correlation_id() {
    let blocked = Failure::new(Kind::PolicyBlocked, Remedy::Operator, FailureSubject::Grant, "as told");
    let with_id = Failure {
        trace: Trace { correlation_id: Some("c0ffee".into()), ..Trace::default() },
        ..blocked.clone()
    };

    assert!(action_of(with_id, version()).contains("by correlation id c0ffee"));
    assert!(action_of(blocked, version()).contains("by app app"));
}

#[test]
fn a_rejection_by_partner_center_holds_until_it_accepts() {
    let heard = |accepted, mfa| heard(said(accepted, mfa), now() - TimeDelta::days(3));

    assert_eq!(kinds_of_state(&heard(false, None)), [Kind::PartnerCenterRefused]);
    assert_eq!(kinds_of_state(&heard(false, Some(false))), [Kind::MfaRequired]);
    assert_eq!(drawn("a", &heard(true, Some(true))).accepted(), None, "a yes of three days ago is none");
    assert_eq!(drawn("a", &heard(false, None)).standing(now()), TokenState::PartnerCenterRefused);
    assert_eq!(drawn("a", &heard(false, Some(false))).standing(now()), TokenState::NeedsLogin);
}

/// Creates the state of a token that was proved now. `said` is Partner Center's verdict. `at` is the verdict's time.
fn heard(said: Acceptance, at: Timestamp) -> State {
    let mut state = samples::proved(version(), now());
    state.hear(&version().id, said, at);
    state
}

fn said(accepted: bool, mfa: Option<bool>) -> Acceptance {
    Acceptance { accepted, mfa, tenant_id: None, company: None, is_audience: false, status: 401 }
}

/// Cases: a verdict in a version's tags, the verdict's time, and the status before Perennial calls any service.
#[test]
fn a_recorded_verdict_of_partner_center_still_holds() {
    let since = now() - TimeDelta::days(40);
    for (word, at, kinds, standing, accepted) in [
        ("usable", now(), vec![], TokenState::Current, Some(true)),
        ("usable", since, vec![], TokenState::Unknown, None),
        ("usable", now() + TimeDelta::days(1), vec![], TokenState::Unknown, None),
        (
            "partner_center_refused",
            since,
            vec![Kind::PartnerCenterRefused],
            TokenState::PartnerCenterRefused,
            Some(false),
        ),
        ("mfa_required", since, vec![Kind::MfaRequired], TokenState::NeedsLogin, None),
        ("app_credential_refused", since, vec![], TokenState::Unknown, None),
        ("turned_off", since, vec![], TokenState::Unknown, None),
    ] {
        let mut version = version();
        version.tags.insert(tag::PROVED_AT, &crate::process::clock::rfc3339(now()));
        version.tags.insert(tag::VERDICT, &crate::token::version::verdict(word, at));
        let state = State { newest: Some(version), ..State::unknown(now()) };

        let drawn = drawn("a", &state);

        let told = conditions(std::slice::from_ref(&drawn), TimeDelta::zero(), now());
        assert_eq!(told.iter().map(|told| told.kind).collect::<Vec<_>>(), kinds, "{word}");
        assert!(told.iter().all(|told| told.since == since), "{word}");
        assert_eq!((drawn.standing(now()), drawn.accepted()), (standing, accepted), "{word}");
    }
}

/// Creates the state of a token that was issued a hundred days ago. Partner Center has just accepted the token.
fn old(phase: Phase, proved_days_ago: Option<i64>, failing: Option<Kind>) -> State {
    let version = samples::version("v", now() - TimeDelta::days(100));
    let mut state = State { phase, newest: Some(version.clone()), ..State::unknown(now()) };
    state.facts_of(&version.id).proved_at = proved_days_ago.map(|days| now() - TimeDelta::days(days));
    state.hear(&version.id, said(true, None), now());
    let Some(kind) = failing else { return state };
    let remedy = if kind == Kind::LoginRequired { Remedy::Login } else { Remedy::Operator };
    samples::failed(state, Failure::new(kind, remedy, FailureSubject::Grant, "as told"), now(), 1)
}

#[test]
fn a_token_past_its_expiry_is_expired_unless_redeemed_since() {
    let unproved = || Phase::Unproved { due_at: now() };
    let end = now() - TimeDelta::days(10);
    let (told, nothing) = (Some(end), None);
    let blocked = Some(Kind::AppCredentialRefused);
    for (what, state, standing, expired) in [
        ("never redeemed", old(unproved(), None, None), TokenState::Expired, told),
        ("redeemed before its end", old(Phase::Current, Some(11), None), TokenState::Expired, told),
        ("and blocked", old(Phase::Current, Some(11), blocked), TokenState::Expired, told),
        ("and refused", old(Phase::Current, Some(11), Some(Kind::LoginRequired)), TokenState::Expired, told),
        ("redeemed after its end", old(Phase::Current, Some(0), None), TokenState::Current, nothing),
        ("long after", old(Phase::Current, Some(9), None), TokenState::Unknown, nothing),
        ("off", old(unproved(), None, Some(Kind::TurnedOff)), TokenState::Off, nothing),
        ("held", State { phase: unsaved(), ..old(unproved(), None, None) }, TokenState::Unsaved, nothing),
    ] {
        let drawn = drawn("a", &state);

        let all = conditions(std::slice::from_ref(&drawn), TimeDelta::zero(), now());
        let ended = [Kind::TokenExpired, Kind::LoginRequired];
        let login = all.iter().find(|one| ended.contains(&one.kind) && one.summary.contains("expired on"));
        assert_eq!(drawn.standing(now()), standing, "{what}");
        assert_eq!(login.map(|one| one.since), expired, "{what}");
        if let Some(login) = login {
            assert_eq!((login.severity, login.remedy), (Severity::Critical, Remedy::Login), "{what}");
            assert_eq!(login.runway_seconds, Some(0), "{what}");
            assert!(login.summary.contains("the token expired on 2026-"), "{what}: {}", login.summary);
            assert!(!all.iter().any(|one| one.kind == Kind::Overdue), "{what}: it says why");
        }
    }
}

#[test]
fn an_unknown_state_is_not_shown_as_current() {
    let accepted_at = |at| heard(said(true, None), at);
    let standing = |state: &State| drawn("a", state).standing(now());

    assert_eq!(standing(&accepted_at(now())), TokenState::Current);
    let silent = accepted_at(now() - TimeDelta::days(3));
    assert_eq!(standing(&silent), TokenState::Unknown, "Partner Center is silent");
    let never = samples::proved(version(), now());
    assert_eq!(standing(&never), TokenState::Unknown, "Partner Center has never said so");

    let mut version = version();
    version.tags.insert(tag::PROVED_AT, &crate::process::clock::rfc3339(now()));
    let found = |version| State { newest: Some(version), ..State::unknown(now()) };
    assert_eq!(standing(&found(version.clone())), TokenState::Unknown, "redeemed by the process before");
    version.tags.insert(tag::VERDICT, &crate::token::version::verdict(crate::token::version::USABLE, now()));
    assert_eq!(standing(&found(version.clone())), TokenState::Current, "and accepted");
    version.tags.insert(tag::REFUSED_AT, &crate::process::clock::rfc3339(now()));
    version.tags.insert(tag::REFUSED_KIND, Kind::LoginRequired.as_str());
    assert_eq!(standing(&found(version)), TokenState::Unknown, "refused since");
}

#[test]
fn tokens_of_one_app_share_its_conditions() {
    let ends =
        |days| State { app_secret_expires: Some(now() + TimeDelta::days(days)), ..proved_three_days_ago() };
    let snapshots = [drawn("a", &ends(9)), drawn("b", &ends(9))];

    let all = conditions(&snapshots, TimeDelta::zero(), now());

    let told: Vec<_> = all.iter().filter(|condition| condition.kind == Kind::AppSecretExpiring).collect();
    assert_eq!(told.iter().map(|condition| condition.tokens.len()).collect::<Vec<_>>(), [2]);
}

/// If no access token can be obtained or used, `runway_seconds` is zero, even if the refresh token has not expired.
#[test]
fn without_a_usable_access_token_no_time_is_left() {
    let refused = |kind, remedy, about| {
        let failure = Failure::new(kind, remedy, about, "as told");
        samples::failed(proved_three_days_ago(), failure, now(), 1)
    };
    let (login, operator) = (Remedy::Login, Remedy::Operator);
    for state in [
        refused(Kind::AppCredentialRefused, operator, FailureSubject::AppCredential),
        refused(Kind::LoginRequired, login, FailureSubject::Grant),
        refused(Kind::SecretDeleted, operator, FailureSubject::Token),
        refused(Kind::NeverSignedIn, login, FailureSubject::Token),
        heard(said(false, None), now()),
        heard(said(false, Some(false)), now()),
    ] {
        let [told] = conditions(&[drawn("a", &state)], TimeDelta::zero(), now()).try_into().expect("one");
        assert_eq!((told.runway_seconds, told.severity), (Some(0), Severity::Critical), "{told:?}");
    }
    let unread = refused(Kind::VaultRefused, operator, FailureSubject::CredentialSource);
    let left = drawn("a", &unread).runway(now()).expect("its end is known");
    assert!(left > TimeDelta::days(80), "the stored token can still be redeemed");
}

/// If the token's expiry cannot be read, the time left is unknown, even if the app secret's expiry is configured.
#[test]
fn an_unreadable_token_has_no_known_expiry() {
    let failure = Failure::new(Kind::VaultRefused, Remedy::Operator, FailureSubject::Token, "as told");
    let state = samples::failed(State::unknown(now()), failure, now(), 1);
    let grant =
        ManagedToken { app_secret_expires: Some(now() + TimeDelta::days(307)), ..samples::grant("a") };

    assert_eq!(snapshot(grant, &state, now(), now()).runway(now()), None);
}

#[test]
fn of_two_hundred_tokens_the_first_few_are_named_and_the_others_counted() {
    let tokens: Vec<String> = (0..200).map(|nth| format!("customer-{nth:04}")).collect();
    let told = |count: usize| {
        let cause = Cause::token(&samples::address("token"));
        let new = Condition::new(Kind::Overdue, &cause, (Severity::Warning, Remedy::Retry), now());
        Condition { tokens: tokens[..count].to_vec(), ..new }
    };

    assert_eq!(told(200).names(1), "customer-0000 and 199 more");
    assert_eq!(told(200).names(2), "customer-0000, customer-0001 and 198 more");
    assert_eq!((told(2).names(2), told(0).names(2)), ("customer-0000, customer-0001".into(), String::new()));
}

/// Two deployments can send alerts to the same pager. The pager combines alerts that have the same incident id.
#[test]
fn two_deployments_share_an_incident_only_if_it_is_about_the_same_secret() {
    let operator = Remedy::Operator;
    let told_in = |first: &str, tokens: &[(&str, &str)]| {
        let here = Deployment { first_secret: first.into(), ..(*samples::grant("x").deployment).clone() };
        let mut told = vec![undeliverable("chat", &here, "x", (Severity::Warning, now()))];
        let mut all: Vec<Snapshot> = Vec::new();
        for (name, secret) in tokens {
            for (kind, about) in [
                (Kind::LoginRequired, FailureSubject::Grant),
                (Kind::AppCredentialRefused, FailureSubject::AppCredential),
                (Kind::VaultRefused, FailureSubject::Token),
                (Kind::VaultUnreachable, FailureSubject::Token),
                (Kind::EntraUnreachable, FailureSubject::Grant),
            ] {
                let failure = Failure::new(kind, operator, about, "as told");
                let state = samples::failed(samples::proved(version(), now()), failure, now(), 1);
                let (deployment, secret) = (Arc::new(here.clone()), samples::address(secret));
                let grant = ManagedToken { deployment, secret, ..samples::grant(name) };
                all.push(snapshot(grant, &state, now(), now()));
            }
        }
        told.extend(conditions(&all, TimeDelta::hours(9), now()));
        told.into_iter().map(|told| (told.id, told.kind)).collect::<BTreeSet<_>>()
    };
    let here = told_in("one", &[("one", "one")]);

    assert_eq!(here.len(), 7, "{here:?}");
    assert!(here.is_disjoint(&told_in("two", &[("one", "two")])), "the name alone is the same");
    let both = told_in("two", &[("two", "two"), ("renamed", "one")]);
    let shared: Vec<Kind> = here.intersection(&both).map(|(_, kind)| *kind).collect();
    assert_eq!(shared, [Kind::LoginRequired], "the token itself is the same one");
    assert_eq!(here, told_in("one", &[("renamed", "one")]), "a name may change");
}

#[test]
fn a_condition_has_the_ids_that_support_asks_for() {
    let failure = Failure::new(Kind::PolicyBlocked, Remedy::Operator, FailureSubject::Grant, "x");
    let failure = Failure { trace: Trace::of(53003), ..failure };
    let state = samples::failed(proved_three_days_ago(), failure, now(), 1);

    let drawn = conditions(&[drawn("a", &state)], TimeDelta::zero(), now());

    assert_eq!(drawn.iter().map(|condition| condition.trace.code).collect::<Vec<_>>(), [Some(53003)]);
}

#[test]
fn a_wrong_clock_is_ahead_or_behind() {
    let here = samples::grant("a").deployment;
    for (seconds, said) in [(400, "400 s behind the vault's"), (-400, "400 s ahead of the vault's")] {
        let condition = clock_skewed(TimeDelta::seconds(seconds), &here, now());

        assert!(condition.summary.ends_with(said), "{}", condition.summary);
    }
}

#[test]
fn a_foreign_writer_and_a_restored_sign_in_are_reported_for_a_day() {
    let seen = |seen_at: Timestamp| {
        let foreign_writer = Some(crate::rotation::state::ForeignWriter { since: seen_at, seen_at });
        let recent = samples::proved(version(), now());
        kinds_of_state(&State { foreign_writer, unburied_at: Some(seen_at), ..recent })
    };
    let hour = TimeDelta::hours(1);
    assert_eq!(seen(now() - TOLD_FOR + hour), [Kind::ForeignWriter, Kind::BuriedSignIn]);
    assert_eq!(seen(now() - TOLD_FOR), []);
}
