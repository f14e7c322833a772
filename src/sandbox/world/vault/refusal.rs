//! Key Vault's rejections (docs/azure-facts.md F214).

use std::fmt;

use super::Action;
use crate::token::secret::SecretAddress;

/// If the caller lacks a role, the text of the rejection contains the caller's object id. The sandbox stores no ids of
/// callers, so this id is always the same.
const CALLER: &str = "00000000-0000-0000-0000-000000000009";

/// A rejection by Key Vault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VaultRefusal {
    /// The HTTP status, or 0 if the vault's name does not resolve.
    pub status: u16,
    /// The code, such as `Forbidden`.
    pub code: &'static str,
    /// The inner code, such as `ForbiddenByRbac`.
    pub inner: Option<&'static str>,
    /// The text of the rejection. The text never contains the value of a secret.
    pub text: String,
    /// The data action that the caller's role lacks. `None` if the rejection has another cause.
    pub action: Option<Action>,
    /// The caller's address, if the firewall blocks this address.
    pub address: Option<String>,
}

impl fmt::Display for VaultRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.status, self.inner.unwrap_or(self.code))
    }
}

impl VaultRefusal {
    pub(in crate::sandbox) fn new(
        status: u16,
        code: &'static str,
        inner: Option<&'static str>,
        text: impl Into<String>,
    ) -> Self {
        Self { status, code, inner, text: text.into(), action: None, address: None }
    }

    pub(in crate::sandbox::world) fn no_vault() -> Self {
        Self::new(0, "NoSuchHost", None, "the vault's name does not resolve")
    }

    pub(super) fn disabled() -> Self {
        let text = "Operation get is not allowed on a disabled secret.";
        Self::new(403, "Forbidden", Some("SecretDisabled"), text)
    }

    pub(super) fn not_found(name: &str) -> Self {
        Self::absent("SecretNotFound", "secret", name)
    }

    /// Returns the error for an object that does not exist. The text was recorded from Key Vault.
    pub(in crate::sandbox) fn absent(code: &'static str, kind: &str, name: &str) -> Self {
        let text = format!(
            "A {kind} with (name/id) {name} was not found in this key vault. If you recently deleted this {kind} you may be able to recover it using the correct recovery command."
        );
        Self::new(404, code, None, text)
    }

    /// Returns the error if no request for a certificate has this name. The text was recorded from Key Vault.
    pub(in crate::sandbox) fn nothing_pending(name: &str) -> Self {
        let text = format!("Pending certificate not found: {name}");
        Self::new(404, "PendingCertificateNotFound", None, text)
    }

    /// Returns the error for a change of a secret that belongs to a certificate. Such a secret can be changed only
    /// through its certificate.
    pub(super) fn managed(name: &str) -> Self {
        let text = format!("The secret {name} belongs to a certificate and is managed by Key Vault.");
        Self::new(409, "Conflict", None, text)
    }

    /// Returns the error for a new certificate whose name is in use.
    pub(super) fn name_in_use(name: &str) -> Self {
        Self::new(409, "Conflict", None, format!("A secret with the name {name} already exists."))
    }

    pub(super) fn is_pending(name: &str) -> Self {
        let text = format!("A certificate with the name {name} is already being created.");
        Self::new(409, "Conflict", None, text)
    }

    /// Returns the error for an operation on a disabled key or certificate. The inner code for certificates is
    /// unverified (docs/azure-facts.md F226).
    pub(super) fn disabled_object(operation: &str, kind: &str, inner: &'static str) -> Self {
        let text = format!("Operation {operation} is not allowed on a disabled {kind}.");
        Self::new(403, "Forbidden", Some(inner), text)
    }

    pub(super) fn outside_validity() -> Self {
        Self::new(403, "Forbidden", None, "Operation sign is not allowed on an expired or not yet valid key.")
    }

    pub(super) fn throttled() -> Self {
        Self::new(
            429,
            "Throttled",
            None,
            "Request was not processed because too many requests were received.",
        )
    }

    pub(super) fn not_deleted(name: &str) -> Self {
        Self::new(404, "SecretNotFound", None, format!("Deleted Secret not found: {name}"))
    }

    pub(super) fn deleted(name: &str) -> Self {
        let text = format!(
            "Secret {name} is currently in a deleted but recoverable state, and its name cannot be reused; in this state, the secret can only be recovered or purged."
        );
        Self::new(409, "Conflict", Some("ObjectIsDeletedButRecoverable"), text)
    }

    pub(super) fn being_deleted(name: &str) -> Self {
        let text = format!("Secret {name} is currently being deleted.");
        Self::new(409, "Conflict", Some("ObjectIsBeingDeleted"), text)
    }

    pub(super) fn being_recovered(name: &str) -> Self {
        let text = format!("Secret {name} is currently being recovered.");
        Self::new(409, "Conflict", Some("ObjectIsBeingRecovered"), text)
    }

    /// Returns the error for restoring a secret whose name is in use. The text was recorded from Key Vault.
    pub(super) fn restore_conflict(at: &SecretAddress, version: &str) -> Self {
        let text = format!(
            "There was a conflict restoring the secret '{}/secrets/{}/{version}'. This can happen if either: a second secret with the same name was created after the first secret was deleted; thus trying to restore a secret whose name is already in use. To fix this, rename the second secret to something else so that the restore works. The second probable cause of this exception is when multiple operations are performed in parallel against the secret. To avoid this error, perform operations against a secret in a sequential manner.",
            at.vault,
            at.name.as_str()
        );
        Self::new(409, "Conflict", None, text)
    }

    /// Returns the error for a blob that is not a backup. The text was recorded from Key Vault.
    pub fn malformed_backup() -> Self {
        Self::new(400, "Malformed backup blob", None, "Backup blob contains invalid or corrupt version.")
    }

    pub(super) fn no_role(action: Action) -> Self {
        // The text has several lines, as recorded from Key Vault.
        let text = format!(
            "Caller is not authorized to perform action on resource.\r\nIf role assignments, deny assignments or role definitions were changed recently, please observe propagation time.\r\nCaller: appid=00000000-0000-0000-0000-000000000005;oid={CALLER};iss=https://sts.windows.net/00000000-0000-0000-0000-000000000008/\r\nAction: '{}'\r\nResource: '/vaults/sandbox'\r\nAssignment: (not found)\r\nDenyAssignmentId: null\r\nDecisionReason: null",
            action.as_str()
        );
        Self { action: Some(action), ..Self::new(403, "Forbidden", Some("ForbiddenByRbac"), text) }
    }

    pub(super) fn firewall(address: String) -> Self {
        let text = format!(
            "Client address is not authorized and caller is not a trusted service.\r\nClient address: {address}"
        );
        Self { address: Some(address), ..Self::new(403, "Forbidden", Some("ForbiddenByFirewall"), text) }
    }

    /// Returns the error for an invalid request.
    pub fn bad_parameter(text: impl Into<String>) -> Self {
        Self::new(400, "BadParameter", None, text)
    }
}
