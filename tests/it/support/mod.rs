//! Helpers that several test modules share, such as the simulated world, an inbox, and the program as a child process.

pub(crate) mod child;
pub(crate) mod harness;
pub(crate) mod host;
pub(crate) mod inbox;
pub(crate) mod lab;
pub(crate) mod town;
