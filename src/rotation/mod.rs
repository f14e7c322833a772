//! Rotation: decides which step each token needs, and carries it out.
//!
//! The modules `state`, `schedule`, `save`, `strict` and `pace` make the decisions and are pure. `turns` decides the
//! order of the tokens, `rotate` acts through the ports, and `daemon` is the loop of one token. A successor that must
//! be saved is in one place only (`state::Phase::Unsaved`).

pub mod state;
pub mod schedule;
pub mod save;
pub mod strict;
pub mod pace;
pub(crate) mod paced;
pub mod turns;
pub mod rotate;
pub mod daemon;
pub mod event;
pub mod grace;
pub mod holds;
pub mod liveness;
pub mod told;
#[cfg(test)]
pub(crate) mod samples;
