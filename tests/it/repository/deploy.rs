//! Tests that the deployment files match what the program needs.

use std::path::Path;
use std::process::Command;

use clap::Parser as _;
use perennial::cli::Cli;
use perennial::config::Config;
use perennial::rotation::grace;
use serde_json::Value;

#[test]
fn the_role_can_write_a_secret_and_never_delete_one() {
    let role: Value = serde_json::from_str(include_str!("../../../deploy/azure/role.json")).expect("JSON");

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

const UNIT: &str = include_str!("../../../deploy/systemd/perennial.service");
const PASS: &str = include_str!("../../../deploy/systemd/perennial-rotate.service");

/// Returns the lines of a unit, except comments and empty lines.
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
        "MemorySwapMax=0",
    ] {
        assert!(said(UNIT).any(|there| there == line), "{line}");
    }
    let timeout = said(UNIT).find_map(|line| line.strip_prefix("TimeoutStopSec=")).expect("set");
    assert!(timeout.parse::<u64>().expect("seconds") > grace::GRACE.as_secs() + 10);
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
fn the_packages_example_needs_two_values_and_is_valid_with_them() {
    let example = include_str!("../../../deploy/debian/perennial.toml");
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
    let image = include_str!("../../../Dockerfile");
    let version = format!("ARG VERSION={}", env!("CARGO_PKG_VERSION"));

    for line in ["    && deploy/release/build \\", "USER 65532:65532", "CMD [\"run\"]", version.as_str()] {
        assert!(image.lines().any(|there| there == line), "{line}");
    }
    assert!(include_str!("../../../deploy/release/build").contains("cargo build --release --locked"));
    assert!(image.contains("distroless/cc-debian12:nonroot"));
}

/// Tests the example configurations of the deployment pages.
#[test]
fn deployment_configurations_are_valid() {
    // The variables that the workload identity webhook of AKS sets in a pod.
    let pod = [
        ("AZURE_FEDERATED_TOKEN_FILE", "/var/run/secrets/azure/tokens/azure-identity-token"),
        ("AZURE_TENANT_ID", "contoso.onmicrosoft.com"),
        ("AZURE_CLIENT_ID", "0ed4b3a5-1b4c-4a5e-8a6f-0123456789ab"),
    ];
    for (path, env) in [
        ("deploy/compose/perennial/perennial.toml", &[][..]),
        ("deploy/kubernetes/overlays/aks/perennial.toml", &pod),
    ] {
        let text = super::filled_in(&read(path));
        let env = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));

        let config = Config::parse(Path::new(path), &text, env);

        let config = config.unwrap_or_else(|problems| panic!("{path}: {problems}"));
        assert_eq!(config.tokens[0].name.as_str(), "partner-center", "{path}");
    }
}

#[test]
fn every_command_in_compose_and_manifests_parses() {
    let files = [
        "deploy/compose.yaml",
        "deploy/kubernetes/base/deployment.yaml",
        "deploy/kubernetes/components/cron-job/cron-job.yaml",
        "deploy/kubernetes/overlays/sandbox/stand-ins.yaml",
    ];
    let mut typed = 0;
    for (path, text) in files.map(|path| (path, read(path))) {
        // Some lists contain only the program's arguments. Other lists begin with the program's path.
        let keys = ["args: [", "command: [", "test: [CMD, /usr"];
        let lists = text.lines().filter_map(|line| keys.iter().find_map(|key| line.split_once(key)));
        for list in lists.filter_map(|(_, rest)| rest.split(']').next()) {
            let words = list.split(", ").map(|word| word.trim_matches('"'));
            let words = words.skip_while(|word| word.ends_with("/perennial"));
            let parsed = Cli::try_parse_from(["perennial"].into_iter().chain(words));

            assert!(parsed.is_ok(), "{path}: {list}");
            typed += 1;
        }
    }
    assert_eq!(typed, 6);
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

pub(super) fn read(path: &str) -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    std::fs::read_to_string(file).unwrap_or_else(|error| panic!("{path}: {error}"))
}
