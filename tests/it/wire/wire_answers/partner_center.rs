//! Tests Partner Center's answers (docs/azure-facts.md F302, F306): what Perennial publishes about each answer, and
//! that no answer prevents a rotation.

use std::time::Duration;

use chrono::TimeDelta;
use perennial::net::no_response::NoResponse;
use perennial::ports::failure::{Kind, Remedy};
use perennial::rotation::state::State;
use perennial::sandbox::world::{Fault, FaultEffect, PartnerCenterRules, Peer};
use perennial::status::condition::conditions;
use perennial::status::snapshot::{Periods, Snapshot};

use super::vault::page;
use super::{Lab, Scene, restore, settle};

/// What Perennial publishes: whether Partner Center accepts the token, whether the user signed in with MFA, and the
/// condition.
type Published = (Option<bool>, Option<bool>, Option<(Kind, Remedy)>);

const ACCEPTED: Published = (Some(true), Some(true), None);
const NO_VERDICT: Published = (None, None, None);
const NO_SECOND_FACTOR: Published = (Some(false), Some(false), Some((Kind::MfaRequired, Remedy::Login)));
const REFUSED: Published = (Some(false), None, Some((Kind::PartnerCenterRefused, Remedy::Operator)));

enum Trouble {
    Answer(FaultEffect),
    /// Partner Center's simulated rules, and whether the user signed in with MFA.
    Rules(PartnerCenterRules, bool),
}

fn answers() -> Vec<(&'static str, Trouble, Published)> {
    let coded = |status, code: &str| {
        let retry_after = (status == 429).then_some(Duration::from_secs(57));
        Trouble::Answer(FaultEffect::Coded { status, code: code.into(), inner: None, retry_after })
    };
    let page = |status, body| Trouble::Answer(page(status, None, body));
    let rules = |enforce_mfa, forbidden, mfa| {
        Trouble::Rules(PartnerCenterRules { enforce_mfa, forbidden, says_mfa: true }, mfa)
    };
    let silent = PartnerCenterRules { enforce_mfa: false, forbidden: false, says_mfa: false };
    vec![
        ("good", rules(true, false, true), ACCEPTED),
        ("good, and silent about the second factor", Trouble::Rules(silent, true), (Some(true), None, None)),
        ("no second factor", rules(true, false, false), NO_SECOND_FACTOR),
        (
            "no second factor, and accepted all the same",
            rules(false, false, false),
            (Some(true), Some(false), Some((Kind::MfaRequired, Remedy::Login))),
        ),
        ("no role", rules(true, true, true), REFUSED),
        ("401 without a second factor", coded(401, "900421"), NO_SECOND_FACTOR),
        ("401 with a number for a code", page(401, r#"{"code":900421}"#), NO_SECOND_FACTOR),
        ("401 of 2020", page(401, "Unauthorized - MFA required"), NO_SECOND_FACTOR),
        ("401", coded(401, "400"), REFUSED),
        ("401 as HTML", page(401, "<html>"), NO_VERDICT),
        ("403", coded(403, "2032"), REFUSED),
        ("404", coded(404, "1000"), NO_VERDICT),
        ("429 in its own shape", coded(429, ""), NO_VERDICT),
        ("500", coded(500, "500"), NO_VERDICT),
        ("502 as HTML", page(502, "<html>502 Bad Gateway</html>"), NO_VERDICT),
        ("302", page(302, ""), NO_VERDICT),
        ("200 of a guest network", Trouble::Answer(FaultEffect::Garbage), NO_VERDICT),
        ("200 that ends half-way", page(200, r#"{"id":"half a"#), NO_VERDICT),
        ("cut", Trouble::Answer(FaultEffect::Transport(NoResponse::Cut)), NO_VERDICT),
    ]
}

async fn run(lab: &Lab, nth: usize, trouble: &Trouble, wanted: &Published) -> Vec<String> {
    let mut wrong = Vec::new();
    let scene = Scene::set(lab, nth);
    match trouble {
        Trouble::Answer(what) => lab.world().inject(Fault::of(Peer::PartnerCenter, what.clone())),
        Trouble::Rules(rules, mfa) => {
            lab.world().set_partner_center(*rules);
            lab.world().set_user_mfa(&scene.partner.user_oid, *mfa);
            lab.world().human_signs_in(&scene.partner).expect("signed in");
        }
    }
    let secret = &scene.partner.refresh_token;
    let redeemed = lab.world().newest_value(secret).expect("stored");
    let mut rotator = lab.rotator(&scene.grant);

    let state = settle(&mut rotator, State::unknown(lab.clock.now())).await;

    let now = lab.clock.now();
    let next = rotator.timing.next(&state, now);
    let snapshot = Snapshot::of(&rotator.grant, Periods::of(&rotator.timing), &state, Some(&next), now);
    let told = conditions(std::slice::from_ref(&snapshot), TimeDelta::zero(), now);
    // A simulated user writes the token to the vault. The test ignores a condition about this foreign writer.
    let told = told.iter().find(|condition| condition.kind != Kind::ForeignWriter);
    let found = (snapshot.accepted(), snapshot.mfa(), told.map(|told| (told.kind, told.remedy)));
    if found != *wanted {
        wrong.push(format!("is published as {found:?}, not {wanted:?}"));
    }
    if state.failure().is_some() {
        wrong.push(format!("the proof failed: {:?}", state.failure()));
    }
    let stored = lab.world().newest_value(secret).expect("stored");
    if stored == redeemed || !lab.world().descends_from(stored.expose(), redeemed.expose()) {
        wrong.push("the token was not rotated".to_owned());
    }
    lab.world().set_partner_center(PartnerCenterRules::default());
    restore(lab);
    wrong
}

pub(super) async fn check_all() {
    let lab = Lab::start().await;
    let mut wrong = Vec::new();
    for (nth, (name, trouble, wanted)) in answers().iter().enumerate() {
        let failed = run(&lab, nth, trouble, wanted).await;
        wrong.extend(failed.iter().map(|what| format!("{name}: {what}")));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
