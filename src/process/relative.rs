//! Formats relative times in words, such as `2 h ago` or `in 3 d`. This module is pure.

use chrono::TimeDelta;

use crate::process::clock::Timestamp;

/// Formats a time span in its two largest units, such as `6 d 4 h`. A negative span is shown as `0 s`.
pub fn span(span: TimeDelta) -> String {
    const UNITS: [(i64, &str); 4] = [(86_400, "d"), (3_600, "h"), (60, "min"), (1, "s")];
    let seconds = span.num_seconds().max(0);
    let Some(first) = UNITS.iter().position(|(size, _)| seconds >= *size) else { return "0 s".to_owned() };
    let (size, unit) = UNITS[first];
    let whole = format!("{} {unit}", seconds / size);
    // Seconds are not shown next to a larger unit. From 30 days on, hours are not shown either.
    let rest = seconds % size;
    match UNITS.get(first + 1).map(|(size, unit)| (rest / size, unit)) {
        Some((more, unit)) if more > 0 && seconds < 30 * 86_400 && *unit != "s" => {
            format!("{whole} {more} {unit}")
        }
        _ => whole,
    }
}

/// Formats how long ago `at` was, or `just now`.
pub fn ago(at: Timestamp, now: Timestamp) -> String {
    let since = now - at;
    if since < TimeDelta::seconds(1) { "just now".to_owned() } else { format!("{} ago", span(since)) }
}

/// Formats the time left until `at`, or `now` if `at` has passed.
pub fn until(at: Timestamp, now: Timestamp) -> String {
    let left = at - now;
    if left < TimeDelta::seconds(1) { "now".to_owned() } else { format!("in {}", span(left)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_has_as_many_units_as_matter() {
        for (seconds, shown) in [
            (-5, "0 s"),
            (0, "0 s"),
            (59, "59 s"),
            (61, "1 min"),
            (3_600, "1 h"),
            (3_660, "1 h 1 min"),
            (6 * 86_400 + 4 * 3_600 + 59, "6 d 4 h"),
            (86_400 + 60, "1 d"),
            (87 * 86_400 + 3_600, "87 d"),
        ] {
            assert_eq!(span(TimeDelta::seconds(seconds)), shown, "{seconds}");
        }
    }

    #[test]
    fn a_past_time_is_ago_and_an_overdue_time_is_now() {
        let now = Timestamp::from_timestamp(1_760_000_000, 0).expect("in range");
        let minute = TimeDelta::minutes(1);

        assert_eq!(
            (ago(now - minute, now), until(now + minute, now)),
            ("1 min ago".into(), "in 1 min".into())
        );
        assert_eq!((ago(now, now), until(now - minute, now)), ("just now".into(), "now".into()));
    }
}
