//! The origin of this program, as recorded by `build.rs`.

/// The released version.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The commit, with `-dirty` if the source was modified; `unknown` if the build was not told.
pub const REVISION: &str = env!("PERENNIAL_REVISION");

/// The compiler's version.
pub const RUSTC: &str = env!("PERENNIAL_RUSTC");

/// The platform that it was built for.
pub const TARGET: &str = env!("PERENNIAL_TARGET");

/// All of it, as `--version` prints it.
pub const LONG: &str = concat!(
    env!("CARGO_PKG_VERSION"),
    "\nrevision  ",
    env!("PERENNIAL_REVISION"),
    "\nrustc     ",
    env!("PERENNIAL_RUSTC"),
    "\ntarget    ",
    env!("PERENNIAL_TARGET"),
);
