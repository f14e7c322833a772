//! Lists a vault's secrets by name, for the command `init`, which proposes a configuration. The daemon never lists a
//! vault's secrets.

use std::sync::Arc;

use azure_core::http::pager::PagerOptions;
use azure_security_keyvault_secrets::models::SecretClientListSecretPropertiesOptions;
use futures::TryStreamExt as _;
use uuid::Uuid;

use super::{KeyVault, MAX_PAGES, bounded, context};
use crate::azure::vault_answers;
use crate::ports::VaultError;
use crate::token::secret::SecretName;
use crate::token::tags::Tags;

/// A secret in a vault's list of secrets.
#[derive(Clone, Debug)]
pub struct Listed {
    pub name: SecretName,
    pub content_type: Option<String>,
    /// The tags of the secret's newest version.
    pub tags: Tags,
}

impl KeyVault {
    /// Lists the names of the vault's secrets without their values. Returns at most 25,000 secrets.
    ///
    /// # Errors
    /// Returns the vault's error. `VaultError::failure` converts this error to a failure with a remedy and a text.
    pub async fn secrets(&self, vault: &Arc<str>, id: Uuid) -> Result<Vec<Listed>, VaultError> {
        let mut found = self
            .call(vault, |line| async move {
                let options = SecretClientListSecretPropertiesOptions {
                    method_options: PagerOptions { context: context(id), ..PagerOptions::default() },
                    ..SecretClientListSecretPropertiesOptions::default()
                };
                let listed = line.client.list_secret_properties(Some(options));
                let mut pages = listed.map_err(|error| vault_answers::failed(&error))?.into_pages();
                let mut found = Vec::new();
                for _ in 0..MAX_PAGES {
                    let Some(page) = bounded(pages.try_next()).await? else { break };
                    let page = page.into_model().map_err(|_| VaultError::NotUnderstood)?;
                    found.extend(page.value.into_iter().filter_map(|item| {
                        let id = item.id?;
                        let (_, path) = id.split_once("/secrets/")?;
                        let name = SecretName::parse(path.split('/').next()?)?;
                        let tags = item.tags.unwrap_or_default().into_iter().collect();
                        Some(Listed { name, content_type: item.content_type, tags })
                    }));
                }
                Ok(found)
            })
            .await?;
        found.sort_by(|a, b| a.name.as_str().cmp(b.name.as_str()));
        Ok(found)
    }
}
