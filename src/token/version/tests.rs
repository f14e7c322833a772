//! Tests for reading and writing a version's tags.

use super::*;

fn at(text: &str) -> Timestamp {
    text.parse().expect("a time")
}

fn version(tags: &[(&str, &str)]) -> Version {
    Version {
        id: VersionId("a".repeat(32).into()),
        created: at("2026-03-01T00:00:00Z"),
        enabled: true,
        expires: None,
        tags: tags.iter().copied().collect(),
    }
}

fn composed(from: &Version) -> (NewVersion, Vec<String>) {
    let provenance = Provenance {
        command: "run",
        issued_at: at("2026-03-08T00:00:00Z"),
        tenant_id: "tenant",
        client_id: "app",
        user_oid: Some("user"),
        signed_in_at: from.signed_in_at(),
        redeemed_from: Some(&from.id),
        verdict: Some((USABLE, at("2026-03-08T00:00:01Z"))),
        foreign: from.tags.clone(),
        rotation_id: Uuid::nil(),
    };
    NewVersion::compose(&RefreshToken::new("next"), Duration::from_secs(90 * 86_400), &provenance)
}

#[test]
fn a_tag_can_advance_a_rotation_but_never_delay_it() {
    assert_eq!(version(&[(tag::ISSUED_AT, "2026-02-01T00:00:00Z")]).issued_at(), at("2026-02-01T00:00:00Z"));
    assert_eq!(version(&[(tag::ISSUED_AT, "2027-01-01T00:00:00Z")]).issued_at(), at("2026-03-01T00:00:00Z"));
    assert_eq!(version(&[(tag::ISSUED_AT, "soon")]).issued_at(), at("2026-03-01T00:00:00Z"));
}

#[test]
fn a_foreign_version_with_our_pointer_is_still_a_sign_in() {
    assert_eq!(version(&[(tag::REDEEMED_FROM, "x")]).redeemed_from(), None);
    let ours = version(&[(tag::REDEEMED_FROM, "x"), (tag::MANAGED_BY, "perennial/0.1.0 run")]);
    assert_eq!(ours.redeemed_from(), Some(VersionId("x".into())));
}

#[test]
fn a_successor_carries_what_the_next_process_must_know() {
    let (new, dropped) = composed(&version(&[("env", "prod"), (tag::SIGNED_IN_AT, "2026-01-02T00:00:00Z")]));

    assert!(dropped.is_empty());
    assert_eq!(new.expires, at("2026-06-06T00:00:00Z"));
    assert_eq!(&new.tags["signed-in-at"], "2026-01-02T00:00:00Z");
    assert_eq!(&new.tags["redeemed-from"], "a".repeat(32));
    assert_eq!(&new.tags["env"], "prod");
    assert_eq!(&new.tags["verdict"], "usable 2026-03-08T00:00:01Z");
    assert!(new.tags["managed-by"].starts_with("perennial/"));
}

#[test]
fn a_verdict_is_a_word_and_a_time() {
    let noted = |text| version(&[(tag::VERDICT, text)]).verdict().map(|(word, at)| verdict(word, at));

    let refused = "partner_center_refused 2026-03-08T00:00:01Z";
    assert_eq!(noted(refused).as_deref(), Some(refused));
    for other in ["", "usable", "usable ", "usable soon", "2026-03-08T00:00:01Z"] {
        assert_eq!(noted(other), None, "{other}");
    }
}

#[test]
fn marks_of_the_predecessor_do_not_pass_to_the_successor() {
    let (new, _) = composed(&version(&[
        (tag::REFUSED_AT, "2026-01-01T00:00:00Z"),
        (tag::REFUSED_KIND, "x"),
        (tag::REFUSED_CODE, "AADSTS50173"),
    ]));

    assert!(!new.tags.iter().any(|(name, _)| name.starts_with("refused")), "{:?}", new.tags);
}

#[test]
fn a_sign_in_begins_a_chain_of_its_own_and_keeps_foreign_tags() {
    let before = version(&[("env", "prod"), (tag::REDEEMED_FROM, "x"), (tag::USER_OID, "predecessor")]);
    let provenance = Provenance {
        command: "login",
        issued_at: at("2026-03-08T00:00:00Z"),
        tenant_id: "tenant",
        client_id: "app",
        user_oid: Some("user"),
        signed_in_at: at("2026-03-08T00:00:00Z"),
        redeemed_from: None,
        verdict: None,
        foreign: before.tags.clone(),
        rotation_id: Uuid::nil(),
    };

    let (new, _) = NewVersion::compose(&RefreshToken::new("next"), Duration::from_secs(1), &provenance);

    assert!(!new.tags.contains(tag::REDEEMED_FROM));
    assert_eq!((&new.tags["signed-in-at"], &new.tags["env"]), ("2026-03-08T00:00:00Z", "prod"));
    assert_eq!(&new.tags["user-oid"], "user");
}

#[test]
fn foreign_tags_that_do_not_fit_are_named() {
    let many: Vec<(String, String)> = (0..9).map(|n| (format!("team-{n}"), "x".into())).collect();
    let many: Vec<(&str, &str)> = many.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();

    let (new, dropped) = composed(&version(&many));

    assert_eq!(dropped, ["team-4", "team-5", "team-6", "team-7", "team-8"]);
    assert!(new.tags.contains(tag::VERDICT));
    assert!(new.tags.len() - 1 + 2 <= MAX_TAGS, "room for the marks of a refusal in the verdict's place");
}

#[test]
fn a_record_older_than_its_version_was_copied() {
    for (noted, is_its_own) in
        [("2026-02-28T23:00:00Z", false), ("2026-02-28T23:59:58Z", true), ("2026-03-01T06:00:00Z", true)]
    {
        let version = version(&[(tag::PROVED_AT, noted)]);
        assert_eq!(version.proved_at().is_some(), is_its_own, "{noted}");
    }
}
