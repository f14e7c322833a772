//! The promises (docs/promises.md), the number of checks of each, and the violations.

use crate::process::clock::Timestamp;

/// What Perennial promises; the numbers are those of docs/promises.md.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Promise {
    /// 1: the version that the vault returns can be redeemed.
    Alive,
    /// 2: only a proven successor is written, and no sign-in stays buried.
    NeverWorse,
    /// 3: a successor is held until it is in the vault, and its predecessor stays.
    NeverDropped,
    /// 4: each problem is reported soon and once, and so is its end.
    Told,
    /// 5: no secret is shown.
    Secret,
    /// 6: no service gets too many requests.
    Polite,
    /// 7: the vault is the only store.
    OnlyStore,
    /// 8: two at once do no harm.
    TwoAtOnce,
    /// 9: green means usable.
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

    /// Its number, as people count.
    pub(super) fn number(self) -> usize {
        self as usize + 1
    }

    /// Its name, and what was checked.
    pub(super) fn text(self) -> (&'static str, &'static str) {
        match self {
            Self::Alive => ("alive", "the vault's token could be redeemed"),
            Self::NeverWorse => ("never worse", "only proven successors, no lost sign-in"),
            Self::NeverDropped => ("never dropped", "successors held until they were saved"),
            Self::Told => ("told", "problems told soon, once, with the cause"),
            Self::Secret => ("secret", "lines searched, no secret found"),
            Self::Polite => ("polite", "calls of a day within the limits"),
            Self::OnlyStore => ("only store", "a restart continued from the vault"),
            Self::TwoAtOnce => ("two at once", "a second instance did no harm"),
            Self::Green => ("green is usable", "\"current\" only for a token just redeemed"),
        }
    }
}

/// The number of checks and the violations.
#[derive(Default)]
pub(super) struct Promises {
    checks: [u64; Promise::ALL.len()],
    failures: [u64; Promise::ALL.len()],
    /// The violations, each reported once.
    told: Vec<(Promise, Timestamp, String)>,
    untold: usize,
    closed: bool,
}

impl Promises {
    /// Records a check; `why` describes the violation.
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

    /// Records many successful checks.
    pub(super) fn held(&mut self, promise: Promise, times: usize) {
        self.checks[promise as usize] += u64::try_from(times).unwrap_or(u64::MAX);
    }

    /// The story is over: a user who plays on may break anything.
    pub(super) fn close(&mut self) {
        self.closed = true;
    }

    /// The violations since the last call.
    pub(super) fn news(&mut self) -> Vec<(Promise, Timestamp, String)> {
        let news = self.told[self.untold..].to_vec();
        self.untold = self.told.len();
        news
    }

    /// The numbers of checks and of violations.
    pub(super) fn tally(&self, promise: Promise) -> (u64, u64) {
        (self.checks[promise as usize], self.failures[promise as usize])
    }

    /// Whether all were checked and all were kept.
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
