//! What must hold from outside: one binary, one module per behaviour.

mod alert;
mod config;
mod process;
mod repository;
mod rotation;
mod sandbox;
mod support;
mod wire;
