//! Tests five hundred tokens in three vaults. One vault is down, and one token is dead. The other tokens must not be
//! affected.

use std::net::TcpListener;
use std::time::Duration;

use chrono::TimeDelta;
use perennial::process::clock::Timestamp;
use perennial::sandbox::server::ConfigRequest;
use perennial::sandbox::world::{Operation, Partner, Peer};
use serde_json::Value;

use crate::support::child::{Child, get, within};
use crate::support::harness::Scratch;
use crate::support::lab;

const TOKENS: usize = 500;

/// The shared limits allow the proof of all tokens within seconds. The timeout of three minutes is for a slow machine.
const ALL_TRIED_WITHIN: Duration = Duration::from_secs(180);

fn block(nth: usize, vault: &str, partner: &Partner) -> String {
    format!(
        "\n[[token]]\nname = \"t{nth}\"\ntenant_id = \"{}\"\nclient_id = \"{}\"\nvault_url = \"{vault}\"\n\
         client_secret = {{ secret = \"{}\" }}\nrefresh_token = \"{}\"\n",
        partner.tenant_id,
        partner.client_id,
        partner.app_secret.name.as_str(),
        partner.refresh_token.name.as_str(),
    )
}

/// Returns the value of a sample in the metrics.
fn sample(metrics: &str, name: &str) -> Option<f64> {
    metrics.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
}

#[tokio::test]
async fn five_hundred_tokens_in_three_vaults_of_which_one_is_down() {
    let sandbox = lab::any_sandbox().await;
    let world = sandbox.world();
    let second = format!("https://127.0.0.1:{}", sandbox.addr.port());
    let down = {
        let closed = TcpListener::bind(("127.0.0.1", 0)).expect("any port");
        format!("https://127.0.0.1:{}", closed.local_addr().expect("bound").port())
    };
    world.advance(-TimeDelta::days(80));
    let vaults = [&*sandbox.origin, &second, &down];
    let partners: Vec<Partner> =
        (0..TOKENS).map(|nth| world.add_partner(&format!("t{nth}"), vaults[nth % 3], None)).collect();
    world.advance(TimeDelta::days(80));
    let (dead, living): (Vec<_>, Vec<_>) =
        partners.iter().enumerate().filter(|(nth, _)| nth % 3 < 2).partition(|(nth, _)| *nth == 7);
    world.revoke_user(&dead[0].1.user_oid);
    let dir = Scratch::new();
    let request = ConfigRequest {
        tokens: &[("t0", &partners[0])],
        rotate_after: None,
        prove_every: None,
        strict: false,
    };
    let config = sandbox.write_config(&dir.0, &request).expect("a directory of our own").config;
    let mut text = std::fs::read_to_string(&config).expect("written");
    text.extend((1..TOKENS).map(|nth| block(nth, vaults[nth % 3], &partners[nth])));
    std::fs::write(&config, text).expect("our own file");

    let daemon = Child::start(&config, &["run"], &[]);
    let address = daemon.address().await;
    let current = format!("perennial_tokens{{state=\"current\"}} {}\n", living.len());
    let metrics = within(ALL_TRIED_WITHIN, "all that can be are current", || {
        let metrics = get(&address, "/metrics");
        metrics.contains(&current).then_some(metrics)
    })
    .await;

    // Each token that is not dead was due for a rotation and was rotated once.
    for (nth, partner) in &living {
        assert_eq!(world.versions_of(&partner.refresh_token).len(), 2, "t{nth}");
    }
    assert_eq!(world.versions_of(&dead[0].1.refresh_token).len(), 1);
    let challenged = "perennial_http_client_request_duration_seconds_count{peer=\"key_vault\",operation=\"get\",code=\"401\"}";
    assert_eq!(sample(&metrics, challenged), Some(2.0), "one challenge for each vault that answers");
    let requests = |peer| world.count_calls(peer, None, Timestamp::MIN_UTC);
    let redeemed = world.count_calls(Peer::Entra, Some(Operation::Redeem), Timestamp::MIN_UTC);
    assert!(redeemed <= TOKENS, "{redeemed}");
    assert!(requests(Peer::KeyVault) <= 8 * living.len() + 10, "{}", requests(Peer::KeyVault));

    // One condition is about the vault that is down, and one condition is about the dead token. Perennial reports a
    // transient failure after the third attempt.
    let status: Value = within(ALL_TRIED_WITHIN, "the vault that is down is told", || {
        let answer = get(&address, "/status");
        let body = answer.split_once("\r\n\r\n").expect("a body").1;
        body.contains("\"vault_unreachable\"").then(|| serde_json::from_str(body).expect("JSON"))
    })
    .await;
    let conditions = status["conditions"].as_array().expect("a list");
    let mut told: Vec<(&str, &str)> = conditions
        .iter()
        .filter_map(|of| Some((of["kind"].as_str()?, of["cause"].as_str()?)))
        .filter(|(kind, _)| *kind != "app_secret_expiry_unknown")
        .collect();
    told.sort_unstable();
    let the_vault = format!("vault:{down}");
    let the_token = format!("token:{}", dead[0].1.refresh_token);
    assert_eq!(told, [("login_required", the_token.as_str()), ("vault_unreachable", &the_vault)]);
}
