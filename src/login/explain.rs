//! What the issuer's refusals mean for the person who signs in, and what to do about each.
//!
//! Owns the words for the codes that a sign-in meets (docs/azure-facts.md F124, F135, F136). What is not
//! named here falls back to its class.

use super::StepFailure;
use crate::ports::IssuerError;
use crate::ports::failure::Remedy;
use crate::ports::oauth_error::{Class, OAuthError};

/// Which way the sign-in goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoginMethod {
    /// A browser, with or without a listener.
    Code,
    /// A code typed on another device.
    DeviceCode,
    /// A token brought from elsewhere.
    Import,
    /// No sign-in: the token that is stored.
    Stored,
}

/// What the sign-in is for.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// The token's name.
    pub name: &'a str,
    /// As configured.
    pub tenant: &'a str,
    /// As read.
    pub client_id: &'a str,
    /// Entra's base URL, with a slash at its end.
    pub authority: &'a str,
    /// How.
    pub way: LoginMethod,
}

/// Explains why the issuer gave no tokens.
pub fn of(error: &IssuerError, subject: &Subject<'_>) -> StepFailure {
    match error {
        IssuerError::Refused(refusal) => refused(refusal, subject),
        IssuerError::NoRefreshToken => StepFailure::new(
            Remedy::Operator,
            error.to_string(),
            format!(
                "let app {} ask for offline_access (API permissions, Microsoft Graph, delegated) and sign in again",
                subject.client_id
            ),
        ),
        IssuerError::Unreachable(_) | IssuerError::Unavailable { .. } | IssuerError::NotUnderstood(_) => {
            StepFailure::new(
                Remedy::Retry,
                error.to_string(),
                format!("check the network and proxy on the way to {} and try again", subject.authority),
            )
        }
    }
}

/// Explains a refusal, whether it came to the redirect or from the token endpoint.
pub fn refused(refusal: &OAuthError, subject: &Subject<'_>) -> StepFailure {
    let (remedy, action) = remedy_and_cure(refusal, subject);
    let code = refusal.trace.code.map(|code| format!(" (AADSTS{code})")).unwrap_or_default();
    let trace = refusal.trace.trace_id.as_ref().map(|id| format!(", trace id {id}")).unwrap_or_default();
    StepFailure::new(remedy, format!("Entra refused: {}{code}{trace}", refusal.error), action)
}

/// The redirect is registered as a single-page app's.
pub fn registered_as_spa() -> StepFailure {
    StepFailure::new(Remedy::Operator, "the token would end after 24 hours", AS_WEB)
}

const AS_WEB: &str = "the redirect URI http://localhost is registered as `spa`, whose tokens end 24 hours after the sign-in whatever is done: in the app registration (Authentication) remove it there, add it under the platform Web, and sign in again";

fn remedy_and_cure(refusal: &OAuthError, subject: &Subject<'_>) -> (Remedy, String) {
    let Subject { name, tenant, client_id, authority, way } = *subject;
    let operator = |action: String| (Remedy::Operator, action);
    let login = |action: String| (Remedy::Login, action);
    let again = match way {
        LoginMethod::Code => format!("run perennial login {name} again"),
        LoginMethod::DeviceCode => format!("run perennial login {name} --device-code again"),
        LoginMethod::Import => format!("sign in instead: perennial login {name}"),
        LoginMethod::Stored => format!("sign in: perennial login {name}"),
    };
    match refusal.trace.code {
        Some(700_084 | 9_002_327 | 9_002_325) => return operator(AS_WEB.to_owned()),
        Some(50011 | 70004) => {
            return operator(format!(
                "register the redirect URI http://localhost for app {client_id} (Authentication, platform Web); the port does not matter"
            ));
        }
        Some(7_000_218) => {
            return operator(match way {
                LoginMethod::DeviceCode => format!(
                    "let app {client_id} use the device code flow (Authentication, Allow public client flows), or sign in by browser"
                ),
                LoginMethod::Code | LoginMethod::Import | LoginMethod::Stored => {
                    format!("store a client secret of app {client_id} where client_secret of {name} is read")
                }
            });
        }
        Some(700_025) => {
            return operator(format!(
                "the redirect URI of app {client_id} is registered under Mobile and desktop applications, where a secret is refused and tokens die with each password change: register http://localhost under the platform Web"
            ));
        }
        Some(65001 | 90094 | 90095 | 650_056 | 650_057) => {
            return operator(format!(
                "an administrator has to consent once: {authority}{tenant}/adminconsent?client_id={client_id}"
            ));
        }
        Some(65004) => return login(format!("the consent was declined: {again} and accept it")),
        Some(50020 | 90072 | 16000 | 50014 | 50034 | 51004 | 50177) => {
            return login(format!(
                "the account is no member of tenant {tenant}: sign in with one that is (no guest), in a private browser window or with --login-hint, or correct tenant_id of {name}"
            ));
        }
        Some(700_016 | 700_011 | 7_000_229 | 90002 | 500_011) => {
            return operator(format!(
                "compare tenant_id ({tenant}), client_id ({client_id}), scope and cloud of {name} with the app registration"
            ));
        }
        Some(50076 | 50078 | 50079 | 50072 | 50074 | 50158) => {
            return login(format!("a second factor is demanded: {again} and complete it"));
        }
        Some(54005) => return login(format!("a code works once, and this one was used before: {again}")),
        Some(9_002_313 | 70000 | 700_007 | 700_082 | 50173) if way == LoginMethod::Import => {
            return login(format!(
                "this is no live refresh token of app {client_id}: check that it was copied whole and belongs to this app, or {again}"
            ));
        }
        _ => {}
    }
    match (refusal.error.as_str(), refusal.class()) {
        ("access_denied" | "authorization_declined", _) if refusal.trace.code.is_none() => {
            login(format!("the sign-in was declined: {again}"))
        }
        ("expired_token" | "bad_verification_code", _) => login(again),
        (_, Class::ReauthRequired) => login(again),
        (_, Class::ClientCredential) => operator(format!(
            "make a new client secret for app {client_id} and store its value, not its id, where client_secret of {name} is read"
        )),
        (_, Class::Policy) => operator(policy(way, client_id, tenant)),
        (_, Class::Configuration) => operator(format!(
            "look the code up at {authority}error?code={} and correct the app registration",
            refusal.trace.code.unwrap_or_default()
        )),
        (_, Class::Throttled | Class::Transient | Class::Unknown) => {
            let action = match way {
                LoginMethod::Stored => "it may pass: try again in some minutes".to_owned(),
                LoginMethod::Code | LoginMethod::DeviceCode | LoginMethod::Import => {
                    format!("it may pass: {again} in some minutes")
                }
            };
            (Remedy::Retry, action)
        }
    }
}

fn policy(way: LoginMethod, client_id: &str, tenant: &str) -> String {
    let logs = format!(
        "look up the refusal in Entra's sign-in logs for app {client_id} in tenant {tenant} (tab Conditional Access)"
    );
    match way {
        // Microsoft recommends blocking the flow by policy (docs/azure-facts.md F137).
        LoginMethod::DeviceCode => {
            format!("many tenants block the device code flow: sign in by browser, or {logs}")
        }
        LoginMethod::Code | LoginMethod::Import | LoginMethod::Stored => logs,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::net::no_response::NoResponse;
    use crate::ports::failure::Trace;

    fn explained(error: &str, code: Option<u32>, way: LoginMethod) -> StepFailure {
        let subject = Subject {
            name: "partner-center",
            tenant: "contoso",
            client_id: "app-id",
            authority: "https://login.microsoftonline.com/",
            way,
        };
        let refusal =
            OAuthError { status: 400, error: error.into(), trace: Trace::of(code), ..OAuthError::default() };
        of(&IssuerError::Refused(Box::new(refusal)), &subject)
    }

    #[test]
    fn every_refusal_that_a_sign_in_meets_names_its_cure() {
        let (code, device, import) = (LoginMethod::Code, LoginMethod::DeviceCode, LoginMethod::Import);
        for (error, number, way, action) in [
            ("invalid_request", Some(9_002_327), code, "under the platform Web"),
            ("invalid_grant", Some(700_084), import, "under the platform Web"),
            ("invalid_request", Some(50011), code, "register the redirect URI http://localhost"),
            ("invalid_client", Some(7_000_218), device, "Allow public client flows"),
            ("invalid_client", Some(7_000_218), code, "store a client secret"),
            ("invalid_client", Some(700_025), code, "platform Web"),
            ("invalid_client", Some(7_000_215), code, "its value, not its id"),
            (
                "invalid_grant",
                Some(65001),
                code,
                "https://login.microsoftonline.com/contoso/adminconsent?client_id=app-id",
            ),
            ("access_denied", Some(65004), code, "accept it"),
            ("access_denied", None, code, "declined"),
            ("authorization_declined", None, device, "--device-code again"),
            ("bad_verification_code", Some(70018), device, "--device-code again"),
            ("expired_token", Some(70019), device, "--device-code again"),
            ("invalid_request", Some(50020), code, "no member of tenant contoso"),
            ("invalid_grant", Some(90072), code, "no member of tenant contoso"),
            ("interaction_required", Some(50076), code, "second factor"),
            ("invalid_grant", Some(54005), code, "works once"),
            ("invalid_grant", Some(53003), device, "block the device code flow"),
            ("invalid_grant", Some(53003), code, "sign-in logs"),
            ("invalid_grant", Some(9_002_313), import, "copied whole"),
            ("invalid_grant", Some(70008), code, "run perennial login partner-center again"),
            ("unauthorized_client", Some(700_016), code, "compare tenant_id"),
            ("temporarily_unavailable", None, code, "it may pass"),
            ("out_of_cheese", None, code, "it may pass"),
        ] {
            let told = explained(error, number, way);

            assert!(told.action.contains(action), "{error} {number:?} {way:?}: {}", told.action);
        }
    }

    #[test]
    fn who_can_help_is_said_by_the_remedy() {
        assert_eq!(explained("invalid_grant", Some(65001), LoginMethod::Code).remedy, Remedy::Operator);
        assert_eq!(explained("access_denied", Some(65004), LoginMethod::Code).remedy, Remedy::Login);
        assert_eq!(explained("server_error", None, LoginMethod::Code).remedy, Remedy::Retry);
        let subject = Subject {
            name: "n",
            tenant: "t",
            client_id: "c",
            authority: "https://x/",
            way: LoginMethod::Code,
        };
        let down = of(&IssuerError::Unreachable(NoResponse::Connect), &subject);
        assert_eq!(down.remedy, Remedy::Retry);
        assert_eq!(of(&IssuerError::NoRefreshToken, &subject).remedy, Remedy::Operator);
    }
}
