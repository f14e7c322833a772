//! Renews the certificate of an app, which is a certificate in Key Vault. A third loop of the same shape: a pure
//! decision, one step, and another look.
//!
//! Owns the order of the steps: let the vault create a version, register it at Entra, try it until every server of
//! Entra knows it, mark it in the vault, and remove the old one at Entra after a grace period. A version that Key Vault
//! or a person created takes the same way.
//!
//! Invariants: the tokens use the newest version with the mark, so a version that Entra may not know is never used. Only
//! certificates of versions in the vault are removed at Entra, and never the newest one.

pub mod look;
pub mod renewer;
#[cfg(test)]
mod samples;
pub mod schedule;
pub mod state;
