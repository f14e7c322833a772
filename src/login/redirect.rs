//! Parses requests to the redirect URI. A response to this sign-in contains a code or a rejection. For every other
//! request, this module returns `NotOurs`.
//!
//! This module owns the parsing of a query, a form or a pasted line. A code or an error is used only if `state` matches
//! (RFC 6749, 10.12).

use reqwest::Url;
use secrecy::SecretString;

use super::authorization_request::AuthorizationRequest;
use crate::ports::failure::Trace;
use crate::ports::oauth_error;
use crate::ports::oauth_error::OAuthError;
use crate::process::text;

/// The maximum size of a redirect. Authorization codes have 1,000 to 2,000 characters.
pub const MAX_BYTES: usize = 16 * 1024;

/// The response to an authorization request.
#[derive(Debug)]
pub enum AuthorizationResponse {
    /// The authorization code. The code can be exchanged only once, within ten minutes.
    Code(SecretString),
    /// The issuer rejected the request, or the user declined.
    Refused(Box<OAuthError>),
}

/// Why a redirect is not a response to this authorization request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotOurs {
    /// The redirect belongs to another authorization request, or is forged.
    OtherState,
    /// The pasted address is incomplete, because its end is missing.
    Cut,
    /// The redirect has neither a code nor an error, has both, or has a parameter twice.
    Unreadable,
}

impl NotOurs {
    /// The message for the user.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::OtherState => {
                "this redirect belongs to a different sign-in (state mismatch); close older tabs and use the address printed last"
            }
            Self::Cut => {
                "the address seems to be cut short: copy it whole from the address bar, up to its last character"
            }
            Self::Unreadable => {
                "this is not an answer from the sign-in page; the sign-in page sends one `code` or one `error`"
            }
        }
    }
}

/// Reads the parameters of a redirect.
///
/// # Errors
/// The parameters are not a response to `attempt`.
pub fn read(
    attempt: &AuthorizationRequest,
    parameters: &[(String, String)],
) -> Result<AuthorizationResponse, NotOurs> {
    // A parameter may appear only once (RFC 6749, 3.1). If `code` appears twice, it is unknown which value is right.
    let one = |name: &str| {
        let mut found = parameters.iter().filter(|(key, _)| key == name).map(|(_, value)| value.as_str());
        match (found.next(), found.next()) {
            (value, None) => Ok(value),
            (_, Some(_)) => Err(NotOurs::Unreadable),
        }
    };
    let (code, error) = (one("code")?, one("error")?);
    match one("state")? {
        Some(state) if attempt.is_ours(state) => {}
        Some(_) => return Err(NotOurs::OtherState),
        None if code.is_some() || error.is_some() => return Err(NotOurs::OtherState),
        None => return Err(NotOurs::Unreadable),
    }
    match (code, error) {
        (Some(code), None) if !code.is_empty() => Ok(AuthorizationResponse::Code(code.into())),
        (None, Some(error)) => Ok(AuthorizationResponse::Refused(Box::new(OAuthError {
            error: oauth_error::word(error).unwrap_or_else(|| "unreadable".into()),
            trace: Trace::of(one("error_description")?.and_then(oauth_error::code_in)),
            suberror: one("error_subcode")?.and_then(oauth_error::word),
            ..OAuthError::default()
        }))),
        _ => Err(NotOurs::Unreadable),
    }
}

/// Reads a pasted line, which is the whole address or its part after `?`.
///
/// # Errors
/// The line is not a response to `attempt`. Entra puts `state` after the code. If the line has a code, but `state` is
/// incomplete or missing, the end of the address was not pasted. The error is then `NotOurs::Cut`.
pub fn read_pasted(attempt: &AuthorizationRequest, line: &str) -> Result<AuthorizationResponse, NotOurs> {
    let parameters = pasted(line);
    let value = |name: &str| parameters.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
    let is_begun = value("code").is_some() || value("error").is_some();
    let is_cut = match value("state") {
        Some(state) => attempt.begins_with(state),
        None => is_begun,
    };
    match read(attempt, &parameters) {
        Err(NotOurs::OtherState) if is_begun && is_cut => Err(NotOurs::Cut),
        other => other,
    }
}

/// Parses the parameters of a query or of a form body.
pub fn parameters(encoded: &str) -> Vec<(String, String)> {
    let Ok(mut url) = Url::parse("http://localhost/") else { return Vec::new() };
    url.set_query(Some(encoded));
    url.query_pairs().into_owned().collect()
}

/// Parses a pasted line: a whole address, or only its query.
fn pasted(line: &str) -> Vec<(String, String)> {
    let line = text::bare(line);
    let query = line.split_once('?').map_or(line, |(_, query)| query);
    parameters(query.split('#').next().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::super::authorization_request::RANDOM_BYTES;
    use super::*;

    /// The `state` of the authorization request in these tests: 32 zero bytes in BASE64URL.
    const STATE: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

    fn come(query: &str) -> Result<AuthorizationResponse, NotOurs> {
        read(&AuthorizationRequest::new(&[0; RANDOM_BYTES]), &pasted(query))
    }

    #[test]
    fn a_code_with_our_state_is_taken_from_an_address_a_query_or_a_form() {
        for pasted in [
            format!("http://localhost:8400/?code=0.AQ-c%2Bd&state={STATE}&session_state=x#"),
            format!("  \"http://localhost/?code=0.AQ-c%2Bd&state={STATE}\"\r\n"),
            format!("?state={STATE}&code=0.AQ-c%2Bd"),
            format!("code=0.AQ-c%2Bd&state={STATE}"),
        ] {
            let Ok(AuthorizationResponse::Code(code)) = come(&pasted) else { panic!("{pasted}") };
            assert_eq!(code.expose_secret(), "0.AQ-c+d", "{pasted}");
        }
    }

    /// A pasted address may be incomplete, because the terminal truncates the line or the user does not select
    /// everything.
    #[test]
    fn an_address_that_is_cut_short_is_told_from_another_sign_ins() {
        let attempt = AuthorizationRequest::new(&[0; RANDOM_BYTES]);
        let whole = format!("http://localhost:8400/?code=0.AQ-c&state={STATE}&session_state=x");
        let with_state = whole.find("&session_state").expect("there");
        for end in "http://localhost:8400/?code=".len() + 1..with_state {
            let told = read_pasted(&attempt, &whole[..end]).err();
            assert_eq!(told, Some(NotOurs::Cut), "{}", &whole[..end]);
        }
        assert!(read_pasted(&attempt, &whole[..with_state]).is_ok());
        let begin = &whole[..whole.find("&state").expect("there")];
        for (line, told) in [
            (format!("{begin}&state={}B", &STATE[1..]), NotOurs::OtherState),
            (format!("{begin}&state=B"), NotOurs::OtherState),
            ("http://localhost:8400/".to_owned(), NotOurs::Unreadable),
            (format!("http://localhost/?state={}", &STATE[..9]), NotOurs::OtherState),
        ] {
            assert_eq!(read_pasted(&attempt, &line).err(), Some(told), "{line}");
        }
    }

    #[test]
    fn another_state_is_never_ours_whatever_comes_with_it() {
        for forged in [
            "code=0.AQ&state=other",
            "code=0.AQ",
            "error=access_denied&state=",
            &format!("code=0.AQ&state={}", &STATE[1..]),
            &format!("code=0.AQ&state={STATE}A"),
        ] {
            assert_eq!(come(forged).err(), Some(NotOurs::OtherState), "{forged}");
        }
    }

    #[test]
    fn a_redirect_with_neither_or_both_of_code_and_error_is_unreadable() {
        for odd in [
            "",
            "hello",
            "https://login.microsoftonline.com/t/oauth2/v2.0/authorize?client_id=x",
            &format!("state={STATE}"),
            &format!("state={STATE}&code="),
            &format!("state={STATE}&code=a&code=b"),
            &format!("state={STATE}&state={STATE}&code=a"),
            &format!("state={STATE}&code=a&error=access_denied"),
        ] {
            assert_eq!(come(odd).err(), Some(NotOurs::Unreadable), "{odd}");
        }
    }

    #[test]
    fn only_words_and_numbers_of_a_rejection_are_kept() {
        let query = format!(
            "error=access_denied&error_subcode=cancel&state={STATE}&error_description=AADSTS65004%3A+User+u%40c+declined"
        );

        let Ok(AuthorizationResponse::Refused(refusal)) = come(&query) else { panic!("a refusal") };

        assert_eq!((refusal.error.as_str(), refusal.trace.code), ("access_denied", Some(65004)));
        assert_eq!(refusal.suberror.as_deref(), Some("cancel"));
        let Ok(AuthorizationResponse::Refused(odd)) = come(&format!("error=%3Cb%3E&state={STATE}")) else {
            panic!()
        };
        assert_eq!(odd.error, "unreadable");
    }
}
