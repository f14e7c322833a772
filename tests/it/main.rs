//! What must hold from outside: one binary, one module per behaviour.

mod budgets;
mod commands;
mod config;
mod daemon;
mod demo;
mod deploy;
mod example;
mod harness;
mod http;
mod interleavings;
mod lab;
mod process;
mod sandbox;
mod simulation;
mod tidy;
mod wire_answers;
mod wire_requests;
