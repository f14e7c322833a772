//! Whether a token can be used, beyond the issuer's answer: Partner Center's verdict, and its record in the vault for
//! the next process.

use crate::ports::Acceptance;
use crate::ports::failure::Kind;
use crate::process::clock::Timestamp;
use crate::rotation::state::{Facts, State, Verdict};
use crate::token::version::{USABLE, Version, VersionId};

/// The recorded result of a process's last attempt with a version, except for a rejection of the grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Noted {
    /// The failure; `None` if the version was usable.
    pub kind: Option<Kind>,
    /// When it was usable, or since when it is not.
    pub at: Timestamp,
}

impl Noted {
    /// The recorded kinds. A rejection of the grant has tags of its own, and a failure that may pass is no verdict.
    const KINDS: [Kind; 5] = [
        Kind::PartnerCenterRefused,
        Kind::MfaRequired,
        Kind::AppCredentialRefused,
        Kind::VaultRefused,
        Kind::NoRefreshToken,
    ];

    /// The record on a version.
    pub fn on(version: &Version) -> Option<Self> {
        let (word, at) = version.verdict()?;
        let kind = match word {
            USABLE if version.is_noted_on_it(at) => None,
            word => Some(Self::KINDS.into_iter().find(|kind| kind.as_str() == word)?),
        };
        Some(Self { kind, at })
    }

    /// Whether it is Partner Center's verdict, not a failure before it could be asked.
    pub fn is_partner_centers(self) -> bool {
        matches!(self.kind, None | Some(Kind::PartnerCenterRefused | Kind::MfaRequired))
    }

    /// The word in the tag.
    pub fn word(self) -> &'static str {
        self.kind.map_or(USABLE, Kind::as_str)
    }
}

impl State {
    /// Records Partner Center's verdict on a version's access token. A rejection that is already known keeps its
    /// beginning.
    pub fn hear(&mut self, version: &VersionId, acceptance: Acceptance, now: Timestamp) {
        let objection = acceptance.objection();
        let newest = self.newest.as_ref().filter(|newest| newest.id == *version);
        let noted = newest.and_then(Noted::on).filter(|noted| objection.is_some() && noted.kind == objection);
        let facts = self.facts_of(version);
        let before = facts.verdict.take().filter(|before| before.acceptance.objection() == objection);
        let since = match (before, noted) {
            (Some(before), _) => before.since,
            (None, Some(noted)) => noted.at.min(now),
            (None, None) => now,
        };
        facts.verdict = Some(Verdict { acceptance, at: now, since });
    }
}

impl Facts {
    /// Partner Center's last verdict, as a record on a version that was issued then; `None` without an answer since.
    pub fn heard_since(&self, issued_at: Timestamp) -> Option<Noted> {
        let verdict = self.verdict.as_ref().filter(|verdict| verdict.at >= issued_at)?;
        let kind = verdict.acceptance.objection();
        Some(Noted { kind, at: if kind.is_some() { verdict.since } else { verdict.at } })
    }
}
