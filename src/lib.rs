//! Perennial keeps Microsoft Partner Center refresh tokens alive.
//!
//! Modules are listed in reading order, which is also dependency order: a module may name only modules
//! above it (`tests/it/tidy.rs` holds them to it).

pub mod token;
pub mod version;
pub mod failure;
pub mod refusal;
pub mod ports;
pub mod clock;
pub mod telemetry;
pub mod config;
pub mod cli;
