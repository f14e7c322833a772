//! Tests the simulated Microsoft Graph over HTTPS, and its controls.

use reqwest::{Method, Response, StatusCode};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

use super::{Lab, ROTATION, json_of};

const OWNED_BY: &str = "Application.ReadWrite.OwnedBy";

impl Lab {
    /// Requests a token for Microsoft Graph with the app's own secret.
    async fn graph_token(&self) -> String {
        let secret = self.world().newest_value(&self.partner.app_secret).expect("stored");
        let body = json_of(self.app_token(secret.expose()).await).await;
        body["access_token"].as_str().expect("a token").to_owned()
    }

    async fn app_token(&self, secret: &str) -> Response {
        let answer = self
            .http
            .post(self.url(&format!("/{}/oauth2/v2.0/token", self.partner.tenant_id)))
            .form(&[
                ("grant_type", "client_credentials"),
                ("client_id", &self.partner.client_id),
                ("client_secret", secret),
                ("scope", "https://graph.microsoft.com/.default"),
            ])
            .send();
        answer.await.expect("an answer")
    }

    async fn graph(&self, method: Method, path: &str, body: Option<Value>) -> Response {
        let request = self.http.request(method, self.url(&format!("/v1.0/{path}")));
        let request = request.bearer_auth(self.graph_token().await).header("client-request-id", ROTATION);
        let request = if let Some(body) = body { request.json(&body) } else { request };
        request.send().await.expect("an answer")
    }

    async fn application(&self, query: &str) -> Response {
        let path = format!("applications(appId='{}'){query}", self.partner.client_id);
        self.graph(Method::GET, &path, None).await
    }

    async fn own_itself(&self) -> String {
        let app = &self.partner.client_id;
        self.control("graph-roles", json!({"principal": app, "roles": [OWNED_BY]})).await;
        self.control("add-owner", json!({"principal": app})).await;
        let body = json_of(self.application("").await).await;
        format!("applications/{}", body["id"].as_str().expect("an id"))
    }

    async fn change(&self, app: &str, what: &str, body: Value) -> Response {
        self.graph(Method::POST, &format!("{app}/{what}"), Some(body)).await
    }
}

#[tokio::test]
async fn a_registration_has_graphs_form() {
    let lab = Lab::start().await;
    lab.own_itself().await;
    lab.control("create-certificate", json!({})).await;
    let certificate = lab.control("register-certificate", json!({})).await;

    let answer = lab.application("").await;
    assert_eq!(answer.headers()["client-request-id"], ROTATION);
    assert!(answer.headers().contains_key("request-id"));
    let all = json_of(answer).await;
    let some = json_of(lab.application("?$select=id,passwordCredentials").await).await;
    let keys = json_of(lab.application("?$select=id,keyCredentials").await).await;

    assert_eq!(all["appId"], lab.partner.client_id);
    let (secret, key) = (&all["passwordCredentials"][0], &all["keyCredentials"][0]);
    let stored = lab.world().newest_value(&lab.partner.app_secret).expect("stored");
    assert_eq!((&secret["hint"], &secret["secretText"]), (&json!(&stored.expose()[..3]), &Value::Null));
    assert!(secret["startDateTime"].as_str().is_some_and(|at| at.ends_with('Z')), "{secret}");
    assert_eq!((&key["type"], &key["usage"]), (&json!("AsymmetricX509Cert"), &json!("Verify")));
    assert_eq!((&key["customKeyIdentifier"], &key["key"]), (&certificate["thumbprint"], &Value::Null));
    let names = |body: &Value| body.as_object().expect("an object").keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&some), ["@odata.context", "id", "passwordCredentials"]);
    assert!(keys["keyCredentials"][0]["key"].is_string(), "{keys}");
}

#[tokio::test]
async fn a_secret_is_added_and_removed() {
    let lab = Lab::start().await;
    let app = lab.own_itself().await;
    let wish = json!({"passwordCredential": {
        "displayName": "rotator", "endDateTime": "2099-01-05T00:00:00Z",
    }});

    let added = lab.change(&app, "addPassword", wish).await;
    assert_eq!(added.status(), StatusCode::OK);
    let added = json_of(added).await;
    let value = added["secretText"].as_str().expect("a value").to_owned();
    assert_eq!((value.len(), &added["hint"]), (40, &json!(&value[..3])));
    assert_eq!(
        (&added["displayName"], &added["endDateTime"]),
        (&json!("rotator"), &json!("2099-01-05T00:00:00Z"))
    );
    assert!(lab.app_token(&value).await.status().is_success());
    let listed = json_of(lab.application("").await).await;
    assert_eq!(listed["passwordCredentials"][1]["keyId"], added["keyId"]);

    let gone = json!({"keyId": added["keyId"]});
    let removed = lab.change(&app, "removePassword", gone.clone()).await;
    assert_eq!(
        (removed.status(), &removed.headers()["client-request-id"]),
        (StatusCode::NO_CONTENT, &ROTATION.parse().expect("a value"))
    );
    assert!(removed.bytes().await.expect("a body").is_empty());
    let again = lab.change(&app, "removePassword", gone).await;
    assert_eq!(again.status(), StatusCode::BAD_REQUEST);
    let text = json_of(again).await["error"]["message"].as_str().expect("a text").to_owned();
    assert!(text.starts_with("No password credential found with keyId"), "{text}");
    assert_eq!(lab.app_token(&value).await.status(), StatusCode::UNAUTHORIZED);
    let plain = lab.change(&app, "addPassword", json!({})).await;
    assert_eq!(json_of(plain).await["displayName"], Value::Null);
}

#[tokio::test]
async fn refusals_and_faults_have_graphs_form() {
    let lab = Lab::start().await;

    let denied = lab.application("").await;
    assert_eq!(denied.status(), StatusCode::FORBIDDEN);
    let request_id = denied.headers()["request-id"].to_str().expect("text").to_owned();
    let error = json_of(denied).await["error"].clone();
    assert_eq!(error["code"], "Authorization_RequestDenied");
    assert_eq!(error["innerError"]["client-request-id"], ROTATION);
    assert_eq!(error["innerError"]["request-id"], request_id);
    assert!(error["innerError"]["date"].is_string());

    let app = lab.own_itself().await;
    for (method, path, body, status, code) in [
        (Method::GET, "applications(appId='x')", None, 404, "Request_ResourceNotFound"),
        (Method::GET, "applications(name='x')", None, 400, "BadRequest"),
        (Method::POST, "applications/x/addPassword", Some(json!({})), 400, "Request_BadRequest"),
        (Method::POST, &*format!("{app}/removePassword"), Some(json!({})), 400, "Request_BadRequest"),
    ] {
        let answer = lab.graph(method, path, body).await;
        assert_eq!(answer.status().as_u16(), status, "{path}");
        assert_eq!(json_of(answer).await["error"]["code"], code, "{path}");
    }
    let nobody = lab.http.get(lab.url("/v1.0/applications(appId='x')")).send().await.expect("an answer");
    assert_eq!(nobody.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(json_of(nobody).await["error"]["code"], "InvalidAuthenticationToken");

    let busy = json!({"peer": "graph", "operation": "get_application", "status": 429,
        "code": "TooManyRequests", "retry_after": 30, "times": 1});
    lab.control("faults", busy).await;
    let throttled = lab.application("").await;
    assert_eq!(
        (throttled.status().as_u16(), &throttled.headers()["retry-after"]),
        (429, &"30".parse().expect("a value"))
    );
    assert_eq!(throttled.headers()["client-request-id"], ROTATION);
    assert_eq!(json_of(throttled).await["error"]["code"], "TooManyRequests");
}

#[tokio::test]
async fn controls_set_rights_and_limits_and_list_secrets_without_values() {
    let lab = Lab::start().await;
    let app = lab.own_itself().await;
    let add = async |body| json_of(lab.change(&app, "addPassword", body).await).await;
    let long = json!({"passwordCredential": {"endDateTime": "2099-01-05T00:00:00Z"}});

    lab.control("credential-policy", json!({"longest_secret": "90d"})).await;
    assert_eq!(add(long.clone()).await["error"]["code"], "CredentialInvalidLifetimeAsPerAppPolicy");
    lab.control("credential-policy", json!({"forbids_secrets": true})).await;
    assert_eq!(add(long.clone()).await["error"]["code"], "CredentialTypeNotAllowedAsPerAppPolicy");
    lab.control("credential-policy", json!({})).await;
    let added = add(long).await;

    let state = lab.http.get(lab.url("/_sandbox/state")).send().await.expect("an answer");
    let text = state.text().await.expect("text");
    assert!(!text.contains(added["secretText"].as_str().expect("a value")), "{text}");
    let state: Value = serde_json::from_str(&text).expect("JSON");
    let apps = state["apps"].as_array().expect("a list");
    let known = apps.iter().find(|known| known["client_id"] == lab.partner.client_id).expect("the app");
    assert_eq!(known["owners"], json!([lab.partner.client_id]));
    let secret = &known["secrets"][1];
    assert_eq!((&secret["key_id"], &secret["listed"]), (&added["keyId"], &json!(true)));
    assert_eq!(state["requests"]["graph"]["add_password"], 3);

    for (what, body) in [
        ("graph-roles", json!({"roles": ["Directory.Read.All"]})),
        ("add-owner", json!({"client_id": "unknown"})),
        ("flapping", json!({"probability": 2, "within": "10m"})),
    ] {
        let answer = lab.http.post(lab.url(&format!("/_sandbox/{what}"))).json(&body).send().await;
        assert_eq!(answer.expect("an answer").status(), StatusCode::BAD_REQUEST, "{what}");
    }
    lab.control("flapping", json!({"probability": 0.1, "within": "10m"})).await;
}

#[tokio::test]
async fn the_vaults_identity_can_manage_a_partners_app() {
    let lab = Lab::start().await;
    lab.control("graph-roles", json!({"roles": [OWNED_BY]})).await;
    lab.control("add-owner", json!({})).await;
    let identity = &lab.sandbox.vault_identity;
    let answer = lab
        .http
        .post(lab.url(&format!("/{}/oauth2/v2.0/token", lab.partner.tenant_id)))
        .form(&[
            ("grant_type", "client_credentials"),
            ("client_id", &identity.client_id),
            ("client_secret", identity.client_secret.expose_secret()),
            ("scope", "https://graph.microsoft.com/.default"),
        ])
        .send();
    let token = json_of(answer.await.expect("an answer")).await;
    let object_id = &lab
        .world()
        .apps()
        .into_iter()
        .find(|app| app.client_id == lab.partner.client_id)
        .expect("the app")
        .object_id;

    let added = lab
        .http
        .post(lab.url(&format!("/v1.0/applications/{object_id}/addPassword")))
        .bearer_auth(token["access_token"].as_str().expect("a token"))
        .json(&json!({}))
        .send();

    assert_eq!(added.await.expect("an answer").status(), StatusCode::OK);
}
