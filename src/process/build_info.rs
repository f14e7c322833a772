//! The origin of this program, as recorded by `build.rs`.

/// The version of this release.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The source commit, with `-dirty` if the source was modified. If the build could not find the commit, the value is
/// `unknown`.
pub const REVISION: &str = env!("PERENNIAL_REVISION");

/// The version of the Rust compiler.
pub const RUSTC: &str = env!("PERENNIAL_RUSTC");

/// The target platform of this build.
pub const TARGET: &str = env!("PERENNIAL_TARGET");

/// All build information, as `--version` prints it.
pub const LONG: &str = concat!(
    env!("CARGO_PKG_VERSION"),
    "\nrevision  ",
    env!("PERENNIAL_REVISION"),
    "\nrustc     ",
    env!("PERENNIAL_RUSTC"),
    "\ntarget    ",
    env!("PERENNIAL_TARGET"),
);
