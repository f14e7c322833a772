//! Versions that somebody else writes: a sign-in that was asked for, or another writer of the same secret.

use super::{DAY, State};
use crate::ports::failure::Remedy;
use crate::process::clock::Timestamp;
use crate::token::version::Version;

/// Somebody else who writes the secret again and again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ForeignWriter {
    /// Since when.
    pub since: Timestamp,
    /// When the last version of theirs was found.
    pub seen_at: Timestamp,
}

impl State {
    /// Takes in a version that somebody else wrote unasked. A second one within a day is told. A further one within a
    /// day of that goes on with it, whether or not one was rotated meanwhile.
    pub fn note_foreign_version(&mut self, now: Timestamp) {
        let known = self.foreign_writer.filter(|writer| writer.seen_at + DAY > now);
        let again = self.foreign_rotated_at.is_some_and(|at| at + DAY > now);
        if again || known.is_some() {
            let since = known.map_or(now, |writer| writer.since);
            self.foreign_writer = Some(ForeignWriter { since, seen_at: now });
        }
    }

    /// Whether somebody was asked to sign in, or to see to what keeps this grant from being used: then a new version is
    /// what was asked for.
    pub fn awaits_sign_in(&self) -> bool {
        let blocked = self.blocked.as_ref().map(|blocked| &blocked.failure);
        let is_asked =
            blocked.is_some_and(|failure| failure.remedy == Remedy::Login || failure.token_refused());
        // What is told now may be that the refused version cannot be read any more.
        let is_asked = is_asked || self.newest.as_ref().is_some_and(Version::is_refused);
        let verdict = self.known().and_then(|facts| facts.verdict.as_ref());
        is_asked || verdict.is_some_and(|verdict| verdict.acceptance.objection().is_some())
    }
}
