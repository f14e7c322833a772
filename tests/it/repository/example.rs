//! `config/perennial.toml` documents every key: it is valid, complete, and right about the defaults.

use std::collections::BTreeSet;
use std::path::Path;

use perennial::config::{Config, KEYS};

const EXAMPLE: &str = include_str!("../../../config/perennial.toml");

#[test]
fn the_example_is_a_valid_configuration() {
    let config = load(EXAMPLE);

    assert_eq!(config.tokens[0].name.as_str(), "partner-center");
}

#[test]
fn the_example_shows_every_key_and_no_other() {
    let known: BTreeSet<String> = KEYS
        .iter()
        .flat_map(|(section, keys)| keys.iter().map(move |key| format!("{section}.{key}")))
        .collect();

    let shown = shown_keys();

    assert_eq!(shown.difference(&known).collect::<Vec<_>>(), [""; 0], "not known to the loader");
    assert_eq!(known.difference(&shown).collect::<Vec<_>>(), [""; 0], "missing from the example");
}

#[test]
fn the_examples_defaults_are_the_real_ones() {
    let written_out: Vec<&str> = EXAMPLE
        .lines()
        .map(|line| commented_key(line).filter(|key| !key.contains("no default")).unwrap_or(line))
        .collect();

    let config = load(&written_out.join("\n"));

    assert!(written_out.iter().any(|line| line.starts_with("rotate_after")), "nothing was uncommented");
    assert_eq!(format!("{config:?}"), format!("{:?}", load(EXAMPLE)));
}

fn load(text: &str) -> Config {
    Config::parse(Path::new("config/perennial.toml"), text, std::iter::empty()).expect("a sound file")
}

/// The paths of all keys, behind `#` or not.
fn shown_keys() -> BTreeSet<String> {
    let mut shown = BTreeSet::new();
    let mut section = "";
    for line in EXAMPLE.lines().map(|line| commented_key(line).unwrap_or(line)) {
        let heading = line.strip_prefix("# ").unwrap_or(line);
        if heading.starts_with('[') && heading.ends_with(']') {
            section = heading.trim_matches(['[', ']']);
        } else if let Some(key) = key_of(line) {
            shown.insert(format!("{section}.{key}"));
            let table: toml::Table = toml::from_str(line).expect("a line of TOML");
            // A source has the same keys wherever it is used.
            let parts = table[key].as_table().into_iter().flat_map(toml::Table::keys);
            shown.extend(parts.map(|part| format!("token.client_secret.{part}")));
        }
    }
    shown
}

/// The line without its `#`, if there is a key behind it.
fn commented_key(line: &str) -> Option<&str> {
    line.strip_prefix("# ").filter(|rest| key_of(rest).is_some())
}

fn key_of(line: &str) -> Option<&str> {
    let (key, _) = line.split_once(" = ")?;
    (!key.is_empty() && key.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')).then_some(key)
}
