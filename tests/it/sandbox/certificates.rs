//! Tests the vault's certificates and keys with a plain HTTP client. Also tests assertions, with which an app
//! authenticates without a client secret.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use perennial::process::clock::Clock;
use perennial::sandbox::world::{Action, PublicCertificate};
use reqwest::{Method, Response, StatusCode};
use serde_json::{Value, json};

use super::{Lab, json_of};

const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

impl Lab {
    async fn ask(&self, method: Method, path: &str, body: &Value) -> Response {
        let join = if path.contains('?') { '&' } else { '?' };
        let url = self.url(&format!("{path}{join}api-version=7.6"));
        let mut request = self.http.request(method, url).bearer_auth(self.vault_token().await);
        if !body.is_null() {
            request = request.json(body);
        }
        request.send().await.expect("an answer")
    }

    /// Sends a request and returns the body of the successful answer.
    async fn asked(&self, method: Method, path: &str, body: Value) -> Value {
        let answer = self.ask(method, path, &body).await;
        assert!(answer.status().is_success(), "{path}: {}", answer.status());
        json_of(answer).await
    }

    pub(super) async fn get(&self, path: &str) -> Value {
        self.asked(Method::GET, path, Value::Null).await
    }

    /// Creates a certificate in the vault. The certificate's key cannot be exported.
    async fn certificate(&self, name: &str) -> Value {
        let policy = json!({"key_props": {"exportable": false}});
        self.asked(Method::POST, &format!("/certificates/{name}/create"), json!({"policy": policy})).await;
        self.get(&format!("/certificates/{name}")).await
    }

    /// Returns an assertion that the vault has signed.
    pub(super) async fn assertion(&self, certificate: &Value, tenant: &str, client_id: &str) -> String {
        let now = Clock::host().now().timestamp();
        let header = json!({"alg": "PS256", "typ": "JWT", "x5t": certificate["x5t"]});
        let claims = json!({
            "aud": self.url(&format!("/{tenant}/oauth2/v2.0/token")), "iss": client_id, "sub": client_id,
            "jti": now.to_string(), "nbf": now, "exp": now + 300,
        });
        let part = |json: &Value| URL_SAFE_NO_PAD.encode(json.to_string());
        let signed = format!("{}.{}", part(&header), part(&claims));
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, signed.as_bytes());
        let path = certificate["kid"].as_str().and_then(|kid| kid.strip_prefix(&*self.sandbox.origin));
        let path = format!("{}/sign", path.expect("a key of this vault"));
        let body = json!({"alg": "PS256", "value": URL_SAFE_NO_PAD.encode(digest)});
        let signature = self.asked(Method::POST, &path, body).await;
        assert_eq!(signature["kid"], certificate["kid"]);
        format!("{signed}.{}", signature["value"].as_str().expect("a signature"))
    }

    pub(super) async fn grant(&self, tenant: &str, assertion: &str, form: &[(&str, &str)]) -> Value {
        let mut fields = vec![
            ("client_id", self.partner.client_id.as_str()),
            ("client_assertion_type", ASSERTION_TYPE),
            ("client_assertion", assertion),
        ];
        fields.extend_from_slice(form);
        let url = self.url(&format!("/{tenant}/oauth2/v2.0/token"));
        json_of(self.http.post(url).form(&fields).send().await.expect("an answer")).await
    }
}

fn der(certificate: &Value) -> Vec<u8> {
    STANDARD.decode(certificate["cer"].as_str().expect("a certificate")).expect("base64")
}

#[tokio::test]
async fn a_certificate_is_made_read_and_listed_in_key_vaults_form() {
    let lab = Lab::start().await;
    let policy = json!({
        "key_props": {"exportable": true, "kty": "RSA", "key_size": 2048, "reuse_key": false},
        "secret_props": {"contentType": "application/x-pem-file"},
        "x509_props": {"subject": "CN=Contoso", "validity_months": 24},
        "issuer": {"name": "Self"},
    });
    let body = json!({"policy": policy, "tags": {"of": "test"}});
    let begun = lab.ask(Method::POST, "/certificates/made/create", &body).await;
    assert_eq!(begun.status(), StatusCode::ACCEPTED);
    let pending = lab.url("/certificates/made/pending");
    assert!(
        begun.headers()["location"]
            .to_str()
            .expect("text")
            .starts_with(&format!("{pending}?api-version=7.6"))
    );
    let begun = json_of(begun).await;
    assert_eq!((&begun["id"], &begun["status"]), (&json!(pending), &json!("inProgress")));
    assert!(begun["csr"].is_string() && begun["target"].is_null());

    let done = lab.get("/certificates/made/pending").await;
    assert_eq!(
        (&done["status"], &done["target"]),
        (&json!("completed"), &json!(lab.url("/certificates/made")))
    );
    assert_eq!(done["request_id"], begun["request_id"]);

    let made = lab.get("/certificates/made/").await;
    let id = made["id"].as_str().expect("an id").rsplit('/').next().expect("a version");
    for (name, kind) in [("id", "certificates"), ("kid", "keys"), ("sid", "secrets")] {
        assert_eq!(made[name], lab.url(&format!("/{kind}/made/{id}")));
    }
    let certificate = PublicCertificate::read(&der(&made)).expect("a certificate");
    assert_eq!(
        (made["x5t"].as_str(), certificate.subject.as_str()),
        (Some(&*certificate.x5t()), "CN=Contoso")
    );
    assert_eq!(made["attributes"]["exp"], certificate.not_after.timestamp());
    assert_eq!(made["attributes"]["nbf"], certificate.not_before.timestamp());
    assert_eq!((&made["tags"], &made["policy"]["issuer"]["name"]), (&json!({"of": "test"}), &json!("Self")));
    assert_eq!(made["policy"]["key_props"], policy["key_props"]);
    assert_eq!(made["policy"]["secret_props"], policy["secret_props"]);
    assert_eq!(made["policy"]["x509_props"]["validity_months"], 24);
    assert_eq!(lab.get("/certificates/made/policy").await, made["policy"]);
    assert_eq!(lab.get(&format!("/certificates/made/{id}")).await, made);

    let secret = lab.get("/secrets/made").await;
    assert_eq!(
        (&secret["id"], &secret["kid"], &secret["managed"]),
        (&made["sid"], &made["kid"], &json!(true))
    );
    assert_eq!(secret["contentType"], "application/x-pem-file");
    assert!(secret["value"].as_str().is_some_and(|text| text.starts_with("-----BEGIN PRIVATE KEY-----")));
    let key = lab.get(&format!("/keys/made/{id}")).await;
    assert_eq!(key, lab.get("/keys/made").await);
    assert_eq!((&key["key"]["kid"], &key["key"]["kty"]), (&made["kid"], &json!("RSA")));
    assert_eq!(key["key"]["n"], json!(URL_SAFE_NO_PAD.encode(&certificate.modulus)));
    assert_eq!((&key["key"]["e"], &key["attributes"]), (&json!("AQAB"), &made["attributes"]));

    let listed = lab.get("/certificates").await;
    assert_eq!(listed["value"][0]["id"], lab.url("/certificates/made"));
    assert_eq!((&listed["value"][0]["x5t"], &listed["nextLink"]), (&made["x5t"], &Value::Null));
    let versions = lab.get("/certificates/made/versions?maxresults=1").await;
    assert_eq!(
        (&versions["value"][0]["id"], versions["value"].as_array().map(Vec::len)),
        (&made["id"], Some(1))
    );
    let secrets = lab.get("/secrets").await;
    let managed = secrets["value"].as_array().expect("a list").iter().filter(|item| item["managed"] == true);
    let managed: Vec<_> = managed.map(|item| &item["id"]).collect();
    assert_eq!(managed, [&json!(lab.url("/secrets/made"))]);
    let refused = lab.ask(Method::PUT, "/secrets/made", &json!({"value": "x"})).await;
    assert_eq!(refused.status(), StatusCode::CONFLICT);
}

#[tokio::test]
async fn a_certificate_is_imported_as_pkcs12_and_as_pem() {
    let lab = Lab::start().await;
    for form in ["application/x-pkcs12", "application/x-pem-file"] {
        let policy = json!({"secret_props": {"contentType": form}});
        lab.asked(Method::POST, "/certificates/origin/create", json!({"policy": policy})).await;
        let (made, secret) = (lab.get("/certificates/origin").await, lab.get("/secrets/origin").await);

        let body = json!({"value": secret["value"], "pwd": "", "tags": {"of": "test"}});
        let imported = lab.asked(Method::POST, "/certificates/copy/import", body).await;

        assert_eq!((&imported["cer"], &imported["tags"]), (&made["cer"], &json!({"of": "test"})));
        assert_eq!(imported["policy"]["secret_props"]["contentType"], form);
        assert_eq!(lab.get("/certificates/copy").await["id"], imported["id"]);
    }
    let versions = lab.get("/certificates/copy/versions").await;
    assert_eq!(versions["value"].as_array().map(Vec::len), Some(2));

    let pem = lab.get("/secrets/copy").await["value"].clone();
    let body = json!({
        "value": pem, "policy": {"key_props": {"exportable": false}}, "attributes": {"enabled": false},
    });
    let imported = lab.asked(Method::POST, "/certificates/closed/import", body.clone()).await;
    assert_eq!(imported["attributes"]["enabled"], false);
    assert_eq!(lab.ask(Method::GET, "/secrets/closed", &Value::Null).await.status(), StatusCode::FORBIDDEN);
    let body = json!({"value": pem, "policy": body["policy"]});
    lab.asked(Method::POST, "/certificates/closed/import", body).await;
    let public = lab.get("/secrets/closed").await["value"].clone();
    assert!(public.as_str().is_some_and(|text| text.starts_with("-----BEGIN CERTIFICATE-----")), "{public}");
}

#[tokio::test]
async fn each_request_about_certificates_and_keys_needs_its_own_right() {
    let lab = Lab::start().await;
    let policy = json!({"secret_props": {"contentType": "application/x-pem-file"}});
    lab.asked(Method::POST, "/certificates/kept/create", json!({"policy": policy})).await;
    let version = lab.get("/certificates/kept").await["id"].as_str().expect("an id").to_owned();
    let version = version.rsplit('/').next().expect("a version");
    let pem = lab.get("/secrets/kept").await["value"].clone();
    let of_version = format!("/certificates/kept/{version}");
    let (of_key, sign) = (format!("/keys/kept/{version}"), format!("/keys/kept/{version}/sign"));
    let digest = json!({"alg": "RS256", "value": URL_SAFE_NO_PAD.encode([7; 32])});
    let table = [
        (Method::GET, "/certificates", Value::Null, Action::ReadCertificate),
        (Method::GET, "/certificates/kept", Value::Null, Action::ReadCertificate),
        (Method::GET, &of_version, Value::Null, Action::ReadCertificate),
        (Method::GET, "/certificates/kept/versions", Value::Null, Action::ReadCertificate),
        (Method::GET, "/certificates/kept/policy", Value::Null, Action::ReadCertificate),
        (Method::GET, "/certificates/kept/pending", Value::Null, Action::ReadCertificate),
        (Method::POST, "/certificates/new/create", json!({}), Action::CreateCertificate),
        (Method::POST, "/certificates/new/import", json!({"value": pem}), Action::ImportCertificate),
        (Method::GET, "/keys/kept", Value::Null, Action::ReadKey),
        (Method::GET, &of_key, Value::Null, Action::ReadKey),
        (Method::POST, &sign, digest, Action::SignWithKey),
    ];
    for (method, path, body, action) in table {
        let allow = |allowed| lab.world().change_vault(&lab.sandbox.origin, |vault| vault.allowed = allowed);
        allow(Action::ALL.into_iter().filter(|other| *other != action).collect());
        let refused = lab.ask(method.clone(), path, &body).await;
        assert_eq!(refused.status(), StatusCode::FORBIDDEN, "{method} {path}");
        let error = json_of(refused).await["error"].take();
        assert_eq!(error["innererror"]["code"], "ForbiddenByRbac", "{method} {path}");
        assert!(error["message"].as_str().is_some_and(|text| text.contains(action.as_str())), "{error}");

        allow([action].into());
        assert!(lab.ask(method.clone(), path, &body).await.status().is_success(), "{method} {path}");
    }
}

#[tokio::test]
async fn wrong_requests_for_certificates_and_signatures_are_explained() {
    let lab = Lab::start().await;
    let made = lab.certificate("kept").await;
    let sign =
        format!("{}/sign", made["kid"].as_str().expect("a key").trim_start_matches(&*lab.sandbox.origin));
    let digest = |bytes: usize| URL_SAFE_NO_PAD.encode(vec![7; bytes]);
    let create = "/certificates/other/create";
    let table = [
        (&*sign, json!({"alg": "PS256", "value": digest(31)}), "The digest for 'PS256' must have 32 bytes."),
        (&sign, json!({"alg": "ES256", "value": digest(32)}), "The algorithm 'ES256' is not supported"),
        (create, json!({"policy": {"issuer": {"name": "DigiCert"}}}), "only the issuer Self"),
        (create, json!({"policy": {"key_props": {"kty": "EC"}}}), "only the key type RSA"),
        (create, json!({"policy": {"key_props": {"key_size": 1024}}}), "The key size must be"),
        (
            create,
            json!({"policy": {"secret_props": {"contentType": "text/plain"}}}),
            "'text/plain' is not supported",
        ),
        (create, json!({"policy": {"x509_props": {"validity_months": 0}}}), "validity_months"),
        ("/certificates/other/import", json!({"value": "text"}), "could not parse the provided certificate"),
        ("/certificates/other/import", Value::Null, "cannot be read"),
    ];
    for (path, body, words) in table {
        let refused = lab.ask(Method::POST, path, &body).await;
        assert_eq!(refused.status(), StatusCode::BAD_REQUEST, "{path} {body}");
        let error = json_of(refused).await["error"].take();
        assert_eq!(error["code"], "BadParameter", "{path} {body}");
        assert!(error["message"].as_str().is_some_and(|text| text.contains(words)), "{path} {body}: {error}");
    }
}

#[tokio::test]
async fn every_grant_takes_an_assertion_that_the_vault_has_signed() {
    let lab = Lab::start().await;
    let (tenant, client_id) = (lab.partner.tenant_id.as_str(), lab.partner.client_id.as_str());
    let certificate = lab.certificate("app-certificate").await;
    // This call creates a second version with another key. The assertion below must still use the key of the first
    // version (`certificate`).
    lab.certificate("app-certificate").await;
    let assertion = lab.assertion(&certificate, tenant, client_id).await;
    let token = lab.stored();
    let redeem = [("grant_type", "refresh_token"), ("refresh_token", &*token)];

    let unknown = lab.grant(tenant, &assertion, &redeem).await;
    assert_eq!((&unknown["error"], &unknown["error_codes"]), (&json!("invalid_client"), &json!([700_027])));
    let text = unknown["error_description"].as_str().expect("text");
    assert!(text.contains("[Reason - The key was not found., Thumbprint of key used by client: '"), "{text}");
    lab.world().add_certificate(client_id, &der(&certificate)).expect("registered");

    assert!(lab.grant(tenant, &assertion, &redeem).await["refresh_token"].is_string());
    let scope = ("scope", "https://vault.azure.net/.default");
    let own = lab.grant(tenant, &assertion, &[("grant_type", "client_credentials"), scope]).await;
    assert!(lab.world().opens_vault(own["access_token"].as_str().expect("a token")));
    let begin = lab.http.post(lab.url(&format!("/{tenant}/oauth2/v2.0/devicecode")));
    let waiting = json_of(begin.form(&[("client_id", client_id)]).send().await.expect("an answer")).await;
    let device = [
        ("grant_type", "urn:ietf:params:oauth:grant-type:device_code"),
        ("device_code", waiting["device_code"].as_str().expect("a code")),
    ];
    assert_eq!(lab.grant(tenant, &assertion, &device).await["error"], "authorization_pending");
    assert_eq!(lab.grant(tenant, "a.b.c", &device).await["error_codes"], json!([50027]));
    let code =
        [("grant_type", "authorization_code"), ("code", "0.Anone"), ("redirect_uri", "http://localhost")];
    assert_eq!(lab.grant(tenant, &assertion, &code).await["error_codes"], json!([70000]));
    assert!(lab.world().repeated_assertions() > 0);

    lab.world().add_customer(tenant, "customer", "fabrikam.example", &[client_id]);
    let elsewhere = lab.grant("customer", &assertion, &redeem).await;
    assert_eq!(elsewhere["error_codes"], json!([700_023]));
}
