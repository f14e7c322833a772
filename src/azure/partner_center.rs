//! An adapter for Partner Center. The adapter checks whether Partner Center accepts an access token.
//!
//! This module sends one request and parses the answer. The request has the header `ValidateMfa`, and reads the
//! organization's profile. The profile contains personal data, so only the tenant and the company's name are kept.

use std::sync::Arc;
use std::time::Duration;

use reqwest::Method;
use serde_json::Value;
use uuid::Uuid;

use crate::azure::echoes::echoes;
use crate::net::address::BaseUrl;
use crate::net::calls::{CallTarget, Calls};
use crate::net::http::{Answer, Http, exchange};
use crate::net::no_response::NoResponse;
use crate::ports::{Acceptance, Resource, ResourceError};
use crate::process::text;
use crate::process::text::guid;
use crate::token::AccessToken;

/// The time limit of the whole request. The limit is short, because the request must not delay a rotation.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The code with which Partner Center rejects a token without MFA (docs/azure-facts.md F306).
const MFA_REQUIRED: u64 = 900_421;

/// The client of Partner Center's API.
#[derive(Clone, Debug)]
pub struct PartnerCenter {
    base: BaseUrl,
    http: Arc<Http>,
    calls: Arc<Calls>,
}

impl PartnerCenter {
    /// Creates the client for a base address, such as `https://api.partnercenter.microsoft.com`.
    pub fn new(base: BaseUrl, http: Arc<Http>, calls: Arc<Calls>) -> Self {
        Self { base, http, calls }
    }
}

impl Resource for PartnerCenter {
    async fn accepts(&self, token: &AccessToken, id: Uuid) -> Result<Acceptance, ResourceError> {
        let url = self.base.with_path(&["v1", "profiles", "organization"]);
        let request = self
            .http
            .client()
            .request(Method::GET, url)
            .timeout(TIMEOUT)
            .bearer_auth(token.expose())
            .header("accept", "application/json")
            .header("validatemfa", "true")
            // `ms-requestid` is the idempotency key of one call. `ms-correlationid` is the id of all calls that belong
            // together (docs/azure-facts.md F303).
            .header("ms-requestid", Uuid::new_v4().to_string())
            .header("ms-correlationid", id.to_string())
            .header("ms-contract-version", "v1")
            .build()
            // If the token is not a valid header value, the request cannot be built.
            .map_err(|_| ResourceError::Unreachable(NoResponse::Connect))?;
        let answer = exchange(&self.http, &self.calls, (CallTarget::PartnerCenter, "profile"), request)
            .await
            .map_err(ResourceError::Unreachable)?;
        verdict(&answer, token)
    }
}

/// The code with which Partner Center rejects the token's audience (docs/azure-facts.md F306).
const OTHER_AUDIENCE: u64 = 900_420;

/// Finds out whether Partner Center accepts the token. Only an answer with the status 200, 401 or 403 can be a verdict.
/// A gateway's page is not a verdict.
fn verdict(answer: &Answer, token: &AccessToken) -> Result<Acceptance, ResourceError> {
    let status = answer.status;
    let body = answer.body.as_deref().map_or(&[][..], Vec::as_slice);
    // Some bodies from Partner Center begin with a byte-order mark (docs/azure-facts.md F307).
    let json: Value =
        serde_json::from_slice(body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body)).unwrap_or_default();
    match status {
        200 if json.is_object() => {
            let text = |member: &str| {
                let text = json.get(member).and_then(Value::as_str)?;
                (!echoes(&[text], &[token.expose()])).then_some(text)
            };
            Ok(Acceptance {
                accepted: true,
                mfa: mfa_compliant(answer, &json),
                tenant_id: text("tenantId").and_then(guid),
                company: text("companyName").and_then(company),
                is_audience: false,
                status,
            })
        }
        401 | 403 if !is_page(body) => {
            let missing = demands_mfa(answer, body, &json);
            let mfa = if missing { Some(false) } else { mfa_compliant(answer, &json) };
            let is_audience = code(&json) == Some(OTHER_AUDIENCE);
            Ok(Acceptance { accepted: false, mfa, tenant_id: None, company: None, is_audience, status })
        }
        _ => Err(ResourceError::Unavailable { status }),
    }
}

/// Reads the MFA result from the header `isMfaCompliant`. Without this header, reads the JSON member `isMfaCompliant`,
/// which some clients also read (docs/azure-facts.md F305). Returns `None` if neither contains a result.
fn mfa_compliant(answer: &Answer, json: &Value) -> Option<bool> {
    let member = json.get("isMfaCompliant");
    let text = answer.header("ismfacompliant").or_else(|| member?.as_str());
    match text.map(str::trim) {
        Some(text) if text.eq_ignore_ascii_case("true") => Some(true),
        Some(text) if text.eq_ignore_ascii_case("false") => Some(false),
        _ => member?.as_bool(),
    }
}

fn demands_mfa(answer: &Answer, body: &[u8], json: &Value) -> bool {
    let says_so = |text: &[u8]| text.windows(3).any(|three| three == b"MFA");
    let challenge = answer.header("www-authenticate").unwrap_or_default();
    code(json) == Some(MFA_REQUIRED) || says_so(body) || says_so(challenge.as_bytes())
}

/// Returns the code of an error. Partner Center sends the code as a number or as a text.
fn code(json: &Value) -> Option<u64> {
    let code = json.get("code")?;
    code.as_u64().or_else(|| code.as_str()?.trim().parse().ok())
}

/// Whether a body is a page of a gateway, a proxy or a web filter. Partner Center answers with JSON or with a short
/// text.
fn is_page(body: &[u8]) -> bool {
    body.trim_ascii_start().starts_with(b"<")
}

fn company(name: &str) -> Option<String> {
    let name = text::shown(name.trim());
    (!name.is_empty()).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    use reqwest::header::{HeaderMap, HeaderValue};
    use secrecy::zeroize::Zeroizing;

    use crate::net::calls::CallLabels;
    use crate::net::loopback;
    use crate::net::loopback::reply;

    const TOKEN: &str = "eyJ0eXAiOiJKV1QifQ.a-canary_in-the.payload-of-it";
    const TENANT: &str = "0ed4b3a5-1b4c-4a5e-8a6f-0123456789ab";

    fn answer(status: u16, header: Option<&'static str>, body: &str) -> Result<Acceptance, ResourceError> {
        let mut headers = HeaderMap::new();
        if let Some(value) = header {
            headers.insert("isMfaCompliant", HeaderValue::from_static(value));
        }
        let body = Some(Zeroizing::new(body.as_bytes().to_vec()));
        verdict(&Answer { status, headers, body }, &AccessToken::new(TOKEN))
    }

    #[test]
    fn only_tenant_and_company_of_a_profile_are_kept() {
        let body = format!(
            "\u{feff}{{\"tenantId\":\"{TENANT}\",\"companyName\":\" Contoso\\u0007 \",\"email\":\"jo@x\"}}"
        );

        let acceptance = answer(200, Some("TRUE"), &body).expect("a verdict");

        let company = Some("Contoso\\u{7}".to_owned());
        let tenant_id = Some(TENANT.to_owned());
        assert_eq!(
            acceptance,
            Acceptance {
                accepted: true,
                mfa: Some(true),
                tenant_id,
                company,
                is_audience: false,
                status: 200
            }
        );
    }

    #[test]
    fn the_mfa_header_and_member_are_parsed() {
        for (status, header, body, mfa) in [
            (200, None, "{}", None),
            (200, Some("False"), "{}", Some(false)),
            (200, Some(" true "), "{}", Some(true)),
            (200, Some("maybe"), "{}", None),
            (200, None, r#"{"isMfaCompliant":false}"#, Some(false)),
            (200, None, r#"{"isMfaCompliant":"True"}"#, Some(true)),
            (401, None, r#"{"code":"900421","description":"x"}"#, Some(false)),
            (401, None, r#"{"code":900421}"#, Some(false)),
            (401, None, "Unauthorized - MFA required", Some(false)),
            (401, None, r#"{"code":"400","description":"Access denied"}"#, None),
            (401, Some("true"), "", Some(true)),
            (403, None, r#"{"code":2032}"#, None),
            (403, None, r#"{"code":[]}"#, None),
        ] {
            let acceptance = answer(status, header, body).expect(body);

            assert_eq!(acceptance.accepted, status == 200, "{status} {body}");
            assert_eq!(acceptance.mfa, mfa, "{status} {header:?} {body}");
        }
    }

    #[test]
    fn a_rejected_audience_is_told_apart() {
        for (body, is_audience) in [
            (r#"{"code":900420,"description":"x"}"#, true),
            (r#"{"code":"900420"}"#, true),
            (r#"{"code":900421}"#, false),
            ("", false),
        ] {
            assert_eq!(answer(401, None, body).expect("a verdict").is_audience, is_audience, "{body}");
        }
    }

    #[test]
    fn only_200_401_and_403_are_verdicts() {
        let throttled = r#"{"statusCode":429,"message":"Rate limit is exceeded. Try again in 57 seconds."}"#;
        for (status, body) in [
            (429, throttled),
            (500, "{}"),
            (503, ""),
            (302, ""),
            (404, "{}"),
            (200, "<html>signed in to the hotel</html>"),
            (200, ""),
            (200, "[]"),
            (401, "<html>401 Authorization Required</html>"),
            (403, " \r\n<!DOCTYPE html><p>blocked by the web filter: no MFA</p>"),
            (407, "<html>"),
        ] {
            assert_eq!(answer(status, None, body), Err(ResourceError::Unavailable { status }), "{body}");
        }
    }

    #[test]
    fn a_hostile_resource_cannot_have_the_token_shown() {
        for part in [TOKEN, &TOKEN[..20], &TOKEN[20..]] {
            let body = format!(r#"{{"tenantId":"{part}","companyName":"the {part} of x"}}"#);

            let acceptance = answer(200, None, &body).expect("a verdict");

            assert_eq!((acceptance.tenant_id, acceptance.company), (None, None), "{part}");
        }
        let long = format!(r#"{{"companyName":"{}"}}"#, "x".repeat(9000));
        let company = answer(200, None, &long).expect("a verdict").company.expect("a name");
        assert!(company.len() < 200, "{company}");
    }

    #[tokio::test]
    async fn the_request_is_what_partner_center_wants() {
        let server = loopback::serve(|_| reply(401, &[("isMfaCompliant", "false")], "{}")).await;
        let calls = Arc::new(Calls::default());
        let resource = PartnerCenter::new(server.base.clone(), Arc::clone(&server.http), Arc::clone(&calls));

        let acceptance = resource.accepts(&AccessToken::new("at"), Uuid::nil()).await.expect("a verdict");

        assert_eq!((acceptance.accepted, acceptance.mfa), (false, Some(false)));
        assert_eq!(server.lines(), ["GET /v1/profiles/organization"]);
        let seen = server.seen.lock().expect("nobody panicked");
        for (name, value) in [
            ("authorization", "Bearer at"),
            ("accept", "application/json"),
            ("validatemfa", "true"),
            ("ms-correlationid", "00000000-0000-0000-0000-000000000000"),
            ("ms-contract-version", "v1"),
        ] {
            assert_eq!(seen[0].header(name), value, "{name}");
        }
        assert!(guid(seen[0].header("ms-requestid")).is_some());
        assert!(calls.durations().contains(&CallLabels::new(CallTarget::PartnerCenter, "profile", "401")));
    }
}
