//! Tests that README and ARCHITECTURE.md are short, and that the configurations in README and docs/alerting.md are
//! valid.

use std::path::Path;

use perennial::azure::identity::Identity;
use perennial::config::Config;

const README: &str = include_str!("../../../README.md");
const ARCHITECTURE: &str = include_str!("../../../ARCHITECTURE.md");
const ALERTING: &str = include_str!("../../../docs/alerting.md");

/// Returns all TOML blocks of a page, as one file.
fn toml_of(page: &str) -> String {
    let blocks = page.split("```toml\n").skip(1);
    blocks.filter_map(|rest| rest.split("```").next()).collect::<Vec<_>>().join("\n")
}

#[test]
fn readme_and_architecture_stay_short() {
    for (page, most) in [(README, 180), (ARCHITECTURE, 100)] {
        let count = page.lines().count();
        assert!(count <= most, "{count} lines: {}", page.lines().next().unwrap_or_default());
    }
}

#[test]
fn the_readmes_smallest_configuration_is_valid() {
    let text = toml_of(README);

    let config =
        Config::parse(Path::new("README.md"), &super::filled_in(&text), std::iter::empty()).expect("sound");

    assert_eq!(config.vault.identity, Identity::Unnamed { client_id: None });
    assert_eq!(config.tokens.len(), 1);
}

#[test]
fn the_alerts_of_the_alerting_page_are_valid() {
    let text = toml_of(README) + &toml_of(ALERTING);

    let config =
        Config::parse(Path::new("README.md"), &super::filled_in(&text), std::iter::empty()).expect("sound");

    assert_eq!((config.alerts.len(), config.heartbeat.is_some()), (3, true));
}
