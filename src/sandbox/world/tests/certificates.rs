//! Tests of the vault's certificates and keys.

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::*;
use crate::ports::Certificates as _;
use crate::ports::certificate_store::CertificateStore as _;
use crate::token::secret::{SecretAddress, SecretName};

fn address(name: &str) -> SecretAddress {
    SecretAddress { vault: VAULT.into(), name: SecretName::parse(name).expect("a name") }
}

fn refusal<T: std::fmt::Debug>(answer: Result<T, Trouble<VaultRefusal>>) -> VaultRefusal {
    match answer {
        Err(Trouble::Refused(refusal)) => refusal,
        other => panic!("{other:?}"),
    }
}

impl Scene {
    fn certificate(&self, name: &str, policy: CertificatePolicy) -> CertificateVersion {
        let at = address(name);
        let request = self.world.create_certificate("human", &at, policy, Tags::new()).expect("made");
        assert!(request.complete);
        let made = self.world.get_certificate("human", &at, None).expect("readable");
        assert_eq!(made.id, request.version);
        made
    }

    fn value(&self, name: &str) -> String {
        let secret = self.world.get_secret("human", &address(name), None).expect("readable");
        assert!(secret.managed);
        secret.value.expose_secret().to_owned()
    }

    fn import(
        &self,
        name: &str,
        value: &str,
        password: &str,
    ) -> Result<CertificateVersion, Trouble<VaultRefusal>> {
        let import = CertificateImport {
            value: value.into(),
            password: password.into(),
            exportable: true,
            content_type: None,
            enabled: true,
            tags: Tags::from([("of", "import")]),
        };
        self.world.import_certificate("human", &address(name), import)
    }
}

#[tokio::test(start_paused = true)]
async fn certificate_key_and_secret_share_name_version_and_attributes() {
    let scene = Scene::new();
    let at = address("App-Certificate");
    let policy = CertificatePolicy { lifetime: TimeDelta::days(90), ..CertificatePolicy::default() };

    let made = scene.certificate("App-Certificate", policy.clone());

    let now = chrono::DateTime::from_timestamp(scene.world.now().timestamp(), 0).expect("a time");
    assert_eq!(made.certificate.not_before, now - TimeDelta::minutes(10));
    assert_eq!(made.certificate.not_after, now + TimeDelta::days(90));
    assert_eq!(made.attributes.expires, Some(made.certificate.not_after));
    assert_eq!(made.certificate.subject, "CN=App-Certificate");
    assert_eq!((made.certificate.key_size(), made.policy), (2048, policy.clone()));
    let secret = scene.world.get_secret("human", &at, Some(&made.id)).expect("readable");
    assert_eq!((&secret.id, &secret.attributes), (&made.id, &made.attributes));
    assert_eq!(secret.content_type.as_deref(), Some("application/x-pkcs12"));
    let key = scene.world.get_key("human", &address("app-certificate"), None).expect("readable");
    assert_eq!((key.id, key.certificate), (made.id.clone(), made.certificate));

    let second = scene.certificate("app-certificate", CertificatePolicy { key_size: 3072, ..policy });
    assert_ne!(made.id, second.id);
    assert_eq!((second.name.as_str(), second.certificate.key_size()), ("App-Certificate", 3072));
    assert_eq!(scene.world.get_secret("human", &at, None).expect("readable").name, "App-Certificate");
    let listed = scene.world.list_certificate_versions("human", &at, 0, 25).expect("listed");
    let ids: Vec<_> = listed.items.iter().map(|version| &version.id).collect();
    assert!(ids.len() == 2 && ids.contains(&&made.id) && ids.contains(&&second.id));
    let all = scene.world.list_certificates("human", VAULT, 0, 25).expect("listed");
    assert_eq!(all.items.iter().map(|newest| &newest.id).collect::<Vec<_>>(), [&second.id]);
    assert_eq!(scene.world.newest_version(&at).map(|version| version.id.0.to_string()), Some(second.id));
}

#[tokio::test(start_paused = true)]
async fn what_was_exported_can_be_imported_in_both_forms() {
    let scene = Scene::new();
    for form in ContentType::ALL {
        let name = format!("made-{form:?}");
        let policy = CertificatePolicy { content_type: form, ..CertificatePolicy::default() };
        let made = scene.certificate(&name, policy.clone());
        let value = scene.value(&name);
        assert_eq!(value.contains("-----BEGIN PRIVATE KEY-----"), form == ContentType::Pem);

        let imported = scene.import(&format!("{name}-copy"), &value, "").expect("imported");

        assert_eq!(imported.certificate, made.certificate);
        assert_eq!((imported.policy.content_type, imported.policy.key_size), (form, 2048));
        assert_eq!(imported.attributes.expires, Some(made.certificate.not_after));
        assert_eq!(imported.tags, Tags::from([("of", "import")]));
        // The imported key signs a text, and the original certificate verifies the signature. So the imported key is
        // the original key.
        let digest = digest::digest(&digest::SHA256, b"text");
        let copy = address(&format!("{name}-copy"));
        let signed = scene.world.sign("one", &copy, Some(&imported.id), "PS256", digest.as_ref());
        assert!(made.certificate.verifies("PS256", b"text", &signed.expect("signed").bytes));

        let closed = CertificatePolicy { exportable: false, ..policy };
        scene.certificate(&format!("{name}-closed"), closed);
        let public = scene.value(&format!("{name}-closed"));
        assert!(!public.contains("PRIVATE KEY") && public.len() < value.len());
        let refused = refusal(scene.import("from-closed", &public, ""));
        assert_eq!((refused.status, refused.code), (400, "BadParameter"), "there is no key in it");
    }
    let pfx = scene.value("made-Pkcs12");
    for (what, value, password) in
        [("a wrong password", &*pfx, "x"), ("half of it", &pfx[..pfx.len() / 2], ""), ("text", "text", "")]
    {
        assert_eq!(refusal(scene.import("broken", value, password)).status, 400, "{what}");
    }
    let other = scene.value("made-Pem-copy");
    let (key, _) = other.split_once("-----BEGIN CERT").expect("a key");
    scene.certificate(
        "stranger",
        CertificatePolicy { content_type: ContentType::Pem, ..CertificatePolicy::default() },
    );
    let stranger = scene.value("stranger");
    let (_, certificate) = stranger.split_once("-----BEGIN CERT").expect("a certificate");
    let mixed = format!("{key}-----BEGIN CERT{certificate}");
    assert_eq!(refusal(scene.import("mixed", &mixed, "")).status, 400, "another key's certificate");
    // A value can contain several certificates. The import finds the certificate of the key, even if another
    // certificate comes first.
    let (_, own) = other.split_once("-----BEGIN CERT").expect("a certificate");
    let chain = format!("{mixed}-----BEGIN CERT{own}");
    assert!(scene.import("chain", &chain, "").is_ok());
    assert!(
        scene.import("encoded", &STANDARD.encode(&chain), "").is_ok(),
        "as the client for Python sends it"
    );
}

#[tokio::test(start_paused = true)]
async fn each_operation_on_certificates_and_keys_needs_its_own_right() {
    let scene = Scene::new();
    let made = scene.certificate("kept", CertificatePolicy::default());
    let value = scene.value("kept");
    let (world, at) = (&scene.world, address("kept"));
    let digest = [0; 32];
    let call = |action| -> Result<(), Trouble<VaultRefusal>> {
        match action {
            Action::ReadCertificate => {
                world.get_certificate("one", &at, Some(&made.id))?;
                world.list_certificate_versions("one", &at, 0, 25)?;
                world.list_certificates("one", VAULT, 0, 25)?;
                world.certificate_policy("one", &at)?;
                world.certificate_request("one", &at).map(drop)
            }
            Action::CreateCertificate => {
                world.create_certificate("one", &at, CertificatePolicy::default(), Tags::new()).map(drop)
            }
            Action::ImportCertificate => scene.import("copy", &value, "").map(drop),
            Action::ReadKey => world.get_key("one", &at, None).map(drop),
            _ => world.sign("one", &at, None, "PS256", &digest).map(drop),
        }
    };
    for (action, named) in [
        (Action::ReadCertificate, "certificates/read"),
        (Action::CreateCertificate, "certificates/create/action"),
        (Action::ImportCertificate, "certificates/import/action"),
        (Action::ReadKey, "keys/read"),
        (Action::SignWithKey, "keys/sign/action"),
    ] {
        world.change_vault(VAULT, |vault| {
            vault.allowed.remove(&action);
        });
        let refused = refusal(call(action));
        assert_eq!((refused.inner, refused.action), (Some("ForbiddenByRbac"), Some(action)));
        assert!(refused.text.contains(&format!("'Microsoft.KeyVault/vaults/{named}'")), "{}", refused.text);

        world.change_vault(VAULT, |vault| vault.allowed = [action].into());
        assert_eq!(call(action), Ok(()), "{action:?}");
        world.change_vault(VAULT, |vault| vault.allowed = Action::ALL.into());
    }
}

#[tokio::test(start_paused = true)]
async fn the_secret_of_a_certificate_is_managed() {
    let scene = Scene::new();
    let (world, at) = (&scene.world, address("kept"));
    scene.certificate("kept", CertificatePolicy::default());
    let new = SetRequest {
        value: "x".into(),
        attributes: Attributes::default(),
        content_type: None,
        tags: Tags::new(),
    };

    let refused = [
        refusal(world.set_secret("one", &at, new)),
        refusal(world.delete_secret("one", &at)),
        refusal(world.backup_secret("one", &at)),
        // A certificate cannot have the name of a plain secret.
        refusal(world.create_certificate(
            "one",
            &scene.partner.refresh_token,
            CertificatePolicy::default(),
            Tags::new(),
        )),
    ];

    assert_eq!(refused.map(|refusal| (refusal.status, refusal.code)), [(409, "Conflict"); 4]);
    assert_eq!(world.human_writes(&at, "x", Tags::new()), None);
    let absent = refusal(world.get_certificate("one", &scene.partner.refresh_token, None));
    assert_eq!((absent.status, absent.code), (404, "CertificateNotFound"));
    let absent = refusal(world.get_key("one", &scene.partner.refresh_token, None));
    assert_eq!((absent.status, absent.code), (404, "KeyNotFound"));
    world.human_deletes(&at);
    assert_eq!(refusal(world.get_certificate("one", &at, None)).status, 404);
    let deleted = refusal(world.create_certificate("one", &at, CertificatePolicy::default(), Tags::new()));
    assert_eq!(deleted.inner, Some("ObjectIsDeletedButRecoverable"));
    world.human_purges(&at);
    scene.certificate("kept", CertificatePolicy::default());
}

#[tokio::test(start_paused = true)]
async fn a_disabled_version_neither_shows_nor_signs_and_an_expired_one_can_be_read() {
    let scene = Scene::new();
    let (world, at) = (&scene.world, address("kept"));
    let policy = CertificatePolicy { lifetime: TimeDelta::days(30), ..CertificatePolicy::default() };
    scene.certificate("kept", policy);
    let digest = [0; 32];
    world.switch_version(&at, None, false);

    assert_eq!(refusal(world.get_certificate("one", &at, None)).inner, Some("CertificateDisabled"));
    assert_eq!(refusal(world.get_secret("one", &at, None)).inner, Some("SecretDisabled"));
    assert_eq!(refusal(world.sign("one", &at, None, "PS256", &digest)).inner, Some("KeyDisabled"));
    assert!(!world.get_key("one", &at, None).expect("readable").attributes.enabled);
    let listed = world.list_certificate_versions("one", &at, 0, 25).expect("listed");
    assert!(!listed.items[0].attributes.enabled);

    world.switch_version(&at, None, true);
    assert!(world.sign("one", &at, None, "PS256", &digest).is_ok());
    world.advance(TimeDelta::days(30));
    assert!(world.get_certificate("one", &at, None).is_ok() && world.get_secret("one", &at, None).is_ok());
    assert_eq!(refusal(world.sign("one", &at, None, "PS256", &digest)).status, 403);
}

#[tokio::test(start_paused = true)]
async fn a_key_signs_digests_by_the_algorithms_of_rsa() {
    let scene = Scene::new();
    let (world, at) = (&scene.world, address("kept"));
    let made =
        scene.certificate("kept", CertificatePolicy { exportable: false, ..CertificatePolicy::default() });
    for (algorithm, bytes, status) in [
        ("PS256", 32, 0),
        ("RS256", 32, 0),
        ("PS384", 48, 0),
        ("RS384", 48, 0),
        ("PS512", 64, 0),
        ("RS512", 64, 0),
        ("PS256", 31, 400),
        ("RS256", 0, 400),
        ("PS512", 32, 400),
        ("ES256", 32, 400),
        ("RSNULL", 32, 400),
    ] {
        let answer = world.sign("one", &at, Some(&made.id), algorithm, &vec![7; bytes]);
        match status {
            0 => assert_eq!(answer.expect("signed").bytes.len(), 256, "{algorithm}"),
            _ => assert_eq!(refusal(answer).status, status, "{algorithm} {bytes}"),
        }
    }
    let digest = digest::digest(&digest::SHA256, b"text");
    for algorithm in ["PS256", "RS256"] {
        let signed = world.sign("one", &at, None, algorithm, digest.as_ref()).expect("signed");
        assert_eq!(signed.version, made.id);
        assert!(made.certificate.verifies(algorithm, b"text", &signed.bytes));
        assert!(!made.certificate.verifies(algorithm, b"texts", &signed.bytes));
    }
    let unknown = "0".repeat(32);
    assert_eq!(refusal(world.sign("one", &at, Some(&unknown), "PS256", &[0; 32])).code, "KeyNotFound");
}

#[tokio::test(start_paused = true)]
async fn a_certificate_can_take_time_to_make() {
    let scene = Scene::new();
    let (world, at) = (&scene.world, address("slow"));
    world.change_vault(VAULT, |vault| vault.issuance = TimeDelta::seconds(20));
    let create = || world.create_certificate("one", &at, CertificatePolicy::default(), Tags::new());
    assert_eq!(refusal(world.certificate_request("one", &at)).code, "PendingCertificateNotFound");

    let request = create().expect("begun");

    assert!(!request.complete);
    assert_eq!(refusal(world.get_certificate("one", &at, None)).status, 404);
    assert_eq!(refusal(create()).status, 409);
    world.advance(TimeDelta::seconds(20));
    assert!(world.certificate_request("one", &at).expect("known").complete);
    assert_eq!(world.get_certificate("one", &at, None).expect("made").id, request.version);
    assert!(create().is_ok());
    let wrong = [(1024, 365), (2048, 4000), (2048, -1)];
    for (key_size, days) in wrong {
        let policy =
            CertificatePolicy { key_size, lifetime: TimeDelta::days(days), ..CertificatePolicy::default() };
        let refused = refusal(world.create_certificate("one", &address("wrong"), policy, Tags::new()));
        assert_eq!(refused.status, 400, "{key_size} {days}");
    }
}

#[tokio::test(start_paused = true)]
async fn imports_share_the_limit_of_new_versions() {
    let scene = Scene::new();
    let (vault, at) = (scene.world.as_actor("one"), &scene.partner.refresh_token);
    for n in 0..300 {
        vault.write(at, &scene.new_version(&n.to_string()), Uuid::nil()).await.expect("written");
    }

    assert_eq!(refusal(scene.import("copy", "text", "")).status, 429);
    scene.certificate("made", CertificatePolicy::default());
}

#[tokio::test(start_paused = true)]
async fn the_port_lists_all_pages_of_a_certificates_versions() {
    let scene = Scene::new();
    scene.world.share_certificate_keys();
    for _ in 0..27 {
        scene.certificate("app", CertificatePolicy::default());
    }
    let (actor, at) = (scene.world.as_actor("human"), address("app"));

    let listed = actor.listed_certificates(&at, Uuid::nil()).await.expect("listed");
    let versions = actor.certificate_versions(&at, Uuid::nil()).await.expect("listed");

    assert_eq!((listed.len(), versions.len()), (27, 27));
}
