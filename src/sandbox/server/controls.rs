//! The controls below `/_sandbox/`: they show the simulated state and cause events.
//!
//! Invariant: the only secret that a control shows is the assertion that `issue-assertion` issues. All other controls
//! show a short fingerprint instead of a token or a secret.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use secrecy::ExposeSecret as _;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

mod credentials;
mod fault_form;
mod graph;

use self::fault_form::FaultForm;
use super::span::Span;
use super::{Routes, SandboxState, shown};
use crate::process::clock::Timestamp;
use crate::sandbox::world::{Partner, SecretVersion, World, fingerprint};
use crate::token::tags::Tags;

/// `/_sandbox/state` shows only this many of the newest grants. Otherwise thousands of grants would hide the rest of
/// the state.
const GRANTS_SHOWN: usize = 100;

/// The result of a control. The error is an HTTP status and a JSON body with the reason.
type Reply<T = Json<Value>> = Result<T, (StatusCode, Json<Value>)>;

pub(super) fn routes() -> Routes {
    Router::new()
        .route("/_sandbox/", get(index))
        .route("/_sandbox/state", get(state))
        .route("/_sandbox/clock", post(clock))
        .route("/_sandbox/faults", get(faults).post(inject).delete(clear))
        .route("/_sandbox/revoke", post(revoke))
        .route("/_sandbox/expire-secret", post(expire_secret))
        .route("/_sandbox/sign-in", post(sign_in))
        .route("/_sandbox/create-certificate", post(credentials::create_certificate))
        .route("/_sandbox/register-certificate", post(credentials::register_certificate))
        .route("/_sandbox/remove-certificate", post(credentials::remove_certificate))
        .route("/_sandbox/federate", post(credentials::federate))
        .route("/_sandbox/managed-identity", post(credentials::managed_identity))
        .route("/_sandbox/issue-assertion", post(credentials::issue_assertion))
        .route("/_sandbox/propagation", post(credentials::propagation))
        .route("/_sandbox/flapping", post(graph::flapping))
        .route("/_sandbox/graph-roles", post(graph::set_roles))
        .route("/_sandbox/add-owner", post(graph::add_owner))
        .route("/_sandbox/credential-policy", post(graph::set_policy))
}

/// The answer to `GET /_sandbox/`: the list of all controls.
const CONTROLS: &str = "\
GET    /_sandbox/state          users, apps, identities, grants, secrets, requests, faults
POST   /_sandbox/clock          {\"advance\":\"30d\"}, {\"offset\":\"1h\"} or {\"speed\":60}: change the simulated time
GET    /_sandbox/faults         the faults that are active
POST   /_sandbox/faults         {\"peer\":\"entra\",\"status\":503,\"times\":3}: inject a fault
DELETE /_sandbox/faults         remove all faults
POST   /_sandbox/revoke         {} or {\"user\":\"NAME\"}: revoke the user's sessions
POST   /_sandbox/sign-in        {} or {\"user\":\"NAME\",\"mfa\":false}: sign in and store the token
POST   /_sandbox/expire-secret  {} or {\"client_id\":\"ID\"}: make the app's secret expire
POST   /_sandbox/create-certificate    {} or {\"name\":\"NAME\",\"exportable\":false,\"lasts\":\"90d\"}: create a certificate in the vault
POST   /_sandbox/register-certificate  {} or {\"name\":\"NAME\"} or {\"cer\":\"PEM\"}: register a certificate at the app
POST   /_sandbox/remove-certificate    {\"thumbprint\":\"HEX\"}: remove a certificate from the app
POST   /_sandbox/federate              {\"issuer\":\"URL\",\"subject\":\"ID\"}: add a federated credential to the app
POST   /_sandbox/managed-identity      {} or {\"client_id\":\"ID\"}: add a managed identity to the host
POST   /_sandbox/issue-assertion       {\"issuer\":\"URL\",\"subject\":\"ID\"}: issue a token of an external issuer
POST   /_sandbox/propagation           {\"most\":\"30s\"}: set how long new credentials may take to reach all of Entra
POST   /_sandbox/flapping              {\"probability\":0.1,\"within\":\"10m\"}: make Entra's front ends forget new credentials now and then
POST   /_sandbox/graph-roles           {\"roles\":[\"Application.ReadWrite.OwnedBy\"]}: set the Graph roles of the app that reads the vault
POST   /_sandbox/add-owner             {} or {\"principal\":\"ID\"}: add an owner to the app registration
POST   /_sandbox/credential-policy     {\"longest_secret\":\"90d\"} or {\"forbids_secrets\":true}: limit the app's new secrets
GET    /_sandbox/inbox          the alerts that were sent here
DELETE /_sandbox/inbox          empty the inbox
";

async fn index() -> &'static str {
    CONTROLS
}

async fn state(State(shared): State<Arc<SandboxState>>) -> Json<Value> {
    let world = &shared.world;
    Json(json!({
        "now": shown(world.now()),
        "speed": world.speed(),
        "users": users(world),
        "apps": apps(world),
        "managed_identities": credentials::identities(world),
        "grants": grants(world),
        "secrets": secrets(world),
        "requests": requests(world),
        "faults": fault_form::list(world),
    }))
}

fn users(world: &World) -> Vec<Value> {
    let users = world.users();
    let shown = users.iter().map(|user| {
        json!({
            "oid": user.oid, "upn": user.upn, "tenant": user.tenant,
            "mfa": user.mfa, "disabled": user.disabled, "deleted": user.deleted,
        })
    });
    shown.collect()
}

fn apps(world: &World) -> Vec<Value> {
    let apps = world.apps();
    let expiries = |app: &crate::sandbox::world::App| -> Vec<Option<String>> {
        app.secrets.iter().map(|secret| secret.expires.map(shown)).collect()
    };
    let listed = apps.iter().map(|app| {
        let (certificates, federated) = credentials::shown_of(app);
        json!({
            "client_id": app.client_id, "object_id": app.object_id, "tenant": app.tenant,
            "owners": app.owners, "disabled": app.disabled,
            "secrets_expire": expiries(app), "secrets": graph::secrets_of(app),
            "certificates": certificates, "federated": federated,
        })
    });
    listed.collect()
}

fn grants(world: &World) -> Value {
    let all = world.grants();
    let newest = all.iter().rev().take(GRANTS_SHOWN).map(|grant| {
        json!({
            "id": grant.id, "fingerprint": fingerprint(grant.token.expose()),
            "user": grant.owner.user, "app": grant.owner.app, "mfa": grant.mfa,
            "issued_at": shown(grant.issued_at), "parent": grant.parent, "sign_in": grant.sign_in,
            "spent": grant.spent, "refused_with": world.refusal_of(grant.token.expose()),
        })
    });
    json!({"issued": all.len(), "newest": newest.collect::<Vec<_>>()})
}

fn secrets(world: &World) -> Vec<Value> {
    let version = |version: &SecretVersion| {
        let id = crate::token::version::VersionId(version.id.as_str().into());
        json!({
            "id": version.id, "fingerprint": fingerprint(version.value.expose_secret()),
            "created": shown(version.created), "updated": shown(version.updated),
            "enabled": version.attributes.enabled, "expires": version.attributes.expires.map(shown),
            "content_type": version.content_type, "tags": version.tags, "writer": world.writer_of(&id),
        })
    };
    let all = world.secrets();
    let listed = all.iter().map(|at| {
        let versions = world.versions_of(at);
        json!({
            "vault": &*at.vault, "name": at.name.as_str(),
            "versions": versions.iter().map(version).collect::<Vec<_>>(),
        })
    });
    listed.collect()
}

fn requests(world: &World) -> BTreeMap<&'static str, BTreeMap<&'static str, usize>> {
    let mut counts: BTreeMap<_, BTreeMap<_, usize>> = BTreeMap::new();
    for call in world.calls_since(Timestamp::MIN_UTC) {
        *counts.entry(call.peer.as_str()).or_default().entry(call.operation.as_str()).or_default() += 1;
    }
    counts
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ClockForm {
    /// The time by which the world's clock is ahead of the host's clock.
    offset: Option<Span>,
    /// The time by which the world's clock jumps forward.
    advance: Option<Span>,
    /// The new speed of the world's time.
    speed: Option<f64>,
}

async fn clock(State(shared): State<Arc<SandboxState>>, body: Bytes) -> Reply {
    let form: ClockForm = read(&body)?;
    let world = &shared.world;
    if let Some(speed) = form.speed {
        if !(0.0..=MAX_SPEED).contains(&speed) {
            return Err(wrong("speed must be between 0 and ten million"));
        }
        world.set_speed(speed);
    }
    if let Some(Span(offset)) = form.offset {
        world.set_offset(offset);
    }
    if let Some(Span(by)) = form.advance {
        world.advance(by);
    }
    Ok(Json(json!({"now": shown(world.now()), "speed": world.speed()})))
}

/// The highest speed: a third of a year per second. At a much higher speed, the world's time would soon exceed the
/// range of `Timestamp`.
const MAX_SPEED: f64 = 10_000_000.0;

async fn faults(State(shared): State<Arc<SandboxState>>) -> Json<Value> {
    Json(json!({"faults": fault_form::list(&shared.world)}))
}

async fn inject(State(shared): State<Arc<SandboxState>>, body: Bytes) -> Reply {
    let form: FaultForm = read(&body)?;
    let fault = form.into_fault(shared.world.now()).map_err(|why| wrong(&why))?;
    shared.world.inject(fault);
    Ok(faults(State(shared)).await)
}

async fn clear(State(shared): State<Arc<SandboxState>>) -> Json<Value> {
    shared.world.clear_faults(None);
    faults(State(shared)).await
}

/// The user whose sessions are revoked.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RevocationForm {
    /// The user's object id or sign-in name.
    user: Option<String>,
}

/// The user who signs in.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SignInForm {
    /// The user's object id or sign-in name.
    user: Option<String>,
    /// Whether the user's sign-ins use MFA from now on.
    mfa: Option<bool>,
}

/// Finds the partner of a user. Without a user, returns the first partner.
fn partner_of(user: Option<&str>, world: &World) -> Result<Partner, (StatusCode, Json<Value>)> {
    let oid = match user {
        Some(name) => {
            Some(world.user(name).ok_or_else(|| wrong("no user has this object id or sign-in name"))?.oid)
        }
        None => None,
    };
    let partners = world.partners();
    let found = partners.into_iter().find(|partner| oid.as_ref().is_none_or(|oid| *oid == partner.user_oid));
    found.ok_or_else(|| wrong("this user has no token in the vault"))
}

async fn revoke(State(shared): State<Arc<SandboxState>>, body: Bytes) -> Reply {
    let form: RevocationForm = read(&body)?;
    let partner = partner_of(form.user.as_deref(), &shared.world)?;
    shared.world.revoke_user(&partner.user_oid);
    Ok(Json(json!({"revoked": partner.user_oid})))
}

async fn sign_in(State(shared): State<Arc<SandboxState>>, body: Bytes) -> Reply {
    let form: SignInForm = read(&body)?;
    let world = &shared.world;
    let partner = partner_of(form.user.as_deref(), world)?;
    if let Some(mfa) = form.mfa {
        world.set_user_mfa(&partner.user_oid, mfa);
    }
    let token = world.sign_in(&partner.user_oid, &partner.client_id);
    let token = token.ok_or_else(|| wrong("the user or the app no longer exists"))?;
    let version = world.human_writes(&partner.refresh_token, token.expose(), Tags::new());
    let version = version.ok_or_else(|| wrong("the token's secret in the vault cannot be written"))?;
    Ok(Json(json!({"secret": partner.refresh_token.to_string(), "version": version.0})))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AppForm {
    /// The app that a control is about. The default is the first partner's app.
    client_id: Option<String>,
}

async fn expire_secret(State(shared): State<Arc<SandboxState>>, body: Bytes) -> Reply {
    let form: AppForm = read(&body)?;
    let app = app(&shared.world, form.client_id)?;
    shared.world.expire_app_secret(&app);
    Ok(Json(json!({"expired": app})))
}

/// Returns the client id of the app that a control is about. The default is the first partner's app.
fn app(world: &World, client_id: Option<String>) -> Reply<String> {
    let first = || world.partners().first().map(|partner| partner.client_id.clone());
    let Some(client_id) = client_id else { return first().ok_or_else(|| wrong("there is no app")) };
    let is_known = world.apps().iter().any(|app| app.client_id.eq_ignore_ascii_case(&client_id));
    if is_known { Ok(client_id) } else { Err(wrong("no app has this client id")) }
}

/// Parses a JSON body. Ignores the content type, because `curl -d` declares an HTML form. An empty body counts as `{}`.
fn read<T: DeserializeOwned>(body: &Bytes) -> Result<T, (StatusCode, Json<Value>)> {
    let body = if body.is_empty() { &b"{}"[..] } else { body };
    serde_json::from_slice(body).map_err(|why| wrong(&why.to_string()))
}

fn wrong(why: &str) -> (StatusCode, Json<Value>) {
    (StatusCode::BAD_REQUEST, Json(json!({"error": why})))
}
