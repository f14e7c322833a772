//! Runs the real program as a child process: starts it, observes it, sends signals, and always reaps it.

use std::ffi::OsString;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::pty::OpenptFlags;
use serde_json::Value;
use tokio::time::Instant;

/// The time limit of most waits. The limit is much longer than any step, so that no test fails on a slow machine. The
/// daemon also examines its conditions about once a minute. With a shorter limit, a test seldom mistakes the effect of
/// such an examination for the effect of a signal.
const PATIENCE: Duration = Duration::from_secs(50);
/// The limit of `eventually`, slightly longer than `PATIENCE`. `logs` calls `eventually`, but reaches its own limit
/// first and shows the process's output.
const LONGER: Duration = Duration::from_secs(51);
/// The environment variable for the daemon's address. If a test does not set this variable, the daemon uses any free
/// port.
const LISTEN: &str = "PERENNIAL__HTTP__LISTEN";
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Waits until `look` returns a value.
pub(crate) async fn eventually<T>(what: &str, look: impl FnMut() -> Option<T>) -> T {
    within(LONGER, what, look).await
}

/// Does the same as `eventually`, with another limit.
pub(crate) async fn within<T>(longest: Duration, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + longest;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "in {longest:?} it did not come to this: {what}");
        // Sleep even if the check was slow. If the sandbox runs in this thread, it can answer only during the sleep.
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Returns the whole answer to a GET request for this path.
pub(crate) fn get(address: &str, path: &str) -> String {
    let mut connection = TcpStream::connect(address).expect("it is served");
    write!(connection, "GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n").expect("sent");
    let mut answer = String::new();
    connection.read_to_string(&mut answer).expect("an answer");
    answer
}

/// A child process. Dropping this value kills and reaps the process.
pub(crate) struct Child {
    process: std::process::Child,
    stdin: Option<Box<dyn Write + Send>>,
    stdout: Pipe,
    stderr: Pipe,
}

/// The result of a child process that has ended.
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    /// The signal that ended the process, if any.
    pub(crate) signal: Option<i32>,
    pub(crate) dumped: bool,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// The output of a child while it runs.
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

    /// Waits until the writer has ended, and returns the whole output.
    fn whole(&mut self) -> String {
        if let Some(reader) = self.reader.take() {
            reader.join().expect("nobody panics");
        }
        self.so_far()
    }
}

impl Child {
    /// Starts the program with an empty stdin. The program does not inherit this process's environment variables for
    /// Perennial.
    pub(crate) fn start(config: &Path, args: &[&str], env: &[(&str, &str)]) -> Self {
        let mut child = Self::start_to_type(config, args, env);
        child.stdin = None;
        child
    }

    /// Does the same as `start`, with a stdin to which the test can write.
    pub(crate) fn start_to_type(config: &Path, args: &[&str], env: &[(&str, &str)]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_perennial"));
        command.args(args).envs(env.iter().copied());
        Self::of(command, config)
    }

    /// Does the same as `start`, with a terminal as stdin.
    pub(crate) fn start_on_terminal(config: &Path, args: &[&str], env: &[(&str, &str)]) -> Self {
        let master = rustix::pty::openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal");
        rustix::pty::grantpt(&master).expect("ours");
        rustix::pty::unlockpt(&master).expect("ours");
        let name = rustix::pty::ptsname(&master, Vec::new()).expect("a name").into_string().expect("text");
        let slave = std::fs::OpenOptions::new().read(true).write(true).open(name).expect("a terminal");
        let mut command = Command::new(env!("CARGO_BIN_EXE_perennial"));
        command.args(args).envs(env.iter().copied());
        let mut child = Self::with_stdin(command, config, slave.into());
        child.stdin = Some(Box::new(std::fs::File::from(master)));
        child
    }

    /// Starts the program through another program, which gets the path of `perennial` as its last argument.
    pub(crate) fn start_through(program: &[&str], config: &Path) -> Self {
        let (first, rest) = program.split_first().expect("a program");
        let mut command = Command::new(first);
        command.args(rest).arg(env!("CARGO_BIN_EXE_perennial"));
        Self::of(command, config)
    }

    /// Starts a command that runs the program, either directly or through another program.
    pub(crate) fn of(command: Command, config: &Path) -> Self {
        Self::with_stdin(command, config, Stdio::piped())
    }

    fn with_stdin(mut command: Command, config: &Path, stdin: Stdio) -> Self {
        let given: Vec<OsString> = command.get_envs().map(|(name, _)| name.to_owned()).collect();
        let ours = |name: &String| {
            let name = name.to_ascii_uppercase();
            let of_azure = ["AZURE_", "IDENTITY_", "IMDS_", "MSI_"];
            let prefixes = of_azure.iter().chain(&["PERENNIAL"]);
            prefixes.copied().any(|prefix| name.starts_with(prefix))
                || name.ends_with("_PROXY")
                || name == "RUST_LOG"
        };
        let inherited = |name: &String| ours(name) && !given.iter().any(|given| given == name.as_str());
        for (name, _) in std::env::vars().filter(|(name, _)| inherited(name)) {
            command.env_remove(name);
        }
        command.env("PERENNIAL_CONFIG", config);
        if !given.iter().any(|given| given == LISTEN) {
            command.env(LISTEN, "127.0.0.1:0");
        }
        command.stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = command.spawn().expect("cargo has built it");
        let stdout = Pipe::of(process.stdout.take().expect("piped"));
        let stderr = Pipe::of(process.stderr.take().expect("piped"));
        let stdin = process.stdin.take().map(|stdin| Box::new(stdin) as Box<dyn Write + Send>);
        Self { process, stdin, stdout, stderr }
    }

    /// Returns the process id.
    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    /// Returns the address at which the daemon serves its endpoints.
    pub(crate) async fn address(&self) -> String {
        self.logs(0, "listening", |event| event["event"] == "listening").await;
        let address = self.events(0).iter().find_map(|event| Some(event["address"].as_str()?.to_owned()));
        address.expect("listening somewhere")
    }

    /// Returns the process's peak memory, in kilobytes.
    pub(crate) fn peak_memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id())).expect("it runs");
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.strip_suffix("kB"));
        peak.and_then(|peak| peak.trim().parse().ok()).expect("a number of kB")
    }

    /// Sends a signal, such as `HUP`.
    pub(crate) fn signal(&self, name: &str) {
        let mut shell = Command::new("sh");
        shell.args(["-c", r#"kill -s "$0" "$1""#, name, &self.process.id().to_string()]);
        assert!(shell.status().expect("a shell").success(), "SIG{name}");
    }

    /// Writes a line to the process's stdin.
    pub(crate) fn types(&mut self, line: &str) {
        let stdin = self.stdin.as_mut().expect("started to type");
        stdin.write_all(format!("{line}\n").as_bytes()).expect("it reads");
        stdin.flush().expect("it reads");
    }

    /// Closes the process's stdin.
    pub(crate) fn hangs_up(&mut self) {
        self.stdin = None;
    }

    /// Returns the process's stderr so far.
    pub(crate) fn told(&self) -> String {
        self.stderr.so_far()
    }

    /// Returns the events logged so far, starting with the index `from`.
    pub(crate) fn events(&self, from: usize) -> Vec<Value> {
        let log = self.stderr.text.lock().expect("nobody panics");
        // The last line is left out, because it may be incomplete.
        let whole = log.rsplit_once('\n').map_or("", |(whole, _)| whole);
        let lines: Vec<String> = whole.lines().skip(from).map(ToOwned::to_owned).collect();
        drop(log);
        lines.iter().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// Waits for an event that `is_it` accepts, at the index `from` or later. Returns the index after this event.
    pub(crate) async fn logs(&self, from: usize, what: &str, is_it: impl Fn(&Value) -> bool) -> usize {
        let mut seen = from;
        // Each event is checked only once, because a verbose log is long.
        let look = || {
            let events = self.events(seen);
            let found = events.iter().position(&is_it);
            seen += found.map_or(events.len(), |at| at + 1);
            found.map(|_| seen)
        };
        let place = tokio::time::timeout(PATIENCE, eventually(what, look)).await;
        place.unwrap_or_else(|_| panic!("not logged: {what}\n{}", self.stderr.so_far()))
    }

    /// Whether the process still runs.
    pub(crate) fn is_running(&mut self) -> bool {
        self.process.try_wait().expect("our own child").is_none()
    }

    /// Waits until the process ends.
    pub(crate) async fn ended(mut self, what: &str) -> Ended {
        let process = &mut self.process;
        let status = eventually(what, || process.try_wait().expect("our own child")).await;
        Ended {
            code: status.code(),
            signal: status.signal(),
            dumped: status.core_dumped(),
            stdout: self.stdout.whole(),
            stderr: self.stderr.whole(),
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // The result is ignored, because the process may have ended by itself.
        let _ended = self.process.kill();
        let _reaped = self.process.wait();
    }
}
