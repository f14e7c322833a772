//! Checks whether a peer's answer contains a secret. The secret may be one that was sent to the peer, or one that the
//! peer has just issued.
//!
//! This module defines which parts of a secret count as the secret, and finds them in O(n log n). A peer can choose
//! both the text and the secret. With a slower search, a peer could keep this process busy.

/// The search skips secrets that are shorter than this, because they may occur in an ordinary word.
pub(crate) const LEAST_SECRET_BYTES: usize = 8;

/// The length of a piece, which is a part of a secret. A text that contains a piece counts as containing the secret.
const PIECE_BYTES: usize = 16;

/// Whether one of a peer's texts contains one of the secrets or a long part of a secret. Ignores case.
pub(crate) fn echoes(texts: &[&str], secrets: &[&str]) -> bool {
    holds_one_of::<u128>(texts, secrets)
}

/// Whether one of the texts contains one of the secrets. Outside tests, the type `Piece` is `u128`, whose 16 bytes hold
/// one piece.
///
/// The search copies and sorts the pieces of the texts, which are short. The search stores no pieces of the secrets. So
/// the search makes a copy of a secret only if one of the texts contains the secret. The search uses no hash table,
/// since a peer could choose texts with colliding hashes.
fn holds_one_of<Piece: Ord + From<u128>>(texts: &[&str], secrets: &[&str]) -> bool {
    let mut told: Vec<Piece> = Vec::new();
    // Few pieces of a secret have the same ending as a piece of a text. The search looks up only these few pieces.
    let mut ends = [false; ENDS];
    for piece in texts.iter().flat_map(|text| pieces(text.as_bytes())) {
        ends[end(piece)] = true;
        told.push(piece.into());
    }
    told.sort_unstable();
    let is_told = |piece: u128| ends[end(piece)] && told.binary_search(&piece.into()).is_ok();
    secrets.iter().map(|secret| secret.as_bytes()).any(|secret| match secret.len() {
        ..LEAST_SECRET_BYTES => false,
        LEAST_SECRET_BYTES..PIECE_BYTES => texts
            .iter()
            .any(|text| text.as_bytes().windows(secret.len()).any(|part| part.eq_ignore_ascii_case(secret))),
        PIECE_BYTES.. => pieces(secret).any(is_told),
    })
}

/// The number of endings that `end` distinguishes.
const ENDS: usize = 1 << 12;

/// Returns a number for the last three bytes of a piece. Different endings may have the same number.
fn end(piece: u128) -> usize {
    let [last, before, first, ..] = piece.to_le_bytes();
    (usize::from(last) ^ usize::from(before) << 4 ^ usize::from(first) << 8) % ENDS
}

/// Returns every piece of a text, in lower case.
fn pieces(text: &[u8]) -> impl Iterator<Item = u128> {
    let mut last = 0;
    let ends = text.iter().map(move |byte| {
        last = last << 8 | u128::from(byte.to_ascii_lowercase());
        last
    });
    ends.skip(PIECE_BYTES - 1)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::cmp::Ordering;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_part_of_a_secret_is_found_too() {
        let secret = "0.AXoA-a_long~refresh.token_of_some_length";
        for (text, found) in [
            (secret, true),
            (&secret.to_uppercase(), true),
            (&format!("x {} x", &secret[9..25]), true),
            (&secret[9..24], false),
            ("", false),
            ("an honest answer of some length", false),
        ] {
            assert_eq!(echoes(&[text], &["", "short", secret]), found, "{text}");
        }
        assert!(echoes(&["the s3cr3t-0"], &["s3cr3t-0"]) && !echoes(&["invalid_grant"], &["grant"]));
        assert!(echoes(&["", "fine", &secret[..16]], &[secret]));
        assert!(!echoes(&[&secret[..15], &secret[15..30]], &[secret]), "each text stands for itself");
    }

    /// Computes the result directly from the definition: compares each piece of each secret with each position of the
    /// text.
    fn by_definition<Byte: Ord + From<u8>>(texts: &[&str], secrets: &[&str]) -> bool {
        let bytes = |text: &&str| text.bytes().map(|b| b.to_ascii_lowercase().into()).collect::<Vec<Byte>>();
        let texts: Vec<Vec<Byte>> = texts.iter().map(bytes).collect();
        let telling = secrets.iter().filter(|secret| secret.len() >= LEAST_SECRET_BYTES);
        telling.map(bytes).any(|secret| {
            let mut pieces = secret.windows(PIECE_BYTES.min(secret.len()));
            pieces.any(|piece| {
                texts.iter().any(|text| text.windows(piece.len()).any(|part| part.cmp(piece).is_eq()))
            })
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        /// The alphabet is small, so short secrets often occur in the texts by chance. The test inserts long secrets
        /// into the texts.
        #[test]
        fn the_search_agrees_with_the_definition(
            text in "[abAB~ü@`]{0,40}",
            secrets in prop::collection::vec("[abAB~ü@`]{0,40}", 0..4),
            (from, length) in (0..40_usize, 0..24_usize),
            capitals: bool,
        ) {
            let planted: String =
                secrets.iter().flat_map(|secret| secret.chars().skip(from).take(length)).collect();
            let planted = if capitals { planted.to_ascii_uppercase() } else { planted };
            let secrets: Vec<&str> = secrets.iter().map(String::as_str).collect();

            let (one, other) = (format!("{text}{planted}"), format!("{planted}{text}"));
            for texts in [&[&*one][..], &[&*other], &[&*text], &[&*text, &*planted]] {
                let right = by_definition::<u8>(texts, &secrets);
                prop_assert_eq!(echoes(texts, &secrets), right, "{:?} in {:?}", secrets, texts);
            }
        }
    }

    thread_local! {
        static COMPARED: Cell<u64> = const { Cell::new(0) };
    }

    /// A piece that counts its comparisons.
    #[derive(PartialEq, Eq)]
    struct Counted(u128);

    impl<Plain: Into<u128>> From<Plain> for Counted {
        fn from(plain: Plain) -> Self {
            Self(plain.into())
        }
    }

    impl Ord for Counted {
        fn cmp(&self, other: &Self) -> Ordering {
            COMPARED.set(COMPARED.get() + 1);
            self.0.cmp(&other.0)
        }
    }

    impl PartialOrd for Counted {
        fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
            Some(self.cmp(other))
        }
    }

    /// Returns two texts of this many bytes that have no piece in common. The texts contain many pieces that are nearly
    /// equal.
    fn near_misses(bytes: usize) -> (String, String) {
        let text = |last: &str| ["a".repeat(PIECE_BYTES - 2).as_str(), last].concat().repeat(bytes / 15);
        (text("b"), text("c"))
    }

    /// Returns two random texts of this many bytes that have no letter in common.
    fn strangers(bytes: usize) -> (String, String) {
        let text = |letters: &[u8]| -> String {
            let mut chance = fastrand::Rng::with_seed(1);
            (0..bytes).map(|_| char::from(*chance.choice(letters).expect("some"))).collect()
        };
        (text(b"abcdefgh"), text(b"stuvwxyz"))
    }

    #[test]
    fn the_search_is_not_quadratic_in_a_peers_text() {
        // An answer has at most 2^16 bytes, so one binary search makes about 16 comparisons. For each byte, the bound
        // allows two searches (the test has two secrets), and 32 comparisons for the sort.
        const BOUND: u64 = 4 * 16;
        let compared = |search: fn(&[&str], &[&str]) -> bool, (text, secret): (String, String)| {
            COMPARED.set(0);
            assert!(!search(&[&text], &[&secret, &secret]));
            COMPARED.get() / u64::try_from(text.len()).expect("not so many")
        };

        for bytes in [150, 1_500, 15_000, 60_000] {
            for texts in [near_misses(bytes), strangers(bytes)] {
                let each = compared(holds_one_of::<Counted>, texts);
                assert!(each <= BOUND, "{each} comparisons for each of {bytes} bytes");
            }
        }
        // The naive search exceeds the bound, which shows that this test can fail.
        assert!(compared(by_definition::<Counted>, near_misses(1_500)) > BOUND);
    }
}
