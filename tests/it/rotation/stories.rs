//! Tests other writers, stored invalid values and vault problems, with the whole daemon in simulated time.

use std::sync::Arc;

use chrono::TimeDelta;
use perennial::alert::rules::EventKind;
use perennial::net::no_response::NoResponse;
use perennial::ports::failure::Kind;
use perennial::sandbox::world::{Action, Fault, FaultEffect, Operation, Peer, World};
use perennial::status::snapshot::TokenState;
use perennial::token::app::CredentialSource;
use perennial::token::managed::ManagedToken;
use perennial::token::secret::{SecretAddress, Source};
use perennial::token::tags::Tags;

use crate::support::town::{DAY, HOUR, MINUTE, in_town, pass};

fn down(peer: Peer) -> Fault {
    Fault::of(peer, FaultEffect::Transport(NoResponse::TimedOut))
}

#[test]
fn an_hourly_foreign_writer_is_one_incident_for_as_long_as_it_writes() {
    in_town(1, |_, _, _| {}, &async |town| {
        town.start();
        pass(HOUR * 7).await;
        for _ in 0..10 * 24 {
            town.world.human_signs_in(&town.partners[0]).expect("may sign in");
            pass(HOUR).await;
        }
        let told = town.chat.of(Kind::ForeignWriter);
        let count = |wanted| told.iter().filter(|what| **what == wanted).count();
        assert_eq!((count(EventKind::Opened), count(EventKind::Resolved)), (1, 0), "{told:?}");

        pass(DAY * 2).await;
        assert_eq!(town.chat.of(Kind::ForeignWriter).last(), Some(&EventKind::Resolved));
        assert_eq!(town.state(), TokenState::Current);
    });
}

#[test]
fn a_requested_sign_in_is_no_foreign_writer() {
    in_town(1, |_, _, _| {}, &async |town| {
        let (world, partner) = (&town.world, &town.partners[0]);
        town.start();
        pass(DAY * 2).await;
        world.set_user_mfa(&partner.user_oid, false);
        world.human_signs_in(partner).expect("may sign in");
        pass(HOUR * 7).await;
        assert_eq!(town.chat.of(Kind::MfaRequired), [EventKind::Opened]);

        world.set_user_mfa(&partner.user_oid, true);
        let good = world.human_signs_in(partner).expect("may sign in");
        town.with(|daemon, _| daemon.reload());
        pass(MINUTE).await;

        assert_eq!(town.chat.of(Kind::MfaRequired), [EventKind::Opened, EventKind::Resolved]);
        assert_eq!((town.chat.of(Kind::ForeignWriter), town.state()), (vec![], TokenState::Current));
        let newest = world.newest_version(&partner.refresh_token).expect("stored");
        assert!(newest.is_ours(), "it was rotated at once");
        let value = world.newest_value(&partner.refresh_token).expect("stored");
        assert!(world.descends_from(value.expose(), good.expose()));
    });
}

#[test]
fn an_invalid_value_with_copied_tags_is_not_proved() {
    in_town(1, |_, _, _| {}, &async |town| {
        let (world, secret) = (&town.world, &town.partners[0].refresh_token);
        town.start();
        pass(HOUR * 7).await;
        let before = world.newest_version(secret).expect("stored");
        pass(HOUR).await;
        world.inject(down(Peer::Entra));
        world.human_writes(secret, "one-word-of-rubbish", before.tags).expect("stored");
        town.with(|daemon, _| daemon.reload());
        pass(MINUTE).await;
        assert_eq!(town.state(), TokenState::Unknown);
        let proved = |town: &crate::support::town::Town| {
            town.with(|daemon, _| daemon.board().read(|all| all[0].proved_at))
        };
        assert_eq!(proved(town), None);

        town.stop();
        town.start();
        pass(MINUTE).await;
        assert_eq!((town.state(), proved(town)), (TokenState::Unknown, None), "nor by the next process");
    });
}

#[test]
fn a_verdict_on_one_version_does_not_apply_to_the_next() {
    in_town(1, |_, _, _| {}, &async |town| {
        let (world, partner) = (&town.world, &town.partners[0]);
        town.start();
        pass(HOUR * 7).await;
        assert_eq!(town.state(), TokenState::Current);
        world.inject(down(Peer::PartnerCenter));
        world.set_user_mfa(&partner.user_oid, false);
        world.human_signs_in(partner).expect("may sign in");
        town.with(|daemon, _| daemon.reload());
        pass(MINUTE).await;

        let accepted = town.with(|daemon, _| daemon.board().read(|all| all[0].accepted()));
        assert_eq!((accepted, town.state()), (None, TokenState::Unknown));
    });
}

const OTHER_VAULT: &str = "https://fabrikam.vault.azure.net";

/// Moves the app's secret to a second vault. The token stays in the first vault.
fn app_secret_elsewhere(world: &World, _: &perennial::sandbox::world::Partner, grant: &mut ManagedToken) {
    world.add_vault(OTHER_VAULT);
    let CredentialSource::Secret(Source::Secret(here)) = &grant.app.credential else {
        panic!("it is in a vault")
    };
    let there = SecretAddress { vault: OTHER_VAULT.into(), name: here.name.clone() };
    let value = world.newest_value(here).expect("stored");
    let ends = Some(world.now() + TimeDelta::days(300));
    world.store_app_secret(&there, value.expose(), ends);
    Arc::make_mut(&mut grant.app).credential = CredentialSource::Secret(Source::Secret(there));
}

#[test]
fn the_vault_that_fails_is_the_one_that_is_named() {
    in_town(1, app_secret_elsewhere, &async |town| {
        town.start();
        pass(HOUR).await;
        assert_eq!(town.state(), TokenState::Current);
        let secret = town.partners[0].app_secret.name.as_str();
        town.world.inject(down(Peer::KeyVault).about(secret));
        pass(HOUR * 8).await;

        assert_eq!(town.holding(), [(Kind::VaultUnreachable, format!("vault:{OTHER_VAULT}"))]);
    });
}

/// Tests promise 6 with a script that overwrites the secret each minute.
#[test]
fn a_script_that_writes_every_minute_stays_within_the_call_limit() {
    for rubbish in ["rubbish", "two words of rubbish"] {
        in_town(1, |_, _, _| {}, &async |town| {
            let (world, secret) = (&town.world, &town.partners[0].refresh_token);
            town.start();
            pass(HOUR * 7).await;
            for day in 0..2 {
                let since = world.now();
                for minute in 0..24 * 60 {
                    world
                        .human_writes(secret, &format!("{rubbish}{day}.{minute}"), Tags::new())
                        .expect("stored");
                    pass(MINUTE).await;
                }
                let vault =
                    world.count_calls_where(since, |call| call.peer == Peer::KeyVault && call.actor == "run");
                let redeemed = world.count_calls(Peer::Entra, Some(Operation::Redeem), since);
                assert!(vault <= 1500, "{rubbish}: {vault} calls on day {day}");
                assert!(redeemed <= 24, "{rubbish}: {redeemed} redemptions on day {day}");
                world.forget_calls_before(world.now());
            }
            let good = world.human_signs_in(&town.partners[0]).expect("may sign in");
            // Perennial may have used up the day's redemptions. So it may need more than a day to rotate the sign-in.
            pass(DAY + HOUR).await;
            let value = world.newest_value(secret).expect("stored");
            assert!(world.descends_from(value.expose(), good.expose()) && world.is_alive(value.expose()));
            assert!(world.newest_version(secret).is_some_and(|version| version.is_ours()), "taken over");
        });
    }
}

#[test]
fn instants_of_every_sink_and_state_survive_a_clock_that_was_ahead() {
    for ahead in [TimeDelta::hours(10), TimeDelta::days(60), TimeDelta::days(400)] {
        in_town(5, |_, _, _| {}, &async |town| {
            town.chat.is_wrong.set(true);
            town.world.inject(down(Peer::KeyVault));
            town.start_ahead(ahead);
            pass(HOUR).await;
            town.world.clear_faults(None);
            pass(HOUR * 2).await;

            let now = town.world.now();
            let late = |at: perennial::process::clock::Timestamp| at > now + TimeDelta::minutes(5);
            let future = town.with(|daemon, _| {
                daemon.board().drawn(|_, conditions, _| {
                    conditions.into_iter().filter(|of| late(of.since)).map(|of| of.kind).collect::<Vec<_>>()
                })
            });
            assert_eq!(future, [], "{ahead}");
            assert_eq!(town.state(), TokenState::Current, "{ahead}");
        });
    }
}

/// While the vault does not work, a sign-in cannot be stored or read. So Perennial must report the vault problem, and
/// not the rejected token (found by the simulation of the whole process, seed 44).
#[test]
fn a_rejected_token_that_becomes_unreadable_is_reported() {
    in_town(1, |_, _, _| {}, &async |town| {
        let (world, partner) = (&town.world, &town.partners[0]);
        let kinds = || town.holding().into_iter().map(|(kind, _)| kind).collect::<Vec<_>>();
        town.start();
        pass(HOUR).await;
        world.revoke_user(&partner.user_oid);
        town.with(|daemon, _| daemon.reload());
        pass(HOUR).await;
        assert_eq!(kinds(), [Kind::LoginRequired]);

        world.human_deletes(&partner.refresh_token);
        pass(MINUTE * 5).await;
        assert_eq!(kinds(), [Kind::SecretDeleted]);
        world.human_recovers(&partner.refresh_token);
        pass(MINUTE * 5).await;
        assert_eq!(kinds(), [Kind::LoginRequired]);

        world.change_vault(&partner.refresh_token.vault, |vault| {
            vault.allowed.remove(&Action::GetSecret);
        });
        pass(MINUTE * 5).await;
        assert_eq!(kinds(), [Kind::VaultRefused]);
        world.human_signs_in(partner).expect("may sign in");
        world.change_vault(&partner.refresh_token.vault, |vault| vault.allowed = Action::ALL.into());
        pass(MINUTE * 5).await;
        assert_eq!((kinds(), town.state()), (vec![], TokenState::Current));
    });
}

#[test]
fn a_secret_deleted_before_the_start_is_recovered_by_the_action() {
    in_town(1, |_, _, _| {}, &async |town| {
        town.world.human_deletes(&town.partners[0].refresh_token);
        town.start();
        pass(HOUR).await;
        let actions = town.with(|daemon, _| {
            daemon
                .board()
                .drawn(|_, held, _| held.into_iter().map(|told| (told.kind, told.action)).collect::<Vec<_>>())
        });
        let [(kind, action)] = actions.as_slice() else { panic!("{actions:?}") };
        assert_eq!(*kind, Kind::NeverSignedIn);
        assert!(
            action.contains("az keyvault secret recover --vault-name contoso --name t0-refresh-token"),
            "{action}"
        );
    });
}

/// During the outage, Perennial cannot try the older versions, but it knows that the newest value is invalid (found by
/// the simulation of the whole process, seed 55).
#[test]
fn an_outage_of_entra_does_not_hide_that_the_stored_value_is_no_token() {
    in_town(1, |_, _, _| {}, &async |town| {
        let secret = &town.partners[0].refresh_token;
        town.start();
        pass(HOUR).await;
        town.stop();
        town.world.human_writes(secret, "pasted rubbish", Tags::new()).expect("stored");
        pass(DAY + HOUR).await;
        town.world.inject(down(Peer::Entra).on(Operation::Redeem));
        town.start();
        pass(MINUTE * 10).await;
        let held: Vec<Kind> = town.holding().into_iter().map(|(kind, _)| kind).collect();
        assert!(held.contains(&Kind::LoginRequired), "{held:?}");

        pass(DAY).await;
        town.world.clear_faults(None);
        pass(HOUR * 4).await;
        assert_eq!((town.holding(), town.state()), (vec![], TokenState::Current));
    });
}
