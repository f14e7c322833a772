//! Simulates hosts with a wrong clock or a broken resolver: the program runs with `preload.c`, which replaces functions
//! of the C library.

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use chrono::{NaiveDateTime, TimeDelta};
use perennial::process::clock::Clock;

use super::compiled::compile;

static LIBRARY: LazyLock<PathBuf> =
    LazyLock::new(|| compile("preload.c", "preload.so", &["-shared", "-fPIC", "-ldl"]));

/// The behavior of a host's name resolver. IP addresses always work, because they need no lookup.
#[derive(Debug, Clone, Copy)]
pub(super) enum Resolver {
    Works,
    /// No lookup returns until the resolver is set to another behavior.
    Hangs,
    /// Every lookup fails because the name does not exist (`EAI_NONAME`).
    KnowsNoName,
}

/// The clock and the resolver of a simulated host. Both can be changed while a program runs on the host.
///
/// A program runs on the host if it is started with the host's environment:
///
/// ```ignore
/// let host = Host::in_dir(&stage.dir.0);
/// let daemon = Child::start(&stage.config, &["run"], &host.env());
/// host.set_clock("+10h");
/// ```
pub(super) struct Host {
    library: String,
    clock: String,
    resolver: String,
}

impl Host {
    /// Returns the host whose settings are files in this directory. Without settings, the host's clock is right and its
    /// resolver works.
    pub(super) fn in_dir(dir: &Path) -> Self {
        let path = |path: PathBuf| path.into_os_string().into_string().expect("a path of ours");
        let host = Self {
            library: path(LIBRARY.clone()),
            clock: path(dir.join("clock")),
            resolver: path(dir.join("resolver")),
        };
        if !Path::new(&host.clock).exists() {
            host.set_clock("+0");
        }
        if !Path::new(&host.resolver).exists() {
            host.set_resolver(Resolver::Works);
        }
        host
    }

    /// Returns the environment variables for a program that runs on this host.
    pub(super) fn env(&self) -> [(&str, &str); 3] {
        [("LD_PRELOAD", &self.library), ("PRELOAD_CLOCK", &self.clock), ("PRELOAD_RESOLVER", &self.resolver)]
    }

    /// Sets the time of day: an offset (`+365d`, `-10h`, `+0`), or a time in UTC from which the clock continues
    /// (`@1970-01-02 00:00:00`). Monotonic clocks, which cannot be set, are always right.
    pub(super) fn set_clock(&self, to: &str) {
        let (kind, rest) = to.split_at(1);
        let off =
            || TimeDelta::from_std(humantime::parse_duration(rest).expect("a duration")).expect("short");
        let off = match kind {
            "+" => off(),
            "-" => -off(),
            "@" => {
                let time = NaiveDateTime::parse_from_str(rest, "%Y-%m-%d %H:%M:%S").expect("a time");
                time.and_utc() - Clock::host().now()
            }
            _ => panic!("no setting of a clock: {to}"),
        };
        replace(&self.clock, &off.num_seconds().to_string());
    }

    /// Sets the resolver's behavior for all later lookups. A lookup that hangs continues with the new behavior.
    pub(super) fn set_resolver(&self, to: Resolver) {
        let word = match to {
            Resolver::Works => "works",
            Resolver::Hangs => "hangs",
            Resolver::KnowsNoName => "knows-no-name",
        };
        replace(&self.resolver, word);
    }
}

/// Replaces the file in one step, so that the program never reads an incomplete setting.
fn replace(path: &str, text: &str) {
    let new = format!("{path}.new");
    std::fs::write(&new, text).expect("our own file");
    std::fs::rename(new, path).expect("our own file");
}
