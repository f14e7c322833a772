//! Writes results to stdout. Logs and messages go to stderr, so a script can read the results from stdout.

use std::fmt::Display;
use std::io;
use std::io::IsTerminal as _;
use std::io::{ErrorKind, Write};

use serde::Serialize;

use crate::process::may_have_colors;

/// Whether results may have colors.
pub fn has_colors() -> bool {
    may_have_colors(io::stdout().is_terminal())
}

/// Writes a line of a result. A closed pipe is not an error, since a reader such as `head` closes the pipe early.
///
/// # Errors
/// Returns an error if stdout cannot be written, for example on a full disk.
pub fn line(text: impl Display) -> io::Result<()> {
    write_line(&mut io::stdout().lock(), text)
}

/// Writes a result as indented JSON.
///
/// # Errors
/// Returns the same errors as [`line`].
pub fn json(value: &impl Serialize) -> io::Result<()> {
    line(serde_json::to_string_pretty(value)?)
}

fn write_line(stdout: &mut impl Write, text: impl Display) -> io::Result<()> {
    match writeln!(stdout, "{text}").and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Failing(ErrorKind);

    impl Write for Failing {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(self.0.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Err(self.0.into())
        }
    }

    #[test]
    fn a_closed_pipe_is_no_failure_and_a_full_disk_is() {
        assert!(write_line(&mut Failing(ErrorKind::BrokenPipe), "x").is_ok());
        assert!(write_line(&mut Failing(ErrorKind::StorageFull), "x").is_err());
    }
}
