//! Reads the lines that the user pastes into stdin, on a separate thread.
//!
//! A terminal in its usual mode cuts a line at 4,095 bytes (`termios(3)`). An address with a code can be longer. So
//! this module switches the terminal to a mode without line buffering until `Lines` is dropped.

use std::io;
use std::io::IsTerminal as _;
use std::io::{BufRead as _, BufReader, Read as _};

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use secrecy::SecretString;
use secrecy::zeroize::Zeroizing;
use tokio::sync::mpsc;

use crate::login::redirect::MAX_BYTES;

/// The lines of stdin. Dropping this value restores the terminal's usual mode.
pub(super) struct Lines {
    lines: mpsc::Receiver<SecretString>,
    /// Keeps the terminal in the mode without line buffering. `None` if stdin is not a terminal.
    _mode: Option<Unbuffered>,
}

impl Lines {
    /// Starts reading the lines of stdin. A line that is longer than `MAX_BYTES` is split into several lines.
    ///
    /// A separate thread reads the lines, since a read of a terminal cannot be canceled. The process does not wait for
    /// this thread.
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
                    // Stdin has ended or is unreadable, or the receiver was dropped.
                    _ => return,
                }
            }
        });
        Self { lines, _mode: mode }
    }

    /// Returns the next line. Returns `None` once stdin has ended.
    pub(super) async fn next(&mut self) -> Option<SecretString> {
        self.lines.recv().await
    }
}

/// Returns a line with the user's edits applied. Without line buffering, the program itself must handle the keys that
/// erase a character or the whole line.
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

/// A terminal without line buffering. Dropping this value restores the usual mode.
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
        // If this call fails, the terminal no longer exists, so the error is ignored.
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
