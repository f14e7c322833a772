//! An error response of Entra's token endpoint. This module defines which parts of the response may be kept and how
//! these parts are parsed.
//!
//! This module also checks the form of errors and suberrors, and extracts AADSTS numbers from texts. `diagnosis`
//! explains the numbers. The module is pure.

use std::time::Duration;

use crate::ports::failure::Trace;

/// The parts of an error response that may be kept. The description is not kept, because it can name the user.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OAuthError {
    /// The HTTP status.
    pub status: u16,
    /// The OAuth error, such as `invalid_grant`.
    pub error: String,
    /// The identifiers of the response. If the response has several AADSTS numbers, this field contains the most
    /// specific one.
    pub trace: Trace,
    /// The other AADSTS numbers in the response.
    pub further_codes: Vec<u32>,
    /// The newer AADSTS number for the same cause, if Entra sent an older, more general number. Perennial derives
    /// the newer number from the number in `trace` and from the description.
    pub newer_code: Option<u32>,
    /// Whether a gateway or a proxy has changed the response. Such a response does not have the form of Entra's errors,
    /// or has a status below 400.
    pub is_changed: bool,
    /// The error number of Azure AD B2C, such as 90129 in `AADB2C90129`. B2C numbers are not AADSTS numbers.
    pub b2c_code: Option<u32>,
    /// Entra's suberror, such as `bad_token`.
    pub suberror: Option<String>,
    /// The claims challenge for the next sign-in.
    pub claims: Option<String>,
    /// The wait that Entra requested in `Retry-After`.
    pub retry_after: Option<Duration>,
}

/// The maximum length of an OAuth error or suberror. The longest known error is `device_authentication_failed`.
const MAX_WORD_CHARS: usize = 48;

/// Returns the text if it has the form of an OAuth error: at most 48 lower-case letters and underscores. Refresh tokens
/// and secrets do not have this form.
pub fn word(text: &str) -> Option<String> {
    let fits = (1..=MAX_WORD_CHARS).contains(&text.len());
    let clean = text.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
    (fits && clean).then(|| text.to_owned())
}

/// Extracts all AADSTS numbers from a description, such as 50173 from `AADSTS50173: …`.
pub fn codes_in(description: &str) -> impl Iterator<Item = u32> {
    numbers_after("AADSTS", description)
}

/// Extracts the first Azure AD B2C number from a description.
pub fn b2c_code_in(description: &str) -> Option<u32> {
    numbers_after("AADB2C", description).next()
}

fn numbers_after(prefix: &'static str, description: &str) -> impl Iterator<Item = u32> {
    description.split(prefix).skip(1).filter_map(|rest| {
        let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        rest[..end].parse().ok()
    })
}

/// Extracts the first AADSTS number from a description.
pub fn code_in(description: &str) -> Option<u32> {
    codes_in(description).next()
}
