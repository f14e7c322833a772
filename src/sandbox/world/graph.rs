//! Microsoft Graph: the credentials of app registrations.
//!
//! This module owns Graph's rules: the rights of a caller, an app's limits for new secrets, and the order of the
//! checks. Graph's list of an app's secrets changes as soon as a secret is added or removed. Entra's front ends learn
//! of the change later (`credentials`).

mod keys;

use std::collections::BTreeSet;
use std::fmt;
use std::iter;

use chrono::{Months, TimeDelta};
use uuid::Uuid;

pub use self::keys::{KeyEntry, KeyRequest};
use super::credentials::{AppCertificate, AppSecret};
use super::directory::App;
use super::entra::{AccessRecord, Bearer, EntraRefusal};
use super::ledger::{Operation, Peer};
use super::{About, Inner, Trouble, World};
use crate::process::clock::Timestamp;
use crate::token::AccessToken;

/// The audience of access tokens for Microsoft Graph.
const AUDIENCE: &str = "https://graph.microsoft.com";

/// The beginning of Graph's error message if the client secret to remove does not exist.
const NO_SECRET: &str = "No password credential found with keyId";

/// The lifetime of a secret if the request names no expiry.
const USUAL_LIFETIME: Months = Months::new(24);

/// An app role of Microsoft Graph. Any of these roles allows a caller to read every app registration of the tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum GraphRole {
    /// `Application.Read.All`: the caller may only read.
    Read,
    /// `Application.ReadWrite.OwnedBy`: the caller may also change app registrations that it owns.
    ReadWriteOwned,
    /// `Application.ReadWrite.All`: the caller may also change every app registration.
    ReadWrite,
}

impl GraphRole {
    /// All simulated app roles.
    pub const ALL: [Self; 3] = [Self::Read, Self::ReadWriteOwned, Self::ReadWrite];

    /// Returns Microsoft's name of the role.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "Application.Read.All",
            Self::ReadWriteOwned => "Application.ReadWrite.OwnedBy",
            Self::ReadWrite => "Application.ReadWrite.All",
        }
    }
}

/// An app's limits for new credentials (app management policy). The limits do not affect existing credentials.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CredentialPolicy {
    /// Whether new client secrets are forbidden.
    pub forbids_secrets: bool,
    /// The longest lifetime of a new client secret.
    pub longest_secret: Option<TimeDelta>,
    /// The longest validity of a new certificate.
    pub longest_certificate: Option<TimeDelta>,
    /// Whether new self-signed certificates are forbidden. The rule accepts certificates of any certificate authority.
    pub forbids_self_signed: bool,
}

/// A request for a new client secret.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PasswordRequest {
    /// The display name.
    pub name: Option<String>,
    /// The start of the validity. The default is the time of the request.
    pub starts: Option<Timestamp>,
    /// The end of the validity. The default is two years after the start.
    pub ends: Option<Timestamp>,
}

/// A rejection by Microsoft Graph.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GraphRefusal {
    /// The HTTP status.
    pub status: u16,
    /// Graph's error code.
    pub code: &'static str,
    /// Graph's error message.
    pub text: String,
}

impl GraphRefusal {
    pub(in crate::sandbox) fn new(status: u16, code: &'static str, text: impl Into<String>) -> Self {
        Self { status, code, text: text.into() }
    }

    fn forbidden_type() -> Self {
        let text = "Credential type not allowed as per assigned policy.";
        Self::new(400, "CredentialTypeNotAllowedAsPerAppPolicy", text)
    }

    fn denied() -> Self {
        let text = "Insufficient privileges to complete the operation.";
        Self::new(403, "Authorization_RequestDenied", text)
    }

    fn missing_secret(key_id: Uuid) -> Self {
        let text = format!("{NO_SECRET} '{key_id}'.");
        Self::new(400, "Request_BadRequest", text)
    }

    /// Whether the request was rejected because the secret to remove does not exist. Only the error message shows this
    /// cause, since rejections with other causes have the same error code.
    pub(super) fn is_missing_secret(&self) -> bool {
        self.text.starts_with(NO_SECRET)
    }

    fn absent(named: impl fmt::Display) -> Self {
        let text = format!(
            "Resource '{named}' does not exist or one of its queried reference-property objects are not present."
        );
        Self::new(404, "Request_ResourceNotFound", text)
    }
}

impl fmt::Display for GraphRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.status, self.code)
    }
}

impl World {
    /// Returns an app registration without its removed credentials. The bearer of the access token needs the right to
    /// read the registration.
    ///
    /// # Errors
    /// Returns an injected fault, or Graph's rejection.
    pub fn registration(
        &self,
        actor: &str,
        access_token: &str,
        client_id: &str,
    ) -> Result<App, Trouble<GraphRefusal>> {
        let app = client_id.to_ascii_lowercase();
        self.call(
            |_| about(actor, Operation::GetApplication, Some(app.clone())),
            |inner, _| {
                let caller = inner.graph_caller(access_token)?;
                let mut app = inner.registered(caller, |known| known.client_id == app, client_id)?.clone();
                app.secrets.retain(AppSecret::is_listed);
                app.certificates.retain(AppCertificate::is_listed);
                Ok(app)
            },
        )
    }

    /// Adds a client secret to the app registration with this object id. Returns the secret with its value.
    ///
    /// # Errors
    /// Returns an injected fault, or Graph's rejection.
    pub fn add_secret(
        &self,
        actor: &str,
        access_token: &str,
        object_id: Uuid,
        request: &PasswordRequest,
    ) -> Result<AppSecret, Trouble<GraphRefusal>> {
        self.call(
            |inner| about(actor, Operation::AddPassword, inner.app_with(object_id)),
            |inner, _| inner.add_secret(actor, access_token, object_id, request),
        )
    }

    /// Removes a client secret from the app registration with this object id.
    ///
    /// # Errors
    /// Returns an injected fault, or Graph's rejection. The removal of a secret that is already gone is rejected.
    pub fn remove_secret(
        &self,
        actor: &str,
        access_token: &str,
        object_id: Uuid,
        key_id: Uuid,
    ) -> Result<(), Trouble<GraphRefusal>> {
        self.call(
            |inner| about(actor, Operation::RemovePassword, inner.app_with(object_id)),
            |inner, _| inner.remove_secret(access_token, object_id, key_id),
        )
    }

    /// Returns the client id of the app registration with this object id.
    pub fn app_with(&self, object_id: Uuid) -> Option<String> {
        self.lock().app_with(object_id)
    }

    /// Sets the app roles of an app or a managed identity. `principal` is a client id, or the principal id of a managed
    /// identity.
    pub fn set_graph_roles(&self, principal: &str, roles: &[GraphRole]) {
        let roles: BTreeSet<GraphRole> = roles.iter().copied().collect();
        self.lock().directory.graph_roles.insert(principal.to_ascii_lowercase(), roles);
    }

    /// Makes an app or a managed identity an owner of an app registration. `principal` is a client id, or the principal
    /// id of a managed identity.
    pub fn add_app_owner(&self, client_id: &str, principal: &str) {
        self.change_app(client_id, |app| {
            app.owners.insert(principal.to_ascii_lowercase());
        });
    }

    /// Sets an app's limits for new credentials.
    pub fn set_credential_policy(&self, client_id: &str, policy: CredentialPolicy) {
        self.change_app(client_id, |app| app.policy = policy);
    }

    /// Sets the tenant and the principal of the identity that actors use as `Caller::VaultIdentity`. By default, this
    /// identity has no rights. The HTTPS server does not use this identity, since the server's clients send their own
    /// access tokens.
    pub fn set_graph_identity(&self, tenant: &str, principal: &str) {
        self.lock().directory.graph_identity = Some((tenant.to_owned(), principal.to_owned()));
    }

    /// Issues an access token for Microsoft Graph to the identity that `set_graph_identity` sets. The ledger does not
    /// record this request: real clients cache the token, and so send no such request before most calls.
    pub(super) fn graph_identity_token(&self, actor: &str) -> Result<AccessToken, Trouble<EntraRefusal>> {
        if let Some(what) = self.identity_fault(actor) {
            return Err(Trouble::Fault(what));
        }
        let mut inner = self.lock();
        let (tenant, app) = inner.directory.graph_identity.clone().unwrap_or_default();
        let tenant = inner.directory.tenant(&tenant).map_or(tenant.clone(), |known| known.id.clone());
        let scope = format!("{AUDIENCE}/.default");
        let bearer = Bearer { tenant: &tenant, app: &app, user: None, scope: &scope, opaque: false };
        Ok(inner.access_token(&bearer).0)
    }
}

impl Inner {
    fn app_with(&self, object_id: Uuid) -> Option<String> {
        let app = self.directory.apps.values().find(|app| app.object_id == object_id);
        app.map(|app| app.client_id.clone())
    }

    fn graph_caller(&self, access_token: &str) -> Result<&AccessRecord, GraphRefusal> {
        let refuse = |why| GraphRefusal::new(401, "InvalidAuthenticationToken", why);
        if access_token.is_empty() {
            return Err(refuse("Access token is empty."));
        }
        let record = self.access(access_token);
        let record = record.ok_or_else(|| refuse("Lifetime validation failed, the token is expired."))?;
        if record.audience != AUDIENCE {
            return Err(refuse("Access token validation failure. Invalid audience."));
        }
        Ok(record)
    }

    /// Finds an app registration in the caller's tenant. The caller needs at least one app role, but need not be an
    /// owner.
    fn registered(
        &self,
        caller: &AccessRecord,
        is_asked: impl Fn(&App) -> bool,
        named: impl fmt::Display,
    ) -> Result<&App, GraphRefusal> {
        if GraphRole::ALL.into_iter().all(|role| !self.has_role(caller, role)) {
            return Err(GraphRefusal::denied());
        }
        let here = |app: &&App| app.tenant == caller.tenant && is_asked(app);
        self.directory.apps.values().find(here).ok_or_else(|| GraphRefusal::absent(named))
    }

    /// Finds an app registration that the caller may change.
    fn changeable(&self, access_token: &str, object_id: Uuid) -> Result<&App, GraphRefusal> {
        let caller = self.graph_caller(access_token)?;
        let app = self.registered(caller, |app| app.object_id == object_id, object_id)?;
        let owns = self.principals(caller).any(|principal| app.owners.contains(principal));
        let may_change = self.has_role(caller, GraphRole::ReadWrite)
            || (owns && self.has_role(caller, GraphRole::ReadWriteOwned));
        if may_change { Ok(app) } else { Err(GraphRefusal::denied()) }
    }

    /// Whether a caller has an app role. A user's token carries no app roles.
    fn has_role(&self, caller: &AccessRecord, role: GraphRole) -> bool {
        let roles = &self.directory.graph_roles;
        let held = |principal| roles.get(principal).is_some_and(|roles| roles.contains(&role));
        caller.user.is_none() && self.principals(caller).any(held)
    }

    /// Returns the ids of a caller: the client id and, for a managed identity, also the principal id.
    fn principals<'a>(&'a self, caller: &'a AccessRecord) -> impl Iterator<Item = &'a str> {
        let identity = self.directory.identities.get(&caller.app);
        iter::once(&*caller.app).chain(identity.map(|identity| &*identity.principal_id))
    }

    fn add_secret(
        &mut self,
        actor: &str,
        access_token: &str,
        object_id: Uuid,
        request: &PasswordRequest,
    ) -> Result<AppSecret, GraphRefusal> {
        let app = self.changeable(access_token, object_id)?;
        let (client_id, policy) = (app.client_id.clone(), app.policy);
        let starts = request.starts.unwrap_or_else(|| self.time.now());
        let ends = request.ends.or_else(|| starts.checked_add_months(USUAL_LIFETIME));
        let ends = ends.filter(|ends| *ends > starts).ok_or_else(|| {
            GraphRefusal::new(400, "Request_BadRequest", "The end date must be after the start date.")
        })?;
        if policy.forbids_secrets {
            return Err(GraphRefusal::forbidden_type());
        }
        if policy.longest_secret.is_some_and(|longest| ends - starts > longest) {
            let text = "Credential lifetime exceeds the max value allowed as per assigned policy.";
            return Err(GraphRefusal::new(400, "CredentialInvalidLifetimeAsPerAppPolicy", text));
        }
        let secret = AppSecret {
            key_id: self.fresh_id(),
            name: request.name.clone(),
            value: self.secret_text().into(),
            starts,
            expires: Some(ends),
            added_by: actor.to_owned(),
            propagation: self.propagation(),
            removal: None,
        };
        if let Some(app) = self.directory.apps.get_mut(&client_id) {
            app.secrets.push(secret.clone());
        }
        Ok(secret)
    }

    fn remove_secret(
        &mut self,
        access_token: &str,
        object_id: Uuid,
        key_id: Uuid,
    ) -> Result<(), GraphRefusal> {
        let client_id = self.changeable(access_token, object_id)?.client_id.clone();
        let removal = self.propagation();
        let app = self.directory.apps.get_mut(&client_id);
        let secrets = app.into_iter().flat_map(|app| &mut app.secrets);
        let secret = secrets.filter(|secret| secret.is_listed()).find(|secret| secret.key_id == key_id);
        secret.ok_or_else(|| GraphRefusal::missing_secret(key_id))?.removal = Some(removal);
        Ok(())
    }

    /// Returns a value of 40 characters in the form of Entra's secrets.
    fn secret_text(&mut self) -> String {
        let mut letters = |count| -> String { (0..count).map(|_| self.rng.alphanumeric()).collect() };
        format!("{}8Q~{}", letters(3), letters(34))
    }
}

fn about(actor: &str, operation: Operation, app: Option<String>) -> About<'_> {
    let subject = app.unwrap_or_else(|| "unknown".to_owned());
    About { peer: Peer::Graph, operation, actor, subject, grant: None }
}

/// Returns the object id of an app's registration. The object id depends only on the client id, so it is the same in
/// each run.
pub(super) fn object_id_of(client_id: &str) -> Uuid {
    Uuid::new_v5(&Uuid::NAMESPACE_URL, client_id.as_bytes())
}
