//! Protects the memory and the new files of this process, because the process will read secrets.

use rustix::fs::Mode;
use rustix::process::{DumpableBehavior, Resource, Rlimit};

/// Disables core dumps and makes new files private to the user. Also prevents other processes of the same user from
/// reading the memory of this process. Logs failures and continues, because the supplied systemd units also disable
/// core dumps and make new files private.
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
