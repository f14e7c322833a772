//! Tests of the time that is left for a token.

use super::*;
use crate::rotation::samples;
use crate::status::samples::snapshot;

#[test]
fn only_a_strict_token_whose_successor_is_held_has_no_time_left() {
    let now = Timestamp::UNIX_EPOCH;
    let version = samples::version("v", now);
    let held = Phase::Unsaved(Box::new(samples::pending(version.clone(), now)));
    for (strict, phase, ends_now) in [
        (false, Phase::Current, false),
        (true, Phase::Current, false),
        (false, held.clone(), false),
        (true, held, true),
    ] {
        let state = State { phase, ..samples::proved(version.clone(), now) };
        let of = snapshot(ManagedToken { strict, ..samples::grant("a") }, &state, now, now);
        assert_eq!(of.runway(now).map(|left| left.is_zero()), Some(ends_now), "{strict}, {:?}", of.phase);
    }
}
