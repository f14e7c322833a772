//! Tests that templates, scripts and pages name no API version of Azure that will soon be retired.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// For each provider: the oldest allowed API version, and the source and the date of this information. An allowed
/// version has no announced retirement within a year. Before each release, a person looks up these versions again
/// (docs/releasing.md).
const OLDEST: [(&str, &str, &str); 7] = [
    ("microsoft.app", "2024-03-01", "templates/microsoft.app/allversions; no end published, November 2026"),
    ("microsoft.authorization", "2022-04-01", "no end published, November 2026"),
    ("microsoft.eventgrid", "2025-02-15", "templates/microsoft.eventgrid/allversions; no end, November 2026"),
    // Diagnostic settings have only one API version after 2017, and this version is a preview.
    ("microsoft.insights", "2021-05-01", "templates/microsoft.insights/allversions; no end, November 2026"),
    ("microsoft.keyvault", "2026-02-01", "access-control-default, 10 April 2026: older ones end 2027-02-27"),
    ("microsoft.managedidentity", "2023-01-31", "no end published, November 2026"),
    ("microsoft.operationalinsights", "2023-09-01", "no end published, November 2026"),
];

/// The texts that come between a resource's type and its API version.
const BEFORE_A_VERSION: [&str; 4] = ["@", "api-version=", "apiversion\": \"", "apiversion: '"];

/// Returns each provider that a text names, with the API version.
fn named(text: &str) -> Vec<(String, String)> {
    let text = text.to_lowercase();
    let mut found = Vec::new();
    for part in text.split("microsoft.").skip(1) {
        // An API version more than 200 characters after `microsoft.` belongs to another resource.
        let part: String = part.chars().take(200).collect();
        let provider: String = part.chars().take_while(char::is_ascii_alphabetic).collect();
        if !part[provider.len()..].starts_with('/') {
            continue;
        }
        let version =
            BEFORE_A_VERSION.iter().filter_map(|mark| part.split_once(mark)).find_map(|(_, rest)| date(rest));
        if let Some(version) = version {
            found.push((format!("microsoft.{provider}"), version));
        }
    }
    found
}

/// Returns the date with which a text begins.
fn date(text: &str) -> Option<String> {
    let date: String = text.chars().take_while(|c| c.is_ascii_digit() || *c == '-').take(10).collect();
    (date.len() == 10 && date.starts_with("20")).then_some(date)
}

/// Returns every text file below a directory, with its path.
fn texts(folder: &str) -> Vec<(PathBuf, String)> {
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)];
    let mut texts = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("a folder") {
            let path = entry.expect("readable").path();
            if path.is_dir() {
                folders.push(path);
            } else if let Ok(text) = std::fs::read_to_string(&path) {
                // Pictures are left out, because they are not UTF-8.
                texts.push((path, text));
            }
        }
    }
    texts
}

#[test]
fn every_version_of_an_azure_interface_has_no_end_within_a_year() {
    let mut providers = BTreeSet::new();
    for (path, text) in ["deploy", "docs", "tests/acceptance/azure"].into_iter().flat_map(texts) {
        for (provider, version) in named(&text) {
            let row = OLDEST.iter().find(|(name, ..)| *name == provider);
            let (_, oldest, source) =
                row.unwrap_or_else(|| panic!("{}: {provider} is not in the table", path.display()));
            assert!(*oldest <= &*version, "{}: {provider} {version} ({source})", path.display());
            providers.insert(provider);
        }
    }
    let listed: BTreeSet<String> = OLDEST.iter().map(|(name, ..)| (*name).to_owned()).collect();
    assert_eq!(providers, listed, "the table lists what the files name");
}

#[test]
fn a_version_is_found_in_each_form_in_which_it_is_written() {
    let bicep = "resource vault 'Microsoft.KeyVault/vaults@2023-07-01' = {";
    let address = "$group/providers/Microsoft.KeyVault/vaults/$name?api-version=2023-07-01\"";
    let template = "\"type\": \"Microsoft.KeyVault/vaults\",\n \"apiVersion\": \"2023-07-01\",";

    for text in [bicep, address, template] {
        assert_eq!(named(text), [("microsoft.keyvault".to_owned(), "2023-07-01".to_owned())], "{text}");
    }
    assert!(named("--topic-type Microsoft.KeyVault.vaults, 2023-07-01").is_empty());
}

#[test]
fn a_vault_is_made_with_roles_by_word_and_not_by_default() {
    let bicep = include_str!("../../../deploy/azure/main.bicep");
    let script = include_str!("../../../deploy/azure/deploy.sh");

    assert!(bicep.contains("    enableRbacAuthorization: true\n"));
    assert!(script.contains("--enable-rbac-authorization true"));
}
