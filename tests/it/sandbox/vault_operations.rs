//! Tests Key Vault's operations on secrets. Also tests the answers to requests that the sandbox does not serve.

use std::collections::BTreeSet;

use perennial::sandbox::world::Action;
use perennial::token::secret::{SecretAddress, SecretName};
use perennial::token::tags::Tags;
use reqwest::{Method, Response, StatusCode};
use serde_json::{Value, json};

use super::{Lab, json_of};

/// A request to the vault.
struct Call<'a> {
    method: Method,
    path: &'a str,
    body: Value,
}

/// A lab, and an access token for its vault.
struct VaultLab {
    lab: Lab,
    token: String,
}

impl VaultLab {
    async fn start() -> Self {
        let lab = Lab::start().await;
        let token = lab.vault_token().await;
        Self { lab, token }
    }

    async fn send(&self, call: &Call<'_>) -> Response {
        self.send_to(&self.lab.sandbox.origin, call).await
    }

    /// Sends a request to the sandbox's vault with this host name.
    async fn send_to(&self, vault: &str, call: &Call<'_>) -> Response {
        let url = self.lab.url(&format!("{}?api-version=7.6", call.path));
        let mut request = self.lab.http.request(call.method.clone(), url).bearer_auth(&self.token);
        request = request.header("host", vault.trim_start_matches("https://"));
        if !call.body.is_null() {
            request = request.json(&call.body);
        }
        request.send().await.expect("an answer")
    }

    /// Sends a request and returns the body of the successful answer.
    async fn done(&self, method: Method, path: &str, body: Value) -> Value {
        let answer = self.send(&Call { method, path, body }).await;
        assert_eq!(answer.status(), StatusCode::OK, "{path}");
        json_of(answer).await
    }

    async fn set(&self, name: &str, value: &str) -> String {
        let path = format!("/secrets/{name}");
        let set = self.done(Method::PUT, &path, json!({"value": value, "tags": {"of": value}})).await;
        let id = set["id"].as_str().expect("an id").to_owned();
        id.rsplit('/').next().expect("a version").to_owned()
    }

    async fn delete(&self, name: &str) {
        self.done(Method::DELETE, &format!("/secrets/{name}"), Value::Null).await;
    }

    async fn purge(&self, name: &str) {
        let path = format!("/deletedsecrets/{name}");
        let answer = self.send(&Call { method: Method::DELETE, path: &path, body: Value::Null }).await;
        assert_eq!(answer.status(), StatusCode::NO_CONTENT);
    }

    async fn backup(&self, name: &str) -> Value {
        self.done(Method::POST, &format!("/secrets/{name}/backup"), Value::Null).await
    }

    fn allow(&self, change: impl FnOnce(&mut BTreeSet<Action>)) {
        self.lab.world().change_vault(&self.lab.sandbox.origin, |vault| change(&mut vault.allowed));
    }
}

fn get(path: &str) -> Call<'_> {
    Call { method: Method::GET, path, body: Value::Null }
}

/// Checks that an answer is an error in Key Vault's form, and returns the error.
async fn error_of(answer: Response, what: &str) -> (u16, Value) {
    let status = answer.status().as_u16();
    assert_eq!(answer.headers()["content-type"], "application/json", "{what}");
    assert!(answer.headers().contains_key("x-ms-request-id"), "{what}");
    let mut body = json_of(answer).await;
    let error = body["error"].take();
    assert!(error["message"].as_str().is_some_and(|text| text.len() > 10), "{what}: {error}");
    (status, error)
}

#[tokio::test]
async fn each_operation_needs_its_own_right() {
    let vault = VaultLab::start().await;
    let version = vault.set("kept", "one").await;
    for name in ["restored", "gone", "purged"] {
        vault.set(name, "value").await;
    }
    let backup = vault.backup("restored").await;
    for name in ["restored", "gone", "purged"] {
        vault.delete(name).await;
    }
    vault.purge("restored").await;
    let of_version = format!("/secrets/kept/{version}");
    let value = json!({"value": "two"});
    let table = [
        (Method::PUT, "/secrets/kept", value, Action::SetSecret, StatusCode::OK),
        (Method::GET, "/secrets/kept", Value::Null, Action::GetSecret, StatusCode::OK),
        (Method::GET, &of_version, Value::Null, Action::GetSecret, StatusCode::OK),
        (Method::PATCH, &of_version, json!({"tags": {}}), Action::Update, StatusCode::OK),
        (Method::GET, "/secrets", Value::Null, Action::ReadMetadata, StatusCode::OK),
        (Method::GET, "/secrets/kept/versions", Value::Null, Action::ReadMetadata, StatusCode::OK),
        (Method::POST, "/secrets/kept/backup", Value::Null, Action::Backup, StatusCode::OK),
        (Method::POST, "/secrets/restore", backup, Action::Restore, StatusCode::OK),
        (Method::DELETE, "/secrets/kept", Value::Null, Action::Delete, StatusCode::OK),
        (Method::GET, "/deletedsecrets", Value::Null, Action::ReadMetadata, StatusCode::OK),
        (Method::GET, "/deletedsecrets/gone", Value::Null, Action::ReadMetadata, StatusCode::OK),
        (Method::POST, "/deletedsecrets/gone/recover", Value::Null, Action::Recover, StatusCode::OK),
        (Method::DELETE, "/deletedsecrets/purged", Value::Null, Action::Purge, StatusCode::NO_CONTENT),
    ];
    for (method, path, body, action, success) in table {
        let what = format!("{method} {path}");
        let call = Call { method, path, body };
        vault.allow(|allowed| {
            allowed.remove(&action);
        });
        let (status, error) = error_of(vault.send(&call).await, &what).await;
        assert_eq!((status, &error["code"]), (403, &json!("Forbidden")), "{what}");
        assert_eq!(error["innererror"]["code"], "ForbiddenByRbac", "{what}");
        assert!(error["message"].as_str().is_some_and(|text| text.contains(action.as_str())), "{what}");

        vault.allow(|allowed| *allowed = [action].into());
        assert_eq!(vault.send(&call).await.status(), success, "{what}");
        vault.allow(|allowed| *allowed = Action::ALL.into());
    }
}

#[tokio::test]
async fn operations_on_an_unknown_secret_answer_not_found() {
    let vault = VaultLab::start().await;
    let unknown_version = format!("/secrets/partner-refresh-token/{}", "0".repeat(32));
    let table = [
        (Method::GET, "/secrets/nothing", Value::Null),
        (Method::GET, &*unknown_version, Value::Null),
        (Method::PATCH, "/secrets/nothing", json!({})),
        (Method::GET, "/secrets/nothing/versions", Value::Null),
        (Method::POST, "/secrets/nothing/backup", Value::Null),
        (Method::DELETE, "/secrets/nothing", Value::Null),
        (Method::GET, "/deletedsecrets/nothing", Value::Null),
        (Method::POST, "/deletedsecrets/nothing/recover", Value::Null),
        (Method::DELETE, "/deletedsecrets/nothing", Value::Null),
        // This secret exists and is not deleted.
        (Method::GET, "/deletedsecrets/partner-refresh-token", Value::Null),
    ];
    for (method, path, body) in table {
        let what = format!("{method} {path}");
        let (status, error) = error_of(vault.send(&Call { method, path, body }).await, &what).await;
        assert_eq!((status, &error["code"]), (404, &json!("SecretNotFound")), "{what}");
    }
}

#[tokio::test]
async fn a_backup_holds_all_versions_and_restores_into_another_vault() {
    let vault = VaultLab::start().await;
    vault.set("Saved", "value-one").await;
    let newest = vault.set("saved", "value-two").await;
    let off = json!({"attributes": {"enabled": false, "exp": 2_000_000_000}, "contentType": "text/plain"});
    vault.done(Method::PATCH, &format!("/secrets/saved/{newest}"), off).await;
    let before = vault.done(Method::GET, "/secrets/saved/versions", Value::Null).await;
    let other = "https://other.example";
    vault.lab.world().add_vault(other);

    let backup = vault.backup("SAVED").await;

    let blob = backup["value"].as_str().expect("a blob");
    assert!(blob.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)), "base64url");
    assert!(!blob.contains("value-one") && !blob.contains("Saved"));
    let restore = Call { method: Method::POST, path: "/secrets/restore", body: backup };
    let restored = vault.send_to(other, &restore).await;
    assert_eq!(restored.status(), StatusCode::OK);
    let restored = json_of(restored).await;
    assert_eq!(restored["id"], format!("{other}/secrets/Saved/{newest}"));
    assert_eq!(restored["contentType"], "text/plain");
    assert_eq!(restored.get("value"), None);
    let after = json_of(vault.send_to(other, &get("/secrets/saved/versions")).await).await;
    let here = before.to_string().replace(&*vault.lab.sandbox.origin, other);
    assert_eq!(after.to_string(), here);
    let disabled = vault.send_to(other, &get("/secrets/saved")).await;
    assert_eq!(error_of(disabled, "disabled").await.1["innererror"]["code"], "SecretDisabled");
    let name = SecretName::parse("saved").expect("a name");
    let at = SecretAddress { vault: other.into(), name };
    assert_eq!(vault.lab.world().newest_value(&at).expect("restored").expose(), "value-two");
}

#[tokio::test]
async fn a_restore_conflicts_with_an_existing_and_with_a_deleted_secret() {
    let vault = VaultLab::start().await;
    let version = vault.set("taken", "value").await;
    let backup = vault.backup("taken").await;
    let restore = Call { method: Method::POST, path: "/secrets/restore", body: backup };

    let exists = error_of(vault.send(&restore).await, "exists").await;
    vault.delete("taken").await;
    let deleted = error_of(vault.send(&restore).await, "deleted").await;
    vault.purge("taken").await;
    let restored = vault.send(&restore).await;

    for (status, error) in [exists, deleted] {
        assert_eq!((status, &error["code"]), (409, &json!("Conflict")));
        let id = format!("'{}/secrets/taken/{version}'", vault.lab.sandbox.origin);
        assert!(error["message"].as_str().is_some_and(|text| text.contains(&id)), "{error}");
    }
    assert_eq!(restored.status(), StatusCode::OK);
    assert_eq!(vault.done(Method::GET, "/secrets/taken", Value::Null).await["value"], "value");
}

#[tokio::test]
async fn a_damaged_backup_is_rejected() {
    let vault = VaultLab::start().await;
    vault.set("saved", "value").await;
    let whole = vault.backup("saved").await["value"].as_str().expect("a blob").to_owned();
    let damaged = [
        (json!({}), "BadParameter"),
        (json!({"value": ""}), "Malformed backup blob"),
        (json!({"value": "no base64!"}), "Malformed backup blob"),
        (json!({"value": &whole[8..]}), "Malformed backup blob"),
        (json!({"value": &whole[..whole.len() - 8]}), "Malformed backup blob"),
    ];
    for (body, code) in damaged {
        let what = body.to_string();
        let call = Call { method: Method::POST, path: "/secrets/restore", body };
        let (status, error) = error_of(vault.send(&call).await, &what).await;
        assert_eq!((status, &error["code"]), (400, &json!(code)), "{what}");
    }
}

#[tokio::test]
async fn a_backup_holds_at_most_500_versions() {
    let vault = VaultLab::start().await;
    let at = vault.lab.partner.refresh_token.clone();
    let write = |n: usize| vault.lab.world().human_writes(&at, &format!("{n:03000}"), Tags::new());
    (0..499).for_each(|n| _ = write(n));

    let backup = vault.backup("partner-refresh-token").await;
    write(500);
    let path = "/secrets/partner-refresh-token/backup";
    let refused = vault.send(&Call { method: Method::POST, path, body: Value::Null }).await;
    vault.delete("partner-refresh-token").await;
    vault.purge("partner-refresh-token").await;
    let restored = vault.send(&Call { method: Method::POST, path: "/secrets/restore", body: backup }).await;

    let (status, error) = error_of(refused, "501 versions").await;
    assert_eq!((status, &error["code"]), (400, &json!("BadParameter")));
    assert_eq!(restored.status(), StatusCode::OK, "more than two megabytes");
    assert_eq!(vault.lab.world().versions_of(&at).len(), 500);
}

#[tokio::test]
async fn deleted_secrets_are_listed_in_pages_without_values() {
    let vault = VaultLab::start().await;
    for n in 0..27 {
        vault.set(&format!("gone-{n}"), "value").await;
        vault.delete(&format!("gone-{n}")).await;
    }
    let origin = vault.lab.sandbox.origin.to_string();

    let first = vault.done(Method::GET, "/deletedsecrets", Value::Null).await;
    let next = first["nextLink"].as_str().expect("a second page").to_owned();
    let second =
        json_of(vault.lab.http.get(&next).bearer_auth(&vault.token).send().await.expect("an answer")).await;

    assert!(next.starts_with(&format!("{origin}/deletedsecrets?")), "{next}");
    let items = |page: &Value| page["value"].as_array().expect("items").clone();
    assert_eq!((items(&first).len(), items(&second).len()), (25, 2));
    assert_eq!(second["nextLink"], Value::Null);
    let mut names = BTreeSet::new();
    for item in items(&first).into_iter().chain(items(&second)) {
        let id = item["id"].as_str().expect("an id");
        let name = id.strip_prefix(&format!("{origin}/secrets/")).expect("without a version").to_owned();
        assert_eq!(item["recoveryId"], format!("{origin}/deletedsecrets/{name}"));
        assert_eq!(
            item["scheduledPurgeDate"].as_i64().expect("a date")
                - item["deletedDate"].as_i64().expect("a date"),
            90 * 86_400
        );
        assert_eq!((item.get("value"), &item["tags"]), (None, &json!({"of": "value"})));
        names.insert(name);
    }
    assert_eq!(names.len(), 27);
}

#[tokio::test]
async fn a_request_that_is_not_served_answers_in_key_vaults_form() {
    let vault = VaultLab::start().await;
    let table = [
        // The text in this row comes from a log of Key Vault's answers.
        (
            Method::GET,
            "/secrets/x/latest",
            400,
            "BadParameter",
            "Method GET does not allow operation 'latest'",
        ),
        (Method::POST, "/secrets/x/sign", 400, "BadParameter", "Method POST does not allow operation 'sign'"),
        (Method::POST, "/secrets/x/versions", 400, "BadParameter", "Method POST does not allow operation"),
        (
            Method::GET,
            "/secrets/x/backup",
            400,
            "BadParameter",
            "Method GET does not allow operation 'backup'",
        ),
        (Method::GET, "/deletedsecrets/x/recover", 400, "BadParameter", "does not allow operation 'recover'"),
        (Method::PUT, "/secrets", 405, "MethodNotAllowed", "does not support http method 'PUT'"),
        (Method::POST, "/secrets/x", 405, "MethodNotAllowed", "does not support http method 'POST'"),
        (Method::POST, "/deletedsecrets", 405, "MethodNotAllowed", "does not support http method 'POST'"),
        (Method::PUT, "/deletedsecrets/x", 405, "MethodNotAllowed", "does not support http method 'PUT'"),
        (Method::GET, "/keys/x", 404, "KeyNotFound", "A key with (name/id) x was not found"),
        (Method::POST, "/keys/x/1/sign", 404, "KeyNotFound", "A key with (name/id) x was not found"),
        (Method::GET, "/deletedkeys/x", 404, "KeyNotFound", "Deleted Key not found: x"),
        (
            Method::GET,
            "/certificates/x",
            404,
            "CertificateNotFound",
            "A certificate with (name/id) x was not found",
        ),
        (
            Method::DELETE,
            "/deletedcertificates/x",
            404,
            "CertificateNotFound",
            "Deleted Certificate not found: x",
        ),
        (
            Method::GET,
            "/certificates/x/pending",
            404,
            "PendingCertificateNotFound",
            "Pending certificate not found: x",
        ),
        // From this row on, the texts are the sandbox's own.
        (
            Method::POST,
            "/keys/x/create",
            404,
            "NotFound",
            "a part of Key Vault, and does not serve POST /keys/x/create",
        ),
        (Method::PUT, "/keys/x", 404, "NotFound", "a part of Key Vault, and does not serve PUT /keys/x"),
        (Method::GET, "/keys", 404, "NotFound", "a part of Key Vault, and does not serve GET /keys"),
        (
            Method::POST,
            "/certificates/restore",
            404,
            "NotFound",
            "a part of Key Vault, and does not serve POST /certificates/restore",
        ),
        (Method::GET, "/certificates/issuers", 404, "NotFound", "a part of Key Vault"),
        (Method::GET, "/storage/x", 404, "NotFound", "Key Vault, and does not serve GET /storage/x"),
        (Method::GET, "/secrets/a/b/c", 404, "NotFound", "does not serve GET /secrets/a/b/c"),
        (Method::GET, "/settings", 404, "NotFound", "The sandbox does not serve GET /settings."),
        (Method::GET, "/", 404, "NotFound", "The sandbox does not serve GET /."),
    ];
    for (method, path, status, code, words) in table {
        let what = format!("{method} {path}");
        let (answered, error) =
            error_of(vault.send(&Call { method, path, body: Value::Null }).await, &what).await;
        assert_eq!((answered, &error["code"]), (status, &json!(code)), "{what}: {error}");
        assert!(error["message"].as_str().is_some_and(|text| text.contains(words)), "{what}: {error}");
    }
}

#[tokio::test]
async fn a_vault_authenticates_before_it_says_what_is_not_served() {
    let lab = Lab::start().await;
    for path in ["/keys/x", "/certificates", "/storage/x", "/deletedsecrets", "/secrets/a/b/c"] {
        let answer =
            lab.http.get(lab.url(&format!("{path}?api-version=7.6"))).send().await.expect("an answer");
        assert!(answer.headers().contains_key("www-authenticate"), "{path}");
        let (status, error) = error_of(answer, path).await;
        assert_eq!((status, &error["code"]), (401, &json!("Unauthorized")), "{path}");
    }
}
