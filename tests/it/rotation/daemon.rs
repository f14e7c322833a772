//! Runs the shipped program as a child process, against a sandbox in this process.

use std::io::BufRead as _;
use std::io::BufReader;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::Duration;

use chrono::TimeDelta;
use perennial::net::http::http_client;
use perennial::process::clock::Clock;
use perennial::sandbox::server::{ConfigRequest, Sandbox};
use perennial::sandbox::world::{Partner, World};
use serde_json::Value;

/// A sandbox, and a directory with a configuration that uses it.
pub(crate) struct Lab {
    pub(crate) sandbox: Sandbox,
    pub(crate) partner: Partner,
    pub(crate) dir: PathBuf,
    pub(crate) config: PathBuf,
}

impl Lab {
    pub(crate) async fn start() -> Self {
        let world = World::new(Clock::host(), 7);
        let sandbox = Sandbox::start(world, ([127, 0, 0, 1], 0).into()).await.expect("a free port");
        let partner = sandbox.add_partner("partner", TimeDelta::days(3));
        let dir = std::env::temp_dir().join(format!("perennial-{}", perennial::token::rotation_id()));
        let request = ConfigRequest {
            tokens: &[("partner-center", &partner)],
            rotate_after: None,
            prove_every: None,
            strict: false,
        };
        let config = sandbox.write_config(&dir, &request).expect("a folder").config;
        Self { sandbox, partner, dir, config }
    }

    fn command(&self, arguments: &[&str], env: &[(&str, &str)]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_perennial"));
        command.args(arguments).arg("--config").arg(&self.config).args(["--log-format", "json"]);
        command.env_remove("RUST_LOG").env_remove("NOTIFY_SOCKET").env("NO_COLOR", "1");
        command.env("PERENNIAL__HTTP__LISTEN", "127.0.0.1:0").envs(env.iter().copied());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Runs a command until it ends.
    pub(crate) async fn output(&self, arguments: &[&str], env: &[(&str, &str)]) -> Output {
        let mut command = self.command(arguments, env);
        let run = tokio::task::spawn_blocking(move || command.output());
        run.await.expect("no panic").expect("it starts")
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        // The result is ignored, because a leftover directory does no harm.
        let _untidy = std::fs::remove_dir_all(&self.dir);
    }
}

/// A running daemon. Dropping this value kills the daemon.
pub(crate) struct Daemon {
    pub(crate) address: String,
    client: reqwest::Client,
    child: Child,
}

impl Daemon {
    /// Starts a daemon and waits until its log names the address at which it listens.
    pub(crate) async fn start(lab: &Lab, env: &[(&str, &str)]) -> Self {
        let mut child = lab.command(&["run"], env).stdout(Stdio::null()).spawn().expect("it starts");
        let log = BufReader::new(child.stderr.take().expect("piped"));
        let (sender, address) = tokio::sync::oneshot::channel();
        // A thread reads the log until the end, because a full pipe would block the daemon.
        std::thread::spawn(move || {
            let mut sender = Some(sender);
            for line in log.lines().map_while(Result::ok) {
                let event: Value = serde_json::from_str(&line).unwrap_or_default();
                if event["event"] == "listening"
                    && let Some(sender) = sender.take()
                {
                    let _gone = sender.send(event["address"].as_str().unwrap_or_default().to_owned());
                }
            }
        });
        let address = address.await.expect("it listens");
        Self { address, client: http_client(None, false).expect("a client"), child }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) async fn text(&self, path: &str) -> String {
        let answer =
            self.client.get(format!("http://{}{path}", self.address)).send().await.expect("an answer");
        answer.text().await.expect("text")
    }

    /// Repeats a request until the answer contains `wanted`.
    pub(crate) async fn until(&self, path: &str, wanted: &str, bound: Duration) -> String {
        let asked = async {
            loop {
                let text = self.text(path).await;
                if text.contains(wanted) {
                    return text;
                }
            }
        };
        tokio::time::timeout(bound, asked).await.expect("in time")
    }

    /// Sends a stop signal and waits until the daemon ends.
    pub(crate) async fn stop(mut self, bound: Duration) -> ExitStatus {
        let id = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(id, rustix::process::Signal::TERM).expect("it runs");
        let ended = tokio::task::spawn_blocking(move || self.child.wait());
        let ended = tokio::time::timeout(bound, ended).await.expect("in time");
        ended.expect("no panic").expect("it was ours")
    }

    /// Kills the daemon.
    pub(crate) fn kill(mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it was ours");
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // The result is ignored, because the daemon may have ended already.
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}
