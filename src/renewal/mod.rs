//! Renews the client secret of an app before it ends. A second loop of the same shape as `rotation`: a pure decision, one
//! step, and another look.
//!
//! Owns the order of the steps: create a secret at Entra, try it until every server of Entra knows it, save it in the
//! vault, and remove the old secret after a grace period. Knows no HTTP and no configuration files.
//!
//! Invariants: the newest version in the vault holds a secret that Entra accepted for a quarter of an hour. Only
//! secrets that Perennial created are removed, and never the one that the newest version holds.

pub mod daemon;
pub mod look;
pub mod renewer;
pub mod report;
#[cfg(test)]
mod samples;
pub mod schedule;
pub mod state;
pub mod times;
