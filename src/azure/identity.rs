//! The identities with which this process can authenticate to Key Vault.
//!
//! `config` chooses the identity when it reads the configuration.

use std::path::PathBuf;

use crate::process::clock::Timestamp;
use crate::token::secret::Source;

/// How this process authenticates to Key Vault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Identity {
    /// An app that authenticates with a token that Kubernetes projects into the pod.
    WorkloadIdentity {
        /// The vault's tenant: a GUID or a domain.
        tenant_id: String,
        /// The app's client id.
        client_id: String,
        /// The file with the projected token. Kubernetes replaces the file, so each use reads it again.
        token_file: PathBuf,
    },
    /// A managed identity of the Azure host.
    ManagedIdentity {
        /// The client id of a user-assigned identity. `None` means the host's default identity.
        client_id: Option<String>,
        /// The service that issues the identity's tokens.
        host: IdentityHost,
    },
    /// An app that authenticates with a client secret.
    ClientSecret {
        /// The vault's tenant: a GUID or a domain.
        tenant_id: String,
        /// The app's client id.
        client_id: String,
        /// The source of the app's secret. This source is never in Key Vault.
        client_secret: Source,
        /// When the secret expires, if the configuration contains this time.
        expires: Option<Timestamp>,
    },
    /// An app with a certificate.
    ClientCertificate {
        /// The vault's tenant: a GUID or a domain.
        tenant_id: String,
        /// The app's client id.
        client_id: String,
        /// The source of the certificate and its private key. This source is never in Key Vault.
        certificate: Source,
    },
    /// An app with a federated credential: the app authenticates with a token from another issuer.
    ClientAssertion {
        /// The vault's tenant: a GUID or a domain.
        tenant_id: String,
        /// The app's client id.
        client_id: String,
        /// The source of the token. Each use reads the source again.
        client_assertion: Source,
    },
    /// The user who is signed in to the Azure CLI.
    AzureCli,
    /// Neither the configuration nor the environment names an identity. On a virtual machine in Azure, Perennial uses a
    /// managed identity of the machine. On any other machine, an interactive command uses the Azure CLI.
    Unnamed {
        /// The client id of a user-assigned identity. `None` means the host's default identity.
        client_id: Option<String>,
    },
}

/// The service that issues a managed identity's tokens. Perennial and the SDK choose this service by the same
/// environment variables (docs/azure-facts.md F403).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IdentityHost {
    /// The service of App Service, Functions or Container Apps, at this URL (docs/azure-facts.md F402).
    AppService(String),
    /// The instance metadata service of a virtual machine (docs/azure-facts.md F401).
    Imds,
}

impl Identity {
    /// Returns the tenant and the client id, if the identity names them.
    pub fn app(&self) -> (Option<&str>, Option<&str>) {
        match self {
            Self::WorkloadIdentity { tenant_id, client_id, .. }
            | Self::ClientSecret { tenant_id, client_id, .. }
            | Self::ClientCertificate { tenant_id, client_id, .. }
            | Self::ClientAssertion { tenant_id, client_id, .. } => (Some(tenant_id), Some(client_id)),
            Self::ManagedIdentity { client_id, .. } | Self::Unnamed { client_id } => {
                (None, client_id.as_deref())
            }
            Self::AzureCli => (None, None),
        }
    }

    /// Returns the source of the client secret if the identity has one.
    pub fn client_secret(&self) -> Option<&Source> {
        match self {
            Self::ClientSecret { client_secret, .. } => Some(client_secret),
            Self::WorkloadIdentity { .. }
            | Self::ManagedIdentity { .. }
            | Self::ClientCertificate { .. }
            | Self::ClientAssertion { .. }
            | Self::AzureCli
            | Self::Unnamed { .. } => None,
        }
    }

    /// Returns the source of the certificate if the identity has one.
    pub fn certificate(&self) -> Option<&Source> {
        if let Self::ClientCertificate { certificate, .. } = self { Some(certificate) } else { None }
    }

    /// Returns the source of the secret, certificate or assertion if the identity has one.
    pub fn local_source(&self) -> Option<&Source> {
        match self {
            Self::ClientSecret { client_secret: source, .. }
            | Self::ClientCertificate { certificate: source, .. }
            | Self::ClientAssertion { client_assertion: source, .. } => Some(source),
            Self::WorkloadIdentity { .. }
            | Self::ManagedIdentity { .. }
            | Self::AzureCli
            | Self::Unnamed { .. } => None,
        }
    }

    /// Returns the identity's name in the configuration and the log.
    pub fn name(&self) -> &'static str {
        match self {
            Self::WorkloadIdentity { .. } => "workload_identity",
            Self::ManagedIdentity { .. } | Self::Unnamed { .. } => "managed_identity",
            Self::ClientSecret { .. } => "client_secret",
            Self::ClientCertificate { .. } => "client_certificate",
            Self::ClientAssertion { .. } => "client_assertion",
            Self::AzureCli => "azure_cli",
        }
    }
}
