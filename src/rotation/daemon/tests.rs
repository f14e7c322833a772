//! Tests of the loop with simulated services in memory.

use std::cell::RefCell;
use std::sync::atomic::{AtomicU64, Ordering};

use chrono::TimeDelta;
use tokio::sync::watch;

use super::*;
use crate::ports::failure::Kind;
use crate::rotation::grace::GRACE;
use crate::rotation::liveness::LivenessOfAll;
use crate::rotation::pace::Limited;
use crate::rotation::rotate::samples::{Peers, ours, start, unavailable};
use crate::rotation::told::ToldOfAll;
use crate::rotation::turns::Turns;
use crate::token::version::tag;

/// Runs the loop and stops it once `when` returns true for a state.
async fn stopped_when(peers: &Peers, when: impl Fn(&State) -> bool) -> State {
    let rotator = peers.rotator(|_| {});
    let state = State::unknown(rotator.clock.now());
    let stop = CancellationToken::new();
    let (_reload, reloads) = watch::channel(0);
    let signals = Signals { stop: stop.clone(), reload: reloads, told: Told::default() };
    keep(rotator, state, signals, Liveness::default(), |state, _, _| {
        if when(state) {
            stop.cancel();
        }
    })
    .await
    .expect("no step hangs")
}

#[tokio::test(start_paused = true)]
async fn a_stop_ends_the_loop_at_its_next_wait() {
    let peers = Peers::new();

    let last = stopped_when(&peers, |state| state.last_rotation_at.is_some()).await;

    assert!(!last.is_unsaved());
    assert_eq!(peers.all().versions.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_stop_keeps_saving_until_the_vault_accepts() {
    let peers = Peers::new();
    (0..6).for_each(|_| peers.fail("write", unavailable()));
    let started = tokio::time::Instant::now();

    let last = stopped_when(&peers, State::is_unsaved).await;

    assert!(!last.is_unsaved());
    assert_eq!(peers.newest_value(), "rt+");
    assert!(started.elapsed() <= GRACE, "{:?}", started.elapsed());
}

/// Simulates a suspended host: the clock has moved on, but the timers have not.
#[tokio::test(start_paused = true)]
async fn after_ten_days_asleep_the_vault_is_checked_within_minutes() {
    const INSTANT: Duration = Duration::from_millis(1);
    let peers = Peers::new();
    let rotator = peers.rotator(|_| {});
    let clock = rotator.clock.clone();
    let state = State::unknown(clock.now());
    let (stop, (_reload, reloads)) = (CancellationToken::new(), watch::channel(0));
    let signals = Signals { stop: stop.clone(), reload: reloads, told: Told::default() };
    let (written, mut seen) = watch::channel(0);
    let publish = |_: &State, _: &Next, _: &[Event]| {
        written.send_replace(peers.all().versions.len());
    };

    let sleeper = async {
        seen.wait_for(|versions| *versions == 2).await.expect("the first one is somebody else's");
        clock.pace(10.0 * 86_400.0 / INSTANT.as_secs_f64(), INSTANT);
        tokio::time::advance(INSTANT).await;
        clock.pace(1.0, Duration::MAX);
        let awake_since = tokio::time::Instant::now();
        seen.wait_for(|versions| *versions == 3).await.expect("it is a week old");
        stop.cancel();
        awake_since.elapsed()
    };
    let (_, took) = tokio::join!(keep(rotator, state, signals, Liveness::default(), publish), sleeper);

    assert!(took <= LOOK_EVERY, "{took:?}");
}

/// The loop of a token, with the senders that control the loop.
struct Loop {
    stop: CancellationToken,
    reload: watch::Sender<u64>,
    told: ToldOfAll,
}

impl Loop {
    fn new() -> (Self, Signals) {
        let (reload, reloads) = watch::channel(0);
        let controls = Self { stop: CancellationToken::new(), reload, told: ToldOfAll::new(1) };
        let signals = Signals { stop: controls.stop.clone(), reload: reloads, told: controls.told.of(0) };
        (controls, signals)
    }
}

async fn seconds(count: u64) {
    tokio::time::sleep(Duration::from_secs(count)).await;
}

#[tokio::test(start_paused = true)]
async fn each_step_is_published_once_with_its_events_and_a_quiet_wait_is_not() {
    let peers = Peers::new();
    peers.all().versions.push(ours("v1", "rt", -30, "v0"));
    let (controls, signals) = Loop::new();
    let published = RefCell::new(Vec::new());
    let publish = |_: &State, next: &Next, events: &[Event]| {
        published.borrow_mut().push((matches!(next, Next::Wait(_)), events.len()));
    };
    let state = State::unknown(start());
    let control = async {
        seconds(3_600).await;
        assert_eq!(*published.borrow(), [(false, 0), (false, 2), (true, 0)], "a proof and its record");
        assert!(peers.tags("v1").contains(tag::PROVED_AT));
        controls.reload.send_replace(1);
        seconds(1).await;
        controls.stop.cancel();
    };

    let (last, ()) =
        tokio::join!(keep(peers.rotator(|_| {}), state, signals, Liveness::default(), publish), control);

    assert!(
        last.is_some_and(|state| state.proved_at().is_some_and(|at| at >= start() + TimeDelta::hours(1)))
    );
    assert_eq!(published.borrow()[3..5], [(false, 0), (true, 1)], "a reload proves the token at once");
}

#[tokio::test(start_paused = true)]
async fn a_stop_cancels_a_step_that_holds_nothing() {
    let peers = Peers::new();
    peers.all().slow = Duration::from_secs(600);
    let (controls, signals) = Loop::new();
    let control = async {
        seconds(5).await;
        controls.stop.cancel();
        tokio::time::Instant::now()
    };
    let rotator = peers.rotator(|_| {});
    let running = keep(rotator, State::unknown(start()), signals, Liveness::default(), |_, _, _| {});

    let (last, stopped_at) = tokio::join!(running, control);

    assert!(last.is_none() && stopped_at.elapsed().is_zero());
}

#[tokio::test(start_paused = true)]
async fn the_marks_of_the_process_before_stay_on_the_version() {
    let peers = Peers::new();
    peers.all().versions.push(ours("v1", "rt", -30, "v0"));
    peers.all().versions[1].version.tags.insert(tag::TOLD, "00000007");
    let (controls, signals) = Loop::new();
    let control = async {
        seconds(60).await;
        assert_eq!(peers.tags("v1").get(tag::TOLD), Some("00000007"));
        controls.told.note(0, 9);
        seconds(1).await;
        assert_eq!(peers.tags("v1").get(tag::TOLD), Some("00000007 00000009"));
        controls.told.forget(7);
        seconds(1).await;
        assert_eq!(peers.tags("v1").get(tag::TOLD), Some("00000009"), "the mark is known as its own");
        controls.stop.cancel();
    };
    let rotator = peers.rotator(|_| {});
    let running = keep(rotator, State::unknown(start()), signals, Liveness::default(), |_, _, _| {});

    let (last, ()) = tokio::join!(running, control);

    assert!(last.is_some());
}

/// All permits for steps are taken, so the token waits in line.
#[tokio::test(start_paused = true)]
async fn a_token_in_line_is_published_once_and_its_pulse_goes_on() {
    for holds in [false, true] {
        let peers = Peers::new();
        let mut rotator = peers.rotator(|_| {});
        let mut state = State::unknown(start());
        if holds {
            state = rotator.step(state, Next::Prove).await.state;
        }
        let turns = Turns::new(rotator.clock.clone());
        rotator.turns = turns.clone();
        let mut busy = Vec::new();
        for _ in 0..64 {
            busy.push(turns.take(Limited::Steps, true).await);
        }
        let pulses = LivenessOfAll::new(1);
        let (controls, signals) = Loop::new();
        let in_line = AtomicU64::new(0);
        let publish = |state: &State, _: &Next, _: &[Event]| {
            in_line.fetch_add(state.in_line.into(), Ordering::Relaxed);
        };
        let control = async {
            seconds(3_600).await;
            assert!(pulses.oldest() <= LOOK_EVERY, "{:?}", pulses.oldest());
            controls.stop.cancel();
            seconds(10).await;
            drop(busy);
            tokio::time::Instant::now()
        };

        let running = async {
            let last = keep(rotator, state, signals, pulses.of(0), publish).await;
            (last, tokio::time::Instant::now())
        };
        let ((last, ended_at), freed_at) = tokio::join!(running, control);

        assert_eq!(in_line.load(Ordering::Relaxed), 1, "{holds}");
        assert_eq!(ended_at < freed_at, !holds, "a stop waits for a successor only");
        assert!(last.is_some_and(|state| !state.is_unsaved()));
        assert_eq!(peers.newest_value(), if holds { "rt+" } else { "rt" });
    }
}

#[tokio::test(start_paused = true)]
async fn a_command_proves_a_strict_token_again_only_if_nothing_was_redeemed() {
    let busy = crate::ports::VaultError::Disabled;
    for (what, strict, call, error, attempts) in [
        ("an outage before the redemption", true, "newest", unavailable(), 2),
        ("not strict", false, "newest", unavailable(), 1),
        ("a person must act", true, "newest", busy, 1),
        ("no failure", true, "none", unavailable(), 1),
    ] {
        let peers = Peers::new();
        peers.fail(call, error);
        let mut rotator = peers.rotator(|grant| grant.strict = strict);

        let state = prove_within_grace(&mut rotator, State::unknown(start()), false).await;

        let reads = peers.calls().iter().filter(|call| *call == "newest").count();
        assert_eq!(reads, attempts, "{what}");
        assert_eq!(state.is_unsaved(), attempts == 2 || call == "none", "{what}");
    }
    let peers = Peers::new();
    peers.all().rejects.insert("rt".into(), crate::ports::IssuerError::NotUnderstood("x"));
    let mut rotator = peers.rotator(|grant| grant.strict = true);
    prove_within_grace(&mut rotator, State::unknown(start()), false).await;
    assert_eq!(peers.all().stakes.len(), 1, "it may be redeemed already");

    let peers = Peers::new();
    (0..50).for_each(|_| peers.fail("newest", unavailable()));
    let mut rotator = peers.rotator(|grant| grant.strict = true);
    let began = tokio::time::Instant::now();
    prove_within_grace(&mut rotator, State::unknown(start()), false).await;
    assert_eq!(began.elapsed().as_secs(), 26, "it ends with the grace period");
}

#[tokio::test(start_paused = true)]
async fn a_command_that_drops_the_only_copy_reports_the_token_as_lost() {
    for (strict, kind) in [(true, Some(Kind::LoginRequired)), (false, None)] {
        let peers = Peers::new();
        let mut rotator = peers.rotator(|grant| grant.strict = strict);
        let state = rotator.step(State::unknown(start()), Next::Prove).await.state;

        let state = own_up(&rotator, state);

        assert_eq!(state.failure().map(|failure| failure.kind), kind, "{strict}");
        assert_eq!(state.is_unsaved(), !strict, "{strict}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_command_notes_its_findings_once() {
    let peers = Peers::new();
    peers.all().versions.push(ours("v1", "rt", -30, "v0"));
    let mut rotator = peers.rotator(|_| {});
    let state = rotator.step(State::unknown(start()), Next::Prove).await.state;
    peers.calls();

    let state = note(&mut rotator, state).await;
    assert_eq!(peers.calls(), ["tag v1"]);
    let state = note(&mut rotator, state).await;

    assert_eq!(peers.calls(), [""; 0]);
    assert_eq!(state.newest.map(|newest| newest.tags), Some(peers.tags("v1")));
}

#[tokio::test(start_paused = true)]
async fn a_command_saves_within_its_grace_period_and_an_only_copy_until_a_stop() {
    let attempts = async |strict: bool, wanted: bool, failures: usize, stop_after: u64| {
        let peers = Peers::new();
        let mut rotator = peers.rotator(|grant| grant.strict = strict);
        let state = rotator.step(State::unknown(start()), Next::Prove).await.state;
        (0..failures).for_each(|_| peers.fail("write", unavailable()));
        let stop = CancellationToken::new();
        let began = tokio::time::Instant::now();
        let saving = async {
            let state = save_within_grace(&mut rotator, state, &stop, |_| wanted).await;
            (state.is_unsaved(), began.elapsed().as_secs())
        };
        let stopping = async {
            seconds(stop_after).await;
            stop.cancel();
        };
        let (done, ()) = tokio::join!(saving, stopping);
        done
    };

    assert_eq!(attempts(false, true, 0, 0).await, (false, 0));
    assert_eq!(attempts(false, true, 3, 0).await, (false, 6));
    assert_eq!(attempts(false, true, 99, 0).await, (true, 26), "until the end of the grace period");
    assert_eq!(attempts(false, false, 99, 0).await, (true, 0), "not wanted");
    assert_eq!(attempts(true, false, 20, 9_999).await, (false, 24 + 2 + 65 * 7));
    assert_eq!(attempts(true, false, 99, 100).await, (true, 126), "a grace period from the stop on");
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_jumps_makes_the_vault_the_judge() {
    let peers = Peers::new();
    peers.all().versions.push(ours("v1", "rt", -30, "v0"));
    let rotator = peers.rotator(|_| {});
    let clock = rotator.clock.clone();
    let (controls, signals) = Loop::new();
    let control = async {
        seconds(600).await;
        peers.calls();
        clock.set_by(TimeDelta::hours(2));
        seconds(LOOK_EVERY.as_secs()).await;
        assert!(peers.calls().contains(&"newest".to_owned()), "the host's clock was set");
        controls.stop.cancel();
    };
    let running = keep(rotator, State::unknown(start()), signals, Liveness::default(), |_, _, _| {});

    let (last, ()) = tokio::join!(running, control);

    assert!(last.is_some());
}
