//! What is shown while the program runs: metrics, the status page and its JSON, health, and what systemd is told.

pub mod http;
pub mod metrics;
pub mod page;
pub mod systemd;
