//! All times and limits of a renewal. Perennial measures most of these times by the clock's uptime, and some by the
//! time of a look. A *look* is what the vault and Entra showed at one time (`CredentialLook`).

use chrono::TimeDelta;

/// If Entra has accepted a new secret for this long without a rejection, Perennial assumes that all of Entra's servers
/// know the secret (docs/azure-facts.md F604).
pub const SETTLED_AFTER: TimeDelta = TimeDelta::minutes(15);

/// The minimum number of accepted probes before a new secret is saved.
pub const SETTLED_PROBES: u32 = 15;

/// The time between two probes of a new secret.
pub const PROBE_EVERY: TimeDelta = TimeDelta::seconds(60);

/// Entra must accept a new secret or certificate version reliably (`SETTLED_AFTER`) before this time has passed.
/// Otherwise Perennial removes the secret, or reports the certificate version.
pub const GIVE_UP_AFTER: TimeDelta = TimeDelta::hours(1);

/// A new secret is saved within this time after its creation, or not at all. This time is much shorter than
/// `ORPHAN_AGE`. So no instance saves a secret while another instance removes the same secret as an orphan.
pub const SAVED_WITHIN: TimeDelta = TimeDelta::hours(12);

/// If Perennial created a secret and no version in the vault carries it, Perennial removes the secret at this age.
pub const ORPHAN_AGE: TimeDelta = TimeDelta::hours(24);

/// The old secret is removed this long after the new one was saved. Until then, other programs may still use the old
/// value.
pub const GRACE: TimeDelta = TimeDelta::days(7);

/// The time between two looks at the vault and the app registration while nothing is due.
pub const LOOK_EVERY: TimeDelta = TimeDelta::hours(6);

/// The time between two looks at a certificate. This time is shorter than `LOOK_EVERY`, because Key Vault may create a
/// new version without Perennial. Until Perennial has registered the new version at Entra, programs that use it cannot
/// authenticate.
pub const CERTIFICATE_LOOK_EVERY: TimeDelta = TimeDelta::hours(1);

/// If a new version of a certificate is not in use this long after its creation, Perennial reports the version.
pub const REPORTED_AFTER: TimeDelta = TimeDelta::hours(2);

/// Perennial changes Entra or the vault only if the last look is at most this old. An older look is enough only to
/// remove a new secret that Perennial has not saved.
pub const LOOK_IS_FRESH: TimeDelta = TimeDelta::minutes(5);

/// The maximum number of secrets or certificate versions that all instances together create in a day. A restart does
/// not reset the count.
pub const ATTEMPTS_A_DAY: usize = 3;

/// The wait after the first failed step. Each further failure doubles the wait.
pub const FIRST_RETRY: TimeDelta = TimeDelta::minutes(1);

/// The longest wait after a failed step.
pub const LONGEST_RETRY: TimeDelta = TimeDelta::hours(1);
