//! Promise 5 (docs/promises.md): no displayed text contains a secret or a long part of a secret.
//!
//! This module owns the search. The search cuts every secret of the simulated world into pieces and looks for each
//! piece in every text. So the search finds each whole secret, and each part of at least `2 * PIECE - 1` bytes.

use std::collections::HashSet;

use secrecy::ExposeSecret as _;

use crate::sandbox::world::World;

/// The length of a piece. A piece is so long that no text contains a piece by chance. A piece is also shorter than half
/// of an app's secret, so each app's secret has at least two pieces.
const PIECE: usize = 16;

/// The pieces of all secrets.
#[derive(Default)]
pub(super) struct Secrets {
    pieces: HashSet<[u8; PIECE]>,
}

impl Secrets {
    /// Adds all secrets that the world has so far.
    pub(super) fn learn(&mut self, world: &World) {
        for secret in world.secret_texts() {
            self.add(secret.expose_secret());
        }
    }

    fn add(&mut self, secret: &str) {
        let (pieces, _) = secret.as_bytes().as_chunks::<PIECE>();
        self.pieces.extend(pieces);
    }

    /// Returns the index of the first line that contains a part of a secret.
    pub(super) fn shown_in(&self, text: &str) -> Option<usize> {
        let shows = |line: &str| {
            let mut windows = line.as_bytes().windows(PIECE);
            windows.any(|window| self.pieces.contains(window))
        };
        text.lines().position(shows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_found_whole_and_in_part() {
        let secret = "0.AXthis-is-a-refresh-token-of-some-length-and-more";
        let mut secrets = Secrets::default();
        secrets.add(secret);

        assert_eq!(secrets.shown_in(&format!("fine\ntoken={secret}.")), Some(1));
        assert_eq!(secrets.shown_in(&secret[7..7 + 31]), Some(0));
        assert_eq!(secrets.shown_in(&secret[7..7 + 15]), None);
        assert_eq!(secrets.shown_in("a rotation went well"), None);
    }
}
