//! Writes the configuration and the credentials with which Perennial's commands use the sandbox.
//!
//! Invariant: only the files' owner can read the credential with which Perennial signs in to the vault.

use std::fmt::Write as _;
use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use chrono::TimeDelta;
use rustix::fs::FlockOperation;
use rustix::io::Errno;
use secrecy::ExposeSecret as _;

use super::{IdentityService, Sandbox, SandboxError};
use crate::sandbox::world::Partner;

/// The lifetime of the federated token that `write_config` writes. A token in a Kubernetes pod has at most this
/// lifetime (Microsoft's page aks/workload-identity-overview).
const FEDERATED_TOKEN_LASTS: TimeDelta = TimeDelta::days(1);

/// The values for a generated configuration.
#[derive(Clone, Copy, Debug)]
pub struct ConfigRequest<'a> {
    /// The name and the partner of each token.
    pub tokens: &'a [(&'a str, &'a Partner)],
    /// The value of `rotate_after` in the policy. `None` means the default.
    pub rotate_after: Option<Duration>,
    /// The value of `prove_every` in the policy. `None` means the default.
    pub prove_every: Option<Duration>,
    /// Whether the tokens are `strict`.
    pub strict: bool,
}

/// The files that the sandbox has written.
#[derive(Clone, Debug)]
pub struct WrittenFiles {
    /// The file with the certificate authority that clients must trust.
    pub ca: PathBuf,
    pub config: PathBuf,
}

/// Locks a directory until the returned file is closed. Without the lock, a second sandbox could replace the files of
/// the first sandbox.
pub(super) fn lock(dir: &Path) -> Result<File, SandboxError> {
    let failed = |source| SandboxError::Write { path: dir.to_owned(), source };
    std::fs::create_dir_all(dir).map_err(failed)?;
    let file = File::create(dir.join(".lock")).map_err(failed)?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(Errno::WOULDBLOCK) => Err(SandboxError::InUse(dir.to_owned())),
        Err(error) => Err(failed(error.into())),
    }
}

impl Sandbox {
    /// Writes `ca.pem`, `vault-client-secret` and a complete `perennial.toml` into a directory. Creates the directory
    /// if it is missing. Also writes the files that workload identity puts into a pod.
    ///
    /// # Errors
    /// Returns an error if a file cannot be written.
    pub fn write_config(
        &self,
        dir: &Path,
        request: &ConfigRequest<'_>,
    ) -> Result<WrittenFiles, SandboxError> {
        let failed = |source| SandboxError::Write { path: dir.to_owned(), source };
        std::fs::create_dir_all(dir).map_err(failed)?;
        let dir = std::path::absolute(dir).map_err(failed)?;
        let ca = dir.join("ca.pem");
        let secret = dir.join("vault-client-secret");
        let config = dir.join("perennial.toml");
        write(&ca, &self.ca_pem, 0o644)?;
        write(&secret, self.vault_identity.client_secret.expose_secret(), 0o600)?;
        write(&config, &self.config(&ca, &secret, request), 0o644)?;
        let token = dir.join("federated-token");
        write(&token, self.federated_token(FEDERATED_TOKEN_LASTS).expose_secret(), 0o600)?;
        let (tenant_id, client_id) = (self.shared.identity_tenant(), &self.vault_identity.client_id);
        let (host, file) = (&self.origin, token.display());
        let pod = format!(
            "AZURE_AUTHORITY_HOST={host}/\nAZURE_TENANT_ID={tenant_id}\nAZURE_CLIENT_ID={client_id}\n\
             AZURE_FEDERATED_TOKEN_FILE={file}\n"
        );
        write(&dir.join("workload-identity.env"), &pod, 0o600)?;
        Ok(WrittenFiles { ca, config })
    }

    /// Adds a sink and a heartbeat to the configuration. Both use the sandbox's inbox.
    ///
    /// # Errors
    /// Returns an error if a file cannot be written.
    pub(super) fn add_inbox(&self, written: &WrittenFiles) -> Result<(), SandboxError> {
        let failed = |source| SandboxError::Write { path: written.config.clone(), source };
        let mut config = std::fs::read_to_string(&written.config).map_err(failed)?;
        let place = |kind: &str| {
            let file = written.config.with_file_name(format!("{kind}-url"));
            write(&file, &format!("{}/_sandbox/inbox/{kind}", self.origin), 0o600).map(|()| quoted(&file))
        };
        let (alerts, heartbeat) = (place("teams")?, place("heartbeat")?);
        push(
            &mut config,
            &format!(
                "\n[[alert]]\nname = \"inbox\"\nkind = \"teams\"\nurl = {{ file = {alerts} }}\n\n[alerts]\ninstance = \"sandbox\"\n\n\
                 [heartbeat]\nurl = {{ file = {heartbeat} }}\n"
            ),
        );
        write(&written.config, &config, 0o644)
    }

    /// Writes `managed-identity.env` into a directory. The file has the environment variables of App Service.
    ///
    /// # Errors
    /// Returns an error if a file cannot be written.
    pub fn write_identity(&self, dir: &Path, service: &IdentityService) -> Result<(), SandboxError> {
        let (endpoint, header) = (&service.endpoint, service.header.expose_secret());
        let host = format!("IDENTITY_ENDPOINT={endpoint}\nIDENTITY_HEADER={header}\n");
        write(&dir.join("managed-identity.env"), &host, 0o600)
    }

    fn config(&self, ca: &Path, secret: &Path, request: &ConfigRequest<'_>) -> String {
        let Self { origin, vault_identity, .. } = self;
        let mut text = format!(
            r#"# Written by `perennial sandbox`. Valid only while the sandbox runs.

[vault]
url = "{origin}"
credential = "client_secret"
tenant_id = "{}"
client_id = "{}"
client_secret = {{ file = {} }}

[cloud]
authority = "{origin}"
partner_center = "{origin}"
graph = "{origin}"
ca_file = {}
"#,
            self.shared.identity_tenant(),
            vault_identity.client_id,
            quoted(secret),
            quoted(ca),
        );
        let policy = [("rotate_after", request.rotate_after), ("prove_every", request.prove_every)];
        let policy = policy.iter().filter_map(|(key, asked)| Some((key, (*asked)?)));
        for (place, (key, asked)) in policy.enumerate() {
            let heading = if place == 0 { "\n[policy]\n" } else { "" };
            let asked = humantime::format_duration(asked).to_string().replace(' ', "");
            push(&mut text, &format!("{heading}{key} = \"{asked}\"\n"));
        }
        for (name, partner) in request.tokens {
            push(&mut text, &token(name, partner, request.strict));
        }
        text
    }

    /// Returns the next commands to type. `program` is the path or the name of the program.
    pub fn welcome(&self, written: &WrittenFiles, program: &Path) -> String {
        let (origin, ca, config) = (&self.origin, quoted(&written.ca), quoted(&written.config));
        let shown = program.to_string_lossy();
        let program = if shown.contains(char::is_whitespace) { quoted(program) } else { shown.into_owned() };
        format!(
            "Simulated Entra, Key Vault, Partner Center and Microsoft Graph are running at {origin}.
Next, in another terminal:

  export PERENNIAL_CONFIG={config}
  {program} check
  {program} rotate --dry-run
  {program} rotate --force --json
  {program} status
  {program} run

Sign in as a test user (the browser warns about the temporary certificate):

  {program} login partner-center

Read the alerts that were sent (if the sandbox was started with `--inbox`):

  curl --cacert {ca} {origin}/_sandbox/inbox

Show or change the state of the simulated servers:

  curl --cacert {ca} {origin}/_sandbox/state
  curl --cacert {ca} {origin}/_sandbox/clock -d '{{\"advance\":\"30d\"}}'
  curl --cacert {ca} {origin}/_sandbox/faults -d '{{\"peer\":\"entra\",\"status\":503,\"times\":3}}'
  curl --cacert {ca} {origin}/_sandbox/faults -X DELETE
  curl --cacert {ca} {origin}/_sandbox/revoke -d '{{}}'
  curl --cacert {ca} {origin}/_sandbox/sign-in -d '{{}}'
  curl --cacert {ca} {origin}/_sandbox/expire-secret -d '{{}}'

Ctrl-C stops the sandbox. Its state is then lost.
"
        )
    }
}

fn token(name: &str, partner: &Partner, strict: bool) -> String {
    let mut text = format!(
        r#"
[[token]]
name = "{name}"
tenant_id = "{}"
client_id = "{}"
client_secret = {{ secret = "{}" }}
refresh_token = "{}"
"#,
        partner.tenant_id,
        partner.client_id,
        partner.app_secret.name.as_str(),
        partner.refresh_token.name.as_str(),
    );
    if strict {
        push(&mut text, "strict = true\n");
    }
    text
}

fn push(text: &mut String, more: &str) {
    write!(text, "{more}").expect("writing to a string never fails");
}

/// Returns a path as a TOML string. A shell reads this string as the same path, unless the path contains a character
/// that is special in double quotes, such as `$`.
fn quoted(path: &Path) -> String {
    serde_json::Value::from(path.to_string_lossy()).to_string()
}

fn write(path: &Path, text: &str, mode: u32) -> Result<(), SandboxError> {
    let file = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(path);
    file.and_then(|mut file| file.write_all(text.as_bytes()))
        .map_err(|source| SandboxError::Write { path: path.to_owned(), source })
}
