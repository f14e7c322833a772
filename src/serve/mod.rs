//! The outputs of the running daemon: metrics, the status page and its JSON, health, and notifications to systemd.

pub mod http;
pub mod metrics;
pub mod page;
pub mod systemd;
