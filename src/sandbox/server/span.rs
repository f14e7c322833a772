//! A span of time in a control's body: a number of seconds, or a text with a unit such as `"30d"`.

use chrono::TimeDelta;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

/// A span of time, forward or backward.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span(pub(super) TimeDelta);

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Seconds(i64),
            Text(String),
        }
        let span = match Written::deserialize(deserializer)? {
            Written::Seconds(seconds) => TimeDelta::try_seconds(seconds),
            Written::Text(text) => parse(&text),
        };
        // The longest span is about 100 years. Addition of a longer span to a time could overflow.
        let fits = |span: &TimeDelta| span.abs() <= TimeDelta::days(36_525);
        span.filter(fits).map(Self).ok_or_else(|| {
            D::Error::custom("must be a number of seconds, or a string such as \"30d\" or \"-90s\"")
        })
    }
}

fn parse(text: &str) -> Option<TimeDelta> {
    let (text, back) = text.strip_prefix('-').map_or((text, false), |rest| (rest, true));
    let span = TimeDelta::from_std(humantime::parse_duration(text).ok()?).ok()?;
    Some(if back { -span } else { span })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_and_texts_are_both_read() {
        for (json, seconds) in [("90", 90), ("\"90s\"", 90), ("\"-2h\"", -7200), ("-5", -5)] {
            let span: Span = serde_json::from_str(json).expect(json);
            assert_eq!(span.0.num_seconds(), seconds, "{json}");
        }
        for bad in ["\"soon\"", "\"-99999999d\"", "9223372036854775807", "-9000000000000000"] {
            assert!(serde_json::from_str::<Span>(bad).is_err(), "{bad}");
        }
    }
}
