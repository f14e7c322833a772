//! The limits that all tokens of a process share: the limits of Entra and of the vaults. This module decides whether
//! one more request is allowed now. If not, this module decides when the request is allowed.
//!
//! This module is pure. Promise 6 (docs/promises.md) lists all limits. This module owns the limits that tokens share,
//! and `state` owns the limits of one token. Each time is a `Duration` since an arbitrary fixed moment, measured by a
//! monotonic clock.
//!
//! Each limit allows a number of requests within a span, such as ten seconds. A permit counts against a limit as soon
//! as a caller takes the permit, and until one span after the service's answer. The reason is that the request may
//! have reached the service just before the answer.

use std::collections::{BTreeMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher as _};
use std::time::Duration;

use crate::rotation::state::Facts;
use crate::token::managed::ManagedToken;
use crate::token::secret::ConfigValue;
use crate::token::version::{Version, tag};

/// A limited resource. Vaults, users and apps are given as hashes, to keep the keys small. Two names with the same hash
/// share a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Limited {
    /// Steps in progress. Each step makes one request at a time, so this limit also bounds the requests in flight.
    Steps,
    /// Steps in progress for the tokens of one vault. If this vault hangs, the limit leaves permits for other vaults.
    Vault(u64),
    /// Requests to a vault, except writes of new versions.
    Calls(u64),
    /// New versions that are written to a vault.
    NewVersions(u64),
    /// Redemptions of one user and app.
    Redemptions(Redeemer),
}

/// The user and the app of a redemption. Entra treats many redemptions of one user and app as a loop
/// (docs/azure-facts.md F126).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Redeemer {
    app: u64,
    /// The user, or `None` if it is unknown. An unknown user may be the same as any known user of this app.
    user: Option<u64>,
}

impl Redeemer {
    /// Returns the user and the app of this version. The user comes from the configuration, an earlier answer or the
    /// version's tag.
    pub fn of(grant: &ManagedToken, version: Option<&Version>, facts: Option<&Facts>) -> Self {
        let facts = facts.filter(|facts| version.is_some_and(|of| of.id == facts.version));
        let answered = facts.and_then(|facts| facts.user_oid.as_deref());
        let noted = || version.and_then(|version| version.tags.get(tag::USER_OID));
        let user = grant.user_oid.as_deref().or(answered).or_else(noted);
        Self { app: app(grant), user: user.map(hash) }
    }

    /// Returns this app together with the user that an answer names.
    #[must_use]
    pub fn with_user(self, user_oid: &str) -> Self {
        Self { user: Some(hash(user_oid)), ..self }
    }
}

fn app(grant: &ManagedToken) -> u64 {
    let tenant = grant.tenant_id.to_ascii_lowercase();
    match &grant.app.client_id {
        ConfigValue::Plain(id) => hash(&format!("{tenant} {id}")),
        ConfigValue::From(source) => hash(&format!("{tenant} {source:?}")),
    }
}

/// Hashes the URL of a vault or the id of a user. Ignores case.
pub fn hash(name: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    name.to_ascii_lowercase().hash(&mut hasher);
    hasher.finish()
}

/// The maximum number of steps in progress, and so of requests in flight.
const STEPS: usize = 64;
/// The maximum number of identical redemptions within `LOOP_SPAN`. Entra rejects the 15th redemption (AADSTS50196).
const LOOP: usize = 14;
/// The span in which Entra counts identical redemptions.
pub const LOOP_SPAN: Duration = Duration::from_secs(5 * 60);
/// The maximum number of new versions within `VAULT_SPAN`: two thirds of Key Vault's own limit of 300
/// (docs/azure-facts.md F216).
const NEW_VERSIONS: usize = 200;
/// The maximum number of requests within `VAULT_SPAN`, except writes of new versions: two thirds of Key Vault's own
/// limit of 4,000.
const CALLS: usize = 2_666;
/// The span in which a vault counts requests.
const VAULT_SPAN: Duration = Duration::from_secs(10);
/// This many steps, and this many requests to each vault, are reserved for tokens with a held successor.
const KEPT_FREE: usize = 8;

impl Limited {
    /// Returns the maximum number of permits, and how long each permit counts after the answer to its request.
    fn limit(self, urgent: bool) -> (usize, Duration) {
        let kept_free = if urgent { 0 } else { KEPT_FREE };
        match self {
            Self::Steps => (STEPS - kept_free, Duration::ZERO),
            Self::Vault(_) => (STEPS - kept_free, Duration::ZERO),
            Self::Calls(_) => (CALLS - kept_free, VAULT_SPAN),
            Self::NewVersions(_) => (NEW_VERSIONS, VAULT_SPAN),
            Self::Redemptions(_) => (LOOP, LOOP_SPAN),
        }
    }
}

/// Returns how many tokens of one user and app can be redeemed within a span without breaking Entra's loop rule.
pub fn redeemable_within(span: Duration) -> usize {
    let most = span.as_secs().saturating_mul(LOOP as u64) / LOOP_SPAN.as_secs();
    usize::try_from(most).unwrap_or(usize::MAX)
}

/// The permits that still count for one limit.
#[derive(Debug, Default)]
struct Window {
    /// The number of permits whose requests are not answered yet.
    busy: usize,
    /// The times of the answers that still count, in order.
    ended: VecDeque<Duration>,
    /// The end of a pause that the service has asked for. Until then, only urgent requests get a permit.
    paused_until: Duration,
}

impl Window {
    fn forget(&mut self, span: Duration, now: Duration) {
        while self.ended.front().is_some_and(|at| *at + span <= now) {
            self.ended.pop_front();
        }
    }

    fn used(&self) -> usize {
        self.busy + self.ended.len()
    }

    fn is_idle(&self, now: Duration) -> bool {
        self.used() == 0 && self.paused_until <= now
    }
}

/// For each limit, the permits that still count.
#[derive(Debug, Default)]
pub struct Usage {
    windows: BTreeMap<Limited, Window>,
    /// Idle windows are removed once there are this many windows.
    sweep_at: usize,
}

/// The smallest number of windows at which idle windows are removed.
const FEW: usize = 64;

impl Usage {
    /// Takes a permit if one is free.
    ///
    /// # Errors
    /// Returns the time at which a permit may be free. Returns `None` if the caller must wait until another caller
    /// gives a permit back.
    pub fn take(&mut self, what: Limited, urgent: bool, now: Duration) -> Result<(), Option<Duration>> {
        let (most, span) = what.limit(urgent);
        let paused_until = self.windows.get(&what).map_or(Duration::ZERO, |window| window.paused_until);
        if !urgent && paused_until > now {
            return Err(Some(paused_until));
        }
        let mut used = self.refresh(what, span, now);
        let mut next = self.first_end(what);
        if let Some(other) = self.rival(what, span, now) {
            used += self.windows.get(&other).map_or(0, Window::used);
            next = next.into_iter().chain(self.first_end(other)).min();
        }
        let most = if self.is_shared(what) { most - most / 4 } else { most };
        if used >= most {
            return Err(next.map(|at| at + span));
        }
        self.sweep(now);
        self.windows.entry(what).or_default().busy += 1;
        Ok(())
    }

    /// Gives a permit back. A permit that was not used no longer counts against the limit.
    pub fn give_back(&mut self, what: Limited, was_used: bool, now: Duration) {
        let Some(window) = self.windows.get_mut(&what) else { return };
        window.busy = window.busy.saturating_sub(1);
        if was_used && what.limit(true).1 > Duration::ZERO {
            // Most users have only one token, which is redeemed at most once in a span. So memory for one entry is
            // reserved.
            window.ended.reserve_exact(usize::from(window.ended.is_empty()));
            window.ended.push_back(now);
        }
    }

    /// Counts requests that were sent without a permit. These are the requests for the second and later pages of a
    /// list.
    pub fn note(&mut self, what: Limited, count: usize, now: Duration) {
        self.windows.entry(what).or_default().ended.extend(std::iter::repeat_n(now, count));
    }

    /// Moves a permit from an unknown user to the user that is known now.
    pub fn carry(&mut self, from: Limited, to: Limited) {
        let Some(window) = self.windows.get_mut(&from) else { return };
        window.busy = window.busy.saturating_sub(1);
        if window.used() == 0 && window.paused_until.is_zero() {
            self.windows.remove(&from);
        }
        self.windows.entry(to).or_default().busy += 1;
    }

    /// Gives permits only to urgent requests until this time.
    pub fn pause(&mut self, what: Limited, until: Duration) {
        let window = self.windows.entry(what).or_default();
        window.paused_until = window.paused_until.max(until);
    }

    /// The number of permits that are in use.
    #[cfg(test)]
    pub(super) fn busy(&self, what: Limited) -> usize {
        self.windows.get(&what).map_or(0, |window| window.busy)
    }

    /// Removes answers whose span has passed, and returns the number of permits that still count.
    fn refresh(&mut self, what: Limited, span: Duration, now: Duration) -> usize {
        let Some(window) = self.windows.get_mut(&what) else { return 0 };
        window.forget(span, now);
        window.used()
    }

    fn first_end(&self, what: Limited) -> Option<Duration> {
        self.windows.get(&what)?.ended.front().copied()
    }

    /// Returns the other limit that may be for the same user. Entra may count the redemptions of both limits together.
    /// For a known user, the other limit is that of the app's unknown users. For an unknown user, the other limit is
    /// that of the known user with the most redemptions by this app.
    fn rival(&mut self, what: Limited, span: Duration, now: Duration) -> Option<Limited> {
        let Limited::Redemptions(Redeemer { app, user }) = what else { return None };
        let of = |user| Limited::Redemptions(Redeemer { app, user });
        if user.is_some() {
            self.refresh(of(None), span, now);
            return Some(of(None));
        }
        let users = self.windows.range_mut(of(Some(0))..=of(Some(u64::MAX)));
        let by_use = users.map(|(what, window)| {
            window.forget(span, now);
            (window.used(), *what)
        });
        by_use.max().map(|(_, what)| what)
    }

    /// Whether steps for other vaults are in progress. In that case, steps for this vault may take only three quarters
    /// of the permits.
    fn is_shared(&self, what: Limited) -> bool {
        let Limited::Vault(_) = what else { return false };
        let mut vaults = self.windows.range(Limited::Vault(0)..=Limited::Vault(u64::MAX));
        vaults.any(|(vault, window)| *vault != what && window.busy > 0)
    }

    fn sweep(&mut self, now: Duration) {
        if self.windows.len() < self.sweep_at.max(FEW) {
            return;
        }
        self.windows.retain(|what, window| {
            window.forget(what.limit(true).1, now);
            !window.is_idle(now)
        });
        self.sweep_at = 2 * self.windows.len();
    }
}

#[cfg(test)]
mod tests;
