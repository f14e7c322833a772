//! Reads a TOML file and the environment into a checked `Config`.
//!
//! Owns the keys, their defaults and the checks. All problems are reported together, by key path and never with the
//! value: a secret pasted into the wrong place must not reach a log. The `config` crate merges. Its errors and those
//! of the TOML parser quote values, so they are never shown.
//!
//! Invariant: a `Config` holds no secret, only where to find one.

mod alerts;
mod crowded;
mod environment;
mod form;
mod grants;
mod identity;
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
use crate::azure::identity::Identity;
use crate::process::file::FileError;
use crate::process::{file, text};
use crate::token::managed::{ManagedToken, Policy};
use crate::token::secret::{ConfigValue, Source};
pub use crowded::ConfigWarning;
use environment::{PREFIX, SEPARATOR, key_of, overrides, proxies};
pub use form::Form;
use identity::Surroundings;
pub use sections::SHORTEST_SPAN;
pub use walk::{ConfigProblems, Problem};
use walk::{Problems, Reported, Section, printable};

/// Every key, by section. `config/perennial.toml` shows each of them; a test checks that.
pub const KEYS: [(&str, &[&str]); 9] = [
    ("vault", sections::VAULT),
    ("cloud", sections::CLOUD),
    ("policy", sections::POLICY),
    ("http", sections::HTTP),
    ("token", grants::TOKEN),
    ("token.client_secret", grants::SOURCE),
    ("alert", alerts::ALERT),
    ("alerts", sections::ALERTS),
    ("heartbeat", alerts::HEARTBEAT),
];

/// The sections.
const SECTIONS: &[&str] = &["vault", "cloud", "policy", "http", "token", "alert", "alerts", "heartbeat"];

/// Lists, which only the file can hold.
const LISTS: [&str; 2] = ["token", "alert"];

/// The longest file; ten thousand tokens take a quarter of it.
const MOST_BYTES: usize = 16 * 1024 * 1024;

/// A checked configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// The default vault and the identity for Key Vault.
    pub vault: VaultSettings,
    /// The cloud and the addresses of its services.
    pub cloud: Cloud,
    /// The intervals, shared by all tokens.
    pub policy: Arc<Policy>,
    /// The HTTP endpoints.
    pub http: HttpSection,
    /// At least one, in the order of the file.
    pub tokens: Vec<ManagedToken>,
    /// Alert destinations, in the order of the file.
    pub alerts: Vec<Sink>,
    /// The monitor that raises an alarm when this process stops.
    pub heartbeat: Option<Heartbeat>,
}

/// The default vault and the identity for Key Vault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VaultSettings {
    /// The vault of every token that names no other; a base URL without a trailing slash.
    pub url: Option<Arc<str>>,
    /// The identity of this process.
    pub identity: Identity,
}

/// The HTTP endpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HttpSection {
    /// The address.
    pub listen: SocketAddr,
    /// Whether pages that name customers are served beyond loopback.
    pub status: bool,
}

impl Config {
    /// Reads the file and the environment.
    ///
    /// # Errors
    /// All problems together.
    pub fn load(
        path: &Path,
        env: impl Iterator<Item = (OsString, OsString)>,
    ) -> Result<Self, ConfigProblems> {
        let shown = path.display().to_string();
        let bytes = file::read(path, MOST_BYTES).map_err(|error| {
            let what = match &error {
                FileError::Unreadable(error) => match error.kind() {
                    ErrorKind::NotFound => "not found; name another with --config or PERENNIAL_CONFIG",
                    ErrorKind::PermissionDenied => "may not be read by the user this runs as",
                    _ => "cannot be read",
                },
                FileError::NotAFile => "is not a regular file",
                FileError::TooLong(_) => "is longer than 16 MiB",
            };
            ConfigProblems::one(path, &shown, what)
        })?;
        let text =
            text::decoded(&bytes).ok_or_else(|| ConfigProblems::one(path, &shown, "is not text in UTF-8"))?;
        // What is not UTF-8 gets a replacement character, which no key and no value may hold.
        let lossy = |text: OsString| text.to_string_lossy().into_owned();
        Self::parse(path, &text, env.map(|(name, value)| (lossy(name), lossy(value))))
    }

    /// The environment variables that hold secrets, for programs that are started and need none of them.
    pub fn secret_variables(&self) -> Vec<&str> {
        let of_tokens = self.tokens.iter().flat_map(|token| {
            let id = if let ConfigValue::From(source) = &token.client_id { Some(source) } else { None };
            id.into_iter().chain([&token.client_secret])
        });
        let of_alerts = self.alerts.iter().flat_map(|sink| sink.to.sources());
        let of_heartbeat = self.heartbeat.iter().map(|heartbeat| &heartbeat.url);
        let all = of_tokens.chain(of_alerts).chain(of_heartbeat).chain(self.vault.identity.client_secret());
        let named =
            all.filter_map(|source| if let Source::Env(name) = source { Some(name.as_str()) } else { None });
        // The Azure SDK's, and the secret of an identity endpoint (docs/azure-facts.md F402).
        named
            .chain([
                "AZURE_CLIENT_SECRET",
                "AZURE_CLIENT_CERTIFICATE_PASSWORD",
                "IDENTITY_HEADER",
                "MSI_SECRET",
            ])
            .collect()
    }

    /// Valid settings that cannot have their effect.
    pub fn warnings(&self) -> Vec<ConfigWarning> {
        crowded::crowded(&self.tokens, &self.policy)
    }

    /// The same for a file's text; `path` only names the file in problems.
    ///
    /// # Errors
    /// All problems together.
    pub fn parse(
        path: &Path,
        text: &str,
        env: impl Iterator<Item = (String, String)>,
    ) -> Result<Self, ConfigProblems> {
        let mut sections = read(path, text)?;
        // Tokens come from the file only, so hundreds of them need no merging.
        let [tokens, alerts] = LISTS.map(|list| sections.remove(list));
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
        let config = Self::walk(tree, tokens, alerts, &env, &problems);
        let problems = problems.into_vec();
        match config {
            Ok(config) if problems.is_empty() => Ok(config),
            _ => Err(ConfigProblems { path: path.to_owned(), problems }),
        }
    }

    fn walk(
        tree: Value,
        tokens: Option<toml::Value>,
        alerts: Option<toml::Value>,
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
        let defaults = grants::Defaults {
            vault: &url,
            cloud: &cloud,
            policy: &policy,
            scope: &scope,
            deployment: &deployment,
        };
        let tokens = grants::tokens(&root, tokens, &defaults);
        let alerts = alerts::alerts(&root, alerts);
        let heartbeat = alerts::heartbeat(&root);
        if let (Ok(alerts), Ok(tokens)) = (&alerts, &tokens) {
            alerts::narrowed_to_some(&root, alerts, tokens)?;
        }
        let vault = VaultSettings { url: url?, identity: identity? };
        Ok(Self {
            vault,
            cloud: cloud?,
            policy: policy?,
            http: http?,
            tokens: tokens?,
            alerts: alerts?,
            heartbeat: heartbeat?,
        })
    }
}

/// The file's sections, or the line of a TOML error. The parser's own message quotes the line.
fn read(path: &Path, text: &str) -> Result<toml::Table, ConfigProblems> {
    let shown = path.display().to_string();
    let table = toml::from_str::<toml::Table>(text).map_err(|error| {
        let start = error.span().map_or(0, |span| span.start).min(text.len());
        let before = String::from_utf8_lossy(&text.as_bytes()[..start]);
        let line = before.matches('\n').count() + 1;
        let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
        // The message has no text of the file, but the key that is there twice is worth naming if it is one of ours.
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
    // The merging crate reads a name such as `"a[9]"` as a path into a list of ten.
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

/// Merges both. Values stay text: `try_parsing` would turn the id 0123 into 123.
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
    // The keys were checked and the variables are text, so merging cannot fail.
    merged
        .map(|merged| merged.cache)
        .map_err(|_| ConfigProblems::one(path, path.display().to_string(), "cannot be merged with variables"))
}

/// A value of the file in the merging crate's type. Times become text, quoted or not.
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

/// A tenant's id or domain, if the text has that form.
pub fn tenant(text: &str) -> Option<String> {
    rules::tenant(text).ok()
}

/// Whether a value is a table, as `{ file = "…" }` is.
fn is_table(value: &Value) -> bool {
    matches!(value.kind, ValueKind::Table(_))
}
