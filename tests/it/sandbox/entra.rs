//! Tests the simulated Entra with a plain HTTP client.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use reqwest::StatusCode;
use serde_json::{Value, json};

use super::{Lab, ROTATION, json_of};

#[tokio::test]
async fn a_redemption_answers_in_entras_form() {
    let lab = Lab::start().await;

    let answer = lab.redeem(&lab.stored()).await.expect("an answer");

    assert_eq!(answer.headers()["client-request-id"], ROTATION);
    assert!(answer.headers().contains_key("x-ms-request-id"));
    let body = json_of(answer).await;
    assert_eq!(body["token_type"], "Bearer");
    assert!((3600..5400).contains(&body["expires_in"].as_u64().expect("a number")));
    assert!(lab.world().descends_from(body["refresh_token"].as_str().expect("a token"), &lab.stored()));
}

#[tokio::test]
async fn a_rejection_has_the_parts_that_support_needs() {
    let lab = Lab::start().await;
    lab.control("revoke", json!({})).await;

    let answer = lab.redeem(&lab.stored()).await.expect("an answer");

    assert_eq!(answer.status(), StatusCode::BAD_REQUEST);
    let trace = answer.headers()["x-ms-request-id"].to_str().expect("text").to_owned();
    let body = json_of(answer).await;
    assert_eq!(body["error"], "invalid_grant");
    assert_eq!(body["error_codes"], json!([50173]));
    assert_eq!(body["suberror"], "bad_token");
    assert_eq!(body["correlation_id"], ROTATION);
    assert_eq!(body["trace_id"], trace);
    let description = body["error_description"].as_str().expect("text");
    assert!(description.starts_with("AADSTS50173: ") && description.contains(&trace), "{description}");
}

#[tokio::test]
async fn a_successor_needs_offline_access() {
    let lab = Lab::start().await;

    let body = lab.redeem_for("https://api.partnercenter.microsoft.com/user_impersonation", &[]).await;

    assert!(body["access_token"].is_string() && body["refresh_token"].is_null());
}

#[tokio::test]
async fn a_client_that_stores_accounts_gets_the_tokens_user() {
    let lab = Lab::start().await;

    let scope = "https://api.partnercenter.microsoft.com/user_impersonation openid profile";
    let body = lab.redeem_for(scope, &[("client_info", "1")]).await;

    let decoded = |part: &str| -> Value {
        let bytes = URL_SAFE_NO_PAD.decode(part).expect("base64");
        serde_json::from_slice(&bytes).expect("JSON")
    };
    let claims = decoded(body["id_token"].as_str().and_then(|token| token.split('.').nth(1)).expect("a JWT"));
    assert_eq!(claims["aud"], lab.partner.client_id);
    assert_eq!(claims["oid"], lab.partner.user_oid);
    assert!(claims["preferred_username"].is_string());
    let account = decoded(body["client_info"].as_str().expect("text"));
    assert_eq!(account, json!({"uid": lab.partner.user_oid, "utid": lab.partner.tenant_id}));
}

#[tokio::test]
async fn metadata_names_the_endpoints_of_the_sandbox_itself() {
    let lab = Lab::start().await;
    let get = async |path: &str| json_of(lab.http.get(lab.url(path)).send().await.expect("an answer")).await;

    let metadata = get(&format!("/{}/v2.0/.well-known/openid-configuration", lab.partner.tenant_id)).await;
    let discovery = get("/common/discovery/instance?api-version=1.1").await;

    let endpoint = metadata["token_endpoint"].as_str().expect("a URL");
    assert_eq!(endpoint, lab.url(&format!("/{}/oauth2/v2.0/token", lab.partner.tenant_id)));
    assert!(
        discovery["tenant_discovery_endpoint"].as_str().expect("a URL").starts_with(&*lab.sandbox.origin)
    );
}
