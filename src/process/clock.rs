//! The only reader of the time.
//!
//! Owns what "now" means. Until a vault has told its time, now is what the host's clock says. From then on it is the
//! vault's time, counted on by a clock that cannot be set: whoever sets the host's clock changes nothing here. It only
//! makes every token look at the vault once (`Jumps::host`). Everything else takes `now` as an argument.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use tokio::sync::watch;
use tokio::time::{Instant, Sleep};

/// Differences this small, in real time, are latency and the whole seconds of a `Date` header, not a
/// wrong clock.
const UNNOTICED: Duration = Duration::from_secs(2);

/// Who waits by this clock is woken when it moves by more than this. What is smaller delays nothing that matters.
const JUMP: TimeDelta = TimeDelta::minutes(5);

/// An instant in UTC.
pub type Timestamp = DateTime<Utc>;

/// A clock. Cheap to clone; all clones share what they have learned from the vault.
#[derive(Clone, Debug)]
pub struct Clock(Arc<ClockState>);

#[derive(Debug)]
struct ClockState {
    source: TimeSource,
    anchor: Mutex<Option<Anchor>>,
    jumps: watch::Sender<Jumps>,
}

/// How the time has jumped so far. A wait that was begun before a jump may be the wrong one after it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Jumps {
    /// By how much the time in use was corrected to the vault's, all in all.
    pub corrected: TimeDelta,
    /// How often the host's clock was set, or the host slept: what time it is then only a vault can tell.
    pub host: u32,
}

#[derive(Debug)]
enum TimeSource {
    Host { started: std::time::Instant },
    Running(Mutex<Run>),
}

/// One moment by both clocks of a source.
#[derive(Clone, Copy, Debug)]
struct Reading {
    /// The time of day, which can be set.
    wall: Timestamp,
    /// How long the source has run: nobody sets it. It stands still while the host sleeps.
    run: TimeDelta,
}

/// The vault's time, and when it was that.
#[derive(Clone, Copy, Debug)]
struct Anchor {
    time: Timestamp,
    run: TimeDelta,
    /// What both clocks differed by then: more or less than that is a jump of the host's clock.
    wall: Timestamp,
}

impl Anchor {
    fn now(&self, reading: Reading) -> Timestamp {
        self.time + (reading.run - self.run)
    }

    /// How far the host's clock has moved against the one that cannot be set.
    fn moved(&self, reading: Reading) -> TimeDelta {
        (reading.wall - self.wall) - (reading.run - self.run)
    }
}

/// A made-up clock since it was last set going.
#[derive(Debug)]
struct Run {
    base: Timestamp,
    /// How long it had run by then.
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
    /// The host's clock.
    pub fn host() -> Self {
        let (_, started) = host_times();
        Self::of(TimeSource::Host { started })
    }

    /// A clock that starts at `base` and runs `speed` times as fast as tokio's.
    pub fn running(base: Timestamp, speed: f64) -> Self {
        let before = TimeDelta::zero();
        let run = Run { base, before, since: Instant::now(), speed, leash: Duration::MAX };
        Self::of(TimeSource::Running(Mutex::new(run)))
    }

    fn of(source: TimeSource) -> Self {
        let jumps = watch::Sender::new(Jumps::default());
        Self(Arc::new(ClockState { source, anchor: Mutex::new(None), jumps }))
    }

    /// Sets the speed of a made-up clock, which then stands still when it has not been paced again for
    /// `leash` of real time: so a busy machine slows it down instead of making everybody late. The
    /// host's clock is nobody's to pace.
    pub fn pace(&self, speed: f64, leash: Duration) {
        if let TimeSource::Running(run) = &self.0.source {
            let mut run = lock(run);
            let Reading { wall, run: before } = run.read();
            *run = Run { base: wall, before, since: Instant::now(), speed, leash };
        }
    }

    /// Moves the time of day of a made-up clock, as an administrator or a time server sets a host's.
    pub fn set_by(&self, by: TimeDelta) {
        if let TimeSource::Running(run) = &self.0.source {
            lock(run).base += by;
        }
    }

    /// Now, by the vault's time where it is known.
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

    /// What the host's clock says, right or wrong.
    pub fn host_now(&self) -> Timestamp {
        self.read().wall
    }

    /// How long this clock has run, whatever it was set to meanwhile.
    pub fn uptime(&self) -> TimeDelta {
        self.read().run
    }

    /// Learns the vault's time from an answer that arrived just now.
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

    /// How far the vault is ahead of this host.
    pub fn skew(&self) -> TimeDelta {
        let reading = self.read();
        let skew = lock(&self.0.anchor).as_ref().map(|anchor| anchor.now(reading) - reading.wall);
        skew.filter(|skew| skew.abs() > self.unnoticed()).unwrap_or_default()
    }

    /// Tells of each jump of the time from now on.
    pub fn jumps(&self) -> watch::Receiver<Jumps> {
        self.0.jumps.subscribe()
    }

    /// Waits until `at`, but never longer than `most`, both by this clock.
    pub fn sleep_until(&self, at: Timestamp, most: Duration) -> Sleep {
        let wait = (at - self.now()).to_std().unwrap_or(Duration::ZERO).min(most);
        tokio::time::sleep(self.real(wait))
    }

    /// A span of this clock in real time.
    pub fn real(&self, span: Duration) -> Duration {
        match &self.0.source {
            TimeSource::Host { .. } => span,
            TimeSource::Running(run) => span.div_f64(lock(run).speed),
        }
    }

    /// Latency is real time: on a clock that runs fast it is more.
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

#[expect(clippy::disallowed_methods, reason = "this is the one place that reads the host's clocks")]
fn host_times() -> (Timestamp, std::time::Instant) {
    (Utc::now(), std::time::Instant::now())
}

fn lock<T>(kept: &Mutex<T>) -> MutexGuard<'_, T> {
    // It is whole between statements, whoever panicked.
    kept.lock().unwrap_or_else(PoisonError::into_inner)
}

/// `chrono` from `std`, cut to a century, which can be added to any instant that is meant.
pub fn delta(span: Duration) -> TimeDelta {
    const LONGEST: TimeDelta = TimeDelta::days(36_525);
    TimeDelta::from_std(span).map_or(LONGEST, |span| span.min(LONGEST))
}

/// The form of every time in a tag and in a status: RFC 3339, UTC, whole seconds.
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
    async fn a_clock_on_a_leash_waits_for_a_machine_that_is_late() {
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
    async fn what_is_latency_is_more_on_a_clock_that_runs_fast() {
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
    async fn a_correction_of_minutes_is_told_and_one_of_seconds_is_not() {
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
