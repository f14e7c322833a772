//! The promises (docs/promises.md). The demo counts the checks of each promise and records the violations.

use crate::process::clock::Timestamp;

/// A promise of Perennial. docs/promises.md uses the same numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Promise {
    /// Promise 1: the newest version in the vault can be redeemed.
    Alive,
    /// Promise 2: Perennial writes only a proven successor. If Perennial's write overwrites a new sign-in, Perennial
    /// restores the sign-in as the newest version.
    NeverWorse,
    /// Promise 3: a process holds a successor until the vault contains it. The predecessor of the newest version
    /// stays readable.
    NeverDropped,
    /// Promise 4: Perennial reports each problem soon and once. It also reports the end of each problem.
    Told,
    /// Promise 5: Perennial shows no secret.
    Secret,
    /// Promise 6: no service gets too many requests.
    Polite,
    /// Promise 7: the vault is the only store.
    OnlyStore,
    /// Promise 8: two instances can run at the same time without harm.
    TwoAtOnce,
    /// Promise 9: a green state means that the token is usable.
    Green,
}

impl Promise {
    pub(super) const ALL: [Self; 9] = [
        Self::Alive,
        Self::NeverWorse,
        Self::NeverDropped,
        Self::Told,
        Self::Secret,
        Self::Polite,
        Self::OnlyStore,
        Self::TwoAtOnce,
        Self::Green,
    ];

    /// Returns the number of the promise, counted from 1.
    pub(super) fn number(self) -> usize {
        self as usize + 1
    }

    /// Returns the name of the promise, and a short text that says what the demo has checked.
    pub(super) fn text(self) -> (&'static str, &'static str) {
        match self {
            Self::Alive => ("alive", "the stored token could be redeemed"),
            Self::NeverWorse => ("never worse", "only proven tokens saved, no sign-in lost"),
            Self::NeverDropped => ("never dropped", "successors held until they were saved"),
            Self::Told => ("told", "problems reported soon, once, with cause"),
            Self::Secret => ("secret", "lines searched, no secret found"),
            Self::Polite => ("polite", "calls per day within the limits"),
            Self::OnlyStore => ("only store", "a restart needed only the vault's data"),
            Self::TwoAtOnce => ("two at once", "a second daemon did no harm"),
            Self::Green => ("green is usable", "\"current\" only after a recent redemption"),
        }
    }
}

/// For each promise, counts the checks and records the violations.
#[derive(Default)]
pub(super) struct Promises {
    checks: [u64; Promise::ALL.len()],
    failures: [u64; Promise::ALL.len()],
    /// The violations. Repeated violations are left out.
    told: Vec<(Promise, Timestamp, String)>,
    untold: usize,
    closed: bool,
}

impl Promises {
    /// Records a check. `why` describes the violation.
    pub(super) fn check(
        &mut self,
        promise: Promise,
        at: Timestamp,
        holds: bool,
        why: impl FnOnce() -> String,
    ) {
        self.checks[promise as usize] += 1;
        if holds || self.closed {
            return;
        }
        self.failures[promise as usize] += 1;
        let why = why();
        if !self.told.iter().any(|(known, _, told)| *known == promise && *told == why) {
            self.told.push((promise, at, why));
        }
    }

    /// Records `times` successful checks.
    pub(super) fn held(&mut self, promise: Promise, times: usize) {
        self.checks[promise as usize] += u64::try_from(times).unwrap_or(u64::MAX);
    }

    /// Ignores all later violations, since the user may cause any failure after the story.
    pub(super) fn close(&mut self) {
        self.closed = true;
    }

    /// Returns the violations that were recorded since the last call of this function.
    pub(super) fn news(&mut self) -> Vec<(Promise, Timestamp, String)> {
        let news = self.told[self.untold..].to_vec();
        self.untold = self.told.len();
        news
    }

    /// Returns the number of checks and the number of violations.
    pub(super) fn tally(&self, promise: Promise) -> (u64, u64) {
        (self.checks[promise as usize], self.failures[promise as usize])
    }

    /// Whether all promises were checked and all were kept.
    pub(super) fn all_held(&self) -> bool {
        Promise::ALL.iter().all(|promise| matches!(self.tally(*promise), (1.., 0)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_promise_that_was_never_checked_is_not_kept() {
        let mut promises = Promises::default();
        let at = Timestamp::UNIX_EPOCH;
        assert!(!promises.all_held());

        for promise in Promise::ALL {
            promises.check(promise, at, true, String::new);
        }
        assert!(promises.all_held());

        promises.check(Promise::Alive, at, false, || "it is dead".into());
        promises.check(Promise::Alive, at, false, || "it is dead".into());
        assert!(!promises.all_held());
        assert_eq!(promises.tally(Promise::Alive), (3, 2));
        assert_eq!(promises.news().len(), 1, "told once");
        assert!(promises.news().is_empty());
    }
}
