//! Simulates years of failures in seconds. The daemon's loop runs over the simulated world with tokio's paused clock.
//!
//! The seed determines the policy, faults, crashes, people's actions and the number of instances. If a promise is
//! broken, the message names the seed, and `SIM_SEED=n cargo test simulation` replays it. `SIM_SEEDS=m` runs `m` seeds,
//! starting with the seed in `SIM_SEED`.

mod checks;
mod nature;

use std::num::NonZero;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use chrono::TimeDelta;
use perennial::ports::failure::Remedy;
use perennial::process::clock::{Clock, Timestamp};
use perennial::rotation::daemon::Signals;
use perennial::rotation::liveness::Liveness;
use perennial::rotation::schedule::Next;
use perennial::rotation::state::State;
use perennial::rotation::told::Told;
use perennial::rotation::{daemon, grace};
use perennial::sandbox::world::{Call, CallOutcome, Operation, Partner, World};
use perennial::token::managed::{ManagedToken, Policy};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::support::harness;
use perennial::rotation::event::Event;

/// The number of seeds in a normal test run. The command `just sim` runs more seeds.
const SEEDS: u64 = 40;
const HOURS: i64 = 365 * 24;

/// What an instance last reported about its token.
#[derive(Clone, Default)]
struct Seen {
    remedy: Option<Remedy>,
    /// Since when the instance has held a successor.
    unsaved_since: Option<Timestamp>,
    /// When the instance last reported that a person must act.
    awaited_at: Option<Timestamp>,
    started_at: Option<Timestamp>,
}

/// One running instance of the daemon.
struct Instance {
    name: String,
    task: JoinHandle<Option<State>>,
    stop: CancellationToken,
    /// The sender of reload requests, which must live as long as the instance.
    reload: watch::Sender<u64>,
    seen: Arc<Mutex<Seen>>,
    starts: u64,
    clock: Clock,
}

/// Returns the default policy or another realistic policy.
fn any_policy(rng: &mut fastrand::Rng) -> Policy {
    const HOUR: u64 = 3600;
    let usual = Policy::default();
    if rng.bool() {
        return usual;
    }
    Policy {
        rotate_after: Duration::from_secs([1, 3, 14, 30][rng.usize(0..4)] * 24 * HOUR),
        prove_every: Duration::from_secs([3, 12, 24][rng.usize(0..3)] * HOUR),
        ..usual
    }
}

struct Simulation {
    world: World,
    partner: Partner,
    grant: ManagedToken,
    rng: fastrand::Rng,
    instances: Vec<Instance>,
    trouble: nature::Trouble,
    checks: checks::Checks,
}

impl Simulation {
    fn new(seed: u64) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let world = World::new(Clock::running(harness::base(), 1.0), seed);
        let secret_ends = harness::base() + TimeDelta::days(120);
        let partner = world.add_partner("contoso", harness::VAULT, Some(secret_ends));
        let grant = harness::grant("contoso", &partner, &any_policy(&mut rng));
        world.set_latency(Duration::from_millis(rng.u64(0..1500)));
        let count = if rng.u8(0..3) == 0 { 2 } else { 1 };
        let trouble = nature::Trouble::new(&mut rng);
        let mut simulation = Self {
            world,
            partner,
            grant,
            rng,
            instances: Vec::new(),
            trouble,
            checks: checks::Checks::default(),
        };
        for nth in 0..count {
            let instance = simulation.start(&format!("instance-{nth}"), 0);
            simulation.instances.push(instance);
        }
        simulation
    }

    /// Starts a process without an earlier state, on a host whose clock may be wrong.
    fn start(&mut self, name: &str, starts: u64) -> Instance {
        let skew = if self.rng.u8(0..8) == 0 { nature::any_skew(&mut self.rng) } else { TimeDelta::zero() };
        let clock = Clock::running(self.world.now() + skew, 1.0);
        let chance = self.rng.u64(..);
        let rotator = harness::rotator(&self.world, clock.clone(), &self.grant, name, chance);
        let stop = CancellationToken::new();
        let (reload, reloads) = watch::channel(0);
        let seen = Arc::new(Mutex::new(Seen { started_at: Some(self.world.now()), ..Seen::default() }));
        let signals = Signals { stop: stop.clone(), reload: reloads, told: Told::default() };
        let (world, shown) = (self.world.clone(), seen.clone());
        let publish = move |state: &State, _: &Next, _: &[Event]| {
            let mut shown = shown.lock().expect("not poisoned");
            shown.remedy = state.failure().map(|failure| failure.remedy);
            shown.unsaved_since = state.is_unsaved().then(|| shown.unsaved_since.unwrap_or(world.now()));
            if state.awaits_person() {
                shown.awaited_at = Some(world.now());
            }
        };
        let task = tokio::spawn(daemon::keep(
            rotator,
            State::unknown(clock.now()),
            signals,
            Liveness::default(),
            publish,
        ));
        Instance { name: name.to_owned(), task, stop, reload, seen, starts: starts + 1, clock }
    }

    /// Kills the process and starts it again.
    fn crash(&mut self, nth: usize) {
        let gone = &self.instances[nth];
        gone.task.abort();
        self.come_back(nth);
    }

    fn come_back(&mut self, nth: usize) {
        let gone = &self.instances[nth];
        let (name, starts) = (gone.name.clone(), gone.starts);
        // The new process inherits `awaited_at`, because the calls of the previous process also count toward the daily
        // limit.
        let awaited_at = gone.seen.lock().expect("not poisoned").awaited_at;
        let back = self.start(&name, starts);
        back.seen.lock().expect("not poisoned").awaited_at = awaited_at;
        self.instances[nth] = back;
    }

    /// Stops the process and starts it again.
    async fn restart(&mut self, nth: usize) {
        let leaving = &mut self.instances[nth];
        leaving.stop.cancel();
        let grace = tokio::time::timeout(grace::GRACE, &mut leaving.task).await;
        if grace.is_err() {
            leaving.task.abort();
        }
        self.come_back(nth);
    }

    async fn year(mut self) -> Result<(), String> {
        for hour in 0..HOURS {
            tokio::time::sleep(Duration::from_secs(3600)).await;
            self.happen(hour).await;
            self.check(hour).map_err(|broken| format!("{broken}\n{}", self.record()))?;
        }
        Ok(())
    }
}

impl Simulation {
    /// Returns the events before a failure, for its analysis.
    fn record(&self) -> String {
        let short = |text: &str| text.chars().take(6).collect::<String>();
        let mut lines = self.trouble.deeds.iter().rev().take(8).rev().cloned().collect::<Vec<_>>();
        let versions = self.world.versions_of(&self.partner.refresh_token);
        for version in versions.iter().rev().take(12).rev() {
            let id = perennial::token::version::VersionId(version.id.as_str().into());
            let writer = self.world.writer_of(&id).unwrap_or_default();
            let from = version.tags.get("redeemed-from").map(&short).unwrap_or_default();
            let refused = version.tags.get("refused-kind").unwrap_or_default();
            let enabled = version.attributes.enabled;
            lines.push(format!(
                "{} {} by {writer} from {from} {refused} enabled={enabled}",
                short(&version.id),
                version.created
            ));
        }
        let calls = self.world.calls_since(self.world.now() - TimeDelta::hours(40));
        let telling = |call: &&Call| call.operation != Operation::Get || call.outcome != CallOutcome::Done;
        let calls: Vec<&Call> = calls.iter().filter(telling).collect();
        lines.extend(calls.iter().rev().take(50).rev().map(|call| {
            format!(
                "{} {} {:?} {} {}",
                call.at.format("%d %H:%M:%S"),
                call.actor,
                call.operation,
                call.subject,
                call.outcome
            )
        }));
        lines.join("\n")
    }
}

fn simulate(seed: u64) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime needs nothing");
    runtime
        .block_on(async { Simulation::new(seed).year().await })
        .map_err(|broken| format!("seed {seed}: {broken}"))
}

#[test]
fn no_promise_is_broken_in_a_year_of_failures() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seeds = match (number("SIM_SEED"), number("SIM_SEEDS")) {
        (Some(first), None) => first..first + 1,
        (first, count) => {
            let first = first.unwrap_or(0);
            first..first + count.unwrap_or(SEEDS)
        }
    };
    let next = AtomicU64::new(seeds.start);
    let some = || {
        let mine = std::iter::from_fn(|| Some(next.fetch_add(1, Ordering::Relaxed)));
        let mine = mine.take_while(|seed| seeds.contains(seed));
        mine.filter_map(|seed| simulate(seed).err()).take(5).collect::<Vec<_>>()
    };
    let workers = std::thread::available_parallelism().map_or(1, NonZero::get);
    let broken: Vec<String> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..workers).map(|_| scope.spawn(some)).collect();
        workers.into_iter().flat_map(|worker| worker.join().expect("it tells by its result")).collect()
    });

    assert!(broken.is_empty(), "{}", broken.join("\n"));
}
