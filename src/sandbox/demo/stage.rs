//! The environment of the demo: the simulated services over HTTPS, a configuration, a fast clock, and daemons with the
//! adapters for Azure.
//!
//! This module owns the speed of the clock. Invariant: no request leaves this machine.

use std::io;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use tokio_util::sync::CancellationToken;

use super::DemoError;
use crate::azure::entra::Entra;
use crate::azure::graph::Graph;
use crate::azure::host_assertions::HostAssertions;
use crate::azure::identity::IdentityHost;
use crate::azure::key_vault::KeyVault;
use crate::azure::partner_center::PartnerCenter;
use crate::config::Config;
use crate::daemon::Daemon;
use crate::net::address::Roots;
use crate::net::calls::Calls;
use crate::net::http::Http;
use crate::process::clock::{Clock, Timestamp};
use crate::renewal::renewer::Renewer;
use crate::renewal::schedule::Target;
use crate::rotation::holds::Hold;
use crate::rotation::rotate::{Rotator, own_scope};
use crate::rotation::schedule::Timing;
use crate::rotation::turns::Turns;
use crate::sandbox::server::{ConfigRequest, Sandbox};
use crate::sandbox::world::{Partner, World};
use crate::serve::http;
use crate::serve::http::Extras;
use crate::status::board::StatusBoard;
use crate::token::app::RenewPolicy;
use crate::token::managed::ManagedToken;

/// The name of the story's token.
pub(super) const TOKEN: &str = "partner-center";

/// The partner's name. In the vault, the names of the partner's secrets begin with this name.
const PARTNER: &str = "contoso";

/// The seed of random numbers. Every demo uses the same numbers.
const SEED: u64 = 2026;

/// The lifetime of the app's first secret.
pub(super) const APP_SECRET_LASTS: TimeDelta = TimeDelta::days(120);

/// The interval, in real time, between two beats of the clock.
const BEAT: Duration = Duration::from_millis(1);

/// The longest time that the clock runs after a beat, in real time. If the next beat is late, for example on a busy
/// machine, the clock stops until that beat.
const LEASH: Duration = Duration::from_millis(12);

/// The longest time that the clock runs after a beat, measured by the clock itself. At a high speed, this constant
/// limits how late a proof can be.
const LEASH_BY_CLOCK: Duration = Duration::from_secs(40 * 60);

/// The largest factor by which the clock's speed grows per beat. The real length of a wait is fixed when the wait
/// begins. If the speed grew faster, a wait that begins at a low speed would end hours too late on the demo's clock.
const GATHERS: f64 = 1.15;

const DAY_SECONDS: f64 = 86_400.0;

/// Returns the moment at which the first person signs in.
fn first_day() -> Timestamp {
    Timestamp::from_timestamp(1_767_250_800, 0).expect("2026-01-01T07:00:00Z is in range")
}

/// Returns a listener for the status page, and the address of the page.
fn listen() -> io::Result<(TcpListener, String)> {
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    listener.set_nonblocking(true)?;
    let page = format!("http://{}/", listener.local_addr()?);
    Ok((listener, page))
}

/// The demo's environment.
pub(super) struct Stage {
    pub(super) sandbox: Sandbox,
    pub(super) world: World,
    pub(super) clock: Clock,
    pub(super) partner: Partner,
    /// The world's time at the start of the demo.
    pub(super) since: Timestamp,
    pub(super) files: Files,
    config: Config,
    /// The address of the status page. The daemons of the story use this address one after the other.
    pub(super) page: String,
    listener: TcpListener,
    /// The wanted speed in days per second. The clock may be slower, because it speeds up gradually.
    wanted: f64,
    speed: f64,
    /// Whether daemons that are started later renew the app's secret.
    pub(super) renews: bool,
}

impl Stage {
    /// Creates the environment with a partner whose user has just signed in.
    pub(super) async fn build(speed: f64) -> Result<Self, DemoError> {
        let since = first_day();
        let clock = Clock::running(since, 0.0);
        let world = World::new(clock.clone(), SEED);
        let sandbox = Sandbox::start(world.clone(), ([127, 0, 0, 1], 0).into()).await?;
        let partner = world.add_partner(PARTNER, &sandbox.origin, Some(since + APP_SECRET_LASTS));
        world.consent(&partner.tenant_id, &sandbox.vault_identity.client_id);
        let files = Files::make().map_err(DemoError::Directory)?;
        let tokens = [(TOKEN, &partner)];
        let request = ConfigRequest { tokens: &tokens, rotate_after: None, prove_every: None, strict: false };
        let written = sandbox.write_config(&files.0, &request)?;
        let config = Config::load(&written.config, std::iter::empty())?;
        let (listener, page) = listen().map_err(DemoError::Page)?;
        Ok(Self {
            sandbox,
            world,
            clock,
            partner,
            since,
            files,
            config,
            page,
            listener,
            wanted: speed,
            speed: speed.min(1.0),
            renews: false,
        })
    }

    /// Returns the token from the daemon's configuration.
    pub(super) fn grant(&self) -> &ManagedToken {
        &self.config.tokens[0]
    }

    /// Starts a daemon that, like a new process, knows only the configuration. `nth` gives each daemon its own random
    /// numbers.
    pub(super) fn start(&self, nth: u32) -> Result<Process, DemoError> {
        let roots = self.config.cloud.ca_file.clone().map_or(Roots::System, Roots::File);
        let http = Arc::new(Http::new(roots, false)?);
        let calls = Arc::new(Calls::default());
        let cloud = self.config.cloud.clone();
        let sample = f64::from(nth % 4) / 4.0;
        let (grant, identity) = (self.grant().clone(), self.config.vault.identity.clone());
        let entra = Arc::new(Entra::new(
            cloud.authority.clone(),
            HostAssertions::new(IdentityHost::Imds, cloud.name, calls.clone()),
            http.clone(),
            calls.clone(),
        ));
        let graph = Graph::new(cloud.clone(), identity.clone(), entra.clone(), http.clone(), calls.clone());
        let rotator = Rotator {
            issuer: entra.clone(),
            resource: Arc::new(PartnerCenter::new(cloud.partner_center.clone(), http.clone(), calls.clone())),
            vault: Arc::new(KeyVault::new(identity, cloud, http, calls.clone())),
            clock: self.clock.clone(),
            timing: Timing::new(&grant.policy, &grant.name, sample),
            grant: Arc::new(grant),
            command: "run",
            rng: fastrand::Rng::with_seed(SEED + u64::from(nth)),
            hold: Hold::default(),
            turns: Turns::default(),
            turn: None,
        };
        let (app, vault) = (rotator.grant.app.clone(), rotator.vault.clone());
        let mut daemon = Daemon::new(vec![rotator], &self.clock, |board| board);
        if self.renews {
            daemon.renew_by(Renewer {
                issuer: entra,
                vault,
                directory: Arc::new(graph),
                clock: self.clock.clone(),
                app,
                name: TOKEN.into(),
                target: Target {
                    at: self.partner.app_secret.clone(),
                    policy: renew_policy(),
                    is_forced: false,
                },
                tenant: self.partner.tenant_id.clone(),
                graph: self.sandbox.origin.to_string(),
                vault_client_id: None,
                scope: own_scope(&self.grant().scope),
                command: "run",
                turns: Turns::default(),
            });
        }
        Ok(Process { daemon, calls, served: CancellationToken::new() })
    }

    /// Serves a daemon's endpoints until the daemon ends.
    pub(super) fn show(&self, daemon: &Process) -> Result<(), DemoError> {
        let listener = self.listener.try_clone().and_then(tokio::net::TcpListener::from_std);
        let listener = listener.map_err(DemoError::Page)?;
        let extras = Extras { calls: daemon.calls.clone(), status: true };
        tokio::spawn(http::serve(listener, daemon.board().clone(), extras, daemon.served.clone()));
        Ok(())
    }

    /// Sets the clock's speed in days per second. The clock slows down at the next beat, but speeds up gradually over
    /// several beats.
    pub(super) fn run_at(&mut self, speed: f64) {
        self.wanted = speed;
    }

    /// Lets the clock run until the next beat, and waits for this beat.
    pub(super) async fn beat(&mut self) {
        self.pace();
        tokio::time::sleep(BEAT).await;
    }

    fn pace(&mut self) {
        self.speed = self.wanted.min(self.speed * GATHERS);
        let factor = self.speed * DAY_SECONDS;
        self.clock.pace(factor, LEASH.min(LEASH_BY_CLOCK.div_f64(factor)));
    }
}

/// Returns the policy of the renewal. With this policy, the secret that the operator stored is due for renewal at
/// once. The new secret stays valid until the end of the demo.
fn renew_policy() -> RenewPolicy {
    RenewPolicy { lifetime: TimeDelta::days(700), before: TimeDelta::days(100), ..RenewPolicy::default() }
}

/// A daemon of the story. Dropping this value ends all tasks of the daemon at once, like a power failure.
pub(super) struct Process {
    daemon: Daemon,
    calls: Arc<Calls>,
    /// Stops the server of the daemon's endpoints.
    served: CancellationToken,
}

impl Process {
    pub(super) fn board(&self) -> &StatusBoard {
        self.daemon.board()
    }

    /// Whether a task of the daemon has ended without a stop request. Such an end is always a bug.
    pub(super) fn has_ended(&self) -> bool {
        self.daemon.has_ended()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.served.cancel();
    }
}

/// The directory for the demo's files. Dropping this value removes the directory.
pub(super) struct Files(PathBuf);

impl Files {
    fn make() -> io::Result<Self> {
        use std::os::unix::fs::DirBuilderExt as _;
        let name = format!("perennial-demo-{}-{:08x}", std::process::id(), fastrand::u32(..));
        let path = std::env::temp_dir().join(name);
        std::fs::DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Self(path))
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    /// Returns the names of the directory's files in alphabetical order.
    pub(super) fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(&self.0).into_iter().flatten().flatten();
        let mut names: Vec<String> =
            entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        // A failure is ignored, because the operating system cleans up its directory for temporary files.
        let _left = std::fs::remove_dir_all(&self.0);
    }
}
