//! How this process speaks to others: one HTTP client, one idea of an address, and what it means that no answer came.
//!
//! Microsoft's protocols are `azure`'s.

pub mod http;
pub mod classify;
pub mod no_response;
pub mod backoff;
pub mod address;
pub mod calls;
pub mod server;
#[cfg(test)]
pub(crate) mod loopback;
