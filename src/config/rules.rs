//! The rules for the values of single configuration keys. Each rule parses the text of a value. If the parsing fails,
//! the error says which value the rule expects.
//!
//! This module is pure. An error never repeats the text.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use chrono::{NaiveDate, NaiveTime};
use reqwest::Url;
use uuid::Uuid;

use super::walk::Wanted;
use crate::net::address::{BaseUrl, BaseUrlError};
use crate::process::clock::Timestamp;
use crate::process::text;
use crate::token::managed::TokenName;
use crate::token::meant;
use crate::token::secret::SecretName;

/// Parses a token's name. The rule is strict, because the name is used as a metric label, as a word on a command line
/// and in a URL.
pub(super) fn token_name(text: &str) -> Result<TokenName, Wanted> {
    let inner = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    let fits = text.len() <= 64 && text.bytes().all(inner);
    let starts = text.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric());
    if fits && starts {
        Ok(TokenName::new(text))
    } else {
        Err("must be 1 to 64 letters, digits, `-`, `_` or `.`, and start with a letter or a digit")
    }
}

/// Parses the name of a vault secret.
pub(super) fn secret_name(text: &str) -> Result<SecretName, Wanted> {
    SecretName::parse(text)
        .ok_or("must be the name of a vault secret; such a name has 1 to 127 letters, digits and dashes")
}

/// Parses a GUID and returns it in lower case.
pub(super) fn guid(text: &str) -> Result<String, Wanted> {
    let id = text::guid(text).ok_or("must be a GUID, such as 00000000-0000-0000-0000-000000000000")?;
    if id == Uuid::nil().to_string() { Err(PLACEHOLDER) } else { Ok(id) }
}

/// The text of the problem if a GUID consists of zeros. Such a GUID is a placeholder. The examples and the output of
/// `init` contain the placeholder, because only the user knows the real GUID.
pub(super) const PLACEHOLDER: &str = "is a placeholder: replace the zeros with the real GUID";

/// Parses the id or domain of a single tenant. `common` is rejected, because Entra refuses some requests with `common`
/// (docs/azure-facts.md F101).
pub(super) fn tenant(text: &str) -> Result<String, Wanted> {
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let domain = text.contains('.') && text.len() <= 253 && text.split('.').all(label);
    match guid(text) {
        Err(PLACEHOLDER) => Err(PLACEHOLDER),
        Ok(id) => Ok(id),
        Err(_) if domain => Ok(text.to_ascii_lowercase()),
        Err(_) => {
            Err("must be the tenant's id or one of its domains; `common` and `organizations` are not allowed")
        }
    }
}

/// Parses an address that secrets may be sent to.
pub(super) fn base_url(text: &str) -> Result<BaseUrl, Wanted> {
    BaseUrl::parse(text).map_err(|error| match error {
        BaseUrlError::NotAUrl => "must be an address, such as https://host.example",
        BaseUrlError::NotHttps => "must start with https://, so that secrets are not sent in clear text",
        BaseUrlError::UserInfo => "must not contain a user name or a password",
        BaseUrlError::Query => "must not contain `?` or `#`",
    })
}

/// Parses a vault's address and returns it without a trailing slash. Two spellings of one address must give the same
/// result, because the address is part of a secret's identity.
pub(super) fn vault_url(text: &str) -> Result<Arc<str>, Wanted> {
    let url = base_url(text)?;
    if url.has_path() {
        return Err("must be the vault's address without a path, such as https://NAME.vault.azure.net");
    }
    // A host name with `vaultcore` belongs to the DNS zone of private endpoints. Clients must not use this name: they
    // use the public name even if the vault has a private endpoint.
    if url.host().contains(".vaultcore.") {
        return Err(
            "must not contain `.vaultcore.`: use an address such as https://NAME.vault.azure.net, which DNS resolves to the private endpoint",
        );
    }
    Ok(url.as_str().trim_end_matches('/').into())
}

/// Checks the address of a proxy, with or without its scheme.
pub(super) fn proxy(text: &str) -> Result<(), Wanted> {
    let with_scheme = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
    let url = Url::parse(&with_scheme).ok().filter(Url::has_host);
    match url.as_ref().map(Url::scheme) {
        Some("http" | "https") => Ok(()),
        Some(_) => Err("must start with http:// or https://; no other kind of proxy is supported"),
        None => Err("must be the URL of a proxy, such as http://proxy.example:3128, and must have no quotes"),
    }
}

/// Parses a span of time with its unit.
pub(super) fn duration(text: &str) -> Result<Duration, Wanted> {
    humantime::parse_duration(text)
        .map_err(|_| "must be a number with a unit, such as \"7d\", \"6h\" or \"90s\"")
}

/// Parses a day or an instant. A day means its first moment in UTC.
pub(super) fn instant(text: &str) -> Result<Timestamp, Wanted> {
    let day = NaiveDate::parse_from_str(text, "%Y-%m-%d").map(|day| day.and_time(NaiveTime::MIN).and_utc());
    day.or_else(|_| chrono::DateTime::parse_from_rfc3339(text).map(|at| at.to_utc()))
        .ok()
        .and_then(meant)
        .ok_or("must be a date, such as 2027-03-31, or a time with its zone, such as 2027-03-31T12:00:00Z; the year must be 2000 to 2199")
}

/// Parses one line of free text.
pub(super) fn line(text: &str) -> Result<String, Wanted> {
    if text.chars().count() <= 200 && !text.contains(char::is_control) {
        Ok(text.trim().to_owned())
    } else {
        Err("must be one line of at most 200 characters")
    }
}

/// Parses the command that a person types to start Perennial. Messages put this command between backticks, so the
/// command must not contain a backtick.
pub(super) fn command(text: &str) -> Result<String, Wanted> {
    let command = line(text)?;
    if command.contains('`') { Err("must not contain a backtick") } else { Ok(command.trim().to_owned()) }
}

/// Parses the instance name that messages show.
pub(super) fn instance(text: &str) -> Result<String, Wanted> {
    let name = text.trim();
    if !name.is_empty() && name.chars().count() <= 64 && !name.contains(char::is_control) {
        Ok(name.to_owned())
    } else {
        Err("must be one line of 1 to 64 characters")
    }
}

/// Parses the address of a page that people open.
pub(super) fn link(text: &str) -> Result<String, Wanted> {
    const WANTED: &str =
        "must be the URL of a page, at most 300 characters, without a user, a password or a `#`";
    let url = Url::parse(text.trim()).map_err(|_| WANTED)?;
    let is_page = matches!(url.scheme(), "https" | "http" | "file");
    let is_open = url.username().is_empty() && url.password().is_none() && url.fragment().is_none();
    if is_page && is_open && url.as_str().len() <= 300 { Ok(url.into()) } else { Err(WANTED) }
}

/// Parses OAuth scopes that are separated by blanks.
pub(super) fn scope(text: &str) -> Result<Arc<str>, Wanted> {
    let clean = |b: u8| (b.is_ascii_graphic() && b != b'"' && b != b'\\') || b == b' ';
    if text.bytes().all(clean) {
        Ok(text.trim().into())
    } else {
        Err("must be OAuth scopes, separated by spaces")
    }
}

/// Parses the path of a file.
pub(super) fn file(text: &str) -> Result<PathBuf, Wanted> {
    if text.contains('\0') { Err("must be the path of a file") } else { Ok(PathBuf::from(text)) }
}

/// Parses the name of an environment variable.
pub(super) fn variable(text: &str) -> Result<String, Wanted> {
    let clean = text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    if clean { Ok(text.to_owned()) } else { Err("must be the name of an environment variable") }
}

/// Parses the id of a systemd credential: a file name without `:` (systemd.exec, `LoadCredential=`).
pub(super) fn credential(text: &str) -> Result<String, Wanted> {
    let clean = text.len() <= 255 && text.bytes().all(|b| b.is_ascii_graphic() && b != b'/' && b != b':');
    if clean && text != "." && text != ".." {
        Ok(text.to_owned())
    } else {
        Err("must be the id of a systemd credential, as in LoadCredential=")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_safe_in_a_metric_a_url_and_a_shell() {
        assert!(token_name("partner-center_2.eu").is_ok());
        for bad in ["-x", ".x", "a b", "a/b", "ü", "a\"b", &"a".repeat(65)] {
            assert!(token_name(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_tenant_is_an_id_or_a_domain() {
        assert_eq!(tenant("Contoso.OnMicrosoft.com"), Ok("contoso.onmicrosoft.com".to_owned()));
        assert!(tenant("5F2A1F0E-3B86-4B0E-9F7A-1C1D2E3F4A5B").is_ok());
        for bad in ["common", "organizations", "a..b", ".a", "a.b/c", "5f2a1f0e3b864b0e9f7a1c1d2e3f4a5b"] {
            assert!(tenant(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_vault_is_a_host_and_nothing_else() {
        assert_eq!(
            vault_url("https://Contoso.Vault.Azure.Net/").as_deref(),
            Ok("https://contoso.vault.azure.net")
        );
        assert_eq!(vault_url("https://127.0.0.1:8443").as_deref(), Ok("https://127.0.0.1:8443"));
        for bad in [
            "http://contoso.vault.azure.net",
            "contoso",
            "https://",
            "https://u@contoso.vault.azure.net",
            "https://contoso.vault.azure.net/secrets/x",
            "https://contoso.vault.azure.net?x=1",
        ] {
            assert!(vault_url(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_day_begins_at_midnight_utc() {
        assert_eq!(instant("2027-03-31"), instant("2027-03-31T02:00:00+02:00"));
        assert!(instant("2027-03-31T02:00:00").is_err(), "no zone");
        assert!(instant("31.03.2027").is_err());
    }

    #[test]
    fn a_span_needs_its_unit() {
        assert_eq!(duration("7d"), Ok(Duration::from_secs(7 * 86_400)));
        assert!(duration("7").is_err());
        assert!(duration("-7d").is_err());
    }

    #[test]
    fn a_credential_stays_in_its_directory() {
        for bad in ["..", "a/b", "a:b"] {
            assert!(credential(bad).is_err(), "{bad}");
        }
        assert!(credential("partner-app-secret").is_ok());
    }
}
