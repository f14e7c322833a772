//! A vault, an issuer and a resource in memory, for unit tests of the steps. They record each call. A test names the
//! calls that fail.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;

use chrono::TimeDelta;
use rcgen::{CertificateParams, PKCS_RSA_SHA256, RsaKeySize, date_time_ymd};
use secrecy::{ExposeSecret as _, SecretString};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::Rotator;
use crate::ports::client::{AppSignIn, VaultCertificate};
use crate::ports::failure::Trace;
use crate::ports::oauth_error::OAuthError;
use crate::ports::{
    Acceptance, Certificates, Issuer, IssuerError, RefreshRequest, RefreshResponse, Resource, ResourceError,
    SecretUpdate, Vault, VaultError,
};
use crate::process::clock::{Clock, Timestamp};
use crate::rotation::holds::{Hold, Stake};
use crate::rotation::samples;
use crate::rotation::schedule::Timing;
use crate::rotation::turns::Turns;
use crate::token::app::{CredentialSource, ManagedApp};
use crate::token::claims::{Claim, Claims};
use crate::token::managed::ManagedToken;
use crate::token::secret::{SecretAddress, Source};
use crate::token::tags::Tags;
use crate::token::version::{MAX_TAGS, NewVersion, Stored, Version, VersionId, tag};
use crate::token::{AccessToken, RefreshToken};

/// The time at which each test begins.
pub(crate) fn start() -> Timestamp {
    "2026-03-01T00:00:00Z".parse().expect("a time")
}

/// The user that the issuer names.
pub(crate) const USER: &str = "11111111-1111-4111-8111-111111111111";

/// The issuer, the vault and the resource in one type.
#[derive(Debug)]
pub(crate) struct Peers {
    clock: Clock,
    hold: Hold,
    all: Mutex<PeersState>,
}

/// The peers' stored versions, their answers, and the calls that they received.
#[derive(Debug, Default)]
pub(crate) struct PeersState {
    /// The versions of the token's secret, from the first one to the newest one.
    pub(crate) versions: Vec<Stored>,
    /// The versions of the app's secret, from the first one to the newest one.
    pub(crate) app: Vec<Stored>,
    /// The versions of the app's certificate, from the first one to the newest one.
    pub(crate) certificates: Vec<VaultCertificate>,
    /// The vault's errors. The vault returns each error once, for the next call whose record begins with the given
    /// text.
    pub(crate) faults: VecDeque<(&'static str, VaultError)>,
    /// The issuer's errors. The key of each error is the rejected token or client secret.
    pub(crate) rejects: BTreeMap<String, IssuerError>,
    /// Whether the issuer returns the redeemed token instead of a new token.
    pub(crate) returns_same: bool,
    /// The user that the issuer names.
    pub(crate) user: Option<&'static str>,
    /// The resource's verdict. `None` if the resource does not answer.
    pub(crate) accepts: Option<bool>,
    /// Versions that another writer stores. Each version is stored just before the next call whose record begins with
    /// the given text.
    pub(crate) meanwhile: VecDeque<(&'static str, Stored)>,
    /// Whether the vault hides the versions that Perennial writes.
    pub(crate) hides_writes: bool,
    /// How long the vault takes for each call about a secret.
    pub(crate) slow: Duration,
    /// The tenant and the scope of the last request for a token of the app itself, without a user.
    pub(crate) sign_in: Option<String>,
    /// The recorded calls. The function `calls` returns and clears this list.
    calls: Vec<String>,
    /// The stake at each redemption.
    pub(crate) stakes: Vec<Stake>,
}

impl Peers {
    /// Creates peers for a token `rt` that a person stored an hour ago. The app's secret is `s1`.
    pub(crate) fn new() -> Self {
        let all = PeersState {
            versions: vec![stored("v0", "rt", -60)],
            app: vec![stored("a1", "s1", -600)],
            user: Some(USER),
            ..PeersState::default()
        };
        Self { clock: Clock::running(start(), 1.0), hold: Hold::default(), all: Mutex::new(all) }
    }

    pub(crate) fn all(&self) -> MutexGuard<'_, PeersState> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the recorded calls, each in a few words, and clears the record.
    pub(crate) fn calls(&self) -> Vec<String> {
        std::mem::take(&mut self.all().calls)
    }

    /// Makes the vault return `error` for the next call whose record begins with `call`.
    pub(crate) fn fail(&self, call: &'static str, error: VaultError) {
        self.all().faults.push_back((call, error));
    }

    /// Makes the issuer reject the token or client secret `value`. The rejection contains this AADSTS code.
    pub(crate) fn reject(&self, value: &str, error: &str, code: u32) {
        let answer = OAuthError {
            status: 400,
            error: error.into(),
            trace: Trace::of(Some(code)),
            ..OAuthError::default()
        };
        self.all().rejects.insert(value.into(), IssuerError::Refused(Box::new(answer)));
    }

    /// Stores a version of the token's secret. The version was created this many minutes after the start.
    pub(crate) fn store(&self, id: &str, value: &str, minutes: i64) {
        self.all().versions.push(stored(id, value, minutes));
    }

    /// Returns the tags of a version.
    pub(crate) fn tags(&self, id: &str) -> Tags {
        let all = self.all();
        let found = all.versions.iter().find(|stored| &*stored.version.id.0 == id);
        found.expect("it was stored").version.tags.clone()
    }

    /// Returns the newest value.
    pub(crate) fn newest_value(&self) -> String {
        let all = self.all();
        all.versions.last().expect("the vault starts with one version").value.expose_secret().to_owned()
    }

    /// Returns a rotator of a token with the default policy. `change` can change the token's configuration first.
    pub(crate) fn rotator(&self, change: impl FnOnce(&mut ManagedToken)) -> Rotator<&Self, &Self, &Self> {
        let client_secret = Source::Secret(samples::address("app-secret"));
        let mut grant = ManagedToken { app: samples::app(client_secret), ..samples::grant("t") };
        change(&mut grant);
        let timing = Timing::new(&grant.policy, &grant.name, 0.0);
        Rotator {
            issuer: self,
            vault: self,
            resource: self,
            clock: self.clock.clone(),
            grant: Arc::new(grant),
            timing,
            command: "run",
            rng: fastrand::Rng::with_seed(1),
            hold: self.hold.clone(),
            turns: Turns::default(),
            turn: None,
        }
    }

    async fn wait(&self) {
        let slow = self.all().slow;
        if !slow.is_zero() {
            tokio::time::sleep(slow).await;
        }
    }

    /// Records a call to the vault. Before the call, stores the version that `meanwhile` has for this call. Returns
    /// the error that `faults` has for this call, if any.
    fn called(&self, at: &SecretAddress, call: &str) -> Result<MutexGuard<'_, PeersState>, VaultError> {
        let call = match at.name.as_str() {
            "app-secret" => format!("app: {call}"),
            _ => call.to_owned(),
        };
        let mut all = self.all();
        if let Some(nth) = all.meanwhile.iter().position(|(before, _)| call.starts_with(before))
            && let Some((_, stored)) = all.meanwhile.remove(nth)
        {
            all.versions.push(stored);
        }
        let nth = all.faults.iter().position(|(fails, _)| call.starts_with(fails));
        all.calls.push(call);
        match nth.and_then(|nth| all.faults.remove(nth)) {
            Some((_, error)) => Err(error),
            None => Ok(all),
        }
    }
}

impl PeersState {
    fn of(&mut self, at: &SecretAddress) -> &mut Vec<Stored> {
        if at.name.as_str() == "app-secret" { &mut self.app } else { &mut self.versions }
    }

    fn error(&self, value: &str) -> Result<(), IssuerError> {
        self.rejects.get(value).map_or(Ok(()), |error| Err(error.clone()))
    }
}

impl Issuer for &Peers {
    async fn redeem(&self, what: &RefreshRequest<'_>) -> Result<RefreshResponse, IssuerError> {
        let (value, proof) = (what.token.expose(), what.proof.expose());
        let stop = CancellationToken::new();
        stop.cancel();
        let mut end = std::pin::pin!(self.hold.may_end(&stop));
        let stake = match futures::poll!(end.as_mut()) {
            Poll::Ready(()) => Stake::Nothing,
            Poll::Pending if self.hold.is_successor() => Stake::Successor,
            Poll::Pending => Stake::Answer,
        };
        let mut all = self.all();
        all.calls.push(format!("redeem {value} with {proof}"));
        all.stakes.push(stake);
        all.error(proof)?;
        all.error(value)?;
        let next = if all.returns_same { value.to_owned() } else { format!("{value}+") };
        let claims = Claims {
            tid: Claim::Text("tenant".into()),
            aud: Claim::Text(what.client_id.into()),
            oid: all.user.map_or(Claim::Absent, |user| Claim::Text(user.into())),
            ..Claims::default()
        };
        Ok(RefreshResponse {
            access_token: AccessToken::new("opaque"),
            refresh_token: RefreshToken::new(next),
            expires_in: Duration::from_secs(3600),
            scope: None,
            refresh_expires_in: None,
            id_claims: Some(claims),
        })
    }

    async fn authenticate(&self, what: &AppSignIn<'_>) -> Result<(), IssuerError> {
        let proof = what.proof.expose();
        let mut all = self.all();
        // The header and the claims of an assertion differ in each request, so only the signature is recorded. In these
        // tests, the signature encodes the id of the certificate's version.
        let shown = proof.split('.').next_back().unwrap_or_default();
        all.calls.push(format!("authenticate with {shown}"));
        all.sign_in = Some(format!("{} for {}", what.tenant, what.scope));
        all.error(proof)
    }

    fn assertion_audience(&self, tenant: &str) -> String {
        tenant.to_owned()
    }

    async fn host_assertion(&self, identity: &str) -> Result<SecretString, VaultError> {
        self.called(&samples::address("host"), "host").map(drop)?;
        Ok(SecretString::from(identity))
    }
}

impl Certificates for &Peers {
    async fn certificate(
        &self,
        at: &SecretAddress,
        version: Option<&VersionId>,
        _: Uuid,
    ) -> Result<VaultCertificate, VaultError> {
        let all = self.called(at, &version.map_or("certificate".into(), |id| format!("certificate {id}")))?;
        let is_it = |one: &&VaultCertificate| version.is_none_or(|id| one.version.id == *id);
        all.certificates.iter().rev().find(is_it).cloned().ok_or(VaultError::NotFound)
    }

    async fn certificate_versions(&self, at: &SecretAddress, _: Uuid) -> Result<Vec<Version>, VaultError> {
        let all = self.called(at, "certificates")?;
        Ok(all.certificates.iter().map(|one| one.version.clone()).collect())
    }

    async fn sign(
        &self,
        at: &SecretAddress,
        version: &VersionId,
        _: &[u8; 32],
        _: Uuid,
    ) -> Result<Vec<u8>, VaultError> {
        self.called(at, &format!("sign {version}")).map(drop)?;
        Ok(version.0.as_bytes().to_vec())
    }
}

impl Vault for &Peers {
    async fn newest(&self, at: &SecretAddress, _: Uuid) -> Result<Stored, VaultError> {
        self.wait().await;
        let mut all = self.called(at, "newest")?;
        let newest = all.of(at).last().cloned().ok_or(VaultError::NotFound)?;
        if !newest.version.enabled {
            return Err(VaultError::Disabled);
        }
        Ok(Stored { read_at: Some(self.clock.now()), ..newest })
    }

    async fn read(&self, at: &SecretAddress, version: &VersionId, _: Uuid) -> Result<Stored, VaultError> {
        self.wait().await;
        let mut all = self.called(at, &format!("read {version}"))?;
        let found = all.of(at).iter().find(|stored| stored.version.id == *version);
        found.cloned().ok_or(VaultError::NotFound)
    }

    async fn versions(&self, at: &SecretAddress, _: Uuid) -> Result<Vec<Version>, VaultError> {
        self.wait().await;
        let mut all = self.called(at, "list")?;
        Ok(all.of(at).iter().map(|stored| stored.version.clone()).collect())
    }

    async fn write(&self, at: &SecretAddress, new: &NewVersion, _: Uuid) -> Result<Version, VaultError> {
        let value = new.value.expose_secret();
        self.wait().await;
        let mut all = self.called(at, &format!("write {value}"))?;
        if new.tags.len() > MAX_TAGS {
            return Err(VaultError::Rejected {
                status: 400,
                code: "BadParameter".into(),
                is_about_name: false,
            });
        }
        let mut written = stored(&format!("v{}", all.versions.len()), value, 0);
        (written.version.created, written.version.tags) = (self.clock.now(), new.tags.clone());
        let version = written.version.clone();
        if !all.hides_writes {
            all.versions.push(written);
        }
        Ok(version)
    }

    async fn update(
        &self,
        at: &SecretAddress,
        version: &VersionId,
        change: &SecretUpdate,
        _: Uuid,
    ) -> Result<(), VaultError> {
        self.wait().await;
        let what = if change.enabled == Some(false) { "disable" } else { "tag" };
        let mut all = self.called(at, &format!("{what} {version}"))?;
        let found = all.of(at).iter_mut().find(|stored| stored.version.id == *version);
        let Version { enabled, tags, .. } = &mut found.ok_or(VaultError::NotFound)?.version;
        *enabled = change.enabled.unwrap_or(*enabled);
        *tags = change.tags.clone().unwrap_or_else(|| tags.clone());
        Ok(())
    }
}

impl Resource for &Peers {
    async fn accepts(&self, _: &AccessToken, _: Uuid) -> Result<Acceptance, ResourceError> {
        let mut all = self.all();
        all.calls.push("ask".into());
        let accepted = all.accepts.ok_or(ResourceError::Unavailable { status: 503 })?;
        let status = if accepted { 200 } else { 403 };
        Ok(Acceptance { accepted, mfa: None, tenant_id: None, company: None, is_audience: false, status })
    }
}

/// Returns a version that a person stored this many minutes after the start.
pub(crate) fn stored(id: &str, value: &str, minutes: i64) -> Stored {
    let version = samples::version(id, start() + TimeDelta::minutes(minutes));
    Stored { version, value: SecretString::from(value), read_at: None }
}

/// Returns a version that a rotation of the version `from` wrote.
pub(crate) fn ours(id: &str, value: &str, minutes: i64, from: &str) -> Stored {
    let mut stored = stored(id, value, minutes);
    stored.version.tags = Tags::from([
        (tag::MANAGED_BY, "perennial/0.1.0 run"),
        (tag::REDEEMED_FROM, from),
        (tag::ROTATION_ID, id),
    ]);
    stored
}

/// Returns an app with this credential.
pub(crate) fn with(credential: CredentialSource) -> Arc<ManagedApp> {
    ManagedApp { credential, ..(*samples::app(Source::Secret(samples::address("app-secret")))).clone() }
        .into()
}

/// Returns one version of a certificate for each pair of months in 2026. The version is valid from the start of the
/// pair's first month to the start of the pair's second month.
pub(crate) fn certificates(months: &[(u8, u8)]) -> Vec<VaultCertificate> {
    let key = rcgen::KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).expect("a key");
    let made = months.iter().enumerate().map(|(nth, (first, last))| {
        let mut params = CertificateParams::new(["app".into()]).expect("a name");
        (params.not_before, params.not_after) =
            (date_time_ymd(2026, *first, 1), date_time_ymd(2026, *last, 1));
        let der = params.self_signed(&key).expect("signed").der().to_vec();
        let nth = i64::try_from(nth).expect("few");
        let version = stored(&format!("c{nth}"), "", nth - 100).version;
        VaultCertificate { version, der, is_exportable: Some(false), read_at: None }
    });
    made.collect()
}

/// Returns the failure of a vault that is overloaded.
pub(crate) fn unavailable() -> VaultError {
    VaultError::Unavailable { status: 503, retry_after: None }
}
