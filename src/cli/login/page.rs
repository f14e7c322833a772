//! The browser's last page, which shows the result of the sign-in. The page contains no parameter of the redirect.

use aws_lc_rs::digest;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::IntoResponse as _;
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use maud::{DOCTYPE, Markup, PreEscaped, html};

const STYLE: &str = ":root{color-scheme:light dark}body{font:18px/1.5 system-ui,sans-serif;max-width:36rem;margin:4rem auto;padding:0 1rem;overflow-wrap:anywhere}";

/// The texts of the browser's last page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ResultPage {
    pub(super) status: StatusCode,
    pub(super) title: &'static str,
    pub(super) text: String,
}

impl ResultPage {
    pub(super) fn wrong(status: StatusCode, text: &str) -> Self {
        Self { status, title: "Not signed in", text: text.to_owned() }
    }

    /// Returns the page as a response. The page's address may contain the code (RFC 6749, 10.5). So headers forbid the
    /// browser to cache the page, to show it in a frame, and to send its address as a referrer.
    pub(super) fn response(&self) -> Response {
        let hash = STANDARD.encode(digest::digest(&digest::SHA256, STYLE.as_bytes()));
        let policy = format!(
            "default-src 'none'; style-src 'sha256-{hash}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        );
        let mut response = (self.status, self.html()).into_response();
        let headers: [(HeaderName, &str); 5] = [
            (header::CONTENT_SECURITY_POLICY, &policy),
            (header::CACHE_CONTROL, "no-store"),
            (header::REFERRER_POLICY, "no-referrer"),
            (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (header::CONNECTION, "close"),
        ];
        for (name, value) in headers {
            if let Ok(value) = HeaderValue::from_str(value) {
                response.headers_mut().insert(name, value);
            }
        }
        response
    }

    fn html(&self) -> Markup {
        html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    title { (self.title) " · Perennial" }
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    style { (PreEscaped(STYLE)) }
                }
                body {
                    h1 { (self.title) }
                    @for line in self.text.lines() { p { (line.trim()) } }
                }
            }
        }
    }
}
