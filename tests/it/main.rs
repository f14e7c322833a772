//! What must hold from outside: one binary, one module per behaviour.

mod alerts;
mod budgets;
mod commands;
mod config;
mod daemon;
mod demo;
mod deploy;
mod documents;
mod example;
mod examples;
mod harness;
mod hostile_input;
mod http;
mod inbox;
mod interleavings;
mod lab;
mod process;
mod readme;
mod sandbox;
mod shown;
mod sign_in;
mod simulation;
mod tidy;
mod wire_answers;
mod wire_races;
mod wire_requests;
