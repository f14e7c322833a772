//! Entra's authorization endpoint, which a user opens in a browser. The user chooses an account, consents, and returns
//! to the app.

use std::collections::BTreeMap;

use axum::extract::{Path, Query};
use axum::http::StatusCode;
use axum::response::IntoResponse as _;
use axum::response::Response;
use axum::routing::get;
use axum::{Form, Router};
use maud::html;
use reqwest::Url;
use serde::Deserialize;

use super::pages::{Page, hidden};
use super::wire::{HttpCaller, set};
use super::{Routes, pages};
use crate::sandbox::world::{AuthorizeRequest, Decision, EntraRefusal, Operation, Peer, SignInStep, Trouble};

pub(super) fn routes() -> Routes {
    Router::new().route("/{tenant}/oauth2/v2.0/authorize", get(show).post(answer))
}

/// The form data that a button on a page sends.
#[derive(Deserialize)]
struct Pressed {
    #[serde(default)]
    user: String,
    #[serde(default)]
    decision: String,
}

async fn show(
    caller: HttpCaller,
    Path(tenant): Path<String>,
    Query(request): Query<AuthorizeRequest>,
) -> Response {
    caller.enter(Peer::Entra, Operation::Authorize, "unknown").await;
    let app = match caller.world().may_authorize(caller.actor(), &tenant, &request) {
        Ok(app) => app,
        Err(trouble) => return failed(&caller, trouble).await,
    };
    let home = caller.world().find_tenant(&tenant).map(|tenant| tenant.id).unwrap_or_default();
    let users = pages::people(caller.world().users(), &home, &request.login_hint);
    let body = html! {
        p { "to app " code { (app.client_id) } }
        form method="post" {
            (users)
            button name="decision" value="cancel" id="cancel" { "Cancel" }
        }
    };
    Page { title: "Pick an account", body, leads_to: Some(request.redirect_uri) }.response(StatusCode::OK)
}

async fn answer(
    caller: HttpCaller,
    Path(tenant): Path<String>,
    Query(request): Query<AuthorizeRequest>,
    Form(pressed): Form<Pressed>,
) -> Response {
    let decision = match pressed.decision.as_str() {
        "cancel" => Decision::Cancel,
        "accept" => Decision::Accept,
        "decline" => Decision::Decline,
        _ => Decision::SignIn,
    };
    caller.enter(Peer::Entra, Operation::Authorize, &pressed.user).await;
    match caller.world().authorize(caller.actor(), &tenant, &request, &pressed.user, decision) {
        Ok(SignInStep::AskConsent) => ask_consent(&request, &pressed.user),
        Ok(SignInStep::Back(parameters)) => back(&request, &parameters),
        Err(trouble) => failed(&caller, trouble).await,
    }
}

fn ask_consent(request: &AuthorizeRequest, user: &str) -> Response {
    let body = html! {
        p { "The app would like to:" }
        ul { @for scope in request.scope.split_whitespace() { li { code { (scope) } } } }
        form method="post" {
            (hidden("user", user))
            button name="decision" value="accept" id="accept" { "Accept" }
            button name="decision" value="decline" id="decline" { "Cancel" }
        }
    };
    Page { title: "Permissions requested", body, leads_to: Some(request.redirect_uri.clone()) }
        .response(StatusCode::OK)
}

/// Sends the user back to the app by a redirect or by a form. The user submits the form with a button. At the real
/// Entra, a script submits the form.
fn back(request: &AuthorizeRequest, parameters: &[(&'static str, String)]) -> Response {
    if request.response_mode == "form_post" {
        let fields: BTreeMap<&str, &str> =
            parameters.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let body = html! {
            form method="post" action=(request.redirect_uri) {
                @for (name, value) in fields { (hidden(name, value)) }
                button id="continue" { "Continue" }
            }
        };
        return Page { title: "Back to the app", body, leads_to: Some(request.redirect_uri.clone()) }
            .response(StatusCode::OK);
    }
    let mut target: Url = match request.redirect_uri.parse() {
        Ok(target) => target,
        Err(_) => return StatusCode::BAD_REQUEST.into_response(),
    };
    target.query_pairs_mut().extend_pairs(parameters);
    let mut response = StatusCode::FOUND.into_response();
    // Entra appends an empty fragment to the redirect's target (docs/azure-facts.md F131).
    set(&mut response, "location", &format!("{target}#"));
    set(&mut response, "cache-control", "no-store");
    response
}

async fn failed(caller: &HttpCaller, trouble: Trouble<EntraRefusal>) -> Response {
    match trouble {
        Trouble::Refused(refused) => pages::trouble(&refused),
        Trouble::Fault(what) => caller.faulted(Peer::Entra, what).await,
    }
}
