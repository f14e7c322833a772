//! HTTP to and from other processes: one client, one server, one type of address, and the reasons for no answer.
//!
//! `azure` owns Microsoft's protocols.

pub mod http;
pub mod classify;
pub mod no_response;
pub mod backoff;
pub mod address;
pub mod calls;
pub mod server;
#[cfg(test)]
pub(crate) mod loopback;
