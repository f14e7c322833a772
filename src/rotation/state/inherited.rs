//! What the previous process left in the vault, as read at start-up.
//!
//! The rules of alerts use it: what the tags say was reported is not reported to people again, and its end is reported.
//! What a sign-in ended stands on the version below it. To find it costs one list, and one tag update if `login` wrote the
//! sign-in.

use super::Noted;
use crate::ports::failure::Kind;
use crate::token::version::{Version, tag};

/// What the process before left in the vault, as read at the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inherited {
    /// The newest version is a sign-in that no daemon has proved yet; a list tells what it ended.
    SignIn,
    /// The first sign-in there is.
    FirstSignIn,
    /// What was on top before was noted to be refused, for this reason.
    Refused(Kind),
}

impl Inherited {
    /// By the notes on the first version that is read.
    pub fn on(version: &Version) -> Option<Self> {
        if version.is_refused() {
            return refused_kind(version).map(Self::Refused);
        }
        if let Some(kind) = not_accepted(version) {
            return Some(Self::Refused(kind));
        }
        let is_sign_in = version.redeemed_from().is_none();
        (is_sign_in && !version.is_proved_since()).then_some(Self::SignIn)
    }

    /// What a sign-in ended, by the version before it.
    pub fn before(sign_in: &Version, versions: &[Version]) -> Option<Self> {
        let older =
            versions.iter().filter(|other| other.id != sign_in.id && other.created <= sign_in.created);
        match older.max_by_key(|other| other.created) {
            Some(version) => refused_kind(version).or(not_accepted(version)).map(Self::Refused),
            None => Some(Self::FirstSignIn),
        }
    }
}

fn refused_kind(version: &Version) -> Option<Kind> {
    version.tags.get(tag::REFUSED_KIND).and_then(Kind::parse)
}

/// What Partner Center was noted to hold against it.
fn not_accepted(version: &Version) -> Option<Kind> {
    Noted::on(version).filter(|noted| noted.is_partner_centers())?.kind
}
