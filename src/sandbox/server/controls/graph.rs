//! Controls for Microsoft Graph: the roles of callers, the owners of an app, and the limits for an app's new
//! credentials.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use chrono::TimeDelta;
use secrecy::ExposeSecret as _;
use serde::Deserialize;
use serde_json::{Value, json};

use super::super::span::Span;
use super::super::{SandboxState, shown};
use super::{Reply, app, read, wrong};
use crate::sandbox::world::{App, CredentialPolicy, GraphRole, fingerprint};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RolesForm {
    /// The client id of an app or of a managed identity, or the principal id of a managed identity. The default is the
    /// app with which Perennial reads the vault.
    principal: Option<String>,
    /// Microsoft's names of the roles.
    roles: Vec<String>,
}

/// Sets the app roles of a caller of Microsoft Graph.
pub(super) async fn set_roles(State(shared): State<Arc<SandboxState>>, body: Bytes) -> Reply {
    let form: RolesForm = read(&body)?;
    let mut roles = Vec::new();
    for name in &form.roles {
        let found = GraphRole::ALL.into_iter().find(|role| role.as_str() == name);
        let names = || GraphRole::ALL.map(GraphRole::as_str).join(", ");
        roles.push(found.ok_or_else(|| wrong(&format!("a role must be one of {}", names())))?);
    }
    let principal = form.principal.unwrap_or_else(|| shared.vault_identity.client_id.clone());
    shared.world.set_graph_roles(&principal, &roles);
    Ok(Json(json!({"principal": principal, "roles": form.roles})))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OwnerForm {
    client_id: Option<String>,
    /// The new owner: an app or a managed identity, as in `RolesForm`.
    principal: Option<String>,
}

/// Adds an owner to an app registration.
pub(super) async fn add_owner(State(shared): State<Arc<SandboxState>>, body: Bytes) -> Reply {
    let form: OwnerForm = read(&body)?;
    let client_id = app(&shared.world, form.client_id)?;
    let principal = form.principal.unwrap_or_else(|| shared.vault_identity.client_id.clone());
    shared.world.add_app_owner(&client_id, &principal);
    Ok(Json(json!({"client_id": client_id, "owner": principal})))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PolicyForm {
    client_id: Option<String>,
    /// Whether new client secrets are forbidden.
    #[serde(default)]
    forbids_secrets: bool,
    /// The longest lifetime of a new client secret. The default is no limit.
    longest_secret: Option<Span>,
    /// The longest validity of a new certificate. The default is no limit.
    longest_certificate: Option<Span>,
    /// Whether a certificate authority must issue new certificates.
    #[serde(default)]
    forbids_self_signed: bool,
}

/// Sets an app's limits for new credentials.
pub(super) async fn set_policy(State(shared): State<Arc<SandboxState>>, body: Bytes) -> Reply {
    let form: PolicyForm = read(&body)?;
    let client_id = app(&shared.world, form.client_id)?;
    let longest_secret = form.longest_secret.map(|Span(longest)| longest);
    let longest_certificate = form.longest_certificate.map(|Span(longest)| longest);
    let (forbids_secrets, forbids_self_signed) = (form.forbids_secrets, form.forbids_self_signed);
    let policy =
        CredentialPolicy { forbids_secrets, longest_secret, longest_certificate, forbids_self_signed };
    shared.world.set_credential_policy(&client_id, policy);
    Ok(Json(json!({
        "client_id": client_id, "forbids_secrets": forbids_secrets, "forbids_self_signed": forbids_self_signed,
        "longest_secret": longest_secret.map(|longest| longest.num_seconds()),
        "longest_certificate": longest_certificate.map(|longest| longest.num_seconds()),
    })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FlappingForm {
    /// The probability, from 0 to 1, that a front end forgets a new credential during a request.
    probability: f64,
    /// A front end can forget a credential only within this time after the front end learned of the credential.
    within: Span,
}

/// Makes Entra's front ends forget new credentials for single requests.
pub(super) async fn flapping(State(shared): State<Arc<SandboxState>>, body: Bytes) -> Reply {
    let FlappingForm { probability, within: Span(within) } = read(&body)?;
    if !(0.0..=1.0).contains(&probability) || within < TimeDelta::zero() {
        return Err(wrong("`probability` must be between 0 and 1, and `within` must not be negative"));
    }
    shared.world.set_flapping(probability, within);
    Ok(Json(json!({"probability": probability, "within": within.num_seconds()})))
}

/// Returns the secrets of an app, without their values.
pub(super) fn secrets_of(app: &App) -> Vec<Value> {
    let secrets = app.secrets.iter().map(|secret| {
        json!({
            "key_id": secret.key_id, "name": secret.name, "listed": secret.is_listed(),
            "fingerprint": fingerprint(secret.value.expose_secret()), "added_by": secret.added_by,
            "starts": shown(secret.starts), "expires": secret.expires.map(shown),
        })
    });
    secrets.collect()
}
