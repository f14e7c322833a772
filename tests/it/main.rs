//! Behaviour as it can be seen from outside, one module each.

mod config;
mod example;
mod sandbox;
