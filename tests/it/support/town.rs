//! A daemon that tests can stop and start again, and receivers that record messages. The time is simulated.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use perennial::alert::notifier;
use perennial::alert::notifier::Undelivered;
use perennial::alert::rules::{EventKind, Notification};
use perennial::alert::sink::{Destination, Sink};
use perennial::daemon::Daemon;
use perennial::net::address::TargetUrl;
use perennial::ports::failure::Kind;
use perennial::process::clock::{Clock, Timestamp};
use perennial::sandbox::world::{Partner, World};
use perennial::status::condition::Severity;
use perennial::status::snapshot::TokenState;
use perennial::token::managed::{ManagedToken, Policy};
use perennial::token::secret::Source;
use tokio::task::{AbortHandle, LocalSet};
use uuid::Uuid;

use crate::support::harness;

/// One simulated receiver: all messages that it has received, and its open incidents.
#[derive(Clone, Default)]
pub(crate) struct Receiver {
    pub(crate) told: Rc<RefCell<Vec<(Timestamp, EventKind, Kind)>>>,
    open: Rc<RefCell<BTreeMap<Uuid, Kind>>>,
    /// Whether the configured address is wrong.
    pub(crate) is_wrong: Rc<Cell<bool>>,
}

impl Receiver {
    fn take(&self, changes: &[Notification], now: Timestamp) -> Result<(), Undelivered> {
        if self.is_wrong.get() {
            return Err(Undelivered { permanent: true, ..Undelivered::passing("404") });
        }
        for change in changes {
            let (id, kind) = (change.condition.id, change.condition.kind);
            self.told.borrow_mut().push((now, change.what, kind));
            let mut open = self.open.borrow_mut();
            match change.what {
                EventKind::Resolved => drop(open.remove(&id)),
                _ => drop(open.insert(id, kind)),
            }
        }
        Ok(())
    }

    /// Returns the events about a kind of condition, in order.
    pub(crate) fn of(&self, kind: Kind) -> Vec<EventKind> {
        self.told.borrow().iter().filter(|(_, _, of)| *of == kind).map(|(_, what, _)| *what).collect()
    }

    /// Returns the kinds of the open incidents.
    pub(crate) fn open(&self) -> Vec<Kind> {
        self.open.borrow().values().copied().collect()
    }
}

/// A daemon that can be stopped and started, a pager, a chat, and the world around them.
pub(crate) struct Town {
    pub(crate) world: World,
    pub(crate) partners: Vec<Partner>,
    pub(crate) pager: Receiver,
    pub(crate) chat: Receiver,
    grants: Vec<ManagedToken>,
    daemon: RefCell<Option<(Daemon, Clock, Vec<AbortHandle>)>>,
}

pub(crate) const MINUTE: Duration = Duration::from_secs(60);
pub(crate) const HOUR: Duration = Duration::from_secs(3600);
pub(crate) const DAY: Duration = Duration::from_secs(24 * 3600);

pub(crate) async fn pass(span: Duration) {
    tokio::time::sleep(span).await;
}

impl Town {
    /// Starts the daemon on a host whose clock is `ahead` of the vault's.
    pub(crate) fn start_ahead(&self, ahead: TimeDelta) {
        let clock = Clock::running(self.world.now() + ahead, 1.0);
        let chance = fastrand::u64(..);
        let rotators = self
            .grants
            .iter()
            .map(|grant| harness::rotator(&self.world, clock.clone(), grant, "run", chance));
        let sinks = [("pager", &self.pager), ("chat", &self.chat)];
        let names = sinks.iter().map(|(name, _)| Arc::from(*name));
        let daemon = Daemon::new(rotators.collect(), &clock, |board| board.with_sinks(names));
        let tasks = sinks.into_iter().enumerate().map(|(index, (name, receiver))| {
            let (receiver, board) = (receiver.clone(), daemon.board().clone());
            let sink = Sink {
                name: name.into(),
                to: destination(name),
                min_severity: Severity::Warning,
                tokens: Vec::new(),
            };
            let task = tokio::task::spawn_local(async move {
                let send = |changes: Vec<Notification>, now| {
                    let receiver = receiver.clone();
                    async move { receiver.take(&changes, now) }
                };
                notifier::keep_told_by(send, &sink, &board, index).await;
            });
            task.abort_handle()
        });
        let tasks = tasks.collect();
        *self.daemon.borrow_mut() = Some((daemon, clock, tasks));
    }

    pub(crate) fn start(&self) {
        self.start_ahead(TimeDelta::zero());
    }

    /// Ends the daemon at once, as in a crash.
    pub(crate) fn stop(&self) {
        let running = self.daemon.borrow_mut().take();
        running.into_iter().flat_map(|(_, _, tasks)| tasks).for_each(|task| task.abort());
    }

    /// Calls `look` with the running daemon and its clock.
    pub(crate) fn with<T>(&self, look: impl FnOnce(&Daemon, &Clock) -> T) -> T {
        let running = self.daemon.borrow();
        let (daemon, clock, _) = running.as_ref().expect("it runs");
        look(daemon, clock)
    }

    /// Returns the first token's state.
    pub(crate) fn state(&self) -> TokenState {
        self.with(|daemon, clock| daemon.board().read(|all| all[0].standing(clock.now())))
    }

    /// Returns the kind and the cause of each current condition.
    pub(crate) fn holding(&self) -> Vec<(Kind, String)> {
        let told = |of: perennial::status::condition::Condition| (of.kind, of.cause);
        self.with(|daemon, _| {
            daemon.board().drawn(|_, conditions, _| conditions.into_iter().map(told).collect())
        })
    }
}

fn destination(name: &str) -> Destination {
    match name {
        "pager" => Destination::PagerDuty {
            routing_key: Source::Env("KEY".into()),
            endpoint: TargetUrl::parse("https://events.pagerduty.com").expect("a URL"),
        },
        _ => Destination::Teams { url: Source::Env("URL".into()) },
    }
}

/// Runs `story` in a town with this many tokens, each with its own app and user. `change` may configure the tokens
/// differently. At the beginning of `story`, no daemon runs.
pub(crate) fn in_town<T>(
    count: usize,
    change: impl Fn(&World, &Partner, &mut ManagedToken),
    story: &impl AsyncFn(&Town) -> T,
) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    LocalSet::new().block_on(&runtime.expect("a runtime needs nothing"), async {
        let world = World::new(Clock::running(harness::base(), 1.0), 3);
        let ends = Some(harness::base() + TimeDelta::days(1000));
        let partners: Vec<Partner> =
            (0..count).map(|nth| world.add_partner(&format!("t{nth}"), harness::VAULT, ends)).collect();
        world.advance(TimeDelta::days(2));
        let grants = partners.iter().enumerate().map(|(nth, partner)| {
            let mut grant = harness::grant(&format!("t{nth}"), partner, &Policy::default());
            change(&world, partner, &mut grant);
            grant
        });
        let grants = grants.collect();
        let (pager, chat) = (Receiver::default(), Receiver::default());
        story(&Town { world, partners, pager, chat, grants, daemon: RefCell::new(None) }).await
    })
}
