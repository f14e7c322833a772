//! Tests services that return all data of the request in every text of an answer. The program must not log, serve or
//! store these data, regardless of the source of its secrets.

use std::path::Path;

use chrono::TimeDelta;
use perennial::process::clock::Timestamp;
use perennial::sandbox::world::{Fault, FaultEffect, Hostile, Operation, Peer};
use secrecy::ExposeSecret as _;

use super::super::Stage;
use super::{leaks, secrets};
use crate::support::child::{Child, eventually, get};

/// All endpoints of the daemon, and a path that does not exist.
const PATHS: [&str; 10] = [
    "/",
    "/status",
    "/metrics",
    "/health",
    "/health?token=one",
    "/health?token=nosuch",
    "/livez",
    "/readyz",
    "/healthz",
    "/no/such/page",
];

/// Every call that carries a secret, with HTTP statuses for which the program parses the answer in different ways.
const ECHOES: [(Peer, Operation, &[u16]); 5] = [
    (Peer::Entra, Operation::Redeem, &[200, 400, 401, 503]),
    (Peer::KeyVault, Operation::Get, &[200, 400, 403, 404, 409, 500]),
    (Peer::KeyVault, Operation::Set, &[200, 400, 403, 409]),
    (Peer::KeyVault, Operation::Update, &[400]),
    (Peer::PartnerCenter, Operation::Profile, &[200, 401, 403, 500]),
];

fn echo(peer: Peer, operation: Operation, status: u16) -> Fault {
    Fault::of(peer, FaultEffect::Hostile { status, body: Hostile::Echo }).on(operation)
}

/// Configures a file as the source of one app secret. Configures environment variables as the sources of the other app
/// secret and of the identity's secret, and returns these variables.
fn out_of_the_vault(stage: &Stage) -> Vec<(String, String)> {
    let text = std::fs::read_to_string(&stage.config).expect("written");
    let file = stage.dir.0.join("app-secret");
    let app = |name| stage.world().newest_value(name).expect("stored").expose().to_owned();
    std::fs::write(&file, app(&stage.partner.app_secret)).expect("our own file");
    let vault = stage.dir.0.join("vault-client-secret");
    let named = |name: &str| format!("{{ secret = {name:?} }}");
    let in_file = |path: &Path| format!("{{ file = \"{}\" }}", path.display());
    let text = [
        (named(stage.partner.app_secret.name.as_str()), in_file(&file)),
        (named(stage.other.app_secret.name.as_str()), "{ env = \"OTHER_SECRET\" }".to_owned()),
        (in_file(&vault), "{ env = \"VAULT_SECRET\" }".to_owned()),
    ]
    .into_iter()
    .fold(text, |text, (from, to)| {
        assert!(text.contains(&from), "{from} is not in\n{text}");
        text.replace(&from, &to)
    });
    std::fs::write(&stage.config, text).expect("our own file");
    let identity = stage.sandbox.vault_identity.client_secret.expose_secret().to_owned();
    vec![("OTHER_SECRET".into(), app(&stage.other.app_secret)), ("VAULT_SECRET".into(), identity)]
}

pub(super) fn pages(daemon_at: &str) -> String {
    PATHS.iter().map(|path| get(daemon_at, path)).collect::<Vec<_>>().join("\n")
}

/// Returns the tags of all versions. The tags must contain no secret, because people without access to secret values
/// can read tags.
pub(super) fn tags(stage: &Stage) -> String {
    let secrets = stage.world().secrets();
    let versions = secrets.iter().flat_map(|at| stage.world().versions_of(at));
    format!("{:?}", versions.map(|version| version.tags).collect::<Vec<_>>())
}

#[tokio::test]
async fn echoed_secrets_are_not_logged_served_or_stored() {
    let stage = Stage::set(TimeDelta::days(80)).await;
    let world = stage.world();
    let env = out_of_the_vault(&stage);
    let env: Vec<(&str, &str)> = env.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let env = [&env[..], &[("RUST_LOG", "trace")]].concat();
    for status in [400, 401] {
        world.inject(echo(Peer::Entra, Operation::Identity, status).times(1));
    }
    let start = || Child::start(&stage.config, &["run", "--log-format", "json"], &env);
    let proved = |event: &serde_json::Value| super::is(event, "proved", "one");
    let (mut served, mut printed) = (String::new(), String::new());
    let first = start();
    served += &pages(&first.address().await);
    first.logs(0, "an echo of who we are", |event| super::failed_with(event, "unknown_code")).await;
    let mut before = Some(first);

    for (peer, operation, statuses) in ECHOES {
        // Each case has its own process. In one process, all these redemptions would reach Perennial's limit for one
        // user and app.
        let daemon = before.take().unwrap_or_else(start);
        let address = daemon.address().await;
        daemon.logs(0, "proved at the start", proved).await;
        for status in statuses {
            let calls = || world.count_calls(peer, Some(operation), Timestamp::MIN_UTC);
            let before = calls();
            world.inject(echo(peer, operation, *status));
            // After eight days, a save and an update of tags are due.
            world.advance(TimeDelta::days(8));
            daemon.signal("HUP");
            eventually(&format!("{operation:?} is answered so: {status}"), || {
                (calls() > before).then_some(())
            })
            .await;
            served += &pages(&address);
            world.clear_faults(None);
            let from = daemon.events(0).len();
            daemon.signal("HUP");
            daemon.logs(from, "an honest answer", proved).await;
        }
        served += &pages(&address);
        daemon.signal("TERM");
        let ended = daemon.ended("stopped").await;
        printed += &(ended.stdout + &ended.stderr);
    }

    assert!(served.contains("\"healthy\":true") && served.contains("perennial_tokens"), "{served}");
    for kind in ["entra_unreachable", "vault_refused", "partner_center_refused"] {
        assert!(printed.contains(kind) || served.contains(kind), "the echoes were not met: {kind}");
    }
    let secrets = secrets(&stage);
    for (place, text) in [("the log", &printed), ("a page", &served), ("a tag", &tags(&stage))] {
        assert_eq!(leaks(text, &secrets), Vec::<String>::new(), "in {place}");
        assert!(!text.contains("eyJ") && !text.contains("Bearer"), "in {place}");
    }
}
