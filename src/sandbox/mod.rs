//! Simulates Microsoft's services on this machine, for trials, for the demo, and for the tests.
//!
//! `world` is the model in memory. `server` speaks its protocols over HTTPS. `demo` runs Perennial against both. Only
//! the commands `demo` and `sandbox` use this module.

pub mod world;
pub mod server;
pub mod demo;
