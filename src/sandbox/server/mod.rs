//! Serves the world (the simulated services) over HTTPS, for the commands `sandbox` and `demo`. Perennial's adapters
//! and the official Azure clients can connect to this server.
//!
//! This module owns the protocols of Entra, Key Vault, Partner Center and Microsoft Graph: TLS, paths, headers and
//! bodies. All services have the same origin, and the controls are below `/_sandbox/`. The world owns every rule of the
//! services.

mod authorize;
mod controls;
mod device;
mod entra;
mod faults;
mod files;
mod graph;
mod host;
mod hostile;
mod inbox;
mod key_vault;
mod pages;
mod partner_center;
mod signing;
mod span;
mod tls;
mod wire;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::Response;
use axum::{Router, middleware};
use chrono::TimeDelta;
use secrecy::SecretString;
use thiserror::Error;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub use self::files::{ConfigRequest, WrittenFiles};
use crate::net::server;
use crate::net::server::ClientLimits;
use crate::process::clock::{Clock, Timestamp};
use crate::sandbox::world::{Partner, World};

/// The routes of one service.
type Routes = Router<Arc<SandboxState>>;

/// The server's limits. The limits are far higher than a test or a user's own programs need. So only injected faults
/// make the sandbox slow.
const LIMITS: ClientLimits = ClientLimits {
    connections: 1024,
    // `reqwest` may reuse a connection that was idle for up to 90 seconds. If the server closes the connection before
    // that time, a request can fail.
    head_within: Duration::from_secs(120),
    head_bytes: 64 * 1024,
    connection_lives: Duration::from_secs(24 * 60 * 60),
    keep_alive: true,
};

/// The lifetime of a partner's app secret, counted from when the sandbox adds the partner.
const APP_SECRET_LASTS: TimeDelta = TimeDelta::days(180);

/// A running sandbox. Dropping this value stops the sandbox.
pub struct Sandbox {
    /// The address on which the sandbox listens.
    pub addr: SocketAddr,
    /// The certificate of the authority that clients must trust, as PEM.
    pub ca_pem: String,
    /// The base URL of the sandbox. Entra's authority, the vault, Partner Center and Microsoft Graph all have this URL.
    pub origin: Arc<str>,
    /// The app with which Perennial reads the vault.
    pub vault_identity: VaultIdentity,
    shared: Arc<SandboxState>,
    stop: CancellationToken,
    serving: JoinHandle<()>,
}

/// The app with which Perennial reads the vault. Section `[vault]` of the written configuration contains the keys of
/// this app.
#[derive(Clone, Debug)]
pub struct VaultIdentity {
    pub tenant_id: String,
    pub client_id: String,
    pub client_secret: SecretString,
}

/// The identity service of an Azure host. Perennial gets the address and the header from environment variables.
#[derive(Clone, Debug)]
pub struct IdentityService {
    /// The value of `IDENTITY_ENDPOINT`.
    pub endpoint: String,
    /// The value of `IDENTITY_HEADER`.
    pub header: SecretString,
}

/// The reason why the sandbox cannot start.
#[derive(Debug, Error)]
pub enum SandboxError {
    /// The address cannot be bound.
    #[error("cannot listen on {address}")]
    Listen {
        address: SocketAddr,
        /// The reason for the failure.
        source: io::Error,
    },
    /// A file cannot be written.
    #[error("cannot write {}", path.display())]
    Write {
        path: PathBuf,
        /// The reason for the failure.
        source: io::Error,
    },
    /// Another sandbox uses this directory for its files.
    #[error("another sandbox uses {}: stop that sandbox, or name another folder with --dir", .0.display())]
    InUse(PathBuf),
    /// The throwaway certificates could not be created.
    #[error("cannot make certificates")]
    Certificate(#[from] rcgen::Error),
    /// The key that signs ID tokens could not be created.
    #[error("cannot make a signing key")]
    Key,
    /// TLS rejects the throwaway certificates.
    #[error("cannot set up TLS")]
    Tls(#[from] tokio_rustls::rustls::Error),
}

/// The state that all requests share.
struct SandboxState {
    world: World,
    origin: Arc<str>,
    vault_identity: VaultIdentity,
    /// The signer of ID tokens.
    signer: signing::Signer,
    /// The value of the header `X-IDENTITY-HEADER` in requests to `/msi/token`. The real App Service requires the
    /// same header.
    identity_header: SecretString,
    /// The received alerts.
    inbox: inbox::Inbox,
}

impl SandboxState {
    /// Returns the tenant in which the app `vault_identity` requests tokens. This is the first partner's tenant if that
    /// tenant has consented to the app, and otherwise the app's own tenant. To change the partner's app registration in
    /// Microsoft Graph, the app needs a token of the partner's tenant.
    fn identity_tenant(&self) -> String {
        let VaultIdentity { tenant_id, client_id, .. } = &self.vault_identity;
        let partner = self.world.partners().first().map(|partner| partner.tenant_id.clone());
        let tenant = partner.and_then(|id| self.world.find_tenant(&id));
        let tenant = tenant.filter(|tenant| tenant.apps.contains(client_id));
        tenant.map_or_else(|| tenant_id.clone(), |tenant| tenant.id)
    }

    /// Returns the vault of a request. If the world has a vault with the request's host name, that vault is used.
    /// Otherwise the request is for the sandbox's own vault.
    fn vault_at(&self, host: Option<&str>) -> Arc<str> {
        let named = host.map(|host| format!("https://{host}"));
        match named.filter(|url| self.world.has_vault(url)) {
            Some(url) => url.into(),
            None => Arc::clone(&self.origin),
        }
    }
}

impl Sandbox {
    /// Serves a world. Adds a vault at the sandbox's own origin, and an app that has all rights on this vault. From now
    /// on, access tokens expire by the host's clock.
    ///
    /// # Errors
    /// Returns an error for an address in use, or if no certificate can be created.
    pub async fn start(world: World, listen: SocketAddr) -> Result<Self, SandboxError> {
        let failed = |source| SandboxError::Listen { address: listen, source };
        let tcp = TcpListener::bind(listen).await.map_err(failed)?;
        let addr = tcp.local_addr().map_err(failed)?;
        let tls::ServerIdentity { acceptor, ca_pem } = tls::identity()?;

        let origin: Arc<str> = format!("https://localhost:{}", addr.port()).into();
        let vault_identity = add_vault_identity(&world);
        world.add_vault(&origin);
        world.set_authority(&origin);
        world.access_tokens_live_by(Clock::host());
        let shared = Arc::new(SandboxState {
            world: world.clone(),
            origin: Arc::clone(&origin),
            vault_identity: vault_identity.clone(),
            signer: signing::Signer::new()?,
            identity_header: world.fresh_id().to_string().into(),
            inbox: inbox::Inbox::default(),
        });
        let stop = CancellationToken::new();
        let open = move |tcp| acceptor.accept(tcp);
        let serving = server::serve(vec![tcp], open, routes(&shared), LIMITS, stop.clone());
        let serving = tokio::spawn(serving);
        Ok(Self { addr, ca_pem, origin, vault_identity, shared, stop, serving })
    }

    /// Returns the simulated world.
    pub fn world(&self) -> &World {
        &self.shared.world
    }

    /// Serves the identity service of an Azure host until the sandbox stops. As on real hosts, the service uses plain
    /// HTTP. The service of a virtual machine is below `/metadata/`, and the service of App Service is at
    /// `/msi/token`.
    ///
    /// # Errors
    /// Returns an error for an address in use.
    pub async fn serve_identity(&self, listen: SocketAddr) -> Result<IdentityService, SandboxError> {
        let failed = |source| SandboxError::Listen { address: listen, source };
        let tcp = TcpListener::bind(listen).await.map_err(failed)?;
        let addr = tcp.local_addr().map_err(failed)?;
        let routes = host::routes().with_state(Arc::clone(&self.shared));
        // This function does not wait for the server to end, because the server runs until the sandbox stops.
        let _served =
            tokio::spawn(server::serve(vec![tcp], server::plain, routes, LIMITS, self.stop.clone()));
        let header = self.shared.identity_header.clone();
        Ok(IdentityService { endpoint: format!("http://{addr}/msi/token"), header })
    }

    /// Returns a token of the kind that Kubernetes projects into a pod. The app that reads the vault authenticates with
    /// this token.
    pub fn federated_token(&self, lasts: TimeDelta) -> SecretString {
        let token: SecretString = format!("eyJmZWRlcmF0ZWQi.{}", self.world().fresh_id().simple()).into();
        let expires = Some(Clock::host().now() + lasts);
        self.world().add_assertion(&self.vault_identity.client_id, token.clone(), expires);
        token
    }

    /// Adds a partner whose user signed in `age` ago. The vault stores the user's token. The secret of the partner's
    /// app expires half a year from now. The app that reads the vault can get tokens in the partner's tenant.
    pub fn add_partner(&self, name: &str, age: TimeDelta) -> Partner {
        let world = self.world();
        let expires = Some(world.now() + APP_SECRET_LASTS);
        world.advance(-age);
        let partner = world.add_partner(name, &self.origin, expires);
        world.advance(age);
        world.consent(&partner.tenant_id, &self.vault_identity.client_id);
        partner
    }

    /// Adds test users to the sign-in page: a colleague with MFA, a colleague without MFA, a guest, and a user of
    /// another tenant. The page also has the partner's own user.
    pub fn add_cast(&self, partner: &Partner) {
        let tenant =
            self.world().find_tenant(&partner.tenant_id).map(|tenant| tenant.domain).unwrap_or_default();
        self.world().add_user(&partner.tenant_id, &format!("colleague@{tenant}"), true);
        self.world().add_user(&partner.tenant_id, &format!("password-only@{tenant}"), false);
        let elsewhere = self.world().fresh_id().to_string();
        self.world().add_tenant(&elsewhere, "elsewhere.example");
        let guest = self.world().add_user(&elsewhere, "guest@elsewhere.example", true);
        self.world().invite(&partner.tenant_id, &guest);
        self.world().add_user(&elsewhere, "stranger@elsewhere.example", true);
    }

    /// Stops the sandbox. The sandbox accepts no new connections, and open requests get a short time to end.
    pub async fn stop(mut self) {
        self.stop.cancel();
        // The task ends soon after the cancellation.
        let _ended = (&mut self.serving).await;
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

fn add_vault_identity(world: &World) -> VaultIdentity {
    let identity = VaultIdentity {
        tenant_id: world.fresh_id().to_string(),
        client_id: world.fresh_id().to_string(),
        client_secret: format!("vlt~{}", world.fresh_id().simple()).into(),
    };
    world.add_tenant(&identity.tenant_id, "vault.sandbox.example");
    let secret = secrecy::ExposeSecret::expose_secret(&identity.client_secret);
    world.add_app(&identity.tenant_id, &identity.client_id, secret, None);
    identity
}

fn routes(shared: &Arc<SandboxState>) -> Router {
    Router::new()
        .merge(host::routes())
        .merge(key_vault::routes())
        .merge(partner_center::routes())
        .merge(graph::routes())
        .merge(controls::routes())
        .merge(inbox::routes())
        .merge(entra::routes())
        .merge(authorize::routes())
        .merge(device::routes())
        .fallback(key_vault::not_served)
        .layer(middleware::from_fn(wire::keep))
        .layer(middleware::map_response_with_state(Arc::clone(shared), dated))
        .with_state(Arc::clone(shared))
}

/// Adds the world's time to every answer.
async fn dated(State(shared): State<Arc<SandboxState>>, mut response: Response) -> Response {
    wire::set(&mut response, "date", &wire::http_date(shared.world.now()));
    response
}

/// The options of `sandbox`.
#[derive(Clone, Debug)]
pub struct SandboxOptions {
    /// The directory for the certificate authority, the configuration and the secret of the app that reads the vault.
    pub dir: PathBuf,
    /// The address on which the sandbox listens.
    pub listen: SocketAddr,
    /// The address of an Azure host's identity service. With `None`, no such service is started.
    pub identity_listen: Option<SocketAddr>,
    /// The age of the stored token at the start.
    pub age: Duration,
    /// The value of `rotate_after` in the configuration. `None` means the default.
    pub rotate_after: Option<Duration>,
    /// The value of `prove_every` in the configuration. `None` means the default.
    pub prove_every: Option<Duration>,
    /// Whether a second redemption of a token revokes all tokens of the token's sign-in. Entra does not do this.
    pub strict: bool,
    /// Whether the sandbox begins without a stored token.
    pub never_signed_in: bool,
    /// Whether the configuration sends alerts and heartbeats to the inbox.
    pub inbox: bool,
    /// The number of tokens, at least one. Each token has its own partner.
    pub tokens: usize,
    /// The path or the name by which the user started the program. The commands to type next begin with it.
    pub program: PathBuf,
}

/// Serves a new world with its partners until `stop` completes. After the start, calls `say` with the commands that the
/// user can type next.
///
/// # Errors
/// Returns an error for an address in use, or for a directory that cannot be written.
pub async fn serve(
    options: &SandboxOptions,
    stop: impl Future<Output = ()>,
    say: impl FnOnce(&str),
) -> Result<(), SandboxError> {
    let _lock = files::lock(&options.dir)?;
    let world = World::new(Clock::host(), fastrand::u64(..));
    world.set_strict(options.strict);
    let sandbox = Sandbox::start(world, options.listen).await?;
    let age = TimeDelta::from_std(options.age).unwrap_or(TimeDelta::zero());
    let mut partners = vec![("partner-center".to_owned(), sandbox.add_partner("partner", age))];
    sandbox.add_cast(&partners[0].1);
    for nth in 2..=options.tokens {
        let partner = sandbox.add_partner(&format!("partner-{nth}"), age);
        partners.push((format!("partner-center-{nth}"), partner));
    }
    if options.never_signed_in {
        for (_, partner) in &partners {
            sandbox.world().human_deletes(&partner.refresh_token);
            sandbox.world().human_purges(&partner.refresh_token);
        }
    }
    let tokens: Vec<_> = partners.iter().map(|(name, partner)| (name.as_str(), partner)).collect();
    let written = sandbox.write_config(
        &options.dir,
        &ConfigRequest {
            tokens: &tokens,
            rotate_after: options.rotate_after,
            prove_every: options.prove_every,
            strict: options.strict,
        },
    )?;
    if options.inbox {
        sandbox.add_inbox(&written)?;
    }
    if let Some(listen) = options.identity_listen {
        let service = sandbox.serve_identity(listen).await?;
        sandbox.write_identity(&options.dir, &service)?;
    }
    say(&sandbox.welcome(&written, &options.program));
    stop.await;
    sandbox.stop().await;
    Ok(())
}

/// Returns a time in the format of RFC 3339.
fn shown(at: Timestamp) -> String {
    crate::process::clock::rfc3339(at)
}
