//! What must hold from outside: one binary, one module per behaviour.

mod config;
mod deploy;
mod budgets;
mod commands;
mod example;
mod harness;
mod http;
mod interleavings;
mod process;
mod sandbox;
mod simulation;
mod tidy;
