//! The README is right about what it lists.

use std::path::Path;

use perennial::azure::identity::Identity;
use perennial::config::Config;
use perennial::ports::failure::Kind;

const README: &str = include_str!("../../../README.md");

#[test]
fn its_smallest_configuration_is_one() {
    let (_, rest) = README.split_once("```toml\n").expect("a block of TOML");
    let (text, _) = rest.split_once("```").expect("its end");

    let config = Config::parse(Path::new("README.md"), text, std::iter::empty()).expect("sound");

    assert_eq!(config.vault.identity, Identity::Unnamed { client_id: None });
    assert_eq!(config.tokens.len(), 1);
}

#[test]
fn its_smallest_alerts_are_sound_behind_it() {
    let blocks: Vec<&str> =
        README.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    let text = blocks.concat();

    let config = Config::parse(Path::new("README.md"), &text, std::iter::empty()).expect("sound");

    assert_eq!((config.alerts.len(), config.heartbeat.is_some()), (1, true));
}

#[test]
fn every_condition_is_listed_once() {
    for kind in Kind::ALL {
        assert_eq!(README.matches(&format!("\n| `{}` |", kind.as_str())).count(), 1, "{}", kind.as_str());
    }
}
