//! Tests the simulated Key Vault with a plain HTTP client and with the official client.

use azure_security_keyvault_secrets::ResourceExt as _;
use azure_security_keyvault_secrets::models::{
    SecretAttributes, SecretClientListSecretPropertiesVersionsOptions,
    SecretClientUpdateSecretPropertiesOptions, SetSecretParameters, UpdateSecretPropertiesParameters,
};
use chrono::DateTime;
use futures::TryStreamExt as _;
use perennial::sandbox::world::{Operation, Peer};
use perennial::token::tags::Tags;
use reqwest::StatusCode;
use std::collections::HashMap;

use super::{Lab, json_of};

#[tokio::test]
async fn the_vault_requires_authentication_and_an_api_version() {
    let lab = Lab::start().await;
    let path = "/secrets/partner-refresh-token/?api-version=7.4";

    let stranger = lab.http.get(lab.url(path)).send().await.expect("an answer");
    let versionless = lab.vault("/secrets/partner-refresh-token").await;
    let known = lab.vault(path).await;

    assert_eq!(stranger.status(), StatusCode::UNAUTHORIZED);
    let challenge = stranger.headers()["www-authenticate"].to_str().expect("text");
    let tenant = lab.world().partners()[0].tenant_id.clone();
    let authorization = format!("Bearer authorization=\"{}/{tenant}\"", lab.sandbox.origin);
    assert_eq!(challenge, format!(r#"{authorization}, resource="https://vault.azure.net""#));
    let greedy = lab.vault("/secrets/partner-refresh-token/versions?api-version=7.4&maxresults=26").await;
    assert_eq!(greedy.status(), StatusCode::BAD_REQUEST);
    assert_eq!(versionless.status(), StatusCode::BAD_REQUEST);
    assert_eq!(known.status(), StatusCode::OK);
    // To read the newest version, Microsoft's Python client uses this path and this API version by default.
    let newest = lab.vault("/secrets/partner-refresh-token/?api-version=2026-04-01").await;
    assert_eq!(newest.status(), StatusCode::OK);
    assert!(known.headers()["x-ms-keyvault-network-info"].to_str().expect("text").contains("addr=127.0.0.1"));
    assert_eq!(json_of(known).await["value"], lab.stored());
}

#[tokio::test]
async fn the_official_clients_set_get_list_and_update() {
    let lab = Lab::start().await;
    let secrets = lab.secrets();
    for n in 0..3 {
        let parameters = SetSecretParameters {
            value: Some(format!("value-{n}")),
            content_type: Some("text/plain".into()),
            secret_attributes: Some(SecretAttributes {
                expires: Some(
                    azure_core::time::OffsetDateTime::UNIX_EPOCH + azure_core::time::Duration::days(30_000),
                ),
                ..SecretAttributes::default()
            }),
            tags: Some(HashMap::from([("n".into(), n.to_string())])),
        };
        let parameters = parameters.try_into().expect("a body");
        secrets.set_secret("by-sdk", parameters, None).await.expect("written");
    }

    let newest = secrets.get_secret("by-sdk", None).await.expect("an answer").into_model().expect("a secret");
    assert_eq!(newest.value.as_deref(), Some("value-2"));
    assert_eq!(
        newest
            .attributes
            .as_ref()
            .and_then(|a| a.expires)
            .map(azure_core::time::OffsetDateTime::unix_timestamp),
        Some(30_000 * 86_400)
    );

    let version = newest.resource_id().expect("an id").version.expect("a version");
    let change = UpdateSecretPropertiesParameters {
        secret_attributes: Some(SecretAttributes { enabled: Some(false), ..SecretAttributes::default() }),
        ..UpdateSecretPropertiesParameters::default()
    };
    let which = SecretClientUpdateSecretPropertiesOptions {
        secret_version: Some(version.clone()),
        ..SecretClientUpdateSecretPropertiesOptions::default()
    };
    secrets
        .update_secret_properties("by-sdk", change.try_into().expect("a body"), Some(which))
        .await
        .expect("changed");

    let paged = SecretClientListSecretPropertiesVersionsOptions {
        maxresults: Some(2),
        ..SecretClientListSecretPropertiesVersionsOptions::default()
    };
    let listed = secrets.list_secret_properties_versions("by-sdk", Some(paged)).expect("a pager");
    let listed: Vec<_> = listed.try_collect().await.expect("all pages");
    let enabled =
        listed.iter().filter(|item| item.attributes.as_ref().is_some_and(|a| a.enabled == Some(true)));
    assert_eq!((listed.len(), enabled.count()), (3, 2));
    let disabled = secrets.get_secret("by-sdk", None).await.expect_err("a refusal");
    assert_eq!(disabled.http_status().map(u16::from), Some(403));

    secrets.delete_secret("by-sdk", None).await.expect("deleted");
    secrets.recover_deleted_secret("by-sdk", None).await.expect("recovered");
    secrets.delete_secret("by-sdk", None).await.expect("deleted");
    secrets.purge_deleted_secret("by-sdk", None).await.expect("purged");
    let all = secrets.list_secret_properties(None).expect("a pager");
    let all: Vec<_> = all.try_collect().await.expect("all pages");
    assert_eq!(all.len(), 2, "token and app secret");
}

#[tokio::test]
async fn a_page_holds_25_versions() {
    let lab = Lab::start().await;
    for n in 0..30 {
        lab.world().human_writes(&lab.partner.refresh_token, &n.to_string(), Tags::new());
    }

    let listed =
        lab.secrets().list_secret_properties_versions("partner-refresh-token", None).expect("a pager");
    let listed: Vec<_> = listed.try_collect().await.expect("all pages");

    assert_eq!(listed.len(), 31);
    let pages = lab.world().count_calls(Peer::KeyVault, Some(Operation::List), DateTime::UNIX_EPOCH);
    assert_eq!(pages, 2);
}
