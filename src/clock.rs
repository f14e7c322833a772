//! The only reader of wall-clock time.
//!
//! Owns what "now" means: the host's clock, or a made-up one that runs some days a second, corrected to
//! the vault's own time once the vault has said what that is. Everything else takes `now` as an
//! argument.

use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use std::sync::atomic::Ordering;
use std::time::Duration;

use chrono::TimeDelta;
use chrono::Utc;

use crate::token::Timestamp;

/// Differences this small are latency and the whole seconds of a `Date` header, not a wrong clock.
const UNNOTICED: TimeDelta = TimeDelta::seconds(2);

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
    Host,
    Running { base: Timestamp, since: tokio::time::Instant, speed: f64 },
}

impl Clock {
    /// The host's clock.
    pub fn host() -> Self {
        Self(Arc::new(Inner { source: Source::Host, correction: AtomicI64::new(0) }))
    }

    /// A clock that starts at `base` and runs `speed` times as fast as tokio's.
    pub fn running(base: Timestamp, speed: f64) -> Self {
        let source = Source::Running { base, since: tokio::time::Instant::now(), speed };
        Self(Arc::new(Inner { source, correction: AtomicI64::new(0) }))
    }

    /// Now, by the vault's time as far as it is known.
    pub fn now(&self) -> Timestamp {
        self.uncorrected() + self.skew()
    }

    /// Learns the vault's time from an answer that arrived just now.
    pub fn observe(&self, vault_time: Timestamp) {
        let skew = vault_time - self.uncorrected();
        let noticed = if (skew - self.skew()).abs() > UNNOTICED { skew } else { return };
        let noticed = if noticed.abs() > UNNOTICED { noticed } else { TimeDelta::zero() };
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
        match self.0.source {
            Source::Host => span,
            Source::Running { speed, .. } => span.div_f64(speed),
        }
    }

    fn uncorrected(&self) -> Timestamp {
        match &self.0.source {
            #[expect(
                clippy::disallowed_methods,
                reason = "this is the one place that reads the host's clock"
            )]
            Source::Host => Utc::now(),
            Source::Running { base, since, speed } => {
                let elapsed = since.elapsed().mul_f64(*speed);
                *base + TimeDelta::from_std(elapsed).unwrap_or(TimeDelta::MAX)
            }
        }
    }
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
    async fn latency_is_not_a_wrong_clock() {
        let clock = Clock::running(base(), 1.0);

        clock.observe(base() - TimeDelta::seconds(1));

        assert_eq!(clock.skew(), TimeDelta::zero());
    }
}
