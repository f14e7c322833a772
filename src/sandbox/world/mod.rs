//! One in-memory world with the rules of Entra, Key Vault and Partner Center (docs/azure-facts.md).
//!
//! Owns the services' behavior: users, apps, grants, secrets with versions, roles, faults, and a ledger of every call.
//! Its operations are synchronous and have two callers, so that each rule exists once: the ports (`actor`) for the
//! simulation, and the sandbox's HTTPS server. Knows nothing of Perennial's own decisions.
//!
//! Invariants: the same seed and the same order of calls give the same world, byte for byte; no type shows a secret
//! through `Debug`.

mod actor;
mod device;
mod directory;
mod entra;
mod fault;
mod grants;
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
pub use self::device::{DeviceAnswer, DeviceRequest, DeviceState};
pub use self::directory::{App, AppSecret, Consent, Platform, Redirect, Rules, Tenant, User};
pub use self::entra::{AppProof, EntraRefusal, IdentityRequest, RedeemRequest, TokenAnswer};
pub use self::fault::{Distortion, Fault, FaultEffect, Hostile, When};
pub use self::grants::{GrantRecord, Owner, fingerprint};
pub use self::ledger::{Call, CallOutcome, Operation, Peer, Write};
pub use self::partner_center::{PartnerCenterRules, PartnerRefusal, Profile};
pub use self::people::{HUMAN, Partner};
pub use self::sign_in::{AuthorizeRequest, CodeRequest, Decision, SignInStep};
pub use self::vault::{
    Action, Attributes, DeletedSecret, ListPage, SecretVersion, SetRequest, UpdateRequest, VaultRefusal,
    VaultState,
};
use crate::process::clock::{Clock, Timestamp};

/// The world. Cheap to clone; all clones are the same world.
#[derive(Clone)]
pub struct World(Arc<Mutex<Inner>>);

struct Inner {
    time: time::WorldTime,
    rng: fastrand::Rng,
    latency: Duration,
    directory: directory::Directory,
    grants: grants::Grants,
    access_tokens: BTreeMap<String, entra::AccessRecord>,
    /// Expired ones are removed once there are this many.
    sweep_access_tokens_at: usize,
    sign_ins: sign_in::SignIns,
    devices: device::Devices,
    vaults: BTreeMap<String, VaultState>,
    partners: Vec<Partner>,
    partner_center: PartnerCenterRules,
    faults: fault::Faults,
    ledger: ledger::CallLedger,
    hook: Option<Hook>,
}

/// Observes each call, before and after its effect; it may change the world in between.
type Hook = Arc<dyn Fn(&Call, When) + Send + Sync>;

/// Why a call failed.
#[derive(Clone, Debug, PartialEq)]
pub enum Trouble<E> {
    /// An injected fault.
    Fault(FaultEffect),
    /// The peer rejected it by its own rules.
    Refused(E),
}

/// The attributes of a call, for the ledger and for faults.
struct About<'a> {
    peer: Peer,
    operation: Operation,
    actor: &'a str,
    subject: String,
    grant: Option<usize>,
}

impl World {
    /// An empty world whose time is `clock`'s, before any offset.
    ///
    /// The clock's own correction is ignored. Otherwise a daemon that shares the clock and learns the vault's time
    /// would move the world, and then learn again.
    pub fn new(clock: Clock, seed: u64) -> Self {
        Self(Arc::new(Mutex::new(Inner {
            time: time::WorldTime::new(clock),
            rng: fastrand::Rng::with_seed(seed),
            latency: Duration::ZERO,
            directory: directory::Directory::default(),
            grants: grants::Grants::default(),
            access_tokens: BTreeMap::new(),
            sweep_access_tokens_at: 64,
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

    /// The ports for an instance of that name.
    pub fn as_actor(&self, name: &str) -> Actor {
        Actor::new(self.clone(), name)
    }

    /// The world's time.
    pub fn now(&self) -> Timestamp {
        self.lock().time.now()
    }

    /// Sets how far the world is ahead of its clock.
    pub fn set_offset(&self, offset: TimeDelta) {
        self.lock().time.set_offset(offset);
    }

    /// Moves the world's time forward, or back.
    pub fn advance(&self, by: TimeDelta) {
        self.lock().time.advance(by);
    }

    /// Lets the world's time run `speed` times as fast as its clock from now on.
    pub fn set_speed(&self, speed: f64) {
        self.lock().time.set_speed(speed);
    }

    /// The speed of the world's time against its clock.
    pub fn speed(&self) -> f64 {
        self.lock().time.speed()
    }

    /// Lets access tokens expire by another clock than the world's. The sandbox uses the host's, since the Azure
    /// clients cache by the wall clock.
    pub fn access_tokens_live_by(&self, clock: Clock) {
        self.lock().time.set_wall(clock);
    }

    /// Sets the duration of every call, by tokio's time.
    pub fn set_latency(&self, latency: Duration) {
        self.lock().latency = latency;
    }

    /// Calls `hook` before and after each call's effect, instead of the previous hook. The caller waits meanwhile, so
    /// changes that `hook` makes to the world, or to the caller, come in between.
    pub fn tell_calls_to(&self, hook: impl Fn(&Call, When) + Send + Sync + 'static) {
        self.lock().hook = Some(Arc::new(hook));
    }

    /// The delay of the next such call before its effect: latency and faults.
    pub fn delay(&self, peer: Peer, operation: Operation, subject: &str) -> Duration {
        let mut inner = self.lock();
        let now = inner.time.now();
        inner.latency + inner.faults.delay(peer, operation, subject, now)
    }

    /// A new id from the world's own randomness.
    pub fn fresh_id(&self) -> Uuid {
        self.lock().fresh_id()
    }

    /// Runs one call: the one place where faults, effect and ledger meet.
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
        // Not under the lock, since hooks may change the world or end the caller.
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
        // A panic elsewhere has already failed the test; the world's data is consistent between statements.
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
