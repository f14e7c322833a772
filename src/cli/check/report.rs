//! `check --report FILE`: writes a file that a user can send to people who help with a problem.
//!
//! This module owns the report's content and its redaction. The report contains no secret, because no secret is
//! collected for it. Names, ids and addresses are replaced by words such as `token-1`, `vault-1` and `guid-1`. The same
//! word always stands for the same name.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::OpenOptions;
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use anyhow::Context as _;
use reqwest::Url;
use serde_json::{Value, json};

use super::CheckStep;
use crate::cli::{Stop, running_daemon};
use crate::config::{Config, ConfigProblems};
use crate::process::build_info::{REVISION, RUSTC, TARGET, VERSION};
use crate::process::clock::{Clock, rfc3339};
use crate::process::{host_name, text};
use crate::token::secret::{ConfigValue, Source};

/// The prefixes of environment variables that change the program's behavior. The report says which of these variables
/// are set, but does not contain their values.
const VARIABLES: [&str; 5] = ["AZURE_", "IDENTITY_", "MSI_", "PERENNIAL", "CREDENTIALS_DIRECTORY"];

/// Writes the report of a check.
///
/// # Errors
/// Returns an error if the file exists or cannot be written.
pub(super) async fn write(path: &Path, config: &Config, steps: &[CheckStep]) -> Result<(), Stop> {
    let daemon = match running_daemon::status(config).await? {
        Ok(status) => json!({ "status": status }),
        Err(reason) => json!({ "not_asked": reason.to_string() }),
    };
    let report = json!({
        "program": program(),
        "host": host(),
        "configuration": configuration(config),
        "steps": steps,
        "daemon": daemon,
    });
    let companies = steps.iter().filter_map(|step| Some(("company", step.company.clone()?)));
    save(path, &Pseudonyms::of(config, companies).redacted(report))
}

/// Writes the report of a configuration that cannot be used.
///
/// # Errors
/// Returns the same errors as [`write`].
pub(super) fn write_problems(path: &Path, problems: &ConfigProblems) -> Result<(), Stop> {
    let found =
        problems.problems.iter().map(|problem| json!({ "key": problem.key, "problem": problem.what }));
    let report = json!({
        "program": program(),
        "host": host(),
        "configuration": { "problems": found.collect::<Vec<_>>() },
    });
    save(path, &Pseudonyms::default().redacted(report))
}

fn program() -> Value {
    json!({ "version": VERSION, "revision": REVISION, "rustc": RUSTC, "target": TARGET })
}

fn host() -> Value {
    let uname = rustix::system::uname();
    let text = |name: &std::ffi::CStr| name.to_string_lossy().into_owned();
    let files = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let is_named = |name: &String| {
        VARIABLES.iter().any(|begin| name.starts_with(begin)) || name.to_uppercase().ends_with("_PROXY")
    };
    let variables: Vec<String> =
        std::env::vars_os().filter_map(|(name, _)| name.into_string().ok()).filter(is_named).collect();
    json!({
        "time": rfc3339(Clock::host().now()),
        "kernel": format!("{} {} {}", text(uname.sysname()), text(uname.release()), text(uname.machine())),
        "open_files": files,
        "variables": variables,
    })
}

fn configuration(config: &Config) -> Value {
    let span = |span| humantime::format_duration(span).to_string();
    let tokens = config.tokens.iter().map(|token| {
        json!({
            "name": token.name.as_str(),
            "secret": token.secret.to_string(),
            "client_id": match &token.app.client_id { ConfigValue::Plain(_) => "here", ConfigValue::From(source) => kind(source) },
            "credential": token.app.credential.noun(),
            "credential_from": token.app.credential.source().map(kind),
            "scope": &*token.scope,
            "verify": format!("{:?}", token.verify),
            "strict": token.strict,
            "user_oid": token.user_oid.is_some(),
            "owner": token.owner.is_some(),
            "app_secret_expires": token.app_secret_expires.map(rfc3339),
        })
    });
    let alerts = config.alerts.iter().map(|sink| {
        json!({
            "kind": sink.to.as_str(),
            "min_severity": sink.min_severity,
            "tokens": sink.tokens.len(),
        })
    });
    json!({
        "cloud": format!("{:?}", config.cloud.name),
        "authority": config.cloud.authority.as_str(),
        "partner_center": config.cloud.partner_center.as_str(),
        "ca_file": config.cloud.ca_file.is_some(),
        "vault_identity": config.vault.identity.name(),
        "rotate_after": span(config.policy.rotate_after),
        "prove_every": span(config.policy.prove_every),
        "listens_beyond_loopback": !config.http.listen.ip().is_loopback(),
        "serves_status": config.http.status,
        "tokens": tokens.collect::<Vec<_>>(),
        "alerts": alerts.collect::<Vec<_>>(),
        "heartbeat": config.heartbeat.is_some(),
    })
}

fn kind(source: &Source) -> &'static str {
    match source {
        Source::Secret(_) => "vault",
        Source::File(_) => "file",
        Source::Env(_) => "env",
        Source::Credential(_) => "credential",
    }
}

fn save(path: &Path, report: &Value) -> Result<(), Stop> {
    let mut file =
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(|error| {
            if error.kind() == ErrorKind::AlreadyExists {
                return Stop::Usage(format!(
                    "{} already exists: name another file for --report",
                    path.display()
                ));
            }
            Stop::Failed(anyhow::Error::new(error).context(format!("{} cannot be written", path.display())))
        })?;
    let text = serde_json::to_string_pretty(report).context("the report").map_err(Stop::Failed)?;
    let written = file.write_all(text.as_bytes()).and_then(|()| file.write_all(b"\n"));
    written.with_context(|| format!("{} cannot be written", path.display())).map_err(Stop::Failed)?;
    eprintln!(
        "Wrote {}. It contains no secrets, and words such as token-1 replace names. Read it before you send it.",
        path.display()
    );
    Ok(())
}

/// The words that replace names.
#[derive(Debug, Default)]
struct Pseudonyms {
    known: BTreeMap<String, String>,
    /// The lengths of the names, from long to short. If a short name is the beginning of a long name, the long name
    /// must be replaced first.
    lengths: Vec<usize>,
    guids: BTreeMap<String, usize>,
    people: BTreeMap<String, usize>,
}

impl Pseudonyms {
    fn of(config: &Config, companies: impl Iterator<Item = (&'static str, String)>) -> Self {
        let mut names: Vec<(&str, String)> = Vec::new();
        let host = |url: &str| Url::parse(url).ok().and_then(|url| url.host_str().map(str::to_owned));
        for token in &config.tokens {
            names.push(("token", token.name.to_string()));
            names.push(("tenant", token.tenant_id.clone()));
            if let ConfigValue::Plain(id) = &token.app.client_id {
                names.push(("app", id.clone()));
            }
            names.push(("secret", token.secret.name.as_str().to_owned()));
            names.extend(token.owner.clone().map(|owner| ("owner", owner)));
            names.push(("instance", token.deployment.instance.clone()));
            names.extend(token.vaults().iter().filter_map(|vault| Some(("vault", host(vault)?))));
            for source in token.app.sources() {
                match source {
                    Source::Secret(at) => names.push(("secret", at.name.as_str().to_owned())),
                    Source::File(path) => names.push(("file", path.display().to_string())),
                    Source::Env(name) => names.push(("variable", name.clone())),
                    Source::Credential(id) => names.push(("credential", id.clone())),
                }
            }
        }
        names.extend(config.alerts.iter().map(|sink| ("sink", sink.name.to_string())));
        let (id, tenant) = config.vault.identity.app();
        names.extend([id, tenant].into_iter().flatten().map(|id| ("identity", id.to_owned())));
        names.push(("host", host_name()));
        names.extend(companies);
        Self::numbered(names)
    }

    fn numbered(names: Vec<(&str, String)>) -> Self {
        let (mut known, mut counts) = (BTreeMap::new(), BTreeMap::new());
        for (what, name) in names.into_iter().filter(|(_, name)| !name.is_empty()) {
            known.entry(name.to_ascii_lowercase()).or_insert_with(|| {
                let count: &mut usize = counts.entry(what).or_default();
                *count += 1;
                format!("{what}-{count}")
            });
        }
        // Azure CLI commands contain only the first label of a vault's host name, so this label is also replaced.
        let labels: Vec<_> = known
            .iter()
            .filter(|(_, word)| word.starts_with("vault-"))
            .filter_map(|(host, word)| Some((host.split_once('.')?.0.to_owned(), word.clone())))
            .collect();
        for (label, word) in labels {
            known.entry(label).or_insert(word);
        }
        let lengths: BTreeSet<usize> = known.keys().map(String::len).collect();
        Self { known, lengths: lengths.into_iter().rev().collect(), ..Self::default() }
    }

    fn redacted(mut self, value: Value) -> Value {
        self.value(value)
    }

    fn value(&mut self, value: Value) -> Value {
        match value {
            Value::String(text) => Value::String(self.text(&text)),
            Value::Array(items) => items.into_iter().map(|item| self.value(item)).collect(),
            Value::Object(fields) => {
                fields.into_iter().map(|(key, value)| (key, self.value(value))).collect()
            }
            other => other,
        }
    }

    /// Replaces the names in a text. A name is replaced only if no letter, digit, `-` or `_` is directly before or
    /// after the name.
    fn text(&mut self, text: &str) -> String {
        let mut redacted = String::with_capacity(text.len());
        let mut before = ' ';
        let mut rest = text;
        while let Some(first) = rest.chars().next() {
            let is_start = !is_word(before);
            let replaced = if is_start { self.replaced(rest) } else { None };
            let (word, length) = replaced.unwrap_or_else(|| (first.to_string(), first.len_utf8()));
            redacted.push_str(&word);
            before = rest[..length].chars().next_back().unwrap_or(' ');
            rest = &rest[length..];
        }
        redacted
    }

    /// Returns the word for the name, GUID or user that a text begins with, and the length of the replaced part.
    fn replaced(&mut self, text: &str) -> Option<(String, usize)> {
        let ends = |length: usize| !text[length..].chars().next().is_some_and(is_word);
        let named = |length: &usize| {
            let begin = text.get(..*length)?;
            let word = self.known.get(&begin.to_ascii_lowercase()).filter(|_| ends(*length))?;
            Some((word.clone(), *length))
        };
        if let Some(found) = self.lengths.iter().find_map(named) {
            return Some(found);
        }
        let length = text.find(|c: char| !is_word(c) && !".@#'".contains(c)).unwrap_or(text.len());
        let piece = text[..length].trim_end_matches(['.', '\'']);
        if let Some(id) = text.get(..36).and_then(text::guid).filter(|_| ends(36)) {
            let next = self.guids.len() + 1;
            return Some((format!("guid-{}", self.guids.entry(id).or_insert(next)), 36));
        }
        if text::sign_in_name(piece).is_some() {
            let next = self.people.len() + 1;
            return Some((
                format!("person-{}", self.people.entry(piece.into()).or_insert(next)),
                piece.len(),
            ));
        }
        None
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '-' || c == '_'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_ids_and_people_are_replaced_and_words_that_contain_them_are_not() {
        let names = [
            ("token", "one"),
            ("vault", "contoso.vault.azure.net"),
            ("tenant", "contoso.onmicrosoft.com"),
            ("secret", "one-refresh-token"),
            ("owner", "Ops & co"),
        ];
        let names = names.into_iter().map(|(what, name)| (what, name.to_owned())).collect();
        let mut words = Pseudonyms::numbered(names);

        for (text, redacted) in [
            ("one: done, none gone", "token-1: done, none gone"),
            (
                "https://contoso.vault.azure.net/secrets/one-refresh-token/x",
                "https://vault-1/secrets/secret-1/x",
            ),
            (
                "az keyvault secret show --vault-name contoso --name ONE-refresh-token",
                "az keyvault secret show --vault-name vault-1 --name secret-1",
            ),
            ("Contoso.OnMicrosoft.com.", "tenant-1."),
            ("ops & co", "owner-1"),
            ("0ed4b3a5-1b4c-4a5e-8a6f-0123456789ab 0ED4B3A5-1b4c-4a5e-8a6f-0123456789ab", "guid-1 guid-1"),
            ("x0ed4b3a5-1b4c-4a5e-8a6f-0123456789ab", "x0ed4b3a5-1b4c-4a5e-8a6f-0123456789ab"),
            ("user dana@contoso.com (ravi@contoso.com).", "user person-1 (person-2)."),
            ("ü one ü", "ü token-1 ü"),
            ("", ""),
        ] {
            assert_eq!(words.text(text), redacted, "{text}");
        }
    }
}
