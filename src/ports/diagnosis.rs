//! Explains Entra's rejections: who must act, which condition opens, whether the stored token is lost, and what helps.
//!
//! This module owns the action texts (`texts`), the table of AADSTS numbers (`table`), and the meanings of OAuth errors
//! and suberrors. The daemon, the commands, the status page, the alerts and the runbook all use `table`. Only the
//! simulated world has a separate table, so that tests can detect errors in `table`. This module is pure.
//!
//! Microsoft asks programs to decide by the OAuth field `error`, because the AADSTS numbers may change without notice
//! (docs/azure-facts.md F122). Perennial nevertheless uses a known number first, because the number is more specific
//! than `error`. If the number is unknown, Perennial reports the number as unknown. Perennial then uses the suberror,
//! the first five digits of the number, or `error`.

mod end_of_grant;
mod graph;
mod network;
mod certificate;
mod subject;
pub mod table;
mod texts;

pub use self::certificate::register_of_vault;
pub use self::end_of_grant::{is_final_mark, mark_of, pick};
pub use self::graph::{GRAPH_ROWS, GraphProblem, GraphRow, GraphSubject};
pub use self::network::{RETRIED, intercepted, is_of_another_server, network};
pub use self::subject::{CredentialPlace, LoginMethod, Subject};
pub use self::table::{ROWS, Row, newer};

use crate::ports::advice::Advice;
use crate::ports::failure::{Kind, Remedy};
use crate::ports::oauth_error::OAuthError;

/// The meaning of a rejection by Entra.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Diagnosis {
    /// Who must act.
    pub remedy: Remedy,
    /// The kind of the condition that the rejection opens.
    pub kind: Kind,
    /// What helps against the rejection.
    pub advice: Advice,
    /// The meaning in a few words. The text is empty if the response has no known number.
    pub meaning: &'static str,
    /// Whether the rejection ends the grant, so that the refresh token can never be redeemed again.
    pub ends_grant: bool,
    /// Whether one rejection is enough to open a condition. Otherwise a second rejection must confirm the first.
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

/// Diagnoses a rejection by its most specific number. Without a known number, uses the suberror, then the first five
/// digits of the number, then the error and the HTTP status.
pub fn diagnose(refusal: &OAuthError) -> Diagnosis {
    let found = diagnose_content(refusal);
    // If a gateway has changed the response, a second rejection must confirm the first.
    Diagnosis { is_definite: found.is_definite && !refusal.is_changed, ..found }
}

fn diagnose_content(refusal: &OAuthError) -> Diagnosis {
    let code = refusal.newer_code.or(refusal.trace.code);
    if let Some(row) = code.and_then(|code| row_of(code, &refusal.error)) {
        return row.diagnosis;
    }
    let by_suberror = by_suberror(refusal.suberror.as_deref());
    by_suberror
        .or_else(|| code.and_then(by_family))
        .unwrap_or_else(|| by_error(&refusal.error, refusal.status))
}

/// Diagnoses an unknown number of six or seven digits by the table row of its first five digits. Microsoft appends
/// digits to a number to name a more specific cause (docs/azure-facts.md F143). The numbers in `GENERAL` and `VAGUE`
/// are excluded: a longer number that begins with one of these numbers has another cause.
fn by_family(code: u32) -> Option<Diagnosis> {
    let parent = match code {
        100_000..=999_999 => code / 10,
        1_000_000..=9_999_999 => code / 100,
        _ => return None,
    };
    let is_general = table::GENERAL.contains(&parent) || table::VAGUE.contains(&parent);
    let row = ROWS.iter().find(|row| row.has(parent)).filter(|_| !is_general)?;
    Some(Diagnosis { meaning: "", ends_grant: false, ..row.diagnosis })
}

/// Finds the table row of a number. The number 70002 means invalid credentials of the client or of the grant, and
/// `error` tells which of the two is meant. If the grant is meant, returns `None`.
pub fn row_of(code: u32, error: &str) -> Option<&'static Row> {
    if code == table::CREDENTIALS && error != "invalid_client" {
        return None;
    }
    ROWS.iter().find(|row| row.has(code))
}

fn is_known(code: u32) -> bool {
    ROWS.iter().any(|row| row.has(code))
}

/// Diagnoses a rejection by a suberror that MSAL documents (docs/azure-facts.md F121).
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
