//! Tests every parser of foreign data with the checks in `fuzz/checks.rs`. The inputs are the saved corpus and
//! generated answers that are nearly valid.

#[path = "../../../fuzz/checks.rs"]
#[expect(unreachable_pub, reason = "for the fuzz targets it is a library")]
mod checks;

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use proptest::collection::{btree_map, vec};
use proptest::prelude::{Just, Strategy, any};
use proptest::sample::select;
use proptest::{prop_oneof, proptest};
use serde_json::Value;

use self::checks::{CANARY, GUID_CANARY};

type Check = fn(&[u8]);

const CHECKS: [(&str, Check); 5] = [
    ("token_answer", checks::token_answer),
    ("entra_error", checks::entra_error),
    ("access_token", checks::access_token),
    ("vault_answer", checks::vault_answer),
    ("configuration", checks::configuration),
];

/// Every JSON member that Perennial parses, and a few members that Perennial ignores.
const MEMBERS: [&str; 37] = [
    "id_token",
    "aud",
    "nonce",
    "access_token",
    "refresh_token",
    "expires_in",
    "scope",
    "error",
    "error_description",
    "error_codes",
    "suberror",
    "trace_id",
    "correlation_id",
    "claims",
    "value",
    "id",
    "attributes",
    "tags",
    "created",
    "expires",
    "exp",
    "enabled",
    "nextLink",
    "code",
    "message",
    "innererror",
    "tid",
    "oid",
    "appid",
    "azp",
    "amr",
    "scp",
    "contentType",
    "managed-by",
    "issued-at",
    "signed-in-at",
    "redeemed-from",
];

#[test]
fn the_saved_corpus_passes() {
    for (name, check) in CHECKS {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(name);
        let mut looked_at = 0;
        for entry in std::fs::read_dir(&folder).expect("a corpus") {
            check(&std::fs::read(entry.expect("readable").path()).expect("a file"));
            looked_at += 1;
        }
        assert!(looked_at >= 5, "{name}: {looked_at}");
    }
}

fn text() -> impl Strategy<Value = String> {
    let known = select(vec![
        CANARY,
        GUID_CANARY,
        "",
        "invalid_grant",
        "AADSTS50173: ",
        "Client address: 1.2.3.4",
        "3599",
        "true",
        "ForbiddenByRbac",
        "ForbiddenByFirewall",
        "SecretDisabled",
        "ObjectIsDeletedButRecoverable",
        "Microsoft.KeyVault/vaults/secrets/setSecret/action",
        "perennial/0.1.0 run",
        "2026-01-01T00:00:00Z",
        "https://contoso.vault.azure.net/secrets/pc-token/0123456789abcdef0123456789abcdef",
        "0ed4b3a5-1b4c-4a5e-8a6f-0123456789ab",
        "\u{202e}\u{0}\u{1b}[31m",
    ]);
    prop_oneof![
        4 => known.clone().prop_map(str::to_owned),
        1 => (known.clone(), known).prop_map(|(one, other)| format!("{one} {other}").to_uppercase()),
        1 => any::<String>(),
        1 => (0..40usize).prop_map(|from| CANARY.get(from..).unwrap_or_default().to_owned()),
        1 => json(1).prop_map(|value| value.to_string()),
    ]
}

/// Generates JSON in which the parsed members have values of all kinds.
fn json(depth: u32) -> proptest::strategy::BoxedStrategy<Value> {
    let plain = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        Just(Value::from(CANARY)),
        Just(Value::from(GUID_CANARY)),
    ];
    plain
        .prop_recursive(depth, 64, 12, |inner| {
            prop_oneof![
                vec(inner.clone(), 0..4).prop_map(Value::from),
                btree_map(select(&MEMBERS[..]).prop_map(str::to_owned), inner, 0..12)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
        .boxed()
}

/// Generates an object whose members are texts or any other values.
fn answer() -> impl Strategy<Value = Value> {
    let value = prop_oneof![3 => text().prop_map(Value::from), 2 => json(3)];
    btree_map(select(&MEMBERS[..]).prop_map(str::to_owned), value, 0..MEMBERS.len())
        .prop_map(|members| Value::Object(members.into_iter().collect()))
}

/// Returns the body unchanged, cut off, or changed in one place.
fn sent(value: &Value, place: usize, change: u8) -> Vec<u8> {
    let mut body = value.to_string().into_bytes();
    let place = place % body.len();
    match change % 8 {
        0 => body.truncate(place),
        1 => body[place] = change,
        _ => {}
    }
    body
}

fn with_status(status: u16, body: &[u8]) -> Vec<u8> {
    [&(status - 100).to_be_bytes(), body].concat()
}

proptest! {
    #[test]
    fn no_answer_of_the_issuer_causes_a_panic_or_a_leak(
        value in answer(), status in 100..600u16, place in any::<usize>(), change in any::<u8>(),
    ) {
        let body = sent(&value, place, change);
        checks::token_answer(&body);
        checks::entra_error(&with_status(status, &body));
    }

    #[test]
    fn no_access_token_causes_a_panic_or_a_leak(
        claims in answer(), head in text(), place in any::<usize>(), change in any::<u8>(),
    ) {
        let payload = URL_SAFE_NO_PAD.encode(sent(&claims, place, change));
        checks::access_token(format!("{head}.{payload}.x").as_bytes());
    }

    #[test]
    fn no_answer_of_the_vault_causes_a_panic_or_a_leak(
        value in answer(), error in answer(), nested in any::<bool>(),
        status in 100..600u16, place in any::<usize>(), change in any::<u8>(),
    ) {
        let value = if nested { serde_json::json!({"error": error, "value": [value]}) } else { value };
        checks::vault_answer(&with_status(status, &sent(&value, place, change)));
    }
}
