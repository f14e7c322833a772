//! What must hold from outside: one binary, one module per behaviour.

mod alert;
mod config;
mod odd_claims;
mod odd_times;
mod process;
mod refused_sign_ins;
mod repository;
mod rotation;
mod sandbox;
mod support;
mod wire;
