//! Tests of assertions that an app signs with its certificate.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::credentials::{AUTHORITY, code_of};
use super::*;
use crate::token::secret::{SecretAddress, SecretName};

/// A world with an app whose certificate is in the vault.
struct Equipped {
    scene: Scene,
    at: SecretAddress,
    certificate: PublicCertificate,
}

impl Equipped {
    fn new() -> Self {
        let scene = Scene::new();
        let at = certificate_address("app-certificate");
        let policy = CertificatePolicy { lifetime: TimeDelta::days(90), ..CertificatePolicy::default() };
        scene.world.create_certificate("human", &at, policy, Tags::new()).expect("made");
        let certificate = scene.world.get_certificate("human", &at, None).expect("readable").certificate;
        scene.world.add_certificate(&scene.partner.client_id, &certificate.der).expect("registered");
        Self { scene, at, certificate }
    }

    fn claims(&self) -> Value {
        let now = self.scene.world.now().timestamp();
        let Partner { tenant_id, client_id, .. } = &self.scene.partner;
        json!({
            "aud": format!("{AUTHORITY}/{tenant_id}/oauth2/v2.0/token"), "iss": client_id, "sub": client_id,
            "jti": self.scene.world.fresh_id(), "nbf": now, "iat": now, "exp": now + 600,
        })
    }

    /// Returns an assertion that the vault's key has signed. The algorithm is RS256 if the header names RS256, and
    /// otherwise PS256.
    fn signed(&self, header: &Value, claims: &Value) -> String {
        let part = |json: &Value| URL_SAFE_NO_PAD.encode(json.to_string());
        let signed = format!("{}.{}", part(header), part(claims));
        let algorithm = match header["alg"].as_str() {
            Some("RS256") => "RS256",
            _ => "PS256",
        };
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, signed.as_bytes());
        let signature = self.scene.world.sign("one", &self.at, None, algorithm, digest.as_ref());
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature.expect("signed").bytes))
    }

    fn header(&self) -> Value {
        json!({"alg": "PS256", "typ": "JWT", "x5t#S256": self.certificate.x5t_s256()})
    }

    fn assertion(&self) -> String {
        self.signed(&self.header(), &self.claims())
    }

    fn redeem(&self, proof: AppProof<'_>) -> Result<TokenAnswer, Trouble<EntraRefusal>> {
        self.scene.redeem_with(&self.scene.partner.tenant_id, proof)
    }

    fn code_of(&self, assertion: &str) -> Option<u32> {
        code_of(&self.redeem(AppProof::Assertion(assertion)))
    }
}

fn certificate_address(name: &str) -> SecretAddress {
    SecretAddress { vault: VAULT.into(), name: SecretName::parse(name).expect("a name") }
}

/// A name, a function that changes an assertion's header and claims, and the code of Entra's rejection. The code is
/// `None` if Entra accepts the changed assertion.
type Row = (&'static str, fn(&mut Value, &mut Value), Option<u32>);

#[tokio::test(start_paused = true)]
async fn each_part_of_an_assertion_is_checked() {
    let app = Equipped::new();
    let table: [Row; 27] = [
        ("as documented", |_, _| {}, None),
        ("RS256", |header, _| header["alg"] = json!("RS256"), None),
        ("signed otherwise than it says", |header, _| header["alg"] = json!("none"), Some(50027)),
        ("another algorithm", |header, _| header["alg"] = json!("PS384"), Some(50027)),
        ("no hash", |header, _| header["x5t#S256"] = Value::Null, Some(700_027)),
        ("another hash", |header, _| header["x5t#S256"] = json!("AAAA"), Some(700_027)),
        (
            "another tenant",
            |_, claims| claims["aud"] = json!(format!("{AUTHORITY}/other/v2.0")),
            Some(700_023),
        ),
        ("no endpoint", |_, claims| claims["aud"] = json!(AUTHORITY), Some(700_023)),
        (
            "another host",
            |_, claims| replace(claims, "aud", "login.microsoftonline.com", "evil"),
            Some(700_023),
        ),
        ("the old endpoint", |_, claims| replace(claims, "aud", "/v2.0", ""), Some(700_023)),
        ("no audience", |_, claims| drop(claims["aud"].take()), Some(700_023)),
        ("the issuer's form", |_, claims| replace(claims, "aud", "/oauth2/v2.0/token", "/v2.0"), None),
        ("another issuer", |_, claims| claims["iss"] = json!("someone"), Some(700_021)),
        ("another subject", |_, claims| claims["sub"] = json!("someone"), Some(700_021)),
        ("upper case", |_, claims| upper(claims, "iss"), None),
        ("no issuer", |_, claims| drop(claims["iss"].take()), Some(50027)),
        ("no expiry", |_, claims| drop(claims["exp"].take()), Some(50027)),
        ("expired", |_, claims| shift(claims, &["exp"], -901), Some(700_024)),
        ("hardly expired", |_, claims| shift(claims, &["exp"], -899), None),
        (
            "fractions of seconds",
            |_, claims| claims["exp"] = json!(claims["exp"].as_f64().map(|at| at + 0.5)),
            None,
        ),
        ("a time before 1970", |_, claims| claims["exp"] = json!(-1), Some(50027)),
        ("a time after 2106", |_, claims| claims["exp"] = json!(5_000_000_000_u64), Some(50027)),
        ("a time far away", |_, claims| claims["exp"] = json!(1e300), Some(50027)),
        ("too early", |_, claims| shift(claims, &["nbf", "exp"], 302), Some(700_024)),
        ("hardly early", |_, claims| shift(claims, &["nbf", "exp"], 299), None),
        ("too long", |_, claims| shift(claims, &["exp"], 86_400), Some(700_024)),
        ("without a start", |_, claims| drop((claims["nbf"].take(), claims["iat"].take())), None),
    ];
    for (what, change, code) in table {
        let (mut header, mut claims) = (app.header(), app.claims());
        change(&mut header, &mut claims);

        assert_eq!(app.code_of(&app.signed(&header, &claims)), code, "{what}");
        app.scene.world.advance(TimeDelta::minutes(1));
    }
}

fn replace(claims: &mut Value, name: &str, from: &str, to: &str) {
    claims[name] = json!(claims[name].as_str().expect("text").replace(from, to));
}

fn upper(claims: &mut Value, name: &str) {
    claims[name] = json!(claims[name].as_str().expect("text").to_uppercase());
}

fn shift(claims: &mut Value, names: &[&str], seconds: i64) {
    for name in names {
        claims[*name] = json!(claims[*name].as_i64().expect("a time") + seconds);
    }
}

#[tokio::test(start_paused = true)]
async fn an_assertion_names_its_tenant_by_id_or_domain_and_only_that_tenant() {
    let app = Equipped::new();
    let Scene { world, partner } = &app.scene;
    world.add_customer(&partner.tenant_id, "customer", "fabrikam.example", &[&partner.client_id]);
    let for_tenant = |tenant: &str| {
        let mut claims = app.claims();
        claims["aud"] = json!(format!("{AUTHORITY}/{tenant}/oauth2/v2.0/token"));
        app.signed(&app.header(), &claims)
    };
    for (asked, named, code) in [
        ("contoso.onmicrosoft.com", "contoso.onmicrosoft.com", None),
        ("contoso.onmicrosoft.com", &*partner.tenant_id, None),
        ("fabrikam.example", "customer", None),
        ("customer", &*partner.tenant_id, Some(700_023)),
        (&*partner.tenant_id, "customer", Some(700_023)),
    ] {
        let assertion = for_tenant(named);
        let answer = app.scene.redeem_with(asked, AppProof::Assertion(&assertion));
        assert_eq!(code_of(&answer), code, "{asked} {named}");
    }
    world.set_authority("https://localhost:8443/");
    assert_eq!(app.code_of(&app.assertion()), Some(700_023));
    let mut claims = app.claims();
    replace(&mut claims, "aud", AUTHORITY, "https://localhost:8443");
    assert_eq!(app.code_of(&app.signed(&app.header(), &claims)), None);
}

#[tokio::test(start_paused = true)]
async fn only_the_registered_key_signs_until_it_expires_or_is_removed() {
    let app = Equipped::new();
    let (world, client) = (&app.scene.world, &app.scene.partner.client_id);
    let by_sha1 = json!({"alg": "RS256", "typ": "JWT", "x5t": format!("{}=", app.certificate.x5t())});
    assert_eq!(app.code_of(&app.signed(&by_sha1, &app.claims())), None);

    // The new version has a new key, whose certificate is not registered at the app.
    world.create_certificate("human", &app.at, CertificatePolicy::default(), Tags::new()).expect("made");
    let forged = app.redeem(AppProof::Assertion(&app.assertion()));
    let Err(Trouble::Refused(forged)) = forged else { panic!("rejected") };
    assert_eq!((forged.refusal.status, forged.refusal.error.as_str()), (401, "invalid_client"));
    assert_eq!(forged.refusal.trace.code, Some(700_027));
    assert!(forged.text.contains("did not match") && forged.text.contains("Thumbprint"), "{}", forged.text);

    let second = world.get_certificate("human", &app.at, None).expect("readable").certificate;
    let thumbprint = world.add_certificate(client, &second.der).expect("registered");
    let rolled =
        Equipped { scene: Scene { world: world.clone(), ..app.scene }, certificate: second, at: app.at };
    assert_eq!(rolled.code_of(&rolled.assertion()), None);
    world.advance(TimeDelta::days(365));
    world.human_signs_in(&rolled.scene.partner).expect("a fresh token");
    let header = rolled.header();
    let text = format!(
        "{}.{}.AA",
        URL_SAFE_NO_PAD.encode(header.to_string()),
        URL_SAFE_NO_PAD.encode(rolled.claims().to_string())
    );
    let expired = rolled.redeem(AppProof::Assertion(&text));
    let Err(Trouble::Refused(expired)) = expired else { panic!("rejected") };
    assert_eq!(expired.refusal.trace.code, Some(700_027));
    assert!(expired.text.contains("The key used is expired"), "{}", expired.text);

    assert!(world.remove_certificate(&rolled.scene.partner.client_id, &thumbprint.to_lowercase()));
    assert!(!world.remove_certificate(&rolled.scene.partner.client_id, &thumbprint));
    let removed = rolled.redeem(AppProof::Assertion(&text));
    let Err(Trouble::Refused(removed)) = removed else { panic!("rejected") };
    assert!(removed.text.contains("The key was not found"), "{}", removed.text);
}

#[tokio::test(start_paused = true)]
async fn what_is_no_jwt_is_malformed() {
    let app = Equipped::new();
    let good = app.assertion();
    let (signed, _) = good.rsplit_once('.').expect("three parts");
    for text in ["", "x", "a.b", "a.b.c", &*format!("{signed}.!"), &*good.replace('.', ""), signed] {
        assert_eq!(app.code_of(text), Some(50027), "{text}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_repeated_id_is_counted_and_accepted() {
    let app = Equipped::new();
    let (first, second) = (app.assertion(), app.assertion());

    for assertion in [&first, &second, &first] {
        assert_eq!(app.code_of(assertion), None);
    }

    assert_eq!(app.scene.world.repeated_assertions(), 1);
}

#[tokio::test(start_paused = true)]
async fn every_grant_accepts_an_assertion() {
    let app = Equipped::new();
    let Scene { world, partner } = &app.scene;
    let identity = |proof| {
        let scope = "https://vault.azure.net/.default";
        let Partner { tenant_id: tenant, client_id, .. } = partner;
        world
            .identity_token("one", &IdentityRequest { tenant, client_id, proof, scope, correlation_id: None })
    };
    let device =
        world.begin_device("one", &partner.tenant_id, &partner.client_id, "offline_access").expect("a code");
    world.answer_device("one", &device.user_code, Some(&partner.user_oid)).expect("signed in");
    let exchanged = |proof| {
        let Partner { tenant_id: tenant, client_id, .. } = partner;
        let device_code = &device.device_code;
        world.exchange_device(
            "one",
            &DeviceRequest { tenant, client_id, proof, device_code, correlation_id: None },
        )
    };
    let code = |proof| {
        let request = AuthorizeRequest {
            client_id: partner.client_id.clone(),
            response_type: "code".into(),
            redirect_uri: "http://localhost".into(),
            ..AuthorizeRequest::default()
        };
        let step = world.authorize("one", &partner.tenant_id, &request, &partner.user_oid, Decision::SignIn);
        let Ok(SignInStep::Back(parameters)) = step else { panic!("{step:?}") };
        let request = CodeRequest {
            tenant: &partner.tenant_id,
            client_id: &partner.client_id,
            proof,
            code: &parameters[0].1,
            redirect_uri: "http://localhost",
            code_verifier: "",
            scope: "",
            correlation_id: None,
        };
        world.exchange_code("one", &request)
    };
    let (good, bad) = (app.assertion(), "a.b.c");

    assert_eq!(code_of(&identity(AppProof::Assertion(bad))), Some(50027));
    assert_eq!(code_of(&identity(AppProof::Assertion(&good))), None);
    assert_eq!(code_of(&exchanged(AppProof::Assertion(bad))), Some(50027));
    assert_eq!(code_of(&exchanged(AppProof::Assertion(&good))), None);
    assert_eq!(code_of(&code(AppProof::Assertion(bad))), Some(50027));
    assert_eq!(code_of(&code(AppProof::Assertion(&good))), None);
    assert_eq!(world.repeated_assertions(), 2);
    let public = |app: &mut App| app.redirects[0].platform = Platform::PublicClient;
    world.change_app(&partner.client_id, public);
    assert_eq!(code_of(&code(AppProof::Assertion(&good))), Some(700_025));
}
