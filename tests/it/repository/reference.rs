//! Tests that the reference pages list exactly the program's keys, commands, exit codes, states and metrics, and the
//! sandbox's controls.

use std::collections::BTreeSet;

use super::example::source_of;
use clap::CommandFactory as _;
use perennial::cli::{Cli, ExitCode};
use perennial::sandbox::world::{Distortion, Hostile, Operation, Peer};
use perennial::serve::metrics::METRICS;
use perennial::status::snapshot::TokenState;
use prometheus_client::metrics::MetricType;

const CONFIGURATION: &str = include_str!("../../../docs/configuration.md");
const COMMANDS: &str = include_str!("../../../docs/commands.md");
const STATES: &str = include_str!("../../../docs/states.md");
const METRICS_PAGE: &str = include_str!("../../../docs/metrics.md");
const SANDBOX: &str = include_str!("../../../docs/sandbox.md");
const ARCHITECTURE: &str = include_str!("../../../ARCHITECTURE.md");
const EXAMPLE: &str = include_str!("../../../config/perennial.toml");
const CONTROLS: &str = include_str!("../../../src/sandbox/server/controls.rs");
const INBOX: &str = include_str!("../../../src/sandbox/server/inbox.rs");
const MANIFEST: &str = include_str!("../../../Cargo.toml");

/// Returns the texts in back-ticks.
fn quoted(text: &str) -> BTreeSet<String> {
    text.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// Returns the name in back-ticks at the beginning of a table cell.
fn named(cell: &str) -> String {
    cell.split('`').nth(1).unwrap_or_else(|| panic!("{cell:?} names nothing")).to_owned()
}

/// Returns the rows of all tables with this header. For each row, returns the heading above the table, and the cells of
/// the row.
pub(super) fn rows<'a>(page: &'a str, header: &str) -> Vec<(&'a str, Vec<&'a str>)> {
    let (mut heading, mut inside, mut found) = ("", false, Vec::new());
    for line in page.lines() {
        if let Some(text) = line.strip_prefix("## ") {
            heading = text;
        }
        if line.starts_with(header) {
            inside = true;
        } else if !line.starts_with('|') {
            inside = false;
        } else if inside && !line.starts_with("|--") {
            let cells = line.trim_matches('|').split('|').map(str::trim);
            found.push((heading, cells.collect()));
        }
    }
    assert!(!found.is_empty(), "there is no table {header}");
    found
}

#[test]
fn the_configuration_page_has_every_key_of_the_example_and_no_other() {
    let section = |heading: &str| match heading {
        "Secret sources" => "token.client_secret".to_owned(),
        "Certificate sources" => "token.client_certificate".to_owned(),
        "Assertion sources" => "token.client_assertion".to_owned(),
        "Renewal of an app credential" => "app.renew".to_owned(),
        other => named(other).trim_matches(['[', ']']).to_owned(),
    };
    let documented: BTreeSet<String> = rows(CONFIGURATION, "| Key |")
        .into_iter()
        .map(|(heading, cells)| format!("{}.{}", section(heading), named(cells[0])))
        .collect();

    let example = example_keys();

    assert_eq!(documented.difference(&example).collect::<Vec<_>>(), [""; 0], "not in config/perennial.toml");
    assert_eq!(example.difference(&documented).collect::<Vec<_>>(), [""; 0], "not in docs/configuration.md");
}

/// Returns the keys of `config/perennial.toml`, including keys that are commented out. `source_of` names the section of
/// the keys in an inline table.
fn example_keys() -> BTreeSet<String> {
    let plain = |key: &str| !key.is_empty() && key.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
    let (mut section, mut keys) = ("", BTreeSet::new());
    for line in EXAMPLE.lines().map(|line| line.strip_prefix("# ").unwrap_or(line)) {
        if line.starts_with('[') && line.ends_with(']') {
            section = line.trim_matches(['[', ']']);
        }
        let Some((key, _)) = line.split_once(" = ").filter(|(key, _)| plain(key)) else { continue };
        keys.insert(format!("{section}.{key}"));
        let table: toml::Table = toml::from_str(line).expect("a line of TOML");
        let parts = table[key].as_table().into_iter().flat_map(toml::Table::keys);
        keys.extend(parts.map(|part| format!("{}.{part}", source_of(section, key))));
    }
    keys
}

#[test]
fn every_command_is_listed_with_its_options() {
    let documented: BTreeSet<(String, BTreeSet<String>)> = rows(COMMANDS, "| Command | Does |")
        .into_iter()
        .map(|(_, cells)| (named(cells[0]), quoted(cells[2])))
        .collect();
    let command = Cli::command();
    let known: BTreeSet<(String, BTreeSet<String>)> = command
        .get_subcommands()
        .map(|one| {
            let options = one.get_arguments().filter_map(clap::Arg::get_long);
            (format!("perennial {}", one.get_name()), options.map(|long| format!("--{long}")).collect())
        })
        .collect();

    assert_eq!(documented, known);
}

#[test]
fn every_exit_code_is_listed() {
    let codes = [
        ExitCode::Done,
        ExitCode::Failed,
        ExitCode::Usage,
        ExitCode::Login,
        ExitCode::Operator,
        ExitCode::Configuration,
    ];
    let documented: Vec<&str> =
        rows(COMMANDS, "| Code | Means |").iter().map(|(_, cells)| cells[0]).collect();

    assert_eq!(documented, codes.map(|code| code.number().to_string()));
}

#[test]
fn every_state_is_listed() {
    let documented: Vec<String> =
        rows(STATES, "| State |").iter().map(|(_, cells)| named(cells[0])).collect();

    assert_eq!(documented, TokenState::ALL.map(TokenState::as_str));
}

#[test]
fn every_metric_is_listed_with_its_type_and_labels() {
    let documented: Vec<(String, &str, Vec<String>)> = rows(METRICS_PAGE, "| Metric |")
        .into_iter()
        .map(|(_, cells)| {
            let labels = cells[2].split(", ").map(|label| label.trim_matches('`').to_owned());
            (named(cells[0]), cells[1], labels.collect())
        })
        .collect();
    let known: Vec<(String, &str, Vec<String>)> = METRICS
        .iter()
        .map(|metric| {
            let kind = match metric.kind {
                MetricType::Gauge => "gauge",
                MetricType::Counter => "counter",
                MetricType::Histogram => "histogram",
                _ => "another type",
            };
            let labels = metric.labels.iter().map(|label| (*label).to_owned());
            (metric.name.to_owned(), kind, labels.collect())
        })
        .collect();

    assert_eq!(documented, known);
}

#[test]
fn every_control_of_the_sandbox_is_listed() {
    let documented: BTreeSet<(String, String)> = rows(SANDBOX, "| Method |")
        .into_iter()
        .map(|(_, cells)| (cells[0].to_owned(), named(cells[1])))
        .collect();
    let mut served = BTreeSet::new();
    for route in [CONTROLS, INBOX].concat().split(".route(\"").skip(1) {
        let (path, rest) = route.split_once('"').expect("the end of a path");
        if !path.starts_with("/_sandbox") {
            continue;
        }
        let handlers = rest.lines().next().unwrap_or_default();
        for method in ["get", "post", "put", "patch", "delete"] {
            if handlers.contains(&format!("{method}(")) {
                served.insert((method.to_uppercase(), path.to_owned()));
            }
        }
    }

    assert!(served.len() > 5, "{served:?}");
    assert_eq!(documented, served);
}

#[test]
fn every_fault_of_the_sandbox_is_listed() {
    let page = quoted(SANDBOX);
    let names = Peer::ALL.map(Peer::as_str).into_iter().chain(Operation::ALL.map(Operation::as_str));
    let bent = Distortion::ALL.map(Distortion::as_str).into_iter().chain(Hostile::ALL.map(Hostile::as_str));

    let missing: Vec<&str> = names.chain(bent).filter(|name| !page.contains(*name)).collect();

    assert_eq!(missing, [""; 0]);
}

#[test]
fn every_dependency_has_its_reason() {
    let manifest: toml::Table = MANIFEST.parse().expect("TOML");
    let crates = manifest["dependencies"].as_table().expect("a table").keys();
    let words: BTreeSet<&str> =
        ARCHITECTURE.split(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != '-').collect();

    let missing: Vec<&String> = crates.filter(|name| !words.contains(name.as_str())).collect();

    assert!(missing.is_empty(), "not in ARCHITECTURE.md: {missing:?}");
}
