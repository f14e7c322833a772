//! Tests `rotate` when a user signs in during the rotation, and a policy then blocks the user's new token.

use std::collections::BTreeSet;
use std::sync::Mutex;

use chrono::TimeDelta;
use perennial::process::clock::Timestamp;
use perennial::sandbox::server::ConfigRequest;
use perennial::sandbox::world::{Fault, FaultEffect, Operation, Partner, Peer, When};

use super::results;
use crate::support::child::Child;
use crate::support::harness::Scratch;
use crate::support::lab;

const CODES: [(&str, u32); 4] = [
    ("invalid_grant", 530_003),
    ("invalid_grant", 530_036),
    ("invalid_grant", 53011),
    ("unauthorized_client", 53005),
];

/// As soon as `rotate` has redeemed the stored token, the user signs in again. From then on, a policy blocks the user.
#[tokio::test]
async fn a_sign_in_blocked_by_a_policy_needs_an_operator_and_is_not_overwritten() {
    let sandbox = lab::any_sandbox().await;
    let world = sandbox.world();
    let names = CODES.map(|(_, code)| format!("code-{code}"));
    let partners: Vec<Partner> =
        names.iter().map(|name| sandbox.add_partner(name, TimeDelta::days(80))).collect();
    let tokens: Vec<(&str, &Partner)> = names.iter().map(String::as_str).zip(&partners).collect();
    let dir = Scratch::new();
    let request = ConfigRequest { tokens: &tokens, rotate_after: None, prove_every: None, strict: false };
    let config = sandbox.write_config(&dir.0, &request).expect("a directory of our own").config;
    let (scene, users) = (world.clone(), partners.clone());
    let signed_in = Mutex::new(BTreeSet::new());
    world.tell_calls_to(move |call, when| {
        let place = users.iter().position(|user| user.user_oid == call.subject);
        let (Some(place), Operation::Redeem, When::After) = (place, call.operation, when) else { return };
        if signed_in.lock().expect("nobody panics").insert(place) {
            scene.human_signs_in(&users[place]).expect("may sign in");
            let (error, code) = CODES[place];
            let what =
                FaultEffect::OAuth { status: 400, error: error.into(), code: Some(code), suberror: None };
            scene.inject(Fault::of(Peer::Entra, what).on(Operation::Redeem).about(&call.subject));
        }
    });

    let ended = Child::start(&config, &["rotate", "--json"], &[]).ended("all four at once").await;

    assert_eq!(ended.code, Some(4), "{}", ended.stderr);
    for (result, partner) in results(&ended).iter().zip(&partners) {
        assert_eq!(
            (&result["kind"], &result["remedy"]),
            (&"policy_blocked".into(), &"operator".into()),
            "{result}"
        );
        let versions = world.versions_of(&partner.refresh_token);
        assert_eq!(versions.len(), 2, "the sign-in is on top: {result}");
        let redemptions = world.count_calls_where(Timestamp::MIN_UTC, |call| {
            call.operation == Operation::Redeem && call.subject == partner.user_oid
        });
        assert!(redemptions <= 3, "{redemptions} redemptions: {result}");
    }
}
