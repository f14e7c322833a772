//! Tests incidents that begin before a restart and end while no process is running. Every sink gets the message about
//! the end, and no sink gets a message twice.

use chrono::TimeDelta;
use perennial::alert::rules::EventKind;
use perennial::net::no_response::NoResponse;
use perennial::ports::failure::Kind;
use perennial::sandbox::world::{Action, Fault, FaultEffect, Operation, Peer};
use perennial::status::snapshot::TokenState;

use crate::support::harness;
use crate::support::town::{DAY, HOUR, MINUTE, Town, in_town, pass};

struct Trouble {
    kind: Kind,
    begins: fn(&Town),
    ends: fn(&Town),
}

fn down(peer: Peer) -> Fault {
    Fault::of(peer, FaultEffect::Transport(NoResponse::TimedOut))
}

fn answers(town: &Town, peer: Peer, status: u16, code: &str, inner: Option<&str>) {
    let inner = inner.map(str::to_owned);
    let what = FaultEffect::Coded { status, code: code.into(), inner, retry_after: None };
    town.world.inject(Fault::of(peer, what));
}

fn refuses(town: &Town, error: &str, code: u32) {
    let what = FaultEffect::OAuth { status: 400, error: error.into(), code: Some(code), suberror: None };
    town.world.inject(Fault::of(Peer::Entra, what).on(Operation::Redeem));
}

fn over(town: &Town) {
    town.world.clear_faults(None);
}

fn allow(town: &Town, action: Action, allowed: bool) {
    town.world.change_vault(harness::VAULT, |vault| {
        if allowed {
            vault.allowed.insert(action);
        } else {
            vault.allowed.remove(&action);
        }
    });
}

fn signs_in(town: &Town) {
    town.world.human_signs_in(&town.partners[0]).expect("may sign in");
}

fn new_app_secret(town: &Town) {
    let (partner, ends) = (&town.partners[0], Some(town.world.now() + TimeDelta::days(180)));
    town.world.replace_app_secret(&partner.client_id, "n3w~s3cret", ends);
    town.world.store_app_secret(&partner.app_secret, "n3w~s3cret", ends);
}

fn app_secret_ends(town: &Town, ends: Option<TimeDelta>) {
    let partner = &town.partners[0];
    let value = town.world.newest_value(&partner.app_secret).expect("stored");
    let ends = ends.map(|ends| town.world.now() + ends);
    town.world.store_app_secret(&partner.app_secret, value.expose(), ends);
}

#[rustfmt::skip]
fn troubles() -> Vec<Trouble> {
    let of = |kind, begins, ends| Trouble { kind, begins, ends };
    vec![
        of(Kind::AppCredentialRefused, |town| town.world.expire_app_secret(&town.partners[0].client_id), new_app_secret),
        of(Kind::VaultRefused, |town| allow(town, Action::GetSecret, false), |town| allow(town, Action::GetSecret, true)),
        of(Kind::VaultUnreachable, |town| town.world.inject(down(Peer::KeyVault)), over),
        of(Kind::EntraUnreachable, |town| town.world.inject(down(Peer::Entra)), over),
        of(Kind::EntraThrottled, |town| refuses(town, "temporarily_unavailable", 50196), over),
        of(Kind::TurnedOff,
            |town| town.world.switch_version(&town.partners[0].refresh_token, None, false),
            |town| town.world.switch_version(&town.partners[0].refresh_token, None, true)),
        of(Kind::PartnerCenterRefused, |town| answers(town, Peer::PartnerCenter, 403, "2032", None), over),
        of(Kind::MfaRequired, |town| answers(town, Peer::PartnerCenter, 401, "900421", None), over),
        of(Kind::LoginRequired, |town| town.world.revoke_user(&town.partners[0].user_oid), signs_in),
        of(Kind::PolicyBlocked, |town| refuses(town, "invalid_grant", 53003), over),
        of(Kind::AccountDisabled,
            |town| town.world.disable_user(&town.partners[0].user_oid, true),
            |town| town.world.disable_user(&town.partners[0].user_oid, false)),
        of(Kind::AppMisconfigured, |town| refuses(town, "invalid_scope", 70011), over),
            of(Kind::UnknownCode, |town| refuses(town, "out_of_cheese", 999_999), over),
        of(Kind::SecretDeleted,
            |town| town.world.human_deletes(&town.partners[0].refresh_token),
            |town| town.world.human_recovers(&town.partners[0].refresh_token)),
        of(Kind::AppSecretExpiring,
            |town| app_secret_ends(town, Some(TimeDelta::days(9))),
            |town| app_secret_ends(town, Some(TimeDelta::days(180)))),
        of(Kind::AppSecretExpiryUnknown,
            |town| app_secret_ends(town, None), |town| app_secret_ends(town, Some(TimeDelta::days(180)))),
    ]
}

/// Each problem lasts for hours, so that the process reports the problem and stores the alert's mark in the tags. After
/// that, the process ends, the problem is fixed, and a new process starts.
#[test]
fn incidents_that_ended_while_stopped_are_resolved() {
    let mut wrong = Vec::new();
    for trouble in troubles() {
        let found = in_town(2, |_, _, _| {}, &async |town| {
            town.start();
            pass(HOUR).await;
            (trouble.begins)(town);
            town.with(|daemon, _| daemon.reload());
            pass(HOUR * 8).await;
            let opened = (town.pager.of(trouble.kind), town.chat.of(trouble.kind));
            town.stop();
            pass(HOUR * 3).await;
            (trouble.ends)(town);
            pass(HOUR).await;
            town.start();
            pass(HOUR * 2).await;
            (opened, town.pager.open(), town.holding(), town.state())
        });
        let (opened, open, holding, state) = found;
        if opened.0.is_empty()
            || opened.1.is_empty()
            || !open.is_empty()
            || !holding.is_empty()
            || state != TokenState::Current
        {
            wrong.push(format!(
                "{:?}: told {opened:?}, still open {open:?}, holding {holding:?}, {state:?}",
                trouble.kind
            ));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

/// An incident ends at the first success, and not at the start of a process.
#[test]
fn conditions_that_still_hold_after_a_restart_are_not_resolved() {
    let mut wrong = Vec::new();
    for trouble in troubles() {
        let (before, after, kept) = in_town(2, |_, _, _| {}, &async |town| {
            town.start();
            pass(HOUR).await;
            (trouble.begins)(town);
            town.with(|daemon, _| daemon.reload());
            pass(HOUR * 8).await;
            town.stop();
            pass(MINUTE * 4).await;
            let before = town.chat.of(trouble.kind).len();
            town.start();
            pass(HOUR * 2).await;
            let is_open =
                town.pager.open().contains(&trouble.kind) && town.chat.open().contains(&trouble.kind);
            (before, town.chat.of(trouble.kind).len(), is_open)
        });
        eprintln!(
            "{:?}: people were told {before} times before the restart and {} after",
            trouble.kind,
            after - before
        );
        if !kept {
            wrong.push(format!("{:?}", trouble.kind));
        }
    }
    assert!(wrong.is_empty(), "{wrong:?}");
}

#[test]
fn a_sink_gets_missed_incidents_as_opened_once_its_address_is_fixed() {
    in_town(1, |_, _, _| {}, &async |town| {
        town.chat.is_wrong.set(true);
        town.start();
        pass(HOUR).await;
        town.world.revoke_user(&town.partners[0].user_oid);
        town.with(|daemon, _| daemon.reload());
        pass(HOUR).await;
        town.stop();
        town.chat.is_wrong.set(false);
        town.start();
        pass(MINUTE * 3).await;

        assert_eq!(town.chat.of(Kind::LoginRequired), [EventKind::Opened]);
    });
}

#[test]
fn an_app_secret_that_expires_in_half_a_day_is_reported_at_once() {
    let ends = |_: &perennial::sandbox::world::World, _: &_, _: &mut _| {};
    in_town(1, ends, &async |town| {
        app_secret_ends(town, Some(TimeDelta::hours(12)));
        town.start();
        pass(MINUTE * 3).await;
        assert_eq!(town.chat.of(Kind::AppSecretExpiring), [EventKind::Opened]);

        town.stop();
        pass(MINUTE * 10).await;
        town.start();
        pass(HOUR).await;
        assert_eq!(town.chat.of(Kind::AppSecretExpiring), [EventKind::Opened], "a restart repeats nothing");
    });
}

#[test]
fn a_reminder_comes_daily_also_after_the_clock_was_wrong() {
    in_town(2, |_, _, _| {}, &async |town| {
        town.start_ahead(TimeDelta::days(400));
        pass(HOUR).await;
        town.world.revoke_user(&town.partners[0].user_oid);
        town.with(|daemon, _| daemon.reload());
        pass(MINUTE * 5).await;
        // For a moment, the vault reports a wrong time.
        town.with(|_, clock| clock.observe(town.world.now() + TimeDelta::days(400)));
        pass(DAY + HOUR * 7).await;
        pass(DAY).await;
        let told = town.chat.of(Kind::LoginRequired);
        let reminders = told.iter().filter(|what| **what == EventKind::Reminder).count();
        assert!((1..=3).contains(&reminders), "{told:?}");
        assert!(!told.contains(&EventKind::Resolved), "{told:?}");
    });
}

/// Perennial stores an incident's mark in the tags of the affected tokens. But these two incidents affect no token. So
/// Perennial stores their marks in the tags of the first tokens in the configuration (found by the simulation of the
/// whole process, seed 0).
#[test]
fn incidents_of_the_host_and_of_a_sink_are_resolved_after_a_restart() {
    in_town(2, |_, _, _| {}, &async |town| {
        town.chat.is_wrong.set(true);
        town.start_ahead(TimeDelta::hours(2));
        pass(HOUR).await;
        let mut open = town.pager.open();
        open.sort();
        assert_eq!(open, [Kind::ClockSkew, Kind::AlertUndeliverable]);

        town.stop();
        town.chat.is_wrong.set(false);
        town.start();
        pass(HOUR).await;
        assert_eq!((town.pager.open(), town.holding()), (vec![], vec![]));
    });
}

#[test]
fn a_sink_that_still_fails_after_a_restart_is_not_reported_as_working() {
    in_town(1, |_, _, _| {}, &async |town| {
        town.chat.is_wrong.set(true);
        town.start_ahead(TimeDelta::hours(2));
        pass(HOUR).await;
        town.stop();
        town.start();
        pass(HOUR * 30).await;
        assert_eq!(town.pager.open(), [Kind::AlertUndeliverable]);
        assert_eq!(town.pager.of(Kind::AlertUndeliverable).last(), Some(&EventKind::Reminder));
    });
}

/// While Perennial holds an unsaved successor, Perennial writes no tags. So the tags contain no mark of this incident
/// (found by the simulation of the whole process, seed 22).
#[test]
fn an_unsaved_incident_is_resolved_after_the_process_died() {
    in_town(1, |_, _, _| {}, &async |town| {
        town.start();
        pass(HOUR).await;
        town.world.inject(down(Peer::KeyVault).on(Operation::Set));
        pass(DAY * 9).await;
        assert!(town.pager.open().contains(&Kind::Unsaved));

        town.stop();
        over(town);
        town.start();
        pass(HOUR * 2).await;
        assert_eq!((town.pager.open(), town.holding(), town.state()), (vec![], vec![], TokenState::Current));
    });
}

/// Only the version before the two sign-ins has the marks of the incident (found by the simulation of the whole
/// process, seed 11).
#[test]
fn two_sign_ins_before_a_restart_resolve_earlier_incidents() {
    in_town(1, |_, _, _| {}, &async |town| {
        town.start();
        pass(HOUR).await;
        answers(town, Peer::PartnerCenter, 401, "900421", None);
        pass(HOUR * 8).await;
        assert!(town.pager.open().contains(&Kind::MfaRequired));

        town.stop();
        over(town);
        signs_in(town);
        pass(HOUR).await;
        signs_in(town);
        town.start();
        pass(HOUR * 2).await;
        assert_eq!((town.pager.open(), town.holding(), town.state()), (vec![], vec![], TokenState::Current));
    });
}

/// The incident's marks are on the version before the sign-in. Without the right to list versions, Perennial cannot
/// find that version. Perennial gets the right only after Perennial has rotated the token (found by the simulation of
/// the whole process, seed 293).
#[test]
fn a_sign_in_resolves_incidents_once_its_history_can_be_read() {
    in_town(1, |_, _, _| {}, &async |town| {
        town.start();
        pass(HOUR).await;
        town.world.revoke_user(&town.partners[0].user_oid);
        pass(HOUR * 8).await;
        assert!(town.pager.open().contains(&Kind::LoginRequired));

        town.stop();
        signs_in(town);
        allow(town, Action::ReadMetadata, false);
        town.start();
        pass(HOUR).await;
        allow(town, Action::ReadMetadata, true);
        pass(HOUR * 2).await;
        assert_eq!((town.pager.open(), town.holding(), town.state()), (vec![], vec![], TokenState::Current));
    });
}

/// Perennial has no right to update tags, and each delivery to the pager fails. But the rotation after the sign-in
/// saves the marks with the successor (found by the simulation of the whole process, seed 487).
#[test]
fn marks_survive_a_rotation_while_tags_cannot_be_updated() {
    in_town(1, |_, _, _| {}, &async |town| {
        town.start();
        pass(HOUR).await;
        town.world.revoke_user(&town.partners[0].user_oid);
        pass(HOUR * 8).await;
        assert!(town.pager.open().contains(&Kind::LoginRequired));

        allow(town, Action::Update, false);
        town.stop();
        signs_in(town);
        town.pager.is_wrong.set(true);
        for _ in 0..2 {
            town.start();
            pass(HOUR).await;
            town.stop();
        }
        town.pager.is_wrong.set(false);
        town.start();
        pass(HOUR * 2).await;
        assert!(!town.pager.open().contains(&Kind::LoginRequired), "{:?}", town.pager.open());
    });
}

/// A successful read ends the condition about the vault, even if a later call fails.
#[test]
fn a_vault_that_can_be_read_again_ends_its_condition_although_entra_is_down() {
    let (before, after) = in_town(2, |_, _, _| {}, &async |town| {
        town.start();
        pass(HOUR).await;
        allow(town, Action::GetSecret, false);
        town.with(|daemon, _| daemon.reload());
        pass(HOUR).await;
        let kinds = || town.holding().into_iter().map(|(kind, _)| kind).collect::<Vec<_>>();
        let before = kinds();
        town.world.inject(down(Peer::Entra));
        allow(town, Action::GetSecret, true);
        town.with(|daemon, _| daemon.reload());
        pass(HOUR * 2).await;
        (before, kinds())
    });

    assert_eq!((before, after), (vec![Kind::VaultRefused], vec![Kind::EntraUnreachable]));
}
