//! Tests the orders of events on one secret: the calls of two instances, the actions of two people, crashes and lost
//! messages.
//!
//! A schedule is a list of events. In each event, a process makes its next call, a call's request or answer is lost, a
//! process dies and restarts, or a person acts. Each schedule is replayed in a world of its own. If a schedule leads to
//! a state that was reached before, the schedule is not continued. A state consists of all that the future depends on:
//! the vault, the issuer, the answers that each instance has received, and the remaining events. With `strict`, the
//! time is also a part of the state.
//!
//! By default, each test replays a random sample of its cast's schedules for some seconds. `ORDERS_LIMIT=0` replays all
//! schedules, and `ORDERS_FAULTS` limits the faults. Each test prints the number of states and the number of schedules
//! that were not replayed.

use std::collections::HashSet;
use std::time::Duration;

use perennial::ports::failure::{Failure, Remedy};
use perennial::process::clock::{Clock, Timestamp};
use perennial::rotation::rotate::Rotator;
use perennial::sandbox::world::{Operation, Peer};
use tokio::runtime::Runtime;

mod judge;

use super::instance::{Call, Instance, Lost, Names, number};
use super::*;

/// The participants, and the limit on faults.
#[derive(Clone, Copy, Debug)]
struct Cast {
    instances: usize,
    strict: bool,
    /// Whether each effect takes a second. If false, all writes are in the same second, so the vault's times do not
    /// show their order.
    second_by_second: bool,
    people: &'static [Deed],
    /// The maximum number of faults: crashes, lost requests and lost answers.
    faults: usize,
}

/// The maximum number of crashes. The same maximum applies to lost requests and lost answers together.
const FAULTS_OF_A_KIND: usize = 2;

/// An action of a person.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Deed {
    SignsIn,
    PastesRubbish,
}

/// The next event in a schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Choice {
    Goes(usize),
    Loses(usize, Lost),
    Dies(usize),
    Acts(usize),
}

/// A time that is a little longer than the wait of a `strict` claim (`SETTLES`).
const SETTLED: Duration = Duration::from_millis(2_001);
type Life = Pin<Box<dyn Future<Output = Option<Failure>>>>;

/// A process, which is started again after each crash.
struct Process {
    ports: Instance,
    life: Option<Life>,
    lives: usize,
    sleeps_since: Duration,
}

/// The replay of a schedule.
struct Run<'a> {
    cast: Cast,
    runtime: &'a Runtime,
    world: World,
    partner: Partner,
    grant: ManagedToken,
    names: Names,
    processes: Vec<Process>,
    acted: usize,
    crashes: usize,
    lost: usize,
    passed: Duration,
    writes: usize,
    taken: Vec<Choice>,
}

/// Carries out the work of one process as the daemon's loop does, but without waits. A failed step is tried once more.
async fn live(mut rotator: Rotator<Instance, Instance, Instance>, force: bool) -> Option<Failure> {
    let mut state = State::unknown(rotator.clock.now());
    for _ in 0..2 {
        state = rotator.prove(state, force).await.state;
        for _ in 0..4 {
            if !matches!(state.phase, Phase::Unsaved(_)) {
                break;
            }
            state = rotator.save(state).await.state;
        }
        if state.failure().is_none() || matches!(state.phase, Phase::Unsaved(_)) {
            break;
        }
    }
    state.failure().cloned()
}

impl<'a> Run<'a> {
    /// Creates a world in which one rotation has happened. The processes of the cast have just started.
    fn new(cast: Cast, runtime: &'a Runtime) -> Self {
        let speed = if cast.strict { 1.0 } else { 0.0 };
        let world = World::new(Clock::running(base(), 0.0), 7);
        world.set_strict(cast.strict);
        let partner = world.add_partner("contoso", VAULT, Some(base() + TimeDelta::days(400)));
        world.advance(TimeDelta::days(8));
        let grant = grant("contoso", &partner, &Policy::default());
        let grant = ManagedToken { verify: Verify::Nothing, ..grant };
        // One rotation happens before the test, so that there is a version to disable. This rotation is not `strict`,
        // because a `strict` rotation takes time.
        let mut earlier: Task =
            Box::pin(rotate_once(rotator(&world, still_clock(), &grant, "earlier", 1), true));
        while earlier.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending() {}
        world.advance(TimeDelta::days(8));

        let grant = ManagedToken { strict: cast.strict, ..grant };
        let names = Names::default();
        let writes = world.writes().len();
        let mut run = Self {
            cast,
            runtime,
            world,
            partner,
            grant,
            names,
            processes: Vec::new(),
            acted: 0,
            crashes: 0,
            lost: 0,
            passed: Duration::ZERO,
            writes,
            taken: Vec::new(),
        };
        for index in 0..cast.instances {
            let process = run.start(index, 0, speed);
            run.processes.push(process);
        }
        run
    }

    /// Starts a process. The first poll runs only until the first call. The first start of a process forces a rotation.
    /// A restart after a crash does not.
    fn start(&self, index: usize, lives: usize, speed: f64) -> Process {
        let name = ["first", "second"][index];
        let clock = Clock::running(self.world.now(), speed);
        let token = &self.partner.refresh_token;
        let ports = Instance::new(self.world.as_actor(name), token, (index, lives), self.names.clone());
        let inner = rotator(&self.world, clock, &self.grant, name, 2 + index as u64);
        let rotator = Rotator {
            issuer: ports.clone(),
            vault: ports.clone(),
            resource: ports.clone(),
            clock: inner.clock,
            grant: inner.grant,
            timing: inner.timing,
            command: inner.command,
            rng: inner.rng,
            hold: inner.hold,
            turns: inner.turns,
            turn: inner.turn,
        };
        let mut life: Life = Box::pin(live(rotator, lives == 0));
        let polled = life.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        assert!(polled.is_pending());
        Process { ports, life: Some(life), lives, sleeps_since: Duration::ZERO }
    }

    fn choices(&self) -> Vec<Choice> {
        let mut choices = Vec::new();
        for (index, process) in self.processes.iter().enumerate() {
            let (next, last) = process.ports.calls();
            if process.life.is_none() {
                continue;
            }
            choices.push(Choice::Goes(index));
            let may_fail = self.crashes + self.lost < self.cast.faults;
            if next == Call::Effect && may_fail && self.lost < FAULTS_OF_A_KIND {
                choices.push(Choice::Loses(index, Lost::Answer));
                choices.push(Choice::Loses(index, Lost::Request));
            }
            // In the schedules, a process dies only directly after an effect. A later death, before the next effect,
            // would have the same result.
            if last == Call::Effect && may_fail && self.crashes < FAULTS_OF_A_KIND {
                choices.push(Choice::Dies(index));
            }
        }
        if self.acted < self.cast.people.len() {
            choices.push(Choice::Acts(self.acted));
        }
        choices
    }

    fn take(&mut self, choice: Choice) {
        self.taken.push(choice);
        if self.cast.second_by_second {
            self.world.advance(TimeDelta::seconds(1));
        }
        match choice {
            Choice::Goes(index) => self.go(index),
            Choice::Loses(index, what) => {
                self.lost += 1;
                self.processes[index].ports.lose(what);
                self.go(index);
            }
            Choice::Dies(index) => {
                self.crashes += 1;
                let speed = if self.cast.strict { 1.0 } else { 0.0 };
                self.processes[index].life = None;
                self.processes[index] = self.start(index, self.processes[index].lives + 1, speed);
            }
            Choice::Acts(person) => self.act(person),
        }
        self.judge_writes();
    }

    fn go(&mut self, index: usize) {
        let process = &mut self.processes[index];
        if process.ports.calls().0 == Call::None {
            let left = (process.sleeps_since + SETTLED).saturating_sub(self.passed);
            self.passed += left;
            self.runtime.block_on(tokio::time::advance(left));
            self.world.advance(TimeDelta::from_std(left).expect("seconds"));
        }
        let process = &mut self.processes[index];
        let life = process.life.as_mut().expect("it lives");
        let mut poll = || life.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        let mut polled = poll();
        while polled.is_pending() && process.ports.calls().0 == Call::Private {
            polled = poll();
        }
        if polled.is_ready() {
            process.life = None;
        }
        process.sleeps_since = self.passed;
    }

    fn act(&mut self, person: usize) {
        self.acted += 1;
        let token = match self.cast.people[person] {
            Deed::SignsIn => self.world.human_signs_in(&self.partner).expect("may sign in"),
            Deed::PastesRubbish => {
                self.world.human_writes(&self.partner.refresh_token, "pasted rubbish", Tags::new());
                RefreshToken::new("pasted rubbish")
            }
        };
        let version = self.world.newest_version(&self.partner.refresh_token).expect("written just now");
        self.names.give(token.expose(), ("value of", person));
        self.names.give(&version.id.0, ("version of", person));
    }

    /// Returns a hash of everything on which the future depends.
    fn state(&self) -> u64 {
        let processes: Vec<_> = self
            .processes
            .iter()
            .map(|process| {
                let slept = self.passed.saturating_sub(process.sleeps_since);
                (process.life.as_ref().map(|_| (process.ports.heard(), slept)), process.lives)
            })
            .collect();
        number((self.peers(), processes, self.acted, self.crashes, self.lost, self.passed))
    }

    /// Returns a hash of the state of the vault and the issuer.
    fn peers(&self) -> u64 {
        let versions = self.world.versions_of(&self.partner.refresh_token);
        let versions: Vec<_> = versions
            .iter()
            .map(|version| {
                let value = secrecy::ExposeSecret::expose_secret(&version.value);
                let created = if self.cast.second_by_second { None } else { Some(version.created) };
                let names = (self.names.of(&version.id), self.names.of(value));
                (names, version.attributes.enabled, created, self.names.of_tags(&version.tags))
            })
            .collect();
        let grants = self.world.grants();
        let mut grants: Vec<_> = grants
            .iter()
            .map(|grant| {
                let token = grant.token.expose();
                (self.names.of(token), grant.spent, self.world.refusal_of(token))
            })
            .collect();
        grants.sort_unstable();
        number((versions, grants))
    }
}

/// The result of testing a cast.
#[derive(Debug, Default)]
struct Walked {
    states: usize,
    ends: usize,
    replays: usize,
    deepest: usize,
    redemptions: usize,
    /// The number of schedules that were not replayed, because the limit was reached.
    left: usize,
}

fn walk_all(cast: Cast, limit: usize) -> Walked {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let runtime = runtime.expect("a runtime");
    let _entered = runtime.enter();
    let (mut met, mut ends) = (HashSet::new(), HashSet::new());
    let mut walked = Walked::default();
    let mut open: Vec<Vec<u8>> = vec![Vec::new()];
    let mut rng = fastrand::Rng::with_seed(11);
    while !open.is_empty() && walked.replays < limit {
        let mut schedule = open.swap_remove(rng.usize(..open.len()));
        walked.replays += 1;
        let mut run = Run::new(cast, &runtime);
        for index in &schedule {
            let choice = run.choices()[usize::from(*index)];
            run.take(choice);
        }
        while met.insert(run.state()) {
            let choices = run.choices();
            let Some(first) = choices.first() else {
                walked.redemptions = walked.redemptions.max(run.redemptions());
                // All processes have ended. So the judgment depends only on the state of the services and on the kinds
                // of faults.
                if ends.insert((run.peers(), run.crashes + run.lost > 0, run.lost > 0)) {
                    run.judge_end();
                }
                break;
            };
            for index in 1..choices.len() {
                let index = u8::try_from(index).expect("a handful");
                open.push([schedule.as_slice(), &[index]].concat());
            }
            schedule.push(0);
            run.take(*first);
        }
        walked.deepest = walked.deepest.max(schedule.len());
    }
    (walked.states, walked.ends, walked.left) = (met.len(), ends.len(), open.len());
    walked
}

const TWO_SIGN_INS: &[Deed] = &[Deed::SignsIn, Deed::SignsIn];
const RUBBISH_AND_SIGN_IN: &[Deed] = &[Deed::PastesRubbish, Deed::SignsIn];

/// The number of replays for one cast, unless `ORDERS_LIMIT` sets another number.
const REPLAYS: usize = 3_000;

/// Tests the orders of this cast, and prints the result.
fn walk_and_tell(cast: Cast) {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<usize>().ok());
    let cast = Cast { faults: number("ORDERS_FAULTS").unwrap_or(cast.faults), ..cast };
    let limit = number("ORDERS_LIMIT").unwrap_or(REPLAYS);
    let began = tokio::time::Instant::now();
    let walked = walk_all(cast, if limit == 0 { usize::MAX } else { limit });
    eprintln!("{cast:?}: {walked:?} in {:.1?}", began.elapsed());
    assert!(walked.left == 0 || walked.states > limit, "{walked:?}");
}

const ALL: Cast =
    Cast { instances: 2, strict: false, second_by_second: true, people: TWO_SIGN_INS, faults: 4 };

#[test]
fn two_instances_and_two_people() {
    walk_and_tell(ALL);
}

#[test]
fn two_instances_and_two_people_within_one_second() {
    walk_and_tell(Cast { second_by_second: false, ..ALL });
}

#[test]
fn two_instances_rubbish_and_a_sign_in() {
    walk_and_tell(Cast { people: RUBBISH_AND_SIGN_IN, ..ALL });
}

#[test]
fn two_instances_of_a_strict_token_and_two_people() {
    walk_and_tell(Cast { strict: true, second_by_second: false, ..ALL });
}

#[test]
fn one_instance_and_two_people() {
    walk_and_tell(Cast { instances: 1, ..ALL });
}

#[test]
fn one_instance_of_a_strict_token_and_two_people() {
    walk_and_tell(Cast { instances: 1, strict: true, second_by_second: false, ..ALL });
}
