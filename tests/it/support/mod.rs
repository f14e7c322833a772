//! Helpers for tests in several rooms: the simulated world, the lab, an inbox, the program as a child.

pub(crate) mod child;
pub(crate) mod harness;
pub(crate) mod host;
pub(crate) mod inbox;
pub(crate) mod lab;
pub(crate) mod town;
