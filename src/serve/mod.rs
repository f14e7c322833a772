//! The outputs of the running daemon: health endpoints, metrics, the status as a page and as JSON, and notifications to
//! systemd.

pub mod http;
pub mod metrics;
pub mod page;
pub mod systemd;
