//! Parses `renew` of an `[[app]]`: when Perennial renews the app's client secret or certificate, and with which
//! identity. Also reports credentials that cannot be renewed.

use std::collections::HashMap;
use std::sync::Arc;

use chrono::TimeDelta;
use config::{Value, ValueKind};

use super::grants::place;
use super::rules;
use super::walk::{Checked, Problems, Section, Wanted};
use crate::token::app::{CredentialSource, ManagedApp, RenewIdentity, RenewPolicy};
use crate::token::secret::{ConfigValue, SecretAddress, Source};

/// The keys of `renew`.
pub(super) const RENEW: &[&str] = &["lifetime", "before", "identity", "known"];

/// The smallest value that `lifetime` and `before` may have. After a renewal, the old secret stays in use for seven
/// days and must not expire in this time.
const LEAST: TimeDelta = TimeDelta::days(8);

/// The longest lifetime that a secret may have, as in the portal (docs/azure-facts.md F602).
const MOST: TimeDelta = TimeDelta::days(730);

/// The minimum time between two renewals.
const APART: TimeDelta = TimeDelta::days(1);

const KNOWN: Wanted = "must be a list of at least one text in quotes; each text has at most 120 characters and is a key id or the beginning of a display name";

/// Parses `renew`. Returns `None` if the key is missing.
pub(super) fn policy(
    section: &Section<'_>,
    credential: &Checked<CredentialSource>,
) -> Checked<Option<RenewPolicy>> {
    if section.get("renew").is_none() {
        return Ok(None);
    }
    let table = section.section("renew", RENEW)?;
    let renewable = credential.as_ref().map(|credential| is_renewable(section, credential));
    let default = RenewPolicy::default();
    let is_certificate = credential.as_ref().is_ok_and(CredentialSource::is_certificate);
    let lifetime = span(&table, "lifetime").and_then(|lifetime| match lifetime {
        Some(_) if is_certificate => Err(table.note(
            "lifetime",
            "is only for client secrets: the policy of the certificate in the vault sets the validity of new versions",
        )),
        // The configuration does not know how long a certificate is valid: the certificate's policy in the vault sets
        // this time. So `MOST`, the longest lifetime of a secret, limits `before`.
        None if is_certificate => Ok(MOST),
        lifetime => match lifetime.unwrap_or(default.lifetime) {
            lifetime if (LEAST..=MOST).contains(&lifetime) => Ok(lifetime),
            _ => Err(table.note("lifetime", "must be between 8d and 730d")),
        },
    });
    let before = span(&table, "before").and_then(|before| {
        let before = before.unwrap_or(default.before);
        let longest = lifetime? - APART;
        if (LEAST..=longest).contains(&before) {
            Ok(before)
        } else {
            Err(table.note(
                "before",
                "must be at least 8d, and at least 1d shorter than `lifetime`; the default is 45d",
            ))
        }
    });
    let identity = table.optional("identity", identity);
    let known = table.list("known", KNOWN, known);
    renewable.map_err(|reported| *reported)??;
    Ok(Some(RenewPolicy {
        lifetime: lifetime?,
        before: before?,
        identity: identity?.unwrap_or(default.identity),
        known: known?.unwrap_or_default(),
    }))
}

/// Parses a span of time. A span that chrono cannot represent becomes the longest span, which the caller rejects.
fn span(table: &Section<'_>, key: &str) -> Checked<Option<TimeDelta>> {
    let span = table.optional(key, rules::duration)?;
    Ok(span.map(|span| TimeDelta::from_std(span).unwrap_or(TimeDelta::MAX)))
}

/// Reports a credential that cannot be renewed. Only a client secret or a certificate in a vault can be renewed,
/// because a renewal creates the next version there.
fn is_renewable(section: &Section<'_>, credential: &CredentialSource) -> Checked<()> {
    let what = match credential {
        CredentialSource::Secret(Source::Secret(_))
        | CredentialSource::Certificate(Source::Secret(_))
        | CredentialSource::VaultKey(_) => return Ok(()),
        CredentialSource::Secret(Source::File(_) | Source::Env(_) | Source::Credential(_)) => {
            "needs a client secret in a vault, such as client_secret = { secret = \"name\" }, because a renewal stores the new secret there"
        }
        CredentialSource::Certificate(Source::File(_) | Source::Env(_) | Source::Credential(_)) => {
            "needs a certificate in a vault, such as client_certificate = { key = \"name\" }, because a renewal creates the new version there; without `renew`, Perennial only warns before the certificate expires"
        }
        CredentialSource::ManagedIdentity(_) | CredentialSource::Assertion(_) => {
            "is only for client secrets and certificates: remove `renew`, since Perennial cannot renew an assertion"
        }
    };
    Err(section.note("renew", what))
}

fn identity(text: &str) -> Result<RenewIdentity, Wanted> {
    match text {
        "vault" => Ok(RenewIdentity::Vault),
        "app" => Ok(RenewIdentity::App),
        _ => Err("must be `vault` or `app`"),
    }
}

/// Parses a key id or the beginning of a display name. Returns a key id in lower case.
fn known(text: &str) -> Result<Arc<str>, Wanted> {
    if text.chars().count() > 120 || text.contains(char::is_control) {
        return Err(KNOWN);
    }
    Ok(crate::process::text::guid(text).unwrap_or_else(|| text.to_owned()).into())
}

/// Reports the key `renew` in a `[[token]]`, and removes this key from the value. Only an `[[app]]` may have `renew`.
pub(super) fn not_in_token(path: &str, mut value: Value, problems: &Problems) -> Value {
    if let ValueKind::Table(table) = &mut value.kind
        && table.remove("renew").is_some()
    {
        problems.note(
            format!("{path}.renew"),
            "is a key of [[app]]: move client_id, the credential and `renew` to an [[app]], and set `app` of the [[token]] to the name of this [[app]]",
        );
    }
    value
}

/// An app with the key path of its credential, for rules that compare several apps.
pub(super) type KeyedApp = (String, Arc<ManagedApp>);

/// Reports a credential that Perennial renews for one app, if a second app with a different client id uses the same
/// credential. A renewal would also replace the credential of the second app. Also reports two apps with the same
/// client id that both renew the same credential.
pub(super) fn collisions(apps: &[KeyedApp], problems: &Problems) {
    let mut renewed: HashMap<(&str, String), &KeyedApp> = HashMap::new();
    let renewable = || apps.iter().filter_map(|keyed| Some((keyed, renewable_object(&keyed.1)?)));
    for (keyed, at) in renewable().filter(|(keyed, _)| keyed.1.renew.is_some()) {
        renewed.entry(place(at)).or_insert(keyed);
    }
    for ((key, app), at) in renewable() {
        let Some((first, owner)) = renewed.get(&place(at)) else { continue };
        if Arc::ptr_eq(app, owner) {
            continue;
        }
        let noun = app.credential.noun();
        if !is_same_id(&app.client_id, &owner.client_id) {
            problems.note(
                key,
                format!(
                    "is also {first}: Perennial renews this {noun} for an app with another client_id, so use another {noun}"
                ),
            );
        } else if app.renew.is_some() {
            problems.note(key, format!("is already renewed for {first}: merge the two [[app]] into one"));
        }
    }
}

/// Whether the configuration sets two ids to the same text or reads them from the same source. The comparison ignores
/// the case of secret names, as Key Vault does.
fn is_same_id(one: &ConfigValue, other: &ConfigValue) -> bool {
    match (one, other) {
        (ConfigValue::From(Source::Secret(one)), ConfigValue::From(Source::Secret(other))) => {
            place(one) == place(other)
        }
        _ => one == other,
    }
}

/// The vault object of a credential that Perennial could renew.
fn renewable_object(app: &ManagedApp) -> Option<&SecretAddress> {
    let is_assertion = matches!(app.credential, CredentialSource::Assertion(_));
    app.credential.in_vault().filter(|_| !is_assertion)
}
