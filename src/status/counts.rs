//! Counters since the start of the process: rotations for each token and outcome, and failures for each kind.
//!
//! This module owns the counters behind `rotations_total` and `failures_total` and the rules for counting events. It
//! does not own the metrics format. To save memory, the three counters of a token use only twelve bytes.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::ports::failure::Kind;
use crate::rotation::event::Event;

/// The result of an attempt to save a new refresh token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RotationOutcome {
    /// The new refresh token is saved, and is the newest version in the vault.
    Saved,
    /// Another writer stored a token before Perennial saved the new refresh token. The other writer's token works, so
    /// Perennial kept that token and dropped its own new refresh token.
    GaveWay,
    /// Saving failed. Perennial holds the new refresh token in memory and retries.
    Failed,
}

impl RotationOutcome {
    pub const ALL: [Self; 3] = [Self::Saved, Self::GaveWay, Self::Failed];

    /// The outcome's name in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Saved => "saved",
            Self::GaveWay => "gave_way",
            Self::Failed => "failed",
        }
    }
}

/// All counters, held only in memory. A restart resets them to zero, as metrics systems expect.
#[derive(Debug)]
pub struct Counts {
    failures: [AtomicU64; Kind::ALL.len()],
    rotations: Box<[[AtomicU32; RotationOutcome::ALL.len()]]>,
}

impl Counts {
    /// Creates counters at zero for this many tokens.
    pub fn new(tokens: usize) -> Self {
        Self {
            failures: std::array::from_fn(|_| AtomicU64::new(0)),
            rotations: (0..tokens).map(|_| std::array::from_fn(|_| AtomicU32::new(0))).collect(),
        }
    }

    /// The number of failures of this kind, summed over all tokens.
    pub fn failures(&self, kind: Kind) -> u64 {
        let place = Kind::ALL.iter().position(|known| *known == kind);
        place.map_or(0, |place| self.failures[place].load(Ordering::Relaxed))
    }

    /// The number of one token's rotations that had this outcome.
    pub fn rotations(&self, token: usize, outcome: RotationOutcome) -> u32 {
        self.rotations.get(token).map_or(0, |of| of[outcome as usize].load(Ordering::Relaxed))
    }

    /// Counts an event of one token.
    pub fn note(&self, token: usize, event: &Event) {
        match event {
            Event::Failed { failure, saving, .. } => {
                self.failed(failure.kind);
                if *saving {
                    self.rotated(token, RotationOutcome::Failed);
                }
            }
            Event::PartnerCenterRefused(said) => {
                self.failed(said.objection().unwrap_or(Kind::PartnerCenterRefused));
            }
            Event::Rotated(..) => self.rotated(token, RotationOutcome::Saved),
            Event::YieldedToNewerVersion(_) => self.rotated(token, RotationOutcome::GaveWay),
            Event::VersionSeen(_)
            | Event::Proved(..)
            | Event::TurnedOff
            | Event::VersionChanged
            | Event::PartnerCenterUnknown(_)
            | Event::IdentityUnverified(_)
            | Event::UserChanged(_)
            | Event::BuriedSignIn(..)
            | Event::BuriedSignInRefused(..)
            | Event::Rescued(..)
            | Event::HistoryUnread(_)
            | Event::TagsNotUpdated(..)
            | Event::TagsDropped(_)
            | Event::RetireFailed(..) => {}
        }
    }

    fn failed(&self, kind: Kind) {
        if let Some(place) = Kind::ALL.iter().position(|known| *known == kind) {
            self.failures[place].fetch_add(1, Ordering::Relaxed);
        }
    }

    fn rotated(&self, token: usize, outcome: RotationOutcome) {
        if let Some(of) = self.rotations.get(token) {
            of[outcome as usize].fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::ports::Acceptance;
    use crate::ports::failure::{Failure, FailureSubject, Remedy};
    use crate::token::version::VersionId;

    fn failed(kind: Kind, saving: bool) -> Event {
        let failure = Box::new(Failure::new(kind, Remedy::Retry, FailureSubject::Token, "x"));
        Event::Failed { failure, is_new: true, attempts: Some(1), saving }
    }

    fn version(id: &str) -> VersionId {
        VersionId(id.into())
    }

    #[test]
    fn each_event_counts_once_where_it_belongs() {
        let counts = Counts::new(2);
        for event in [
            Event::Proved(version("a"), uuid::Uuid::nil()),
            failed(Kind::VaultUnreachable, true),
            Event::Rotated(version("a"), version("b"), uuid::Uuid::nil()),
            Event::YieldedToNewerVersion(version("c")),
            failed(Kind::LoginRequired, false),
            failed(Kind::EntraUnreachable, false),
            Event::VersionChanged,
        ] {
            counts.note(1, &event);
        }

        assert_eq!(RotationOutcome::ALL.map(|outcome| counts.rotations(1, outcome)), [1, 1, 1]);
        assert_eq!(RotationOutcome::ALL.map(|outcome| counts.rotations(0, outcome)), [0, 0, 0]);
        let kinds = [Kind::VaultUnreachable, Kind::LoginRequired, Kind::EntraUnreachable];
        assert_eq!(kinds.map(|kind| counts.failures(kind)), [1, 1, 1]);
    }

    #[test]
    fn a_rejection_by_partner_center_counts_as_the_condition_that_it_opens() {
        let counts = Counts::new(1);
        for mfa in [None, Some(false)] {
            let said = Acceptance {
                accepted: false,
                mfa,
                tenant_id: None,
                company: None,
                is_audience: false,
                status: 401,
            };
            counts.note(0, &Event::PartnerCenterRefused(Box::new(said)));
        }

        let kinds = [Kind::PartnerCenterRefused, Kind::MfaRequired];
        assert_eq!(kinds.map(|kind| counts.failures(kind)), [1, 1]);
    }
    #[test]
    fn an_unknown_token_has_no_rotations_and_each_outcome_has_a_name() {
        let counts = Counts::new(1);
        counts.note(7, &Event::YieldedToNewerVersion(version("a")));

        assert_eq!(RotationOutcome::ALL.map(|outcome| counts.rotations(7, outcome)), [0; 3]);
        let names = RotationOutcome::ALL.map(RotationOutcome::as_str);
        assert_eq!(names, ["saved", "gave_way", "failed"], "metrics have these names");
    }
}
