//! What is known about all tokens, in the form in which others may see it: as snapshots, as conditions that hold, as
//! counts, as JSON, as one sentence.
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
