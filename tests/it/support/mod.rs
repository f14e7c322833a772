//! Helpers for tests of several rooms: the simulated world, the lab, an inbox, and the program as a child process.

pub(crate) mod child;
pub(crate) mod harness;
pub(crate) mod host;
pub(crate) mod inbox;
pub(crate) mod lab;
pub(crate) mod town;
