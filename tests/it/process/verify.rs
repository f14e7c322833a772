//! Tests that `verify` shows a token's identity and whether Partner Center accepts the access token, and that it stores
//! nothing.

use chrono::TimeDelta;
use perennial::sandbox::world::{Fault, FaultEffect, Peer};
use serde_json::Value;

use super::{Stage, results};

#[tokio::test]
async fn tenant_app_user_mfa_and_acceptance_are_shown() {
    let stage = Stage::set(TimeDelta::days(80)).await;

    let json = stage.run_to_end(&["verify", "--json"]).await;
    let text = stage.run_to_end(&["verify", "one"]).await;

    assert_eq!((json.code, text.code), (Some(0), Some(0)), "{}", json.stderr);
    let [one, other]: [Value; 2] = results(&json).try_into().expect("both");
    let told = |key: &str| one[key].as_str().map(str::to_owned);
    assert_eq!((told("name"), &one["good"]), (Some("one".into()), &true.into()));
    assert_eq!(told("tenant_id").as_ref(), Some(&stage.partner.tenant_id));
    assert_eq!(told("client_id").as_ref(), Some(&stage.partner.client_id));
    assert_eq!(told("user_oid").as_ref(), Some(&stage.partner.user_oid));
    assert_eq!((&one["mfa"], &one["partner_center_accepts"]), (&true.into(), &true.into()));
    assert_eq!((told("company"), told("scopes")), (Some("one".into()), Some("user_impersonation".into())));
    assert!(told("proved_at").is_some() && one["summary"].is_null(), "{one}");
    assert_eq!(other["name"], "other");
    assert!(
        text.stdout.starts_with("one\n  tenant ") && text.stdout.contains("second factor  yes"),
        "{}",
        text.stdout
    );
    assert_eq!((stage.redemptions(), stage.changes()), (3, 0));
    assert!(!json.stdout.contains("eyJ") && !text.stdout.contains("eyJ"));
}

#[tokio::test]
async fn an_mfa_that_is_too_old_is_not_reported_as_missing() {
    let stage = Stage::set(TimeDelta::days(1)).await;
    let (code, inner) = ("900421".into(), None);
    let what = FaultEffect::Coded { status: 401, code, inner, retry_after: None };
    stage.world().inject(Fault::of(Peer::PartnerCenter, what));

    let verified = stage.run_to_end(&["verify", "one"]).await;
    let [checked, rotated, status] = [
        stage.run_to_end(&["check", "one"]).await,
        stage.run_to_end(&["rotate", "one"]).await,
        stage.run_to_end(&["status", "one"]).await,
    ];

    assert!(verified.stdout.contains("second factor  yes"), "{}", verified.stdout);
    for ended in [verified, checked, rotated, status] {
        assert_eq!(ended.code, Some(3), "{}", ended.stdout);
        assert!(ended.stdout.contains("Partner Center requires a new sign-in with MFA"), "{}", ended.stdout);
        assert!(!ended.stdout.contains("used no second factor"), "{}", ended.stdout);
    }
}

#[tokio::test]
async fn a_sign_in_without_mfa_is_reported_with_its_action() {
    let stage = Stage::set(TimeDelta::days(1)).await;
    stage.world().set_user_mfa(&stage.partner.user_oid, false);
    stage.world().human_signs_in(&stage.partner).expect("signed in");

    let ended = stage.run_to_end(&["verify", "one", "--json"]).await;

    assert_eq!(ended.code, Some(3), "{}", ended.stdout);
    let one = &results(&ended)[0];
    assert_eq!((&one["good"], &one["mfa"]), (&false.into(), &false.into()));
    assert!(
        one["action"].as_str().is_some_and(|cure| cure.contains("second factor") || cure.contains("MFA")),
        "{one}"
    );
}
