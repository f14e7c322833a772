//! The key that signs the sandbox's ID tokens, and the key's public half as a JSON Web Key.
//!
//! Entra signs with RSA. The sandbox uses an elliptic curve, since creating an RSA key takes a long time. Each sandbox
//! creates a new key and never writes it to disk.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::KeyPair as _;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::SandboxError;

/// The id of the signing key.
const KEY_ID: &str = "sandbox-1";

/// The length of one coordinate in bytes. An uncompressed point of P-256 consists of two coordinates after a format
/// byte.
const COORDINATE: usize = 32;

/// A key that signs with ES256 (RFC 7518, 3.4).
pub(super) struct Signer(EcdsaKeyPair);

impl Signer {
    pub(super) fn new() -> Result<Self, SandboxError> {
        let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).map_err(|_| SandboxError::Key)?;
        Ok(Self(key))
    }

    /// Returns a compact JWS of these claims. Returns `None` only if the machine's random number generator fails.
    pub(super) fn sign(&self, claims: &Value) -> Option<String> {
        let part = |json: &Value| URL_SAFE_NO_PAD.encode(json.to_string());
        let header = json!({"typ": "JWT", "alg": "ES256", "kid": KEY_ID});
        let signed = format!("{}.{}", part(&header), part(claims));
        let signature = self.0.sign(&SystemRandom::new(), signed.as_bytes()).ok()?;
        Some(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }

    /// Returns the public key as a JSON Web Key (RFC 7517).
    pub(super) fn public_key(&self) -> Value {
        let point = self.0.public_key().as_ref();
        let (x, y) = point[1..].split_at(COORDINATE);
        json!({
            "kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": KEY_ID,
            "x": URL_SAFE_NO_PAD.encode(x), "y": URL_SAFE_NO_PAD.encode(y),
        })
    }
}
