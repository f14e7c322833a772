//! The record of alerts and rejections that the previous process left in the vault, as read at start-up.
//!
//! With this record, the alert rules do not send a delivered alert again, and they report when the alert's condition
//! ends. If a user signed in while no daemon was running, the marks of delivered alerts are on the version before the
//! sign-in. To find these marks, Perennial lists the versions.

use super::State;
use crate::ports::failure::Kind;
use crate::rotation::told::Marks;
use crate::token::version::{Version, tag};

/// The record that the previous process left in the vault, as read at start-up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Inherited {
    /// The newest version is a sign-in that no daemon has proved yet. The record is on the version before the sign-in.
    /// To find this version, Perennial lists the versions.
    SignIn,
    /// The newest version is the first sign-in of this secret.
    FirstSignIn,
    /// The alerts that were delivered and whose conditions are not resolved yet.
    Told(Marks),
    /// The version of the secret was rejected and has no marks of delivered alerts. The first build of Perennial
    /// (docs/upgrading.md) wrote no such marks. A process without sinks writes none either.
    Refused(Kind),
}

impl Inherited {
    /// Reads the record from a version's tags.
    pub fn on(version: &Version) -> Option<Self> {
        let is_sign_in = version.redeemed_from().is_none();
        told_on(version).or_else(|| (is_sign_in && !version.is_proved_since()).then_some(Self::SignIn))
    }

    /// Reads the record from the version before a sign-in. While no daemon was running, users may have signed in
    /// several times. Sign-ins from that time have no marks.
    pub fn before(sign_in: &Version, versions: &[Version]) -> Option<Self> {
        // The sign-in's own successor, saved in the same second, does not count as an older version.
        let is_older = |other: &&Version| {
            other.id != sign_in.id
                && other.created <= sign_in.created
                && other.redeemed_from().as_ref() != Some(&sign_in.id)
        };
        let mut older: Vec<&Version> = versions.iter().filter(is_older).collect();
        older.sort_by_key(|other| std::cmp::Reverse(other.created));
        if older.is_empty() {
            return Some(Self::FirstSignIn);
        }
        let noted = older.into_iter().map(Self::on).find(|found| *found != Some(Self::SignIn));
        noted.flatten()
    }
}

impl State {
    /// Takes over the marks of the version before a sign-in, if the user signed in while no daemon was running and
    /// these marks are still unknown.
    pub fn inherit_from_before_sign_in(&mut self, versions: &[Version]) {
        let Some(newest) = self.newest.as_ref().filter(|_| self.inherited == Some(Inherited::SignIn)) else {
            return;
        };
        // The newest version may already be the successor of the sign-in.
        let sign_in = newest.redeemed_from().unwrap_or_else(|| newest.id.clone());
        if let Some(sign_in) = versions.iter().find(|version| version.id == sign_in) {
            self.inherited = Inherited::before(sign_in, versions);
        }
    }
}

fn told_on(version: &Version) -> Option<Inherited> {
    let marks = Marks::on(&version.tags);
    if !marks.is_empty() {
        return Some(Inherited::Told(marks));
    }
    version.tags.get(tag::REFUSED_KIND).and_then(Kind::parse).map(Inherited::Refused)
}

#[cfg(test)]
mod tests;
