//! Sign-in in a browser: the authorization request, the sign-in page's checks, and the authorization code.
//!
//! This module owns the rules of the authorization endpoint and of the `authorization_code` grant (docs/azure-facts.md
//! F131 to F135). The module applies the rules in the same order as Entra. The server owns the HTML of the pages.

mod exchange;

use std::collections::BTreeMap;

use reqwest::Url;
use serde::Deserialize;

pub use self::exchange::CodeRequest;
pub(super) use self::exchange::tailored;
use super::directory::{App, Consent, Platform, Tenant, User};
use super::entra::codes::Refuse;
use super::entra::{EntraRefusal, granted};
use super::grants::Owner;
use super::ledger::{Operation, Peer};
use super::{About, Inner, Trouble, World};
use crate::process::clock::Timestamp;

/// The parameters of an authorization request.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct AuthorizeRequest {
    /// The client id of the app.
    pub client_id: String,
    /// The response type, which must be `code`.
    pub response_type: String,
    /// The redirect URI of the app.
    pub redirect_uri: String,
    /// The response mode, which is `query` (default) or `form_post`.
    pub response_mode: String,
    /// The scopes, separated by spaces.
    pub scope: String,
    /// A value that Entra returns unchanged.
    pub state: String,
    /// A value that Entra puts into the ID token.
    pub nonce: String,
    /// The PKCE challenge.
    pub code_challenge: String,
    /// The PKCE method, which must be `S256`.
    pub code_challenge_method: String,
    /// The account that the page offers first.
    pub login_hint: String,
}

/// The user's action on a page of the sign-in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// The user signs in.
    SignIn,
    /// The user signs in and consents.
    Accept,
    /// The user signs in and declines to consent.
    Decline,
    /// The user cancels the sign-in.
    Cancel,
}

/// The result of the user's action.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SignInStep {
    /// The user must be asked to consent.
    AskConsent,
    /// The browser goes back to the redirect URI with these parameters.
    Back(Vec<(&'static str, String)>),
}

/// Every code that Entra has issued.
#[derive(Default)]
pub(super) struct SignIns {
    codes: BTreeMap<String, Code>,
}

impl SignIns {
    /// Returns the texts of all issued codes.
    pub(super) fn texts(&self) -> impl Iterator<Item = &str> {
        self.codes.keys().map(String::as_str)
    }
}

#[derive(Clone)]
struct Code {
    owner: Owner,
    mfa: bool,
    platform: Platform,
    request: AuthorizeRequest,
    issued_at: Timestamp,
    spent: bool,
}

impl World {
    /// Checks whether Entra answers a request with a sign-in page, and returns the request's app. If the tenant, the
    /// client or the redirect URI is wrong, Entra shows an error page and does not redirect the browser to the app.
    ///
    /// # Errors
    /// Returns an injected fault, or the error that Entra's page shows.
    pub fn may_authorize(
        &self,
        actor: &str,
        tenant: &str,
        request: &AuthorizeRequest,
    ) -> Result<App, Trouble<EntraRefusal>> {
        self.call(
            |_| about(actor, Operation::Authorize, "unknown"),
            |inner, _| {
                let known = inner.may_authorize(tenant, request).map(|(_, app, _)| app);
                known.map_err(|refuse| inner.explain(refuse, None))
            },
        )
    }

    /// Makes a user act on the sign-in page.
    ///
    /// # Errors
    /// Returns an injected fault, or the error that Entra's page shows. With such an error, Entra does not redirect the
    /// browser.
    pub fn authorize(
        &self,
        actor: &str,
        tenant: &str,
        request: &AuthorizeRequest,
        user: &str,
        decision: Decision,
    ) -> Result<SignInStep, Trouble<EntraRefusal>> {
        self.call(
            |_| about(actor, Operation::Authorize, user),
            |inner, _| {
                let step = inner.authorize(tenant, request, user, decision);
                step.map_err(|refuse| inner.explain(refuse, None))
            },
        )
    }
}

pub(super) fn about<'a>(actor: &'a str, operation: Operation, subject: &str) -> About<'a> {
    About { peer: Peer::Entra, operation, actor, subject: subject.to_owned(), grant: None }
}

impl Inner {
    fn may_authorize(
        &self,
        tenant: &str,
        request: &AuthorizeRequest,
    ) -> Result<(Tenant, App, Platform), Refuse> {
        let tenant = self.directory.tenant(tenant).ok_or(Refuse(90002))?;
        let app = self.directory.apps.get(&request.client_id.to_ascii_lowercase());
        let app = app.filter(|app| tenant.apps.contains(&app.client_id)).ok_or(Refuse(700_016))?;
        if app.disabled {
            return Err(Refuse(7_000_112));
        }
        let redirect = app.redirects.iter().find(|known| matches(&known.uri, &request.redirect_uri));
        let platform = redirect.ok_or(Refuse(50011))?.platform;
        Ok((tenant.clone(), app.clone(), platform))
    }

    fn authorize(
        &mut self,
        tenant: &str,
        request: &AuthorizeRequest,
        user: &str,
        decision: Decision,
    ) -> Result<SignInStep, Refuse> {
        let (tenant, app, platform) = self.may_authorize(tenant, request)?;
        if decision == Decision::Cancel {
            return Ok(declined(request, &[("error_subcode", "cancel")]));
        }
        if request.response_type != "code" {
            return Ok(refused_back(
                request,
                "unsupported_response_type",
                "The response type is not supported.",
            ));
        }
        if granted(&request.scope).is_err() {
            return Ok(refused_back(request, "invalid_scope", "AADSTS70011: The scope is not valid."));
        }
        let user = self.may_sign_in(&tenant, user)?;
        match self.consented(&tenant, &app, &user, decision)? {
            Decision::Decline => {
                let text = "AADSTS65004: User declined to consent to access the app.";
                return Ok(declined(request, &[("error_description", text)]));
            }
            Decision::SignIn => return Ok(SignInStep::AskConsent),
            Decision::Accept | Decision::Cancel => {}
        }
        let body: String = (0..120).map(|_| self.rng.alphanumeric()).collect();
        let text = format!("0.AQ{body}");
        let code = Code {
            owner: Owner { tenant: tenant.id, user: user.oid, app: app.client_id },
            mfa: user.mfa,
            platform,
            request: request.clone(),
            issued_at: self.time.now(),
            spent: false,
        };
        self.sign_ins.codes.insert(text.clone(), code);
        let session = self.fresh_id().to_string();
        let state = request.state.clone();
        Ok(SignInStep::Back(vec![("code", text), ("state", state), ("session_state", session)]))
    }

    /// Checks whether a user may sign in to a tenant.
    pub(super) fn may_sign_in(&self, tenant: &Tenant, oid: &str) -> Result<User, Refuse> {
        let user = self.directory.users.get(oid).filter(|user| !user.deleted).ok_or(Refuse(50034))?;
        if user.tenant != tenant.id && !tenant.guests.contains(oid) {
            return Err(Refuse(50020));
        }
        if user.disabled {
            return Err(Refuse(50057));
        }
        if tenant.rules.blocked {
            return Err(Refuse(53003));
        }
        if tenant.rules.require_mfa && !user.mfa {
            return Err(Refuse(50076));
        }
        Ok(user.clone())
    }

    /// Returns `Accept` if an earlier consent of the user or of an administrator is recorded. Otherwise returns the
    /// user's decision, and records a decision to accept. The result `SignIn` means that Entra must ask for consent.
    fn consented(
        &mut self,
        tenant: &Tenant,
        app: &App,
        user: &User,
        decision: Decision,
    ) -> Result<Decision, Refuse> {
        let pair = (user.oid.clone(), app.client_id.clone());
        match app.consent {
            Consent::AdminOnly => return Err(Refuse(90094)),
            Consent::Given => return Ok(Decision::Accept),
            Consent::Asked if tenant.consents.contains(&pair) => return Ok(Decision::Accept),
            Consent::Asked => {}
        }
        if decision == Decision::Accept
            && let Some(tenant) = self.directory.tenants.get_mut(&tenant.id)
        {
            tenant.consents.insert(pair);
        }
        Ok(decision)
    }
}

/// Whether a redirect URI matches the registered redirect URI. Scheme, host, port and path must match. The port of
/// `localhost` is ignored (docs/azure-facts.md F134). A query is not allowed. An empty path equals the path `/`.
fn matches(registered: &str, asked: &str) -> bool {
    let (Ok(registered), Ok(asked)) = (Url::parse(registered), Url::parse(asked)) else { return false };
    let loopback = registered.host_str() == Some("localhost");
    registered.scheme() == asked.scheme()
        && registered.host_str() == asked.host_str()
        && registered.path() == asked.path()
        && (loopback || registered.port() == asked.port())
        && asked.query().is_none()
}

fn declined(request: &AuthorizeRequest, more: &[(&'static str, &str)]) -> SignInStep {
    let mut parameters = vec![("error", "access_denied".to_owned())];
    parameters.extend(more.iter().map(|(name, value)| (*name, (*value).to_owned())));
    parameters.push(("state", request.state.clone()));
    SignInStep::Back(parameters)
}

fn refused_back(request: &AuthorizeRequest, error: &str, description: &str) -> SignInStep {
    SignInStep::Back(vec![
        ("error", error.to_owned()),
        ("error_description", description.to_owned()),
        ("state", request.state.clone()),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_of_localhost_is_ignored_and_nothing_else_is() {
        for (registered, asked, fits) in [
            ("http://localhost", "http://localhost:8400", true),
            ("http://localhost", "http://localhost:8400/", true),
            ("http://localhost:1/cb", "http://localhost:2/cb", true),
            ("http://localhost/cb", "http://localhost:2/CB", false),
            ("http://localhost", "https://localhost", false),
            ("http://localhost", "http://localhost.evil", false),
            ("http://localhost", "http://127.0.0.1:8400", false),
            ("http://localhost", "http://localhost:8400/?x=1", false),
            ("https://app.example:1", "https://app.example:2", false),
            ("https://app.example/cb", "https://app.example/cb", true),
        ] {
            assert_eq!(matches(registered, asked), fits, "{registered} {asked}");
        }
    }
}
