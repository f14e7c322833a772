//! The only module that reads the time.
//!
//! This module owns the meaning of "now". Until the first response of a vault, "now" is the time of the host's clock.
//! After that, "now" is the vault's time, advanced by a monotonic clock. So setting the host's clock does not change
//! "now". After a change of the host's clock, the task of each token reads the vault once, to get the vault's time
//! again (`Jumps::host`). All other code takes `now` as an argument.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use tokio::sync::watch;
use tokio::time::{Instant, Sleep};

/// The clock ignores a difference of at most this limit from the vault's time. Latency and the whole seconds of a
/// `Date` header cause such differences. `Clock::unnoticed` raises the limit for a clock that runs fast.
const UNNOTICED: Duration = Duration::from_secs(2);

/// The clock reports a jump of more than this limit, so that a wait can end early. A smaller jump delays nothing
/// important.
const JUMP: TimeDelta = TimeDelta::minutes(5);

/// A point in time, in UTC.
pub type Timestamp = DateTime<Utc>;

/// A cheap-to-clone clock. All clones share the time learned from the vault.
#[derive(Clone, Debug)]
pub struct Clock(Arc<ClockState>);

#[derive(Debug)]
struct ClockState {
    source: TimeSource,
    anchor: Mutex<Option<Anchor>>,
    jumps: watch::Sender<Jumps>,
}

/// The jumps of the clock until now. A wait that began before a jump may be too long or too short.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Jumps {
    /// The sum of all corrections that `Clock::observe` has made to the current time.
    pub corrected: TimeDelta,
    /// The number of times that the host's clock moved by more than `JUMP`, because the clock was set or the host
    /// slept. After such an event, only a vault knows the correct time.
    pub host: u32,
}

#[derive(Debug)]
enum TimeSource {
    Host { started: std::time::Instant },
    Running(Mutex<Run>),
}

/// The wall clock and the monotonic clock of a time source, read at the same moment.
#[derive(Clone, Copy, Debug)]
struct Reading {
    /// The time of day, which can be set.
    wall: Timestamp,
    /// How long the time source has run. This time cannot be set, and does not advance while the host sleeps.
    run: TimeDelta,
}

/// The vault's time and the moment when it was received.
#[derive(Clone, Copy, Debug)]
struct Anchor {
    time: Timestamp,
    run: TimeDelta,
    /// The host's clock at the moment when the vault's time was received. If `wall` minus `run` is different in a later
    /// reading, the host's clock has moved.
    wall: Timestamp,
}

impl Anchor {
    fn now(&self, reading: Reading) -> Timestamp {
        self.time + (reading.run - self.run)
    }

    /// How far the host's clock has moved relative to the monotonic clock.
    fn moved(&self, reading: Reading) -> TimeDelta {
        (reading.wall - self.wall) - (reading.run - self.run)
    }
}

/// How a simulated clock has run since the last change of its speed.
#[derive(Debug)]
struct Run {
    base: Timestamp,
    /// How long the clock had run before the last change of its speed.
    before: TimeDelta,
    since: Instant,
    speed: f64,
    leash: Duration,
}

impl Run {
    fn read(&self) -> Reading {
        let elapsed = self.since.elapsed().min(self.leash).mul_f64(self.speed);
        let elapsed = TimeDelta::from_std(elapsed).unwrap_or(TimeDelta::MAX);
        Reading { wall: self.base + elapsed, run: self.before + elapsed }
    }
}

impl Clock {
    /// Creates a clock that follows the host's clock.
    pub fn host() -> Self {
        let (_, started) = host_times();
        Self::of(TimeSource::Host { started })
    }

    /// Creates a clock that starts at `base` and runs `speed` times as fast as tokio's clock.
    pub fn running(base: Timestamp, speed: f64) -> Self {
        let before = TimeDelta::zero();
        let run = Run { base, before, since: Instant::now(), speed, leash: Duration::MAX };
        Self::of(TimeSource::Running(Mutex::new(run)))
    }

    fn of(source: TimeSource) -> Self {
        let jumps = watch::Sender::new(Jumps::default());
        Self(Arc::new(ClockState { source, anchor: Mutex::new(None), jumps }))
    }

    /// Sets the speed of a simulated clock. The clock stops unless this function is called again within `leash` of real
    /// time. If the caller is late on a busy machine, the clock waits, and the tasks do not become late. This function
    /// has no effect on the host's clock, which has no speed.
    pub fn pace(&self, speed: f64, leash: Duration) {
        if let TimeSource::Running(run) = &self.0.source {
            let mut run = lock(run);
            let Reading { wall, run: before } = run.read();
            *run = Run { base: wall, before, since: Instant::now(), speed, leash };
        }
    }

    /// Moves a simulated clock's time of day, as an administrator or a time server does on a real host.
    pub fn set_by(&self, by: TimeDelta) {
        if let TimeSource::Running(run) = &self.0.source {
            lock(run).base += by;
        }
    }

    /// The current time: the vault's time, if known, else the host's time.
    pub fn now(&self) -> Timestamp {
        let reading = self.read();
        let mut anchor = lock(&self.0.anchor);
        let Some(anchor) = anchor.as_mut() else { return reading.wall };
        let moved = anchor.moved(reading);
        if moved.abs() > JUMP {
            anchor.wall += moved;
            self.0.jumps.send_modify(|jumps| jumps.host = jumps.host.wrapping_add(1));
        }
        anchor.now(reading)
    }

    /// The host's time, without a correction to the vault's time.
    pub fn host_now(&self) -> Timestamp {
        self.read().wall
    }

    /// How long this clock has run. Setting the clock does not affect this time.
    pub fn uptime(&self) -> TimeDelta {
        self.read().run
    }

    /// Learns the vault's time from a response that has just arrived.
    pub fn observe(&self, vault_time: Timestamp) {
        let unnoticed = self.unnoticed();
        let reading = self.read();
        let mut anchor = lock(&self.0.anchor);
        let before = anchor.as_ref().map_or(reading.wall, |anchor| anchor.now(reading));
        let off = vault_time - before;
        let time = if off.abs() > unnoticed { vault_time } else { before };
        *anchor = Some(Anchor { time, run: reading.run, wall: reading.wall });
        self.0.jumps.send_if_modified(|jumps| {
            jumps.corrected += time - before;
            off.abs() > JUMP
        });
    }

    /// How far the vault's clock is ahead of the host's clock.
    pub fn skew(&self) -> TimeDelta {
        let reading = self.read();
        let skew = lock(&self.0.anchor).as_ref().map(|anchor| anchor.now(reading) - reading.wall);
        skew.filter(|skew| skew.abs() > self.unnoticed()).unwrap_or_default()
    }

    /// Subscribes to later jumps of the time.
    pub fn jumps(&self) -> watch::Receiver<Jumps> {
        self.0.jumps.subscribe()
    }

    /// Waits until `at` on this clock, but at most for the time span `most`.
    pub fn sleep_until(&self, at: Timestamp, most: Duration) -> Sleep {
        let wait = (at - self.now()).to_std().unwrap_or(Duration::ZERO).min(most);
        tokio::time::sleep(self.real(wait))
    }

    /// Converts a time span of this clock to real time.
    pub fn real(&self, span: Duration) -> Duration {
        match &self.0.source {
            TimeSource::Host { .. } => span,
            TimeSource::Running(run) => span.div_f64(lock(run).speed),
        }
    }

    /// Converts `UNNOTICED` to this clock's time. A clock that runs fast counts more time during the same latency.
    fn unnoticed(&self) -> TimeDelta {
        let speed = match &self.0.source {
            TimeSource::Host { .. } => 1.0,
            TimeSource::Running(run) => lock(run).speed.max(1.0),
        };
        TimeDelta::from_std(UNNOTICED.mul_f64(speed)).unwrap_or(TimeDelta::MAX)
    }

    fn read(&self) -> Reading {
        match &self.0.source {
            TimeSource::Host { started } => {
                let (wall, at) = host_times();
                Reading { wall, run: TimeDelta::from_std(at - *started).unwrap_or(TimeDelta::MAX) }
            }
            TimeSource::Running(run) => lock(run).read(),
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "only this function reads the host's clocks directly")]
fn host_times() -> (Timestamp, std::time::Instant) {
    (Utc::now(), std::time::Instant::now())
}

fn lock<T>(kept: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic cannot leave a half-changed value in the mutex. So this code also uses the value of a poisoned mutex.
    kept.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Converts a `std` duration to a `chrono` duration of at most a century. The limit makes it safe to add the result to
/// any realistic time.
pub fn delta(span: Duration) -> TimeDelta {
    const LONGEST: TimeDelta = TimeDelta::days(36_525);
    TimeDelta::from_std(span).map_or(LONGEST, |span| span.min(LONGEST))
}

/// Formats a time for tags and for the status: RFC 3339, UTC, whole seconds.
pub fn rfc3339(at: Timestamp) -> String {
    at.to_rfc3339_opts(SecondsFormat::Secs, true)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn base() -> Timestamp {
        "2026-03-01T00:00:00Z".parse().expect("a time")
    }

    #[tokio::test(start_paused = true)]
    async fn a_fast_clock_sleeps_a_day_in_a_moment() {
        let clock = Clock::running(base(), 86_400.0);
        let started = tokio::time::Instant::now();

        clock.sleep_until(base() + TimeDelta::days(1), Duration::MAX).await;

        assert!(started.elapsed() <= Duration::from_millis(1001));
        assert!(clock.now() >= base() + TimeDelta::days(1));
    }

    #[tokio::test(start_paused = true)]
    async fn the_vaults_time_wins_over_the_hosts() {
        let clock = Clock::running(base(), 1.0);

        clock.observe(base() + TimeDelta::hours(3));

        assert_eq!(clock.now(), base() + TimeDelta::hours(3));
        assert_eq!(clock.skew(), TimeDelta::hours(3));
        clock.observe(base());
        assert_eq!(clock.skew(), TimeDelta::zero());
    }

    #[tokio::test(start_paused = true)]
    async fn a_paced_clock_waits_for_a_slow_machine() {
        let clock = Clock::running(base(), 60.0);
        clock.pace(60.0, Duration::from_secs(2));
        tokio::time::advance(Duration::from_secs(10)).await;
        assert_eq!(clock.now(), base() + TimeDelta::minutes(2));

        clock.pace(120.0, Duration::from_secs(2));
        tokio::time::advance(Duration::from_secs(1)).await;

        assert_eq!(clock.now(), base() + TimeDelta::minutes(4));
        assert_eq!(clock.real(Duration::from_secs(120)), Duration::from_secs(1));
    }

    #[tokio::test(start_paused = true)]
    async fn latency_is_longer_on_a_fast_clock() {
        let clock = Clock::running(base(), 86_400.0);

        clock.observe(base() - TimeDelta::minutes(20));

        assert_eq!(clock.skew(), TimeDelta::zero());
    }

    #[tokio::test(start_paused = true)]
    async fn setting_the_hosts_clock_does_not_move_a_time_that_the_vault_has_told() {
        for by in [TimeDelta::days(400), TimeDelta::hours(-10), TimeDelta::minutes(6)] {
            let clock = Clock::running(base() + TimeDelta::hours(3), 1.0);
            clock.observe(base());
            let jumps = clock.jumps();

            clock.set_by(by);
            tokio::time::advance(Duration::from_secs(60)).await;

            assert_eq!(clock.now(), base() + TimeDelta::minutes(1), "{by}");
            assert_eq!(jumps.borrow().host, 1, "{by}: told once");
            assert_eq!(clock.now(), base() + TimeDelta::minutes(1), "{by}");
            assert_eq!(jumps.borrow().host, 1, "{by}: and no more");
            assert_eq!(clock.skew(), TimeDelta::hours(-3) - by);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_hosts_clock_counts_until_the_vault_has_told_its_time() {
        let clock = Clock::running(base(), 1.0);

        clock.set_by(TimeDelta::days(2));

        assert_eq!((clock.now(), clock.skew()), (base() + TimeDelta::days(2), TimeDelta::zero()));
        assert_eq!(clock.uptime(), TimeDelta::zero());
    }

    #[tokio::test(start_paused = true)]
    async fn a_correction_of_minutes_is_reported_and_one_of_seconds_is_not() {
        let clock = Clock::running(base(), 1.0);
        let jumps = clock.jumps();

        clock.observe(base() + TimeDelta::seconds(30));
        assert!(!jumps.has_changed().expect("the clock is here"));
        clock.observe(base() - TimeDelta::hours(10));

        assert!(jumps.has_changed().expect("the clock is here"));
        assert_eq!(*jumps.borrow(), Jumps { corrected: TimeDelta::hours(-10), host: 0 });
        assert_eq!(clock.now(), base() - TimeDelta::hours(10));
    }

    #[tokio::test(start_paused = true)]
    async fn latency_is_not_a_wrong_clock() {
        let clock = Clock::running(base(), 1.0);

        clock.observe(base() - TimeDelta::seconds(1));

        assert_eq!(clock.skew(), TimeDelta::zero());
    }
}
