//! An authorization request and the three secrets that connect the response to the request.
//!
//! This module owns PKCE (RFC 7636), `state` and `nonce`, and the URL of the request. The random bytes are an argument,
//! so this module is pure.

use std::fmt;

use aws_lc_rs::{constant_time, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use reqwest::Url;
use secrecy::ExposeSecret as _;
use secrecy::SecretString;

/// The number of random bytes: 32 each for the verifier, `state` and `nonce`. With 32 bytes, the verifier has 43
/// characters, the minimum of RFC 7636 (4.1). A longer verifier would not be safer, because the request contains a
/// SHA-256 hash of the verifier, which has only 256 bits.
pub const RANDOM_BYTES: usize = 96;

/// The verifier, `state` and `nonce` of one authorization request. Each request has new values.
pub struct AuthorizationRequest {
    verifier: SecretString,
    state: String,
    nonce: String,
}

/// The parameters of an authorization request.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The app's client id.
    pub client_id: &'a str,
    /// The redirect URI.
    pub redirect_uri: &'a str,
    /// The requested scopes, including `openid` and `offline_access`.
    pub scope: &'a str,
    /// How the response reaches the redirect URI.
    pub mode: ResponseMode,
    /// The account that the sign-in page suggests.
    pub login_hint: Option<&'a str>,
    /// The claims challenge from Entra's rejection of the stored token. The request contains this challenge unchanged
    /// (docs/azure-facts.md F131).
    pub claims: Option<&'a str>,
}

/// How the response reaches the redirect URI.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResponseMode {
    /// The browser sends the response as a form, so the code does not appear in the browser's history.
    FormPost,
    /// The response is in the redirect's URL, so a user can copy the response.
    Query,
}

impl AuthorizationRequest {
    /// Creates an authorization request from fresh random bytes.
    pub fn new(random: &[u8; RANDOM_BYTES]) -> Self {
        let part = |place: usize| URL_SAFE_NO_PAD.encode(&random[32 * place..32 * (place + 1)]);
        Self { verifier: part(0).into(), state: part(1), nonce: part(2) }
    }

    /// The PKCE verifier, which proves to the token endpoint that the same program sent the authorization request.
    pub fn verifier(&self) -> &SecretString {
        &self.verifier
    }

    /// The nonce that the ID token must contain.
    pub fn nonce(&self) -> &str {
        &self.nonce
    }

    /// Whether a response with this `state` belongs to this request. The comparison takes constant time.
    pub fn is_ours(&self, state: &str) -> bool {
        constant_time::verify_slices_are_equal(state.as_bytes(), self.state.as_bytes()).is_ok()
    }

    /// Whether `state` is only the beginning of this request's `state`, as in an address that was pasted without its
    /// end.
    pub fn begins_with(&self, state: &str) -> bool {
        state.len() < self.state.len() && self.state.starts_with(state)
    }

    /// The PKCE challenge: BASE64URL(SHA256(verifier)), see RFC 7636 (4.2).
    pub fn challenge(&self) -> String {
        let verifier = self.verifier.expose_secret().as_bytes();
        URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, verifier))
    }

    /// The URL of the sign-in page (docs/azure-facts.md F131). The URL contains a hash of the verifier, but not the
    /// verifier itself.
    ///
    /// The page always asks the user to choose an account or, with a `login_hint`, to enter the credentials. So the
    /// browser cannot silently use a remembered account.
    pub fn url(&self, mut endpoint: Url, request: &Request<'_>) -> Url {
        let mode = match request.mode {
            ResponseMode::FormPost => "form_post",
            ResponseMode::Query => "query",
        };
        let prompt = if request.login_hint.is_some() { "login" } else { "select_account" };
        endpoint
            .query_pairs_mut()
            .append_pair("client_id", request.client_id)
            .append_pair("response_type", "code")
            .append_pair("redirect_uri", request.redirect_uri)
            .append_pair("response_mode", mode)
            .append_pair("scope", request.scope)
            .append_pair("state", &self.state)
            .append_pair("nonce", &self.nonce)
            .append_pair("code_challenge", &self.challenge())
            .append_pair("code_challenge_method", "S256")
            .append_pair("prompt", prompt)
            .extend_pairs(request.login_hint.map(|hint| ("login_hint", hint)))
            .extend_pairs(request.claims.map(|claims| ("claims", claims)));
        endpoint
    }
}

impl fmt::Debug for AuthorizationRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AuthorizationRequest([REDACTED])")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn attempt() -> AuthorizationRequest {
        let mut random = [0; RANDOM_BYTES];
        for (place, byte) in random.iter_mut().enumerate() {
            *byte = u8::try_from(place).expect("below 96");
        }
        AuthorizationRequest::new(&random)
    }

    #[test]
    fn the_challenge_is_the_one_of_the_rfc() {
        let verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
        let known =
            AuthorizationRequest { verifier: verifier.into(), state: String::new(), nonce: String::new() };

        assert_eq!(known.challenge(), "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM", "RFC 7636, appendix B");
    }

    #[test]
    fn a_verifier_has_the_length_and_the_letters_that_pkce_admits() {
        let attempt = attempt();
        let verifier = attempt.verifier().expose_secret();

        assert_eq!(verifier.len(), 43);
        assert!(verifier.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~".contains(&b)));
        assert!(!attempt.is_ours(verifier) && !attempt.is_ours(attempt.nonce()), "each is its own");
    }

    #[test]
    fn the_request_shows_the_challenge_and_never_the_verifier() {
        let attempt = attempt();
        let endpoint = "https://login.example/t/oauth2/v2.0/authorize".parse().expect("a URL");
        let request = Request {
            client_id: "app",
            redirect_uri: "http://localhost:8400",
            scope: "api/x offline_access openid profile",
            mode: ResponseMode::FormPost,
            login_hint: None,
            claims: None,
        };

        let url = attempt.url(endpoint, &request);

        let sent: BTreeMap<String, String> = url.query_pairs().into_owned().collect();
        assert_eq!(sent["code_challenge"], attempt.challenge());
        assert_eq!((&*sent["code_challenge_method"], &*sent["response_mode"]), ("S256", "form_post"));
        assert_eq!((&*sent["redirect_uri"], &*sent["prompt"]), ("http://localhost:8400", "select_account"));
        assert!(attempt.is_ours(&sent["state"]) && sent["nonce"] == attempt.nonce());
        assert!(!url.as_str().contains(attempt.verifier().expose_secret()));
        let hinted = Request { login_hint: Some("a@b"), mode: ResponseMode::Query, ..request };
        let url = attempt.url("https://login.example".parse().expect("a URL"), &hinted);
        assert!(url.as_str().ends_with("&prompt=login&login_hint=a%40b"), "{url}");
        let challenged = Request { claims: Some("{\"access_token\":{}}"), ..request };
        let url = attempt.url("https://login.example".parse().expect("a URL"), &challenged);
        assert!(url.as_str().ends_with("&claims=%7B%22access_token%22%3A%7B%7D%7D"), "{url}");
    }

    #[test]
    fn secrets_of_an_attempt_are_not_shown_by_debug() {
        let attempt = attempt();

        assert!(!format!("{attempt:?}").contains(attempt.verifier().expose_secret()));
    }
}
