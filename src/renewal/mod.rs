//! Renews the client secret of an app before it expires. The loop is like the loop of `rotation`: a pure function
//! decides the next step, and the loop carries out this step.
//!
//! This module owns the order of the steps. Perennial creates a secret at Entra, and tries the new secret until Entra
//! accepts it reliably (`times::SETTLED_AFTER`). After that, Perennial saves the secret in the vault. After a grace
//! period, Perennial removes the old secret at Entra.
//!
//! Invariants: Perennial saves a secret in the vault only after Entra has accepted it for a quarter of an hour.
//! Perennial removes only secrets that Perennial created, and never the secret in the newest version.

pub mod certificate;
pub mod daemon;
pub mod health;
pub mod look;
pub mod renewer;
pub mod report;
#[cfg(test)]
mod samples;
pub mod schedule;
pub mod state;
pub mod times;
