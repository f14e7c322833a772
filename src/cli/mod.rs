//! The command line: arguments and exit codes.
//!
//! This module owns the exit codes and the steps from the arguments to the exit. Each command is in a file of its own
//! in this directory. Results go to stdout through `out`. All other text goes to stderr.

pub mod access_token;
pub mod check;
pub mod completions;
mod explain;
pub mod demo;
pub mod health;
pub mod help;
pub mod init;
mod known;
pub mod login;
pub mod out;
mod proof;
pub mod rotate;
pub mod run;
mod running_daemon;
pub mod sandbox;
pub mod azure_clients;
pub mod signals;
pub mod status;
pub mod verify;
pub mod credential;

use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use rustix::io::Errno;
use thiserror::Error;

use crate::config::{Config, ConfigProblems};
use crate::login::StepFailure;
use crate::ports::failure::Remedy;
use crate::process::file::FileError;
use crate::process::hardening::harden;
use crate::process::telemetry::LogFormat;
use crate::process::{build_info, file, telemetry};

/// The longest span of time that the command line accepts.
const LONGEST_SPAN: Duration = Duration::from_secs(3650 * 24 * 60 * 60);

/// Parses a span of time, such as `90s`, `5m` or `7d`.
fn span(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(span) if span <= LONGEST_SPAN => Ok(span),
        Ok(_) => Err("must be 3650d or less".to_owned()),
        Err(_) => Err("must be a number with a unit, such as 90s, 5m or 7d, and 3650d or less".to_owned()),
    }
}

/// Returns the text below the list of commands.
fn after_help() -> String {
    format!(
        "{}\n{}\nResults are written to stdout, logs to stderr. More: perennial help TOPIC.\nTopics: exit-codes, environment, conditions, states, metrics.",
        help::EXIT_CODES,
        help::ENVIRONMENT
    )
}

/// Keeps Microsoft Partner Center refresh tokens in Azure Key Vault alive.
#[derive(Debug, Parser)]
#[command(name = "perennial", max_term_width = 80, version, long_version = build_info::LONG, after_help = after_help())]
pub struct Cli {
    /// The options that every command takes.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
}

/// The options that every command takes.
#[derive(Clone, Debug, Args)]
pub struct Global {
    /// The configuration file
    #[arg(
        long,
        global = true,
        value_name = "PATH",
        env = "PERENNIAL_CONFIG",
        hide_env_values = true,
        default_value = "/etc/perennial/perennial.toml"
    )]
    pub config: PathBuf,
    /// How logs are written [default: pretty on a terminal, json elsewhere]
    #[arg(long, global = true, value_name = "FORMAT")]
    pub log_format: Option<LogFormat>,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Run the daemon that keeps the tokens alive
    #[command(after_help = run::EXAMPLES)]
    Run(run::RunArgs),
    /// Prove every token once, rotate those that are due, and exit
    #[command(after_help = rotate::EXAMPLES)]
    Rotate(rotate::RotateArgs),
    /// Show token status: from the running daemon, else from Key Vault (redeems nothing)
    #[command(after_help = status::EXAMPLES)]
    Status(status::StatusArgs),
    /// Sign a user in, for the first time or again, and store the refresh token
    #[command(after_help = login::EXAMPLES)]
    Login(login::LoginArgs),
    /// Print a fresh access token, and nothing else
    #[command(after_help = access_token::EXAMPLES)]
    AccessToken(access_token::AccessTokenArgs),
    /// Redeem each token, and show its user and Partner Center's answer
    #[command(after_help = verify::EXAMPLES)]
    Verify(verify::VerifyArgs),
    /// Show the credential of each app, or renew it now
    #[command(after_help = credential::EXAMPLES)]
    Credential(credential::CredentialArgs),
    /// Write a first configuration from flags, from the vault and from your answers
    #[command(after_help = init::EXAMPLES)]
    Init(init::InitArgs),
    /// Test the setup step by step and report what is missing
    #[command(after_help = check::EXAMPLES)]
    Check(check::CheckArgs),
    /// Check that the running daemon is alive
    #[command(after_help = health::EXAMPLES)]
    Health(health::HealthArgs),
    /// Run a local simulation of Entra, Key Vault and Partner Center
    #[command(after_help = sandbox::EXAMPLES)]
    Sandbox(sandbox::SandboxArgs),
    /// Run five simulated months in one minute, without Azure
    #[command(after_help = demo::EXAMPLES)]
    Demo(demo::DemoArgs),
    /// Print a shell completion script
    #[command(after_help = completions::EXAMPLES)]
    Completions(completions::CompletionsArgs),
}

/// The number of tokens that a command reads or proves concurrently.
const AT_ONCE: usize = 16;

/// The exit code of the process. The numbers are a public contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitCode {
    /// The command succeeded.
    Done,
    /// The command failed, and a retry may help.
    Failed,
    /// The command was used wrongly.
    Usage,
    /// A person must sign in.
    Login,
    /// An operator must fix the app credential, a role, a policy or the network.
    Operator,
    /// The configuration is wrong. A supervisor must not start the program again before the configuration is corrected.
    Configuration,
    /// The result of `status --monitor`, with the exit code of a monitoring plugin.
    Monitored(Monitored),
}

/// The result of `status --monitor`. The variants are the four results that a monitoring plugin can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Monitored {
    /// OK (exit code 0): no action is needed.
    Healthy,
    /// WARNING (exit code 1): a condition is open, but there is time to act.
    Attention,
    /// CRITICAL (exit code 2): a critical condition needs an action.
    ActionNeeded,
    /// UNKNOWN (exit code 3): the state cannot be determined.
    CannotTell,
}

impl ExitCode {
    /// Returns the number of the exit code. 78 is `EX_CONFIG` of sysexits.h.
    pub fn number(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Login => 3,
            Self::Operator => 4,
            Self::Configuration => 78,
            Self::Monitored(Monitored::Healthy) => 0,
            Self::Monitored(Monitored::Attention) => 1,
            Self::Monitored(Monitored::ActionNeeded) => 2,
            Self::Monitored(Monitored::CannotTell) => 3,
        }
    }

    /// Returns the graver of two exit codes, for a command on many tokens. A required sign-in is graver than an
    /// operator's action, which is graver than a transient failure.
    #[must_use]
    pub fn gravest(self, other: Self) -> Self {
        let gravity = |code: Self| match code {
            // `Monitored` is about the whole command, so it is never compared with a token's exit code.
            Self::Done | Self::Monitored(_) => 0,
            Self::Failed => 1,
            Self::Operator => 2,
            Self::Login => 3,
            Self::Usage => 4,
            Self::Configuration => 5,
        };
        if gravity(other) > gravity(self) { other } else { self }
    }
}

impl From<Remedy> for ExitCode {
    fn from(remedy: Remedy) -> Self {
        match remedy {
            Remedy::Retry => Self::Failed,
            Remedy::Login => Self::Login,
            Remedy::Operator => Self::Operator,
        }
    }
}

impl From<ExitCode> for process::ExitCode {
    fn from(code: ExitCode) -> Self {
        Self::from(code.number())
    }
}

/// The reason why a command ended without a result.
#[derive(Debug, Error)]
pub enum Stop {
    /// The configuration is wrong.
    #[error(transparent)]
    Configuration(#[from] ConfigProblems),
    /// The command rejects its arguments, for example the name of a token that is not configured.
    #[error("{0}")]
    Usage(String),
    /// A step failed. For example, a sign-in was not stored.
    #[error(transparent)]
    Refused(#[from] StepFailure),
    /// Any other failure, for example of a service or of the system.
    #[error(transparent)]
    Failed(#[from] anyhow::Error),
}

impl Stop {
    /// Returns the exit code for this reason.
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::Configuration(_) => ExitCode::Configuration,
            Self::Usage(_) => ExitCode::Usage,
            Self::Refused(refused) => refused.remedy.into(),
            Self::Failed(_) => ExitCode::Failed,
        }
    }
}

/// Runs the program and returns its exit code. If the arguments are wrong, `mistyped` prints the parser's message.
pub fn main() -> process::ExitCode {
    let words: Vec<String> =
        std::env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned()).collect();
    if let Some(text) = help::asked(&words) {
        let written = out::line(text.trim_end());
        return if written.is_ok() { ExitCode::Done } else { ExitCode::Failed }.into();
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return mistyped(&error),
    };
    if !matches!(cli.verb, Verb::Sandbox(_)) {
        harden();
    }
    // `login` writes its log as text, not as JSON, even if stderr is not a terminal, because the user who signs in
    // reads the log.
    let usual = if matches!(cli.verb, Verb::Login(_)) { LogFormat::Pretty } else { LogFormat::usual() };
    let format = cli.global.log_format.unwrap_or(usual);
    // The demo sets up its own logging, because it keeps the log in memory.
    if !matches!(cli.verb, Verb::Demo(_)) {
        telemetry::start(format);
    }
    let outcome = block_on(async {
        match cli.verb {
            Verb::Run(args) => run::run(args, &cli.global).await,
            Verb::Rotate(args) => rotate::run(args, &cli.global).await,
            Verb::Status(args) => status::run(args, &cli.global).await,
            Verb::Login(args) => login::run(args, &cli.global).await,
            Verb::AccessToken(args) => access_token::run(args, &cli.global).await,
            Verb::Verify(args) => verify::run(args, &cli.global).await,
            Verb::Credential(args) => Box::pin(credential::run(args, &cli.global)).await,
            Verb::Init(args) => init::run(args, &cli.global).await,
            Verb::Check(args) => Box::pin(check::run(args, &cli.global)).await,
            Verb::Health(args) => health::run(args, &cli.global).await,
            Verb::Sandbox(args) => sandbox::run(args).await,
            Verb::Demo(args) => demo::run(args, format).await,
            Verb::Completions(args) => completions::run(&args),
        }
    });
    finish(outcome, format)
}

/// Prints the parser's message. Help and version go to stdout, and mistakes go to stderr. For `status --monitor`, the
/// exit code for wrong arguments is UNKNOWN, since the code 2 would mean CRITICAL.
fn mistyped(error: &clap::Error) -> process::ExitCode {
    let told = error.print();
    if !error.use_stderr() {
        return if told.is_ok() { ExitCode::Done } else { ExitCode::Failed }.into();
    }
    let words: Vec<_> = std::env::args_os().skip(1).collect();
    let monitors = words.iter().any(|word| word == "status")
        && words.iter().any(|word| word.to_string_lossy().starts_with("--monit"));
    if monitors { ExitCode::Monitored(Monitored::CannotTell) } else { ExitCode::Usage }.into()
}

/// Reads the configuration file that `global` names.
///
/// # Errors
/// Returns all problems of the configuration.
pub fn load(global: &Global) -> Result<Config, Stop> {
    if let Err(FileError::Unreadable(error)) = file::open(&global.config)
        && is_shortage(&error)
    {
        return Err(Stop::Failed(
            anyhow::Error::new(error).context("cannot read the configuration at the moment"),
        ));
    }
    Ok(Config::load(&global.config, std::env::vars_os())?)
}

/// Whether the error means that the machine lacks file descriptors or memory. Such a shortage is transient. Any other
/// failure to read a file lasts until a person acts.
fn is_shortage(error: &std::io::Error) -> bool {
    let short = [Errno::MFILE, Errno::NFILE, Errno::NOMEM];
    Errno::from_io_error(error).is_some_and(|errno| short.contains(&errno))
}

/// Runs a command on one thread. One thread is enough, because a command mostly waits. One thread also needs less
/// memory than several threads.
///
/// # Errors
/// Returns the command's own errors, and an error if too few file descriptors are free.
pub fn block_on(command: impl Future<Output = Result<ExitCode, Stop>>) -> Result<ExitCode, Stop> {
    let build = || tokio::runtime::Builder::new_current_thread().enable_all().build();
    let cannot = "cannot start: if the limit on open files is reached, raise it (ulimit -n, LimitNOFILE=)";
    let runtime = have_descriptors()
        .and_then(|()| build())
        .map_err(|error| Stop::Failed(anyhow::Error::new(error).context(cannot)))?;
    let outcome = runtime.block_on(command);
    // The runtime does not wait for a DNS lookup that hangs. The lookup has its own thread, which ends with the
    // process.
    runtime.shutdown_background();
    outcome
}

/// Checks that the runtime can open the files that it needs. With fewer than two free file descriptors, the runtime
/// panics (tokio 1.54, `signal/unix.rs`).
fn have_descriptors() -> std::io::Result<()> {
    const PAIRS: usize = 4;
    (0..PAIRS).map(|_| UnixStream::pair()).collect::<Result<Vec<_>, _>>().map(drop)
}

/// Prints the reason for the exit, if there is one. Returns the exit code.
pub fn finish(outcome: Result<ExitCode, Stop>, format: LogFormat) -> process::ExitCode {
    let stop = match outcome {
        Ok(code) => return code.into(),
        Err(stop) => stop,
    };
    match format {
        LogFormat::Json => log(&stop),
        LogFormat::Pretty => eprintln!("{}", for_people(&stop)),
    }
    stop.exit_code().into()
}

fn for_people(stop: &Stop) -> String {
    match stop {
        Stop::Configuration(problems) => {
            let file = problems.path.display();
            problems.problems.iter().fold(format!("error: {file} cannot be used"), |text, problem| {
                text + "\n  " + &problem.to_string()
            })
        }
        Stop::Usage(text) => format!("error: {text}"),
        Stop::Refused(refused) => format!("error: {refused}"),
        Stop::Failed(error) => format!("error: {error:#}"),
    }
}

fn log(stop: &Stop) {
    match stop {
        Stop::Configuration(problems) => {
            for problem in &problems.problems {
                tracing::error!(key = problem.key, problem = problem.what, "the configuration is wrong");
            }
        }
        Stop::Usage(text) => tracing::error!("{text}"),
        Stop::Refused(refused) => {
            tracing::error!(event = "refused", action = refused.action, "{}", refused.summary);
        }
        Stop::Failed(error) => tracing::error!("{error:#}"),
    }
}

#[cfg(test)]
mod tests;
