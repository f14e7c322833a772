//! What the previous process left in the vault, as read at start-up.
//!
//! The alert rules use it: a delivered alert is not sent again, and its end is sent. If a version was written while no
//! daemon ran, the marks are on the version below it. Finding them costs one list.

use super::State;
use crate::ports::failure::Kind;
use crate::rotation::told::Marks;
use crate::token::version::{Version, tag};

/// What the previous process left in the vault, as read at start-up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Inherited {
    /// The newest version is a sign-in that no daemon has proved yet; a list shows the version before it.
    SignIn,
    /// The first sign-in of this secret.
    FirstSignIn,
    /// The alerts that were delivered and not resolved.
    Told(Marks),
    /// The version was rejected, without marks of delivered alerts: neither Perennial's first version nor a process
    /// without sinks writes any.
    Refused(Kind),
}

impl Inherited {
    /// From the tags of the first version that is read.
    pub fn on(version: &Version) -> Option<Self> {
        let is_sign_in = version.redeemed_from().is_none();
        told_on(version).or_else(|| (is_sign_in && !version.is_proved_since()).then_some(Self::SignIn))
    }

    /// From the version before a sign-in. Users may have signed in more than once before a process ran: these versions
    /// have no marks.
    pub fn before(sign_in: &Version, versions: &[Version]) -> Option<Self> {
        // Its successor may have been saved in the same second.
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
    /// Adopts the marks of the version before a sign-in that was made while no daemon ran, if they are not known yet.
    pub fn inherit_from_before_sign_in(&mut self, versions: &[Version]) {
        let Some(newest) = self.newest.as_ref().filter(|_| self.inherited == Some(Inherited::SignIn)) else {
            return;
        };
        // Its successor may have been saved since.
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
