//! A successor on its way from the issuer to the vault.

use uuid::Uuid;

use crate::ports::failure::Failure;
use crate::process::clock::Timestamp;
use crate::token::RefreshToken;
use crate::token::version::{Version, VersionId};

/// A successor and its origin.
#[derive(Clone, Debug)]
pub struct Successor {
    /// The new refresh token.
    pub token: RefreshToken,
    /// The time at which the issuer returned the token.
    pub issued_at: Timestamp,
    /// The client id of the app to which the token was issued.
    pub client_id: String,
    /// The token's user, if the issuer names one.
    pub user_oid: Option<String>,
    /// The version that was redeemed.
    pub redeemed: Version,
    /// The value of the version that was redeemed.
    pub redeemed_value: RefreshToken,
    /// The id that connects the logs and records of this rotation.
    pub rotation_id: Uuid,
    /// Whether the token is `strict`. In that case, the redeemed value is invalid, and this successor is the only copy
    /// of the token.
    pub is_only_copy: bool,
}

/// A successor that is being saved.
#[derive(Clone, Debug)]
pub struct PendingSave {
    /// The successor to save.
    pub successor: Successor,
    /// A version that this save may replace, although its value is not the redeemed value. Either this version is
    /// invalid for good, or it buries the redeemed sign-in (see `save.rs`).
    pub may_overwrite: Option<VersionId>,
    /// The vault's time at the last read before the write. If the write buried a sign-in, that sign-in is from this
    /// second or a later one. The read showed all older sign-ins.
    pub read_at: Option<Timestamp>,
    /// The version that Perennial wrote. `None` until the vault has acknowledged the write.
    pub written: Option<VersionId>,
    /// Versions that this save may replace, because it has found them to be invalid for good.
    pub dead: Vec<VersionId>,
    /// Versions that need no further check within this save. Examples are a sign-in whose descendant was the newest
    /// version during this save, and a buried sign-in that was rejected.
    pub seen: Vec<VersionId>,
    /// The reason why the successor must not be written. An example is an answer for a `strict` token that names the
    /// wrong user. Perennial then keeps the successor only in memory.
    pub withheld: Option<Box<Failure>>,
}

impl PendingSave {
    /// Creates a save that may replace only the redeemed version.
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
