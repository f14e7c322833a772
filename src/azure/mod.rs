//! Microsoft's side of the ports: Entra, Key Vault and Partner Center over HTTPS, and the identity that opens the vault.
//!
//! No adapter decides anything: what an error means is asked of `ports`. Nothing that a peer sent is kept as it came.

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
