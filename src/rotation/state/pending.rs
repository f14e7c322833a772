//! A successor on its way from the issuer into the vault.

use uuid::Uuid;

use crate::ports::failure::Failure;
use crate::process::clock::Timestamp;
use crate::token::RefreshToken;
use crate::token::version::{Version, VersionId};

/// A successor and its origin.
#[derive(Clone, Debug)]
pub struct Successor {
    /// The token.
    pub token: RefreshToken,
    /// When the issuer returned it.
    pub issued_at: Timestamp,
    /// The app it was issued to.
    pub client_id: String,
    /// The user it was issued to, if the issuer names one.
    pub user_oid: Option<String>,
    /// The version that was redeemed.
    pub redeemed: Version,
    /// That version's value.
    pub redeemed_value: RefreshToken,
    /// Connects the logs and records of this rotation.
    pub rotation_id: Uuid,
    /// Whether the token is `strict`: then the redeemed value is invalid.
    pub is_only_copy: bool,
}

/// A successor on its way into the vault.
#[derive(Clone, Debug)]
pub struct PendingSave {
    /// The successor to save.
    pub successor: Successor,
    /// A version that may be replaced although its value is not the redeemed one: it is known to be invalid, or it
    /// buries the sign-in that was redeemed.
    pub may_overwrite: Option<VersionId>,
    /// The vault's time at the last read before the write: the write does not bury versions from before.
    pub read_at: Option<Timestamp>,
    /// Our version, once the vault has acknowledged it.
    pub written: Option<VersionId>,
    /// Versions that proved invalid for good while this was held: they may be replaced.
    pub dead: Vec<VersionId>,
    /// Versions that need no further check within this save: a sign-in whose chain was on top, and a buried one that
    /// was rejected.
    pub seen: Vec<VersionId>,
    /// Why it must not be written: the successor of a `strict` token of another user is only held.
    pub withheld: Option<Box<Failure>>,
}

impl PendingSave {
    /// Only the redeemed version may be replaced.
    pub fn of(successor: Successor) -> Self {
        Self {
            successor,
            may_overwrite: None,
            read_at: None,
            written: None,
            dead: Vec::new(),
            seen: Vec::new(),
            withheld: None,
        }
    }
}
