//! Counts of the last day, for the daily limits (promise 6).

use chrono::{DateTime, TimeDelta};

use crate::process::clock::Timestamp;

/// The times of the last day's events, in whole seconds, since there are many.
#[derive(Clone, Debug, Default)]
pub struct Recent(Vec<u32>);

/// The span of the daily limits.
pub const DAY: TimeDelta = TimeDelta::days(1);

impl Recent {
    /// Counts one.
    pub fn note(&mut self, now: Timestamp) {
        let past = self.0.iter().take_while(|at| instant(**at) + DAY <= now).count();
        self.0.drain(..past);
        // Rounded up, so that a full day passes before the next one.
        let seconds = now.timestamp() + i64::from(now.timestamp_subsec_nanos() > 0);
        self.0.push(u32::try_from(seconds).unwrap_or(u32::MAX));
    }

    /// Whether there was none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Forgets times after `now`, by a clock that has been set back since.
    pub fn forget_after(&mut self, now: Timestamp) {
        // An event of this second may have been rounded up.
        let latest = now.timestamp().saturating_add(1);
        self.0.retain(|at| i64::from(*at) <= latest);
    }

    /// The first instant, `now` or later, at which `more` fit under `limit` a day. If no day has room for so many,
    /// that is `now`: a rotation whose list has more than 50 pages exceeds the limit.
    pub fn room_at(&self, limit: usize, more: usize, now: Timestamp) -> Timestamp {
        let mut live = self.0.iter().map(|at| instant(*at)).filter(|at| *at + DAY > now);
        let over = (live.clone().count() + more).saturating_sub(limit);
        match over.checked_sub(1).and_then(|last| live.nth(last)) {
            Some(at) => at + DAY,
            None => now,
        }
    }

    /// When to make the next of many attempts, so that the limit lasts for a day. Attempts are immediate while more
    /// than two thirds of `limit` are left, and evenly spaced from then on. The spacing is at least that of an even
    /// distribution over a day. Otherwise one crowded hour would return each day, followed by a gap.
    pub fn spread_at(&self, limit: usize, now: Timestamp) -> Timestamp {
        let mut live = self.0.iter().map(|at| instant(*at)).filter(|at| *at + DAY > now);
        let left = limit.saturating_sub(live.clone().count());
        match (live.next(), i32::try_from(left + 1)) {
            (Some(oldest), Ok(steps)) if left <= limit / 3 * 2 => {
                let shortest = DAY / i32::try_from(limit).unwrap_or(i32::MAX);
                now + shortest.max((oldest + DAY - now) / steps)
            }
            _ => now,
        }
    }
}

/// The vault calls of the checks for a person's action: a few at once, and no more per day than promise 6 allows
/// (1,500). Frequent writes of another program are checked each time at first, and then as often as that allows.
///
/// One instant holds it, since there are too many calls to record each: the time at which all of them would have been
/// made, one after the other, with this much time for each.
#[derive(Clone, Copy, Debug, Default)]
pub struct WatchRoom(Option<Timestamp>);

impl WatchRoom {
    /// With the burst 1,488 in a day; the checks alone need 1,329.
    const EACH: TimeDelta = TimeDelta::milliseconds(61_700);
    const BURST: i32 = 87;

    /// Counts one.
    pub fn note(&mut self, now: Timestamp) {
        self.0 = Some(self.0.map_or(now, |at| at.max(now)) + Self::EACH);
    }

    /// The first instant, `now` or later, at which this many fit.
    pub fn room_at(self, calls: usize, now: Timestamp) -> Timestamp {
        let calls = i32::try_from(calls).unwrap_or(Self::BURST).min(Self::BURST);
        self.0.map_or(now, |at| (at - Self::EACH * (Self::BURST - calls)).max(now))
    }

    /// Corrects times of a clock that has been set back since.
    pub fn correct(&mut self, now: Timestamp) {
        self.0 = self.0.map(|at| at.min(now + Self::EACH * Self::BURST));
    }
}

fn instant(seconds: u32) -> Timestamp {
    DateTime::from_timestamp(seconds.into(), 0).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_timestamp(1_760_000_000 + seconds, 0).expect("in range")
    }

    #[test]
    fn a_full_day_makes_room_when_its_oldest_is_a_day_old() {
        let mut recent = Recent::default();
        for n in 0..3 {
            recent.note(at(n * 100));
        }

        assert_eq!(recent.room_at(4, 1, at(300)), at(300));
        assert_eq!(recent.room_at(3, 1, at(300)), at(0) + DAY);
        assert_eq!(recent.room_at(3, 2, at(300)), at(100) + DAY);
        assert_eq!(recent.room_at(3, 1, at(0) + DAY), at(0) + DAY);
    }

    #[test]
    fn attempts_are_spread_over_the_day_once_a_third_is_used() {
        let mut recent = Recent::default();
        let hours = |hours: i64| at(3_600 * hours);
        (0..3).for_each(|_| recent.note(hours(0)));
        assert_eq!(recent.spread_at(12, hours(0)), hours(0));

        recent.note(hours(0));
        assert_eq!(recent.spread_at(12, hours(6)), hours(8));
        (0..7).for_each(|_| recent.note(hours(6)));
        assert_eq!(recent.spread_at(12, hours(20)), hours(22));
        recent.note(hours(22));
        assert_eq!(recent.spread_at(12, hours(22)), hours(24));
        assert_eq!(recent.spread_at(12, hours(24)), hours(26), "no crowded hour comes back");
    }

    #[test]
    fn fractions_of_a_second_are_rounded_up() {
        let mut recent = Recent::default();
        recent.note(at(0) + TimeDelta::milliseconds(500));

        assert!(recent.room_at(1, 1, at(0) + DAY) >= at(0) + DAY + TimeDelta::milliseconds(500));
    }
}
