//! Gets tokens of this host's managed identities. An app authenticates to Entra with such a token (docs/azure-facts.md
//! F141).
//!
//! This module owns one credential of the SDK for each identity. Each credential caches its token until shortly before
//! the token expires.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use azure_core::credentials::TokenCredential;
use secrecy::SecretString;

use crate::azure::cloud::CloudName;
use crate::azure::credential;
use crate::azure::identity::IdentityHost;
use crate::net::calls::Calls;
use crate::ports::VaultError;

/// The managed identities of this host.
pub struct HostAssertions {
    host: IdentityHost,
    cloud: CloudName,
    calls: Arc<Calls>,
    made: Mutex<BTreeMap<String, Arc<dyn TokenCredential>>>,
}

impl fmt::Debug for HostAssertions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HostAssertions").field("host", &self.host).finish_non_exhaustive()
    }
}

impl HostAssertions {
    /// Creates an empty cache of credentials. `host` is the service that issues the tokens. Nothing is sent.
    pub fn new(host: IdentityHost, cloud: CloudName, calls: Arc<Calls>) -> Self {
        Self { host, cloud, calls, made: Mutex::default() }
    }

    /// Returns a token of the identity with this client id. The token's audience is `CloudName::assertion_audience`.
    ///
    /// # Errors
    /// Returns `NoIdentity` if the service issues no token.
    pub async fn token(&self, client_id: &str) -> Result<SecretString, VaultError> {
        let credential = self.of(client_id)?;
        let scope = format!("{}/.default", self.cloud.assertion_audience());
        let token = credential.get_token(&[&scope], None).await;
        let token = token.map_err(|error| credential::no_identity(&error))?;
        Ok(SecretString::from(token.token.secret()))
    }

    fn of(&self, client_id: &str) -> Result<Arc<dyn TokenCredential>, VaultError> {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = made.get(client_id) {
            return Ok(Arc::clone(known));
        }
        let credential = credential::of_host(Some(client_id), &self.host, &self.calls)?;
        made.insert(client_id.to_owned(), Arc::clone(&credential));
        Ok(credential)
    }
}
