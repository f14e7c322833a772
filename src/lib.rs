//! Perennial keeps Microsoft Partner Center refresh tokens alive.
//!
//! Modules are listed in reading order, which is also dependency order: a module may name only modules
//! above it (`tests/it/tidy.rs` holds them to it).

pub mod build_info;
pub mod text;
pub mod tags;
pub mod claims;
pub mod token;
pub mod version;
pub mod failure;
pub mod refusal;
pub mod ports;
pub mod answer;
pub mod holds;
pub mod state;
#[cfg(test)]
mod samples;
pub mod schedule;
pub mod save;
pub mod snapshot;
pub mod condition;
pub mod deliveries;
pub mod status;
pub mod login;
pub mod clock;
pub mod calls;
pub mod counts;
pub mod pulse;
pub mod source;
pub mod rotate;
pub mod daemon;
pub mod board;
pub mod fleet;
pub mod relative;
pub mod metrics;
pub mod alert;
pub mod page;
pub mod server;
pub mod http;
pub mod systemd;
pub mod world;
pub mod sandbox;
pub mod config;
pub mod azure;
pub mod courier;
pub mod telemetry;
pub mod hardening;
pub mod demo;
pub mod cli;
