//! `rotate`: one pass, then exit. For cron, CI and Kubernetes `CronJobs`.

use clap::Args;

/// Worked examples.
pub const EXAMPLES: &str = "\
Examples:
  perennial rotate                          # prove all, rotate what is due
  perennial rotate --dry-run                # only say what that would do
  perennial rotate partner-center --force   # rotate this one now
  perennial rotate --json > result.json";

/// What `rotate` takes.
#[derive(Clone, Debug, Args)]
pub struct RotateArgs {
    /// The tokens, by name [default: all]
    #[arg(value_name = "NAME")]
    pub names: Vec<String>,
    /// Rotate what is not due, too
    #[arg(long)]
    pub force: bool,
    /// Say what would be done and do nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Write the result as JSON
    #[arg(long)]
    pub json: bool,
}
