//! A token's claims, as far as Perennial uses them: for diagnosis, and to compare tenant, app and user (`answer`).
//!
//! Pure. Each claim is parsed on its own: an unexpected type in one leaves the others unaffected. No signature is
//! checked: both tokens come from the token endpoint itself over TLS, which replaces it (`OpenID` Connect Core
//! 3.1.3.7, 6).

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use secrecy::zeroize::Zeroizing;
use serde_json::Value;
use uuid::Uuid;

use crate::process::text;

/// One claim.
#[derive(Clone, Default, PartialEq, Eq)]
pub enum Claim {
    /// Missing, or null.
    #[default]
    Absent,
    /// A text.
    Text(String),
    /// A list of texts.
    List(Vec<String>),
    /// Any other type, which cannot be compared.
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

    /// Its texts.
    fn texts(&self) -> impl Iterator<Item = &str> {
        let (one, many) = match self {
            Self::Text(text) => (Some(text), &[][..]),
            Self::List(texts) => (None, texts.as_slice()),
            Self::Absent | Self::Odd => (None, &[][..]),
        };
        one.into_iter().chain(many).map(String::as_str)
    }

    /// The text, if it is one.
    pub fn as_deref(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Absent | Self::List(_) | Self::Odd => None,
        }
    }
}

/// The claims that Perennial uses, of an access token or an ID token. `Debug` shows only GUIDs: a token can claim
/// anything.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Claims {
    /// Tenant.
    pub tid: Claim,
    /// User's object id.
    pub oid: Claim,
    /// App (client) id in v1-format access tokens, which Partner Center uses (Entra, access-token-claims-reference).
    pub appid: Claim,
    /// App (client) id in v2-format ones.
    pub azp: Claim,
    /// The audience: the app of an ID token, the resource of an access token.
    pub aud: Claim,
    /// How the user authenticated; Partner Center requires `mfa`.
    pub amr: Claim,
    /// Delegated scopes, separated by blanks.
    pub scp: Claim,
    /// In an ID token, the nonce of the authorization request.
    pub nonce: Claim,
    /// The user's sign-in name: for people only, since it can change (Entra, id-token-claims-reference).
    pub preferred_username: Claim,
    /// The same in v1-format access tokens.
    pub upn: Claim,
}

impl Claims {
    /// Reads the payload of a JWT. `None` if it is not one: Entra calls access tokens opaque.
    pub fn of_jwt(jwt: &str) -> Option<Self> {
        let payload = jwt.split('.').nth(1)?;
        let json = Zeroizing::new(URL_SAFE_NO_PAD.decode(payload.trim_end_matches('=')).ok()?);
        // Of two claims of one name the last one counts (RFC 7519, 4).
        Self::of(serde_json::from_slice(&json).ok()?)
    }

    /// Reads a payload. `None` if it is no object.
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

    /// Without the claims for whose texts `is_unfit` holds: they become `Odd`, so that they are never shown.
    #[must_use]
    pub fn without(mut self, is_unfit: impl Fn(&[&str]) -> bool) -> Self {
        let Self { tid, oid, appid, azp, aud, amr, scp, nonce, preferred_username, upn } = &mut self;
        let claims = [tid, oid, appid, azp, aud, amr, scp, nonce, preferred_username, upn];
        // All together first, which usually suffices.
        if is_unfit(&claims.iter().flat_map(|claim| claim.texts()).collect::<Vec<_>>()) {
            for claim in claims {
                if is_unfit(&claim.texts().collect::<Vec<_>>()) {
                    *claim = Claim::Odd;
                }
            }
        }
        self
    }

    /// The user's sign-in name, if it has the form of one.
    pub fn sign_in_name(&self) -> Option<&str> {
        let names = [&self.preferred_username, &self.upn];
        names.into_iter().filter_map(Claim::as_deref).find_map(text::sign_in_name)
    }

    /// Whether the token's sign-in used MFA; unknown without a list in `amr`.
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
