//! The credentials of apps: secrets, certificates, and tokens of other issuers. This module also simulates how a new
//! credential becomes known to all of Entra's servers.
//!
//! Entra has several front ends, and each front end learns of a new credential at a different time (docs/azure-facts.md
//! F115). Invariant: this module draws a random number for a token request only if front ends may know different
//! credentials of the app.

use std::collections::{BTreeMap, BTreeSet};

use chrono::TimeDelta;
use secrecy::{ExposeSecret as _, SecretString};
use uuid::Uuid;

use super::certificate::PublicCertificate;
use super::directory::App;
use super::people::HUMAN;
use super::{Inner, World};
use crate::process::clock::Timestamp;

/// The number of Entra's front ends.
pub(super) const FRONT_ENDS: usize = 8;

/// The audience of assertions begins with this authority, unless `World::set_authority` sets another authority.
const AUTHORITY: &str = "https://login.microsoftonline.com";

/// Expired records are removed each time the number of records reaches a multiple of `SWEEP_EVERY`.
const SWEEP_EVERY: usize = 1024;

/// The times at which the front ends learn of a credential, or of its removal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Propagation(Vec<Timestamp>);

impl Propagation {
    /// Whether a front end has learned of the credential, or of its removal. `None` stands for a front end that has
    /// learned of everything.
    pub(super) fn has_reached(&self, front_end: Option<usize>, now: Timestamp) -> bool {
        front_end.and_then(|number| self.0.get(number)).is_none_or(|at| *at <= now)
    }

    fn is_under_way(&self, now: Timestamp) -> bool {
        self.0.iter().any(|at| *at > now)
    }
}

/// One of an app's secrets.
#[derive(Clone, Debug)]
pub struct AppSecret {
    /// Entra's id of the secret.
    pub key_id: Uuid,
    /// The display name.
    pub name: Option<String>,
    /// The secret's value.
    pub value: SecretString,
    /// The start of the secret's validity. The world does not check this time.
    pub starts: Timestamp,
    /// The expiry of the secret, if it has one.
    pub expires: Option<Timestamp>,
    /// The name of the actor that added the secret, or `human`.
    pub added_by: String,
    /// When each front end learns of the secret.
    pub propagation: Propagation,
    /// When each front end learns of the removal. `None` for a secret that was not removed.
    pub removal: Option<Propagation>,
}

impl AppSecret {
    /// Whether Microsoft Graph lists the secret. For some time, front ends may still accept a secret that is no longer
    /// listed.
    pub fn is_listed(&self) -> bool {
        self.removal.is_none()
    }

    /// Returns the first three characters of the value, as Microsoft Graph shows them.
    pub fn hint(&self) -> String {
        self.value.expose_secret().chars().take(3).collect()
    }
}

/// A text that Entra accepts as an assertion of an app. Entra checks only the expiry of the text.
#[derive(Clone, Debug)]
pub struct AcceptedAssertion {
    /// The text that Entra accepts.
    pub value: SecretString,
    /// The expiry of the text, if there is one.
    pub expires: Option<Timestamp>,
}

/// The settings of flapping: in some requests, a front end forgets new credentials.
#[derive(Clone, Copy)]
pub(super) struct Flapping {
    /// The share of requests in which front ends forget new credentials, from 0 to 1.
    probability: f64,
    /// A front end can forget a credential only within this time after the front end learned of the credential.
    within: TimeDelta,
}

/// One of an app's certificates.
#[derive(Clone, Debug)]
pub struct AppCertificate {
    /// Entra's id of the certificate.
    pub key_id: Uuid,
    /// The display name. The default is the certificate's subject.
    pub name: String,
    /// The certificate's public half, which is registered at the app.
    pub certificate: PublicCertificate,
    /// The beginning of the validity at Entra.
    pub starts: Timestamp,
    /// The end of the validity at Entra. The certificate itself may be valid for longer.
    pub ends: Timestamp,
    /// When each front end learns of the certificate.
    pub propagation: Propagation,
    /// When each front end learns of the removal. `None` for a certificate that was not removed.
    pub removal: Option<Propagation>,
}

impl AppCertificate {
    /// Whether Microsoft Graph lists the certificate. Front ends may accept a removed certificate for some time.
    pub fn is_listed(&self) -> bool {
        self.removal.is_none()
    }
}

/// A federated credential: the app authenticates with a token that another issuer has issued for this subject.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FederatedCredential {
    /// The issuer's URL.
    pub issuer: String,
    /// The subject, which is case-sensitive.
    pub subject: String,
    /// The audience, such as `api://AzureADTokenExchange`.
    pub audience: String,
    /// When each front end learns of the federated credential.
    pub propagation: Propagation,
}

/// A user-assigned managed identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManagedIdentity {
    /// The identity's client id.
    pub client_id: String,
    /// The object id of the identity's principal. This id is the subject of the identity's tokens.
    pub principal_id: String,
    /// The id of the identity's tenant.
    pub tenant: String,
}

/// The state that Entra keeps about assertions.
#[derive(Default)]
pub(super) struct Assertions {
    authority: Option<String>,
    /// A new credential reaches every front end within this time.
    spread: TimeDelta,
    flapping: Option<Flapping>,
    /// The expiry of each accepted assertion, by the app's client id and the assertion's id.
    seen: BTreeMap<(String, String), Timestamp>,
    pub(super) repeated: usize,
    /// The URLs of external issuers.
    pub(super) issuers: BTreeSet<String>,
    /// The tokens that simulated issuers have issued for use as assertions, each with its expiry.
    issued: BTreeMap<String, Timestamp>,
}

impl Assertions {
    pub(super) fn authority(&self) -> &str {
        self.authority.as_deref().unwrap_or(AUTHORITY)
    }

    /// Records the id of an accepted assertion.
    pub(super) fn note(&mut self, client_id: &str, id: String, expires: Timestamp, now: Timestamp) {
        if self.seen.len() % SWEEP_EVERY == SWEEP_EVERY - 1 {
            self.seen.retain(|_, until| *until > now);
        }
        let known = self.seen.insert((client_id.to_ascii_lowercase(), id), expires);
        self.repeated += usize::from(known.is_some());
    }

    /// Records an issued token. From time to time, drops the tokens that expired more than a day ago.
    pub(super) fn remember(&mut self, token: String, expires: Timestamp, now: Timestamp) {
        if self.issued.len() % SWEEP_EVERY == SWEEP_EVERY - 1 {
            self.issued.retain(|_, until| *until + TimeDelta::days(1) > now);
        }
        self.issued.insert(token, expires);
    }

    pub(super) fn has_issued(&self, token: &str) -> bool {
        self.issued.contains_key(token)
    }

    /// Returns the texts of the issued tokens.
    pub(super) fn texts(&self) -> impl Iterator<Item = &str> {
        self.issued.keys().map(String::as_str)
    }
}

impl App {
    fn is_spreading(&self, now: Timestamp) -> bool {
        let secrets = self
            .secrets
            .iter()
            .flat_map(|secret| std::iter::once(&secret.propagation).chain(&secret.removal));
        let certificates = self
            .certificates
            .iter()
            .flat_map(|known| std::iter::once(&known.propagation).chain(&known.removal));
        let federated = self.federated.iter().map(|known| &known.propagation);
        secrets.chain(certificates).chain(federated).any(|one| one.is_under_way(now))
    }
}

impl Inner {
    /// Returns when each front end will learn of the addition or removal of a credential, if the change happens now.
    pub(super) fn propagation(&mut self) -> Propagation {
        let most = self.assertions.spread.num_milliseconds();
        let now = self.time.now();
        let moments = if most > 0 || self.assertions.flapping.is_some() { FRONT_ENDS } else { 0 };
        let moment = |_| now + TimeDelta::milliseconds(self.rng.i64(0..=most));
        Propagation((0..moments).map(moment).collect())
    }

    /// Chooses the front end that serves a request about an app. Also returns a time: the front end knows only the
    /// credentials that reached it by this time. The front end is `None` if all front ends know the same credentials.
    pub(super) fn front_end(&mut self, client_id: &str) -> (Option<usize>, Timestamp) {
        let now = self.time.now();
        let flapping = self.assertions.flapping;
        let before = flapping.map_or(now, |flapping| now - flapping.within);
        let app = self.directory.apps.get(&client_id.to_ascii_lowercase());
        if !app.is_some_and(|app| app.is_spreading(before)) {
            return (None, now);
        }
        let number = self.rng.usize(..FRONT_ENDS);
        let forgets = flapping.is_some_and(|flapping| self.rng.f64() < flapping.probability);
        (Some(number), if forgets { before } else { now })
    }
}

impl World {
    /// Returns Entra's URL. The audience of each assertion must begin with this URL.
    pub fn authority(&self) -> String {
        self.lock().assertions.authority().to_owned()
    }

    /// Sets Entra's URL. The audience of each assertion must begin with this URL.
    pub fn set_authority(&self, base_url: &str) {
        self.lock().assertions.authority = Some(base_url.trim_end_matches('/').to_owned());
    }

    /// Sets the longest time that a new secret, certificate or federated credential takes to reach all of Entra's
    /// front ends. The removal of a secret or certificate takes at most the same time. The default is zero. Existing
    /// credentials are not affected.
    pub fn set_propagation(&self, most: TimeDelta) {
        self.lock().assertions.spread = most;
    }

    /// Makes front ends forget new credentials in some requests. In such a request, the front end rejects a credential
    /// that the front end learned of less than `within` ago. `probability` (0 to 1) is the share of such requests. The
    /// default is zero: front ends forget nothing. Front ends never forget a credential that was added while both the
    /// probability and the propagation time were zero.
    pub fn set_flapping(&self, probability: f64, within: TimeDelta) {
        self.lock().assertions.flapping = (probability > 0.0).then_some(Flapping { probability, within });
    }

    /// Adds a secret to an app, as a person does in the portal.
    pub fn add_app_secret(&self, client_id: &str, value: &str, expires: Option<Timestamp>) {
        self.add_named_secret(client_id, None, value, expires);
    }

    /// Adds a secret with a display name to an app. Returns Entra's id of the secret. Returns `None` if the app does
    /// not exist.
    pub fn add_named_secret(
        &self,
        client_id: &str,
        name: Option<&str>,
        value: &str,
        expires: Option<Timestamp>,
    ) -> Option<Uuid> {
        let (starts, number) = {
            let mut inner = self.lock();
            inner.directory.secrets_added += 1;
            (inner.time.now(), inner.directory.secrets_added)
        };
        let mut key_id = None;
        self.equip(client_id, |app, propagation| {
            let id = Uuid::new_v5(&app.object_id, &number.to_be_bytes());
            key_id = Some(id);
            app.secrets.push(AppSecret {
                key_id: id,
                name: name.map(str::to_owned),
                value: value.into(),
                starts,
                expires,
                added_by: HUMAN.to_owned(),
                propagation,
                removal: None,
            });
        })?;
        key_id
    }

    /// Returns an app's secrets with their values, oldest first, including removed secrets.
    pub fn app_secrets(&self, client_id: &str) -> Vec<AppSecret> {
        let inner = self.lock();
        let app = inner.directory.apps.get(&client_id.to_ascii_lowercase());
        app.map(|app| app.secrets.clone()).unwrap_or_default()
    }

    /// Registers the public half of a certificate (DER) at an app. Returns the certificate's thumbprint. Returns `None`
    /// if the app does not exist, or `der` is not a certificate with an RSA key.
    pub fn add_certificate(&self, client_id: &str, der: &[u8]) -> Option<String> {
        let certificate = PublicCertificate::read(der)?;
        let thumbprint = certificate.thumbprint();
        self.equip(client_id, |app, propagation| {
            let key_id = Uuid::new_v5(&app.object_id, certificate.thumbprint().as_bytes());
            let name = certificate.subject.clone();
            let (starts, ends) = (certificate.not_before, certificate.not_after);
            let removal = None;
            app.certificates.push(AppCertificate {
                key_id,
                name,
                certificate,
                starts,
                ends,
                propagation,
                removal,
            });
        })?;
        Some(thumbprint)
    }

    /// Removes the certificate with this thumbprint from an app. Returns whether the app had the certificate.
    pub fn remove_certificate(&self, client_id: &str, thumbprint: &str) -> bool {
        let mut removed = false;
        self.change_app(client_id, |app| {
            let before = app.certificates.len();
            app.certificates.retain(|known| !known.certificate.thumbprint().eq_ignore_ascii_case(thumbprint));
            removed = app.certificates.len() < before;
        });
        removed
    }

    /// Adds a federated credential to an app. Returns `None` if the app does not exist.
    pub fn add_federated(&self, client_id: &str, issuer: &str, subject: &str, audience: &str) -> Option<()> {
        self.equip(client_id, |app, propagation| {
            app.federated.push(FederatedCredential {
                issuer: issuer.to_owned(),
                subject: subject.to_owned(),
                audience: audience.to_owned(),
                propagation,
            });
        })
    }

    /// Makes Entra accept this text as an assertion of the app. Entra checks only the expiry of the text.
    pub fn add_assertion(&self, client_id: &str, value: SecretString, expires: Option<Timestamp>) {
        self.change_app(client_id, |app| {
            app.assertions.push(AcceptedAssertion { value, expires });
        });
    }

    /// Returns how often apps have reused the id of an assertion (`jti`). The world accepts a reused id, because
    /// Microsoft does not document that Entra rejects it.
    pub fn repeated_assertions(&self) -> usize {
        self.lock().assertions.repeated
    }

    fn equip(&self, client_id: &str, add: impl FnOnce(&mut App, Propagation)) -> Option<()> {
        let mut inner = self.lock();
        let client_id = client_id.to_ascii_lowercase();
        inner.directory.apps.get(&client_id)?;
        let propagation = inner.propagation();
        add(inner.directory.apps.get_mut(&client_id)?, propagation);
        Some(())
    }
}
