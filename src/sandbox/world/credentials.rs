//! What proves an app: secrets, certificates, and tokens of other issuers. And how a new one spreads.
//!
//! Entra answers from several front ends, and each learns of a new credential at its own time (docs/azure-facts.md
//! F115). Invariant: nothing is drawn at random while every front end knows every credential of the app.

use std::collections::{BTreeMap, BTreeSet};

use chrono::TimeDelta;
use secrecy::SecretString;

use super::certificate::PublicCertificate;
use super::directory::App;
use super::{Inner, World};
use crate::process::clock::Timestamp;

/// The number of Entra's front ends.
pub(super) const FRONT_ENDS: usize = 8;

/// The authority that assertions are for, unless a server says otherwise.
const AUTHORITY: &str = "https://login.microsoftonline.com";

/// Issued tokens are searched for expired ones each time their number reaches a multiple of this.
const SWEEP_EVERY: usize = 1024;

/// When each front end learns of a credential.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Propagation(Vec<Timestamp>);

impl Propagation {
    /// Whether a front end knows the credential; `None` for one that knows everything.
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
    /// The secret's value.
    pub value: SecretString,
    /// Its expiry, if any.
    pub expires: Option<Timestamp>,
    /// The front ends that know it.
    pub propagation: Propagation,
}

/// One of an app's certificates.
#[derive(Clone, Debug)]
pub struct AppCertificate {
    /// The registered half.
    pub certificate: PublicCertificate,
    /// The front ends that know it.
    pub propagation: Propagation,
}

/// A subject of another issuer whose tokens prove an app.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FederatedCredential {
    /// The issuer's URL.
    pub issuer: String,
    /// The subject; its case matters.
    pub subject: String,
    /// The audience, as `api://AzureADTokenExchange`.
    pub audience: String,
    /// The front ends that know it.
    pub propagation: Propagation,
}

/// A user-assigned managed identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManagedIdentity {
    /// Client id.
    pub client_id: String,
    /// The object id of its principal: the subject of its tokens.
    pub principal_id: String,
    /// Tenant, by id.
    pub tenant: String,
}

/// What Entra remembers of assertions.
#[derive(Default)]
pub(super) struct Assertions {
    authority: Option<String>,
    /// A new credential reaches every front end within this time.
    spread: TimeDelta,
    /// The ids of assertions that were accepted, by client id, and their expiry.
    seen: BTreeMap<(String, String), Timestamp>,
    pub(super) repeated: usize,
    /// External issuers.
    pub(super) issuers: BTreeSet<String>,
    /// Tokens that an issuer really issued, and their expiry.
    issued: BTreeMap<String, Timestamp>,
}

impl Assertions {
    pub(super) fn authority(&self) -> &str {
        self.authority.as_deref().unwrap_or(AUTHORITY)
    }

    /// Notes an accepted assertion's id.
    pub(super) fn note(&mut self, client_id: &str, id: String, expires: Timestamp, now: Timestamp) {
        if self.seen.len() % SWEEP_EVERY == SWEEP_EVERY - 1 {
            self.seen.retain(|_, until| *until > now);
        }
        let known = self.seen.insert((client_id.to_ascii_lowercase(), id), expires);
        self.repeated += usize::from(known.is_some());
    }

    /// Remembers an issued token. One that expired a day ago is forgotten.
    pub(super) fn remember(&mut self, token: String, expires: Timestamp, now: Timestamp) {
        if self.issued.len() % SWEEP_EVERY == SWEEP_EVERY - 1 {
            self.issued.retain(|_, until| *until + TimeDelta::days(1) > now);
        }
        self.issued.insert(token, expires);
    }

    pub(super) fn has_issued(&self, token: &str) -> bool {
        self.issued.contains_key(token)
    }

    /// The issued tokens themselves.
    pub(super) fn texts(&self) -> impl Iterator<Item = &str> {
        self.issued.keys().map(String::as_str)
    }
}

impl App {
    fn is_spreading(&self, now: Timestamp) -> bool {
        let secrets = self.secrets.iter().map(|secret| &secret.propagation);
        let certificates = self.certificates.iter().map(|known| &known.propagation);
        let federated = self.federated.iter().map(|known| &known.propagation);
        secrets.chain(certificates).chain(federated).any(|one| one.is_under_way(now))
    }
}

impl Inner {
    /// When each front end will know a credential that is added now.
    fn propagation(&mut self) -> Propagation {
        let most = self.assertions.spread.num_milliseconds();
        let now = self.time.now();
        let moments = if most > 0 { FRONT_ENDS } else { 0 };
        let moment = |_| now + TimeDelta::milliseconds(self.rng.i64(0..=most));
        Propagation((0..moments).map(moment).collect())
    }

    /// The front end that serves a request about an app; `None` if all know the same.
    pub(super) fn front_end(&mut self, client_id: &str) -> Option<usize> {
        let now = self.time.now();
        let app = self.directory.apps.get(&client_id.to_ascii_lowercase())?;
        app.is_spreading(now).then(|| self.rng.usize(..FRONT_ENDS))
    }
}

impl World {
    /// Returns the URL of Entra that assertions must be for.
    pub fn authority(&self) -> String {
        self.lock().assertions.authority().to_owned()
    }

    /// Sets the URL of Entra that assertions must be for, without a slash at the end.
    pub fn set_authority(&self, base_url: &str) {
        self.lock().assertions.authority = Some(base_url.trim_end_matches('/').to_owned());
    }

    /// Sets how long a new secret, certificate or federated credential takes at most to reach all of Entra's front
    /// ends; zero by default. Credentials that exist already are not affected.
    pub fn set_propagation(&self, most: TimeDelta) {
        self.lock().assertions.spread = most;
    }

    /// Adds a secret to an app.
    pub fn add_app_secret(&self, client_id: &str, value: &str, expires: Option<Timestamp>) {
        self.equip(client_id, |app, propagation| {
            app.secrets.push(AppSecret { value: value.into(), expires, propagation });
        });
    }

    /// Registers the public half of a certificate (DER) at an app. Returns its thumbprint; `None` if there is no such
    /// app, or this is no certificate with an RSA key.
    pub fn add_certificate(&self, client_id: &str, der: &[u8]) -> Option<String> {
        let certificate = PublicCertificate::read(der)?;
        let thumbprint = certificate.thumbprint();
        self.equip(client_id, |app, propagation| {
            app.certificates.push(AppCertificate { certificate, propagation });
        })?;
        Some(thumbprint)
    }

    /// Removes a certificate from an app, by its thumbprint. Whether it had one.
    pub fn remove_certificate(&self, client_id: &str, thumbprint: &str) -> bool {
        let mut removed = false;
        self.change_app(client_id, |app| {
            let before = app.certificates.len();
            app.certificates.retain(|known| !known.certificate.thumbprint().eq_ignore_ascii_case(thumbprint));
            removed = app.certificates.len() < before;
        });
        removed
    }

    /// Lets an app prove itself with the tokens of another issuer's subject. `None` if there is no such app.
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

    /// Lets an app prove itself with this very text, whatever it is.
    pub fn add_assertion(&self, client_id: &str, value: SecretString, expires: Option<Timestamp>) {
        self.change_app(client_id, |app| {
            app.assertions.push(AppSecret { value, expires, propagation: Propagation::default() });
        });
    }

    /// How often an app has used the id of an assertion (`jti`) again. Entra does not document that it rejects that.
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
