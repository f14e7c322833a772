//! Simulates many renewals in random worlds. Entra has eight front ends, which learn of a secret at different times and
//! sometimes forget it. There are lost answers, outages, crashes, two instances, and two deployments that share the
//! app.
//!
//! Three kinds of readers use the secret. Perennial itself uses the newest version. While Entra rejects the newest
//! version, Perennial uses an older version. A script reads the newest version each time. A program keeps the value for
//! up to six days.
//!
//! `PERENNIAL_RENEWALS` sets the number of renewals, and `PERENNIAL_SEED` the first seed.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use chrono::TimeDelta;
use perennial::net::no_response::NoResponse;
use perennial::process::clock::Clock;
use perennial::renewal::daemon::keep_renewed;
use perennial::renewal::health::Part;
use perennial::renewal::state::RenewalState;
use perennial::sandbox::world::{AppSecret, Fault, FaultEffect, Operation, Partner, Peer, When, World};
use perennial::token::secret::SecretAddress;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio_util::sync::CancellationToken;

use super::{is_accepted, newest_value, orphans, partner_in, policy, renewer, second_secret, secrets_of};
use crate::support::harness::base;

/// The policy of the simulation: a renewal every twelve days.
pub(super) const LIFETIME: i64 = 20;
pub(super) const BEFORE: i64 = 8;
/// The number of simulated days in each world.
pub(super) const DAYS: i64 = 200;

/// How often Perennial removed a new secret without using it, counted by reason.
type GaveUp = Arc<Mutex<BTreeMap<String, usize>>>;

/// The results of all worlds.
#[derive(Debug, Default)]
pub(super) struct Totals {
    pub(super) renewals: usize,
    crashes: usize,
    faults: usize,
    pub(super) requests: usize,
    pub(super) refused: usize,
    gave_up: GaveUp,
}

pub(super) struct Simulation {
    seed: u64,
    pub(super) world: World,
    clock: Clock,
    pub(super) partner: Partner,
    rng: fastrand::Rng,
    totals: Rc<RefCell<Totals>>,
}

impl Simulation {
    pub(super) fn new(seed: u64, totals: Rc<RefCell<Totals>>) -> Self {
        let clock = Clock::running(base(), 1.0);
        let world = World::new(clock.clone(), seed);
        let mut rng = fastrand::Rng::with_seed(seed);
        world.set_propagation(TimeDelta::seconds(rng.i64(0..=600)));
        if rng.bool() {
            world.set_flapping(0.05, TimeDelta::minutes(10));
        }
        let partner = partner_in(&world, TimeDelta::days(rng.i64(7..20)));
        Self { seed, world, clock, partner, rng, totals }
    }

    /// Runs one instance, which crashes and starts again at random times.
    fn keep_instance(&self, name: &'static str, at: SecretAddress, crashes: bool) {
        let (world, clock, partner, totals) =
            (self.world.clone(), self.clock.clone(), self.partner.clone(), Rc::clone(&self.totals));
        let mut rng = fastrand::Rng::with_seed(self.seed ^ name.len() as u64);
        let gave_up = Arc::clone(&self.totals.borrow().gave_up);
        let victim = Victim::default();
        let of_hook = victim.clone();
        if crashes {
            world.tell_calls_to(move |call, when| {
                if when == When::After && call.actor == name {
                    of_hook.count();
                }
            });
        }
        tokio::task::spawn_local(async move {
            let (_reload, reloads) = watch::channel(0);
            loop {
                let renewer = renewer(&world, &clock, &partner, &at, name, policy(LIFETIME, BEFORE));
                let told = Arc::new(Mutex::new(String::new()));
                let publish = {
                    let (told, gave_up) = (Arc::clone(&told), Arc::clone(&gave_up));
                    move |state: &RenewalState| note(state, &told, &gave_up)
                };
                let task =
                    tokio::spawn(keep_renewed(renewer, CancellationToken::new(), reloads.clone(), publish));
                victim.arm(task.abort_handle(), crashes.then(|| rng.usize(1..400)));
                let _ended = task.await;
                totals.borrow_mut().crashes += 1;
                tokio::time::sleep(Duration::from_secs(60 * rng.u64(1..600))).await;
            }
        });
    }

    /// Runs the readers of a secret. Counts each rejection, and prints it if `is_told` is true.
    pub(super) fn keep_readers(&self, at: SecretAddress, is_told: bool) {
        let (world, partner, totals, seed) =
            (self.world.clone(), self.partner.clone(), Rc::clone(&self.totals), self.seed);
        let mut rng = fastrand::Rng::with_seed(seed ^ 0x63);
        tokio::task::spawn_local(async move {
            let mut kept = (newest_value(&world, &at), world.now());
            loop {
                tokio::time::sleep(Duration::from_secs(60 * rng.u64(20..100))).await;
                if world.now() - kept.1 > TimeDelta::hours(rng.i64(24 * 3..24 * 6)) {
                    kept = (newest_value(&world, &at), world.now());
                }
                for (who, value) in [("script", newest_value(&world, &at)), ("program", kept.0.clone())] {
                    let works = is_accepted(&world, &partner, &value);
                    let mut totals = totals.borrow_mut();
                    totals.requests += 1;
                    totals.refused += usize::from(!works);
                    if !works && is_told {
                        eprintln!("seed {seed}: the {who}'s secret is refused at {}", world.now());
                    }
                }
            }
        });
    }

    /// Injects faults of every service at random times, each for at most a few hours.
    pub(super) fn keep_faults(&self) {
        let (world, totals) = (self.world.clone(), Rc::clone(&self.totals));
        let mut rng = fastrand::Rng::with_seed(self.seed ^ 7);
        tokio::task::spawn_local(async move {
            loop {
                tokio::time::sleep(Duration::from_secs(60 * rng.u64(30..2000))).await;
                world.inject(any_fault(&mut rng, &world));
                totals.borrow_mut().faults += 1;
            }
        });
    }

    async fn run(mut self) {
        let at = self.partner.app_secret.clone();
        let other = second_secret(&self.partner);
        let two_deployments = self.rng.bool();
        if two_deployments {
            let ends = self.world.now() + TimeDelta::days(10);
            self.world.add_named_secret(&self.partner.client_id, None, "Oth~er", Some(ends));
            self.world.store_app_secret(&other, "Oth~er", Some(ends));
            self.keep_instance("elsewhere", other.clone(), false);
        }
        let crashes = self.rng.bool();
        self.keep_instance("one", at.clone(), crashes);
        if self.rng.bool() {
            self.keep_instance("second", at.clone(), false);
        }
        self.keep_readers(at.clone(), true);
        self.keep_faults();
        let ends = self.world.now() + TimeDelta::days(DAYS);
        while self.world.now() < ends {
            tokio::time::sleep(Duration::from_secs(6 * 3600)).await;
            self.check(&at);
            if two_deployments {
                self.check(&other);
            }
            self.world.forget_calls_before(self.world.now());
        }
        self.totals.borrow_mut().renewals += self.world.versions_of(&at).len() - 1;
    }

    fn check(&self, at: &SecretAddress) {
        super::check_now(&self.world, &self.partner, at, &self.seed);
        let is_old = |one: &&AppSecret| one.starts + TimeDelta::hours(48) < self.world.now();
        let orphans = orphans(&self.world, &self.partner, at);
        let old: Vec<_> = orphans.iter().filter(is_old).map(|one| (&one.name, one.starts)).collect();
        assert!(
            old.is_empty(),
            "seed {}: orphans after two days at {}: {old:?}",
            self.seed,
            self.world.now()
        );
        let ours = secrets_of(&self.world, &self.partner).len();
        assert!(ours < 30, "seed {}: {ours} secrets on the app", self.seed);
    }
}

/// Counts the reasons why new secrets were removed without being used.
fn note(state: &RenewalState, told: &Mutex<String>, gave_up: &GaveUp) {
    let trouble = state.health.troubles.get(&Part::Renewing).map(|trouble| trouble.failure.summary.clone());
    let trouble = trouble.filter(|summary| summary.contains("without using it")).unwrap_or_default();
    let mut told = told.lock().expect("no panic");
    if *told != trouble {
        if !trouble.is_empty() {
            *gave_up.lock().expect("no panic").entry(trouble.clone()).or_default() += 1;
        }
        *told = trouble;
    }
}

/// An instance that crashes after a number of calls.
#[derive(Clone, Default)]
pub(super) struct Victim {
    handle: Arc<Mutex<Option<AbortHandle>>>,
    calls_left: Arc<AtomicUsize>,
}

impl Victim {
    pub(super) fn arm(&self, handle: AbortHandle, calls: Option<usize>) {
        self.calls_left.store(calls.unwrap_or(usize::MAX), Ordering::Relaxed);
        *self.handle.lock().expect("no panic") = Some(handle);
    }

    pub(super) fn count(&self) {
        if self.calls_left.fetch_sub(1, Ordering::Relaxed) == 1
            && let Some(handle) = self.handle.lock().expect("no panic").take()
        {
            handle.abort();
        }
    }
}

fn any_fault(rng: &mut fastrand::Rng, world: &World) -> Fault {
    let peer = [Peer::Graph, Peer::KeyVault, Peer::Entra][rng.usize(0..3)];
    let operations = match peer {
        Peer::Graph => [Operation::GetApplication, Operation::AddPassword, Operation::RemovePassword],
        Peer::KeyVault => [Operation::Get, Operation::List, Operation::Set],
        _ => [Operation::Identity; 3],
    };
    let what = match rng.u8(0..4) {
        0 => FaultEffect::Status { status: 503, retry_after: None },
        1 => FaultEffect::Status { status: 429, retry_after: Some(Duration::from_secs(rng.u64(1..600))) },
        _ => FaultEffect::Transport(NoResponse::TimedOut),
    };
    let fault = Fault::of(peer, what).on(operations[rng.usize(0..3)]);
    let fault = if rng.bool() { fault.after_effect() } else { fault };
    let fault = if rng.bool() { fault.times(rng.u32(1..5)) } else { fault };
    fault.until(world.now() + TimeDelta::minutes(rng.i64(1..300)))
}

#[test]
fn renewals_lose_no_redemption_and_leave_no_secret_behind() {
    let number =
        |name: &str, usual| std::env::var(name).map_or(usual, |text| text.parse().expect("a number"));
    let (wanted, first) = (number("PERENNIAL_RENEWALS", 100), number("PERENNIAL_SEED", 1) as u64);
    let totals = Rc::new(RefCell::new(Totals::default()));
    let began = tokio::time::Instant::now();
    let mut seed = first;
    while totals.borrow().renewals < wanted {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        let runtime = runtime.expect("a runtime");
        let totals = Rc::clone(&totals);
        tokio::task::LocalSet::new()
            .block_on(&runtime, async move { Simulation::new(seed, totals).run().await });
        seed += 1;
    }
    eprintln!("seeds {first} to {}: {:?} in {:.1?}", seed - 1, totals.borrow(), began.elapsed());
    assert_eq!(totals.borrow().refused, 0);
}
