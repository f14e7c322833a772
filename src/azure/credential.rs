//! How this process authenticates to Key Vault.
//!
//! This module owns the construction of the SDK's credentials and the translation of their errors. `key_vault` and
//! `graph` decide when to create a new credential. Creating a new credential also reads the identity's secret again.
//!
//! Invariants: the authority is HTTPS (`BaseUrl`). All error texts are Perennial's own. The SDK's texts are not shown,
//! since they may contain text from a peer or from the Azure CLI.

use std::error::Error as StdError;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use async_trait::async_trait;
use azure_core::cloud::CustomConfiguration;
use azure_core::credentials::{AccessToken, Secret, TokenCredential, TokenRequestOptions};
use azure_core::error::ErrorKind;
use azure_core::http::{ClientMethodOptions, ClientOptions, RetryOptions};
use azure_identity::{
    AzureCliCredential, ClientAssertion, ClientAssertionCredential, ClientAssertionCredentialOptions,
    ClientSecretCredential, ClientSecretCredentialOptions, ManagedIdentityCredential,
    ManagedIdentityCredentialOptions, UserAssignedId,
};
use secrecy::{ExposeSecret as _, SecretString};
use uuid::Uuid;

use crate::azure::identity::{Identity, IdentityHost};
use crate::azure::sdk::{CountingTransport, HostReason, SdkError};
use crate::net::address::{BaseUrl, Roots};
use crate::net::calls::{CallTarget, Calls};
use crate::net::http::Http;
use crate::net::no_response::NoResponse;
use crate::ports::diagnosis::{CredentialPlace, LoginMethod, Subject};
use crate::ports::failure::{Remedy, Trace};
use crate::ports::{IdentityExpiry, IssuerError, VaultError};
use crate::process::clock::{Clock, Timestamp};
use crate::token::certificate::{self, Assertion, CertificateFacts, SigningCertificate};
use crate::token::local_secret::{place, read_bytes, read_local};
use crate::token::secret::Source;

/// Creates the credential of an identity. Reads the identity's secret, but requests no token yet.
///
/// # Errors
/// Returns `NoIdentity`, which is not transient.
pub fn make(
    identity: &Identity,
    authority: &BaseUrl,
    http: &Arc<Http>,
    calls: &Arc<Calls>,
) -> Result<Arc<dyn TokenCredential>, VaultError> {
    match identity {
        Identity::ClientSecret { tenant_id, client_id, client_secret, .. } => {
            let secret = read_local(client_secret).map_err(|error| {
                let action = "make client_secret of [vault] readable by the user that runs this process";
                advised(error.to_string(), action)
            })?;
            let secret = Secret::new(secret.expose_secret().to_owned());
            let options =
                ClientSecretCredentialOptions { client_options: client_options(authority, http, calls) };
            let made = ClientSecretCredential::new(tenant_id, client_id.clone(), secret, Some(options));
            Ok(made.map_err(|_| {
                advised(
                    "the tenant id or the client id is not valid".into(),
                    "correct tenant_id and client_id of [vault]",
                )
            })?)
        }
        Identity::WorkloadIdentity { tenant_id, client_id, token_file } => {
            let assertion = VaultAssertion::Stored(Source::File(token_file.clone()));
            asserting(tenant_id, client_id, assertion, authority, http, calls)
        }
        Identity::ClientAssertion { tenant_id, client_id, client_assertion } => {
            let assertion = VaultAssertion::Stored(client_assertion.clone());
            asserting(tenant_id, client_id, assertion, authority, http, calls)
        }
        Identity::ClientCertificate { tenant_id, client_id, certificate } => {
            // An error about an unusable certificate appears here, before any request is sent.
            let action = "correct client_certificate of [vault]";
            let readable = read_certificate(certificate).map_err(|why| advised(why, action))?;
            if !readable.public.is_valid_at(Clock::host().now()) {
                return Err(advised(
                    outside_its_time(&readable.public),
                    "replace client_certificate of [vault]",
                ));
            }
            let audience = authority.with_path(&[tenant_id, "oauth2", "v2.0", "token"]).into();
            let (certificate, client_id) = (certificate.clone(), client_id.clone());
            let assertion = VaultAssertion::Signed { certificate, audience, client_id: client_id.clone() };
            asserting(tenant_id, &client_id, assertion, authority, http, calls)
        }
        Identity::ManagedIdentity { client_id, host } => of_host(client_id.as_deref(), host, calls),
        Identity::Unnamed { client_id } => of_host(client_id.as_deref(), &IdentityHost::Imds, calls),
        Identity::AzureCli => {
            Ok(AzureCliCredential::new(None).map_err(|_| settled("the Azure CLI cannot be used".into()))?)
        }
    }
}

fn asserting(
    tenant_id: &str,
    client_id: &str,
    assertion: VaultAssertion,
    authority: &BaseUrl,
    http: &Arc<Http>,
    calls: &Arc<Calls>,
) -> Result<Arc<dyn TokenCredential>, VaultError> {
    let options = ClientAssertionCredentialOptions { client_options: client_options(authority, http, calls) };
    let (tenant_id, client_id) = (tenant_id.to_owned(), client_id.to_owned());
    let made = ClientAssertionCredential::new(tenant_id, client_id, assertion, Some(options));
    Ok(made.map_err(|_| {
        advised(
            "the tenant id or the client id is not valid".into(),
            "correct tenant_id and client_id of [vault]",
        )
    })?)
}

/// A client assertion, which is read or signed again for each token request. The SDK's workload identity credential is
/// not used, because it caches the assertion for ten minutes (docs/azure-facts.md F404). The SDK's certificate
/// credential is not used, because it needs OpenSSL.
#[derive(Debug)]
enum VaultAssertion {
    /// A stored token of another issuer, which the app trusts. Perennial reads the token from this source.
    Stored(Source),
    /// An assertion that Perennial signs with this certificate.
    Signed { certificate: Source, audience: String, client_id: String },
}

impl VaultAssertion {
    fn text(&self) -> Result<SecretString, String> {
        match self {
            Self::Stored(source) => read_local(source).map_err(|error| error.to_string()),
            Self::Signed { certificate, audience, client_id } => {
                let key = read_certificate(certificate)?;
                let (now, id) = (Clock::host().now(), Uuid::new_v4());
                let thumbprint = &key.public.thumbprint;
                let input = Assertion { thumbprint, audience, client_id, now, id }.signing_input();
                let signature = key.sign(&input).ok_or("the certificate could not sign an assertion")?;
                Ok(certificate::signed(&input, &signature))
            }
        }
    }
}

#[async_trait]
impl ClientAssertion for VaultAssertion {
    async fn secret(&self, _: Option<ClientMethodOptions<'_>>) -> azure_core::Result<String> {
        match self.text() {
            Ok(assertion) => Ok(assertion.expose_secret().to_owned()),
            Err(why) => Err(SdkError::NoAssertion(why).into_sdk(ErrorKind::Credential)),
        }
    }
}

fn read_certificate(source: &Source) -> Result<SigningCertificate, String> {
    let content = read_bytes(source).map_err(|error| error.to_string())?;
    SigningCertificate::parse(&content).map_err(|error| format!("{} {error}", place(source)))
}

fn outside_its_time(public: &CertificateFacts) -> String {
    let day = |at: Timestamp| at.format("%Y-%m-%d");
    format!("the certificate of [vault] is valid only from {} to {}", day(public.begins), day(public.ends))
}

/// Returns the expiry of the identity's own secret or certificate, and what to do before that date. Returns `None` if
/// the expiry is unknown.
pub(super) fn expiry(identity: &Identity, authority: &BaseUrl) -> Option<Arc<IdentityExpiry>> {
    let at = match identity {
        Identity::ClientSecret { expires, .. } => (*expires)?,
        Identity::ClientCertificate { certificate, .. } => read_certificate(certificate).ok()?.public.ends,
        Identity::WorkloadIdentity { .. }
        | Identity::ManagedIdentity { .. }
        | Identity::ClientAssertion { .. }
        | Identity::AzureCli
        | Identity::Unnamed { .. } => return None,
    };
    let trace = Trace::default();
    let renew = subject(identity, authority, &trace).new_credential();
    let then = match identity {
        Identity::ClientSecret { .. } => {
            "; then set client_secret_expires of [vault] to the new expiry date and restart Perennial"
        }
        _ => "",
    };
    let action = format!("before the credential expires, {renew}{then}");
    Some(Arc::new(IdentityExpiry { at, action: action.into() }))
}

/// The address of a virtual machine's metadata service (docs/azure-facts.md F401). The SDK uses the same address.
pub const IMDS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254)), 80);

/// Creates the credential of a managed identity of this host. Without `client_id`, this is the host's default identity.
///
/// # Errors
/// Returns `NoIdentity`, which is not transient.
pub(super) fn of_host(
    client_id: Option<&str>,
    host: &IdentityHost,
    calls: &Arc<Calls>,
) -> Result<Arc<dyn TokenCredential>, VaultError> {
    let address = match host {
        IdentityHost::AppService(endpoint) => endpoint.clone(),
        IdentityHost::Imds => format!("http://{IMDS}"),
    };
    let server = BaseUrl::of_host(&address)
        .ok_or_else(|| settled("IDENTITY_ENDPOINT in the environment is not a URL".into()))?;
    // The client uses no proxy, because the metadata service rejects proxied requests, and because a proxy must not see
    // the token.
    let http = Http::new(Roots::System, false).map_err(|error| settled(error.to_string()))?;
    let wire = CountingTransport::new(Arc::new(http), Arc::clone(calls), CallTarget::IdentityHost, server);
    let options = ManagedIdentityCredentialOptions {
        user_assigned_id: client_id.map(|id| UserAssignedId::ClientId(id.to_owned())),
        client_options: ClientOptions {
            transport: Some(wire.into_transport()),
            retry: RetryOptions::none(),
            ..ClientOptions::default()
        },
    };
    let made = ManagedIdentityCredential::new(Some(options));
    Ok(made.map_err(|_| {
        let why = "Perennial cannot use the managed identities of this host: \
                   check IDENTITY_ENDPOINT in the environment";
        settled(why.into())
    })?)
}

fn client_options(authority: &BaseUrl, http: &Arc<Http>, calls: &Arc<Calls>) -> ClientOptions {
    let mut cloud = CustomConfiguration::default();
    authority.as_str().clone_into(&mut cloud.authority_host);
    let wire =
        CountingTransport::new(Arc::clone(http), Arc::clone(calls), CallTarget::Entra, authority.clone());
    ClientOptions {
        transport: Some(wire.into_transport()),
        // The loop of each token does all retries, so the SDK must not retry.
        retry: RetryOptions::none(),
        cloud: Some(Arc::new(cloud.into())),
        ..ClientOptions::default()
    }
}

/// A credential that requests tokens only for the vaults of one cloud, even if a vault's challenge names another
/// audience (docs/azure-facts.md F201, F202).
#[derive(Debug)]
pub(super) struct ForVaults {
    pub(super) credential: Arc<dyn TokenCredential>,
    pub(super) audience: BaseUrl,
}

#[async_trait]
impl TokenCredential for ForVaults {
    async fn get_token(
        &self,
        scopes: &[&str],
        options: Option<TokenRequestOptions<'_>>,
    ) -> azure_core::Result<AccessToken> {
        let ours = |scope: &&str| BaseUrl::parse(scope).is_ok_and(|url| url.host() == self.audience.host());
        if !scopes.iter().all(ours) {
            return Err(SdkError::OtherAudience.into_sdk(ErrorKind::Credential));
        }
        self.credential.get_token(scopes, options).await
    }
}

/// Whether an SDK error is about getting a token. Returns false for an error about the use of a token.
pub(super) fn is_about_identity(error: &azure_core::Error) -> bool {
    let mut link: Option<&(dyn StdError + 'static)> = Some(error);
    while let Some(error) = link {
        let of_sdk = error.downcast_ref::<azure_core::Error>();
        if of_sdk.is_some_and(|error| matches!(error.kind(), ErrorKind::Credential)) {
            return true;
        }
        link = error.source();
    }
    false
}

/// Translates an SDK error about getting a token into a `VaultError` with Perennial's own text.
pub(super) fn no_identity(error: &azure_core::Error) -> VaultError {
    match SdkError::in_error(error) {
        Some(SdkError::NoToken(refused)) => refused_by_entra(refused.clone()),
        // DNS does not know the authority's name. Either the name is wrong, or this network cannot resolve it. In both
        // cases, a retry does not help.
        Some(SdkError::Unreachable(NoResponse::NameUnknown)) => advised(
            IssuerError::Unreachable(NoResponse::NameUnknown).to_string(),
            "check DNS on this host and the value of authority in [cloud]",
        ),
        Some(SdkError::Unreachable(why)) => refused_by_entra(IssuerError::Unreachable(*why)),
        Some(known @ SdkError::NoAssertion(_)) => advised(
            known.to_string(),
            "make the client assertion or certificate of [vault] readable by the user that runs this process; if it is readable, replace it with a valid one",
        ),
        Some(known @ SdkError::OtherAudience) => {
            advised(known.to_string(), "set name of [cloud] to the cloud of the vault")
        }
        Some(known @ SdkError::NoTokenOfHost(_, HostReason::Several)) => advised(
            known.to_string(),
            "set client_id of [vault] to the client id of the identity to use; to list the client ids, type `az identity list --query \"[].{name:name, clientId:clientId}\" --output table`",
        ),
        Some(known @ SdkError::NoTokenOfHost(_, HostReason::Audience)) => advised(
            known.to_string(),
            "set name of [cloud] to the cloud of the vault; if [cloud] already names this cloud, set credential of [vault] to another value",
        ),
        Some(known @ SdkError::NoTokenOfHost(_, HostReason::NoHeader)) => advised(
            known.to_string(),
            "make sure that no proxy changes requests to this host's identity service; also restart Perennial, so that Perennial reads the current IDENTITY_HEADER",
        ),
        Some(known @ SdkError::NoTokenOfHost(_, HostReason::NoService)) => advised(
            known.to_string(),
            "if this host is not in Azure, or if its network blocks 169.254.169.254, set credential of [vault] to another value",
        ),
        Some(
            known @ (SdkError::NoTokenOfHost(400 | 401 | 403 | 405, HostReason::Other)
            | SdkError::NoTokenOfHost(_, HostReason::NoIdentity)),
        ) => advised(
            known.to_string(),
            "assign a managed identity to this host (Azure portal, Identity), or set client_id of [vault] to the client id of an identity that this host has",
        ),
        Some(other) => VaultError::no_identity(other.to_string(), true),
        None => of_tool(&error.to_string()),
    }
}

/// Translates an error of the Azure CLI, which the SDK runs. The SDK's error contains the output of the Azure CLI.
/// Perennial looks only for known phrases in this output (docs/azure-facts.md F405).
fn of_tool(text: &str) -> VaultError {
    if text.contains("az login") {
        advised(
            "the Azure CLI is not signed in".into(),
            "sign in as the user that runs this process: `az login`",
        )
    } else if text.contains("not found on PATH") || text.contains("wasn't found") {
        advised(
            "the Azure CLI is not installed".into(),
            "install the Azure CLI, or name another credential in [vault]",
        )
    } else if text.contains("use Azure CLI 2.54.0 or newer") {
        advised("the Azure CLI is older than 2.54.0".into(), "update the Azure CLI: `az upgrade`")
    } else {
        VaultError::no_identity("the credential gave no access token", true)
    }
}

fn settled(why: String) -> VaultError {
    VaultError::no_identity(why, false)
}

fn advised(why: String, action: &str) -> VaultError {
    VaultError::NoIdentity { why, transient: false, refused: None, action: Some(action.into()) }
}

fn refused_by_entra(refused: IssuerError) -> VaultError {
    let transient = refused.failure().remedy == Remedy::Retry;
    VaultError::NoIdentity {
        why: refused.to_string(),
        transient,
        refused: Some(Box::new(refused)),
        action: None,
    }
}

/// Returns the details that an action text needs about the identity.
fn subject<'a>(identity: &'a Identity, authority: &'a BaseUrl, trace: &'a Trace) -> Subject<'a> {
    let (tenant, client_id) = identity.app();
    Subject {
        name: "[vault]",
        tenant: tenant.unwrap_or_default(),
        client_id: client_id.unwrap_or("CLIENT_ID"),
        authority: authority.as_str(),
        // In the finished text, `Deployment::typed` replaces "perennial" with this deployment's command.
        command: "perennial",
        scope: "https://vault.azure.net/.default",
        way: LoginMethod::Stored,
        place: CredentialPlace::Vault {
            client_secret: identity.client_secret(),
            certificate: identity.certificate(),
        },
        user_oid: None,
        trace,
    }
}

/// Adds the action for Entra's rejection of this identity.
pub(super) fn with_advice(error: VaultError, identity: &Identity, authority: &BaseUrl) -> VaultError {
    let VaultError::NoIdentity { why, transient, refused: Some(refused), action: None } = error else {
        return error;
    };
    let failure = refused.failure();
    let subject = subject(identity, authority, &failure.trace);
    let action = failure.advice.map(|advice| advice.for_an_app().text(&subject).into());
    VaultError::NoIdentity { why, transient, refused: Some(refused), action }
}

#[cfg(test)]
mod tests;
