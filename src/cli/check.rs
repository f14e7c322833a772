//! `check`: tests the setup step by step, and names an action for each failure.
//!
//! This module owns the steps and their order. Without `--write`, the command writes nothing to the vault, and does not
//! test the right to write. With `--write`, the command rotates each token once. The command uses the daemon's own
//! steps, so that the rules for saving a token are not implemented twice. A `strict` token is redeemed only with
//! `--write`.

mod report;
mod token;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use serde::Serialize;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::azure_clients::{AzureClients, AzureRenewer};
use super::rotate::select;
use super::{ExitCode, Global, Stop, load, out, signals};
use crate::alert::notifier::{Notifier, Undelivered, try_heartbeat};
use crate::config::{Config, ConfigWarning};
use crate::login::StepFailure;
use crate::ports::failure::Remedy;
use crate::process::clock::Clock;
use crate::renewal::certificate::renewer::CertificateRenewer;
use crate::renewal::look::HeldEnd;
use crate::rotation::holds::Hold;
use crate::rotation::rotate::Rotator;
use crate::token::managed::Deployment;
use crate::token::rotation_id;

/// Examples for the help text.
pub const EXAMPLES: &str = "\
Examples:
  perennial check
  # also test that Perennial may write to the vault: rotate each token once
  perennial check --write
  perennial check partner-center --json
  # keep retrying: a new role takes minutes to take effect
  perennial check --write --wait 10m
  # also send a test message to every alert sink
  perennial check --alerts
  # test the configuration and the vault only
  perennial check --no-redeem
  # also write a report without secrets and names, to send if you need help
  perennial check --report report.json

Run the command on the daemon's host, as the daemon's user, since the command
tests the daemon's identity. If the machine has no identity in Azure, the
command uses the identity of the Azure CLI, and says so.

Needed rights in the vault (deploy/azure/role.json): getSecret, readMetadata,
setSecret and update on the token's secret; getSecret on the app's secret.";

/// What `check` takes.
#[derive(Clone, Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each switch of the command line is one bool")]
pub struct CheckArgs {
    /// The tokens, by name [default: all]
    #[arg(value_name = "NAME")]
    pub names: Vec<String>,
    /// Redeem nothing, and call only the vault
    #[arg(long)]
    pub no_redeem: bool,
    /// Test that Perennial may write to the vault: rotate each token once
    #[arg(long, conflicts_with = "no_redeem")]
    pub write: bool,
    /// Also send a test message to every alert sink, and ping the heartbeat
    #[arg(long)]
    pub alerts: bool,
    /// Keep retrying for this long while the vault denies access
    #[arg(long, value_name = "SPAN", value_parser = super::span)]
    pub wait: Option<Duration>,
    /// Write the steps as JSON
    #[arg(long)]
    pub json: bool,
    /// Also write a report without secrets and names, to send if you need help
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
}

/// The pause between two attempts, if `--wait` is set. Each attempt may redeem a token twice, and Entra treats 15
/// redemptions in five minutes as a loop (docs/azure-facts.md F126). The pause keeps the attempts below this limit.
const AGAIN_AFTER: Duration = Duration::from_secs(60);

/// The result of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum StepOutcome {
    Ok,
    Failed,
    NotTried,
    Warning,
}

/// One step of the check, with its result.
#[derive(Debug, Serialize)]
struct CheckStep {
    token: Option<String>,
    #[serde(rename = "step")]
    name: &'static str,
    outcome: StepOutcome,
    /// What the step found, or why it failed.
    summary: String,
    /// What to do about the failure. Null if the step needs no action.
    action: Option<String>,
    /// Who must act.
    remedy: Option<Remedy>,
    #[serde(skip)]
    code: ExitCode,
    /// The company's name from Partner Center, if the summary contains this name.
    #[serde(skip)]
    company: Option<String>,
}

impl CheckStep {
    fn ok(name: &'static str, summary: impl Into<String>) -> Self {
        Self {
            token: None,
            name,
            outcome: StepOutcome::Ok,
            summary: summary.into(),
            action: None,
            remedy: None,
            code: ExitCode::Done,
            company: None,
        }
    }

    fn not_tried(step: &'static str, summary: impl Into<String>) -> Self {
        Self { outcome: StepOutcome::NotTried, ..Self::ok(step, summary) }
    }

    fn warning(step: &'static str, ConfigWarning { summary, action }: ConfigWarning) -> Self {
        let (outcome, action, remedy) = (StepOutcome::Warning, Some(action), Some(Remedy::Operator));
        Self { outcome, action, remedy, ..Self::ok(step, summary) }
    }

    fn failed(step: &'static str, refused: StepFailure) -> Self {
        let StepFailure { remedy, summary, action, .. } = refused;
        Self {
            outcome: StepOutcome::Failed,
            action: Some(action),
            remedy: Some(remedy),
            code: remedy.into(),
            ..Self::ok(step, summary)
        }
    }
}

/// Runs the steps of `check`.
///
/// # Errors
/// Returns an error for a wrong configuration or an unknown name. The output and the exit code report a failed step.
pub async fn run(args: CheckArgs, global: &Global) -> Result<ExitCode, Stop> {
    let config = match (load(global), &args.report) {
        (Err(Stop::Configuration(problems)), Some(path)) => {
            report::write_problems(path, &problems)?;
            return Err(Stop::Configuration(problems));
        }
        (loaded, _) => loaded?,
    };
    let (interrupt, hold) = (signals::stop()?, Hold::default());
    tokio::select! {
        biased;
        done = rehearse_until_allowed(&config, &args, global, &hold, &interrupt) => done,
        () = hold.may_end(&interrupt) => Err(Stop::Failed(anyhow::anyhow!("stopped by a signal"))),
    }
}

async fn rehearse_until_allowed(
    config: &Config,
    args: &CheckArgs,
    global: &Global,
    hold: &Hold,
    interrupt: &CancellationToken,
) -> Result<ExitCode, Stop> {
    let clock = Clock::host();
    let begun_at = Instant::now();
    loop {
        let mut steps = vec![configured(config, global)];
        steps.extend(config.warnings().into_iter().map(|told| CheckStep::warning("limits", told)));
        steps.extend(Box::pin(rehearse(config, args, &clock, hold, interrupt)).await?);
        let code = steps.iter().fold(ExitCode::Done, |worst, step| worst.gravest(step.code));
        let refused = steps.iter().find(|step| token::may_come_by_itself(step));
        match refused {
            Some(step) if args.wait.is_some_and(|wait| begun_at.elapsed() + AGAIN_AFTER <= wait) => {
                tracing::info!(
                    event = "waiting",
                    step = step.name,
                    "{}; next attempt in a minute",
                    step.summary
                );
                tokio::time::sleep(AGAIN_AFTER).await;
            }
            _ => {
                show(&steps, args.json).map_err(|error| Stop::Failed(error.into()))?;
                if let Some(path) = &args.report {
                    report::write(path, config, &steps).await?;
                }
                return Ok(code);
            }
        }
    }
}

async fn rehearse(
    config: &Config,
    args: &CheckArgs,
    clock: &Clock,
    hold: &Hold,
    interrupt: &CancellationToken,
) -> Result<Vec<CheckStep>, Stop> {
    let grants = select(config, &args.names)?;
    // Each attempt builds new clients, because a new role assignment may take effect only with a new access token.
    let shipped = AzureClients::for_person(config, clock.clone()).await?;
    let (mut steps, mut tried) = (Vec::new(), Vec::new());
    for grant in grants {
        let rotator = Rotator { hold: hold.clone(), ..shipped.rotator(grant, "check") };
        let mut found = token::check(rotator, shipped.identity, args, interrupt).await;
        for step in &mut found {
            step.token = Some(grant.name.to_string());
            step.action = step.action.take().map(|action| grant.deployment.typed(&action));
        }
        steps.append(&mut found);
        let renewer = shipped.renewer(grant, "check").filter(|_| !args.no_redeem);
        if let Some(renewer) = renewer
            && tried.iter().all(|known| !Arc::ptr_eq(known, &renewer.app))
        {
            let step = renewal(&renewer, args.write, &grant.deployment).await;
            steps.push(CheckStep { token: Some(grant.name.to_string()), ..step });
            tried.push(renewer.app);
        }
    }
    if args.alerts && config.alerts.is_empty() {
        steps.push(CheckStep::not_tried("alert", "no [[alert]] is configured"));
    }
    if args.alerts {
        for sink in &config.alerts {
            let here = config.tokens[0].deployment.clone();
            let notifier = Notifier { sink: sink.clone(), here, outbound: shipped.outbound() };
            let answer = notifier.test(clock.now()).await;
            let what = format!("the sink {} of [[alert]]", sink.name);
            let taken = format!("the sink {} accepted a test message", sink.name);
            steps.push(sent("alert", &taken, &what, answer));
        }
    }
    if let Some(heartbeat) = config.heartbeat.as_ref().filter(|_| args.alerts) {
        let answer = try_heartbeat(&heartbeat.url, &shipped.outbound()).await;
        steps.push(sent("heartbeat", "the monitor accepted a test ping", "the URL of [heartbeat]", answer));
    }
    Ok(steps)
}

/// Tests whether Perennial could renew the app's client secret or certificate. The right to write to the vault is
/// tested only if `writes` is set.
async fn renewal(renewer: &AzureRenewer, writes: bool, here: &Deployment) -> CheckStep {
    let rehearsed = if renewer.app.credential.is_certificate() {
        let look = CertificateRenewer(renewer.clone()).rehearse(writes, rotation_id()).await;
        look.map(|look| ("certificate", look.in_use().version.expires))
    } else {
        renewer.rehearse(writes, rotation_id()).await.map(|look| match look.held_end() {
            HeldEnd::At(end) => ("client secret", end),
            HeldEnd::NotListed => ("client secret", None),
        })
    };
    match rehearsed {
        Ok((noun, end)) => {
            let renews_at = end.map(|end| end - renewer.target.policy.before);
            let from = match renews_at {
                Some(at) if at > renewer.clock.now() => format!("on {}", at.format("%Y-%m-%d")),
                _ => "at once".to_owned(),
            };
            let more = if writes {
                ""
            } else {
                "; add --write to also test whether Perennial may write to the vault"
            };
            let told =
                format!("Perennial can renew the app's {noun}; the daemon begins the renewal {from}{more}");
            CheckStep::ok("renewal", told)
        }
        Err(failure) => {
            let action = failure
                .action
                .map_or_else(|| format!("`perennial credential {}`", renewer.name), String::from);
            CheckStep::failed(
                "renewal",
                StepFailure::new(failure.remedy, failure.summary, here.typed(&action)),
            )
        }
    }
}

fn sent(step: &'static str, taken: &str, what: &str, answer: Result<(), Undelivered>) -> CheckStep {
    match answer {
        Ok(()) => CheckStep::ok(step, taken.to_owned()),
        Err(Undelivered { why, permanent, .. }) => {
            let remedy = if permanent { Remedy::Operator } else { Remedy::Retry };
            let action = format!("check {what}, and the network to its server");
            CheckStep::failed(step, StepFailure::new(remedy, format!("{what}: {why}"), action))
        }
    }
}

fn configured(config: &Config, global: &Global) -> CheckStep {
    let tokens = match config.tokens.len() {
        1 => "one token".to_owned(),
        count => format!("{count} tokens"),
    };
    CheckStep::ok("configuration", format!("{}: {tokens}", global.config.display()))
}

fn show(steps: &[CheckStep], json: bool) -> std::io::Result<()> {
    if json {
        return out::json(&steps);
    }
    for CheckStep { token, name, outcome, summary, action, .. } in steps {
        let word = match outcome {
            StepOutcome::Ok => "ok",
            StepOutcome::Failed => "FAILED",
            StepOutcome::NotTried => "skipped",
            StepOutcome::Warning => "warning",
        };
        let token = token.as_ref().map(|token| format!("{token}: ")).unwrap_or_default();
        out::line(format_args!("{word:<9}  {name:<14}  {token}{summary}"))?;
        if let Some(action) = action {
            out::line(format_args!("           -> {action}"))?;
        }
    }
    Ok(())
}
