//! Decides which rejections end a grant and how a version's tag records the end.
//!
//! If a rejection has several numbers, this module also chooses the most specific one. This module is pure.

use std::time::Duration;

use super::row_of;
use super::table::{GENERAL, LOOP, UNREADABLE};
use crate::ports::oauth_error::OAuthError;

/// The pause after Entra has detected a loop (too many identical requests). An earlier retry may get the same rejection
/// (docs/azure-facts.md F126).
const LOOP_PAUSE: Duration = Duration::from_secs(15 * 60);

impl OAuthError {
    /// The wait that Entra requests before the next request. After Entra has detected a loop, the wait is at least 15
    /// minutes.
    pub fn wait(&self) -> Option<Duration> {
        if self.trace.code == Some(LOOP) {
            return Some(self.retry_after.unwrap_or_default().max(LOOP_PAUSE));
        }
        self.retry_after
    }

    /// Whether this rejection ends the grant, so that the token can never be redeemed again.
    ///
    /// A rejection that ends the grant condemns the token. Perennial overwrites a rejected value with another token
    /// only in two cases: the value is a condemned token, or the value is not a token at all. A policy, a disabled
    /// account, a rejected app or an unknown number does not condemn a token. A rejection with several numbers condemns
    /// a token only if each number ends a grant or is in `GENERAL`.
    pub fn condemns_token(&self) -> bool {
        self.error == "invalid_grant"
            && !self.is_changed
            && self.trace.code.is_some_and(ends_a_grant)
            && self.further_codes.iter().all(|code| ends_a_grant(*code) || GENERAL.contains(code))
    }

    /// Whether the issuer could not parse the value as a token. For a revoked token, this function returns false.
    pub fn never_was_a_token(&self) -> bool {
        !self.is_changed && self.trace.code == Some(UNREADABLE)
    }
}

fn ends_a_grant(code: u32) -> bool {
    row_of(code, "invalid_grant").is_some_and(|row| row.diagnosis.ends_grant)
}

/// The content of the tag `refused-code` for a stored value that cannot be a token. Perennial never sends such a value
/// to the issuer.
const NOT_A_TOKEN: &str = "not_a_token";

/// The content of the tag `refused-code` for an AADSTS number. `None` stands for a stored value that was never sent to
/// the issuer.
pub fn mark_of(code: Option<u32>) -> String {
    code.map_or_else(|| NOT_A_TOKEN.to_owned(), |code| format!("AADSTS{code}"))
}

/// Whether the content of a tag `refused-code` means that the grant has ended or that the value was never a token.
pub fn is_final_mark(text: &str) -> bool {
    let code = text.strip_prefix("AADSTS").and_then(|code| code.parse().ok());
    text == NOT_A_TOKEN || code.is_some_and(|code| ends_a_grant(code) || code == UNREADABLE)
}

/// Returns the most specific number of a response, and the other numbers.
pub fn pick(codes: impl IntoIterator<Item = u32>) -> (Option<u32>, Vec<u32>) {
    let mut further: Vec<u32> = Vec::new();
    for code in codes {
        if !further.contains(&code) {
            further.push(code);
        }
    }
    // A general number is less specific than an unknown number. A known specific number is more specific than both.
    let telling = |code: &u32| match GENERAL.iter().position(|general| general == code) {
        Some(place) => place,
        None if row_of(*code, "invalid_client").is_some() => GENERAL.len() + 1,
        None => GENERAL.len(),
    };
    let most = further.iter().map(telling).max();
    let place = further.iter().position(|code| Some(telling(code)) == most);
    let code = place.map(|place| further.remove(place));
    (code, further)
}

#[cfg(test)]
mod tests;
