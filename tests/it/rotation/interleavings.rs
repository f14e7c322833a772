//! Tests a save together with a person's write, a crash or a second instance, in every order of the calls.
//!
//! The shipped rotator runs over the simulated world. Each call of the rotator yields once before the call takes
//! effect. So the test decides the order by choosing which task to poll. Each order is tested twice: once with a second
//! between the effects, and once with all writes in the same second. In the second case, the vault's `created` does not
//! show the order of the writes.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use chrono::TimeDelta;
use perennial::rotation::rotate::Rotator;
use perennial::rotation::state::{Phase, State};
use perennial::sandbox::world::{Actor, Partner, SecretVersion, World, Write};
use perennial::token::RefreshToken;
use perennial::token::managed::{ManagedToken, Policy, Verify};
use perennial::token::tags::Tags;
use perennial::token::version::VersionId;

use crate::support::harness::{VAULT, base, grant, rotator, still_clock, still_world};

mod exhaustive;
mod instance;

type Task = Pin<Box<dyn Future<Output = ()>>>;

/// The participants in addition to the first instance.
#[derive(Clone, Copy)]
enum With {
    SignIn,
    Garbage,
    SignInThenGarbage,
    GarbageThenSignIn,
    TwoSignIns,
    /// A user signs in with a tool that copies the tags of the newest version to the version with the new token.
    SignInWithCopiedTags,
    SecondInstance,
    CrashAndRestart,
}

/// Carries out one complete rotation as the daemon's loop does, but without waits.
async fn rotate_once(mut rotator: Rotator<Actor, Actor, Actor>, force: bool) {
    let state = State::unknown(rotator.clock.now());
    let mut state = rotator.prove(state, force).await.state;
    for _ in 0..4 {
        if !matches!(state.phase, Phase::Unsaved(_)) {
            return;
        }
        state = rotator.save(state).await.state;
    }
}

/// Tests every order of the tasks. For each order, `make` creates a new world and its tasks. Returns the number of
/// orders.
fn walk(second_by_second: bool, make: impl Fn() -> (World, Partner, Vec<Task>)) -> usize {
    let mut orders = 0;
    let mut prefix: Vec<usize> = Vec::new();
    loop {
        let (world, partner, tasks) = make();
        let taken = run(&world, &partner, tasks, &prefix, second_by_second);
        check(&world, &partner, &taken, true);
        orders += 1;
        // For the next order, find the last choice that has an untried alternative, and take this alternative.
        let Some(at) = taken.iter().rposition(|(choice, of)| choice + 1 < *of) else { return orders };
        prefix = taken[..at].iter().map(|(choice, _)| *choice).collect();
        prefix.push(taken[at].0 + 1);
    }
}

/// Runs the tasks in an order that begins with the choices in `prefix`. Returns all choices, each with the number of
/// alternatives.
fn run(
    world: &World,
    partner: &Partner,
    mut tasks: Vec<Task>,
    prefix: &[usize],
    second_by_second: bool,
) -> Vec<(usize, usize)> {
    let mut context = Context::from_waker(Waker::noop());
    let mut taken = Vec::new();
    while !tasks.is_empty() {
        let choice = prefix.get(taken.len()).copied().unwrap_or(0) % tasks.len();
        taken.push((choice, tasks.len()));
        if second_by_second {
            world.advance(TimeDelta::seconds(1));
        }
        if let Poll::Ready(()) = tasks[choice].as_mut().poll(&mut context) {
            drop(tasks.remove(choice));
        }
        let newest = world.newest_version(&partner.refresh_token).expect("never deleted here");
        assert!(newest.enabled, "the newest version was disabled by us: {taken:?}");
    }
    taken
}

/// Checks that the newest version contains the token of the last sign-in, or a successor of this token. Otherwise the
/// sign-in is buried. If all participants have finished (`is_done`), no sign-in may be buried even before the next
/// process starts. Also checks that the newest version can be redeemed.
fn check(world: &World, partner: &Partner, taken: &dyn std::fmt::Debug, is_done: bool) {
    // At the end of each round, a new process makes its first proof.
    let mut context = Context::from_waker(Waker::noop());
    for round in 0..2 {
        let newest = world.newest_value(&partner.refresh_token).expect("never deleted here");
        let follows = last_sign_ins(world, partner)
            .iter()
            .any(|sign_in| newest == *sign_in || world.descends_from(newest.expose(), sign_in.expose()));
        // If a person stores an invalid value last, the newest version contains this value until a process tries to
        // redeem it.
        let rubbish_on_top = !world.is_alive(newest.expose());
        assert!(
            follows || (round == 0 && (rubbish_on_top || !is_done)),
            "a sign-in stays buried after round {round}: {taken:?}\n{}",
            history(world, partner)
        );
        let grant = grant("contoso", partner, &Policy::default());
        let mut next: Task = Box::pin(rotate_once(rotator(world, still_clock(), &grant, "next", 9), false));
        world.advance(TimeDelta::days(1) + TimeDelta::seconds(1));
        while next.as_mut().poll(&mut context).is_pending() {}
    }
    let newest = world.newest_value(&partner.refresh_token).expect("never deleted here");
    assert!(world.is_alive(newest.expose()), "the newest version is not alive: {taken:?}");
}

fn history(world: &World, partner: &Partner) -> String {
    let versions = world.versions_of(&partner.refresh_token);
    let line = |version: &SecretVersion| {
        let writer = world.writer_of(&VersionId(version.id.as_str().into())).unwrap_or_default();
        let from = version.tags.get("redeemed-from").map_or("-", |from| &from[..6]);
        let refused = version.tags.get("refused-kind").unwrap_or_default();
        format!("{} {} by {writer} from {from} {refused}\n", &version.id[..6], version.created)
    };
    versions.iter().map(line).collect()
}

/// Returns the last sign-in, and all other sign-ins in the same second, since `created` does not show the order within
/// a second.
fn last_sign_ins(world: &World, partner: &Partner) -> Vec<RefreshToken> {
    let grants = world.grants();
    let is_sign_in = |write: &&Write| {
        write.writer == "human"
            && write.secret == partner.refresh_token
            && grants.iter().any(|grant| grant.token == write.value)
    };
    let writes = world.writes();
    let last = writes.iter().rev().find(is_sign_in).expect("there was a first sign-in").at.timestamp();
    let of_that_second = writes.iter().filter(is_sign_in).filter(|write| write.at.timestamp() == last);
    of_that_second.map(|write| write.value.clone()).collect()
}

fn tasks(with: &[With]) -> (World, Partner, Vec<Task>) {
    let (world, partner) = still_world();
    let grant = grant("contoso", &partner, &Policy::default());
    // One rotation happens before the test, so that there is a version to disable.
    let mut context = Context::from_waker(Waker::noop());
    let mut earlier: Task = Box::pin(rotate_once(rotator(&world, still_clock(), &grant, "earlier", 1), true));
    while earlier.as_mut().poll(&mut context).is_pending() {}
    world.advance(TimeDelta::days(8));

    let mut tasks: Vec<Task> = Vec::new();
    // The instances do not call Partner Center, because its answer does not affect a save.
    let grant = ManagedToken { verify: Verify::Nothing, ..grant };
    let instance = |name: &'static str, seed| {
        // The restarted process does not force a rotation. After a crash that follows a write, the process can find a
        // buried sign-in only if it searches the older versions.
        let force = name != "again";
        let mut task = Box::pin(rotate_once(rotator(&world, still_clock(), &grant, name, seed), force));
        // The first poll runs only until the first call. Each later poll causes one effect.
        assert!(task.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        task
    };
    if !with.iter().any(|with| matches!(with, With::CrashAndRestart)) {
        tasks.push(instance("first", 2));
    }
    for with in with {
        let (world, partner) = (world.clone(), partner.clone());
        tasks.push(match with {
            With::SecondInstance => instance("second", 3),
            With::CrashAndRestart => Box::pin(crash_and_restart(instance("first", 2), instance("again", 4))),
            With::SignIn => Box::pin(async move {
                world.human_signs_in(&partner);
            }),
            With::Garbage => Box::pin(async move {
                world.human_writes(&partner.refresh_token, "pasted rubbish", Tags::new());
            }),
            With::SignInThenGarbage => Box::pin(async move {
                world.human_signs_in(&partner);
                give_way().await;
                world.human_writes(&partner.refresh_token, "pasted rubbish", Tags::new());
            }),
            With::GarbageThenSignIn => Box::pin(async move {
                world.human_writes(&partner.refresh_token, "pasted rubbish", Tags::new());
                give_way().await;
                world.human_signs_in(&partner);
            }),
            With::TwoSignIns => Box::pin(async move {
                world.human_signs_in(&partner);
                give_way().await;
                world.human_signs_in(&partner);
            }),
            With::SignInWithCopiedTags => Box::pin(async move {
                let copied = world.newest_version(&partner.refresh_token).expect("there").tags;
                let token = world.sign_in(&partner.user_oid, &partner.client_id).expect("may sign in");
                world.human_writes(&partner.refresh_token, token.expose(), copied);
            }),
        });
    }
    (world, partner, tasks)
}

/// Runs a first process and stops it after `CRASH_AFTER` polls. Then runs its replacement to the end. The tests use each
/// number of polls from 0 to 11.
async fn crash_and_restart(first: impl Future<Output = ()>, again: impl Future<Output = ()>) {
    {
        let mut first = Box::pin(first);
        give_way().await;
        let budget = CRASH_AFTER.with(std::cell::Cell::get);
        for _ in 0..budget {
            let polled = std::future::poll_fn(|context| Poll::Ready(first.as_mut().poll(context))).await;
            if polled.is_ready() {
                break;
            }
            give_way().await;
        }
    }
    again.await;
}

thread_local! {
    static CRASH_AFTER: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

async fn give_way() {
    let mut yielded = false;
    std::future::poll_fn(
        |_| if std::mem::replace(&mut yielded, true) { Poll::Ready(()) } else { Poll::Pending },
    )
    .await;
}

fn both_ways(with: &[With]) -> usize {
    walk(true, || tasks(with)) + walk(false, || tasks(with))
}

#[test]
fn one_save_meets_a_persons_write() {
    let mut orders = 0;
    for with in [
        With::SignIn,
        With::Garbage,
        With::SignInThenGarbage,
        With::GarbageThenSignIn,
        With::TwoSignIns,
        With::SignInWithCopiedTags,
    ] {
        orders += both_ways(&[with]);
    }
    eprintln!("orders: {orders}");
    assert!(orders > 200, "{orders}");
}

#[test]
fn one_save_meets_a_second_instance() {
    let orders = both_ways(&[With::SecondInstance]);
    eprintln!("orders: {orders}");
    assert!(orders > 3_000, "{orders}");
}

#[test]
fn a_crash_at_any_call_meets_a_persons_write() {
    let mut orders = 0;
    for crash_after in 0..12 {
        CRASH_AFTER.with(|cell| cell.set(crash_after));
        for with in [With::SignIn, With::TwoSignIns, With::SignInThenGarbage, With::SignInWithCopiedTags] {
            orders += both_ways(&[With::CrashAndRestart, with]);
        }
    }
    eprintln!("orders: {orders}");
    assert!(orders > 1_000, "{orders}");
}

/// Three or four participants have too many orders to test all of them, so this test uses a random sample of the
/// orders.
#[test]
fn two_instances_meet_a_crash_and_two_sign_ins() {
    let mut rng = fastrand::Rng::with_seed(11);
    for order in 0..6_000 {
        CRASH_AFTER.with(|cell| cell.set(order % 12));
        let with = match order % 3 {
            0 => vec![With::SecondInstance, With::TwoSignIns],
            1 => vec![With::SecondInstance, With::SignIn, With::CrashAndRestart],
            _ => vec![With::SecondInstance, With::SignInThenGarbage],
        };
        let (world, partner, tasks) = tasks(&with);
        let drawn: Vec<usize> = (0..99).map(|_| rng.usize(..)).collect();
        let taken = run(&world, &partner, tasks, &drawn, order % 2 == 0);
        check(&world, &partner, &taken, true);
    }
}
