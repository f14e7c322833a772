//! Versions by other writers: a requested sign-in, or another program that writes the same secret.

use super::{DAY, State};
use crate::ports::failure::Remedy;
use crate::process::clock::Timestamp;
use crate::token::version::Version;

/// Another program that writes the secret repeatedly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ForeignWriter {
    /// Its beginning.
    pub since: Timestamp,
    /// When its last version was found.
    pub seen_at: Timestamp,
}

impl State {
    /// Records an unrequested foreign version. A second one within a day is reported. A further one within a day of
    /// that continues the incident, whether or not one was rotated meanwhile.
    pub fn note_foreign_version(&mut self, now: Timestamp) {
        let known = self.foreign_writer.filter(|writer| writer.seen_at + DAY > now);
        let again = self.foreign_rotated_at.is_some_and(|at| at + DAY > now);
        if again || known.is_some() {
            let since = known.map_or(now, |writer| writer.since);
            self.foreign_writer = Some(ForeignWriter { since, seen_at: now });
        }
    }

    /// Whether a sign-in, or a fix of this grant, was requested: then a new version is the expected result.
    pub fn awaits_sign_in(&self) -> bool {
        let blocked = self.blocked.as_ref().map(|blocked| &blocked.failure);
        let is_asked =
            blocked.is_some_and(|failure| failure.remedy == Remedy::Login || failure.token_refused());
        // The current report may be that the rejected version can no longer be read.
        let is_asked = is_asked || self.newest.as_ref().is_some_and(Version::is_refused);
        let verdict = self.known().and_then(|facts| facts.verdict.as_ref());
        is_asked || verdict.is_some_and(|verdict| verdict.acceptance.objection().is_some())
    }
}
