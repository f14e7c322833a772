//! What the user pastes: lines of stdin, read concurrently.

use std::io;
use std::io::BufRead as _;
use std::io::BufReader;
use std::io::Read as _;

use secrecy::SecretString;
use tokio::sync::mpsc;

use crate::login::redirect::MAX_BYTES;

/// Lines of stdin until it ends. A line over the limit is cut, so it cannot be an answer.
///
/// Reads on a thread of its own, which the process does not wait for: a read of a terminal cannot be cancelled.
pub(super) fn lines() -> mpsc::Receiver<SecretString> {
    let (sender, lines) = mpsc::channel(1);
    std::thread::spawn(move || {
        let mut stdin = BufReader::new(io::stdin());
        loop {
            let mut line = String::new();
            let most = u64::try_from(MAX_BYTES).unwrap_or(u64::MAX);
            match stdin.by_ref().take(most).read_line(&mut line) {
                Ok(1..) if sender.blocking_send(line.into()).is_ok() => {}
                // Stdin has ended or is unreadable, or the receiver is gone.
                _ => return,
            }
        }
    });
    lines
}
