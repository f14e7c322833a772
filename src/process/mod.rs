//! Basics of a long-running program: time, log, hardening, and build information.
//!
//! These modules use no other room (top-level module), so every room can use these modules.

/// Whether output to a stream may have colors. The stream must be a terminal that supports colors, and `NO_COLOR` must
/// not be set.
pub fn may_have_colors(is_terminal: bool) -> bool {
    let is_dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    is_terminal && !is_dumb && std::env::var_os("NO_COLOR").is_none_or(|no| no.is_empty())
}

/// The host name, as shown in messages.
pub fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

pub mod clock;
pub mod relative;
pub mod text;
pub mod file;
pub mod telemetry;
pub mod hardening;
pub mod build_info;
