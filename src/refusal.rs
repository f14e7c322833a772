//! What an answer of Entra's token endpoint means: one table, one match.
//!
//! Owns the reading of OAuth errors and AADSTS codes. React to `error` first and refine by code,
//! since Microsoft changes codes and texts without notice (reference-error-codes). Pure.

use std::time::Duration;

use crate::failure::Kind;
use crate::failure::Remedy;

/// The parts of an error body that may be kept: everything but the description, which can name the
/// user.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Refusal {
    /// HTTP status.
    pub status: u16,
    /// OAuth error, as `invalid_grant`.
    pub error: String,
    /// AADSTS number, as 50173.
    pub code: Option<u32>,
    /// Entra's finer distinction, as `bad_token`.
    pub suberror: Option<String>,
    /// What Microsoft's support asks for.
    pub trace_id: Option<String>,
    /// Echo of our own id, or Entra's.
    pub correlation_id: Option<String>,
    /// A claims challenge to be passed to the next sign-in.
    pub claims: Option<String>,
    /// How long the peer asks to be left alone.
    pub retry_after: Option<Duration>,
}

/// A refusal by what can be done about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// The grant is over: somebody has to sign in.
    ReauthRequired,
    /// The app's secret or assertion is not accepted.
    ClientCredential,
    /// Something is set up wrongly, here or in Entra.
    Configuration,
    /// A rule of the tenant stands in the way.
    Policy,
    /// Too many requests.
    Throttled,
    /// A fault on the other side.
    Transient,
    /// An `error` this program does not know.
    Unknown,
}

/// Entra asks a looping client to pause; less than this is answered with the same refusal.
const LOOP_PAUSE: Duration = Duration::from_secs(15 * 60);

impl Refusal {
    /// The class, by code where the code is known, else by `error`.
    pub fn class(&self) -> Class {
        if let Some(class) = self.code.and_then(class_of_code) {
            return class;
        }
        if self.status == 429 {
            return Class::Throttled;
        }
        match self.error.as_str() {
            "invalid_grant"
            | "interaction_required"
            | "login_required"
            | "consent_required"
            | "expired_token"
            | "bad_verification_code"
            | "authorization_declined" => Class::ReauthRequired,
            "invalid_client" => Class::ClientCredential,
            "unauthorized_client"
            | "invalid_request"
            | "unsupported_grant_type"
            | "unsupported_response_type"
            | "invalid_scope"
            | "invalid_resource"
            | "invalid_target" => Class::Configuration,
            "access_denied" => Class::Policy,
            "temporarily_unavailable" | "server_error" => Class::Transient,
            _ if self.status >= 500 => Class::Transient,
            _ => Class::Unknown,
        }
    }

    /// Who can fix it.
    pub fn remedy(&self) -> Remedy {
        // The account can be enabled again, and then the same grant works: nobody need sign in.
        if self.code == Some(50057) {
            return Remedy::Operator;
        }
        match self.class() {
            Class::ReauthRequired => Remedy::Login,
            Class::ClientCredential | Class::Configuration | Class::Policy => Remedy::Operator,
            Class::Throttled if self.code == Some(50196) => {
                Remedy::Retry { after: Some(self.retry_after.unwrap_or_default().max(LOOP_PAUSE)) }
            }
            Class::Throttled | Class::Transient | Class::Unknown => Remedy::Retry { after: self.retry_after },
        }
    }

    /// Which condition it opens.
    pub fn kind(&self) -> Kind {
        match (self.code, self.class()) {
            (Some(50057), _) => Kind::AccountDisabled,
            (Some(50076 | 50078 | 50079 | 50072 | 50074 | 50158), _) => Kind::MfaRequired,
            // A value no issuer could read: the cure is a sign-in, though the class is not.
            (Some(9_002_313 | 700_007 | 700_084 | 700_005), _) => Kind::LoginRequired,
            (Some(50034 | 51004 | 50020 | 16000 | 50014 | 90072 | 90002), _) => Kind::WrongIdentity,
            (_, Class::ReauthRequired) => Kind::LoginRequired,
            (_, Class::ClientCredential) => Kind::AppCredentialRefused,
            (_, Class::Configuration) => match self.error.as_str() {
                "invalid_client" | "unauthorized_client" => Kind::AppCredentialRefused,
                _ => Kind::PolicyBlocked,
            },
            (_, Class::Policy) => Kind::PolicyBlocked,
            (_, Class::Throttled | Class::Transient | Class::Unknown) => Kind::EntraUnreachable,
        }
    }

    /// Whether the answer settles that this very token can never be redeemed by this app again.
    ///
    /// Only such a token may be written over by a proven one. A policy, a disabled account or a
    /// refused app says nothing about the token.
    pub fn condemns_token(&self) -> bool {
        match self.code {
            Some(9_002_313 | 700_007) => true,
            Some(50057 | 50135 | 50144 | 50055 | 50056 | 50126) => false,
            _ => self.class() == Class::ReauthRequired && self.error == "invalid_grant",
        }
    }

    /// Whether the value was no usable token to begin with, as against one that was taken back.
    pub fn never_was_a_token(&self) -> bool {
        matches!(self.code, Some(9_002_313 | 70000))
    }
}

/// OAuth errors and suberrors are words; the longest known is `device_authentication_failed`.
const MAX_WORD_CHARS: usize = 48;

/// An OAuth error is a word in lower case. A refresh token or a secret is not.
pub fn word(text: &str) -> Option<String> {
    let fits = (1..=MAX_WORD_CHARS).contains(&text.len());
    let clean = text.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
    (fits && clean).then(|| text.to_owned())
}

/// The number in a description, as 50173 in `AADSTS50173: …`.
pub fn code_in(description: &str) -> Option<u32> {
    let (_, rest) = description.split_once("AADSTS")?;
    let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    rest[..end].parse().ok()
}

/// The code table (reference-error-codes, recorded answers; `reference/azure.md` §2.3).
fn class_of_code(code: u32) -> Option<Class> {
    let class = match code {
        50173 | 700_082 | 70008 | 70043 | 70000 | 700_003 | 54005 | 50089 | 50133 | 50132 | 50085 | 50135
        | 50144 | 50055 | 50056 | 50126 | 50057 | 65004 | 9_002_341 | 135_011 | 70018 | 70019 | 70020
        | 90119 | 90120 | 50058 | 700_020 | 50140 | 50199 => Class::ReauthRequired,
        7_000_215 | 7_000_222 | 70002 | 700_027 | 700_024 | 700_030 | 50012 | 50013 | 50027 | 50048
        | 500_133 | 70021 | 700_213 => Class::ClientCredential,
        700_084 | 9_002_313 | 700_007 | 700_005 | 50105 | 50034 | 51004 | 50020 | 16000 | 50014 | 90072
        | 65001 | 65002 | 65005 | 650_056 | 650_057 | 650_052 | 650_054 | 90094 | 90095 | 90099
        | 7_000_218 | 700_025 | 700_229 | 700_016 | 700_011 | 7_000_229 | 700_038 | 70001 | 7_000_112
        | 50194 | 9_001_023 | 500_011 | 50001 | 70011 | 28002 | 28003 | 700_022 | 700_023 | 901_002
        | 70003 | 900_144 | 90014 | 90023 | 90100 | 50011 | 70004 | 50147 | 501_481 | 501_491 | 9_002_325
        | 9_002_327 | 90002 | 90019 | 50059 | 50128 | 90038 | 900_439 | 900_382 | 900_432 | 90036 | 90092
        | 50086 => Class::Configuration,
        50076 | 50078 | 50079 | 50072 | 50074 | 50158 | 53000 | 53001 | 53002 | 53003 | 53004 | 53009
        | 53010 | 53011 | 530_032 | 530_035 | 530_034 | 500_212 | 500_213 | 500_021 | 500_022 | 50005
        | 50097 | 50131 | 50053 => Class::Policy,
        50196 | 90055 | 50088 => Class::Throttled,
        90033 | 90024 | 90006 | 90012 | 50033 | 90090 | 90091 | 50087 | 50000 | 5_000_224 | 50134 => {
            Class::Transient
        }
        _ => return None,
    };
    Some(class)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(error: &str, code: Option<u32>) -> Refusal {
        Refusal { status: 400, error: error.into(), code, ..Refusal::default() }
    }

    #[test]
    fn a_loop_of_our_own_is_throttling_and_not_a_dead_token() {
        let answer = refusal("invalid_grant", Some(50196));

        assert_eq!(answer.class(), Class::Throttled);
        assert_eq!(answer.remedy(), Remedy::Retry { after: Some(LOOP_PAUSE) });
        assert!(!answer.condemns_token());
    }

    #[test]
    fn an_expired_app_secret_never_means_a_dead_token() {
        let answer = refusal("invalid_client", Some(7_000_222));

        assert_eq!(answer.remedy(), Remedy::Operator);
        assert_eq!(answer.kind(), Kind::AppCredentialRefused);
        assert!(!answer.condemns_token());
    }

    #[test]
    fn a_code_nobody_knows_is_read_by_its_error() {
        assert_eq!(refusal("invalid_grant", Some(999_999)).remedy(), Remedy::Login);
        assert_eq!(refusal("invalid_client", Some(999_999)).remedy(), Remedy::Operator);
    }

    #[test]
    fn an_error_nobody_knows_is_tried_again_and_never_a_sign_in() {
        let answer = refusal("out_of_cheese", None);

        assert_eq!(answer.class(), Class::Unknown);
        assert_eq!(answer.remedy(), Remedy::Retry { after: None });
    }

    #[test]
    fn a_policy_says_nothing_about_the_token() {
        for code in [50076, 53003, 50057, 50053] {
            assert!(!refusal("invalid_grant", Some(code)).condemns_token(), "{code}");
            assert_eq!(refusal("invalid_grant", Some(code)).remedy(), Remedy::Operator, "{code}");
        }
    }

    #[test]
    fn whatever_condemns_a_token_is_never_retried() {
        for code in 0..10_000_000u32 {
            if class_of_code(code).is_some() {
                let answer = refusal("invalid_grant", Some(code));
                let retried = matches!(answer.remedy(), Remedy::Retry { .. });
                assert!(!(retried && answer.condemns_token()), "{code}");
            }
        }
    }
}
