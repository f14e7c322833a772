//! `access-token`: prints a new access token and no other text.
//!
//! Invariant: no other command prints a token. This command writes nothing to the vault.

use std::sync::Arc;

use clap::Args;
use serde::Serialize;

use super::azure_clients::AzureClients;
use super::rotate::select;
use super::{ExitCode, Global, Stop, load, out, proof};
use crate::login::StepFailure;
use crate::process::clock::Clock;
use crate::token::rotation_id;

/// Examples for the help text.
pub const EXAMPLES: &str = "\
Examples:
  perennial access-token partner-center
  perennial access-token partner-center --json
  perennial access-token partner-center \\
    --scope https://graph.microsoft.com/.default
  perennial access-token partner-center --tenant customer.onmicrosoft.com
  # for curl --header @header.txt
  perennial access-token partner-center --header > header.txt

An access token is valid for 60 to 90 minutes. Request an access token once an
hour and reuse it. Entra treats about 15 identical requests within five minutes
as a loop. Entra then rejects further requests, including those of the daemon
(AADSTS50196). For each configured token, request fewer than 5 access tokens in
any five minutes.

The command only reads the vault, and the stored refresh token stays valid. With
--tenant, the app needs consent in the customer's tenant. With --tenant,
Perennial also does not check user_oid, since user_oid names a user of the
partner tenant.";

/// What `access-token` takes.
#[derive(Clone, Debug, Args)]
pub struct AccessTokenArgs {
    /// The token, by name
    #[arg(value_name = "NAME")]
    pub name: String,
    /// The scope to request, for one resource [default: the configured scope]
    #[arg(long, value_name = "SCOPE", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub scope: Option<String>,
    /// A customer's tenant: its id or domain
    #[arg(long, value_name = "TENANT", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub tenant: Option<String>,
    /// Print the whole header line, `Authorization: Bearer …`
    #[arg(long, conflicts_with = "json")]
    pub header: bool,
    /// Print `access_token`, `expires_on` (Unix seconds) and `token_type` as JSON
    #[arg(long)]
    pub json: bool,
}

/// The output of `--json`, with the members that the Azure CLI and Microsoft's libraries use.
#[derive(Serialize)]
struct Printed<'a> {
    access_token: &'a str,
    expires_on: i64,
    token_type: &'static str,
}

/// Redeems the stored token and prints the access token.
///
/// # Errors
/// Returns an error if the configuration is wrong, the name is unknown, or a step fails. The error of a failed step
/// says what to do.
pub async fn run(args: AccessTokenArgs, global: &Global) -> Result<ExitCode, Stop> {
    let config = load(global)?;
    let mut grant = select(&config, std::slice::from_ref(&args.name))?[0].clone();
    if let Some(scope) = &args.scope {
        grant.scope = scope.as_str().into();
    }
    if let Some(tenant) = &args.tenant {
        (grant.tenant_id, grant.user_oid) = (tenant.clone(), None);
    }
    let shipped = AzureClients::for_person(&config, Clock::host()).await?;
    let rotator = shipped.rotator(&Arc::new(grant), "access-token");
    let proof = proof::prove(&rotator, rotation_id()).await;
    let proof = proof.map_err(|refused| by_flag(refused.typed(&rotator.grant.deployment), &args))?;
    let token = proof.redeemed.access_token.expose();
    let written = if args.json {
        let expires = proof.proved_at + crate::process::clock::delta(proof.redeemed.expires_in);
        out::json(&Printed { access_token: token, expires_on: expires.timestamp(), token_type: "Bearer" })
    } else if args.header {
        out::line(format_args!("Authorization: Bearer {token}"))
    } else {
        out::line(token)
    };
    written.map_err(|error| Stop::Failed(error.into()))?;
    Ok(ExitCode::Done)
}

/// Replaces the configuration keys in the failure's action with the command-line flags that override these keys.
fn by_flag(mut refused: StepFailure, args: &AccessTokenArgs) -> StepFailure {
    let mut name = |key: &str, flag: &str| refused.action = refused.action.replace(key, flag);
    if args.tenant.is_some() {
        name(&format!("tenant_id of {}", args.name), "--tenant");
        name("the partner tenant", "the customer's tenant");
    }
    if let Some(scope) = &args.scope {
        name(&format!("the scope of {}", args.name), "--scope");
        name(&format!("scope of {}", args.name), "--scope");
        name(&format!("scope {scope}"), &format!("--scope {scope}"));
    }
    refused
}
