//! What the user pastes: lines of stdin, read concurrently.
//!
//! A terminal in its usual mode cuts a line at 4,095 bytes (`termios(3)`), and an address with a code can be longer. So it is
//! asked for characters as they come, and its mode is put back at the end.

use std::io;
use std::io::IsTerminal as _;
use std::io::{BufRead as _, BufReader, Read as _};

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use secrecy::SecretString;
use secrecy::zeroize::Zeroizing;
use tokio::sync::mpsc;

use crate::login::redirect::MAX_BYTES;

/// The lines, while it lives.
pub(super) struct Lines {
    lines: mpsc::Receiver<SecretString>,
    /// `None` if stdin is no terminal.
    _mode: Option<Unbuffered>,
}

impl Lines {
    /// Lines of stdin until it ends. A line over the limit is cut, so it cannot be an answer.
    ///
    /// Reads on a thread of its own, which the process does not wait for: a read of a terminal cannot be cancelled.
    pub(super) fn of_stdin() -> Self {
        let mode = Unbuffered::set();
        let (sender, lines) = mpsc::channel(1);
        std::thread::spawn(move || {
            let mut stdin = BufReader::new(io::stdin());
            loop {
                let mut line = Zeroizing::new(String::new());
                let most = u64::try_from(MAX_BYTES).unwrap_or(u64::MAX);
                match stdin.by_ref().take(most).read_line(&mut line) {
                    Ok(1..) if sender.blocking_send(edited(&line)).is_ok() => {}
                    // Stdin has ended or is unreadable, or the receiver is gone.
                    _ => return,
                }
            }
        });
        Self { lines, _mode: mode }
    }

    /// The next line; `None` once stdin has ended.
    pub(super) async fn next(&mut self) -> Option<SecretString> {
        self.lines.recv().await
    }
}

/// A line as its user edited it: in this mode the terminal passes on the keys that erase a character or all of them.
fn edited(line: &str) -> SecretString {
    let mut edited = Zeroizing::new(String::with_capacity(line.len()));
    for c in line.chars() {
        match c {
            '\u{8}' | '\u{7f}' => drop(edited.pop()),
            '\u{15}' => edited.clear(),
            c => edited.push(c),
        }
    }
    SecretString::from(edited.as_str())
}

/// The terminal passes on characters as they come, until this is dropped.
struct Unbuffered {
    before: Termios,
}

impl Unbuffered {
    fn set() -> Option<Self> {
        let stdin = io::stdin();
        if !stdin.is_terminal() {
            return None;
        }
        let before = tcgetattr(&stdin).ok()?;
        let mut mode = before.clone();
        mode.local_modes.remove(LocalModes::ICANON);
        tcsetattr(&stdin, OptionalActions::Now, &mode).ok()?;
        Some(Self { before })
    }
}

impl Drop for Unbuffered {
    fn drop(&mut self) {
        // A terminal that is gone needs no mode.
        let _gone = tcsetattr(io::stdin(), OptionalActions::Now, &self.before);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use secrecy::ExposeSecret as _;

    #[test]
    fn keys_that_erase_do_so() {
        for (typed, line) in [
            ("abc\n", "abc\n"),
            ("abd\u{7f}c\n", "abc\n"),
            ("x\u{8}\u{8}abc", "abc"),
            ("all wrong\u{15}abc\n", "abc\n"),
        ] {
            assert_eq!(edited(typed).expose_secret(), line, "{typed:?}");
        }
    }
}
