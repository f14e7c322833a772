//! What Entra says beside each AADSTS code.

/// Status, error, suberror and text of a code (`reference/azure.md` §2.3).
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
        900_144 => {
            (400, "invalid_request", None, "The request body must contain a parameter that is missing.")
        }
        _ => (400, "invalid_request", None, "The request is invalid."),
    }
}
