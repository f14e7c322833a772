//! Tests the controls for the credentials of apps, and the identity endpoints of an Azure host.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::StatusCode;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

use super::{Lab, json_of};

const ISSUER: &str = "https://cluster.example/";
const SUBJECT: &str = "system:serviceaccount:perennial:perennial";

impl Lab {
    /// Redeems the stored token with an assertion. Returns Entra's error code if Entra rejects the request.
    async fn code_of(&self, assertion: &str) -> Option<u64> {
        let token = self.stored();
        let form = [("grant_type", "refresh_token"), ("refresh_token", &*token)];
        self.grant(&self.partner.tenant_id, assertion, &form).await["error_codes"][0].as_u64()
    }

    async fn wrong(&self, what: &str, body: Value) -> String {
        let answer = self.http.post(self.url(&format!("/_sandbox/{what}"))).json(&body).send().await;
        let answer = answer.expect("an answer");
        assert_eq!(answer.status(), StatusCode::BAD_REQUEST, "{what} {body}");
        json_of(answer).await["error"].as_str().expect("a reason").to_owned()
    }

    async fn state(&self) -> Value {
        json_of(self.http.get(self.url("/_sandbox/state")).send().await.expect("an answer")).await
    }

    async fn host(&self, url: &str, headers: &[(&'static str, &str)]) -> (u16, Value) {
        let mut request = self.http.get(url);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = request.send().await.expect("an answer");
        (answer.status().as_u16(), json_of(answer).await)
    }
}

#[tokio::test]
async fn a_certificate_is_made_registered_and_removed_by_controls() {
    let lab = Lab::start().await;
    let (tenant, client_id) = (lab.partner.tenant_id.clone(), lab.partner.client_id.clone());
    let made = lab.control("create-certificate", json!({"exportable": false, "lasts": "30d"})).await;
    assert_eq!(made["certificate"], lab.url("/certificates/app-certificate"));
    let certificate = lab.get("/certificates/app-certificate").await;
    assert!(certificate["id"].as_str().is_some_and(|id| id.rsplit('/').next() == made["version"].as_str()));
    let lasts = &certificate["attributes"];
    let lasts = lasts["exp"].as_i64().expect("a time") - lasts["created"].as_i64().expect("a time");
    assert_eq!((lasts, &certificate["policy"]["key_props"]["exportable"]), (30 * 86_400, &json!(false)));
    let assertion = lab.assertion(&certificate, &tenant, &client_id).await;
    assert_eq!(lab.code_of(&assertion).await, Some(700_027));

    lab.control("create-certificate", json!({})).await;
    let registered = lab.control("register-certificate", json!({"version": made["version"]})).await;
    assert_eq!(lab.code_of(&assertion).await, None);
    let state = lab.state().await;
    let apps = state["apps"].as_array().expect("apps");
    let app = apps.iter().find(|app| app["client_id"] == client_id).expect("the partner's");
    assert_eq!(app["certificates"][0]["thumbprint"], registered["thumbprint"]);

    let thumbprint = json!({"thumbprint": registered["thumbprint"]});
    lab.control("remove-certificate", thumbprint.clone()).await;
    assert_eq!(lab.code_of(&assertion).await, Some(700_027));
    assert!(lab.wrong("remove-certificate", thumbprint).await.contains("no certificate"));
    let der = certificate["cer"].as_str().expect("base64");
    lab.control("register-certificate", json!({"cer": der})).await;
    assert_eq!(lab.code_of(&assertion).await, None);
    let key = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
    let pem = format!("{key}-----BEGIN CERTIFICATE-----\n{der}\n-----END CERTIFICATE-----\n");
    let again = lab.control("register-certificate", json!({"cer": pem, "client_id": client_id})).await;
    assert_eq!(again, registered);

    for (what, body, words) in [
        ("create-certificate", json!({"name": "a b"}), "letters, digits and dashes"),
        ("create-certificate", json!({"name": "partner-refresh-token"}), "already exists"),
        (
            "create-certificate",
            json!({"content_type": "text"}),
            "application/x-pkcs12, application/x-pem-file",
        ),
        ("create-certificate", json!({"key_size": 512}), "2048"),
        ("create-certificate", json!({"lasts": -1}), "ten years"),
        ("register-certificate", json!({"name": "none"}), "no certificate with this name"),
        ("register-certificate", json!({"cer": "-"}), "PEM, or DER"),
        ("register-certificate", json!({"cer": STANDARD.encode("text")}), "no RSA key"),
        ("register-certificate", json!({"cer": der, "client_id": "none"}), "no app has this client id"),
        ("register-certificate", json!({"cer": der, "name": "x"}), "not both"),
    ] {
        let why = lab.wrong(what, body.clone()).await;
        assert!(why.contains(words), "{what} {body}: {why}");
    }
}

#[tokio::test]
async fn a_token_of_another_issuer_is_issued_and_trusted_by_controls() {
    let lab = Lab::start().await;
    let named = json!({"issuer": ISSUER, "subject": SUBJECT});
    let issued = lab.control("issue-assertion", named.clone()).await;
    let assertion = issued["assertion"].as_str().expect("a token");
    assert_eq!(lab.code_of(assertion).await, Some(70025));

    let added = lab.control("federate", named.clone()).await;

    assert_eq!(added["audience"], "api://AzureADTokenExchange");
    assert_eq!(lab.code_of(assertion).await, None);
    let mut old = named.clone();
    old["lasts"] = json!("-10m");
    let old = lab.control("issue-assertion", old).await;
    assert_eq!(lab.code_of(old["assertion"].as_str().expect("a token")).await, Some(700_024));
    assert!(lab.wrong("federate", json!({"issuer": ISSUER})).await.contains("subject"));
    let nobody = json!({"issuer": ISSUER, "subject": "x", "client_id": "none"});
    assert!(lab.wrong("federate", nobody).await.contains("no app has this client id"));
    let state = lab.state().await.to_string();
    assert!(state.contains(SUBJECT) && !state.contains(assertion), "{state}");
}

#[tokio::test]
async fn a_new_credential_spreads_if_a_control_says_so() {
    let lab = Lab::start().await;
    lab.control("propagation", json!({"most": "1h"})).await;
    lab.control("federate", json!({"issuer": ISSUER, "subject": SUBJECT})).await;
    let issued = lab.control("issue-assertion", json!({"issuer": ISSUER, "subject": SUBJECT})).await;
    let assertion = issued["assertion"].as_str().expect("a token");

    assert_eq!(lab.code_of(assertion).await, Some(70025));
    lab.control("clock", json!({"advance": "1h"})).await;
    assert_eq!(lab.code_of(assertion).await, None);
    assert!(lab.wrong("propagation", json!({"most": "-1s"})).await.contains("must not be negative"));
}

#[tokio::test]
async fn a_hosts_endpoints_speak_for_managed_identities() {
    let lab = Lab::start().await;
    let service = lab.sandbox.serve_identity(super::any_port()).await.expect("any port");
    let added =
        lab.control("managed-identity", json!({"client_id": "11111111-0000-0000-0000-00000000000a"})).await;
    let issuer = lab.url(&format!("/{}/v2.0", lab.partner.tenant_id));
    assert_eq!(added["issuer"], issuer);
    let trust = json!({"issuer": issuer, "subject": added["principal_id"]});
    lab.control("federate", trust).await;
    let secret = [("x-identity-header", service.header.expose_secret())];
    let client = "client_id=11111111-0000-0000-0000-00000000000A";
    let exchange = "resource=api%3A%2F%2FAzureADTokenExchange";
    let app_service = format!("/msi/token?api-version=2019-08-01&{exchange}&{client}");
    let metadata = format!("/metadata/identity/oauth2/token?api-version=2018-02-01&{exchange}&{client}");
    let plain = service.endpoint.trim_end_matches("/msi/token").to_owned();

    for origin in [&*lab.sandbox.origin, &*plain] {
        let answers = [
            lab.host(&format!("{origin}{app_service}"), &secret).await,
            lab.host(&format!("{origin}{metadata}"), &[("metadata", "true")]).await,
        ];
        for (status, body) in answers {
            assert_eq!(body["client_id"], "11111111-0000-0000-0000-00000000000A");
            assert_eq!((status, &body["token_type"]), (200, &json!("Bearer")), "{body}");
            assert_eq!(
                (&body["expires_in"], &body["resource"]),
                (&json!("86400"), &json!("api://AzureADTokenExchange"))
            );
            assert_eq!(lab.code_of(body["access_token"].as_str().expect("a token")).await, None);
        }
        let (status, body) = lab.host(&format!("{origin}{app_service}"), &[]).await;
        assert_eq!((status, &body["statusCode"]), (401, &json!(401)));
        let (status, body) = lab.host(&format!("{origin}{metadata}"), &[]).await;
        assert_eq!((status, &body["error"]), (400, &json!("bad_request_102")));
        for (from, to, words) in
            [("00000000000A", "00000000000B", "dentity"), ("api%3A%2F%2FA", "https%3A%2F%2FA", "resource")]
        {
            let (status, body) =
                lab.host(&format!("{origin}{}", app_service.replace(from, to)), &secret).await;
            assert_eq!(status, 400);
            assert!(body["message"].as_str().is_some_and(|text| text.contains(words)), "{body}");
            let (status, body) =
                lab.host(&format!("{origin}{}", metadata.replace(from, to)), &[("metadata", "true")]).await;
            assert_eq!(status, 400);
            assert!(body["error_description"].as_str().is_some_and(|text| text.contains(words)), "{body}");
        }
    }
    // The vault also accepts an access token of a managed identity.
    let url = lab.url(&metadata.replace(exchange, "resource=https%3A%2F%2Fvault.azure.net"));
    let (_, body) = lab.host(&url, &[("metadata", "true")]).await;
    assert!(lab.world().opens_vault(body["access_token"].as_str().expect("a token")));
    let requests = lab.state().await["requests"]["entra"]["managed_identity"].clone();
    assert_eq!(requests, 13);
    lab.control(
        "faults",
        json!({"peer": "entra", "operation": "managed_identity", "status": 503, "times": 1}),
    )
    .await;
    let answer = lab.http.get(&url).header("metadata", "true").send().await.expect("an answer");
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
}
