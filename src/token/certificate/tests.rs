//! Tests each form of a certificate, values that are not certificates, and the form of an assertion.

use super::*;

use p12_keystore::{Certificate, PrivateKey, PrivateKeyChain};
use rcgen::{CertificateParams, PKCS_RSA_SHA256, RsaKeySize};

struct Made {
    key: rcgen::KeyPair,
    certificate: rcgen::Certificate,
}

fn made() -> Made {
    let key = rcgen::KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).expect("a key");
    let certificate =
        CertificateParams::new(["app".into()]).expect("a name").self_signed(&key).expect("signed");
    Made { key, certificate }
}

impl Made {
    fn pem(&self) -> String {
        self.key.serialize_pem() + &self.certificate.pem()
    }

    fn pkcs12(&self, password: &str) -> Vec<u8> {
        let key = PrivateKey::from_der(&self.key.serialize_der()).expect("a key");
        let certificate = Certificate::from_der(self.certificate.der()).expect("a certificate");
        let mut store = KeyStore::new();
        store.add_entry(
            "app",
            KeyStoreEntry::PrivateKeyChain(PrivateKeyChain::new(vec![1], key, [certificate])),
        );
        store.writer(password).write().expect("written")
    }
}

#[test]
fn a_certificate_is_read_in_every_form_that_key_vault_and_files_have() {
    let (app, authority) = (made(), made());
    let wanted = CertificateFacts::of_der(app.certificate.der()).expect("a certificate");
    let pem = app.pem();
    let body = |text: &str, end: &str| text.replace('\n', end);
    for (form, content) in [
        ("PEM", pem.clone().into_bytes()),
        ("certificate first", (app.certificate.pem() + &app.key.serialize_pem()).into_bytes()),
        ("of a chain the one of the key", (authority.certificate.pem() + &pem).into_bytes()),
        ("with carriage returns", body(&pem, "\r\n").into_bytes()),
        ("line breaks as two characters", body(&pem, "\\n").into_bytes()),
        ("line breaks lost", body(&pem, " ").into_bytes()),
        ("PKCS#12", app.pkcs12("")),
        ("PKCS#12 in base64", STANDARD.encode(app.pkcs12("")).into_bytes()),
        (
            "PKCS#12 in base64 with line breaks",
            format!(" {}\n", STANDARD.encode(app.pkcs12(""))).into_bytes(),
        ),
    ] {
        let read = SigningCertificate::parse(&content).expect(form);

        assert_eq!(read.public, wanted, "{form}");
        let signature = read.sign("x").expect(form);
        assert!(is_signed_by(app.certificate.der(), "x", &signature), "{form}");
        assert!(!is_signed_by(app.certificate.der(), "y", &signature), "{form}");
        assert!(!is_signed_by(authority.certificate.der(), "x", &signature), "{form}");
    }
}

#[test]
fn a_value_that_is_no_certificate_with_its_key_is_told_as_what_it_is() {
    let (app, other) = (made(), made());
    let elliptic = rcgen::KeyPair::generate().expect("a key");
    let on_curve = CertificateParams::new([]).expect("no names").self_signed(&elliptic).expect("signed");
    let encrypted = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
    let old =
        "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\nAAAA\n-----END RSA PRIVATE KEY-----\n";
    for (content, error) in [
        (b"".to_vec(), CertificateError::NotACertificate),
        (b"a-client-secret".to_vec(), CertificateError::NotACertificate),
        (b"\x30\x82\xff\xff\x00".to_vec(), CertificateError::NotACertificate),
        (STANDARD.encode("no PKCS#12").into_bytes(), CertificateError::NotACertificate),
        (b"-----BEGIN CERTIFICATE-----".to_vec(), CertificateError::NotACertificate),
        (b"-----BEGIN CERTIFICATE-----\nAAA\n".to_vec(), CertificateError::NotACertificate),
        (
            b"-----BEGIN CERTIFICATE-----\n\xc3\xa4\n-----END CERTIFICATE-----".to_vec(),
            CertificateError::NotACertificate,
        ),
        (app.certificate.pem().into_bytes(), CertificateError::NoPrivateKey),
        (app.key.serialize_pem().into_bytes(), CertificateError::NoCertificate),
        ((app.key.serialize_pem() + &other.certificate.pem()).into_bytes(), CertificateError::OtherKey),
        ((elliptic.serialize_pem() + &on_curve.pem()).into_bytes(), CertificateError::NotRsa),
        ((encrypted.to_owned() + &app.certificate.pem()).into_bytes(), CertificateError::PasswordProtected),
        ((old.to_owned() + &app.certificate.pem()).into_bytes(), CertificateError::PasswordProtected),
        (app.pkcs12("secret"), CertificateError::PasswordProtected),
        (STANDARD.encode(app.pkcs12("secret")).into_bytes(), CertificateError::PasswordProtected),
    ] {
        let told = SigningCertificate::parse(&content).expect_err("refused");

        assert_eq!(told, error, "{}", String::from_utf8_lossy(&content));
        assert!(!format!("{told} {told:?}").contains("BEGIN"));
    }
}

#[test]
fn a_certificate_is_valid_from_its_beginning_to_its_end() {
    let at = |seconds| DateTime::from_timestamp(seconds, 0).expect("a time");
    let public = CertificateFacts { thumbprint: [0; 32], begins: at(10), ends: at(20) };

    for (now, valid) in [(9, false), (10, true), (19, true), (20, false)] {
        assert_eq!(public.is_valid_at(at(now)), valid, "{now}");
    }
}

#[test]
fn an_assertion_has_the_form_that_entra_documents() {
    let now = DateTime::from_timestamp(1_700_000_000, 0).expect("a time");
    let (id, client_id) = (Uuid::from_u128(7), "0ed4b3a5-1b4c-4a5e-8a6f-0123456789ab");
    let audience = "https://login.microsoftonline.com/contoso.com/oauth2/v2.0/token";
    let input = Assertion { thumbprint: &[1; 32], audience, client_id, now, id }.signing_input();
    let whole = signed(&input, b"signature");
    let parts: Vec<&str> = secrecy::ExposeSecret::expose_secret(&whole).split('.').collect();
    let decoded = |part: &str| -> serde_json::Value {
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).expect("base64")).expect("JSON")
    };

    assert_eq!(
        decoded(parts[0]),
        json!({"alg": "PS256", "typ": "JWT", "x5t#S256": URL_SAFE_NO_PAD.encode([1; 32])})
    );
    let claims = decoded(parts[1]);
    assert_eq!(
        claims,
        json!({
            "aud": audience, "iss": client_id, "sub": client_id, "jti": id.to_string(),
            "nbf": 1_700_000_000, "iat": 1_700_000_000, "exp": 1_700_000_300,
        })
    );
    assert_eq!(parts[2], URL_SAFE_NO_PAD.encode(b"signature"));
    assert_eq!(parts.len(), 3);
}

#[test]
fn a_private_key_is_not_shown_by_debug() {
    let read = SigningCertificate::parse(made().pem().as_bytes()).expect("a certificate");

    assert!(format!("{read:?}").starts_with("SigningCertificate { public: CertificateFacts {"));
}
