//! `verify`: redeems a token, asks Partner Center, and shows the token's identity. The command writes nothing.

use clap::Args;
use serde::Serialize;

use super::azure_clients::{AzureClients, AzureRotator};
use super::rotate::select;
use super::{ExitCode, Global, Stop, load, out, proof};
use crate::login::StepFailure;
use crate::ports::failure::Remedy;
use crate::process::clock::{Clock, rfc3339};
use crate::token::rotation_id;
use crate::token::version::VersionId;

/// Examples for the help text.
pub const EXAMPLES: &str = "\
Examples:
  perennial verify                   # all tokens
  perennial verify partner-center
  perennial verify partner-center --json

Perennial redeems each token once, asks Partner Center whether it accepts the
access token, and stores nothing. The limits that `perennial access-token
--help` names also apply to this command.";

/// What `verify` takes.
#[derive(Clone, Debug, Args)]
pub struct VerifyArgs {
    /// The tokens, by name [default: all]
    #[arg(value_name = "NAME")]
    pub names: Vec<String>,
    /// Write the result as JSON
    #[arg(long)]
    pub json: bool,
}

/// The result for one token. Unknown values are null.
#[derive(Debug, Default, Serialize)]
struct Verified {
    name: String,
    good: bool,
    tenant_id: Option<String>,
    company: Option<String>,
    client_id: Option<String>,
    user_oid: Option<String>,
    /// The facts that Entra's answer does not confirm: the tenant, the app or the user.
    unverified: Option<String>,
    scopes: Option<String>,
    /// Whether the sign-in used MFA, according to the claims of the access token. If these claims do not mention MFA,
    /// Partner Center's answer decides.
    mfa: Option<bool>,
    partner_center_accepts: Option<bool>,
    version: Option<VersionId>,
    proved_at: Option<String>,
    /// The problem. Null if there is none.
    summary: Option<String>,
    /// What to do about the problem.
    action: Option<String>,
    /// Who must act.
    remedy: Option<Remedy>,
    #[serde(skip)]
    code: Option<ExitCode>,
}

/// Redeems each token and asks Partner Center, one token after the other.
///
/// # Errors
/// Returns an error for a wrong configuration or an unknown name. A token's problems are in the result and in the exit
/// code.
pub async fn run(args: VerifyArgs, global: &Global) -> Result<ExitCode, Stop> {
    let config = load(global)?;
    let grants = select(&config, &args.names)?;
    let shipped = AzureClients::for_person(&config, Clock::host()).await?;
    let mut all = Vec::with_capacity(grants.len());
    for grant in grants {
        all.push(verify(&shipped.rotator(grant, "verify")).await);
    }
    report(&all, args.json).map_err(|error| Stop::Failed(error.into()))?;
    Ok(all.iter().filter_map(|one| one.code).fold(ExitCode::Done, ExitCode::gravest))
}

async fn verify(rotator: &AzureRotator) -> Verified {
    let mut found = Verified { name: rotator.grant.name.to_string(), ..Verified::default() };
    match look(rotator, &mut found).await {
        Ok(()) => found.good = true,
        Err(refused) => {
            let refused = refused.typed(&rotator.grant.deployment);
            found.code = Some(refused.remedy.into());
            found.summary = Some(refused.summary);
            found.remedy = Some(refused.remedy);
            found.action = Some(refused.action);
        }
    }
    found
}

async fn look(rotator: &AzureRotator, found: &mut Verified) -> Result<(), StepFailure> {
    let id = rotation_id();
    let proof = proof::prove(rotator, id).await?;
    found.tenant_id.clone_from(&proof.facts.tenant_id);
    found.client_id = Some(proof.client_id.clone());
    found.user_oid.clone_from(&proof.facts.user_oid);
    found.scopes.clone_from(&proof.facts.scopes);
    found.mfa = proof.facts.mfa;
    found.unverified = Some(proof.whose.unverified).filter(|what| what.is_any()).map(|what| what.to_string());
    found.version = Some(proof.stored.version.id.clone());
    found.proved_at = Some(rfc3339(proof.proved_at));
    let Some(said) = proof::ask(rotator, &proof, id).await? else { return Ok(()) };
    found.partner_center_accepts = Some(said.accepted);
    found.company.clone_from(&said.company);
    found.mfa = found.mfa.or(said.mfa);
    proof::objection(&rotator.grant, &said).map_or(Ok(()), Err)
}

fn report(all: &[Verified], json: bool) -> std::io::Result<()> {
    if json {
        return out::json(&all);
    }
    for one in all {
        out::line(&one.name)?;
        let told = |yes: Option<bool>| yes.map(|yes| if yes { "yes" } else { "no" }.to_owned());
        let version = one.version.as_ref().map(ToString::to_string);
        for (what, value) in [
            ("tenant", one.tenant_id.clone()),
            ("company", one.company.clone()),
            ("app", one.client_id.clone()),
            ("user", one.user_oid.clone()),
            ("not verified", one.unverified.clone()),
            ("scopes", one.scopes.clone()),
            ("second factor", told(one.mfa)),
            ("accepted", told(one.partner_center_accepts)),
            ("version", version),
            ("proved", one.proved_at.clone()),
            ("failed", one.summary.clone()),
            ("what to do", one.action.clone()),
        ] {
            if let Some(value) = value {
                out::line(format_args!("  {what:<13}  {value}"))?;
            }
        }
    }
    Ok(())
}
