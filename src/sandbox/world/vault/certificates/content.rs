//! Reads and writes the two forms of a certificate with its key: PKCS#12 in base64, and PEM.

use std::sync::Arc;

use aws_lc_rs::rsa;
use aws_lc_rs::signature::KeyPair as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use p12_keystore::{Certificate, KeyStore, KeyStoreEntry, Pkcs12Archive, PrivateKey, PrivateKeyChain};
use secrecy::{ExposeSecret as _, SecretSlice, SecretString};
use x509_parser::pem::Pem;

use super::super::super::certificate::PublicCertificate;
use super::super::VaultRefusal;
use super::{CertificatePolicy, ContentType, VersionKey};

/// The number of rounds in which PKCS#12 derives keys from the password. More rounds would not protect the private key
/// better, since the password is empty.
const ROUNDS: u32 = 2_000;

/// The start of a block in PEM.
const BEGIN: &str = "-----BEGIN";

/// The length of a line in PEM (RFC 7468, 2).
const LINE: usize = 64;

/// Returns the value of a certificate's secret. If the policy forbids the export of the key, the value has no private
/// key.
pub(super) fn write(key: &VersionKey, policy: &CertificatePolicy) -> Result<SecretString, VaultRefusal> {
    match policy.content_type {
        ContentType::Pem => {
            let certificate = pem("CERTIFICATE", &key.certificate.der);
            let private = policy.exportable.then(|| pem("PRIVATE KEY", key.private.expose_secret()));
            let private = private.unwrap_or_default();
            Ok(format!("{private}{certificate}").into())
        }
        ContentType::Pkcs12 => {
            let written = pkcs12(key, policy.exportable);
            let failed = |error: p12_keystore::error::Error| {
                VaultRefusal::new(500, "InternalServerError", None, error.to_string())
            };
            Ok(STANDARD.encode(written.map_err(failed)?).into())
        }
    }
}

fn pkcs12(key: &VersionKey, exportable: bool) -> Result<Vec<u8>, p12_keystore::error::Error> {
    let certificate = Certificate::from_der(&key.certificate.der)?;
    let entry = if exportable {
        let private = PrivateKey::from_der(key.private.expose_secret())?;
        KeyStoreEntry::PrivateKeyChain(PrivateKeyChain::new([1].as_slice(), private, [certificate]))
    } else {
        KeyStoreEntry::Certificate(certificate)
    };
    let mut store = KeyStore::new();
    store.add_entry("certificate", entry);
    store.writer("").encryption_iterations(ROUNDS).mac_iterations(ROUNDS).write()
}

/// Reads an imported value: a private key and its certificate.
pub(super) fn read(
    value: &SecretString,
    password: &SecretString,
) -> Result<(VersionKey, ContentType), VaultRefusal> {
    let text = value.expose_secret();
    // Some clients send the whole PEM text in base64.
    let bytes = if text.contains(BEGIN) {
        text.as_bytes().to_vec()
    } else {
        STANDARD.decode(text.split_whitespace().collect::<String>()).unwrap_or_default()
    };
    let is_pem = bytes.windows(BEGIN.len()).any(|window| window == BEGIN.as_bytes());
    let found = if is_pem { in_pem(&bytes) } else { in_pkcs12(&bytes, password.expose_secret()) };
    let form = if is_pem { ContentType::Pem } else { ContentType::Pkcs12 };
    let key = found.and_then(|(keys, certificates)| matching(keys, &certificates));
    let unreadable = || {
        VaultRefusal::bad_parameter(
            "We could not parse the provided certificate as .pem or .pfx. Please verify the certificate with OpenSSL.",
        )
    };
    Ok((key.ok_or_else(unreadable)?, form))
}

/// Private keys (PKCS#8) and certificates, both in DER form.
type KeysAndCertificates = (Vec<Vec<u8>>, Vec<Vec<u8>>);

fn in_pem(text: &[u8]) -> Option<KeysAndCertificates> {
    let (mut keys, mut certificates) = (Vec::new(), Vec::new());
    for block in Pem::iter_from_buffer(text) {
        let Pem { label, contents } = block.ok()?;
        match label.as_str() {
            "PRIVATE KEY" => keys.push(contents),
            "CERTIFICATE" => certificates.push(contents),
            _ => {}
        }
    }
    Some((keys, certificates))
}

fn in_pkcs12(bytes: &[u8], password: &str) -> Option<KeysAndCertificates> {
    let archive = Pkcs12Archive::from_pkcs12(bytes, password).ok()?;
    let keys = archive.keys.iter().map(|bag| bag.key.as_der().to_vec());
    let certificates = archive.certs.iter().map(|bag| bag.cert.as_der().to_vec());
    Some((keys.collect(), certificates.collect()))
}

/// Returns the private key and its certificate. Returns `None` if there is no private key, or more than one, or if no
/// certificate belongs to the private key.
fn matching(keys: Vec<Vec<u8>>, certificates: &[Vec<u8>]) -> Option<VersionKey> {
    let [private] = <[Vec<u8>; 1]>::try_from(keys).ok()?;
    let pair = rsa::KeyPair::from_pkcs8(&private).ok()?;
    let mut read = certificates.iter().filter_map(|der| PublicCertificate::read(der));
    let certificate = read.find(|one| one.public_key == pair.public_key().as_ref())?;
    let private: SecretSlice<u8> = private.into();
    Some(VersionKey { certificate, private: Arc::new(private) })
}

fn pem(label: &str, der: &[u8]) -> String {
    let encoded = STANDARD.encode(der);
    let mut lines: Vec<&str> = Vec::new();
    let mut rest = encoded.as_str();
    while !rest.is_empty() {
        let (line, more) = rest.split_at(rest.len().min(LINE));
        lines.push(line);
        rest = more;
    }
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}
