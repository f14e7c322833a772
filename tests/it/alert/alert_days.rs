//! Simulates days of alerts in seconds. The daemon's loops run over the simulated world with tokio's paused clock, and
//! a sink records its messages.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use perennial::alert::notifier;
use perennial::alert::notifier::Undelivered;
use perennial::alert::rules::{EventKind, Notification};
use perennial::alert::sink::{Destination, Sink};
use perennial::daemon::Daemon;
use perennial::net::no_response::NoResponse;
use perennial::ports::failure::Kind;
use perennial::process::clock::{Clock, Timestamp};
use perennial::sandbox::world::{Fault, FaultEffect, Partner, Peer, World};
use perennial::status::condition::Severity;
use perennial::token::managed::{ManagedToken, Policy};
use perennial::token::secret::{SecretAddress, SecretName, Source};
use tokio::task::LocalSet;

use crate::support::harness;

/// One message: its time and its notifications.
type Message = (Timestamp, Vec<(EventKind, Kind, usize)>);

/// A simulated sink: its messages, and whether it answers.
#[derive(Clone, Default)]
struct Inbox {
    messages: Rc<RefCell<Vec<Message>>>,
    is_down: Rc<Cell<bool>>,
    /// The sink rejects messages about this token.
    refuses: Rc<RefCell<Option<String>>>,
    /// When the sink first rejected a message.
    refused_at: Rc<Cell<Option<Timestamp>>>,
    asked: Rc<Cell<usize>>,
    answers_after: Rc<Cell<Duration>>,
}

impl Inbox {
    async fn take(&self, changes: &[Notification], now: Timestamp) -> Result<(), Undelivered> {
        tokio::time::sleep(self.answers_after.get()).await;
        self.asked.set(self.asked.get() + 1);
        if self.is_down.get() {
            return Err(Undelivered::passing("down"));
        }
        let is_refused = |change: &Notification| {
            self.refuses.borrow().as_ref().is_some_and(|token| change.condition.tokens.contains(token))
        };
        if changes.iter().any(is_refused) {
            self.refused_at.set(self.refused_at.get().or(Some(now)));
            return Err(Undelivered {
                permanent: true,
                message_rejected: true,
                ..Undelivered::passing("400")
            });
        }
        let told =
            |change: &Notification| (change.what, change.condition.kind, change.condition.tokens.len());
        self.messages.borrow_mut().push((now, changes.iter().map(told).collect()));
        Ok(())
    }

    /// Returns the notifications about a kind of condition, in order.
    fn told(&self, kind: Kind) -> Vec<(EventKind, usize)> {
        let messages = self.messages.borrow();
        let all = messages.iter().flat_map(|(_, told)| told);
        all.filter(|(_, of, _)| *of == kind).map(|(what, _, tokens)| (*what, *tokens)).collect()
    }
}

struct Fleet {
    world: World,
    partners: Vec<Partner>,
    daemon: Daemon,
    inbox: Inbox,
}

impl Fleet {
    /// Revokes all users' sessions.
    fn revoke_all(&self) {
        self.partners.iter().for_each(|partner| self.world.revoke_user(&partner.user_oid));
    }
}

/// Runs `story` while the daemon manages `count` tokens of one app and sends its alerts to a Teams sink.
fn day<T>(count: usize, story: &impl AsyncFn(&Fleet) -> T) -> T {
    day_told(&Destination::Teams { url: Source::Env("URL".into()) }, count, story)
}

/// Does the same as `day`, with the given kind of sink.
fn day_told<T>(to: &Destination, count: usize, story: &impl AsyncFn(&Fleet) -> T) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    LocalSet::new().block_on(&runtime.expect("a runtime needs nothing"), async {
        let world = World::new(Clock::running(harness::base(), 1.0), 3);
        let clock = Clock::running(harness::base(), 1.0);
        let partner = world.add_partner("t", harness::VAULT, None);
        let partners: Vec<Partner> = (0..count).map(|nth| sign_in(&world, &partner, nth)).collect();
        let rotators: Vec<_> = partners
            .iter()
            .map(|partner| {
                let name = partner.refresh_token.name.as_str();
                let user_oid = Some(partner.user_oid.clone());
                let grant = ManagedToken { user_oid, ..harness::grant(name, partner, &Policy::default()) };
                harness::rotator(&world, clock.clone(), &grant, name, 1)
            })
            .collect();
        let sink =
            Sink { name: "chat".into(), to: to.clone(), min_severity: Severity::Warning, tokens: Vec::new() };
        let daemon = Daemon::new(rotators, &clock, |board| {
            board.with_sinks(std::iter::once::<Arc<str>>("chat".into()))
        });
        let fleet = Fleet { world, partners, daemon, inbox: Inbox::default() };
        let (inbox, board) = (fleet.inbox.clone(), fleet.daemon.board().clone());
        tokio::task::spawn_local(async move {
            let send = |changes: Vec<Notification>, now| {
                let inbox = inbox.clone();
                async move { inbox.take(&changes, now).await }
            };
            notifier::keep_told_by(send, &sink, &board, 0).await;
        });
        story(&fleet).await
    })
}

/// Adds a user who signs in to the same app, and stores the user's token in a new secret.
fn sign_in(world: &World, partner: &Partner, nth: usize) -> Partner {
    let name = SecretName::parse(&format!("t{nth}")).expect("a name");
    let refresh_token = SecretAddress { name, ..partner.refresh_token.clone() };
    let user_oid = world.add_user(&partner.tenant_id, &format!("t{nth}@t.onmicrosoft.com"), true);
    let partner = Partner { refresh_token, user_oid, ..partner.clone() };
    world.human_signs_in(&partner).expect("may sign in");
    partner
}

async fn pass(span: Duration) {
    tokio::time::sleep(span).await;
}

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

#[test]
fn five_hundred_tokens_with_one_expired_app_secret_are_one_incident() {
    let inbox = day(500, &async |fleet| {
        let (world, app) = (&fleet.world, &fleet.partners[0]);
        pass(HOUR).await;
        world.expire_app_secret(&app.client_id);
        // After the reload, the daemon checks all tokens and notices the expired app secret within half a minute.
        fleet.daemon.reload();
        pass(HOUR).await;
        let ends = Some(world.now() + TimeDelta::days(180));
        world.replace_app_secret(&app.client_id, "n3w~s3cret", ends);
        world.store_app_secret(&app.app_secret, "n3w~s3cret", ends);
        pass(MINUTE * 30).await;
        fleet.inbox.clone()
    });

    let told = inbox.told(Kind::AppCredentialRefused);
    let count = |wanted| told.iter().filter(|(what, _)| *what == wanted).count();
    assert_eq!((count(EventKind::Opened), count(EventKind::Resolved)), (1, 1), "{told:?}");
    assert!(told.len() <= 5, "those that join are told ever more rarely: {told:?}");
    assert_eq!(told.iter().map(|(_, tokens)| *tokens).max(), Some(500), "{told:?}");
}

#[test]
fn a_vault_that_fails_on_and_off_for_a_day_causes_few_messages() {
    for minutes in [1, 10, 45] {
        let (messages, told) = day(40, &async |fleet| {
            pass(HOUR).await;
            let before = fleet.inbox.messages.borrow().len();
            for _ in 0..(24 * 60 / (2 * minutes)) {
                fleet.world.inject(Fault::of(Peer::KeyVault, FaultEffect::Transport(NoResponse::TimedOut)));
                pass(MINUTE * minutes).await;
                fleet.world.clear_faults(None);
                pass(MINUTE * minutes).await;
            }
            pass(HOUR * 2).await;
            let messages = fleet.inbox.messages.borrow().len() - before;
            (messages, fleet.inbox.told(Kind::VaultUnreachable))
        });

        eprintln!("every {minutes} min: {messages} messages, {told:?}");
        assert!(messages <= 12, "every {minutes} min: {messages} messages, {told:?}");
    }
}

#[test]
fn a_receiver_gets_one_message_after_an_hour_of_outage() {
    let inbox = day(3, &async |fleet| {
        pass(HOUR).await;
        fleet.inbox.is_down.set(true);
        fleet.revoke_all();
        pass(HOUR * 7).await;
        assert!(fleet.inbox.told(Kind::LoginRequired).is_empty());
        fleet.inbox.is_down.set(false);
        pass(HOUR).await;
        fleet.inbox.clone()
    });

    let told = inbox.told(Kind::LoginRequired);
    assert_eq!(told, [(EventKind::Opened, 1); 3], "each its own");
    let with_it = |(_, told): &&Message| told.iter().any(|(_, kind, _)| *kind == Kind::LoginRequired);
    assert_eq!(inbox.messages.borrow().iter().filter(with_it).count(), 1, "all in one message");
}

#[test]
fn a_receiver_that_is_slow_delays_no_rotation() {
    let written = |answers_after: Duration| {
        day(5, &async |fleet| {
            fleet.inbox.answers_after.set(answers_after);
            fleet.revoke_all();
            pass(HOUR * 9).await;
            fleet.partners.iter().for_each(|partner| drop(fleet.world.human_signs_in(partner)));
            pass(HOUR * 24 * 15).await;
            fleet.world.writes().iter().map(|write| write.at).collect::<Vec<_>>()
        })
    };

    let quick = written(Duration::ZERO);
    assert!(quick.len() > 20, "{quick:?}");
    assert_eq!(written(MINUTE * 9), quick);
}

#[test]
fn a_revoked_session_is_reported_within_a_proof_and_five_minutes() {
    let late = day(30, &async |fleet| {
        pass(HOUR * 30).await;
        let revoked_at = fleet.world.now();
        fleet.revoke_all();
        pass(HOUR * 8).await;
        let messages = fleet.inbox.messages.borrow();
        let told =
            messages.iter().filter(|(_, told)| told.iter().any(|(_, kind, _)| *kind == Kind::LoginRequired));
        let count: usize = told.clone().map(|(_, told)| told.len()).sum();
        assert_eq!(count, 30, "{messages:?}");
        told.map(|(at, _)| *at - revoked_at).max().expect("some")
    });

    eprintln!("the last of thirty was told after {} min", late.num_minutes());
    assert!(late <= TimeDelta::hours(6) + TimeDelta::minutes(5), "{late}");
}

#[test]
fn a_rejection_is_reported_within_a_second() {
    let late = day(1, &async |fleet| {
        pass(HOUR).await;
        fleet.revoke_all();
        let found_at = fleet.world.now();
        fleet.daemon.reload();
        pass(MINUTE).await;
        assert_eq!(fleet.inbox.told(Kind::LoginRequired), [(EventKind::Opened, 1)]);
        let messages = fleet.inbox.messages.borrow();
        messages.last().expect("one").0 - found_at
    });

    assert!(late <= TimeDelta::seconds(1), "{late}");
}

#[test]
fn a_rejected_message_delays_no_other() {
    let webhook = Destination::Webhook { url: Source::Env("URL".into()), signing_key: None };
    day_told(&webhook, 3, &async |fleet| {
        let told = || fleet.inbox.told(Kind::LoginRequired);
        pass(HOUR).await;
        *fleet.inbox.refuses.borrow_mut() = Some("t0".into());
        fleet.revoke_all();
        pass(HOUR * 7).await;
        assert_eq!(told(), [(EventKind::Opened, 1); 2], "what is about the others");
        let refused_at = fleet.inbox.refused_at.get().expect("t0 comes first");
        let later = |message: &Message| message.0 - refused_at;
        let others_at: Vec<_> = fleet.inbox.messages.borrow().iter().rev().take(2).map(later).collect();
        assert_eq!(others_at, [TimeDelta::zero(); 2], "in the same pass");
        assert!(fleet.inbox.asked.get() < 60, "{} times in 7 h", fleet.inbox.asked.get());

        fleet.world.human_signs_in(&fleet.partners[1]).expect("may sign in");
        pass(MINUTE * 3).await;
        assert_eq!(told().last(), Some(&(EventKind::Resolved, 1)), "it does not wait with what is refused");

        fleet.inbox.refuses.borrow_mut().take();
        pass(MINUTE * 11).await;
        assert_eq!(told().last(), Some(&(EventKind::Opened, 1)), "it is sent again");
    });
}

/// Weekly sign-ins of a user must not open the condition `foreign_writer`.
#[test]
fn a_weekly_sign_in_is_rotated_each_time_without_an_alert() {
    day(1, &async |fleet| {
        let (world, partner) = (&fleet.world, &fleet.partners[0]);
        pass(HOUR * 24 * 7).await;
        for week in 1..=9 {
            let theirs = world.human_signs_in(partner).expect("may sign in");
            pass(HOUR * 7).await;
            let newest = world.newest_version(&partner.refresh_token).expect("stored");
            let ours = world.newest_value(&partner.refresh_token).expect("stored");
            assert!(newest.is_ours() && newest.enabled, "week {week}: {newest:?}");
            assert!(world.descends_from(ours.expose(), theirs.expose()), "week {week}");
            assert!(world.is_alive(ours.expose()), "week {week}");
            pass(HOUR * (24 * 7 - 7)).await;
        }
        assert_eq!(fleet.inbox.told(Kind::ForeignWriter), []);
    });
}
