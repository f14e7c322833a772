//! The status of all tokens in displayable forms: snapshots, conditions, counters, JSON, and one sentence.
//!
//! These modules contain no secrets and make no decisions about tokens.

pub mod snapshot;
pub mod condition;
pub mod sink_health;
pub mod counts;
pub mod board;
pub mod document;
pub mod verdict;
pub mod line;
pub mod journal;
#[cfg(test)]
pub(crate) mod samples;
