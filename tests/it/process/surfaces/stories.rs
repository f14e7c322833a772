//! Tests of single cases in which the surfaces once disagreed.

use chrono::TimeDelta;
use perennial::process::clock::Timestamp;
use perennial::sandbox::server::ConfigRequest;
use perennial::sandbox::world::{Operation, Partner, Peer};
use perennial::token::secret::{SecretAddress, SecretName};
use serde_json::Value;

use super::{DOCUMENTED, SITUATIONS, Scene, answers, returns_the_same_token};
use crate::process::alarm::add_sinks;
use crate::process::{Stage, is, results};
use crate::support::child::{eventually, get};
use crate::support::inbox::Inbox;

/// Twenty tokens of one user and app, more than Entra's limit allows at once. The result is the last row of the table
/// in docs/surfaces.md.
#[tokio::test]
async fn tokens_that_wait_for_their_turn_are_neither_overdue_nor_unready() {
    let stage = Stage::set(TimeDelta::days(2)).await;
    let partners: Vec<(String, Partner)> = (0..20)
        .map(|nth| {
            let name = SecretName::parse(&format!("t{nth}")).expect("a name");
            let refresh_token = SecretAddress { name, ..stage.partner.refresh_token.clone() };
            let partner = Partner { refresh_token, ..stage.partner.clone() };
            stage.world().human_signs_in(&partner).expect("may sign in");
            (format!("t{nth}"), partner)
        })
        .collect();
    let tokens: Vec<(&str, &Partner)> = partners.iter().map(|(name, it)| (name.as_str(), it)).collect();
    let request = ConfigRequest { tokens: &tokens, rotate_after: None, prove_every: None, strict: false };
    stage.sandbox.write_config(&stage.dir.0, &request).expect("a directory of our own");
    let inbox = Inbox::open().await;
    add_sinks(&stage, &[("chat", "", inbox.url("/"))]);
    let daemon = stage.start(&["run"]);
    let address = daemon.address().await;
    let scene = Scene { stage, inbox, daemon: Some(daemon), address };

    let waits = |token: &&Value| token["waits_for_turn"] == true;
    let document = eventually("some are proved and the others wait", || {
        let document = scene.document();
        let all = document["tokens"].as_array().expect("a list");
        let (waiting, rest): (Vec<&Value>, Vec<&Value>) = all.iter().partition(waits);
        let proved = rest.iter().filter(|token| token["state"] == "current").count();
        (proved >= 5 && waiting.len() + proved == 20 && waiting.len() >= 5).then_some(document)
    });
    let document = document.await;
    let [page, health, ready, metrics] =
        ["/", "/health", "/readyz", "/metrics"].map(|path| get(&scene.address, path));
    let (status, monitor) = (scene.ended(&["status"]).await, scene.ended(&["status", "--monitor"]).await);

    assert_eq!(document["conditions"], serde_json::json!([]), "none is late");
    let mut waiting = document["tokens"].as_array().expect("a list").iter().filter(waits);
    assert!(waiting.all(|token| token["state"] == "unknown" && token["version"].is_string()), "{document}");
    assert!(page.contains(">waits for its turn<") && page.contains("<title>Not known yet"), "{page}");
    assert!(ready.starts_with("HTTP/1.1 200") && health.starts_with("HTTP/1.1 200"), "{ready}{health}");
    assert!(!metrics.contains("kind=\"overdue\",token="), "{metrics}");
    assert_eq!((status.code, monitor.code), (Some(0), Some(3)), "{}", monitor.stdout);
    assert!(monitor.stdout.contains(" of 20 tokens not proved recently ("), "{}", monitor.stdout);
    assert_eq!(scene.inbox.letters().len(), 0, "nobody is told");
    let row = "| waits for its turn | - | - | - | unknown | Not known yet | 200 | 200 | 90 d | 0 | 3 | - | - | waits |";
    assert!(DOCUMENTED.contains(row), "{row}");
}

/// The token is revoked, and later Entra cannot be reached. The surfaces must show and count both conditions.
#[tokio::test]
async fn an_outage_after_a_permanent_failure_is_shown_and_counted() {
    let revoked = SITUATIONS.iter().find(|situation| situation.name == "revoked").expect("listed");
    let scene = Scene::set(revoked).await;
    let has = |kinds: &'static [&str]| {
        move |token: &Value| {
            kinds
                .iter()
                .all(|kind| token["conditions"].as_array().is_some_and(|all| all.contains(&(*kind).into())))
        }
    };
    scene.until("revoked", has(&["login_required"])).await;
    let count = |kind: &str| {
        let metrics = get(&scene.address, "/metrics");
        let name = format!("perennial_failures_total{{kind=\"{kind}\"}} ");
        let value = metrics.lines().find_map(|line| line.strip_prefix(&name)?.parse::<u32>().ok());
        value.expect("counted from zero")
    };
    let refused = count("login_required");
    assert!(refused >= 1);

    answers(&scene.stage, Peer::Entra, 503);
    scene.until("both", has(&["login_required", "entra_unreachable"])).await;

    assert_eq!(count("login_required"), refused, "Entra was asked and did not refuse");
    assert!(count("entra_unreachable") >= 3);
    let status = scene.ended(&["status"]).await;
    assert_eq!(status.code, Some(3), "{}", status.stdout);
}

/// A minute after a proof, an outage begins. The surfaces must still show the time of the last proof.
#[tokio::test]
async fn during_a_short_outage_the_last_proof_is_still_shown() {
    let current = SITUATIONS.iter().find(|situation| situation.name == "current").expect("listed");
    let scene = Scene::set(current).await;
    let proved = scene.document()["tokens"][0]["proved_at"].as_str().expect("proved").to_owned();
    answers(&scene.stage, Peer::Entra, 503);
    answers(&scene.stage, Peer::PartnerCenter, 503);
    scene.stage.world().advance(TimeDelta::minutes(1));
    let daemon = scene.daemon.as_ref().expect("it runs");
    daemon.signal("HUP");
    daemon.logs(0, "an attempt fails", |event| event["event"] == "attempt_failed").await;

    let (page, document) = (get(&scene.address, "/"), scene.document());

    assert_eq!(
        (&document["tokens"][0]["state"], &document["tokens"][0]["proved_at"]),
        (&"current".into(), &proved.into())
    );
    assert!(!page.contains("roved yet") && !page.contains("Not known yet"), "{page}");
    assert!(page.contains("<dt>Last proof</dt><dd><time "), "{page}");
}

/// A timer starts `rotate`, and no daemon runs. After weeks, the monitor must still report the expired app secret.
#[tokio::test]
async fn a_monitor_stays_critical_while_the_app_secret_is_expired() {
    let stage = Stage::set(TimeDelta::days(2)).await;
    assert_eq!(stage.run_to_end(&["rotate", "one"]).await.code, Some(0));
    stage.world().expire_app_secret(&stage.partner.client_id);

    for days in [1, 1, 10, 30, 30] {
        stage.world().advance(TimeDelta::days(days));
        assert_eq!(stage.run_to_end(&["rotate", "one"]).await.code, Some(4));
        let monitor = stage.run_to_end(&["status", "one", "--monitor"]).await;
        assert_eq!(monitor.code, Some(2), "{}", monitor.stdout);
        assert!(monitor.stdout.contains("app_credential_refused: one"), "{}", monitor.stdout);
        assert!(monitor.stdout.contains(" runway=0s"), "{}", monitor.stdout);
    }
}

/// In every JSON result, the reason is in `summary` and the action is in `action`.
#[tokio::test]
async fn every_json_says_summary_and_action() {
    let stage = Stage::set(TimeDelta::days(2)).await;
    stage.world().revoke_user(&stage.partner.user_oid);

    for command in [&["rotate", "one"][..], &["status", "one"], &["verify", "one"], &["check", "one"]] {
        let args = [command, &["--json"]].concat();
        let ended = stage.run_to_end(&args).await;
        let json: Value = serde_json::from_str(&ended.stdout).expect("JSON");
        let list = if command[0] == "status" { &json["conditions"] } else { &json };
        let told = list.as_array().expect("a list").iter().filter(|one| !one["remedy"].is_null());
        let told: Vec<&Value> = told.collect();
        assert!(!told.is_empty(), "{command:?}: {json}");
        for one in told {
            assert!(one["summary"].is_string() && one["action"].is_string(), "{command:?}: {one}");
            for old in ["told", "cure", "problem"] {
                assert!(one.get(old).is_none(), "{command:?}: {one}");
            }
        }
    }
}

/// The issuer returns the same token, so there is no rotation. Perennial must not write a version, must not count or
/// log a rotation, and must not report a foreign writer.
#[tokio::test]
async fn an_issuer_that_returns_the_same_refresh_token_rotates_nothing() {
    let stage = Stage::set(TimeDelta::days(40)).await;
    returns_the_same_token(&stage);
    let daemon = stage.start(&["run"]);
    let address = daemon.address().await;
    for _ in 0..3 {
        let seen = daemon.events(0).len();
        daemon.signal("HUP");
        daemon.logs(seen, "proved", |event| is(event, "proved", "one")).await;
    }

    let kind = "\"kind\":\"same_refresh_token\"";
    let status = eventually("it is told of each of the two tokens", || {
        let status = get(&address, "/status");
        (status.matches(kind).count() == 2).then_some(status)
    });
    let (status, metrics) = (status.await, get(&address, "/metrics"));
    let writes = stage.world().count_calls(Peer::KeyVault, Some(Operation::Set), Timestamp::MIN_UTC);
    let rotated = stage.run_to_end(&["rotate", "one", "--force", "--json"]).await;

    assert!(!daemon.told().contains("\"event\":\"rotated\""), "{}", daemon.told());
    assert!(metrics.contains("perennial_rotations_total{token=\"one\",outcome=\"saved\"} 0\n"), "{metrics}");
    assert_eq!((writes, stage.versions()), (0, 1));
    assert!(!status.contains("foreign_writer"), "{status}");
    assert_eq!((rotated.code, results(&rotated)[0]["outcome"].clone()), (Some(0), "proved".into()));
}
