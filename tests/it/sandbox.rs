//! The stand-ins over HTTPS, as a plain client and as the official Azure clients see them.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use azure_core::credentials::Secret;
use azure_core::credentials::TokenCredential;
use azure_core::http::ClientOptions;
use azure_core::http::RetryOptions;
use azure_core::http::Transport;
use azure_identity::ClientSecretCredential;
use azure_identity::ClientSecretCredentialOptions;
use azure_security_keyvault_secrets::ResourceExt as _;
use azure_security_keyvault_secrets::SecretClient;
use azure_security_keyvault_secrets::SecretClientOptions;
use azure_security_keyvault_secrets::models::SecretAttributes;
use azure_security_keyvault_secrets::models::SecretClientListSecretPropertiesVersionsOptions;
use azure_security_keyvault_secrets::models::SecretClientUpdateSecretPropertiesOptions;
use azure_security_keyvault_secrets::models::SetSecretParameters;
use azure_security_keyvault_secrets::models::UpdateSecretPropertiesParameters;
use chrono::DateTime;
use chrono::TimeDelta;
use futures::TryStreamExt as _;
use perennial::clock::Clock;
use perennial::config::Config;
use perennial::sandbox::ConfigRequest;
use perennial::sandbox::Sandbox;
use perennial::sandbox::SandboxOptions;
use perennial::world::Operation;
use perennial::world::Partner;
use perennial::world::Peer;
use perennial::world::World;
use reqwest::Response;
use reqwest::StatusCode;
use secrecy::ExposeSecret as _;
use serde_json::Value;
use serde_json::json;

use crate::harness::Scratch;

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
async fn a_redemption_answers_in_entras_form() {
    let lab = Lab::start().await;

    let answer = lab.redeem(&lab.stored()).await.expect("an answer");

    assert_eq!(answer.headers()["client-request-id"], ROTATION);
    assert!(answer.headers().contains_key("x-ms-request-id"));
    let body = json_of(answer).await;
    assert_eq!(body["token_type"], "Bearer");
    assert!((3600..5400).contains(&body["expires_in"].as_u64().expect("a number")));
    assert!(lab.world().descends_from(body["refresh_token"].as_str().expect("a token"), &lab.stored()));
}

#[tokio::test]
async fn a_refusal_has_the_parts_that_support_asks_for() {
    let lab = Lab::start().await;
    lab.control("revoke", json!({})).await;

    let answer = lab.redeem(&lab.stored()).await.expect("an answer");

    assert_eq!(answer.status(), StatusCode::BAD_REQUEST);
    let trace = answer.headers()["x-ms-request-id"].to_str().expect("text").to_owned();
    let body = json_of(answer).await;
    assert_eq!(body["error"], "invalid_grant");
    assert_eq!(body["error_codes"], json!([50173]));
    assert_eq!(body["suberror"], "bad_token");
    assert_eq!(body["correlation_id"], ROTATION);
    assert_eq!(body["trace_id"], trace);
    let description = body["error_description"].as_str().expect("text");
    assert!(description.starts_with("AADSTS50173: ") && description.contains(&trace), "{description}");
}

#[tokio::test]
async fn a_successor_is_for_those_who_ask_for_it() {
    let lab = Lab::start().await;
    let secret = lab.world().newest_value(&lab.partner.app_secret).expect("stored");
    let answer = lab
        .http
        .post(lab.url(&format!("/{}/oauth2/v2.0/token", lab.partner.tenant_id)))
        .basic_auth(&lab.partner.client_id, Some(secret.expose()))
        .form(&[
            ("grant_type", "refresh_token"),
            ("refresh_token", &lab.stored()),
            ("scope", "https://api.partnercenter.microsoft.com/user_impersonation"),
        ])
        .send()
        .await
        .expect("an answer");

    let body = json_of(answer).await;

    assert!(body["access_token"].is_string() && body["refresh_token"].is_null());
}

#[tokio::test]
async fn the_vault_asks_who_is_there_and_for_the_version_of_its_api() {
    let lab = Lab::start().await;
    let path = "/secrets/partner-refresh-token/?api-version=7.4";

    let stranger = lab.http.get(lab.url(path)).send().await.expect("an answer");
    let versionless = lab.vault("/secrets/partner-refresh-token").await;
    let known = lab.vault(path).await;

    assert_eq!(stranger.status(), StatusCode::UNAUTHORIZED);
    let challenge = stranger.headers()["www-authenticate"].to_str().expect("text");
    let authorization =
        format!("Bearer authorization=\"{}/{}\"", lab.sandbox.origin, lab.sandbox.vault_identity.tenant_id);
    assert_eq!(challenge, format!(r#"{authorization}, resource="https://vault.azure.net""#));
    let greedy = lab.vault("/secrets/partner-refresh-token/versions?api-version=7.4&maxresults=26").await;
    assert_eq!(greedy.status(), StatusCode::BAD_REQUEST);
    assert_eq!(versionless.status(), StatusCode::BAD_REQUEST);
    assert_eq!(known.status(), StatusCode::OK);
    assert!(known.headers()["x-ms-keyvault-network-info"].to_str().expect("text").contains("addr=127.0.0.1"));
    assert_eq!(json_of(known).await["value"], lab.stored());
}

#[tokio::test]
async fn answers_carry_the_date_of_the_world() {
    let lab = Lab::start().await;
    let now = lab.control("clock", json!({"advance": "30d"})).await;

    let answer = lab.vault("/secrets/partner-refresh-token?api-version=7.4").await;

    let date =
        DateTime::parse_from_rfc2822(answer.headers()["date"].to_str().expect("text")).expect("a date");
    let now = DateTime::parse_from_rfc3339(now["now"].as_str().expect("text")).expect("a date");
    assert!((date - now).abs() < TimeDelta::seconds(60), "{date} {now}");
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
async fn a_page_of_versions_holds_twenty_five() {
    let lab = Lab::start().await;
    for n in 0..30 {
        lab.world().human_writes(
            &lab.partner.refresh_token,
            &n.to_string(),
            HashMap::new().into_iter().collect(),
        );
    }

    let listed =
        lab.secrets().list_secret_properties_versions("partner-refresh-token", None).expect("a pager");
    let listed: Vec<_> = listed.try_collect().await.expect("all pages");

    assert_eq!(listed.len(), 31);
    let pages = lab.world().count_calls(Peer::KeyVault, Some(Operation::List), DateTime::UNIX_EPOCH);
    assert_eq!(pages, 2);
}

#[tokio::test]
async fn partner_center_says_whether_there_was_a_second_factor() {
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
async fn faults_look_real_on_the_wire() {
    let lab = Lab::start().await;
    let token = lab.stored();

    lab.control("faults", json!({"peer": "entra", "status": 429, "retry_after": 60, "times": 1})).await;
    let throttled = lab.redeem(&token).await.expect("an answer");
    assert_eq!(
        (throttled.status().as_u16(), &throttled.headers()["retry-after"]),
        (429, &"60".parse().expect("a value"))
    );

    let oauth =
        json!({"peer": "entra", "operation": "redeem", "error": "invalid_grant", "code": 50196, "times": 1});
    lab.control("faults", oauth).await;
    assert_eq!(json_of(lab.redeem(&token).await.expect("an answer")).await["error_codes"], json!([50196]));

    let vault = json!({"peer": "key_vault", "operation": "get", "status": 403, "code": "Forbidden",
        "inner": "ForbiddenByConnection", "times": 1});
    lab.control("faults", vault).await;
    let refused = lab.vault("/secrets/partner-refresh-token?api-version=7.4").await;
    assert_eq!(json_of(refused).await["error"]["innererror"]["code"], "ForbiddenByConnection");

    lab.control("faults", json!({"peer": "entra", "distort": "no_refresh_token", "times": 1})).await;
    assert!(json_of(lab.redeem(&token).await.expect("an answer")).await["refresh_token"].is_null());
    assert!(lab.redeem(&token).await.expect("an answer").status().is_success(), "all used up");
}

#[tokio::test]
async fn a_connection_is_cut_before_or_after_the_effect() {
    let lab = Lab::start().await;
    let grants = || lab.world().grants().len();
    let at_first = grants();

    lab.control("faults", json!({"peer": "entra", "cut": true, "times": 1})).await;
    let cut = lab.redeem(&lab.stored()).await.expect_err("no answer");
    assert!(!cut.is_timeout() && !cut.is_status(), "{cut:?}");
    assert_eq!(grants(), at_first);

    lab.control("faults", json!({"peer": "entra", "cut": true, "when": "after", "times": 1})).await;
    lab.redeem(&lab.stored()).await.expect_err("no answer");
    assert_eq!(grants(), at_first + 1);
}

#[tokio::test]
async fn a_wrong_control_says_what_is_wanted() {
    let lab = Lab::start().await;
    for (what, body) in [
        ("faults", json!({"peer": "moon", "status": 500})),
        ("faults", json!({"peer": "entra"})),
        ("faults", json!({"peer": "entra", "status": 500, "cut": true})),
        ("faults", json!({"peer": "entra", "status": 7})),
        ("faults", json!({"peer": "entra", "distort": "no_refresh_token", "when": "before"})),
        ("clock", json!({"speed": -1})),
        ("clock", json!({"spede": 1})),
        ("revoke", json!({"user": "nobody@example.com"})),
    ] {
        let answer = lab.http.post(lab.url(&format!("/_sandbox/{what}"))).json(&body).send();
        let answer = answer.await.expect("an answer");
        assert_eq!(answer.status(), StatusCode::BAD_REQUEST, "{body}");
        assert!(json_of(answer).await["error"].is_string());
    }
}

#[tokio::test]
async fn the_state_shows_everything_but_secrets() {
    let lab = Lab::start().await;
    let redeemed = json_of(lab.redeem(&lab.stored()).await.expect("an answer")).await;
    lab.control("expire-secret", json!({})).await;

    let state = lab.http.get(lab.url("/_sandbox/state")).send().await.expect("an answer");
    let text = state.text().await.expect("text");

    let app_secret = lab.world().newest_value(&lab.partner.app_secret).expect("stored");
    let vault_secret = lab.sandbox.vault_identity.client_secret.expose_secret();
    for secret in [
        lab.stored().as_str(),
        app_secret.expose(),
        vault_secret,
        redeemed["access_token"].as_str().expect("a token"),
        redeemed["refresh_token"].as_str().expect("a token"),
    ] {
        assert!(!text.contains(secret), "{text}");
    }
    let state: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(state["requests"]["entra"]["redeem"], 1);
    assert_eq!(state["grants"]["issued"], 2);
    assert_eq!(state["users"][0]["mfa"], true);
    let secrets = state["secrets"].as_array().expect("a list");
    assert!(secrets.iter().any(|secret| secret["versions"][0]["writer"] == "human"));
}

#[tokio::test]
async fn metadata_names_the_endpoints_of_the_sandbox_itself() {
    let lab = Lab::start().await;
    let get = async |path: &str| json_of(lab.http.get(lab.url(path)).send().await.expect("an answer")).await;

    let metadata = get(&format!("/{}/v2.0/.well-known/openid-configuration", lab.partner.tenant_id)).await;
    let discovery = get("/common/discovery/instance?api-version=1.1").await;

    let endpoint = metadata["token_endpoint"].as_str().expect("a URL");
    assert_eq!(endpoint, lab.url(&format!("/{}/oauth2/v2.0/token", lab.partner.tenant_id)));
    assert!(
        discovery["tenant_discovery_endpoint"].as_str().expect("a URL").starts_with(&*lab.sandbox.origin)
    );
}

#[tokio::test]
async fn a_peer_that_never_shakes_hands_keeps_nobody_waiting() {
    let lab = Lab::start().await;
    let _silent = tokio::net::TcpStream::connect(lab.sandbox.addr).await.expect("connected");

    assert!(lab.redeem(&lab.stored()).await.expect("an answer").status().is_success());
    let asleep = lab.sandbox.addr;
    lab.sandbox.stop().await;
    assert!(tokio::net::TcpStream::connect(asleep).await.is_err(), "nobody listens any more");
}

#[tokio::test]
async fn the_written_configuration_is_sound() {
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
    assert_eq!(config.cloud.authority, *lab.sandbox.origin);
    assert_eq!(config.cloud.ca_file.as_deref(), Some(&*written.ca));
    assert_eq!(config.tokens[0].secret.to_string(), lab.partner.refresh_token.to_string());
    assert!(config.tokens[0].strict);
}

#[tokio::test]
async fn the_command_serves_until_it_is_stopped_and_says_what_to_type() {
    let dir = Scratch::new();
    let options = SandboxOptions {
        dir: dir.0.clone(),
        listen: any_port(),
        age: Duration::from_secs(80 * 86_400),
        rotate_after: None,
        prove_every: None,
        strict: false,
    };
    let (said, heard) = tokio::sync::oneshot::channel::<String>();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let serving = tokio::spawn(async move {
        let say = |text: &str| said.send(text.to_owned()).expect("heard");
        perennial::sandbox::serve(&options, async { stopped.await.expect("told") }, say).await
    });

    let welcome = heard.await.expect("said");

    let config = std::fs::read_to_string(dir.0.join("perennial.toml")).expect("written");
    let origin =
        config.lines().find_map(|line| line.strip_prefix("url = ")).expect("a URL").trim_matches('"');
    for named in ["perennial rotate --dry-run", "perennial rotate --force --json", "perennial run", origin] {
        assert!(welcome.contains(named), "{named}: {welcome}");
    }
    let ca = std::fs::read_to_string(dir.0.join("ca.pem")).expect("written");
    let state = client(&ca).get(format!("{origin}/_sandbox/state")).send().await.expect("an answer");
    let state = json_of(state).await;
    let created = state["secrets"][1]["versions"][0]["created"].as_str().expect("a time");
    let age = DateTime::parse_from_rfc3339(state["now"].as_str().expect("a time")).expect("a time")
        - DateTime::parse_from_rfc3339(created).expect("a time");
    assert_eq!(age.num_days(), 80);
    stop.send(()).expect("still there");
    serving.await.expect("ended").expect("without a mistake");
}
