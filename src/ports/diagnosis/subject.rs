//! Details that an action text needs: token, app, tenant, the source of credentials, and the sign-in method.
//!
//! This module owns the parts that several action texts share. These parts are the sign-in command, the log page that
//! shows the rejection, and the command that creates a client secret.

use chrono::TimeDelta;

use crate::ports::failure::Trace;
use crate::process::clock::Timestamp;
use crate::token::app::CredentialSource;
use crate::token::managed::ManagedToken;
use crate::token::secret::Source;

/// The lifetime of a new client secret that a command stores in a vault. Microsoft recommends at most six months.
const SECRET_LIVES: TimeDelta = TimeDelta::days(180);

/// The method of a sign-in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoginMethod {
    /// Sign-in in a browser, with or without a listener that receives the redirect.
    Code,
    /// Sign-in with a code that the user types on another device.
    DeviceCode,
    /// Import of a token that was obtained elsewhere.
    Import,
    /// No sign-in: Perennial uses the stored token.
    Stored,
}

/// The place of the credentials that Entra rejected.
#[derive(Clone, Copy, Debug)]
pub enum CredentialPlace<'a> {
    /// The credentials of the token's app.
    App {
        /// The credential of the app.
        credential: &'a CredentialSource,
        /// The current time, from which a new client secret is valid.
        now: Timestamp,
    },
    /// The credentials of the identity that `[vault]` configures.
    Vault {
        /// The source of the identity's client secret. `None` if the identity has none.
        client_secret: Option<&'a Source>,
        /// The source of the identity's certificate. `None` if the identity has none.
        certificate: Option<&'a Source>,
    },
}

/// The token, app and tenant that an action text is about.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// The token's name.
    pub name: &'a str,
    /// The configured tenant.
    pub tenant: &'a str,
    /// The app's client id. The configuration contains the id, or names the source of the id.
    pub client_id: &'a str,
    /// Entra's base URL.
    pub authority: &'a str,
    /// The command that starts Perennial in this deployment.
    pub command: &'a str,
    /// The configured scope.
    pub scope: &'a str,
    pub way: LoginMethod,
    /// The place of the rejected credentials.
    pub place: CredentialPlace<'a>,
    /// The user's object id, if known.
    pub user_oid: Option<&'a str>,
    /// The identifiers of Entra's rejection.
    pub trace: &'a Trace,
}

impl<'a> Subject<'a> {
    /// Creates the subject for a rejection of a stored token.
    pub fn of(token: &'a ManagedToken, client_id: &'a str, trace: &'a Trace, now: Timestamp) -> Self {
        Self {
            name: token.name.as_str(),
            tenant: &token.tenant_id,
            client_id,
            authority: &token.deployment.authority,
            command: &token.deployment.command,
            scope: &token.scope,
            way: LoginMethod::Stored,
            place: CredentialPlace::App { credential: &token.app.credential, now },
            user_oid: None,
            trace,
        }
    }

    pub(super) fn login(&self) -> String {
        let name = self.name;
        match self.way {
            LoginMethod::DeviceCode => format!("`perennial login {name} --device-code`"),
            LoginMethod::Code | LoginMethod::Import | LoginMethod::Stored => {
                format!("`perennial login {name}`")
            }
        }
    }

    /// Whether Entra rejected the identity that `[vault]` configures.
    pub(super) fn is_of_vault(&self) -> bool {
        matches!(self.place, CredentialPlace::Vault { .. })
    }

    /// Whether Entra rejected a managed identity. The configuration names no tenant for such an identity.
    pub(super) fn is_managed_identity(&self) -> bool {
        self.is_of_vault() && self.tenant.is_empty()
    }

    /// Whether the app authenticates with an assertion that Perennial does not sign itself.
    pub(super) fn has_foreign_assertion(&self) -> bool {
        match self.place {
            CredentialPlace::App { credential, .. } => {
                matches!(credential, CredentialSource::ManagedIdentity(_) | CredentialSource::Assertion(_))
            }
            CredentialPlace::Vault { client_secret, certificate } => {
                client_secret.is_none() && certificate.is_none()
            }
        }
    }

    /// The command that lists the federated credentials of the app. The identity of `[vault]` may be a user-assigned
    /// identity, which needs a different command. So the text for `[vault]` contains both commands.
    pub(super) fn list_federated(&self) -> String {
        let app = self.client_id;
        match self.place {
            CredentialPlace::App { .. } => format!("`az ad app federated-credential list --id {app}`"),
            CredentialPlace::Vault { .. } => format!(
                "`az ad app federated-credential list --id {app}` (for a user-assigned identity: `az identity federated-credential list --identity-name NAME --resource-group GROUP`)"
            ),
        }
    }

    /// The configuration key that sets the app's id.
    pub(super) fn client_id_key(&self) -> String {
        match self.place {
            CredentialPlace::App { .. } => format!("client_id of {}", self.name),
            CredentialPlace::Vault { .. } => "client_id of [vault]".to_owned(),
        }
    }

    pub(super) fn tenant_key(&self) -> String {
        match self.place {
            CredentialPlace::App { .. } => format!("tenant_id of {}", self.name),
            CredentialPlace::Vault { .. } => "tenant_id of [vault]".to_owned(),
        }
    }

    pub(super) fn sign_in_logs(&self) -> String {
        let by = match &self.trace.correlation_id {
            Some(id) => format!("correlation id {id}"),
            None => format!("app {}", self.client_id),
        };
        // Each tab of the sign-in logs lists one kind of sign-in. The page opens with the interactive sign-ins, which
        // do not include redemptions. The returned text therefore names the right tab.
        let tab = match (self.place, self.way) {
            (CredentialPlace::Vault { .. }, _) => "Service principal sign-ins",
            (CredentialPlace::App { .. }, LoginMethod::Code | LoginMethod::DeviceCode) => {
                "User sign-ins (interactive)"
            }
            (CredentialPlace::App { .. }, LoginMethod::Import | LoginMethod::Stored) => {
                "User sign-ins (non-interactive)"
            }
        };
        format!("Entra admin center, Sign-in logs, {tab}, {}, filter by {by}", self.in_tenant())
    }

    /// The phrase that names the tenant in a text. Perennial does not know the tenant of a managed identity.
    pub(super) fn in_tenant(&self) -> String {
        match self.place {
            CredentialPlace::Vault { .. } if self.tenant.is_empty() => {
                "the tenant of this identity".to_owned()
            }
            CredentialPlace::App { .. } | CredentialPlace::Vault { .. } => format!("tenant {}", self.tenant),
        }
    }

    /// The phrase that names the user and the app in a text.
    pub(super) fn who(&self) -> String {
        match self.place {
            CredentialPlace::App { .. } => format!("the user and app of {}", self.name),
            CredentialPlace::Vault { .. } => "the app of [vault]".to_owned(),
        }
    }

    pub(super) fn entra(&self) -> &str {
        self.authority.trim_end_matches('/')
    }

    pub(super) fn consent_page(&self) -> String {
        format!("{}/{}/adminconsent?client_id={}", self.entra(), self.tenant, self.client_id)
    }

    /// A command line that creates a client secret and, if the secret belongs in a vault, stores it there. The secret
    /// never appears in an argument list. If the creation fails, nothing is stored.
    pub fn new_client_secret(&self) -> String {
        let app = self.client_id;
        let make = |ends: &str| {
            format!(
                "az ad app credential reset --id {app} --append --display-name perennial {ends} --query password --output tsv"
            )
        };
        let (kept, key) = match self.place {
            CredentialPlace::App { credential: CredentialSource::Secret(Source::Secret(at)), now } => {
                let end = (now + SECRET_LIVES).format("%Y-%m-%d");
                let make = make(&format!("--end-date {end}"));
                let (vault, secret) = (at.vault_name(), at.name.as_str());
                return format!(
                    "`s=$({make}) && printf %s \"$s\" | az keyvault secret set --vault-name {vault} --name {secret} --expires {end}T00:00:00Z --file /dev/stdin --output none`"
                );
            }
            CredentialPlace::App { credential, .. } => (credential.source(), self.name),
            CredentialPlace::Vault { client_secret, .. } => (client_secret, "[vault]"),
        };
        let kept = match kept {
            Some(Source::File(path)) => format!("store it in the file {}", path.display()),
            Some(Source::Env(name)) => {
                format!("set the environment variable {name} to this value and restart Perennial")
            }
            Some(Source::Credential(id)) => {
                format!("store it as the systemd credential {id} and restart Perennial")
            }
            Some(Source::Secret(_)) | None => {
                format!("store the value at the configured place (client_secret of {key})")
            }
        };
        format!("`{}` prints the value; {kept}", make("--years 1"))
    }
}
