//! Computes the severity of a condition from its kind and from the time left until the token or its app secret expires.
//! This module is pure.

use chrono::TimeDelta;
use serde::{Deserialize, Serialize};

use crate::ports::failure::Kind;

/// How soon a person must act.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// There is time to act.
    Warning,
    /// A person must act now.
    Critical,
}

/// Computes the severity. A condition is critical if no usable access token can be obtained until a person acts. Some
/// other conditions become critical when at most a tenth of the token's lifetime is left.
pub(crate) fn severity(kind: Kind, runway: Option<TimeDelta>, lifetime: TimeDelta) -> Severity {
    let short = runway.is_some_and(|left| left <= lifetime / 10);
    match kind {
        Kind::NeverSignedIn
        | Kind::LoginRequired
        | Kind::MfaRequired
        | Kind::PolicyBlocked
        | Kind::AccountDisabled
        | Kind::AppCredentialRefused
        | Kind::AppMisconfigured
        | Kind::WrongIdentity
        | Kind::TokenExpired
        | Kind::SecretDeleted
        | Kind::PartnerCenterRefused => Severity::Critical,
        Kind::AppSecretExpiring
        | Kind::AppCertificateUnregistered
        | Kind::AppCredentialRenewalFailed
        | Kind::EntraUnreachable
        | Kind::EntraThrottled
        | Kind::UnknownCode
        | Kind::VaultUnreachable
        | Kind::VaultRefused
        | Kind::VaultIdentity
        | Kind::Unsaved
        | Kind::Overdue
        | Kind::NoRefreshToken => {
            if short {
                Severity::Critical
            } else {
                Severity::Warning
            }
        }
        Kind::AppSecretExpiryUnknown
        | Kind::AppCredentialUnknown
        | Kind::IdentityUnverified
        | Kind::SameRefreshToken
        | Kind::ForeignWriter
        | Kind::BuriedSignIn
        | Kind::TurnedOff
        | Kind::ClockSkew
        | Kind::AlertUndeliverable => Severity::Warning,
    }
}
