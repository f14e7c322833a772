//! What is shipped beside the program says what the program needs.

use std::process::Command;

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

#[test]
fn the_version_names_commit_compiler_and_target() {
    let output = Command::new(env!("CARGO_BIN_EXE_perennial")).arg("--version").output().expect("it runs");

    let text = String::from_utf8(output.stdout).expect("text");
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], concat!("perennial ", env!("CARGO_PKG_VERSION")));
    let hex = |text: &str| text.chars().all(|c| c.is_ascii_hexdigit());
    let revision = lines[1].strip_prefix("revision  ").expect("a revision");
    assert!(revision == "unknown" || hex(revision.trim_end_matches("-dirty")), "{revision}");
    assert!(lines[2].strip_prefix("rustc     ").is_some_and(|version| version.starts_with("1.")), "{text}");
    assert!(lines[3].strip_prefix("target    ").is_some_and(|target| target.contains("-linux-")), "{text}");
}
