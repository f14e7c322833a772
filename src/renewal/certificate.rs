//! Renews the certificate of an app, if this certificate is in Key Vault. The loop is like the loop for client secrets:
//! a pure function decides the next step, and the loop carries out this step.
//!
//! This module owns the order of the steps. The vault creates a new version of the certificate. Perennial registers the
//! version at Entra, and tries the version until Entra accepts it reliably (`times::SETTLED_AFTER`). After that,
//! Perennial *marks* the version in the vault with the tag `accepted-at`. After a grace period, Perennial removes the
//! old certificate at Entra. A version that Key Vault or a person created goes through the same steps.
//!
//! Invariants: The tokens use the newest marked version. If no version is marked, the tokens use the newest version. At
//! Entra, Perennial removes only certificates of versions in the vault, and never the certificate of the newest
//! version.

mod failures;
pub mod look;
mod rehearsal;
pub mod renewer;
#[cfg(test)]
pub(super) mod samples;
pub mod schedule;
pub mod state;
