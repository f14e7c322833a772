//! What is shipped beside the program says what the program needs.

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

#[test]
fn the_unit_leaves_time_to_save_and_does_not_loop_on_a_mistake() {
    let unit = include_str!("../../deploy/systemd/perennial.service");

    for line in [
        "Type=notify",
        "WatchdogSec=120",
        "TimeoutStopSec=40",
        "RestartPreventExitStatus=2 78",
        "DynamicUser=yes",
        "LimitCORE=0",
    ] {
        assert!(unit.lines().any(|there| there == line), "{line}");
    }
}

#[test]
fn the_image_runs_unprivileged_and_builds_what_was_locked() {
    let image = include_str!("../../Dockerfile");

    for part in ["cargo build --release --locked", "distroless/cc-debian12:nonroot", "ENTRYPOINT ["] {
        assert!(image.contains(part), "{part}");
    }
}
