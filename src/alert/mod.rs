//! Who is told what, and how it gets there.
//!
//! `rules` decides what is due, `forms` gives it a form, `notifier` delivers it; `sink` says where.

pub mod rules;
pub mod sink;
pub mod forms;
pub mod notifier;
