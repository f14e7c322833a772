//! Tests a DNS resolver that knows no name or does not answer. The report must say who has to act, and the daemon must
//! recover.

use chrono::TimeDelta;

use super::preload::{Host, Resolver};
use super::{Stage, is};
use crate::support::child::Child;

impl Stage {
    /// Configures IP addresses for all services, except for the service whose address is in `key`.
    fn name_only(&self, key: &str) {
        let text = std::fs::read_to_string(&self.config).expect("written");
        let line = |line: &str| {
            if line.starts_with(&format!("{key} =")) {
                line.to_owned()
            } else {
                line.replace("//localhost:", "//127.0.0.1:")
            }
        };
        let text: Vec<String> = text.lines().map(line).collect();
        assert!(text.iter().any(|line| line.contains("//localhost:")), "{key} is not in {text:?}");
        std::fs::write(&self.config, text.join("\n")).expect("our own file");
    }
}

async fn is_told_and_waited_for(
    resolver: Resolver,
    key: &str,
    [kind, remedy, why]: [&str; 3],
    by_host: bool,
) {
    let stage = Stage::set(TimeDelta::days(80)).await;
    let env = if by_host { stage.app_service().await } else { Vec::new() };
    if by_host {
        stage.identify("");
    }
    stage.name_only(key);
    let host = Host::in_dir(&stage.dir.0);
    host.set_resolver(resolver);
    let of_identity = env.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let env: Vec<(&str, &str)> = of_identity.chain(host.env()).collect();

    let mut daemon = Child::start(&stage.config, &["run"], &env);

    let told = |event: &serde_json::Value| {
        is(event, "attempt_failed", "one")
            && event["kind"] == kind
            && event["remedy"] == remedy
            && event.to_string().contains(why)
    };
    let place = daemon.logs(0, why, told).await;
    daemon.signal("HUP");
    let place = daemon.logs(place, "the same once more", told).await;
    assert!(daemon.is_running());
    host.set_resolver(Resolver::Works);
    daemon.signal("HUP");
    daemon.logs(place, "taken up", |event| is(event, "rotated", "one")).await;
}

const UNKNOWN: &str = "the host name does not exist";

#[tokio::test]
async fn a_vault_name_that_does_not_resolve() {
    let told = ["vault_unreachable", "operator", UNKNOWN];
    is_told_and_waited_for(Resolver::KnowsNoName, "url", told, false).await;
}

#[tokio::test]
async fn an_issuer_name_that_does_not_resolve() {
    let told = ["entra_unreachable", "retry", UNKNOWN];
    is_told_and_waited_for(Resolver::KnowsNoName, "authority", told, true).await;
}

/// The identity for Key Vault authenticates at the issuer whose name does not resolve.
#[tokio::test]
async fn the_issuer_name_of_an_identity_that_does_not_resolve() {
    let told = ["vault_identity", "operator", UNKNOWN];
    is_told_and_waited_for(Resolver::KnowsNoName, "authority", told, false).await;
}

#[tokio::test]
async fn a_resolver_that_hangs_is_reported_as_a_timeout() {
    let told = ["vault_unreachable", "retry", "no answer in time"];
    is_told_and_waited_for(Resolver::Hangs, "url", told, false).await;
}
