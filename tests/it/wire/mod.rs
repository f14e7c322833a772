//! Tests of the adapters' requests, and of the meaning of every answer.

mod hostile_input;
mod odd_claims;
mod sign_in;
mod wire_answers;
mod wire_races;
mod wire_requests;
