//! What helps against a failure, as a type. `diagnosis` chooses it and owns its texts.

use crate::net::no_response::NoResponse;

/// What helps. Each value has one text for each sign-in method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Advice {
    /// Sign in again.
    SignIn,
    /// Sign in again, as a policy demands from time to time.
    SignInFrequency,
    /// Sign in with MFA.
    SecondFactor,
    /// Change the password, then sign in.
    NewPassword,
    /// Begin the sign-in again: its code is used, invalid or too old.
    StartAgain,
    /// Accept the consent that was declined.
    AcceptConsent,
    /// Sign in from a device that the tenant accepts.
    Device,
    /// Check the stored value, then sign in.
    StoredValue,
    /// Enable the user's account.
    EnableAccount,
    /// Unblock the user's account.
    UnblockAccount,
    /// Assign the user to the enterprise application.
    AssignUser,
    /// Sign in with an account of that tenant, or correct the tenant.
    AccountOrTenant,
    /// Adapt a conditional access policy.
    Policy,
    /// Clear the user's risk.
    Risk,
    /// Let an administrator consent.
    Consent,
    /// Add the permission to the app registration, then consent.
    Permission,
    /// Make and store a new client secret.
    ClientSecret,
    /// Store a client secret, or allow public clients: the request had none.
    NoClientSecret,
    /// Compare the app's id with the registration.
    AppId,
    /// Enable the app.
    EnableApp,
    /// Make the app's service principal in the tenant.
    ServicePrincipal,
    /// Make the app a confidential client.
    AppPlatform,
    /// Register the redirect URI under the platform Web.
    RedirectAsWeb,
    /// Register the redirect URI.
    RedirectUri,
    /// Compare the assertion's certificate or key with the registration.
    Assertion,
    /// Compare issuer, subject and audience of the federated credential.
    FederatedCredential,
    /// Set this host's clock.
    Clock,
    /// Compare the tenant.
    Tenant,
    /// Compare the cloud.
    Cloud,
    /// Correct the scope.
    Scope,
    /// Correct the app or the scope: the app requests a token for itself.
    TokenForItself,
    /// Ask for the permissions that the app has.
    DefaultScope,
    /// Check that the resource exists and is enabled in the tenant.
    Resource,
    /// The request was malformed: a proxy, or a value in the configuration.
    Request,
    /// Ask Microsoft's support.
    Support,
    /// Wait: too many requests.
    Throttled,
    /// Wait: an outage of personal accounts, which are the wrong kind of account.
    PersonalAccount,
    /// Wait: an outage on the other side.
    Outage,
    /// Look the number up.
    LookUp,
    /// Fix the network to the peer: there was no answer, for this reason.
    Network(NoResponse),
    /// Another server on the way answered in the peer's place.
    Intercepted,
}

impl Advice {
    /// The same for an app that authenticates as itself, where a user cannot sign in.
    #[must_use]
    pub fn for_an_app(self) -> Self {
        match self {
            Self::SignIn | Self::SecondFactor | Self::NewPassword | Self::StartAgain | Self::StoredValue => {
                Self::AppId
            }
            Self::AcceptConsent => Self::Consent,
            Self::Device | Self::SignInFrequency => Self::Policy,
            other => other,
        }
    }

    /// Whether this rejection may mean a credential so new that some of Entra's servers do not know it yet
    /// (docs/azure-facts.md F115).
    pub fn may_be_propagation(self) -> bool {
        matches!(self, Self::ClientSecret | Self::Assertion | Self::FederatedCredential)
    }
}
