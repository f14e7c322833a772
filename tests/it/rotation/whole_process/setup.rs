//! Creates the world and the processes. The world has one to forty tokens in two vaults. Tokens may share apps and
//! users.

use std::time::Duration;

use chrono::TimeDelta;
use perennial::process::clock::Clock;
use perennial::sandbox::world::{Partner, World};
use perennial::token::managed::{ManagedToken, Policy};
use perennial::token::secret::{SecretAddress, SecretName, Source};

use super::receivers::Receiver;
use super::{Instance, Simulation, checks, deeds, people};
use crate::support::harness;

pub(super) const VAULTS: [&str; 2] = [harness::VAULT, "https://fabrikam.vault.azure.net"];
/// The vault for the secrets of apps.
pub(super) const APPS: &str = "https://apps.vault.azure.net";

/// One configured token and its partner.
pub(super) struct Token {
    pub(super) name: String,
    pub(super) partner: Partner,
    pub(super) grant: ManagedToken,
}

impl Token {
    pub(super) fn secret(&self) -> &SecretAddress {
        &self.partner.refresh_token
    }

    pub(super) fn prove_every(&self) -> TimeDelta {
        TimeDelta::from_std(self.grant.policy.prove_every).unwrap_or_default()
    }
}

/// Returns the default policy or another realistic policy.
fn any_policy(rng: &mut fastrand::Rng) -> Policy {
    const HOUR: u64 = 3600;
    let usual = Policy::default();
    if rng.u8(0..4) > 0 {
        return usual;
    }
    Policy {
        rotate_after: Duration::from_secs([1, 3, 14, 30][rng.usize(0..4)] * 24 * HOUR),
        prove_every: Duration::from_secs([3, 12, 24][rng.usize(0..3)] * HOUR),
        ..usual
    }
}

fn address(vault: &str, name: &str) -> SecretAddress {
    SecretAddress { vault: vault.into(), name: SecretName::parse(name).expect("letters, digits and dashes") }
}

/// Adds a new partner, or a partner who shares the app, and perhaps the user, of an earlier partner.
fn any_partner(world: &World, rng: &mut fastrand::Rng, name: &str, before: &[Token]) -> Partner {
    let vault = VAULTS[usize::from(rng.u8(0..3) == 0)];
    let shared =
        (!before.is_empty() && rng.u8(0..3) == 0).then(|| &before[rng.usize(0..before.len())].partner);
    let Some(other) = shared else {
        let ends = world.now() + TimeDelta::days(rng.i64(60..700));
        let mut partner = world.add_partner(name, vault, Some(ends));
        if rng.u8(0..3) == 0 {
            let value = world.newest_value(&partner.app_secret).expect("stored");
            partner.app_secret = address(APPS, partner.app_secret.name.as_str());
            world.store_app_secret(&partner.app_secret, value.expose(), Some(ends));
        }
        return partner;
    };
    let mut partner =
        Partner { refresh_token: address(vault, &format!("{name}-refresh-token")), ..other.clone() };
    if rng.bool() {
        partner.user_oid =
            world.add_user(&partner.tenant_id, &format!("{name}@{name}.onmicrosoft.com"), true);
    }
    world.human_signs_in(&partner).expect("may sign in");
    partner
}

fn any_token(world: &World, rng: &mut fastrand::Rng, nth: usize, before: &[Token]) -> Token {
    let name = format!("t{nth}");
    let partner = any_partner(world, rng, &name, before);
    let mut grant = harness::grant(&name, &partner, &any_policy(rng));
    grant.owner = Some(format!("team-{}", rng.u8(0..3)));
    grant.user_oid = (rng.u8(0..4) == 0).then(|| partner.user_oid.clone());
    Token { name, partner, grant }
}

impl Simulation {
    pub(super) fn new(seed: u64) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let world = World::new(Clock::running(harness::base(), 1.0), seed);
        VAULTS.iter().chain([&APPS]).for_each(|vault| world.add_vault(vault));
        let count = [1, 1, 2, 3, 5, 8, 13, 21, 40][rng.usize(0..9)];
        let mut tokens = Vec::new();
        for nth in 0..count {
            tokens.push(any_token(&world, &mut rng, nth, &tokens));
        }
        world.set_latency(Duration::from_millis(rng.u64(0..1500)));
        let instances = if rng.u8(0..4) == 0 { 2 } else { 1 };
        let now = world.now();
        let instances =
            (0..instances).map(|nth| Instance { name: format!("run-{nth}"), running: None, back_at: now });
        let receivers = ["pager", "desk", "mailbox"].map(|name| Receiver::new(name, &world)).into();
        let secret = Source::File(keys());
        let nature = deeds::Nature::new(&mut rng, count);
        let checks = checks::Checks::new(count, now);
        Self {
            world,
            tokens,
            instances: instances.collect(),
            receivers,
            secret,
            starts: 0,
            nature,
            people: people::People::default(),
            checks,
            rng,
        }
    }
}

/// Returns a file whose content is valid as an address and as a key. Each sink reads the file at each use.
fn keys() -> std::path::PathBuf {
    static WRITTEN: std::sync::OnceLock<std::path::PathBuf> = std::sync::OnceLock::new();
    let write = || {
        let dir = harness::Scratch::new();
        std::fs::create_dir_all(&dir.0).expect("a directory of our own");
        let file = dir.0.join("address");
        std::fs::write(&file, "https://receiver.example/hook").expect("a file of our own");
        // The directory is not removed, because the tests read the file until the end.
        std::mem::forget(dir);
        file
    };
    WRITTEN.get_or_init(write).clone()
}
