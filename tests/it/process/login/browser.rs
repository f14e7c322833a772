//! Simulates a user with a browser, who opens pages, presses buttons, and follows redirects and forms.

use perennial::net::http::http_client;
use reqwest::{Response, StatusCode, Url};

/// A browser that trusts the sandbox.
pub(in crate::process) struct Browser(reqwest::Client);

impl Browser {
    pub(in crate::process) fn new(ca_pem: &str) -> Self {
        Self(http_client(Some(ca_pem.as_bytes()), false).expect("a client"))
    }

    pub(in crate::process) async fn get(&self, url: &str) -> Response {
        self.0.get(url).send().await.expect("an answer")
    }

    /// Presses a button of the page at `url`.
    pub(in crate::process) async fn press(&self, url: &str, fields: &[(&str, &str)]) -> Response {
        self.0.post(url).form(fields).send().await.expect("an answer")
    }

    /// Signs in on the page and returns the result.
    pub(in crate::process) async fn sign_in(&self, url: &str, user: &str) -> Back {
        let page = self.get(url).await;
        assert_eq!(page.status(), StatusCode::OK);
        assert!(page.text().await.expect("a page").contains(user), "offered");
        Back::of(self.press(url, &[("user", user)]).await).await
    }

    /// Follows the redirect or form to the program, and returns the text of the program's last page.
    pub(in crate::process) async fn go_back(&self, back: Back) -> String {
        let answer = match back {
            Back::Redirect(url) => self.get(url.as_str()).await,
            Back::Form(url, fields) => self.0.post(url).form(&fields).send().await.expect("an answer"),
            Back::Kept(page) => panic!("it leads nowhere: {page}"),
        };
        assert_eq!(answer.status(), StatusCode::OK);
        answer.text().await.expect("a page")
    }
}

/// The result of a sign-in page.
#[derive(Debug)]
pub(in crate::process) enum Back {
    /// A redirect.
    Redirect(Url),
    /// A form that is sent to the program.
    Form(String, Vec<(String, String)>),
    /// The user stays on Entra's page.
    Kept(String),
}

impl Back {
    pub(in crate::process) async fn of(answer: Response) -> Self {
        if let Some(target) = answer.headers().get("location") {
            return Self::Redirect(target.to_str().expect("text").parse().expect("a URL"));
        }
        let page = answer.text().await.expect("a page");
        match attribute(&page, "<form method=\"post\" action=\"") {
            Some(action) => Self::Form(action, fields(&page)),
            None => Self::Kept(page),
        }
    }
}

/// Returns the hidden form fields of a page.
pub(in crate::process) fn fields(page: &str) -> Vec<(String, String)> {
    let parts = page.split("<input type=\"hidden\"").skip(1);
    let field = |part: &str| Some((attribute(part, "name=\"")?, attribute(part, "value=\"")?));
    parts.filter_map(field).collect()
}

fn attribute(page: &str, before: &str) -> Option<String> {
    let (_, rest) = page.split_once(before)?;
    let (value, _) = rest.split_once('"')?;
    Some(value.replace("&quot;", "\"").replace("&amp;", "&"))
}
