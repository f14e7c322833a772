//! Microsoft's side of the ports: Entra, Key Vault and Partner Center over HTTPS, and the identity for Key Vault.
//!
//! Adapters decide nothing: `ports` says what an error means. No text of a peer is kept unchecked.

pub mod cloud;
pub mod identity;
pub mod credential;
pub mod entra;
pub mod key_vault;
pub mod vault_answers;
mod sdk;
mod warm_up;
pub mod partner_center;
pub(crate) mod echoes;
