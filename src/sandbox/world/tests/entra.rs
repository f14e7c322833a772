//! Tests of Entra's rules.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_redemption_leaves_the_old_token_alive_and_the_new_one_descends_from_it() {
    let scene = Scene::new();
    let first = scene.token();

    let redeemed = scene.redeem(&first).await.expect("a successor");

    let next = redeemed.refresh_token.expose();
    assert!(scene.world.is_alive(first.expose()) && scene.world.is_alive(next));
    assert!(scene.world.descends_from(next, first.expose()));
    assert!(!scene.world.descends_from(first.expose(), next));
    let claims = redeemed.access_token.claims().expect("readable");
    assert_eq!(claims.tid.as_deref(), Some(&*scene.partner.tenant_id));
    assert_eq!(claims.oid.as_deref(), Some(&*scene.partner.user_oid));
    assert_eq!(claims.appid.as_deref(), Some(&*scene.partner.client_id));
    assert_eq!(claims.mfa(), Some(true));
}

#[tokio::test(start_paused = true)]
async fn a_token_dies_ninety_days_after_its_issue() {
    let scene = Scene::new();
    let token = scene.token();
    scene.world.advance(TimeDelta::days(90) - TimeDelta::seconds(1));
    assert!(scene.world.is_alive(token.expose()));

    scene.world.advance(TimeDelta::seconds(1));

    assert_eq!(scene.code(&token).await, Some(700_082));
    assert!(scene.world.is_gone(token.expose()));
}

#[tokio::test(start_paused = true)]
async fn a_revocation_ends_tokens_issued_before_it_only() {
    let scene = Scene::new();
    let before = scene.token();

    scene.world.revoke_user(&scene.partner.user_oid);
    let after = scene.world.human_signs_in(&scene.partner).expect("signed in");

    assert_eq!(scene.code(&before).await, Some(50173));
    assert!(scene.redeem(&after).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn the_form_of_the_grant_is_checked_before_the_client() {
    let scene = Scene::new();
    let wrong = SecretString::from("wrong");
    let client = scene.partner.client_id.as_str();

    let garbage = scene.redeem_as(&RefreshToken::new("\"0.AXx\""), client, &wrong).await;
    let good = scene.redeem_as(&scene.token(), client, &wrong).await;

    assert_eq!(refusal_code(garbage), Some(9_002_313));
    let Err(IssuerError::Refused(refusal)) = good else { panic!("refused") };
    assert_eq!(
        (refusal.status, refusal.error.as_str(), refusal.trace.code),
        (401, "invalid_client", Some(7_000_215))
    );
    assert_eq!(refusal.trace.correlation_id, Some(Uuid::nil().to_string()));
}

#[tokio::test(start_paused = true)]
async fn an_apps_secret_expires_and_is_replaced_without_harm_to_the_token() {
    let scene = Scene::new();
    let token = scene.token();

    scene.world.expire_app_secret(&scene.partner.client_id);
    assert_eq!(scene.code(&token).await, Some(7_000_222));
    assert!(scene.world.is_alive(token.expose()));

    scene.world.replace_app_secret(&scene.partner.client_id, "fresh", None);
    assert_eq!(scene.code(&token).await, Some(7_000_215));
    scene.world.store_app_secret(&scene.partner.app_secret, "fresh", None);
    assert!(scene.redeem(&token).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_token_belongs_to_one_app_and_an_unknown_tenant_is_rejected() {
    let scene = Scene::new();
    scene.world.add_app(&scene.partner.tenant_id, "other-app", "s", None);

    let other = scene.redeem_as(&scene.token(), "other-app", &"s".into()).await;
    let redemption = RedeemRequest {
        tenant: "nowhere.example",
        client_id: &scene.partner.client_id,
        proof: AppProof::Secret("x"),
        scope: "",
        token: "x",
        correlation_id: None,
    };
    let nowhere = scene.world.redeem("one", &redemption);

    assert_eq!(refusal_code(other), Some(700_007));
    let Err(Trouble::Refused(refused)) = nowhere else { panic!("refused") };
    assert_eq!(refused.refusal.trace.code, Some(90002));
}

#[tokio::test(start_paused = true)]
async fn disabled_accounts_and_policies_can_be_undone() {
    let scene = Scene::new();
    let token = scene.token();
    scene.world.disable_user(&scene.partner.user_oid, true);
    assert_eq!(scene.code(&token).await, Some(50057));
    assert!(!scene.world.is_gone(token.expose()));
    scene.world.disable_user(&scene.partner.user_oid, false);

    scene.world.set_rules(&scene.partner.tenant_id, Rules { blocked: true, ..Rules::default() });
    assert_eq!(scene.code(&token).await, Some(53003));

    scene.world.set_rules(&scene.partner.tenant_id, Rules { require_mfa: true, ..Rules::default() });
    assert!(scene.redeem(&token).await.is_ok(), "this sign-in carries a second factor");
    scene.world.set_user_mfa(&scene.partner.user_oid, false);
    let without = scene.world.human_signs_in(&scene.partner).expect("signed in");
    assert_eq!(scene.code(&without).await, Some(50076));
}

#[tokio::test(start_paused = true)]
async fn a_loop_is_stopped_and_forgiven_after_a_pause() {
    let scene = Scene::new();
    let token = scene.token();
    for _ in 0..15 {
        assert!(scene.redeem(&token).await.is_ok());
    }

    assert_eq!(scene.code(&token).await, Some(50196));

    scene.world.advance(TimeDelta::minutes(5));
    assert!(scene.redeem(&token).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_strict_issuer_ends_the_family_when_a_spent_token_returns() {
    let scene = Scene::new();
    scene.world.set_strict(true);
    let first = scene.token();
    let second = scene.redeem(&first).await.expect("a successor").refresh_token;
    assert!(!scene.world.is_alive(first.expose()) && scene.world.is_alive(second.expose()));

    assert_eq!(scene.code(&first).await, Some(70000));

    assert!(scene.world.is_gone(second.expose()));
    assert_eq!(scene.code(&second).await, Some(70000));
}

#[tokio::test(start_paused = true)]
async fn a_customers_tenant_accepts_the_partners_token_after_consent() {
    let scene = Scene::new();
    let partner = &scene.partner;
    scene.world.add_customer(&partner.tenant_id, "customer", "fabrikam.example", &[&partner.client_id]);
    scene.world.add_customer(&partner.tenant_id, "other", "tailspin.example", &[]);
    let (token, secret) = (scene.token(), scene.app_secret());
    let at = |tenant| RedeemRequest {
        tenant,
        client_id: &partner.client_id,
        proof: AppProof::Secret(secret.expose_secret()),
        scope: "https://graph.microsoft.com/.default",
        token: token.expose(),
        correlation_id: None,
    };

    let answer = scene.world.redeem("one", &at("fabrikam.example")).expect("a good answer");

    let claims = answer.access_token.claims().expect("readable");
    assert_eq!(claims.tid.as_deref(), Some("customer"));
    let Err(Trouble::Refused(refused)) = scene.world.redeem("one", &at("other")) else { panic!("refused") };
    assert_eq!(refused.refusal.trace.code, Some(700_016));
}
