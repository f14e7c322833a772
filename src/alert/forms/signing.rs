//! Signatures of events for webhooks.

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// The key that signs events, by Standard Webhooks 1.0 ("Signature scheme").
#[derive(Clone)]
pub struct SigningKey(hmac::Key);

/// A base64 key has at least this many bytes, and at most `MOST_KEY_BYTES`.
const LEAST_KEY_BYTES: usize = 24;
const MOST_KEY_BYTES: usize = 64;

impl SigningKey {
    /// A text that begins with `whsec_` is followed by base64; any other text is the key itself.
    ///
    /// # Errors
    /// Why the key is invalid, without the key.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        const FORM: &str = "the signing key must be `whsec_` and 24 to 64 bytes in base64 with its padding";
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

    /// The signature of a message: HMAC-SHA256 over id, time and body.
    pub fn signature(&self, id: &str, seconds: i64, body: &str) -> String {
        let tag = hmac::sign(&self.0, format!("{id}.{seconds}.{body}").as_bytes());
        format!("v1,{}", STANDARD.encode(tag.as_ref()))
    }
}
