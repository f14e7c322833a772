//! The subject of an action: token, app, tenant, the source of its credentials, and the sign-in method.
//!
//! Owns the parts that several actions share: the sign-in command, the page with the rejection, and the line that
//! creates a client secret.

use chrono::TimeDelta;

use crate::ports::failure::Trace;
use crate::process::clock::Timestamp;
use crate::token::managed::ManagedToken;
use crate::token::secret::Source;

/// Lifetime of a new client secret: Microsoft recommends six months at most.
const SECRET_LIVES: TimeDelta = TimeDelta::days(180);

/// The sign-in method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoginMethod {
    /// A browser, with or without a listener.
    Code,
    /// A code typed on another device.
    DeviceCode,
    /// A token brought from elsewhere.
    Import,
    /// No sign-in: the stored token.
    Stored,
}

/// The credentials that Entra rejected.
#[derive(Clone, Copy, Debug)]
pub enum CredentialPlace<'a> {
    /// A token's app.
    App {
        /// The source of its client secret.
        client_secret: &'a Source,
        /// When a new secret would begin.
        now: Timestamp,
    },
    /// The identity configured in `[vault]`.
    Vault {
        /// The source of its client secret; `None` if it has none.
        client_secret: Option<&'a Source>,
    },
}

/// The subject of an action.
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
    /// How Perennial's command is typed in this deployment.
    pub command: &'a str,
    /// As configured.
    pub scope: &'a str,
    /// The sign-in method.
    pub way: LoginMethod,
    /// The rejected credentials.
    pub place: CredentialPlace<'a>,
    /// The user's object id, if known.
    pub user_oid: Option<&'a str>,
    /// The identifiers of the rejection.
    pub trace: &'a Trace,
}

impl<'a> Subject<'a> {
    /// A rejection of a stored token.
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
        // A redemption appears only in this tab of Entra's logs; the first tab shows browser sign-ins only.
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

    /// The tenant by name; a managed identity's tenant is unknown here.
    pub(super) fn in_tenant(&self) -> String {
        match self.place {
            CredentialPlace::Vault { .. } if self.tenant.is_empty() => {
                "the tenant of this identity".to_owned()
            }
            CredentialPlace::App { .. } | CredentialPlace::Vault { .. } => format!("tenant {}", self.tenant),
        }
    }

    /// The user and the app.
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

    /// One line that creates a client secret and, if it belongs in a vault, stores it. Its value is in no argument
    /// list. Nothing is stored if the creation fails.
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
