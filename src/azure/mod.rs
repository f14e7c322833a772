//! The adapters for Entra, Key Vault, Partner Center and Microsoft Graph over HTTPS, and the identity for Key Vault.
//!
//! The adapters do not decide what happens to a token. `ports` decides what each error means. The adapters check each
//! text from a server before they keep the text.

pub mod cloud;
pub mod identity;
pub mod credential;
pub mod entra;
pub mod graph;
pub mod host_assertions;
pub mod key_vault;
pub mod vault_answers;
mod sdk;
mod warm_up;
pub mod partner_center;
pub(crate) mod echoes;
