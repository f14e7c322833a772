//! Alerts: which sink gets which message, and its delivery.
//!
//! `rules` decides what is due, `forms` formats it, `notifier` delivers it. `sink` is the configured destination.

pub mod rules;
pub mod sink;
pub mod forms;
pub mod notifier;
