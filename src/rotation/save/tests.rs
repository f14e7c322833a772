//! Tests of the rules for a save: first examples, then properties for any input.

use proptest::prelude::*;
use secrecy::SecretString;

use super::*;
use crate::ports::failure::{Failure, FailureSubject, Kind, Remedy};
use crate::process::clock::Timestamp;
use crate::rotation::samples;

fn at(second: i64) -> Timestamp {
    Timestamp::from_timestamp(1_760_000_000 + second, 0).expect("in range")
}

fn id(name: &str) -> VersionId {
    VersionId(name.into())
}

/// Returns a version that a person or a script has written.
fn foreign(name: &str, second: i64) -> Version {
    samples::version(name, at(second))
}

/// Returns a version that a rotation has written.
fn ours(name: &str, second: i64, from: &str) -> Version {
    let tags = [
        (tag::MANAGED_BY, "perennial/0.1.0 run".to_owned()),
        (tag::REDEEMED_FROM, from.to_owned()),
        (tag::ROTATION_ID, format!("id-of-{name}")),
    ];
    let tags = tags.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
    Version { tags, ..foreign(name, second) }
}

fn pending(redeemed: Version, written: &str) -> PendingSave {
    PendingSave { written: Some(id(written)), ..samples::pending(redeemed, at(0)) }
}

fn stored(version: Version, value: &str) -> Stored {
    Stored { version, value: SecretString::from(value), read_at: None }
}

fn settled(retire: &[&str]) -> AfterList {
    AfterList::Settled { retire: retire.iter().map(|name| id(name)).collect() }
}

#[test]
fn only_the_redeemed_version_is_overwritten() {
    let pending = pending(foreign("r", 0), "w");

    assert_eq!(after_read(&pending, &stored(foreign("r", 0), "redeemed")), AfterRead::Write);
    assert_eq!(after_read(&pending, &stored(foreign("copy", 5), "redeemed")), AfterRead::Write);
    assert_eq!(after_read(&pending, &stored(foreign("x", 5), "fresh sign-in")), AfterRead::Theirs);
}

#[test]
fn a_lost_answer_is_recognized() {
    let pending = pending(foreign("r", 0), "w");

    assert_eq!(after_read(&pending, &stored(ours("w", 5, "r"), "successor")), AfterRead::AlreadyThere);
}

#[test]
fn a_version_known_to_be_dead_may_be_overwritten() {
    let mut pending = pending(foreign("r", 0), "w");
    pending.dead.push(id("garbage"));

    assert_eq!(after_read(&pending, &stored(foreign("garbage", 5), "x")), AfterRead::Write);
}

#[test]
fn a_write_the_vault_does_not_show_does_not_count() {
    assert_eq!(after_list(&pending(foreign("r", 0), "w"), &[foreign("r", 0)]), AfterList::NotSeen);
}

#[test]
fn a_sign_in_below_our_write_is_found() {
    let versions = [foreign("r", 0), foreign("sign-in", 7), ours("w", 7, "r")];

    let found = after_list(&pending(foreign("r", 0), "w"), &versions);

    assert_eq!(found, AfterList::Buried(foreign("sign-in", 7)));
}

#[test]
fn a_sign_in_above_our_write_is_not_buried() {
    let versions = [foreign("r", 0), ours("w", 7, "r"), foreign("sign-in", 8)];

    assert_eq!(after_list(&pending(foreign("r", 0), "w"), &versions), settled(&[]));
}

#[test]
fn a_second_instances_save_from_the_same_version_is_not_buried() {
    let versions = [foreign("r", 0), ours("other", 7, "r"), ours("w", 8, "r")];

    assert_eq!(after_list(&pending(foreign("r", 0), "w"), &versions), settled(&[]));
}

#[test]
fn the_youngest_descendant_of_a_buried_sign_in_is_restored() {
    let versions = [foreign("r", 0), foreign("s", 3), ours("s2", 5, "s"), ours("w", 7, "r")];

    let found = after_list(&pending(foreign("r", 0), "w"), &versions);

    assert_eq!(found, AfterList::Buried(ours("s2", 5, "s")));
}

#[test]
fn a_sign_in_buried_two_rotations_ago_is_still_found() {
    let versions = [foreign("r", 0), foreign("s", 3), ours("w1", 3, "r"), ours("w2", 9, "w1")];

    assert_eq!(buried_under(&versions[3], &versions, &[], Ties::Refused(&[])), Some(&versions[1]));
}

#[test]
fn after_a_restore_nothing_is_buried() {
    let versions = [foreign("r", 0), foreign("s", 3), ours("w", 4, "r"), ours("l", 5, "s")];

    assert_eq!(buried_under(&versions[3], &versions, &[], Ties::Refused(&[])), None);
    let pending = pending(foreign("s", 3), "l");
    assert_eq!(after_list(&pending, &versions), settled(&[]));
}

#[test]
fn two_sign_ins_of_one_second_are_not_restored_alternately() {
    let versions = [foreign("a", 3), foreign("b", 3), ours("w", 4, "a")];
    assert_eq!(after_list(&pending(foreign("a", 3), "w"), &versions), AfterList::Buried(foreign("b", 3)));

    let versions = [foreign("a", 3), foreign("b", 3), ours("w", 4, "a"), ours("l", 4, "b")];
    let pending = PendingSave { seen: vec![id("a")], ..pending(foreign("b", 3), "l") };
    assert_eq!(after_list(&pending, &versions), settled(&[]));
}

#[test]
fn a_refused_sign_in_of_the_same_second_is_tried_until_it_works_and_then_stays_on_top() {
    let marked = refused(foreign("s", 3), None);
    let on_top = |from: &str| [foreign("r", 3), marked.clone(), ours("w", 4, from)];
    let remembered = |id: &str| {
        let failure = Failure::new(Kind::PolicyBlocked, Remedy::Operator, FailureSubject::Grant, "x");
        [RefusedVersion { id: VersionId(id.into()), at: at(4), failure, is_buried: true }]
    };
    let (this, another) = (remembered("s"), remembered("x"));

    assert_eq!(buried_under(&on_top("r")[2], &on_top("r"), &[], Ties::Refused(&[])), Some(&marked));
    assert_eq!(buried_under(&on_top("s")[2], &on_top("s"), &[], Ties::Refused(&[])), None);
    let unmarked = [foreign("r", 3), foreign("s", 3), ours("w", 4, "r")];
    let tried = Ties::Refused(&this);
    assert_eq!(buried_under(&unmarked[2], &unmarked, &[], tried), Some(&unmarked[1]));
    assert_eq!(buried_under(&unmarked[2], &unmarked, &[], Ties::Refused(&another)), None);
    let on_top_then = this.clone().map(|refused| RefusedVersion { is_buried: false, ..refused });
    assert_eq!(buried_under(&unmarked[2], &unmarked, &[], Ties::Refused(&on_top_then)), None);
    let both = [refused(foreign("r", 3), None), marked.clone(), ours("w", 4, "r")];
    assert_eq!(buried_under(&both[2], &both, &[], Ties::Refused(&[])), None, "they would take turns");
    let dead = [foreign("r", 3), refused(foreign("s", 3), Some("AADSTS50173")), ours("w", 4, "r")];
    assert_eq!(buried_under(&dead[2], &dead, &[], tried), None);
}

#[test]
fn the_later_of_two_versions_with_the_same_tags_is_the_copy() {
    for (written, stored) in [("a", "b"), ("b", "a")] {
        let ours = ours(written, 5, "r");
        let copy = Version { id: id(stored), ..ours.clone() };
        let versions = [foreign("r", 0), ours.clone(), copy.clone()];

        // At start-up, the newest version counts as the last version of its second, regardless of its id.
        assert_eq!(buried_under(&copy, &versions, &[], Ties::Refused(&[])), None, "{stored}");
        // After a write, Perennial's own version counts as the earlier one. So the copy counts as a sign-in.
        let pending = pending(foreign("r", 0), written);
        assert_eq!(after_list(&pending, &versions), AfterList::Buried(copy), "{stored}");
    }
}

#[test]
fn a_sign_in_of_a_second_that_was_over_at_the_last_read_is_older() {
    let versions = [foreign("a", 3), foreign("b", 3), ours("w", 9, "a")];

    let late = PendingSave { read_at: Some(at(8)), ..pending(foreign("a", 3), "w") };
    assert_eq!(after_list(&late, &versions), settled(&[]));
    let at_once = PendingSave { read_at: Some(at(3)), ..pending(foreign("a", 3), "w") };
    assert_eq!(after_list(&at_once, &versions), AfterList::Buried(foreign("b", 3)));
}

/// Adds tags to the version that record a rejection. If `code` is given, the tags also record the code.
fn refused(mut version: Version, code: Option<&str>) -> Version {
    version.tags.insert(tag::REFUSED_AT, &crate::process::clock::rfc3339(version.created));
    version.tags.insert(tag::REFUSED_KIND, "login_required");
    if let Some(code) = code {
        version.tags.insert(tag::REFUSED_CODE, code);
    }
    version
}

#[test]
fn dead_and_disabled_sign_ins_stay_where_they_are() {
    let dead = refused(foreign("s", 3), Some("AADSTS50173"));
    let off = Version { enabled: false, ..foreign("t", 4) };
    let versions = [foreign("r", 0), dead, off, ours("w", 7, "r")];

    assert_eq!(after_list(&pending(foreign("r", 0), "w"), &versions), settled(&[]));
    assert_eq!(predecessors(&foreign("x", 9), &versions).len(), 2, "neither of them is tried in a rescue");
}

#[test]
fn a_sign_in_that_was_rejected_for_now_is_found_again() {
    for code in [None, Some("AADSTS53003"), Some("AADSTS999999")] {
        let sign_in = refused(foreign("s", 3), code);
        let versions = [foreign("r", 0), sign_in.clone(), ours("w", 7, "r")];

        let found = after_list(&pending(foreign("r", 0), "w"), &versions);
        assert_eq!(found, AfterList::Buried(sign_in.clone()), "{code:?}");
        assert_eq!(
            buried_under(&versions[2], &versions, &[], Ties::Refused(&[])),
            Some(&sign_in),
            "{code:?}"
        );
        let tried = predecessors(&foreign("x", 9), &versions);
        assert_eq!(tried, [(&versions[2], &versions[0]), (&sign_in, &sign_in)], "{code:?}");
    }
}

#[test]
fn a_tool_that_copies_our_tags_does_not_hide_a_sign_in() {
    let mut copied = ours("r", 0, "older");
    copied.id = id("sign-in");
    copied.created = at(5);
    let versions = [foreign("older", -9), ours("r", 0, "older"), copied.clone(), ours("w", 6, "r")];

    assert_eq!(after_list(&pending(ours("r", 0, "older"), "w"), &versions), AfterList::Buried(copied));
}

#[test]
fn only_our_own_older_versions_are_retired() {
    let versions = [foreign("login", -30), ours("o1", -20, "login"), ours("r", -10, "o1"), ours("w", 0, "r")];

    assert_eq!(after_list(&pending(versions[2].clone(), "w"), &versions), settled(&["o1"]));
}

#[test]
fn predecessors_are_the_two_youngest_that_can_be_read() {
    let off = Version { enabled: false, ..ours("o2", 3, "o1") };
    let versions = [foreign("a", 0), ours("o1", 1, "a"), ours("o3", 5, "o1"), off, foreign("x", 9)];

    let tried: Vec<&str> = predecessors(&versions[4], &versions).iter().map(|(v, _)| &*v.id.0).collect();

    assert_eq!(tried, ["o3", "o1"]);
}

/// Generates random histories. Each version has a time. A version that Perennial wrote also points at an earlier
/// version.
fn histories() -> impl Strategy<Value = Vec<Version>> {
    prop::collection::vec((0i64..6, prop::option::of(any::<prop::sample::Index>()), any::<bool>()), 1..9)
        .prop_map(|entries| {
            let mut versions: Vec<Version> = Vec::new();
            for (n, (second, from, enabled)) in entries.into_iter().enumerate() {
                let from = from.filter(|_| n > 0).map(|index| versions[index.index(n)].id.to_string());
                let version = match from {
                    Some(from) => ours(&format!("v{n}"), second, &from),
                    None => foreign(&format!("v{n}"), second),
                };
                versions.push(Version { enabled, ..version });
            }
            versions
        })
}

proptest! {
    #[test]
    fn only_ours_and_older_than_the_redeemed_are_retired(versions in histories(), from: prop::sample::Index, written: prop::sample::Index) {
        let from = versions[from.index(versions.len())].clone();
        let written = versions[written.index(versions.len())].clone();
        let pending = pending(from.clone(), &written.id.0);

        if let AfterList::Settled { retire } = after_list(&pending, &versions) {
            let newest = versions.iter().map(|version| version.created).max();
            for old in retire.iter().filter_map(|id| find(&versions, id)) {
                prop_assert!(old.is_ours() && old.created < from.created && old.id != written.id);
                prop_assert!(Some(old.created) < newest, "the newest is never retired");
            }
        }
    }

    #[test]
    fn restoring_terminates(versions in histories()) {
        let newest = versions.iter().max_by_key(|version| version.created).expect("not empty").clone();
        let mut known = Vec::new();

        for _ in 0..=versions.len() {
            match buried_under(&newest, &versions, &known, Ties::Since(None)) {
                Some(version) => known.push(version.id.clone()),
                None => return Ok(()),
            }
        }
        prop_assert!(false, "more sign-ins than versions");
    }

    #[test]
    fn pointers_in_a_loop_do_no_harm(a in 0i64..3, b in 0i64..3) {
        let versions = [ours("a", a, "b"), ours("b", b, "a")];

        prop_assert!(versions.iter().any(|version| version.id == sign_in_of(&versions[0], &versions).id));
    }
}

#[test]
fn versions_of_one_second_may_have_any_order_except_beside_the_version_whose_place_is_known() {
    let (own, other, third) = (foreign("own", 5), foreign("other", 5), foreign("third", 5));
    let (before, after) = (foreign("before", 4), foreign("after", 6));
    for first in [true, false] {
        let place = Place { of: &own.id, first };
        for (one, two, expected) in [
            (&before, &own, true),
            (&own, &before, false),
            (&own, &after, true),
            (&before, &after, true),
            (&after, &before, false),
            (&own, &other, first),
            (&other, &own, !first),
            (&other, &third, true),
            (&third, &other, true),
        ] {
            assert_eq!(place.may_precede(one, two), expected, "{first}: {} {}", one.id, two.id);
        }
    }
}

#[test]
fn two_copies_of_one_second_are_both_sign_ins() {
    let copy = |name: &str| Version { id: id(name), ..ours("x", 5, "r") };
    let versions = [foreign("r", 0), copy("a"), copy("b"), ours("w", 7, "a")];

    assert_eq!(after_list(&pending(copy("a"), "w"), &versions), AfterList::Buried(copy("b")));
    assert_eq!(sign_in_of(&versions[3], &versions).id, id("a"));
}

#[test]
fn a_pointer_to_a_younger_version_or_to_none_is_ignored() {
    for from in ["younger", "gone"] {
        let versions = [foreign("younger", 9), ours("w", 5, from)];
        assert_eq!(sign_in_of(&versions[1], &versions).id, id("w"), "{from}");
    }
    let same_second = [foreign("s", 5), ours("w", 5, "s")];
    assert_eq!(sign_in_of(&same_second[1], &same_second).id, id("s"));
}

#[test]
fn a_version_without_a_rotation_id_counts_as_a_sign_in() {
    let mut unnamed = ours("w", 5, "s");
    unnamed.tags.remove(tag::ROTATION_ID);
    let versions = [foreign("s", 0), unnamed];

    assert_eq!(sign_in_of(&versions[1], &versions).id, id("w"));
}

#[test]
fn at_most_two_versions_are_retired_the_oldest_first() {
    let mut versions = vec![foreign("s", -90)];
    versions.extend((0..4).map(|nth| ours(&format!("o{nth}"), -60 + nth, "s")));
    versions.extend([ours("same", -10, "s"), ours("r", -10, "o3"), ours("w", 0, "r")]);
    versions[2].enabled = false;
    versions.swap(1, 4);

    let settled_now = after_list(&pending(versions[6].clone(), "w"), &versions);

    assert_eq!(settled_now, settled(&["o0", "o2"]));
    let without_redeemed: Vec<Version> =
        versions.iter().filter(|version| version.id != id("r")).cloned().collect();
    assert_eq!(after_list(&pending(versions[6].clone(), "w"), &without_redeemed), settled(&[]));
}

#[test]
fn predecessors_are_never_younger_and_come_with_their_sign_ins() {
    let versions =
        [foreign("s", 0), ours("o", 5, "s"), foreign("same", 9), foreign("x", 9), foreign("younger", 10)];

    let tried: Vec<(&str, &str)> =
        predecessors(&versions[3], &versions).iter().map(|(one, root)| (&*one.id.0, &*root.id.0)).collect();

    assert_eq!(tried, [("same", "same"), ("o", "s")]);
}
