//! The only reader of wall-clock time.
//!
//! Owns what "now" means: the host's clock, or a made-up one that runs some days a second, corrected to
//! the vault's own time once the vault has said what that is, and never set back by the host. Everything
//! else takes `now` as an argument.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::atomic::AtomicI64;
use std::sync::atomic::Ordering;
use std::time::Duration;

use chrono::TimeDelta;
use chrono::Utc;
use tokio::time::Instant;

use crate::token::Timestamp;

/// Differences this small, in real time, are latency and the whole seconds of a `Date` header, not a
/// wrong clock.
const UNNOTICED: Duration = Duration::from_secs(2);

/// A clock. Cheap to clone; all clones share what they have learned from the vault.
#[derive(Clone, Debug)]
pub struct Clock(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    source: Source,
    /// Vault time minus source time, milliseconds.
    correction: AtomicI64,
}

#[derive(Debug)]
enum Source {
    Host(Mutex<Anchor>),
    Running(Mutex<Run>),
}

/// What the host's clock said once, and when by one that nobody sets.
#[derive(Debug)]
struct Anchor {
    said: Timestamp,
    at: std::time::Instant,
}

impl Anchor {
    /// How far the host's clock has been set back since. That it is ahead may be a sleep of the machine's.
    fn set_back(&mut self, says: Timestamp, at: std::time::Instant) -> TimeDelta {
        let passed = TimeDelta::from_std(at - self.at).unwrap_or(TimeDelta::MAX);
        let moved = says - (self.said + passed);
        if moved.abs() <= TimeDelta::from_std(UNNOTICED).unwrap_or(TimeDelta::MAX) {
            return TimeDelta::zero();
        }
        *self = Self { said: says, at };
        (-moved).max(TimeDelta::zero())
    }
}

/// A made-up clock since it was last set going.
#[derive(Debug)]
struct Run {
    base: Timestamp,
    since: Instant,
    speed: f64,
    leash: Duration,
}

impl Run {
    fn now(&self) -> Timestamp {
        let elapsed = self.since.elapsed().min(self.leash).mul_f64(self.speed);
        self.base + TimeDelta::from_std(elapsed).unwrap_or(TimeDelta::MAX)
    }
}

impl Clock {
    /// The host's clock.
    pub fn host() -> Self {
        let (said, at) = host_times();
        let anchor = Anchor { said, at };
        Self(Arc::new(Inner { source: Source::Host(Mutex::new(anchor)), correction: AtomicI64::new(0) }))
    }

    /// A clock that starts at `base` and runs `speed` times as fast as tokio's.
    pub fn running(base: Timestamp, speed: f64) -> Self {
        let run = Run { base, since: Instant::now(), speed, leash: Duration::MAX };
        Self(Arc::new(Inner { source: Source::Running(Mutex::new(run)), correction: AtomicI64::new(0) }))
    }

    /// Sets the speed of a made-up clock, which then stands still when it has not been paced again for
    /// `leash` of real time: so a busy machine slows it down instead of making everybody late. The
    /// host's clock is nobody's to pace.
    pub fn pace(&self, speed: f64, leash: Duration) {
        if let Source::Running(run) = &self.0.source {
            let mut run = lock(run);
            *run = Run { base: run.now(), since: Instant::now(), speed, leash };
        }
    }

    /// Now, by the vault's time as far as it is known.
    pub fn now(&self) -> Timestamp {
        self.uncorrected() + self.skew()
    }

    /// Learns the vault's time from an answer that arrived just now.
    pub fn observe(&self, vault_time: Timestamp) {
        let skew = vault_time - self.uncorrected();
        let unnoticed = self.unnoticed();
        let noticed = if (skew - self.skew()).abs() > unnoticed { skew } else { return };
        let noticed = if noticed.abs() > unnoticed { noticed } else { TimeDelta::zero() };
        self.0.correction.store(noticed.num_milliseconds(), Ordering::Relaxed);
    }

    /// How far the vault is ahead of this host.
    pub fn skew(&self) -> TimeDelta {
        TimeDelta::milliseconds(self.0.correction.load(Ordering::Relaxed))
    }

    /// Waits until `at`, but never longer than `most`, both by this clock.
    pub async fn sleep_until(&self, at: Timestamp, most: Duration) {
        let wait = (at - self.now()).to_std().unwrap_or(Duration::ZERO).min(most);
        tokio::time::sleep(self.real(wait)).await;
    }

    /// A span of this clock in real time.
    pub fn real(&self, span: Duration) -> Duration {
        match &self.0.source {
            Source::Host(_) => span,
            Source::Running(run) => span.div_f64(lock(run).speed),
        }
    }

    /// Latency is real time: on a clock that runs fast it is more.
    fn unnoticed(&self) -> TimeDelta {
        let speed = match &self.0.source {
            Source::Host(_) => 1.0,
            Source::Running(run) => lock(run).speed.max(1.0),
        };
        TimeDelta::from_std(UNNOTICED.mul_f64(speed)).unwrap_or(TimeDelta::MAX)
    }

    fn uncorrected(&self) -> Timestamp {
        match &self.0.source {
            Source::Host(anchor) => {
                let (says, at) = host_times();
                let back = lock(anchor).set_back(says, at);
                // What was due is due all the same; the next answer of the vault's says what is right.
                self.0.correction.fetch_add(back.num_milliseconds(), Ordering::Relaxed);
                says
            }
            Source::Running(run) => lock(run).now(),
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

    #[test]
    fn a_host_that_sets_its_clock_back_delays_nothing() {
        let (_, start) = host_times();
        let mut anchor = Anchor { said: base(), at: start };
        let mut says = |hours: i64, seconds: u64| {
            anchor.set_back(base() + TimeDelta::hours(hours), start + Duration::from_secs(seconds))
        };

        assert_eq!(says(1, 3600), TimeDelta::zero());
        assert_eq!(says(9, 3601), TimeDelta::zero(), "after a sleep, or set ahead");
        assert_eq!(says(3, 3601), TimeDelta::hours(6));
        assert_eq!(says(3, 3602), TimeDelta::zero(), "once");
    }

    #[tokio::test(start_paused = true)]
    async fn latency_is_not_a_wrong_clock() {
        let clock = Clock::running(base(), 1.0);

        clock.observe(base() - TimeDelta::seconds(1));

        assert_eq!(clock.skew(), TimeDelta::zero());
    }
}
