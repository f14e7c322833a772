//! Tests of the rotation: simulated years, two writers whose calls take every order, the daemon's loop, the checks that
//! notice a person's action, and long lists of versions.

mod odd_times;
mod old_tags;
mod pacing;
mod refused_sign_ins;
pub(crate) mod daemon;
mod interleavings;
mod long_list;
mod credentials;
mod mended;
mod simulation;
mod stories;
mod strict;
mod unconfirmed;
mod unlisted;
mod watch;
mod whole_process;
mod wrong_time;
