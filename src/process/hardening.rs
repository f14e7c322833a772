//! What the process gives up at its start, since it will hold secrets in memory.

use rustix::fs::Mode;
use rustix::process::{DumpableBehavior, Resource, Rlimit};

/// Leaves no core dump behind and lets no process of the same user read this one's memory; files it may
/// come to make are its user's alone. What the kernel does not grant is not worth failing for: the unit
/// and the image say the same.
pub fn harden() {
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    let outcomes = [
        rustix::process::setrlimit(Resource::Core, none),
        rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable),
    ];
    for error in outcomes.into_iter().filter_map(Result::err) {
        tracing::debug!(event = "not_hardened", reason = %error);
    }
    rustix::process::umask(Mode::RWXG | Mode::RWXO);
}
