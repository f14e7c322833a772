//! The public half of an X.509 certificate with an RSA key, as Entra and Key Vault show it.

use aws_lc_rs::digest;
use aws_lc_rs::signature::{RSA_PKCS1_2048_8192_SHA256, RSA_PSS_2048_8192_SHA256, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::DateTime;
use x509_parser::public_key::PublicKey;

use crate::process::clock::Timestamp;

/// The public half of a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicCertificate {
    /// The certificate itself.
    pub der: Vec<u8>,
    /// The start of the certificate's validity.
    pub not_before: Timestamp,
    /// The end of the certificate's validity.
    pub not_after: Timestamp,
    /// The subject's distinguished name, such as `CN=partner`.
    pub subject: String,
    /// Whether the certificate names itself as its issuer.
    pub is_self_signed: bool,
    /// The RSA key's modulus, without leading zeros.
    pub modulus: Vec<u8>,
    /// The RSA key's exponent.
    pub exponent: Vec<u8>,
    /// The RSA public key in the form of PKCS#1.
    pub(super) public_key: Vec<u8>,
}

impl PublicCertificate {
    /// Reads a certificate. Returns `None` if the bytes are not a certificate with an RSA key.
    pub fn read(der: &[u8]) -> Option<Self> {
        let (rest, parsed) = x509_parser::parse_x509_certificate(der).ok()?;
        let PublicKey::RSA(key) = parsed.public_key().parsed().ok()? else { return None };
        let time = |seconds| DateTime::from_timestamp(seconds, 0);
        rest.is_empty().then_some(())?;
        Some(Self {
            der: der.to_vec(),
            not_before: time(parsed.validity().not_before.timestamp())?,
            not_after: time(parsed.validity().not_after.timestamp())?,
            subject: parsed.subject().to_string(),
            is_self_signed: parsed.subject() == parsed.issuer(),
            modulus: without_zeros(key.modulus),
            exponent: without_zeros(key.exponent),
            public_key: parsed.public_key().subject_public_key.data.to_vec(),
        })
    }

    /// Returns the SHA-1 hash in hexadecimal digits, as the portal shows it.
    pub fn thumbprint(&self) -> String {
        hex(digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, &self.der).as_ref())
    }

    /// Returns the SHA-1 hash in base64url, as in an assertion's header and in Key Vault's answers.
    pub fn x5t(&self) -> String {
        URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, &self.der))
    }

    /// Returns the SHA-256 hash in base64url, as in an assertion's header.
    pub fn x5t_s256(&self) -> String {
        URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, &self.der))
    }

    /// Returns the size of the key in bits.
    pub fn key_size(&self) -> usize {
        self.modulus.len() * 8
    }

    /// Whether the certificate's private key made this signature. `algorithm` must be `PS256` or `RS256`.
    pub(super) fn verifies(&self, algorithm: &str, signed: &[u8], signature: &[u8]) -> bool {
        let rules = match algorithm {
            "PS256" => &RSA_PSS_2048_8192_SHA256,
            "RS256" => &RSA_PKCS1_2048_8192_SHA256,
            _ => return false,
        };
        UnparsedPublicKey::new(rules, &self.public_key).verify(signed, signature).is_ok()
    }
}

/// Returns the bytes as upper-case hexadecimal digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02X}"))
}

fn without_zeros(number: &[u8]) -> Vec<u8> {
    number.iter().copied().skip_while(|byte| *byte == 0).collect()
}
