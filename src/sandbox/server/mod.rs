//! The world over HTTPS: what `sandbox` and `demo` serve, so that the shipped adapters and the official
//! Azure clients talk to it.
//!
//! Owns the wire: TLS, paths, headers and bodies of Entra, Key Vault and Partner Center, all under one
//! origin, and the controls below `/_sandbox/`. Holds no rule of any peer: those are the world's.

mod authorize;
mod controls;
mod device;
mod entra;
mod faults;
mod files;
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

/// The routes of one peer.
type Routes = Router<Arc<SandboxState>>;

/// Far more than a test or a person's own programs take up: the sandbox decides itself what is slow and what is cut.
const LIMITS: ClientLimits = ClientLimits {
    connections: 1024,
    // Clients keep idle connections for 90 seconds (`reqwest`).
    head_within: Duration::from_secs(120),
    head_bytes: 64 * 1024,
    connection_lives: Duration::from_secs(24 * 60 * 60),
    keep_alive: true,
};

/// How long the sandbox's app secret still lasts when it starts.
const APP_SECRET_LASTS: TimeDelta = TimeDelta::days(180);

/// A sandbox that is being served. Ends when it is dropped.
pub struct Sandbox {
    /// Where it listens.
    pub addr: SocketAddr,
    /// The authority that clients must trust, PEM.
    pub ca_pem: String,
    /// Its base URL: Entra's authority, the vault and Partner Center in one.
    pub origin: Arc<str>,
    /// The app that opens the vault.
    pub vault_identity: VaultIdentity,
    shared: Arc<SandboxState>,
    stop: CancellationToken,
    serving: JoinHandle<()>,
}

/// The app that opens the vault, as `credential = "client_secret"` names it.
#[derive(Clone, Debug)]
pub struct VaultIdentity {
    /// Its tenant.
    pub tenant_id: String,
    /// Its client id.
    pub client_id: String,
    /// Its secret.
    pub client_secret: SecretString,
}

/// The identity service of an Azure host, as a process on it finds it in its environment.
#[derive(Clone, Debug)]
pub struct IdentityService {
    /// `IDENTITY_ENDPOINT`.
    pub endpoint: String,
    /// `IDENTITY_HEADER`.
    pub header: SecretString,
}

/// Why there is no sandbox.
#[derive(Debug, Error)]
pub enum SandboxError {
    /// The address cannot be listened on.
    #[error("cannot listen on {address}")]
    Listen {
        /// What was asked for.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// A file cannot be written.
    #[error("cannot write {}", path.display())]
    Write {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The throwaway certificates could not be made.
    #[error("cannot make certificates")]
    Certificate(#[from] rcgen::Error),
    /// The key that signs ID tokens could not be made.
    #[error("cannot make a signing key")]
    Key,
    /// TLS does not take them.
    #[error("cannot set up TLS")]
    Tls(#[from] tokio_rustls::rustls::Error),
}

/// What all requests share.
struct SandboxState {
    world: World,
    origin: Arc<str>,
    vault_identity: VaultIdentity,
    /// Signs ID tokens.
    signer: signing::Signer,
    /// What the host's identity service wants to see, as App Service does.
    identity_header: SecretString,
    /// Alerts that were sent here.
    inbox: inbox::Inbox,
}

impl SandboxState {
    /// The vault of a request: by host where the world has one of that name, else the sandbox's own.
    fn vault_at(&self, host: Option<&str>) -> Arc<str> {
        let named = host.map(|host| format!("https://{host}"));
        match named.filter(|url| self.world.has_vault(url)) {
            Some(url) => url.into(),
            None => Arc::clone(&self.origin),
        }
    }
}

impl Sandbox {
    /// Serves a world. Adds to it a vault at the sandbox's own origin, which may do everything, and an
    /// app that opens it. Access tokens live by the host's clock from now on.
    ///
    /// # Errors
    /// Where the address is taken, or no certificate can be made.
    pub async fn start(world: World, listen: SocketAddr) -> Result<Self, SandboxError> {
        let failed = |source| SandboxError::Listen { address: listen, source };
        let tcp = TcpListener::bind(listen).await.map_err(failed)?;
        let addr = tcp.local_addr().map_err(failed)?;
        let tls::ServerIdentity { acceptor, ca_pem } = tls::identity()?;

        let origin: Arc<str> = format!("https://localhost:{}", addr.port()).into();
        let vault_identity = add_vault_identity(&world);
        world.add_vault(&origin);
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

    /// The world behind it.
    pub fn world(&self) -> &World {
        &self.shared.world
    }

    /// Serves the identity service of an Azure host too, for as long as the sandbox: a virtual machine's
    /// below `/metadata/`, App Service's at `/msi/token`. Plain HTTP.
    ///
    /// # Errors
    /// Where the address is taken.
    pub async fn serve_identity(&self, listen: SocketAddr) -> Result<IdentityService, SandboxError> {
        let failed = |source| SandboxError::Listen { address: listen, source };
        let tcp = TcpListener::bind(listen).await.map_err(failed)?;
        let addr = tcp.local_addr().map_err(failed)?;
        let routes = host::routes(&self.shared);
        // It ends with the sandbox, which has nothing to learn from how.
        let _served =
            tokio::spawn(server::serve(vec![tcp], server::plain, routes, LIMITS, self.stop.clone()));
        let header = self.shared.identity_header.clone();
        Ok(IdentityService { endpoint: format!("http://{addr}/msi/token"), header })
    }

    /// A token by which the app that opens the vault proves itself, as Kubernetes projects one into a pod.
    pub fn federated_token(&self, lasts: TimeDelta) -> SecretString {
        let token: SecretString = format!("eyJmZWRlcmF0ZWQi.{}", self.world().fresh_id().simple()).into();
        let expires = Some(Clock::host().now() + lasts);
        self.world().add_assertion(&self.vault_identity.client_id, token.clone(), expires);
        token
    }

    /// Adds a partner whose token was signed in and stored some time ago, with an app secret that has
    /// half a year left.
    pub fn add_partner(&self, name: &str, age: TimeDelta) -> Partner {
        let world = self.world();
        let expires = Some(world.now() + APP_SECRET_LASTS);
        world.advance(-age);
        let partner = world.add_partner(name, &self.origin, expires);
        world.advance(age);
        partner
    }

    /// Adds people to try sign-ins with, beside the partner's own: a colleague with and one without a second
    /// factor, a guest, and somebody of another tenant.
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

    /// Ends it: no new connections, a moment for open requests, then none.
    pub async fn stop(mut self) {
        self.stop.cancel();
        // It ends by itself, soon after it was told to.
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
        .merge(key_vault::routes())
        .merge(partner_center::routes())
        .merge(controls::routes())
        .merge(inbox::routes())
        .merge(entra::routes())
        .merge(authorize::routes())
        .merge(device::routes())
        .layer(middleware::from_fn(wire::keep))
        .layer(middleware::map_response_with_state(Arc::clone(shared), dated))
        .with_state(Arc::clone(shared))
}

/// Every answer says what time it is in the world.
async fn dated(State(shared): State<Arc<SandboxState>>, mut response: Response) -> Response {
    wire::set(&mut response, "date", &wire::http_date(shared.world.now()));
    response
}

/// What `sandbox` is asked for.
#[derive(Clone, Debug)]
pub struct SandboxOptions {
    /// Where the authority, the configuration and the vault identity's secret are written.
    pub dir: PathBuf,
    /// Where to listen.
    pub listen: SocketAddr,
    /// Where the identity service of an Azure host is to listen, if at all.
    pub identity_listen: Option<SocketAddr>,
    /// How old the stored token is at the start.
    pub age: Duration,
    /// What the configuration is to say; its default where nothing is asked for.
    pub rotate_after: Option<Duration>,
    /// What the configuration is to say; its default where nothing is asked for.
    pub prove_every: Option<Duration>,
    /// Whether a spent token that comes back kills its family. Entra's does not.
    pub strict: bool,
    /// Whether nobody has signed in yet: there is no stored token to begin with.
    pub never_signed_in: bool,
    /// Whether the configuration sends alerts and heartbeats to the inbox.
    pub inbox: bool,
    /// How many tokens there are, each of a partner of its own; at least one.
    pub tokens: usize,
}

/// Serves a fresh world with its partners until `stop` ends; says once what to type next.
///
/// # Errors
/// Where the address is taken or the directory cannot be written.
pub async fn serve(
    options: &SandboxOptions,
    stop: impl Future<Output = ()>,
    say: impl FnOnce(&str),
) -> Result<(), SandboxError> {
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
    say(&sandbox.welcome(&written));
    stop.await;
    sandbox.stop().await;
    Ok(())
}

/// An instant as the controls show it.
fn shown(at: Timestamp) -> String {
    crate::process::clock::rfc3339(at)
}
