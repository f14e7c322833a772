//! Properties of every parser of foreign data, for any input. The parser terminates and does not panic. No secret gets
//! into a text that can be shown.
//!
//! There is one function for each kind of input. The fuzzer calls these functions with generated input.
//! `tests/it/wire/hostile_input.rs` calls them with the saved corpus and with nearly valid answers.

use std::fmt::Debug;
use std::path::Path;
use std::time::Duration;

use perennial::azure::vault_answers::RefusedCall;
use perennial::azure::{entra, vault_answers};
use perennial::config::Config;
use perennial::ports::failure::Failure;
use perennial::ports::{RefreshResponse, SecretRole, answer};
use perennial::rotation::state::Noted;
use perennial::token::app::ManagedApp;
use perennial::token::managed::{Deployment, ManagedToken, Policy, TokenName, Verify};
use perennial::token::secret::{ConfigValue, SecretAddress, SecretName, Source};
use perennial::token::version::{NewVersion, Provenance, Stored, Version};
use perennial::token::{AccessToken, RefreshToken};
use secrecy::ExposeSecret as _;

/// Stands for a secret. The checks fail if a displayed text contains this secret. The saved corpus contains this secret
/// at every place where a peer could put a secret.
pub const CANARY: &str = "0.AXcanary-0123456789_abcdefghij.klmno~pqrst";

/// Stands for an app secret that has the form of a GUID. Code that checks only the form of an id accepts this secret.
pub const GUID_CANARY: &str = "c0ffee00-cafe-4bad-8bad-0ddba11feed5";

/// The length of the shortest secret that the checks search for in displayed texts.
const TELLING_BYTES: usize = 8;

/// Checks an answer of the token endpoint to a redemption, with status 200.
pub fn token_answer(body: &[u8]) {
    match entra::redeemed(body, &[CANARY, GUID_CANARY]) {
        Ok(redeemed) => good_answer(&redeemed),
        Err(error) => {
            keeps_silent(&error, &[CANARY, GUID_CANARY]);
            fails_silently(&error.failure(), &error.to_string());
        }
    }
}

fn good_answer(redeemed: &RefreshResponse) {
    let (access, refresh) = (redeemed.access_token.expose(), redeemed.refresh_token.expose());
    assert!(!access.is_empty() && redeemed.refresh_token.is_plausible());
    assert!(redeemed.expires_in <= Duration::from_secs(28 * 60 * 60));
    let others = RefreshResponse {
        access_token: AccessToken::new("another"),
        refresh_token: RefreshToken::new("another"),
        ..redeemed.clone()
    };
    assert_eq!(format!("{redeemed:?}"), format!("{others:?}"), "a token makes a difference");
    shown_is_silent(redeemed.scope.as_deref().unwrap_or_default(), &[access, refresh]);
    keeps_silent(redeemed, &[CANARY, GUID_CANARY]);
    if let Err(failure) = answer::check(&grant(), "another app", redeemed) {
        fails_silently(&failure, "");
    }
}

/// Checks an answer of the token endpoint that is not a success. The input is two bytes of status and then the body.
pub fn entra_error(input: &[u8]) {
    let (status, body) = status_and_body(input);
    let error = entra::refused(status, body, None, &[CANARY, GUID_CANARY]);
    keeps_silent(&error, &[CANARY, GUID_CANARY]);
    fails_silently(&error.failure(), &error.to_string());
}

/// Checks an access token, which an attacker may have forged.
pub fn access_token(text: &[u8]) {
    let Ok(text) = std::str::from_utf8(text) else { return };
    let token = AccessToken::new(text);
    let claims = token.claims();
    assert_eq!(format!("{token:?}"), "AccessToken([REDACTED])");
    keeps_silent(&claims, &[CANARY]);
    let redeemed = RefreshResponse {
        access_token: token,
        refresh_token: RefreshToken::new(CANARY),
        expires_in: Duration::ZERO,
        scope: None,
        refresh_expires_in: None,
        id_claims: claims,
    };
    match answer::check(&grant(), APP, &redeemed) {
        // The user's id goes into a tag, which many people can read. So the id must have the length of a GUID.
        Ok(whose) => assert!(whose.user_oid.is_none_or(|user| user.len() == 36 && user != CANARY)),
        Err(failure) => fails_silently(&failure, ""),
    }
}

/// Checks an answer of Key Vault. The input is two bytes of status and then the body of a secret, a list or an error.
pub fn vault_answer(input: &[u8]) {
    let (status, body) = status_and_body(input);
    let at = address();
    if let Ok(stored) = vault_answers::stored(&at, Some("Sun, 06 Nov 1994 08:49:37 GMT"), body) {
        let value = stored.value.expose_secret();
        assert_eq!(value, value.trim());
        assert_eq!(format!("{:?}", stored.refresh_token()), "RefreshToken([REDACTED])");
        let other = Stored { value: "another".into(), ..stored.clone() };
        assert_eq!(format!("{stored:?}"), format!("{other:?}"), "the value makes a difference");
        // This check leaves out the tags. Perennial does not hide a secret that another program writes into a tag.
        keeps_silent(
            &Stored { version: Version { tags: [].into(), ..stored.version.clone() }, ..other },
            &[CANARY],
        );
        successor(&stored.version);
    }
    if let Ok(version) = vault_answers::written(&at, body) {
        successor(&version);
    }
    if let Ok((versions, link)) = vault_answers::listed(&at, body) {
        assert!(versions.len() < body.len() && link.is_none_or(|link| link.len() < body.len()));
        versions.iter().for_each(successor);
    }
    // The header `x-ms-keyvault-network-info` is also foreign text. Here, the body's first line stands for this header.
    let network_info =
        body.split(|byte| *byte == b'\n').next().and_then(|line| std::str::from_utf8(line).ok());
    for network_info in [None, network_info] {
        let error = vault_answers::refused(&RefusedCall { status, body, network_info, retry_after: None });
        keeps_silent(&error, &[CANARY]);
        fails_silently(&error.failure(SecretRole::Own, &at), &error.to_string());
    }
}

/// Checks the times of a version, and the new version that would follow it.
fn successor(version: &Version) {
    assert!(version.issued_at() <= version.created && version.signed_in_at() <= version.created);
    let provenance = Provenance {
        command: "run",
        issued_at: version.created,
        signed_in_at: version.signed_in_at(),
        tenant_id: TENANT,
        client_id: APP,
        user_oid: None,
        redeemed_from: Some(&version.id),
        verdict: Noted::on(version).map(|noted| (noted.word(), noted.at)),
        foreign: version.tags.clone(),
        rotation_id: perennial::token::rotation_id(),
    };
    let (new, _) =
        NewVersion::compose(&RefreshToken::new(CANARY), Duration::from_secs(3650 * 86_400), &provenance);
    assert!(new.tags.len() <= perennial::token::version::MAX_TAGS);
    keeps_silent(&new.value, &[CANARY]);
}

/// Checks a configuration. The input is the text of a file and, after a NUL, the lines of an environment.
pub fn configuration(input: &[u8]) {
    let Ok(input) = std::str::from_utf8(input) else { return };
    let (text, env) = input.split_once('\0').unwrap_or((input, ""));
    let env = env.lines().filter_map(|line| line.split_once('='));
    let env: Vec<(String, String)> = env.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    // Error texts show the names of keys and variables on purpose. If the input has the canary in a name, the error
    // text may contain the canary.
    let named = env.iter().any(|(name, _)| name.contains(CANARY)) || names_a_key(text);
    match Config::parse(Path::new("perennial.toml"), text, env.into_iter()) {
        Ok(config) => assert!(!config.tokens.is_empty()),
        Err(problems) => {
            assert!(!problems.problems.is_empty());
            if !named {
                keeps_silent(&problems, &[CANARY]);
                shown_is_silent(&problems.to_string(), &[CANARY]);
            }
        }
    }
}

/// Whether the name of any key in the TOML text contains the beginning of the canary.
fn names_a_key(text: &str) -> bool {
    fn within(value: &toml::Value) -> bool {
        match value {
            toml::Value::Table(table) => {
                table.iter().any(|(key, value)| key.contains(&CANARY[..TELLING_BYTES]) || within(value))
            }
            toml::Value::Array(list) => list.iter().any(within),
            _ => false,
        }
    }
    text.parse().is_ok_and(|table: toml::Table| within(&toml::Value::Table(table)))
}

fn status_and_body(input: &[u8]) -> (u16, &[u8]) {
    match input {
        [high, low, body @ ..] => (100 + u16::from_be_bytes([*high, *low]) % 500, body),
        _ => (400, input),
    }
}

/// Checks that the displayed text of a failure is not empty and holds no secret.
fn fails_silently(failure: &Failure, displayed: &str) {
    assert!(!failure.summary.is_empty());
    keeps_silent(failure, &[CANARY, GUID_CANARY]);
    shown_is_silent(displayed, &[CANARY, GUID_CANARY]);
}

fn keeps_silent(what: &impl Debug, secrets: &[&str]) {
    shown_is_silent(&format!("{what:?}"), secrets);
    shown_is_silent(&format!("{what:#?}"), secrets);
}

fn shown_is_silent(shown: &str, secrets: &[&str]) {
    let shown = shown.to_ascii_lowercase();
    for secret in secrets.iter().filter(|secret| secret.len() >= TELLING_BYTES) {
        assert!(!shown.contains(&secret.to_ascii_lowercase()), "a secret is shown");
    }
}

const TENANT: &str = "0ed4b3a5-1b4c-4a5e-8a6f-0123456789ab";
const APP: &str = "1ed4b3a5-1b4c-4a5e-8a6f-0123456789ab";

fn address() -> SecretAddress {
    let name = SecretName::parse("pc-token").expect("a name");
    SecretAddress { vault: "https://contoso.vault.azure.net".into(), name }
}

fn grant() -> ManagedToken {
    ManagedToken {
        deployment: std::sync::Arc::new(Deployment::new(
            "https://login.microsoftonline.com/",
            "host",
            "secret",
        )),
        name: TokenName::new("one"),
        tenant_id: TENANT.to_owned(),
        app: ManagedApp::with_secret(ConfigValue::Plain(APP.to_owned()), Source::Secret(address())).into(),
        secret: address(),
        scope: "https://api.partnercenter.microsoft.com/user_impersonation".into(),
        verify: Verify::PartnerCenter,
        user_oid: None,
        owner: None,
        app_secret_expires: None,
        strict: false,
        policy: Policy::default().into(),
    }
}
