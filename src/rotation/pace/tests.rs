//! Tests of how many permits are free, and when.

use super::*;
use crate::rotation::samples;
use crate::rotation::state::State;

const NOW: Duration = Duration::from_secs(1_000);
const SECOND: Duration = Duration::from_secs(1);

fn redemptions(app: u64, user: Option<u64>) -> Limited {
    Limited::Redemptions(Redeemer { app, user })
}

/// Takes all free permits and gives each one back immediately.
fn take_all(usage: &mut Usage, what: Limited, urgent: bool, now: Duration) -> usize {
    let mut taken = 0;
    while usage.take(what, urgent, now).is_ok() {
        usage.give_back(what, true, now);
        taken += 1;
    }
    taken
}

#[test]
fn each_limit_is_that_of_the_promise() {
    let mut usage = Usage::default();
    for (what, most) in
        [(Limited::Calls(1), 2_666), (Limited::NewVersions(1), 200), (redemptions(1, Some(1)), 14)]
    {
        assert_eq!(take_all(&mut usage, what, true, NOW), most, "{what:?}");
        let span = what.limit(true).1;
        let before = span.saturating_sub(Duration::from_millis(1));
        assert_eq!(take_all(&mut usage, what, true, NOW + before), 0, "{what:?}");
        assert_eq!(take_all(&mut usage, what, true, NOW + span), most, "{what:?}");
    }
    let mut in_flight = 0;
    while usage.take(Limited::Steps, true, NOW).is_ok() {
        in_flight += 1;
    }
    assert_eq!(in_flight, 64);
    assert_eq!(redeemable_within(6 * 3600 * SECOND), 1_008);
}

#[test]
fn no_sliding_window_exceeds_the_limit() {
    let mut usage = Usage::default();
    let what = redemptions(1, Some(1));
    let mut taken: Vec<Duration> = Vec::new();
    for second in 0..3_600 {
        let now = NOW + second * SECOND;
        for _ in 0..second % 7 {
            if usage.take(what, false, now).is_ok() {
                usage.give_back(what, true, now);
                taken.push(now);
            }
        }
    }

    for from in &taken {
        let within = taken.iter().filter(|at| *from <= **at && **at < *from + LOOP_SPAN).count();
        assert!(within <= LOOP, "{within} from {from:?}");
    }
    assert!(taken.len() >= 12 * LOOP, "{}", taken.len());
}

#[test]
fn a_permit_counts_until_its_span_after_the_answer() {
    let mut usage = Usage::default();
    let what = redemptions(1, Some(1));
    for _ in 0..LOOP {
        usage.take(what, false, NOW).expect("room");
    }
    assert_eq!(usage.take(what, false, NOW), Err(None), "nobody knows when the first answer comes");

    usage.give_back(what, true, NOW + 20 * SECOND);
    let free_at = NOW + 20 * SECOND + LOOP_SPAN;

    assert_eq!(usage.take(what, false, NOW + LOOP_SPAN), Err(Some(free_at)));
    assert_eq!(usage.take(what, false, free_at), Ok(()));
}

#[test]
fn a_permit_returned_unused_never_counted() {
    let mut usage = Usage::default();
    for _ in 0..100 {
        usage.take(Limited::NewVersions(1), false, NOW).expect("room");
        usage.give_back(Limited::NewVersions(1), false, NOW);
    }

    assert_eq!(take_all(&mut usage, Limited::NewVersions(1), false, NOW), NEW_VERSIONS);
}

#[test]
fn some_steps_and_calls_are_reserved_for_held_successors() {
    let mut usage = Usage::default();
    assert_eq!(take_all(&mut usage, Limited::Calls(1), false, NOW), CALLS - KEPT_FREE);

    assert_eq!(take_all(&mut usage, Limited::Calls(1), true, NOW), KEPT_FREE);
}

#[test]
fn an_unknown_user_may_be_any_user_of_the_app() {
    let mut usage = Usage::default();
    assert_eq!(take_all(&mut usage, redemptions(1, Some(7)), false, NOW), LOOP);
    assert_eq!(take_all(&mut usage, redemptions(1, None), false, NOW), 0, "it may be user 7");
    assert_eq!(take_all(&mut usage, redemptions(2, None), false, NOW), LOOP, "another app");
    assert_eq!(take_all(&mut usage, redemptions(2, Some(7)), false, NOW), 0, "it may have been this one");
    assert_eq!(take_all(&mut usage, redemptions(1, Some(8)), false, NOW), LOOP, "another user");
}

#[test]
fn a_redemption_counts_for_the_user_that_its_answer_names() {
    let mut usage = Usage::default();
    for _ in 0..LOOP {
        usage.take(redemptions(1, None), false, NOW).expect("room");
        usage.carry(redemptions(1, None), redemptions(1, Some(7)));
        usage.give_back(redemptions(1, Some(7)), true, NOW);
    }

    assert_eq!(take_all(&mut usage, redemptions(1, Some(7)), false, NOW), 0);
    assert_eq!(take_all(&mut usage, redemptions(1, Some(8)), false, NOW), LOOP);
}

#[test]
fn a_pause_delays_all_but_urgent_requests() {
    let mut usage = Usage::default();
    usage.pause(Limited::Vault(1), NOW + 30 * SECOND);
    usage.pause(Limited::Vault(1), NOW + 10 * SECOND);

    assert_eq!(usage.take(Limited::Vault(1), false, NOW), Err(Some(NOW + 30 * SECOND)));
    assert_eq!(usage.take(Limited::Vault(1), true, NOW), Ok(()));
    assert_eq!(usage.take(Limited::Vault(2), false, NOW), Ok(()));
    assert_eq!(usage.take(Limited::Vault(1), false, NOW + 30 * SECOND), Ok(()));
}

#[test]
fn a_vault_that_hangs_leaves_some_steps_to_the_others() {
    let mut usage = Usage::default();
    let under_way = |usage: &mut Usage, vault| {
        let mut count = 0;
        while usage.take(Limited::Vault(vault), false, NOW).is_ok() {
            count += 1;
        }
        count
    };
    assert_eq!(under_way(&mut usage, 1), 56, "alone");
    usage.take(Limited::Vault(2), false, NOW).expect("room");
    usage.give_back(Limited::Vault(1), true, NOW);
    assert_eq!(under_way(&mut usage, 1), 0, "another one waits");
    assert_eq!(under_way(&mut usage, 2), 41);
}

#[test]
fn idle_windows_are_removed() {
    let mut usage = Usage::default();
    for user in 0..10_000 {
        usage.take(redemptions(user, Some(user)), false, NOW).expect("room");
        usage.give_back(redemptions(user, Some(user)), true, NOW);
    }
    let later = NOW + LOOP_SPAN;
    for user in 0..10_000 {
        usage.take(redemptions(1, Some(user)), false, later + SECOND).expect("room");
        usage.give_back(redemptions(1, Some(user)), false, later + SECOND);
    }

    assert!(usage.windows.len() < 20_000, "{}", usage.windows.len());
}

#[test]
fn the_user_comes_from_configuration_answer_or_tag() {
    let grant = samples::grant("t");
    let now = crate::process::clock::Timestamp::from_timestamp(1_770_000_000, 0).expect("in range");
    let plain = samples::version("v", now);
    let mut noted = plain.clone();
    noted.tags.insert(tag::USER_OID, "NOTED");
    let mut state = State::unknown(now);
    state.facts_of(&plain.id).user_oid = Some("answered".into());
    let facts = state.facts.as_deref();
    let configured = ManagedToken { user_oid: Some("configured".into()), ..grant.clone() };
    let user = |grant, version, facts| Redeemer::of(grant, version, facts).user;

    assert_eq!(user(&grant, None, facts), None);
    assert_eq!(user(&grant, Some(&plain), None), None);
    assert_eq!(user(&grant, Some(&noted), None), Some(hash("noted")));
    assert_eq!(user(&grant, Some(&noted), facts), Some(hash("answered")));
    assert_eq!(user(&configured, Some(&noted), facts), Some(hash("configured")));
    let other_tenant = ManagedToken { tenant_id: "other.example".into(), ..grant.clone() };
    assert_ne!(Redeemer::of(&grant, None, None), Redeemer::of(&other_tenant, None, None));
}

#[test]
fn a_permit_moves_to_the_user_that_an_answer_names() {
    let mut usage = Usage::default();
    let unknown = Redeemer { app: 1, user: None };
    let (from, to) = (Limited::Redemptions(unknown), Limited::Redemptions(unknown.with_user("A")));
    assert_eq!(to, redemptions(1, Some(hash("a"))));

    for _ in 0..3 {
        usage.take(from, true, NOW).expect("free");
        usage.carry(from, to);
    }

    assert_eq!((usage.busy(from), usage.busy(to)), (0, 3));
}

#[test]
fn a_window_without_requests_and_pause_is_removed_and_others_stay() {
    let mut usage = Usage::default();
    let user = |nth| redemptions(nth, Some(nth));
    for nth in 0..FEW as u64 {
        usage.take(user(nth), false, NOW).expect("room");
    }
    usage.give_back(user(0), true, NOW);
    usage.give_back(user(1), false, NOW);
    usage.give_back(user(2), true, NOW + SECOND);
    usage.give_back(user(3), false, NOW);
    usage.pause(user(3), NOW + 2 * LOOP_SPAN);
    usage.give_back(user(4), false, NOW);
    usage.pause(user(4), NOW + LOOP_SPAN);

    usage.take(user(1_000), false, NOW + LOOP_SPAN).expect("room");

    let stays = [0, 1, 2, 3, 4, 5].map(|nth| usage.windows.contains_key(&user(nth)));
    assert_eq!(stays, [false, false, true, true, false, true]);
    assert_eq!(usage.sweep_at, 2 * (FEW - 3));
    usage.give_back(user(5), false, NOW);
    usage.take(user(1_001), false, NOW + LOOP_SPAN).expect("room");
    assert!(usage.windows.contains_key(&user(5)), "the next sweep comes when the windows have doubled");
}

#[test]
fn few_windows_are_not_swept() {
    let mut usage = Usage::default();
    for nth in 0..FEW as u64 {
        usage.take(redemptions(nth, Some(nth)), false, NOW).expect("room");
        usage.give_back(redemptions(nth, Some(nth)), false, NOW);
    }
    assert_eq!(usage.windows.len(), FEW);
}

#[test]
fn steps_of_all_vaults_and_of_one_vault_reserve_some_for_held_successors() {
    for what in [Limited::Steps, Limited::Vault(1)] {
        let mut usage = Usage::default();
        let mut taken = [0, 0];
        for (count, urgent) in taken.iter_mut().zip([false, true]) {
            while usage.take(what, urgent, NOW).is_ok() {
                *count += 1;
            }
        }
        assert_eq!(taken, [56, 8], "{what:?}");
        usage.give_back(what, true, NOW);
        assert_eq!(usage.take(what, true, NOW), Ok(()), "an answered step no longer counts");
    }
}

#[test]
fn requests_without_a_permit_count_like_others() {
    let mut usage = Usage::default();
    usage.note(Limited::Calls(1), 2_600, NOW);

    assert_eq!(take_all(&mut usage, Limited::Calls(1), true, NOW), 66);
    assert_eq!(take_all(&mut usage, Limited::Calls(1), true, NOW + VAULT_SPAN), 2_666);
}

#[test]
fn the_window_of_an_unknown_user_goes_with_its_last_permit_unless_it_is_paused() {
    let (from, to) = (redemptions(1, None), redemptions(1, Some(7)));
    let stays = |permits: usize, pause: bool| {
        let mut usage = Usage::default();
        (0..permits).for_each(|_| usage.take(from, false, NOW).expect("room"));
        if pause {
            usage.pause(from, NOW + SECOND);
        }
        usage.carry(from, to);
        assert_eq!((usage.busy(from), usage.busy(to)), (permits - 1, 1));
        usage.windows.contains_key(&from)
    };

    assert!(!stays(1, false) && stays(2, false) && stays(1, true));
}

#[test]
fn the_next_permit_comes_when_the_first_answer_of_either_rival_is_over() {
    let mut usage = Usage::default();
    let (user, unknown) = (redemptions(1, Some(7)), redemptions(1, None));
    for second in 0..7 {
        for (what, at) in [(user, NOW + (second + 5) * SECOND), (unknown, NOW + second * SECOND)] {
            usage.take(what, false, at).expect("room");
            usage.give_back(what, true, at);
        }
    }

    assert_eq!(usage.take(user, false, NOW + 20 * SECOND), Err(Some(NOW + LOOP_SPAN)));
    assert_eq!(usage.take(user, false, NOW + LOOP_SPAN), Ok(()));
}
