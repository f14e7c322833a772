//! The identities with which this process can authenticate to Key Vault.
//!
//! `config` chooses one when it reads the configuration.

use std::path::PathBuf;

use crate::token::secret::Source;

/// How this process authenticates to Key Vault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Identity {
    /// An app, with a token that Kubernetes projects into the pod.
    WorkloadIdentity {
        /// The vault's tenant: a GUID or a domain.
        tenant_id: String,
        /// The app.
        client_id: String,
        /// The token's file. Kubernetes replaces it, so it is read again at each use.
        token_file: PathBuf,
    },
    /// The managed identity of the Azure host.
    ManagedIdentity {
        /// The client id of a user-assigned identity; `None` for the host's own.
        client_id: Option<String>,
        /// The service that issues its tokens.
        host: IdentityHost,
    },
    /// An app with a secret.
    ClientSecret {
        /// The vault's tenant: a GUID or a domain.
        tenant_id: String,
        /// The app.
        client_id: String,
        /// The app's secret, which never comes from Key Vault.
        client_secret: Source,
    },
    /// An app, with a token of an issuer that the app trusts.
    ClientAssertion {
        /// The vault's tenant: a GUID or a domain.
        tenant_id: String,
        /// The app.
        client_id: String,
        /// The token's source; read again at each use.
        client_assertion: Source,
    },
    /// The user who is signed in to the Azure CLI.
    AzureCli,
    /// The environment names no identity: a virtual machine's own identity or, for interactive commands on any other
    /// machine, the Azure CLI.
    Unnamed {
        /// As for a managed identity.
        client_id: Option<String>,
    },
}

/// The service that issues a managed identity's tokens. The SDK chooses by the same variables (docs/azure-facts.md
/// F403).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IdentityHost {
    /// App Service, Functions or Container Apps, at this address (docs/azure-facts.md F402).
    AppService(String),
    /// The instance metadata service of a virtual machine (docs/azure-facts.md F401).
    Imds,
}

impl Identity {
    /// Tenant and app, if the identity is an app.
    pub fn app(&self) -> (Option<&str>, Option<&str>) {
        match self {
            Self::WorkloadIdentity { tenant_id, client_id, .. }
            | Self::ClientSecret { tenant_id, client_id, .. }
            | Self::ClientAssertion { tenant_id, client_id, .. } => (Some(tenant_id), Some(client_id)),
            Self::ManagedIdentity { client_id, .. } | Self::Unnamed { client_id } => {
                (None, client_id.as_deref())
            }
            Self::AzureCli => (None, None),
        }
    }

    /// The source of its client secret, if it has one.
    pub fn client_secret(&self) -> Option<&Source> {
        match self {
            Self::ClientSecret { client_secret, .. } => Some(client_secret),
            Self::WorkloadIdentity { .. }
            | Self::ManagedIdentity { .. }
            | Self::ClientAssertion { .. }
            | Self::AzureCli
            | Self::Unnamed { .. } => None,
        }
    }

    /// Its name in the configuration and the log.
    pub fn name(&self) -> &'static str {
        match self {
            Self::WorkloadIdentity { .. } => "workload_identity",
            Self::ManagedIdentity { .. } | Self::Unnamed { .. } => "managed_identity",
            Self::ClientSecret { .. } => "client_secret",
            Self::ClientAssertion { .. } => "client_assertion",
            Self::AzureCli => "azure_cli",
        }
    }
}
