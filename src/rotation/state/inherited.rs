//! What the previous process left in the vault, as read at start-up.
//!
//! The rules of alerts use it: what a sink was told is not told there again, and its end is told. If somebody wrote a
//! version while no daemon was there, the marks stand on the version below it. To find them costs one list.

use super::State;
use crate::ports::failure::Kind;
use crate::rotation::told::Marks;
use crate::token::version::{Version, tag};

/// What the process before left in the vault, as read at the start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Inherited {
    /// The newest version is a sign-in that no daemon has proved yet; a list tells what was there before.
    SignIn,
    /// The first sign-in there is.
    FirstSignIn,
    /// What the sinks were told, and not yet that it is over.
    Told(Marks),
    /// The version was refused, and no mark says who was told: the first version of Perennial wrote none, nor does a process
    /// without sinks.
    Refused(Kind),
}

impl Inherited {
    /// By the notes on the first version that is read.
    pub fn on(version: &Version) -> Option<Self> {
        let is_sign_in = version.redeemed_from().is_none();
        told_on(version).or_else(|| (is_sign_in && !version.is_proved_since()).then_some(Self::SignIn))
    }

    /// By the version before a sign-in. Somebody may have signed in more than once before a process looked: of these
    /// versions none was noted on.
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
    /// Takes in what stands on the version before a sign-in that was made while no daemon was there, where that is not known
    /// yet.
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
