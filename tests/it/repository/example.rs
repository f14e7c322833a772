//! Tests that `config/perennial.toml` is valid, shows every key, and states the right defaults.

use std::collections::BTreeSet;
use std::path::Path;

use perennial::config::{Config, KEYS};

use super::{NIL, filled_in};

const EXAMPLE: &str = include_str!("../../../config/perennial.toml");

#[test]
fn the_example_is_a_valid_configuration() {
    let config = load(EXAMPLE);

    assert_eq!(config.tokens[0].name.as_str(), "partner-center");
}

/// Each example file has placeholders: ids that consist of zeros. Only the reader of the file can replace these ids.
#[test]
fn a_placeholder_is_a_mistake() {
    for (path, keys) in [
        ("config/perennial.toml", &["token[0].client_id"][..]),
        ("deploy/compose/perennial/perennial.toml", &["token[0].tenant_id", "token[0].client_id"]),
        ("deploy/kubernetes/overlays/aks/perennial.toml", &["token[0].tenant_id", "token[0].client_id"]),
    ] {
        let text = super::deploy::read(path);
        assert!(text.contains(NIL), "{path}");
        let pod = [("AZURE_FEDERATED_TOKEN_FILE", "/x"), ("AZURE_TENANT_ID", "contoso.onmicrosoft.com")];
        let pod = pod.into_iter().chain([("AZURE_CLIENT_ID", "0ed4b3a5-1b4c-4a5e-8a6f-0123456789ab")]);
        let env = pod.map(|(name, value)| (name.to_owned(), value.to_owned()));

        let problems = Config::parse(Path::new(path), &text, env).expect_err("zeros").problems;

        let found: Vec<&str> = problems.iter().map(|problem| problem.key.as_str()).collect();
        assert_eq!(found, keys, "{path}");
        assert!(problems.iter().all(|problem| problem.what.starts_with("is a placeholder")), "{problems:?}");
    }
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
        .map(|line| commented_key(line).filter(|key| !is_only_shown(key)).unwrap_or(line))
        .collect();

    let config = load(&written_out.join("\n"));

    assert!(written_out.iter().any(|line| line.starts_with("rotate_after")), "nothing was uncommented");
    assert_eq!(format!("{config:?}"), format!("{:?}", load(EXAMPLE)));
}

/// Whether a line must stay commented out. The comment of such a line contains `no default` or `without this key`.
fn is_only_shown(key: &str) -> bool {
    ["no default", "without this key"].iter().any(|mark| key.contains(mark))
}

fn load(text: &str) -> Config {
    Config::parse(Path::new("config/perennial.toml"), &filled_in(text), std::iter::empty())
        .expect("a sound file")
}

/// Returns the paths of all keys in the example, including keys that are commented out.
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
            let parts = table[key].as_table().into_iter().flat_map(toml::Table::keys);
            shown.extend(parts.map(|part| format!("{}.{part}", source_of(section, key))));
        }
    }
    shown
}

/// Returns the section of `KEYS` that lists the keys of an inline table. `KEYS` lists the keys of a secret's source
/// only once, under `token.client_secret`.
pub(super) fn source_of(section: &str, key: &str) -> &'static str {
    match key {
        "client_certificate" if section != "vault" => "token.client_certificate",
        "client_assertion" if section != "vault" => "token.client_assertion",
        "renew" => "app.renew",
        _ => "token.client_secret",
    }
}

/// Returns a commented-out key without its `#`. Returns `None` for any other line.
fn commented_key(line: &str) -> Option<&str> {
    line.strip_prefix("# ").filter(|rest| key_of(rest).is_some())
}

fn key_of(line: &str) -> Option<&str> {
    let (key, _) = line.split_once(" = ")?;
    (!key.is_empty() && key.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')).then_some(key)
}
