//! The known status of all tokens in forms that may be shown: snapshots, conditions, counters, JSON, and one sentence.
//!
//! Holds no secret and decides nothing about a token.

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
