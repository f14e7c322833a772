//! The pages of the sandbox's Entra, with plain forms, one style sheet, and no script.
//!
//! This module owns the HTML and its content security policy. `maud` escapes each text that is not part of a template.

use aws_lc_rs::digest;
use axum::http::StatusCode;
use axum::response::IntoResponse as _;
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use reqwest::Url;

use super::wire::set;
use crate::sandbox::world::{EntraRefusal, User};

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;max-width:32rem;margin:3rem auto;padding:0 1rem;color:#17211b;background:#f4f6f3}\
button{font:inherit;display:block;width:100%;margin:.5rem 0;padding:.6rem;text-align:left;border:1px solid #56635b;border-radius:.4rem;background:#fff;color:inherit;cursor:pointer}\
input{font:inherit;padding:.5rem;width:100%;box-sizing:border-box}small{color:#56635b}code{overflow-wrap:anywhere}";

/// A page of the sandbox's Entra.
pub(super) struct Page {
    pub(super) title: &'static str,
    pub(super) body: Markup,
    /// An address outside the sandbox to which the page's form may lead, directly or through a redirect (CSP3,
    /// form-action).
    pub(super) leads_to: Option<String>,
}

impl Page {
    pub(super) fn response(self, status: StatusCode) -> Response {
        let Self { title, body, leads_to } = self;
        let html = html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    title { (title) " · Sandbox" }
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    style { (PreEscaped(STYLE)) }
                }
                body {
                    h1 { (title) }
                    (body)
                    p { small { "Perennial's sandbox simulates this page: no account here is real." } }
                }
            }
        };
        let hash = STANDARD.encode(digest::digest(&digest::SHA256, STYLE.as_bytes()));
        let target =
            leads_to.as_deref().and_then(origin).map(|origin| format!(" {origin}")).unwrap_or_default();
        let policy = format!(
            "default-src 'none'; style-src 'sha256-{hash}'; form-action 'self'{target}; base-uri 'none'; frame-ancestors 'none'"
        );
        let mut response = (status, html).into_response();
        for (name, value) in [
            ("content-security-policy", policy.as_str()),
            ("cache-control", "no-store"),
            ("referrer-policy", "no-referrer"),
            ("x-content-type-options", "nosniff"),
        ] {
            set(&mut response, name, value);
        }
        response
    }
}

fn origin(url: &str) -> Option<String> {
    let url = Url::parse(url).ok()?;
    matches!(url.scheme(), "http" | "https").then(|| url.origin().ascii_serialization())
}

/// Returns the page on which Entra shows an error that Entra does not send to the redirect URI.
pub(super) fn trouble(refused: &EntraRefusal) -> Response {
    let code = refused.refusal.trace.code.unwrap_or_default();
    let trace = refused.refusal.trace.trace_id.as_deref().unwrap_or_default();
    let body = html! {
        p id="error" { "AADSTS" (code) ": " (refused.text) }
        p { small { "Trace ID: " (trace) } }
    };
    Page { title: "Sorry, but we're having trouble signing you in", body, leads_to: None }
        .response(StatusCode::BAD_REQUEST)
}

/// Returns one button per user. First comes the user whom the request suggests (`hint`), then the users of the tenant,
/// then all other users.
pub(super) fn people(mut users: Vec<User>, tenant: &str, hint: &str) -> Markup {
    users.retain(|user| !user.deleted);
    users.sort_by_key(|user| {
        (!user.upn.eq_ignore_ascii_case(hint), user.tenant != tenant, user.upn.to_ascii_lowercase())
    });
    html! {
        @for user in users.iter().take(MOST_USERS) {
            button name="user" value=(user.oid) {
                (user.upn)
                br;
                small {
                    @if user.mfa { "password and second factor" } @else { "password only" }
                    @if user.tenant != tenant { ", another tenant's" }
                }
            }
        }
    }
}

/// The largest number of users on the page. With a longer list, the page would be hard to use.
const MOST_USERS: usize = 50;

/// Returns a hidden form field.
pub(super) fn hidden(name: &str, value: &str) -> Markup {
    html! { input type="hidden" name=(name) value=(value); }
}
