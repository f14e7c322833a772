//! What must hold from outside: one binary, one module per behaviour.

mod harness;
mod interleavings;
