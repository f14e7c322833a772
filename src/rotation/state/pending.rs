//! A successor on its way from the issuer into the vault.

use uuid::Uuid;

use crate::ports::failure::Failure;
use crate::process::clock::Timestamp;
use crate::token::RefreshToken;
use crate::token::version::{Version, VersionId};

/// A successor, and where it comes from.
#[derive(Clone, Debug)]
pub struct Successor {
    /// The token.
    pub token: RefreshToken,
    /// When the issuer handed it out.
    pub issued_at: Timestamp,
    /// The app it was issued to.
    pub client_id: String,
    /// The user it was issued to, where the issuer says.
    pub user_oid: Option<String>,
    /// The version that was redeemed.
    pub redeemed: Version,
    /// That version's value.
    pub redeemed_value: RefreshToken,
    /// Ties the records of this rotation together.
    pub rotation_id: Uuid,
    /// Whether the token is `strict`: then the value that was redeemed is dead.
    pub is_only_copy: bool,
}

/// A successor on its way into the vault.
#[derive(Clone, Debug)]
pub struct PendingSave {
    /// What is to be saved.
    pub successor: Successor,
    /// A version that may be written over although its value is not the one redeemed: it is settled to
    /// be of no use, or it buries the sign-in that was redeemed.
    pub may_overwrite: Option<VersionId>,
    /// The vault's time at the last read before the write: what was there then is not buried by it.
    pub read_at: Option<Timestamp>,
    /// Our version, once the vault has acknowledged it.
    pub written: Option<VersionId>,
    /// Versions that were found while this was held to be dead for good: they may be written over.
    pub dead: Vec<VersionId>,
    /// Versions that need no further look within this save: a sign-in whose chain was on top, and a buried one
    /// that was refused.
    pub seen: Vec<VersionId>,
    /// Why it is not to be written: the successor of a `strict` token of somebody else is only held.
    pub withheld: Option<Box<Failure>>,
}

impl PendingSave {
    /// Nothing but what was redeemed may be written over.
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
