//! Exchanges an authorization code for tokens. The checks have the same order as at Entra.

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::TimeDelta;

use super::{AuthorizeRequest, about};
use crate::sandbox::world::entra::codes::{Denial, Refuse};
use crate::sandbox::world::entra::{Issue, granted};
use crate::sandbox::world::fault::Distortion;
use crate::sandbox::world::{
    AppProof, EntraRefusal, Inner, Operation, Platform, TokenAnswer, Trouble, World,
};

/// The approximate lifetime of a code (docs/azure-facts.md F132).
const CODE_LIVES: TimeDelta = TimeDelta::minutes(10);

/// A request to exchange a code.
#[derive(Clone, Copy)]
pub struct CodeRequest<'a> {
    /// The tenant in the URL: a GUID or a domain.
    pub tenant: &'a str,
    /// The client id of the app.
    pub client_id: &'a str,
    /// The app's credential.
    pub proof: AppProof<'a>,
    /// The authorization code.
    pub code: &'a str,
    /// The same redirect URI as in the authorization request.
    pub redirect_uri: &'a str,
    /// The PKCE verifier.
    pub code_verifier: &'a str,
    /// The requested scopes, separated by spaces. An empty text means the scope of the authorization request.
    pub scope: &'a str,
    /// The caller's own id for the request.
    pub correlation_id: Option<&'a str>,
}

impl World {
    /// Exchanges a code for tokens.
    ///
    /// # Errors
    /// Returns an injected fault, or Entra's rejection.
    pub fn exchange_code(
        &self,
        actor: &str,
        request: &CodeRequest<'_>,
    ) -> Result<TokenAnswer, Trouble<EntraRefusal>> {
        self.call(
            |inner| {
                let code = inner.sign_ins.codes.get(request.code);
                about(actor, Operation::SignIn, code.map_or("unknown", |code| &code.owner.user))
            },
            |inner, bent| {
                let answer = inner.exchange_code(request, bent);
                answer.map_err(|denial| inner.explain(denial, request.correlation_id))
            },
        )
    }
}

impl Inner {
    fn exchange_code(
        &mut self,
        request: &CodeRequest<'_>,
        bent: Option<Distortion>,
    ) -> Result<TokenAnswer, Denial> {
        let now = self.time.now();
        let tenant = self.directory.tenant(request.tenant).ok_or(Refuse(90002))?.clone();
        // Entra first checks the form of the code, and then the client (docs/azure-facts.md F123).
        if !request.code.starts_with("0.A") {
            return Err(Refuse(9_002_313).into());
        }
        let code = self.sign_ins.codes.get(request.code).ok_or(Refuse(70000))?.clone();
        match code.platform {
            // For the platform `spa`, Entra accepts only requests with an `Origin` header. Scripts in a browser send
            // this header. A `CodeRequest` has no headers, so the world always rejects the exchange.
            Platform::Spa => return Err(Refuse(9_002_327).into()),
            Platform::PublicClient if !request.proof.is_none() => return Err(Refuse(700_025).into()),
            Platform::PublicClient => {}
            Platform::Web => self.prove(&tenant, request.client_id, request.proof)?,
        }
        if code.owner.tenant != tenant.id {
            return Err(Refuse(700_005).into());
        }
        if !code.owner.app.eq_ignore_ascii_case(request.client_id) {
            return Err(Refuse(700_007).into());
        }
        if code.spent {
            return Err(Refuse(54005).into());
        }
        if now >= code.issued_at + CODE_LIVES {
            return Err(Refuse(70008).into());
        }
        if code.request.redirect_uri != request.redirect_uri {
            return Err(Refuse(50011).into());
        }
        verify(&code.request, request.code_verifier)?;
        self.may_sign_in(&tenant, &code.owner.user)?;
        let asked = if request.scope.is_empty() { &code.request.scope } else { request.scope };
        let scope = granted(asked)?;
        if let Some(code) = self.sign_ins.codes.get_mut(request.code) {
            code.spent = true;
        }
        let nonce = Some(code.request.nonce.as_str()).filter(|nonce| !nonce.is_empty());
        let issue = Issue { owner: &code.owner, mfa: code.mfa, parent: None, asked, nonce };
        let answer = self.answer(&tenant, &issue, &scope, bent);
        Ok(tailored(answer, asked))
    }
}

/// Removes the refresh token from the answer if the scope does not contain `offline_access`.
pub(in crate::sandbox::world) fn tailored(answer: TokenAnswer, asked: &str) -> TokenAnswer {
    let lasting = asked.split_whitespace().any(|word| word == "offline_access");
    TokenAnswer { refresh_token: answer.refresh_token.filter(|_| lasting), ..answer }
}

/// Checks the PKCE verifier (RFC 7636, 4.6). If the authorization request had a challenge, the verifier is required.
fn verify(request: &AuthorizeRequest, verifier: &str) -> Result<(), Refuse> {
    if request.code_challenge.is_empty() && verifier.is_empty() {
        return Ok(());
    }
    if !(43..=128).contains(&verifier.len()) {
        return Err(Refuse(501_491));
    }
    let hashed = URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, verifier.as_bytes()));
    let proven = request.code_challenge_method == "S256" && hashed == request.code_challenge;
    if proven { Ok(()) } else { Err(Refuse(501_481)) }
}
