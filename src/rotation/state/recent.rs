//! Counts the events of the last day, for the daily limits (promise 6).

use chrono::{DateTime, TimeDelta};

use crate::process::clock::Timestamp;

/// The times of the last day's events. The times are stored in whole seconds to save memory, since there are many.
#[derive(Clone, Debug, Default)]
pub struct Recent(Vec<u32>);

pub const DAY: TimeDelta = TimeDelta::days(1);

impl Recent {
    /// Counts one event at `now`.
    pub fn note(&mut self, now: Timestamp) {
        let past = self.0.iter().take_while(|at| instant(**at) + DAY <= now).count();
        self.0.drain(..past);
        // The time is rounded up, so that the event counts for a full day.
        let seconds = now.timestamp() + i64::from(now.timestamp_subsec_nanos() > 0);
        self.0.push(u32::try_from(seconds).unwrap_or(u32::MAX));
    }

    /// Whether no event is recorded. An event that is older than a day is removed only when the next event is counted.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Drops times after `now`, which were recorded before the clock was set back.
    pub fn forget_after(&mut self, now: Timestamp) {
        // An event of this second may have been rounded up to the next one.
        let latest = now.timestamp().saturating_add(1);
        self.0.retain(|at| i64::from(*at) <= latest);
    }

    /// Returns the first instant, `now` or later, at which `more` further events stay within `limit` events a day. If
    /// `more` is greater than `limit`, returns `now`. This can happen to a rotation whose list of versions has more
    /// than 50 pages.
    pub fn room_at(&self, limit: usize, more: usize, now: Timestamp) -> Timestamp {
        let mut live = self.0.iter().map(|at| instant(*at)).filter(|at| *at + DAY > now);
        let over = (live.clone().count() + more).saturating_sub(limit);
        match over.checked_sub(1).and_then(|last| live.nth(last)) {
            Some(at) => at + DAY,
            None => now,
        }
    }

    /// Returns the time of the next attempt in a long outage, so that `limit` attempts are spread over a whole day.
    /// Attempts are immediate while more than two thirds of `limit` are left. After that, the attempts are evenly
    /// spaced, and the interval is at least a day divided by `limit`. Without this spacing, most attempts of each day
    /// would fall into one hour, and a long gap would follow.
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

/// Limits the vault calls while Perennial checks the vault every minute (`State::is_watching`). Up to `BURST` calls may
/// happen at once. A day has at most 1,500 calls (promise 6). If another program often writes a new version, Perennial
/// checks each new version until `BURST` is used up. After that, Perennial checks as often as the limit allows.
///
/// There are too many calls to record the time of each one. Instead, this type records one instant. Each call moves
/// this instant into the future by `EACH`. A call is allowed only if the instant is not too far ahead of the current
/// time.
#[derive(Clone, Copy, Debug, Default)]
pub struct WatchRoom(Option<Timestamp>);

impl WatchRoom {
    /// How far each call moves the instant. With this value and `BURST`, a day has at most 1,488 calls. The regular
    /// checks need 1,329 of these calls.
    const EACH: TimeDelta = TimeDelta::milliseconds(61_700);
    const BURST: i32 = 87;

    /// Counts one call at `now`.
    pub fn note(&mut self, now: Timestamp) {
        self.0 = Some(self.0.map_or(now, |at| at.max(now)) + Self::EACH);
    }

    /// Returns the first instant, `now` or later, at which the limit allows `calls` more calls.
    pub fn room_at(self, calls: usize, now: Timestamp) -> Timestamp {
        let calls = i32::try_from(calls).unwrap_or(Self::BURST).min(Self::BURST);
        self.0.map_or(now, |at| (at - Self::EACH * (Self::BURST - calls)).max(now))
    }

    /// After the clock was set back, limits the recorded instant to its maximum: `BURST` times `EACH` after `now`.
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
    fn times_after_now_are_forgotten_except_those_of_this_second() {
        let mut recent = Recent::default();
        assert!(recent.is_empty());
        for seconds in [0, 1, 2] {
            recent.note(at(seconds));
        }
        recent.forget_after(at(0));

        assert!(!recent.is_empty());
        assert_eq!(recent.room_at(3, 1, at(0)), at(0), "two are left");
        assert_eq!(recent.room_at(2, 1, at(0)), at(0) + DAY);
    }

    #[test]
    fn an_event_counts_for_exactly_a_day() {
        let mut recent = Recent::default();
        recent.note(at(0));
        let last = at(0) + DAY - TimeDelta::milliseconds(1);
        assert_eq!(recent.room_at(1, 1, last), at(0) + DAY);
        assert_eq!(recent.spread_at(1, last), last + DAY, "one a day");
        recent.note(at(0) + DAY);
        assert_eq!(recent.0.len(), 1, "the first one is over");
        assert_eq!(recent.room_at(1, 5, at(0) + DAY), at(0) + DAY, "five never fit, so they need not wait");
    }

    #[test]
    fn checks_have_room_for_a_burst_and_then_for_one_call_each_minute() {
        let mut room = WatchRoom::default();
        assert_eq!(room.room_at(1_000, at(0)), at(0));
        (0..86).for_each(|_| room.note(at(0)));
        assert_eq!(room.room_at(1, at(0)), at(0));
        assert_eq!(room.room_at(2, at(0)), at(0) + WatchRoom::EACH);
        room.note(at(0));
        assert_eq!(room.room_at(1, at(0)), at(0) + WatchRoom::EACH);
        assert_eq!(room.room_at(3, at(0)), at(0) + WatchRoom::EACH * 3);
        assert_eq!(room.room_at(1_000, at(0)), at(0) + WatchRoom::EACH * 87, "a burst is the most");
        let later = at(0) + WatchRoom::EACH * 100;
        assert_eq!(room.room_at(87, later), later, "the room comes back");
        room.note(later);
        assert_eq!(room.room_at(87, later), later + WatchRoom::EACH);

        let mut wrong = WatchRoom::default();
        (0..200).for_each(|_| wrong.note(at(0) + DAY));
        wrong.correct(at(0));
        assert_eq!(wrong.room_at(1, at(0)), at(0) + WatchRoom::EACH);
        room.correct(later);
        assert_eq!(room.room_at(87, later), later + WatchRoom::EACH, "a right time stays");
    }

    #[test]
    fn fractions_of_a_second_are_rounded_up() {
        let mut recent = Recent::default();
        recent.note(at(0) + TimeDelta::milliseconds(500));

        assert!(recent.room_at(1, 1, at(0) + DAY) >= at(0) + DAY + TimeDelta::milliseconds(500));
    }
}
