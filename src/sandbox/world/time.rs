//! The world's time: a clock, an offset and a speed.

use chrono::TimeDelta;

use crate::process::clock::{Clock, Timestamp};

pub(super) struct WorldTime {
    clock: Clock,
    wall: Option<Clock>,
    /// The same moment in the clock's time and in the world's time. `now` counts from this moment.
    anchor: (Timestamp, Timestamp),
    speed: f64,
}

impl WorldTime {
    pub(super) fn new(clock: Clock) -> Self {
        let at = uncorrected(&clock);
        Self { clock, wall: None, anchor: (at, at), speed: 1.0 }
    }

    pub(super) fn now(&self) -> Timestamp {
        let passed = uncorrected(&self.clock) - self.anchor.0;
        self.anchor.1 + scaled(passed, self.speed)
    }

    /// Returns the time that decides whether an access token or an assertion is expired.
    pub(super) fn wall(&self) -> Timestamp {
        self.wall.as_ref().map_or_else(|| self.now(), uncorrected)
    }

    pub(super) fn set_wall(&mut self, clock: Clock) {
        self.wall = Some(clock);
    }

    pub(super) fn set_offset(&mut self, offset: TimeDelta) {
        let at = uncorrected(&self.clock);
        self.anchor = (at, at + offset);
    }

    pub(super) fn advance(&mut self, by: TimeDelta) {
        self.anchor.1 += by;
    }

    pub(super) fn speed(&self) -> f64 {
        self.speed
    }

    pub(super) fn set_speed(&mut self, speed: f64) {
        self.anchor = (uncorrected(&self.clock), self.now());
        self.speed = speed;
    }
}

fn uncorrected(clock: &Clock) -> Timestamp {
    clock.host_now()
}

fn scaled(span: TimeDelta, speed: f64) -> TimeDelta {
    if (speed - 1.0).abs() < f64::EPSILON {
        return span;
    }
    let real = span.to_std().unwrap_or_default();
    TimeDelta::from_std(real.mul_f64(speed)).unwrap_or(TimeDelta::zero())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn base() -> Timestamp {
        "2026-03-01T00:00:00Z".parse().expect("a time")
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_daemon_learns_about_the_vaults_time_does_not_move_the_world() {
        let clock = Clock::running(base(), 1.0);
        let mut time = WorldTime::new(clock.clone());
        time.set_offset(TimeDelta::hours(2));

        clock.observe(time.now());

        assert_eq!(time.now(), base() + TimeDelta::hours(2));
    }

    #[tokio::test(start_paused = true)]
    async fn a_change_of_speed_leaves_no_jump_behind() {
        let mut time = WorldTime::new(Clock::running(base(), 1.0));
        time.set_speed(3600.0);
        tokio::time::advance(Duration::from_secs(2)).await;
        time.set_speed(1.0);
        tokio::time::advance(Duration::from_secs(1)).await;

        assert_eq!(time.now(), base() + TimeDelta::hours(2) + TimeDelta::seconds(1));
    }
}
