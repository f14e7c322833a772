//! Tests each check of a sign-in separately: which responses pass, and the text of each rejection.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::*;
use crate::ports::RefreshResponse;
use crate::rotation::samples;
use crate::token::claims::Claim;
use crate::token::{AccessToken, RefreshToken};

const TENANT: &str = "11111111-1111-4111-8111-111111111111";
const USER: &str = "0c0ffee0-1111-4111-8111-111111111111";
const SCOPE: &str = "https://api.partnercenter.microsoft.com/user_impersonation";

fn grant() -> ManagedToken {
    ManagedToken {
        tenant_id: TENANT.into(),
        scope: SCOPE.into(),
        verify: Verify::PartnerCenter,
        ..samples::grant("partner-center")
    }
}

fn claims() -> Value {
    json!({"tid": TENANT, "appid": "APP", "oid": USER, "amr": ["pwd", "mfa"], "scp": "user_impersonation"})
}

fn text(text: &str) -> Claim {
    Claim::Text(text.into())
}

fn signed_in(claims: &Value) -> RefreshResponse {
    let payload = URL_SAFE_NO_PAD.encode(claims.to_string());
    RefreshResponse {
        access_token: AccessToken::new(format!("h.{payload}.s")),
        refresh_token: RefreshToken::new("0.AX"),
        expires_in: Duration::from_secs(3600),
        scope: Some(SCOPE.to_uppercase()),
        refresh_expires_in: None,
        id_claims: Some(Claims { nonce: text("nonce"), ..Claims::default() }),
    }
}

fn judged(grant: &ManagedToken, answer: &RefreshResponse) -> Result<Option<String>, StepFailure> {
    let expected =
        Expected { grant, client_id: "app", nonce: Some("nonce"), user_before: None, replace_user: false };
    judge(&expected, answer).map(|whose| whose.user_oid)
}

/// Judges a sign-in in which the claim `name` has the value `value`.
fn with(name: &str, value: Value) -> Result<Option<String>, StepFailure> {
    let mut changed = claims();
    changed[name] = value;
    judged(&grant(), &signed_in(&changed))
}

fn refused(judged: Result<Option<String>, StepFailure>, summary: &str) -> StepFailure {
    let refused = judged.expect_err(summary);
    assert!(refused.summary.contains(summary), "{refused}");
    refused
}

#[test]
fn a_valid_sign_in_names_its_user() {
    assert_eq!(judged(&grant(), &signed_in(&claims())), Ok(Some(USER.into())));
}

#[test]
fn another_tenant_app_or_user_is_rejected_with_its_action() {
    let tenant =
        refused(with("tid", json!("22222222-2222-4222-8222-222222222222")), "does not belong to tenant");
    assert!(tenant.action.contains(TENANT) && tenant.remedy == Remedy::Login, "{tenant}");
    assert_eq!(refused(with("appid", json!("other")), "not for app").remedy, Remedy::Operator);
    let pinned = ManagedToken { user_oid: Some("somebody".into()), ..grant() };
    let user = refused(judged(&pinned, &signed_in(&claims())), "allows only somebody");
    assert!(user.action.contains("user_oid"), "{user}");
}

#[test]
fn a_text_that_is_no_object_id_is_neither_shown_nor_stored() {
    let odd = |oid: &str| {
        let mut one = claims();
        one["oid"] = json!(oid);
        signed_in(&one)
    };

    assert_eq!(judged(&grant(), &odd("0.AX8Acanary")), Ok(None));
    let pinned = ManagedToken { user_oid: Some("somebody".into()), ..grant() };
    let told = refused(judged(&pinned, &odd("0.AX8Acanary")), "user (unknown) signed in");
    assert!(!told.to_string().contains("canary"), "{told}");
}

#[test]
fn a_user_is_replaced_only_with_replace_user() {
    let (grant, answer) = (grant(), signed_in(&claims()));
    let by = |user_before, replace_user| {
        let expected = Expected { grant: &grant, client_id: "app", nonce: None, user_before, replace_user };
        judge(&expected, &answer).map(|whose| whose.user_oid)
    };

    let predecessor = "0c0ffee0-2222-4222-8222-222222222222";
    for (noted, summary) in [
        (predecessor, "belongs to user 0c0ffee0-2222-4222-8222-222222222222"),
        ("predecessor\u{1b}[2J", "belongs to another user, according to its tag user-oid"),
    ] {
        let told = refused(by(Some(noted), false), summary);
        assert!(told.action.ends_with("`perennial login partner-center --replace-user`"), "{told}");
        assert!(!told.summary.contains('\u{1b}'), "{told}");
        assert!(by(Some(noted), true).is_ok());
    }
    assert!(by(Some(&USER.to_uppercase()), false).is_ok());
    let pinned = ManagedToken { user_oid: Some("somebody".into()), ..grant.clone() };
    let expected =
        Expected { grant: &pinned, client_id: "app", nonce: None, user_before: None, replace_user: true };
    assert!(judge(&expected, &answer).is_err(), "what is pinned is pinned");
}

#[test]
fn a_user_who_cannot_be_compared_is_not_the_same_one() {
    let pinned = ManagedToken { user_oid: Some(USER.into()), ..grant() };
    let by = |grant: &ManagedToken, answer: &RefreshResponse, user_before, replace_user| {
        let expected = Expected { grant, client_id: "app", nonce: None, user_before, replace_user };
        judge(&expected, answer)
    };
    let mut one = claims();
    one["oid"] = Value::Null;
    let nameless = signed_in(&one);
    let mut contradicted = signed_in(&claims());
    contradicted.id_claims =
        Some(Claims { oid: text("44444444-4444-4444-8444-444444444444"), ..Claims::default() });

    let told = refused(by(&pinned, &nameless, None, true).map(|_| None), "does not say which user signed in");
    assert!(told.action.contains("`profile`") && told.remedy == Remedy::Operator, "{told}");
    for answer in [&nameless, &contradicted] {
        let told = refused(by(&grant(), answer, Some(USER), false).map(|_| None), "cannot compare this user");
        assert!(told.action.ends_with("--replace-user`"), "{told}");
        assert!(by(&grant(), answer, Some(USER), true).is_ok());
        assert!(by(&grant(), answer, None, false).is_ok());
    }
    one["oid"] = json!({ "id": USER });
    let told =
        refused(judged(&pinned, &signed_in(&one)), "names the user in a form that Perennial cannot compare");
    assert_eq!(told.remedy, Remedy::Operator);
}

#[test]
fn mfa_is_required_if_partner_center_is_asked() {
    let told = refused(with("amr", json!(["pwd"])), "no second factor");
    assert!(told.summary.contains("900421") && told.action.contains("private browser window"), "{told}");
    assert!(with("amr", Value::Null).is_ok(), "unknown: Partner Center will say");
    let elsewhere = ManagedToken { verify: Verify::Nothing, ..grant() };
    let mut one = claims();
    one["amr"] = json!(["pwd"]);
    assert!(judged(&elsewhere, &signed_in(&one)).is_ok());
}

#[test]
fn a_token_that_ends_tomorrow_is_a_spa_redirects() {
    let mut answer = signed_in(&claims());
    answer.refresh_expires_in = Some(Duration::from_secs(86_400));

    let told = refused(judged(&grant(), &answer), "24 hours");

    assert!(told.action.contains("platform Web"), "{told}");
    answer.refresh_expires_in = Some(Duration::from_secs(90 * 86_400));
    assert!(judged(&grant(), &answer).is_ok());
}

#[test]
fn scopes_that_were_not_granted_are_named() {
    let mut changed = claims();
    changed["scp"] = json!("openid");
    let mut answer = signed_in(&changed);
    answer.scope = Some("openid profile".into());

    refused(judged(&grant(), &answer), "does not cover the scope https://api.partnercenter");
    let whatever =
        ManagedToken { scope: "https://api.partnercenter.microsoft.com/.default openid".into(), ..grant() };
    assert!(judged(&whatever, &answer).is_ok());
    answer.scope = None;
    assert!(judged(&grant(), &answer).is_ok(), "what is not said is not held against it");
}

#[test]
fn a_missing_id_token_or_one_of_another_sign_in_is_rejected() {
    for nonce in [Claim::Absent, text("other"), Claim::List(vec!["nonce".into()]), Claim::Odd] {
        let id_claims = Some(Claims { nonce, ..Claims::default() });
        refused(judged(&grant(), &RefreshResponse { id_claims, ..signed_in(&claims()) }), "nonce differs");
    }
    refused(judged(&grant(), &RefreshResponse { id_claims: None, ..signed_in(&claims()) }), "nonce differs");
}

#[test]
fn an_opaque_access_token_leaves_the_id_token_to_name_the_user() {
    let mut answer = signed_in(&claims());
    answer.access_token = AccessToken::new("opaque");
    let id = |tid: &str| Claims {
        nonce: text("nonce"),
        tid: text(tid),
        oid: text(USER),
        aud: text("app"),
        ..Claims::default()
    };

    answer.id_claims = Some(id(TENANT));
    assert_eq!(judged(&grant(), &answer), Ok(Some(USER.into())));
    answer.id_claims = Some(id("22222222-2222-4222-8222-222222222222"));
    refused(judged(&grant(), &answer), "does not belong to tenant");
}

#[test]
fn partner_center_has_the_last_word() {
    let said = |accepted, mfa, tenant: &str| Acceptance {
        accepted,
        mfa,
        tenant_id: Some(tenant.into()),
        company: None,
        is_audience: false,
        status: if accepted { 200 } else { 403 },
    };
    let judged = |said: &Acceptance| judge_acceptance(&grant(), said);

    assert_eq!(judged(&said(true, Some(true), TENANT)), Ok(()));
    assert_eq!(judged(&said(true, None, TENANT)), Ok(()));
    // Partner Center's answer decides about MFA, even if the access token names a second factor.
    assert_eq!(judged(&said(true, Some(false), TENANT)).expect_err("mfa").summary, SECOND_FACTOR);
    assert!(judged(&said(false, None, TENANT)).expect_err("role").action.contains("role"));
    let elsewhere = said(true, Some(true), "22222222-2222-4222-8222-222222222222");
    assert!(judged(&elsewhere).expect_err("tenant").summary.contains("does not belong to tenant"));
}
