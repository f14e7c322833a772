//! A draft of a configuration and its text.

use super::{InitArgs, layout};

/// The values of the draft that are known so far.
#[derive(Clone, Debug, Default)]
pub(super) struct Draft {
    pub(super) vault: String,
    pub(super) name: String,
    pub(super) tenant: Option<String>,
    pub(super) client_id: Option<String>,
    /// The name of the vault secret that contains the app's id, if the id is stored in the vault.
    pub(super) app_id_secret: Option<String>,
    pub(super) app_secret: Option<String>,
    /// The app's credential as a line of TOML, if the credential is not a client secret.
    pub(super) credential: Option<String>,
    pub(super) refresh_token: Option<String>,
}

/// A placeholder for unknown ids. An incomplete draft must also be a valid configuration, since `init` builds the
/// vault's client from this draft. The placeholder is never written to the file.
const UNKNOWN: &str = "00000000-0000-0000-0000-000000000001";

impl Draft {
    /// Creates a draft from the values of the flags.
    pub(super) fn given(args: &InitArgs, vault: &str) -> Self {
        let known = |name: &str| args.from.map(|_| name.to_owned());
        Self {
            vault: vault.to_owned(),
            name: args.name.clone(),
            tenant: args.tenant.clone(),
            client_id: args.client_id.clone(),
            app_id_secret: known(layout::APP_ID),
            app_secret: args.app_secret.clone().or_else(|| known(layout::APP_SECRET)),
            credential: credential(args),
            refresh_token: args.refresh_token.clone().or_else(|| known(layout::REFRESH_TOKEN)),
        }
    }

    /// Returns the flags for the values that are still missing.
    pub(super) fn missing(&self) -> Vec<&'static str> {
        let known = [
            ("--tenant", self.tenant.is_some()),
            ("--client-id", self.client_id.is_some() || self.app_id_secret.is_some()),
            ("--app-secret", self.app_secret.is_some() || self.credential.is_some()),
            ("--refresh-token", self.refresh_token.is_some()),
        ];
        known.into_iter().filter(|(_, known)| !known).map(|(flag, _)| flag).collect()
    }

    /// Returns the draft as TOML.
    pub(super) fn text(&self) -> String {
        let known = |value: &Option<String>, unknown: &str| quoted(value.as_deref().unwrap_or(unknown));
        let client_id = match &self.app_id_secret {
            Some(secret) => format!("{{ secret = {} }}", quoted(secret)),
            None => known(&self.client_id, UNKNOWN),
        };
        let credential = self.credential.clone().unwrap_or_else(|| {
            format!("client_secret = {{ secret = {} }}", known(&self.app_secret, "app-secret"))
        });
        format!(
            "# Written by `perennial init`. config/perennial.toml in the sources shows all keys and their defaults.

[vault]
url = {}

[[token]]
name = {}
tenant_id = {}
client_id = {client_id}
{credential}
refresh_token = {}
",
            quoted(&self.vault),
            quoted(&self.name),
            known(&self.tenant, UNKNOWN),
            known(&self.refresh_token, "refresh-token"),
        )
    }
}

/// Returns the TOML line of the app's credential if a flag names a credential that is not a client secret.
fn credential(args: &InitArgs) -> Option<String> {
    let line = |key: &str, kind: &str, value: &String| format!("{key} = {{ {kind} = {} }}", quoted(value));
    let key = args.app_key.as_ref().map(|name| line("client_certificate", "key", name));
    let certificate = args.app_certificate.as_ref().map(|name| line("client_certificate", "secret", name));
    let identity = args.managed_identity.as_ref().map(|id| line("client_assertion", "managed_identity", id));
    key.or(certificate).or(identity)
}

/// Returns a text as a TOML basic string, which has the same form as a JSON string.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
