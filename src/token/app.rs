//! The configuration of an app registration: its id and the credential with which it authenticates to Entra.
//!
//! This module contains only data, which `config` creates. Several tokens may share an app.

use std::sync::Arc;

use chrono::TimeDelta;

use crate::token::secret::{ConfigValue, SecretAddress, Source};

/// One configured app: an `[[app]]`, or the app's settings in a `[[token]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManagedApp {
    /// The name of the `[[app]]`. `None` if a `[[token]]` describes the app.
    pub name: Option<Arc<str>>,
    /// The tenant of the app registration, a GUID or a domain. `None` if the configuration does not name it. Then the
    /// token's tenant is used.
    pub home_tenant: Option<String>,
    /// The app's id.
    pub client_id: ConfigValue,
    /// The object id of the app registration.
    pub object_id: Option<String>,
    pub credential: CredentialSource,
    /// When and how Perennial renews the credential. `None` if Perennial does not renew it.
    pub renew: Option<RenewPolicy>,
}

/// When and how Perennial renews an app's client secret or certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RenewPolicy {
    /// The lifetime of the new credential.
    pub lifetime: TimeDelta,
    /// Perennial renews the credential this long before the credential expires.
    pub before: TimeDelta,
    /// The identity that manages the app's credentials.
    pub identity: RenewIdentity,
    /// The app's other credentials. Perennial does not manage these credentials, and does not report them as unknown.
    /// Each entry is a key id in lower case, or the beginning of a display name.
    pub known: Vec<Arc<str>>,
}

impl RenewPolicy {
    /// Whether `known` contains this key id or the beginning of this display name.
    pub fn knows(&self, key_id: &str, name: &str) -> bool {
        self.known.iter().any(|known| known.eq_ignore_ascii_case(key_id) || name.starts_with(&**known))
    }
}

impl Default for RenewPolicy {
    fn default() -> Self {
        Self {
            lifetime: TimeDelta::days(180),
            before: TimeDelta::days(45),
            identity: RenewIdentity::Vault,
            known: Vec::new(),
        }
    }
}

/// The identity that manages an app's credentials in Microsoft Graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RenewIdentity {
    /// The identity with which Perennial reads the vault.
    Vault,
    /// The app itself.
    App,
}

/// The credential of an app. If the credential has a source, Perennial reads the source again at each use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CredentialSource {
    /// A client secret.
    Secret(Source),
    /// A certificate with its private key: PEM, or PKCS#12 as Key Vault stores it.
    Certificate(Source),
    /// A Key Vault certificate whose private key stays in the vault. The vault signs the client assertions.
    VaultKey(SecretAddress),
    /// The client id of a user-assigned managed identity that the app trusts.
    ManagedIdentity(String),
    /// A token of another issuer. The app trusts this issuer.
    Assertion(Source),
}

impl CredentialSource {
    /// Returns the source of the credential's value, if there is a value to read.
    pub fn source(&self) -> Option<&Source> {
        match self {
            Self::Secret(source) | Self::Certificate(source) | Self::Assertion(source) => Some(source),
            Self::VaultKey(_) | Self::ManagedIdentity(_) => None,
        }
    }

    /// Returns the vault object that contains the credential or signs for the app. `None` if no vault is involved.
    pub fn in_vault(&self) -> Option<&SecretAddress> {
        match self {
            Self::VaultKey(at)
            | Self::Secret(Source::Secret(at))
            | Self::Certificate(Source::Secret(at))
            | Self::Assertion(Source::Secret(at)) => Some(at),
            Self::Secret(_) | Self::Certificate(_) | Self::Assertion(_) | Self::ManagedIdentity(_) => None,
        }
    }

    /// Whether the app authenticates with a certificate.
    pub fn is_certificate(&self) -> bool {
        matches!(self, Self::Certificate(_) | Self::VaultKey(_))
    }

    /// Whether the credential has an expiry that cannot be read from its value.
    pub fn has_unknown_end(&self) -> bool {
        matches!(self, Self::Secret(_))
    }

    /// Returns the configuration key that sets the credential.
    pub fn key(&self) -> &'static str {
        match self {
            Self::Secret(_) => "client_secret",
            Self::Certificate(_) | Self::VaultKey(_) => "client_certificate",
            Self::ManagedIdentity(_) | Self::Assertion(_) => "client_assertion",
        }
    }

    /// Returns the credential's kind, as messages name it.
    pub fn noun(&self) -> &'static str {
        match self {
            Self::Secret(_) => "secret",
            Self::Certificate(_) | Self::VaultKey(_) => "certificate",
            Self::ManagedIdentity(_) => "managed identity",
            Self::Assertion(_) => "assertion",
        }
    }
}

impl ManagedApp {
    /// Creates an app from the client id and the client secret of a `[[token]]`.
    pub fn with_secret(client_id: ConfigValue, client_secret: Source) -> Self {
        let credential = CredentialSource::Secret(client_secret);
        Self { name: None, home_tenant: None, client_id, object_id: None, credential, renew: None }
    }

    /// Returns the sources from which the app's id and credential are read.
    pub fn sources(&self) -> impl Iterator<Item = &Source> {
        let id = if let ConfigValue::From(source) = &self.client_id { Some(source) } else { None };
        id.into_iter().chain(self.credential.source())
    }

    /// Returns the vault objects that contain the app's id or its credential, or that sign for the app.
    pub fn in_vaults(&self) -> impl Iterator<Item = &SecretAddress> {
        let id = match &self.client_id {
            ConfigValue::From(Source::Secret(at)) => Some(at),
            ConfigValue::From(_) | ConfigValue::Plain(_) => None,
        };
        id.into_iter().chain(self.credential.in_vault())
    }
}
