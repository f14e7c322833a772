//! Describes failures. A failure contains only data that the rotation loop needs or that messages may show.
//!
//! This module owns the remedies, the kinds of condition and their titles. A failure never contains a token, a header
//! or a body. This module is pure.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::ports::advice::Advice;

/// Who must act on a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Remedy {
    /// The failure may be temporary, and Perennial retries.
    Retry,
    /// A user must sign in.
    Login,
    /// An operator must change a credential, a role, a policy or the configuration.
    Operator,
}

impl Remedy {
    /// The remedy's name in the status document.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Retry => "retry",
            Self::Login => "login",
            Self::Operator => "operator",
        }
    }

    /// The words that name who must act on a condition of this kind, for messages and the status page.
    pub fn who(self, kind: Kind) -> &'static str {
        match self {
            Self::Login => "anyone who can sign in as the integration user",
            Self::Operator => kind.administrator(),
            Self::Retry => "no action is needed yet: Perennial retries automatically",
        }
    }
}

/// The kind of a condition. The names are a public contract, because they appear in metrics, alerts and the runbook.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The token's vault secret does not exist yet.
    NeverSignedIn,
    /// The refresh token has expired or was revoked, or the stored value is not a refresh token.
    LoginRequired,
    /// The user signed in without a required second factor.
    MfaRequired,
    /// A policy or a setting of the tenant blocks the token.
    PolicyBlocked,
    /// The user's account is disabled.
    AccountDisabled,
    /// Entra rejects the app's id or credential, or Perennial cannot read one of them.
    AppCredentialRefused,
    /// The app's client secret expires soon.
    AppSecretExpiring,
    /// The expiry of the app's client secret is unknown.
    AppSecretExpiryUnknown,
    /// Entra sent no usable response.
    EntraUnreachable,
    /// Key Vault sent no usable response.
    VaultUnreachable,
    /// Key Vault denies access.
    VaultRefused,
    /// A new token is not saved in the vault yet.
    Unsaved,
    /// A rotation or a proof is overdue.
    Overdue,
    /// The token belongs to a tenant, app or user that differs from the configuration.
    WrongIdentity,
    /// Entra's response does not confirm the tenant, the app or the user.
    IdentityUnverified,
    /// Entra's response had no refresh token.
    NoRefreshToken,
    /// Partner Center does not accept the access token.
    PartnerCenterRefused,
    /// Another program keeps writing the same secret.
    ForeignWriter,
    /// A rotation overwrote a newer sign-in, and Perennial restored the sign-in.
    BuriedSignIn,
    /// The newest version of the token's secret is disabled, so Perennial does not use the token.
    TurnedOff,
    /// This machine's clock is wrong.
    ClockSkew,
    /// This process cannot authenticate to Key Vault.
    VaultIdentity,
    /// An alert could not be delivered.
    AlertUndeliverable,
    /// The computed expiry of the token has passed without a successful redemption.
    TokenExpired,
    /// Entra throttles the requests.
    EntraThrottled,
    /// The app registration, scope, tenant, cloud or redirect URI is wrong.
    AppMisconfigured,
    /// Entra returned the redeemed refresh token instead of a new one.
    SameRefreshToken,
    /// Entra rejected the request with a code that this version of Perennial does not know.
    UnknownCode,
    /// The token's vault secret was deleted.
    SecretDeleted,
    /// Entra rejects the newest version of the app's credential, and an older version is in use.
    AppCertificateUnregistered,
    /// Perennial could not renew the app's credential.
    AppCredentialRenewalFailed,
    /// The app has a client secret or certificate that Perennial did not create.
    AppCredentialUnknown,
}

impl Kind {
    /// All kinds. The metrics have a counter for each kind. Tests check that the documentation describes each kind.
    pub const ALL: [Self; 32] = [
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
        Self::AppCertificateUnregistered,
        Self::AppCredentialRenewalFailed,
        Self::AppCredentialUnknown,
    ];

    /// The kind's name in metrics, alerts, tags and the runbook.
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
            Self::AppCertificateUnregistered => "app_certificate_unregistered",
            Self::AppCredentialRenewalFailed => "app_credential_renewal_failed",
            Self::AppCredentialUnknown => "app_credential_unknown",
        }
    }

    /// The administrator who can fix a condition of this kind.
    fn administrator(self) -> &'static str {
        match self {
            Self::PolicyBlocked
            | Self::AccountDisabled
            | Self::AppSecretExpiring
            | Self::AppCertificateUnregistered
            | Self::AppCredentialRenewalFailed
            | Self::AppCredentialUnknown
            | Self::NoRefreshToken => "an Entra administrator of the tenant",
            Self::PartnerCenterRefused => "a Partner Center administrator",
            Self::VaultRefused
            | Self::Unsaved
            | Self::SecretDeleted
            | Self::TurnedOff
            | Self::ForeignWriter
            | Self::BuriedSignIn => "an administrator of the vault",
            Self::VaultUnreachable
            | Self::EntraUnreachable
            | Self::EntraThrottled
            | Self::Overdue
            | Self::IdentityUnverified
            | Self::SameRefreshToken
            | Self::ClockSkew
            | Self::AlertUndeliverable => "an administrator of this host",
            Self::NeverSignedIn
            | Self::LoginRequired
            | Self::MfaRequired
            | Self::TokenExpired
            | Self::AppCredentialRefused
            | Self::AppSecretExpiryUnknown
            | Self::AppMisconfigured
            | Self::WrongIdentity
            | Self::UnknownCode
            | Self::VaultIdentity => "an Entra administrator, or an administrator of this host",
        }
    }

    /// The kind's title in alerts and on the status page.
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
            Self::AppCertificateUnregistered => "Newest app credential not accepted by Entra",
            Self::AppCredentialRenewalFailed => "App credential renewal failed",
            Self::AppCredentialUnknown => "Unknown credential on the app",
        }
    }

    /// Finds a kind by its name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }
}

/// The object that the failure is about. While the failure blocks the token, Perennial checks this object regularly.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureSubject {
    /// The token's own secret in the vault.
    Token,
    /// The list of versions of the token's secret.
    History,
    /// The write of a version or a tag. Before each redemption of a `strict` token, Perennial tests this write.
    Saving,
    /// The app's id or credential, which Entra rejected or Perennial cannot use.
    AppCredential,
    /// The place from which Perennial reads the app's id or credential.
    CredentialSource,
    /// The redemption of the token.
    Grant,
}

/// Identifiers of a failure in Microsoft's logs and in Perennial's log.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trace {
    /// The AADSTS number or HTTP status, if there was a response.
    pub code: Option<u32>,
    /// Entra's trace id, which Microsoft's support needs.
    pub trace_id: Option<String>,
    /// The correlation id in Entra's and in Perennial's log. Entra returns Perennial's id or assigns its own
    /// (docs/azure-facts.md F114).
    pub correlation_id: Option<String>,
}

impl Trace {
    /// Creates a trace with only a code: an AADSTS number or an HTTP status.
    pub fn of(code: impl Into<Option<u32>>) -> Self {
        Self { code: code.into(), ..Self::default() }
    }

    /// The known identifiers in the form that support needs: "AADSTS50173", "trace ...", "correlation ...".
    pub fn parts(&self) -> Vec<String> {
        // HTTP statuses have three digits, and AADSTS numbers have at least four.
        let code = |code| if code > 999 { format!("AADSTS{code}") } else { format!("HTTP {code}") };
        let parts = [
            self.code.map(code),
            self.trace_id.as_ref().map(|id| format!("trace {id}")),
            self.correlation_id.as_ref().map(|id| format!("correlation {id}")),
        ];
        parts.into_iter().flatten().collect()
    }
}

/// Why an attempt failed, for example an attempt to rotate a token or to renew an app's credential.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The kind of the condition that this failure opens.
    pub kind: Kind,
    /// Who must act.
    pub remedy: Remedy,
    /// The object that this failure is about.
    pub about: FailureSubject,
    /// One sentence, without secrets, that says what failed and why.
    pub summary: String,
    /// What to do about a failed request to Entra. `diagnosis` owns the texts.
    pub advice: Option<Advice>,
    /// A special text that says what to do. `None` if the general text for this kind fits this failure.
    pub action: Option<Box<str>>,
    /// Whether one rejection is enough to open a condition. Otherwise a second rejection must confirm the first.
    pub is_definite: bool,
    /// The vault that was called, if any. Not always the token's vault: the app's secret may be in another vault.
    pub vault: Option<Arc<str>>,
    /// The wait that the service requested in `Retry-After`.
    pub retry_after: Option<Duration>,
    /// Identifiers of this failure in the service's logs.
    pub trace: Trace,
    /// Whether the stored token can never be redeemed again. If so, a proven token may replace the stored token.
    pub token_condemned: bool,
    /// Whether the stored value was never a token. In that case, Perennial may redeem an older version that is enabled.
    pub never_was_a_token: bool,
}

impl Failure {
    /// Whether the issuer rejected the refresh token. A missing response is not a rejection. A success without a new
    /// refresh token is not a rejection either, because the stored token still works.
    pub fn token_refused(&self) -> bool {
        let settled = !matches!(self.remedy, Remedy::Retry);
        self.about == FailureSubject::Grant && settled && self.kind != Kind::NoRefreshToken
    }

    /// Whether this process itself found that the app's certificate is not valid now. This check sends no request to
    /// Entra.
    pub fn is_of_certificate(&self) -> bool {
        self.about == FailureSubject::AppCredential && self.advice.is_none() && self.vault.is_none()
    }

    /// Creates a failure with only the required fields.
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
