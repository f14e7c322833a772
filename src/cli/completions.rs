//! `completions`: prints a shell completion script.

use clap::CommandFactory as _;
use clap::{Args, ValueEnum};
use clap_complete::{generate, shells};

use super::{Cli, ExitCode, Stop, out};

/// Examples for the help text.
pub const EXAMPLES: &str = "\
Examples:
  # for /usr/share/bash-completion/completions
  perennial completions bash > perennial
  # for a folder of $fpath
  perennial completions zsh > _perennial
  # for ~/.config/fish/completions
  perennial completions fish > perennial.fish
  # for a line `. ./perennial.ps1` in $PROFILE
  perennial completions powershell > perennial.ps1

For this shell only:
  . <(perennial completions bash)";

/// What `completions` takes.
#[derive(Clone, Debug, Args)]
pub struct CompletionsArgs {
    /// The shell
    #[arg(value_enum)]
    pub shell: Shell,
}

/// A supported shell.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Shell {
    /// `bash`
    Bash,
    /// `zsh`
    Zsh,
    /// `fish`
    Fish,
    /// `PowerShell`
    #[value(name = "powershell")]
    PowerShell,
}

/// Writes the script to stdout.
///
/// # Errors
/// Returns an error if stdout cannot be written.
pub fn run(args: &CompletionsArgs) -> Result<ExitCode, Stop> {
    let (mut words, mut script) = (Cli::command(), Vec::new());
    match args.shell {
        Shell::Bash => generate(shells::Bash, &mut words, "perennial", &mut script),
        Shell::Zsh => generate(shells::Zsh, &mut words, "perennial", &mut script),
        Shell::Fish => generate(shells::Fish, &mut words, "perennial", &mut script),
        Shell::PowerShell => generate(shells::PowerShell, &mut words, "perennial", &mut script),
    }
    let script = String::from_utf8_lossy(&script);
    out::line(script.trim_end()).map_err(|error| Stop::Failed(error.into()))?;
    Ok(ExitCode::Done)
}
