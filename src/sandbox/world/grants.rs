//! The grants: the records of all refresh tokens that the world has issued. A redemption issues a new grant. The
//! redeemed grant is the parent of the new grant.
//!
//! Invariant: a grant's parent was issued before the grant. So a search from parent to parent always ends.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::hash::DefaultHasher;
use std::hash::Hasher as _;

use chrono::TimeDelta;

use super::entra::codes::Refuse;
use super::{Inner, World};
use crate::process::clock::Timestamp;
use crate::token::RefreshToken;

/// The lifetime of a refresh token from its issue (docs/azure-facts.md F108).
const LIFETIME: TimeDelta = TimeDelta::days(90);

/// The maximum number of redemptions for one user and app in `LOOP_WINDOW`. Entra rejects more redemptions as a loop
/// (50196; docs/azure-facts.md F126).
const LOOP_LIMIT: usize = 15;

/// The window in which redemptions count toward `LOOP_LIMIT`.
const LOOP_WINDOW: TimeDelta = TimeDelta::minutes(5);

/// The record of one issued refresh token.
#[derive(Clone, Debug)]
pub struct GrantRecord {
    /// The number of the grant, in the order of issue.
    pub id: usize,
    /// The refresh token.
    pub token: RefreshToken,
    /// The token's user, tenant and app.
    pub owner: Owner,
    /// Whether the sign-in used MFA.
    pub mfa: bool,
    /// The world's time when the token was issued.
    pub issued_at: Timestamp,
    /// The grant that was redeemed to issue this grant. `None` for the grant of a sign-in.
    pub parent: Option<usize>,
    /// The id of the first grant of the same sign-in. If the sign-in itself issued this grant, `sign_in` equals `id`.
    pub sign_in: usize,
    /// Whether the token was redeemed at least once.
    pub spent: bool,
    /// Whether the user's sessions were revoked after the token was issued.
    pub revoked: bool,
}

/// A token's user, tenant and app.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Owner {
    /// The id of the tenant.
    pub tenant: String,
    /// The object id of the user.
    pub user: String,
    /// The client id of the app.
    pub app: String,
}

#[derive(Default)]
pub(super) struct Grants {
    pub(super) records: Vec<GrantRecord>,
    by_text: BTreeMap<String, usize>,
    /// The sign-ins whose tokens are all revoked, because a token was redeemed twice (`World::set_strict`).
    dead_families: BTreeSet<usize>,
    /// The times of recent redemptions for each user and app.
    recent: BTreeMap<(String, String), VecDeque<Timestamp>>,
}

impl Grants {
    pub(super) fn find(&self, text: &str) -> Option<&GrantRecord> {
        self.by_text.get(text).map(|id| &self.records[*id])
    }

    pub(super) fn kill_family(&mut self, sign_in: usize) {
        self.dead_families.insert(sign_in);
    }

    /// Records a redemption. Returns whether the redemption exceeds the loop limit.
    pub(super) fn is_loop(&mut self, owner: &Owner, now: Timestamp) -> bool {
        let recent = self.recent.entry((owner.user.clone(), owner.app.clone())).or_default();
        recent.push_back(now);
        while recent.front().is_some_and(|at| *at <= now - LOOP_WINDOW) {
            recent.pop_front();
        }
        recent.len() > LOOP_LIMIT
    }
}

impl Inner {
    /// Issues a refresh token.
    pub(super) fn issue(&mut self, owner: Owner, mfa: bool, parent: Option<usize>) -> RefreshToken {
        let body: String = (0..180).map(|_| self.rng.alphanumeric()).collect();
        let token = RefreshToken::new(format!("0.AX{body}"));
        let id = self.grants.records.len();
        let sign_in = parent.map_or(id, |parent| self.grants.records[parent].sign_in);
        self.grants.by_text.insert(token.expose().to_owned(), id);
        self.grants.records.push(GrantRecord {
            id,
            token: token.clone(),
            owner,
            mfa,
            issued_at: self.time.now(),
            parent,
            sign_in,
            spent: false,
            revoked: false,
        });
        token
    }

    /// Checks whether the grant has ended in all tenants and for all apps. If so, returns Entra's code as the error.
    pub(super) fn gone(&self, grant: &GrantRecord) -> Result<(), Refuse> {
        let user = self.directory.users.get(&grant.owner.user).filter(|user| !user.deleted);
        if user.is_none() {
            return Err(Refuse(50034));
        }
        if grant.revoked {
            return Err(Refuse(50173));
        }
        if self.time.now() >= grant.issued_at + LIFETIME {
            return Err(Refuse(700_082));
        }
        let strict_says_no = self.directory.strict && grant.spent;
        if strict_says_no || self.grants.dead_families.contains(&grant.sign_in) {
            return Err(Refuse(70000));
        }
        Ok(())
    }

    /// Checks whether Entra would redeem this grant for the tenant and the app that the grant was issued for.
    pub(super) fn judge(&self, grant: &GrantRecord) -> Result<(), Refuse> {
        self.gone(grant)?;
        if self.directory.users[&grant.owner.user].disabled {
            return Err(Refuse(50057));
        }
        let tenant = self.directory.tenants.get(&grant.owner.tenant).ok_or(Refuse(90002))?;
        if tenant.rules.blocked {
            return Err(Refuse(53003));
        }
        if tenant.rules.require_mfa && !grant.mfa {
            return Err(Refuse(50076));
        }
        Ok(())
    }
}

impl World {
    /// Whether Entra would redeem this token now if the app credential is valid and no fault is injected.
    pub fn is_alive(&self, token: &str) -> bool {
        self.refusal_of(token).is_none()
    }

    /// Returns the AADSTS code with which Entra would now reject this token. `None` means that Entra would accept the
    /// token if the app credential is valid and no fault is injected.
    pub fn refusal_of(&self, token: &str) -> Option<u32> {
        let inner = self.lock();
        match inner.grants.find(token) {
            Some(grant) => inner.judge(grant).err().map(|refuse| refuse.0),
            None if super::entra::codes::is_well_formed(token) => Some(70000),
            None => Some(9_002_313),
        }
    }

    /// Whether this token can never be redeemed again.
    pub fn is_gone(&self, token: &str) -> bool {
        let inner = self.lock();
        inner.grants.find(token).is_none_or(|grant| inner.gone(grant).is_err())
    }

    /// Returns the record of a token.
    pub fn grant(&self, token: &str) -> Option<GrantRecord> {
        self.lock().grants.find(token).cloned()
    }

    /// Returns all grants in the order of issue.
    pub fn grants(&self) -> Vec<GrantRecord> {
        self.lock().grants.records.clone()
    }

    /// Returns a token's user, tenant and app.
    pub fn owner_of(&self, token: &str) -> Option<Owner> {
        self.lock().grants.find(token).map(|grant| grant.owner.clone())
    }

    /// Whether a token equals `ancestor` or descends from `ancestor`.
    pub fn descends_from(&self, token: &str, ancestor: &str) -> bool {
        let inner = self.lock();
        let Some(ancestor) = inner.grants.find(ancestor) else { return false };
        let mut at = inner.grants.find(token);
        while let Some(grant) = at {
            if grant.id == ancestor.id {
                return true;
            }
            at = grant.parent.map(|parent| &inner.grants.records[parent]);
        }
        false
    }
}

/// Returns a fingerprint that identifies a secret text. The fingerprint does not reveal the text.
pub fn fingerprint(text: &str) -> String {
    let mut hasher = DefaultHasher::new();
    hasher.write(text.as_bytes());
    format!("{:016x}", hasher.finish())
}
