//! `run`: the daemon.

use clap::Args;

/// Worked examples.
pub const EXAMPLES: &str = "\
Examples:
  perennial run
  perennial run --config ./perennial.toml --log-format json";

/// What `run` takes: everything is in the configuration.
#[derive(Clone, Debug, Args)]
pub struct RunArgs {}
