//! Who is this machine, and which connection gives up its slot.

use super::*;

#[test]
fn only_loopback_names_are_this_machine() {
    for (host, here) in [
        ("localhost", true),
        ("LocalHost:9464", true),
        ("127.0.0.1", true),
        ("127.0.0.1:1", true),
        ("127.8.9.10:65535", true),
        ("[::1]", true),
        ("[::1]:9464", true),
        ("[0:0:0:0:0:0:0:1]:9464", true),
        ("[::ffff:127.0.0.1]", true),
        ("", false),
        (":9464", false),
        ("attacker.example", false),
        ("attacker.example:9464", false),
        ("localhost.attacker.example", false),
        ("127.0.0.1.nip.io", false),
        ("foo.localhost", false),
        ("localhost@attacker.example", false),
        ("user@localhost", false),
        ("localhost:", false),
        ("localhost:x", false),
        ("localhost:99999", false),
        ("localhost:80:80", false),
        ("localhost 127.0.0.1", false),
        ("127.1", false),
        ("2130706433", false),
        ("0x7f.0.0.1", false),
        ("0.0.0.0", false),
        ("10.0.0.1", false),
        ("169.254.169.254", false),
        ("::1", false),
        ("[::]", false),
        ("[::1", false),
        ("[::1]x", false),
        ("[localhost]", false),
        ("[2001:db8::1]", false),
        ("[fe80::1%25lo]", false),
    ] {
        assert_eq!(names_this_machine(host, None), here, "{host:?}");
    }
    for (host, ours) in
        [("localhost:8400", true), ("[::1]:8400", true), ("localhost", true), ("localhost:8401", false)]
    {
        assert_eq!(names_this_machine(host, Some(8400)), ours, "{host:?}");
    }
}

#[test]
fn every_name_that_a_request_gives_counts() {
    let is_for_us = |uri: &str, hosts: &[&str]| {
        let named = hosts.iter().map(|host| (header::HOST, host.parse().expect("a header's value")));
        is_for_this_machine(&uri.parse().expect("a target"), &named.collect())
    };

    assert!(is_for_us("/status", &[]), "an old client that is no browser");
    assert!(is_for_us("/status", &["localhost"]));
    assert!(is_for_us("http://127.0.0.1:9464/status", &["localhost:9464"]));
    assert!(!is_for_us("http://attacker.example/status", &["localhost"]));
    assert!(!is_for_us("attacker.example:1", &[]));
    assert!(!is_for_us("/status", &["localhost", "attacker.example"]));
    assert!(!is_for_us("/status", &["attacker.example", "localhost"]));
    assert!(!is_for_us("/status", &["größe"]));
}

/// Which of the slots has been lost.
fn lost(all: &[Slot]) -> Vec<usize> {
    let lost = |(index, slot): (usize, &Slot)| slot.lost.is_cancelled().then_some(index);
    all.iter().enumerate().filter_map(lost).collect()
}

#[test]
fn a_new_connection_gets_the_slot_of_the_one_that_was_idle_for_longest() {
    let slots = Slots::new(3);
    let mut all: Vec<Slot> = (0..3).map(|_| slots.take()).collect();
    for (index, activity) in
        [(2, Activity::Busy), (0, Activity::Busy), (2, Activity::Idle), (0, Activity::Idle)]
    {
        all[index].is_now(activity);
    }

    all.push(slots.take());
    assert_eq!(lost(&all), [2], "answered first of those that are idle");
    all.push(slots.take());
    assert_eq!(lost(&all), [0, 2]);
    all.push(slots.take());
    assert_eq!(lost(&all), [0, 1, 2], "none is idle: the oldest that was never answered");
    assert_eq!(slots.lock().connections.len(), 3);
    drop(all);
    assert!(slots.lock().connections.is_empty(), "a slot is free again when its connection has ended");
}

#[test]
fn a_connection_that_has_to_be_answered_keeps_its_slot() {
    let slots = Slots::new(2);
    let kept = slots.take();
    kept.is_now(Activity::Busy);
    kept.connection().keep();

    let others: Vec<Slot> = (0..5).map(|_| slots.take()).collect();
    assert!(!kept.lost.is_cancelled());
    assert_eq!(lost(&others), [0, 1, 2, 3]);
    kept.is_now(Activity::Idle);
    let _next = slots.take();
    assert!(kept.lost.is_cancelled(), "it was answered");
    assert!(slots.free_one() && slots.free_one() && !slots.free_one(), "there is no other left");
}
