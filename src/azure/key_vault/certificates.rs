//! Certificates and keys of Key Vault, for an app whose private key stays in the vault.
//!
//! This file makes the requests about certificates and keys, which the official client for secrets does not support
//! (docs/azure-facts.md F226). These requests have the same HTTP client, identity and error handling as the requests
//! for secrets.

use std::collections::BTreeSet;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use chrono::DateTime;
use reqwest::{Method, Url};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use uuid::Uuid;

use super::{CALL_TIMEOUT, KeyVault, MAX_PAGES, VaultConnection};
use crate::azure::credential;
use crate::azure::vault_answers::{self, RefusedCall};
use crate::net::address::BaseUrl;
use crate::net::calls::CallTarget;
use crate::net::http::{Answer, exchange, http_date};
use crate::net::no_response::NoResponse;
use crate::ports::certificate_store::{CertificateCreation, CertificateStore, ListedCertificate};
use crate::ports::client::VaultCertificate;
use crate::ports::{Certificates, VaultError};
use crate::token::meant;
use crate::token::secret::SecretAddress;
use crate::token::tags::Tags;
use crate::token::version::{Version, VersionId};

/// The name of the issuer in the policy of a self-signed certificate (docs/azure-facts.md F226).
const SELF_SIGNED: &str = "Self";

/// The API version of the requests (docs/azure-facts.md F203).
const API_VERSION: &str = "7.4";

#[derive(Deserialize)]
struct ReadCertificate {
    id: String,
    #[serde(default)]
    cer: String,
    attributes: ReadAttributes,
    policy: Option<ReadPolicy>,
    #[serde(default)]
    tags: Tags,
    /// The SHA-1 hash of the certificate.
    x5t: Option<String>,
}

#[derive(Deserialize)]
struct ReadAttributes {
    enabled: Option<bool>,
    exp: Option<i64>,
    created: i64,
}

#[derive(Deserialize)]
struct ReadPolicy {
    key_props: Option<ReadKeyProperties>,
}

#[derive(Deserialize)]
struct ReadKeyProperties {
    exportable: Option<bool>,
}

#[derive(Deserialize)]
struct ReadPage {
    #[serde(default)]
    value: Vec<ReadCertificate>,
    #[serde(rename = "nextLink")]
    next: Option<String>,
}

#[derive(Deserialize)]
struct ReadSignature {
    value: String,
}

impl ReadCertificate {
    fn version(&self, at: &SecretAddress) -> Option<Version> {
        let instant = |seconds: i64| DateTime::from_timestamp(seconds, 0).and_then(meant);
        Some(Version {
            id: vault_answers::version_id(at, "certificates", &self.id)?,
            created: instant(self.attributes.created)?,
            enabled: self.attributes.enabled.unwrap_or(true),
            expires: self.attributes.exp.and_then(instant),
            tags: self.tags.clone(),
        })
    }
}

impl Certificates for KeyVault {
    async fn certificate(
        &self,
        at: &SecretAddress,
        version: Option<&VersionId>,
        id: Uuid,
    ) -> Result<VaultCertificate, VaultError> {
        let mut path = vec!["certificates", at.name.as_str()];
        path.extend(checked(version)?);
        let path = &path;
        self.call(&at.vault, |line| async move {
            let answer = self.send(&line, Method::GET, path, None, ("certificate", id)).await?;
            let read_at = answer.header("date").and_then(http_date);
            let body: ReadCertificate = parsed(&answer)?;
            let version = body.version(at).ok_or(VaultError::NotUnderstood)?;
            let der = STANDARD.decode(&body.cer).map_err(|_| VaultError::NotUnderstood)?;
            let properties = body.policy.and_then(|policy| policy.key_props);
            let is_exportable = properties.and_then(|properties| properties.exportable);
            let certificate = VaultCertificate { version, der, is_exportable, read_at };
            // Key Vault also returns a disabled version, but the key of a disabled version cannot sign.
            if certificate.version.enabled { Ok(certificate) } else { Err(VaultError::Disabled) }
        })
        .await
    }

    async fn certificate_versions(&self, at: &SecretAddress, id: Uuid) -> Result<Vec<Version>, VaultError> {
        let listed = self.list(at, id).await?;
        let versions: Option<_> = listed.iter().map(|listed| listed.version(at)).collect();
        versions.ok_or(VaultError::NotUnderstood)
    }

    async fn sign(
        &self,
        at: &SecretAddress,
        version: &VersionId,
        digest: &[u8; 32],
        id: Uuid,
    ) -> Result<Vec<u8>, VaultError> {
        self.sign_by("PS256", at, version, digest, id).await
    }
}

impl CertificateStore for KeyVault {
    async fn listed_certificates(
        &self,
        at: &SecretAddress,
        id: Uuid,
    ) -> Result<Vec<ListedCertificate>, VaultError> {
        let entry = |listed: &ReadCertificate| {
            let hash = URL_SAFE_NO_PAD.decode(listed.x5t.as_deref()?.trim_end_matches('=')).ok()?;
            Some(ListedCertificate { version: listed.version(at)?, thumbprint: hash.try_into().ok()? })
        };
        let all: Option<_> = self.list(at, id).await?.iter().map(entry).collect();
        all.ok_or(VaultError::NotUnderstood)
    }

    async fn create_certificate(
        &self,
        at: &SecretAddress,
        id: Uuid,
    ) -> Result<CertificateCreation, VaultError> {
        let name = at.name.as_str();
        self.call(&at.vault, |line| async move {
            let path = ["certificates", name, "policy"];
            let answer = self.send(&line, Method::GET, &path, None, ("certificate_policy", id)).await?;
            let policy: serde_json::Value = parsed(&answer)?;
            if policy["issuer"]["name"].as_str() != Some(SELF_SIGNED) {
                return Ok(CertificateCreation::OtherIssuer);
            }
            let body = json!({"policy": policy}).to_string();
            let path = ["certificates", name, "create"];
            self.send(&line, Method::POST, &path, Some(body), ("create_certificate", id)).await?;
            Ok(CertificateCreation::Begun)
        })
        .await
    }

    async fn tag_certificate(
        &self,
        at: &SecretAddress,
        version: &VersionId,
        tags: &Tags,
        id: Uuid,
    ) -> Result<(), VaultError> {
        let path = ["certificates", at.name.as_str(), checked(Some(version))?.unwrap_or_default()];
        let (path, body) = (&path, &json!({"tags": tags}).to_string());
        self.call(&at.vault, |line| async move {
            self.send(&line, Method::PATCH, path, Some(body.clone()), ("tag_certificate", id)).await
        })
        .await
        .map(drop)
    }

    async fn sign_proof(
        &self,
        at: &SecretAddress,
        version: &VersionId,
        digest: &[u8; 32],
        id: Uuid,
    ) -> Result<Vec<u8>, VaultError> {
        self.sign_by("RS256", at, version, digest, id).await
    }
}

/// Checks that a version's id is safe in a URL path.
fn checked(version: Option<&VersionId>) -> Result<Option<&str>, VaultError> {
    match version {
        Some(version) if !vault_answers::is_version_id(&version.0) => Err(VaultError::NotFound),
        version => Ok(version.map(|version| &*version.0)),
    }
}

fn parsed<T: DeserializeOwned>(answer: &Answer) -> Result<T, VaultError> {
    let body = answer.body.as_ref().ok_or(VaultError::NotUnderstood)?;
    serde_json::from_slice(body).map_err(|_| VaultError::NotUnderstood)
}

/// Whether Perennial may send a vault access token to this server. The server must either be in the domain of the
/// vaults or be an emulator on this machine.
fn may_have_token(server: &BaseUrl, audience: &BaseUrl) -> bool {
    let (host, domain) = (server.host(), audience.host());
    server.is_loopback() || host.strip_suffix(domain).is_some_and(|name| name.ends_with('.'))
}

fn url(line: &VaultConnection, path: &[&str]) -> Url {
    let mut url = line.server.with_path(path);
    url.query_pairs_mut().append_pair("api-version", API_VERSION);
    url
}

impl KeyVault {
    async fn sign_by(
        &self,
        algorithm: &str,
        at: &SecretAddress,
        version: &VersionId,
        digest: &[u8; 32],
        id: Uuid,
    ) -> Result<Vec<u8>, VaultError> {
        let version = checked(Some(version))?.unwrap_or_default();
        let body = json!({"alg": algorithm, "value": URL_SAFE_NO_PAD.encode(digest)}).to_string();
        let (path, body) = (&["keys", at.name.as_str(), version, "sign"], &body);
        self.call(&at.vault, |line| async move {
            let answer = self.send(&line, Method::POST, path, Some(body.clone()), ("sign", id)).await?;
            let body: ReadSignature = parsed(&answer)?;
            let value = body.value.trim_end_matches('=');
            URL_SAFE_NO_PAD.decode(value).map_err(|_| VaultError::NotUnderstood)
        })
        .await
    }

    /// Lists all versions of a certificate.
    async fn list(&self, at: &SecretAddress, id: Uuid) -> Result<Vec<ReadCertificate>, VaultError> {
        self.call(&at.vault, |line| async move {
            let (mut versions, mut links) = (Vec::new(), BTreeSet::new());
            let mut next = Some(url(&line, &["certificates", at.name.as_str(), "versions"]));
            for _ in 0..MAX_PAGES {
                let Some(url) = next else { return Ok(versions) };
                let answer = self.request(&line, (Method::GET, url), None, ("list_certificates", id)).await?;
                let page: ReadPage = parsed(&answer)?;
                versions.extend(page.value);
                let link = page.next.filter(|link| !link.is_empty());
                let link = link.map(|link| Url::parse(&link).map_err(|_| VaultError::NotUnderstood));
                next = link.transpose()?;
                // If the server repeats a link, stop. Otherwise the loop would send `MAX_PAGES` requests.
                if next.as_ref().is_some_and(|link| !links.insert(link.clone())) {
                    break;
                }
            }
            Err(VaultError::NotUnderstood)
        })
        .await
    }

    async fn send(
        &self,
        line: &Arc<VaultConnection>,
        method: Method,
        path: &[&str],
        body: Option<String>,
        operation: (&'static str, Uuid),
    ) -> Result<Answer, VaultError> {
        self.request(line, (method, url(line, path)), body, operation).await
    }

    /// Sends a request with this process's access token. The token is sent only to the vault's own server.
    async fn request(
        &self,
        line: &Arc<VaultConnection>,
        (method, url): (Method, Url),
        body: Option<String>,
        (operation, id): (&'static str, Uuid),
    ) -> Result<Answer, VaultError> {
        if !line.server.is_origin_of(&url) {
            return Err(VaultError::NotUnderstood);
        }
        if !may_have_token(&line.server, &self.cloud.name.vault_audience()) {
            return Err(VaultError::no_identity(
                "the vault does not belong to the cloud that [cloud] names",
                false,
            ));
        }
        let exchange = async {
            let scope = self.cloud.name.vault_audience().with_path(&[".default"]);
            let token = line.credential.get_token(&[scope.as_str()], None).await;
            let token = token.map_err(|error| credential::no_identity(&error))?;
            let mut request = self
                .http
                .client()
                .request(method, url)
                .header("accept", "application/json")
                .header("x-ms-client-request-id", id.to_string())
                .bearer_auth(token.token.secret());
            if let Some(body) = body {
                request = request.header("content-type", "application/json").body(body);
            }
            let request = request.build().map_err(|_| VaultError::NotUnderstood)?;
            let answer = exchange(&self.http, &self.calls, (CallTarget::KeyVault, operation), request).await;
            answer.map_err(VaultError::Unreachable)
        };
        let answer = tokio::time::timeout(CALL_TIMEOUT, exchange).await;
        let answer = answer.unwrap_or(Err(VaultError::Unreachable(NoResponse::TimedOut)))?;
        if (200..300).contains(&answer.status) {
            return Ok(answer);
        }
        Err(vault_answers::refused(&RefusedCall {
            status: answer.status,
            body: answer.body.as_ref().map_or(&[][..], |body| body.as_slice()),
            network_info: answer.header("x-ms-keyvault-network-info"),
            retry_after: answer.retry_after(),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::azure::cloud::CloudName;

    #[test]
    fn a_token_for_vaults_goes_to_their_domain_and_to_this_machine_only() {
        for (server, allowed) in [
            ("https://contoso.vault.azure.net", true),
            ("https://127.0.0.1:8443", true),
            ("https://localhost:8443", true),
            ("https://vault.azure.net", false),
            ("https://contoso.vault.azure.net.example.com", false),
            ("https://contosovault.azure.net", false),
            ("https://contoso.vault.azure.cn", false),
        ] {
            let server = BaseUrl::parse(server).expect("an address");

            assert_eq!(may_have_token(&server, &CloudName::Public.vault_audience()), allowed, "{server:?}");
        }
    }
}
