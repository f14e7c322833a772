//! What a token says about itself, as far as anybody looks: for diagnosis, and to compare tenant, app and user (`answer`).
//!
//! Pure. Each claim is read by itself: one of an unexpected type leaves the others as they are. No signature is checked:
//! both tokens come from the token endpoint itself over TLS, which stands for it (`OpenID` Connect Core 3.1.3.7, 6).

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use secrecy::zeroize::Zeroizing;
use serde_json::Value;
use uuid::Uuid;

/// One claim.
#[derive(Clone, Default, PartialEq, Eq)]
pub enum Claim {
    /// It is not there, or null.
    #[default]
    Absent,
    /// A text.
    Text(String),
    /// A list of texts.
    List(Vec<String>),
    /// Anything else: it is there, and nothing can be compared with it.
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

    /// Whatever is text in it.
    fn texts(&self) -> impl Iterator<Item = &str> {
        let (one, many) = match self {
            Self::Text(text) => (Some(text), &[][..]),
            Self::List(texts) => (None, texts.as_slice()),
            Self::Absent | Self::Odd => (None, &[][..]),
        };
        one.into_iter().chain(many).map(String::as_str)
    }

    /// The text, where it is one.
    pub fn as_deref(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Absent | Self::List(_) | Self::Odd => None,
        }
    }
}

/// The claims that Perennial looks at, of an access token or an ID token. `Debug` shows only what is a GUID: a token can
/// claim anything.
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
    /// Whom the token is for: the app of an ID token, the resource of an access token.
    pub aud: Claim,
    /// How the user proved who they are; `mfa` is what Partner Center wants to see.
    pub amr: Claim,
    /// Delegated scopes, separated by blanks.
    pub scp: Claim,
    /// What was sent with the authorization request, in an ID token.
    pub nonce: Claim,
}

impl Claims {
    /// Reads the payload of a JWT. None where there is none: Entra calls access tokens opaque.
    pub fn of_jwt(jwt: &str) -> Option<Self> {
        let payload = jwt.split('.').nth(1)?;
        let json = Zeroizing::new(URL_SAFE_NO_PAD.decode(payload.trim_end_matches('=')).ok()?);
        // Of two claims of one name the last one counts (RFC 7519, 4).
        Self::of(serde_json::from_slice(&json).ok()?)
    }

    /// Reads a payload. None where it is no object.
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
        })
    }

    /// Without the claims of whose texts this holds: they are there, and nobody is to see them.
    #[must_use]
    pub fn without(mut self, is_unfit: impl Fn(&[&str]) -> bool) -> Self {
        let Self { tid, oid, appid, azp, aud, amr, scp, nonce } = &mut self;
        let claims = [tid, oid, appid, azp, aud, amr, scp, nonce];
        // Together first, which is usually the end of it.
        if is_unfit(&claims.iter().flat_map(|claim| claim.texts()).collect::<Vec<_>>()) {
            for claim in claims {
                if is_unfit(&claim.texts().collect::<Vec<_>>()) {
                    *claim = Claim::Odd;
                }
            }
        }
        self
    }

    /// Whether the sign-in this token descends from carried a second factor; unknown without a list in `amr`.
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
    fn claims_are_read_where_there_are_any() {
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
