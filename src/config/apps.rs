//! Parses `[[app]]`, and the app's id and credential in a `[[token]]` without `app`.

use std::collections::HashMap;
use std::sync::Arc;

use config::Value;

use super::grants::{read_source, source, source_table};
use super::renewal::KeyedApp;
use super::walk::{Checked, Problems, Reported, Section};
use super::{is_table, renewal, rules};
use crate::token::app::{CredentialSource, ManagedApp};
use crate::token::secret::{ConfigValue, SecretAddress};

/// Keys of `[[app]]`.
pub(super) const APP: &[&str] = &[
    "name",
    "tenant_id",
    "client_id",
    "object_id",
    "client_secret",
    "client_certificate",
    "client_assertion",
    "renew",
];

/// The keys of a certificate source.
pub(super) const CERTIFICATE: &[&str] = &["secret", "key", "vault", "file", "env", "credential"];

/// The keys of an assertion source.
pub(super) const ASSERTION: &[&str] = &["managed_identity", "file", "env", "credential"];

/// The keys that set an app's credential. An app must have exactly one of them.
pub(super) const CREDENTIALS: [&str; 3] = ["client_secret", "client_certificate", "client_assertion"];

/// The apps of the configuration file.
#[derive(Default)]
pub(super) struct Apps {
    /// The apps by name in lower case. Each entry also has the app's key path, and whether a token uses the app.
    by_name: HashMap<String, NamedApp>,
    /// Each `[[app]]`, and the app of each `[[token]]` without the key `app`.
    all: Vec<KeyedApp>,
}

struct NamedApp {
    key: String,
    app: Checked<Arc<ManagedApp>>,
    used: bool,
}

/// The values that apps inherit from other sections. `vault` is `Err` if the section `[vault]` has a mistake.
#[derive(Clone, Copy)]
pub(super) struct AppDefaults<'a> {
    pub(super) vault: &'a Checked<Option<Arc<str>>>,
    /// The kind of this host, such as `Service Fabric`. `None` if Azure's library supports managed identities on this
    /// host.
    pub(super) no_host: Option<&'a str>,
}

impl Apps {
    pub(super) fn parse(
        root: &Section<'_>,
        list: Option<toml::Value>,
        defaults: AppDefaults<'_>,
    ) -> Checked<Self> {
        let list = match list {
            None => return Ok(Self::default()),
            Some(toml::Value::Array(list)) => list,
            Some(_) => return Err(root.note("app", "must be a list: start each app with [[app]]")),
        };
        let mut apps = Self::default();
        for (index, value) in list.into_iter().enumerate() {
            apps.add(&format!("app[{index}]"), super::plain(value), root.problems(), defaults);
        }
        Ok(apps)
    }

    fn add(&mut self, path: &str, value: Value, problems: &Problems, defaults: AppDefaults<'_>) {
        let Ok(section) = Section::open(path, Some(value), APP, problems) else { return };
        let name = section.required("name", rules::token_name);
        let tenant = section.optional("tenant_id", rules::tenant);
        let object_id = section.optional("object_id", rules::guid);
        let vault = match defaults.vault {
            Ok(Some(vault)) => Ok(vault.clone()),
            Ok(None) | Err(Reported) => Err(Reported),
        };
        let client_id = client_id(&section, &vault);
        let credential = credential(&section, &vault, defaults);
        let renew = renewal::policy(&section, &credential);
        let Ok(name) = name else { return };
        let parts = || {
            let (home_tenant, object_id) = (tenant?, object_id?);
            let (client_id, credential, renew) = (client_id?, credential?, renew?);
            let name = Some(Arc::from(name.as_str()));
            Ok(Arc::new(ManagedApp { name, home_tenant, client_id, object_id, credential, renew }))
        };
        let app = parts();
        if let Ok(app) = &app {
            self.all.push((section.at(app.credential.key()), Arc::clone(app)));
        }
        let key = section.at("name");
        let lower = name.as_str().to_ascii_lowercase();
        if let Some(first) = self.by_name.get(&lower) {
            problems.note(&key, format!("is the same name as {}; case is ignored", first.key));
            return;
        }
        self.by_name.insert(lower, NamedApp { key, app, used: false });
    }

    /// Returns the app of a token. Either the token's key `app` names the app, or the token's own keys describe the
    /// app.
    pub(super) fn of_token(
        &mut self,
        section: &Section<'_>,
        vault: &Checked<Arc<str>>,
        defaults: AppDefaults<'_>,
    ) -> Checked<Arc<ManagedApp>> {
        let Some(name) = section.optional("app", rules::token_name)? else {
            let client_id = client_id(section, vault);
            let credential = credential(section, vault, defaults);
            let (client_id, credential) = (client_id?, credential?);
            let app = Arc::new(ManagedApp {
                name: None,
                home_tenant: None,
                client_id,
                object_id: None,
                credential,
                renew: None,
            });
            self.all.push((section.at(app.credential.key()), Arc::clone(&app)));
            return Ok(app);
        };
        let own = section.present(&["client_id", CREDENTIALS[0], CREDENTIALS[1], CREDENTIALS[2]]);
        for key in &own {
            section.note(key, "cannot be combined with `app`: set this key in the [[app]] only");
        }
        let Some(named) = self.by_name.get_mut(&name.as_str().to_ascii_lowercase()) else {
            return Err(section.note("app", "is not the name of an [[app]]"));
        };
        named.used = true;
        if own.is_empty() { named.app.clone() } else { Err(Reported) }
    }

    /// Reports apps that share a client secret or certificate, if Perennial renews it (`renewal::collisions`).
    pub(super) fn collisions(&self, problems: &Problems) {
        renewal::collisions(&self.all, problems);
    }

    /// Reports apps that no token uses, since a name may be misspelled.
    pub(super) fn unused(&self, problems: &Problems) {
        let mut unused: Vec<&str> =
            self.by_name.values().filter(|named| !named.used).map(|named| named.key.as_str()).collect();
        unused.sort_unstable();
        for key in unused {
            problems.note(key, "is used by no token: set app of a [[token]] to this name");
        }
    }
}

fn client_id(section: &Section<'_>, vault: &Checked<Arc<str>>) -> Checked<ConfigValue> {
    if section.get("client_id").is_some_and(is_table) {
        return source(section, "client_id", vault).map(ConfigValue::From);
    }
    section.required("client_id", rules::guid).map(ConfigValue::Plain)
}

fn credential(
    section: &Section<'_>,
    vault: &Checked<Arc<str>>,
    defaults: AppDefaults<'_>,
) -> Checked<CredentialSource> {
    match section.present(&CREDENTIALS).as_slice() {
        [] | ["client_secret"] => source(section, "client_secret", vault).map(CredentialSource::Secret),
        ["client_certificate"] => certificate(section, vault),
        ["client_assertion"] => assertion(section, defaults),
        [first, more @ ..] => {
            for key in more {
                section.note(
                    key,
                    format!("cannot be combined with `{first}`: an app has exactly one credential"),
                );
            }
            Err(Reported)
        }
    }
}

fn certificate(section: &Section<'_>, vault: &Checked<Arc<str>>) -> Checked<CredentialSource> {
    const KEY: &str = "client_certificate";
    let table = source_table(section, KEY, CERTIFICATE)?;
    if !table.present(&["key"]).is_empty() {
        let others = table.present(&["secret", "file", "env", "credential"]);
        if !others.is_empty() {
            return Err(
                section.note(KEY, "must name exactly one of `secret`, `key`, `file`, `env` and `credential`")
            );
        }
        let elsewhere = table.optional("vault", rules::vault_url);
        let name = table.required("key", rules::secret_name);
        let vault = match elsewhere? {
            Some(elsewhere) => elsewhere,
            None => vault.clone()?,
        };
        return Ok(CredentialSource::VaultKey(SecretAddress { vault, name: name? }));
    }
    read_source(section, KEY, &table, vault).map(CredentialSource::Certificate)
}

fn assertion(section: &Section<'_>, defaults: AppDefaults<'_>) -> Checked<CredentialSource> {
    const KEY: &str = "client_assertion";
    let table = source_table(section, KEY, ASSERTION)?;
    match table.present(ASSERTION).as_slice() {
        ["managed_identity"] => {
            let identity = table.required("managed_identity", rules::guid)?;
            if let Some(host) = defaults.no_host {
                return Err(table.note("managed_identity", no_host(host)));
            }
            Ok(CredentialSource::ManagedIdentity(identity))
        }
        [_] => read_source(section, KEY, &table, &Err(Reported)).map(CredentialSource::Assertion),
        _ if table.has_strangers() => Err(Reported),
        _ => {
            Err(section
                .note(KEY, "must name exactly one of `managed_identity`, `file`, `env` and `credential`"))
        }
    }
}

/// Returns the error message for a host on which a managed identity cannot be used.
pub(super) fn no_host(host: &str) -> String {
    format!(
        "cannot be the managed identity of {host}: the environment variables show that this host is {host}, but Azure's library does not support {host}"
    )
}
