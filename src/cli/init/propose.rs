//! Proposes the values of a configuration. The proposal uses the content type, the tags and the name of each secret in
//! a vault (docs/azure-facts.md F222). This module is pure.

use secrecy::ExposeSecret as _;
use secrecy::SecretString;

use crate::azure::key_vault::Listed;
use crate::config;
use crate::process::text;
use crate::token::secret::SecretName;
use crate::token::version::{CONTENT_TYPE, tag};

/// The proposed configuration.
#[derive(Clone, Debug, Default)]
pub(super) struct Proposal {
    pub(super) tenant: Option<String>,
    /// The name of the secret that contains the tenant's id.
    pub(super) tenant_secret: Option<SecretName>,
    pub(super) client_id: Option<String>,
    pub(super) app_id_secret: Option<String>,
    pub(super) app_secret: Option<String>,
    pub(super) refresh_token: Option<String>,
}

impl Proposal {
    /// Creates a proposal from the list. If Perennial has written a token, the token's tags contain the tenant and the
    /// app.
    pub(super) fn of(listed: &[Listed]) -> Self {
        let named = |words: &[&str]| {
            listed.iter().find(|secret| {
                let name = plain(secret.name.as_str());
                words.iter().any(|word| name.ends_with(word)) && !is_token(secret)
            })
        };
        let token = listed
            .iter()
            .find(|secret| is_ours(secret))
            .or_else(|| listed.iter().find(|secret| is_token(secret)));
        // A tag can contain any text, and the command shows the proposal on a terminal. So the code below checks this
        // text.
        let told = |tag: &str| token?.tags.get(tag);
        let text = |secret: &Listed| secret.name.as_str().to_owned();
        let client_id = told(tag::CLIENT_ID).and_then(text::guid);
        Self {
            tenant: told(tag::TENANT_ID).and_then(config::tenant),
            tenant_secret: named(&["tenantid"]).map(|secret| secret.name.clone()),
            // If a tag contains the app's id, the id need not be read from a secret.
            app_id_secret: match client_id {
                Some(_) => None,
                None => named(&["applicationid", "appid", "clientid"]).map(text),
            },
            client_id,
            app_secret: named(&["applicationsecret", "appsecret", "clientsecret"]).map(text),
            refresh_token: token.map(text),
        }
    }
}

/// Returns the value if it is a tenant's id.
pub(super) fn tenant(value: &SecretString) -> Option<String> {
    text::guid(text::bare(value.expose_secret()))
}

fn is_ours(secret: &Listed) -> bool {
    secret.content_type.as_deref() == Some(CONTENT_TYPE) || secret.tags.contains(tag::MANAGED_BY)
}

fn is_token(secret: &Listed) -> bool {
    is_ours(secret) || plain(secret.name.as_str()).contains("refreshtoken")
}

/// Returns the letters and digits of a name in lower case, so that `RefreshToken` equals `refresh-token`.
fn plain(name: &str) -> String {
    name.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(names: &[&str]) -> Vec<Listed> {
        let one = |name: &&str| Listed {
            name: SecretName::parse(name).expect("a name"),
            content_type: None,
            tags: std::iter::empty::<(String, String)>().collect(),
        };
        names.iter().map(one).collect()
    }

    #[test]
    fn common_secret_names_are_recognized_in_any_spelling() {
        let cipp = ["ApplicationID", "ApplicationSecret", "RefreshToken", "TenantID"];
        let found = Proposal::of(&listed(&cipp));
        assert_eq!(found.app_id_secret.as_deref(), Some("ApplicationID"));
        assert_eq!(found.app_secret.as_deref(), Some("ApplicationSecret"));
        assert_eq!(found.refresh_token.as_deref(), Some("RefreshToken"));
        assert_eq!(found.tenant_secret, SecretName::parse("TenantID"));

        let found = Proposal::of(&listed(&["partner-app-secret", "partner-refresh-token", "sql-password"]));
        assert_eq!(found.app_secret.as_deref(), Some("partner-app-secret"));
        assert_eq!(found.refresh_token.as_deref(), Some("partner-refresh-token"));
        assert_eq!(found.app_id_secret, None);
    }

    #[test]
    fn the_tags_of_our_token_name_its_tenant_and_app() {
        let id = "0ed4b3a5-1b4c-4a5e-8a6f-0123456789ab";
        let of = |tenant, client| {
            let mut all = listed(&["a-refresh-token", "odd-name", "client-id"]);
            let tags =
                [(tag::MANAGED_BY, "perennial/1 run"), (tag::TENANT_ID, tenant), (tag::CLIENT_ID, client)];
            all[1].tags = tags.into_iter().collect();
            Proposal::of(&all)
        };

        for tenant in [id, "contoso.onmicrosoft.com"] {
            let found = of(tenant, id);
            assert_eq!((found.tenant.as_deref(), found.client_id.as_deref()), (Some(tenant), Some(id)));
            assert_eq!((found.refresh_token.as_deref(), found.app_id_secret), (Some("odd-name"), None));
        }
        let found = of("\u{1b}[2J", "\u{1b}]0;owned\u{7}");
        assert_eq!((found.tenant, found.client_id), (None, None), "a tag can hold anything");
        assert_eq!(found.app_id_secret.as_deref(), Some("client-id"));
    }
}
