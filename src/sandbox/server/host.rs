//! The identity services of an Azure host: the metadata service of a virtual machine, and the service of App Service
//! and Container Apps.
//!
//! The services use plain HTTP on an address of their own, as on a real host. The identity of the host is the app that
//! opens the sandbox's vault. Errors follow the protocol (docs/azure-facts.md F401, F402).

use std::sync::Arc;

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

use super::SandboxState;
use super::wire::Caller;
use crate::process::clock::Clock;
use crate::sandbox::world::{AppProof, IdentityRequest, Operation, Peer, Trouble};

pub(super) fn routes(shared: &Arc<SandboxState>) -> Router {
    Router::new()
        .route("/metadata/identity/oauth2/token", get(metadata_service))
        .route("/msi/token", get(app_service))
        .with_state(Arc::clone(shared))
}

/// The query parameters of a request.
#[derive(Deserialize)]
struct IdentityQuery {
    resource: String,
    #[serde(rename = "api-version")]
    api_version: String,
    client_id: Option<String>,
}

async fn metadata_service(caller: Caller, asked: Result<Query<IdentityQuery>, QueryRejection>) -> Response {
    if caller.header("metadata") != Some("true") {
        return refused_by_imds("bad_request_102", "Required metadata header not specified");
    }
    if caller.header("x-forwarded-for").is_some() {
        return refused_by_imds("invalid_request", "Request contains the X-Forwarded-For header");
    }
    match asked {
        Ok(Query(asked)) if ["2018-02-01", "2019-08-01"].contains(&asked.api_version.as_str()) => {
            let answer = hand_out(&caller, &asked).await;
            answer.unwrap_or_else(|NotFound| refused_by_imds("invalid_request", "Identity not found"))
        }
        _ => refused_by_imds("invalid_request", "Required parameter missing or api-version not supported"),
    }
}

async fn app_service(caller: Caller, asked: Result<Query<IdentityQuery>, QueryRejection>) -> Response {
    if caller.header("x-identity-header") != Some(caller.shared.identity_header.expose_secret()) {
        return refused_by_app_service(&caller, StatusCode::UNAUTHORIZED, "Invalid X-IDENTITY-HEADER.");
    }
    match asked {
        Ok(Query(asked)) if asked.api_version == "2019-08-01" => {
            let none = "No User Assigned or Delegated Managed Identity found for specified ClientId.";
            let answer = hand_out(&caller, &asked).await;
            answer.unwrap_or_else(|NotFound| refused_by_app_service(&caller, StatusCode::BAD_REQUEST, none))
        }
        _ => {
            let text = "Required parameter missing or api-version not supported.";
            refused_by_app_service(&caller, StatusCode::BAD_REQUEST, text)
        }
    }
}

/// The error if the host has no such identity.
struct NotFound;

async fn hand_out(caller: &Caller, asked: &IdentityQuery) -> Result<Response, NotFound> {
    let own = &caller.shared.vault_identity;
    if asked.client_id.as_ref().is_some_and(|id| !id.eq_ignore_ascii_case(&own.client_id)) {
        return Err(NotFound);
    }
    caller.enter(Peer::Entra, Operation::Identity, &own.client_id).await;
    let answer = caller.world().identity_token(
        caller.actor(),
        &IdentityRequest {
            tenant: &own.tenant_id,
            client_id: &own.client_id,
            proof: AppProof::Secret(own.client_secret.expose_secret()),
            scope: &format!("{}/.default", asked.resource),
            correlation_id: None,
        },
    );
    match answer {
        Ok(answer) => {
            let now = Clock::host().now();
            let lives = TimeDelta::from_std(answer.expires_in).unwrap_or_default();
            let body = json!({
                "access_token": answer.access_token.expose(),
                "client_id": own.client_id,
                "expires_in": lives.num_seconds().to_string(),
                "expires_on": (now + lives).timestamp().to_string(),
                "not_before": now.timestamp().to_string(),
                "resource": asked.resource,
                "token_type": "Bearer",
            });
            Ok(Json(body).into_response())
        }
        Err(Trouble::Refused(_)) => Err(NotFound),
        Err(Trouble::Fault(what)) => Ok(caller.faulted(Peer::Entra, what).await),
    }
}

fn refused_by_imds(error: &str, description: &str) -> Response {
    let body = json!({"error": error, "error_description": description});
    (StatusCode::BAD_REQUEST, Json(body)).into_response()
}

/// App Service has its own form of errors. Microsoft's clients read no other form.
fn refused_by_app_service(caller: &Caller, status: StatusCode, message: &str) -> Response {
    let id = caller.world().fresh_id().to_string();
    let body = json!({"statusCode": status.as_u16(), "message": message, "correlationId": id});
    (status, Json(body)).into_response()
}
