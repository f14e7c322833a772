//! Tests the sandbox over HTTPS with a plain HTTP client and with the official Azure clients.

mod certificates;
mod controls;
mod credentials;
mod entra;
mod graph;
mod key_vault;
mod vault_operations;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use azure_core::credentials::{Secret, TokenCredential};
use azure_core::http::{ClientOptions, RetryOptions, Transport};
use azure_identity::{ClientSecretCredential, ClientSecretCredentialOptions};
use azure_security_keyvault_secrets::{SecretClient, SecretClientOptions};
use chrono::{DateTime, TimeDelta};
use perennial::config::Config;
use perennial::process::clock::Clock;
use perennial::sandbox::server::{ConfigRequest, Sandbox, SandboxOptions};
use perennial::sandbox::world::{Partner, World};
use reqwest::{Response, StatusCode};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

use crate::support::child::Child;
use crate::support::harness::Scratch;

struct Lab {
    sandbox: Sandbox,
    partner: Partner,
    http: reqwest::Client,
}

impl Lab {
    async fn start() -> Self {
        let world = World::new(Clock::host(), 7);
        let sandbox = Sandbox::start(world, any_port()).await.expect("a free port");
        let partner = sandbox.add_partner("partner", TimeDelta::days(80));
        let http = client(&sandbox.ca_pem);
        Self { sandbox, partner, http }
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.sandbox.origin)
    }

    fn world(&self) -> &World {
        self.sandbox.world()
    }

    fn stored(&self) -> String {
        let token = self.world().newest_value(&self.partner.refresh_token).expect("a token is stored");
        token.expose().to_owned()
    }

    async fn redeem(&self, token: &str) -> reqwest::Result<Response> {
        let secret = self.world().newest_value(&self.partner.app_secret).expect("a secret is stored");
        self.http
            .post(self.url(&format!("/{}/oauth2/v2.0/token", self.partner.tenant_id)))
            .header("client-request-id", ROTATION)
            .header("return-client-request-id", "true")
            .form(&[
                ("grant_type", "refresh_token"),
                ("client_id", &self.partner.client_id),
                ("client_secret", secret.expose()),
                ("refresh_token", token),
                ("scope", "https://api.partnercenter.microsoft.com/user_impersonation offline_access"),
            ])
            .send()
            .await
    }

    /// Redeems the stored token with the app's credential in the header, and parses the answer.
    async fn redeem_for(&self, scope: &str, more: &[(&str, &str)]) -> Value {
        let secret = self.world().newest_value(&self.partner.app_secret).expect("stored");
        let stored = self.stored();
        let mut form = vec![("grant_type", "refresh_token"), ("refresh_token", &stored), ("scope", scope)];
        form.extend_from_slice(more);
        let answer = self
            .http
            .post(self.url(&format!("/{}/oauth2/v2.0/token", self.partner.tenant_id)))
            .basic_auth(&self.partner.client_id, Some(secret.expose()))
            .form(&form)
            .send()
            .await;
        json_of(answer.expect("an answer")).await
    }

    async fn vault_token(&self) -> String {
        let identity = &self.sandbox.vault_identity;
        let answer = self
            .http
            .post(self.url(&format!("/{}/oauth2/v2.0/token", identity.tenant_id)))
            .form(&[
                ("grant_type", "client_credentials"),
                ("client_id", &identity.client_id),
                ("client_secret", identity.client_secret.expose_secret()),
                ("scope", "https://vault.azure.net/.default"),
            ])
            .send();
        let body = json_of(answer.await.expect("an answer")).await;
        body["access_token"].as_str().expect("a token").to_owned()
    }

    async fn vault(&self, path: &str) -> Response {
        let token = self.vault_token().await;
        self.http.get(self.url(path)).bearer_auth(token).send().await.expect("an answer")
    }

    async fn control(&self, what: &str, body: Value) -> Value {
        let answer = self.http.post(self.url(&format!("/_sandbox/{what}"))).json(&body).send();
        let answer = answer.await.expect("an answer");
        assert_eq!(answer.status(), StatusCode::OK, "{what}");
        json_of(answer).await
    }

    fn secrets(&self) -> SecretClient {
        let options = || ClientOptions {
            transport: Some(Transport::new(Arc::new(self.http.clone()))),
            retry: RetryOptions::none(),
            cloud: Some(Arc::new(self.cloud())),
            ..ClientOptions::default()
        };
        let identity = &self.sandbox.vault_identity;
        let credential: Arc<dyn TokenCredential> = ClientSecretCredential::new(
            &identity.tenant_id,
            identity.client_id.clone(),
            Secret::new(identity.client_secret.expose_secret().to_owned()),
            Some(ClientSecretCredentialOptions { client_options: options() }),
        )
        .expect("a credential");
        let options = SecretClientOptions {
            client_options: ClientOptions { cloud: None, ..options() },
            verify_challenge_resource: Some(false),
            ..SecretClientOptions::default()
        };
        SecretClient::new(&self.sandbox.origin, credential, Some(options)).expect("a client")
    }

    fn cloud(&self) -> azure_core::cloud::CloudConfiguration {
        let mut custom = azure_core::cloud::CustomConfiguration::default();
        custom.authority_host = self.sandbox.origin.to_string();
        azure_core::cloud::CloudConfiguration::Custom(custom)
    }
}

const ROTATION: &str = "1f0c3c52-6d0a-4b8e-9d53-0123456789ab";

fn any_port() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

#[expect(clippy::disallowed_methods, reason = "the test's own client, with a limit of its own")]
fn client(ca_pem: &str) -> reqwest::Client {
    let ca = reqwest::Certificate::from_pem(ca_pem.as_bytes()).expect("a certificate");
    let builder = reqwest::Client::builder().timeout(Duration::from_secs(10)).no_proxy();
    builder.tls_certs_only([ca]).build().expect("a client")
}

async fn json_of(answer: Response) -> Value {
    answer.json().await.expect("JSON")
}

#[tokio::test]
async fn answers_have_the_worlds_date() {
    let lab = Lab::start().await;
    let now = lab.control("clock", json!({"advance": "30d"})).await;

    let answer = lab.vault("/secrets/partner-refresh-token?api-version=7.4").await;

    let date =
        DateTime::parse_from_rfc2822(answer.headers()["date"].to_str().expect("text")).expect("a date");
    let now = DateTime::parse_from_rfc3339(now["now"].as_str().expect("text")).expect("a date");
    assert!((date - now).abs() < TimeDelta::seconds(60), "{date} {now}");
}

#[tokio::test]
async fn partner_center_reports_mfa() {
    let lab = Lab::start().await;
    let ask = async || {
        let token = json_of(lab.redeem(&lab.stored()).await.expect("an answer")).await;
        let profile = lab.http.get(lab.url("/v1/profiles/organization")).header("ValidateMfa", "true");
        let profile = profile.bearer_auth(token["access_token"].as_str().expect("a token"));
        profile.header("MS-RequestId", ROTATION).send().await.expect("an answer")
    };

    let with = ask().await;
    lab.control("sign-in", json!({"mfa": false})).await;
    let without = ask().await;

    assert_eq!(with.headers()["isMfaCompliant"], "true");
    assert_eq!(with.headers()["MS-RequestId"], ROTATION);
    assert_eq!(json_of(with).await["tenantId"], lab.partner.tenant_id);
    assert_eq!(without.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(json_of(without).await["code"], "900421");
    let nobody = lab.http.get(lab.url("/v1/profiles/organization")).send().await.expect("an answer");
    assert!(nobody.headers()["www-authenticate"].to_str().expect("text").starts_with("OAuth realm="));
}

#[tokio::test]
async fn an_unfinished_handshake_delays_no_other_client() {
    let lab = Lab::start().await;
    let _silent = tokio::net::TcpStream::connect(lab.sandbox.addr).await.expect("connected");

    assert!(lab.redeem(&lab.stored()).await.expect("an answer").status().is_success());
    let asleep = lab.sandbox.addr;
    lab.sandbox.stop().await;
    assert!(tokio::net::TcpStream::connect(asleep).await.is_err(), "nobody listens any more");
}

#[tokio::test]
async fn the_written_configuration_is_valid() {
    let lab = Lab::start().await;
    let dir = Scratch::new();
    let request = ConfigRequest {
        tokens: &[("partner-center", &lab.partner)],
        rotate_after: Some(Duration::from_secs(60)),
        prove_every: Some(Duration::from_secs(10)),
        strict: true,
    };

    let written = lab.sandbox.write_config(&dir.0, &request).expect("written");

    let config = Config::load(&written.config, std::iter::empty()).expect("sound");
    assert_eq!(config.policy.prove_every, Duration::from_secs(10));
    assert_eq!(config.cloud.authority.as_str(), lab.url("/"));
    assert_eq!(config.cloud.ca_file.as_deref(), Some(&*written.ca));
    assert_eq!(config.tokens[0].secret.to_string(), lab.partner.refresh_token.to_string());
    assert!(config.tokens[0].strict);
}

#[tokio::test]
async fn the_sandbox_serves_until_stopped_and_prints_commands() {
    let dir = Scratch::new();
    let options = SandboxOptions {
        identity_listen: None,
        dir: dir.0.clone(),
        listen: any_port(),
        age: Duration::from_secs(80 * 86_400),
        rotate_after: None,
        prove_every: None,
        strict: false,
        never_signed_in: false,
        inbox: true,
        tokens: 1,
        program: "./perennial".into(),
    };
    let (said, heard) = tokio::sync::oneshot::channel::<String>();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let serving = tokio::spawn(async move {
        let say = |text: &str| said.send(text.to_owned()).expect("heard");
        perennial::sandbox::server::serve(&options, async { stopped.await.expect("told") }, say).await
    });

    let welcome = heard.await.expect("said");

    let config = std::fs::read_to_string(dir.0.join("perennial.toml")).expect("written");
    let origin =
        config.lines().find_map(|line| line.strip_prefix("url = ")).expect("a URL").trim_matches('"');
    for named in [
        "  ./perennial rotate --dry-run\n",
        "  ./perennial rotate --force --json\n",
        "  ./perennial run\n",
        origin,
    ] {
        assert!(welcome.contains(named), "{named}: {welcome}");
    }
    let ca = std::fs::read_to_string(dir.0.join("ca.pem")).expect("written");
    let state = client(&ca).get(format!("{origin}/_sandbox/state")).send().await.expect("an answer");
    let state = json_of(state).await;
    let created = state["secrets"][1]["versions"][0]["created"].as_str().expect("a time");
    let age = DateTime::parse_from_rfc3339(state["now"].as_str().expect("a time")).expect("a time")
        - DateTime::parse_from_rfc3339(created).expect("a time");
    assert_eq!(age.num_days(), 80);

    // The sandbox's configuration sends alerts to the sandbox's own inbox.
    let child = Child::start(&dir.0.join("perennial.toml"), &["check", "--alerts"], &[]);
    let checked = child.ended("check").await;
    let inbox = client(&ca).get(format!("{origin}/_sandbox/inbox")).send().await.expect("an answer");
    let inbox = inbox.text().await.expect("text");
    for told in
        [" teams\n  Test message\n", "  Instance: sandbox\n", " heartbeat\n  this is a test ping from"]
    {
        assert!(inbox.contains(told), "{told}: {inbox}\n{}", checked.stdout);
    }
    assert!(checked.stdout.contains("inbox accepted a test message"), "{}", checked.stdout);
    let controls = client(&ca).get(format!("{origin}/_sandbox/")).send().await.expect("an answer");
    assert!(controls.text().await.expect("text").contains("GET    /_sandbox/inbox"));
    stop.send(()).expect("still there");
    serving.await.expect("ended").expect("without a mistake");
}
