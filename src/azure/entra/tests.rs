//! Tests how the adapter parses the answers of Entra and of other servers.

use super::*;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use secrecy::SecretString;
use serde_json::json;
use uuid::Uuid;

use crate::azure::cloud::CloudName;
use crate::azure::identity::IdentityHost;
use crate::net::calls::CallLabels;
use crate::net::loopback;
use crate::net::loopback::{Loopback, reply};
use crate::net::no_response::NoResponse;
use crate::ports::client::ClientProof;
use crate::ports::diagnosis::diagnose;
use crate::ports::failure::{Failure, Kind};
use crate::ports::oauth_error::OAuthError;
use crate::token::claims::Claim;

const SECRET: &str = "s~3cr+t&=";
const TOKEN: &str = "0.AXoA-canary_x~y";

fn success(body: &str) -> Result<RefreshResponse, IssuerError> {
    redeemed(body.as_bytes(), &[TOKEN, SECRET])
}

fn refusal(status: u16, body: &str) -> OAuthError {
    match refused(status, body.as_bytes(), None, &[TOKEN, SECRET]) {
        IssuerError::Refused(refusal) => *refusal,
        other => panic!("{other:?}"),
    }
}

async fn redeem(entra: &Loopback, calls: &Arc<Calls>) -> Result<RefreshResponse, IssuerError> {
    let host = HostAssertions::new(IdentityHost::Imds, CloudName::Public, Arc::clone(calls));
    let issuer = Entra::new(entra.base.clone(), host, Arc::clone(&entra.http), Arc::clone(calls));
    let what = RefreshRequest {
        tenant: "contoso.onmicrosoft.com",
        client_id: "app",
        proof: &ClientProof::Secret(SecretString::from(SECRET)),
        scope: "https://api.partnercenter.microsoft.com/user_impersonation",
        token: &RefreshToken::new(TOKEN),
        rotation_id: Uuid::nil(),
    };
    issuer.redeem(&what).await
}

#[test]
fn a_lifetime_is_a_number_or_a_string_and_never_absurd() {
    for (expires_in, seconds) in [
        ("4512", 4512),
        (r#""3599""#, 3599),
        ("null", 600),
        ("-1", 600),
        (r#""soon""#, 600),
        ("18446744073709551615", 28 * 3600),
    ] {
        let body = format!(r#"{{"access_token":"a","refresh_token":"r","expires_in":{expires_in}}}"#);

        let lifetime = success(&body).expect("a token answer").expires_in;
        assert_eq!(lifetime, Duration::from_secs(seconds), "{expires_in}");
    }
}

#[test]
fn an_answer_without_a_usable_successor_is_an_error() {
    for body in [
        r#"{"access_token":"a"}"#,
        r#"{"access_token":"a","refresh_token":null}"#,
        r#"{"access_token":"a","refresh_token":""}"#,
        r#"{"access_token":"a","refresh_token":" \r\n"}"#,
    ] {
        assert_eq!(success(body).expect_err(body), IssuerError::NoRefreshToken, "{body}");
    }
    for body in [
        "",
        "null",
        "<html>signed in to the hotel</html>",
        r#"{"access_token":"a","refresh_tok"#,
        r#"{"refresh_token":"r"}"#,
        r#"{"access_token":"","refresh_token":"r"}"#,
        r#"{"access_token":"a\nb","refresh_token":"r"}"#,
        r#"{"access_token":"0.AXoA-canary_x~y","refresh_token":"r"}"#,
        r#"{"access_token":"e.s~3cr+t&=.x","refresh_token":"r"}"#,
        r#"{"access_token":"a","refresh_token":"two words"}"#,
        r#"{"access_token":"a","refresh_token":"\"quoted\""}"#,
        r#"{"access_token":"a","refresh_token":7}"#,
        r#"{"error":"invalid_grant"}"#,
    ] {
        let error = success(body).expect_err(body);
        assert!(matches!(error, IssuerError::NotUnderstood(_)), "{body}: {error}");
    }
}

#[test]
fn an_id_token_is_optional_and_never_blocks_an_answer() {
    let jwt = |claims: &str| json!(format!("h.{}.s", URL_SAFE_NO_PAD.encode(claims)));
    let tid = "0ed4b3a5-1b4c-4a5e-8a6f-0123456789ab";
    let named = jwt(&format!(r#"{{"tid":"{tid}","oid":"{TOKEN}","name":"Jo","aud":["app"]}}"#));
    let read = |id_token: &Value| {
        let body = json!({"access_token": "a", "refresh_token": "r", "id_token": id_token});
        success(&body.to_string()).expect("a token answer")
    };

    let redeemed = read(&named);

    let claims = redeemed.id_claims.clone().expect("readable");
    assert_eq!(claims.tid.as_deref(), Some(tid));
    assert!(claims.oid == Claim::Odd, "what was sent is not kept, and not taken for absent");
    assert!(claims.aud == Claim::List(vec!["app".into()]));
    assert!(!format!("{redeemed:?}").contains("Jo"), "{redeemed:?}");
    for odd in
        [Value::Null, json!(7), json!({}), json!(["h.e30.s"]), json!("opaque"), json!("h.!.s"), jwt("7")]
    {
        assert!(read(&odd).id_claims.is_none(), "{odd}");
    }
}

#[test]
fn every_part_of_a_rejection_is_parsed() {
    let body = r#"{"error":"invalid_grant",
        "error_description":"AADSTS50173: The grant of \u0027jo@contoso.com\u0027 is revoked.\r\nTrace ID: x",
        "error_codes":[70000,50173],"timestamp":"2026-08-14 09:12:33Z",
        "trace_id":"0ED4B3A5-1b4c-4a5e-8a6f-0123456789ab",
        "correlation_id":"11111111-2222-4333-8444-555555555555",
        "suberror":"bad_token","claims":"{\"access_token\":{\"x\":1}}"}"#;

    let refusal = refusal(400, body);

    assert_eq!(refusal.error, "invalid_grant");
    assert_eq!(refusal.trace.code, Some(50173), "the description's before the list's");
    assert_eq!(refusal.further_codes, [70000]);
    assert_eq!(refusal.suberror.as_deref(), Some("bad_token"));
    assert_eq!(refusal.trace.trace_id.as_deref(), Some("0ed4b3a5-1b4c-4a5e-8a6f-0123456789ab"));
    assert_eq!(refusal.trace.correlation_id.as_deref(), Some("11111111-2222-4333-8444-555555555555"));
    assert_eq!(refusal.claims.as_deref(), Some(r#"{"access_token":{"x":1}}"#));
    assert!(!format!("{refusal:?}").contains("contoso"), "{refusal:?}");
}

#[test]
fn the_code_is_found_wherever_it_is() {
    for (body, code) in [
        (r#"{"error":"invalid_client","error_codes":[7000222]}"#, Some(7_000_222)),
        (r#"{"error":"invalid_client","error_codes":["7000222"]}"#, Some(7_000_222)),
        (r#"{"error":"invalid_client","error_codes":7000222}"#, None),
        (r#"{"error":"invalid_client","error_codes":[]}"#, None),
        (r#"{"error":"invalid_client","error_codes":[-1],"error_description":7}"#, None),
        (r#"{"error":"invalid_client","error_description":"AADSTS"}"#, None),
        (r#"{"error":"invalid_client","error_description":"AADSTS99999999999"}"#, None),
        (r#"{"error":"invalid_client","error_description":"see AADSTS7000215."}"#, Some(7_000_215)),
        (r#"{"error":"invalid_grant","error_codes":[70002,70008]}"#, Some(70008)),
        (r#"{"error":"invalid_client","error_description":"AADSTS70002: x. AADSTS50012: y."}"#, Some(50012)),
    ] {
        assert_eq!(refusal(401, body).trace.code, code, "{body}");
    }
}

#[test]
fn a_b2c_number_is_shown_but_decides_nothing() {
    let said = |description: &str| {
        let body = json!({"error": "invalid_grant", "error_description": description});
        refused(400, body.to_string().as_bytes(), None, &[TOKEN, SECRET]).failure()
    };

    let (told, without) = (said("AADB2C90129: grant revoked\r\n"), said("grant revoked"));

    assert_eq!(told.summary, "Entra refused: invalid_grant, AADB2C90129");
    assert_eq!(Failure { summary: without.summary.clone(), ..told }, without);
}

#[test]
fn an_answer_without_an_oauth_error_is_not_a_refusal() {
    let retry_after = Some(Duration::from_secs(60));
    for (status, body) in [
        (429, "Too Many Requests"),
        (503, ""),
        (502, "<html>Bad Gateway</html>"),
        (400, r#"{"error":{"code":"x"}}"#),
        (403, r#"["error"]"#),
        (404, "\u{0}\u{1}"),
        (302, r#"{"message":"moved"}"#),
    ] {
        let error = refused(status, body.as_bytes(), retry_after, &[]);

        assert_eq!(error, IssuerError::Unavailable { status, retry_after }, "{status} {body}");
    }
}

#[test]
fn a_hostile_issuer_cannot_have_the_request_logged() {
    for echo in [TOKEN, SECRET, "canary", &"canary".repeat(5000)] {
        let body = serde_json::json!({
            "error": format!("{echo}!"), "error_description": echo, "error_codes": [echo],
            "suberror": echo.to_uppercase(), "trace_id": echo, "correlation_id": [echo],
            "claims": format!("{{\"x\":\"{}\"}}", if echo == "canary" { TOKEN } else { echo }),
        });

        let refusal = refusal(400, &body.to_string());

        assert_eq!(diagnose(&refusal).kind, Kind::UnknownCode);
        let shown = format!("{refusal:?}").to_lowercase();
        assert!(!shown.contains("canary") && !shown.contains("s~3cr"), "{shown}");
    }
}

#[test]
fn a_scope_with_a_token_in_it_is_not_kept() {
    let body = |scope: &str| {
        let body = serde_json::json!({
            "access_token": "ey.a.fresh-access-token", "refresh_token": "0.AX-the-successor", "scope": scope,
        });
        success(&body.to_string()).expect("redeemed").scope
    };

    assert_eq!(body("https://x/user_impersonation"), Some("https://x/user_impersonation".to_owned()));
    for echo in ["ey.a.fresh-access-token", "0.ax-THE-successor", TOKEN, SECRET] {
        assert_eq!(body(&format!("https://x/ {echo}")), None, "{echo}");
    }
}

#[test]
fn a_secret_that_looks_like_an_error_is_not_kept() {
    let error = refused(400, br#"{"error":"correcthorse"}"#, None, &["correcthorse"]);

    assert!(!format!("{error:?}").contains("horse"), "{error:?}");
    let error = refused(401, br#"{"error":"invalid_client"}"#, None, &["", "a"]);
    assert!(format!("{error:?}").contains("invalid_client"), "{error:?}");
}

#[tokio::test]
async fn the_request_is_what_entra_wants() {
    let entra = loopback::serve(|_| {
        let body = r#"{"token_type":"Bearer","scope":"a b","expires_in":4512,
                       "access_token":"at","refresh_token":"next"}"#;
        reply(200, &[("content-type", "application/json")], body)
    })
    .await;
    let calls = Arc::new(Calls::default());

    let redeemed = redeem(&entra, &calls).await.expect("redeemed");

    assert_eq!(redeemed.refresh_token.expose(), "next");
    assert_eq!(redeemed.scope.as_deref(), Some("a b"));
    assert_eq!(entra.lines(), ["POST /contoso.onmicrosoft.com/oauth2/v2.0/token"]);
    let seen = entra.seen.lock().expect("nobody panicked");
    assert_eq!(seen[0].header("client-request-id"), Uuid::nil().to_string());
    assert_eq!(seen[0].header("return-client-request-id"), "true");
    assert_eq!(seen[0].header("content-type"), "application/x-www-form-urlencoded");
    assert!(!seen[0].headers.contains_key("origin"));
    assert!(!seen[0].headers.contains_key("accept-encoding"), "a bound on size is one of bytes sent");
    assert_eq!(
        seen[0].body,
        "grant_type=refresh_token&client_id=app\
         &refresh_token=0.AXoA-canary_x%7Ey\
         &scope=https%3A%2F%2Fapi.partnercenter.microsoft.com%2Fuser_impersonation+offline_access+openid+profile\
         &client_secret=s%7E3cr%2Bt%26%3D"
    );
    let redeemed = calls.durations().get(&CallLabels::new(CallTarget::Entra, "redeem", "200"));
    assert_eq!(redeemed.map(|durations| durations.count()), Some(1));
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let entra = loopback::serve(|_| reply(307, &[("location", "/elsewhere")], "")).await;

    let error = redeem(&entra, &Arc::default()).await.expect_err("no tokens");

    assert_eq!(error, IssuerError::Unavailable { status: 307, retry_after: None });
    assert_eq!(entra.lines().len(), 1);
}

#[tokio::test]
async fn an_oversized_answer_is_not_read() {
    for (status, flood) in [(200, "x".repeat(70_000)), (400, "x".repeat(70_000))] {
        let entra = loopback::serve(move |_| {
            let chunks = futures::stream::iter([Ok::<_, std::io::Error>(flood.clone())]);
            reply(status, &[("retry-after", "7")], axum::body::Body::from_stream(chunks))
        })
        .await;

        let error = redeem(&entra, &Arc::default()).await.expect_err("no tokens");

        match status {
            200 => assert_eq!(error, IssuerError::NotUnderstood("it is too long")),
            _ => assert_eq!(
                error,
                IssuerError::Unavailable { status, retry_after: Some(Duration::from_secs(7)) }
            ),
        }
    }
}

#[tokio::test]
async fn an_unknown_certificate_is_a_tls_failure_and_is_counted() {
    let entra = loopback::serve(|_| reply(200, &[], "")).await;
    let stranger = loopback::serve(|_| reply(200, &[], "")).await;
    let calls = Arc::new(Calls::default());

    let mixed = Loopback { http: stranger.http, ..entra };
    let error = redeem(&mixed, &calls).await.expect_err("not trusted");

    assert_eq!(
        error,
        IssuerError::Unreachable(NoResponse::Tls(crate::net::no_response::TlsFault::UnknownIssuer))
    );
    assert!(calls.durations().contains(&CallLabels::new(CallTarget::Entra, "redeem", "tls")));
    assert!(mixed.lines().is_empty());
}

/// Some gateways change the form of Entra's errors. Perennial diagnoses the AADSTS number of such an error, but does
/// not condemn the token.
#[test]
fn an_error_in_another_form_is_diagnosed_but_condemns_nothing() {
    let usual = r#"{"error":"invalid_grant","error_description":"AADSTS700082: The token"}"#;
    assert!(refusal(400, usual).condemns_token());
    for (status, body) in [
        (200, usual.to_owned()),
        (400, format!("[{usual}]")),
        (400, r#"{"error":{"code":"invalid_grant","message":"AADSTS700082: The token"}}"#.into()),
        (400, r#"{"error":{"code":700082,"message":"AADSTS700082: The token"}}"#.into()),
        (400, r#"{"error_description":"AADSTS700082: The token","trace_id":""}"#.into()),
        (400, r#"{"error_codes":[700082]}"#.into()),
        (400, r#"{"error_uri":"https://login.microsoftonline.com/error?code=700082"}"#.into()),
        (400, "AADSTS700082: The token".into()),
        (400, r#"{"Error":"invalid_grant","ErrorDescription":"AADSTS700082: The token"}"#.into()),
        (400, "\"AADSTS700082: The token\"".into()),
        (400, "<html><title>Error</title><p>AADSTS700082: The token</p>".into()),
        (502, usual[..60].to_owned()),
    ] {
        let found = refusal(status, &body);

        assert_eq!(found.trace.code, Some(700_082), "{status} {body}");
        assert_eq!(diagnose(&found).kind, Kind::LoginRequired, "{status} {body}");
        assert!(!diagnose(&found).is_definite, "{status} {body}");
        assert!(!found.condemns_token() && !found.never_was_a_token(), "{status} {body}");
    }
    let marked = format!("\u{feff} {usual} \r\n");
    assert_eq!(refusal(400, &marked), refusal(400, usual));
}

#[tokio::test]
async fn an_error_with_the_status_of_a_success_is_a_rejection() {
    let server = loopback::serve(|_| {
        reply(200, &[], r#"{"error":"invalid_grant","error_description":"AADSTS53003: Blocked"}"#)
    })
    .await;

    let refused = redeem(&server, &Arc::new(Calls::default())).await.expect_err("a rejection");

    assert_eq!(refused.failure().kind, Kind::PolicyBlocked);
}

#[test]
fn the_page_about_the_error_names_the_number_only_if_nothing_else_does() {
    let body = |text: &str| {
        format!(
            r#"{{"error":"invalid_grant","error_description":"{text}","error_uri":"https://login.microsoftonline.com/error?code=700003"}}"#
        )
    };
    assert_eq!(refusal(400, &body("")).trace.code, Some(700_003));
    let named = refusal(400, &body("AADSTS50173: x"));
    assert_eq!((named.trace.code, named.further_codes), (Some(50173), vec![]));
}
