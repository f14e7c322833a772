//! Renews the certificate of an app, if this certificate is in Key Vault. The loop is like the loop for client secrets:
//! a pure function decides the next step, and the loop carries out this step.
//!
//! A renewal has these steps. Perennial asks the vault to create a new version of the certificate. Perennial registers
//! the version at Entra, and tries the version until Entra accepts it reliably (`times::SETTLED_AFTER`). After that,
//! Perennial *marks* the version in the vault with the tag `accepted-at`. After a grace period, Perennial removes the
//! old certificate at Entra. Key Vault or a person can also create a new version. Perennial then carries out the other
//! steps.
//!
//! Invariants: Perennial redeems tokens with the newest marked version. If no version is marked, Perennial uses the
//! newest version. At Entra, Perennial removes only certificates of versions in the vault, and never the certificate of
//! the newest version.

mod failures;
pub mod look;
mod rehearsal;
pub mod renewer;
#[cfg(test)]
pub(super) mod samples;
pub mod schedule;
pub mod state;
