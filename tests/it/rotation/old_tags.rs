//! Tests the tags of Perennial's first version (commit e4a0424). The current version of Perennial must read these tags
//! with their original meaning.
//!
//! The tags are written as literals here, since constants would change together with the program.
//! `tests/acceptance/upgrade` runs the program of that commit.

use chrono::TimeDelta;
use perennial::ports::failure::{Failure, FailureSubject, Kind, Remedy};
use perennial::process::clock::{Clock, Timestamp, rfc3339};
use perennial::rotation::rotate::Rotator;
use perennial::rotation::schedule::{self, Next};
use perennial::rotation::state::{Inherited, State};
use perennial::rotation::strict::Mark;
use perennial::rotation::told::Marks;
use perennial::sandbox::world::{Actor, Fault, FaultEffect, Operation, Partner, Peer, World};
use perennial::token::managed::Policy;
use perennial::token::tags::Tags;
use perennial::token::version::{Version, VersionId};

use crate::support::harness;

/// The tags that Perennial's first version added to the successor of a rotation, and two of the customer's own tags.
const ROTATED: [(&str, &str); 11] = [
    ("client-id", "dabf28d1-6d4a-4e35-bba5-7166b9c1079a"),
    ("cost-center", "4711"),
    ("issued-at", "2026-03-05T06:07:08Z"),
    ("managed-by", "perennial/0.1.0 run"),
    ("proved-at", "2026-03-06T07:08:09Z"),
    ("redeemed-from", "61b6aefe1b7e8396c617d3f0d07a67cc"),
    ("rotation-id", "acc590a9-3492-4d3b-ae1e-38b2e3799452"),
    ("signed-in-at", "2026-01-02T03:04:05Z"),
    ("tenant-id", "b3c2bdf8-7ec8-4873-b6d1-54e5225a2cb0"),
    ("user-oid", "64a5c963-416a-4e56-a402-e1410f3ba56b"),
    ("zone", "west"),
];

/// Every kind that Perennial's first version could write as `refused-kind`.
const KINDS: [&str; 22] = [
    "never_signed_in",
    "login_required",
    "mfa_required",
    "policy_blocked",
    "account_disabled",
    "app_credential_refused",
    "app_secret_expiring",
    "app_secret_expiry_unknown",
    "entra_unreachable",
    "vault_unreachable",
    "vault_refused",
    "unsaved",
    "overdue",
    "wrong_identity",
    "no_refresh_token",
    "partner_center_refused",
    "foreign_writer",
    "buried_sign_in",
    "turned_off",
    "clock_skew",
    "vault_identity",
    "alert_undeliverable",
];

fn at(text: &str) -> Timestamp {
    text.parse().expect("a time")
}

fn version(tags: impl Into<Tags>) -> Version {
    Version {
        id: VersionId("30c4a7a697fc32e51ca545c962e0b051".into()),
        created: at("2026-03-05T06:07:09Z"),
        enabled: true,
        expires: None,
        tags: tags.into(),
    }
}

fn with(more: &[(&str, &str)]) -> Version {
    let mut version = version(ROTATED);
    for (name, value) in more {
        version.tags.insert(name, value);
    }
    version
}

#[test]
fn a_rotated_version_of_the_first_release_keeps_its_meaning() {
    let version = version(ROTATED);

    assert!(version.is_ours() && !version.is_refused() && version.is_proved_since());
    assert_eq!(version.redeemed_from(), Some(VersionId("61b6aefe1b7e8396c617d3f0d07a67cc".into())));
    assert_eq!(version.issued_at(), at("2026-03-05T06:07:08Z"));
    assert_eq!(version.signed_in_at(), at("2026-01-02T03:04:05Z"));
    assert_eq!(version.proved_at(), Some(at("2026-03-06T07:08:09Z")));
    assert_eq!(version.verdict(), None, "the first version noted none");
    assert_eq!((Mark::on(&version), Inherited::on(&version)), (None, None));
}

#[test]
fn a_login_without_a_proof_is_a_sign_in() {
    let mut version = version(ROTATED);
    version.tags.remove("redeemed-from");
    version.tags.insert("managed-by", "perennial/0.1.0 login");
    version.tags.insert("proved-at", "2026-03-05T06:07:08Z");

    assert!(version.is_ours() && !version.is_proved_since());
    assert_eq!(version.redeemed_from(), None);
    assert_eq!(Inherited::on(&version), Some(Inherited::SignIn));
}

#[test]
fn each_kind_keeps_its_name_and_a_refusal_without_a_code_is_not_final() {
    for name in KINDS {
        let version = with(&[("refused-at", "2026-03-07T00:00:00Z"), ("refused-kind", name)]);

        let kind = Kind::parse(name).unwrap_or_else(|| panic!("{name} has no kind"));
        assert!(version.is_refused() && !schedule::is_known_dead(&version), "{name}");
        assert_eq!(Inherited::on(&version), Some(Inherited::Refused(kind)), "{name}");
    }
}

/// After a rollback, Perennial's first version does not know newer tags. So it treats newer tags as the customer's
/// tags, and copies them to the successor.
#[test]
fn newer_tags_copied_by_the_first_version_are_ignored() {
    let handed_on = [
        ("refused-code", "AADSTS50173"),
        ("verdict", "usable 2026-03-01T00:00:00Z"),
        ("redeeming", "2026-03-01T00:00:00Z 2026-03-01T00:00:00Z acc590a9-3492-4d3b-ae1e-38b2e3799452 run"),
    ];
    let works = with(&handed_on);
    let (_, noted_at) = works.verdict().expect("there is one");

    assert!(!works.is_refused() && !schedule::is_known_dead(&works));
    assert!(!works.is_noted_on_it(noted_at), "it is older than the version");
    assert_eq!(Mark::on(&works), None);

    let mut blocked = works;
    for (name, value) in [("refused-at", "2026-03-07T00:00:00Z"), ("refused-kind", "policy_blocked")] {
        blocked.tags.insert(name, value);
    }
    assert!(!schedule::is_known_dead(&blocked), "the code is of the version before");
}

/// A token that Perennial's first version has managed until now, in a world of its own.
struct Kept {
    world: World,
    partner: Partner,
    rotator: Rotator<Actor, Actor, Actor>,
}

impl Kept {
    /// Creates the token with these additional tags on its newest version.
    fn set(more: &[(&str, &str)]) -> Self {
        let (world, partner) = harness::still_world();
        let grant = harness::grant("contoso", &partner, &Policy::default());
        let from = world.newest_version(&partner.refresh_token).expect("a sign-in").id;
        let token = world.sign_in(&partner.user_oid, &partner.client_id).expect("may sign in");
        let now = rfc3339(world.now());
        let mut tags = Tags::from(ROTATED);
        let own = [
            ("issued-at", now.as_str()),
            ("proved-at", &now),
            ("redeemed-from", &from.0),
            ("client-id", &partner.client_id),
            ("tenant-id", &partner.tenant_id),
            ("user-oid", &partner.user_oid),
        ];
        for (name, value) in own.iter().chain(more) {
            tags.insert(name, value);
        }
        world.human_writes(&partner.refresh_token, token.expose(), tags).expect("stored");
        world.advance(TimeDelta::hours(1));
        let rotator = harness::rotator(&world, Clock::running(world.now(), 0.0), &grant, "run", 5);
        Self { world, partner, rotator }
    }

    async fn settle(&mut self, mut state: State) -> State {
        for _ in 0..20 {
            match self.rotator.timing.next(&state, self.rotator.clock.now()) {
                Next::Wait(_) => return state,
                step => state = Box::pin(self.rotator.step(state, step)).await.state,
            }
        }
        panic!("it does not come to rest: {state:?}")
    }

    async fn start(&mut self) -> State {
        let state = State::unknown(self.rotator.clock.now());
        self.settle(state).await
    }

    fn newest(&self) -> Version {
        self.world.newest_version(&self.partner.refresh_token).expect("stored")
    }
}

#[tokio::test]
async fn a_token_of_the_first_version_is_proved_and_rotated_with_the_customers_tags() {
    let mut kept = Kept::set(&[]);
    let before = kept.newest();

    let state = kept.start().await;

    assert!(state.failure().is_none(), "{state:?}");
    let proved = kept.newest();
    assert_eq!(proved.id, before.id, "no rotation is due");
    assert!(proved.tags["verdict"].starts_with("usable "));
    kept.world.advance(TimeDelta::days(9));
    kept.rotator.clock.observe(kept.world.now());
    kept.settle(state).await;
    let rotated = kept.newest();
    assert_eq!(rotated.redeemed_from(), Some(before.id));
    assert_eq!(rotated.signed_in_at(), at("2026-01-02T03:04:05Z"));
    assert_eq!((&rotated.tags["cost-center"], &rotated.tags["zone"]), ("4711", "west"));
}

#[tokio::test]
async fn a_rejection_of_the_first_version_is_retried_and_gets_its_code_or_ends() {
    let marks = [("refused-at", "2026-03-08T00:00:00Z"), ("refused-kind", "login_required")];
    let mut kept = Kept::set(&marks);

    kept.start().await;

    let proved = kept.newest();
    assert!(!proved.is_refused() && proved.tags.get("refused-kind").is_none(), "it works");

    let mut kept = Kept::set(&marks);
    let refusal =
        FaultEffect::OAuth { status: 400, error: "invalid_grant".into(), code: Some(50173), suberror: None };
    kept.world.inject(Fault::of(Peer::Entra, refusal).on(Operation::Redeem));

    let state = kept.start().await;

    let failure = state.failure().expect("it is refused");
    assert_eq!((failure.kind, failure.remedy), (Kind::LoginRequired, Remedy::Login));
    let refused = kept.newest();
    assert_eq!(refused.tags.get("refused-code"), Some("AADSTS50173"));
    assert!(schedule::is_known_dead(&refused));
}

/// After a rollback, Perennial's first version must find its own tags in their original form.
#[test]
fn a_rejection_of_this_version_is_recorded_in_the_first_versions_words() {
    let failure = Failure::new(Kind::LoginRequired, Remedy::Login, FailureSubject::Grant, "x");
    let now = at("2026-03-08T00:00:00Z");

    let tags = schedule::refusal_tags(&version(ROTATED), &failure, now, now).expect("noted");

    assert_eq!((&tags["refused-at"], &tags["refused-kind"]), ("2026-03-08T00:00:00Z", "login_required"));
    for (name, value) in ROTATED {
        assert_eq!(tags.get(name), Some(value), "{name}");
    }
    assert!(Marks::on(&tags).is_empty());
}
