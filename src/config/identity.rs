//! Parses the identity with which this process authenticates to Key Vault. `[vault] credential` chooses the identity.
//! For `credential = "auto"`, the environment chooses it.
//!
//! This module reads `[vault]` and the environment variables once, and sends no request. If `[vault]` and the variables
//! name no identity, this module returns `Identity::Unnamed`. In that case, `run` uses the managed identity of an Azure
//! virtual machine. Any other command first checks whether the metadata service of such a machine responds within a
//! second (`cli::azure_clients`). If the service does not respond, the command uses the Azure CLI.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::walk::{Checked, Section, Wanted};
use super::{apps, grants, rules};
use crate::azure::identity::{Identity, IdentityHost};

/// The values of the key `credential`.
#[derive(Clone, Copy)]
enum CredentialKind {
    Auto,
    WorkloadIdentity,
    ManagedIdentity,
    ClientSecret,
    ClientCertificate,
    ClientAssertion,
    AzureCli,
}

impl CredentialKind {
    fn parse(text: &str) -> Result<Self, Wanted> {
        match text {
            "auto" => Ok(Self::Auto),
            "workload_identity" => Ok(Self::WorkloadIdentity),
            "managed_identity" => Ok(Self::ManagedIdentity),
            "client_secret" => Ok(Self::ClientSecret),
            "client_certificate" => Ok(Self::ClientCertificate),
            "client_assertion" => Ok(Self::ClientAssertion),
            "azure_cli" => Ok(Self::AzureCli),
            _ => Err("must be `auto`, `workload_identity`, `managed_identity`, `client_secret`, \
                      `client_certificate`, `client_assertion` or `azure_cli`"),
        }
    }

    /// Returns the keys that this credential uses.
    fn keys(self) -> &'static [&'static str] {
        match self {
            Self::Auto | Self::WorkloadIdentity => &["tenant_id", "client_id"],
            Self::ManagedIdentity => &["client_id"],
            Self::ClientSecret => &["tenant_id", "client_id", "client_secret", "client_secret_expires"],
            Self::ClientCertificate => &["tenant_id", "client_id", "client_certificate"],
            Self::ClientAssertion => &["tenant_id", "client_id", "client_assertion"],
            Self::AzureCli => &[],
        }
    }
}

/// All environment variables of the process.
pub(super) type Surroundings = BTreeMap<String, String>;

/// Reads the keys of `[vault]` that choose the identity.
pub(super) fn identity(section: &Section<'_>, env: &Surroundings) -> Checked<Identity> {
    let credential = section.optional("credential", CredentialKind::parse)?.unwrap_or(CredentialKind::Auto);
    let keys = [
        "tenant_id",
        "client_id",
        "client_secret",
        "client_secret_expires",
        "client_certificate",
        "client_assertion",
    ];
    for key in section.present(&keys) {
        if !credential.keys().contains(&key) {
            section.note(key, useless(credential));
        }
    }
    match credential {
        CredentialKind::Auto => automatic(section, env),
        CredentialKind::WorkloadIdentity => workload(section, env),
        CredentialKind::ManagedIdentity => managed(section, env),
        CredentialKind::AzureCli => Ok(Identity::AzureCli),
        CredentialKind::ClientSecret => {
            let tenant_id = section.required("tenant_id", rules::tenant);
            let client_id = section.required("client_id", rules::guid);
            let client_secret = grants::source_outside_vaults(section, "client_secret");
            let expires = section.optional("client_secret_expires", rules::instant);
            Ok(Identity::ClientSecret {
                tenant_id: tenant_id?,
                client_id: client_id?,
                client_secret: client_secret?,
                expires: expires?,
            })
        }
        CredentialKind::ClientCertificate => {
            let tenant_id = section.required("tenant_id", rules::tenant);
            let client_id = section.required("client_id", rules::guid);
            let certificate = grants::source_outside_vaults(section, "client_certificate");
            Ok(Identity::ClientCertificate {
                tenant_id: tenant_id?,
                client_id: client_id?,
                certificate: certificate?,
            })
        }
        CredentialKind::ClientAssertion => {
            let tenant_id = section.required("tenant_id", rules::tenant);
            let client_id = section.required("client_id", rules::guid);
            let client_assertion = grants::source_outside_vaults(section, "client_assertion");
            Ok(Identity::ClientAssertion {
                tenant_id: tenant_id?,
                client_id: client_id?,
                client_assertion: client_assertion?,
            })
        }
    }
}

fn useless(credential: CredentialKind) -> &'static str {
    match credential {
        CredentialKind::Auto => {
            "is ignored by `credential = \"auto\"` (the default): set `credential` to `client_secret`, `client_certificate` or `client_assertion`"
        }
        CredentialKind::WorkloadIdentity => "is ignored by `credential = \"workload_identity\"`",
        CredentialKind::ManagedIdentity => "is ignored by `credential = \"managed_identity\"`",
        CredentialKind::ClientSecret => "is ignored by `credential = \"client_secret\"`",
        CredentialKind::ClientCertificate => "is ignored by `credential = \"client_certificate\"`",
        CredentialKind::ClientAssertion => "is ignored by `credential = \"client_assertion\"`",
        CredentialKind::AzureCli => "is ignored by `credential = \"azure_cli\"`",
    }
}

fn automatic(section: &Section<'_>, env: &Surroundings) -> Checked<Identity> {
    if env.contains_key(TOKEN_FILE) {
        return workload(section, env);
    }
    if env.contains_key(ENDPOINT) || env.contains_key(OLD_ENDPOINT) {
        return managed(section, env);
    }
    section.optional("tenant_id", rules::tenant)?;
    Ok(Identity::Unnamed { client_id: section.optional("client_id", rules::guid)? })
}

/// The variable that the workload identity webhook sets in a pod (docs/azure-facts.md F404).
const TOKEN_FILE: &str = "AZURE_FEDERATED_TOKEN_FILE";
const TENANT: &str = "AZURE_TENANT_ID";
const CLIENT: &str = "AZURE_CLIENT_ID";

fn workload(section: &Section<'_>, env: &Surroundings) -> Checked<Identity> {
    let tenant_id = set_or(section, "tenant_id", rules::tenant, env, TENANT);
    let client_id = set_or(section, "client_id", rules::guid, env, CLIENT);
    let token_file = env.get(TOKEN_FILE).map(PathBuf::from).ok_or_else(|| {
        section.note(
            "credential",
            format!(
                "needs the variable {TOKEN_FILE}, which is not set: in Kubernetes, the pod needs the label \
                 azure.workload.identity/use: \"true\" and a service account with a client id"
            ),
        )
    });
    Ok(Identity::WorkloadIdentity { tenant_id: tenant_id?, client_id: client_id?, token_file: token_file? })
}

/// Returns the value of a key. If the key is missing, returns the value of an environment variable.
fn set_or(
    section: &Section<'_>,
    key: &str,
    parse: fn(&str) -> Result<String, Wanted>,
    env: &Surroundings,
    variable: &str,
) -> Checked<String> {
    if let Some(set) = section.optional(key, parse)? {
        return Ok(set);
    }
    let found = env
        .get(variable)
        .ok_or_else(|| section.note(key, format!("is missing, and so is {variable} in the environment")))?;
    parse(found).map_err(|wanted| section.note(key, format!("comes from {variable}, which {wanted}")))
}

/// The variables that Azure hosts set for their identity services (docs/azure-facts.md F402). They show the kind of
/// host.
const ENDPOINT: &str = "IDENTITY_ENDPOINT";
const HEADER: &str = "IDENTITY_HEADER";
const THUMBPRINT: &str = "IDENTITY_SERVER_THUMBPRINT";
const ARC: &str = "IMDS_ENDPOINT";
const OLD_ENDPOINT: &str = "MSI_ENDPOINT";

fn managed(section: &Section<'_>, env: &Surroundings) -> Checked<Identity> {
    let client_id = section.optional("client_id", rules::guid);
    let host = host(env).map_err(|host| {
        let what = apps::no_host(host);
        section.note(
            "credential",
            format!("{what}; use `client_secret`, `client_certificate` or `client_assertion`"),
        )
    });
    Ok(Identity::ManagedIdentity { client_id: client_id?, host: host? })
}

/// Returns the service that issues tokens of this host's managed identities. For an unsupported host, returns the name
/// of the kind of host, such as `Service Fabric`.
pub(super) fn host(env: &Surroundings) -> Result<IdentityHost, &'static str> {
    match env.get(ENDPOINT) {
        Some(_) if env.contains_key(THUMBPRINT) => Err("Service Fabric"),
        Some(endpoint) if env.contains_key(HEADER) => Ok(IdentityHost::AppService(endpoint.clone())),
        Some(_) if env.contains_key(ARC) => Err("Azure Arc"),
        None if env.contains_key(OLD_ENDPOINT) => Err("Cloud Shell or Azure ML"),
        Some(_) | None => Ok(IdentityHost::Imds),
    }
}
