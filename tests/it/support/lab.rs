//! A sandbox in this process, and rotators that call it through the shipped adapters.

use std::net::SocketAddr;
use std::sync::Arc;

use chrono::TimeDelta;
use perennial::azure::cloud::Cloud;
use perennial::azure::entra::Entra;
use perennial::azure::host_assertions::HostAssertions;
use perennial::azure::identity::{Identity, IdentityHost};
use perennial::azure::key_vault::KeyVault;
use perennial::azure::partner_center::PartnerCenter;
use perennial::cli::azure_clients::AzureRotator;
use perennial::config::Config;
use perennial::net::address::Roots;
use perennial::net::calls::Calls;
use perennial::net::http::Http;
use perennial::process::clock::Clock;
use perennial::rotation::holds::Hold;
use perennial::rotation::rotate::Rotator;
use perennial::rotation::schedule::{Next, Timing};
use perennial::rotation::state::State;
use perennial::rotation::turns::Turns;
use perennial::sandbox::server::{ConfigRequest, Sandbox};
use perennial::sandbox::world::{Partner, World};
use perennial::token::managed::{ManagedToken, Policy};

use crate::support::harness;
use crate::support::harness::Scratch;

/// The sandbox and the adapters, which communicate only over HTTPS.
pub(crate) struct Lab {
    pub(crate) sandbox: Sandbox,
    pub(crate) clock: Clock,
    pub(crate) calls: Arc<Calls>,
    identity: Identity,
    cloud: Cloud,
    http: Arc<Http>,
    vault: Arc<KeyVault>,
    _identity_secret: Scratch,
}

impl Lab {
    pub(crate) async fn start() -> Self {
        let sandbox = any_sandbox().await;
        let dir = Scratch::new();
        // A configuration must have at least one token. This token is not used, because the tests configure their own.
        let unused = sandbox.add_partner("unused", TimeDelta::zero());
        let request = ConfigRequest {
            tokens: &[("unused", &unused)],
            rotate_after: None,
            prove_every: None,
            strict: false,
        };
        let written = sandbox.write_config(&dir.0, &request).expect("a directory of our own");
        let config = Config::load(&written.config, std::iter::empty()).expect("sound");
        let http = Arc::new(Http::new(Roots::File(written.ca), false).expect("a client"));
        let calls = Arc::new(Calls::default());
        let (identity, cloud) = (config.vault.identity, config.cloud);
        let vault = KeyVault::new(identity.clone(), cloud.clone(), Arc::clone(&http), Arc::clone(&calls));
        Self {
            sandbox,
            clock: Clock::host(),
            calls,
            identity,
            cloud,
            http,
            vault: Arc::new(vault),
            _identity_secret: dir,
        }
    }

    pub(crate) fn world(&self) -> &World {
        self.sandbox.world()
    }

    /// Returns a vault adapter that has not authenticated to any vault yet, as after a start.
    pub(crate) fn cold_vault(&self) -> Arc<KeyVault> {
        let (http, calls) = (Arc::clone(&self.http), Arc::clone(&self.calls));
        Arc::new(KeyVault::new(self.identity.clone(), self.cloud.clone(), http, calls))
    }

    pub(crate) fn rotator(&self, grant: &ManagedToken) -> AzureRotator {
        let (http, calls) = (&self.http, &self.calls);
        Rotator {
            issuer: Arc::new(Entra::new(
                self.cloud.authority.clone(),
                HostAssertions::new(IdentityHost::Imds, self.cloud.name, calls.clone()),
                http.clone(),
                calls.clone(),
            )),
            vault: Arc::clone(&self.vault),
            resource: Arc::new(PartnerCenter::new(
                self.cloud.partner_center.clone(),
                http.clone(),
                calls.clone(),
            )),
            clock: self.clock.clone(),
            timing: Timing::new(&grant.policy, &grant.name, 0.5),
            grant: Arc::new(grant.clone()),
            command: "run",
            rng: fastrand::Rng::with_seed(7),
            hold: Hold::default(),
            turns: Turns::default(),
            turn: None,
        }
    }

    /// Advances the time of the world and of the rotators.
    pub(crate) fn pass(&self, span: TimeDelta) {
        self.world().advance(span);
        self.clock.observe(self.world().now());
    }
}

/// Returns the configuration of a token with the default policy.
pub(crate) fn grant(name: &str, partner: &Partner) -> ManagedToken {
    harness::grant(name, partner, &Policy::default())
}

/// Starts a sandbox on any port. The sandbox's issuer accepts any number of redemptions.
pub(crate) async fn any_sandbox() -> Sandbox {
    let any_port = SocketAddr::from(([127, 0, 0, 1], 0));
    let sandbox = Sandbox::start(World::new(Clock::host(), 7), any_port).await.expect("a free port");
    sandbox.world().set_loop_limit(false);
    sandbox
}

/// Carries out steps until the next step is a wait.
pub(crate) async fn settle(rotator: &mut AzureRotator, mut state: State) -> State {
    for _ in 0..20 {
        match rotator.timing.next(&state, rotator.clock.now()) {
            Next::Wait(_) => return state,
            step => state = Box::pin(rotator.step(state, step)).await.state,
        }
    }
    panic!("it does not come to rest: {state:?}")
}
