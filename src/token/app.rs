//! The configuration of an app registration: its id and the credential with which it authenticates to Entra.
//!
//! Pure data: `config` fills it in. Several tokens may share an app.

use std::sync::Arc;

use crate::token::secret::{ConfigValue, SecretAddress, Source};

/// One app as configured: an `[[app]]`, or the keys of a `[[token]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManagedApp {
    /// The name of its `[[app]]`; `None` if a token names the app itself.
    pub name: Option<Arc<str>>,
    /// The tenant of the app registration, a GUID or a domain. `None` if it is not known to differ from the token's.
    pub home_tenant: Option<String>,
    /// The app's id.
    pub client_id: ConfigValue,
    /// The object id of the app registration.
    pub object_id: Option<String>,
    /// The credential of the app.
    pub credential: CredentialSource,
}

/// The credential of an app, or where to find it. Read again at each use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CredentialSource {
    /// A client secret.
    Secret(Source),
    /// A certificate with its private key: PEM, or PKCS#12 as Key Vault stores it.
    Certificate(Source),
    /// A certificate of Key Vault whose private key stays there: the vault signs.
    VaultKey(SecretAddress),
    /// The client id of a user-assigned managed identity that the app trusts.
    ManagedIdentity(String),
    /// A token of another issuer that the app trusts.
    Assertion(Source),
}

impl CredentialSource {
    /// The source of its value, if there is a value to read.
    pub fn source(&self) -> Option<&Source> {
        match self {
            Self::Secret(source) | Self::Certificate(source) | Self::Assertion(source) => Some(source),
            Self::VaultKey(_) | Self::ManagedIdentity(_) => None,
        }
    }

    /// The vault object that it is read from or that signs, if any.
    pub fn in_vault(&self) -> Option<&SecretAddress> {
        match self {
            Self::VaultKey(at)
            | Self::Secret(Source::Secret(at))
            | Self::Certificate(Source::Secret(at))
            | Self::Assertion(Source::Secret(at)) => Some(at),
            Self::Secret(_) | Self::Certificate(_) | Self::Assertion(_) | Self::ManagedIdentity(_) => None,
        }
    }

    /// Whether it ends at a time that the credential itself does not say.
    pub fn has_unknown_end(&self) -> bool {
        matches!(self, Self::Secret(_))
    }

    /// Its key in the configuration.
    pub fn key(&self) -> &'static str {
        match self {
            Self::Secret(_) => "client_secret",
            Self::Certificate(_) | Self::VaultKey(_) => "client_certificate",
            Self::ManagedIdentity(_) | Self::Assertion(_) => "client_assertion",
        }
    }

    /// What it is, for messages.
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
    /// An app with an id and a client secret, as a token names it itself.
    pub fn with_secret(client_id: ConfigValue, client_secret: Source) -> Self {
        let credential = CredentialSource::Secret(client_secret);
        Self { name: None, home_tenant: None, client_id, object_id: None, credential }
    }

    /// The places on this machine or in vaults from which its id and its credential are read.
    pub fn sources(&self) -> impl Iterator<Item = &Source> {
        let id = if let ConfigValue::From(source) = &self.client_id { Some(source) } else { None };
        id.into_iter().chain(self.credential.source())
    }

    /// The vault objects that are read for its id and its credential.
    pub fn in_vaults(&self) -> impl Iterator<Item = &SecretAddress> {
        let id = match &self.client_id {
            ConfigValue::From(Source::Secret(at)) => Some(at),
            ConfigValue::From(_) | ConfigValue::Plain(_) => None,
        };
        id.into_iter().chain(self.credential.in_vault())
    }
}
