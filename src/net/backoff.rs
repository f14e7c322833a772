//! Computes waits after a failure: doubling, jitter, and `Retry-After`.
//!
//! This module is pure: attempts, `Retry-After` and random samples are arguments. Each caller sets its own limits.

use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBuilder};

/// The maximum number of doublings. After 32 doublings, one second becomes 136 years, so every limit is reached.
const MOST_DOUBLINGS: usize = 32;

/// Returns `first`, doubled once for each earlier failed attempt, up to `longest`. The result is exact for whole
/// seconds.
pub fn doubled(first: Duration, longest: Duration, attempts: usize) -> Duration {
    let spans = ExponentialBuilder::default().with_factor(2.0).with_max_times(MOST_DOUBLINGS);
    let mut spans = spans.with_min_delay(first).with_max_delay(longest).build();
    spans.nth(attempts).unwrap_or(longest)
}

/// Returns a wait between zero and `span`. The wait is random, so that clients of a failed service do not all retry at
/// the same time. `sample` is in `[0, 1)`.
pub fn full_jitter(span: Duration, sample: f64) -> Duration {
    span.mul_f64(sample)
}

/// Returns a wait between half of `span` and `span`, so that a retry never follows immediately. `sample` is in
/// `[0, 1)`.
pub fn equal_jitter(span: Duration, sample: f64) -> Duration {
    span.mul_f64(0.5 + sample / 2.0)
}

/// Extends a wait to the peer's `Retry-After` (`asked`). If `asked` is longer than `most`, `most` is used instead.
pub fn heed(wait: Duration, asked: Option<Duration>, most: Duration) -> Duration {
    wait.max(asked.unwrap_or_default().min(most))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    #[test]
    fn spans_double_exactly_up_to_the_longest() {
        let of = |first, longest, attempts: &[usize]| -> Vec<u64> {
            let span = |attempts| doubled(seconds(first), seconds(longest), attempts);
            attempts.iter().map(|attempts| span(*attempts).as_secs()).collect()
        };

        assert_eq!(of(2, 600, &[0, 1, 2, 8, 9, 40]), [2, 4, 8, 512, 600, 600]);
        assert_eq!(of(120, 60 << 12, &[0, 1, 11, 12, usize::MAX]), [120, 240, 60 << 12, 60 << 12, 60 << 12]);
        assert_eq!(of(7, 60, &[1, 2, 3]), [14, 28, 56]);
        for attempts in 0..=12 {
            let span = doubled(seconds(3), seconds(100_000), attempts);
            assert_eq!(span, seconds((3 << attempts).min(100_000)), "{attempts}");
        }
    }

    #[test]
    fn jitter_stays_within_the_span() {
        let span = seconds(8);

        assert_eq!([0.0, 0.25, 1.0].map(|sample| full_jitter(span, sample)), [0, 2, 8].map(seconds));
        assert_eq!([0.0, 0.25, 1.0].map(|sample| equal_jitter(span, sample)), [4, 5, 8].map(seconds));
    }

    #[test]
    fn retry_after_never_shortens_a_wait_and_is_limited() {
        for (asked, wait) in [(None, 8), (Some(5), 8), (Some(30), 30), (Some(3_600), 60)] {
            assert_eq!(heed(seconds(8), asked.map(seconds), seconds(60)), seconds(wait), "{asked:?}");
        }
        assert_eq!(heed(seconds(90), Some(seconds(3_600)), seconds(60)), seconds(90));
    }
}
