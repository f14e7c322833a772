//! `credential`: shows the credential of each app, in the vault and at Entra. `--renew` renews a credential now.

mod certificate;

use std::sync::Arc;

use clap::Args;
use serde::Serialize;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::azure_clients::{AzureClients, AzureRenewer, AzureRotator};
use super::signals::stopped;
use super::{ExitCode, Global, Stop, load, out, proof};
use crate::config::Config;
use crate::ports::failure::{Failure, Remedy};
use crate::process::clock::{Clock, rfc3339};
use crate::renewal::certificate::renewer::CertificateRenewer;
use crate::renewal::daemon::{Renewal, renew_now};
use crate::renewal::look::{CredentialLook, HeldEnd};
use crate::renewal::report::Standing;
use crate::renewal::schedule::{RenewalStep, Target};
use crate::renewal::state::RenewalState;
use crate::token::managed::ManagedToken;
use crate::token::rotation_id;
use crate::token::version::Version;

/// Examples for the help text.
pub const EXAMPLES: &str = "\
Examples:
  perennial credential                   # all apps
  perennial credential partner-app
  perennial credential partner-app --renew --dry-run
  perennial credential partner-app --renew

To name an app, use the name of its [[app]]. If a token has no [[app]], use the
name of the token. Perennial asks Microsoft Graph only about apps with `renew`.
A renewal takes at least 15 minutes, since Perennial uses the new credential
only after Entra has accepted it for 15 minutes.";

/// What `credential` takes.
#[derive(Clone, Debug, Args)]
pub struct CredentialArgs {
    /// The apps, by name [default: all]
    #[arg(value_name = "APP")]
    pub names: Vec<String>,
    /// Renew the credential now, even if its renewal is not due
    #[arg(long, requires = "names")]
    pub renew: bool,
    /// With --renew: only show what the renewal would do
    #[arg(long, requires = "renew")]
    pub dry_run: bool,
    /// Write the result as JSON
    #[arg(long)]
    pub json: bool,
}

/// An app's credential. Unknown values are null.
#[derive(Debug, Serialize)]
struct AppReport {
    name: String,
    /// `client_secret`, `client_certificate` or `client_assertion`.
    credential: &'static str,
    client_id: Option<String>,
    /// The vault object that holds the credential.
    stored_in: Option<String>,
    newest: Option<VersionReport>,
    /// The app's credentials at Entra. Null if Perennial does not renew the app's credential or cannot read the app.
    entra: Option<EntraReport>,
    /// What Perennial does next.
    next: Option<String>,
    /// The problem. Null if there is none.
    summary: Option<String>,
    action: Option<String>,
    #[serde(skip)]
    code: Option<ExitCode>,
}

#[derive(Debug, Serialize)]
struct VersionReport {
    id: String,
    stored_at: String,
    expires_at: Option<String>,
    /// Entra's id of the credential, if it is known.
    key_id: Option<Uuid>,
}

#[derive(Debug, Serialize)]
struct EntraReport {
    object_id: Uuid,
    /// The app's client secrets, if Perennial renews the app's client secret.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    secrets: Vec<ListedReport>,
    /// The app's certificates, if Perennial renews the app's certificate.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    certificates: Vec<ListedReport>,
    renews_at: Option<String>,
}

#[derive(Debug, Serialize)]
struct ListedReport {
    key_id: Uuid,
    name: Option<String>,
    standing: Standing,
    starts_at: Option<String>,
    ends_at: Option<String>,
}

/// Shows the credentials of the selected apps. With `--renew`, renews the credentials first.
///
/// # Errors
/// Returns an error for a wrong configuration or an unknown name. The output and the exit code report an app's problem.
pub async fn run(args: CredentialArgs, global: &Global) -> Result<ExitCode, Stop> {
    let config = load(global)?;
    let apps = select(&config, &args.names)?;
    let clients = AzureClients::for_person(&config, Clock::host()).await?;
    let mut all = Vec::with_capacity(apps.len());
    for grant in apps {
        let Some(renewer) = clients.renewer(grant, "credential") else {
            if args.renew {
                return Err(no_renewal(grant));
            }
            all.push(without_renewal(grant, &clients.rotator(grant, "credential")).await);
            continue;
        };
        let is_renewed = args.renew && !args.dry_run;
        let (outcome, mut report) = if grant.app.credential.is_certificate() {
            let outcome =
                if is_renewed { renew(CertificateRenewer(forced(&renewer))).await? } else { Ok(()) };
            (outcome, certificate::with_renewal(grant, CertificateRenewer(renewer), args.dry_run).await)
        } else {
            let outcome = if is_renewed { renew(forced(&renewer)).await? } else { Ok(()) };
            (outcome, with_renewal(grant, &renewer, args.dry_run).await)
        };
        if let Err(failure) = outcome {
            report.fail(grant, failure);
        }
        all.push(report);
    }
    report(&all, args.json).map_err(|error| Stop::Failed(error.into()))?;
    Ok(all.iter().filter_map(|one| one.code).fold(ExitCode::Done, ExitCode::gravest))
}

/// Returns one token for each app whose name is in `names`. Without names, returns one token for each app.
fn select<'a>(config: &'a Config, names: &[String]) -> Result<Vec<&'a ManagedToken>, Stop> {
    let mut apps: Vec<&ManagedToken> = Vec::new();
    for grant in &config.tokens {
        if apps.iter().all(|known| !Arc::ptr_eq(&known.app, &grant.app)) {
            apps.push(grant);
        }
    }
    if let Some(unknown) = names.iter().find(|name| !apps.iter().any(|grant| name_of(grant) == *name)) {
        let known = apps.iter().map(|grant| name_of(grant)).collect::<Vec<_>>().join(", ");
        return Err(Stop::Usage(format!("no app is named {unknown:?}; the configuration has: {known}")));
    }
    apps.retain(|grant| names.is_empty() || names.iter().any(|name| name == name_of(grant)));
    Ok(apps)
}

fn name_of(grant: &ManagedToken) -> &str {
    grant.app.name.as_deref().unwrap_or(grant.name.as_str())
}

fn no_renewal(grant: &ManagedToken) -> Stop {
    let name = name_of(grant);
    Stop::Usage(format!(
        "Perennial does not renew the credential of {name}: store the app's client secret or certificate in a vault, and add `renew = {{}}` to its [[app]]"
    ))
}

/// A renewer that renews the credential even if the renewal is not due.
fn forced(renewer: &AzureRenewer) -> AzureRenewer {
    let target = Target { is_forced: true, ..renewer.target.clone() };
    AzureRenewer { target, ..renewer.clone() }
}

/// Renews a credential. Ctrl-C ends the renewal, and the app keeps its current credential.
async fn renew(forced: impl Renewal) -> Result<Result<(), Failure>, Stop> {
    let stop = CancellationToken::new();
    let mut renewing = std::pin::pin!(renew_now(&forced, &stop));
    tokio::select! {
        done = &mut renewing => Ok(done),
        () = stopped()? => {
            stop.cancel();
            Ok(renewing.await)
        }
    }
}

impl AppReport {
    fn of(grant: &ManagedToken) -> Self {
        let credential = &grant.app.credential;
        Self {
            name: name_of(grant).to_owned(),
            credential: credential.key(),
            client_id: None,
            stored_in: credential.in_vault().map(ToString::to_string),
            newest: None,
            entra: None,
            next: None,
            summary: None,
            action: None,
            code: None,
        }
    }

    fn fail(&mut self, grant: &ManagedToken, failure: Failure) {
        let action = failure.action.as_deref().map(|action| grant.deployment.typed(action));
        self.failed(failure.remedy, failure.summary, action);
    }

    fn failed(&mut self, remedy: Remedy, summary: String, action: Option<String>) {
        self.code = Some(remedy.into());
        self.summary = Some(summary);
        self.action = action;
    }
}

impl VersionReport {
    fn of(version: &Version) -> Self {
        Self {
            id: version.id.to_string(),
            stored_at: rfc3339(version.created),
            expires_at: version.expires.map(rfc3339),
            key_id: CredentialLook::key_of(version),
        }
    }
}

async fn without_renewal(grant: &ManagedToken, rotator: &AzureRotator) -> AppReport {
    let mut report = AppReport::of(grant);
    match proof::credential(rotator, rotation_id()).await {
        Ok(credential) => {
            report.newest = credential.version.as_ref().map(VersionReport::of);
            report.client_id = Some(credential.client_id);
        }
        Err(failed) => {
            let failed = failed.typed(&grant.deployment);
            report.failed(failed.remedy, failed.summary, Some(failed.action));
        }
    }
    report
}

async fn with_renewal(grant: &ManagedToken, renewer: &AzureRenewer, forced: bool) -> AppReport {
    let mut report = AppReport::of(grant);
    let (client_id, look) = match renewer.look(rotation_id()).await {
        Ok(found) => found,
        Err(failure) => {
            report.fail(grant, failure);
            return report;
        }
    };
    let target = Target { is_forced: forced, ..renewer.target.clone() };
    let (up, mut state) = (look.up, RenewalState::default());
    state.learn(look, &target);
    let step = target.next(&state, up);
    let first_seen = state.first_seen.take().unwrap_or_default();
    if let Some(trouble) = state.health.troubles.into_values().next() {
        report.fail(grant, trouble.failure);
    }
    let Some(look) = state.look else { return report };
    let end = match look.held_end() {
        HeldEnd::At(end) => end,
        HeldEnd::NotListed => None,
    };
    report.client_id = Some(client_id);
    report.newest = Some(VersionReport::of(&look.newest));
    report.next = Some(next(&step, &look, &target));
    let strangers = look.strangers(&target.at, &target.policy, &first_seen);
    let strangers = strangers.map(|one| one.key_id).collect();
    let secret = |one| ListedReport {
        standing: Standing::of(one, &look, &target, &strangers),
        key_id: one.key_id,
        name: one.name.clone(),
        starts_at: one.starts.map(rfc3339),
        ends_at: one.ends.map(rfc3339),
    };
    report.entra = Some(EntraReport {
        object_id: look.object_id,
        secrets: look.listed.values().map(secret).collect(),
        certificates: Vec::new(),
        renews_at: end.map(|end| rfc3339(end - target.policy.before)),
    });
    report
}

fn next(step: &RenewalStep, look: &CredentialLook, target: &Target) -> String {
    match step {
        RenewalStep::Create => "creates a new client secret".to_owned(),
        RenewalStep::Remove(key_id, reason) => format!("removes {key_id} at Entra: {}", reason.text()),
        RenewalStep::TryHeld => {
            "tests the secret in use, then removes the previous secret at Entra".to_owned()
        }
        RenewalStep::Look | RenewalStep::Probe | RenewalStep::Save | RenewalStep::Wait(_) => match look
            .held_end()
        {
            _ if target.is_due(look, look.at) => "waits until it may create a new client secret".to_owned(),
            HeldEnd::At(Some(end)) => format!("renews at {}", rfc3339(end - target.policy.before)),
            HeldEnd::At(None) | HeldEnd::NotListed => "nothing: the secret in use does not expire".to_owned(),
        },
    }
}

fn report(all: &[AppReport], json: bool) -> std::io::Result<()> {
    if json {
        return out::json(&all);
    }
    for one in all {
        out::line(&one.name)?;
        let row = |what: &str, value: Option<&str>| match value {
            Some(value) => out::line(format_args!("  {what:<12} {value}")),
            None => Ok(()),
        };
        row("app", one.client_id.as_deref())?;
        row("credential", Some(one.credential))?;
        row("stored in", one.stored_in.as_deref())?;
        if let Some(newest) = &one.newest {
            row("newest", Some(&newest.id))?;
            row("stored", Some(&newest.stored_at))?;
            row("expires", newest.expires_at.as_deref())?;
            row("key id", newest.key_id.map(|key_id| key_id.to_string()).as_deref())?;
        }
        match &one.entra {
            None if one.summary.is_none() => row("at Entra", Some("not asked: `renew` is off"))?,
            None => {}
            Some(entra) => {
                for secret in entra.secrets.iter().chain(&entra.certificates) {
                    let ends = secret.ends_at.as_deref().unwrap_or("never");
                    row(
                        "at Entra",
                        Some(&format!("{}, {}, ends {ends}", secret.key_id, secret.standing.text())),
                    )?;
                    row("", secret.name.as_deref())?;
                }
            }
        }
        row("next", one.next.as_deref())?;
        row("failed", one.summary.as_deref())?;
        row("what to do", one.action.as_deref())?;
    }
    Ok(())
}
