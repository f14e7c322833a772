//! Explains Entra's rejections to the user who signs in. Most action texts come from `ports::diagnosis`.

use super::StepFailure;
use crate::ports::IssuerError;
use crate::ports::advice::Advice;
use crate::ports::diagnosis::Subject;
use crate::ports::failure::{Remedy, Trace};
use crate::ports::oauth_error::OAuthError;
use crate::process::clock::Timestamp;
use crate::token::managed::ManagedToken;

/// Explains why the issuer returned no tokens.
pub fn of(error: &IssuerError, subject: &Subject<'_>) -> StepFailure {
    let failure = error.failure();
    let trace = &failure.trace;
    let subject = Subject { trace, ..*subject };
    let action = match failure.advice {
        Some(advice) => advice.text(&subject),
        None => format!(
            "add offline_access to the permissions of app {} (Entra admin center, App registrations, API permissions), then sign in again: `perennial login {}`",
            subject.client_id, subject.name
        ),
    };
    let traced = trace.trace_id.as_ref().map(|id| format!(", trace id {id}")).unwrap_or_default();
    StepFailure::new(failure.remedy, format!("{}{traced}", failure.summary), action)
}

/// Explains a rejection that arrived at the redirect URI.
pub fn refused(refusal: &OAuthError, subject: &Subject<'_>) -> StepFailure {
    // `access_denied` without an AADSTS number means that the user declined (RFC 6749, 4.1.2.1).
    if refusal.error == "access_denied" && refusal.trace.code.is_none() {
        return StepFailure::new(Remedy::Login, "the sign-in was declined", Advice::StartAgain.text(subject));
    }
    of(&IssuerError::Refused(Box::new(refusal.clone())), subject)
}

/// The failure for a redirect URI that is registered under the platform of single-page apps.
pub fn registered_as_spa(token: &ManagedToken, client_id: &str) -> StepFailure {
    let trace = Trace::default();
    let action = Advice::RedirectAsWeb.text(&Subject::of(token, client_id, &trace, Timestamp::default()));
    let summary = "the token is for a single-page application, so it would expire after 24 hours";
    StepFailure::new(Remedy::Operator, summary, action)
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::net::no_response::NoResponse;
    use crate::ports::diagnosis::LoginMethod;
    use crate::rotation::samples;
    use crate::token::secret::Source;

    fn explained(error: &str, code: Option<u32>, way: LoginMethod) -> StepFailure {
        let token = ManagedToken { tenant_id: "contoso".into(), ..samples::grant("partner-center") };
        let trace = Trace::default();
        let subject = Subject { way, ..Subject::of(&token, "app-id", &trace, Timestamp::default()) };
        let refusal =
            OAuthError { status: 400, error: error.into(), trace: Trace::of(code), ..OAuthError::default() };
        refused(&refusal, &subject)
    }

    #[test]
    fn every_rejection_of_a_sign_in_names_its_action() {
        let (code, device, import) = (LoginMethod::Code, LoginMethod::DeviceCode, LoginMethod::Import);
        for (error, number, way, action) in [
            ("invalid_request", Some(9_002_327), code, "to the platform Web"),
            ("invalid_grant", Some(700_084), import, "to the platform Web"),
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
            ("access_denied", Some(65004), code, "accept the consent"),
            ("access_denied", None, code, "start the sign-in again"),
            ("authorization_declined", None, device, "login partner-center --device-code`"),
            ("bad_verification_code", Some(70018), device, "login partner-center --device-code`"),
            ("expired_token", Some(70019), device, "login partner-center --device-code`"),
            ("invalid_request", Some(50020), code, "tenant_id of partner-center (contoso)"),
            ("invalid_grant", Some(90072), code, "sign in with a member"),
            ("interaction_required", Some(50076), code, "second factor"),
            ("invalid_grant", Some(54005), code, "start the sign-in again"),
            ("invalid_grant", Some(53003), device, "block the device code flow"),
            ("invalid_grant", Some(53003), code, "Sign-in logs"),
            ("invalid_grant", Some(9_002_313), import, "token is complete"),
            ("invalid_grant", Some(70008), code, "`perennial login partner-center`"),
            ("unauthorized_client", Some(700_016), code, "tenant_id of partner-center"),
            (
                "unauthorized_client",
                Some(7_000_112),
                code,
                "`az ad sp update --id app-id --set accountEnabled=true`",
            ),
            ("invalid_client", Some(7_000_229), code, "`az ad sp create --id app-id`"),
            ("invalid_client", Some(700_024), code, "set this host's clock"),
            ("invalid_grant", Some(500_133), code, "set this host's clock"),
            ("invalid_grant", Some(7_000_012), import, "set tenant_id of partner-center (now contoso)"),
            ("invalid_resource", Some(500_011), code, "find the resource of scope s in tenant contoso"),
            ("invalid_request", Some(650_057), code, "add the permission for scope s to app app-id"),
            ("invalid_grant", Some(50057), import, "enable the user's account"),
            ("invalid_grant", Some(50196), code, "if the throttling lasts"),
            ("temporarily_unavailable", None, code, "outage"),
            ("out_of_cheese", None, code, "look up the failed sign-in"),
            ("out_of_cheese", Some(999), code, "https://login.microsoftonline.com/error?code=999"),
        ] {
            let told = explained(error, number, way);

            assert!(told.action.contains(action), "{error} {number:?} {way:?}: {}", told.action);
        }
    }

    #[test]
    fn a_new_client_secret_ends_half_a_year_from_now() {
        let address = samples::address("app-secret");
        let token = ManagedToken { app: samples::app(Source::Secret(address)), ..samples::grant("n") };
        let trace = Trace::default();
        for (now, end) in [("2026-02-01T12:00:00Z", "2026-07-31"), ("2031-11-05T00:00:00Z", "2032-05-03")] {
            let subject = Subject::of(&token, "app", &trace, now.parse().expect("a time"));

            let told = Advice::ClientSecret.text(&subject);

            let ends = [format!("--end-date {end} "), format!("--expires {end}T00:00:00Z ")];
            assert!(ends.iter().all(|end| told.contains(end)), "{told}");
        }
    }

    #[test]
    fn the_remedy_says_who_must_act() {
        assert_eq!(explained("invalid_grant", Some(65001), LoginMethod::Code).remedy, Remedy::Operator);
        assert_eq!(explained("access_denied", Some(65004), LoginMethod::Code).remedy, Remedy::Login);
        assert_eq!(explained("access_denied", None, LoginMethod::Code).remedy, Remedy::Login);
        assert_eq!(explained("server_error", None, LoginMethod::Code).remedy, Remedy::Retry);
        let (token, trace) = (samples::grant("n"), Trace::default());
        let subject = Subject::of(&token, "c", &trace, Timestamp::default());
        let down = of(&IssuerError::Unreachable(NoResponse::Connect), &subject);
        assert_eq!(down.remedy, Remedy::Retry);
        assert_eq!(of(&IssuerError::NoRefreshToken, &subject).remedy, Remedy::Operator);
    }
}
