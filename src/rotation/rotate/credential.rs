//! Reads the app's credential, authenticates the app in a request, and finds the version of the credential that Entra
//! accepts.
//!
//! Perennial uses the newest version in a vault, unless Entra rejects that version and accepts an older one. Entra may
//! reject the newest version, because Key Vault can renew a certificate without telling Entra (docs/azure-facts.md
//! F142).
//!
//! Invariant: a private key with which Key Vault signs never leaves Key Vault. Each signed request has a new assertion.

mod failures;

use std::fmt;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use secrecy::{ExposeSecret as _, SecretString};
use uuid::Uuid;

use self::failures::{no_app_id, no_host_assertion, no_secret, unreadable};
use super::Rotator;
use crate::ports::client::{AppSignIn, ClientProof, CredentialVerdict, VaultCertificate};
use crate::ports::diagnosis::Subject;
use crate::ports::failure::{Failure, FailureSubject, Kind, Remedy, Trace};
use crate::ports::{Certificates as _, Issuer, Resource, SecretRole, Vault, VaultError};
use crate::process::clock::Timestamp;
use crate::process::text;
use crate::rotation::state::further_pages;
use crate::token::app::{CredentialSource, ManagedApp};
use crate::token::certificate::{self, Assertion, CertificateFacts, SigningCertificate};
use crate::token::local_secret;
use crate::token::secret::{ConfigValue, SecretAddress, Source};
use crate::token::version::{Stored, Version, VersionId};

/// The number of older versions that are tried if Entra rejects the newest one.
const OLDER_VERSIONS_TRIED: usize = 3;

/// The app's id and credential, read once per step.
pub(crate) struct AppCredential {
    pub(crate) client_id: String,
    key: CredentialKey,
    /// The credential's version in the vault, if the credential is in a vault.
    pub(crate) version: Option<Version>,
    /// When the credential expires, according to the certificate or the vault.
    pub(crate) expires: Option<Timestamp>,
    /// Whether the private key can be read from the vault. `None` if Key Vault does not sign for the app, or does not
    /// say whether the key is exportable.
    pub(crate) is_exportable: Option<bool>,
    /// A number that changes when the id or the credential changes.
    pub(super) fingerprint: u64,
}

/// The secret, certificate or key with which the app authenticates.
enum CredentialKey {
    Secret(SecretString),
    Certificate(Box<SigningCertificate>),
    InVault { at: SecretAddress, version: VersionId, public: CertificateFacts },
    HostIdentity(String),
    Assertion(SecretString),
}

impl fmt::Debug for AppCredential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { client_id, version, expires, .. } = self;
        f.debug_struct("AppCredential")
            .field("client_id", client_id)
            .field("version", version)
            .field("expires", expires)
            .finish_non_exhaustive()
    }
}

impl AppCredential {
    /// Returns the number of vault calls that are needed to authenticate the app once.
    pub(super) fn calls_to_prove(&self) -> usize {
        usize::from(matches!(self.key, CredentialKey::InVault { .. }))
    }

    /// Returns when the credential was stored in the vault.
    pub(super) fn created(&self) -> Option<Timestamp> {
        self.version.as_ref().map(|version| version.created)
    }
}

/// The result of a search for an older version of the credential that Entra accepts.
pub(crate) struct OlderSearch {
    pub(crate) found: Option<AppCredential>,
    /// The number of calls to the vault.
    pub(super) calls: usize,
    /// Whether the result is reliable: Perennial listed the versions, and Entra accepted or rejected each version that
    /// the search tried. If not, another search may find a version that Entra accepts.
    pub(super) is_certain: bool,
}

/// A value that was read, and the number of vault calls that the read took.
type Read<T> = Result<(T, usize), Failure>;

impl<I: Issuer + Sync, V: Vault + Sync, R: Resource + Sync> Rotator<I, V, R> {
    /// Reads the app's id and the newest version of the app's credential. If Perennial renews the app's certificate,
    /// reads the newest version that Entra accepts.
    pub(crate) async fn read_credential(&self, id: Uuid) -> Read<AppCredential> {
        let (client_id, calls) =
            read_client_id(&self.vaults(), &self.grant.app, self.grant.name.as_str(), id).await?;
        let app = &self.grant.app;
        let (credential, more) = match app.credential.in_vault() {
            Some(at) if app.renew.is_some() && app.credential.is_certificate() => {
                self.read_accepted(client_id, at, id).await?
            }
            _ => self.read_version(client_id, None, id).await?,
        };
        Ok((credential, calls + more))
    }

    /// Reads a certificate that Perennial renews. Of the versions that Entra accepts (`Version::is_accepted`), reads
    /// the newest one. If there is no such version, reads the newest version of all.
    async fn read_accepted(&self, client_id: String, at: &SecretAddress, id: Uuid) -> Read<AppCredential> {
        let now = self.clock.now();
        let newest = self.vaults().certificate(at, None, id).await;
        match &newest {
            Ok(found) if found.version.is_accepted(now) => {
                let (credential, calls) = self.read_version(client_id, Some(&found.version.id), id).await?;
                return Ok((credential, calls + 1));
            }
            // If the newest version is not accepted or is disabled, the newest accepted version is used.
            Ok(_) | Err(VaultError::Disabled) => {}
            Err(error) => return Err(error.failure(SecretRole::SigningKey, at)),
        }
        let listed = self.vaults().certificate_versions(at, id).await;
        let listed = listed.map_err(|error| error.failure(SecretRole::SigningKey, at))?;
        let accepted = listed.iter().filter(|version| version.is_accepted(now));
        let chosen = accepted.max_by_key(|version| version.created).map(|version| version.id.clone());
        let chosen = chosen.or_else(|| newest.ok().map(|found| found.version.id));
        let (credential, calls) = self.read_version(client_id, chosen.as_ref(), id).await?;
        Ok((credential, calls + 2 + further_pages(listed.len())))
    }

    /// Reads a version of the credential, or the newest version if `None` is given.
    async fn read_version(
        &self,
        client_id: String,
        version: Option<&VersionId>,
        id: Uuid,
    ) -> Read<AppCredential> {
        let mut hasher = DefaultHasher::new();
        client_id.hash(&mut hasher);
        let mut is_exportable = None;
        let (key, version, expires) = match &self.grant.app.credential {
            CredentialSource::Secret(source) => {
                let read = read_source(&self.vaults(), source, version, id).await;
                let (secret, version) = read.map_err(|failure| {
                    no_secret(failure, source, &self.grant, &client_id, self.clock.now())
                })?;
                secret.expose_secret().hash(&mut hasher);
                let expires = version.as_ref().and_then(|version| version.expires);
                (CredentialKey::Secret(secret), version, expires)
            }
            CredentialSource::Certificate(source) => {
                let (key, version) = self.read_certificate(source, version, id).await?;
                key.public.thumbprint.hash(&mut hasher);
                let expires = Some(key.public.ends);
                (CredentialKey::Certificate(Box::new(key)), version, expires)
            }
            CredentialSource::VaultKey(at) => {
                let found = self.vaults().certificate(at, version, id).await;
                let VaultCertificate { version, der, is_exportable: told, .. } =
                    found.map_err(|error| error.failure(SecretRole::SigningKey, at))?;
                let public = CertificateFacts::of_der(&der).ok_or_else(|| {
                    unreadable(format!("{at} contains no certificate that Perennial can parse"))
                })?;
                public.thumbprint.hash(&mut hasher);
                is_exportable = told;
                let key = CredentialKey::InVault { at: at.clone(), version: version.id.clone(), public };
                (key, Some(version), Some(public.ends))
            }
            CredentialSource::ManagedIdentity(identity) => {
                identity.hash(&mut hasher);
                (CredentialKey::HostIdentity(identity.clone()), None, None)
            }
            CredentialSource::Assertion(source) => {
                let (assertion, version) = read_source(&self.vaults(), source, version, id).await?;
                (CredentialKey::Assertion(assertion), version, None)
            }
        };
        let calls = usize::from(version.is_some());
        let fingerprint = hasher.finish();
        Ok((AppCredential { client_id, key, version, expires, is_exportable, fingerprint }, calls))
    }

    async fn read_certificate(
        &self,
        source: &Source,
        version: Option<&VersionId>,
        id: Uuid,
    ) -> Result<(SigningCertificate, Option<Version>), Failure> {
        let parsed = |content: &[u8]| {
            SigningCertificate::parse(content).map_err(|error| {
                let place = local_secret::place(source);
                unreadable(format!("the app's certificate cannot be used: {place} {error}"))
            })
        };
        if let Source::Secret(_) = source {
            let (content, version) = read_source(&self.vaults(), source, version, id).await?;
            return Ok((parsed(content.expose_secret().as_bytes())?, version));
        }
        let content = local_secret::read_bytes(source);
        let content = content
            .map_err(|error| unreadable(format!("the app's certificate could not be read: {error}")))?;
        Ok((parsed(&content)?, None))
    }

    /// Returns the secret or the assertion that authenticates the app in one request to a tenant (`ClientProof`).
    pub(crate) async fn client_proof(
        &self,
        credential: &AppCredential,
        tenant: &str,
        id: Uuid,
    ) -> Result<ClientProof, Failure> {
        let now = self.clock.now();
        let audience = self.issuer.assertion_audience(tenant);
        let claims = |public: &CertificateFacts| {
            let thumbprint = &public.thumbprint;
            let client_id = &credential.client_id;
            Assertion { thumbprint, audience: &audience, client_id, now, id: Uuid::new_v4() }.signing_input()
        };
        match &credential.key {
            CredentialKey::Secret(secret) => Ok(ClientProof::Secret(secret.clone())),
            CredentialKey::Assertion(assertion) => Ok(ClientProof::Assertion(assertion.clone())),
            CredentialKey::Certificate(key) => {
                self.in_time(credential, &key.public)?;
                let input = claims(&key.public);
                let signature = key.sign(&input).ok_or_else(|| {
                    unreadable("the app's certificate could not sign an assertion".to_owned())
                })?;
                Ok(ClientProof::Assertion(certificate::signed(&input, &signature)))
            }
            CredentialKey::InVault { at, version, public } => {
                self.in_time(credential, public)?;
                let input = claims(public);
                let signature = self.vaults().sign(at, version, &certificate::digest_of(&input), id).await;
                let signature = signature.map_err(|error| error.failure(SecretRole::SigningKey, at))?;
                Ok(ClientProof::Assertion(certificate::signed(&input, &signature)))
            }
            CredentialKey::HostIdentity(identity) => {
                let token = self.issuer.host_assertion(identity).await;
                token.map(ClientProof::Assertion).map_err(|error| no_host_assertion(identity, &error))
            }
        }
    }

    /// Rejects a certificate that is expired or not valid yet. Entra would reject such a certificate, too, but Entra's
    /// code does not name the reason.
    fn in_time(&self, credential: &AppCredential, public: &CertificateFacts) -> Result<(), Failure> {
        let now = self.clock.now();
        if public.is_valid_at(now) {
            return Ok(());
        }
        let at = |at: Timestamp| at.format("%Y-%m-%d %H:%M UTC");
        let trace = Trace::default();
        let subject = Subject::of(&self.grant, &credential.client_id, &trace, now);
        let (summary, action) = if now < public.begins {
            let begins = at(public.begins);
            let wait = format!(
                "wait until {begins}, or set this host's clock if it is wrong: `timedatectl set-ntp true`; or {}",
                subject.new_certificate()
            );
            (format!("the app's certificate is not valid before {begins}"), wait)
        } else {
            (format!("the app's certificate expired at {}", at(public.ends)), subject.new_certificate())
        };
        let (kind, about) = (Kind::AppCredentialRefused, FailureSubject::AppCredential);
        let action = Some(self.grant.deployment.typed(&action).into());
        Err(Failure { action, ..Failure::new(kind, Remedy::Operator, about, summary) })
    }

    /// Tests whether Entra accepts a credential. Requests a token for the app itself. No refresh token is redeemed.
    pub(crate) async fn try_credential(&self, credential: &AppCredential, id: Uuid) -> CredentialVerdict {
        let tenant = self.grant.app.home_tenant.as_deref().unwrap_or(&self.grant.tenant_id);
        let proof = match self.client_proof(credential, tenant, id).await {
            Ok(proof) => proof,
            Err(failure) if failure.is_of_certificate() => return CredentialVerdict::Rejected,
            Err(_) => return CredentialVerdict::Untested,
        };
        let scope = own_scope(&self.grant.scope);
        let request =
            AppSignIn { tenant, client_id: &credential.client_id, proof: &proof, scope: &scope, id };
        CredentialVerdict::of(&self.issuer.authenticate(&request).await)
    }

    /// Tries at most `OLDER_VERSIONS_TRIED` other valid versions, the newest first. Returns the first one that Entra
    /// accepts, with the number of vault calls. If the list fails or no version is accepted, returns no version, and
    /// the caller reports the rejection.
    pub(crate) async fn older_credential(
        &self,
        client_id: &str,
        rejected: &VersionId,
        id: Uuid,
    ) -> OlderSearch {
        let mut search = OlderSearch { found: None, calls: 0, is_certain: true };
        let Some(at) = self.grant.app.credential.in_vault() else { return search };
        let listed = match &self.grant.app.credential {
            CredentialSource::VaultKey(_) => self.vaults().certificate_versions(at, id).await,
            _ => self.vaults().versions(at, id).await,
        };
        search.calls += 1;
        let Ok(mut versions) = listed else { return OlderSearch { is_certain: false, ..search } };
        search.calls += further_pages(versions.len());
        let now = self.clock.now();
        versions.sort_by_key(|version| std::cmp::Reverse(version.created));
        let older = versions.iter().filter(|version| {
            version.id != *rejected && version.enabled && version.expires.is_none_or(|end| end > now)
        });
        for version in older.take(OLDER_VERSIONS_TRIED) {
            let read = self.read_version(client_id.to_owned(), Some(&version.id), id).await;
            search.calls += 1;
            let Ok((credential, _)) = read else {
                search.is_certain = false;
                continue;
            };
            search.calls += credential.calls_to_prove();
            match self.try_credential(&credential, id).await {
                CredentialVerdict::Accepted => return OlderSearch { found: Some(credential), ..search },
                CredentialVerdict::Rejected => {}
                CredentialVerdict::Untested | CredentialVerdict::NoAnswer => search.is_certain = false,
            }
        }
        search
    }
}

/// Reads the id of an app, and also returns the number of vault calls. `name` is the name of the app or of its token.
pub(crate) async fn read_client_id(
    vaults: &(impl Vault + Sync),
    app: &ManagedApp,
    name: &str,
    id: Uuid,
) -> Read<String> {
    let source = match &app.client_id {
        ConfigValue::Plain(value) => return Ok((value.clone(), 0)),
        ConfigValue::From(source) => source,
    };
    let (value, version) = read_source(vaults, source, None, id).await?;
    // The value must be a GUID, because Perennial displays the id and sends it in URLs. By mistake, the source may
    // contain a secret instead.
    let client_id = text::guid(value.expose_secret()).ok_or_else(|| no_app_id(source, app, name))?;
    Ok((client_id, usize::from(version.is_some())))
}

async fn read_source(
    vaults: &(impl Vault + Sync),
    from: &Source,
    version: Option<&VersionId>,
    id: Uuid,
) -> Result<(SecretString, Option<Version>), Failure> {
    let read = match from {
        Source::Secret(address) => {
            let answer = match version {
                Some(version) => vaults.read(address, version, id).await,
                None => vaults.newest(address, id).await,
            };
            let Stored { value, version, .. } =
                answer.map_err(|error| error.failure(SecretRole::Source, address))?;
            local_secret::usable(value.expose_secret().as_bytes(), &local_secret::place(from))
                .map(|value| (value, Some(version)))
        }
        local => local_secret::read_local(local).map(|value| (value, None)),
    };
    read.map_err(|error| unreadable(format!("the app's credential could not be read: {error}")))
}

/// Returns the scope with which an app requests a token for itself. The token is for the same resource as the given
/// scope.
pub(crate) fn own_scope(scope: &str) -> String {
    let first = scope.split_whitespace().next().unwrap_or_default();
    let resource = first.rsplit_once('/').map_or(first, |(resource, _)| resource);
    format!("{resource}/.default")
}

#[cfg(test)]
mod tests;
