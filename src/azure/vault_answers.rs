//! The meaning of Key Vault's answers. This module is pure.
//!
//! This module owns the table that maps a status and codes to a `VaultError` (docs/azure-facts.md F214). It also
//! converts the SDK's models to Perennial's types. It parses error bodies itself, since the SDK cannot parse a body
//! that has a JSON escape.
//!
//! Invariant: the result contains only these parts of an error body: a data action, an IP address, the caller's object
//! id, an AKV number and a short code. Each part is checked character by character.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use azure_core::error::ErrorKind;
use azure_core::time::OffsetDateTime;
use azure_security_keyvault_secrets::models::{ListSecretPropertiesResult, Secret, SecretAttributes};
use chrono::DateTime;
use secrecy::ExposeSecret as _;
use secrecy::SecretString;
use serde::Deserialize;

use crate::azure::credential;
use crate::azure::sdk::{SdkError, header};
use crate::net::http::{http_date, retry_after};
use crate::ports::{Forbidden, VaultError};
use crate::process::clock::Timestamp;
use crate::process::text;
use crate::token::meant;
use crate::token::secret::SecretAddress;
use crate::token::version::{Stored, Version, VersionId};

/// The largest length of a code. Codes are single words of letters. The longest known code is
/// `ObjectIsDeletedButRecoverable`.
const MAX_CODE_CHARS: usize = 48;

/// The largest length of a data action, such as `Microsoft.KeyVault/vaults/secrets/readMetadata/action`.
const MAX_ACTION_CHARS: usize = 100;

/// The largest number of digits in an AKV number. Known numbers have five digits.
const MAX_AKV_DIGITS: usize = 6;

/// The largest length of a version's id. Key Vault's ids are 32 hex digits (docs/azure-facts.md F206). The ids of an
/// emulator can have another form.
const MAX_VERSION_CHARS: usize = 64;

/// Converts an error of the SDK into a `VaultError`.
pub(super) fn failed(error: &azure_core::Error) -> VaultError {
    if credential::is_about_identity(error) {
        return credential::no_identity(error);
    }
    if let ErrorKind::HttpResponse { status, raw_response, .. } = error.kind() {
        let raw = raw_response.as_deref();
        let told = |name| raw.and_then(|raw| header(raw.headers(), name));
        return refused(&RefusedCall {
            status: u16::from(*status),
            body: raw.map_or(&[][..], |raw| raw.body()),
            network_info: told("x-ms-keyvault-network-info"),
            retry_after: told("retry-after").and_then(|value| retry_after(value, told("date"))),
        });
    }
    match SdkError::in_error(error) {
        Some(SdkError::Unreachable(why)) => VaultError::Unreachable(*why),
        Some(_) => VaultError::NotUnderstood,
        // The SDK rejects a challenge for a domain that is not the vault's. The SDK has no error kind for this
        // rejection, so this code searches the error's text.
        None if error.to_string().contains("challenge resource") => VaultError::no_identity(
            "the vault requests an access token for a domain other than the vault's domain",
            false,
        ),
        None => VaultError::NotUnderstood,
    }
}

/// The parts of an answer that is not a success.
#[derive(Clone, Copy)]
pub struct RefusedCall<'a> {
    /// The HTTP status.
    pub status: u16,
    pub body: &'a [u8],
    /// The value of the header `x-ms-keyvault-network-info`.
    pub network_info: Option<&'a str>,
    /// The wait that Key Vault asked for.
    pub retry_after: Option<Duration>,
}

#[derive(Default, Deserialize)]
struct Body {
    error: Option<Error>,
}

#[derive(Default, Deserialize)]
struct Error {
    code: Option<String>,
    message: Option<String>,
    // Older answers spell this member `innerError`.
    #[serde(alias = "innerError")]
    innererror: Option<Box<Error>>,
}

/// Reads an answer that is not a success. The HTTP status decides first, then the inner code, then the outer code.
pub fn refused(answer: &RefusedCall<'_>) -> VaultError {
    let &RefusedCall { status, retry_after, .. } = answer;
    let body: Body = serde_json::from_slice(answer.body).unwrap_or_default();
    let Some(error) = body.error else {
        // The body contains no error object of Key Vault. Such an answer comes from a gateway or a captive portal, and
        // its status says nothing about the secret.
        return if status >= 300 {
            VaultError::Unavailable { status, retry_after }
        } else {
            VaultError::NotUnderstood
        };
    };
    let message = error.message.unwrap_or_default();
    let inner = error.innererror.and_then(|inner| inner.code).filter(|code| !code.is_empty());
    let code = inner.or(error.code).unwrap_or_default();
    match status {
        401 => VaultError::Unauthorized { akv: akv_in(&message) },
        400 if code.starts_with("ForbiddenBy") => forbidden(&code, &message, answer.network_info),
        403 => forbidden(&code, &message, answer.network_info),
        404 if code != "VaultNotFound" => VaultError::NotFound,
        409 if code == "ObjectIsDeletedButRecoverable" || says(&message, DELETED) => VaultError::Deleted,
        409 => VaultError::InTransition,
        400..=499 if status != 408 && status != 429 => {
            let is_about_name = says(&message, NAME) || code == "VaultNotFound";
            VaultError::Rejected { status, code: word(&code), is_about_name }
        }
        300.. => VaultError::Unavailable { status, retry_after },
        _ => VaultError::NotUnderstood,
    }
}

fn forbidden(code: &str, message: &str, network_info: Option<&str>) -> VaultError {
    let caller = caller_in(message);
    VaultError::Forbidden(match code {
        "SecretDisabled" => return VaultError::Disabled,
        _ if says(message, READ_ONLY) => Forbidden::ReadOnly,
        _ if code == "SecretManagedByKeyVault" || says(message, MANAGED) || says(message, OF_CERTIFICATE) => {
            Forbidden::OfCertificate
        }
        "ForbiddenByNsp" => Forbidden::Perimeter,
        _ if says(message, BY_PERIMETER) => Forbidden::Perimeter,
        _ if says(message, DENIED) && !says(message, NOT_DENIED) => Forbidden::Denied,
        "ForbiddenByRbac" => Forbidden::Rbac { action: data_action(message), caller },
        "ForbiddenByPolicy" | "AccessDenied" => Forbidden::Policy { caller },
        "ForbiddenByFirewall" => Forbidden::Firewall {
            address: address_after(network_info.unwrap_or_default(), "addr=")
                .or_else(|| address_after(message, "Client address:")),
        },
        "ForbiddenByConnection" => Forbidden::Connection,
        _ if says(message, DISABLED) => return VaultError::Disabled,
        _ if says(message, BY_POLICY) || says(message, NO_POLICY) => Forbidden::Policy { caller },
        _ if says(message, BY_FIREWALL) => {
            Forbidden::Firewall { address: address_after(message, "Client address:") }
        }
        _ if says(message, BY_CONNECTION) => Forbidden::Connection,
        _ if says(message, BY_RBAC) => Forbidden::Rbac { action: data_action(message), caller },
        _ => Forbidden::Other { code: word(code) },
    })
}

/// Fixed phrases in Key Vault's messages, for answers without an inner code (docs/azure-facts.md F214). A phrase is
/// found if the message contains all its parts.
const DISABLED: &[&str] = &["disabled secret"];
const DELETED: &[&str] = &["deleted but recoverable"];
const BY_POLICY: &[&str] = &["does not have", "permission"];
const NO_POLICY: &[&str] = &["access policy"];
const BY_PERIMETER: &[&str] = &["nsp policy"];
const READ_ONLY: &[&str] = &["read-only mode"];
const MANAGED: &[&str] = &["lifetime is managed by key vault"];
const OF_CERTIFICATE: &[&str] = &["associated with a certificate"];
/// If a deny assignment caused the rejection, the message contains the assignment's id in quotation marks. Otherwise,
/// the message has `null` or `(not found)` in this place.
const DENIED: &[&str] = &["denyassignmentid: '"];
const NOT_DENIED: &[&str] = &["denyassignmentid: ''"];
const NAME: &[&str] = &["name"];
const BY_FIREWALL: &[&str] = &["client address", "not authorized"];
const BY_CONNECTION: &[&str] = &["public network access"];
const BY_RBAC: &[&str] = &["caller is not authorized"];

fn says(message: &str, phrase: &[&str]) -> bool {
    let message = message.to_ascii_lowercase();
    phrase.iter().all(|words| message.contains(words))
}

/// Returns the number in a message of a 401 answer, such as 10032 in `AKV10032: ...`.
fn akv_in(message: &str) -> Option<u32> {
    let (_, rest) = message.split_once("AKV")?;
    let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    rest[..end.min(MAX_AKV_DIGITS)].parse().ok()
}

/// Returns the object id of this process's identity from a message with `Caller: appid=...;oid=...;iss=...`.
fn caller_in(message: &str) -> Option<Box<str>> {
    let (_, rest) = message.split_once("oid=")?;
    let end = rest.find([';', '\r', '\n', '\'']).unwrap_or(rest.len());
    text::guid(&rest[..end]).map(Into::into)
}

/// Returns the data action that the message quotes, such as `Microsoft.KeyVault/vaults/secrets/setSecret/action`.
fn data_action(message: &str) -> Option<String> {
    let start = message.find("Microsoft.KeyVault/vaults/")?;
    let found = &message[start..];
    let end = found.find(|c: char| !(c.is_ascii_alphabetic() || c == '/' || c == '.')).unwrap_or(found.len());
    let action = found[..end].trim_end_matches(['.', '/']);
    let whole = action.len() <= MAX_ACTION_CHARS && action.split('/').all(|part| !part.is_empty());
    (whole && action.split('/').count() >= 4).then(|| action.to_owned())
}

fn address_after(text: &str, label: &str) -> Option<String> {
    let (_, rest) = text.split_once(label)?;
    let rest = rest.trim_start();
    let end = rest.find(|c: char| !(c.is_ascii_hexdigit() || c == '.' || c == ':')).unwrap_or(rest.len());
    let address: IpAddr = rest[..end].trim_end_matches('.').parse().ok()?;
    Some(address.to_string())
}

/// Returns the text if it has the form of a code, or else `no code`. Tokens and secrets do not have this form.
fn word(code: &str) -> String {
    let fits = (1..=MAX_CODE_CHARS).contains(&code.len());
    let clean = code.bytes().all(|b| b.is_ascii_alphabetic());
    if fits && clean { code.to_owned() } else { "no code".into() }
}

/// Parses the body of the answer to a read of a secret. `date` is the value of the `Date` header.
///
/// # Errors
/// Returns `NotUnderstood` for an invalid body.
pub fn stored(at: &SecretAddress, date: Option<&str>, body: &[u8]) -> Result<Stored, VaultError> {
    let secret: Secret = serde_json::from_slice(body).map_err(|_| VaultError::NotUnderstood)?;
    let value = SecretString::from(secret.value.ok_or(VaultError::NotUnderstood)?);
    Ok(Stored {
        version: version(at, secret.id.as_deref(), secret.attributes, secret.tags)?,
        value: SecretString::from(value.expose_secret().trim()),
        read_at: date.and_then(http_date).and_then(meant),
    })
}

/// Parses the body of the answer to a write.
///
/// # Errors
/// Returns `NotUnderstood` for an invalid body. Despite this error, Key Vault may have stored the new version.
pub fn written(at: &SecretAddress, body: &[u8]) -> Result<Version, VaultError> {
    let secret: Secret = serde_json::from_slice(body).map_err(|_| VaultError::NotUnderstood)?;
    // The answer repeats the written value. `SecretString` wipes its memory on drop.
    drop(secret.value.map(SecretString::from));
    version(at, secret.id.as_deref(), secret.attributes, secret.tags)
}

/// Parses a page of a list. Returns its versions and the link to the next page.
///
/// # Errors
/// Returns `NotUnderstood` if the page or one of its versions is invalid. A skipped version could be a new
/// sign-in.
pub fn listed(at: &SecretAddress, body: &[u8]) -> Result<(Vec<Version>, Option<String>), VaultError> {
    let page: ListSecretPropertiesResult =
        serde_json::from_slice(body).map_err(|_| VaultError::NotUnderstood)?;
    let versions =
        page.value.into_iter().map(|item| version(at, item.id.as_deref(), item.attributes, item.tags));
    Ok((versions.collect::<Result<_, _>>()?, page.next_link.filter(|link| !link.is_empty())))
}

/// Builds a version from the members that a secret and a list item share. The version must belong to the requested
/// secret. The version's id must be safe in the path of a later request.
fn version(
    at: &SecretAddress,
    id: Option<&str>,
    attributes: Option<SecretAttributes>,
    tags: Option<HashMap<String, String>>,
) -> Result<Version, VaultError> {
    let attributes = attributes.ok_or(VaultError::NotUnderstood)?;
    Ok(Version {
        id: id.and_then(|id| version_id(at, "secrets", id)).ok_or(VaultError::NotUnderstood)?,
        created: attributes.created.and_then(timestamp).ok_or(VaultError::NotUnderstood)?,
        enabled: attributes.enabled.unwrap_or(true),
        expires: attributes.expires.and_then(timestamp),
        tags: tags.unwrap_or_default().into_iter().collect(),
    })
}

/// Returns the version of `https://{vault}/{kind}/{name}/{version}`. The kind is `secrets` or `certificates`.
pub(super) fn version_id(at: &SecretAddress, kind: &str, id: &str) -> Option<VersionId> {
    let (_, path) = id.split_once(&format!("/{kind}/"))?;
    let (name, version) = path.split_once('/')?;
    let ours = name.eq_ignore_ascii_case(at.name.as_str());
    (ours && is_version_id(version)).then(|| VersionId(version.into()))
}

/// Whether a text is safe as an id in a path. The SDK inserts the id into the path unescaped. A `VersionId` can come
/// from a tag, and a tag can contain any text.
pub(super) fn is_version_id(text: &str) -> bool {
    (1..=MAX_VERSION_CHARS).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric())
}

fn timestamp(at: OffsetDateTime) -> Option<Timestamp> {
    DateTime::from_timestamp(at.unix_timestamp(), 0)
}

#[cfg(test)]
mod tests;
