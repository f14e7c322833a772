//! The times of a renewal, in one table. All of them are measured by the clock's uptime, or by the vault's time of a
//! look.

use chrono::TimeDelta;

/// A new secret counts as known to all of Entra's servers after it was accepted for this long, without a rejection
/// between (docs/azure-facts.md F604).
pub const SETTLED_AFTER: TimeDelta = TimeDelta::minutes(15);

/// The number of accepted probes that a new secret needs at least.
pub const SETTLED_PROBES: u32 = 15;

/// The time between two probes of a new secret.
pub const PROBE_EVERY: TimeDelta = TimeDelta::seconds(60);

/// A new secret that is not settled after this time is removed.
pub const GIVE_UP_AFTER: TimeDelta = TimeDelta::hours(1);

/// A new secret is saved within this time, or never. The time is far below `ORPHAN_AGE`. So no instance saves a secret
/// that another instance removes as an orphan.
pub const SAVED_WITHIN: TimeDelta = TimeDelta::hours(12);

/// A secret of Perennial that no version in the vault carries is removed at this age.
pub const ORPHAN_AGE: TimeDelta = TimeDelta::hours(24);

/// The old secret is removed this long after the new one was saved. Other programs may keep the old value until then.
pub const GRACE: TimeDelta = TimeDelta::days(7);

/// The time between two looks at the vault and the app registration while nothing is due.
pub const LOOK_EVERY: TimeDelta = TimeDelta::hours(6);

/// A change at Entra or in the vault needs a look that is at most this old.
pub const LOOK_IS_FRESH: TimeDelta = TimeDelta::minutes(5);

/// The number of secrets that are created in a day at most, over all instances and restarts.
pub const ATTEMPTS_A_DAY: usize = 3;

/// The wait after a failed step. Each further failure doubles it.
pub const FIRST_RETRY: TimeDelta = TimeDelta::minutes(1);

/// The longest wait after a failed step.
pub const LONGEST_RETRY: TimeDelta = TimeDelta::hours(1);
