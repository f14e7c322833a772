//! Signs the events that are sent to webhooks.

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// The key that signs events according to Standard Webhooks 1.0 ("Signature scheme").
#[derive(Clone)]
pub struct SigningKey(hmac::Key);

/// The minimum size of a key with the prefix `whsec_`, in bytes after decoding.
const LEAST_KEY_BYTES: usize = 24;
const MOST_KEY_BYTES: usize = 64;

impl SigningKey {
    /// Parses a key. After the prefix `whsec_`, the key is in base64. If the text has no such prefix, the text itself
    /// is the key.
    ///
    /// # Errors
    /// Returns why the key is invalid. The error does not contain the key.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        const FORM: &str = "after `whsec_`, the signing key must be 24 to 64 bytes in padded base64";
        let bytes = match text.strip_prefix("whsec_") {
            Some(rest) => {
                let fits = |key: &Vec<u8>| (LEAST_KEY_BYTES..=MOST_KEY_BYTES).contains(&key.len());
                STANDARD.decode(rest).ok().filter(fits).ok_or(FORM)?
            }
            None if text.is_empty() => return Err("the signing key is empty"),
            None => text.as_bytes().to_vec(),
        };
        Ok(Self(hmac::Key::new(hmac::HMAC_SHA256, &bytes)))
    }

    /// Signs a message with HMAC-SHA256 over its id, time and body.
    pub fn signature(&self, id: &str, seconds: i64, body: &str) -> String {
        let tag = hmac::sign(&self.0, format!("{id}.{seconds}.{body}").as_bytes());
        format!("v1,{}", STANDARD.encode(tag.as_ref()))
    }
}
