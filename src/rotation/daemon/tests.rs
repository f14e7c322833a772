//! Tests of the loop with minimal simulated services. The issuer always answers. The vault rejects writes until the
//! test allows them.

use std::sync::{Arc, Mutex, PoisonError};

use chrono::TimeDelta;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::sync::watch;
use uuid::Uuid;

use super::*;
use crate::ports::client::{AppSignIn, VaultCertificate};
use crate::ports::{
    Acceptance, Certificates, IssuerError, RefreshRequest, RefreshResponse, ResourceError, SecretUpdate,
    VaultError,
};
use crate::process::clock::{Clock, Timestamp};
use crate::rotation::grace::GRACE;
use crate::rotation::holds::Hold;
use crate::rotation::samples;
use crate::rotation::schedule::Timing;
use crate::rotation::turns::Turns;
use crate::token::managed::ManagedToken;
use crate::token::secret::{SecretAddress, Source};
use crate::token::tags::Tags;
use crate::token::version::{NewVersion, Stored, Version, VersionId};
use crate::token::{AccessToken, RefreshToken};

/// The issuer, the vault and the resource in one type.
#[derive(Default)]
struct Peers {
    written: Mutex<Vec<Stored>>,
    /// The number of writes that the vault still rejects.
    refusals: Mutex<u32>,
}

fn start() -> Timestamp {
    "2026-03-01T00:00:00Z".parse().expect("a time")
}

fn lock<T>(of: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Issuer for &Peers {
    async fn redeem(&self, what: &RefreshRequest<'_>) -> Result<RefreshResponse, IssuerError> {
        Ok(RefreshResponse {
            access_token: AccessToken::new("opaque"),
            refresh_token: RefreshToken::new(format!("{}+", what.token.expose())),
            expires_in: Duration::from_secs(3600),
            scope: None,
            refresh_expires_in: None,
            id_claims: None,
        })
    }

    async fn authenticate(&self, _: &AppSignIn<'_>) -> Result<(), IssuerError> {
        unreachable!("nothing rejects the secret")
    }

    fn assertion_audience(&self, tenant: &str) -> String {
        tenant.to_owned()
    }

    async fn host_assertion(&self, _: &str) -> Result<SecretString, VaultError> {
        unreachable!("the app has a secret")
    }
}

impl Certificates for &Peers {
    async fn certificate(
        &self,
        _: &SecretAddress,
        _: Option<&VersionId>,
        _: Uuid,
    ) -> Result<VaultCertificate, VaultError> {
        unreachable!("the app has a secret")
    }

    async fn certificate_versions(&self, _: &SecretAddress, _: Uuid) -> Result<Vec<Version>, VaultError> {
        unreachable!("the app has a secret")
    }

    async fn sign(
        &self,
        _: &SecretAddress,
        _: &VersionId,
        _: &[u8; 32],
        _: Uuid,
    ) -> Result<Vec<u8>, VaultError> {
        unreachable!("the app has a secret")
    }
}

impl Vault for &Peers {
    async fn newest(&self, at: &SecretAddress, _: Uuid) -> Result<Stored, VaultError> {
        if at.name.as_str() == "app-secret" {
            return Ok(stored("app", "s3cret", Tags::new()));
        }
        Ok(lock(&self.written).last().expect("there is one from the start").clone())
    }

    async fn read(&self, at: &SecretAddress, _: &VersionId, id: Uuid) -> Result<Stored, VaultError> {
        self.newest(at, id).await
    }

    async fn versions(&self, _: &SecretAddress, _: Uuid) -> Result<Vec<Version>, VaultError> {
        Ok(lock(&self.written).iter().map(|stored| stored.version.clone()).collect())
    }

    async fn write(&self, _: &SecretAddress, new: &NewVersion, _: Uuid) -> Result<Version, VaultError> {
        let mut refusals = lock(&self.refusals);
        if *refusals > 0 {
            *refusals -= 1;
            return Err(VaultError::Unavailable { status: 503, retry_after: None });
        }
        let mut written = lock(&self.written);
        let issued = new.expires - TimeDelta::days(90);
        let mut new = stored(&format!("v{}", written.len()), new.value.expose_secret(), new.tags.clone());
        new.version.created = issued;
        written.push(new.clone());
        Ok(new.version)
    }

    async fn update(
        &self,
        _: &SecretAddress,
        _: &VersionId,
        _: &SecretUpdate,
        _: Uuid,
    ) -> Result<(), VaultError> {
        Ok(())
    }
}

impl Resource for &Peers {
    async fn accepts(&self, _: &AccessToken, _: Uuid) -> Result<Acceptance, ResourceError> {
        Err(ResourceError::Unavailable { status: 503 })
    }
}

fn stored(id: &str, value: &str, tags: Tags) -> Stored {
    let version = Version { tags, ..samples::version(id, start()) };
    Stored { version, value: SecretString::from(value), read_at: None }
}

fn rotator(peers: &Peers) -> Rotator<&Peers, &Peers, &Peers> {
    let client_secret = Source::Secret(samples::address("app-secret"));
    let grant = ManagedToken { app: samples::app(client_secret), ..samples::grant("t") };
    lock(&peers.written).push(stored("v0", "rt", Tags::new()));
    let timing = Timing::new(&grant.policy, &grant.name, 0.0);
    Rotator {
        issuer: peers,
        vault: peers,
        resource: peers,
        clock: Clock::running(start(), 1.0),
        grant: Arc::new(grant),
        timing,
        command: "run",
        rng: fastrand::Rng::with_seed(1),
        hold: Hold::default(),
        turns: Turns::default(),
        turn: None,
    }
}

/// Runs the loop and stops it once `when` returns true for a state.
async fn stopped_when(peers: &Peers, when: impl Fn(&State) -> bool) -> State {
    let rotator = rotator(peers);
    let state = State::unknown(rotator.clock.now());
    let stop = CancellationToken::new();
    let (_reload, reloads) = watch::channel(0);
    let signals = Signals { stop: stop.clone(), reload: reloads, told: Told::default() };
    keep(rotator, state, signals, Liveness::default(), |state, _, _| {
        if when(state) {
            stop.cancel();
        }
    })
    .await
    .expect("no step hangs")
}

#[tokio::test(start_paused = true)]
async fn a_stop_ends_the_loop_at_its_next_wait() {
    let peers = Peers::default();

    let last = stopped_when(&peers, |state| state.last_rotation_at.is_some()).await;

    assert!(!last.is_unsaved());
    assert_eq!(lock(&peers.written).len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_stop_keeps_saving_until_the_vault_accepts() {
    let peers = Peers { refusals: Mutex::new(6), ..Peers::default() };
    let started = tokio::time::Instant::now();

    let last = stopped_when(&peers, State::is_unsaved).await;

    assert!(!last.is_unsaved());
    let newest = lock(&peers.written).last().map(Stored::refresh_token);
    assert_eq!(newest, Some(RefreshToken::new("rt+")));
    assert!(started.elapsed() <= GRACE, "{:?}", started.elapsed());
}

/// Simulates a suspended host: the clock has moved on, but the timers have not.
#[tokio::test(start_paused = true)]
async fn after_ten_days_asleep_the_vault_is_checked_within_minutes() {
    const INSTANT: Duration = Duration::from_millis(1);
    let peers = Peers::default();
    let rotator = rotator(&peers);
    let clock = rotator.clock.clone();
    let state = State::unknown(clock.now());
    let (stop, (_reload, reloads)) = (CancellationToken::new(), watch::channel(0));
    let signals = Signals { stop: stop.clone(), reload: reloads, told: Told::default() };
    let (written, mut seen) = watch::channel(0);
    let publish = |_: &State, _: &Next, _: &[Event]| {
        written.send_replace(lock(&peers.written).len());
    };

    let sleeper = async {
        seen.wait_for(|versions| *versions == 2).await.expect("the first one is somebody else's");
        clock.pace(10.0 * 86_400.0 / INSTANT.as_secs_f64(), INSTANT);
        tokio::time::advance(INSTANT).await;
        clock.pace(1.0, Duration::MAX);
        let awake_since = tokio::time::Instant::now();
        seen.wait_for(|versions| *versions == 3).await.expect("it is a week old");
        stop.cancel();
        awake_since.elapsed()
    };
    let (_, took) = tokio::join!(keep(rotator, state, signals, Liveness::default(), publish), sleeper);

    assert!(took <= LOOK_EVERY, "{took:?}");
}
