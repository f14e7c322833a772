//! Action texts for an app's certificate: how to register the certificate's public part at Entra, and how to create a
//! new certificate.
//!
//! No command in these texts has a secret or a private key in its argument list. This module is pure.

use super::subject::{CredentialPlace, Subject};
use crate::token::app::CredentialSource;
use crate::token::secret::{SecretAddress, Source};

/// Returns how to register the newest version of a Key Vault certificate at the app with this client id.
pub fn register_of_vault(client_id: &str, at: &SecretAddress) -> String {
    let (vault, name) = (at.vault_name(), at.name.as_str());
    format!(
        "register the certificate: `az ad app credential reset --id {client_id} --append --keyvault {vault} --cert {name}`"
    )
}

impl Subject<'_> {
    /// Returns how to register the certificate at Entra. Certificates that are already registered stay registered.
    pub fn register_certificate(&self) -> String {
        let app = self.client_id;
        let portal = format!("Entra admin center, App registrations, {app}, Certificates & secrets");
        match self.place {
            CredentialPlace::App { credential: CredentialSource::VaultKey(at), .. } => {
                register_of_vault(self.client_id, at)
            }
            CredentialPlace::App {
                credential: CredentialSource::Certificate(Source::Secret(at)), ..
            } => format!(
                "{}; if the vault stores {} as a plain secret and not as a certificate, upload the certificate's public part instead: {portal}",
                register_of_vault(self.client_id, at),
                at.name.as_str()
            ),
            CredentialPlace::App {
                credential: CredentialSource::Certificate(Source::File(path)), ..
            } => self.register_file(&path.display().to_string(), &portal),
            CredentialPlace::Vault { certificate: Some(Source::File(path)), .. } => {
                self.register_file(&path.display().to_string(), &portal)
            }
            CredentialPlace::App { .. } | CredentialPlace::Vault { .. } => {
                format!("upload the public part of the certificate that Perennial signs with: {portal}")
            }
        }
    }

    fn register_file(&self, path: &str, portal: &str) -> String {
        let app = self.client_id;
        format!(
            "register the certificate: `az ad app credential reset --id {app} --append --cert \"$(openssl x509 -in {path})\"`; if the file is PKCS#12, upload the certificate's public part instead: {portal}"
        )
    }

    /// Returns how to replace a certificate that has expired or expires soon.
    pub fn new_certificate(&self) -> String {
        let register = self.register_certificate();
        let make = match self.place {
            CredentialPlace::App {
                credential: CredentialSource::VaultKey(at) | CredentialSource::Certificate(Source::Secret(at)),
                ..
            } => {
                let (vault, name) = (at.vault_name(), at.name.as_str());
                format!(
                    "create a new version of the certificate: `az keyvault certificate create --vault-name {vault} --name {name} --policy \"$(az keyvault certificate show --vault-name {vault} --name {name} --query policy)\"`"
                )
            }
            CredentialPlace::App { credential, .. } => {
                format!(
                    "store a new certificate and its private key at the configured place ({} of {})",
                    credential.key(),
                    self.name
                )
            }
            CredentialPlace::Vault { .. } => {
                "store a new certificate and its private key at the configured place (client_certificate of [vault])"
                    .to_owned()
            }
        };
        format!("{make}; then {register}")
    }

    /// Returns how to replace the app's client secret or certificate. For an assertion that Perennial does not sign
    /// itself, returns how to compare the assertion with the app's federated credentials.
    pub fn new_credential(&self) -> String {
        match self.place {
            CredentialPlace::App {
                credential: CredentialSource::Certificate(_) | CredentialSource::VaultKey(_),
                ..
            }
            | CredentialPlace::Vault { certificate: Some(_), .. } => self.new_certificate(),
            _ if self.has_foreign_assertion() => format!(
                "compare issuer, subject and audience of the assertion with the federated credential: {}",
                self.list_federated()
            ),
            CredentialPlace::App { .. } | CredentialPlace::Vault { .. } => format!(
                "in {}, create a new client secret and store its value, not its id: {}",
                self.in_tenant(),
                self.new_client_secret()
            ),
        }
    }
}

#[cfg(test)]
mod tests;
