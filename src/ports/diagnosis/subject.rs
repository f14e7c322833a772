//! What an action is about: whose token, app and tenant, where its credentials are kept, and how a person gets at them.
//!
//! Owns the parts that several actions share: the command that signs in, the page with the refusal, the line that makes a
//! client secret.

use chrono::TimeDelta;

use crate::ports::failure::Trace;
use crate::process::clock::Timestamp;
use crate::token::managed::ManagedToken;
use crate::token::secret::Source;

/// How long a new client secret is to live: Microsoft recommends six months at most.
const SECRET_LIVES: TimeDelta = TimeDelta::days(180);

/// Which way somebody signs in, or would.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoginMethod {
    /// A browser, with or without a listener.
    Code,
    /// A code typed on another device.
    DeviceCode,
    /// A token brought from elsewhere.
    Import,
    /// No sign-in: the token that is stored.
    Stored,
}

/// Whose credentials Entra refused.
#[derive(Clone, Copy, Debug)]
pub enum CredentialPlace<'a> {
    /// The app's of a token.
    App {
        /// Where its client secret is read.
        client_secret: &'a Source,
        /// When a new secret would begin.
        now: Timestamp,
    },
    /// Those of the vault's identity, configured in `[vault]`.
    Vault {
        /// Where its client secret is read; none where it has no such secret.
        client_secret: Option<&'a Source>,
    },
}

/// What an action is about.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// The token's name.
    pub name: &'a str,
    /// As configured.
    pub tenant: &'a str,
    /// As configured or read.
    pub client_id: &'a str,
    /// Entra's base URL.
    pub authority: &'a str,
    /// How a command of Perennial's is typed here.
    pub command: &'a str,
    /// As configured.
    pub scope: &'a str,
    /// Which way.
    pub way: LoginMethod,
    /// Whose credentials.
    pub place: CredentialPlace<'a>,
    /// The user's object id, where it is known.
    pub user_oid: Option<&'a str>,
    /// By what the refusal is found.
    pub trace: &'a Trace,
}

impl<'a> Subject<'a> {
    /// A refusal of what is stored for a token.
    pub fn of(token: &'a ManagedToken, client_id: &'a str, trace: &'a Trace, now: Timestamp) -> Self {
        Self {
            name: token.name.as_str(),
            tenant: &token.tenant_id,
            client_id,
            authority: &token.deployment.authority,
            command: &token.deployment.command,
            scope: &token.scope,
            way: LoginMethod::Stored,
            place: CredentialPlace::App { client_secret: &token.client_secret, now },
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

    /// The configuration key of the app's id.
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
        // A redemption is in no other tab than this; the first one shows only what happened in a browser.
        let tab = match (self.place, self.way) {
            (CredentialPlace::Vault { .. }, _) => "Service principal sign-ins",
            (CredentialPlace::App { .. }, LoginMethod::Code | LoginMethod::DeviceCode) => {
                "User sign-ins (interactive)"
            }
            (CredentialPlace::App { .. }, LoginMethod::Import | LoginMethod::Stored) => {
                "User sign-ins (non-interactive)"
            }
        };
        format!("Entra admin center, Sign-in logs, {tab}, {}, by {by}", self.in_tenant())
    }

    /// The tenant by name; a managed identity's is not known here.
    pub(super) fn in_tenant(&self) -> String {
        match self.place {
            CredentialPlace::Vault { .. } if self.tenant.is_empty() => {
                "the tenant of this identity".to_owned()
            }
            CredentialPlace::App { .. } | CredentialPlace::Vault { .. } => format!("tenant {}", self.tenant),
        }
    }

    /// Whose user and app it is about.
    pub(super) fn who(&self) -> String {
        match self.place {
            CredentialPlace::App { .. } => format!("{}'s user and app", self.name),
            CredentialPlace::Vault { .. } => "the app of [vault]".to_owned(),
        }
    }

    pub(super) fn entra(&self) -> &str {
        self.authority.trim_end_matches('/')
    }

    pub(super) fn consent_page(&self) -> String {
        format!("{}/{}/adminconsent?client_id={}", self.entra(), self.tenant, self.client_id)
    }

    /// One line makes a client secret and stores it, where it is kept in a vault; its value is in no argument list. Nothing is
    /// stored where none was made.
    pub fn new_client_secret(&self) -> String {
        let app = self.client_id;
        let make = |ends: &str| {
            format!(
                "az ad app credential reset --id {app} --append --display-name perennial {ends} --query password --output tsv"
            )
        };
        let (kept, key) = match self.place {
            CredentialPlace::App { client_secret: Source::Secret(at), now } => {
                let end = (now + SECRET_LIVES).format("%Y-%m-%d");
                let make = make(&format!("--end-date {end}"));
                let (vault, secret) = (at.vault_name(), at.name.as_str());
                return format!(
                    "`s=$({make}) && printf %s \"$s\" | az keyvault secret set --vault-name {vault} --name {secret} --expires {end}T00:00:00Z --file /dev/stdin --output none`"
                );
            }
            CredentialPlace::App { client_secret, .. } => (Some(client_secret), self.name),
            CredentialPlace::Vault { client_secret } => (client_secret, "[vault]"),
        };
        let kept = match kept {
            Some(Source::File(path)) => format!("store it in the file {}", path.display()),
            Some(Source::Env(name)) => {
                format!("set the environment variable {name} to it and restart Perennial")
            }
            Some(Source::Credential(id)) => {
                format!("make it the systemd credential {id} and restart Perennial")
            }
            Some(Source::Secret(_)) | None => format!("store it where client_secret of {key} is read"),
        };
        format!("`{}` shows it; {kept}", make("--years 1"))
    }
}
