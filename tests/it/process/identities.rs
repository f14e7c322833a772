//! Tests that the program can authenticate to Key Vault with every kind of identity. For each kind, the program runs
//! with the environment of a host that provides this kind.

use std::os::unix::fs::PermissionsExt;

use chrono::TimeDelta;
use perennial::process::clock::Clock;
use perennial::sandbox::world::{AppProof, Fault, FaultEffect, IdentityRequest, Operation, Peer};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

use super::{Stage, is};
use crate::support::child::Child;

/// The environment of a process.
pub(super) type Env = Vec<(String, String)>;

impl Stage {
    /// Configures the program's identity for Key Vault.
    pub(super) fn identify(&self, lines: &str) {
        let text = std::fs::read_to_string(&self.config).expect("written");
        let (vault, rest) = text.split_once("\n[cloud]").expect("two sections");
        let url = vault.lines().find(|line| line.starts_with("url = ")).expect("the vault's");
        let text = format!("[vault]\n{url}\n{lines}\n[cloud]{rest}");
        std::fs::write(&self.config, text).expect("our own file");
    }

    /// Reads the environment variables of a host from this file, which the sandbox has written.
    fn environment(&self, file: &str) -> Env {
        let text = std::fs::read_to_string(self.dir.0.join(file)).expect("written");
        text.lines()
            .map(|line| line.split_once('=').expect("a variable"))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect()
    }

    /// The environment of App Service and Container Apps. `HTTP_PROXY` names an unreachable proxy, because requests to
    /// the identity service must not use a proxy.
    pub(super) async fn app_service(&self) -> Env {
        let service = self.sandbox.serve_identity(([127, 0, 0, 1], 0).into()).await.expect("any port");
        self.sandbox.write_identity(&self.dir.0, &service).expect("a directory of our own");
        let mut env = self.environment("managed-identity.env");
        env.push(("HTTP_PROXY".into(), "http://127.0.0.1:1".into()));
        env
    }

    /// Returns an access token of the program's identity, and an `expires_on` for the answer of a simulated token
    /// endpoint.
    fn vault_token(&self) -> (String, i64) {
        let identity = &self.sandbox.vault_identity;
        let token = self.world().identity_token(
            "az",
            &IdentityRequest {
                tenant: &identity.tenant_id,
                client_id: &identity.client_id,
                proof: AppProof::Secret(identity.client_secret.expose_secret()),
                scope: "https://vault.azure.net/.default",
                correlation_id: None,
            },
        );
        let token = token.expect("its own identity");
        let expires_on = (Clock::host().now() + TimeDelta::hours(1)).timestamp();
        (token.access_token.expose().to_owned(), expires_on)
    }

    /// Returns the environment of a machine on which a user is signed in to the Azure CLI.
    fn azure_cli(&self) -> Env {
        let tools = self.dir.0.join("tools");
        std::fs::create_dir_all(&tools).expect("a directory of our own");
        let (token, expires_on) = self.vault_token();
        let answer = json!({"accessToken": token, "expires_on": expires_on, "tokenType": "Bearer"});
        let az = tools.join("az");
        std::fs::write(&az, format!("#!/bin/sh\ncat <<'END'\n{answer}\nEND\n")).expect("our own file");
        std::fs::set_permissions(&az, PermissionsExt::from_mode(0o755)).expect("our own file");
        let path = format!("{}:{}", tools.display(), std::env::var("PATH").unwrap_or_default());
        vec![("PATH".into(), path)]
    }

    pub(super) fn start_in(&self, env: &Env) -> Child {
        let env: Vec<(&str, &str)> =
            env.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        Child::start(&self.config, &["run"], &env)
    }

    /// Starts the daemon and waits until it has proved a token. Returns the name of the daemon's identity.
    async fn proves_in(&self, env: &Env) -> String {
        let daemon = self.start_in(env);
        daemon.logs(0, "proved", |event| is(event, "proved", "one")).await;
        let started = daemon.events(0).into_iter().find(|event| event["event"] == "started");
        started.expect("logged")["vault_identity"].as_str().expect("a name").to_owned()
    }
}

#[tokio::test]
async fn workload_identity_by_name_and_by_what_the_pod_has() {
    let stage = Stage::set(TimeDelta::days(1)).await;
    let pod = stage.environment("workload-identity.env");

    stage.identify("credential = \"workload_identity\"");
    assert_eq!(stage.proves_in(&pod).await, "workload_identity");
    stage.identify("");
    assert_eq!(stage.proves_in(&pod).await, "workload_identity");
}

#[tokio::test]
async fn managed_identity_of_app_service_by_name_by_environment_and_by_client_id() {
    let stage = Stage::set(TimeDelta::days(1)).await;
    let host = stage.app_service().await;
    let client_id = &stage.sandbox.vault_identity.client_id;

    for lines in ["credential = \"managed_identity\"", "", &format!("client_id = \"{client_id}\"")] {
        stage.identify(lines);
        assert_eq!(stage.proves_in(&host).await, "managed_identity", "{lines}");
    }
}

/// The SDK expects `expires_on` as a text, but some hosts send a number.
#[tokio::test]
async fn managed_identity_with_a_numeric_expiry() {
    let stage = Stage::set(TimeDelta::days(1)).await;
    let host = stage.app_service().await;
    stage.identify("credential = \"managed_identity\"");
    let (token, expires_on) = stage.vault_token();
    let resource = "https://vault.azure.net";
    let body = json!({"access_token": token, "expires_on": expires_on, "resource": resource, "token_type": "Bearer"});
    let what = FaultEffect::Verbatim {
        status: 200,
        content_type: "application/json",
        retry_after: None,
        body: body.to_string(),
    };
    stage.world().inject(Fault::of(Peer::Entra, what).on(Operation::Identity));

    assert_eq!(stage.proves_in(&host).await, "managed_identity");
}

#[tokio::test]
async fn a_missing_managed_identity_is_reported_with_its_action() {
    let stage = Stage::set(TimeDelta::days(1)).await;
    let host = stage.app_service().await;
    stage.identify("client_id = \"00000000-0000-0000-0000-00000000abcd\"");

    let daemon = stage.start_in(&host);

    let refused = |event: &Value| {
        let says = event.to_string();
        is(event, "attempt_failed", "one")
            && event["kind"] == "vault_identity"
            && event["remedy"] == "operator"
            && says.contains("or none with the configured client_id")
    };
    daemon.logs(0, "who was refused", refused).await;
}

#[tokio::test]
async fn an_assertion_is_read_again_at_each_use() {
    let stage = Stage::set(TimeDelta::days(1)).await;
    let (file, old) = (stage.dir.0.join("assertion"), stage.sandbox.federated_token(TimeDelta::zero()));
    std::fs::write(&file, old.expose_secret()).expect("our own file");
    let identity = &stage.sandbox.vault_identity;
    stage.identify(&format!(
        "credential = \"client_assertion\"\ntenant_id = \"{}\"\nclient_id = \"{}\"\nclient_assertion = {{ file = {:?} }}",
        identity.tenant_id, identity.client_id, file,
    ));

    let daemon = stage.start_in(&Env::new());
    let expired = |event: &Value| is(event, "attempt_failed", "one") && event.to_string().contains("700024");
    let place = daemon.logs(0, "that it has expired", expired).await;
    let fresh = stage.sandbox.federated_token(TimeDelta::hours(1));
    std::fs::write(&file, fresh.expose_secret()).expect("our own file");
    daemon.signal("HUP");

    daemon.logs(place, "proved with the fresh one", |event| is(event, "proved", "one")).await;
}

#[tokio::test]
async fn the_azure_cli_if_configured() {
    let stage = Stage::set(TimeDelta::days(1)).await;
    let cli = stage.azure_cli();
    stage.identify("credential = \"azure_cli\"");

    assert_eq!(stage.proves_in(&cli).await, "azure_cli");
}
