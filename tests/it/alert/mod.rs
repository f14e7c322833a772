//! Alerts: which sink gets which message, and when.

mod alert_days;
mod alerts;
mod restarts;
