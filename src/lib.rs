//! Perennial keeps Microsoft Partner Center refresh tokens alive.
//!
//! The modules ("rooms") are listed in reading order, which is also dependency order. A room may use only the rooms
//! above it. `tests/it/repository/tidy.rs` checks this.

pub mod process;
pub mod token;
pub mod net;
pub mod ports;
pub mod rotation;
pub mod renewal;
pub mod status;
pub mod alert;
pub mod serve;
pub mod login;
pub mod azure;
pub mod config;
pub mod daemon;
pub mod sandbox;
pub mod cli;
