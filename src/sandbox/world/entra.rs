//! The token endpoint, which checks a redemption in the same order as Entra.

mod access;
mod assertion;
pub(super) mod codes;
mod id_token;
mod proof;

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use serde_json::Value;

use self::access::audience;
pub(super) use self::access::{AccessRecord, Bearer};
pub use self::proof::AppProof;
use super::directory::Tenant;
use super::entra::codes::{Denial, Refuse, is_well_formed};
use super::fault::Distortion;
use super::grants::{GrantRecord, Owner};
use super::ledger::{Operation, Peer};
use super::{About, Inner, Trouble, World};
use crate::ports::failure::Trace;
use crate::ports::oauth_error::OAuthError;
use crate::token::{AccessToken, RefreshToken};

/// A request to redeem a refresh token.
#[derive(Clone, Copy)]
pub struct RedeemRequest<'a> {
    /// The tenant in the URL: a GUID or a domain.
    pub tenant: &'a str,
    /// The client id of the app.
    pub client_id: &'a str,
    /// The app's credential.
    pub proof: AppProof<'a>,
    /// The requested scopes, separated by spaces. If no scope names a resource, the world grants a scope of Partner
    /// Center.
    pub scope: &'a str,
    /// The refresh token.
    pub token: &'a str,
    /// The caller's own id for the request.
    pub correlation_id: Option<&'a str>,
}

/// An app's request for an access token for itself, not for a user (client credentials flow).
#[derive(Clone, Copy)]
pub struct IdentityRequest<'a> {
    /// The tenant in the URL.
    pub tenant: &'a str,
    /// The client id of the app.
    pub client_id: &'a str,
    /// The app's credential.
    pub proof: AppProof<'a>,
    /// The scope, such as `https://vault.azure.net/.default`.
    pub scope: &'a str,
    /// The caller's own id for the request.
    pub correlation_id: Option<&'a str>,
}

/// A successful answer of the token endpoint.
#[derive(Clone, Debug)]
pub struct TokenAnswer {
    /// The access token for the resource.
    pub access_token: AccessToken,
    /// The new refresh token. After a sign-in, the answer contains a refresh token only if the scope includes
    /// `offline_access`.
    pub refresh_token: Option<RefreshToken>,
    /// The lifetime of the access token.
    pub expires_in: Duration,
    /// The granted scope.
    pub scope: String,
    /// The refresh token's lifetime, if the answer names the lifetime. The real Entra names the lifetime only for a
    /// redirect URI of the platform `spa`. The world names the lifetime only with `Distortion::DayToken`.
    pub refresh_expires_in: Option<Duration>,
    /// The claims of an ID token, if the scope requests `openid`. The server adds the issuer and the signature.
    pub id_claims: Option<Value>,
}

/// A rejection by Entra, as data for programs and as a message for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntraRefusal {
    /// The parts of the rejection that a program reads.
    pub refusal: Box<OAuthError>,
    /// The message for people, without the AADSTS prefix.
    pub text: Cow<'static, str>,
}

impl fmt::Display for EntraRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.refusal.trace.code {
            Some(code) => write!(f, "{} {code}", self.refusal.error),
            None => f.write_str(&self.refusal.error),
        }
    }
}

/// What Entra needs to issue new tokens after a redemption or a sign-in.
pub(super) struct Issue<'a> {
    pub(super) owner: &'a Owner,
    pub(super) mfa: bool,
    pub(super) parent: Option<usize>,
    /// The requested scope. With `openid`, the answer has an ID token.
    pub(super) asked: &'a str,
    /// The nonce of the ID token.
    pub(super) nonce: Option<&'a str>,
}

/// The lifetime of a refresh token for a redirect URI of the platform `spa` (docs/azure-facts.md F108).
const A_DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Scopes that belong to no resource.
const OPENID_SCOPES: [&str; 4] = ["offline_access", "openid", "profile", "email"];

/// The scope that is granted if the request names no resource.
const DEFAULT_SCOPE: &str = "https://api.partnercenter.microsoft.com/user_impersonation";

/// The resources that every tenant of the world has.
pub(super) const RESOURCES: [&str; 3] =
    ["https://api.partnercenter.microsoft.com", "https://graph.microsoft.com", "https://vault.azure.net"];

impl World {
    /// Redeems a refresh token.
    ///
    /// # Errors
    /// Returns an injected fault, or Entra's rejection.
    pub fn redeem(
        &self,
        actor: &str,
        request: &RedeemRequest<'_>,
    ) -> Result<TokenAnswer, Trouble<EntraRefusal>> {
        self.call(
            |inner| {
                let grant = inner.grants.find(request.token);
                About {
                    peer: Peer::Entra,
                    operation: Operation::Redeem,
                    actor,
                    subject: grant.map_or_else(|| "unknown".to_owned(), |grant| grant.owner.user.clone()),
                    grant: grant.map(|grant| grant.id),
                }
            },
            |inner, bent| {
                let answer = inner.redeem(request, bent);
                answer.map_err(|denial| inner.explain(denial, request.correlation_id))
            },
        )
    }

    /// Issues an access token for an app itself, not for a user.
    ///
    /// # Errors
    /// Returns an injected fault, or Entra's rejection.
    pub fn identity_token(
        &self,
        actor: &str,
        request: &IdentityRequest<'_>,
    ) -> Result<TokenAnswer, Trouble<EntraRefusal>> {
        self.call(
            |_| About {
                peer: Peer::Entra,
                operation: Operation::Identity,
                actor,
                subject: request.client_id.to_owned(),
                grant: None,
            },
            |inner, _| {
                let answer = inner.identify(request);
                answer.map_err(|denial| inner.explain(denial, request.correlation_id))
            },
        )
    }

    /// Whether the vault accepts an access token. The token must have the right audience and must not be expired.
    pub fn opens_vault(&self, access_token: &str) -> bool {
        let inner = self.lock();
        inner.access(access_token).is_some_and(|record| record.audience == "https://vault.azure.net")
    }

    /// Returns the AADSTS code with which Entra would now reject this app and secret in a tenant. Returns `None` if
    /// Entra would accept them.
    pub fn refusal_of_app(&self, tenant: &str, client_id: &str, secret: &str) -> Option<u32> {
        let inner = self.lock();
        let Some(tenant) = inner.directory.tenant(tenant) else { return Some(90002) };
        let judged = inner.settled(tenant, client_id, secret);
        judged.err().map(|denial| denial.code)
    }

    /// Returns the refresh token of a new sign-in by this user. The sign-in uses MFA if `User::mfa` is set. Returns
    /// `None` if the world has no such user or app.
    pub fn sign_in(&self, user: &str, client_id: &str) -> Option<RefreshToken> {
        let mut inner = self.lock();
        let user = inner.directory.users.get(user)?.clone();
        let app = inner.directory.apps.get(&client_id.to_ascii_lowercase())?.client_id.clone();
        let owner = Owner { tenant: user.tenant, user: user.oid, app };
        Some(inner.issue(owner, user.mfa, None))
    }

    /// Returns the rejection with this code. The HTTPS server uses this function for requests that the server itself
    /// rejects.
    pub fn entra_refusal(&self, code: u32, correlation_id: Option<&str>) -> EntraRefusal {
        self.lock().explain(Refuse(code), correlation_id)
    }
}

impl Inner {
    fn redeem(
        &mut self,
        request: &RedeemRequest<'_>,
        bent: Option<Distortion>,
    ) -> Result<TokenAnswer, Denial> {
        let now = self.time.now();
        let tenant = self.directory.tenant(request.tenant).ok_or(Refuse(90002))?.clone();
        // Entra checks the form of the refresh token before Entra checks the client. Public recordings of Entra's
        // answers show this order (docs/azure-facts.md F123).
        if !is_well_formed(request.token) {
            return Err(Refuse(9_002_313).into());
        }
        self.prove(&tenant, request.client_id, request.proof)?;
        let grant = self.grants.find(request.token).ok_or(Refuse(70000))?.clone();
        if !grant.owner.app.eq_ignore_ascii_case(request.client_id) {
            return Err(Refuse(700_007).into());
        }
        if self.grants.is_loop(&grant.owner, now) && !self.directory.loops_allowed {
            return Err(Refuse(50196).into());
        }
        if self.directory.strict && grant.spent {
            self.grants.kill_family(grant.sign_in);
        }
        self.judge(&grant)?;
        admit(&tenant, &grant)?;
        let scope = granted(request.scope)?;
        self.grants.records[grant.id].spent = true;
        let (parent, asked) = (Some(grant.id), request.scope);
        let issue = Issue { owner: &grant.owner, mfa: grant.mfa, parent, asked, nonce: None };
        let mut answer = self.answer(&tenant, &issue, &scope, bent);
        if bent == Some(Distortion::SameRefreshToken) {
            answer.refresh_token = Some(RefreshToken::new(request.token));
        }
        Ok(answer)
    }

    pub(super) fn answer(
        &mut self,
        tenant: &Tenant,
        issue: &Issue<'_>,
        scope: &str,
        bent: Option<Distortion>,
    ) -> TokenAnswer {
        let own = Owner { tenant: tenant.id.clone(), ..issue.owner.clone() };
        let stranger = match bent {
            Some(Distortion::OtherTenant) => {
                Some(Owner { tenant: self.fresh_id().to_string(), ..own.clone() })
            }
            Some(Distortion::OtherApp) => Some(Owner { app: self.fresh_id().to_string(), ..own.clone() }),
            Some(Distortion::OtherUser) => Some(Owner { user: self.fresh_id().to_string(), ..own.clone() }),
            _ => None,
        };
        // A distorted answer can have a refresh token of another tenant, app or user. This refresh token has no parent,
        // so a test notices if Perennial saves the refresh token by mistake.
        let refresh_token = match &stranger {
            Some(stranger) => self.issue(stranger.clone(), issue.mfa, None),
            None => self.issue(issue.owner.clone(), issue.mfa, issue.parent),
        };
        let bearer = stranger.unwrap_or(own);
        let (access_token, expires_in) = self.access_token(&Bearer {
            tenant: &bearer.tenant,
            app: &bearer.app,
            user: Some((&bearer.user, issue.mfa)),
            scope,
            opaque: matches!(bent, Some(Distortion::OpaqueAccessToken | Distortion::NoIdentity)),
        });
        let id_claims = self.id_claims(issue.asked, &bearer, issue.nonce);
        let id_claims = id_claims.filter(|_| bent != Some(Distortion::NoIdentity));
        let refresh_token = match bent {
            Some(Distortion::NoRefreshToken) => None,
            Some(Distortion::EmptyRefreshToken) => Some(RefreshToken::new("")),
            _ => Some(refresh_token),
        };
        let refresh_expires_in = (bent == Some(Distortion::DayToken)).then_some(A_DAY);
        let scope = scope.to_owned();
        TokenAnswer { access_token, refresh_token, expires_in, scope, refresh_expires_in, id_claims }
    }

    fn identify(&mut self, request: &IdentityRequest<'_>) -> Result<TokenAnswer, Denial> {
        let tenant = self.directory.tenant(request.tenant).ok_or(Refuse(90002))?.clone();
        self.prove(&tenant, request.client_id, request.proof)?;
        let scope = granted(request.scope)?;
        let bearer =
            Bearer { tenant: &tenant.id, app: request.client_id, user: None, scope: &scope, opaque: false };
        let (access_token, expires_in) = self.access_token(&bearer);
        let (refresh_token, refresh_expires_in, id_claims) = (None, None, None);
        Ok(TokenAnswer { access_token, refresh_token, expires_in, scope, refresh_expires_in, id_claims })
    }

    pub(super) fn explain(
        &mut self,
        denial: impl Into<Denial>,
        correlation_id: Option<&str>,
    ) -> EntraRefusal {
        let denial = denial.into();
        let code = denial.code;
        let (status, error, suberror, usual) = codes::meaning(code);
        let refusal = Box::new(OAuthError {
            status,
            error: error.to_owned(),
            suberror: suberror.map(str::to_owned),
            trace: Trace {
                code: Some(code),
                trace_id: Some(self.fresh_id().to_string()),
                correlation_id: Some(
                    correlation_id.map_or_else(|| self.fresh_id().to_string(), str::to_owned),
                ),
            },
            ..OAuthError::default()
        });
        EntraRefusal { refusal, text: denial.text(usual) }
    }
}

/// Checks whether this tenant accepts redemptions for the grant's user.
fn admit(tenant: &Tenant, grant: &GrantRecord) -> Result<(), Refuse> {
    let at_home = tenant.id == grant.owner.tenant;
    let as_partner = tenant.partner.as_ref() == Some(&grant.owner.tenant);
    if at_home || as_partner { Ok(()) } else { Err(Refuse(50034)) }
}

/// Returns the granted scope: the first requested scope that belongs to a resource. The real Entra grants all
/// requested scopes of the first resource.
pub(super) fn granted(asked: &str) -> Result<String, Refuse> {
    let scope = asked.split_whitespace().find(|scope| !OPENID_SCOPES.contains(scope));
    let scope = scope.unwrap_or(DEFAULT_SCOPE);
    let resource = audience(scope);
    let known = RESOURCES.contains(&resource) || resource.starts_with("api://");
    if !known {
        return Err(if resource.contains("://") { Refuse(500_011) } else { Refuse(70011) });
    }
    Ok(scope.to_owned())
}
