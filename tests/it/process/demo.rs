//! Tests the output of `demo`.

use std::io::BufRead as _;
use std::io::BufReader;
use std::io::Read as _;
use std::io::Write as _;
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

/// The maximum of `--speed`, in days of simulated time per second.
const FAST: &str = "12";

#[test]
fn the_demo_succeeds_and_keeps_all_promises() {
    let home = Home::make("well");

    let output = home.demo().output().expect("it was built for this test");

    let shown = String::from_utf8(output.stdout).expect("text");
    assert_eq!(output.status.code(), Some(0), "{shown}");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "", "its log is not shown unless asked for");
    for number in 1..=9 {
        let line = shown.lines().find(|line| line.starts_with(&format!("  {number}  ")));
        let line = line.unwrap_or_else(|| panic!("promise {number} is not summed up:\n{shown}"));
        assert!(line.contains("  held  "), "{line}");
    }
    assert!(shown.lines().any(|line| line.starts_with("  All nine held")), "{shown}");
    // Only a line of one word, such as an address, may exceed 80 characters.
    for line in shown.lines().filter(|line| line.trim().contains(' ')) {
        assert!(line.chars().count() <= 80, "{line}");
    }
    for told in ["AADSTS700082", "unsaved", "app_credential_refused", "buried_sign_in", "login_required"] {
        assert!(shown.contains(told), "{told} is not in the story:\n{shown}");
    }
    let too_wide = shown.lines().find(|line| line.chars().count() > 100);
    assert_eq!(too_wide, None);
    assert!(!shown.contains('\u{1b}'), "no colours without a terminal");
    assert!(home.is_empty(), "files were left behind");
}

#[test]
fn ctrl_c_ends_the_demo() {
    let home = Home::make("leave");
    let mut demo = Running(home.demo().spawn().expect("it was built for this test"));
    let shown = demo.0.stdout.take().expect("it is piped");
    let mut lines = BufReader::new(shown).lines().map_while(Result::ok);
    let page = lines.find_map(|line| Some(line.split_once("live: http://")?.1.to_owned()));
    let page = page.expect("it says where its status page is");
    assert!(lines.any(|line| line.contains("rotated")), "it begins");
    let status = get(page.trim_end_matches('/'), "/status");
    assert!(status.contains("\"partner-center\""), "{status}");

    let sent = Command::new("sh").args(["-c", "kill -s INT \"$0\"", &demo.0.id().to_string()]).status();

    assert!(sent.expect("a shell").success());
    let rest: Vec<String> = lines.collect();
    assert_eq!(demo.0.wait().expect("it ends").code(), Some(1));
    assert!(rest.iter().any(|line| line.contains("Interrupted")), "{rest:?}");
    assert!(home.is_empty(), "files were left behind");
}

fn get(address: &str, path: &str) -> String {
    let mut connection = TcpStream::connect(address).expect("it is served");
    write!(connection, "GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n").expect("sent");
    let mut answer = String::new();
    connection.read_to_string(&mut answer).expect("an answer");
    answer
}

/// A directory for one test, which is removed after the test.
struct Home(PathBuf);

impl Home {
    fn make(name: &str) -> Self {
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("demo-{name}"));
        // Removes the directory of an earlier test that was killed.
        let _gone = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).expect("a directory for temporary files");
        Self(path)
    }

    fn demo(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_perennial"));
        command.args(["demo", "--speed", FAST]).env("TMPDIR", &self.0).env_remove("RUST_LOG");
        // The proxy is unreachable. The demo must not need the proxy, because the demo sends nothing to other machines.
        command.env("HTTPS_PROXY", "http://127.0.0.1:9").stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn is_empty(&self) -> bool {
        std::fs::read_dir(&self.0).expect("it is there").next().is_none()
    }
}

/// A process that is killed at the end of its test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // The result is ignored, because the process may have ended already.
        let _ended = self.0.kill();
        let _gone = self.0.wait();
    }
}
