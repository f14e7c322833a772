//! Whether a token can be used, beside whether the issuer redeems it: Partner Center's word, and what is noted in the
//! vault for the next process.

use crate::ports::Acceptance;
use crate::ports::failure::Kind;
use crate::process::clock::Timestamp;
use crate::rotation::state::{Facts, State, Verdict};
use crate::token::version::{USABLE, Version, VersionId};

/// What a process noted on a version when it last tried it, short of a refusal of the grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Noted {
    /// What keeps it from being used; none where it was usable.
    pub kind: Option<Kind>,
    /// When it was usable, or since when it is not.
    pub at: Timestamp,
}

impl Noted {
    /// The kinds that are noted. A refusal of the grant has tags of its own, and what passes by itself is no verdict.
    const KINDS: [Kind; 5] = [
        Kind::PartnerCenterRefused,
        Kind::MfaRequired,
        Kind::AppCredentialRefused,
        Kind::VaultRefused,
        Kind::NoRefreshToken,
    ];

    /// The note on a version.
    pub fn on(version: &Version) -> Option<Self> {
        let (word, at) = version.verdict()?;
        let kind = match word {
            USABLE if version.is_noted_on_it(at) => None,
            word => Some(Self::KINDS.into_iter().find(|kind| kind.as_str() == word)?),
        };
        Some(Self { kind, at })
    }

    /// Whether it is Partner Center's word, and not what kept it from being asked.
    pub fn is_partner_centers(self) -> bool {
        matches!(self.kind, None | Some(Kind::PartnerCenterRefused | Kind::MfaRequired))
    }

    /// The word in the tag.
    pub fn word(self) -> &'static str {
        self.kind.map_or(USABLE, Kind::as_str)
    }
}

impl State {
    /// Takes in what Partner Center says of a version's access token. A rejection that is known already keeps its
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
    /// What Partner Center last said, as it is to be noted on a version that was issued then; nothing where it was not
    /// asked since.
    pub fn heard_since(&self, issued_at: Timestamp) -> Option<Noted> {
        let verdict = self.verdict.as_ref().filter(|verdict| verdict.at >= issued_at)?;
        let kind = verdict.acceptance.objection();
        Some(Noted { kind, at: if kind.is_some() { verdict.since } else { verdict.at } })
    }
}
