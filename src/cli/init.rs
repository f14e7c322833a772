//! `init`: writes a first configuration from flags, from the vault and from answers at a terminal, in this order.
//!
//! Invariant: an existing file is replaced only with `--force`, and a configuration is parsed before it is written.

mod draft;
mod propose;

use std::fs::{OpenOptions, Permissions};
use std::io;
use std::io::ErrorKind;
use std::io::IsTerminal as _;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;

use clap::Args;

use self::draft::Draft;
use self::propose::Proposal;
use super::azure_clients::AzureClients;
use super::{ExitCode, Global, Stop, out};
use crate::config::Config;
use crate::login::StepFailure;
use crate::ports::Vault as _;
use crate::ports::{Forbidden, SecretRole, VaultError};
use crate::process::clock::Clock;
use crate::token::rotation_id;
use crate::token::secret::{SecretAddress, SecretName};

/// Worked examples.
pub const EXAMPLES: &str = "\
Examples:
  perennial init                                            # asks
  perennial init --vault https://contoso.vault.azure.net
  perennial init --vault https://contoso.vault.azure.net --cipp
  perennial init --vault https://contoso.vault.azure.net --tenant contoso.onmicrosoft.com \\
    --client-id 00000000-0000-0000-0000-000000000001 \\
    --app-secret partner-app-secret --refresh-token partner-refresh-token
  perennial init --config ./perennial.toml --force

It writes the file of --config, by default /etc/perennial/perennial.toml. It lists the vault to find
values that no flag gives, with the identity of the environment or the Azure CLI. It reads no secret,
except a tenant's id that is stored under such a name. On a terminal it asks for missing values;
elsewhere it names them.

--cipp uses the secret names of CIPP: ApplicationID, ApplicationSecret, TenantID, RefreshToken.";

/// What `init` takes.
#[derive(Clone, Debug, Args)]
pub struct InitArgs {
    /// The vault's address
    #[arg(long, value_name = "URL")]
    pub vault: Option<String>,
    /// The name of the token
    #[arg(long, value_name = "NAME", default_value = "partner-center")]
    pub name: String,
    /// The tenant: its id or a domain of it
    #[arg(long, value_name = "TENANT")]
    pub tenant: Option<String>,
    /// The app's (client) id
    #[arg(long, value_name = "GUID")]
    pub client_id: Option<String>,
    /// The vault secret that holds the app's secret
    #[arg(long, value_name = "SECRET")]
    pub app_secret: Option<String>,
    /// The vault secret for the refresh token
    #[arg(long, value_name = "SECRET")]
    pub refresh_token: Option<String>,
    /// The names that CIPP gives to its secrets
    #[arg(long, conflicts_with_all = ["client_id", "app_secret", "refresh_token"])]
    pub cipp: bool,
    /// Write over an existing file
    #[arg(long)]
    pub force: bool,
}

/// Collects the values, writes the file and prints the next steps.
///
/// # Errors
/// An existing file, a missing value, or a value that the configuration does not admit.
pub async fn run(args: InitArgs, global: &Global) -> Result<ExitCode, Stop> {
    let path = &global.config;
    if path.exists() && !args.force {
        return Err(Stop::Usage(format!("{} is there already; --force writes over it", path.display())));
    }
    let vault = given_or_asked(args.vault.clone(), "--vault", "The vault's address", None)?;
    let given = Draft::given(&args, vault.trim_end_matches('/'));
    let found = if given.missing().is_empty() { Proposal::default() } else { look(path, &given).await? };
    let draft = complete(given, found)?;
    let text = draft.text();
    parse(path, &text)?;
    write(path, &text, args.force).map_err(|error| {
        Stop::Failed(anyhow::Error::new(error).context(format!("{} cannot be written", path.display())))
    })?;
    let shown = path.display();
    let next = format!(
        "{shown} is written. Next:\n\n  export PERENNIAL_CONFIG={shown}\n  perennial check\n  perennial login {name}    # where there is no token yet\n  perennial check --write\n  perennial run",
        name = args.name
    );
    out::line(next).map_err(|error| Stop::Failed(error.into()))?;
    Ok(ExitCode::Done)
}

fn parse(path: &Path, text: &str) -> Result<Config, Stop> {
    let variables = std::env::vars_os();
    let text_only =
        variables.filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    Ok(Config::parse(path, text, text_only)?)
}

/// Lists the vault. If that fails, asks the user at a terminal instead.
async fn look(path: &Path, given: &Draft) -> Result<Proposal, Stop> {
    let config = parse(path, &given.text())?;
    let shipped = AzureClients::for_person(&config, Clock::host()).await?;
    let vault: Arc<str> = given.vault.as_str().into();
    let id = rotation_id();
    let listed = match shipped.vault().secrets(&vault, id).await {
        Ok(listed) => listed,
        Err(error) => {
            let summary = format!("the secrets of {vault} cannot be listed: {error}");
            if !io::stdin().is_terminal() {
                return Err(Stop::Refused(unlisted(&error, vault, summary, &given.missing())));
            }
            eprintln!("{summary}");
            return Ok(Proposal::default());
        }
    };
    let mut found = Proposal::of(&listed);
    if let (None, Some(name)) = (&found.tenant, &found.tenant_secret) {
        let at = SecretAddress { vault, name: name.clone() };
        // A client id is no secret, although it is stored as one.
        match shipped.vault().newest(&at, id).await {
            Ok(stored) => found.tenant = propose::tenant(&stored.value),
            Err(error) => eprintln!("The tenant's id in {at} cannot be read: {error}"),
        }
    }
    Ok(found)
}

/// Listing a whole vault needs more rights than Perennial needs otherwise; flags do as well.
fn unlisted(error: &VaultError, vault: Arc<str>, summary: String, missing: &[&str]) -> StepFailure {
    let name = SecretName::parse("any").expect("letters");
    let failure = error.failure(SecretRole::Own, &SecretAddress { vault, name });
    let flags = format!("say it by {}", missing.join(", "));
    let action = match (error, failure.action) {
        (VaultError::Forbidden(Forbidden::Rbac { .. } | Forbidden::Policy { .. } | Forbidden::Other), _)
        | (_, None) => format!("{flags}; or run it as a user who may list the vault's secrets"),
        (_, Some(action)) => format!("{action}; or {flags}"),
    };
    StepFailure::new(failure.remedy, summary, action)
}

/// Completes the flags by what the vault holds, and by the user's answers at a terminal.
fn complete(given: Draft, found: Proposal) -> Result<Draft, Stop> {
    let ask = |value: Option<String>, flag: &str, what: &str, found: Option<String>| {
        given_or_asked(value, flag, what, found).map(Some)
    };
    let app_id =
        if given.app_id_secret.is_some() || given.client_id.is_some() { None } else { found.app_id_secret };
    let client_id = match (&given.app_id_secret, &app_id) {
        (None, None) => ask(given.client_id, "--client-id", "The app's (client) id", found.client_id)?,
        _ => given.client_id,
    };
    let refresh_token = found.refresh_token.or_else(|| Some("partner-refresh-token".to_owned()));
    Ok(Draft {
        tenant: ask(given.tenant, "--tenant", "The tenant's id or domain", found.tenant)?,
        client_id,
        app_id_secret: given.app_id_secret.or(app_id),
        app_secret: ask(
            given.app_secret,
            "--app-secret",
            "The vault secret with the app's secret",
            found.app_secret,
        )?,
        refresh_token: ask(
            given.refresh_token,
            "--refresh-token",
            "The vault secret for the refresh token",
            refresh_token,
        )?,
        ..given
    })
}

/// The flag's value; else the user's answer, with the proposal as default; else the proposal.
fn given_or_asked(
    given: Option<String>,
    flag: &str,
    what: &str,
    proposal: Option<String>,
) -> Result<String, Stop> {
    if let Some(given) = given {
        return Ok(given);
    }
    if !io::stdin().is_terminal() {
        return proposal
            .ok_or_else(|| Stop::Usage(format!("{flag} is required: the vault has no such value")));
    }
    loop {
        match &proposal {
            Some(proposal) => eprint!("{what} [{proposal}]: "),
            None => eprint!("{what}: "),
        }
        let mut line = String::new();
        let read = io::stdin().read_line(&mut line).map_err(|error| Stop::Failed(error.into()))?;
        let said = line.trim();
        if !said.is_empty() {
            return Ok(said.to_owned());
        }
        if let Some(proposal) = &proposal {
            return Ok(proposal.clone());
        }
        if read == 0 {
            return Err(Stop::Usage(format!("{flag} is missing")));
        }
    }
}

/// A new file is readable by all users, whatever the umask: it holds no secret, and root writes what the daemon reads
/// as another user.
fn write(path: &Path, text: &str, force: bool) -> io::Result<()> {
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty() && !parent.exists()) {
        std::fs::create_dir_all(parent)?;
        std::fs::set_permissions(parent, Permissions::from_mode(0o755))?;
    }
    let new = !path.exists();
    let mut options = OpenOptions::new();
    options.write(true).create(force).truncate(force).create_new(!force);
    match options.open(path) {
        Ok(mut file) => {
            if new {
                file.set_permissions(Permissions::from_mode(0o644))?;
            }
            file.write_all(text.as_bytes())
        }
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Err(io::Error::new(
            ErrorKind::AlreadyExists,
            "another process has just written it; --force overwrites it",
        )),
        Err(error) => Err(error),
    }
}
