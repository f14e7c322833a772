//! Tests of the values in a snapshot: the token's state, the token's expiry, and the time that is left.

use super::*;
use crate::ports::Acceptance;
use crate::process::clock::rfc3339;
use crate::rotation::samples;
use crate::status::samples::snapshot;
use crate::token::app::ManagedApp;
use crate::token::secret::Source;
use crate::token::tags::Tags;
use crate::token::version::verdict;

fn now() -> Timestamp {
    Timestamp::from_timestamp(1_770_000_000, 0).expect("in range")
}

fn second() -> TimeDelta {
    TimeDelta::seconds(1)
}

/// Proofs and acceptances from before this time have expired. Each is valid for twelve hours, twice `prove_every`.
fn counted_from() -> Timestamp {
    now() - TimeDelta::hours(12)
}

fn version() -> Version {
    samples::version("v", now() - TimeDelta::days(3))
}

fn tagged(tags: &[(&str, &str)]) -> State {
    let tags: Tags = tags.iter().copied().collect();
    State { newest: Some(Version { tags, ..version() }), ..State::unknown(now()) }
}

fn of_state(verify: Verify, state: &State) -> Snapshot {
    snapshot(ManagedToken { verify, ..samples::grant("a") }, state, now(), now())
}

fn drawn(state: &State) -> Snapshot {
    of_state(Verify::Nothing, state)
}

fn held() -> Phase {
    Phase::Unsaved(Box::new(samples::pending(version(), now())))
}

fn proved() -> State {
    samples::proved(version(), now())
}

/// Returns the state with this failure. With the remedy `Retry`, the failure is an outage. Otherwise it blocks the
/// token.
fn failing(state: State, kind: Kind, remedy: Remedy, about: FailureSubject) -> State {
    samples::failed(state, Failure::new(kind, remedy, about, "as told"), now(), 1)
}

fn unconfirmed(mut state: State) -> State {
    state.blocked.as_mut().expect("blocked").is_confirmed = false;
    state
}

/// Returns the state of a proved token with a verdict of Partner Center. `at` is the time of the verdict.
fn heard(accepted: bool, mfa: Option<bool>, at: Timestamp) -> State {
    let mut state = proved();
    let said = Acceptance { accepted, mfa, tenant_id: None, company: None, is_audience: false, status: 200 };
    state.hear(&version().id, said, at);
    state
}

#[test]
fn only_a_strict_token_whose_successor_is_held_has_no_time_left() {
    let unsaved = failing(proved(), Kind::Unsaved, Remedy::Operator, FailureSubject::Saving);
    for (strict, state, ends_now) in [
        (false, proved(), false),
        (true, proved(), false),
        (false, State { phase: held(), ..proved() }, false),
        (true, State { phase: held(), ..proved() }, true),
        (false, unsaved.clone(), false),
        (true, unsaved, true),
    ] {
        let of = snapshot(ManagedToken { strict, ..samples::grant("a") }, &state, now(), now());
        assert_eq!(of.runway(now()).map(|left| left.is_zero()), Some(ends_now), "{strict}, {:?}", of.phase);
    }
}

#[test]
fn no_time_is_left_only_if_no_access_token_can_be_used() {
    let blocked = |kind, about| failing(proved(), kind, Remedy::Operator, about);
    for (state, ends_now) in [
        (blocked(Kind::PolicyBlocked, FailureSubject::Grant), true),
        (blocked(Kind::AppCredentialRefused, FailureSubject::AppCredential), true),
        (blocked(Kind::SecretDeleted, FailureSubject::Token), true),
        (blocked(Kind::NeverSignedIn, FailureSubject::Token), true),
        (unconfirmed(blocked(Kind::PolicyBlocked, FailureSubject::Grant)), false),
        (unconfirmed(blocked(Kind::AppCredentialRefused, FailureSubject::AppCredential)), false),
        (unconfirmed(blocked(Kind::SecretDeleted, FailureSubject::Token)), false),
        (blocked(Kind::VaultRefused, FailureSubject::Token), false),
        (blocked(Kind::AppCredentialRefused, FailureSubject::CredentialSource), false),
        (failing(proved(), Kind::EntraUnreachable, Remedy::Retry, FailureSubject::Grant), false),
    ] {
        let left = drawn(&state).runway(now()).expect("its end is known");
        assert_eq!(left.is_zero(), ends_now, "{:?}", state.failure());
    }
    for (accepted, mfa, ends_now) in [
        (true, None, false),
        (true, Some(true), false),
        (true, Some(false), true),
        (false, None, true),
        (false, Some(true), true),
    ] {
        let of = of_state(Verify::PartnerCenter, &heard(accepted, mfa, now()));
        assert_eq!(of.runway(now()).map(|left| left.is_zero()), Some(ends_now), "{accepted} {mfa:?}");
        assert_eq!((of.lacks_mfa(), of.mfa()), (mfa == Some(false), mfa));
    }
}

#[test]
fn the_time_left_ends_with_the_token_or_the_apps_secret_and_is_never_negative() {
    let days = TimeDelta::days;
    let left = |age, secret: Option<i64>, at: Timestamp| {
        let state = State {
            app_secret_expires: secret.map(|in_days| now() + days(in_days)),
            ..samples::proved(samples::version("v", now() - days(age)), now() - days(age))
        };
        drawn(&state).runway(at)
    };

    assert_eq!(left(80, None, now()), Some(days(10)));
    assert_eq!(left(80, Some(50), now()), Some(days(10)));
    assert_eq!(left(80, Some(5), now()), Some(days(5)));
    assert_eq!(left(80, Some(-1), now()), Some(TimeDelta::zero()));
    assert_eq!(left(80, None, now() + days(11)), Some(TimeDelta::zero()));
    assert_eq!(drawn(&State::unknown(now())).runway(now()), None, "nothing was read");
}

#[test]
fn a_proof_counts_for_twice_the_interval_between_proofs() {
    let proved_at = |at| drawn(&samples::proved(version(), at)).standing(now());

    assert_eq!(proved_at(counted_from()), TokenState::Current);
    assert_eq!(proved_at(counted_from() - second()), TokenState::Unknown);
    assert_eq!(drawn(&proved()).prove_every(), Duration::from_secs(6 * 60 * 60));
}

#[test]
fn an_acceptance_counts_for_twice_the_interval_between_proofs() {
    let asked = |at| of_state(Verify::PartnerCenter, &heard(true, Some(true), at));
    let (valid, late) = (asked(counted_from()), asked(counted_from() - second()));

    assert_eq!((valid.standing(now()), valid.accepted()), (TokenState::Current, Some(true)));
    assert_eq!((valid.mfa(), valid.verdict_expires_at()), (Some(true), Some(now())));
    assert_eq!((late.standing(now()), late.accepted(), late.mfa()), (TokenState::Unknown, None, None));
    assert_eq!(valid.standing(now() + second()), TokenState::Unknown, "time alone ends it");
    assert_eq!(valid.verdict_since(), Some(counted_from()));
    let unasked = drawn(&heard(false, Some(false), now()));
    assert_eq!((unasked.accepted(), unasked.verdict_expires_at()), (None, None), "it is not to be asked");
    assert_eq!(unasked.standing(now()), TokenState::Current);
}

#[test]
fn a_recorded_acceptance_counts_as_long_as_one_of_this_process() {
    let accepted =
        |at| of_state(Verify::PartnerCenter, &tagged(&[(tag::VERDICT, &verdict("usable", at))])).accepted();

    assert_eq!(accepted(counted_from()), Some(true));
    assert_eq!(accepted(counted_from() - second()), None);
}

/// Another host with a wrong clock may write a tag whose time is in the future.
#[test]
fn a_record_of_more_than_five_minutes_ahead_does_not_count() {
    let limit = now() + TimeDelta::minutes(5);
    let proved_at = |at| drawn(&tagged(&[(tag::PROVED_AT, &rfc3339(at))])).proved_at;
    let accepted =
        |at| of_state(Verify::PartnerCenter, &tagged(&[(tag::VERDICT, &verdict("usable", at))])).accepted();

    assert_eq!((proved_at(limit), proved_at(limit + second())), (Some(limit), None));
    assert_eq!((accepted(limit), accepted(limit + second())), (Some(true), None));
}

#[test]
fn the_later_of_the_recorded_and_the_own_proof_is_shown() {
    let mut state = tagged(&[(tag::PROVED_AT, &rfc3339(now() - second()))]);
    let id = version().id;

    state.facts_of(&id).proved_at = Some(now() - second() * 2);
    assert_eq!(drawn(&state).proved_at, Some(now() - second()));
    state.facts_of(&id).proved_at = Some(now());
    assert_eq!(drawn(&state).proved_at, Some(now()));
}

/// A previous process has proved the version. Cases: the version's tags, and the token's state before this process's
/// first step.
#[test]
fn a_recorded_rejection_makes_a_recorded_proof_void_until_a_new_proof() {
    let at = rfc3339(now());
    let (proof, refused) = ((tag::PROVED_AT, &*at), (tag::REFUSED_AT, &*at));
    let noted = |word| verdict(word, now());
    for (what, tags, standing) in [
        ("no record", vec![proof], TokenState::Current),
        ("a rejection of the grant", vec![proof, refused], TokenState::Unknown),
        (
            "a rejection of the app",
            vec![proof, (tag::VERDICT, &*noted("app_credential_refused"))],
            TokenState::Unknown,
        ),
        (
            "Partner Center's",
            vec![proof, (tag::VERDICT, &*noted("partner_center_refused"))],
            TokenState::Current,
        ),
        ("usable", vec![proof, (tag::VERDICT, &*noted("usable"))], TokenState::Current),
    ] {
        let mut state = tagged(&tags);
        assert_eq!(drawn(&state).standing(now()), standing, "{what}");

        state.facts_of(&version().id).proved_at = Some(now());
        state.phase = Phase::Current;
        assert_eq!(drawn(&state).standing(now()), TokenState::Current, "{what}, and proved again");
    }
}

#[test]
fn a_redemption_at_or_after_the_expiry_proves_it_wrong() {
    let end = now() - TimeDelta::days(1);
    let expiry = |proved_at| {
        let issued = samples::version("v", end - TimeDelta::days(90));
        drawn(&samples::proved(issued, proved_at)).expires_at
    };

    assert_eq!(expiry(end - second()), Some(end));
    assert_eq!((expiry(end), expiry(end + second())), (None, None));
}

#[test]
fn a_token_expires_at_the_second_of_its_end_unless_it_is_off_or_held() {
    let issued = || samples::version("v", now() - TimeDelta::days(90));
    let unproved = || State { newest: Some(issued()), ..State::unknown(now()) };
    let off = failing(unproved(), Kind::TurnedOff, Remedy::Operator, FailureSubject::Token);
    for (state, standing) in [
        (unproved(), TokenState::Expired),
        (off, TokenState::Off),
        (State { phase: held(), ..unproved() }, TokenState::Unsaved),
    ] {
        let of = drawn(&state);
        assert_eq!(of.expired_at(now()), (standing == TokenState::Expired).then(now), "{standing:?}");
        assert_eq!((of.standing(now()), of.expired_at(now() - second())), (standing, None));
    }
}

#[test]
fn a_failure_that_is_not_confirmed_leaves_the_state_unknown() {
    let blocked = |kind, remedy| failing(proved(), kind, remedy, FailureSubject::Grant);
    let (login, operator) = (Remedy::Login, Remedy::Operator);
    let off = blocked(Kind::TurnedOff, operator);
    for (state, standing) in [
        (State::unknown(now()), TokenState::Unknown),
        (proved(), TokenState::Current),
        (blocked(Kind::LoginRequired, login), TokenState::NeedsLogin),
        (blocked(Kind::PolicyBlocked, operator), TokenState::NeedsOperator),
        (off.clone(), TokenState::Off),
        (State { phase: held(), ..off }, TokenState::Unsaved),
    ] {
        assert_eq!(drawn(&state).phase, standing);
    }
    for state in [blocked(Kind::LoginRequired, login), blocked(Kind::PolicyBlocked, operator)] {
        assert_eq!(drawn(&unconfirmed(state)).phase, TokenState::Unknown);
    }
}

#[test]
fn a_rejection_by_partner_center_shows_only_where_nothing_graver_does() {
    let asked = |state: &State| of_state(Verify::PartnerCenter, state).standing(now());
    let refused = |state| failing(state, Kind::PolicyBlocked, Remedy::Operator, FailureSubject::Grant);

    assert_eq!(asked(&heard(false, None, now())), TokenState::PartnerCenterRefused);
    assert_eq!(asked(&heard(true, Some(false), now())), TokenState::NeedsLogin);
    assert_eq!(asked(&refused(heard(false, None, now()))), TokenState::NeedsOperator);
    assert_eq!(asked(&refused(heard(true, Some(false), now()))), TokenState::NeedsOperator);
}

#[test]
fn only_a_success_shows_the_end_of_a_condition() {
    let outage = |state| failing(state, Kind::EntraUnreachable, Remedy::Retry, FailureSubject::Grant);
    let (any, accept, mfa) = (Kind::LoginRequired, Kind::PartnerCenterRefused, Kind::MfaRequired);
    for (what, state, verify, ended) in [
        ("proved", proved(), Verify::Nothing, vec![any, accept, mfa]),
        ("not proved", tagged(&[]), Verify::Nothing, vec![]),
        ("in an outage", outage(proved()), Verify::Nothing, vec![]),
        ("proved, and not asked", proved(), Verify::PartnerCenter, vec![any]),
        ("accepted", heard(true, Some(true), now()), Verify::PartnerCenter, vec![any, accept, mfa]),
        ("accepted in an outage", outage(heard(true, None, now())), Verify::PartnerCenter, vec![]),
        ("rejected", heard(false, None, now()), Verify::PartnerCenter, vec![any]),
        ("without MFA", heard(true, Some(false), now()), Verify::PartnerCenter, vec![any]),
    ] {
        let of = of_state(verify, &state);
        let shown: Vec<Kind> =
            [any, accept, mfa].into_iter().filter(|kind| of.shows_the_end_of(*kind)).collect();
        assert_eq!(shown, ended, "{what}");
    }
}

#[test]
fn the_first_proof_of_a_version_is_due_until_the_version_is_proved() {
    let unproved = Phase::Unproved { due_at: now() };
    let due = |state: &State| drawn(state).first_proof_due_at;

    assert_eq!(due(&State { phase: unproved.clone(), ..tagged(&[]) }), Some(now()));
    assert_eq!(due(&State::unknown(now())), None, "no version was read");
    let at = rfc3339(now());
    let proof = [(tag::PROVED_AT, &*at)];
    assert_eq!(due(&State { phase: unproved, ..tagged(&proof) }), None, "an earlier process proved it");
    assert_eq!(due(&State { phase: Phase::Current, ..tagged(&[]) }), None);
}

#[test]
fn the_next_step_is_now_unless_it_waits_and_is_none_after_a_single_command() {
    let grant = Arc::new(samples::grant("a"));
    let periods = Periods::of(&Timing::new(&grant.policy, &grant.name, 0.0));
    let later = now() + TimeDelta::hours(1);
    for (next, at) in [
        (Some(Next::Wait(later)), Some(later)),
        (Some(Next::Prove), Some(now())),
        (Some(Next::UpdateTags(Tags::new())), Some(now())),
        (None, None),
    ] {
        let of = Snapshot::of(&grant, periods, &proved(), next.as_ref(), now());
        assert_eq!(of.next_step_at, at, "{next:?}");
    }
}

#[test]
fn the_graver_failure_is_first_and_each_is_found_by_its_kind() {
    let blocked = failing(proved(), Kind::PolicyBlocked, Remedy::Operator, FailureSubject::Grant);
    let both = drawn(&failing(blocked, Kind::VaultUnreachable, Remedy::Retry, FailureSubject::Token));
    let kinds: Vec<Kind> = both.failures().map(|failure| failure.kind).collect();

    assert_eq!(kinds, [Kind::PolicyBlocked, Kind::VaultUnreachable]);
    assert_eq!(both.failure().map(|failure| failure.kind), Some(Kind::PolicyBlocked));
    let about = |kind| both.failure_of(kind).map(|failure| failure.about);
    assert_eq!(about(Kind::VaultUnreachable), Some(FailureSubject::Token));
    assert_eq!(about(Kind::LoginRequired), None);
}

#[test]
fn a_token_was_tried_if_the_vault_was_read_or_did_not_answer() {
    let unknown = State::unknown(now());
    let down = failing(unknown.clone(), Kind::VaultUnreachable, Remedy::Retry, FailureSubject::Token);

    assert!(!drawn(&unknown).was_tried());
    assert!(drawn(&tagged(&[])).was_tried() && drawn(&down).was_tried());
}

#[test]
fn only_a_configured_client_id_is_shown() {
    let of = |client_id| {
        let app = ManagedApp::with_secret(client_id, Source::Env("SECRET".into()));
        let of = snapshot(ManagedToken { app: app.into(), ..samples::grant("a") }, &proved(), now(), now());
        of.client_id().map(str::to_owned)
    };

    assert_eq!(of(ConfigValue::Plain("app".into())), Some("app".to_owned()));
    assert_eq!(of(ConfigValue::From(Source::Env("APP_ID".into()))), None);
}

/// Messages show the user's object id in a command. A tag can contain any text, so only GUIDs are accepted.
#[test]
fn the_user_of_a_disabled_account_is_taken_from_the_most_reliable_record() {
    let [noted, known, configured] =
        ["a", "b", "c"].map(|end| format!("00000000-0000-0000-0000-00000000000{end}"));
    let user = |kind, tag: Option<&str>, facts: Option<&String>, config: Option<&String>| {
        let mut state = tagged(&tag.map(|oid| (tag::USER_OID, oid)).into_iter().collect::<Vec<_>>());
        state.facts_of(&version().id).user_oid = facts.cloned();
        let state = failing(state, kind, Remedy::Operator, FailureSubject::Grant);
        let grant = ManagedToken { user_oid: config.cloned(), ..samples::grant("a") };
        snapshot(grant, &state, now(), now()).user_oid.map(String::from)
    };
    let disabled = Kind::AccountDisabled;
    let all = (Some(&*noted), Some(&known), Some(&configured));

    assert_eq!(user(disabled, all.0, all.1, all.2), Some(noted.clone()));
    assert_eq!(user(disabled, None, all.1, all.2), Some(known.clone()));
    assert_eq!(user(disabled, Some("$(reboot)"), None, all.2), Some(configured.clone()));
    assert_eq!(user(disabled, None, None, None), None);
    assert_eq!(user(Kind::PolicyBlocked, all.0, all.1, all.2), None, "no action needs it");
}
