//! Tests of the requests about certificates.

use super::*;
use crate::ports::directory::KeyChange;

const OTHER: &str = "33333333-1b4c-4a5e-8a6f-0123456789ab";

/// An entry of Graph's list. The entry also has properties that Perennial does not use but must send back unchanged.
fn entry(key_id: &str) -> Value {
    json!({"keyId": key_id, "customKeyIdentifier": "AAECAwQFBgcICQoLDA0ODxAREhM=", "displayName": "CN=é \"x\"",
        "startDateTime": "2026-07-09T00:00:00Z", "endDateTime": "2027-01-05T00:00:00Z",
        "type": "AsymmetricX509Cert", "usage": "Verify", "key": "MIIB", "hasExtendedValue": null})
}

fn new_key() -> NewKey<'static> {
    let at = |text: &str| text.parse().expect("a time");
    let (begins, ends) = (at("2026-07-09T01:02:03Z"), at("2028-07-08T01:02:03Z"));
    NewKey { der: &[1, 2, 3], name: "perennial v/s 1", begins, ends }
}

fn list(entries: &[Value]) -> Response {
    reply(200, &[JSON], json!({"id": OBJECT.to_uppercase(), "keyCredentials": entries}).to_string())
}

async fn with_list(entries: Vec<Value>) -> Fixture {
    Fixture::new(move |seen| if seen.line.starts_with("GET ") { list(&entries) } else { reply(204, &[], "") })
        .await
}

fn sent(fixture: &Fixture) -> Vec<(String, Value)> {
    let seen = fixture.server.seen.lock().expect("nobody panicked");
    let body = |body: &str| serde_json::from_str(body).unwrap_or(Value::Null);
    seen[1..].iter().map(|seen| (seen.line.clone(), body(&seen.body))).collect()
}

#[tokio::test]
async fn a_proof_adds_and_removes_one_certificate() {
    let fixture = Fixture::new(|seen| {
        if seen.line.ends_with("addKey") {
            reply(200, &[JSON], entry(KEY).to_string())
        } else {
            reply(204, &[], "")
        }
    })
    .await;
    let (proof, caller) = (SecretString::from("a.b.c"), Caller::VaultIdentity);
    let (key, change) = (new_key(), KeyChange::Proof(&proof));

    let added = fixture.graph.add_key(&caller, id(OBJECT), &key, change, Uuid::nil()).await;
    let removed = fixture.graph.remove_key(&caller, id(OBJECT), id(OTHER), change, Uuid::nil()).await;

    assert_eq!((added, removed), (Ok(id(KEY)), Ok(())));
    let credential = json!({"type": "AsymmetricX509Cert", "usage": "Verify", "key": "AQID", "displayName": "perennial v/s 1"});
    assert_eq!(
        sent(&fixture),
        [
            (
                format!("POST /v1.0/applications/{OBJECT}/addKey"),
                json!({"keyCredential": credential, "passwordCredential": null, "proof": "a.b.c"})
            ),
            (
                format!("POST /v1.0/applications/{OBJECT}/removeKey"),
                json!({"keyId": OTHER, "proof": "a.b.c"})
            ),
        ]
    );
}

#[tokio::test]
async fn without_a_proof_the_list_is_replaced_and_other_entries_stay_as_they_are() {
    let fixture = with_list(vec![entry(KEY), entry(OTHER)]).await;
    let key = new_key();
    let kept = |key_id: &str| {
        let mut kept = entry(key_id);
        kept["key"] = Value::Null;
        kept
    };
    let (caller, by_list) = (Caller::VaultIdentity, KeyChange::Permission { known: &[] });

    let added = fixture.graph.add_key(&caller, id(OBJECT), &key, by_list, Uuid::nil()).await.expect("added");
    let removed = fixture.graph.remove_key(&caller, id(OBJECT), id(OTHER), by_list, Uuid::nil()).await;
    let absent = fixture.graph.remove_key(&caller, id(OBJECT), id(OBJECT), by_list, Uuid::nil()).await;

    assert_eq!((removed, absent), (Ok(()), Ok(())));
    let read = (format!("GET /v1.0/applications/{OBJECT}?$select=id,keyCredentials"), Value::Null);
    let replace =
        |keys: &[Value]| (format!("PATCH /v1.0/applications/{OBJECT}"), json!({"keyCredentials": keys}));
    let new = json!({"keyId": added, "type": "AsymmetricX509Cert", "usage": "Verify", "key": "AQID",
        "displayName": "perennial v/s 1", "startDateTime": "2026-07-09T01:02:03Z",
        "endDateTime": "2028-07-08T01:02:03Z"});
    let expected = [
        read.clone(),
        replace(&[kept(KEY), kept(OTHER), new]),
        read.clone(),
        replace(&[kept(KEY)]),
        // The certificate is gone already, so nothing is replaced.
        read,
    ];
    assert_eq!(sent(&fixture), expected);
}

#[tokio::test]
async fn a_list_that_cannot_be_read_is_never_replaced() {
    for (entries, wrong) in [
        (json!({"id": OBJECT}), "it has no list of certificates"),
        (json!({"id": OBJECT, "keyCredentials": {}}), "it is not an app registration"),
        (json!({"id": KEY, "keyCredentials": []}), "it is about another app"),
        (json!({"id": OBJECT, "keyCredentials": [entry(KEY), 3]}), "a certificate has no key id"),
        (json!({"id": OBJECT, "keyCredentials": [{"displayName": "x"}]}), "a certificate has no key id"),
        (json!([3]), "it is not an app registration"),
    ] {
        let fixture = Fixture::new(move |_| reply(200, &[JSON], entries.to_string())).await;
        let (caller, by_list) = (Caller::VaultIdentity, KeyChange::Permission { known: &[] });

        let removed = fixture.graph.remove_key(&caller, id(OBJECT), id(KEY), by_list, Uuid::nil()).await;

        let why = Box::new(DirectoryError::NotUnderstood(wrong));
        assert_eq!(removed, Err(DirectoryError::Unchanged(why)));
        assert!(removed.is_err_and(|error| !error.may_have_happened()), "{wrong}");
        assert_eq!(sent(&fixture).len(), 1, "{wrong}");
    }
}

#[tokio::test]
async fn only_the_replacement_itself_may_have_happened() {
    for (failing, may_have_happened) in [("GET ", false), ("PATCH ", true)] {
        let fixture = Fixture::new(move |seen| {
            if seen.line.starts_with(failing) { reply(503, &[], "") } else { list(&[entry(KEY)]) }
        })
        .await;
        let change = KeyChange::Permission { known: &[id(KEY)] };

        let added =
            fixture.graph.add_key(&Caller::VaultIdentity, id(OBJECT), &new_key(), change, Uuid::nil()).await;

        let error = added.expect_err(failing);
        assert_eq!(error.may_have_happened(), may_have_happened, "{error:?}");
    }
}

#[tokio::test]
async fn a_list_that_lacks_a_known_certificate_is_old_and_is_not_replaced() {
    let fixture = with_list(vec![entry(KEY)]).await;
    let key = new_key();
    let change = KeyChange::Permission { known: &[id(KEY), id(OTHER)] };

    let added = fixture.graph.add_key(&Caller::VaultIdentity, id(OBJECT), &key, change, Uuid::nil()).await;

    let Err(DirectoryError::Unchanged(why)) = added else { panic!("{added:?}") };
    assert!(matches!(*why, DirectoryError::NotUnderstood(_)), "{why:?}");
    assert_eq!(sent(&fixture).len(), 1, "only the list was read");
}
