//! Implements the ports of one instance. Each call goes to the simulated world, and its request or answer may be lost.
//! The instance keeps a hash of all answers that it has received so far.
//!
//! If an instance receives the same answers in two schedules, its state is the same in both schedules. For this
//! comparison, the hash must not depend on the world's random texts, such as tokens and ids. So the hash uses a name
//! for each text: the text's author and a number.

use std::collections::HashMap;
use std::future::poll_fn;
use std::hash::{DefaultHasher, Hash, Hasher as _};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;

use perennial::net::no_response::NoResponse;
use perennial::ports::client::{AppSignIn, VaultCertificate};
use perennial::ports::failure::Trace;
use perennial::ports::oauth_error::OAuthError;
use perennial::ports::{
    Acceptance, Certificates, Issuer, IssuerError, RefreshRequest, RefreshResponse, Resource, ResourceError,
    SecretUpdate, Vault, VaultError,
};
use perennial::sandbox::world::Actor;
use perennial::token::AccessToken;
use perennial::token::secret::SecretAddress;
use perennial::token::tags::Tags;
use perennial::token::version::{NewVersion, Stored, Version, VersionId};
use secrecy::SecretString;
use uuid::Uuid;

/// The kind of an instance's next or last call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Call {
    /// No call: the instance waits for time to pass.
    None,
    /// A read of data that no other process changes.
    Private,
    /// A read.
    Read,
    /// A call that changes a service's state, so that the loss of its answer matters.
    Effect,
}

/// Names for the world's random texts. All instances of a world share these names.
#[derive(Clone, Default)]
pub(super) struct Names(Arc<Mutex<HashMap<String, u64>>>);

impl Names {
    /// Returns the name of a text. If a text has no name, returns a hash of the text.
    pub(super) fn of(&self, text: &str) -> u64 {
        lock(&self.0).get(text).copied().unwrap_or_else(|| number(text))
    }

    /// Gives a text a name, unless it already has a name.
    pub(super) fn give(&self, text: &str, name: impl Hash) {
        lock(&self.0).entry(text.to_owned()).or_insert_with(|| number(name));
    }

    /// Returns a hash of the names of the tags, and of the values that affect a decision. Times are left out, because
    /// times depend on the order of the events.
    pub(super) fn of_tags(&self, tags: &Tags) -> u64 {
        let values = tags.iter().map(|(name, value)| match name {
            "redeemed-from" => (name, self.of(value)),
            "redeeming" => (name, self.of(value.split(' ').nth(2).unwrap_or_default())),
            "refused-kind" | "refused-code" => (name, number(value)),
            _ => (name, 0),
        });
        number(values.collect::<Vec<_>>())
    }
}

#[derive(Debug)]
struct Ear {
    next: Call,
    last: Call,
    heard: u64,
    drawn: u32,
    loses: Option<Lost>,
}

/// The lost part of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lost {
    /// The request is lost, so the call has no effect.
    Request,
    /// The answer is lost.
    Answer,
}

/// The ports of one process, which is identified by the index of its instance and the number of restarts.
#[derive(Clone)]
pub(super) struct Instance {
    actor: Actor,
    token: SecretAddress,
    life: (usize, usize),
    names: Names,
    ear: Arc<Mutex<Ear>>,
}

impl Instance {
    pub(super) fn new(actor: Actor, token: &SecretAddress, life: (usize, usize), names: Names) -> Self {
        let ear = Ear { next: Call::None, last: Call::None, heard: number(life), drawn: 0, loses: None };
        Self { actor, token: token.clone(), life, names, ear: Arc::new(Mutex::new(ear)) }
    }

    /// Returns the kind of the instance's next call and of its last call.
    pub(super) fn calls(&self) -> (Call, Call) {
        let ear = lock(&self.ear);
        (ear.next, ear.last)
    }

    /// Returns a hash of everything that the instance can know.
    pub(super) fn heard(&self) -> u64 {
        lock(&self.ear).heard
    }

    /// Makes the instance lose its next request or the answer to that request.
    pub(super) fn lose(&self, what: Lost) {
        lock(&self.ear).loses = Some(what);
    }

    /// Makes a call, and returns the answer. The call takes effect at the second poll. Returns `None` if the request is
    /// lost.
    async fn through<T>(&self, call: impl Future<Output = T>) -> Option<T> {
        let mut call = pin!(call);
        poll_fn(|context| match lock(&self.ear).loses {
            Some(Lost::Request) => Poll::Ready(None),
            _ => call.as_mut().poll(context).map(Some),
        })
        .await
    }

    fn begin(&self, next: Call) {
        lock(&self.ear).next = next;
    }

    /// Records the end of a call. Returns the answer, or `lost` if the request or the answer is lost.
    fn end<T, E>(&self, answer: Option<Result<T, E>>, of: impl Fn(&T) -> u64, lost: E) -> Result<T, E>
    where
        E: std::fmt::Debug,
    {
        let mut ear = lock(&self.ear);
        let is_lost = ear.loses.take().is_some();
        let answer = answer.filter(|_| !is_lost).unwrap_or(Err(lost));
        let what = match &answer {
            Ok(answer) => of(answer),
            Err(error) => number(format!("{error:?}")),
        };
        ear.heard = number((ear.heard, what));
        ear.last = std::mem::replace(&mut ear.next, Call::None);
        drop(ear);
        answer
    }

    fn draws(&self, text: &str) {
        let drawn = {
            let mut ear = lock(&self.ear);
            ear.drawn += 1;
            ear.drawn
        };
        self.names.give(text, (self.life, drawn));
    }

    fn version(&self, version: &Version) -> u64 {
        number((self.names.of(&version.id.0), version.enabled, self.names.of_tags(&version.tags)))
    }
}

impl Issuer for Instance {
    async fn redeem(&self, what: &RefreshRequest<'_>) -> Result<RefreshResponse, IssuerError> {
        self.begin(Call::Effect);
        let answer = self.through(self.actor.redeem(what)).await;
        if let Some(Ok(answer)) = &answer {
            self.draws(answer.refresh_token.expose());
        }
        // The trace ids of a rejection are left out, because the ids depend on the order of the calls. No decision
        // depends on the ids.
        let answer = answer.map(|answer| {
            answer.map_err(|error| match error {
                IssuerError::Refused(refused) => {
                    let trace = Trace::of(refused.trace.code);
                    IssuerError::Refused(Box::new(OAuthError { trace, ..*refused }))
                }
                error => error,
            })
        });
        let lost = IssuerError::Unreachable(NoResponse::TimedOut);
        self.end(answer, |answer| self.names.of(answer.refresh_token.expose()), lost)
    }

    async fn authenticate(&self, what: &AppSignIn<'_>) -> Result<(), IssuerError> {
        self.begin(Call::Private);
        let answer = self.through(self.actor.authenticate(what)).await;
        self.end(answer, |()| 0, IssuerError::Unreachable(NoResponse::TimedOut))
    }

    fn assertion_audience(&self, tenant: &str) -> String {
        self.actor.assertion_audience(tenant)
    }

    async fn host_assertion(&self, client_id: &str) -> Result<SecretString, VaultError> {
        self.actor.host_assertion(client_id).await
    }
}

const LOST: VaultError = VaultError::Unreachable(NoResponse::TimedOut);

impl Certificates for Instance {
    async fn certificate(
        &self,
        at: &SecretAddress,
        version: Option<&VersionId>,
        id: Uuid,
    ) -> Result<VaultCertificate, VaultError> {
        self.begin(Call::Private);
        let answer = self.through(self.actor.certificate(at, version, id)).await;
        self.end(answer, |found| self.version(&found.version), LOST)
    }

    async fn certificate_versions(&self, at: &SecretAddress, id: Uuid) -> Result<Vec<Version>, VaultError> {
        self.begin(Call::Private);
        let answer = self.through(self.actor.certificate_versions(at, id)).await;
        self.end(answer, |_| 0, LOST)
    }

    async fn sign(
        &self,
        at: &SecretAddress,
        version: &VersionId,
        digest: &[u8; 32],
        id: Uuid,
    ) -> Result<Vec<u8>, VaultError> {
        self.begin(Call::Private);
        let answer = self.through(self.actor.sign(at, version, digest, id)).await;
        self.end(answer, |_| 0, LOST)
    }
}

impl Vault for Instance {
    async fn newest(&self, at: &SecretAddress, id: Uuid) -> Result<Stored, VaultError> {
        self.begin(if *at == self.token { Call::Read } else { Call::Private });
        let answer = self.through(self.actor.newest(at, id)).await;
        self.end(answer, |stored| self.version(&stored.version), LOST)
    }

    async fn read(&self, at: &SecretAddress, version: &VersionId, id: Uuid) -> Result<Stored, VaultError> {
        self.begin(if *at == self.token { Call::Read } else { Call::Private });
        let answer = self.through(self.actor.read(at, version, id)).await;
        self.end(answer, |stored| self.version(&stored.version), LOST)
    }

    async fn versions(&self, at: &SecretAddress, id: Uuid) -> Result<Vec<Version>, VaultError> {
        self.begin(if *at == self.token { Call::Read } else { Call::Private });
        let answer = self.through(self.actor.versions(at, id)).await;
        let all = |all: &Vec<Version>| number(all.iter().map(|one| self.version(one)).collect::<Vec<_>>());
        self.end(answer, all, LOST)
    }

    async fn write(&self, at: &SecretAddress, new: &NewVersion, id: Uuid) -> Result<Version, VaultError> {
        self.begin(Call::Effect);
        let answer = self.through(self.actor.write(at, new, id)).await;
        if let Some(Ok(version)) = &answer {
            self.draws(&version.id.0);
        }
        self.end(answer, |version| self.version(version), LOST)
    }

    async fn update(
        &self,
        at: &SecretAddress,
        version: &VersionId,
        change: &SecretUpdate,
        id: Uuid,
    ) -> Result<(), VaultError> {
        self.begin(Call::Effect);
        let mark = change.tags.as_ref().and_then(|tags| tags.get("redeeming"));
        if let Some(by) = mark.and_then(|mark| mark.split(' ').nth(2)) {
            self.draws(by);
        }
        let answer = self.through(self.actor.update(at, version, change, id)).await;
        self.end(answer, |()| 0, LOST)
    }
}

impl Resource for Instance {
    async fn accepts(&self, token: &AccessToken, id: Uuid) -> Result<Acceptance, ResourceError> {
        self.begin(Call::Read);
        let answer = self.through(self.actor.accepts(token, id)).await;
        self.end(answer, |_| 0, ResourceError::Unreachable(NoResponse::TimedOut))
    }
}

/// Returns a hash of a value.
pub(super) fn number(what: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    what.hash(&mut hasher);
    hasher.finish()
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}
