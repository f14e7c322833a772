//! Entra's HTTP status, error and text for each AADSTS code.

use std::borrow::Cow;

/// A number that stands for `authorization_declined`, which has no AADSTS number.
pub(in crate::sandbox::world) const DECLINED: u32 = 1;
/// A number that stands for `slow_down` (RFC 8628, 3.5). Entra's documentation does not name this error
/// (docs/azure-facts.md F136).
pub(in crate::sandbox::world) const SLOW_DOWN: u32 = 2;

/// A rejection with the usual text of its AADSTS number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::sandbox::world) struct Refuse(pub(in crate::sandbox::world) u32);

/// A rejection whose text may quote the request.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::sandbox::world) struct Denial {
    pub(in crate::sandbox::world) code: u32,
    /// The text of the rejection. `None` stands for the code's usual text.
    pub(super) text: Option<String>,
}

impl Denial {
    pub(super) fn quoting(code: u32, text: String) -> Self {
        Self { code, text: Some(text) }
    }

    pub(super) fn text(self, usual: &'static str) -> Cow<'static, str> {
        self.text.map_or(Cow::Borrowed(usual), Cow::Owned)
    }
}

impl From<Refuse> for Denial {
    fn from(Refuse(code): Refuse) -> Self {
        Self { code, text: None }
    }
}

/// Returns the status, error, suberror and text of a code (docs/azure-facts.md F124).
pub(super) fn meaning(code: u32) -> (u16, &'static str, Option<&'static str>, &'static str) {
    let bad_token = Some("bad_token");
    match code {
        9_002_313 => (400, "invalid_grant", None, "Invalid request. Request is malformed or invalid."),
        70000 => (400, "invalid_grant", None, "Provided grant is invalid or malformed."),
        70008 => {
            (400, "invalid_grant", None, "The provided authorization code or refresh token has expired.")
        }
        700_007 => (400, "invalid_grant", None, "The grant was issued to a different client id."),
        700_082 => {
            (400, "invalid_grant", Some("token_expired"), "The refresh token has expired due to inactivity.")
        }
        50173 => (
            400,
            "invalid_grant",
            bad_token,
            "The provided grant has expired due to it being revoked, a fresh auth token is needed.",
        ),
        50034 => (400, "invalid_grant", bad_token, "The user account does not exist in the directory."),
        50057 => (400, "invalid_grant", None, "The user account is disabled."),
        50076 => (
            400,
            "interaction_required",
            Some("basic_action"),
            "Due to a configuration change made by your administrator, you must use multi-factor authentication.",
        ),
        53003 => (
            400,
            "invalid_grant",
            Some("message_only"),
            "Access has been blocked by Conditional Access policies.",
        ),
        50196 => (
            400,
            "invalid_grant",
            None,
            "The server terminated an operation because it encountered a client request loop.",
        ),
        65001 => (
            400,
            "invalid_grant",
            Some("consent_required"),
            "The user or administrator has not consented to use the application.",
        ),
        7_000_215 => (401, "invalid_client", None, "Invalid client secret provided."),
        7_000_222 => (401, "invalid_client", None, "The provided client secret keys for app are expired."),
        7_000_218 => (
            401,
            "invalid_client",
            None,
            "The request body must contain the following parameter: 'client_assertion' or 'client_secret'.",
        ),
        700_016 => (400, "unauthorized_client", None, "Application was not found in the directory."),
        7_000_112 => (400, "unauthorized_client", None, "Application is disabled."),
        90002 => (
            400,
            "invalid_request",
            None,
            "Tenant not found. Check to make sure you have the correct tenant ID.",
        ),
        500_011 => (400, "invalid_resource", None, "The resource principal was not found in the tenant."),
        70011 => {
            (400, "invalid_scope", None, "The provided value for the input parameter 'scope' is not valid.")
        }
        70003 => (400, "unsupported_grant_type", None, "The app requested an unsupported grant type."),
        900_144 => (400, "invalid_request", None, "A required parameter is missing from the request body."),
        _ => of_an_assertion(code),
    }
}

/// Returns the meaning of a code about a client assertion (docs/azure-facts.md F140).
fn of_an_assertion(code: u32) -> (u16, &'static str, Option<&'static str>, &'static str) {
    let text = match code {
        50013 => "Assertion failed signature validation.",
        50027 => "JWT token is invalid or malformed.",
        70021 => "No matching federated identity record found for presented assertion.",
        70025 => "The client has no configured federated identity credentials.",
        700_021 => "Client assertion application identifier doesn't match 'client_id' parameter.",
        700_023 => "Client assertion audience claim does not match Realm issuer.",
        700_024 => "Client assertion is not within its valid time range.",
        700_027 => "Client assertion contains an invalid signature.",
        700_211 => "No matching federated identity record found for presented assertion issuer.",
        700_212 => "No matching federated identity record found for presented assertion audience.",
        700_213 => "No matching federated identity record found for presented assertion subject.",
        _ => return of_a_sign_in(code),
    };
    (401, "invalid_client", None, text)
}

/// Returns the meaning of a code that occurs only in a sign-in.
fn of_a_sign_in(code: u32) -> (u16, &'static str, Option<&'static str>, &'static str) {
    match code {
        50011 => (
            400,
            "invalid_request",
            None,
            "The redirect URI specified in the request does not match the redirect URIs configured for the application.",
        ),
        50020 => (
            400,
            "invalid_request",
            None,
            "User account from another identity provider does not exist in this tenant and cannot access the application.",
        ),
        54005 => (400, "invalid_grant", None, "OAuth2 Authorization code was already redeemed."),
        65004 => (400, "access_denied", None, "User declined to consent to access the app."),
        70016 => {
            (400, "authorization_pending", None, "OAuth 2.0 device flow error. Authorization is pending.")
        }
        70018 => (400, "bad_verification_code", None, "Bad verification code."),
        70019 => (400, "expired_token", None, "Verification code expired."),
        90094 => (400, "access_denied", None, "Admin consent is required for the permissions requested."),
        501_481 => (
            400,
            "invalid_grant",
            None,
            "The Code_Verifier does not match the code_challenge supplied in the authorization request.",
        ),
        501_491 => (400, "invalid_request", None, "Invalid size of Code_Verifier parameter."),
        700_005 => (
            400,
            "invalid_grant",
            None,
            "The provided Authorization Code is intended to use against other tenant.",
        ),
        700_025 => (
            401,
            "invalid_client",
            None,
            "Client is public so neither 'client_assertion' nor 'client_secret' should be presented.",
        ),
        9_002_327 => (
            400,
            "invalid_request",
            None,
            "Tokens issued for the 'Single-Page Application' client-type may only be redeemed via cross-origin requests.",
        ),
        // Entra's documentation has no numbers for these two errors of the device code flow (docs/azure-facts.md F136).
        DECLINED => (400, "authorization_declined", None, "The user declined the authorization request."),
        SLOW_DOWN => (400, "slow_down", None, "Polling too often."),
        _ => (400, "invalid_request", None, "The request is invalid."),
    }
}

/// Whether the issuer can parse this text as one of its refresh tokens.
pub(in crate::sandbox::world) fn is_well_formed(text: &str) -> bool {
    let body = text.strip_prefix("0.A").or_else(|| text.strip_prefix("1.A"));
    body.is_some_and(|body| {
        body.len() >= 20 && body.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.~".contains(&b))
    })
}
