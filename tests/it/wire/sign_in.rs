//! Tests the simulated sign-in with a plain `OpenID` client, and how soon the daemon notices a sign-in.

use std::time::Duration;

use aws_lc_rs::digest;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::TimeDelta;
use perennial::net::http::http_client;
use perennial::ports::failure::Kind;
use perennial::rotation::schedule::Next;
use perennial::rotation::state::{Phase, State};
use perennial::sandbox::server::Sandbox;
use perennial::sandbox::world::Partner;
use perennial::token::managed::Policy;
use reqwest::Url;
use serde_json::Value;

use crate::support::harness;
use crate::support::lab;

const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const REDIRECT: &str = "http://localhost:8400";
const SCOPE: &str =
    "https://api.partnercenter.microsoft.com/user_impersonation offline_access openid profile";
const DEVICE: &str = "urn:ietf:params:oauth:grant-type:device_code";

struct Lab {
    sandbox: Sandbox,
    partner: Partner,
    secret: String,
    http: reqwest::Client,
}

impl Lab {
    async fn start() -> Self {
        let sandbox = lab::any_sandbox().await;
        let partner = sandbox.add_partner("partner", TimeDelta::zero());
        let secret = sandbox.world().newest_value(&partner.app_secret).expect("stored").expose().to_owned();
        let http = http_client(Some(sandbox.ca_pem.as_bytes()), false).expect("a client");
        Self { sandbox, partner, secret, http }
    }

    fn url(&self, path: &str) -> String {
        format!("{}/{}{path}", self.sandbox.origin, self.partner.tenant_id)
    }

    /// Signs a user in and returns the code in the redirect.
    async fn code(&self) -> String {
        let challenge = URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, VERIFIER.as_bytes()));
        let asked = [
            ("client_id", self.partner.client_id.as_str()),
            ("response_type", "code"),
            ("redirect_uri", REDIRECT),
            ("scope", SCOPE),
            ("state", "state"),
            ("nonce", "nonce"),
            ("code_challenge", &challenge),
            ("code_challenge_method", "S256"),
        ];
        let page = Url::parse_with_params(&self.url("/oauth2/v2.0/authorize"), asked).expect("a URL");
        let back =
            self.http.post(page).form(&[("user", &self.partner.user_oid)]).send().await.expect("an answer");
        let back: Url = back.headers()["location"].to_str().expect("text").parse().expect("a URL");
        back.query_pairs().find(|(name, _)| name == "code").expect("a code").1.into_owned()
    }

    async fn token(&self, changed: &[(&str, &str)]) -> Value {
        let mut form = vec![
            ("grant_type", "authorization_code"),
            ("client_id", self.partner.client_id.as_str()),
            ("client_secret", self.secret.as_str()),
            ("redirect_uri", REDIRECT),
            ("code_verifier", VERIFIER),
            ("scope", SCOPE),
        ];
        form.retain(|(name, _)| !changed.iter().any(|(other, _)| name == other));
        form.extend(changed);
        let answer = self.http.post(self.url("/oauth2/v2.0/token")).form(&form).send().await;
        answer.expect("an answer").json().await.expect("JSON")
    }

    async fn get(&self, url: &str) -> Value {
        self.http.get(url).send().await.expect("an answer").json().await.expect("JSON")
    }
}

fn decoded(part: &str) -> Vec<u8> {
    URL_SAFE_NO_PAD.decode(part).expect("BASE64URL")
}

#[tokio::test]
async fn an_id_token_is_signed_by_a_key_that_the_metadata_leads_to() {
    let lab = Lab::start().await;
    let metadata = lab.get(&lab.url("/v2.0/.well-known/openid-configuration")).await;
    let keys = lab.get(metadata["jwks_uri"].as_str().expect("a URL")).await;

    let code = lab.code().await;
    let tokens = lab.token(&[("code", &code)]).await;

    let jwt = tokens["id_token"].as_str().expect("an ID token");
    let (signed, signature) = jwt.rsplit_once('.').expect("three parts");
    let (header, payload) = signed.split_once('.').expect("three parts");
    let header: Value = serde_json::from_slice(&decoded(header)).expect("JSON");
    let claims: Value = serde_json::from_slice(&decoded(payload)).expect("JSON");
    let key = keys["keys"].as_array().expect("a list").iter().find(|key| key["kid"] == header["kid"]);
    let key = key.expect("published");
    let half = |name: &str| decoded(key[name].as_str().expect("a coordinate"));
    let point = [vec![4], half("x"), half("y")].concat();
    UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point)
        .verify(signed.as_bytes(), &decoded(signature))
        .expect("signed by it");
    assert_eq!((&header["alg"], &key["alg"]), (&"ES256".into(), &"ES256".into()));
    assert_eq!(metadata["id_token_signing_alg_values_supported"][0], "ES256");
    assert_eq!(claims["iss"], metadata["issuer"]);
    assert_eq!((&claims["nonce"], &claims["oid"]), (&"nonce".into(), &lab.partner.user_oid.as_str().into()));
    assert_eq!(claims["aud"], lab.partner.client_id.as_str());
    assert!(tokens["refresh_token"].as_str().is_some_and(|token| lab.sandbox.world().is_alive(token)));
}

#[tokio::test]
async fn a_code_works_once_within_ten_minutes_with_its_verifier_and_its_redirect() {
    let lab = Lab::start().await;
    let code = lab.code().await;
    let refused = async |changed: &[(&str, &str)]| {
        let all = [&[("code", code.as_str())], changed].concat();
        lab.token(&all).await["error_codes"][0].as_u64()
    };

    let other = "x".repeat(43);
    assert_eq!(refused(&[("code_verifier", &other)]).await, Some(501_481));
    assert_eq!(refused(&[("code_verifier", "short")]).await, Some(501_491));
    assert_eq!(refused(&[("redirect_uri", "http://localhost:8401")]).await, Some(50011));
    assert_eq!(refused(&[("client_secret", "wrong")]).await, Some(7_000_215));
    assert_eq!(refused(&[("client_secret", "")]).await, Some(7_000_218));
    let none = lab.token(&[("code", "0.AQnobodys")]).await;
    assert_eq!(none["error_codes"][0], 70000);
    assert_eq!(lab.token(&[("code", "garbage")]).await["error_codes"][0], 9_002_313);
    assert!(refused(&[]).await.is_none(), "none of these has used it up");
    assert_eq!(refused(&[]).await, Some(54005), "now it is");

    let late = lab.code().await;
    lab.sandbox.world().advance(TimeDelta::minutes(11));
    assert_eq!(lab.token(&[("code", &late)]).await["error_codes"][0], 70008);
}

#[tokio::test]
async fn without_offline_access_there_is_no_refresh_token_and_without_openid_no_id_token() {
    let lab = Lab::start().await;
    let code = lab.code().await;

    let scope = "https://api.partnercenter.microsoft.com/user_impersonation";
    let tokens = lab.token(&[("code", &code), ("scope", scope)]).await;

    assert!(tokens["access_token"].is_string(), "{tokens}");
    assert!(tokens["refresh_token"].is_null() && tokens["id_token"].is_null(), "{tokens}");
}

#[tokio::test]
async fn a_device_code_is_pending_then_slow_down_then_spent() {
    let lab = Lab::start().await;
    let form = [("client_id", lab.partner.client_id.as_str()), ("scope", SCOPE)];
    let begun =
        lab.http.post(lab.url("/oauth2/v2.0/devicecode")).form(&form).send().await.expect("an answer");
    let begun: Value = begun.json().await.expect("JSON");
    let code = begun["device_code"].as_str().expect("a code").to_owned();
    assert_eq!((&begun["interval"], &begun["expires_in"]), (&5.into(), &900.into()));
    let ask = async |secret: &str| {
        let answer =
            lab.token(&[("grant_type", DEVICE), ("device_code", &code), ("client_secret", secret)]).await;
        answer["error"].as_str().map(str::to_owned)
    };

    assert_eq!(ask("").await.as_deref(), Some("invalid_client"), "public client flows are off");
    assert_eq!(ask(&lab.secret).await.as_deref(), Some("authorization_pending"));
    assert_eq!(ask(&lab.secret).await.as_deref(), Some("slow_down"));
    let typed = begun["user_code"].as_str().expect("a code").to_lowercase();
    lab.sandbox.world().answer_device("test", &typed, Some(&lab.partner.user_oid)).expect("signed in");
    assert_eq!(ask(&lab.secret).await, None);
    assert_eq!(ask(&lab.secret).await.as_deref(), Some("bad_verification_code"));
}

/// No daemon runs. The test itself carries out the daemon's steps and advances the world's time.
#[tokio::test]
async fn a_first_sign_in_is_noticed_within_about_a_minute() {
    let (world, partner) = harness::still_world();
    world.human_deletes(&partner.refresh_token);
    world.human_purges(&partner.refresh_token);
    let clock = harness::still_clock();
    clock.observe(world.now());
    let grant = harness::grant("contoso", &partner, &Policy::default());
    let mut rotator = harness::rotator(&world, clock.clone(), &grant, "perennial", 1);

    let mut state = rotator.step(State::unknown(clock.now()), Next::Prove).await.state;
    let kind = state.failure().map(|failure| failure.kind);
    assert_eq!(kind, Some(Kind::NeverSignedIn));
    world.human_signs_in(&partner).expect("signed in");
    let signed_in_at = clock.now();

    for _ in 0..10 {
        match rotator.timing.next(&state, clock.now()) {
            Next::Wait(at) if state.proved_at().is_none() => {
                world.advance(at - clock.now());
                clock.observe(world.now());
            }
            Next::Wait(_) => break,
            step => state = Box::pin(rotator.step(state, step)).await.state,
        }
    }
    assert!(matches!(state.phase, Phase::Current), "{state:?}");
    let took = state.proved_at().expect("proved") - signed_in_at;
    assert!(took.to_std().expect("later") <= Duration::from_secs(75), "{took}");
}
