//! The older version of the app's credential that Perennial uses while Entra rejects the newest version.

use crate::process::clock::Timestamp;
use crate::token::version::VersionId;

/// An older version of the app's credential. Perennial uses this version because Entra rejects the newest version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OlderCredential {
    /// The rejected version.
    pub newest: VersionId,
    /// When the rejected version was created.
    pub created: Timestamp,
    /// The version in use.
    pub used: VersionId,
    /// When Entra last rejected the newest version.
    pub tried_at: Timestamp,
    /// When the version in use expires, if known.
    pub expires: Option<Timestamp>,
}
