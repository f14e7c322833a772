//! The environment variables that set configuration keys, and the variables that name proxies.
//!
//! This module owns the names of these variables. It is pure.

use std::collections::BTreeMap;

use super::identity::Surroundings;
use super::walk::Wanted;
use super::{LISTS, SECTIONS, rules};

/// The variables that name a proxy for https:// addresses. Requests to other addresses use no proxy.
const PROXY_VARIABLES: [&str; 4] = ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"];

/// The prefix of a variable that sets a key. For example, `PERENNIAL__HTTP__LISTEN` sets `http.listen`.
pub(super) const PREFIX: &str = "PERENNIAL";
pub(super) const SEPARATOR: &str = "__";

/// Returns the variables that set a key. Also returns the variables that have the prefix but cannot be used.
pub(super) fn overrides(env: &Surroundings) -> (BTreeMap<String, String>, Vec<(String, Wanted)>) {
    let ours = format!("{PREFIX}{SEPARATOR}");
    let (mut good, mut bad) = (BTreeMap::new(), Vec::new());
    for (name, value) in env.iter().filter(|(name, value)| name.starts_with(&ours) && !value.is_empty()) {
        if !sets_a_key(&name[ours.len()..]) {
            let wanted = "sets no key: the form is PERENNIAL__SECTION__KEY, and only the file can contain [[token]], [[app]] and [[alert]]";
            bad.push((name.clone(), wanted));
        } else if value.contains(char::REPLACEMENT_CHARACTER) {
            bad.push((name.clone(), "must be text in UTF-8"));
        } else {
            good.insert(name.clone(), value.clone());
        }
    }
    (good, bad)
}

/// Whether the rest of a variable's name, after the prefix, consists of a section and a key.
fn sets_a_key(rest: &str) -> bool {
    let parts: Vec<&str> = rest.split(SEPARATOR).collect();
    let word = |part: &&str| {
        part.starts_with(|c: char| c.is_ascii_uppercase())
            && part.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_')
    };
    let section = parts[0].to_ascii_lowercase();
    let known = SECTIONS.contains(&section.as_str()) && !LISTS.contains(&section.as_str());
    known && parts.len() >= 2 && parts.iter().all(word)
}

/// Returns the proxy variables that the HTTP client would silently ignore, and what each of them must contain. Without
/// this check, requests would bypass the proxy.
pub(super) fn proxies(env: &Surroundings) -> impl Iterator<Item = (&'static str, Wanted)> {
    PROXY_VARIABLES.into_iter().filter_map(|name| {
        let value = env.get(name).filter(|value| !value.is_empty())?;
        Some((name, rules::proxy(value).err()?))
    })
}

/// Returns the key that a variable sets.
pub(super) fn key_of(variable: &str) -> String {
    variable[PREFIX.len() + SEPARATOR.len()..].to_ascii_lowercase().replace(SEPARATOR, ".")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(pairs: &[(&str, &str)]) -> Surroundings {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    #[test]
    fn variables_of_other_programs_are_ignored() {
        let (good, bad) = overrides(&env(&[
            ("PERENNIAL_CONFIG", "x"),
            ("PERENNIAL_PORT_9464_TCP", "tcp://10.0.0.1:9464"),
            ("PERENNIAL__HTTP__STATUS", ""),
            ("HOME", "/"),
        ]));

        assert!(good.is_empty() && bad.is_empty());
    }

    #[test]
    fn a_variable_sets_a_key_outside_the_token_list() {
        let (good, bad) = overrides(&env(&[
            ("PERENNIAL__VAULT__CLIENT_SECRET__FILE", "/x"),
            ("PERENNIAL__TOKEN[0]__NAME", "x"),
            ("PERENNIAL__TOKEN__NAME", "x"),
            ("PERENNIAL__VAULT", "x"),
            ("PERENNIAL__HTTP____X", "x"),
            ("PERENNIAL__http__listen", "x"),
        ]));

        assert_eq!(good.keys().map(|name| key_of(name)).collect::<Vec<_>>(), ["vault.client_secret.file"]);
        assert_eq!(bad.len(), 5);
    }
}
