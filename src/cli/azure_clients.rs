//! The clients of Azure's services. Each command that calls Azure builds these clients from the configuration.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncReadExt as _;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use super::Stop;
use crate::alert::notifier::Outbound;
use crate::azure::credential;
use crate::azure::entra::Entra;
use crate::azure::graph::Graph;
use crate::azure::host_assertions::HostAssertions;
use crate::azure::identity::Identity;
use crate::azure::key_vault::KeyVault;
use crate::azure::partner_center::PartnerCenter;
use crate::config::{Config, ConfigProblems, Problem};
use crate::net::address::Roots;
use crate::net::calls::Calls;
use crate::net::http::{Http, HttpError};
use crate::process::clock::Clock;
use crate::process::file::FileError;
use crate::renewal::certificate::renewer::CertificateRenewer;
use crate::renewal::renewer::Renewer;
use crate::renewal::schedule::Target;
use crate::rotation::holds::Hold;
use crate::rotation::rotate::{Rotator, own_scope};
use crate::rotation::schedule::Timing;
use crate::rotation::turns::Turns;
use crate::token::managed::ManagedToken;

/// A rotator that uses these clients.
pub type AzureRotator = Rotator<Arc<Entra>, Arc<KeyVault>, Arc<PartnerCenter>>;

/// The clients of Entra, the vaults, Partner Center and Microsoft Graph. The process has one client of each service.
#[derive(Debug)]
pub struct AzureClients {
    entra: Arc<Entra>,
    vault: Arc<KeyVault>,
    partner_center: Arc<PartnerCenter>,
    graph: Arc<Graph>,
    /// The base address of Microsoft Graph, for use in messages.
    graph_address: String,
    /// The client id of the identity that reads the vault, if the configuration names it.
    vault_client_id: Option<Arc<str>>,
    /// The counts of calls, for the metrics.
    pub calls: Arc<Calls>,
    http: Arc<Http>,
    /// The kind of identity that authenticates to Key Vault, such as `managed_identity`.
    pub identity: &'static str,
    clock: Clock,
    turns: Turns,
    process_sample: f64,
}

impl AzureClients {
    /// Builds the clients and sends nothing.
    ///
    /// # Errors
    /// Returns an error if a root certificate cannot be read, or if the host has no root certificates.
    pub fn new(config: &Config, clock: Clock) -> Result<Self, Stop> {
        Self::of(config, config.vault.identity.clone(), clock)
    }

    fn of(config: &Config, identity: Identity, clock: Clock) -> Result<Self, Stop> {
        let roots = config.cloud.ca_file.clone().map_or(Roots::System, Roots::File);
        let http = Arc::new(Http::new(roots, true).map_err(|error| stop(config, error))?);
        let calls = Arc::new(Calls::default());
        let cloud = config.cloud.clone();
        let entra = Arc::new(Entra::new(
            cloud.authority.clone(),
            HostAssertions::new(config.host.clone(), cloud.name, calls.clone()),
            http.clone(),
            calls.clone(),
        ));
        Ok(Self {
            identity: identity.name(),
            graph: Arc::new(Graph::new(
                cloud.clone(),
                identity.clone(),
                entra.clone(),
                http.clone(),
                calls.clone(),
            )),
            graph_address: cloud.graph.as_str().to_owned(),
            vault_client_id: identity.app().1.map(Arc::from),
            entra,
            partner_center: Arc::new(PartnerCenter::new(
                cloud.partner_center.clone(),
                http.clone(),
                calls.clone(),
            )),
            vault: Arc::new(KeyVault::new(identity, cloud, http.clone(), calls.clone())),
            calls,
            http,
            turns: Turns::new(clock.clone()),
            clock,
            process_sample: fastrand::f64(),
        })
    }

    /// Builds the clients for an interactive command. If the configuration and the environment name no identity, and
    /// this machine is not a virtual machine in Azure, the command authenticates with the Azure CLI. A daemon must not
    /// depend on a user's sign-in, so it uses `new`.
    ///
    /// # Errors
    /// Returns the same errors as `new`.
    pub async fn for_person(config: &Config, clock: Clock) -> Result<Self, Stop> {
        let identity = match &config.vault.identity {
            Identity::Unnamed { .. } if !has_metadata_service().await => Identity::AzureCli,
            told => told.clone(),
        };
        Self::of(config, identity, clock)
    }

    /// Returns the HTTP client and the call recorder for alerts and heartbeats.
    pub fn outbound(&self) -> Outbound {
        Outbound { http: self.http.clone(), calls: self.calls.clone() }
    }

    /// Returns the client of the vaults, for commands that read a vault before a token is configured.
    pub(super) fn vault(&self) -> &KeyVault {
        &self.vault
    }

    /// Returns the renewer of a token's app, if Perennial renews the app's client secret or certificate.
    pub fn renewer(&self, grant: &ManagedToken, command: &'static str) -> Option<AzureRenewer> {
        let app = &grant.app;
        let (policy, at) = (app.renew.clone()?, app.credential.in_vault()?.clone());
        Some(Renewer {
            issuer: self.entra.clone(),
            vault: self.vault.clone(),
            directory: self.graph.clone(),
            clock: self.clock.clone(),
            app: app.clone(),
            name: app.name.clone().unwrap_or_else(|| grant.name.as_str().into()),
            target: Target { at, policy, is_forced: false },
            tenant: app.home_tenant.clone().unwrap_or_else(|| grant.tenant_id.clone()),
            graph: self.graph_address.clone(),
            vault_client_id: self.vault_client_id.clone(),
            scope: own_scope(&grant.scope),
            command,
            turns: self.turns.clone(),
        })
    }

    /// Returns a rotator for one token. The rotator records the name of the running command in the tags that it writes.
    pub fn rotator(&self, grant: &ManagedToken, command: &'static str) -> AzureRotator {
        Rotator {
            issuer: self.entra.clone(),
            vault: self.vault.clone(),
            resource: self.partner_center.clone(),
            clock: self.clock.clone(),
            timing: Timing::new(&grant.policy, &grant.name, self.process_sample),
            grant: Arc::new(grant.clone()),
            command,
            rng: fastrand::Rng::new(),
            hold: Hold::default(),
            turns: self.turns.clone(),
            turn: None,
        }
    }
}

/// A renewer that uses these clients to renew an app's client secret.
pub type AzureRenewer = Renewer<Arc<Entra>, Arc<KeyVault>, Arc<Graph>>;

/// A renewer that uses these clients to renew an app's certificate.
pub type AzureCertificateRenewer = CertificateRenewer<Arc<Entra>, Arc<KeyVault>, Arc<Graph>>;

/// Whether this is a virtual machine in Azure. Sends one request to the metadata service and waits for at most a
/// second. The service rejects this request, but this rejection shows that the service exists. A connection alone does
/// not show this, because some networks accept every connection and never answer.
async fn has_metadata_service() -> bool {
    let asking = async {
        let mut service = TcpStream::connect(credential::IMDS).await?;
        service.write_all(b"GET /metadata HTTP/1.0\r\n\r\n").await?;
        service.read_u8().await
    };
    matches!(tokio::time::timeout(Duration::from_secs(1), asking).await, Ok(Ok(_)))
}

fn stop(config: &Config, error: HttpError) -> Stop {
    match (error, &config.cloud.ca_file) {
        (HttpError::CaFile(FileError::Unreadable(error)), _) if super::is_shortage(&error) => {
            Stop::Failed(anyhow::Error::new(error).context("cannot read ca_file of [cloud] at the moment"))
        }
        (error @ (HttpError::CaFile(_) | HttpError::CaPem), Some(path)) => {
            Stop::Configuration(ConfigProblems {
                path: path.clone(),
                problems: vec![Problem { key: "cloud.ca_file".into(), what: error.to_string() }],
            })
        }
        (error, _) => Stop::Failed(anyhow::Error::new(error)),
    }
}
