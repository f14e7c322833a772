//! HTTP to and from other processes: the client, the server, URL types, and reasons for missing responses.
//!
//! Microsoft's protocols are in the module `azure`.

pub mod http;
pub mod classify;
pub mod no_response;
pub mod backoff;
pub mod address;
pub mod calls;
pub mod server;
#[cfg(test)]
pub(crate) mod loopback;
