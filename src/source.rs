//! Secrets that do not come from a vault: files, environment variables, systemd credentials.
//!
//! Owns reading and trimming them. Never says what a value was, only where it was looked for.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::path::PathBuf;

use secrecy::SecretString;
use secrecy::zeroize::Zeroizing;
use thiserror::Error;

use crate::token::Source;

/// Key Vault's own bound on a value is 25 KB; no app secret comes near it.
const MAX_BYTES: u64 = 64 * 1024;

/// Why a local source gave no value.
#[derive(Debug, Error)]
pub enum SourceError {
    /// The file cannot be read.
    #[error("cannot read {}", path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        reason: std::io::Error,
    },
    /// The variable is not set, or not text.
    #[error("the environment variable {0} is not set")]
    NoVariable(String),
    /// The process was not started with credentials.
    #[error("$CREDENTIALS_DIRECTORY is not set: systemd passed no credential {0}")]
    NoCredentials(String),
    /// There is nothing in it.
    #[error("the value is empty")]
    Empty,
    /// A vault secret is not a local source.
    #[error("it names a vault secret")]
    InVault,
}

/// Reads a local source; surrounding whitespace is not part of the value.
///
/// # Errors
/// Operator, always: somebody has to put the value where the configuration says it is.
pub fn read_local(source: &Source) -> Result<SecretString, SourceError> {
    let text = match source {
        Source::Secret(_) => return Err(SourceError::InVault),
        Source::File(path) => read_file(path)?,
        Source::Env(name) => {
            Zeroizing::new(std::env::var(name).map_err(|_| SourceError::NoVariable(name.clone()))?)
        }
        Source::Credential(id) => {
            let directory = std::env::var_os("CREDENTIALS_DIRECTORY");
            let directory = directory.ok_or_else(|| SourceError::NoCredentials(id.clone()))?;
            read_file(&Path::new(&directory).join(id))?
        }
    };
    match text.trim() {
        "" => Err(SourceError::Empty),
        value => Ok(SecretString::from(value)),
    }
}

fn read_file(path: &Path) -> Result<Zeroizing<String>, SourceError> {
    let unreadable = |reason| SourceError::Unreadable { path: path.to_owned(), reason };
    let mut text = Zeroizing::new(String::new());
    File::open(path).map_err(unreadable)?.take(MAX_BYTES).read_to_string(&mut text).map_err(unreadable)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::*;

    #[test]
    fn a_files_last_newline_is_not_part_of_the_secret() {
        let path = std::env::temp_dir().join(format!("perennial-source-{}", std::process::id()));
        std::fs::write(&path, "s3cret~+&\n").expect("writable");

        let value = read_local(&Source::File(path.clone())).expect("readable");

        assert_eq!(value.expose_secret(), "s3cret~+&");
        std::fs::write(&path, " \n").expect("writable");
        assert!(matches!(read_local(&Source::File(path.clone())), Err(SourceError::Empty)));
        std::fs::remove_file(path).expect("ours");
    }

    #[test]
    fn what_is_missing_is_named() {
        let missing = read_local(&Source::File("/nonexistent/secret".into())).expect_err("missing");

        assert_eq!(missing.to_string(), "cannot read /nonexistent/secret");
    }
}
