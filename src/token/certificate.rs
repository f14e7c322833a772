//! A certificate with its private key, and the client assertions that it signs (RFC 7523).
//!
//! This module owns the parsing of PEM and PKCS#12, and the form of an assertion that Entra accepts
//! (docs/azure-facts.md F140). Only RSA keys are accepted, because Entra accepts no others. This module is pure: the
//! time and the id of an assertion are arguments.
//!
//! Invariant: no error and no `Debug` output contains the private key. The key is wiped from memory when dropped.

use std::fmt;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256, RSA_PSS_SHA256, RsaEncoding, RsaKeyPair};
use aws_lc_rs::{digest, signature};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use chrono::{DateTime, TimeDelta};
use p12_keystore::{KeyStore, KeyStoreEntry, Pkcs12ImportPolicy};
use secrecy::SecretString;
use secrecy::zeroize::Zeroizing;
use serde_json::json;
use thiserror::Error;
use uuid::Uuid;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::process::clock::Timestamp;

/// The lifetime of an assertion. Microsoft advises five to ten minutes (docs/azure-facts.md F140).
const ASSERTION_LIVES: TimeDelta = TimeDelta::minutes(5);

/// The audience of a `KeyProof`: the app id of Azure AD Graph (docs/azure-facts.md F608).
const KEY_PROOF_AUDIENCE: &str = "00000002-0000-0000-c000-000000000000";

/// The lifetime of a `KeyProof` (docs/azure-facts.md F608).
const KEY_PROOF_LIVES: TimeDelta = TimeDelta::minutes(10);

/// Why a value is not a certificate with its private key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum CertificateError {
    /// The value is neither PEM nor PKCS#12.
    #[error("is neither a PEM file nor a PKCS#12 file")]
    NotACertificate,
    /// The private key or the PKCS#12 file has a password.
    #[error("is protected by a password; store the certificate without a password")]
    PasswordProtected,
    /// The value contains no certificate.
    #[error("contains a private key, but no certificate")]
    NoCertificate,
    /// The value contains no private key. Key Vault returns such a value for a certificate that is not exportable.
    #[error(
        "contains a certificate, but no private key; if the private key must stay in Key Vault, set client_certificate to {{ key = \"name\" }}"
    )]
    NoPrivateKey,
    /// The private key is not an RSA key with at least 2048 bits, so Entra does not accept it.
    #[error("contains a private key that Entra does not accept; the key must be RSA with at least 2048 bits")]
    NotRsa,
    /// None of the certificates belongs to the private key.
    #[error("contains no certificate that belongs to its private key")]
    OtherKey,
}

/// The SHA-1 hash of a certificate's DER form. In the lists of Key Vault and Microsoft Graph, the hash identifies a
/// certificate. SHA-1 is weak: two different certificates can have the same hash.
pub type Thumbprint = [u8; 20];

/// Returns the SHA-1 hash of a certificate in DER form.
pub fn thumbprint_of(der: &[u8]) -> Thumbprint {
    let mut bytes = [0; 20];
    bytes.copy_from_slice(digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, der).as_ref());
    bytes
}

/// The public facts of a certificate: the hash by which Entra identifies it, and its validity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CertificateFacts {
    /// The SHA-256 hash of the certificate's DER form.
    pub thumbprint: [u8; 32],
    /// The start of the certificate's validity.
    pub begins: Timestamp,
    /// The end of the certificate's validity.
    pub ends: Timestamp,
}

/// A certificate and its private key.
pub struct SigningCertificate {
    /// The hash and the validity of the certificate.
    pub public: CertificateFacts,
    key: RsaKeyPair,
}

impl fmt::Debug for SigningCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningCertificate").field("public", &self.public).finish_non_exhaustive()
    }
}

impl CertificateFacts {
    /// Parses a certificate in DER form.
    pub fn of_der(der: &[u8]) -> Option<Self> {
        Parsed::of(der).map(|parsed| parsed.public)
    }

    /// Whether the certificate is valid at `now`. Entra rejects a certificate that is expired or not valid yet.
    pub fn is_valid_at(&self, now: Timestamp) -> bool {
        self.begins <= now && now < self.ends
    }
}

/// The public facts of a certificate, and its public key in the form of PKCS#1.
struct Parsed {
    public: CertificateFacts,
    key: Vec<u8>,
}

impl Parsed {
    fn of(der: &[u8]) -> Option<Self> {
        let (rest, parsed) = X509Certificate::from_der(der).ok()?;
        let instant = |at: i64| DateTime::from_timestamp(at, 0);
        let validity = parsed.validity();
        let thumbprint = digest::digest(&digest::SHA256, der).as_ref().try_into().ok()?;
        let public = CertificateFacts {
            thumbprint,
            begins: instant(validity.not_before.timestamp())?,
            ends: instant(validity.not_after.timestamp())?,
        };
        rest.is_empty().then(|| Self { public, key: parsed.public_key().subject_public_key.data.to_vec() })
    }
}

/// The keys and certificates of a PEM or PKCS#12 value, in DER form.
#[derive(Default)]
struct Contents {
    keys: Vec<Zeroizing<Vec<u8>>>,
    certificates: Vec<Vec<u8>>,
}

impl SigningCertificate {
    /// Parses PEM or PKCS#12 without a password. PKCS#12 may be in base64, as Key Vault stores it. If there are several
    /// certificates, takes the certificate that belongs to the private key.
    ///
    /// # Errors
    /// Returns why the value is not a certificate with its private key.
    pub fn parse(content: &[u8]) -> Result<Self, CertificateError> {
        let text = std::str::from_utf8(content).ok().map(str::trim);
        let Contents { keys, certificates } = match text {
            Some(text) if text.contains("-----BEGIN ") => of_pem(text)?,
            Some(text) => of_pkcs12(&of_base64(text).ok_or(CertificateError::NotACertificate)?)?,
            None => of_pkcs12(content)?,
        };
        if keys.is_empty() {
            let found = !certificates.is_empty();
            return Err(if found {
                CertificateError::NoPrivateKey
            } else {
                CertificateError::NotACertificate
            });
        }
        if certificates.is_empty() {
            return Err(CertificateError::NoCertificate);
        }
        let parsed: Vec<Parsed> = certificates.iter().filter_map(|der| Parsed::of(der)).collect();
        let mut why = CertificateError::NotRsa;
        for der in keys {
            let read = RsaKeyPair::from_pkcs8(&der).or_else(|_| RsaKeyPair::from_der(&der));
            let Ok(key) = read else { continue };
            match parsed.iter().find(|certificate| certificate.key == key.public_key().as_ref()) {
                Some(certificate) => return Ok(Self { public: certificate.public, key }),
                None => why = CertificateError::OtherKey,
            }
        }
        Err(why)
    }

    /// Returns the PS256 signature of a text from `Assertion::signing_input`. `None` if signing fails.
    pub fn sign(&self, input: &str) -> Option<Vec<u8>> {
        self.sign_by(&RSA_PSS_SHA256, input)
    }

    /// Returns the RS256 signature of a text from `KeyProof::signing_input`. `None` if signing fails.
    pub fn sign_proof(&self, input: &str) -> Option<Vec<u8>> {
        self.sign_by(&RSA_PKCS1_SHA256, input)
    }

    fn sign_by(&self, how: &'static dyn RsaEncoding, input: &str) -> Option<Vec<u8>> {
        let mut signature = vec![0; self.key.public_modulus_len()];
        self.key.sign(how, &SystemRandom::new(), input.as_bytes(), &mut signature).ok()?;
        Some(signature)
    }
}

fn of_base64(text: &str) -> Option<Zeroizing<Vec<u8>>> {
    // The string is allocated at its full size. A string that grows moves to other memory, and leaves a copy of the key
    // that is not wiped.
    let mut joined = Zeroizing::new(String::with_capacity(text.len()));
    joined.extend(text.split_whitespace());
    STANDARD.decode(joined.as_bytes()).ok().map(Zeroizing::new)
}

/// Parses PEM. Some stores replace each line break by a blank, or by a backslash and an `n`. The parser accepts both.
fn of_pem(text: &str) -> Result<Contents, CertificateError> {
    if text.contains("ENCRYPTED") {
        return Err(CertificateError::PasswordProtected);
    }
    let mut contents = Contents::default();
    let mut rest = text;
    while let Some((_, begun)) = rest.split_once("-----BEGIN ") {
        let (label, body) = begun.split_once("-----").ok_or(CertificateError::NotACertificate)?;
        let (body, after) = body.split_once("-----END ").ok_or(CertificateError::NotACertificate)?;
        let once = Zeroizing::new(body.replace("\\r", " "));
        let body = Zeroizing::new(once.replace("\\n", " "));
        let der = of_base64(&body).ok_or(CertificateError::NotACertificate)?;
        if label.ends_with("PRIVATE KEY") {
            contents.keys.push(der);
        } else if label.ends_with("CERTIFICATE") {
            contents.certificates.push(der.to_vec());
        }
        rest = after;
    }
    Ok(contents)
}

fn of_pkcs12(der: &[u8]) -> Result<Contents, CertificateError> {
    let store = KeyStore::from_pkcs12(der, "", Pkcs12ImportPolicy::Relaxed);
    let store = store.map_err(|error| match error {
        p12_keystore::error::Error::MacError(_)
        | p12_keystore::error::Error::UnpadError
        | p12_keystore::error::Error::Pkcs5Error(_) => CertificateError::PasswordProtected,
        _ => CertificateError::NotACertificate,
    })?;
    let mut contents = Contents::default();
    for (_, entry) in store.entries() {
        match entry {
            KeyStoreEntry::PrivateKeyChain(chain) => {
                contents.keys.push(Zeroizing::new(chain.key().as_der().to_vec()));
                contents.certificates.extend(chain.certs().iter().map(|found| found.as_der().to_vec()));
            }
            KeyStoreEntry::Certificate(found) => contents.certificates.push(found.as_der().to_vec()),
            KeyStoreEntry::Secret(_) => {}
        }
    }
    Ok(contents)
}

/// The claims of one client assertion. Each request needs a new assertion.
#[derive(Clone, Copy, Debug)]
pub struct Assertion<'a> {
    /// The SHA-256 hash of the certificate's DER form.
    pub thumbprint: &'a [u8; 32],
    /// The audience: the token endpoint of the tenant.
    pub audience: &'a str,
    pub client_id: &'a str,
    /// When the assertion is signed.
    pub now: Timestamp,
    /// The unique id of this assertion.
    pub id: Uuid,
}

impl Assertion<'_> {
    /// Returns the header and the claims in the form that is signed (RFC 7515, 5.1).
    pub fn signing_input(&self) -> String {
        let header = json!({
            "alg": "PS256",
            "typ": "JWT",
            "x5t#S256": URL_SAFE_NO_PAD.encode(self.thumbprint),
        });
        let begins = self.now.timestamp();
        let claims = json!({
            "aud": self.audience,
            "iss": self.client_id,
            "sub": self.client_id,
            "jti": self.id.to_string(),
            "nbf": begins,
            "iat": begins,
            "exp": begins + ASSERTION_LIVES.num_seconds(),
        });
        joined(&header, &claims)
    }
}

/// The claims of a key proof. The proof shows that the sender has the private key of one of the app's certificates.
/// Microsoft Graph adds or removes a single certificate only with a key proof (docs/azure-facts.md F608).
#[derive(Clone, Copy, Debug)]
pub struct KeyProof<'a> {
    /// The signing certificate.
    pub thumbprint: &'a Thumbprint,
    /// The object id of the app registration, which is not the client id.
    pub object_id: Uuid,
    /// When the proof is signed.
    pub now: Timestamp,
}

impl KeyProof<'_> {
    /// Returns the header and the claims in the form that is signed. Microsoft Graph accepts no base64 padding.
    pub fn signing_input(&self) -> String {
        let header = json!({"alg": "RS256", "typ": "JWT", "x5t": URL_SAFE_NO_PAD.encode(self.thumbprint)});
        let begins = self.now.timestamp();
        let claims = json!({
            "aud": KEY_PROOF_AUDIENCE,
            "iss": self.object_id.to_string(),
            "nbf": begins,
            "exp": begins + KEY_PROOF_LIVES.num_seconds(),
        });
        joined(&header, &claims)
    }
}

fn joined(header: &serde_json::Value, claims: &serde_json::Value) -> String {
    let encoded = |part: &serde_json::Value| URL_SAFE_NO_PAD.encode(part.to_string());
    format!("{}.{}", encoded(header), encoded(claims))
}

/// Returns the SHA-256 hash of a text. A key in Key Vault signs this hash, not the text.
pub fn digest_of(input: &str) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest::digest(&digest::SHA256, input.as_bytes()).as_ref());
    bytes
}

/// Joins a text and its signature into a JWT.
pub fn signed(input: &str, signature: &[u8]) -> SecretString {
    SecretString::from(format!("{input}.{}", URL_SAFE_NO_PAD.encode(signature)))
}

/// Whether `signed` is the signature (PS256) of `input` by the key of this certificate. The certificate is in DER form.
pub fn is_signed_by(certificate: &[u8], input: &str, signed: &[u8]) -> bool {
    let Some(parsed) = Parsed::of(certificate) else { return false };
    let key = signature::UnparsedPublicKey::new(&signature::RSA_PSS_2048_8192_SHA256, parsed.key);
    key.verify(input.as_bytes(), signed).is_ok()
}

#[cfg(test)]
mod tests;
