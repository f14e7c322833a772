//! The real program as a child process: started, listened to, signalled, and never left behind.

use std::io::Read;
use std::path::Path;
use std::process::Command;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::Mutex;
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

/// Longer than anything here takes, and shorter than the minute in which the daemon looks by itself.
const PATIENCE: Duration = Duration::from_secs(40);
/// A little more, where something better is said about the wait that was in vain.
const LONGER: Duration = Duration::from_secs(41);
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Waits until something is there.
pub(super) async fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + LONGER;
    let mut looks = tokio::time::interval(LOOK_EVERY);
    loop {
        looks.tick().await;
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "in {LONGER:?} it did not come to this: {what}");
    }
}

/// A child process. Killed and reaped when it is dropped.
pub(super) struct Child {
    process: std::process::Child,
    stdout: Pipe,
    stderr: Pipe,
}

/// How a child ended.
pub(super) struct Ended {
    pub(super) code: Option<i32>,
    pub(super) stdout: String,
    pub(super) stderr: String,
}

/// What a child writes, while it writes.
struct Pipe {
    text: Arc<Mutex<String>>,
    reader: Option<JoinHandle<()>>,
}

impl Pipe {
    fn of(mut from: impl Read + Send + 'static) -> Self {
        let text = Arc::new(Mutex::new(String::new()));
        let kept = Arc::clone(&text);
        let reader = std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = from.read(&mut bytes) {
                kept.lock().expect("nobody panics").push_str(&String::from_utf8_lossy(&bytes[..count]));
            }
        });
        Self { text, reader: Some(reader) }
    }

    fn so_far(&self) -> String {
        self.text.lock().expect("nobody panics").clone()
    }

    /// Everything, once its writer has ended.
    fn whole(&mut self) -> String {
        if let Some(reader) = self.reader.take() {
            reader.join().expect("nobody panics");
        }
        self.so_far()
    }
}

impl Child {
    /// Starts the program with nothing of this process's own settings.
    pub(super) fn start(config: &Path, args: &[&str], env: &[(&str, &str)]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_perennial"));
        let ours = |name: &String| {
            let name = name.to_ascii_uppercase();
            name.starts_with("PERENNIAL") || name.ends_with("_PROXY") || name == "RUST_LOG"
        };
        for (name, _) in std::env::vars().filter(|(name, _)| ours(name)) {
            command.env_remove(name);
        }
        command.args(args).env("PERENNIAL_CONFIG", config).env("PERENNIAL__HTTP__LISTEN", "127.0.0.1:0");
        command.envs(env.iter().copied());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = command.spawn().expect("cargo has built it");
        let stdout = Pipe::of(process.stdout.take().expect("piped"));
        let stderr = Pipe::of(process.stderr.take().expect("piped"));
        Self { process, stdout, stderr }
    }

    /// Sends a signal, as `HUP`.
    pub(super) fn signal(&self, name: &str) {
        let mut shell = Command::new("sh");
        shell.args(["-c", r#"kill -s "$0" "$1""#, name, &self.process.id().to_string()]);
        assert!(shell.status().expect("a shell").success(), "SIG{name}");
    }

    /// The events logged so far, from the `from`th on.
    pub(super) fn events(&self, from: usize) -> Vec<Value> {
        let log = self.stderr.so_far();
        // The last line may be half written.
        let whole = log.rsplit_once('\n').map_or("", |(whole, _)| whole);
        whole.lines().skip(from).filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// Waits for an event among those from the given place on; gives the place behind it.
    pub(super) async fn logs(&self, from: usize, what: &str, is_it: impl Fn(&Value) -> bool) -> usize {
        let look = || Some(from + self.events(from).iter().position(&is_it)? + 1);
        let place = tokio::time::timeout(PATIENCE, eventually(what, look)).await;
        place.unwrap_or_else(|_| panic!("not logged: {what}\n{}", self.stderr.so_far()))
    }

    /// Whether it still runs.
    pub(super) fn is_running(&mut self) -> bool {
        self.process.try_wait().expect("our own child").is_none()
    }

    /// Waits for its end.
    pub(super) async fn ended(mut self, what: &str) -> Ended {
        let process = &mut self.process;
        let status = eventually(what, || process.try_wait().expect("our own child")).await;
        Ended { code: status.code(), stdout: self.stdout.whole(), stderr: self.stderr.whole() }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ended = self.process.kill();
        let _reaped = self.process.wait();
    }
}
