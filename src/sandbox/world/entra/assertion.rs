//! Checks client assertions (RFC 7523): assertions that an app signs with its certificate, and tokens of issuers that
//! the app trusts.
//!
//! This module owns the checks and their codes (docs/azure-facts.md F140, F141).

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, TimeDelta};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::super::certificate::hex;
use super::super::credentials::{AppCertificate, FederatedCredential};
use super::super::directory::{App, Tenant};
use super::codes::{Denial, Refuse};
use super::proof::FrontEnd;
use crate::process::clock::Timestamp;

/// The largest accepted error of a caller's clock.
const SKEW: TimeDelta = TimeDelta::minutes(5);

/// The longest lifetime of an app's own assertion.
const LONGEST: TimeDelta = TimeDelta::hours(24);

/// The audience of an app's own assertion: the URL of the tenant's token endpoint, or the tenant's v2.0 URL.
#[derive(Clone, Copy)]
pub(super) struct Audience<'a> {
    pub(super) authority: &'a str,
    pub(super) tenant: &'a Tenant,
}

impl Audience<'_> {
    fn is(self, claimed: &str) -> bool {
        let names = [&self.tenant.id, &self.tenant.domain];
        names.into_iter().any(|tenant| {
            let base = format!("{}/{tenant}", self.authority);
            claimed.eq_ignore_ascii_case(&format!("{base}/oauth2/v2.0/token"))
                || claimed.eq_ignore_ascii_case(&format!("{base}/v2.0"))
        })
    }
}

#[derive(Deserialize)]
struct AssertionHeader {
    alg: String,
    x5t: Option<String>,
    #[serde(rename = "x5t#S256")]
    x5t_s256: Option<String>,
}

#[derive(Deserialize)]
struct AssertionClaims {
    iss: String,
    sub: String,
    aud: Value,
    /// Times may contain fractions of a second (RFC 7519, 2). MSAL for Python sends such times.
    exp: f64,
    nbf: Option<f64>,
    iat: Option<f64>,
    jti: Option<String>,
}

struct ParsedAssertion<'a> {
    header: AssertionHeader,
    claims: AssertionClaims,
    signed: &'a str,
    signature: Vec<u8>,
}

/// An accepted assertion's id and expiry.
type AssertionId = (String, Timestamp);

/// Checks an assertion. `issued` is true if an issuer of the simulated world has issued the assertion. If the app
/// itself signed the assertion and the assertion has an id, returns this id and the expiry.
pub(super) fn check(
    text: &str,
    app: &App,
    audience: Audience<'_>,
    issued: bool,
    by: FrontEnd,
) -> Result<Option<AssertionId>, Denial> {
    let assertion = ParsedAssertion::of(text).ok_or(Refuse(50027))?;
    // In an assertion that the app itself has signed, the issuer is the app's id, which is not a URL.
    if assertion.claims.iss.contains("://") {
        check_federated(&assertion.claims, app, issued, by)?;
        return Ok(None);
    }
    check_own(&assertion, app, audience, by)?;
    let expires = time(assertion.claims.exp)?;
    Ok(assertion.claims.jti.map(|id| (id, expires)))
}

fn check_own(
    assertion: &ParsedAssertion<'_>,
    app: &App,
    audience: Audience<'_>,
    by: FrontEnd,
) -> Result<(), Denial> {
    let ParsedAssertion { header, claims, signed, signature } = assertion;
    if !["PS256", "RS256"].contains(&header.alg.as_str()) {
        return Err(Denial::quoting(
            50027,
            format!("JWT token is invalid or malformed. The algorithm '{}' is not supported.", header.alg),
        ));
    }
    let known = header.find(app, by).ok_or_else(|| bad_key("The key was not found.", header))?;
    if known.ends <= by.now {
        return Err(bad_key("The key used is expired.", header));
    }
    if !known.certificate.verifies(&header.alg, signed.as_bytes(), signature) {
        let reason = "The provided signature value did not match the expected signature value.";
        return Err(bad_key(reason, header));
    }
    let is_app = |claimed: &str| claimed.eq_ignore_ascii_case(&app.client_id);
    if !is_app(&claims.iss) || !is_app(&claims.sub) {
        return Err(Refuse(700_021).into());
    }
    if !claims.audience().is_some_and(|claimed| audience.is(claimed)) {
        return Err(Refuse(700_023).into());
    }
    let start = claims.nbf.or(claims.iat).map_or(Ok(by.wall), time)?;
    if time(claims.exp)? - start > LONGEST {
        return Err(Refuse(700_024).into());
    }
    // An assertion is accepted if its times are valid by the host's clock or by the world's clock. Microsoft's
    // libraries use the host's clock. Perennial uses the vault's clock, which is the world's clock.
    check_time(claims, by.wall).or_else(|_| check_time(claims, by.now))
}

/// Compares an assertion with the three parts of a federated credential, one after the other. Entra uses a different
/// code for each part that does not match.
fn check_federated(claims: &AssertionClaims, app: &App, issued: bool, by: FrontEnd) -> Result<(), Denial> {
    let known = app.federated.iter().filter(|known| known.propagation.has_reached(by.number, by.knows));
    let known: Vec<&FederatedCredential> = known.collect();
    if known.is_empty() {
        return Err(Denial::quoting(
            70025,
            format!("The client '{}' has no configured federated identity credentials.", app.client_id),
        ));
    }
    let audience = claims.audience().unwrap_or_default();
    let known = narrowed(known, |known| known.issuer == claims.iss)
        .ok_or_else(|| unmatched(700_211, "issuer", &claims.iss))?;
    let known = narrowed(known, |known| known.subject == claims.sub)
        .ok_or_else(|| unmatched(700_213, "subject", &claims.sub))?;
    narrowed(known, |known| known.audience == audience)
        .ok_or_else(|| unmatched(700_212, "audience", audience))?;
    if !issued {
        return Err(Refuse(50013).into());
    }
    check_time(claims, by.wall)
}

fn narrowed(
    known: Vec<&FederatedCredential>,
    fits: impl Fn(&FederatedCredential) -> bool,
) -> Option<Vec<&FederatedCredential>> {
    let left: Vec<_> = known.into_iter().filter(|known| fits(known)).collect();
    (!left.is_empty()).then_some(left)
}

fn unmatched(code: u32, part: &str, presented: &str) -> Denial {
    let text =
        format!("No matching federated identity record found for presented assertion {part} '{presented}'.");
    Denial::quoting(code, text)
}

fn bad_key(reason: &str, header: &AssertionHeader) -> Denial {
    let text = format!(
        "Client assertion contains an invalid signature. [Reason - {reason}, Thumbprint of key used by client: '{}'.]",
        header.thumbprint()
    );
    Denial::quoting(700_027, text)
}

fn check_time(claims: &AssertionClaims, now: Timestamp) -> Result<(), Denial> {
    let over = time(claims.exp)? + SKEW <= now;
    let early = claims.nbf.map(time).transpose()?.is_some_and(|start| start > now + SKEW);
    if over || early { Err(Refuse(700_024).into()) } else { Ok(()) }
}

fn time(seconds: f64) -> Result<Timestamp, Refuse> {
    let since = Duration::try_from_secs_f64(seconds).map_err(|_| Refuse(50027))?;
    // A number above the range of `u32` is rejected, because adding the tolerance could overflow.
    let sane = u32::try_from(since.as_secs()).map_err(|_| Refuse(50027))?;
    DateTime::from_timestamp(sane.into(), 0).ok_or(Refuse(50027))
}

impl<'a> ParsedAssertion<'a> {
    fn of(text: &'a str) -> Option<Self> {
        let (signed, signature) = text.rsplit_once('.')?;
        let (header, claims) = signed.split_once('.')?;
        Some(Self {
            header: part(header)?,
            claims: part(claims)?,
            signed,
            signature: URL_SAFE_NO_PAD.decode(signature).ok()?,
        })
    }
}

fn part<T: DeserializeOwned>(text: &str) -> Option<T> {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text).ok()?).ok()
}

impl AssertionHeader {
    /// Finds the registered certificate whose hash is in the header. Some libraries pad this hash with `=`.
    fn find<'a>(&self, app: &'a App, by: FrontEnd) -> Option<&'a AppCertificate> {
        let is_removed = |known: &AppCertificate| {
            known.removal.as_ref().is_some_and(|removal| removal.has_reached(by.number, by.now))
        };
        let mut known = app
            .certificates
            .iter()
            .filter(|known| known.propagation.has_reached(by.number, by.knows) && !is_removed(known));
        known.find(|known| match (&self.x5t_s256, &self.x5t) {
            (Some(hash), _) => known.certificate.x5t_s256() == hash.trim_end_matches('='),
            (None, Some(hash)) => known.certificate.x5t() == hash.trim_end_matches('='),
            (None, None) => false,
        })
    }

    fn thumbprint(&self) -> String {
        let hash = self.x5t_s256.as_ref().or(self.x5t.as_ref()).map_or("", |hash| hash.trim_end_matches('='));
        URL_SAFE_NO_PAD.decode(hash).map(|bytes| hex(&bytes)).unwrap_or_default()
    }
}

impl AssertionClaims {
    /// Returns the audience if there is exactly one. Some issuers send a list with one entry.
    fn audience(&self) -> Option<&str> {
        match &self.aud {
            Value::String(one) => Some(one),
            Value::Array(list) if list.len() == 1 => list[0].as_str(),
            _ => None,
        }
    }
}
