//! The claims of access tokens and ID tokens. Perennial uses the claims for diagnosis. `ports::answer` compares tenant,
//! app and user with the configuration.
//!
//! This module is pure. Each claim is parsed separately, so a claim of an unexpected type does not affect the others.
//! Signatures are not checked, because access tokens and ID tokens come directly from the token endpoint over TLS.
//! `OpenID` Connect Core 3.1.3.7 (6) permits TLS instead of a signature check.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use secrecy::zeroize::Zeroizing;
use serde_json::Value;
use uuid::Uuid;

use crate::process::text;

/// The value of one claim.
#[derive(Clone, Default, PartialEq, Eq)]
pub enum Claim {
    /// The claim is missing or null.
    #[default]
    Absent,
    /// The claim is a string.
    Text(String),
    /// The claim is a list of strings.
    List(Vec<String>),
    /// The claim has any other type, so Perennial cannot compare it. `Claims::without` also uses this value, to hide a
    /// claim whose text must not be shown.
    Odd,
}

impl Claim {
    fn of(value: Value) -> Self {
        match value {
            Value::Null => Self::Absent,
            Value::String(text) => Self::Text(text),
            Value::Array(items) => {
                let text = |item| if let Value::String(text) = item { Some(text) } else { None };
                items.into_iter().map(text).collect::<Option<_>>().map_or(Self::Odd, Self::List)
            }
            Value::Bool(_) | Value::Number(_) | Value::Object(_) => Self::Odd,
        }
    }

    fn texts(&self) -> impl Iterator<Item = &str> {
        let (one, many) = match self {
            Self::Text(text) => (Some(text), &[][..]),
            Self::List(texts) => (None, texts.as_slice()),
            Self::Absent | Self::Odd => (None, &[][..]),
        };
        one.into_iter().chain(many).map(String::as_str)
    }

    /// The string, if the claim is a single string.
    pub fn as_deref(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Absent | Self::List(_) | Self::Odd => None,
        }
    }
}

/// The claims that Perennial reads from an access token or an ID token. `Debug` shows only GUIDs and whether the user
/// signed in with MFA, because a claim can contain any text.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Claims {
    /// The tenant id.
    pub tid: Claim,
    /// The user's object id.
    pub oid: Claim,
    /// The app's client id in v1 access tokens. Partner Center uses v1 tokens (Entra, access-token-claims-reference).
    pub appid: Claim,
    /// The app's client id in v2 access tokens.
    pub azp: Claim,
    /// The audience. The audience of an ID token is the app. The audience of an access token is the resource.
    pub aud: Claim,
    /// The methods with which the user authenticated. Partner Center requires `mfa`.
    pub amr: Claim,
    /// The delegated scopes, separated by spaces.
    pub scp: Claim,
    /// The nonce of the authorization request. Only an ID token has a nonce.
    pub nonce: Claim,
    /// The user's sign-in name. Perennial only displays the name, because it can change (Entra,
    /// id-token-claims-reference).
    pub preferred_username: Claim,
    /// The user's sign-in name in v1 access tokens.
    pub upn: Claim,
}

impl Claims {
    /// Reads the claims of a JWT. `None` if the text is not a JWT. Entra does not guarantee that an access token is a
    /// JWT.
    pub fn of_jwt(jwt: &str) -> Option<Self> {
        let payload = jwt.split('.').nth(1)?;
        let json = Zeroizing::new(URL_SAFE_NO_PAD.decode(payload.trim_end_matches('=')).ok()?);
        // If two claims have the same name, the last one is used (RFC 7519, 4).
        Self::of(serde_json::from_slice(&json).ok()?)
    }

    /// Reads the claims of a JWT payload. `None` if the payload is not a JSON object.
    pub fn of(payload: Value) -> Option<Self> {
        let Value::Object(mut members) = payload else { return None };
        let mut claim = |name: &str| members.remove(name).map_or(Claim::Absent, Claim::of);
        Some(Self {
            tid: claim("tid"),
            oid: claim("oid"),
            appid: claim("appid"),
            azp: claim("azp"),
            aud: claim("aud"),
            amr: claim("amr"),
            scp: claim("scp"),
            nonce: claim("nonce"),
            preferred_username: claim("preferred_username"),
            upn: claim("upn"),
        })
    }

    /// Replaces a claim by `Odd` if `is_unfit` returns true for the claim, so that the claim's text is never shown.
    #[must_use]
    pub fn without(mut self, is_unfit: impl Fn(&[&str]) -> bool) -> Self {
        let Self { tid, oid, appid, azp, aud, amr, scp, nonce, preferred_username, upn } = &mut self;
        let claims = [tid, oid, appid, azp, aud, amr, scp, nonce, preferred_username, upn];
        // The first call checks all claims together. Usually no claim is unfit, and no further call is necessary.
        if is_unfit(&claims.iter().flat_map(|claim| claim.texts()).collect::<Vec<_>>()) {
            for claim in claims {
                if is_unfit(&claim.texts().collect::<Vec<_>>()) {
                    *claim = Claim::Odd;
                }
            }
        }
        self
    }

    /// The user's sign-in name, if a claim has the form of a sign-in name.
    pub fn sign_in_name(&self) -> Option<&str> {
        let names = [&self.preferred_username, &self.upn];
        names.into_iter().filter_map(Claim::as_deref).find_map(text::sign_in_name)
    }

    /// Whether the user signed in with MFA. `None` if `amr` is not a list.
    pub fn mfa(&self) -> Option<bool> {
        match &self.amr {
            Claim::List(methods) => Some(methods.iter().any(|method| method == "mfa")),
            Claim::Absent | Claim::Text(_) | Claim::Odd => None,
        }
    }
}

impl fmt::Debug for Claims {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |id: &Claim| id.as_deref().map(|id| Uuid::try_parse(id).ok());
        f.debug_struct("Claims")
            .field("tid", &shown(&self.tid))
            .field("oid", &shown(&self.oid))
            .field("appid", &shown(&self.appid))
            .field("azp", &shown(&self.azp))
            .field("mfa", &self.mfa())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(payload: &str) -> Option<Claims> {
        Claims::of_jwt(&format!("h.{}.s", URL_SAFE_NO_PAD.encode(payload)))
    }

    #[test]
    fn claims_are_parsed_if_present() {
        let claims =
            read(r#"{"tid":"t","azp":"a","appid":"b","amr":["pwd","mfa"],"extra":1}"#).expect("readable");

        assert_eq!((claims.azp.as_deref(), claims.appid.as_deref()), (Some("a"), Some("b")));
        assert_eq!(claims.mfa(), Some(true));
        for unreadable in ["opaque", "", "..", "a.b.c", "h.e30", "h.bnVsbA.s", "h.W10.s", "h.!!!!.s"] {
            let claims = Claims::of_jwt(unreadable);
            assert!(claims.is_none_or(|claims| claims == Claims::default()), "{unreadable}");
        }
    }

    #[test]
    fn a_claim_of_another_type_leaves_the_others_as_they_are() {
        for odd in ["7", "1e999", "true", "{}", "[7]", r#"["a",null]"#, r#"[["a"]]"#] {
            for name in ["oid", "appid", "azp", "aud", "amr", "scp", "nonce", "x"] {
                let Some(claims) = read(&format!(r#"{{"{name}":{odd},"tid":"t"}}"#)) else {
                    assert_eq!(odd, "1e999", "not JSON's");
                    continue;
                };
                assert_eq!(claims.tid.as_deref(), Some("t"), "{name}: {odd}");
                assert_eq!(claims.mfa(), None, "{name}: {odd}");
            }
        }
        let claims = read(r#"{"tid":null,"oid":"a","oid":7}"#).expect("readable");
        assert!(claims.tid == Claim::Absent && claims.oid == Claim::Odd);
    }
}
