//! The vault: an adapter for the secrets of Key Vault. The adapter uses the official client.
//!
//! This module owns one client per vault, and decides when to replace it. A client is replaced daily, and after Key
//! Vault or Entra has rejected the identity of this process. `vault_answers` decides what an answer means.
//!
//! Invariants: Until Key Vault has accepted the access token of a client, only one caller at a time uses this client,
//! and other callers wait. A request is repeated only after a 401 or if no access token was obtained. In both cases,
//! the first request had no effect.

mod certificates;
mod listing;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

pub use self::listing::Listed;
use azure_core::credentials::TokenCredential;
use azure_core::http::pager::PagerOptions;
use azure_core::http::request::options::ClientRequestId;
use azure_core::http::{ClientMethodOptions, ClientOptions, Context, RetryOptions, Transport};
use azure_core::time::OffsetDateTime;
use azure_security_keyvault_secrets::models::{
    SecretAttributes, SecretClientGetSecretOptions, SecretClientListSecretPropertiesVersionsOptions,
    SecretClientSetSecretOptions, SecretClientUpdateSecretPropertiesOptions, SetSecretParameters,
    UpdateSecretPropertiesParameters,
};
use azure_security_keyvault_secrets::{SecretClient, SecretClientOptions};
use futures::TryStreamExt as _;
use secrecy::ExposeSecret as _;
use tokio::time::Instant;
use uuid::Uuid;

use crate::azure::cloud::Cloud;
use crate::azure::credential::ForVaults;
use crate::azure::identity::Identity;
use crate::azure::sdk::{CountingTransport, header};
use crate::azure::warm_up::WarmUp;
use crate::azure::{credential, vault_answers};
use crate::net::address::BaseUrl;
use crate::net::calls::{CallTarget, Calls};
use crate::net::http::Http;
use crate::net::no_response::NoResponse;
use crate::ports::{IdentityExpiry, SecretUpdate, Vault, VaultError};
use crate::token::secret::SecretAddress;
use crate::token::version::{NewVersion, Stored, Version, VersionId};

/// The time limit of one call, including the challenge and the access token.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);

/// The maximum number of pages in a list. These pages contain 25,000 versions. Perennial rotates a `strict` token four
/// times a day, so its secret reaches 25,000 versions after seventeen years. If there are more versions, a save cannot
/// be confirmed.
const MAX_PAGES: usize = 1000;

/// How long the clients and the credential are used. After this time, the identity's secret is read again, and the
/// clients and the credential are replaced.
const FRESH_FOR: Duration = Duration::from_secs(24 * 60 * 60);

/// The shortest time between two replacements of the clients and the credential. Within this time, a rejection does not
/// lead to another replacement.
const KEPT_FOR: Duration = Duration::from_secs(60);

/// How long the expiry of the identity's credential is cached.
const EXPIRY_KNOWN_FOR: Duration = Duration::from_secs(60 * 60);

/// The adapter for all vaults.
#[derive(Debug)]
pub struct KeyVault {
    identity: Identity,
    cloud: Cloud,
    http: Arc<Http>,
    calls: Arc<Calls>,
    made: Mutex<Made>,
    /// The cached expiry of the identity's secret or certificate, and when Perennial read the expiry. The inner `None`
    /// means that no expiry is known.
    expiry: Mutex<Option<(Instant, Option<Arc<IdentityExpiry>>)>>,
}

/// The clients and the credential, which are replaced together.
#[derive(Debug)]
struct Made {
    at: Instant,
    credential: Option<Arc<dyn TokenCredential>>,
    lines: BTreeMap<Arc<str>, Arc<VaultConnection>>,
}

impl Made {
    fn nothing() -> Self {
        Self { at: Instant::now(), credential: None, lines: BTreeMap::new() }
    }
}

impl KeyVault {
    /// Creates the adapter for an identity. Nothing is read or sent before the first call.
    pub fn new(identity: Identity, cloud: Cloud, http: Arc<Http>, calls: Arc<Calls>) -> Self {
        Self { identity, cloud, http, calls, made: Mutex::new(Made::nothing()), expiry: Mutex::new(None) }
    }

    /// Makes a call. If Key Vault or Entra rejects the identity of this process, replaces the clients and the
    /// credential and repeats the call. The new credential reads the identity's secret again, because the secret may
    /// have been replaced.
    async fn call<T, F, Fut>(&self, vault: &Arc<str>, what: F) -> Result<T, VaultError>
    where
        F: Fn(Arc<VaultConnection>) -> Fut,
        Fut: Future<Output = Result<T, VaultError>>,
    {
        let line = self.line(vault)?;
        let answer = line.gate.through(what(Arc::clone(&line))).await;
        let answer = match answer {
            Err(VaultError::Unauthorized { .. } | VaultError::NoIdentity { transient: false, .. })
                if self.renew(vault, &line) =>
            {
                let line = self.line(vault)?;
                line.gate.through(what(Arc::clone(&line))).await
            }
            answer => answer,
        };
        answer.map_err(|error| credential::with_advice(error, &self.identity, &self.cloud.authority))
    }

    /// Returns the client of a vault. Creates the client if none exists or if the clients are older than `FRESH_FOR`.
    fn line(&self, vault: &Arc<str>) -> Result<Arc<VaultConnection>, VaultError> {
        let mut made = self.lock();
        if made.at.elapsed() >= FRESH_FOR {
            *made = Made::nothing();
        }
        if let Some(line) = made.lines.get(vault) {
            return Ok(Arc::clone(line));
        }
        let credential = match &made.credential {
            Some(credential) => Arc::clone(credential),
            None => credential::make(&self.identity, &self.cloud.authority, &self.http, &self.calls)?,
        };
        // The configuration accepts only valid vault URLs, so parsing cannot fail here.
        let server = BaseUrl::parse(vault).map_err(|_| no_vault())?;
        let (http, calls) = (Arc::clone(&self.http), Arc::clone(&self.calls));
        let wire = CountingTransport::new(http, calls, CallTarget::KeyVault, server.clone()).into_transport();
        let audience = self.cloud.name.vault_audience();
        let line = Arc::new(VaultConnection {
            client: client(vault, Arc::clone(&credential), audience, wire)?,
            credential: Arc::clone(&credential),
            server,
            gate: WarmUp::default(),
        });
        made.credential = Some(credential);
        made.lines.insert(Arc::clone(vault), Arc::clone(&line));
        Ok(line)
    }

    /// Drops all clients and the credential, unless they are younger than `KEPT_FOR`. Returns whether another client or
    /// credential can be tried now.
    fn renew(&self, vault: &Arc<str>, refused: &Arc<VaultConnection>) -> bool {
        let mut made = self.lock();
        if made.lines.get(vault).is_none_or(|line| !Arc::ptr_eq(line, refused)) {
            return true;
        }
        let due = made.at.elapsed() >= KEPT_FOR;
        if due {
            *made = Made::nothing();
            self.http.distrust();
        }
        due
    }

    fn lock(&self) -> MutexGuard<'_, Made> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn get(
        &self,
        at: &SecretAddress,
        version: Option<&VersionId>,
        id: Uuid,
    ) -> Result<Stored, VaultError> {
        if version.is_some_and(|version| !vault_answers::is_version_id(&version.0)) {
            return Err(VaultError::NotFound);
        }
        self.call(&at.vault, |line| async move {
            let options = SecretClientGetSecretOptions {
                method_options: with_id(id),
                secret_version: version.map(ToString::to_string),
                ..SecretClientGetSecretOptions::default()
            };
            let answer = bounded(line.client.get_secret(at.name.as_str(), Some(options))).await?;
            let (_, headers, body) = answer.deconstruct();
            vault_answers::stored(at, header(&headers, "date"), &body)
        })
        .await
    }
}

impl Vault for KeyVault {
    fn identity_expiry(&self) -> Option<Arc<IdentityExpiry>> {
        let mut known = self.expiry.lock().unwrap_or_else(PoisonError::into_inner);
        match &*known {
            Some((read_at, expiry)) if read_at.elapsed() < EXPIRY_KNOWN_FOR => expiry.clone(),
            _ => {
                let expiry = credential::expiry(&self.identity, &self.cloud.authority);
                *known = Some((Instant::now(), expiry.clone()));
                expiry
            }
        }
    }

    async fn newest(&self, at: &SecretAddress, id: Uuid) -> Result<Stored, VaultError> {
        self.get(at, None, id).await
    }

    async fn read(&self, at: &SecretAddress, version: &VersionId, id: Uuid) -> Result<Stored, VaultError> {
        self.get(at, Some(version), id).await
    }

    async fn versions(&self, at: &SecretAddress, id: Uuid) -> Result<Vec<Version>, VaultError> {
        self.call(&at.vault, |line| async move { list(&line.client, at, id).await }).await
    }

    async fn write(&self, at: &SecretAddress, new: &NewVersion, id: Uuid) -> Result<Version, VaultError> {
        self.call(&at.vault, |line| async move {
            let parameters = SetSecretParameters {
                value: Some(new.value.expose_secret().to_owned()),
                content_type: new.content_type.map(str::to_owned),
                secret_attributes: Some(SecretAttributes {
                    enabled: Some(true),
                    expires: OffsetDateTime::from_unix_timestamp(new.expires.timestamp()).ok(),
                    ..SecretAttributes::default()
                }),
                tags: Some(new.tags.owned().collect()),
            };
            let parameters = parameters.try_into().map_err(|_| VaultError::NotUnderstood)?;
            let options = SecretClientSetSecretOptions { method_options: with_id(id) };
            let answer = bounded(line.client.set_secret(at.name.as_str(), parameters, Some(options))).await?;
            vault_answers::written(at, &answer.into_body())
        })
        .await
    }

    async fn update(
        &self,
        at: &SecretAddress,
        version: &VersionId,
        change: &SecretUpdate,
        id: Uuid,
    ) -> Result<(), VaultError> {
        if !vault_answers::is_version_id(&version.0) {
            return Err(VaultError::NotFound);
        }
        self.call(&at.vault, |line| async move {
            let attributes = SecretAttributes { enabled: change.enabled, ..SecretAttributes::default() };
            let parameters = UpdateSecretPropertiesParameters {
                secret_attributes: change.enabled.map(|_| attributes),
                tags: change.tags.as_ref().map(|tags| tags.owned().collect()),
                ..UpdateSecretPropertiesParameters::default()
            };
            let parameters = parameters.try_into().map_err(|_| VaultError::NotUnderstood)?;
            let options = SecretClientUpdateSecretPropertiesOptions {
                method_options: with_id(id),
                secret_version: Some(version.to_string()),
            };
            let update = line.client.update_secret_properties(at.name.as_str(), parameters, Some(options));
            bounded(update).await?;
            Ok(())
        })
        .await
    }
}

/// The client of one vault.
struct VaultConnection {
    client: SecretClient,
    /// The credential for the requests in `certificates`, which `client` does not support.
    credential: Arc<dyn TokenCredential>,
    server: BaseUrl,
    gate: WarmUp,
}

impl fmt::Debug for VaultConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VaultConnection").field("gate", &self.gate).finish_non_exhaustive()
    }
}

/// Creates the client of one vault. The client sends this process's access token only to hosts in the domain of the
/// vaults, or to an emulator on this machine. An emulator may request an access token for any audience.
pub(super) fn client(
    vault: &str,
    credential: Arc<dyn TokenCredential>,
    audience: BaseUrl,
    transport: Transport,
) -> Result<SecretClient, VaultError> {
    let loopback = BaseUrl::parse(vault).map_err(|_| no_vault())?.is_loopback();
    let credential: Arc<dyn TokenCredential> =
        if loopback { credential } else { Arc::new(ForVaults { credential, audience }) };
    let options = SecretClientOptions {
        client_options: ClientOptions {
            transport: Some(transport),
            // The SDK must not retry, because each repeated PUT would create another version of the secret. Perennial
            // does all retries in the loop of each token.
            retry: RetryOptions::none(),
            ..ClientOptions::default()
        },
        verify_challenge_resource: Some(!loopback),
        ..SecretClientOptions::default()
    };
    SecretClient::new(vault, credential, Some(options)).map_err(|_| no_vault())
}

fn no_vault() -> VaultError {
    VaultError::Unreachable(NoResponse::NameUnknown)
}

async fn list(client: &SecretClient, at: &SecretAddress, id: Uuid) -> Result<Vec<Version>, VaultError> {
    let options = SecretClientListSecretPropertiesVersionsOptions {
        method_options: PagerOptions { context: context(id), ..PagerOptions::default() },
        ..SecretClientListSecretPropertiesVersionsOptions::default()
    };
    let listed = client.list_secret_properties_versions(at.name.as_str(), Some(options));
    let mut pages = listed.map_err(|error| vault_answers::failed(&error))?.into_pages();
    let mut versions = Vec::new();
    let mut links = BTreeSet::new();
    for _ in 0..MAX_PAGES {
        let Some(page) = bounded(pages.try_next()).await? else { return Ok(versions) };
        let (on_it, next) = vault_answers::listed(at, &page.into_body())?;
        versions.extend(on_it);
        // If the server repeats a link, stop. Otherwise the loop would send `MAX_PAGES` requests. The transport rejects
        // a link to another server, so this code does not check the link's server.
        if next.is_some_and(|link| !links.insert(link)) {
            break;
        }
    }
    Err(VaultError::NotUnderstood)
}

fn with_id(id: Uuid) -> ClientMethodOptions<'static> {
    ClientMethodOptions { context: context(id) }
}

fn context(id: Uuid) -> Context<'static> {
    Context::new().with_value(ClientRequestId::new(id.to_string()))
}

async fn bounded<T>(call: impl Future<Output = azure_core::Result<T>>) -> Result<T, VaultError> {
    match tokio::time::timeout(CALL_TIMEOUT, call).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(vault_answers::failed(&error)),
        Err(_) => Err(VaultError::Unreachable(NoResponse::TimedOut)),
    }
}

#[cfg(test)]
mod tests;
