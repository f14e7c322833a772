//! How long a process that should have ended goes on trying to save: a stop, and a command.
//!
//! By a clock that nobody can set, not by the vault's time or the host's, which may jump.

use std::time::Duration;

use tokio::time::Instant;

/// How long a stop keeps trying to save a successor; supervisors must allow more.
pub const GRACE: Duration = Duration::from_secs(25);

/// The wait between two attempts within the grace.
pub(crate) const PAUSE: Duration = Duration::from_secs(2);

/// A grace that has begun.
#[derive(Clone, Copy, Debug)]
pub struct Grace {
    ends_at: Instant,
}

impl Grace {
    /// Begins now.
    pub fn begin() -> Self {
        Self { ends_at: Instant::now() + GRACE }
    }

    /// When it ends.
    pub fn ends_at(self) -> Instant {
        self.ends_at
    }

    /// Waits for the next attempt, unless the grace is over. Whether there is one.
    pub async fn allows_another(self) -> bool {
        if Instant::now() >= self.ends_at {
            return false;
        }
        tokio::time::sleep(PAUSE).await;
        true
    }
}
