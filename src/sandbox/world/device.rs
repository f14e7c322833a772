//! Sign-in with a device code: the code that the user types on another device, and the answers to the polling program.
//!
//! This module owns the rules of the device code flow (RFC 8628; docs/azure-facts.md F136).

use std::time::Duration;

use chrono::TimeDelta;

use super::entra::codes::{DECLINED, Denial, Refuse, SLOW_DOWN};
use super::entra::{AppProof, EntraRefusal, Issue, TokenAnswer, granted};
use super::fault::Distortion;
use super::grants::Owner;
use super::ledger::Operation;
use super::sign_in::{about, tailored};
use super::{Inner, Trouble, World};
use crate::process::clock::Timestamp;

/// The lifetime of a device code (docs/azure-facts.md F136).
const LASTS: TimeDelta = TimeDelta::minutes(15);

/// A poll: the waiting program asks for the tokens of the user's sign-in.
#[derive(Clone, Copy)]
pub struct DeviceRequest<'a> {
    /// The tenant in the URL: a GUID or a domain.
    pub tenant: &'a str,
    /// The client id of the app.
    pub client_id: &'a str,
    /// The app's credential, if it has one.
    pub proof: AppProof<'a>,
    /// The device code that was issued.
    pub device_code: &'a str,
    /// The caller's own id for the request.
    pub correlation_id: Option<&'a str>,
}

/// The answer to a request for a device code.
#[derive(Clone, Debug)]
pub struct DeviceAnswer {
    /// The code with which the program polls.
    pub device_code: String,
    /// The code that the user types.
    pub user_code: String,
    /// The lifetime of both codes.
    pub expires_in: Duration,
    /// The interval between two polls.
    pub interval: Duration,
}

/// The state of a device code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeviceState {
    /// No user has typed the code yet.
    Pending,
    /// A user has signed in. The text is the user's object id.
    Approved(String),
    /// The user has declined.
    Declined,
    /// The code was exchanged for tokens.
    Spent,
}

pub(super) struct Devices {
    interval: Duration,
    all: Vec<Device>,
}

impl Default for Devices {
    /// The default interval is 5 seconds, as at Entra (docs/azure-facts.md F136).
    fn default() -> Self {
        Self { interval: Duration::from_secs(5), all: Vec::new() }
    }
}

impl Devices {
    /// Returns the codes with which programs poll.
    pub(super) fn texts(&self) -> impl Iterator<Item = &str> {
        self.all.iter().map(|device| device.secret.as_str())
    }
}

struct Device {
    secret: String,
    user_code: String,
    tenant: String,
    app: String,
    scope: String,
    issued_at: Timestamp,
    asked_at: Option<Timestamp>,
    state: DeviceState,
}

impl World {
    /// Sets the polling interval. Entra's 5 seconds are too long for a test.
    pub fn set_device_interval(&self, interval: Duration) {
        self.lock().devices.interval = interval;
    }

    /// Issues a device code and a user code.
    ///
    /// # Errors
    /// Returns an injected fault, or Entra's rejection.
    pub fn begin_device(
        &self,
        actor: &str,
        tenant: &str,
        client_id: &str,
        scope: &str,
    ) -> Result<DeviceAnswer, Trouble<EntraRefusal>> {
        self.call(
            |_| about(actor, Operation::DeviceCode, client_id),
            |inner, _| {
                let answer = inner.begin_device(tenant, client_id, scope);
                answer.map_err(|refuse| inner.explain(refuse, None))
            },
        )
    }

    /// Returns the client id of the app that requested this user code.
    ///
    /// # Errors
    /// Returns an injected fault, or the error that Entra's page shows.
    pub fn device_app(&self, actor: &str, user_code: &str) -> Result<String, Trouble<EntraRefusal>> {
        self.call(
            |_| about(actor, Operation::Authorize, "unknown"),
            |inner, _| {
                let found = inner.pending(user_code).map(|device| device.app.clone());
                found.map_err(|refuse| inner.explain(refuse, None))
            },
        )
    }

    /// Makes a user type a code and sign in. `user` is the user's object id. With `None`, the user types the code and
    /// declines.
    ///
    /// # Errors
    /// Returns an injected fault, or the error that Entra's page shows.
    pub fn answer_device(
        &self,
        actor: &str,
        user_code: &str,
        user: Option<&str>,
    ) -> Result<(), Trouble<EntraRefusal>> {
        self.call(
            |_| about(actor, Operation::Authorize, user.unwrap_or("unknown")),
            |inner, _| {
                let done = inner.answer_device(user_code, user);
                done.map_err(|refuse| inner.explain(refuse, None))
            },
        )
    }

    /// Exchanges a device code after the sign-in.
    ///
    /// # Errors
    /// Returns an injected fault, or Entra's rejection. Before the sign-in, the rejection is `authorization_pending`.
    /// For a poll that comes too early, it is `slow_down`.
    pub fn exchange_device(
        &self,
        actor: &str,
        request: &DeviceRequest<'_>,
    ) -> Result<TokenAnswer, Trouble<EntraRefusal>> {
        self.call(
            |_| about(actor, Operation::SignIn, "unknown"),
            |inner, bent| {
                let answer = inner.exchange_device(request, bent);
                answer.map_err(|denial| inner.explain(denial, request.correlation_id))
            },
        )
    }

    /// Returns the issued user codes, oldest first, each with its state.
    pub fn device_codes(&self) -> Vec<(String, DeviceState)> {
        let inner = self.lock();
        inner.devices.all.iter().map(|device| (device.user_code.clone(), device.state.clone())).collect()
    }
}

impl Inner {
    fn begin_device(&mut self, tenant: &str, client_id: &str, scope: &str) -> Result<DeviceAnswer, Refuse> {
        let tenant = self.directory.tenant(tenant).ok_or(Refuse(90002))?;
        let app = self.directory.apps.get(&client_id.to_ascii_lowercase());
        let app = app.filter(|app| tenant.apps.contains(&app.client_id)).ok_or(Refuse(700_016))?;
        if app.disabled {
            return Err(Refuse(7_000_112));
        }
        granted(scope)?;
        let (tenant, app) = (tenant.id.clone(), app.client_id.clone());
        let device_code: String = (0..60).map(|_| self.rng.alphanumeric()).collect();
        // The letters have no vowels, so that no code contains a word (RFC 8628, 6.1).
        let letters = b"BCDFGHJKLMNPQRSTVWXZ";
        let user_code: String =
            (0..9).map(|_| char::from(letters[self.rng.usize(..letters.len())])).collect();
        self.devices.all.push(Device {
            secret: device_code.clone(),
            user_code: user_code.clone(),
            tenant,
            app,
            scope: scope.to_owned(),
            issued_at: self.time.now(),
            asked_at: None,
            state: DeviceState::Pending,
        });
        let expires_in = LASTS.to_std().unwrap_or_default();
        Ok(DeviceAnswer { device_code, user_code, expires_in, interval: self.devices.interval })
    }

    fn pending(&mut self, user_code: &str) -> Result<&mut Device, Refuse> {
        let now = self.time.now();
        let typed = user_code.trim().replace('-', "");
        let found = self.devices.all.iter_mut().find(|device| device.user_code.eq_ignore_ascii_case(&typed));
        let found = found.filter(|device| device.state == DeviceState::Pending).ok_or(Refuse(70018))?;
        if now >= found.issued_at + LASTS { Err(Refuse(70019)) } else { Ok(found) }
    }

    fn answer_device(&mut self, user_code: &str, user: Option<&str>) -> Result<(), Refuse> {
        let tenant = self.pending(user_code)?.tenant.clone();
        let state = match user {
            None => DeviceState::Declined,
            Some(oid) => {
                let tenant = self.directory.tenant(&tenant).ok_or(Refuse(90002))?;
                DeviceState::Approved(self.may_sign_in(tenant, oid)?.oid)
            }
        };
        self.pending(user_code)?.state = state;
        Ok(())
    }

    fn exchange_device(
        &mut self,
        request: &DeviceRequest<'_>,
        bent: Option<Distortion>,
    ) -> Result<TokenAnswer, Denial> {
        let now = self.time.now();
        let tenant = self.directory.tenant(request.tenant).ok_or(Refuse(90002))?.clone();
        // A confidential app may send its credential. A request without a credential is allowed only if the app allows
        // public clients.
        let app = self.directory.apps.get(&request.client_id.to_ascii_lowercase()).ok_or(Refuse(700_016))?;
        if !(request.proof.is_none() && app.public_flows) {
            self.prove(&tenant, request.client_id, request.proof)?;
        }
        let least = TimeDelta::from_std(self.devices.interval).unwrap_or_default();
        let known = self.devices.all.iter_mut().find(|device| device.secret == request.device_code);
        let device = known.filter(|device| device.tenant == tenant.id).ok_or(Refuse(70018))?;
        if !device.app.eq_ignore_ascii_case(request.client_id) || device.state == DeviceState::Spent {
            return Err(Refuse(70018).into());
        }
        if now >= device.issued_at + LASTS {
            return Err(Refuse(70019).into());
        }
        // Network delays vary, so a poll can arrive too early although the program waited the full interval. The world
        // accepts a poll after 90 % of the interval.
        let hasty = device.asked_at.is_some_and(|at| now - at < least * 9 / 10);
        device.asked_at = Some(now);
        let oid = match &device.state {
            DeviceState::Declined => return Err(Refuse(DECLINED).into()),
            DeviceState::Pending if hasty => return Err(Refuse(SLOW_DOWN).into()),
            DeviceState::Pending | DeviceState::Spent => return Err(Refuse(70016).into()),
            DeviceState::Approved(oid) => oid.clone(),
        };
        device.state = DeviceState::Spent;
        let (app, asked) = (device.app.clone(), device.scope.clone());
        let user = self.may_sign_in(&tenant, &oid)?;
        let scope = granted(&asked)?;
        let owner = Owner { tenant: tenant.id.clone(), user: oid, app };
        let issue = Issue { owner: &owner, mfa: user.mfa, parent: None, asked: &asked, nonce: None };
        let answer = self.answer(&tenant, &issue, &scope, bent);
        Ok(tailored(answer, &asked))
    }
}
