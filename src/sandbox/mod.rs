//! Simulates Microsoft's services on this machine, for trials, for the demo, and for the tests.
//!
//! `world` is the model in memory. `server` serves the model over HTTPS, with Microsoft's protocols. `demo` runs
//! Perennial against both. Only the commands `demo` and `sandbox` use this module.

pub mod world;
pub mod server;
pub mod demo;
