//! The meaning of Microsoft Graph's answers. This module is pure.
//!
//! This module parses app registrations, new client secrets and errors (docs/azure-facts.md F601, F602, F606). Graph's
//! messages are not kept, since they can quote the request. The parameter `secrets` contains the secret values that
//! Perennial has sent.
//!
//! Invariants: The value of a client secret is wrapped in a `SecretString` before any check. A text from Graph is kept
//! only if it contains no part of any value in `secrets`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::DateTime;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use serde_json::Value;
use uuid::Uuid;

use crate::azure::echoes::echoes;
use crate::net::http::Answer;
use crate::ports::directory::{
    CreatedSecret, DirectoryError, KeyRegistration, ListedKey, ListedSecret, Registration,
};
use crate::process::clock::Timestamp;
use crate::process::text;
use crate::token::certificate::Thumbprint;
use crate::token::meant;

/// The largest length of an error code. The longest known code is `CredentialInvalidLifetimeAsPerAppPolicy`.
const MAX_CODE_CHARS: usize = 64;

/// The largest length of a display name. Longer names are shortened. The names that Perennial chooses for client
/// secrets have at most 199 characters.
const MAX_NAME_CHARS: usize = 256;

/// The length of a hint: the first characters of a client secret (docs/azure-facts.md F602).
const HINT_CHARS: usize = 3;

/// The largest length of a client secret. According to Microsoft, a secret has 16 to 64 characters (docs/azure-facts.md
/// F602).
const MAX_SECRET_CHARS: usize = 256;

#[derive(Default, Deserialize)]
struct RefusalBody {
    error: Option<RefusalError>,
}

#[derive(Default, Deserialize)]
struct RefusalError {
    code: Option<String>,
}

/// Reads an answer that is not a success. If the body contains no error code of Graph, the answer comes from a gateway
/// or a captive portal.
pub(super) fn refused(answer: &Answer, secrets: &[&str]) -> DirectoryError {
    let status = answer.status;
    let unavailable = DirectoryError::Unavailable { status, retry_after: answer.retry_after() };
    if !(400..=499).contains(&status) || matches!(status, 408 | 429) {
        return unavailable;
    }
    let body: RefusalBody =
        answer.body.as_deref().and_then(|body| serde_json::from_slice(body).ok()).unwrap_or_default();
    let clean = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-');
    match body.error.and_then(|error| error.code) {
        Some(code)
            if (1..=MAX_CODE_CHARS).contains(&code.len())
                && code.bytes().all(clean)
                && !echoes(&[&code], secrets) =>
        {
            DirectoryError::Refused { status, code }
        }
        _ => unavailable,
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ApplicationBody {
    id: Option<String>,
    app_id: Option<String>,
    password_credentials: Option<Vec<CredentialBody>>,
    key_credentials: Option<Vec<ListedKeyBody>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct CredentialBody {
    key_id: Option<String>,
    display_name: Option<String>,
    hint: Option<String>,
    secret_text: Option<String>,
    start_date_time: Option<String>,
    end_date_time: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ListedKeyBody {
    key_id: Option<String>,
    custom_key_identifier: Option<String>,
    display_name: Option<String>,
    start_date_time: Option<String>,
    end_date_time: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawKeysBody {
    id: Option<String>,
    key_credentials: Option<Vec<Value>>,
}

fn parsed<'a, T: Deserialize<'a>>(answer: &'a Answer, wrong: &'static str) -> Result<T, DirectoryError> {
    let body = answer.body.as_deref().ok_or(DirectoryError::NotUnderstood("it is too long"))?;
    serde_json::from_slice(body).map_err(|_| DirectoryError::NotUnderstood(wrong))
}

/// Reads an app registration. If one of its secrets cannot be read, the whole list is invalid, because a missing entry
/// would look like a removed secret.
pub(super) fn registration(
    answer: &Answer,
    secrets: &[&str],
    client_id: &str,
) -> Result<Registration, DirectoryError> {
    let wrong = DirectoryError::NotUnderstood;
    let body: ApplicationBody = parsed(answer, "it is not an app registration")?;
    if !body.app_id.is_some_and(|id| id.eq_ignore_ascii_case(client_id)) {
        return Err(wrong("it is about another app"));
    }
    let object_id = body.id.as_deref().and_then(guid).ok_or(wrong("it has no object id"))?;
    let listed = body.password_credentials.ok_or(wrong("it has no list of secrets"))?;
    let listed: Option<Vec<ListedSecret>> =
        listed.into_iter().map(|credential| credential.listed(secrets)).collect();
    Ok(Registration { object_id, secrets: listed.ok_or(wrong("a secret has no key id"))? })
}

/// Reads an app registration with its certificates. As in `registration`, an unreadable entry makes the list invalid.
pub(super) fn keys(
    answer: &Answer,
    secrets: &[&str],
    client_id: &str,
) -> Result<KeyRegistration, DirectoryError> {
    let wrong = DirectoryError::NotUnderstood;
    let body: ApplicationBody = parsed(answer, "it is not an app registration")?;
    if !body.app_id.is_some_and(|id| id.eq_ignore_ascii_case(client_id)) {
        return Err(wrong("it is about another app"));
    }
    let object_id = body.id.as_deref().and_then(guid).ok_or(wrong("it has no object id"))?;
    let listed = body.key_credentials.ok_or(wrong("it has no list of certificates"))?;
    let listed: Option<Vec<ListedKey>> = listed.into_iter().map(|key| key.listed(secrets)).collect();
    Ok(KeyRegistration { object_id, keys: listed.ok_or(wrong("a certificate has no key id"))? })
}

/// Reads the list of an app's certificates, so that the list can be sent back. Each entry keeps all its properties
/// except `key`, which becomes null. If Graph receives an entry with a null `key`, Graph leaves the certificate
/// unchanged (docs/azure-facts.md F609).
pub(super) fn raw_keys(answer: &Answer, object_id: Uuid) -> Result<Vec<Value>, DirectoryError> {
    let wrong = DirectoryError::NotUnderstood;
    let body: RawKeysBody = parsed(answer, "it is not an app registration")?;
    if body.id.as_deref().and_then(guid) != Some(object_id) {
        return Err(wrong("it is about another app"));
    }
    let mut keys = body.key_credentials.ok_or(wrong("it has no list of certificates"))?;
    for key in &mut keys {
        let named = key.as_object_mut().filter(|key| key.get("keyId").is_some_and(is_guid));
        named.ok_or(wrong("a certificate has no key id"))?.insert("key".to_owned(), Value::Null);
    }
    Ok(keys)
}

fn is_guid(value: &Value) -> bool {
    value.as_str().and_then(guid).is_some()
}

/// Whether an entry of the list is the certificate with this id.
pub(super) fn is_key(key: &Value, key_id: Uuid) -> bool {
    key["keyId"].as_str().and_then(guid) == Some(key_id)
}

/// Reads the key id of a certificate that was just registered.
pub(super) fn registered(answer: &Answer) -> Result<Uuid, DirectoryError> {
    let body: ListedKeyBody = parsed(answer, "it is not a certificate")?;
    body.key_id.as_deref().and_then(guid).ok_or(DirectoryError::NotUnderstood("it has no key id"))
}

impl ListedKeyBody {
    fn listed(self, secrets: &[&str]) -> Option<ListedKey> {
        let unspoken = |text: &String| !echoes(&[text], secrets);
        Some(ListedKey {
            key_id: self.key_id.as_deref().and_then(guid)?,
            name: self.display_name.filter(unspoken).map(|name| shown(&name)),
            thumbprint: self.custom_key_identifier.as_deref().and_then(thumbprint),
            starts: self.start_date_time.as_deref().and_then(time),
            ends: self.end_date_time.as_deref().and_then(time),
        })
    }
}

/// Reads the identifier of a certificate. Graph shows the certificate's hash in one of three forms: hexadecimal digits,
/// base64, or hexadecimal digits that are encoded in base64 (docs/azure-facts.md F608).
fn thumbprint(text: &str) -> Option<Thumbprint> {
    let of_digits = |digits: &str| {
        let pair = |at: usize| u8::from_str_radix(digits.get(at..at + 2)?, 16).ok();
        let bytes: Vec<u8> = (0..digits.len()).step_by(2).map(pair).collect::<Option<_>>()?;
        Thumbprint::try_from(bytes).ok()
    };
    let text = text.trim();
    if text.len() == 2 * size_of::<Thumbprint>() && text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return of_digits(text);
    }
    let bytes = STANDARD.decode(text).ok()?;
    Thumbprint::try_from(&*bytes).ok().or_else(|| of_digits(std::str::from_utf8(&bytes).ok()?))
}

/// Reads the answer about a new client secret.
pub(super) fn created(answer: &Answer, secrets: &[&str]) -> Result<CreatedSecret, DirectoryError> {
    let wrong = DirectoryError::NotUnderstood;
    let mut body: CredentialBody = parsed(answer, "it is not a client secret")?;
    let value = body.secret_text.take().map(SecretString::from);
    let plausible = |value: &SecretString| {
        let text = value.expose_secret();
        (1..=MAX_SECRET_CHARS).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_graphic())
            && !echoes(&[text], secrets)
    };
    Ok(CreatedSecret {
        key_id: body.key_id.as_deref().and_then(guid).ok_or(wrong("it has no key id"))?,
        value: value.filter(plausible).ok_or(wrong("it has no secret"))?,
        ends: body.end_date_time.as_deref().and_then(time).ok_or(wrong("it has no end"))?,
    })
}

impl CredentialBody {
    /// Converts an entry of Graph's list. Returns `None` if the key id is missing.
    fn listed(self, secrets: &[&str]) -> Option<ListedSecret> {
        // A list should not contain secret values. If it does, the value is wiped from memory.
        drop(self.secret_text.map(SecretString::from));
        let unspoken = |text: &String| !echoes(&[text], secrets);
        Some(ListedSecret {
            key_id: self.key_id.as_deref().and_then(guid)?,
            name: self.display_name.filter(unspoken).map(|name| shown(&name)),
            hint: self
                .hint
                .map(|hint| hint.chars().take(HINT_CHARS).collect())
                .filter(|hint: &String| is_hint(hint)),
            starts: self.start_date_time.as_deref().and_then(time),
            ends: self.end_date_time.as_deref().and_then(time),
        })
    }
}

/// Shortens a display name and escapes its control characters.
fn shown(name: &str) -> String {
    let end = name.char_indices().nth(MAX_NAME_CHARS).map_or(name.len(), |(end, _)| end);
    text::defused(&name[..end])
}

fn is_hint(hint: &str) -> bool {
    !hint.is_empty() && hint.bytes().all(|b| b.is_ascii_graphic())
}

fn guid(text: &str) -> Option<Uuid> {
    text::guid(text)?.parse().ok()
}

/// Parses a time. Some old secrets expire in the year 2299, which is treated as no expiry.
fn time(text: &str) -> Option<Timestamp> {
    DateTime::parse_from_rfc3339(text).ok().map(|at| at.to_utc()).and_then(meant)
}
