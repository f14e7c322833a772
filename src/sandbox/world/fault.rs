//! Injected faults: which calls, when, how often and how.

use std::time::Duration;

use super::World;
use super::ledger::{Call, Operation, Peer};
use crate::net::no_response::NoResponse;
use crate::process::clock::Timestamp;

/// Whether a fault hits a call before or after it takes effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// Before: the call has no effect.
    Before,
    /// After: the call has its effect, and the answer is lost or changed.
    After,
}

/// How a success of the issuer is altered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Distortion {
    /// No refresh token in it.
    NoRefreshToken,
    /// An empty one.
    EmptyRefreshToken,
    /// The tokens of a user in another tenant.
    OtherTenant,
    /// Tokens for another app.
    OtherApp,
    /// The tokens of another user of the same tenant and app.
    OtherUser,
    /// An access token with unreadable claims.
    OpaqueAccessToken,
    /// No ID token, and an unreadable access token.
    NoIdentity,
    /// A refresh token that ends after a day, as those of a `spa` redirect.
    DayToken,
    /// The redeemed refresh token, as issuers without rotation return it.
    SameRefreshToken,
}

impl Distortion {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::NoRefreshToken,
        Self::EmptyRefreshToken,
        Self::OtherTenant,
        Self::OtherApp,
        Self::OtherUser,
        Self::OpaqueAccessToken,
        Self::NoIdentity,
        Self::DayToken,
        Self::SameRefreshToken,
    ];

    /// The name in fault forms.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NoRefreshToken => "no_refresh_token",
            Self::EmptyRefreshToken => "empty_refresh_token",
            Self::OtherTenant => "other_tenant",
            Self::OtherApp => "other_app",
            Self::OtherUser => "other_user",
            Self::OpaqueAccessToken => "opaque_access_token",
            Self::NoIdentity => "no_identity",
            Self::DayToken => "day_token",
            Self::SameRefreshToken => "same_refresh_token",
        }
    }
}

/// A harmful body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hostile {
    /// A hundred megabytes, without a length in the head.
    Long,
    /// A hundred megabytes, compressed into less than one.
    Bomb,
    /// A byte a second, as long as the client reads.
    Drip,
    /// An error or a profile with all data of the request.
    Echo,
    /// A success. Each displayable text holds the request's data, or a terminal's escape sequences.
    Laced,
}

impl Hostile {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Long, Self::Bomb, Self::Drip, Self::Echo, Self::Laced];

    /// The name in fault forms.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Long => "long",
            Self::Bomb => "bomb",
            Self::Drip => "drip",
            Self::Echo => "echo",
            Self::Laced => "laced",
        }
    }
}

/// The failure.
#[derive(Clone, Debug, PartialEq)]
pub enum FaultEffect {
    /// No answer at all.
    Transport(NoResponse),
    /// A bare status, as gateways and throttles give it.
    Status {
        /// HTTP status.
        status: u16,
        /// The `Retry-After` header.
        retry_after: Option<Duration>,
    },
    /// An OAuth error of Entra's.
    OAuth {
        /// HTTP status.
        status: u16,
        /// As `invalid_grant`.
        error: String,
        /// AADSTS number.
        code: Option<u32>,
        /// Entra's finer distinction.
        suberror: Option<String>,
    },
    /// An error of Key Vault's or Partner Center's shape.
    Coded {
        /// HTTP status.
        status: u16,
        /// As `Forbidden` or `900421`.
        code: String,
        /// Key Vault's inner code, as `ForbiddenByRbac`.
        inner: Option<String>,
        /// The `Retry-After` header.
        retry_after: Option<Duration>,
    },
    /// A success with a page that is no valid answer.
    Garbage,
    /// An unaltered answer of a gateway or a broken server.
    Verbatim {
        /// HTTP status.
        status: u16,
        /// The `Content-Type` header.
        content_type: &'static str,
        /// The `Retry-After` header, whatever it holds.
        retry_after: Option<String>,
        /// The body.
        body: String,
    },
    /// An answer with a harmful body. In memory there is no body, and only the status counts.
    Hostile {
        /// HTTP status.
        status: u16,
        /// The kind of body.
        body: Hostile,
    },
    /// An altered success of the issuer. Only with `When::After`.
    Distort(Distortion),
    /// The call is delayed and then continues. Only with `When::Before`.
    Delay(Duration),
}

/// One fault. The first that matches a call affects it.
#[derive(Clone, Debug, PartialEq)]
pub struct Fault {
    /// The called service.
    pub peer: Peer,
    /// The operation; all by default. Tokens for the vault (`Identity`) only if named, since their clients cache them.
    pub operation: Option<Operation>,
    /// Only calls about this secret (by name) or user (by object id).
    pub subject: Option<String>,
    /// Before or after the effect.
    pub when: When,
    /// The failure.
    pub what: FaultEffect,
    /// The remaining number of calls; unlimited by default.
    pub times: Option<u32>,
    /// World time at which it ends by itself.
    pub until: Option<Timestamp>,
}

impl Fault {
    /// A fault that affects every call to a peer, before any effect, until it is cleared.
    pub fn of(peer: Peer, what: FaultEffect) -> Self {
        let when = if matches!(what, FaultEffect::Distort(_)) { When::After } else { When::Before };
        Self { peer, operation: None, subject: None, when, what, times: None, until: None }
    }

    /// Only calls of this operation.
    #[must_use]
    pub fn on(self, operation: Operation) -> Self {
        Self { operation: Some(operation), ..self }
    }

    /// Only calls about this secret or user.
    #[must_use]
    pub fn about(self, subject: &str) -> Self {
        Self { subject: Some(subject.to_owned()), ..self }
    }

    /// After the effect: the call has its effect, and the answer is lost.
    #[must_use]
    pub fn after_effect(self) -> Self {
        Self { when: When::After, ..self }
    }

    /// Only this many calls.
    #[must_use]
    pub fn times(self, times: u32) -> Self {
        Self { times: Some(times), ..self }
    }

    /// Until this time of the world.
    #[must_use]
    pub fn until(self, at: Timestamp) -> Self {
        Self { until: Some(at), ..self }
    }

    fn fits(&self, peer: Peer, operation: Operation, subject: &str) -> bool {
        let operation_fits = match self.operation {
            Some(named) => named == operation,
            None => operation != Operation::Identity,
        };
        let subject_fits = self.subject.as_ref().is_none_or(|named| named.eq_ignore_ascii_case(subject));
        self.peer == peer && operation_fits && subject_fits
    }
}

#[derive(Default)]
pub(super) struct Faults(Vec<Fault>);

impl Faults {
    /// The fault that affects a call, if any; uses up one of its times.
    pub(super) fn strike(&mut self, call: &Call, now: Timestamp) -> Option<(When, FaultEffect)> {
        self.take(now, |fault| {
            !matches!(fault.what, FaultEffect::Delay(_))
                && fault.fits(call.peer, call.operation, &call.subject)
        })
    }

    /// How long a call is delayed.
    pub(super) fn delay(
        &mut self,
        peer: Peer,
        operation: Operation,
        subject: &str,
        now: Timestamp,
    ) -> Duration {
        let hit = self.take(now, |fault| {
            matches!(fault.what, FaultEffect::Delay(_)) && fault.fits(peer, operation, subject)
        });
        match hit {
            Some((_, FaultEffect::Delay(delay))) => delay,
            _ => Duration::ZERO,
        }
    }

    fn take(&mut self, now: Timestamp, hits: impl Fn(&Fault) -> bool) -> Option<(When, FaultEffect)> {
        self.0.retain(|fault| fault.times != Some(0) && fault.until.is_none_or(|until| now < until));
        let fault = self.0.iter_mut().find(|fault| hits(fault))?;
        if let Some(times) = &mut fault.times {
            *times -= 1;
        }
        Some((fault.when, fault.what.clone()))
    }
}

impl World {
    /// Adds a fault.
    pub fn inject(&self, fault: Fault) {
        self.lock().faults.0.push(fault);
    }

    /// The fault, if any, that prevents an actor's token for the vault. A client in memory requests none, so the
    /// ledger records nothing.
    pub(super) fn identity_fault(&self, actor: &str) -> Option<FaultEffect> {
        let mut inner = self.lock();
        let now = inner.time.now();
        let hit = inner.faults.take(now, |fault| fault.fits(Peer::Entra, Operation::Identity, actor));
        hit.map(|(_, what)| what)
    }

    /// Ends all faults of a peer, or of all peers.
    pub fn clear_faults(&self, peer: Option<Peer>) {
        self.lock().faults.0.retain(|fault| peer.is_some_and(|peer| fault.peer != peer));
    }

    /// The active faults.
    pub fn faults(&self) -> Vec<Fault> {
        let mut inner = self.lock();
        let now = inner.time.now();
        inner.faults.take(now, |_| false);
        inner.faults.0.clone()
    }
}
