//! Reads regular files up to a size limit.
//!
//! This module owns the checks of a file's type and size. Pipes are rejected, because opening a pipe could block the
//! whole program, and the content of a pipe can be read only once. Devices are rejected, because the content of a
//! device such as `/dev/zero` never ends.

use std::fs::{File, OpenOptions};
use std::io;
use std::io::Read as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use rustix::fs::OFlags;
use thiserror::Error;

/// Why a file could not be read.
#[derive(Debug, Error)]
pub enum FileError {
    /// The file is missing, or the user of this process may not read it. The message shows only the error's kind.
    #[error("cannot be read: {}", .0.kind())]
    Unreadable(io::Error),
    /// The path is a directory, a pipe, a socket or a device.
    #[error("is not a regular file")]
    NotAFile,
    /// The file has more bytes than the limit.
    #[error("is longer than {0} bytes")]
    TooLong(usize),
}

/// Opens a regular file.
///
/// # Errors
/// The file cannot be opened or is not a regular file.
pub fn open(path: &Path) -> Result<File, FileError> {
    // Opening a device can have an effect, so this code checks the file type first.
    if !path.metadata().map_err(FileError::Unreadable)?.is_file() {
        return Err(FileError::NotAFile);
    }
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(OFlags::NONBLOCK.bits().cast_signed());
    let file = options.open(path).map_err(FileError::Unreadable)?;
    if file.metadata().map_err(FileError::Unreadable)?.is_file() {
        Ok(file)
    } else {
        Err(FileError::NotAFile)
    }
}

/// Reads a regular file of at most `most_bytes` into `content`, which must be empty.
///
/// # Errors
/// The file cannot be read, is not regular, or is too long. The error contains no content.
pub fn read_into(content: &mut Vec<u8>, path: &Path, most_bytes: usize) -> Result<(), FileError> {
    let file = open(path)?;
    let limit = u64::try_from(most_bytes).unwrap_or(u64::MAX).saturating_add(1);
    file.take(limit).read_to_end(content).map_err(FileError::Unreadable)?;
    if content.len() > most_bytes { Err(FileError::TooLong(most_bytes)) } else { Ok(()) }
}

/// Reads a regular file. Not for secrets: this function does not erase the content from memory.
///
/// # Errors
/// The file cannot be read, is not regular, or is too long. The error contains no content.
pub fn read(path: &Path, most_bytes: usize) -> Result<Vec<u8>, FileError> {
    let mut content = Vec::new();
    read_into(&mut content, path, most_bytes)?;
    Ok(content)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_regular_file_of_a_bounded_length_is_read() {
        let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
        let length = std::fs::metadata(&manifest).expect("there").len();
        let length = usize::try_from(length).expect("short");

        assert_eq!(read(&manifest, length).expect("readable").len(), length);
        let error = |path: &Path, most| read(path, most).expect_err("refused").to_string();
        assert_eq!(error(&manifest, 10), "is longer than 10 bytes");
        assert_eq!(error(Path::new("/dev/zero"), 10), "is not a regular file");
        assert_eq!(error(Path::new(env!("CARGO_MANIFEST_DIR")), 10), "is not a regular file");
        assert_eq!(error(Path::new("/nonexistent"), 10), "cannot be read: entity not found");
    }

    #[test]
    fn a_pipe_is_refused_and_does_not_block() {
        let name = format!("perennial-pipe-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let made = std::process::Command::new("mkfifo").arg(&path).status().expect("mkfifo");
        assert!(made.success());

        let refused = read(&path, 10);

        std::fs::remove_file(&path).expect("removed");
        assert!(matches!(refused, Err(FileError::NotAFile)), "{refused:?}");
    }
}
