//! One redemption whose successor is not kept, for the commands that only want to know or to use its
//! access token: Entra leaves the stored token as good as it was.
//!
//! Owns its steps, each with the cure of what stands in its way. Writes nothing.
//!
//! Invariant: a token of an issuer that kills spent ones is not redeemed here.

use uuid::Uuid;

use super::cure;
use super::shipped::ShippedRotator;
use crate::answer;
use crate::failure::Remedy;
use crate::login;
use crate::login::Refused;
use crate::login::cure::Subject;
use crate::login::cure::Way;
use crate::login::judge;
use crate::ports::Acceptance;
use crate::ports::Asked;
use crate::ports::Issuer as _;
use crate::ports::Redeemed;
use crate::ports::Redemption;
use crate::ports::Resource as _;
use crate::ports::Vault as _;
use crate::rotate::Credential;
use crate::token::Claims;
use crate::token::Grant;
use crate::token::SecretAddress;
use crate::token::Setting;
use crate::token::Source;
use crate::token::Timestamp;
use crate::token::Verify;
use crate::version::Stored;

/// An answer for the right tenant, app and user.
pub(super) struct Proof {
    pub(super) redeemed: Redeemed,
    pub(super) claims: Claims,
    pub(super) client_id: String,
    pub(super) stored: Stored,
    pub(super) proved_at: Timestamp,
}

/// Reads the stored token and the app's credential, redeems, and checks whose the answer is.
pub(super) async fn prove(rotator: &ShippedRotator, id: Uuid) -> Result<Proof, Refused> {
    may_be_redeemed(&rotator.grant)?;
    let stored = read(rotator, id).await?;
    let credential = credential(rotator, id).await?;
    redeem(rotator, stored, &credential, id).await
}

/// Refuses a token whose every redemption has to be saved.
pub(super) fn may_be_redeemed(grant: &Grant) -> Result<(), Refused> {
    if grant.strict {
        let why = format!(
            "{} is strict: its issuer kills a spent token, so that every successor has to be saved, and this command saves none",
            grant.name
        );
        let cure = format!("perennial rotate {}, which saves what it redeems", grant.name);
        return Err(Refused::new(Remedy::Operator, why, cure));
    }
    Ok(())
}

/// Reads the newest version.
async fn read(rotator: &ShippedRotator, id: Uuid) -> Result<Stored, Refused> {
    let at = &rotator.grant.secret;
    let stored = rotator.vault.newest(at, id).await;
    let token = rotator.grant.name.as_str();
    let stored = stored.map_err(|error| cure::vault(&error, Asked::Own, at, token))?;
    if let Some(vault_time) = stored.read_at {
        rotator.clock.observe(vault_time);
    }
    Ok(stored)
}

/// Reads the app's id and secret.
pub(super) async fn credential(rotator: &ShippedRotator, id: Uuid) -> Result<Credential, Refused> {
    let failure = match rotator.read_credential(id).await {
        Ok((credential, _)) => return Ok(credential),
        Err(failure) => failure,
    };
    let grant = &rotator.grant;
    // Asked once more for the vault's own word: the cure of a missing role is not that of a firewall.
    for address in sources(grant) {
        if let Err(error) = rotator.vault.newest(address, id).await {
            return Err(cure::vault(&error, Asked::Source, address, grant.name.as_str()));
        }
    }
    let cure = format!("see that client_id and client_secret of {} can be read", grant.name);
    Err(Refused::new(failure.remedy, failure.summary, cure))
}

fn sources(grant: &Grant) -> impl Iterator<Item = &SecretAddress> {
    let client_id = match &grant.client_id {
        Setting::From(source) => Some(source),
        Setting::Plain(_) => None,
    };
    client_id.into_iter().chain([&grant.client_secret]).filter_map(|source| match source {
        Source::Secret(address) => Some(address),
        Source::File(_) | Source::Env(_) | Source::Credential(_) => None,
    })
}

/// Redeems what is stored.
pub(super) async fn redeem(
    rotator: &ShippedRotator,
    stored: Stored,
    credential: &Credential,
    id: Uuid,
) -> Result<Proof, Refused> {
    let grant = &rotator.grant;
    let token = stored.refresh_token();
    let again = || format!("perennial login {}", grant.name);
    if !token.is_plausible() {
        let why = "the stored value is not a refresh token: empty, more than one word, or quoted";
        return Err(Refused::new(Remedy::Operator, why, again()));
    }
    let what = Redemption {
        tenant: &grant.tenant_id,
        client_id: &credential.client_id,
        client_secret: &credential.secret,
        scope: &grant.scope,
        token: &token,
        rotation_id: id,
    };
    let redeemed = rotator.issuer.redeem(&what).await.map_err(|error| {
        let subject = Subject {
            name: grant.name.as_str(),
            tenant: &grant.tenant_id,
            client_id: &credential.client_id,
            authority: rotator.issuer.authority(),
            way: Way::Stored,
        };
        let explained = login::cure::of(&error, &subject);
        // Who can help is the daemon's to say: the same refusal, the same exit code.
        Refused::new(rotator.refused(&error, credential).remedy, explained.why, explained.cure)
    })?;
    answer::check(grant, &credential.client_id, &redeemed).map_err(|failure| {
        let cure = format!(
            "compare tenant_id, client_id and user_oid of {} with who signed in; where that was the wrong account: {}",
            grant.name,
            again()
        );
        Refused::new(failure.remedy, failure.summary, cure)
    })?;
    Ok(Proof {
        claims: redeemed.access_token.claims().unwrap_or_default(),
        redeemed,
        client_id: credential.client_id.clone(),
        stored,
        proved_at: rotator.clock.now(),
    })
}

/// Asks Partner Center, where it is to be asked. Its no is a refusal, its silence a passing one.
pub(super) async fn ask(
    rotator: &ShippedRotator,
    proof: &Proof,
    id: Uuid,
) -> Result<Option<Acceptance>, Refused> {
    if rotator.grant.verify == Verify::Nothing {
        return Ok(None);
    }
    let said = rotator.resource.accepts(&proof.redeemed.access_token, id).await.map_err(|error| {
        Refused::new(Remedy::Retry { after: None }, error.to_string(), "try again in some minutes")
    })?;
    Ok(Some(said))
}

/// What speaks against a verdict: another tenant, no second factor, or a plain no. By whom it can be mended,
/// as the daemon says it.
pub(super) fn objection(grant: &Grant, said: &Acceptance) -> Option<Refused> {
    let refused = judge::judge_acceptance(grant, said).err()?;
    let remedy = if said.mfa == Some(false) { Remedy::Login } else { Remedy::Operator };
    Some(Refused::new(remedy, refused.why, refused.cure))
}
