//! Tests many tokens of one process, which share the limits of Entra and of their vaults. Only these limits may delay a
//! token.

use std::collections::HashMap;
use std::time::Duration;

use chrono::TimeDelta;
use perennial::daemon::Daemon;
use perennial::process::clock::{Clock, Timestamp};
use perennial::rotation::state::State;
use perennial::rotation::turns::Turns;
use perennial::sandbox::world::{Call, CallOutcome, Fault, FaultEffect, Operation, Partner, Peer, World};
use perennial::status::snapshot::TokenState;
use perennial::token::managed::Policy;
use perennial::token::secret::{SecretAddress, SecretName};
use tokio::task::LocalSet;

use crate::support::harness;
use crate::support::harness::WorldRotator;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
/// The duration of each request.
const LATENCY: Duration = Duration::from_millis(20);
const VAULTS: [&str; 2] = ["https://contoso.vault.azure.net", "https://fabrikam.vault.azure.net"];
/// The maximum number of new versions in a vault within ten seconds, which is two thirds of Key Vault's limit.
const NEW_VERSIONS: usize = 200;
const OTHER_CALLS: usize = 2_666;

/// Many tokens, and the process that manages them.
struct Fleet {
    world: World,
    clock: Clock,
    partners: Vec<Partner>,
    daemon: Option<Daemon>,
}

impl Fleet {
    fn new() -> Self {
        let world = World::new(Clock::running(harness::base(), 1.0), 3);
        world.set_latency(LATENCY);
        let clock = Clock::running(harness::base(), 1.0);
        Self { world, clock, partners: Vec::new(), daemon: None }
    }

    /// Adds this many tokens, each with its own app and user, distributed evenly over the vaults.
    fn add(&mut self, count: usize, vaults: &[&str]) {
        let ends = Some(harness::base() + TimeDelta::days(1000));
        for nth in self.partners.len()..self.partners.len() + count {
            let partner = self.world.add_partner(&format!("t{nth}"), vaults[nth % vaults.len()], ends);
            self.partners.push(partner);
        }
    }

    /// Adds this many tokens of one user and app.
    fn add_of_one_user(&mut self, count: usize) {
        let ends = Some(harness::base() + TimeDelta::days(1000));
        let partner = self.world.add_partner("one", VAULTS[0], ends);
        for nth in 0..count {
            let name = SecretName::parse(&format!("t{nth}")).expect("a name");
            let refresh_token = SecretAddress { name, ..partner.refresh_token.clone() };
            let partner = Partner { refresh_token, ..partner.clone() };
            self.world.human_signs_in(&partner).expect("may sign in");
            self.partners.push(partner);
        }
    }

    fn rotators(&self) -> Vec<WorldRotator> {
        let of = |(nth, partner)| {
            let grant = harness::grant(&format!("t{nth}"), partner, &Policy::default());
            harness::rotator(&self.world, self.clock.clone(), &grant, "run", 1)
        };
        self.partners.iter().enumerate().map(of).collect()
    }

    /// Starts a process. Ends the previous process, if any.
    fn start(&mut self) -> Timestamp {
        self.daemon = None;
        self.world.forget_calls_before(self.world.now());
        self.daemon = Some(Daemon::new(self.rotators(), &self.clock, |board| board));
        self.world.now()
    }

    fn daemon(&self) -> &Daemon {
        self.daemon.as_ref().expect("started")
    }

    /// Returns the number of tokens with the state `current`.
    fn current(&self) -> usize {
        let now = self.clock.now();
        self.daemon()
            .board()
            .read(|all| all.iter().filter(|of| of.standing(now) == TokenState::Current).count())
    }

    /// Returns the number of tokens that were proved at or after `since`.
    fn proved_since(&self, since: Timestamp) -> usize {
        self.daemon().board().read(|all| all.iter().filter(|of| of.proved_at >= Some(since)).count())
    }

    /// Waits until `holds` returns true. Calls `holds` every half second. Returns the duration of the wait.
    async fn until(&self, what: &str, within: Duration, holds: impl Fn(&Self) -> bool) -> Duration {
        let since = tokio::time::Instant::now();
        while !holds(self) {
            assert!(since.elapsed() <= within, "not within {within:?}: {what}");
            tokio::time::sleep(SECOND / 2).await;
        }
        since.elapsed()
    }

    fn conditions(&self) -> Vec<String> {
        let shown = |condition: &perennial::status::condition::Condition| {
            format!("{:?} {}: {}", condition.kind, condition.cause, condition.summary)
        };
        self.daemon().board().drawn(|_, conditions, _| conditions.iter().map(shown).collect())
    }

    /// Returns the calls to one vault since the last start. The number in a secret's name identifies the vault.
    fn calls_to(&self, vault: usize) -> Vec<Call> {
        let is_there = |call: &Call| {
            let digits: String = call.subject.chars().filter(char::is_ascii_digit).collect();
            call.peer == Peer::KeyVault && digits.parse::<usize>().is_ok_and(|nth| nth % 2 == vault)
        };
        self.world.calls_since(Timestamp::MIN_UTC).into_iter().filter(is_there).collect()
    }
}

/// Returns the largest number of these calls in a span of this length. A call at the start of a span does not count.
fn most_within<'a>(span: Duration, calls: impl Iterator<Item = &'a Call>) -> usize {
    let span = TimeDelta::from_std(span).expect("short");
    let calls: Vec<Timestamp> = calls.map(|call| call.at).collect();
    let (mut first, mut most) = (0, 0);
    for (nth, at) in calls.iter().enumerate() {
        while calls[first] <= *at - span {
            first += 1;
        }
        most = most.max(nth + 1 - first);
    }
    most
}

fn refused_as_a_loop(world: &World) -> usize {
    let code = |call: &Call| matches!(&call.outcome, CallOutcome::Refused(why) if why.contains("50196"));
    world.count_calls_where(Timestamp::MIN_UTC, code)
}

/// Runs a test in simulated time.
fn simulated<T>(story: impl AsyncFnOnce(Fleet) -> T) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    LocalSet::new().block_on(&runtime.expect("a runtime needs nothing"), story(Fleet::new()))
}

const OF_ONE_USER: usize = 200;
/// The time to redeem all tokens of one user. Perennial redeems at most fourteen of these tokens in five minutes, so
/// two hundred redemptions take 70 minutes.
const ALL_OF_ONE_USER: Duration = Duration::from_secs(14 * 300 + 30);

#[test]
fn two_hundred_tokens_of_one_user_and_app_are_proved_as_fast_as_the_loop_rule_permits() {
    simulated(async |mut fleet| {
        fleet.add_of_one_user(OF_ONE_USER);
        fleet.start();
        tokio::time::sleep(10 * SECOND).await;

        for _ in 0..69 {
            assert!(fleet.daemon().board().is_ready() && fleet.daemon().board().pulses().all_turn());
            assert_eq!(fleet.conditions(), Vec::<String>::new());
            tokio::time::sleep(MINUTE).await;
        }
        let rest = fleet.until("all are current", 2 * MINUTE, |fleet| fleet.current() == OF_ONE_USER).await;

        assert!(10 * SECOND + 69 * MINUTE + rest <= ALL_OF_ONE_USER, "{rest:?}");
        assert_eq!(refused_as_a_loop(&fleet.world), 0);
        let redeemed = fleet.world.calls_since(Timestamp::MIN_UTC);
        let redeemed = redeemed.iter().filter(|call| call.operation == Operation::Redeem);
        assert_eq!(most_within(5 * MINUTE, redeemed.clone()), 14);
        assert_eq!(redeemed.count(), OF_ONE_USER, "each once");
        // While a token waits for its turn, its last proof is still valid. So no token is overdue.
        tokio::time::sleep(20 * HOUR).await;
        assert_eq!((fleet.current(), fleet.conditions()), (OF_ONE_USER, Vec::new()));
        assert_eq!(refused_as_a_loop(&fleet.world), 0);
    });
}

#[test]
fn tokens_of_one_user_that_wait_for_their_turn_after_a_restart_are_not_overdue() {
    simulated(async |mut fleet| {
        fleet.add_of_one_user(OF_ONE_USER);
        fleet.start();
        fleet.until("all are current", 2 * HOUR, |fleet| fleet.current() == OF_ONE_USER).await;
        fleet.daemon = None;
        // After this time, the last proof in the tags is older than twice `prove_every`.
        tokio::time::sleep(20 * HOUR).await;
        let started = fleet.start();
        tokio::time::sleep(10 * SECOND).await;

        for minute in 0..69 {
            assert_eq!(fleet.conditions(), Vec::<String>::new(), "after {minute} minutes");
            assert!(fleet.daemon().board().is_ready());
            tokio::time::sleep(MINUTE).await;
        }
        fleet.until("all are proved", 2 * MINUTE, |fleet| fleet.proved_since(started) == OF_ONE_USER).await;
        assert_eq!(refused_as_a_loop(&fleet.world), 0);
    });
}

#[test]
fn a_reload_and_the_end_of_an_outage_keep_to_the_loop_rule_too() {
    simulated(async |mut fleet| {
        fleet.add_of_one_user(OF_ONE_USER);
        let down = FaultEffect::Status { status: 503, retry_after: None };
        fleet.start();
        tokio::time::sleep(10 * MINUTE).await;
        fleet.daemon().reload();
        tokio::time::sleep(10 * MINUTE).await;
        fleet.world.inject(Fault::of(Peer::KeyVault, down));
        tokio::time::sleep(HOUR).await;
        fleet.world.clear_faults(None);
        let since = fleet.world.now();
        fleet.daemon().reload();

        let took =
            fleet.until("all are proved", 2 * HOUR, |fleet| fleet.proved_since(since) == OF_ONE_USER).await;

        assert!(took <= ALL_OF_ONE_USER, "{took:?}");
        assert_eq!(refused_as_a_loop(&fleet.world), 0);
        fleet.until("all are current", HOUR, |fleet| fleet.current() == OF_ONE_USER).await;
        assert_eq!(fleet.conditions(), Vec::<String>::new());
    });
}

#[test]
fn one_pass_over_many_tokens_of_one_user_keeps_to_the_loop_rule() {
    simulated(async |mut fleet| {
        fleet.add_of_one_user(OF_ONE_USER);
        let turns = Turns::new(fleet.clock.clone());
        let now = fleet.clock.now();
        let since = tokio::time::Instant::now();
        let passes = fleet.rotators().into_iter().map(async |mut rotator| {
            rotator.turns = turns.clone();
            let state = rotator.prove_in_turn(State::unknown(now), false).await.state;
            assert!(state.is_unsaved() && state.failure().is_none(), "{state:?}");
        });

        futures::future::join_all(passes).await;

        assert_eq!(refused_as_a_loop(&fleet.world), 0);
        assert!(since.elapsed() <= ALL_OF_ONE_USER, "{:?}", since.elapsed());
    });
}

#[test]
fn ten_thousand_tokens_in_two_vaults_are_delayed_by_the_limits_alone() {
    const COUNT: usize = 10_000;
    simulated(async |mut fleet| {
        fleet.add(COUNT, &VAULTS);
        let each = COUNT / VAULTS.len();

        // Each token is a new sign-in. A new sign-in is due for a rotation immediately.
        let started = fleet.start();
        let rotated = fleet.until("all are rotated", 10 * MINUTE, |fleet| fleet.current() == COUNT).await;
        let floor = 10 * SECOND * u32::try_from(each / NEW_VERSIONS - 1).expect("small");
        eprintln!("rotated in {rotated:?}, floor {floor:?}");
        assert!(rotated <= floor.mul_f64(1.1), "{rotated:?}");
        assert_polite(&fleet);

        // After a reload, all tokens are proved, but no token is rotated.
        fleet.world.forget_calls_before(fleet.world.now());
        let since = fleet.clock.now();
        assert!(since > started);
        fleet.daemon().reload();
        let proved =
            fleet.until("all are proved", 5 * MINUTE, |fleet| fleet.proved_since(since) == COUNT).await;
        let (calls, requests) = (fleet.calls_to(0).len(), fleet.world.calls_since(since).len());
        let small = |count: usize| u32::try_from(count).expect("small");
        let by_vault = 10 * SECOND * small(calls) / small(OTHER_CALLS);
        let by_flight = LATENCY * small(requests) / 64;
        let floor = by_vault.max(by_flight);
        eprintln!(
            "proved in {proved:?}, floor {by_vault:?} by the vaults, {by_flight:?} by 64 in flight; {requests} requests"
        );
        assert!(proved <= floor.mul_f64(1.1), "{proved:?} of {floor:?}");
        assert_polite(&fleet);
    });
}

fn assert_polite(fleet: &Fleet) {
    let all = fleet.world.calls_since(Timestamp::MIN_UTC);
    let in_flight = most_within(LATENCY, all.iter());
    let ten = 10 * SECOND;
    for vault in 0..VAULTS.len() {
        let calls = fleet.calls_to(vault);
        let is_new = |call: &&Call| call.operation == Operation::Set;
        let new = most_within(ten, calls.iter().filter(is_new));
        let other = most_within(ten, calls.iter().filter(|call| !is_new(call)));
        eprintln!(
            "vault {vault}: {new} new versions and {other} other calls in ten seconds; {in_flight} in flight"
        );
        assert!(new <= NEW_VERSIONS && other <= OTHER_CALLS, "{new}, {other}");
    }
    assert!(in_flight <= 64, "{in_flight}");
    assert_eq!(refused_as_a_loop(&fleet.world), 0);
    let mut redeemed: HashMap<&str, usize> = HashMap::new();
    for call in all.iter().filter(|call| call.operation == Operation::Redeem) {
        *redeemed.entry(&call.subject).or_default() += 1;
    }
    assert!(redeemed.values().all(|times| *times == 1), "each token once");
}

#[test]
fn proofs_do_not_queue_behind_rotations() {
    simulated(async |mut fleet| {
        const ROTATIONS: usize = 1_000;
        fleet.add(ROTATIONS, &VAULTS[..1]);
        fleet.add(100, &VAULTS[..1]);
        let due = fleet.partners.split_off(ROTATIONS);
        // First, another process rotates the last hundred tokens.
        let all = std::mem::replace(&mut fleet.partners, due);
        fleet.start();
        fleet.until("a hundred are current", MINUTE, |fleet| fleet.current() == 100).await;
        fleet.partners = [all, std::mem::take(&mut fleet.partners)].concat();

        let started = fleet.start();
        let proofs = |fleet: &Fleet| {
            fleet
                .daemon()
                .board()
                .read(|all| all[ROTATIONS..].iter().filter(|of| of.proved_at >= Some(started)).count())
        };
        let took = fleet.until("all proofs", 5 * SECOND, |fleet| proofs(fleet) == 100).await;
        let rotated =
            fleet.until("all rotations", 5 * MINUTE, |fleet| fleet.current() == ROTATIONS + 100).await;

        eprintln!("proofs {took:?}, rotations {rotated:?}");
        assert!(rotated >= 30 * SECOND, "{rotated:?}");
    });
}

#[test]
fn a_save_is_not_delayed_by_proofs_that_wait() {
    simulated(async |mut fleet| {
        const PROOFS: usize = 4_000;
        fleet.add(PROOFS, &VAULTS[..1]);
        fleet.start();
        fleet.until("all are current", 10 * MINUTE, |fleet| fleet.current() == PROOFS).await;
        fleet.daemon = None;
        tokio::time::sleep(MINUTE).await;
        // The user of the first token signs in again, and the first save of this token fails.
        fleet.world.human_signs_in(&fleet.partners[0]);
        let name = fleet.partners[0].refresh_token.name.as_str().to_owned();
        let down = FaultEffect::Status { status: 503, retry_after: None };
        let down = Fault::of(Peer::KeyVault, down).on(Operation::Set);
        fleet.world.inject(down.times(1));

        let started = fleet.start();
        let saved = |fleet: &Fleet| {
            let is_set = |call: &Call| call.operation == Operation::Set && call.subject == name;
            fleet.world.count_calls_where(started, is_set) == 2
        };
        // The daemon retries within five seconds.
        fleet.until("it is saved", 6 * SECOND, saved).await;

        let waiting = PROOFS - fleet.proved_since(started);
        assert!(waiting > PROOFS / 2, "{waiting} still wait");
    });
}

#[test]
fn a_stop_ends_tokens_that_wait_for_their_turn_at_once() {
    simulated(async |mut fleet| {
        fleet.add_of_one_user(OF_ONE_USER);
        fleet.start();
        tokio::time::sleep(10 * SECOND).await;
        let since = tokio::time::Instant::now();

        assert!(fleet.daemon.as_mut().expect("started").stop().await);

        assert!(since.elapsed() <= SECOND, "{:?}", since.elapsed());
    });
}

#[test]
fn while_a_vault_asks_for_a_pause_no_other_token_begins_there() {
    simulated(async |mut fleet| {
        fleet.add(1_000, &VAULTS);
        let throttled = FaultEffect::Status { status: 429, retry_after: Some(MINUTE) };
        let first = fleet.partners[0].refresh_token.name.as_str().to_owned();
        let throttled = Fault::of(Peer::KeyVault, throttled).on(Operation::Get).about(&first);
        fleet.world.inject(throttled.times(1));

        let started = fleet.start();
        tokio::time::sleep(59 * SECOND).await;

        let calls = fleet.calls_to(0);
        let begun = calls.iter().filter(|call| call.at > started + TimeDelta::seconds(1)).count();
        assert_eq!(begun, 0, "those that had begun go on to their end");
        assert_eq!(fleet.conditions(), Vec::<String>::new());
        fleet.until("all are current", 2 * MINUTE, |fleet| fleet.current() == 1_000).await;
    });
}
