//! Injected faults: which calls fail, when, how often, and in which way.

use std::time::Duration;

use super::World;
use super::ledger::{Call, Operation, Peer};
use crate::net::no_response::NoResponse;
use crate::process::clock::Timestamp;

/// Whether a call fails before or after its effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// The call fails before its effect, so it has no effect.
    Before,
    /// The call has its effect, but the answer is lost or changed.
    After,
}

/// How a successful answer of the issuer is changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Distortion {
    /// The answer has no refresh token.
    NoRefreshToken,
    /// The answer has an empty refresh token.
    EmptyRefreshToken,
    /// The answer has tokens of another tenant for the same user and app.
    OtherTenant,
    /// The answer has tokens for another app.
    OtherApp,
    /// The answer has the tokens of another user of the same tenant and app.
    OtherUser,
    /// The answer has an access token with unreadable claims.
    OpaqueAccessToken,
    /// The answer has no ID token, and the claims of its access token are unreadable.
    NoIdentity,
    /// The answer says that the refresh token expires after a day. Entra issues such tokens if the redirect URI has the
    /// platform `spa`.
    DayToken,
    /// The answer contains the redeemed refresh token again, as in answers of issuers that do not rotate tokens.
    SameRefreshToken,
}

impl Distortion {
    /// All kinds of changed answers.
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

    /// Returns the value of the field `distort` that requests this kind in `POST /_sandbox/faults`.
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

/// A kind of harmful body in an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hostile {
    /// A body of a hundred megabytes, without a `Content-Length` header.
    Long,
    /// A body of a hundred megabytes that is compressed to less than one megabyte.
    Bomb,
    /// An endless body, of which the server sends one byte per second.
    Drip,
    /// An error or a Partner Center profile. Each text in the body repeats data from the request.
    Echo,
    /// A successful answer with harmful texts: the request's data or terminal escape sequences. Perennial must not
    /// display such texts.
    Laced,
}

impl Hostile {
    /// All kinds of harmful body.
    pub const ALL: [Self; 5] = [Self::Long, Self::Bomb, Self::Drip, Self::Echo, Self::Laced];

    /// Returns the value of the field `body` that requests this kind in `POST /_sandbox/faults`.
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

/// The failure that a fault causes.
#[derive(Clone, Debug, PartialEq)]
pub enum FaultEffect {
    /// The call gets no answer at all.
    Transport(NoResponse),
    /// The answer is a status without the service's error body. Gateways and throttled services send such answers.
    Status {
        /// The HTTP status.
        status: u16,
        /// The value of the `Retry-After` header.
        retry_after: Option<Duration>,
    },
    /// The answer is an OAuth error of Entra.
    OAuth {
        /// The HTTP status.
        status: u16,
        /// The error, such as `invalid_grant`.
        error: String,
        /// The AADSTS number.
        code: Option<u32>,
        /// The suberror, which refines the error.
        suberror: Option<String>,
    },
    /// The answer is an error in the form of Key Vault, Partner Center or Microsoft Graph.
    Coded {
        /// The HTTP status.
        status: u16,
        /// The code, such as `Forbidden` or `900421`.
        code: String,
        /// Key Vault's inner code, such as `ForbiddenByRbac`.
        inner: Option<String>,
        /// The value of the `Retry-After` header.
        retry_after: Option<Duration>,
    },
    /// The answer has a success status, but the body is a web page instead of the service's JSON.
    Garbage,
    /// The answer has exactly this status, these headers and this body. With such an answer, a test simulates a gateway
    /// or a broken server.
    Verbatim {
        /// The HTTP status.
        status: u16,
        /// The value of the `Content-Type` header.
        content_type: &'static str,
        /// The value of the `Retry-After` header, valid or not.
        retry_after: Option<String>,
        /// The body of the answer.
        body: String,
    },
    /// The answer has a harmful body. Only the HTTPS server sends this body. Without HTTP, a caller gets only the
    /// status.
    Hostile {
        /// The HTTP status.
        status: u16,
        /// The kind of harmful body.
        body: Hostile,
    },
    /// A successful answer of the issuer is changed. Valid only with `When::After`.
    Distort(Distortion),
    /// The call is delayed and then continues. Valid only with `When::Before`.
    Delay(Duration),
}

/// One injected fault. If several faults match a call, at most two affect the call: the oldest delay, and the oldest
/// fault that is not a delay.
#[derive(Clone, Debug, PartialEq)]
pub struct Fault {
    /// The called service.
    pub peer: Peer,
    /// The operation of the affected calls. `None` means every operation, except requests for vault tokens (`Identity`)
    /// and for tokens of managed identities. A real outage of Entra rarely affects these requests, because clients
    /// cache the tokens.
    pub operation: Option<Operation>,
    /// The secret (by name), the user (by object id) or the app (by client id) of the affected calls. `None` means
    /// every call.
    pub subject: Option<String>,
    /// Whether the call fails before or after its effect.
    pub when: When,
    /// The failure that the fault causes.
    pub what: FaultEffect,
    /// How many more calls the fault affects. `None` means every call.
    pub times: Option<u32>,
    /// The world's time at which the fault ends by itself.
    pub until: Option<Timestamp>,
}

impl Fault {
    /// Creates a fault that affects every call to a service, until the fault is cleared. The calls fail before their
    /// effect, but a distortion changes the answer after the effect.
    pub fn of(peer: Peer, what: FaultEffect) -> Self {
        let when = if matches!(what, FaultEffect::Distort(_)) { When::After } else { When::Before };
        Self { peer, operation: None, subject: None, when, what, times: None, until: None }
    }

    /// Limits the fault to calls of this operation.
    #[must_use]
    pub fn on(self, operation: Operation) -> Self {
        Self { operation: Some(operation), ..self }
    }

    /// Limits the fault to calls about this secret, user or app.
    #[must_use]
    pub fn about(self, subject: &str) -> Self {
        Self { subject: Some(subject.to_owned()), ..self }
    }

    /// Makes calls fail after their effect: the call has its effect, and the answer is lost.
    #[must_use]
    pub fn after_effect(self) -> Self {
        Self { when: When::After, ..self }
    }

    /// Limits the fault to this number of calls.
    #[must_use]
    pub fn times(self, times: u32) -> Self {
        Self { times: Some(times), ..self }
    }

    /// Ends the fault at `at`, in the world's time.
    #[must_use]
    pub fn until(self, at: Timestamp) -> Self {
        Self { until: Some(at), ..self }
    }

    fn fits(&self, peer: Peer, operation: Operation, subject: &str) -> bool {
        let operation_fits = match self.operation {
            Some(named) => named == operation,
            None => !matches!(operation, Operation::Identity | Operation::ManagedIdentity),
        };
        let subject_fits = self.subject.as_ref().is_none_or(|named| named.eq_ignore_ascii_case(subject));
        self.peer == peer && operation_fits && subject_fits
    }
}

#[derive(Default)]
pub(super) struct Faults(Vec<Fault>);

impl Faults {
    /// Returns the fault that affects a call, if any. Counts the call if the fault is limited to a number of calls.
    pub(super) fn strike(&mut self, call: &Call, now: Timestamp) -> Option<(When, FaultEffect)> {
        self.take(now, |fault| {
            !matches!(fault.what, FaultEffect::Delay(_))
                && fault.fits(call.peer, call.operation, &call.subject)
        })
    }

    /// Returns the length of a call's delay, which is zero without a matching fault.
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

    /// Returns the fault, if any, that keeps an actor from getting a token for the vault or Microsoft Graph. Actors
    /// send no request for this token, so the ledger records no call. The fault's `subject` is `None` or the actor's
    /// name.
    pub(super) fn identity_fault(&self, actor: &str) -> Option<FaultEffect> {
        let mut inner = self.lock();
        let now = inner.time.now();
        let hit = inner.faults.take(now, |fault| fault.fits(Peer::Entra, Operation::Identity, actor));
        hit.map(|(_, what)| what)
    }

    /// Ends all faults of one service, or of all services.
    pub fn clear_faults(&self, peer: Option<Peer>) {
        self.lock().faults.0.retain(|fault| peer.is_some_and(|peer| fault.peer != peer));
    }

    /// Returns the active faults.
    pub fn faults(&self) -> Vec<Fault> {
        let mut inner = self.lock();
        let now = inner.time.now();
        inner.faults.take(now, |_| false);
        inner.faults.0.clone()
    }
}
