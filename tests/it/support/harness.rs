//! A simulated world with one partner, and rotators that act in this world.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use chrono::TimeDelta;
use perennial::ports::Vault;
use perennial::process::clock::{Clock, Timestamp};
use perennial::rotation::holds::Hold;
use perennial::rotation::rotate::Rotator;
use perennial::rotation::schedule::Timing;
use perennial::rotation::state::Successor;
use perennial::rotation::turns::Turns;
use perennial::sandbox::world::{Actor, Partner, World};
use perennial::token::app::ManagedApp;
use perennial::token::managed::{Deployment, ManagedToken, Policy, TokenName, Verify};
use perennial::token::secret::{ConfigValue, Source};
use perennial::token::tags::Tags;
use perennial::token::version::{NewVersion, Provenance};

pub(crate) const VAULT: &str = "https://contoso.vault.azure.net";

pub(crate) type WorldRotator = Rotator<Actor, Actor, Actor>;

pub(crate) fn base() -> Timestamp {
    "2026-03-01T00:00:00Z".parse().expect("a time")
}

/// Returns the configuration of a token of the partner.
pub(crate) fn grant(name: &str, partner: &Partner, policy: &Policy) -> ManagedToken {
    ManagedToken {
        deployment: std::sync::Arc::new(Deployment::new(
            "https://login.microsoftonline.com/",
            "host",
            &format!("{VAULT}/secrets/first"),
        )),
        name: TokenName::new(name),
        tenant_id: partner.tenant_id.clone(),
        app: Arc::new(ManagedApp::with_secret(
            ConfigValue::Plain(partner.client_id.clone()),
            Source::Secret(partner.app_secret.clone()),
        )),
        secret: partner.refresh_token.clone(),
        scope: "https://api.partnercenter.microsoft.com/user_impersonation".into(),
        verify: Verify::PartnerCenter,
        user_oid: None,
        owner: None,
        app_secret_expires: None,
        strict: false,
        policy: policy.clone().into(),
    }
}

/// Returns a rotator with this name. `seed` determines the rotator's random numbers.
pub(crate) fn rotator(
    world: &World,
    clock: Clock,
    grant: &ManagedToken,
    actor: &str,
    seed: u64,
) -> WorldRotator {
    let mut rng = fastrand::Rng::with_seed(seed);
    let timing = Timing::new(&grant.policy, &grant.name, rng.f64());
    let actor = world.as_actor(actor);
    Rotator {
        issuer: actor.clone(),
        vault: actor.clone(),
        resource: actor,
        clock,
        grant: Arc::new(grant.clone()),
        timing,
        command: "run",
        rng,
        hold: Hold::default(),
        turns: Turns::default(),
        turn: None,
    }
}

/// Returns a world with a sign-in that is eight days old. The world's time stands still unless the test moves it.
pub(crate) fn still_world() -> (World, Partner) {
    let world = World::new(Clock::running(base(), 0.0), 7);
    let partner = world.add_partner("contoso", VAULT, Some(base() + TimeDelta::days(400)));
    world.advance(TimeDelta::days(8));
    (world, partner)
}

/// Returns a clock that stands still. The clock's time changes only when the clock learns the vault's time.
pub(crate) fn still_clock() -> Clock {
    Clock::running(base(), 0.0)
}

/// A directory for one test. Dropping this value removes the directory.
pub(crate) struct Scratch(pub(crate) PathBuf);

impl Scratch {
    pub(crate) fn new() -> Self {
        let name = format!("perennial-{}-{:016x}", std::process::id(), fastrand::u64(..));
        Self(Path::new(env!("CARGO_TARGET_TMPDIR")).join(name))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // The result is ignored, because a test may fail before it creates the directory.
        let _gone = std::fs::remove_dir_all(&self.0);
    }
}

/// Writes a successor, but does not list the versions afterwards, as if the process crashed. So this process does not
/// notice that the write has buried a sign-in.
pub(crate) async fn writes_and_dies(vault: &impl Vault, held: &Successor, partner: &Partner) {
    let provenance = Provenance {
        command: "run",
        issued_at: held.issued_at,
        signed_in_at: held.redeemed.signed_in_at(),
        tenant_id: &partner.tenant_id,
        client_id: &partner.client_id,
        user_oid: None,
        redeemed_from: Some(&held.redeemed.id),
        verdict: None,
        foreign: Tags::new(),
        rotation_id: held.rotation_id,
    };
    let (new, _) = NewVersion::compose(&held.token, Policy::default().lifetime, &provenance);
    vault.write(&partner.refresh_token, &new, held.rotation_id).await.expect("written");
}
