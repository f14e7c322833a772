//! Tests of the list of a certificate's versions.

use super::*;
use crate::ports::Certificates as _;

const SECOND: &str = "fedcba9876543210fedcba9876543210";

fn page(version: &str, next: &str) -> Answer {
    let body = serde_json::json!({
        "value": [{"id": format!("https://v/certificates/pc-token/{version}"), "x5t": "AAECAwQFBgcICQoLDA0ODxAREhM",
            "attributes": {"enabled": true, "created": 1_760_000_001, "exp": 1_790_000_000}}],
        "nextLink": next,
    });
    reply(200, &[JSON], body.to_string())
}

#[tokio::test]
async fn versions_are_listed_across_pages() {
    let fixture = Fixture::new(|seen| {
        let next = format!("https://{}/certificates/pc-token/versions?skip=2", seen.header("host"));
        if seen.line.contains("skip=2") { page(SECOND, "") } else { page(FIRST, &next) }
    })
    .await;

    let versions = fixture.vault.certificate_versions(&fixture.at, Uuid::nil()).await.expect("listed");

    let ids: Vec<&str> = versions.iter().map(|version| &*version.id.0).collect();
    assert_eq!(ids, [FIRST, SECOND]);
}

#[tokio::test]
async fn a_list_that_never_ends_is_canceled_and_a_link_to_another_server_is_not_followed() {
    let again = |seen: &Seen| page(FIRST, &format!("https://{}/again", seen.header("host")));
    let endless = Fixture::new(again).await;
    let elsewhere = loopback::serve(|_| page(SECOND, "")).await;
    let link = elsewhere.base.with_path(&["certificates"]).to_string();
    let strays = Fixture::new(move |_| page(FIRST, &link)).await;

    for fixture in [&endless, &strays] {
        let error = fixture.vault.certificate_versions(&fixture.at, Uuid::nil()).await.expect_err("given up");
        assert_eq!(error, VaultError::NotUnderstood);
    }

    assert_eq!(endless.count("GET"), 2, "the first page, and the link once");
    assert!(elsewhere.lines().is_empty());
}
