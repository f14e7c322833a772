//! The answers to calls that an injected fault affects.

use std::time::Duration;

use axum::Json;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse as _;
use axum::response::{Html, Response};
use serde_json::json;

use super::hostile;
use super::wire::{HttpCaller, code, graph_error, key_vault_error, oauth_error, partner_center_error, set};
use crate::net::no_response::NoResponse;
use crate::ports::failure::Trace;
use crate::ports::oauth_error::OAuthError;
use crate::sandbox::world::{EntraRefusal, FaultEffect, Peer};

/// How long a simulated service hangs before it cuts the connection. This time is longer than any client's timeout. The
/// cut releases a client without a timeout.
const HANG: Duration = Duration::from_secs(120);

impl HttpCaller {
    /// Answers as an injected fault demands, or cuts the connection.
    pub(super) async fn faulted(&self, peer: Peer, what: FaultEffect) -> Response {
        match what {
            FaultEffect::Transport(transport) => {
                if transport == NoResponse::TimedOut {
                    tokio::time::sleep(HANG).await;
                }
                self.connection.cut();
                StatusCode::BAD_GATEWAY.into_response()
            }
            FaultEffect::Status { status, retry_after } => {
                let text = if status == 429 { "Too Many Requests" } else { "" };
                with_retry_after((code(status), text).into_response(), retry_after)
            }
            FaultEffect::OAuth { status, error, code, suberror } => {
                let refusal = OAuthError {
                    status,
                    error,
                    suberror,
                    trace: Trace {
                        code,
                        trace_id: Some(self.world().fresh_id().to_string()),
                        correlation_id: Some(self.correlation_id()),
                    },
                    ..OAuthError::default()
                };
                oauth_error(
                    &EntraRefusal { refusal: Box::new(refusal), text: "An injected fault.".into() },
                    self.world().now(),
                )
            }
            FaultEffect::Coded { status, code: word, inner, retry_after } => {
                let body = match peer {
                    Peer::Graph => {
                        let response = graph_error(self, status, &word, "An injected fault.");
                        return with_retry_after(response, retry_after);
                    }
                    Peer::PartnerCenter if status == 429 => {
                        json!({"statusCode": 429, "message": "Rate limit is exceeded. Try again in 57 seconds."})
                    }
                    Peer::PartnerCenter => partner_center_error(&word, "An injected fault."),
                    Peer::KeyVault | Peer::Entra => {
                        key_vault_error(&word, inner.as_deref(), "An injected fault.")
                    }
                };
                with_retry_after((code(status), Json(body)).into_response(), retry_after)
            }
            FaultEffect::Verbatim { status, content_type, retry_after, body } => {
                let mut response = (code(status), body).into_response();
                set(&mut response, "content-type", content_type);
                if let Some(wait) = retry_after {
                    set(&mut response, "retry-after", &wait);
                }
                response
            }
            FaultEffect::Hostile { status, body } => hostile::answer(code(status), body, peer, self),
            FaultEffect::Garbage | FaultEffect::Distort(_) | FaultEffect::Delay(_) => {
                Html("<html><body>Please sign in to the guest network.</body></html>").into_response()
            }
        }
    }
}

fn with_retry_after(mut response: Response, retry_after: Option<Duration>) -> Response {
    if let Some(after) = retry_after {
        response.headers_mut().insert(header::RETRY_AFTER, after.as_secs().into());
    }
    response
}
