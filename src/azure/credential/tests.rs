//! Tests of the error texts for a vault credential that gets no token.

use super::*;

use azure_core::http::headers::Headers;
use azure_core::http::{AsyncRawResponse, HttpClient, Request, StatusCode, Transport as SdkTransport};

use crate::azure::cloud::CloudName;
use crate::azure::{key_vault, vault_answers};
use crate::ports::failure::Trace;
use crate::ports::oauth_error::OAuthError;

/// A fake vault whose challenge names this audience.
#[derive(Debug)]
struct Asking(&'static str);

#[async_trait]
impl HttpClient for Asking {
    async fn execute_request(&self, request: &Request) -> azure_core::Result<AsyncRawResponse> {
        assert!(request.headers().iter().all(|(name, _)| name.as_str() != "authorization"));
        let challenge = format!(r#"Bearer authorization="https://x/t", resource="{}""#, self.0);
        let mut headers = Headers::new();
        headers.insert("www-authenticate", challenge);
        Ok(AsyncRawResponse::from_bytes(StatusCode::Unauthorized, headers, "canary"))
    }
}

/// A fake credential that fails like the SDK's credentials.
#[derive(Debug)]
struct Failing(&'static str);

#[async_trait]
impl TokenCredential for Failing {
    async fn get_token(
        &self,
        _: &[&str],
        _: Option<TokenRequestOptions<'_>>,
    ) -> azure_core::Result<AccessToken> {
        Err(azure_core::Error::with_message(ErrorKind::Credential, self.0))
    }
}

async fn read(vault: &str, asks_for: &'static str, says: &'static str) -> VaultError {
    let audience = CloudName::Public.vault_audience();
    let transport = SdkTransport::new(Arc::new(Asking(asks_for)));
    let client = key_vault::client(vault, Arc::new(Failing(says)), audience, transport).expect("a client");
    vault_answers::failed(&client.get_secret("x", None).await.expect_err("no token"))
}

/// Entra rejects the app with which this process authenticates to Key Vault. The error then tells the operator what to
/// do about this rejection.
#[test]
fn a_rejection_of_the_vaults_identity_names_its_action() {
    let identity = Identity::ClientSecret {
        tenant_id: "contoso".into(),
        client_id: "daemon".into(),
        client_secret: Source::File("/etc/perennial/vault-secret".into()),
        expires: None,
    };
    for (error, code, action) in [
        ("invalid_client", 7_000_222, "store it in the file /etc/perennial/vault-secret"),
        ("invalid_client", 7_000_215, "its value, not its id"),
        (
            "unauthorized_client",
            700_016,
            "compare client_id of [vault] (daemon) and tenant_id of [vault] (contoso)",
        ),
        ("invalid_request", 90002, "set tenant_id of [vault] (now contoso)"),
        (
            "invalid_client",
            700_213,
            "compare issuer, subject and audience of the assertion with the federated credential: `az ad app federated-credential list --id daemon`",
        ),
        ("invalid_client", 700_213, "this can take 15 minutes to take effect"),
        ("invalid_client", 700_024, "set this host's clock"),
        ("access_denied", 53003, "a conditional access policy for workload identities"),
        ("invalid_grant", 53003, "Service principal sign-ins, tenant contoso"),
    ] {
        let refusal =
            OAuthError { status: 400, error: error.into(), trace: Trace::of(code), ..OAuthError::default() };
        let refused = refused_by_entra(IssuerError::Refused(Box::new(refusal)));

        let error = with_advice(refused, &identity, &CloudName::Public.authority());

        let VaultError::NoIdentity { why, action: Some(told), .. } = error else { panic!("{code}: {error}") };
        assert!(why.contains(&format!("AADSTS{code} (")) && told.contains(action), "{code}: {why}: {told}");
    }
}

#[tokio::test]
async fn a_vault_cannot_ask_for_another_domains_token() {
    let error = read("https://contoso.vault.azure.net", "https://graph.microsoft.com", "").await;

    assert_eq!(
        error,
        settled("the vault requests an access token for a domain other than the vault's domain".into())
    );
}

/// A host name outside the vault's domain may resolve to any host. Even if this host's challenge names the right
/// audience, the host gets no token.
#[tokio::test]
async fn a_host_outside_the_vaults_domain_gets_no_token() {
    for host in
        ["https://contoso.example", "https://vault.azure.net.contoso.example", "https://xvault.azure.net"]
    {
        let error = read(host, "https://vault.azure.net", "asked for a token").await;

        let told =
            settled("the vault requests an access token for a domain other than the vault's domain".into());
        assert_eq!(error, told, "{host}");
    }
}

#[tokio::test]
async fn a_vault_of_another_cloud_is_reported() {
    let error = read("https://contoso.vault.azure.cn", "https://vault.azure.cn", "").await;

    let told = VaultError::no_identity(
        "the vault requests an access token for a cloud other than the cloud in [cloud]",
        false,
    );
    assert_eq!(error.to_string(), told.to_string());
}

#[tokio::test]
async fn only_known_phrases_of_the_azure_cli_are_recognized() {
    for (says, why, transient) in [
        ("ERROR: Please run 'az login' to setup account. canary", "the Azure CLI is not signed in", false),
        ("az not found on PATH", "the Azure CLI is not installed", false),
        (
            "expires_on field not found. Please use Azure CLI 2.54.0 or newer.",
            "the Azure CLI is older than 2.54.0",
            false,
        ),
        ("canary", "the credential gave no access token", true),
    ] {
        let error = read("https://contoso.vault.azure.net", "https://vault.azure.net", says).await;

        let VaultError::NoIdentity { why: told, transient: passes, .. } = error else { panic!("{says}") };
        assert_eq!((told.as_str(), passes), (why, transient), "{says}");
    }
}
