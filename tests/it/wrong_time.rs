//! A host whose clock is wrong, at the start or in the middle: many tokens on one clock, as `run` has them.

use std::time::Duration;

use chrono::TimeDelta;
use perennial::board::Board;
use perennial::clock::Clock;
use perennial::daemon;
use perennial::daemon::Signals;
use perennial::failure::Kind;
use perennial::ports::Transport;
use perennial::snapshot::Standing;
use perennial::state::State;
use perennial::token::Policy;
use perennial::world::Fault;
use perennial::world::Partner;
use perennial::world::Peer;
use perennial::world::What;
use perennial::world::World;
use tokio::sync::watch;
use tokio::task::LocalSet;
use tokio_util::sync::CancellationToken;

use crate::harness;

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// Tokens of forty days, each with a user of its own, and the host that looks after them.
struct Host {
    world: World,
    partners: Vec<Partner>,
    clock: Clock,
    board: Board,
    /// Kept, since its end would end the tasks' waits.
    _poke: watch::Sender<u64>,
}

impl Host {
    fn current(&self) -> usize {
        let now = self.clock.now();
        self.board.read(|all| all.iter().filter(|of| of.standing(now) == Standing::Current).count())
    }

    fn alive(&self) -> usize {
        let is_alive = |partner: &&Partner| {
            let newest = self.world.newest_value(&partner.refresh_token);
            newest.is_some_and(|token| self.world.is_alive(token.expose()))
        };
        self.partners.iter().filter(is_alive).count()
    }

    fn holding(&self) -> Vec<Kind> {
        self.board.drawn(|_, conditions, _| conditions.iter().map(|condition| condition.kind).collect())
    }
}

/// Runs `story` beside the loops of so many tokens on a host whose clock is that far ahead of the vault's.
fn on_a_host<T>(ahead: TimeDelta, count: usize, story: &impl AsyncFn(&Host) -> T) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    LocalSet::new().block_on(&runtime.expect("a runtime needs nothing"), async {
        let world = World::new(Clock::running(harness::base() - TimeDelta::days(40), 1.0), 3);
        let ends = Some(harness::base() + TimeDelta::days(1000));
        let partners: Vec<Partner> =
            (0..count).map(|nth| world.add_partner(&format!("t{nth}"), harness::VAULT, ends)).collect();
        world.advance(TimeDelta::days(40));
        let clock = Clock::running(world.now() + ahead, 1.0);
        let rotators: Vec<_> = partners
            .iter()
            .enumerate()
            .map(|(nth, partner)| {
                let grant = harness::grant(&format!("t{nth}"), partner, &Policy::default());
                harness::rotator(&world, clock.clone(), &grant, "run", 1)
            })
            .collect();
        let board =
            Board::new(rotators.iter().map(|rotator| (&rotator.grant, &rotator.timing)), clock.clone());
        let (poke, poked) = watch::channel(0);
        for (place, rotator) in rotators.into_iter().enumerate() {
            let turn = TimeDelta::milliseconds(50) * i32::try_from(place).expect("few");
            let signals = Signals { stop: CancellationToken::new(), poke: poked.clone(), turn };
            let (publish, pulse) = (board.publisher(place), board.pulses().of(place));
            let state = State::unknown(clock.now() + turn);
            tokio::task::spawn_local(daemon::keep(rotator, state, signals, pulse, publish));
        }
        story(&Host { world, partners, clock, board, _poke: poke }).await
    })
}

#[test]
fn forty_tokens_are_current_within_seconds_whichever_way_the_clock_is_wrong_at_the_start() {
    for ahead in [
        TimeDelta::hours(10),
        TimeDelta::days(60),
        TimeDelta::days(400),
        TimeDelta::minutes(4),
        TimeDelta::hours(-10),
        TimeDelta::days(-400),
    ] {
        let current = on_a_host(ahead, 40, &async |host| {
            tokio::time::sleep(Duration::from_secs(25)).await;
            host.current()
        });

        assert_eq!(current, 40, "{ahead} ahead");
    }
}

#[test]
fn all_tokens_are_current_soon_after_an_outage_on_a_host_whose_clock_is_wrong() {
    for ahead in [TimeDelta::hours(10), TimeDelta::days(400), TimeDelta::days(-400)] {
        let current = on_a_host(ahead, 10, &async |host| {
            host.world.inject(Fault::of(Peer::KeyVault, What::Transport(Transport::TimedOut)));
            tokio::time::sleep(HOUR * 7).await;
            host.world.clear_faults(None);
            // No wait between two attempts is longer than an hour.
            tokio::time::sleep(HOUR + Duration::from_secs(60)).await;
            host.current()
        });

        assert_eq!(current, 10, "{ahead} ahead");
    }
}

#[test]
fn a_clock_that_jumps_in_the_middle_of_a_year_costs_no_token() {
    for (by, outage) in [
        (TimeDelta::minutes(7), false),
        (TimeDelta::days(400), false),
        (TimeDelta::days(400), true),
        (TimeDelta::days(-400), false),
        (TimeDelta::days(-400), true),
        (TimeDelta::hours(-10), true),
    ] {
        on_a_host(TimeDelta::zero(), 4, &async |host| {
            tokio::time::sleep(DAY * 30).await;
            host.clock.set_by(by);
            if outage {
                host.world.inject(Fault::of(Peer::KeyVault, What::Transport(Transport::TimedOut)));
            }
            tokio::time::sleep(HOUR * 3).await;
            host.world.clear_faults(None);
            host.clock.set_by(-by);
            tokio::time::sleep(HOUR * 2).await;

            assert_eq!((host.current(), host.holding()), (4, vec![]), "{by}, outage: {outage}");
            tokio::time::sleep(DAY * 120).await;
            assert_eq!((host.current(), host.alive()), (4, 4), "{by}, outage: {outage}");
        });
    }
}

#[test]
fn a_vault_that_tells_the_wrong_time_once_costs_no_token() {
    for by in [TimeDelta::days(400), TimeDelta::days(-400), TimeDelta::hours(3)] {
        on_a_host(TimeDelta::zero(), 4, &async |host| {
            tokio::time::sleep(DAY * 30).await;
            host.clock.observe(host.world.now() + by);
            tokio::time::sleep(HOUR * 8).await;

            assert_eq!(host.current(), 4, "{by}");
            tokio::time::sleep(DAY * 120).await;
            assert_eq!((host.current(), host.alive()), (4, 4), "{by}");
        });
    }
}

/// Whatever keeps a task from its first step: nothing of the task's is asked.
#[test]
fn a_token_that_was_never_tried_is_told_within_a_quarter_of_an_hour() {
    for ahead in [TimeDelta::zero(), TimeDelta::days(60), TimeDelta::days(-60)] {
        on_a_host(ahead, 3, &async |host| {
            let grant = harness::grant("stuck", &host.partners[0], &Policy::default());
            let rotator = harness::rotator(&host.world, host.clock.clone(), &grant, "run", 1);
            let board = Board::new(std::iter::once((&rotator.grant, &rotator.timing)), host.clock.clone());
            let told = || {
                let told = |conditions: Vec<perennial::condition::Condition>| {
                    conditions.iter().any(|condition| condition.kind == Kind::Overdue)
                };
                board.drawn(|_, conditions, _| told(conditions))
            };

            tokio::time::sleep(Duration::from_secs(15 * 60)).await;
            assert!(!told(), "{ahead}: its turn may come yet");
            tokio::time::sleep(Duration::from_secs(60)).await;
            assert!(told(), "{ahead}");
            assert_eq!(host.current(), 3, "{ahead}: the others are");
        });
    }
}
