//! What has happened since the process began: rotations by token and outcome, failures by kind.
//!
//! Owns the counters behind `rotations_total` and `failures_total`, and how they are read off the states
//! that a token's task publishes. Knows nothing of metric formats. Twelve bytes a token.
//!
//! Invariant: what is counted was published; a look at the vault or a poke is no attempt and counts
//! nothing.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::ports::failure::Kind;
use crate::process::clock::Timestamp;
use crate::rotation::schedule::Next;
use crate::rotation::state::State;

/// How an attempt to bring a successor into the vault ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// The vault shows the successor.
    Saved,
    /// Somebody else's newer sign-in works and was kept.
    GaveWay,
    /// The successor is still held and will be tried again.
    Failed,
}

impl Outcome {
    /// All, for counters that start at zero.
    pub const ALL: [Self; 3] = [Self::Saved, Self::GaveWay, Self::Failed];

    /// The word in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Saved => "saved",
            Self::GaveWay => "gave_way",
            Self::Failed => "failed",
        }
    }
}

/// The counters. Kept in memory only: a restart begins at zero, as readers of counters expect.
#[derive(Debug)]
pub struct Counts {
    failures: [AtomicU64; Kind::ALL.len()],
    rotations: Box<[[AtomicU32; Outcome::ALL.len()]]>,
}

impl Counts {
    /// All at zero, for so many tokens.
    pub fn new(tokens: usize) -> Self {
        Self {
            failures: std::array::from_fn(|_| AtomicU64::new(0)),
            rotations: (0..tokens).map(|_| std::array::from_fn(|_| AtomicU32::new(0))).collect(),
        }
    }

    /// Failed attempts of that kind, of all tokens.
    pub fn failures(&self, kind: Kind) -> u64 {
        let place = Kind::ALL.iter().position(|known| *known == kind);
        place.map_or(0, |place| self.failures[place].load(Ordering::Relaxed))
    }

    /// Rotations of one token that ended so.
    pub fn rotations(&self, token: usize, outcome: Outcome) -> u32 {
        self.rotations.get(token).map_or(0, |of| of[outcome as usize].load(Ordering::Relaxed))
    }

    fn failed(&self, kind: Kind) {
        if let Some(place) = Kind::ALL.iter().position(|known| *known == kind) {
            self.failures[place].fetch_add(1, Ordering::Relaxed);
        }
    }

    fn rotated(&self, token: usize, outcome: Outcome) {
        if let Some(of) = self.rotations.get(token) {
            of[outcome as usize].fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Counts one token's steps by the states between them.
#[derive(Debug)]
pub struct Tally {
    counts: Arc<Counts>,
    token: usize,
    before: Cell<Before>,
}

/// What has to be known of the state before a step.
#[derive(Clone, Copy, Debug, Default)]
struct Before {
    attempts: bool,
    unsaved: bool,
    last_rotation_at: Option<Timestamp>,
    retry_at: Option<Timestamp>,
}

impl Tally {
    /// Counts for the token at that place.
    pub fn new(counts: Arc<Counts>, token: usize) -> Self {
        Self { counts, token, before: Cell::default() }
    }

    /// Takes note of a published state and of what comes next.
    pub fn note(&self, state: &State, next: &Next) {
        let before = self.before.replace(Before {
            attempts: matches!(next, Next::Prove | Next::Save),
            unsaved: state.is_unsaved(),
            last_rotation_at: state.last_rotation_at,
            retry_at: state.failing.as_ref().map(|failing| failing.retry_at),
        });
        if !before.attempts {
            return;
        }
        // Each failed attempt sets a new time for the next one.
        let failed = state.failing.as_ref().filter(|failing| before.retry_at != Some(failing.retry_at));
        if let Some(failing) = failed {
            self.counts.failed(failing.failure.kind);
        }
        let outcome = match failed {
            _ if !before.unsaved => return,
            _ if state.last_rotation_at != before.last_rotation_at => Outcome::Saved,
            Some(_) => Outcome::Failed,
            None if !state.is_unsaved() => Outcome::GaveWay,
            None => return,
        };
        self.counts.rotated(self.token, outcome);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use chrono::TimeDelta;

    use crate::ports::failure::{About, Failure, Remedy};
    use crate::rotation::samples;
    use crate::rotation::state::{Failing, Phase};

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_timestamp(1_760_000_000 + seconds, 0).expect("in range")
    }

    fn failing(kind: Kind, seconds: i64) -> Box<Failing> {
        let failure = Failure::new(kind, Remedy::Retry, About::Token, "x");
        Box::new(Failing { failure, since: at(0), attempts: 1, retry_at: at(seconds), version: None })
    }

    fn unsaved() -> Phase {
        Phase::Unsaved(Box::new(samples::held(samples::version("a", at(0)), at(0))))
    }

    fn tally() -> (Arc<Counts>, Tally) {
        let counts = Arc::new(Counts::new(1));
        (counts.clone(), Tally::new(counts, 0))
    }

    #[test]
    fn a_rotation_counts_once_with_its_failures_on_the_way() {
        let (counts, tally) = tally();
        let mut state = State::unknown(at(0));
        tally.note(&state, &Next::Prove);
        state.phase = unsaved();
        tally.note(&state, &Next::Save);

        state.failing = Some(failing(Kind::VaultUnreachable, 5));
        tally.note(&state, &Next::Wait(at(5)));
        tally.note(&state, &Next::Save);
        state.failing = None;
        state.phase = Phase::Current;
        state.last_rotation_at = Some(at(6));
        tally.note(&state, &Next::Wait(at(1000)));

        let outcomes = Outcome::ALL.map(|outcome| counts.rotations(0, outcome));
        assert_eq!(outcomes, [1, 0, 1]);
        assert_eq!(counts.failures(Kind::VaultUnreachable), 1);
    }

    #[test]
    fn giving_way_is_no_save() {
        let (counts, tally) = tally();
        let mut state = State::unknown(at(0));
        state.phase = unsaved();
        tally.note(&state, &Next::Save);

        state.phase = Phase::Current;
        tally.note(&state, &Next::Wait(at(100)));

        assert_eq!(Outcome::ALL.map(|outcome| counts.rotations(0, outcome)), [0, 1, 0]);
    }

    #[test]
    fn looking_and_poking_are_no_attempts() {
        let (counts, tally) = tally();
        let mut state = State::unknown(at(0));
        tally.note(&state, &Next::Prove);
        state.failing = Some(failing(Kind::LoginRequired, 60));
        tally.note(&state, &Next::Look);
        if let Some(failing) = &mut state.failing {
            failing.attempts += 1;
            failing.retry_at += TimeDelta::seconds(1);
        }
        tally.note(&state, &Next::Wait(at(61)));
        tally.note(&state, &Next::Prove);
        tally.note(&state, &Next::Wait(at(62)));

        assert_eq!(counts.failures(Kind::LoginRequired), 1);
    }
}
