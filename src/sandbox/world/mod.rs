//! One in-memory world with the rules of Entra, Key Vault, Partner Center and Microsoft Graph (docs/azure-facts.md).
//!
//! This module owns the behavior and the data of the services: users, apps, grants, secrets with versions, and roles.
//! The module also owns the injected faults and a ledger of every call. The operations are synchronous. Simulations
//! call the world through the traits of `crate::ports` (`actor`). The sandbox's HTTPS server calls the world directly.
//! Both use the same rules, which exist only here. The world does not depend on Perennial's own decisions.
//!
//! Invariants: The same seed and the same order of calls give the same world, except for keys, certificates and
//! signatures. No type shows a secret through `Debug`.

mod actor;
mod certificate;
mod credentials;
mod device;
mod directory;
mod entra;
mod fault;
mod grants;
mod graph;
mod identities;
mod ledger;
mod partner_center;
mod people;
mod sign_in;
#[cfg(test)]
mod tests;
mod time;
mod vault;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::TimeDelta;
use uuid::Uuid;

pub use self::actor::Actor;
pub use self::certificate::PublicCertificate;
pub use self::credentials::{
    AcceptedAssertion, AppCertificate, AppSecret, FederatedCredential, ManagedIdentity, Propagation,
};
pub use self::device::{DeviceAnswer, DeviceRequest, DeviceState};
pub use self::directory::{App, Consent, Platform, Redirect, Rules, Tenant, User};
pub use self::entra::{AppProof, EntraRefusal, IdentityRequest, RedeemRequest, TokenAnswer};
pub use self::fault::{Distortion, Fault, FaultEffect, Hostile, When};
pub use self::grants::{GrantRecord, Owner, fingerprint};
pub use self::graph::{CredentialPolicy, GraphRefusal, GraphRole, KeyEntry, KeyRequest, PasswordRequest};
pub use self::identities::HostRefusal;
pub use self::ledger::{Call, CallOutcome, Operation, Peer, Write};
pub use self::partner_center::{PartnerCenterRules, PartnerRefusal, Profile};
pub use self::people::{HUMAN, Partner};
pub use self::sign_in::{AuthorizeRequest, CodeRequest, Decision, SignInStep};
pub use self::vault::{
    Action, Attributes, CertificateImport, CertificatePolicy, CertificateRequest, CertificateVersion,
    ContentType, DeletedSecret, KeySignature, ListPage, SecretVersion, SetRequest, UpdateRequest,
    VaultRefusal, VaultState,
};
use crate::process::clock::{Clock, Timestamp};

/// The simulated world. Cloning is cheap, and all clones are the same world.
#[derive(Clone)]
pub struct World(Arc<Mutex<Inner>>);

struct Inner {
    time: time::WorldTime,
    rng: fastrand::Rng,
    latency: Duration,
    directory: directory::EntraDirectory,
    grants: grants::Grants,
    access_tokens: BTreeMap<String, entra::AccessRecord>,
    /// When the number of access tokens reaches this limit, the world removes the expired access tokens.
    sweep_access_tokens_at: usize,
    assertions: credentials::Assertions,
    /// Whether new certificates use one of a few ready-made keys, instead of a new key each.
    shares_keys: bool,
    sign_ins: sign_in::SignIns,
    devices: device::Devices,
    vaults: BTreeMap<String, VaultState>,
    partners: Vec<Partner>,
    partner_center: PartnerCenterRules,
    faults: fault::Faults,
    ledger: ledger::CallLedger,
    hook: Option<Hook>,
}

/// A function that observes each call before and after its effect. The function may change the world at both points.
type Hook = Arc<dyn Fn(&Call, When) + Send + Sync>;

/// The reason why a call failed.
#[derive(Clone, Debug, PartialEq)]
pub enum Trouble<E> {
    /// An injected fault took effect: the service did not handle the call, or the service's answer was lost.
    Fault(FaultEffect),
    /// The service rejected the call by its own rules.
    Refused(E),
}

/// The description of a call. The ledger records the description, and faults use the description to select calls.
struct About<'a> {
    peer: Peer,
    operation: Operation,
    actor: &'a str,
    subject: String,
    grant: Option<usize>,
}

impl World {
    /// Creates an empty world. At first, the world's time is the time of `clock`.
    ///
    /// The world ignores corrections of `clock`. A daemon that shares `clock` corrects `clock` to the vault's time,
    /// which is the world's time. If the world used this correction, the correction would also move the world's time.
    pub fn new(clock: Clock, seed: u64) -> Self {
        Self(Arc::new(Mutex::new(Inner {
            time: time::WorldTime::new(clock),
            rng: fastrand::Rng::with_seed(seed),
            latency: Duration::ZERO,
            directory: directory::EntraDirectory::default(),
            grants: grants::Grants::default(),
            access_tokens: BTreeMap::new(),
            sweep_access_tokens_at: 64,
            assertions: credentials::Assertions::default(),
            shares_keys: false,
            sign_ins: sign_in::SignIns::default(),
            devices: device::Devices::default(),
            vaults: BTreeMap::new(),
            partners: Vec::new(),
            partner_center: PartnerCenterRules::default(),
            faults: fault::Faults::default(),
            ledger: ledger::CallLedger::default(),
            hook: None,
        })))
    }

    /// Returns an actor, which stands for one instance of a program and implements the traits of `crate::ports`. The
    /// ledger records the instance's calls under `name`.
    pub fn as_actor(&self, name: &str) -> Actor {
        Actor::new(self.clone(), name)
    }

    /// Returns the world's time.
    pub fn now(&self) -> Timestamp {
        self.lock().time.now()
    }

    /// Sets how far the world's time is ahead of the world's clock.
    pub fn set_offset(&self, offset: TimeDelta) {
        self.lock().time.set_offset(offset);
    }

    /// Moves the world's time forward or backward.
    pub fn advance(&self, by: TimeDelta) {
        self.lock().time.advance(by);
    }

    /// Makes the world's time run `speed` times as fast as the world's clock from now on.
    pub fn set_speed(&self, speed: f64) {
        self.lock().time.set_speed(speed);
    }

    /// Returns the speed of the world's time relative to the world's clock.
    pub fn speed(&self) -> f64 {
        self.lock().time.speed()
    }

    /// Makes `clock`, instead of the world's clock, decide when access tokens and assertions expire. The sandbox uses
    /// the host's clock, since the Azure clients use the host's clock for their caches.
    pub fn access_tokens_live_by(&self, clock: Clock) {
        self.lock().time.set_wall(clock);
    }

    /// Sets the delay of every call, in tokio's time.
    pub fn set_latency(&self, latency: Duration) {
        self.lock().latency = latency;
    }

    /// Replaces the previous hook by `hook`. From now on, each call runs `hook` before and after the call's effect, and
    /// waits until `hook` returns. So `hook` may change the world or stop the caller before the call continues.
    pub fn tell_calls_to(&self, hook: impl Fn(&Call, When) + Send + Sync + 'static) {
        self.lock().hook = Some(Arc::new(hook));
    }

    /// Returns the delay before the effect of the next call of this kind: the latency plus the delay of an injected
    /// fault.
    pub fn delay(&self, peer: Peer, operation: Operation, subject: &str) -> Duration {
        let mut inner = self.lock();
        let now = inner.time.now();
        inner.latency + inner.faults.delay(peer, operation, subject, now)
    }

    /// Returns a new id from the world's own randomness.
    pub fn fresh_id(&self) -> Uuid {
        self.lock().fresh_id()
    }

    /// Runs one call: applies the injected faults, runs the effect, and records the call in the ledger. Each call to a
    /// simulated service goes through this function.
    fn call<'a, T, E: std::fmt::Display>(
        &self,
        about: impl FnOnce(&Inner) -> About<'a>,
        effect: impl FnOnce(&mut Inner, Option<Distortion>) -> Result<T, E>,
    ) -> Result<T, Trouble<E>> {
        let (mut call, hook) = {
            let inner = self.lock();
            let about = about(&inner);
            let call = Call {
                at: inner.time.now(),
                peer: about.peer,
                operation: about.operation,
                actor: about.actor.to_owned(),
                subject: about.subject,
                grant: about.grant,
                outcome: CallOutcome::Done,
            };
            (call, inner.hook.clone())
        };
        // The lock is released during a hook, since a hook may change the world or stop the caller.
        let tell = |call: &Call, when| hook.iter().for_each(|hook| hook(call, when));
        tell(&call, When::Before);
        let mut inner = self.lock();
        let now = inner.time.now();
        let (result, outcome) = match inner.faults.strike(&call, now) {
            Some((When::Before, what)) => (Err(Trouble::Fault(what)), CallOutcome::NotReached),
            Some((When::After, FaultEffect::Distort(distortion))) => {
                done(effect(&mut inner, Some(distortion)))
            }
            Some((When::After, what)) => {
                let _lost = effect(&mut inner, None);
                (Err(Trouble::Fault(what)), CallOutcome::Lost)
            }
            None => done(effect(&mut inner, None)),
        };
        call.outcome = outcome;
        inner.ledger.calls.push(call.clone());
        drop(inner);
        tell(&call, When::After);
        result
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Use the lock even if another thread panicked and poisoned the lock. The panic itself makes the test fail. The
        // world's data is still consistent, since each single statement leaves the data consistent.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn fresh_id(&mut self) -> Uuid {
        uuid::Builder::from_random_bytes(self.rng.u128(..).to_be_bytes()).into_uuid()
    }
}

fn done<T, E: std::fmt::Display>(result: Result<T, E>) -> (Result<T, Trouble<E>>, CallOutcome) {
    match result {
        Ok(answer) => (Ok(answer), CallOutcome::Done),
        Err(error) => {
            let outcome = CallOutcome::Refused(error.to_string());
            (Err(Trouble::Refused(error)), outcome)
        }
    }
}
