//! Perennial keeps Microsoft Partner Center refresh tokens alive.
//!
//! Modules are listed in reading order, which is also dependency order: a module may name only modules
//! above it (`tests/it/tidy.rs` holds them to it).

pub mod clock;
pub mod relative;
pub mod text;
pub mod telemetry;
pub mod hardening;
pub mod build_info;
pub mod secret;
pub mod managed;
pub mod tags;
pub mod source;
pub mod claims;
pub mod token;
pub mod version;
pub mod no_answer;
pub mod address;
pub mod calls;
pub mod server;
pub mod failure;
pub mod refusal;
pub mod ports;
pub mod answer;
pub mod holds;
pub mod state;
pub mod pulse;
#[cfg(test)]
mod samples;
pub mod schedule;
pub mod save;
pub mod rotate;
pub mod daemon;
pub mod snapshot;
pub mod condition;
pub mod deliveries;
pub mod counts;
pub mod status;
pub mod board;
pub mod line;
pub mod sink;
pub mod alert;
pub mod metrics;
pub mod page;
pub mod http;
pub mod systemd;
pub mod login;
pub mod azure;
pub mod courier;
pub mod config;
pub mod fleet;
pub mod world;
pub mod sandbox;
pub mod demo;
pub mod cli;
