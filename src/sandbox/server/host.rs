//! Simulates two identity services of Azure hosts: the metadata service of a virtual machine, and the endpoint of App
//! Service and Container Apps.
//!
//! The sandbox's HTTPS server always serves both services. `Sandbox::serve_identity` also serves both services over
//! plain HTTP, as a real host does. The host's own identity is the app with which Perennial reads the sandbox's vault.
//! A request without a client id gets a token of this app. A request with the client id of a managed identity gets a
//! token of that identity. Errors have the forms of the real services (docs/azure-facts.md F401, F402).

use axum::extract::Query;
use axum::extract::rejection::QueryRejection;
use axum::http::StatusCode;
use axum::response::IntoResponse as _;
use axum::response::Response;
use axum::routing::get;
use axum::{Json, Router};
use chrono::TimeDelta;
use secrecy::ExposeSecret as _;
use serde::Deserialize;
use serde_json::json;

use super::Routes;
use super::wire::HttpCaller;
use crate::process::clock::Clock;
use crate::sandbox::world::{AppProof, HostRefusal, IdentityRequest, Operation, Peer, TokenAnswer, Trouble};

pub(super) fn routes() -> Routes {
    Router::new()
        .route("/metadata/identity/oauth2/token", get(metadata_service))
        .route("/msi/token", get(app_service))
}

const NO_RESOURCE: &str = "AADSTS500011: The resource principal was not found in the tenant.";

/// The query parameters of a request.
#[derive(Deserialize)]
struct IdentityQuery {
    resource: String,
    #[serde(rename = "api-version")]
    api_version: String,
    client_id: Option<String>,
}

async fn metadata_service(
    caller: HttpCaller,
    asked: Result<Query<IdentityQuery>, QueryRejection>,
) -> Response {
    if caller.header("metadata") != Some("true") {
        return refused_by_imds("bad_request_102", "Required metadata header not specified");
    }
    if caller.header("x-forwarded-for").is_some() {
        return refused_by_imds("invalid_request", "Request contains the X-Forwarded-For header");
    }
    match asked {
        Ok(Query(asked)) if ["2018-02-01", "2019-08-01"].contains(&asked.api_version.as_str()) => {
            let answer = hand_out(&caller, &asked).await;
            answer.unwrap_or_else(|refusal| match refusal {
                HostRefusal::NoSuchResource => refused_by_imds("invalid_resource", NO_RESOURCE),
                HostRefusal::NoSuchIdentity | HostRefusal::Ambiguous => {
                    refused_by_imds("invalid_request", "Identity not found")
                }
            })
        }
        _ => refused_by_imds("invalid_request", "Required parameter missing or api-version not supported"),
    }
}

async fn app_service(caller: HttpCaller, asked: Result<Query<IdentityQuery>, QueryRejection>) -> Response {
    if caller.header("x-identity-header") != Some(caller.shared.identity_header.expose_secret()) {
        return refused_by_app_service(&caller, StatusCode::UNAUTHORIZED, "Invalid X-IDENTITY-HEADER.");
    }
    match asked {
        Ok(Query(asked)) if asked.api_version == "2019-08-01" => {
            let none = "No User Assigned or Delegated Managed Identity found for specified ClientId.";
            let answer = hand_out(&caller, &asked).await;
            answer.unwrap_or_else(|refusal| {
                let text = if refusal == HostRefusal::NoSuchResource { NO_RESOURCE } else { none };
                refused_by_app_service(&caller, StatusCode::BAD_REQUEST, text)
            })
        }
        _ => {
            let text = "Required parameter missing or api-version not supported.";
            refused_by_app_service(&caller, StatusCode::BAD_REQUEST, text)
        }
    }
}

async fn hand_out(caller: &HttpCaller, asked: &IdentityQuery) -> Result<Response, HostRefusal> {
    let own = &caller.shared.vault_identity;
    let named = asked.client_id.as_deref().filter(|id| !id.eq_ignore_ascii_case(&own.client_id));
    let answer = match named {
        Some(client_id) => managed(caller, client_id, &asked.resource).await,
        None => of_the_vault(caller, &asked.resource).await,
    };
    let client_id = named.unwrap_or(&own.client_id);
    match answer {
        Ok(answer) => Ok(handed_out(&answer, client_id, &asked.resource)),
        Err(Trouble::Refused(refusal)) => Err(refusal),
        Err(Trouble::Fault(what)) => Ok(caller.faulted(Peer::Entra, what).await),
    }
}

/// Returns a token of one of the world's managed identities.
async fn managed(
    caller: &HttpCaller,
    client_id: &str,
    resource: &str,
) -> Result<TokenAnswer, Trouble<HostRefusal>> {
    caller.enter(Peer::Entra, Operation::ManagedIdentity, client_id).await;
    caller.world().managed_identity_token(caller.actor(), Some(client_id), resource)
}

/// Returns a token of the app with which Perennial reads the vault.
async fn of_the_vault(caller: &HttpCaller, resource: &str) -> Result<TokenAnswer, Trouble<HostRefusal>> {
    let own = &caller.shared.vault_identity;
    caller.enter(Peer::Entra, Operation::Identity, &own.client_id).await;
    let answer = caller.world().identity_token(
        caller.actor(),
        &IdentityRequest {
            tenant: &caller.shared.identity_tenant(),
            client_id: &own.client_id,
            proof: AppProof::Secret(own.client_secret.expose_secret()),
            scope: &format!("{resource}/.default"),
            correlation_id: None,
        },
    );
    answer.map_err(|trouble| match trouble {
        Trouble::Refused(_) => Trouble::Refused(HostRefusal::NoSuchIdentity),
        Trouble::Fault(what) => Trouble::Fault(what),
    })
}

/// Returns a successful answer. In the answers of identity services, numbers are JSON strings.
fn handed_out(answer: &TokenAnswer, client_id: &str, resource: &str) -> Response {
    let now = Clock::host().now();
    let lives = TimeDelta::from_std(answer.expires_in).unwrap_or_default();
    let body = json!({
        "access_token": answer.access_token.expose(),
        "client_id": client_id,
        "expires_in": lives.num_seconds().to_string(),
        "expires_on": (now + lives).timestamp().to_string(),
        "not_before": now.timestamp().to_string(),
        "resource": resource,
        "token_type": "Bearer",
    });
    Json(body).into_response()
}

fn refused_by_imds(error: &str, description: &str) -> Response {
    let body = json!({"error": error, "error_description": description});
    (StatusCode::BAD_REQUEST, Json(body)).into_response()
}

/// Returns an error with the fields that Microsoft's clients read (docs/azure-facts.md F402).
fn refused_by_app_service(caller: &HttpCaller, status: StatusCode, message: &str) -> Response {
    let id = caller.world().fresh_id().to_string();
    let body = json!({"statusCode": status.as_u16(), "message": message, "correlationId": id});
    (status, Json(body)).into_response()
}
