//! Tests promise 2 for Entra's codes, at each step where Perennial may replace a sign-in. A sign-in that the issuer
//! rejects must stay the newest version, unless the answer means that its grant has ended.

use chrono::TimeDelta;
use perennial::ports::failure::Kind;
use perennial::process::clock::{Clock, Timestamp};
use perennial::rotation::schedule::Next;
use perennial::rotation::state::{Phase, State};
use perennial::sandbox::world::{Fault, FaultEffect, Operation, Partner, Peer, World};
use perennial::token::RefreshToken;
use perennial::token::managed::{ManagedToken, Policy};
use perennial::token::tags::Tags;
use perennial::token::version::{Version, tag};

use crate::support::harness;
use crate::support::harness::WorldRotator;
use crate::support::lab;
use crate::support::lab::Lab;

mod buried;
mod rescues;
mod stopping;

const REFUSED_CODE: &str = "refused-code";

/// Answers after which a token may work again: policies, transient failures, and unknown codes.
const MAY_COME_BACK: [(&str, Option<u32>); 26] = [
    ("invalid_grant", Some(53003)),
    ("invalid_grant", Some(53011)),
    ("invalid_grant", Some(53999)),
    ("invalid_grant", Some(530_003)),
    ("invalid_grant", Some(530_036)),
    ("invalid_grant", Some(530_084)),
    ("unauthorized_client", Some(53005)),
    ("interaction_required", Some(53000)),
    ("access_denied", Some(530_035)),
    ("invalid_grant", Some(50057)),
    ("invalid_grant", Some(50076)),
    ("invalid_grant", Some(50155)),
    ("invalid_grant", Some(50034)),
    ("invalid_grant", Some(65001)),
    ("invalid_grant", Some(70000)),
    ("invalid_grant", Some(70043)),
    ("invalid_grant", Some(135_011)),
    ("invalid_grant", Some(700_003)),
    ("invalid_grant", Some(700_007)),
    ("invalid_grant", Some(7_000_012)),
    ("invalid_grant", Some(9_002_313)),
    ("invalid_grant", Some(999_999)),
    ("invalid_grant", None),
    ("consent_required", Some(50173)),
    ("out_of_cheese", Some(50173)),
    ("invalid_grant", Some(50196)),
];

/// Answers that end a grant (docs/azure-facts.md F110, F124).
const ENDS: [u32; 5] = [50133, 50173, 70008, 700_082, 700_084];

/// A token of one user. A test then lets another user sign in, and makes Entra reject only the other user's tokens.
struct Scene {
    world: World,
    partner: Partner,
    grant: ManagedToken,
    other: String,
}

impl Scene {
    /// Creates the scene. The last rotation was a day ago.
    async fn set() -> Self {
        let (world, partner) = harness::still_world();
        let grant = harness::grant("contoso", &partner, &Policy::default());
        let other = world.add_user(&partner.tenant_id, "other@contoso.onmicrosoft.com", true);
        let scene = Self { world, partner, grant, other };
        let mut earlier = scene.rotator("earlier");
        settle(&mut earlier, scene.unknown()).await;
        scene.world.advance(TimeDelta::days(1));
        scene
    }

    fn rotator(&self, name: &str) -> WorldRotator {
        harness::rotator(&self.world, Clock::running(self.world.now(), 0.0), &self.grant, name, 5)
    }

    fn unknown(&self) -> State {
        State::unknown(self.world.now())
    }

    fn pass(&self, rotator: &WorldRotator, span: TimeDelta) {
        self.world.advance(span);
        rotator.clock.observe(self.world.now());
    }

    /// Makes the other user sign in and store the token.
    fn signs_in(&self, tags: Tags) -> RefreshToken {
        let token = self.world.sign_in(&self.other, &self.partner.client_id).expect("may sign in");
        self.world.human_writes(&self.partner.refresh_token, token.expose(), tags).expect("stored");
        token
    }

    fn pastes_rubbish(&self) -> RefreshToken {
        let rubbish = RefreshToken::new("pasted_rubbish");
        self.world.human_writes(&self.partner.refresh_token, rubbish.expose(), Tags::new()).expect("stored");
        rubbish
    }

    /// Makes Entra reject the other user's redemptions from now on.
    fn refuse(&self, error: &str, code: Option<u32>) {
        let what = FaultEffect::OAuth { status: 400, error: error.to_owned(), code, suberror: None };
        self.world.inject(Fault::of(Peer::Entra, what).on(Operation::Redeem).about(&self.other));
    }

    fn allow(&self) {
        self.world.clear_faults(None);
    }

    fn newest(&self) -> RefreshToken {
        self.world.newest_value(&self.partner.refresh_token).expect("stored")
    }

    fn follows(&self, sign_in: &RefreshToken) -> bool {
        self.world.descends_from(self.newest().expose(), sign_in.expose())
    }

    /// Returns the version with this value.
    fn version_of(&self, value: &RefreshToken) -> Version {
        let all = self.world.versions_of(&self.partner.refresh_token);
        let found = all.iter().find(|version| {
            RefreshToken::new(secrecy::ExposeSecret::expose_secret(&version.value)) == *value
        });
        let found = found.expect("stored");
        let id = perennial::token::version::VersionId(found.id.as_str().into());
        let (created, enabled) = (found.created, found.attributes.enabled);
        Version { id, created, enabled, expires: None, tags: found.tags.clone() }
    }

    /// Returns the number of attempts to redeem the other user's tokens at or after `since`.
    fn redemptions_since(&self, since: Timestamp) -> usize {
        self.world.count_calls_where(since, |call| {
            call.operation == Operation::Redeem && call.subject == self.other
        })
    }
}

/// Carries out steps until the next step is a wait.
async fn settle(rotator: &mut WorldRotator, mut state: State) -> State {
    for _ in 0..20 {
        match rotator.timing.next(&state, rotator.clock.now()) {
            Next::Wait(_) => return state,
            step => state = Box::pin(rotator.step(state, step)).await.state,
        }
    }
    panic!("it does not come to rest: {state:?}")
}

/// Reloads as after a SIGHUP, and carries out the steps that are then due.
async fn look_now(rotator: &mut WorldRotator, state: State) -> State {
    let state = rotator.reload(state);
    settle(rotator, state).await
}

fn kind(state: &State) -> Option<Kind> {
    state.failure().map(|failure| failure.kind)
}

/// Lets this many hours pass, and carries out the same steps as the daemon's loop.
async fn hours(scene: &Scene, rotator: &mut WorldRotator, mut state: State, hours: usize) -> State {
    for _ in 0..hours * 2 {
        scene.pass(rotator, TimeDelta::minutes(30));
        state = settle(rotator, state).await;
    }
    state
}

/// Returns the tags that the first version of Perennial added to a rejected secret version.
fn mark_without_code(scene: &Scene, kind: Kind) -> Tags {
    let at = perennial::process::clock::rfc3339(scene.world.now() + TimeDelta::minutes(2));
    [(tag::REFUSED_AT, at.as_str()), (tag::REFUSED_KIND, kind.as_str())].into()
}

#[tokio::test]
async fn a_sign_in_during_a_rotation_stays_on_top_unless_its_grant_is_known_to_have_ended() {
    let mut wrong = Vec::new();
    for (error, code) in MAY_COME_BACK {
        let scene = Scene::set().await;
        let mut rotator = scene.rotator("run");
        let state = rotator.prove(scene.unknown(), true).await.state;
        scene.pass(&rotator, TimeDelta::seconds(1));
        let sign_in = scene.signs_in(Tags::new());
        scene.refuse(error, code);

        let state = settle(&mut rotator, state).await;

        if scene.newest() != sign_in || !state.is_unsaved() || state.failure().is_none() {
            wrong.push(format!("{error} {code:?}: the sign-in was written over, {:?}", kind(&state)));
            continue;
        }
        scene.allow();
        let state = hours(&scene, &mut rotator, state, 49).await;
        if !scene.follows(&sign_in) || scene.newest() == sign_in || state.failure().is_some() {
            wrong.push(format!("{error} {code:?}: the sign-in was not taken over, {:?}", kind(&state)));
        }
    }
    for code in ENDS {
        let scene = Scene::set().await;
        let mut rotator = scene.rotator("run");
        let state = rotator.prove(scene.unknown(), true).await.state;
        scene.pass(&rotator, TimeDelta::seconds(1));
        let dead = scene.signs_in(Tags::new());
        scene.refuse("invalid_grant", Some(code));

        let state = settle(&mut rotator, state).await;

        let noted = scene.version_of(&dead).tags.get(REFUSED_CODE).map(str::to_owned);
        if scene.newest() == dead || state.is_unsaved() || noted != Some(format!("AADSTS{code}")) {
            wrong.push(format!("{code}: not written over, or not noted: {noted:?}"));
        }
    }

    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

#[tokio::test]
async fn of_several_numbers_in_one_answer_all_must_end_the_grant() {
    let lab = Lab::start().await;
    let mut wrong = Vec::new();
    for (nth, (codes, ends)) in [
        (vec![70008, 530_003], false),
        (vec![50173, 999_999], false),
        (vec![70002, 500_133], false),
        (vec![70002, 70000], false),
        (vec![70002, 70008], true),
        (vec![50173, 70008], true),
    ]
    .into_iter()
    .enumerate()
    {
        let partner = lab.sandbox.add_partner(&format!("several-{nth}"), TimeDelta::days(2));
        let mut rotator = lab.rotator(&lab::grant(&format!("several-{nth}"), &partner));
        let state = rotator.prove(State::unknown(lab.clock.now()), true).await.state;
        let sign_in = lab.world().human_signs_in(&partner).expect("may sign in");
        let told: Vec<String> = codes.iter().map(|code| format!("AADSTS{code}: Refused.")).collect();
        let body = serde_json::json!({
            "error": "invalid_grant", "error_description": told.join("\r\n"), "error_codes": codes,
        });
        let what = FaultEffect::Verbatim {
            status: 400,
            content_type: "application/json",
            retry_after: None,
            body: body.to_string(),
        };
        lab.world().inject(Fault::of(Peer::Entra, what).on(Operation::Redeem).about(&partner.user_oid));

        let state = rotator.save(state).await.state;

        let newest = lab.world().newest_value(&partner.refresh_token).expect("stored");
        if (newest != sign_in) != ends || state.is_unsaved() == ends {
            wrong.push(format!("{codes:?}: written over is {}, {:?}", newest != sign_in, kind(&state)));
        }
    }

    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn a_mark_of_the_first_version_does_not_condemn() {
    // A process has buried the sign-in and died. The next process must find the sign-in.
    let scene = Scene::set().await;
    let sign_in = scene.buries_a_sign_in(mark_without_code(&scene, Kind::LoginRequired)).await;
    let mut rotator = scene.rotator("upgraded");
    let state = settle(&mut rotator, scene.unknown()).await;
    assert!(scene.follows(&sign_in) && state.failure().is_none(), "{:?}", state.failure());

    // Here, a user has stored an invalid value after the sign-in. The next process must return to the sign-in.
    let scene = Scene::set().await;
    let sign_in = scene.signs_in(mark_without_code(&scene, Kind::PolicyBlocked));
    scene.world.advance(TimeDelta::hours(1));
    scene.pastes_rubbish();
    scene.world.advance(TimeDelta::days(1));
    let mut rotator = scene.rotator("upgraded");
    let state = settle(&mut rotator, scene.unknown()).await;
    assert!(scene.follows(&sign_in) && state.failure().is_none(), "{:?}", state.failure());
}

#[tokio::test]
async fn a_mark_with_a_code_condemns_only_the_version_that_it_was_made_for() {
    let mark = |scene: &Scene, code: &str, at: TimeDelta| {
        let mut tags = mark_without_code(scene, Kind::LoginRequired);
        tags.insert(tag::REFUSED_AT, &perennial::process::clock::rfc3339(scene.world.now() + at));
        tags.insert(REFUSED_CODE, code);
        tags
    };
    for (what, code, at, is_dead) in [
        ("final", "AADSTS50173", TimeDelta::minutes(2), true),
        ("copied from an older version", "AADSTS50173", -TimeDelta::minutes(2), false),
        ("a policy", "AADSTS53003", TimeDelta::minutes(2), false),
        ("a code that nobody knows", "AADSTS999999", TimeDelta::minutes(2), false),
        ("nothing that can be read", "50173", TimeDelta::minutes(2), false),
    ] {
        let scene = Scene::set().await;
        let sign_in = scene.buries_a_sign_in(mark(&scene, code, at)).await;
        let mut rotator = scene.rotator("next");

        settle(&mut rotator, scene.unknown()).await;

        assert_eq!(scene.follows(&sign_in), !is_dead, "{what}");
    }
}

#[tokio::test]
async fn after_a_sighup_a_rejected_sign_in_is_retried_unless_throttled() {
    for (code, again) in [(53003, 1), (50196, 0)] {
        let scene = Scene::set().await;
        let mut rotator = scene.rotator("run");
        let state = rotator.prove(scene.unknown(), true).await.state;
        scene.pass(&rotator, TimeDelta::seconds(1));
        scene.signs_in(Tags::new());
        scene.refuse("invalid_grant", Some(code));
        let state = settle(&mut rotator, state).await;
        scene.pass(&rotator, TimeDelta::seconds(30));
        let since = scene.world.now();

        look_now(&mut rotator, state).await;

        assert_eq!(scene.redemptions_since(since), again, "{code}");
    }
}

#[tokio::test]
async fn while_a_refused_sign_in_is_on_top_the_next_one_is_noticed_within_minutes() {
    let scene = Scene::set().await;
    let mut rotator = scene.rotator("run");
    let state = rotator.prove(scene.unknown(), true).await.state;
    scene.pass(&rotator, TimeDelta::seconds(1));
    scene.signs_in(Tags::new());
    scene.refuse("invalid_grant", Some(53003));
    let state = settle(&mut rotator, state).await;
    assert!(state.is_unsaved());

    let next = scene.world.human_signs_in(&scene.partner).expect("may sign in");
    scene.pass(&rotator, TimeDelta::minutes(3));
    let state = settle(&mut rotator, state).await;

    assert!(scene.follows(&next) && state.failure().is_none(), "{:?}", state.failure());
}

#[tokio::test]
async fn a_final_mark_has_a_code_until_the_token_works() {
    let scene = Scene::set().await;
    let mut rotator = scene.rotator("run");
    let marks = || {
        let tags = scene.world.newest_version(&scene.partner.refresh_token).expect("stored").tags;
        [tag::REFUSED_KIND, REFUSED_CODE].map(|name| tags.get(name).map(str::to_owned))
    };
    let said = |text: &str| Some(text.to_owned());
    scene.signs_in(Tags::new());
    scene.refuse("invalid_grant", Some(999_999));

    let state = settle(&mut rotator, scene.unknown()).await;
    assert_eq!(marks(), [None, None], "nobody knows this code: it has to be confirmed");
    scene.pass(&rotator, TimeDelta::minutes(1));
    let state = look_now(&mut rotator, state).await;
    assert_eq!(marks(), [said("login_required"), None], "it was said twice");

    scene.allow();
    scene.refuse("invalid_grant", Some(50173));
    scene.pass(&rotator, TimeDelta::minutes(1));
    let state = look_now(&mut rotator, state).await;
    assert_eq!(marks(), [said("login_required"), said("AADSTS50173")]);

    scene.allow();
    scene.refuse("invalid_grant", Some(53003));
    scene.pass(&rotator, TimeDelta::minutes(1));
    let state = look_now(&mut rotator, state).await;
    assert_eq!(marks(), [said("policy_blocked"), None]);

    scene.allow();
    scene.pass(&rotator, TimeDelta::minutes(1));
    look_now(&mut rotator, state).await;
    assert_eq!(marks(), [None, None]);
}
