//! The grace period: how long the daemon tries to save a successor during a shutdown. Commands use the same period.
//!
//! A monotonic clock measures the period, since the vault's time and the host's time may jump.

use std::time::Duration;

use tokio::time::Instant;

/// The length of the grace period. A supervisor, such as systemd, must wait longer than this before it kills the
/// process.
pub const GRACE: Duration = Duration::from_secs(25);

/// The wait between two attempts within the grace period.
pub(crate) const PAUSE: Duration = Duration::from_secs(2);

/// A running grace period.
#[derive(Clone, Copy, Debug)]
pub struct Grace {
    ends_at: Instant,
}

impl Grace {
    /// Starts a grace period now.
    pub fn begin() -> Self {
        Self { ends_at: Instant::now() + GRACE }
    }

    pub fn ends_at(self) -> Instant {
        self.ends_at
    }

    /// Waits until the next attempt may begin. Returns false if the grace period is over.
    pub async fn allows_another(self) -> bool {
        if Instant::now() >= self.ends_at {
            return false;
        }
        tokio::time::sleep(PAUSE).await;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_lasts_25_seconds_and_allows_an_attempt_every_two() {
        let grace = Grace::begin();
        assert_eq!(grace.ends_at() - Instant::now(), GRACE);
        let mut attempts = 0;
        while grace.allows_another().await {
            attempts += 1;
        }
        assert_eq!(attempts, 13);
    }
}
