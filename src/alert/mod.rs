//! Decides which sink gets which alert, and delivers the alerts.
//!
//! `rules` decides which notifications are due, `forms` formats them and `notifier` delivers them. `sink` defines the
//! configured destinations.

pub mod rules;
pub mod sink;
pub mod forms;
pub mod notifier;
