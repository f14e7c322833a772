//! Simulates two kinds of token issuers: managed identities of Azure hosts, and external issuers such as Kubernetes.
//!
//! The tokens of these issuers have the form of a JWT. The world does not check signatures: it records the tokens
//! that it issues, and accepts only these tokens.

use std::fmt;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::TimeDelta;
use serde_json::{Value, json};

use super::credentials::ManagedIdentity;
use super::entra::{AccessRecord, RESOURCES, TokenAnswer};
use super::ledger::{Operation, Peer};
use super::{About, Inner, Trouble, World};
use crate::token::AccessToken;

/// The lifetime of a managed identity's token (docs/azure-facts.md F406).
const LASTS: Duration = Duration::from_secs(24 * 60 * 60);

/// The audience of federated credentials. In a national cloud, the cloud's name is appended.
const EXCHANGE: &str = "api://AzureADTokenExchange";

/// The length of an RS256 signature.
const SIGNATURE_BYTES: usize = 256;

/// Why a host gets no token for its identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostRefusal {
    /// The host has no identity, or none with the requested client id.
    NoSuchIdentity,
    /// The host has several identities, and the request names none.
    Ambiguous,
    /// The resource does not exist.
    NoSuchResource,
}

impl fmt::Display for HostRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoSuchIdentity => "identity not found",
            Self::Ambiguous => "several identities, specify one",
            Self::NoSuchResource => "invalid_resource",
        })
    }
}

impl World {
    /// Adds a user-assigned managed identity to every host of the world. Returns the object id of the identity's
    /// principal.
    pub fn add_managed_identity(&self, tenant: &str, client_id: &str) -> String {
        let mut inner = self.lock();
        let client_id = client_id.to_ascii_lowercase();
        let principal_id = inner.fresh_id().to_string();
        let identity = ManagedIdentity {
            client_id: client_id.clone(),
            principal_id: principal_id.clone(),
            tenant: tenant.to_owned(),
        };
        inner.directory.identities.insert(client_id, identity);
        principal_id
    }

    /// Returns all managed identities.
    pub fn managed_identities(&self) -> Vec<ManagedIdentity> {
        self.lock().directory.identities.values().cloned().collect()
    }

    /// Returns the issuer (`iss`) that tokens of a tenant's managed identities contain.
    pub fn issuer_of(&self, tenant: &str) -> String {
        self.lock().issuer_of(tenant)
    }

    /// Issues a token to the managed identity with this client id. If `client_id` is `None`, the world must have
    /// exactly one managed identity.
    ///
    /// # Errors
    /// Returns an injected fault, or the host's rejection.
    pub fn managed_identity_token(
        &self,
        actor: &str,
        client_id: Option<&str>,
        resource: &str,
    ) -> Result<TokenAnswer, Trouble<HostRefusal>> {
        self.call(
            |_| About {
                peer: Peer::Entra,
                operation: Operation::ManagedIdentity,
                actor,
                subject: client_id.unwrap_or("unknown").to_owned(),
                grant: None,
            },
            |inner, _| inner.managed_identity_token(client_id, resource),
        )
    }

    /// Adds an external issuer, such as a Kubernetes cluster.
    pub fn add_issuer(&self, issuer: &str) {
        self.lock().assertions.issuers.insert(issuer.to_owned());
    }

    /// Issues a token of an external issuer. Entra accepts the token only if the issuer was added to the world.
    pub fn issue_external(&self, issuer: &str, subject: &str, audience: &str, lifetime: TimeDelta) -> String {
        let mut inner = self.lock();
        let now = inner.time.wall();
        let id = inner.fresh_id();
        let token = inner.jwt(&json!({
            "iss": issuer, "sub": subject, "aud": audience, "jti": id,
            "iat": now.timestamp(), "nbf": now.timestamp(), "exp": (now + lifetime).timestamp(),
        }));
        if inner.assertions.issuers.contains(issuer) {
            inner.assertions.remember(token.clone(), now + lifetime, now);
        }
        token
    }
}

impl Inner {
    fn issuer_of(&self, tenant: &str) -> String {
        format!("{}/{tenant}/v2.0", self.assertions.authority())
    }

    fn managed_identity_token(
        &mut self,
        client_id: Option<&str>,
        resource: &str,
    ) -> Result<TokenAnswer, HostRefusal> {
        let identities = &self.directory.identities;
        let found = match client_id {
            Some(named) => identities.get(&named.to_ascii_lowercase()).ok_or(HostRefusal::NoSuchIdentity)?,
            None if identities.len() > 1 => return Err(HostRefusal::Ambiguous),
            None => identities.values().next().ok_or(HostRefusal::NoSuchIdentity)?,
        };
        let ManagedIdentity { client_id, principal_id, tenant } = found.clone();
        let resource = resource.trim_end_matches('/');
        let exchange = resource.starts_with(EXCHANGE);
        if !exchange && !RESOURCES.contains(&resource) {
            return Err(HostRefusal::NoSuchResource);
        }
        let now = self.time.wall();
        let expires = now + TimeDelta::from_std(LASTS).unwrap_or_default();
        let (issuer, id) = (self.issuer_of(&tenant), self.fresh_id());
        let token = self.jwt(&json!({
            "iss": issuer, "sub": principal_id, "oid": principal_id, "aud": resource, "tid": tenant,
            "azp": client_id, "idtyp": "app", "ver": "2.0", "jti": id,
            "iat": now.timestamp(), "nbf": now.timestamp(), "exp": expires.timestamp(),
        }));
        if exchange {
            self.assertions.remember(token.clone(), expires, now);
        } else {
            let audience = resource.to_owned();
            let record = AccessRecord { audience, tenant, app: client_id, user: None, mfa: false, expires };
            self.access_tokens.insert(token.clone(), record);
        }
        Ok(TokenAnswer {
            access_token: AccessToken::new(token),
            refresh_token: None,
            expires_in: LASTS,
            scope: format!("{resource}/.default"),
            refresh_expires_in: None,
            id_claims: None,
        })
    }

    /// Returns a JWT with these claims and a random signature. The signature is not valid.
    fn jwt(&mut self, claims: &Value) -> String {
        let part = |json: &Value| URL_SAFE_NO_PAD.encode(json.to_string());
        let header = json!({"typ": "JWT", "alg": "RS256", "kid": "sandbox-issuer"});
        let signature: Vec<u8> = (0..SIGNATURE_BYTES).map(|_| self.rng.u8(..)).collect();
        format!("{}.{}.{}", part(&header), part(claims), URL_SAFE_NO_PAD.encode(signature))
    }
}
