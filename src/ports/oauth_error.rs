//! An error answer of Entra's token endpoint: the parts that may be kept, and how its words and numbers are parsed.
//!
//! Owns the forms of errors, suberrors and AADSTS numbers. `diagnosis` says what a number means. Pure.

use std::time::Duration;

use crate::ports::failure::Trace;

/// The parts of an error body that may be kept: everything but the description, which can name the
/// user.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OAuthError {
    /// HTTP status.
    pub status: u16,
    /// OAuth error, as `invalid_grant`.
    pub error: String,
    /// Its AADSTS number is the most specific one, if the answer holds several.
    pub trace: Trace,
    /// The other AADSTS numbers in the answer.
    pub further_codes: Vec<u32>,
    /// The number of Azure AD B2C, which has its own numbers: 90129 in `AADB2C90129`.
    pub b2c_code: Option<u32>,
    /// Entra's finer distinction, as `bad_token`.
    pub suberror: Option<String>,
    /// A claims challenge for the next sign-in.
    pub claims: Option<String>,
    /// The wait that the peer asks for.
    pub retry_after: Option<Duration>,
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
    numbers_after("AADSTS", description)
}

/// The first number of Azure AD B2C in a description.
pub fn b2c_code_in(description: &str) -> Option<u32> {
    numbers_after("AADB2C", description).next()
}

fn numbers_after(prefix: &'static str, description: &str) -> impl Iterator<Item = u32> {
    description.split(prefix).skip(1).filter_map(|rest| {
        let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        rest[..end].parse().ok()
    })
}

/// The first number.
pub fn code_in(description: &str) -> Option<u32> {
    codes_in(description).next()
}
