//! Tests of the record that the previous process left in the vault.

use chrono::TimeDelta;

use super::*;
use crate::process::clock::Timestamp;
use crate::rotation::samples;

fn at(second: i64) -> Timestamp {
    Timestamp::from_timestamp(1_770_000_000 + second, 0).expect("in range")
}

/// Returns a version that was created at this second and has these tags.
fn version(id: &str, second: i64, tags: &[(&str, &str)]) -> Version {
    Version { tags: tags.iter().copied().collect(), ..samples::version(id, at(second)) }
}

const TOLD: (&str, &str) = (tag::TOLD, "00000007");
const REFUSED: (&str, &str) = (tag::REFUSED_KIND, "login_required");
const BY_US: (&str, &str) = (tag::MANAGED_BY, "perennial/0.1.0 run");
const ROTATED: (&str, &str) = (tag::REDEEMED_FROM, "s");
const PROVED: (&str, &str) = (tag::PROVED_AT, "2026-02-02T02:40:05Z");

fn told() -> Inherited {
    let mut marks = Marks::default();
    marks.add(7);
    Inherited::Told(marks)
}

#[test]
fn marks_of_alerts_come_before_a_rejection_and_before_a_new_sign_in() {
    let refused = Inherited::Refused(Kind::LoginRequired);
    for (tags, expected) in [
        (&[TOLD, REFUSED][..], Some(told())),
        (&[TOLD, BY_US, ROTATED], Some(told())),
        (&[REFUSED], Some(refused)),
        (&[(tag::REFUSED_KIND, "unheard_of")], Some(Inherited::SignIn)),
        (&[], Some(Inherited::SignIn)),
        (&[PROVED], None),
        (&[BY_US, ROTATED], None),
    ] {
        assert_eq!(Inherited::on(&version("v", 5, tags)), expected, "{tags:?}");
    }
}

#[test]
fn the_youngest_version_below_a_sign_in_tells_what_the_sign_in_ended() {
    let sign_in = version("s", 10, &[]);
    let of = |others: &[Version]| {
        let versions: Vec<Version> = others.iter().cloned().chain([sign_in.clone()]).collect();
        Inherited::before(&sign_in, &versions)
    };
    let refused = Some(Inherited::Refused(Kind::LoginRequired));

    assert_eq!(of(&[]), Some(Inherited::FirstSignIn));
    assert_eq!(of(&[version("a", 11, &[TOLD])]), Some(Inherited::FirstSignIn), "it is younger");
    assert_eq!(
        of(&[version("w", 10, &[TOLD, BY_US, ROTATED])]),
        Some(Inherited::FirstSignIn),
        "its successor"
    );
    assert_eq!(of(&[version("a", 10, &[TOLD])]), Some(told()), "of the same second");
    assert_eq!(of(&[version("a", 1, &[TOLD]), version("b", 2, &[REFUSED])]), refused);
    assert_eq!(of(&[version("a", 1, &[TOLD]), version("b", 2, &[PROVED])]), None, "all was well");
    let other_sign_in = version("b", 2, &[]);
    assert_eq!(of(&[version("a", 1, &[TOLD]), other_sign_in.clone()]), Some(told()), "nobody proved it");
    assert_eq!(of(&[other_sign_in]), None);
}

#[test]
fn only_a_sign_in_from_a_time_without_a_daemon_inherits_from_below() {
    let versions = [version("a", 1, &[TOLD]), version("s", 2, &[]), version("w", 3, &[BY_US, ROTATED])];
    let inherited = |newest: usize, known| {
        let mut state = samples::proved(versions[newest].clone(), at(3));
        state.inherited = known;
        state.inherit_from_before_sign_in(&versions);
        state.inherited
    };

    for newest in [1, 2] {
        assert_eq!(inherited(newest, Some(Inherited::SignIn)), Some(told()), "{newest}");
        assert_eq!(inherited(newest, None), None, "{newest}");
    }
    let mut unlisted = samples::proved(version("other", 5, &[]), at(5) + TimeDelta::seconds(1));
    unlisted.inherited = Some(Inherited::SignIn);
    unlisted.inherit_from_before_sign_in(&versions);
    assert_eq!(unlisted.inherited, Some(Inherited::SignIn), "the list lags behind");
}
