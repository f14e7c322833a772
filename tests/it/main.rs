//! Integration tests: one binary, one module per behavior.

mod alert;
mod config;
mod process;
mod renewal;
mod repository;
mod rotation;
mod sandbox;
mod support;
mod wire;
