//! Simulates the whole process: the daemon with its alerts, as `run` starts it. The daemon runs over the simulated
//! world.
//!
//! The seed determines the tokens, their shared apps and users, the number of instances, and the clocks of the hosts.
//! The seed also determines the faults, the actions of people, and the failures of the alert receivers. Each hour, the
//! checks compare every surface (docs/surfaces.md) with the world. `SIM_SEED=n cargo test whole_process` replays one
//! seed. `SIM_SEEDS=m` runs `m` seeds, starting with the seed in `SIM_SEED`. `SIM_DAYS=d` sets the number of days for
//! each seed.

mod checks;
mod deeds;
mod people;
mod receivers;
mod setup;
mod surfaces;
mod truth;

use std::num::NonZero;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use chrono::TimeDelta;
use perennial::alert::notifier::{Notifier, keep_told};
use perennial::daemon::Daemon;
use perennial::process::clock::{Clock, Timestamp};
use perennial::sandbox::world::{Call, CallOutcome, Operation, World};
use perennial::token::secret::Source;

use self::receivers::{Link, Receiver};
use self::setup::Token;
use crate::support::harness;

/// The number of seeds in a normal test run. The command `just sim-process` runs more seeds.
const SEEDS: u64 = 6;
const DAYS: i64 = 20;

/// A running daemon.
struct Running {
    daemon: Daemon,
    clock: Clock,
    started_at: Timestamp,
    /// The number of this start, counted over all instances.
    start: u64,
}

/// A host on which the daemon runs or will be started again.
struct Instance {
    name: String,
    running: Option<Running>,
    /// When the daemon is started again.
    back_at: Timestamp,
}

struct Simulation {
    world: World,
    rng: fastrand::Rng,
    tokens: Vec<Token>,
    instances: Vec<Instance>,
    receivers: Vec<Receiver>,
    /// The source of the receivers' addresses and keys.
    secret: Source,
    starts: u64,
    nature: deeds::Nature,
    people: people::People,
    checks: checks::Checks,
}

impl Simulation {
    /// Starts a process on its host, whose clock may be wrong.
    fn start(&mut self, nth: usize) {
        let world = self.world.clone();
        let skew = if self.rng.u8(0..8) == 0 { deeds::any_skew(&mut self.rng) } else { TimeDelta::zero() };
        let clock = Clock::running(world.now() + skew, 1.0);
        let chance = self.rng.u64(..);
        let name = self.instances[nth].name.clone();
        let rotators = self
            .tokens
            .iter()
            .map(|token| harness::rotator(&world, clock.clone(), &token.grant, &name, chance));
        let names = self.receivers.iter().map(|receiver| receiver.name.into());
        let mut daemon = Daemon::new(rotators.collect(), &clock, |board| board.with_sinks(names));
        self.starts += 1;
        for (place, receiver) in self.receivers.iter().enumerate() {
            let outbound = Link { to: receiver.clone(), start: self.starts };
            let here = self.tokens[0].grant.deployment.clone();
            let notifier = Notifier { sink: receiver.sink(&self.secret), here, outbound };
            daemon.notify_by(keep_told(notifier, daemon.board().clone(), place));
        }
        let started_at = world.now();
        self.checks.starts.push((started_at, name.clone()));
        self.instances[nth].running = Some(Running { daemon, clock, started_at, start: self.starts });
        self.nature.note(started_at, &format!("{name} is started, its host's clock off by {skew}"));
    }

    /// Crashes a process, as in a power failure.
    fn crash(&mut self, nth: usize, away: TimeDelta) {
        self.note_marks();
        let instance = &mut self.instances[nth];
        instance.running = None;
        instance.back_at = self.world.now() + away;
    }

    async fn stop(&mut self, nth: usize, away: TimeDelta) {
        self.note_marks();
        if let Some(mut leaving) = self.instances[nth].running.take() {
            leaving.daemon.stop().await;
        }
        self.instances[nth].back_at = self.world.now() + away;
    }

    fn start_who_is_due(&mut self) {
        let now = self.world.now();
        for nth in 0..self.instances.len() {
            let instance = &self.instances[nth];
            if instance.running.is_none() && instance.back_at <= now {
                self.start(nth);
            }
        }
    }

    fn running(&self) -> impl Iterator<Item = (&Instance, &Running)> {
        self.instances.iter().filter_map(|instance| Some((instance, instance.running.as_ref()?)))
    }

    async fn days(mut self, days: i64) -> Result<(), String> {
        for hour in 0..days * 24 {
            let told = |broken: String, of: &Self| format!("hour {hour}: {broken}\n{}", of.record());
            self.hour(hour).await;
            if let Err(broken) = self.check(hour).await {
                return Err(told(broken, &self));
            }
        }
        Ok(())
    }

    /// Simulates one hour. The events of an hour happen at a random minute.
    async fn hour(&mut self, hour: i64) {
        let at = self.rng.u64(0..60);
        for minute in 0..60 {
            if minute == at {
                self.happen(hour).await;
                self.people_act().await;
            }
            self.start_who_is_due();
            self.every_minute();
            tokio::time::sleep(Duration::from_secs(60)).await;
        }
    }

    /// Returns the events before a failure, for its analysis.
    fn record(&self) -> String {
        let mut lines: Vec<String> = self.nature.deeds.iter().rev().take(14).rev().cloned().collect();
        for (instance, running) in self.running() {
            running.daemon.board().drawn(|snapshots, conditions, now| {
                lines.push(format!("{} up since {}, says it is {now}", instance.name, running.started_at));
                for of in snapshots.iter().take(40) {
                    let state = of.standing(now);
                    let truth = self.tokens.iter().find(|token| token.name == of.grant.name.as_str());
                    let truth = truth.map(|token| self.truth_of(token));
                    let (proved, next) = (of.proved_at, of.next_step_at);
                    let blocked = of.blocked.as_ref().map(|blocked| (blocked.failure.kind, blocked.again_at));
                    lines.push(format!(
                        "  {} {state:?} {truth:?} proved {proved:?} next {next:?} in line {} {blocked:?}",
                        of.grant.name, of.in_line
                    ));
                }
                for told in conditions {
                    let tokens = told.tokens.join(",");
                    lines.push(format!(
                        "  {:?} {} since {} {tokens}: {}",
                        told.kind, told.cause, told.since, told.summary
                    ));
                }
            });
        }
        let calls = self.world.calls_since(self.world.now() - TimeDelta::hours(12));
        let telling = |call: &&Call| call.operation != Operation::Get || call.outcome != CallOutcome::Done;
        let suspect = self.checks.suspect.as_deref();
        let of = |call: &&Call| suspect.is_none_or(|name| self.is_about(call, name));
        let calls: Vec<&Call> = calls.iter().filter(telling).filter(of).collect();
        lines.extend(calls.iter().rev().take(40).rev().map(|call| {
            let Call { at, actor, operation, subject, outcome, .. } = call;
            format!("{} {actor} {operation:?} {subject} {outcome}", at.format("%d %H:%M:%S"))
        }));
        lines.join("\n")
    }
}

fn simulate(seed: u64, days: i64) -> Result<(), String> {
    // The notifiers use this thread's random number generator for their waits. The seed makes these waits repeatable.
    fastrand::seed(seed);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let simulated = async { Simulation::new(seed).days(days).await };
    let done = runtime.expect("a runtime needs nothing").block_on(simulated);
    done.map_err(|broken| format!("seed {seed}: {broken}"))
}

#[test]
fn every_surface_and_every_receiver_agrees_with_the_world() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let days = number("SIM_DAYS").and_then(|days| i64::try_from(days).ok());
    let (seeds, days) = match (number("SIM_SEED"), number("SIM_SEEDS")) {
        (Some(first), None) => (first..first + 1, days.unwrap_or(200)),
        (first, Some(count)) => {
            let first = first.unwrap_or(0);
            (first..first + count, days.unwrap_or(200))
        }
        (None, None) => (0..SEEDS, days.unwrap_or(DAYS)),
    };
    let next = AtomicU64::new(seeds.start);
    let some = || {
        let mine = std::iter::from_fn(|| Some(next.fetch_add(1, Ordering::Relaxed)));
        let mine = mine.take_while(|seed| seeds.contains(seed));
        let run = |seed| {
            let ended = std::panic::catch_unwind(|| simulate(seed, days));
            ended.unwrap_or_else(|_| Err(format!("seed {seed}: it panicked"))).err()
        };
        // With `--nocapture`, a long run shows each failure immediately.
        let run = |seed| run(seed).inspect(|broken| eprintln!("{broken}\n"));
        mine.filter_map(run).take(5).collect::<Vec<_>>()
    };
    let workers = std::thread::available_parallelism().map_or(1, NonZero::get);
    let broken: Vec<String> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..workers).map(|_| scope.spawn(some)).collect();
        workers.into_iter().flat_map(|worker| worker.join().expect("it tells by its result")).collect()
    });

    assert!(broken.is_empty(), "{}", broken.join("\n\n"));
}
