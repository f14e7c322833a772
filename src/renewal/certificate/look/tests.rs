//! Tests of `CertificateLook`.

use super::*;
use crate::renewal::certificate::samples::{look, registered, version};
use crate::renewal::samples::{at, key, policy, target};

fn used(look: &CertificateLook) -> &str {
    &look.in_use().version.id.0
}

#[test]
fn the_tokens_use_the_newest_version_with_the_mark() {
    let expired = |mut one: ListedCertificate| {
        one.version.expires = Some(at(99));
        one
    };
    let disabled = |mut one: ListedCertificate| {
        one.version.enabled = false;
        one
    };
    for (what, versions, expected) in [
        ("no version has the mark", vec![version(2, 50, None), version(1, 0, None)], "v2"),
        ("only the older one has the mark", vec![version(2, 50, None), version(1, 0, Some(1))], "v1"),
        ("both have the mark", vec![version(2, 50, Some(51)), version(1, 0, Some(1))], "v2"),
        ("the mark was copied", vec![version(2, 50, Some(49)), version(1, 0, Some(1))], "v1"),
        ("the older one has expired", vec![version(2, 50, None), expired(version(1, 0, Some(1)))], "v2"),
        ("the older one is disabled", vec![version(2, 50, None), disabled(version(1, 0, Some(1)))], "v2"),
        (
            "the order of the list does not count",
            vec![version(3, 60, None), version(1, 0, Some(1)), version(2, 50, Some(51))],
            "v2",
        ),
    ] {
        assert_eq!(used(&look(100, versions, vec![])), expected, "{what}");
    }
}

#[test]
fn a_registered_version_signs_the_proof_and_preferably_the_one_in_use() {
    let versions = || vec![version(3, 60, None), version(2, 50, Some(51)), version(1, 0, Some(1))];
    for (keys, expected) in [
        (vec![1, 2, 3], Some("v2")),
        (vec![1, 3], Some("v3")),
        (vec![1], Some("v1")),
        (vec![], None),
        (vec![9], None),
    ] {
        let look = look(100, versions(), keys.iter().copied().map(registered).collect());
        assert_eq!(look.signer().map(|one| &*one.version.id.0), expected, "{keys:?}");
    }
    let late = look(500, versions(), vec![registered(1), registered(2), registered(3)]);
    assert_eq!(late.signer(), None, "expired versions sign nothing");
}

#[test]
fn a_version_is_due_before_its_end() {
    let look = look(0, vec![version(1, 0, Some(1))], vec![registered(1)]);
    assert!(!look.is_due(&policy(), at(365 - 46)));
    assert!(look.is_due(&policy(), at(365 - 45)));
}

#[test]
fn a_replaced_certificate_is_removed_after_the_grace_period() {
    let ours = |nth| ListedKey { name: Some(format!("{}v{nth}", prefix(&target().at))), ..registered(nth) };
    let marked = || vec![version(2, 50, Some(51)), version(1, 0, Some(1))];
    let both = || vec![registered(1), registered(2)];
    for (what, day, versions, keys, expected) in [
        ("after the grace period", 58, marked(), both(), Some(key(1))),
        ("before its end", 57, marked(), both(), None),
        ("Entra does not list the newest", 99, marked(), vec![registered(1)], None),
        ("the newest has no mark", 99, vec![version(2, 50, None), version(1, 0, Some(1))], both(), None),
        ("Perennial never used it", 99, vec![version(2, 50, Some(51)), version(1, 0, None)], both(), None),
        (
            "Perennial registered it and never used it",
            99,
            vec![version(2, 50, Some(51)), version(1, 0, None)],
            vec![ours(1), registered(2)],
            Some(key(1)),
        ),
        (
            "the newest version came a day ago, and the one before was replaced long ago",
            58,
            vec![version(3, 57, Some(57)), version(2, 50, Some(51)), version(1, 0, Some(1))],
            vec![registered(1), registered(2), registered(3)],
            Some(key(1)),
        ),
        (
            "a person went back to it and disabled the newer one",
            99,
            vec![version(2, 50, Some(51)), version(3, 70, Some(71))],
            vec![registered(2), registered(3)],
            None,
        ),
        ("another deployment's or a hand-made one", 99, marked(), vec![registered(2), registered(7)], None),
        (
            "the same certificate came back as a new version",
            99,
            vec![
                ListedCertificate { thumbprint: [1; 20], ..version(2, 50, Some(51)) },
                version(1, 0, Some(1)),
            ],
            vec![registered(1)],
            None,
        ),
    ] {
        assert_eq!(look(day, versions, keys).removable(&target().at), expected, "{what}");
    }
}

#[test]
fn three_versions_of_a_day_are_enough() {
    let day = |nth| version(nth, 100, None);
    assert!(look(100, vec![day(3), day(2), day(1)], vec![]).is_spent(0));
    assert!(!look(101, vec![day(3), day(2), day(1)], vec![]).is_spent(0));
    assert!(!look(100, vec![day(2), day(1), version(0, 99, None)], vec![]).is_spent(2));
    assert!(look(100, vec![day(1)], vec![]).is_spent(3));
}

#[test]
fn a_certificate_of_no_version_that_appears_later_is_unknown() {
    let seen: BTreeSet<Uuid> = [key(7)].into();
    let late = ListedKey { starts: Some(at(2)), ..registered(7) };
    let known = ListedKey { name: Some("known by contoso".to_owned()), ..registered(8) };
    for (what, versions, one, expected) in [
        ("there from the start", vec![version(1, 0, Some(1))], registered(7), false),
        ("began after Perennial", vec![version(1, 0, Some(1))], late, true),
        ("appeared later", vec![version(1, 0, Some(1))], registered(8), true),
        ("named in the configuration", vec![version(1, 0, Some(1))], known, false),
        ("a version in the vault", vec![version(8, 0, Some(1))], registered(8), false),
    ] {
        let look = look(100, versions, vec![one]);
        assert_eq!(look.strangers(&policy(), &seen).count(), usize::from(expected), "{what}");
    }
}

#[test]
fn the_earlier_end_of_vault_and_entra_counts() {
    let until = |day| ListedKey { ends: Some(at(day)), ..registered(1) };
    let twice = |day| ListedKey { key_id: key(9), ..until(day) };
    for (keys, end) in [
        (vec![], 365),
        (vec![registered(1)], 365),
        (vec![until(100)], 100),
        (vec![until(500)], 365),
        (vec![until(100), twice(200)], 200),
        (vec![until(100), registered(1)], 365),
        (vec![ListedKey { thumbprint: Some([7; 20]), ..until(100) }], 365),
    ] {
        let look = |day| look(day, vec![version(1, 0, Some(1))], keys.clone());
        assert!(!look(0).is_due(&policy(), at(end - 46)), "{keys:?}");
        assert!(look(0).is_due(&policy(), at(end - 45)), "{keys:?}");
        let is_registered = keys.iter().any(|key| key.thumbprint == Some([1; 20]));
        assert_eq!(look(end - 1).signer().is_some(), is_registered, "{keys:?}");
        assert_eq!(look(end).signer(), None, "{keys:?}");
    }
}
