//! What is shipped beside the program says what the program needs.

use std::path::Path;

use perennial::config::Config;
use perennial::daemon;
use serde_json::Value;

#[test]
fn the_role_can_write_a_secret_and_never_delete_one() {
    let role: Value = serde_json::from_str(include_str!("../../deploy/azure/role.json")).expect("JSON");

    let mut actions: Vec<&str> = role["DataActions"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|action| action.as_str()?.strip_prefix("Microsoft.KeyVault/vaults/secrets/"))
        .collect();
    actions.sort_unstable();
    assert_eq!(actions, ["getSecret/action", "readMetadata/action", "setSecret/action", "update/action"]);
    assert_eq!(role["Actions"], Value::Array(Vec::new()));
}

const UNIT: &str = include_str!("../../deploy/systemd/perennial.service");
const PASS: &str = include_str!("../../deploy/systemd/perennial-rotate.service");

/// What a unit says, without comments.
fn said(unit: &'static str) -> impl Iterator<Item = &'static str> {
    unit.lines().filter(|line| !line.is_empty() && !line.starts_with('#'))
}

#[test]
fn the_unit_leaves_time_to_save_and_does_not_loop_on_a_mistake() {
    for line in [
        "Type=notify",
        "WatchdogSec=120",
        "Restart=always",
        "RestartPreventExitStatus=2 78",
        "DynamicUser=yes",
        "LimitCORE=0",
    ] {
        assert!(said(UNIT).any(|there| there == line), "{line}");
    }
    let timeout = said(UNIT).find_map(|line| line.strip_prefix("TimeoutStopSec=")).expect("set");
    assert!(timeout.parse::<u64>().expect("seconds") > daemon::GRACE.as_secs() + 10);
}

#[test]
fn a_pass_may_do_no_more_than_the_daemon() {
    let bounds = |unit| -> Vec<&str> {
        said(unit)
            .skip_while(|line| *line != "DynamicUser=yes")
            .take_while(|line| *line != "[Install]")
            .collect()
    };

    assert_eq!(bounds(UNIT), bounds(PASS));
    assert!(bounds(UNIT).len() > 30, "{:?}", bounds(UNIT));
}

#[test]
fn the_packages_example_wants_two_values_and_is_sound_with_them() {
    let example = include_str!("../../deploy/debian/perennial.toml");
    let parsed = |text: &str| Config::parse(Path::new("perennial.toml"), text, std::iter::empty());

    let missing = parsed(example).expect_err("nobody has filled it in").problems;
    let keys: Vec<&str> = missing.iter().map(|problem| &*problem.key).collect();
    assert_eq!(keys, ["token[0].tenant_id", "token[0].client_id"]);
    let filled = example
        .replace("TENANT_ID", "contoso.onmicrosoft.com")
        .replace("CLIENT_ID", "00000000-0000-0000-0000-000000000001");
    parsed(&filled).expect("sound");
}

#[test]
fn the_image_runs_unprivileged_and_builds_what_was_locked() {
    let image = include_str!("../../Dockerfile");

    for part in ["cargo build --release --locked", "distroless/cc-debian12:nonroot", "ENTRYPOINT ["] {
        assert!(image.contains(part), "{part}");
    }
}
