//! The device code flow over HTTPS: the endpoint that issues a code, and the page on which a user types the code.

use axum::extract::{Path, Query};
use axum::http::StatusCode;
use axum::response::IntoResponse as _;
use axum::response::Response;
use axum::routing::{get, post};
use axum::{Form, Json, Router};
use maud::html;
use serde::Deserialize;
use serde_json::json;

use super::pages::{Page, hidden};
use super::wire::{HttpCaller, oauth_error};
use super::{Routes, pages};
use crate::sandbox::world::{EntraRefusal, Operation, Peer, Trouble};

/// The path of the page on which a user types the code. The real page is `microsoft.com/devicelogin`.
const PAGE: &str = "/devicelogin";

pub(super) fn routes() -> Routes {
    Router::new().route("/{tenant}/oauth2/v2.0/devicecode", post(begin)).route(PAGE, get(show).post(answer))
}

#[derive(Deserialize)]
struct Begin {
    #[serde(default)]
    client_id: String,
    #[serde(default)]
    scope: String,
}

async fn begin(caller: HttpCaller, Path(tenant): Path<String>, Form(form): Form<Begin>) -> Response {
    caller.enter(Peer::Entra, Operation::DeviceCode, &form.client_id).await;
    match caller.world().begin_device(caller.actor(), &tenant, &form.client_id, &form.scope) {
        Ok(given) => {
            let page = format!("{}{PAGE}", caller.shared.origin);
            Json(json!({
                "user_code": given.user_code,
                "device_code": given.device_code,
                "verification_uri": page,
                "expires_in": given.expires_in.as_secs(),
                "interval": given.interval.as_secs(),
                "message": format!(
                    "To sign in, use a web browser to open the page {page} and enter the code {} to authenticate.",
                    given.user_code
                ),
            }))
            .into_response()
        }
        Err(Trouble::Refused(refused)) => oauth_error(&refused, caller.world().now()),
        Err(Trouble::Fault(what)) => caller.faulted(Peer::Entra, what).await,
    }
}

#[derive(Deserialize)]
struct Typed {
    #[serde(default)]
    code: String,
    #[serde(default)]
    user: String,
    #[serde(default)]
    decision: String,
}

async fn show(caller: HttpCaller, Query(typed): Query<Typed>) -> Response {
    if typed.code.is_empty() {
        let body = html! {
            form method="get" {
                p { label { "Code " input name="code" autocomplete="off" autofocus; } }
                button id="next" { "Next" }
            }
        };
        return Page { title: "Enter code", body, leads_to: None }.response(StatusCode::OK);
    }
    let app = match caller.world().device_app(caller.actor(), &typed.code) {
        Ok(app) => app,
        Err(trouble) => return failed(&caller, trouble).await,
    };
    let home = caller.world().apps().into_iter().find(|known| known.client_id == app).map(|app| app.tenant);
    let users = pages::people(caller.world().users(), &home.unwrap_or_default(), "");
    let body = html! {
        p {
            "You are signing in to " code { (app) }
            " on another device. Continue only if you started this sign-in yourself."
        }
        form method="post" {
            (hidden("code", &typed.code))
            (users)
            button name="decision" value="decline" id="decline" { "Decline" }
        }
    };
    Page { title: "Pick an account", body, leads_to: None }.response(StatusCode::OK)
}

async fn answer(caller: HttpCaller, Form(typed): Form<Typed>) -> Response {
    caller.enter(Peer::Entra, Operation::Authorize, &typed.user).await;
    let user = (typed.decision != "decline").then_some(typed.user.as_str());
    match caller.world().answer_device(caller.actor(), &typed.code, user) {
        Ok(()) => {
            let told =
                if user.is_some() { "You have signed in on your device." } else { "You have declined." };
            let body = html! { p id="done" { (told) " You can close this window." } };
            Page { title: "Done", body, leads_to: None }.response(StatusCode::OK)
        }
        Err(trouble) => failed(&caller, trouble).await,
    }
}

async fn failed(caller: &HttpCaller, trouble: Trouble<EntraRefusal>) -> Response {
    match trouble {
        Trouble::Refused(refused) => pages::trouble(&refused),
        Trouble::Fault(what) => caller.faulted(Peer::Entra, what).await,
    }
}
