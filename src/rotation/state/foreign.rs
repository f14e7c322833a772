//! Handles foreign versions: versions that a person, a script or another program wrote, not Perennial.

use super::{DAY, State};
use crate::ports::failure::Remedy;
use crate::process::clock::Timestamp;
use crate::token::version::Version;

/// Another program that writes the secret repeatedly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ForeignWriter {
    /// The start of the repeated writes.
    pub since: Timestamp,
    /// The time at which the other program's last version was found.
    pub seen_at: Timestamp,
}

impl State {
    /// Records a foreign version that Perennial did not request. A second foreign version within a day opens an
    /// incident. Each foreign version within a day after the previous one continues the incident, even after a rotation
    /// by Perennial.
    pub fn note_foreign_version(&mut self, now: Timestamp) {
        let known = self.foreign_writer.filter(|writer| writer.seen_at + DAY > now);
        let again = self.foreign_rotated_at.is_some_and(|at| at + DAY > now);
        if again || known.is_some() {
            let since = known.map_or(now, |writer| writer.since);
            self.foreign_writer = Some(ForeignWriter { since, seen_at: now });
        }
    }

    /// Whether Perennial asks a person to sign in or to repair this grant. If so, Perennial expects a foreign version.
    pub fn awaits_sign_in(&self) -> bool {
        let blocked = self.blocked.as_ref().map(|blocked| &blocked.failure);
        let is_asked =
            blocked.is_some_and(|failure| failure.remedy == Remedy::Login || failure.token_refused());
        // If Perennial can no longer read the rejected version, `blocked` contains the read failure instead of the
        // rejection. The tags from the last successful read still show the rejection.
        let is_asked = is_asked || self.newest.as_ref().is_some_and(Version::is_refused);
        let verdict = self.known().and_then(|facts| facts.verdict.as_ref());
        is_asked || verdict.is_some_and(|verdict| verdict.acceptance.objection().is_some())
    }
}
