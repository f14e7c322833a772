//! Tests that no `Debug` output shows a secret. Two tests create values of public types and check the output. One test
//! checks the declarations of all types.

use std::fmt::Debug;
use std::path::{Path, PathBuf};
use std::time::Duration;

use chrono::TimeDelta;
use perennial::ports::client::ClientProof;
use perennial::ports::{RefreshRequest, RefreshResponse};
use perennial::rotation::state::{PendingSave, Phase, State, Successor};
use perennial::sandbox::world::Operation;
use perennial::token::managed::Policy;
use perennial::token::version::{NewVersion, Stored, Version, VersionId};
use perennial::token::{AccessToken, RefreshToken};
use secrecy::SecretString;
use uuid::Uuid;

use crate::support::harness;
use crate::support::harness::base;
use crate::support::lab;

const CANARY: &str = "canary";

fn tells(what: &impl Debug) -> bool {
    [format!("{what:?}"), format!("{what:#?}")].iter().any(|shown| shown.contains(CANARY))
}

fn version() -> Version {
    let id = VersionId("0123456789abcdef".into());
    Version { id, created: base(), enabled: true, expires: None, tags: [].into() }
}

#[test]
fn secrets_in_messages_between_rooms_are_not_shown() {
    let refresh = || RefreshToken::new(CANARY);
    let secret = SecretString::from(CANARY);
    let redeemed = RefreshResponse {
        access_token: AccessToken::new(CANARY),
        refresh_token: refresh(),
        expires_in: Duration::ZERO,
        scope: None,
        refresh_expires_in: None,
        id_claims: None,
    };
    let redemption = RefreshRequest {
        tenant: "t",
        client_id: "c",
        proof: &ClientProof::Secret(secret.clone()),
        scope: "s",
        token: &refresh(),
        rotation_id: Uuid::nil(),
    };
    let pending = PendingSave::of(Successor {
        token: refresh(),
        issued_at: base(),
        client_id: "c".into(),
        user_oid: None,
        redeemed: version(),
        redeemed_value: refresh(),
        rotation_id: Uuid::nil(),
        is_only_copy: false,
    });
    let state = State { phase: Phase::Unsaved(Box::new(pending)), ..State::unknown(base()) };
    let stored = Stored { version: version(), value: secret.clone(), read_at: None };
    let new = NewVersion { value: secret.clone(), content_type: None, expires: base(), tags: [].into() };

    assert!(!tells(&redeemed) && !tells(&redemption) && !tells(&state));
    assert!(!tells(&stored) && !tells(&stored.refresh_token()) && !tells(&new));
    assert!(tells(&Some(CANARY)), "it would be seen");
}

#[tokio::test]
async fn secrets_of_sandbox_and_adapters_are_not_shown() {
    let lab = lab::Lab::start().await;
    let partner = lab.sandbox.add_partner("one", TimeDelta::days(2));
    let grant = harness::grant("one", &partner, &Policy::default());
    let mut rotator = lab.rotator(&grant);
    let state = rotator.prove(State::unknown(lab.clock.now()), false).await.state;
    assert!(state.proved_at().is_some(), "{state:?}");

    let world = lab.world();
    let shown = [
        format!("{state:#?} {:#?} {:#?}", rotator.issuer, rotator.vault),
        format!("{:#?} {:#?} {:#?}", rotator.resource, rotator.grant, lab.sandbox.vault_identity),
        format!("{:#?} {:#?} {:#?}", world.grants(), world.apps(), world.writes()),
        format!("{:#?}", world.versions_of(&partner.refresh_token)),
    ];
    let shown = shown.concat();

    assert!(world.count_calls_where(base(), |call| call.operation == Operation::Redeem) > 0);
    for secret in world.secret_texts() {
        let text = secrecy::ExposeSecret::expose_secret(&secret);
        assert!(!shown.contains(text), "{shown}");
    }
}

/// A type that derives `Debug` must not have a text field with a name such as `token` or `password`.
#[test]
fn no_debug_type_has_a_text_field_named_like_a_secret() {
    let telling = showable_text_fields("struct X {\n    secret: String,\n}", "#[derive(Debug)]\n");
    assert_eq!(telling, ["X.secret"], "it would be found");
    // These fields contain only the names of tokens and secrets, and no secret values.
    let names_only = [
        "InitArgs.refresh_token",
        "CheckStep.token",
        "Proposal.pub(super) refresh_token",
        "Draft.pub(super) refresh_token",
    ];
    let found = sources().iter().flat_map(|text| showable_text_fields(text, "")).collect::<Vec<_>>();
    let found: Vec<&String> = found.iter().filter(|field| !names_only.contains(&field.as_str())).collect();

    assert!(found.is_empty(), "{found:?}");
}

/// Finds the types in a source that derive `Debug`. Returns `Type.field` for each text field of these types that has a
/// name from `NAMES`.
fn showable_text_fields(source: &str, before: &str) -> Vec<String> {
    const NAMES: [&str; 8] =
        ["token", "secret", "assertion", "password", "value", "access_token", "refresh_token", "successor"];
    const TEXTS: [&str; 6] = ["String", "&str", "&'a str", "Option<String>", "Vec<u8>", "Box<str>"];
    let text = format!("{before}{source}");
    let mut found = Vec::new();
    let (mut derived, mut holder) = (false, None);
    for line in text.lines() {
        if line.starts_with("#[derive(") {
            derived = line.contains("Debug");
        } else if let Some((_, rest)) = line.split_once("struct ").or_else(|| line.split_once("enum ")) {
            let name: String = rest.chars().take_while(|c| c.is_alphanumeric()).collect();
            holder = (!line.starts_with(' ') && derived).then_some(name);
            derived &= line.starts_with(' ');
        } else if line == "}" {
            holder = None;
        }
        let field = line.trim().trim_start_matches("pub ").split_once(": ");
        if let (Some(holder), Some((name, kind))) = (&holder, field)
            && NAMES.contains(&name.trim_start_matches("pub(super) "))
            && TEXTS.contains(&kind.trim_end_matches(','))
        {
            found.push(format!("{holder}.{name}"));
        }
    }
    found
}

fn sources() -> Vec<String> {
    let mut folders: Vec<PathBuf> = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
    let mut texts = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder of sources") {
            let path = entry.expect("readable").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|kind| kind == "rs") {
                texts.push(std::fs::read_to_string(path).expect("text"));
            }
        }
    }
    assert!(texts.len() > 50, "{}", texts.len());
    texts
}
