//! The demo runs the sandbox and the daemon in one process, and prints the events as a story. The adapters for Azure
//! call the sandbox over HTTPS. In each second of real time, the demo's clock advances by several days.
//!
//! This module owns the mechanics of the story. Time advances in small intervals, which are called beats. After each
//! beat, the demo observes the services and the daemon. Each event of the story waits for a certain state, and fails
//! after a time limit. The demo reports only what it observes, and checks its observations against docs/promises.md.

mod promise;
mod renewal;
mod secrecy;
mod stage;
mod story;
mod summary;
mod told;
mod troubles;
mod voice;
mod watch;

use std::io;

use chrono::TimeDelta;
use thiserror::Error;

use self::stage::{Process, Stage};
use self::voice::{Tone, Voice};
use self::watch::Watch;
use crate::config::ConfigProblems;
use crate::net::http::HttpError;
use crate::ports::failure::Kind;
use crate::process::clock::Timestamp;
use crate::process::telemetry::Captured;
use crate::sandbox::server::SandboxError;
use crate::status::snapshot::TokenState;

/// The options of a demo.
#[derive(Clone, Copy, Debug)]
pub struct DemoOptions {
    /// The speed of the demo's clock, in days per second of real time.
    pub speed: f64,
    /// Whether the demo keeps running after the story.
    pub keep: bool,
    /// Whether the demo prints colors.
    pub colours: bool,
}

/// The reason why the demo cannot begin.
#[derive(Debug, Error)]
pub enum DemoError {
    /// The demo could not start the simulated services.
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    /// The demo's own configuration is rejected.
    #[error("the demo's own configuration is not valid")]
    Configuration(#[from] ConfigProblems),
    /// The HTTPS client could not be created.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// The status page cannot be served.
    #[error("the status page cannot be served")]
    Page(#[source] io::Error),
    /// The directory for the demo's files could not be created.
    #[error("cannot create a directory for the demo's files")]
    Directory(#[source] io::Error),
}

/// The reason why the story ended early.
#[derive(Debug, Error)]
enum Stuck {
    /// The demo did not reach an expected state in time.
    #[error("{0}")]
    Waiting(String),
    /// The user has stopped the demo.
    #[error("it was interrupted")]
    Interrupted,
    /// The demo could not start a daemon.
    #[error(transparent)]
    Broken(#[from] DemoError),
}

/// Runs the story. Returns whether the demo succeeded and every promise was kept. If `stop` completes, the demo ends
/// early.
///
/// # Errors
/// Returns an error if the demo cannot begin.
pub async fn run(
    options: DemoOptions,
    say: Box<dyn FnMut(&str)>,
    log: Captured,
    stop: impl Future<Output = ()>,
) -> Result<bool, DemoError> {
    let mut stop = Box::pin(stop);
    let stage = Stage::build(options.speed).await?;
    let daemon = stage.start(0)?;
    stage.show(&daemon)?;
    let mut demo = Demo::new(options, stage, daemon, say, log);
    let told = tokio::select! {
        told = Box::pin(demo.story()) => told,
        () = &mut stop => Err(Stuck::Interrupted),
    };
    if let Err(Stuck::Interrupted) = told {
        demo.tell(Tone::Plain, "end", "Interrupted: the demo has no result.");
        return Ok(false);
    }
    let well = demo.summary(&told);
    if options.keep {
        tokio::select! {
            () = Box::pin(demo.go_on()) => {}
            () = &mut stop => {}
        }
    }
    Ok(well)
}

/// The state of a running demo.
struct Demo {
    options: DemoOptions,
    stage: Stage,
    daemon: Process,
    second: Option<Process>,
    voice: Voice,
    watch: Watch,
    /// The number of daemons that the demo has started.
    starts: u32,
    started: tokio::time::Instant,
}

impl Demo {
    fn new(
        options: DemoOptions,
        stage: Stage,
        daemon: Process,
        say: Box<dyn FnMut(&str)>,
        log: Captured,
    ) -> Self {
        let voice = Voice::new(say, options.colours, stage.since);
        let watch = Watch::new(stage.since, log);
        let started = tokio::time::Instant::now();
        Self { options, stage, daemon, second: None, voice, watch, starts: 1, started }
    }

    fn now(&self) -> Timestamp {
        self.stage.clock.now()
    }

    /// Waits for one beat of the clock, and then observes the services and the daemon.
    async fn beat(&mut self) {
        self.stage.beat().await;
        self.watch.look(&self.stage, &self.daemon, self.second.as_ref(), &mut self.voice);
    }

    /// Lets time pass until `holds` returns true. Returns an error if this takes longer than `within`.
    async fn until(
        &mut self,
        what: &str,
        within: TimeDelta,
        holds: impl Fn(&Self) -> bool,
    ) -> Result<(), Stuck> {
        let latest = self.now() + within;
        while !holds(self) {
            if self.now() > latest {
                return Err(Stuck::Waiting(format!("{what} was expected within {}", voice::span(within))));
            }
            self.beat().await;
        }
        Ok(())
    }

    /// Lets time pass until this day of the story begins.
    async fn until_day(&mut self, day: i64) -> Result<(), Stuck> {
        let at = self.stage.since + TimeDelta::days(day);
        let left = (at - self.now()).max(TimeDelta::zero()) + TimeDelta::days(1);
        self.until("the next day", left, |demo| demo.now() >= at).await
    }

    /// Lets this much time pass.
    async fn wait(&mut self, span: TimeDelta) -> Result<(), Stuck> {
        let at = self.now() + span;
        self.until("a later time", span + TimeDelta::days(1), |demo| demo.now() >= at).await
    }

    fn standing(&self) -> TokenState {
        watch::standing(&self.daemon, self.now())
    }

    fn is_open(&self, kind: Kind) -> bool {
        self.watch.told.since(kind).is_some()
    }

    fn tell(&mut self, tone: Tone, head: &str, text: &str) {
        let now = self.now();
        self.voice.dated(now, tone, head, text);
    }
}
