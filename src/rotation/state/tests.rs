//! The failures that a success clears.

use super::*;
use crate::ports::failure::Remedy;
use crate::rotation::samples;

#[test]
fn a_success_clears_only_failures_of_the_same_subject() {
    let now = Timestamp::UNIX_EPOCH;
    let version = samples::version("v", now);
    let of = |about, remedy| Failure::new(Kind::VaultRefused, remedy, about, "as told");
    for remedy in [Remedy::Operator, Remedy::Retry] {
        let failed = of(FailureSubject::History, remedy);
        let mut state = samples::failed(samples::proved(version.clone(), now), failed, now, 3);

        state.clear_failures_about(FailureSubject::AppCredential);
        assert!(state.failure().is_some(), "{remedy:?}: something else worked");
        state.clear_failures_about(FailureSubject::History);
        assert_eq!(state.failure(), None, "{remedy:?}");
    }
}
