//! The issuer: Entra's token endpoint (v2).
//!
//! Owns the form of the request and the reading of the answer. What a refusal means is `refusal`'s. No
//! description that Entra sends is kept: it can name the user, and a hostile peer could put the request
//! into it.
//!
//! Invariant: nothing kept from an error body can hold a token or a secret: it is a GUID, a number, or a
//! short word in lower case; or it was searched for what was sent.

use std::sync::Arc;
use std::time::Duration;

use reqwest::Method;
use reqwest::Request;
use secrecy::ExposeSecret as _;
use serde::Deserialize;
use serde_json::Value;

use crate::azure::Answer;
use crate::azure::Http;
use crate::azure::exchange;
use crate::azure::guid;
use crate::azure::peers::BaseUrl;
use crate::calls::Calls;
use crate::calls::Peer;
use crate::ports::Issuer;
use crate::ports::IssuerError;
use crate::ports::Redeemed;
use crate::ports::Redemption;
use crate::refusal::Refusal;
use crate::token::AccessToken;
use crate::token::RefreshToken;

/// Where the answer does not say how long the access token lives: the least that a policy can set
/// (configurable-token-lifetimes).
const LEAST_LIFETIME: Duration = Duration::from_secs(10 * 60);

/// The most that continuous access evaluation allows (app-resilience-continuous-access-evaluation).
const MOST_LIFETIME: Duration = Duration::from_secs(28 * 60 * 60);

/// OAuth errors and suberrors are words; the longest known is `device_authentication_failed`.
const MAX_WORD_CHARS: usize = 48;

/// What is shorter is no secret, and may well be part of an honest word.
const LEAST_SECRET_BYTES: usize = 8;

/// Claims challenges and scopes are a few hundred bytes.
const MAX_TEXT_BYTES: usize = 2048;

/// Entra's token endpoint.
#[derive(Clone, Debug)]
pub struct Entra {
    authority: BaseUrl,
    http: Arc<Http>,
    calls: Arc<Calls>,
}

impl Entra {
    /// Takes the authority, as `https://login.microsoftonline.com`.
    pub fn new(authority: BaseUrl, http: Arc<Http>, calls: Arc<Calls>) -> Self {
        Self { authority, http, calls }
    }

    fn request(&self, what: &Redemption<'_>) -> Result<Request, IssuerError> {
        let url = self.authority.with_path(&[what.tenant, "oauth2", "v2.0", "token"]);
        let scope = with_offline_access(what.scope);
        // No `Origin`: with it Entra refuses confidential clients in every flow.
        self.http
            .client()
            .request(Method::POST, url)
            .header("accept", "application/json")
            .header("client-request-id", what.rotation_id.to_string())
            .header("return-client-request-id", "true")
            .form(&[
                ("grant_type", "refresh_token"),
                ("client_id", what.client_id),
                ("client_secret", what.client_secret.expose_secret()),
                ("refresh_token", what.token.expose()),
                ("scope", scope.as_str()),
            ])
            .build()
            .map_err(|_| IssuerError::NotUnderstood("the request could not be made"))
    }
}

impl Issuer for Entra {
    async fn redeem(&self, what: &Redemption<'_>) -> Result<Redeemed, IssuerError> {
        let request = self.request(what)?;
        let answer = exchange(&self.http, &self.calls, (Peer::Entra, "redeem"), request)
            .await
            .map_err(IssuerError::Unreachable)?;
        match answer.status {
            200..=299 => redeemed(&answer),
            status => {
                let secrets = [what.token.expose(), what.client_secret.expose_secret()];
                let body = answer.body.as_deref().map_or(&[][..], Vec::as_slice);
                Err(refused(status, body, answer.retry_after(), &secrets))
            }
        }
    }
}

fn with_offline_access(scope: &str) -> String {
    if scope.split_ascii_whitespace().any(|word| word == "offline_access") {
        scope.to_owned()
    } else {
        format!("{scope} offline_access")
    }
}

#[derive(Deserialize)]
struct TokenAnswer {
    access_token: Option<String>,
    refresh_token: Option<String>,
    #[serde(default)]
    expires_in: Value,
    #[serde(default)]
    scope: Value,
}

fn redeemed(answer: &Answer) -> Result<Redeemed, IssuerError> {
    let body = answer.body.as_deref().ok_or(IssuerError::NotUnderstood("it is too long"))?;
    let parsed: TokenAnswer =
        serde_json::from_slice(body).map_err(|_| IssuerError::NotUnderstood("it is not a token answer"))?;
    // Wrapped first, so that the one is wiped also where the other is missing.
    let access_token = parsed.access_token.map(AccessToken::new);
    let refresh_token = parsed.refresh_token.map(RefreshToken::new);
    let access_token = access_token
        .filter(|token| !token.expose().is_empty() && printable_token(token.expose()))
        .ok_or(IssuerError::NotUnderstood("it holds no access token"))?;
    let refresh_token =
        refresh_token.filter(|token| !token.expose().trim().is_empty()).ok_or(IssuerError::NoRefreshToken)?;
    if !refresh_token.is_plausible() {
        return Err(IssuerError::NotUnderstood("its refresh token is not one word"));
    }
    Ok(Redeemed {
        access_token,
        refresh_token,
        expires_in: lifetime(&parsed.expires_in),
        scope: parsed.scope.as_str().and_then(printable).map(str::to_owned),
    })
}

/// v2 answers with an integer, v1 with a string.
fn lifetime(expires_in: &Value) -> Duration {
    let seconds = expires_in.as_u64().or_else(|| expires_in.as_str()?.trim().parse().ok());
    seconds.map_or(LEAST_LIFETIME, |seconds| Duration::from_secs(seconds).min(MOST_LIFETIME))
}

/// Reads an answer that is not a success. `secrets` is what was sent and must not come back.
pub(super) fn refused(
    status: u16,
    body: &[u8],
    retry_after: Option<Duration>,
    secrets: &[&str],
) -> IssuerError {
    let unavailable = IssuerError::Unavailable { status, retry_after };
    let Ok(Value::Object(body)) = serde_json::from_slice(body) else { return unavailable };
    let text = |member: &str| body.get(member).and_then(Value::as_str);
    let Some(error) = text("error") else { return unavailable };
    let telling = |secret: &&&str| secret.len() >= LEAST_SECRET_BYTES;
    let unspoken = |text: &&str| !secrets.iter().filter(telling).any(|secret| text.contains(secret));
    IssuerError::Refused(Box::new(Refusal {
        status,
        error: word(error).filter(|word| unspoken(&word.as_str())).unwrap_or_else(|| "unreadable".into()),
        code: code(text("error_description"), body.get("error_codes")),
        suberror: text("suberror").and_then(word).filter(|word| unspoken(&word.as_str())),
        trace_id: text("trace_id").filter(unspoken).and_then(guid),
        correlation_id: text("correlation_id").filter(unspoken).and_then(guid),
        claims: text("claims").filter(unspoken).and_then(challenge),
        retry_after,
    }))
}

/// The number in the description; else the first of `error_codes`, which can hold several.
fn code(description: Option<&str>, codes: Option<&Value>) -> Option<u32> {
    let described = description.and_then(|text| {
        let (_, rest) = text.split_once("AADSTS")?;
        let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        rest[..end].parse().ok()
    });
    let listed = || {
        let first = codes?.as_array()?.first()?;
        first.as_u64().and_then(|code| u32::try_from(code).ok()).or_else(|| first.as_str()?.parse().ok())
    };
    described.or_else(listed)
}

/// An OAuth error is a word in lower case. A refresh token or a secret is not.
fn word(text: &str) -> Option<String> {
    let fits = (1..=MAX_WORD_CHARS).contains(&text.len());
    let clean = text.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
    (fits && clean).then(|| text.to_owned())
}

/// A claims challenge, to be passed to the next sign-in as it came: a JSON object.
fn challenge(text: &str) -> Option<String> {
    let text = printable(text)?;
    let object = serde_json::from_str(text).is_ok_and(|value: Value| value.is_object());
    object.then(|| text.to_owned())
}

fn printable_token(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_graphic())
}

fn printable(text: &str) -> Option<&str> {
    let clean = text.bytes().all(|b| b.is_ascii_graphic() || b == b' ');
    (text.len() <= MAX_TEXT_BYTES && clean).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    use reqwest::header::HeaderMap;
    use secrecy::SecretString;
    use secrecy::zeroize::Zeroizing;
    use uuid::Uuid;

    use crate::azure::loopback;
    use crate::azure::loopback::Loopback;
    use crate::azure::loopback::reply;
    use crate::ports::Transport;
    use crate::refusal::Class;

    const SECRET: &str = "s~3cr+t&=";
    const TOKEN: &str = "0.AXoA-canary_x~y";

    fn success(body: &str) -> Result<Redeemed, IssuerError> {
        let body = Some(Zeroizing::new(body.as_bytes().to_vec()));
        redeemed(&Answer { status: 200, headers: HeaderMap::new(), body })
    }

    fn refusal(status: u16, body: &str) -> Refusal {
        match refused(status, body.as_bytes(), None, &[TOKEN, SECRET]) {
            IssuerError::Refused(refusal) => *refusal,
            other => panic!("{other:?}"),
        }
    }

    async fn redeem(entra: &Loopback, calls: &Arc<Calls>) -> Result<Redeemed, IssuerError> {
        let issuer = Entra::new(entra.base.clone(), Arc::clone(&entra.http), Arc::clone(calls));
        let what = Redemption {
            tenant: "contoso.onmicrosoft.com",
            client_id: "app",
            client_secret: &SecretString::from(SECRET),
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
    fn an_answer_without_a_usable_successor_is_none() {
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
    fn a_refusal_is_read_as_a_whole() {
        let body = r#"{"error":"invalid_grant",
            "error_description":"AADSTS50173: The grant of \u0027jo@contoso.com\u0027 is revoked.\r\nTrace ID: x",
            "error_codes":[70000,50173],"timestamp":"2026-08-14 09:12:33Z",
            "trace_id":"0ED4B3A5-1b4c-4a5e-8a6f-0123456789ab",
            "correlation_id":"11111111-2222-4333-8444-555555555555",
            "suberror":"bad_token","claims":"{\"access_token\":{\"x\":1}}"}"#;

        let refusal = refusal(400, body);

        assert_eq!(refusal.error, "invalid_grant");
        assert_eq!(refusal.code, Some(50173), "the description's before the list's");
        assert_eq!(refusal.suberror.as_deref(), Some("bad_token"));
        assert_eq!(refusal.trace_id.as_deref(), Some("0ed4b3a5-1b4c-4a5e-8a6f-0123456789ab"));
        assert_eq!(refusal.correlation_id.as_deref(), Some("11111111-2222-4333-8444-555555555555"));
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
        ] {
            assert_eq!(refusal(401, body).code, code, "{body}");
        }
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

            assert_eq!(refusal.class(), Class::Unknown);
            let shown = format!("{refusal:?}").to_lowercase();
            assert!(!shown.contains("canary") && !shown.contains("s~3cr"), "{shown}");
        }
    }

    #[test]
    fn a_secret_that_looks_like_an_error_is_not_taken_for_one() {
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
            "grant_type=refresh_token&client_id=app&client_secret=s%7E3cr%2Bt%26%3D\
             &refresh_token=0.AXoA-canary_x%7Ey\
             &scope=https%3A%2F%2Fapi.partnercenter.microsoft.com%2Fuser_impersonation+offline_access"
        );
        let series = calls.series();
        assert_eq!((series[0].operation, series[0].code.as_str(), series[0].count), ("redeem", "200", 1));
    }

    #[tokio::test]
    async fn a_redirect_is_an_answer_and_not_a_way() {
        let entra = loopback::serve(|_| reply(307, &[("location", "/elsewhere")], "")).await;

        let error = redeem(&entra, &Arc::default()).await.expect_err("no tokens");

        assert_eq!(error, IssuerError::Unavailable { status: 307, retry_after: None });
        assert_eq!(entra.lines().len(), 1);
    }

    #[tokio::test]
    async fn a_flood_is_not_read() {
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

        assert_eq!(error, IssuerError::Unreachable(Transport::Tls));
        assert_eq!(calls.series()[0].code, "tls");
        assert!(mixed.lines().is_empty());
    }
}
