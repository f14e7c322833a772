//! Tests of the wait between two delivery attempts.

use super::*;

#[test]
fn waits_double_up_to_a_limit_and_respect_retry_after() {
    let missed = |after| Undelivered { after, ..Undelivered::passing("") };
    let longest = |attempts| wait(attempts, &missed(None), 1.0);

    assert_eq!([0, 1, 2].map(longest), [2, 4, 8].map(Duration::from_secs));
    assert_eq!(longest(40), LONGEST_WAIT);
    assert_eq!(wait(0, &missed(None), 0.0), FIRST_WAIT / 2);
    let asked = Duration::from_secs(120);
    assert_eq!(wait(0, &missed(Some(asked)), 1.0), asked);
}
