//! Tests how a look decides which secrets of an app registration belong to Perennial.

use proptest::prelude::*;

use super::*;
use crate::renewal::samples::{at, key, listed, look, policy, target, version};

const OURS: &str = "perennial vault/app-secret 0badcafe";

#[test]
fn the_held_secret_is_named_by_the_newest_version_and_its_hint_must_fit() {
    let names = look(vec![version("v1", Some(key(1)), 0)], vec![listed(1, "a", 0), listed(2, "b", 0)], &[1]);
    assert_eq!(names.held().map(|one| one.key_id), Some(key(1)));

    let other_value = CredentialLook { may_be_held: [key(2)].into(), ..names.clone() };
    assert_eq!(other_value.held(), None);
    let gone = look(vec![version("v1", Some(key(9)), 0)], vec![listed(1, "a", 0)], &[1]);
    assert_eq!(gone.held(), None);
}

#[test]
fn the_held_secret_ends_when_entra_or_the_vault_says_so_whichever_is_earlier() {
    let ends = |versions, listed, fits: &[u8]| look(versions, listed, fits).held_end();
    let unnamed = || vec![version("v1", None, 0)];
    let named = |by| vec![version("v1", Some(key(by)), 0)];
    let until = |day| HeldEnd::At(Some(at(day)));
    let [one, two] = [listed(1, "a", 0), ListedSecret { ends: Some(at(90)), ..listed(2, "b", 0) }];

    assert_eq!(ends(named(1), vec![one.clone(), two.clone()], &[1, 2]), until(180), "the named one");
    assert_eq!(ends(unnamed(), vec![one.clone(), two.clone()], &[1, 2]), until(90), "the earliest that fits");
    assert_eq!(ends(unnamed(), vec![one.clone(), two.clone()], &[1]), until(180), "the only one that fits");
    assert_eq!(ends(unnamed(), vec![two.clone()], &[]), HeldEnd::NotListed);
    assert_eq!(ends(named(9), vec![one.clone()], &[1]), HeldEnd::NotListed, "the named one was removed");
    let early = Version { expires: Some(at(20)), ..version("v1", Some(key(1)), 0) };
    assert_eq!(ends(vec![early], vec![one.clone()], &[1]), until(20));
    let endless = ListedSecret { ends: None, ..one };
    assert_eq!(ends(unnamed(), vec![endless], &[1]), HeldEnd::At(None));
}

#[test]
fn a_renewal_is_due_before_the_end_and_when_entra_does_not_know_the_held_secret() {
    let one = look(vec![version("v1", Some(key(1)), 0)], vec![listed(1, "a", 0)], &[1]);
    assert!(!one.is_due(&policy(), at(134)));
    assert!(one.is_due(&policy(), at(135)));
    assert!(
        CredentialLook { listed: [].into(), may_be_held: [].into(), ..one.clone() }.is_due(&policy(), at(1))
    );
    let endless = ListedSecret { ends: None, ..listed(1, "a", 0) };
    assert!(!CredentialLook { listed: [(key(1), endless)].into(), ..one }.is_due(&policy(), at(9999)));
}

#[test]
fn only_secrets_of_perennial_are_removed_and_never_one_that_may_be_held() {
    let held = |days| vec![version("v2", Some(key(2)), days), version("v1", Some(key(1)), 0)];
    let superseded = Some((key(1), Reason::Superseded));
    let orphan = Some((key(3), Reason::Orphaned));
    let both = || vec![listed(1, OURS, 0), listed(2, OURS, 100)];
    let with = |mut all: Vec<ListedSecret>, name, day| {
        all.push(listed(3, name, day));
        all
    };
    for (case, versions, listed, fits, now, expected) in [
        ("the old one, a week later", held(100), both(), &[2][..], 107, superseded),
        ("the old one, before that", held(100), both(), &[2], 106, None),
        ("the newest version does not fit the value", held(100), both(), &[1], 200, None),
        ("Entra no longer lists the new one", held(100), vec![both()[0].clone()], &[], 200, None),
        ("nobody carries it, a day later", held(100), with(both(), OURS, 101), &[2], 102, orphan),
        ("nobody carries it, before that", held(100), with(both(), OURS, 102), &[2], 102, None),
        ("a hand-made one", held(100), with(vec![both()[1].clone()], "made by hand", 0), &[2], 200, None),
        (
            "another deployment's",
            held(100),
            with(vec![both()[1].clone()], "perennial other/app-secret 1", 0),
            &[2],
            200,
            None,
        ),
        (
            "another secret's of the same vault",
            held(100),
            with(vec![both()[1].clone()], "perennial vault/app-secret-2 1", 0),
            &[2],
            200,
            None,
        ),
        (
            "an orphan that fits a value without a name",
            vec![version("v9", None, 100)],
            with(vec![], OURS, 0),
            &[3],
            200,
            None,
        ),
        ("an orphan that does not", vec![version("v9", None, 100)], with(vec![], OURS, 0), &[], 200, orphan),
    ] {
        let look = CredentialLook { at: at(now), ..look(versions, listed, fits) };
        assert_eq!(look.removable(&target().at), expected, "{case}");
    }
}

#[test]
fn a_lasting_renewed_secret_in_an_older_version_shows_another_writer() {
    let two = |newest| vec![newest, version("v1", Some(key(1)), 0)];
    let by_hand = look(two(version("v2", None, 1)), vec![listed(1, OURS, 0)], &[]);
    assert_eq!(by_hand.overwritten(&policy(), at(2)).map(|found| &*found.id.0), Some("v1"));
    assert_eq!(by_hand.overwritten(&policy(), at(140)), None, "it is due itself");

    let named = look(two(version("v2", Some(key(2)), 1)), vec![listed(1, OURS, 0), listed(2, OURS, 0)], &[2]);
    assert_eq!(named.overwritten(&policy(), at(2)), None, "a person may go back to an older secret");
}

#[test]
fn strangers_are_secrets_that_appeared_later_and_belong_to_nobody_known() {
    let versions = || vec![version("v1", Some(key(1)), 50)];
    let strangers = |name: &str, day, first_seen: &[Uuid]| {
        let look = look(versions(), vec![listed(1, OURS, 49), listed(3, name, day)], &[1]);
        look.strangers(&target().at, &target().policy, &first_seen.iter().copied().collect()).count()
    };
    assert_eq!(strangers("backdoor", 60, &[]), 1);
    assert_eq!(strangers("backdoor", 40, &[]), 0, "it was there before Perennial's first version");
    assert_eq!(strangers(OURS, 60, &[]), 0);
    assert_eq!(strangers("known by its name", 60, &[]), 0);
    assert_eq!(strangers("perennial other/app-secret 1", 60, &[]), 1, "a name proves nothing");

    let unmarked = look(vec![version("v1", None, 0)], vec![listed(1, "a", 0), listed(3, "b", 60)], &[1]);
    assert_eq!(
        unmarked.strangers(&target().at, &policy(), &[key(1), key(3)].into()).count(),
        0,
        "it was there at the start"
    );
    assert_eq!(unmarked.strangers(&target().at, &policy(), &[key(1)].into()).count(), 1);
    let mut replaced = version("v2", Some(key(2)), 70);
    replaced.tags.insert(tag::REPLACES, &key(3).to_string());
    let by_hand = look(vec![replaced, version("v1", Some(key(1)), 50)], vec![listed(3, "by hand", 60)], &[]);
    assert_eq!(by_hand.strangers(&target().at, &policy(), &[].into()).count(), 0, "a version held it");
}

proptest! {
    /// Tests random lists of secrets and versions. Perennial must never remove the secret that the newest version
    /// carries or a secret that may be the held one. It must also never remove a secret of a person or of another
    /// deployment.
    #[test]
    fn a_removal_never_hits_what_must_stay(
        carried in proptest::collection::vec(proptest::option::of(0u8..5), 1..4),
        names in proptest::collection::vec(0usize..3, 5),
        days in proptest::collection::vec(0i64..40, 5),
        fits in proptest::collection::vec(0u8..5, 0..4),
        now in 0i64..60,
    ) {
        let texts = [OURS, "by hand", "perennial other/app-secret 1"];
        let versions: Vec<_> = carried.iter().enumerate().map(|(nth, by)| {
            version(&format!("v{nth}"), by.map(key), 20 - i64::try_from(nth).expect("small"))
        }).collect();
        let all: Vec<_> = (0u8..5).zip(names.iter().zip(&days)).map(|(nth, (name, day))| listed(nth, texts[*name], *day)).collect();
        let look = CredentialLook { at: at(now), ..look(versions, all, &fits) };
        if let Some((removed, _)) = look.removable(&target().at) {
            let one = look.listed(removed).expect("it is listed");
            prop_assert!(look.held().is_none_or(|held| held.key_id != removed));
            prop_assert!(look.held().is_some() || !look.may_be_held.contains(&removed));
            prop_assert!(one.name.as_deref() == Some(OURS) || look.carries(removed));
        }
    }
}

#[test]
fn each_reason_says_whether_a_renewal_failed_by_it() {
    use Reason::{AnswerLost, NotNeeded, NotSaved, NotSettled, NotTried, Orphaned, Superseded};
    for (reason, is_of_attempt, is_failure, words) in [
        (Superseded, false, false, "a newer client secret"),
        (Orphaned, false, false, "no version in the vault"),
        (AnswerLost, true, false, "the answer to the secret's creation"),
        (NotSettled, true, true, "Entra still rejected the secret"),
        (NotSaved, true, true, "could not be saved"),
        (NotNeeded, true, false, "stored first"),
        (NotTried, true, false, "Entra rejects the app"),
    ] {
        assert_eq!((reason.is_of_attempt(), reason.is_failure()), (is_of_attempt, is_failure), "{reason:?}");
        assert!(reason.text().contains(words), "{reason:?}");
    }
}

#[test]
fn a_listed_secret_may_be_the_held_one_if_its_hint_begins_the_value() {
    let all = [("1ab", true), ("1ax", false), ("", true)];
    let hinted = |(nth, (hint, _)): (u8, &(&str, bool))| ListedSecret {
        hint: Some((*hint).to_owned()),
        ..listed(nth, "x", 0)
    };
    let mut secrets: Vec<_> = (0u8..).zip(&all).map(hinted).collect();
    secrets.push(ListedSecret { hint: None, ..listed(9, "x", 0) });
    let registration = Registration { object_id: key(77), secrets };
    let newest = version("v1", None, 3);
    let first = version("v0", Some(key(1)), 1);

    let look = CredentialLook::of((TimeDelta::zero(), at(0)), newest, [first], "1abcdef", registration);

    let fits: BTreeSet<Uuid> = [key(0), key(2), key(9)].into();
    assert_eq!((look.may_be_held, look.object_id), (fits, key(77)));
    assert_eq!((look.watched_since, look.carried.len(), look.listed.len()), (Some(at(1)), 1, 4));
}

#[test]
fn a_held_secret_without_a_name_is_likely_only_if_one_hint_fits() {
    let likely = |versions, all: Vec<ListedSecret>, fits: &[u8]| {
        look(versions, all, fits).likely_held().map(|one| one.key_id)
    };
    let unnamed = || vec![version("v1", None, 0)];
    let [one, two] = [listed(1, "a", 0), listed(2, "b", 0)];

    assert_eq!(likely(vec![version("v1", Some(key(1)), 0)], vec![one.clone()], &[1]), Some(key(1)));
    assert_eq!(likely(unnamed(), vec![one.clone(), two.clone()], &[2]), Some(key(2)));
    assert_eq!(likely(unnamed(), vec![one.clone(), two.clone()], &[1, 2]), None);
    assert_eq!(likely(unnamed(), vec![one.clone()], &[]), None);
    assert_eq!(likely(unnamed(), vec![ListedSecret { hint: None, ..one }], &[1]), None, "it proves nothing");
}

#[test]
fn attempts_are_counted_for_a_day_whoever_made_them() {
    let hour = TimeDelta::hours(1);
    let created = |starts| ListedSecret { starts, ..listed(3, OURS, 0) };
    let attempts = |one: ListedSecret| {
        let look = CredentialLook { at: at(10), ..look(vec![version("v1", None, 0)], vec![one], &[]) };
        (look.attempts_today(&target().at), [0, 1, 2, 3].map(|own| look.is_spent(&target().at, own)))
    };
    let few = [false, false, false, true];

    assert_eq!(attempts(created(Some(at(9) + hour))), (1, few));
    assert_eq!(attempts(created(Some(at(9)))), (0, few));
    assert_eq!(attempts(created(None)), (1, few), "it may be new");
    assert_eq!(attempts(ListedSecret { name: Some("by hand".into()), ..created(None) }), (0, few));
    let three = (1..4).map(|nth| listed(nth, OURS, 10)).collect();
    let spent = CredentialLook { at: at(10), ..look(vec![version("v1", None, 0)], three, &[]) };
    assert!(spent.is_spent(&target().at, 0));
}

#[test]
fn only_an_enabled_version_whose_secret_lasts_shows_another_writer() {
    let older = version("v1", Some(key(1)), 0);
    let off = Version { enabled: false, ..older.clone() };
    let newest = version("v2", None, 1);
    let of = |versions: Vec<Version>, now| {
        let look = look(versions, vec![listed(1, OURS, 0)], &[]);
        look.overwritten(&policy(), now).is_some()
    };

    assert!(of(vec![newest.clone(), older.clone()], at(134)));
    assert!(!of(vec![newest.clone(), older.clone()], at(135)), "it is due");
    assert!(!of(vec![newest, off], at(2)));
    assert!(!of(vec![older], at(2)), "it is the newest one");
    // The newest version carries a secret that a person may have restored. So two older versions with lasting secrets
    // do not prove that another writer replaces the secrets.
    let named = |count: u8| {
        let versions = [version("v9", Some(key(9)), 9)].into_iter();
        let versions = versions.chain((0..count).map(|nth| version(&format!("v{nth}"), Some(key(nth)), 1)));
        let all = (0..count).map(|nth| listed(nth, OURS, 0)).collect();
        look(versions.collect(), all, &[]).overwritten(&policy(), at(10)).is_some()
    };
    assert!(!named(2) && named(3));
}
