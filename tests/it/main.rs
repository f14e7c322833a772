//! Behaviour as it can be seen from outside, one module each.

mod config;
mod deploy;
mod example;
mod tidy;
