//! Integration tests: one binary, with one module for each area of behavior.

mod alert;
mod config;
mod process;
mod renewal;
mod repository;
mod rotation;
mod sandbox;
mod support;
mod wire;
