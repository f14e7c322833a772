//! The ledger records every call to the world. For every write to a vault, the ledger also records the writer's name.
//!
//! This module owns the queries that tests use. For example, a test asks who wrote a version, or how many calls
//! arrived since a given time.

use std::fmt;

use super::World;
use crate::process::clock::Timestamp;
use crate::token::RefreshToken;
use crate::token::secret::SecretAddress;
use crate::token::version::VersionId;

/// The called service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Peer {
    /// Entra's token endpoint.
    Entra,
    /// Key Vault.
    KeyVault,
    /// Partner Center's API.
    PartnerCenter,
    /// Microsoft Graph.
    Graph,
}

impl Peer {
    /// All services of the world.
    pub const ALL: [Self; 4] = [Self::Entra, Self::KeyVault, Self::PartnerCenter, Self::Graph];

    /// Returns the service's name in the body of `POST /_sandbox/faults` and in counters.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Entra => "entra",
            Self::KeyVault => "key_vault",
            Self::PartnerCenter => "partner_center",
            Self::Graph => "graph",
        }
    }
}

/// The operation of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    /// A refresh token is redeemed.
    Redeem,
    /// A sign-in page is requested, or a user acts on it.
    Authorize,
    /// An authorization code or a device code is exchanged for tokens.
    SignIn,
    /// A device code is requested.
    DeviceCode,
    /// An app requests a token for itself with its own credential, for example to read the vault.
    Identity,
    /// The newest version of a secret is read.
    Get,
    /// One version is read.
    GetVersion,
    /// A page of a secret's versions is listed.
    List,
    /// A new version is written.
    Set,
    /// A version's attributes or tags are changed.
    Update,
    /// A page of the vault's secrets is listed.
    ListSecrets,
    /// A secret is deleted (soft delete).
    Delete,
    /// A deleted secret is read.
    GetDeleted,
    /// A deleted secret is recovered.
    Recover,
    /// A deleted secret is purged.
    Purge,
    /// A page of the vault's deleted secrets is listed.
    ListDeleted,
    /// All versions of a secret are read as a backup.
    Backup,
    /// A secret is restored from a backup.
    Restore,
    /// A certificate, its policy or the state of its creation is read.
    GetCertificate,
    /// A page of the vault's certificates is listed.
    ListCertificates,
    /// A page of a certificate's versions is listed.
    ListCertificateVersions,
    /// A certificate is created.
    CreateCertificate,
    /// A certificate is imported.
    ImportCertificate,
    /// A certificate version's tags are changed.
    UpdateCertificate,
    /// The public half of a key is read.
    GetKey,
    /// A digest is signed with a key.
    Sign,
    /// A host requests a token of its managed identity.
    ManagedIdentity,
    /// Partner Center's profile is requested.
    Profile,
    /// An app registration is read, with the list of its credentials.
    GetApplication,
    /// A client secret is added to an app registration.
    AddPassword,
    /// A client secret is removed from an app registration.
    RemovePassword,
    /// A certificate is added to an app registration.
    AddKey,
    /// A certificate is removed from an app registration.
    RemoveKey,
    /// The list of an app registration's certificates is replaced.
    ReplaceKeys,
}

impl Operation {
    /// All operations.
    pub const ALL: [Self; 34] = [
        Self::Redeem,
        Self::Authorize,
        Self::SignIn,
        Self::DeviceCode,
        Self::Identity,
        Self::Get,
        Self::GetVersion,
        Self::List,
        Self::Set,
        Self::Update,
        Self::ListSecrets,
        Self::Delete,
        Self::GetDeleted,
        Self::Recover,
        Self::Purge,
        Self::ListDeleted,
        Self::Backup,
        Self::Restore,
        Self::GetCertificate,
        Self::ListCertificates,
        Self::ListCertificateVersions,
        Self::CreateCertificate,
        Self::ImportCertificate,
        Self::UpdateCertificate,
        Self::GetKey,
        Self::Sign,
        Self::ManagedIdentity,
        Self::Profile,
        Self::GetApplication,
        Self::AddPassword,
        Self::RemovePassword,
        Self::AddKey,
        Self::RemoveKey,
        Self::ReplaceKeys,
    ];

    /// Returns the operation's name in the body of `POST /_sandbox/faults` and in counters.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Redeem => "redeem",
            Self::Authorize => "authorize",
            Self::SignIn => "sign_in",
            Self::DeviceCode => "device_code",
            Self::Identity => "identity",
            Self::Get => "get",
            Self::GetVersion => "get_version",
            Self::List => "list",
            Self::Set => "set",
            Self::Update => "update",
            Self::ListSecrets => "list_secrets",
            Self::Delete => "delete",
            Self::GetDeleted => "get_deleted",
            Self::Recover => "recover",
            Self::Purge => "purge",
            Self::ListDeleted => "list_deleted",
            Self::Backup => "backup",
            Self::Restore => "restore",
            Self::GetCertificate => "get_certificate",
            Self::ListCertificates => "list_certificates",
            Self::ListCertificateVersions => "list_certificate_versions",
            Self::CreateCertificate => "create_certificate",
            Self::ImportCertificate => "import_certificate",
            Self::UpdateCertificate => "update_certificate",
            Self::GetKey => "get_key",
            Self::Sign => "sign",
            Self::ManagedIdentity => "managed_identity",
            Self::Profile => "profile",
            Self::GetApplication => "get_application",
            Self::AddPassword => "add_password",
            Self::RemovePassword => "remove_password",
            Self::AddKey => "add_key",
            Self::RemoveKey => "remove_key",
            Self::ReplaceKeys => "replace_keys",
        }
    }
}

/// The result of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallOutcome {
    /// The call succeeded.
    Done,
    /// The service rejected the call. The text is a short form of the error, such as its status and code.
    Refused(String),
    /// A fault stopped the call before any effect.
    NotReached,
    /// The call had its effect, but the answer was lost because of a fault.
    Lost,
}

impl fmt::Display for CallOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Done => f.write_str("done"),
            Self::Refused(code) => write!(f, "refused: {code}"),
            Self::NotReached => f.write_str("not reached"),
            Self::Lost => f.write_str("answer lost"),
        }
    }
}

/// The record of one call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// The world's time at the call.
    pub at: Timestamp,
    /// The called service.
    pub peer: Peer,
    pub operation: Operation,
    /// The name of the caller.
    pub actor: String,
    /// The object of the call: the name of the secret, certificate or key, the object id of the token's user, or the
    /// client id of the app. Empty if the call lists a vault's secrets or certificates. `unknown` in all other cases.
    pub subject: String,
    /// The redeemed grant, if the token is known.
    pub grant: Option<usize>,
    /// The result of the call.
    pub outcome: CallOutcome,
}

/// The record of one new version in a vault.
#[derive(Clone, Debug)]
pub struct Write {
    /// The world's time at the write.
    pub at: Timestamp,
    /// The name of the writer: an actor's name, or `human`.
    pub writer: String,
    pub secret: SecretAddress,
    pub version: VersionId,
    pub value: RefreshToken,
}

#[derive(Default)]
pub(super) struct CallLedger {
    pub(super) calls: Vec<Call>,
    pub(super) writes: Vec<Write>,
}

impl World {
    /// Returns all calls at or after `since`, oldest first. If the world's time was ever set back, the result can be
    /// wrong, since the function uses a binary search.
    pub fn calls_since(&self, since: Timestamp) -> Vec<Call> {
        let inner = self.lock();
        let calls = &inner.ledger.calls;
        calls[calls.partition_point(|call| call.at < since)..].to_vec()
    }

    /// Returns the number of calls to a service at or after `since`, with any outcome. If `operation` is given, counts
    /// only calls of this operation.
    pub fn count_calls(&self, peer: Peer, operation: Option<Operation>, since: Timestamp) -> usize {
        self.count_calls_where(since, |call| {
            call.peer == peer && operation.is_none_or(|operation| call.operation == operation)
        })
    }

    /// Returns the number of calls at or after `since` for which `kind` returns true.
    pub fn count_calls_where(&self, since: Timestamp, kind: impl Fn(&Call) -> bool) -> usize {
        let inner = self.lock();
        let calls = &inner.ledger.calls;
        let start = calls.partition_point(|call| call.at < since);
        calls[start..].iter().filter(|call| kind(call)).count()
    }

    /// Removes all calls before `at` from the ledger. Long simulations use this function to save memory.
    pub fn forget_calls_before(&self, at: Timestamp) {
        self.lock().ledger.calls.retain(|call| call.at >= at);
    }

    /// Returns all writes to vaults, oldest first.
    pub fn writes(&self) -> Vec<Write> {
        self.lock().ledger.writes.clone()
    }

    /// Returns all writes after the first `number` writes, oldest first.
    pub fn writes_from(&self, number: usize) -> Vec<Write> {
        self.lock().ledger.writes.iter().skip(number).cloned().collect()
    }

    /// Returns the name of the writer of a version.
    pub fn writer_of(&self, version: &VersionId) -> Option<String> {
        let inner = self.lock();
        let write = inner.ledger.writes.iter().rev().find(|write| write.version == *version)?;
        Some(write.writer.clone())
    }
}
