//! `--import`: reads an existing refresh token from stdin.
//!
//! The command redeems the token and stores the successor, with the same checks as for any other sign-in.

use std::io;
use std::io::IsTerminal as _;
use std::io::Read as _;

use secrecy::zeroize::Zeroizing;

use super::session::{LoginSession, StoredLogin};
use crate::cli::Stop;
use crate::login::StepFailure;
use crate::ports::diagnosis::LoginMethod;
use crate::process::text;
use crate::token::RefreshToken;

/// The largest input: eight times the longest observed token (docs/azure-facts.md F112).
const MAX_BYTES: u64 = 16 * 1024;

/// Reads one token. Removes whitespace and quotes around the token.
pub(super) fn read() -> Result<RefreshToken, Stop> {
    let stdin = io::stdin();
    if stdin.is_terminal() {
        let text = "--import reads no token from a terminal, because the terminal would show the token: use a file or a pipe, as in `perennial login NAME --import < FILE`";
        return Err(Stop::Usage(text.into()));
    }
    let mut bytes = Zeroizing::new(Vec::new());
    let most = usize::try_from(MAX_BYTES).unwrap_or(usize::MAX);
    bytes.reserve_exact(most);
    stdin.lock().take(MAX_BYTES).read_to_end(&mut bytes).map_err(|error| Stop::Failed(error.into()))?;
    parse(&bytes)
        .ok_or_else(|| Stop::Usage("stdin must hold one refresh token, on one line, and nothing else".into()))
}

fn parse(bytes: &[u8]) -> Option<RefreshToken> {
    let text = Zeroizing::new(text::decoded(bytes)?.into_owned());
    // Entra would treat whitespace and quotes as part of the token (docs/azure-facts.md F104), so `bare` removes them.
    let token = RefreshToken::new(text::bare(&text));
    token.is_plausible().then_some(token)
}

/// Redeems the token and stores the successor.
pub(super) async fn sign_in(desk: &LoginSession, token: &RefreshToken) -> Result<StoredLogin, StepFailure> {
    desk.voice.say("redeeming", "Redeeming the token …");
    let proof = desk.proof().await?;
    let redeemed = desk.rotator.exchange(token, desk.client_id(), &proof, desk.id).await;
    let redeemed = redeemed.map_err(|error| desk.explain(&error, LoginMethod::Import))?;
    desk.keep(redeemed, None).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_and_white_space_around_a_token_are_ignored() {
        let utf_16 = b"\xff\xfe0\0.\0A\0X\0o\0\r\0\n\0".as_slice();
        let texts = ["0.AXo\n", "\"0.AXo\"", "\u{feff}0.AXo\r\n", "'0.AXo'\n\n"];
        for saved in texts.iter().map(|text| text.as_bytes()).chain([utf_16]) {
            let token = parse(saved).unwrap_or_else(|| panic!("{saved:?}"));
            assert_eq!(token.expose(), "0.AXo");
        }
        for odd in
            [&b""[..], b"\n", b"0.AX 0.AY", b"0.AX\n0.AY\n", b"{\"refresh_token\":\"x\"}", &[0xff, 0xfe]]
        {
            assert!(parse(odd).is_none(), "{odd:?}");
        }
    }
}
