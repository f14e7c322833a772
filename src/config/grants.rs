//! Parses `[[token]]`: the tokens and the sources of their secrets. Reports combinations that are not allowed.

use std::collections::HashMap;
use std::sync::Arc;

use config::Value;

use super::apps::{AppDefaults, Apps};
use super::walk::{Checked, Problems, Reported, Section, Wanted};
use super::{is_table, renewal, rules};
use crate::azure::cloud::Cloud;
use crate::token::managed::{Deployment, ManagedToken, Policy, Verify};
use crate::token::secret::{ConfigValue, SecretAddress, Source};

/// The keys of `[[token]]`.
pub(super) const TOKEN: &[&str] = &[
    "name",
    "tenant_id",
    "client_id",
    "app",
    "client_secret",
    "client_certificate",
    "client_assertion",
    "refresh_token",
    "vault_url",
    "owner",
    "user_oid",
    "app_secret_expires",
    "scope",
    "verify",
    "strict",
];

/// The keys of a secret's source.
pub(super) const SOURCE: &[&str] = &["secret", "vault", "file", "env", "credential"];

/// The values that tokens inherit from other sections. A value is `Err` if its section has a mistake.
pub(super) struct Defaults<'a> {
    pub(super) vault: &'a Checked<Option<Arc<str>>>,
    pub(super) cloud: &'a Checked<Cloud>,
    pub(super) policy: &'a Checked<Arc<Policy>>,
    pub(super) scope: &'a Checked<Arc<str>>,
    pub(super) deployment: &'a Checked<Arc<Deployment>>,
    pub(super) apps: AppDefaults<'a>,
}

/// The names that `collisions` compares, each with its key path. These names are stored separately from the tokens. So
/// a collision is reported even if another key of the token has a mistake.
#[derive(Default)]
struct Named {
    /// Each `[[app]]`.
    apps: Apps,
    /// The key path of `vault_url` for each token that has no vault.
    homeless: Vec<String>,
    /// The key path and the name of each token. The name is in lower case.
    names: Vec<(String, String)>,
    /// The secrets that Perennial writes.
    owned: Vec<(String, SecretAddress)>,
    /// The secrets that Perennial only reads.
    read: Vec<(String, SecretAddress)>,
}

pub(super) fn tokens(
    root: &Section<'_>,
    list: Option<toml::Value>,
    apps: Option<toml::Value>,
    defaults: &Defaults<'_>,
) -> Checked<Vec<ManagedToken>> {
    let apps = Apps::parse(root, apps, defaults.apps);
    let list = match list {
        Some(toml::Value::Array(list)) if !list.is_empty() => list,
        None | Some(toml::Value::Array(_)) => {
            return Err(root.note("token", "there must be at least one [[token]]"));
        }
        Some(_) => return Err(root.note("token", "must be a list: start each token with [[token]]")),
    };
    let mut named = Named { apps: apps?, ..Named::default() };
    let grants: Vec<Checked<ManagedToken>> = list
        .into_iter()
        .enumerate()
        .map(|(index, value)| {
            grant(&format!("token[{index}]"), super::plain(value), root.problems(), defaults, &mut named)
        })
        .collect();
    named.collisions(root.problems());
    named.apps.collisions(root.problems());
    named.apps.unused(root.problems());
    let mut tokens = grants.into_iter().collect::<Checked<Vec<ManagedToken>>>()?;
    let deployment = defaults.deployment.as_ref().map_err(|_| Reported)?;
    let first_secret = tokens[0].secret.to_string().into();
    let deployment = Arc::new(Deployment { first_secret, ..(**deployment).clone() });
    for token in &mut tokens {
        token.deployment = Arc::clone(&deployment);
    }
    Ok(tokens)
}

fn grant(
    path: &str,
    value: Value,
    problems: &Problems,
    defaults: &Defaults<'_>,
    named: &mut Named,
) -> Checked<ManagedToken> {
    let value = renewal::not_in_token(path, value, problems);
    let section = Section::open(path, Some(value), TOKEN, problems)?;
    let name = section.required("name", rules::token_name);
    let tenant_id = section.required("tenant_id", rules::tenant);
    let vault = own_vault(&section, defaults, named);
    let app = named.apps.of_token(&section, &vault, defaults.apps);
    let secret = refresh_token(&section, &vault);
    let owner = section.optional("owner", rules::line);
    let user_oid = section.optional("user_oid", rules::guid);
    let app_secret_expires = section.optional("app_secret_expires", rules::instant);
    let scope = section.optional("scope", rules::scope);
    let verify = section.optional("verify", verify);
    let strict = section.flag("strict");

    if let Ok(name) = &name {
        named.names.push((section.at("name"), name.as_str().to_ascii_lowercase()));
    }
    if let Ok(address) = &secret {
        named.owned.push((section.at("refresh_token"), address.clone()));
    }
    if let Ok(app) = &app {
        if let ConfigValue::From(Source::Secret(address)) = &app.client_id {
            named
                .read
                .push((section.at(if app.name.is_some() { "app" } else { "client_id" }), address.clone()));
        }
        if let Some(address) = app.credential.in_vault() {
            let key = if app.name.is_some() { "app" } else { app.credential.key() };
            named.read.push((section.at(key), address.clone()));
        }
    }

    let cloud = defaults.cloud.as_ref().map_err(|_| Reported)?;
    let deployment = defaults.deployment.as_ref().map_err(|_| Reported)?;
    let audience = cloud.name.partner_center();
    let scope = match scope? {
        Some(own) => own,
        None => defaults.scope.clone()?,
    };
    let for_partner_center = scope.split(' ').any(|word| word.starts_with(audience.as_str()));
    let usual = if for_partner_center { Verify::PartnerCenter } else { Verify::Nothing };
    Ok(ManagedToken {
        deployment: Arc::clone(deployment),
        name: name?,
        tenant_id: tenant_id?,
        app: app?,
        secret: secret?,
        scope,
        verify: verify?.unwrap_or(usual),
        user_oid: user_oid?,
        owner: owner?,
        app_secret_expires: app_secret_expires?,
        strict: strict?.unwrap_or(false),
        policy: defaults.policy.clone()?,
    })
}

fn verify(text: &str) -> Result<Verify, Wanted> {
    match text {
        "partner_center" => Ok(Verify::PartnerCenter),
        "none" => Ok(Verify::Nothing),
        _ => Err("must be `partner_center` or `none`"),
    }
}

fn own_vault(section: &Section<'_>, defaults: &Defaults<'_>, named: &mut Named) -> Checked<Arc<str>> {
    let own = section.optional("vault_url", rules::vault_url)?;
    own.or(defaults.vault.clone()?).ok_or_else(|| {
        named.homeless.push(section.at("vault_url"));
        Reported
    })
}

/// Parses the address of a refresh token. The token must be in a vault, since Perennial saves the successors there.
fn refresh_token(section: &Section<'_>, vault: &Checked<Arc<str>>) -> Checked<SecretAddress> {
    const WANTED: &str = "must be the name of the vault secret that holds the token; the name has 1 to 127 letters, digits and \
                          dashes; no other source is possible, since Perennial writes the new tokens into this vault secret";
    if section.get("refresh_token").is_some_and(is_table) {
        return Err(section.note("refresh_token", WANTED));
    }
    let name = section.required("refresh_token", |text| rules::secret_name(text).map_err(|_| WANTED));
    Ok(SecretAddress { vault: vault.clone()?, name: name? })
}

/// Parses the source of a secret that must not be in a vault. For example, the credential for Key Vault cannot be
/// stored in Key Vault itself.
pub(super) fn source_outside_vaults(section: &Section<'_>, key: &str) -> Checked<Source> {
    local_source(section, key, "must not be a vault secret: Perennial needs this value to read the vault")
}

/// Parses the source of a secret on this machine. If the source is in a vault, reports the text `why`.
pub(super) fn local_source(section: &Section<'_>, key: &str, why: &str) -> Checked<Source> {
    let table = source_table(section, key, SOURCE)?;
    if table.get("secret").is_some() {
        return Err(section.note(key, why));
    }
    read_source(section, key, &table, &Err(Reported))
}

pub(super) fn source(section: &Section<'_>, key: &str, vault: &Checked<Arc<str>>) -> Checked<Source> {
    read_source(section, key, &source_table(section, key, SOURCE)?, vault)
}

/// Returns the table that names the source of a secret. Reports a key of this table that is not in `keys`.
pub(super) fn source_table<'a>(
    section: &Section<'a>,
    key: &str,
    keys: &'static [&'static str],
) -> Checked<Section<'a>> {
    let what = match section.get(key) {
        Some(value) if is_table(value) => return section.section(key, keys),
        Some(_) => {
            "must not be written here, where backups and logs may expose it; write its source instead: { secret = \"vault-secret\" }, \
             { file = \"path\" }, { env = \"NAME\" } or { credential = \"id\" }"
        }
        None => "is missing",
    };
    Err(section.note(key, what))
}

pub(super) fn read_source(
    section: &Section<'_>,
    key: &str,
    table: &Section<'_>,
    vault: &Checked<Arc<str>>,
) -> Checked<Source> {
    let kinds = table.present(&["secret", "file", "env", "credential"]);
    let &[kind] = kinds.as_slice() else {
        if kinds.is_empty() && table.has_strangers() {
            return Err(Reported);
        }
        return Err(section.note(key, "must name exactly one of `secret`, `file`, `env` and `credential`"));
    };
    if kind != "secret" && !table.present(&["vault"]).is_empty() {
        return Err(table.note("vault", "is only valid with `secret`"));
    }
    match kind {
        "secret" => {
            let name = table.required("secret", rules::secret_name);
            let elsewhere = table.optional("vault", rules::vault_url);
            let vault = match elsewhere? {
                Some(elsewhere) => elsewhere,
                None => vault.clone()?,
            };
            Ok(Source::Secret(SecretAddress { vault, name: name? }))
        }
        "file" => table.required("file", rules::file).map(Source::File),
        "env" => table.required("env", rules::variable).map(Source::Env),
        _ => table.required("credential", rules::credential).map(Source::Credential),
    }
}

impl Named {
    /// Reports a token name or a vault secret that is used twice. Reports a missing vault once, however many tokens
    /// need it.
    fn collisions(&self, problems: &Problems) {
        if let Some(first) = self.homeless.first() {
            problems.note("vault.url", format!("is missing, and so is {first}"));
        }
        let mut names: HashMap<&str, &str> = HashMap::new();
        for (key, name) in &self.names {
            if let Some(first) = names.get(name.as_str()) {
                problems.note(key, format!("is the same name as {first}; case is ignored"));
            }
            names.entry(name).or_insert(key);
        }
        let mut owned: HashMap<(&str, String), &str> = HashMap::new();
        for (key, address) in &self.owned {
            if let Some(first) = owned.get(&place(address)) {
                problems.note(key, format!("is the same vault secret as {first}; case is ignored"));
            }
            owned.entry(place(address)).or_insert(key);
        }
        for (key, address) in &self.read {
            if let Some(first) = owned.get(&place(address)) {
                problems.note(
                    key,
                    format!("is the vault secret of {first}, which Perennial overwrites: use another secret"),
                );
            }
        }
    }
}

/// Returns a secret's vault and name for comparison. The name is in lower case, because Key Vault ignores the case.
pub(super) fn place(address: &SecretAddress) -> (&str, String) {
    (&address.vault, address.name.as_str().to_ascii_lowercase())
}
