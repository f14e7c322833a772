//! What any long-running program needs of its host: the time, a log, a hardened process, and what it was built from.
//!
//! Knows nothing of tokens.

/// This host's name, as messages show it.
pub fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

pub mod clock;
pub mod relative;
pub mod text;
pub mod telemetry;
pub mod hardening;
pub mod build_info;
