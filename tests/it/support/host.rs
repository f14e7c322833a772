//! A daemon on a host, in simulated time. At the start, the daemon's tokens are forty days old. All tokens use one
//! clock, as in `run`.

use chrono::TimeDelta;
use perennial::daemon::Daemon;
use perennial::ports::failure::{Kind, Remedy};
use perennial::process::clock::Clock;
use perennial::sandbox::world::{Partner, World};
use perennial::status::snapshot::TokenState;
use perennial::token::managed::Policy;
use tokio::task::LocalSet;

use crate::support::harness;

/// A host, its daemon, and the partners of the daemon's tokens. Each token has its own user.
pub(crate) struct Host {
    pub(crate) world: World,
    pub(crate) partners: Vec<Partner>,
    pub(crate) clock: Clock,
    daemon: Daemon,
}

impl Host {
    pub(crate) fn current(&self) -> usize {
        let now = self.clock.now();
        self.daemon
            .board()
            .read(|all| all.iter().filter(|of| of.standing(now) == TokenState::Current).count())
    }

    pub(crate) fn alive(&self) -> usize {
        let is_alive = |partner: &&Partner| {
            let newest = self.world.newest_value(&partner.refresh_token);
            newest.is_some_and(|token| self.world.is_alive(token.expose()))
        };
        self.partners.iter().filter(is_alive).count()
    }

    pub(crate) fn holding(&self) -> Vec<Kind> {
        self.told().into_iter().map(|(kind, _)| kind).collect()
    }

    /// Returns the kind of each current condition, and who must act.
    pub(crate) fn told(&self) -> Vec<(Kind, Remedy)> {
        self.daemon.board().drawn(|_, conditions, _| {
            conditions.iter().map(|condition| (condition.kind, condition.remedy)).collect()
        })
    }

    pub(crate) fn reload(&self) {
        self.daemon.reload();
    }
}

/// Runs `story` while a daemon manages `count` tokens. The host's clock is `ahead` of the vault's clock.
pub(crate) fn on_a_host<T>(ahead: TimeDelta, count: usize, story: &impl AsyncFn(&Host) -> T) -> T {
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
        let daemon = Daemon::new(rotators, &clock, |board| board);
        story(&Host { world, partners, clock, daemon }).await
    })
}
