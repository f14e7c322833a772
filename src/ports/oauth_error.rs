//! What an answer of Entra's token endpoint means: one table, one match.
//!
//! Owns the reading of OAuth errors and AADSTS codes. React to `error` first and refine by code,
//! since Microsoft changes codes and texts without notice (docs/azure-facts.md F122). Pure.

use std::time::Duration;

use crate::ports::failure::{Kind, Remedy, Trace};

/// The parts of an error body that may be kept: everything but the description, which can name the
/// user.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OAuthError {
    /// HTTP status.
    pub status: u16,
    /// OAuth error, as `invalid_grant`.
    pub error: String,
    /// Its AADSTS number is the one that says most, where the answer holds several.
    pub trace: Trace,
    /// The other AADSTS numbers in the answer.
    pub further_codes: Vec<u32>,
    /// Entra's finer distinction, as `bad_token`.
    pub suberror: Option<String>,
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

/// Entra asks a looping client to pause; less than this may be answered with the same refusal
/// (docs/azure-facts.md F126).
const LOOP_PAUSE: Duration = Duration::from_secs(15 * 60);

impl OAuthError {
    /// The class, by code where the code is known, else by `error`.
    pub fn class(&self) -> Class {
        if let Some(class) = self.trace.code.and_then(class_of_code) {
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
        // The account can be enabled again, and then the same grant works: nobody need sign in
        // (docs/azure-facts.md F110).
        if self.trace.code == Some(50057) {
            return Remedy::Operator;
        }
        match self.class() {
            Class::ReauthRequired => Remedy::Login,
            Class::ClientCredential | Class::Configuration | Class::Policy => Remedy::Operator,
            Class::Throttled | Class::Transient | Class::Unknown => Remedy::Retry,
        }
    }

    /// How long to leave the issuer alone: as long as it asks, and a quarter of an hour after a loop.
    pub fn wait(&self) -> Option<Duration> {
        if self.trace.code == Some(50196) {
            return Some(self.retry_after.unwrap_or_default().max(LOOP_PAUSE));
        }
        self.retry_after
    }

    /// Which condition it opens.
    pub fn kind(&self) -> Kind {
        match (self.trace.code, self.class()) {
            (Some(50057), _) => Kind::AccountDisabled,
            (Some(50076 | 50078 | 50079 | 50072 | 50074 | 50158), _) => Kind::MfaRequired,
            // A value no issuer could read: the cure is a sign-in, though the class is not.
            (Some(9_002_313 | 700_007 | 700_084 | 700_005), _) => Kind::LoginRequired,
            (Some(50034 | 51004 | 50020 | 16000 | 50014 | 90072 | 90002 | 7_000_012), _) => {
                Kind::WrongIdentity
            }
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

    /// Whether the answer is known to end the grant: this very token can never be redeemed again.
    ///
    /// Only such a token may be written over by a proven one. A policy, a disabled account, a refused app or
    /// a number that this program does not know says nothing about the token. Of several numbers each one
    /// must end the grant, or say no more than the error does.
    pub fn condemns_token(&self) -> bool {
        self.error == "invalid_grant"
            && self.trace.code.is_some_and(ends_a_grant)
            && self.further_codes.iter().all(|code| ends_a_grant(*code) || GENERAL.contains(code))
    }

    /// Whether the issuer could not read the value as a token, as against one that was taken back.
    pub fn never_was_a_token(&self) -> bool {
        self.trace.code == Some(UNREADABLE)
    }
}

/// The codes that are known to end a grant (docs/azure-facts.md F110, F124): the sessions
/// were revoked (50173), or revoked by a change of the password (50133); the token has expired or was revoked
/// (70008); it was idle for ninety days (700082); a `spa` redirect's day is over (700084).
///
/// Not among them: 70043, since a sign-in frequency is a policy, and policies change; 70000, which Entra also answers to a
/// token that it redeems a minute later; 50132, since a password that has expired may be renewed; whatever an operator can
/// undo (an account, a device, consent, the app).
const ENDS_A_GRANT: [u32; 5] = [50133, 50173, 70008, 700_082, 700_084];

/// The request or the value cannot be read (docs/azure-facts.md F110, F124).
const UNREADABLE: u32 = 9_002_313;

/// Numbers that say no more than the OAuth error: the credential or the grant was not accepted. Older answers
/// begin with 70002 and name the reason after it.
const GENERAL: [u32; 2] = [70002, 70000];

fn ends_a_grant(code: u32) -> bool {
    ENDS_A_GRANT.contains(&code)
}

/// What a final mark says of a value that was never sent to the issuer.
const NOT_A_TOKEN: &str = "not_a_token";

/// The text for a code in a final mark; none was given for a value that was never sent to the issuer.
pub fn mark_of(code: Option<u32>) -> String {
    code.map_or_else(|| NOT_A_TOKEN.to_owned(), |code| format!("AADSTS{code}"))
}

/// Whether such a text stands for the end of a grant, or for a value that never was a token.
pub fn is_final_mark(text: &str) -> bool {
    let code = text.strip_prefix("AADSTS").and_then(|code| code.parse().ok());
    text == NOT_A_TOKEN || code.is_some_and(|code| ends_a_grant(code) || code == UNREADABLE)
}

/// Of several numbers in one answer, the one that says most, and the others.
pub fn pick(codes: impl IntoIterator<Item = u32>) -> (Option<u32>, Vec<u32>) {
    let mut further: Vec<u32> = Vec::new();
    for code in codes {
        if !further.contains(&code) {
            further.push(code);
        }
    }
    // 70002 says the least: some answers say it of the app's credential, others of the grant.
    let telling = |code: &u32| 2 - u32::from(*code == 70002) - u32::from(GENERAL.contains(code));
    let most = further.iter().map(telling).max();
    let place = further.iter().position(|code| Some(telling(code)) == most);
    let code = place.map(|place| further.remove(place));
    (code, further)
}

/// OAuth errors and suberrors are words; the longest known is `device_authentication_failed`.
const MAX_WORD_CHARS: usize = 48;

/// An OAuth error is a word in lower case. A refresh token or a secret is not.
pub fn word(text: &str) -> Option<String> {
    let fits = (1..=MAX_WORD_CHARS).contains(&text.len());
    let clean = text.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
    (fits && clean).then(|| text.to_owned())
}

/// The numbers in a description, as 50173 in `AADSTS50173: …`.
pub fn codes_in(description: &str) -> impl Iterator<Item = u32> {
    description.split("AADSTS").skip(1).filter_map(|rest| {
        let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        rest[..end].parse().ok()
    })
}

/// The first of them.
pub fn code_in(description: &str) -> Option<u32> {
    codes_in(description).next()
}

/// The code table (docs/azure-facts.md F124).
fn class_of_code(code: u32) -> Option<Class> {
    let class = match code {
        // Conditional access and other policies have ranges of their own, and Microsoft goes on adding to them.
        53000..=53999 | 530_000..=530_999 => Class::Policy,
        50173 | 700_082 | 70008 | 70043 | 70000 | 700_003 | 54005 | 50089 | 50133 | 50132 | 50085 | 50135
        | 50144 | 50055 | 50056 | 50126 | 50057 | 65004 | 9_002_341 | 135_011 | 70018 | 70019 | 70020
        | 90119 | 90120 | 50058 | 700_020 | 50140 | 50199 => Class::ReauthRequired,
        7_000_215 | 7_000_222 | 70002 | 700_027 | 700_024 | 700_030 | 50012 | 50013 | 50027 | 50048
        | 500_133 | 70021 | 700_213 => Class::ClientCredential,
        700_084 | 9_002_313 | 700_007 | 700_005 | 50105 | 50034 | 51004 | 50020 | 16000 | 50014 | 90072
        | 7_000_012 | 65001 | 65002 | 65005 | 650_056 | 650_057 | 650_052 | 650_054 | 90094 | 90095
        | 90099 | 7_000_218 | 700_025 | 700_229 | 700_016 | 700_011 | 7_000_229 | 700_038 | 70001
        | 7_000_112 | 50194 | 9_001_023 | 500_011 | 50001 | 70011 | 28002 | 28003 | 700_022 | 700_023
        | 901_002 | 70003 | 900_144 | 90014 | 90023 | 90100 | 50011 | 70004 | 50147 | 501_481 | 501_491
        | 9_002_325 | 9_002_327 | 90002 | 90019 | 50059 | 50128 | 90038 | 900_439 | 900_382 | 900_432
        | 90036 | 90092 | 50086 => Class::Configuration,
        50076 | 50078 | 50079 | 50072 | 50074 | 50158 | 500_212 | 500_213 | 500_021 | 500_022 | 50005
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
mod tests;
