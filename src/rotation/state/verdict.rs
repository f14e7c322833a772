//! Partner Center's verdict on a token, and the record of the verdict in the vault. After a restart, the new process
//! reads this record.

use crate::ports::Acceptance;
use crate::ports::failure::Kind;
use crate::process::clock::Timestamp;
use crate::rotation::state::{Facts, State, Verdict};
use crate::token::version::{USABLE, Version, VersionId};

/// The result of the last attempt to use a version, as recorded in the tag `verdict`. Other tags record a rejection of
/// the grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Noted {
    /// The kind of failure. `None` if the version was usable.
    pub kind: Option<Kind>,
    /// The time of the success, or the start of the failure.
    pub at: Timestamp,
}

impl Noted {
    /// The kinds of failure that are recorded. A transient failure is not recorded.
    const KINDS: [Kind; 5] = [
        Kind::PartnerCenterRefused,
        Kind::MfaRequired,
        Kind::AppCredentialRefused,
        Kind::VaultRefused,
        Kind::NoRefreshToken,
    ];

    /// Reads the record from a version's tag.
    pub fn on(version: &Version) -> Option<Self> {
        let (word, at) = version.verdict()?;
        let kind = match word {
            USABLE if version.is_noted_on_it(at) => None,
            word => Some(Self::KINDS.into_iter().find(|kind| kind.as_str() == word)?),
        };
        Some(Self { kind, at })
    }

    /// Whether the record is Partner Center's verdict. Returns false if the record is a failure that came before the
    /// request to Partner Center.
    pub fn is_partner_centers(self) -> bool {
        matches!(self.kind, None | Some(Kind::PartnerCenterRefused | Kind::MfaRequired))
    }

    /// Returns the word that the tag `verdict` contains.
    pub fn word(self) -> &'static str {
        self.kind.map_or(USABLE, Kind::as_str)
    }
}

impl State {
    /// Records Partner Center's verdict on a version's access token. If the previous verdict was the same, the start of
    /// the previous verdict is kept.
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
    /// Returns Partner Center's last verdict, for the tag `verdict` of a version. `issued_at` is the time when Entra
    /// issued the version's token. Returns `None` if Partner Center has not answered since that time.
    pub fn heard_since(&self, issued_at: Timestamp) -> Option<Noted> {
        let verdict = self.verdict.as_ref().filter(|verdict| verdict.at >= issued_at)?;
        let kind = verdict.acceptance.objection();
        Some(Noted { kind, at: if kind.is_some() { verdict.since } else { verdict.at } })
    }
}
