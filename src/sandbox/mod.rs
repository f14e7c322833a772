//! Simulates Microsoft's services on this machine, for users who try Perennial, for the demo, and for the tests.
//!
//! `world` is the model in memory. `server` serves the model over HTTPS, with Microsoft's protocols. `demo` runs
//! Perennial against this server. Of the commands, only `demo` and `sandbox` use this module.

pub mod world;
pub mod server;
pub mod demo;
