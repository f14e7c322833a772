//! Tests the parsing of Microsoft Graph's answers: which parts are kept, and which bodies are not valid answers.

use super::*;

#[tokio::test]
async fn every_answer_that_is_no_success_has_its_meaning() {
    let long = "x".repeat(65);
    let unavailable =
        |status| DirectoryError::Unavailable { status, retry_after: Some(Duration::from_secs(7)) };
    let told = |status, code: &str| DirectoryError::Refused { status, code: code.to_owned() };
    for (status, code, error) in [
        (
            400,
            "CredentialInvalidLifetimeAsPerAppPolicy",
            told(400, "CredentialInvalidLifetimeAsPerAppPolicy"),
        ),
        (409, "a_b.c-D9", told(409, "a_b.c-D9")),
        (429, "TooManyRequests", unavailable(429)),
        (408, "Timeout", unavailable(408)),
        (500, "InternalServerError", unavailable(500)),
        (503, "Directory_ConcurrencyViolation", unavailable(503)),
        (302, "Found", unavailable(302)),
        (400, "", unavailable(400)),
        (400, "two words", unavailable(400)),
        (400, &long, unavailable(400)),
        (403, GRAPH_TOKEN, unavailable(403)),
        (403, &GRAPH_TOKEN[..20], unavailable(403)),
        (403, &APP_SECRET.replace('~', "-"), told(403, &APP_SECRET.replace('~', "-"))),
    ] {
        let owned = code.to_owned();
        let fixture = Fixture::new(move |_| refusal(status, &owned)).await;

        assert_eq!(fixture.list(fixture.app()).await, Err(error), "{status} {code}");
    }
    for body in ["", "<html></html>", "[]", "{}", r#"{"error":"invalid_grant"}"#, r#"{"error":{"code":7}}"#] {
        let fixture = Fixture::new(move |_| reply(403, &[], body)).await;

        let none = DirectoryError::Unavailable { status: 403, retry_after: None };
        assert_eq!(fixture.list(fixture.app()).await, Err(none), "{body}");
    }
}

/// Returns the usual list of secrets with one member replaced.
fn changed(path: &str, value: Value) -> String {
    let mut body = listed();
    *body.pointer_mut(path).expect(path) = value;
    body.to_string()
}

#[tokio::test]
async fn a_list_that_cannot_be_read_is_no_list() {
    for (body, why) in [
        (String::new(), "it is not an app registration"),
        ("<html>signed in to the hotel</html>".into(), "it is not an app registration"),
        (changed("/passwordCredentials", json!("x")), "it is not an app registration"),
        (changed("/passwordCredentials/0/endDateTime", json!(7)), "it is not an app registration"),
        (changed("/appId", json!(OBJECT)), "it is about another app"),
        (changed("/appId", Value::Null), "it is about another app"),
        (changed("/id", json!("x")), "it has no object id"),
        (changed("/passwordCredentials", Value::Null), "it has no list of secrets"),
        (changed("/passwordCredentials/1/keyId", json!("x")), "a secret has no key id"),
        (changed("/passwordCredentials/1/keyId", Value::Null), "a secret has no key id"),
        (changed("/displayName", json!("x".repeat(1 << 17))), "it is too long"),
    ] {
        let served = body.clone();
        let fixture = Fixture::new(move |_| reply(200, &[JSON], served.clone())).await;

        assert_eq!(
            fixture.list(Caller::VaultIdentity).await,
            Err(DirectoryError::NotUnderstood(why)),
            "{why}"
        );
    }
}

#[tokio::test]
async fn names_and_hints_are_safe_to_show() {
    for (member, value, name, hint) in [
        ("displayName", "a\u{1b}[31m", Some("a\\u{1b}[31m"), Some("abc")),
        ("displayName", &format!("x {GRAPH_TOKEN}"), None, Some("abc")),
        ("displayName", &format!("x {APP_SECRET}"), None, Some("abc")),
        ("displayName", &"n".repeat(300), Some(&*"n".repeat(256)), Some("abc")),
        ("hint", "a", Some("perennial v/s 1"), Some("a")),
        ("hint", "", Some("perennial v/s 1"), None),
        ("hint", "a\u{1b}c", Some("perennial v/s 1"), None),
        ("hint", "\u{e9}\u{e9}", Some("perennial v/s 1"), None),
    ] {
        let body = changed(&format!("/passwordCredentials/0/{member}"), json!(value));
        let fixture = Fixture::new(move |_| reply(200, &[JSON], body.clone())).await;

        let registration = fixture.list(fixture.app()).await.expect("listed");

        let first = &registration.secrets[0];
        assert_eq!((first.name.as_deref(), first.hint.as_deref()), (name, hint), "{member} {value:?}");
    }
}

#[tokio::test]
async fn a_secret_that_cannot_be_read_is_not_taken() {
    let with = |member: &str, value: Value| {
        let mut body = created_body();
        body[member] = value;
        body.to_string()
    };
    for (body, why) in [
        (String::new(), "it is not a client secret"),
        ("[]".into(), "it is not a client secret"),
        (with("keyId", json!("x")), "it has no key id"),
        (with("secretText", Value::Null), "it has no secret"),
        (with("secretText", json!("")), "it has no secret"),
        (with("secretText", json!("a b")), "it has no secret"),
        (with("secretText", json!("x".repeat(257))), "it has no secret"),
        (with("secretText", json!(GRAPH_TOKEN)), "it has no secret"),
        (with("secretText", json!(APP_SECRET)), "it has no secret"),
        (with("endDateTime", json!("soon")), "it has no end"),
        (with("endDateTime", Value::Null), "it has no end"),
    ] {
        let fixture = Fixture::new(move |_| reply(200, &[JSON], body.clone())).await;

        let error = fixture.add(fixture.app()).await.expect_err(why);
        assert_eq!(error, DirectoryError::NotUnderstood(why));
    }
}
