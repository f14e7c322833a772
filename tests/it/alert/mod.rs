//! Who is told what, and when.

mod alert_days;
mod alerts;
mod restarts;
