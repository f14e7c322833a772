//! Redeems a stored token, for commands that need an access token or a test of the stored token. This module does not
//! save the new refresh token, since Entra leaves the stored token valid.
//!
//! This module owns the steps of the redemption and the action for each failure. It writes nothing to the vault.
//!
//! Invariant: this module redeems no `strict` token, because the issuer revokes a redeemed `strict` token.

use secrecy::ExposeSecret as _;
use uuid::Uuid;

use super::azure_clients::AzureRotator;
use super::explain;
use crate::azure::echoes::echoes;
use crate::login;
use crate::login::{StepFailure, judge};
use crate::ports::Resource as _;
use crate::ports::Vault as _;
use crate::ports::answer::Whose;
use crate::ports::client::{ClientProof, CredentialVerdict};
use crate::ports::diagnosis::Subject;
use crate::ports::failure::{Failure, Kind, Remedy, Trace};
use crate::ports::{Acceptance, IssuerError, RefreshResponse, SecretRole, answer};
use crate::process::clock::Timestamp;
use crate::process::text;
use crate::rotation::pace::{Limited, Redeemer};
use crate::rotation::rotate::AppCredential;
use crate::status::condition::action;
use crate::token::RefreshToken;
use crate::token::managed::{ManagedToken, Verify};
use crate::token::version::Stored;

/// A token that Entra has redeemed. Entra's answer is for the right tenant, app and user.
pub(super) struct ProvenToken {
    pub(super) redeemed: RefreshResponse,
    pub(super) facts: TokenFacts,
    pub(super) whose: Whose,
    pub(super) client_id: String,
    pub(super) stored: Stored,
    pub(super) proved_at: Timestamp,
}

/// The facts about an access token that a command may print. A fact is `None` if it is malformed, or if it contains a
/// secret that was sent or received.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct TokenFacts {
    pub(super) tenant_id: Option<String>,
    pub(super) user_oid: Option<String>,
    pub(super) scopes: Option<String>,
    pub(super) mfa: Option<bool>,
}

impl TokenFacts {
    fn of(redeemed: &RefreshResponse, whose: &Whose, sent: [&str; 2]) -> Self {
        let claims = redeemed.access_token.claims().unwrap_or_default();
        let secrets = [sent[0], sent[1], redeemed.refresh_token.expose(), redeemed.access_token.expose()];
        let harmless = |text: &String| !echoes(&[text], &secrets);
        let scopes = claims.scp.as_deref().or(redeemed.scope.as_deref());
        Self {
            tenant_id: whose.tenant_id.clone().filter(harmless),
            user_oid: whose.user_oid.clone().filter(harmless),
            scopes: scopes.and_then(text::scopes).filter(harmless),
            mfa: claims.mfa(),
        }
    }
}

/// Reads the stored token and the app's credential. Redeems the token and checks that the answer is for the right
/// tenant, app and user.
pub(super) async fn prove(rotator: &AzureRotator, id: Uuid) -> Result<ProvenToken, StepFailure> {
    may_be_redeemed(&rotator.grant)?;
    let stored = read(rotator, id).await?;
    let credential = credential(rotator, id).await?;
    redeem(rotator, stored, &credential, id).await
}

/// Rejects a `strict` token. The issuer would revoke the redeemed token, and this module does not save the new token.
pub(super) fn may_be_redeemed(grant: &ManagedToken) -> Result<(), StepFailure> {
    if grant.strict {
        let summary = format!(
            "{} is strict: its issuer revokes each token that is redeemed, and this command does not save the new token",
            grant.name
        );
        let action = format!("run `perennial rotate {}` instead: it saves the new token", grant.name);
        return Err(StepFailure::new(Remedy::Operator, summary, action));
    }
    Ok(())
}

/// Reads the newest version of the token's vault secret.
async fn read(rotator: &AzureRotator, id: Uuid) -> Result<Stored, StepFailure> {
    let at = &rotator.grant.secret;
    let stored = rotator.vault.newest(at, id).await;
    let token = rotator.grant.name.as_str();
    let stored = stored.map_err(|error| explain::vault(&error, SecretRole::Own, at, token))?;
    if let Some(vault_time) = stored.read_at {
        rotator.clock.observe(vault_time);
    }
    Ok(stored)
}

/// Reads the app's id and credential.
pub(super) async fn credential(rotator: &AzureRotator, id: Uuid) -> Result<AppCredential, StepFailure> {
    let read = rotator.read_credential(id).await;
    read.map(|(credential, _)| credential).map_err(|failure| unusable_credential(rotator, failure))
}

fn unusable_credential(rotator: &AzureRotator, failure: Failure) -> StepFailure {
    let (name, key) = (&rotator.grant.name, rotator.grant.app.credential.key());
    let action = failure.action.map(String::from);
    let action =
        action.unwrap_or_else(|| format!("make client_id and {key} of {name} readable by this process"));
    StepFailure::new(failure.remedy, failure.summary, action)
}

/// The answer to a redemption, and the client secret or assertion with which the request authenticated the app.
type Exchanged = (Result<RefreshResponse, IssuerError>, ClientProof);

/// Redeems the token with this credential. If Entra rejects the credential but accepts an older version of the
/// credential, redeems the token with that version.
async fn exchange(
    rotator: &AzureRotator,
    token: &RefreshToken,
    credential: &AppCredential,
    id: Uuid,
) -> Result<Exchanged, Failure> {
    let first = exchange_once(rotator, token, credential, id).await;
    let is_rejected = match &first {
        Ok((answer, _)) => CredentialVerdict::of(answer) == CredentialVerdict::Rejected,
        Err(failure) => failure.is_of_certificate(),
    };
    if is_rejected
        && let Some(version) = &credential.version
        && let Some(older) = rotator.older_credential(&credential.client_id, &version.id, id).await.found
    {
        return exchange_once(rotator, token, &older, id).await;
    }
    first
}

async fn exchange_once(
    rotator: &AzureRotator,
    token: &RefreshToken,
    credential: &AppCredential,
    id: Uuid,
) -> Result<Exchanged, Failure> {
    let proof = rotator.client_proof(credential, &rotator.grant.tenant_id, id).await?;
    Ok((rotator.exchange(token, &credential.client_id, &proof, id).await, proof))
}

pub(super) async fn redeem(
    rotator: &AzureRotator,
    stored: Stored,
    credential: &AppCredential,
    id: Uuid,
) -> Result<ProvenToken, StepFailure> {
    let grant = &rotator.grant;
    let token = stored.refresh_token();
    if !token.is_plausible() {
        let summary =
            "the stored value is not a refresh token: it is empty, has more than one word, or is quoted";
        return Err(StepFailure::new(Remedy::Operator, summary, format!("`perennial login {}`", grant.name)));
    }
    let whom = Redeemer::of(grant, Some(&stored.version), None);
    let mut permit = rotator.turns.take(Limited::Redemptions(whom), false).await;
    if let Some(permit) = &mut permit {
        permit.begin();
    }
    let exchanged = exchange(rotator, &token, credential, id).await;
    let (answer, proof) = exchanged.map_err(|failure| unusable_credential(rotator, failure))?;
    let redeemed = answer.map_err(|error| {
        let trace = Trace::default();
        let subject = Subject::of(grant, &credential.client_id, &trace, rotator.clock.now());
        let explained = login::explain::of(&error, &subject);
        // Entra may not know a new app credential yet. If Entra rejects such a credential, `refused` makes the remedy a
        // retry.
        StepFailure::new(
            rotator.refused(&error, credential, None).remedy,
            explained.summary,
            explained.action,
        )
    })?;
    let whose = answer::check(grant, &credential.client_id, &redeemed).map_err(|failure| {
        let action = format!(
            "compare tenant_id, client_id and user_oid of {0} with the account that signed in; if the wrong account signed in, sign in again: `perennial login {0} --replace-user`",
            grant.name
        );
        StepFailure::new(failure.remedy, failure.summary, action)
    })?;
    if whose.unverified.is_any() {
        tracing::warn!(event = "identity_unverified", token = %grant.name, what = %whose.unverified,
            "Entra's answer does not name the token's tenant, app or user, so the configuration is not verified");
    }
    Ok(ProvenToken {
        facts: TokenFacts::of(&redeemed, &whose, [stored.value.expose_secret(), proof.expose()]),
        whose,
        redeemed,
        client_id: credential.client_id.clone(),
        stored,
        proved_at: rotator.clock.now(),
    })
}

/// Asks Partner Center whether it accepts the access token, unless `verify = "none"`. Returns Partner Center's
/// verdict, even a rejection. A missing answer is a transient failure.
pub(super) async fn ask(
    rotator: &AzureRotator,
    proof: &ProvenToken,
    id: Uuid,
) -> Result<Option<Acceptance>, StepFailure> {
    if rotator.grant.verify == Verify::Nothing {
        return Ok(None);
    }
    let said =
        rotator.resource.accepts(&proof.redeemed.access_token, id).await.map_err(|error| {
            StepFailure::new(Remedy::Retry, error.to_string(), "try again in a few minutes")
        })?;
    Ok(Some(said))
}

/// Returns a failure if Partner Center's answer means that the token cannot be used. If MFA is missing, the user must
/// sign in with MFA. If Partner Center rejects the token, an operator must find the reason. If Partner Center accepts
/// the token but names a wrong tenant, a user of the right tenant must sign in. The daemon uses the same rules, except
/// that the daemon does not check the tenant in this answer.
pub(super) fn objection(grant: &ManagedToken, said: &Acceptance) -> Option<StepFailure> {
    let refused = judge::judge_acceptance(grant, said).err()?;
    if said.objection() == Some(Kind::PartnerCenterRefused) {
        let action = action::partner_center_refused(grant, said.is_audience);
        return Some(StepFailure::new(Remedy::Operator, refused.summary, action));
    }
    Some(refused)
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::time::Duration;

    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use serde_json::{Value, json};

    use crate::token::{AccessToken, RefreshToken};

    const ID: &str = "0ed4b3a5-1b4c-4a5e-8a6f-0123456789ab";
    const SENT: &str = "0.AXoA-sent_token.of-some-length";
    /// Two app secrets: one looks like a word, the other like an id.
    const LIKE_A_WORD: &str = "AppSecretOfLettersOnly";
    const LIKE_AN_ID: &str = "c0ffee00-cafe-4bad-8bad-0ddba11feed5";
    const SUCCESSOR: &str = "0.AXoA-successor.of-some-length";

    fn facts(claims: &Value, scope: Option<&str>, app_secret: &str) -> TokenFacts {
        let payload = URL_SAFE_NO_PAD.encode(claims.to_string());
        let redeemed = RefreshResponse {
            access_token: AccessToken::new(format!("h.{payload}.s")),
            refresh_token: RefreshToken::new(SUCCESSOR),
            expires_in: Duration::ZERO,
            scope: scope.map(str::to_owned),
            refresh_expires_in: None,
            id_claims: None,
        };
        let named = |claim: &str| answer::object_id(claims[claim].as_str());
        let whose = Whose { tenant_id: named("tid"), user_oid: named("oid"), ..Whose::default() };
        TokenFacts::of(&redeemed, &whose, [SENT, app_secret])
    }

    #[test]
    fn valid_claims_are_shown() {
        let claims =
            json!({"tid": ID, "oid": ID.to_uppercase(), "scp": "user_impersonation", "amr": ["mfa"]});

        let id = Some(ID.to_owned());
        let scopes = Some("user_impersonation".to_owned());
        let shown = TokenFacts { tenant_id: id.clone(), user_oid: id, scopes, mfa: Some(true) };
        assert_eq!(facts(&claims, Some("other"), LIKE_A_WORD), shown);
        assert_eq!(facts(&json!({}), Some("a/b openid"), "x").scopes.as_deref(), Some("a/b openid"));
    }

    #[test]
    fn hostile_claims_are_not_shown() {
        let long = "x".repeat(5000);
        for text in [
            SENT,
            &SENT[4..28],
            LIKE_A_WORD,
            &LIKE_A_WORD.to_lowercase(),
            SUCCESSOR,
            "\u{1b}[2J",
            "a\u{9b}31m",
            "\u{202e}abc",
            "a<b>",
            &long,
        ] {
            let scopes = format!("user_impersonation {text}");
            let claims = json!({"tid": text, "oid": text, "scp": scopes});
            assert_eq!(facts(&claims, None, LIKE_A_WORD), TokenFacts::default(), "{text:?}");
            assert_eq!(facts(&json!({}), Some(&scopes), LIKE_A_WORD), TokenFacts::default(), "{text:?}");
        }
        let claims = json!({"tid": LIKE_AN_ID, "oid": LIKE_AN_ID, "scp": LIKE_AN_ID});
        assert_eq!(facts(&claims, None, LIKE_AN_ID), TokenFacts::default());
    }
}
