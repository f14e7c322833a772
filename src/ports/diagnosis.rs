//! What a rejection by Entra means: who must act, which condition it opens, whether the stored token is lost, and
//! what helps.
//!
//! Owns the only table of AADSTS numbers, OAuth errors and suberrors (`table`) and the text of each action (`texts`).
//! The daemon, every command, the page, the alerts and the runbook read it. The simulated world keeps a table of its
//! own, so that the two can disagree. Pure.
//!
//! Microsoft asks programs to act on `error` and changes numbers without notice (docs/azure-facts.md F122). A known
//! number is more specific than the error. An unknown number falls back to the error and is reported as unknown.

mod end_of_grant;
mod network;
mod subject;
pub mod table;
mod texts;

pub use self::end_of_grant::{is_final_mark, mark_of, pick};
pub use self::network::network;
pub use self::subject::{CredentialPlace, LoginMethod, Subject};
pub use self::table::{ROWS, Row};

use crate::ports::advice::Advice;
use crate::ports::failure::{Kind, Remedy};
use crate::ports::oauth_error::OAuthError;

/// The meaning of a rejection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Diagnosis {
    /// Who must act.
    pub remedy: Remedy,
    /// The condition that it opens.
    pub kind: Kind,
    /// What helps.
    pub advice: Advice,
    /// A few words of meaning; empty if no number of the answer is known.
    pub meaning: &'static str,
    /// Whether the grant has ended: this token can never be redeemed again.
    pub ends_grant: bool,
    /// Whether the answer counts at once. Otherwise a second one must confirm it before a person is alerted.
    pub is_definite: bool,
}

impl Diagnosis {
    const fn by_error(remedy: Remedy, kind: Kind, advice: Advice) -> Self {
        Self { remedy, kind, advice, meaning: "", ends_grant: false, is_definite: true }
    }

    const fn unconfirmed(self) -> Self {
        Self { is_definite: false, ..self }
    }
}

/// Diagnoses a rejection by its decisive number, else by suberror, else by error and status.
pub fn diagnose(refusal: &OAuthError) -> Diagnosis {
    if let Some(row) = refusal.trace.code.and_then(|code| row_of(code, &refusal.error)) {
        return row.diagnosis;
    }
    by_suberror(refusal.suberror.as_deref()).unwrap_or_else(|| by_error(&refusal.error, refusal.status))
}

/// The row of a number. 70002 means invalid credentials of the client or of the grant; the error says which.
pub fn row_of(code: u32, error: &str) -> Option<&'static Row> {
    if code == table::CREDENTIALS && error != "invalid_client" {
        return None;
    }
    ROWS.iter().find(|row| row.codes.iter().any(|span| span.contains(&code)))
}

/// MSAL's suberrors (docs/azure-facts.md F121).
fn by_suberror(suberror: Option<&str>) -> Option<Diagnosis> {
    let login = |advice| Diagnosis::by_error(Remedy::Login, Kind::LoginRequired, advice).unconfirmed();
    let operator = |kind, advice| Diagnosis::by_error(Remedy::Operator, kind, advice);
    Some(match suberror? {
        "consent_required" => operator(Kind::PolicyBlocked, Advice::Consent),
        "protection_policy_required" => operator(Kind::PolicyBlocked, Advice::Policy),
        "user_password_expired" => login(Advice::NewPassword),
        "device_authentication_failed" => login(Advice::Device),
        "client_mismatch" => operator(Kind::WrongIdentity, Advice::AppId),
        _ => return None,
    })
}

fn by_error(error: &str, status: u16) -> Diagnosis {
    let login = |advice| Diagnosis::by_error(Remedy::Login, Kind::LoginRequired, advice);
    let operator = |kind, advice| Diagnosis::by_error(Remedy::Operator, kind, advice);
    let retry = |kind, advice| Diagnosis::by_error(Remedy::Retry, kind, advice);
    if status == 429 {
        return retry(Kind::EntraThrottled, Advice::Throttled);
    }
    match error {
        "invalid_grant" | "interaction_required" | "login_required" => login(Advice::SignIn).unconfirmed(),
        "user_password_expired" => login(Advice::NewPassword).unconfirmed(),
        "expired_token" | "bad_verification_code" | "authorization_declined" => login(Advice::StartAgain),
        "consent_required" => operator(Kind::PolicyBlocked, Advice::Consent),
        "access_denied" => operator(Kind::PolicyBlocked, Advice::Policy),
        "invalid_client" => operator(Kind::AppCredentialRefused, Advice::ClientSecret),
        "unauthorized_client" => operator(Kind::AppCredentialRefused, Advice::AppId),
        "invalid_scope" => operator(Kind::AppMisconfigured, Advice::Scope),
        "invalid_resource" | "invalid_target" => operator(Kind::AppMisconfigured, Advice::Resource),
        "invalid_tenant" => operator(Kind::AppMisconfigured, Advice::Tenant),
        "invalid_request" | "unsupported_grant_type" | "unsupported_response_type" => {
            operator(Kind::AppMisconfigured, Advice::Request)
        }
        "temporarily_unavailable" | "server_error" => retry(Kind::EntraUnreachable, Advice::Outage),
        _ if status >= 500 => retry(Kind::EntraUnreachable, Advice::Outage),
        _ => retry(Kind::UnknownCode, Advice::LookUp),
    }
}

#[cfg(test)]
mod tests;
