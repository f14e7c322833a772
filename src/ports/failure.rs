//! Failures, reduced to what the loop decides on and what may be shown.
//!
//! Owns the remedies, the kinds of condition and their titles. A failure never holds a token, a header or a body.
//! Pure.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::ports::advice::Advice;

/// Who must act. The loop branches only on this.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Remedy {
    /// The failure may pass, and Perennial retries.
    Retry,
    /// A user must sign in.
    Login,
    /// An operator must change a credential, a role, a policy or the configuration.
    Operator,
}

impl Remedy {
    /// Its name in a status.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Retry => "retry",
            Self::Login => "login",
            Self::Operator => "operator",
        }
    }

    /// Who must act, in the words of messages and the page.
    pub fn who(self) -> &'static str {
        match self {
            Self::Login => "anyone who can sign in as the integration user",
            Self::Operator => "an operator",
            Self::Retry => "no action yet: Perennial retries automatically",
        }
    }
}

/// The kind of a condition. The names are part of the contract: they appear in metrics, alerts and the runbook.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The token's own secret does not exist yet.
    NeverSignedIn,
    /// The grant has ended.
    LoginRequired,
    /// The grant lacks a required second factor.
    MfaRequired,
    /// A policy or a setting of the tenant blocks the token.
    PolicyBlocked,
    /// The user's account is disabled.
    AccountDisabled,
    /// Entra rejects the app or its secret.
    AppCredentialRefused,
    /// The app's secret expires soon.
    AppSecretExpiring,
    /// The client secret's expiry is unknown.
    AppSecretExpiryUnknown,
    /// No usable answer from Entra.
    EntraUnreachable,
    /// No usable answer from the vault.
    VaultUnreachable,
    /// Key Vault denies access.
    VaultRefused,
    /// A new token is not saved in the vault yet.
    Unsaved,
    /// A rotation or a proof is overdue.
    Overdue,
    /// The answer was for another tenant, app or user.
    WrongIdentity,
    /// The answer does not name the tenant, app or user.
    IdentityUnverified,
    /// The answer held no refresh token.
    NoRefreshToken,
    /// Partner Center does not accept the access token.
    PartnerCenterRefused,
    /// Another program keeps writing the same secret.
    ForeignWriter,
    /// A newer sign-in was overwritten and then restored.
    BuriedSignIn,
    /// The newest version is disabled, which switches the token off.
    TurnedOff,
    /// This machine's clock is wrong.
    ClockSkew,
    /// This process cannot authenticate to Key Vault.
    VaultIdentity,
    /// An alert could not be delivered.
    AlertUndeliverable,
    /// The token's computed expiry has passed without a redemption.
    TokenExpired,
    /// Entra throttles the requests.
    EntraThrottled,
    /// The app's registration, scope, tenant, cloud or redirect URI is wrong.
    AppMisconfigured,
    /// The issuer returned the same refresh token.
    SameRefreshToken,
    /// Entra rejected the request with a number and an error that this version does not know.
    UnknownCode,
    /// The token's secret was deleted.
    SecretDeleted,
}

impl Kind {
    /// Every kind, for counters that start at zero and for documents that must be complete.
    pub const ALL: [Self; 29] = [
        Self::NeverSignedIn,
        Self::LoginRequired,
        Self::MfaRequired,
        Self::PolicyBlocked,
        Self::AccountDisabled,
        Self::AppCredentialRefused,
        Self::AppSecretExpiring,
        Self::AppSecretExpiryUnknown,
        Self::EntraUnreachable,
        Self::VaultUnreachable,
        Self::VaultRefused,
        Self::Unsaved,
        Self::Overdue,
        Self::WrongIdentity,
        Self::IdentityUnverified,
        Self::NoRefreshToken,
        Self::PartnerCenterRefused,
        Self::ForeignWriter,
        Self::BuriedSignIn,
        Self::TurnedOff,
        Self::ClockSkew,
        Self::VaultIdentity,
        Self::AlertUndeliverable,
        Self::TokenExpired,
        Self::EntraThrottled,
        Self::AppMisconfigured,
        Self::SameRefreshToken,
        Self::UnknownCode,
        Self::SecretDeleted,
    ];

    /// Its name in metrics, alerts, tags and the runbook.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NeverSignedIn => "never_signed_in",
            Self::LoginRequired => "login_required",
            Self::MfaRequired => "mfa_required",
            Self::PolicyBlocked => "policy_blocked",
            Self::AccountDisabled => "account_disabled",
            Self::AppCredentialRefused => "app_credential_refused",
            Self::AppSecretExpiring => "app_secret_expiring",
            Self::AppSecretExpiryUnknown => "app_secret_expiry_unknown",
            Self::EntraUnreachable => "entra_unreachable",
            Self::VaultUnreachable => "vault_unreachable",
            Self::VaultRefused => "vault_refused",
            Self::Unsaved => "unsaved",
            Self::Overdue => "overdue",
            Self::WrongIdentity => "wrong_identity",
            Self::IdentityUnverified => "identity_unverified",
            Self::NoRefreshToken => "no_refresh_token",
            Self::PartnerCenterRefused => "partner_center_refused",
            Self::ForeignWriter => "foreign_writer",
            Self::BuriedSignIn => "buried_sign_in",
            Self::TurnedOff => "turned_off",
            Self::ClockSkew => "clock_skew",
            Self::VaultIdentity => "vault_identity",
            Self::AlertUndeliverable => "alert_undeliverable",
            Self::TokenExpired => "token_expired",
            Self::EntraThrottled => "entra_throttled",
            Self::AppMisconfigured => "app_misconfigured",
            Self::SameRefreshToken => "same_refresh_token",
            Self::UnknownCode => "unknown_code",
            Self::SecretDeleted => "secret_deleted",
        }
    }

    /// Its title for people.
    pub fn title(self) -> &'static str {
        match self {
            Self::NeverSignedIn => "No sign-in yet",
            Self::LoginRequired => "Sign-in required",
            Self::MfaRequired => "Sign-in with a second factor required",
            Self::PolicyBlocked => "Blocked by a policy of the tenant",
            Self::AccountDisabled => "User account disabled",
            Self::AppCredentialRefused => "App credential rejected",
            Self::AppSecretExpiring => "App secret expires soon",
            Self::AppSecretExpiryUnknown => "App secret expiry unknown",
            Self::EntraUnreachable => "Entra cannot be reached or fails",
            Self::VaultUnreachable => "Key Vault cannot be reached or fails",
            Self::VaultRefused => "Key Vault denied access",
            Self::Unsaved => "New token not saved yet",
            Self::Overdue => "Rotation or proof overdue",
            Self::WrongIdentity => "Token belongs to a different tenant, app or user",
            Self::IdentityUnverified => "Token's tenant, app or user cannot be verified",
            Self::NoRefreshToken => "Entra returned no refresh token",
            Self::PartnerCenterRefused => "Partner Center rejected the access token",
            Self::ForeignWriter => "Another writer keeps replacing the token",
            Self::BuriedSignIn => "A newer sign-in was overwritten and restored",
            Self::TurnedOff => "Newest version disabled in Key Vault",
            Self::ClockSkew => "This host's clock is wrong",
            Self::VaultIdentity => "Cannot authenticate to Key Vault",
            Self::AlertUndeliverable => "An alert could not be delivered",
            Self::TokenExpired => "Token expired",
            Self::EntraThrottled => "Entra throttles requests",
            Self::AppMisconfigured => "App registration, scope, tenant or cloud misconfigured",
            Self::SameRefreshToken => "Entra returned the same refresh token",
            Self::UnknownCode => "Entra refused with an unknown code",
            Self::SecretDeleted => "The token's secret was deleted",
        }
    }

    /// The kind with this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }
}

/// What failed, which is also what Perennial checks for a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureSubject {
    /// The token's own secret in the vault.
    Token,
    /// The list of that secret's versions.
    History,
    /// Writing a version or a tag, which is tested before a `strict` token is redeemed.
    Saving,
    /// The app's id or secret, as the issuer sees it.
    AppCredential,
    /// The source of the app's id or secret.
    CredentialSource,
    /// The grant, as the issuer sees it.
    Grant,
}

/// The identifiers of a failure in Microsoft's logs and in ours.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trace {
    /// AADSTS number or HTTP status, if there was an answer.
    pub code: Option<u32>,
    /// Entra's trace id, which Microsoft's support needs.
    pub trace_id: Option<String>,
    /// The id in both logs: an echo of ours, or Entra's own (docs/azure-facts.md F114).
    pub correlation_id: Option<String>,
}

impl Trace {
    /// A code only: an AADSTS number or an HTTP status.
    pub fn of(code: impl Into<Option<u32>>) -> Self {
        Self { code: code.into(), ..Self::default() }
    }

    /// Each known part, as support needs it: "AADSTS50173", "trace ...", "correlation ...".
    pub fn parts(&self) -> Vec<String> {
        // No HTTP status has four digits, and no AADSTS number has fewer.
        let code = |code| if code > 999 { format!("AADSTS{code}") } else { format!("HTTP {code}") };
        let parts = [
            self.code.map(code),
            self.trace_id.as_ref().map(|id| format!("trace {id}")),
            self.correlation_id.as_ref().map(|id| format!("correlation {id}")),
        ];
        parts.into_iter().flatten().collect()
    }
}

/// A failure of one step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The condition that it opens.
    pub kind: Kind,
    /// Who must act.
    pub remedy: Remedy,
    /// What failed.
    pub about: FailureSubject,
    /// What failed and why, in one sentence without a secret.
    pub summary: String,
    /// What helps, if a rejection says it; `diagnosis` owns the words.
    pub advice: Option<Advice>,
    /// What to do, if it depends on the peer that rejected the request.
    pub action: Option<Box<str>>,
    /// Whether the answer counts at once. Otherwise a second one must confirm it before a person is alerted.
    pub is_definite: bool,
    /// The vault that was asked, if any: the app's secret may be in another one than the token.
    pub vault: Option<Arc<str>>,
    /// The wait that the peer asks for.
    pub retry_after: Option<Duration>,
    /// Identifiers in the peer's logs.
    pub trace: Trace,
    /// The value in the vault can never be redeemed: a proven token may replace it.
    pub token_condemned: bool,
    /// The value never was a token: an enabled predecessor may be tried (rescue).
    pub never_was_a_token: bool,
}

impl Failure {
    /// Whether the issuer rejected the grant, as opposed to no request or no answer. A success without a successor is
    /// no rejection: the stored token still works.
    pub fn token_refused(&self) -> bool {
        let settled = !matches!(self.remedy, Remedy::Retry);
        self.about == FailureSubject::Grant && settled && self.kind != Kind::NoRefreshToken
    }

    /// A failure with the required fields only.
    pub fn new(kind: Kind, remedy: Remedy, about: FailureSubject, summary: impl Into<String>) -> Self {
        Self {
            kind,
            remedy,
            about,
            summary: summary.into(),
            advice: None,
            action: None,
            is_definite: true,
            vault: None,
            retry_after: None,
            trace: Trace::default(),
            token_condemned: false,
            never_was_a_token: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_a_name_of_its_own() {
        for kind in Kind::ALL {
            assert_eq!(Kind::parse(kind.as_str()), Some(kind));
            assert_eq!(serde_json::to_value(kind).expect("a string"), kind.as_str());
        }
    }
}
