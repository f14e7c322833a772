//! What this program was built from, as `build.rs` noted it.

/// The version that is released.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The commit; `-dirty` behind it where the source was not as committed, `unknown` where nobody said.
pub const REVISION: &str = env!("PERENNIAL_REVISION");

/// The compiler's version.
pub const RUSTC: &str = env!("PERENNIAL_RUSTC");

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
