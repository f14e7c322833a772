//! Parses error answers of Entra's token endpoint.
//!
//! Entra's errors are JSON objects with the member `error` (docs/azure-facts.md F121). Gateways and proxies change the
//! form of some errors. A changed error is in an array, has the form of Microsoft Graph, lacks `error`, or is only a
//! text. These forms are parsed too, so that an error with a known AADSTS number is not reported as an outage. Only an
//! error in Entra's own form can condemn a token (`OAuthError::condemns_token`).

use std::time::Duration;

use serde_json::{Map, Value};

use super::printable;
use crate::azure::echoes::echoes;
use crate::ports::IssuerError;
use crate::ports::diagnosis::{newer, pick};
use crate::ports::failure::Trace;
use crate::ports::oauth_error::{OAuthError, b2c_code_in, codes_in, word};
use crate::process::text::guid;

/// Replaces an OAuth error that is missing, is not a `word`, or contains a secret of the request.
const UNREADABLE: &str = "unreadable";

/// The parts of an error body that are parsed.
#[derive(Default)]
struct ErrorBody {
    error: String,
    description: String,
    members: Map<String, Value>,
    /// Whether the body is an object whose `error` is a text.
    is_usual: bool,
}

/// Parses an answer that is not a success. `secrets` are the secrets of the request. The result contains none of these
/// secrets.
pub fn refused(status: u16, body: &[u8], retry_after: Option<Duration>, secrets: &[&str]) -> IssuerError {
    let unavailable = IssuerError::Unavailable { status, retry_after };
    let Some(ErrorBody { error, description, members, is_usual }) = ErrorBody::read(body) else {
        return unavailable;
    };
    let text = |member: &str| members.get(member).and_then(Value::as_str);
    let unspoken = |text: &String| !echoes(&[text], secrets);
    let (code, further_codes) = pick(codes(&description, &members));
    IssuerError::Refused(Box::new(OAuthError {
        status,
        error: word(&error).filter(unspoken).unwrap_or_else(|| UNREADABLE.into()),
        trace: Trace {
            code,
            trace_id: text("trace_id").and_then(guid).filter(unspoken),
            correlation_id: text("correlation_id").and_then(guid).filter(unspoken),
        },
        further_codes,
        newer_code: code.and_then(|code| newer(code, &description)),
        is_changed: !is_usual || status < 400,
        b2c_code: b2c_code_in(&description),
        suberror: text("suberror").and_then(word).filter(unspoken),
        claims: text("claims").and_then(challenge).filter(unspoken),
        retry_after,
    }))
}

impl ErrorBody {
    /// Parses the body. Returns `None` if the body has no error.
    fn read(body: &[u8]) -> Option<Self> {
        let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body).trim_ascii();
        let Ok(json) = serde_json::from_slice(body) else { return Self::of_text(body) };
        match json {
            Value::Object(members) => Self::of_members(members),
            Value::Array(mut items) if items.len() == 1 => match items.remove(0) {
                Value::Object(members) => {
                    Self::of_members(members).map(|found| Self { is_usual: false, ..found })
                }
                _ => None,
            },
            Value::String(text) => Self::of_text(text.as_bytes()),
            _ => None,
        }
    }

    fn of_members(members: Map<String, Value>) -> Option<Self> {
        let text = |value: Option<&Value>| value.and_then(Value::as_str).unwrap_or_default().to_owned();
        let description = text(members.get("error_description"));
        match members.get("error") {
            Some(Value::String(error)) => {
                Some(Self { error: error.clone(), description, members, is_usual: true })
            }
            // Microsoft Graph's form: an object with `code` and `message`.
            Some(Value::Object(inner)) => {
                let (error, description) = (text(inner.get("code")), text(inner.get("message")));
                let has_number = codes_in(&description).next().is_some();
                has_number.then_some(Self { error, description, members, is_usual: false })
            }
            _ if codes(&description, &members).next().is_some() => {
                Some(Self { description, members, ..Self::default() })
            }
            _ => Self::of_text(
                members.values().filter_map(Value::as_str).collect::<Vec<_>>().join(" ").as_bytes(),
            ),
        }
    }

    /// Parses a text with an AADSTS number, such as a page of Entra or a body that was cut off.
    fn of_text(text: &[u8]) -> Option<Self> {
        let text = String::from_utf8_lossy(text);
        codes_in(&text).next()?;
        Some(Self { description: text.into_owned(), ..Self::default() })
    }
}

/// Returns the numbers in the description, then the numbers of `error_codes`. Both may contain several numbers. If
/// neither contains a number, returns the number in `error_uri`, the address of Entra's page about the error.
fn codes(description: &str, members: &Map<String, Value>) -> impl Iterator<Item = u32> {
    let number = |code: &Value| {
        let plain = code.as_u64().and_then(|code| u32::try_from(code).ok());
        plain.or_else(|| code.as_str()?.parse().ok())
    };
    let listed = members.get("error_codes").and_then(Value::as_array).into_iter().flatten();
    let mut told = codes_in(description).chain(listed.filter_map(number)).peekable();
    let page = members.get("error_uri").and_then(Value::as_str);
    let of_page = page.and_then(|page| page.split_once("error?code=")?.1.parse().ok());
    let of_page = of_page.filter(|_| told.peek().is_none());
    told.chain(of_page)
}

/// Returns a claims challenge: a JSON object that the next sign-in sends unchanged.
fn challenge(text: &str) -> Option<String> {
    let text = printable(text)?;
    let object = serde_json::from_str(text).is_ok_and(|value: Value| value.is_object());
    object.then(|| text.to_owned())
}
