//! Tests the renewal of a client secret over HTTPS, with the shipped commands and adapters against the sandbox.

use std::time::Duration;

use chrono::TimeDelta;
use perennial::cli::azure_clients::{AzureClients, AzureRenewer};
use perennial::config::Config;
use perennial::process::clock::{Clock, Timestamp};
use perennial::renewal::daemon::renew_now;
use perennial::renewal::schedule::Target;
use perennial::sandbox::world::{
    Action, AppSecret, CredentialPolicy, Fault, FaultEffect, GraphRole, Operation, Peer,
};
use serde_json::Value;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{Stage, results};

/// The speed of the tests' clock, as a multiple of real time.
pub(super) const SPEED: f64 = 600.0;

impl Stage {
    /// Moves the app ID and the client secret of token `one` into a new `[[app]]` section. `renew` is the value of the
    /// section's key `renew`.
    pub(super) fn renews(&self, renew: &str) {
        let text = std::fs::read_to_string(&self.config).expect("written");
        let is_of_one = |line: &&str| {
            line.contains(&self.partner.client_id) || line.starts_with("client_secret = { secret = \"one")
        };
        let (of_app, rest): (Vec<&str>, Vec<&str>) = text.lines().partition(is_of_one);
        let place = rest.iter().position(|line| *line == "[[token]]").expect("the first token");
        let app = format!("[[app]]\nname = \"app\"\n{}\nrenew = {renew}\n", of_app.join("\n"));
        let [before, after] = [rest[..place].join("\n"), rest[place + 1..].join("\n")];
        let text = format!("{before}\n{app}\n[[token]]\napp = \"app\"\n{after}\n");
        std::fs::write(&self.config, text).expect("our own file");
    }

    /// Gives the identity for Key Vault the right to manage the app.
    pub(super) fn grants_the_right(&self) {
        let identity = &self.sandbox.vault_identity.client_id;
        self.world().set_graph_roles(identity, &[GraphRole::ReadWriteOwned]);
        self.world().add_app_owner(&self.partner.client_id, identity);
    }

    pub(super) fn graph_calls(&self, operation: Option<Operation>) -> usize {
        self.world().count_calls(Peer::Graph, operation, Timestamp::MIN_UTC)
    }

    /// Returns a renewer with the shipped adapters and a fast clock.
    pub(super) fn renewer(&self) -> AzureRenewer {
        let config = Config::load(&self.config, std::iter::empty()).expect("sound");
        let clock = Clock::running(self.world().now(), SPEED);
        let clients = AzureClients::new(&config, clock).expect("clients");
        let renewer = clients.renewer(&config.tokens[0], "credential").expect("it renews");
        AzureRenewer { target: Target { is_forced: true, ..renewer.target.clone() }, ..renewer }
    }

    fn secrets(&self) -> Vec<AppSecret> {
        self.world().app_secrets(&self.partner.client_id).into_iter().filter(AppSecret::is_listed).collect()
    }

    pub(super) async fn credential(&self) -> Value {
        let ended = self.run_to_end(&["credential", "app", "--json"]).await;
        let [only] = results(&ended).try_into().expect("one app");
        only
    }
}

#[tokio::test]
async fn a_secret_is_renewed_over_https_and_the_old_one_works_on() {
    let stage = Stage::set(TimeDelta::days(1)).await;
    stage.renews("{}");
    stage.grants_the_right();
    let before = stage.world().newest_value(&stage.partner.app_secret).expect("stored");
    let renewer = stage.renewer();

    renew_now(&renewer, &CancellationToken::new()).await.expect("renewed");

    let calls = [Operation::GetApplication, Operation::AddPassword, Operation::RemovePassword];
    assert_eq!(calls.map(|operation| stage.graph_calls(Some(operation))), [2, 1, 0]);
    let version = stage.world().newest_version(&stage.partner.app_secret).expect("stored");
    let secrets = stage.secrets();
    let new = secrets.iter().find(|one| one.name.is_some()).expect("created");
    assert_eq!(version.tags.get("key-id"), Some(&*new.key_id.to_string()));
    assert!(version.expires.is_some_and(|end| (end - stage.world().now()).num_days() >= 179), "{version:?}");
    assert_eq!(secrets.len(), 2, "the old secret stays");
    assert!(new.name.as_deref().is_some_and(|name| name.contains("/one-app-secret ")), "{:?}", new.name);
    let now = stage.world().newest_value(&stage.partner.app_secret).expect("stored");
    assert_ne!(now, before);
    let rotated = stage.run_to_end(&["rotate", "one", "--force"]).await;
    assert_eq!(rotated.code, Some(0), "{}", rotated.stderr);

    let told = stage.credential().await;
    let held =
        told["entra"]["secrets"].as_array().expect("a list").iter().find(|one| one["standing"] == "held");
    assert_eq!(held.expect("held")["key_id"], *new.key_id.to_string());
    let text = stage.run_to_end(&["credential"]).await;
    assert!(text.stdout.contains("in use") && text.stdout.contains("renews at"), "{}", text.stdout);
    assert!(text.stdout.contains("not asked: `renew` is off"), "the other app: {}", text.stdout);
    assert!(!text.stdout.contains(now.expose()) && !text.stderr.contains(now.expose()));
}

#[tokio::test]
async fn a_missing_right_is_told_and_ends_with_the_printed_steps() {
    let stage = Stage::set(TimeDelta::days(1)).await;
    stage.renews("{}");

    let refused = stage.run_to_end(&["credential", "app"]).await;
    assert_eq!(refused.code, Some(4), "{}", refused.stdout);
    assert!(refused.stdout.contains("Authorization_RequestDenied"), "{}", refused.stdout);
    let identity = &stage.sandbox.vault_identity.client_id;
    let owner = format!("az ad app owner add --id {}", stage.partner.client_id);
    for part in [&*owner, "appRoleAssignments", &format!("az ad sp show --id {identity}")] {
        assert!(refused.stdout.contains(part), "{part}: {}", refused.stdout);
    }

    let checked = stage.run_to_end(&["check"]).await;
    assert!(checked.stdout.contains("FAILED     renewal"), "{}", checked.stdout);
    assert!(checked.stdout.contains(&owner), "{}", checked.stdout);
    // The identity has the role but is not an owner. Perennial can list the secrets. Only an attempt to remove a secret
    // shows that the identity is not an owner.
    stage.world().set_graph_roles(identity, &[GraphRole::ReadWriteOwned]);
    assert_eq!(stage.run_to_end(&["credential", "app"]).await.code, Some(0));
    let checked = stage.run_to_end(&["check"]).await;
    assert!(checked.stdout.contains("FAILED     renewal"), "{}", checked.stdout);

    // `grants_the_right` has the same effect as the two commands in the message.
    stage.grants_the_right();
    let checked = stage.run_to_end(&["check"]).await;
    assert_eq!(checked.code, Some(0), "{}", checked.stdout);
    assert!(checked.stdout.contains("ok         renewal"), "{}", checked.stdout);
    assert!(
        checked.stdout.contains("renew the app's client secret; the daemon begins the renewal on 20"),
        "{}",
        checked.stdout
    );
    let rehearsed = stage.run_to_end(&["credential", "app", "--renew", "--dry-run"]).await;
    assert_eq!(rehearsed.code, Some(0), "{}", rehearsed.stdout);
    assert!(rehearsed.stdout.contains("creates a new client secret"), "{}", rehearsed.stdout);
    assert_eq!(stage.graph_calls(Some(Operation::AddPassword)), 0);
}

#[tokio::test]
async fn a_missing_right_to_write_the_apps_secret_is_told_with_the_role_that_contains_it() {
    let stage = Stage::set(TimeDelta::days(1)).await;
    stage.renews("{}");
    stage.grants_the_right();
    let reads_only = |allowed: bool| {
        stage.world().change_vault(&stage.sandbox.origin, |vault| {
            for right in [Action::SetSecret, Action::Update] {
                if allowed {
                    vault.allowed.insert(right)
                } else {
                    vault.allowed.remove(&right)
                };
            }
        });
    };
    reads_only(false);
    let renewer = stage.renewer();

    let unwritten = renewer.rehearse(false, Uuid::nil()).await;
    assert!(unwritten.is_ok(), "nothing is written without the option");
    let refused = renewer.rehearse(true, Uuid::nil()).await.expect_err("forbidden");
    let unsaved = renew_now(&renewer, &CancellationToken::new()).await.expect_err("not saved");
    for failure in [refused, unsaved] {
        let action = failure.action.as_deref().unwrap_or_default();
        assert!(action.contains("Perennial Secret Rotator") && action.contains("/secrets/"), "{action}");
    }
    let created = stage.secrets().into_iter().filter(|one| one.name.is_some()).count();
    assert_eq!(created, 0, "the new secret was removed again");
    let checked = stage.run_to_end(&["check"]).await;
    assert!(checked.stdout.contains("add --write to also test"), "{}", checked.stdout);

    reads_only(true);
    let checked = stage.run_to_end(&["check", "--write"]).await;
    assert_eq!(checked.code, Some(0), "{}", checked.stdout);
    assert!(!checked.stdout.contains("add --write"), "{}", checked.stdout);
}

#[tokio::test]
async fn every_refusal_of_graph_is_told_with_its_action() {
    let stage = Stage::set(TimeDelta::days(1)).await;
    stage.renews("{}");
    stage.grants_the_right();
    let app = &stage.partner.client_id;
    let forbidden = CredentialPolicy { forbids_secrets: true, ..CredentialPolicy::default() };
    let capped =
        CredentialPolicy { longest_secret: Some(TimeDelta::days(90)), ..CredentialPolicy::default() };
    let coded = |status, code: &str| {
        let what = FaultEffect::Coded { status, code: code.into(), inner: None, retry_after: None };
        stage.world().inject(Fault::of(Peer::Graph, what).on(Operation::AddPassword).times(1));
    };
    let renewer = stage.renewer();
    for (case, action) in [
        ("CredentialTypeNotAllowedAsPerAppPolicy", "exempt app"),
        ("CredentialInvalidLifetimeAsPerAppPolicy", "set a shorter lifetime in `renew`"),
        ("Authorization_RequestDenied", "az ad app owner add"),
        ("Request_ResourceNotFound", "compare client_id"),
        ("TooManyAppPasswords", "remove secrets that no program uses"),
        ("Nobody_KnowsThis", "look up code Nobody_KnowsThis"),
    ] {
        match case {
            "CredentialTypeNotAllowedAsPerAppPolicy" => stage.world().set_credential_policy(app, forbidden),
            "CredentialInvalidLifetimeAsPerAppPolicy" => stage.world().set_credential_policy(app, capped),
            other => {
                stage.world().set_credential_policy(app, CredentialPolicy::default());
                coded(400, other);
            }
        }
        let failure = renew_now(&renewer, &CancellationToken::new()).await.expect_err(case);
        assert!(failure.summary.contains(case), "{case}: {}", failure.summary);
        let told = failure.action.as_deref().unwrap_or_default();
        assert!(told.contains(action), "{case}: {told}");
    }
    assert_eq!(stage.secrets().len(), 1, "nothing is left behind");

    // The action for the lifetime limit is to set a shorter lifetime. With a shorter lifetime, the renewal succeeds.
    stage.world().set_credential_policy(app, capped);
    let mut shorter = stage.renewer();
    shorter.target.policy.lifetime = TimeDelta::days(89);
    renew_now(&shorter, &CancellationToken::new()).await.expect("renewed");
}

#[tokio::test]
async fn without_renew_nothing_calls_graph() {
    let stage = Stage::set(TimeDelta::days(80)).await;
    let (daemon, _) = stage.daemon().await;
    for command in [&["check"][..], &["credential"], &["verify"], &["rotate"], &["status"]] {
        stage.run_to_end(command).await;
    }
    daemon.signal("TERM");
    daemon.ended("stopped").await;
    assert_eq!(stage.graph_calls(None), 0);
    let refused = stage.run_to_end(&["credential", "one", "--renew"]).await;
    assert_eq!(refused.code, Some(2), "{}", refused.stderr);
    assert!(refused.stderr.contains("add `renew = {}`"), "{}", refused.stderr);
}

#[tokio::test]
async fn a_daemon_that_stops_half_way_removes_what_it_created() {
    let stage = Stage::set(TimeDelta::days(1)).await;
    stage.renews(r#"{ lifetime = "200d", before = "190d" }"#);
    stage.grants_the_right();
    let daemon = stage.start(&["run"]);
    let place = daemon.logs(0, "created", |event| event["event"] == "client_secret_created").await;
    assert_eq!(stage.secrets().len(), 2);

    daemon.signal("TERM");
    daemon.logs(place, "removed", |event| event["event"] == "client_secret_removed").await;

    assert_eq!(
        tokio::time::timeout(Duration::from_secs(30), daemon.ended("stopped")).await.expect("soon").code,
        Some(0)
    );
    assert_eq!(stage.secrets().len(), 1);
    assert_eq!(stage.world().versions_of(&stage.partner.app_secret).len(), 1);
}
