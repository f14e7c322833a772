//! `init`: writes a first configuration. Each value has a flag. If the flag is missing, the command proposes a value
//! from the vault's content. At a terminal, the user confirms or changes the proposal.
//!
//! Invariant: only `--force` replaces an existing file. A configuration is parsed before it is written.

mod draft;
mod file;
mod layout;
mod propose;

use std::io;
use std::io::IsTerminal as _;
use std::path::Path;
use std::sync::Arc;

use clap::Args;

use self::draft::Draft;
use self::file::Written;
use self::layout::Layout;
use self::propose::Proposal;
use super::azure_clients::AzureClients;
use super::{ExitCode, Global, Stop, out};
use crate::config::{Config, Form};
use crate::login::StepFailure;
use crate::ports::Vault as _;
use crate::ports::{Forbidden, SecretRole, VaultError};
use crate::process::clock::Clock;
use crate::process::text;
use crate::token::rotation_id;
use crate::token::secret::{SecretAddress, SecretName};

/// Examples for the help text.
pub const EXAMPLES: &str = "\
Examples:
  # asks for the values that it cannot find in the vault
  perennial init
  perennial init --vault https://contoso.vault.azure.net
  perennial init --vault https://contoso.vault.azure.net --from cipp
  perennial init --vault https://contoso.vault.azure.net \\
    --tenant contoso.onmicrosoft.com \\
    --client-id 00000000-0000-0000-0000-000000000001 \\
    --app-secret partner-app-secret --refresh-token partner-refresh-token
  perennial init --config ./perennial.toml --force

The command writes the file that --config names, by default
/etc/perennial/perennial.toml. To find values that you do not pass as flags, it
lists the vault's secrets. To access the vault, it uses the machine's identity
in Azure or, if there is none, the identity of the Azure CLI. It reads the value
of at most one secret: the secret with the tenant id. On a terminal, it asks for
missing values. Without a terminal, it names the missing values and exits.

Use --from if the vault belongs to CIPP or to PowerShell scripts. Such a vault
has the secrets ApplicationID, ApplicationSecret, TenantID and RefreshToken. The
command reports secrets that are missing.";

/// What `init` takes.
#[derive(Clone, Debug, Args)]
pub struct InitArgs {
    /// The vault's address
    #[arg(long, value_name = "URL")]
    pub vault: Option<String>,
    /// The name of the token
    #[arg(long, value_name = "NAME", default_value = "partner-center")]
    pub name: String,
    /// The tenant: its id or one of its domains
    #[arg(long, value_name = "TENANT")]
    pub tenant: Option<String>,
    /// The app's client id
    #[arg(long, value_name = "GUID")]
    pub client_id: Option<String>,
    /// The vault secret that holds the app's secret
    #[arg(long, value_name = "SECRET", group = "credential")]
    pub app_secret: Option<String>,
    /// Instead of a secret: the Key Vault certificate whose key signs for the app
    #[arg(long, value_name = "CERTIFICATE", group = "credential")]
    pub app_key: Option<String>,
    /// Instead of a secret: the vault secret with the app's certificate and key
    #[arg(long, value_name = "SECRET", group = "credential")]
    pub app_certificate: Option<String>,
    /// Instead of a secret: the client id of a managed identity that the app trusts
    #[arg(long, value_name = "GUID", group = "credential")]
    pub managed_identity: Option<String>,
    /// The vault secret for the refresh token
    #[arg(long, value_name = "SECRET")]
    pub refresh_token: Option<String>,
    /// The program that named the secrets in the vault
    #[arg(long, value_name = "PROGRAM", conflicts_with_all = ["client_id", "app_secret", "refresh_token"])]
    pub from: Option<Layout>,
    /// Overwrite an existing file
    #[arg(long)]
    pub force: bool,
}

/// Collects the values, writes the file and prints the next steps.
///
/// # Errors
/// Returns an error if a value is missing or invalid, or if the file exists and `--force` is not set.
pub async fn run(args: InitArgs, global: &Global) -> Result<ExitCode, Stop> {
    let path = &global.config;
    if path.exists() && !args.force {
        return Err(Stop::Usage(format!("{} already exists; --force overwrites it", path.display())));
    }
    Form::Token.check(&args.name).map_err(|wanted| Stop::Usage(format!("--name {wanted}")))?;
    for (flag, form, given) in [
        ("--app-key", Form::Secret, &args.app_key),
        ("--app-certificate", Form::Secret, &args.app_certificate),
        ("--managed-identity", Form::Guid, &args.managed_identity),
    ] {
        let checked = given.as_deref().map_or(Ok(()), |given| form.check(given));
        checked.map_err(|wanted| Stop::Usage(format!("{flag} {wanted}")))?;
    }
    let vault = VAULT.given_or_asked(args.vault.clone(), None)?;
    let given = Draft::given(&args, vault.trim_end_matches('/'));
    let is_whole = given.missing().is_empty();
    let found = if is_whole && args.from.is_none() {
        Proposal::default()
    } else {
        look(path, &given, args.from).await?
    };
    let draft = complete(given, found)?;
    let text = draft.text();
    parse(path, &text)?;
    let written = file::write(path, &text, args.force).map_err(|error| {
        Stop::Failed(anyhow::Error::new(error).context(format!("{} cannot be written", path.display())))
    })?;
    let shown = path.display();
    let done = match written {
        Written::New => "is written",
        Written::Replaced => "is written and replaces the previous file",
    };
    let next = format!(
        "{shown} {done}. Next:\n\n  export PERENNIAL_CONFIG={shown}\n  perennial check\n  perennial login {name}    # if the vault has no token yet\n  perennial check --write\n  perennial run",
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

/// Lists the vault's secrets and proposes values. If the vault cannot be listed, a terminal decides: if stdin is a
/// terminal, returns an empty proposal, and the command asks the user for the values. Without a terminal, returns an
/// error if a value is missing.
async fn look(path: &Path, given: &Draft, layout: Option<Layout>) -> Result<Proposal, Stop> {
    let config = parse(path, &given.text())?;
    let shipped = AzureClients::for_person(&config, Clock::host()).await?;
    let vault: Arc<str> = given.vault.as_str().into();
    let id = rotation_id();
    let listed = match shipped.vault().secrets(&vault, id).await {
        Ok(listed) => listed,
        Err(error) => {
            let summary = format!("cannot list the secrets of {vault}: {error}");
            if !io::stdin().is_terminal() && !given.missing().is_empty() {
                return Err(Stop::Refused(unlisted(&error, vault, summary, &given.missing())));
            }
            eprintln!("{summary}");
            return Ok(Proposal::default());
        }
    };
    for remark in layout.map(|layout| layout.remarks(&listed)).unwrap_or_default() {
        eprintln!("{remark}");
    }
    let mut found = Proposal::of(&listed);
    if let (None, Some(name)) = (&found.tenant, &found.tenant_secret) {
        let at = SecretAddress { vault, name: name.clone() };
        // The tenant's id is not confidential, although a vault secret contains the id. So the command may show the id.
        match shipped.vault().newest(&at, id).await {
            Ok(stored) => found.tenant = propose::tenant(&stored.value),
            Err(error) => eprintln!("Cannot read the tenant's id from {at}: {error}"),
        }
    }
    Ok(found)
}

/// Returns the error if the vault's secrets cannot be listed. Only `init` lists all secrets of a vault. Instead of
/// granting the permission for this list, the user can pass the missing values as flags.
fn unlisted(error: &VaultError, vault: Arc<str>, summary: String, missing: &[&str]) -> StepFailure {
    let name = SecretName::parse("any").expect("letters");
    let failure = error.failure(SecretRole::Own, &SecretAddress { vault, name });
    let flags = format!("pass the missing values with {}", missing.join(", "));
    let action = match (error, failure.action) {
        (
            VaultError::Forbidden(
                Forbidden::Rbac { .. } | Forbidden::Policy { .. } | Forbidden::Other { .. },
            ),
            _,
        )
        | (_, None) => format!("{flags}; or run `init` as a user who may list the vault's secrets"),
        (_, Some(action)) => format!("{action}; or {flags}"),
    };
    StepFailure::new(failure.remedy, summary, action)
}

/// Returns a complete draft. A value without a flag comes from the vault's content or from the user's answer at a
/// terminal.
fn complete(given: Draft, found: Proposal) -> Result<Draft, Stop> {
    let app_id =
        if given.app_id_secret.is_some() || given.client_id.is_some() { None } else { found.app_id_secret };
    let client_id = match (&given.app_id_secret, &app_id) {
        (None, None) => Some(CLIENT_ID.given_or_asked(given.client_id, found.client_id)?),
        _ => given.client_id,
    };
    let refresh_token = found.refresh_token.or_else(|| Some("partner-refresh-token".to_owned()));
    Ok(Draft {
        tenant: Some(TENANT.given_or_asked(given.tenant, found.tenant)?),
        client_id,
        app_id_secret: given.app_id_secret.or(app_id),
        app_secret: match given.credential {
            Some(_) => None,
            None => Some(APP_SECRET.given_or_asked(given.app_secret, found.app_secret)?),
        },
        refresh_token: Some(REFRESH_TOKEN.given_or_asked(given.refresh_token, refresh_token)?),
        ..given
    })
}

/// A value that a flag or a person provides.
struct Question {
    flag: &'static str,
    what: &'static str,
    example: &'static str,
    form: Form,
}

const VAULT: Question = Question {
    flag: "--vault",
    what: "The vault's address",
    example: "https://contoso.vault.azure.net",
    form: Form::Vault,
};
const TENANT: Question = Question {
    flag: "--tenant",
    what: "The tenant's id or domain",
    example: "contoso.onmicrosoft.com",
    form: Form::Tenant,
};
const CLIENT_ID: Question = Question {
    flag: "--client-id",
    what: "The app's client id",
    example: "8e7d7a5c-3c1e-4f6a-9d2b-5a4c3b2a1f0e",
    form: Form::Guid,
};
const APP_SECRET: Question = Question {
    flag: "--app-secret",
    what: "The name of the vault secret with the app's secret",
    example: "partner-app-secret",
    form: Form::Secret,
};
const REFRESH_TOKEN: Question = Question {
    flag: "--refresh-token",
    what: "The name of the vault secret for the refresh token",
    example: "partner-refresh-token",
    form: Form::Secret,
};

impl Question {
    /// Returns the flag's value if there is one. Otherwise asks the user, with the proposal as the default. Without a
    /// terminal, returns the proposal. Checks the flag's value and the user's answer.
    fn given_or_asked(&self, given: Option<String>, proposal: Option<String>) -> Result<String, Stop> {
        let flag = self.flag;
        if let Some(given) = given {
            let checked = self.form.check(&given);
            return checked.map(|()| given).map_err(|wanted| Stop::Usage(format!("{flag} {wanted}")));
        }
        if !io::stdin().is_terminal() {
            return proposal
                .ok_or_else(|| Stop::Usage(format!("{flag} is required: Perennial found no value")));
        }
        loop {
            match &proposal {
                Some(proposal) => eprint!("{} [{proposal}]: ", self.what),
                None => eprint!("{} (such as {}): ", self.what, self.example),
            }
            let mut line = String::new();
            let read = io::stdin().read_line(&mut line).map_err(|error| Stop::Failed(error.into()))?;
            let said = text::bare(&line);
            match (said, &proposal) {
                ("", Some(proposal)) => return Ok(proposal.clone()),
                ("", None) if read == 0 => return Err(Stop::Usage(format!("{flag} is missing"))),
                ("", None) => {}
                (said, _) => match self.form.check(said) {
                    Ok(()) => return Ok(said.to_owned()),
                    Err(wanted) => eprintln!("The value {wanted}."),
                },
            }
        }
    }
}
