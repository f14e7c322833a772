//! Harmful bodies: very long, very slow, huge after decompression, or full of the caller's own data.

use std::time::Duration;

use axum::Json;
use axum::body::{Body, Bytes};
use axum::http::StatusCode;
use axum::response::IntoResponse as _;
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures::stream;
use serde_json::json;

use super::wire::{HttpCaller, set};
use crate::sandbox::world::{Hostile, Peer};

/// The length of a long body in bytes. A compressed body has about this length after decompression.
const LONG_BYTES: usize = 100_000_000;

/// The size of each piece of a long body.
const CHUNK_BYTES: usize = 64 * 1024;

/// The interval between two bytes of a slow body. The interval is shorter than any client's idle timeout. A client
/// stops only at its timeout for the whole answer.
const DRIP_EVERY: Duration = Duration::from_secs(1);

/// Returns a harmful answer to a caller.
pub(super) fn answer(status: StatusCode, body: Hostile, peer: Peer, caller: &HttpCaller) -> Response {
    match body {
        Hostile::Long => in_pieces(status, LONG_BYTES / CHUNK_BYTES, Bytes::from(vec![b' '; CHUNK_BYTES])),
        Hostile::Bomb => {
            let mut response = (status, bomb()).into_response();
            set(&mut response, "content-type", "application/json");
            set(&mut response, "content-encoding", "gzip");
            response
        }
        Hostile::Drip => {
            let drops = stream::unfold((), |()| async {
                tokio::time::sleep(DRIP_EVERY).await;
                Some((Ok::<_, std::convert::Infallible>(Bytes::from_static(b" ")), ()))
            });
            json_of(status, Body::from_stream(drops))
        }
        Hostile::Echo => echo(status, peer, &SentText::by(caller)),
        Hostile::Laced => laced(status, peer, &SentText::by(caller)),
    }
}

fn in_pieces(status: StatusCode, count: usize, piece: Bytes) -> Response {
    let pieces = std::iter::repeat_n(piece, count).map(Ok::<_, std::convert::Infallible>);
    json_of(status, Body::from_stream(stream::iter(pieces)))
}

fn json_of(status: StatusCode, body: Body) -> Response {
    let mut response = (status, body).into_response();
    set(&mut response, "content-type", "application/json");
    response
}

/// Returns a gzip member (RFC 1952) that expands to about `LONG_BYTES` spaces. The member has one block with fixed
/// codes (RFC 1951, 3.2.6). The block contains a space, and after that only the code for "repeat the last byte 258
/// times". The end of the member is missing, because no client reads that far.
fn bomb() -> Vec<u8> {
    const REPEATS: usize = LONG_BYTES / 258;
    let mut bits = Bits { bytes: vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255], free: 0 };
    // The first bit says that this block is not the last one. The other two bits say that the block has fixed codes. In
    // the deflate format, numbers are written with the lowest bit first, and codes with the highest bit first.
    bits.push([false, true, false]);
    bits.push(code(0x30 + u16::from(b' '), 8));
    for _ in 0..REPEATS {
        // The length is 258 (symbol 285), and the distance is 1 (symbol 0).
        bits.push(code(0b1100_0101, 8));
        bits.push(code(0, 5));
    }
    bits.bytes
}

/// Returns the bits of a code, from the highest to the lowest.
fn code(code: u16, length: u32) -> impl Iterator<Item = bool> {
    (0..length).rev().map(move |bit| code >> bit & 1 == 1)
}

/// Bytes that are filled from their lowest bit to their highest.
struct Bits {
    bytes: Vec<u8>,
    /// The number of free bits in the last byte.
    free: u32,
}

impl Bits {
    fn push(&mut self, bits: impl IntoIterator<Item = bool>) {
        for bit in bits {
            if self.free == 0 {
                self.bytes.push(0);
                self.free = 8;
            }
            let last = self.bytes.last_mut().expect("one was just made");
            *last |= u8::from(bit) << (8 - self.free);
            self.free -= 1;
        }
    }
}

/// The data that a caller has sent.
struct SentText {
    /// The longest form field, or the bearer token if no form field is longer than 20 bytes.
    longest: String,
    /// The bearer token, the raw body and `parts`.
    all: String,
    /// The form fields that are long enough to be a secret.
    parts: String,
}

impl SentText {
    fn by(caller: &HttpCaller) -> Self {
        let raw = String::from_utf8_lossy(&caller.sent);
        let form = reqwest::Url::parse(&format!("form:?{raw}")).ok();
        let pairs = form.iter().flat_map(reqwest::Url::query_pairs);
        let fields: Vec<String> =
            pairs.map(|(_, value)| value.into_owned()).filter(|text| text.len() > 20).collect();
        let bearer = caller.bearer().unwrap_or_default();
        let longest = fields.iter().max_by_key(|text| text.len()).map_or(bearer, String::as_str).to_owned();
        let parts = fields.join(" ");
        Self { all: format!("{bearer} {raw} {parts}"), longest, parts }
    }
}

/// A text that attacks a terminal. The text clears the screen, sets a title and a color, and reverses the reading
/// direction. The sequence for the color begins with the C1 character CSI, not with an escape character.
const ESCAPES: &str = "\u{1b}[2J\u{1b}]0;owned\u{7}\u{9b}31m\u{202e}\u{200b}";

/// The object id and the key id in an answer of `laced`.
const LACED_ID: &str = "1aced000-0000-4000-8000-000000000000";

/// Returns a valid token answer, profile or app registration with harmful texts.
fn laced(status: StatusCode, peer: Peer, sent: &SentText) -> Response {
    let SentText { longest, all, parts } = sent;
    let claims = json!({
        "tid": format!("{ESCAPES}{longest}"), "oid": longest, "scp": parts, "amr": ["pwd", "mfa", all],
    });
    let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
    let body = match peer {
        Peer::Entra => json!({
            "access_token": format!("{}.{}.c2ln", part("{}"), part(&claims.to_string())),
            "refresh_token": "0.AXlaced", "expires_in": 3600, "scope": format!("{ESCAPES}{all}"),
        }),
        Peer::Graph => {
            let secret = json!({
                "keyId": LACED_ID, "displayName": format!("{ESCAPES}{all}"), "hint": longest, "secretText": longest,
                "startDateTime": "2026-01-01T00:00:00Z", "endDateTime": "2028-01-01T00:00:00Z",
            });
            let mut body = json!({"id": LACED_ID, "appId": longest, "passwordCredentials": [secret]});
            if let (Some(body), Some(secret)) = (body.as_object_mut(), secret.as_object()) {
                body.extend(secret.clone());
            }
            body
        }
        Peer::PartnerCenter | Peer::KeyVault => {
            json!({"companyName": format!("Contoso{ESCAPES}"), "tenantId": longest, "isMfaCompliant": true})
        }
    };
    (status, Json(body)).into_response()
}

/// Returns an answer in which every text is the caller's own data, raw and decoded.
fn echo(status: StatusCode, peer: Peer, sent: &SentText) -> Response {
    let (one, all) = (&sent.longest, &sent.all);
    let body = match peer {
        Peer::Entra => json!({
            "error": one, "error_description": all, "error_codes": [all], "suberror": one,
            "trace_id": one, "correlation_id": all, "claims": json!({ "sent": all }).to_string(),
        }),
        Peer::KeyVault | Peer::Graph => {
            json!({"error": {"code": one, "message": all, "innererror": {"code": all}}, "id": all})
        }
        Peer::PartnerCenter => {
            json!({"code": one, "description": all, "companyName": one, "tenantId": one, "domain": all})
        }
    };
    let mut response = (status, Json(body)).into_response();
    set(&mut response, "www-authenticate", one);
    set(&mut response, "retry-after", one);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hundred_megabytes_are_packed_into_less_than_one() {
        let bomb = bomb();

        assert!(bomb.len() < 1_000_000, "{}", bomb.len());
        // The gzip header has 10 bytes. The block has a header of three bits, and then a code of eight bits for the
        // first space character. Each code for 258 further bytes has thirteen bits.
        assert_eq!(bomb.len(), 10 + (3 + 8 + 13 * (LONG_BYTES / 258)).div_ceil(8));
    }

    #[test]
    fn codes_are_written_in_deflates_bit_order() {
        let mut bits = Bits { bytes: Vec::new(), free: 0 };

        // The expected bytes are the start of zlib's output for the letter "a". The output's block has fixed codes and
        // is marked as the last block.
        bits.push([true, true, false]);
        bits.push(code(0x30 + u16::from(b'a'), 8));

        assert_eq!(bits.bytes, [0x4b, 0x04]);
    }
}
