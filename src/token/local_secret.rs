//! Reads secrets on this machine from files, environment variables and systemd credentials.
//!
//! This module owns the reading, the size limit and the trimming of secrets on this machine. The module does not access
//! a vault. An error names the location and the reason, but never the content.

use std::path::{Path, PathBuf};
use std::{env, io};

use secrecy::zeroize::Zeroizing;
use secrecy::{ExposeSecret as _, SecretString};
use thiserror::Error;

use crate::process::file::FileError;
use crate::process::{file, text};
use crate::token::secret::Source;

/// The maximum size of a secret. systemd limits all credentials of a unit to 1 MB in total (systemd.exec).
const MAX_BYTES: usize = 64 * 1024;

const TOO_LONG: &str = "is longer than 64 KiB";

/// Why a secret could not be read. An operator must fix the cause.
#[derive(Debug, Error)]
pub enum SourceError {
    /// The file is missing or this process may not read it.
    #[error("cannot read {}: {}", path.display(), reason.kind())]
    Unreadable {
        /// The path of the file.
        path: PathBuf,
        /// The I/O error. The message shows only the kind of this error.
        reason: io::Error,
    },
    /// The environment variable is not set.
    #[error("the environment variable {0} is not set")]
    NotSet(String),
    /// The content is not usable as a secret.
    #[error("{place} {fault}")]
    Unusable {
        /// The location, such as a path or the name of a variable.
        place: String,
        /// The reason why the content is not usable.
        fault: &'static str,
    },
    /// systemd did not start this process with credentials.
    #[error(
        "there is no systemd credential {0}: CREDENTIALS_DIRECTORY is not set; add LoadCredential= to the unit"
    )]
    NoCredentials(String),
    /// The id of a systemd credential is not a plain file name.
    #[error("{0:?} is not a valid id of a systemd credential")]
    BadCredential(String),
    /// The secret is in a vault. This module does not read vaults.
    #[error("the secret {0} is in a vault, not on this machine")]
    InVault(String),
}

/// Reads a secret from this machine and trims it ([`text::bare`]). Each call reads the source again.
///
/// # Errors
/// A retry does not help: an operator must fix the cause. The error names the location, never the content.
pub fn read_local(source: &Source) -> Result<SecretString, SourceError> {
    match source {
        Source::File(path) => read_file(path),
        Source::Env(name) => match env::var_os(name) {
            None => Err(SourceError::NotSet(name.clone())),
            Some(value) => usable(value.as_encoded_bytes(), &place(source)),
        },
        Source::Credential(id) => read_file(&credential_path(id)?),
        Source::Secret(address) => Err(SourceError::InVault(address.to_string())),
    }
}

/// Reads content such as a certificate from this machine. A file and a systemd credential are read unchanged and need
/// not be text. The content of any other source must be text, and is trimmed.
///
/// # Errors
/// A retry does not help: an operator must fix the cause. The error names the location, never the content.
pub fn read_bytes(source: &Source) -> Result<Zeroizing<Vec<u8>>, SourceError> {
    match source {
        Source::File(path) => content_of(path),
        Source::Credential(id) => content_of(&credential_path(id)?),
        other => read_local(other).map(|text| Zeroizing::new(text.expose_secret().as_bytes().to_vec())),
    }
}

/// Returns the path of a systemd credential, a file in `$CREDENTIALS_DIRECTORY`. systemd sets this variable.
fn credential_path(id: &str) -> Result<PathBuf, SourceError> {
    let directory = env::var_os("CREDENTIALS_DIRECTORY");
    credential_in(directory.ok_or_else(|| SourceError::NoCredentials(id.to_owned()))?.as_ref(), id)
}

fn credential_in(directory: &Path, id: &str) -> Result<PathBuf, SourceError> {
    if id.is_empty() || id.contains('/') || id == "." || id == ".." {
        return Err(SourceError::BadCredential(id.to_owned()));
    }
    Ok(directory.join(id))
}

fn read_file(path: &Path) -> Result<SecretString, SourceError> {
    usable(&content_of(path)?, &path.display().to_string())
}

fn content_of(path: &Path) -> Result<Zeroizing<Vec<u8>>, SourceError> {
    let place = path.display().to_string();
    // The vector has room for the whole file. If the vector grew, a copy of the secret would stay in memory.
    let mut content = Zeroizing::new(Vec::with_capacity(MAX_BYTES + 1));
    match file::read_into(&mut content, path, MAX_BYTES) {
        Ok(()) => Ok(content),
        Err(FileError::Unreadable(reason)) => Err(SourceError::Unreadable { path: path.to_owned(), reason }),
        Err(FileError::NotAFile) => Err(SourceError::Unusable { place, fault: "is not a regular file" }),
        Err(FileError::TooLong(_)) => Err(SourceError::Unusable { place, fault: TOO_LONG }),
    }
}

/// The name of a source in messages.
pub fn place(source: &Source) -> String {
    match source {
        Source::Secret(address) => address.to_string(),
        Source::File(path) => path.display().to_string(),
        Source::Env(name) => format!("the environment variable {name}"),
        Source::Credential(id) => format!("the credential {id}"),
    }
}

/// Extracts the secret from the content of any source, including a vault.
///
/// # Errors
/// A retry does not help: an operator must fix the cause. The error names the location, never the content.
pub fn usable(content: &[u8], place: &str) -> Result<SecretString, SourceError> {
    let unusable = |fault| SourceError::Unusable { place: place.to_owned(), fault };
    if content.len() > MAX_BYTES {
        return Err(unusable(TOO_LONG));
    }
    let text = text::decoded(content).ok_or_else(|| unusable("is not text in UTF-8"))?;
    let text = Zeroizing::new(text.into_owned());
    let text = text::bare(&text);
    if text.is_empty() {
        return Err(unusable("is empty"));
    }
    Ok(SecretString::from(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn newline_quotes_and_byte_order_mark_are_trimmed_from_a_secret() {
        let utf_16 = |mark: [u8; 2], bytes: fn(u16) -> [u8; 2]| {
            let text = "\"s3cr3t\"\r\n".encode_utf16().flat_map(bytes);
            mark.into_iter().chain(text).collect::<Vec<u8>>()
        };
        for content in [
            "\u{feff}\"s3cr3t\" \r\n".as_bytes().to_vec(),
            utf_16([0xff, 0xfe], u16::to_le_bytes),
            utf_16([0xfe, 0xff], u16::to_be_bytes),
        ] {
            let secret = usable(&content, "x").expect("usable");

            assert_eq!(secret.expose_secret(), "s3cr3t");
        }
    }

    #[test]
    fn an_unusable_secret_is_named_without_its_content() {
        let long = "canary".repeat(20_000);
        for (content, fault) in [
            (b"canary\xff".as_slice(), "is not text in UTF-8"),
            (b"\xff\xfec\0a", "is not text in UTF-8"),
            (b" \n", "is empty"),
            (b"\"\"\n", "is empty"),
            (long.as_bytes(), "is longer than 64 KiB"),
        ] {
            let error = usable(content, "/run/secret").expect_err("unusable").to_string();

            assert_eq!(error, format!("/run/secret {fault}"));
        }
    }

    #[test]
    fn files_are_read_and_other_things_refused() {
        let this = Source::File(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml"));
        let directory = Source::File(PathBuf::from(env!("CARGO_MANIFEST_DIR")));
        let missing = Source::File("/nonexistent/secret".into());

        assert!(read_local(&this).expect("readable").expose_secret().starts_with("[package]"));
        let error = read_local(&directory).expect_err("a directory").to_string();
        assert!(error.ends_with("is not a regular file"), "{error}");
        let error = read_local(&missing).expect_err("missing").to_string();
        assert_eq!(error, "cannot read /nonexistent/secret: entity not found");
    }

    #[test]
    fn a_variable_that_is_not_set_is_named() {
        let error = read_local(&Source::Env("PERENNIAL_NO_SUCH".into())).expect_err("not set").to_string();

        assert_eq!(error, "the environment variable PERENNIAL_NO_SUCH is not set");
    }

    #[test]
    fn a_credential_is_a_file_of_the_units_directory_and_of_no_other() {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR"));

        assert_eq!(credential_in(directory, "Cargo.toml").expect("a name"), directory.join("Cargo.toml"));
        for id in ["", ".", "..", "../Cargo.toml", "src/lib.rs"] {
            let error = credential_in(directory, id).expect_err("refused");
            assert!(matches!(error, SourceError::BadCredential(_)), "{id}");
        }
    }
}
