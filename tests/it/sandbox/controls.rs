//! Tests injected faults, and the controls below `/_sandbox/`.

use reqwest::StatusCode;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

use super::{Lab, json_of};

#[tokio::test]
async fn faults_look_real_on_the_wire() {
    let lab = Lab::start().await;
    let token = lab.stored();

    lab.control("faults", json!({"peer": "entra", "status": 429, "retry_after": 60, "times": 1})).await;
    let throttled = lab.redeem(&token).await.expect("an answer");
    assert_eq!(
        (throttled.status().as_u16(), &throttled.headers()["retry-after"]),
        (429, &"60".parse().expect("a value"))
    );

    let oauth =
        json!({"peer": "entra", "operation": "redeem", "error": "invalid_grant", "code": 50196, "times": 1});
    lab.control("faults", oauth).await;
    assert_eq!(json_of(lab.redeem(&token).await.expect("an answer")).await["error_codes"], json!([50196]));

    let vault = json!({"peer": "key_vault", "operation": "get", "status": 403, "code": "Forbidden",
        "inner": "ForbiddenByConnection", "times": 1});
    lab.control("faults", vault).await;
    let refused = lab.vault("/secrets/partner-refresh-token?api-version=7.4").await;
    assert_eq!(json_of(refused).await["error"]["innererror"]["code"], "ForbiddenByConnection");

    lab.control("faults", json!({"peer": "entra", "distort": "no_refresh_token", "times": 1})).await;
    assert!(json_of(lab.redeem(&token).await.expect("an answer")).await["refresh_token"].is_null());
    assert!(lab.redeem(&token).await.expect("an answer").status().is_success(), "all used up");
}

#[tokio::test]
async fn a_connection_is_cut_before_or_after_the_effect() {
    let lab = Lab::start().await;
    let grants = || lab.world().grants().len();
    let at_first = grants();

    lab.control("faults", json!({"peer": "entra", "cut": true, "times": 1})).await;
    let cut = lab.redeem(&lab.stored()).await.expect_err("no answer");
    assert!(!cut.is_timeout() && !cut.is_status(), "{cut:?}");
    assert_eq!(grants(), at_first);

    lab.control("faults", json!({"peer": "entra", "cut": true, "when": "after", "times": 1})).await;
    lab.redeem(&lab.stored()).await.expect_err("no answer");
    assert_eq!(grants(), at_first + 1);
}

#[tokio::test]
async fn a_wrong_control_explains_the_expected_form() {
    let lab = Lab::start().await;
    for (what, body) in [
        ("faults", json!({"peer": "moon", "status": 500})),
        ("faults", json!({"peer": "entra"})),
        ("faults", json!({"peer": "entra", "status": 500, "cut": true})),
        ("faults", json!({"peer": "entra", "status": 7})),
        ("faults", json!({"peer": "entra", "distort": "no_refresh_token", "when": "before"})),
        ("clock", json!({"speed": -1})),
        ("clock", json!({"spede": 1})),
        ("revoke", json!({"user": "nobody@example.com"})),
        ("revoke", json!({"mfa": false})),
    ] {
        let answer = lab.http.post(lab.url(&format!("/_sandbox/{what}"))).json(&body).send();
        let answer = answer.await.expect("an answer");
        assert_eq!(answer.status(), StatusCode::BAD_REQUEST, "{body}");
        assert!(json_of(answer).await["error"].is_string());
    }
}

#[tokio::test]
async fn the_state_shows_everything_but_secrets() {
    let lab = Lab::start().await;
    let redeemed = json_of(lab.redeem(&lab.stored()).await.expect("an answer")).await;
    lab.control("expire-secret", json!({})).await;

    let state = lab.http.get(lab.url("/_sandbox/state")).send().await.expect("an answer");
    let text = state.text().await.expect("text");

    let app_secret = lab.world().newest_value(&lab.partner.app_secret).expect("stored");
    let vault_secret = lab.sandbox.vault_identity.client_secret.expose_secret();
    for secret in [
        lab.stored().as_str(),
        app_secret.expose(),
        vault_secret,
        redeemed["access_token"].as_str().expect("a token"),
        redeemed["refresh_token"].as_str().expect("a token"),
    ] {
        assert!(!text.contains(secret), "{text}");
    }
    let state: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(state["requests"]["entra"]["redeem"], 1);
    assert_eq!(state["grants"]["issued"], 2);
    assert_eq!(state["users"][0]["mfa"], true);
    let secrets = state["secrets"].as_array().expect("a list");
    assert!(secrets.iter().any(|secret| secret["versions"][0]["writer"] == "human"));
}
