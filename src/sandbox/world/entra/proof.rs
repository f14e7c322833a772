//! Checks the credential with which an app proves its identity in a request.

use secrecy::ExposeSecret as _;

use super::super::Inner;
use super::super::directory::{App, Tenant};
use super::assertion::{self, Audience};
use super::codes::{Denial, Refuse};
use crate::process::clock::Timestamp;

/// An app's credential.
#[derive(Clone, Copy)]
pub enum AppProof<'a> {
    /// A secret. An empty text means that the request has no credential.
    Secret(&'a str),
    /// An assertion that the app has signed, or a token of an issuer that the app trusts.
    Assertion(&'a str),
}

impl AppProof<'_> {
    /// Whether the request has no credential.
    pub(in crate::sandbox::world) fn is_none(self) -> bool {
        matches!(self, Self::Secret(""))
    }
}

/// The front end that serves a request, and the times that the front end uses for its checks.
#[derive(Clone, Copy)]
pub(super) struct FrontEnd {
    /// The number of the front end. `None` stands for a front end that knows all credentials.
    pub(super) number: Option<usize>,
    /// The front end knows only the credentials that reached it by this time.
    pub(super) knows: Timestamp,
    pub(super) now: Timestamp,
    /// The current time by `WorldTime::wall`. This time decides whether an assertion or an access token is expired.
    pub(super) wall: Timestamp,
}

impl Inner {
    /// Checks an app and its credential.
    pub(in crate::sandbox::world) fn prove(
        &mut self,
        tenant: &Tenant,
        client_id: &str,
        proof: AppProof<'_>,
    ) -> Result<(), Denial> {
        let (number, knows) = self.front_end(client_id);
        let by = FrontEnd { number, knows, now: self.time.now(), wall: self.time.wall() };
        let app = self.directory.app_in(tenant, client_id)?;
        let text = match proof {
            AppProof::Secret(secret) => return Ok(authenticate(app, secret, by)?),
            AppProof::Assertion(text) => text,
        };
        if let Some(known) = app.assertions.iter().find(|known| known.value.expose_secret() == text) {
            let over = known.expires.is_some_and(|at| at <= by.wall);
            return if over { Err(Refuse(700_024).into()) } else { Ok(()) };
        }
        let audience = Audience { authority: self.assertions.authority(), tenant };
        let issued = self.assertions.has_issued(text);
        if let Some((id, expires)) = assertion::check(text, app, audience, issued, by)? {
            self.assertions.note(client_id, id, expires, by.wall);
        }
        Ok(())
    }

    /// Checks an app and its secret at a front end that knows all credentials.
    pub(super) fn settled(&self, tenant: &Tenant, client_id: &str, secret: &str) -> Result<(), Denial> {
        let now = self.time.now();
        let by = FrontEnd { number: None, knows: now, now, wall: self.time.wall() };
        Ok(authenticate(self.directory.app_in(tenant, client_id)?, secret, by)?)
    }
}

fn authenticate(app: &App, secret: &str, by: FrontEnd) -> Result<(), Refuse> {
    if secret.is_empty() {
        return Err(Refuse(7_000_218));
    }
    let mut known = app.secrets.iter().filter(|known| {
        let is_removed = known.removal.as_ref().is_some_and(|removal| removal.has_reached(by.number, by.now));
        known.propagation.has_reached(by.number, by.knows) && !is_removed
    });
    let matching = known.find(|known| known.value.expose_secret() == secret).ok_or(Refuse(7_000_215))?;
    if matching.expires.is_some_and(|at| at <= by.now) { Err(Refuse(7_000_222)) } else { Ok(()) }
}
