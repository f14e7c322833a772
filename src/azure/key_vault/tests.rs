//! Tests of the adapter for Key Vault against a local server. The server simulates both Key Vault and Entra.

mod certificates;

use super::*;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::{env, fs};

use axum::response::Response as Answer;
use futures::future::join_all;

use crate::azure::cloud::CloudName;
use crate::net::calls::CallLabels;
use crate::net::loopback;
use crate::net::loopback::{Loopback, Seen, reply};
use crate::ports::{Forbidden, SecretRole};
use crate::token::secret::{SecretName, Source};
use crate::token::tags::Tags;
use crate::token::version::CONTENT_TYPE;

const TOKEN: &str = "POST /tenant/oauth2/v2.0/token";
const CHALLENGE: &str = r#"Bearer authorization="https://x/t", resource="https://vault.azure.net""#;
const FIRST: &str = "0123456789abcdef0123456789abcdef";
const JSON: (&str, &str) = ("content-type", "application/json");

/// The adapter under test, and the file with the secret of the process's identity.
struct Fixture {
    server: Loopback,
    vault: KeyVault,
    calls: Arc<Calls>,
    at: SecretAddress,
    secret: PathBuf,
}

impl Fixture {
    /// Creates the adapter and a simulated vault that answers authenticated requests with `answer`.
    async fn new(answer: impl Fn(&Seen) -> Answer + Clone + Send + Sync + 'static) -> Self {
        Self::with_entra(|_| granted(), answer).await
    }

    async fn with_entra(
        entra: impl Fn(&Seen) -> Answer + Clone + Send + Sync + 'static,
        answer: impl Fn(&Seen) -> Answer + Clone + Send + Sync + 'static,
    ) -> Self {
        let server = loopback::serve(move |seen| match seen.header("authorization") {
            _ if seen.line == TOKEN => entra(seen),
            "Bearer vault-token" => answer(seen),
            _ => reply(401, &[("www-authenticate", CHALLENGE)], ""),
        })
        .await;
        let secret = env::temp_dir().join(format!("perennial-{}", Uuid::new_v4()));
        fs::write(&secret, "identity-secret\n").expect("written");
        let identity = Identity::ClientSecret {
            tenant_id: "tenant".into(),
            client_id: "daemon".into(),
            client_secret: Source::File(secret.clone()),
            expires: None,
        };
        let cloud = Cloud {
            name: CloudName::Public,
            authority: server.base.clone(),
            partner_center: server.base.clone(),
            graph: server.base.clone(),
            ca_file: None,
        };
        let calls = Arc::new(Calls::default());
        let vault = KeyVault::new(identity, cloud, Arc::clone(&server.http), Arc::clone(&calls));
        let name = SecretName::parse("pc-token").expect("a name");
        let at = SecretAddress { vault: server.base.as_str().trim_end_matches('/').into(), name };
        Self { server, vault, calls, at, secret }
    }

    async fn newest(&self) -> Result<Stored, VaultError> {
        self.vault.newest(&self.at, Uuid::nil()).await
    }

    fn count(&self, line: &str) -> usize {
        self.server.lines().iter().filter(|seen| seen.starts_with(line)).count()
    }

    /// Increases the age of the cached clients.
    fn age(&self, by: Duration) {
        let mut made = self.vault.lock();
        made.at = made.at.checked_sub(by).expect("the machine has been up for longer");
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        fs::remove_file(&self.secret).expect("it was written");
    }
}

fn granted() -> Answer {
    reply(200, &[JSON], r#"{"token_type":"Bearer","expires_in":3600,"access_token":"vault-token"}"#)
}

fn id(version: &str) -> String {
    format!("https://contoso.vault.azure.net/secrets/pc-token/{version}")
}

fn secret(value: &str) -> Answer {
    let body = serde_json::json!({
        "value": value, "id": id(FIRST), "contentType": "x", "tags": {"env": "prod \u{e9}\r\n"},
        "attributes": {"enabled": true, "exp": 1_767_776_000, "created": 1_760_000_001, "updated": 1_760_000_002},
    });
    reply(200, &[JSON, ("date", "Tue, 06 Oct 2026 07:28:00 GMT")], body.to_string())
}

fn at(text: &str) -> crate::process::clock::Timestamp {
    text.parse().expect("a time")
}

#[tokio::test]
async fn a_secret_is_read_with_its_version_and_the_vaults_time() {
    let fixture = Fixture::new(|_| secret(" 0.AXoA\n")).await;

    let stored = fixture.newest().await.expect("stored");

    assert_eq!(stored.value.expose_secret(), "0.AXoA");
    assert_eq!(&*stored.version.id.0, FIRST);
    assert_eq!(stored.version.created, at("2025-10-09T08:53:21Z"));
    assert_eq!(stored.version.expires, Some(at("2026-01-07T08:53:20Z")));
    assert_eq!(&stored.version.tags["env"], "prod \u{e9}\r\n");
    assert_eq!(stored.read_at, Some(at("2026-10-06T07:28:00Z")));
    let path = "GET /secrets/pc-token/?api-version=2025-07-01";
    assert_eq!(fixture.server.lines(), [path, TOKEN, path], "challenge, token, answer");
    let seen = fixture.server.seen.lock().expect("nobody panicked");
    for request in seen.iter() {
        assert_eq!(request.header("x-ms-client-request-id"), Uuid::nil().to_string(), "{}", request.line);
    }
    assert!(seen[1].body.contains("client_secret=identity-secret&"), "trimmed");
    let calls = fixture.calls.durations();
    let identity = CallLabels::new(CallTarget::Entra, "vault_token", "200");
    let vault = |code: &str| CallLabels::new(CallTarget::KeyVault, "get", code);
    assert!([identity, vault("200"), vault("401")].iter().all(|labels| calls.contains(labels)), "{calls:?}");
    assert_eq!(calls.len(), 3, "{calls:?}");
}

#[tokio::test]
async fn one_version_is_read_by_its_id_and_nothing_else_reaches_the_path() {
    let fixture = Fixture::new(|_| secret("x")).await;

    let version = VersionId(FIRST.into());
    fixture.vault.read(&fixture.at, &version, Uuid::nil()).await.expect("stored");

    assert_eq!(fixture.count(&format!("GET /secrets/pc-token/{FIRST}?")), 2);
    for bad in ["", "../other", "a?b", "a/b"] {
        let version = VersionId(bad.into());
        let error = fixture.vault.read(&fixture.at, &version, Uuid::nil()).await.expect_err(bad);
        assert_eq!(error, VaultError::NotFound);
        let change = SecretUpdate::default();
        let error = fixture.vault.update(&fixture.at, &version, &change, Uuid::nil()).await.expect_err(bad);
        assert_eq!(error, VaultError::NotFound);
    }
    assert_eq!(fixture.server.lines().len(), 3);
}

#[tokio::test]
async fn ten_tokens_at_a_cold_vault_cost_one_challenge() {
    let fixture = Fixture::new(|_| secret("x")).await;

    let answers = join_all((0..10).map(|_| fixture.newest())).await;

    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    assert_eq!(fixture.count(TOKEN), 1);
    assert_eq!(fixture.count("GET"), 11);
}

#[tokio::test]
async fn a_version_is_written_with_value_tags_and_expiry() {
    let fixture = Fixture::new(|_| secret("x")).await;
    let new = NewVersion {
        value: "0.next".into(),
        content_type: Some(CONTENT_TYPE),
        expires: at("2026-01-07T08:53:20Z"),
        tags: Tags::from([("managed-by", "perennial")]),
    };

    let version = fixture.vault.write(&fixture.at, &new, Uuid::nil()).await.expect("written");

    assert_eq!(&*version.id.0, FIRST);
    assert_eq!(fixture.count("PUT /secrets/pc-token?"), 2);
    let seen = fixture.server.seen.lock().expect("nobody panicked");
    assert_eq!(seen[0].body, "", "the token does not go out with the challenge");
    let body: serde_json::Value = serde_json::from_str(&seen[2].body).expect("JSON");
    let expected = serde_json::json!({
        "value": "0.next", "contentType": CONTENT_TYPE, "tags": {"managed-by": "perennial"},
        "attributes": {"enabled": true, "exp": 1_767_776_000},
    });
    assert_eq!(body, expected);
}

#[tokio::test]
async fn an_update_leaves_out_unchanged_parts() {
    let fixture = Fixture::new(|_| secret("x")).await;
    let version = VersionId(FIRST.into());
    let off = SecretUpdate { enabled: Some(false), tags: None };
    let tags = SecretUpdate { enabled: None, tags: Some(Tags::new()) };

    fixture.vault.update(&fixture.at, &version, &off, Uuid::nil()).await.expect("changed");
    fixture.vault.update(&fixture.at, &version, &tags, Uuid::nil()).await.expect("changed");

    let seen = fixture.server.seen.lock().expect("nobody panicked");
    let bodies: Vec<&str> = seen[2..].iter().map(|seen| seen.body.as_str()).collect();
    assert_eq!(bodies, [r#"{"attributes":{"enabled":false}}"#, r#"{"tags":{}}"#]);
}

/// Returns a page with one version and a link to the next page.
fn page(version: &str, next: &str) -> Answer {
    let body = serde_json::json!({
        "value": [{"id": id(version), "attributes": {"enabled": false, "created": 1_760_000_001}}],
        "nextLink": next,
    });
    reply(200, &[JSON], body.to_string())
}

#[tokio::test]
async fn versions_are_listed_across_pages() {
    let fixture = Fixture::new(|seen| {
        let host = seen.header("host");
        if seen.line.contains("skip=2") {
            page("b2", "")
        } else {
            page("a1", &format!("https://{host}/secrets/pc-token/versions?skip=2"))
        }
    })
    .await;

    let versions = fixture.vault.versions(&fixture.at, Uuid::nil()).await.expect("listed");

    let ids: Vec<&str> = versions.iter().map(|version| &*version.id.0).collect();
    assert_eq!(ids, ["a1", "b2"]);
    assert!(!versions[0].enabled);
    assert!(fixture.calls.durations().contains(&CallLabels::new(CallTarget::KeyVault, "list", "200")));
}

#[tokio::test]
async fn a_link_that_leaves_the_vault_is_not_followed() {
    let elsewhere = loopback::serve(|_| page("b2", "")).await;
    let link = elsewhere.base.with_path(&["secrets", "pc-token", "versions"]).to_string();
    let fixture = Fixture::new(move |_| page("a1", &link)).await;

    let error = fixture.vault.versions(&fixture.at, Uuid::nil()).await.expect_err("refused");

    assert_eq!(error, VaultError::NotUnderstood);
    assert!(elsewhere.lines().is_empty());
}

#[tokio::test]
async fn a_list_that_never_ends_is_cancelled() {
    let fixture = Fixture::new(|seen| page("a1", &format!("https://{}/again", seen.header("host")))).await;

    let error = fixture.vault.versions(&fixture.at, Uuid::nil()).await.expect_err("given up");

    assert_eq!(error, VaultError::NotUnderstood);
    assert_eq!(fixture.count("GET"), 3, "challenge, first page, the link once");
}

#[tokio::test]
async fn each_rejection_reaches_the_caller_with_its_meaning() {
    let fixture = Fixture::new(|seen| {
        if seen.line.contains(FIRST) {
            return reply(429, &[("retry-after", "17")], "slow down");
        }
        let body = r#"{"error":{"code":"Forbidden","message":"a\r\n\"b\"",
                       "innererror":{"code":"ForbiddenByFirewall"}}}"#;
        reply(403, &[JSON, ("x-ms-keyvault-network-info", "conn_type=Ipv4;addr=20.30.40.50;")], body)
    })
    .await;

    let error = fixture.newest().await.expect_err("forbidden");
    let address = Some("20.30.40.50".to_owned());
    assert_eq!(error, VaultError::Forbidden(Forbidden::Firewall { address }));

    let version = VersionId(FIRST.into());
    let error = fixture.vault.read(&fixture.at, &version, Uuid::nil()).await.expect_err("throttled");
    let retry_after = Some(Duration::from_secs(17));
    assert_eq!(error, VaultError::Unavailable { status: 429, retry_after });
    assert_eq!(fixture.count(TOKEN), 1, "nothing is tried again here");
    assert_eq!(fixture.count("GET"), 3);
}

#[tokio::test]
async fn an_answer_of_another_server_is_not_understood() {
    for body in [
        "",
        "<html>",
        "{}",
        r#"{"value":"x","id":"https://x/secrets/other/a1","attributes":{"created":1}}"#,
        r#"{"value":"x","id":"https://x/secrets/pc-token/a1","attributes":{}}"#,
        r#"{"id":"https://x/secrets/pc-token/a1","attributes":{"created":1}}"#,
    ] {
        let fixture = Fixture::new(move |_| reply(200, &[JSON], body)).await;

        assert_eq!(fixture.newest().await.expect_err(body), VaultError::NotUnderstood, "{body}");
    }
}

#[tokio::test]
async fn an_oversized_answer_is_not_read() {
    let secret = format!(
        r#"{{"value":"x","id":"{}","attributes":{{"created":1}}{}}}"#,
        id(FIRST),
        " ".repeat(2 * 1024 * 1024)
    );
    let fixture = Fixture::new(move |_| reply(200, &[JSON], secret.clone())).await;

    assert_eq!(fixture.newest().await.expect_err("too long"), VaultError::NotUnderstood);
}

/// Returns the fields `why` and `transient` of a `NoIdentity` error, and whether the error suggests an action.
fn told(error: &VaultError) -> (&str, bool, bool) {
    let VaultError::NoIdentity { why, transient, action, .. } = error else { panic!("{error}") };
    (why, *transient, action.is_some())
}

#[tokio::test]
async fn a_rejected_identity_is_reported_with_its_code_and_without_the_text() {
    let fixture = Fixture::with_entra(
        |_| {
            let body = r#"{"error":"invalid_client","error_codes":[7000222],
                "error_description":"AADSTS7000222: The \u0027secret\u0027 of canary expired.\r\nTrace"}"#;
            reply(401, &[JSON], body)
        },
        |_| secret("x"),
    )
    .await;

    let error = fixture.newest().await.expect_err("no token");

    let why = "Entra refused: invalid_client, AADSTS7000222 (client secret expired)";
    assert_eq!(told(&error), (why, false, true));
    assert_eq!(fixture.count(TOKEN), 1, "what was just read is not read again at once");
}

#[tokio::test]
async fn an_outage_of_the_issuer_is_no_rejection() {
    let fixture = Fixture::with_entra(|_| reply(503, &[], "<html>"), |_| secret("x")).await;

    let error = fixture.newest().await.expect_err("no token");

    assert_eq!(told(&error), ("Entra answered with status 503", true, true));
}

#[tokio::test]
async fn a_replaced_secret_is_used_in_the_same_call() {
    let fixture = Fixture::with_entra(
        |seen| {
            if seen.body.contains("client_secret=replaced&") {
                return granted();
            }
            reply(401, &[JSON], r#"{"error":"invalid_client","error_codes":[7000215]}"#)
        },
        |_| secret("x"),
    )
    .await;
    fixture.newest().await.expect_err("the old secret is refused");

    fs::write(&fixture.secret, "replaced").expect("written");
    fixture.age(KEPT_FOR);

    fixture.newest().await.expect("the new one is not");
    assert_eq!(fixture.count(TOKEN), 3);
}

#[tokio::test]
async fn a_rejected_vault_token_is_replaced_and_the_call_repeated() {
    let refuse = Arc::new(AtomicBool::new(false));
    let refused = Arc::clone(&refuse);
    let fixture = Fixture::new(move |_| {
        if refused.load(Ordering::Relaxed) {
            let body = r#"{"error":{"code":"Unauthorized"}}"#;
            return reply(401, &[JSON, ("www-authenticate", CHALLENGE)], body);
        }
        secret("x")
    })
    .await;
    fixture.newest().await.expect("accepted");

    refuse.store(true, Ordering::Relaxed);
    assert_eq!(fixture.newest().await.expect_err("not accepted"), VaultError::Unauthorized { akv: None });
    assert_eq!(fixture.count(TOKEN), 1, "a minute has not passed");

    fixture.age(KEPT_FOR);
    assert_eq!(fixture.newest().await.expect_err("not accepted"), VaultError::Unauthorized { akv: None });
    assert_eq!(fixture.count(TOKEN), 2);

    refuse.store(false, Ordering::Relaxed);
    fixture.newest().await.expect("accepted again");
}

#[tokio::test]
async fn clients_are_made_anew_each_day() {
    let fixture = Fixture::new(|_| secret("x")).await;
    fixture.newest().await.expect("stored");

    fixture.age(FRESH_FOR);
    fixture.newest().await.expect("stored");

    assert_eq!(fixture.count(TOKEN), 2);
}

#[tokio::test]
async fn a_secret_that_cannot_be_read_is_named() {
    let fixture = Fixture::new(|_| secret("x")).await;
    fs::write(&fixture.secret, "\n").expect("written");

    let error = fixture.newest().await.expect_err("no secret");

    let why = format!("{} is empty", fixture.secret.display());
    assert_eq!(told(&error), (why.as_str(), false, true));
    let action = error.failure(SecretRole::Own, &fixture.at).action.unwrap_or_default();
    assert!(action.starts_with("make client_secret of [vault] readable by the user"), "{action}");
    assert!(fixture.server.lines().is_empty());
}

#[tokio::test]
async fn a_vault_address_must_be_https() {
    let mut fixture = Fixture::new(|_| secret("x")).await;
    fixture.at.vault = "http://contoso.vault.azure.net".into();

    let error = fixture.newest().await.expect_err("no vault");

    assert_eq!(error, VaultError::Unreachable(NoResponse::NameUnknown));
}

#[tokio::test(start_paused = true)]
async fn a_call_that_hangs_times_out() {
    let started = Instant::now();

    let error = bounded(std::future::pending::<azure_core::Result<()>>()).await.expect_err("given up");

    assert_eq!(error, VaultError::Unreachable(NoResponse::TimedOut));
    assert_eq!(started.elapsed(), CALL_TIMEOUT);
}
