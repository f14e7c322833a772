//! Reads a TOML file and the environment into a checked `Config`.
//!
//! This module owns the keys, their defaults and the checks. All problems are reported together. A problem names the
//! key path and never the value, because a secret in the wrong place must not get into a log. The `config` crate merges
//! the file and the environment. Perennial never shows a full error text of the `config` crate or of the TOML parser,
//! because such a text quotes values.
//!
//! Invariant: a `Config` contains only the sources of secrets, and no secret.

mod alerts;
mod apps;
mod crowded;
mod environment;
mod form;
mod grants;
mod identity;
mod renewal;
mod rules;
mod sections;
mod walk;

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsString;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use config::{Environment, Value, ValueKind};

use crate::alert::sink::{Heartbeat, Sink};
use crate::azure::cloud::Cloud;
use crate::azure::identity::{Identity, IdentityHost};
use crate::process::file::FileError;
use crate::process::{file, text};
use crate::token::managed::{ManagedToken, Policy};
use crate::token::secret::Source;
pub use crowded::ConfigWarning;
use environment::{PREFIX, SEPARATOR, key_of, overrides, proxies};
pub use form::Form;
use identity::Surroundings;
pub use sections::SHORTEST_SPAN;
pub use walk::{ConfigProblems, Problem};
use walk::{Problems, Reported, Section, printable};

/// Every key, by section. A test checks that `config/perennial.toml` shows every key.
pub const KEYS: [(&str, &[&str]); 13] = [
    ("vault", sections::VAULT),
    ("cloud", sections::CLOUD),
    ("policy", sections::POLICY),
    ("http", sections::HTTP),
    ("token", grants::TOKEN),
    ("token.client_secret", grants::SOURCE),
    ("token.client_certificate", apps::CERTIFICATE),
    ("token.client_assertion", apps::ASSERTION),
    ("app", apps::APP),
    ("app.renew", renewal::RENEW),
    ("alert", alerts::ALERT),
    ("alerts", sections::ALERTS),
    ("heartbeat", alerts::HEARTBEAT),
];

/// The names of the sections.
const SECTIONS: &[&str] =
    &["vault", "cloud", "policy", "http", "app", "token", "alert", "alerts", "heartbeat"];

/// The sections that are lists. Only the file can contain these sections.
const LISTS: [&str; 3] = ["token", "alert", "app"];

/// The largest size of the file. A file with ten thousand tokens has a quarter of this size.
const MOST_BYTES: usize = 16 * 1024 * 1024;

/// A checked configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// The default vault and the identity for Key Vault.
    pub vault: VaultSettings,
    /// The service that issues tokens of this host's managed identities.
    pub host: IdentityHost,
    /// The cloud and the addresses of its services.
    pub cloud: Cloud,
    /// The intervals that all tokens share.
    pub policy: Arc<Policy>,
    pub http: HttpSection,
    /// The tokens in the order of the file. There is at least one token.
    pub tokens: Vec<ManagedToken>,
    /// The alert destinations in the order of the file.
    pub alerts: Vec<Sink>,
    /// The dead-man's switch: regular requests to a monitor, which raises an alarm when the requests stop.
    pub heartbeat: Option<Heartbeat>,
}

/// The default vault and the identity for Key Vault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VaultSettings {
    /// The vault of the tokens that do not set `vault_url`. The value is a base URL without a trailing slash.
    pub url: Option<Arc<str>>,
    /// The identity of this process for Key Vault.
    pub identity: Identity,
}

/// The settings of the HTTP endpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HttpSection {
    /// The address on which the endpoints listen.
    pub listen: SocketAddr,
    /// Whether the server has the endpoints whose answers contain token names, such as `/status`. An operator can turn
    /// these endpoints off, because token names may reveal customers.
    pub status: bool,
}

impl Config {
    /// Reads the file and the environment.
    ///
    /// # Errors
    /// Returns all problems together.
    pub fn load(
        path: &Path,
        env: impl Iterator<Item = (OsString, OsString)>,
    ) -> Result<Self, ConfigProblems> {
        let shown = path.display().to_string();
        let bytes = file::read(path, MOST_BYTES).map_err(|error| {
            let what = match &error {
                FileError::Unreadable(error) => match error.kind() {
                    ErrorKind::NotFound => "not found; name another file with --config or PERENNIAL_CONFIG",
                    ErrorKind::PermissionDenied => "is not readable by the user that runs Perennial",
                    _ => "cannot be read",
                },
                FileError::NotAFile => "is not a regular file",
                FileError::TooLong(_) => "is longer than 16 MiB",
            };
            ConfigProblems::one(path, &shown, what)
        })?;
        let text =
            text::decoded(&bytes).ok_or_else(|| ConfigProblems::one(path, &shown, "is not text in UTF-8"))?;
        // In a variable, bytes that are not UTF-8 become a replacement character. `overrides` rejects names and values
        // with this character.
        let lossy = |text: OsString| text.to_string_lossy().into_owned();
        Self::parse(path, &text, env.map(|(name, value)| (lossy(name), lossy(value))))
    }

    /// Returns the names of the environment variables that contain secrets. Perennial removes these variables from the
    /// environment of the programs that it starts.
    pub fn secret_variables(&self) -> Vec<&str> {
        let of_tokens = self.tokens.iter().flat_map(|token| token.app.sources());
        let of_alerts = self.alerts.iter().flat_map(|sink| sink.to.sources());
        let of_heartbeat = self.heartbeat.iter().map(|heartbeat| &heartbeat.url);
        let all = of_tokens.chain(of_alerts).chain(of_heartbeat).chain(self.vault.identity.local_source());
        let named =
            all.filter_map(|source| if let Source::Env(name) = source { Some(name.as_str()) } else { None });
        // The Azure SDK and Azure's identity endpoints define these variables. Their values are secrets
        // (docs/azure-facts.md F402).
        named
            .chain([
                "AZURE_CLIENT_SECRET",
                "AZURE_CLIENT_CERTIFICATE_PASSWORD",
                "IDENTITY_HEADER",
                "MSI_SECRET",
            ])
            .collect()
    }

    /// Returns a warning for each valid setting that cannot have its full effect.
    pub fn warnings(&self) -> Vec<ConfigWarning> {
        crowded::crowded(&self.tokens, &self.policy)
    }

    /// Reads the text of a file and the environment. `path` is used only to name the file in problems.
    ///
    /// # Errors
    /// Returns all problems together.
    pub fn parse(
        path: &Path,
        text: &str,
        env: impl Iterator<Item = (String, String)>,
    ) -> Result<Self, ConfigProblems> {
        let mut sections = read(path, text)?;
        // Lists such as the tokens come only from the file, so they are not merged. This saves time if there are
        // hundreds of tokens.
        let lists = LISTS.map(|list| sections.remove(list));
        let env: Surroundings = env.collect();
        let (overrides, strays) = overrides(&env);
        let tree = merge(path, sections, &overrides)?;
        let keys = overrides.into_keys().map(|variable| (key_of(&variable), variable));
        let problems = Problems::new(keys.collect());
        for (variable, wanted) in strays {
            problems.note(printable(&variable), wanted);
        }
        for (variable, wanted) in proxies(&env) {
            problems.note(variable, wanted);
        }
        let config = Self::walk(tree, lists, &env, &problems);
        let problems = problems.into_vec();
        match config {
            Ok(config) if problems.is_empty() => Ok(config),
            _ => Err(ConfigProblems { path: path.to_owned(), problems }),
        }
    }

    fn walk(
        tree: Value,
        [tokens, alerts, apps]: [Option<toml::Value>; 3],
        env: &Surroundings,
        problems: &Problems,
    ) -> Result<Self, Reported> {
        let root = Section::open("", Some(tree), SECTIONS, problems)?;
        let (url, identity) = sections::vault(&root, env);
        let cloud = sections::cloud(&root);
        let policy = sections::policy(&root).map(Arc::new);
        let scope = cloud.as_ref().map(|cloud| cloud.name.usual_scope()).map_err(|_| Reported);
        let http = sections::http(&root);
        let deployment = sections::deployment(&root, &cloud);
        let host = identity::host(env);
        let defaults = grants::Defaults {
            apps: apps::AppDefaults { vault: &url, no_host: host.as_ref().err().copied() },
            vault: &url,
            cloud: &cloud,
            policy: &policy,
            scope: &scope,
            deployment: &deployment,
        };
        let tokens = grants::tokens(&root, tokens, apps, &defaults);
        let alerts = alerts::alerts(&root, alerts);
        let heartbeat = alerts::heartbeat(&root);
        if let (Ok(alerts), Ok(tokens)) = (&alerts, &tokens) {
            alerts::narrowed_to_some(&root, alerts, tokens)?;
        }
        let host = host.unwrap_or(IdentityHost::Imds);
        let vault = VaultSettings { url: url?, identity: identity? };
        Ok(Self {
            vault,
            host,
            cloud: cloud?,
            policy: policy?,
            http: http?,
            tokens: tokens?,
            alerts: alerts?,
            heartbeat: heartbeat?,
        })
    }
}

/// Returns the file's sections, or a problem that names the line of a TOML error. The problem contains only the
/// parser's short message. The parser's full message quotes a line of the file, which may contain a secret.
fn read(path: &Path, text: &str) -> Result<toml::Table, ConfigProblems> {
    let shown = path.display().to_string();
    let table = toml::from_str::<toml::Table>(text).map_err(|error| {
        let start = error.span().map_or(0, |span| span.start).min(text.len());
        let before = String::from_utf8_lossy(&text.as_bytes()[..start]);
        let line = before.matches('\n').count() + 1;
        let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
        // The problem quotes no text of the file, with one exception: it names a duplicate key if Perennial knows this
        // key.
        let named = &text[start..error.span().map_or(start, |span| span.end).clamp(start, text.len())];
        let is_ours = KEYS.iter().any(|(section, keys)| *section == named || keys.contains(&named));
        let named = if is_ours { format!(" `{named}`") } else { String::new() };
        let reason = error.message();
        ConfigProblems::one(
            path,
            &shown,
            format!("is not valid TOML at line {line}, column {column}: {reason}{named}"),
        )
    })?;
    // The `config` crate reads a name such as `"a[9]"` as a path into a list of ten items. So such a name is rejected.
    let strange: Vec<Problem> = table
        .keys()
        .filter(|key| printable(key) != **key)
        .map(|key| Problem { key: printable(key), what: "is not a key".to_owned() })
        .collect();
    if strange.is_empty() {
        Ok(table)
    } else {
        Err(ConfigProblems { path: path.to_owned(), problems: strange })
    }
}

/// Merges the file and the environment. The values of variables stay text, since the option `try_parsing` would change
/// the id 0123 to 123.
fn merge(
    path: &Path,
    sections: toml::Table,
    overrides: &BTreeMap<String, String>,
) -> Result<Value, ConfigProblems> {
    let environment = Environment::with_prefix(PREFIX)
        .prefix_separator(SEPARATOR)
        .separator(SEPARATOR)
        .try_parsing(false)
        .ignore_empty(true)
        .source(Some(overrides.clone().into_iter().collect::<HashMap<_, _>>()));
    let merged = sections
        .into_iter()
        .try_fold(config::Config::builder(), |all, (name, section)| all.set_default(name, plain(section)))
        .and_then(|all| all.add_source(environment).build());
    // No error is expected here: `read` has rejected unusual keys, and the values of variables are not parsed.
    merged.map(|merged| merged.cache).map_err(|_| {
        ConfigProblems::one(
            path,
            path.display().to_string(),
            "cannot be merged with the environment variables",
        )
    })
}

/// Converts a value of the file into the type of the `config` crate. TOML times become text, as if they were in quotes.
fn plain(value: toml::Value) -> Value {
    let kind = match value {
        toml::Value::String(text) => ValueKind::String(text),
        toml::Value::Integer(number) => ValueKind::I64(number),
        toml::Value::Float(number) => ValueKind::Float(number),
        toml::Value::Boolean(flag) => ValueKind::Boolean(flag),
        toml::Value::Datetime(time) => ValueKind::String(time.to_string()),
        toml::Value::Array(list) => ValueKind::Array(list.into_iter().map(plain).collect()),
        toml::Value::Table(table) => {
            ValueKind::Table(table.into_iter().map(|(key, value)| (key, plain(value))).collect())
        }
    };
    Value::new(None, kind)
}

/// Returns the text if it has the form of a tenant's id or domain.
pub fn tenant(text: &str) -> Option<String> {
    rules::tenant(text).ok()
}

/// Whether a value is a table, such as `{ file = "…" }`.
fn is_table(value: &Value) -> bool {
    matches!(value.kind, ValueKind::Table(_))
}
