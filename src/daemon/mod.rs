//! The whole daemon: one task per token, one task per app whose credential Perennial renews, the tasks for alerts and
//! the heartbeat, and the status board.
//!
//! This module owns the order of the daemon's start and stop. The command `run`, the demo and the tests use this
//! daemon. The module does not own configuration files, command lines, systemd or HTTP.

use std::sync::Arc;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::error;

use crate::ports::certificate_store::CertificateStore;
use crate::ports::directory::Directory;
use crate::ports::{Issuer, Resource, Vault};
use crate::process::clock::Clock;
use crate::renewal::certificate::renewer::CertificateRenewer;
use crate::renewal::certificate::state::CertificateState;
use crate::renewal::daemon::keep_renewed;
use crate::renewal::renewer::Renewer;
use crate::renewal::report::RenewalReport;
use crate::renewal::state::RenewalState;
use crate::rotation::daemon::{Signals, keep};
use crate::rotation::grace::Grace;
use crate::rotation::holds::Holds;
use crate::rotation::rotate::Rotator;
use crate::rotation::state::State;
use crate::rotation::turns::Turns;
use crate::status::board::StatusBoard;
use crate::status::snapshot::Snapshot;

/// A daemon in this process. Dropping the daemon ends all tasks at once, like a power failure.
#[derive(Debug)]
pub struct Daemon {
    board: Arc<StatusBoard>,
    clock: Clock,
    reloads: watch::Sender<u64>,
    stop: CancellationToken,
    holds: Holds,
    /// The limits that all tokens and renewals share.
    turns: Turns,
    tokens: JoinSet<Option<State>>,
    /// The tasks that renew app credentials.
    renewals: JoinSet<()>,
    /// The tasks that deliver messages. A stop does not wait for these tasks, because an undelivered message is still
    /// due after the next start.
    notifiers: JoinSet<()>,
}

impl Daemon {
    /// Starts a task for the token of each rotator. All rotators share one clock. The function `board` receives the new
    /// status board, and adds further parts to it, such as the alert sinks.
    pub fn new<I, V, R>(
        rotators: Vec<Rotator<I, V, R>>,
        clock: &Clock,
        board: impl FnOnce(StatusBoard) -> StatusBoard,
    ) -> Self
    where
        I: Issuer + Send + Sync + 'static,
        V: Vault + Send + Sync + 'static,
        R: Resource + Send + Sync + 'static,
    {
        // All token tasks start at the same time. The limits in `turns` spread the requests that these tasks send.
        let turns = Turns::new(clock.clone());
        let grants = rotators.iter().map(|rotator| (&rotator.grant, &rotator.timing));
        let mut daemon = Self {
            board: Arc::new(board(StatusBoard::new(grants, clock.clone()))),
            clock: clock.clone(),
            reloads: watch::Sender::new(0),
            stop: CancellationToken::new(),
            holds: Holds::new(rotators.len()),
            tokens: JoinSet::new(),
            renewals: JoinSet::new(),
            turns: turns.clone(),
            notifiers: JoinSet::new(),
        };
        for (index, rotator) in rotators.into_iter().enumerate() {
            daemon.look_after(index, Rotator { turns: turns.clone(), ..rotator });
        }
        daemon
    }

    fn look_after<I, V, R>(&mut self, index: usize, mut rotator: Rotator<I, V, R>)
    where
        I: Issuer + Send + Sync + 'static,
        V: Vault + Send + Sync + 'static,
        R: Resource + Send + Sync + 'static,
    {
        rotator.hold = self.holds.of(index);
        let told = self.board.told().of(index);
        let signals = Signals { stop: self.stop.clone(), reload: self.reloads.subscribe(), told };
        let state = State::unknown(self.clock.now());
        let (pulse, publish) = (self.board.pulses().of(index), self.board.publisher(index));
        self.tokens.spawn(keep(rotator, state, signals, pulse, publish));
    }

    /// Adds a task that renews an app's credential.
    pub fn renew_by<I, V, D>(&mut self, renewer: Renewer<I, V, D>)
    where
        I: Issuer + Send + Sync + 'static,
        V: Vault + CertificateStore + Send + Sync + 'static,
        D: Directory + Send + Sync + 'static,
    {
        let uses = |of: &Snapshot| Arc::ptr_eq(&of.grant.app, &renewer.app);
        let places = self.board.read(|all| (0..all.len()).filter(|place| uses(&all[*place])).collect());
        let (publish, clock) = (self.board.renewal_publisher(places), self.clock.clone());
        let target = renewer.target.clone();
        let renewer = Renewer { turns: self.turns.clone(), ..renewer };
        let (stop, reload) = (self.stop.clone(), self.reloads.subscribe());
        if renewer.app.credential.is_certificate() {
            let told = move |state: &CertificateState| {
                publish(RenewalReport::of_certificate(state, &target, clock.now()));
            };
            self.renewals.spawn(keep_renewed(CertificateRenewer(renewer), stop, reload, told));
        } else {
            let told = move |state: &RenewalState| publish(RenewalReport::of(state, &target, clock.now()));
            self.renewals.spawn(keep_renewed(renewer, stop, reload, told));
        }
    }

    /// Adds a task for notifications.
    pub fn notify_by(&mut self, task: impl Future<Output = ()> + Send + 'static) {
        self.notifiers.spawn(task);
    }

    /// Returns the status board. The tasks publish to the board, and all other parts read it.
    pub fn board(&self) -> &StatusBoard {
        &self.board
    }

    /// Makes each task check its token or its app credential as soon as the shared limits allow.
    pub fn reload(&self) {
        self.reloads.send_modify(|times| *times += 1);
    }

    /// Waits until a task ends without a stop request. Such an end is a bug, so the process must be restarted. Returns
    /// a text that names the kind of task.
    pub async fn broken(&mut self) -> String {
        let Self { tokens, renewals, notifiers, .. } = self;
        tokio::select! {
            Some(ended) = tokens.join_next() => {
                let reason = ended.err().map_or_else(|| "no panic".to_owned(), |error| error.to_string());
                format!("the task of a token exited unexpectedly: {reason}")
            }
            Some(_) = renewals.join_next() => "the task of an app's renewal exited unexpectedly".to_owned(),
            Some(_) = notifiers.join_next() => "an alert or heartbeat task exited unexpectedly".to_owned(),
            else => std::future::pending().await,
        }
    }

    /// Stops the daemon. If a task holds a successor, the task tries to save this successor until the end of the grace
    /// period. All other tasks end within a few seconds. Returns `true` if the tasks of all tokens and renewals have
    /// ended in time. In this case, all successors are saved.
    pub async fn stop(&mut self) -> bool {
        let grace = Grace::begin();
        self.stop.cancel();
        let (tokens, renewals) = (&mut self.tokens, &mut self.renewals);
        let all_ended = async {
            while tokens.join_next().await.is_some() {}
            while renewals.join_next().await.is_some() {}
        };
        let in_time = tokio::time::timeout_at(grace.ends_at(), all_ended).await.is_ok();
        if !in_time {
            let is_lost = |of: &&Snapshot| of.grant.strict && of.holds_successor();
            let lost: Vec<_> =
                self.board.read(|all| all.iter().filter(is_lost).map(|of| of.grant.clone()).collect());
            for grant in &lost {
                let action = grant.deployment.typed(&format!("sign in: `perennial login {}`", grant.name));
                error!(event = "successor_lost", token = %grant.name, action,
                    "Perennial stopped before it could save the new token, so the new token is lost. Because the token is strict, the stored token no longer works");
            }
            let kept = self.holds.successors().saturating_sub(lost.len());
            if kept > 0 {
                error!(
                    event = "stopped_unsaved",
                    tokens = kept,
                    "Perennial stopped before it could save a new token; the stored token still works"
                );
            }
        }
        in_time
    }

    /// Whether the task of a token or of a renewal has ended without a stop request. Such an end is always a bug. Each
    /// running task holds one receiver of `reloads`. If there are fewer receivers than tasks, a task has ended.
    pub fn has_ended(&self) -> bool {
        self.reloads.receiver_count() < self.tokens.len() + self.renewals.len()
    }

    /// Returns the number of tokens.
    pub fn tokens(&self) -> usize {
        self.tokens.len()
    }
}
