//! How this process proves who it is to the vault.
//!
//! Owns the choices there are. Which one holds is decided by `config`, once, when the configuration is read.

use std::path::PathBuf;

use crate::token::secret::Source;

/// How this process proves who it is to the vault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Identity {
    /// An app, by a token that Kubernetes projects into the pod.
    WorkloadIdentity {
        /// The vault's tenant: a GUID or a domain.
        tenant_id: String,
        /// The app.
        client_id: String,
        /// Where the token is. Kubernetes replaces it, so it is read again at each use.
        token_file: PathBuf,
    },
    /// What the host this runs on is in Azure.
    ManagedIdentity {
        /// Which one, where it is not the host's own but one assigned by a user.
        client_id: Option<String>,
        /// Who hands out its tokens.
        host: IdentityHost,
    },
    /// An app with a secret.
    ClientSecret {
        /// The vault's tenant: a GUID or a domain.
        tenant_id: String,
        /// The app.
        client_id: String,
        /// Its secret; never itself a vault secret.
        client_secret: Source,
    },
    /// An app, by a token of an issuer that it trusts.
    ClientAssertion {
        /// The vault's tenant: a GUID or a domain.
        tenant_id: String,
        /// The app.
        client_id: String,
        /// Where the token is; read again at each use.
        client_assertion: Source,
    },
    /// Whoever is signed in to the Azure CLI.
    AzureCli,
    /// The environment does not tell: a virtual machine's own identity or, for a person at a terminal of
    /// any other machine, the Azure CLI.
    Unnamed {
        /// As for a managed identity.
        client_id: Option<String>,
    },
}

/// Who hands out the tokens of a managed identity. The SDK chooses by the same variables
/// (docs/azure-facts.md F403).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IdentityHost {
    /// App Service, Functions or Container Apps, at this address (docs/azure-facts.md F402).
    AppService(String),
    /// The instance metadata service of a virtual machine (docs/azure-facts.md F401).
    Imds,
}

impl Identity {
    /// The tenant and the app, where this is an app.
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

    /// Where its client secret is read, where it has one.
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

    /// What it is called in the configuration and in the log.
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
