//! Lists the actions that Perennial can advise after a failure. `diagnosis` chooses the action and owns the texts.

use crate::net::no_response::NoResponse;

/// What an operator should do about a failure. The text of the advice can depend on the sign-in method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Advice {
    /// Sign in again.
    SignIn,
    /// Sign in again, because a policy limits how long a sign-in lasts.
    SignInFrequency,
    /// Sign in with MFA.
    SecondFactor,
    /// Change the password, then sign in.
    NewPassword,
    /// Start the sign-in again, because the authorization code was already used, is invalid, or is too old.
    StartAgain,
    /// Sign in again, and consent to the app's permissions, because the user declined before.
    AcceptConsent,
    /// Sign in from a device that the tenant accepts.
    Device,
    /// Check the value that is stored as the token, then sign in.
    StoredValue,
    /// Enable the user's account.
    EnableAccount,
    /// Unblock the user's account.
    UnblockAccount,
    /// Assign the user to the app's enterprise application.
    AssignUser,
    /// Sign in with an account of the configured tenant, or correct the tenant in the configuration.
    AccountOrTenant,
    /// Sign in with a work account of the configured tenant.
    WorkAccount,
    /// Change a conditional access policy.
    Policy,
    /// Change the tenant restrictions that a proxy sets.
    TenantRestrictions,
    /// Change a cross-tenant access policy.
    CrossTenantAccess,
    /// Ask the administrator of the user's identity provider.
    IdentityProvider,
    /// Dismiss or remediate the user's risk in Entra.
    Risk,
    /// Let an administrator consent to the app's permissions.
    Consent,
    /// Add the permission to the app registration, then let an administrator consent.
    Permission,
    /// Create and store a new client secret.
    ClientSecret,
    /// Store a client secret or allow public clients, because the request had no client secret.
    NoClientSecret,
    /// Compare the app's client id with the app registration.
    AppId,
    /// Enable the app.
    EnableApp,
    /// Create the app's service principal in the tenant.
    ServicePrincipal,
    /// Make the app a confidential client.
    AppPlatform,
    /// Move the redirect URI to the platform Web.
    RedirectAsWeb,
    /// Register the redirect URI under the platform Web.
    RedirectUri,
    /// Compare the certificate or key of the client assertion with the app registration.
    Assertion,
    /// Compare the assertion's issuer, subject and audience with the federated credential.
    FederatedCredential,
    /// Set this host's clock.
    Clock,
    /// Compare the tenant in the configuration with the partner tenant.
    Tenant,
    /// Compare the cloud in the configuration with the tenant's cloud.
    Cloud,
    /// Have the tenant reactivated.
    BlockedTenant,
    /// Allow work accounts in the app registration.
    AccountTypes,
    /// Remove the app's claims mapping, or accept mapped claims in the app's manifest.
    ClaimsMapping,
    /// Correct the scope in the configuration.
    Scope,
    /// Correct the app or the scope, because the app requests a token for itself.
    TokenForItself,
    /// Request the resource's default scope.
    DefaultScope,
    /// Check that the resource exists and is enabled in the tenant.
    Resource,
    /// Check the configuration and the proxy, because the request was malformed.
    Request,
    /// Exempt Entra from a proxy that changes requests.
    ChangedByProxy,
    /// Contact Microsoft's support.
    Support,
    /// Wait, because there were too many requests.
    Throttled,
    /// Wait for the end of an outage of personal Microsoft accounts, or use a work account.
    PersonalAccount,
    /// Wait for the end of an outage at Entra.
    Outage,
    /// Look up the error number.
    LookUp,
    /// Fix the network, because the service did not respond. The field names the cause.
    Network(NoResponse),
    /// Exempt the service from interception by a proxy, because another server responded in the service's place.
    Intercepted,
}

impl Advice {
    /// Returns the advice that applies when the app itself signs in, without a user.
    #[must_use]
    pub fn for_an_app(self) -> Self {
        match self {
            Self::SignIn
            | Self::SecondFactor
            | Self::NewPassword
            | Self::StartAgain
            | Self::StoredValue
            | Self::AccountOrTenant
            | Self::WorkAccount
            | Self::EnableAccount
            | Self::UnblockAccount
            | Self::RedirectUri
            | Self::RedirectAsWeb
            | Self::IdentityProvider => Self::AppId,
            Self::AcceptConsent => Self::Consent,
            Self::Device | Self::SignInFrequency | Self::CrossTenantAccess => Self::Policy,
            Self::Scope | Self::DefaultScope | Self::TokenForItself => Self::Resource,
            Self::PersonalAccount => Self::Outage,
            other => other,
        }
    }

    /// Whether a rejection with this advice may be temporary, because some of Entra's servers do not know a new
    /// credential yet (docs/azure-facts.md F115).
    pub fn may_be_propagation(self) -> bool {
        matches!(self, Self::ClientSecret | Self::Assertion | Self::FederatedCredential)
    }
}
