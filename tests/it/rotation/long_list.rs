//! Tests secrets with long lists of versions. Key Vault keeps every version and lists 25 per page, so a rotation needs
//! more calls each year.

use std::time::Duration;

use chrono::TimeDelta;
use futures::future::join_all;
use perennial::process::clock::Clock;
use perennial::rotation::schedule::Next;
use perennial::rotation::state::State;
use perennial::sandbox::world::{Peer, World};
use perennial::token::managed::Policy;

use crate::support::harness;
use crate::support::harness::WorldRotator;

const HOUR: Duration = Duration::from_secs(3600);
/// The limit of promise 6 (docs/promises.md).
const VAULT_CALLS_A_DAY: usize = 60;

struct Instance {
    name: &'static str,
    rotator: WorldRotator,
    state: Option<State>,
}

impl Instance {
    async fn do_what_is_due(&mut self) {
        let mut state = self.state.take().expect("put back after each use");
        loop {
            match self.rotator.timing.next(&state, self.rotator.clock.now()) {
                Next::Wait(_) => break,
                step => state = Box::pin(self.rotator.step(state, step)).await.state,
            }
        }
        self.state = Some(state);
    }
}

/// Two instances rotate daily in the same second. Each instance finds the new version of the other instance, and then
/// searches for a buried sign-in.
#[tokio::test(start_paused = true)]
async fn daily_vault_calls_stay_within_the_limit_for_long_lists() {
    let world = World::new(Clock::running(harness::base(), 1.0), 7);
    world.set_latency(Duration::from_millis(300));
    let partner = world.add_partner("contoso", harness::VAULT, None);
    let policy = Policy { rotate_after: 24 * HOUR, prove_every: 3 * HOUR, ..Policy::default() };
    let grant = harness::grant("contoso", &partner, &policy);
    let mut instances = ["one", "two"].map(|name| {
        let clock = Clock::running(harness::base(), 1.0);
        let rotator = harness::rotator(&world, clock, &grant, name, 1);
        Instance { name, rotator, state: Some(State::unknown(harness::base())) }
    });

    let mut most = 0;
    for hour in 0..24 * 450 {
        tokio::time::sleep(HOUR).await;
        join_all(instances.iter_mut().map(Instance::do_what_is_due)).await;
        if hour % 6 == 0 {
            let now = world.now();
            let newest = world.newest_version(&partner.refresh_token).expect("stored");
            assert!(now - newest.issued_at() < TimeDelta::days(3), "{now}: not rotated");
            for one in &instances {
                let since = now - TimeDelta::days(1);
                let its = |call: &_| is_its_vault_call(call, one.name);
                most = most.max(world.count_calls_where(since, its));
            }
            assert!(most <= VAULT_CALLS_A_DAY, "{now}: {most} calls to the vault in a day");
            world.forget_calls_before(now - TimeDelta::days(2));
        }
    }

    let versions = world.versions_of(&partner.refresh_token).len();
    assert!(versions > 18 * 25 && most > 40, "it was hard enough: {versions} versions, {most} calls");
}

fn is_its_vault_call(call: &perennial::sandbox::world::Call, name: &str) -> bool {
    call.peer == Peer::KeyVault && call.actor == name
}
