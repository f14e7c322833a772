//! Tests what other users of the machine can see of the process: arguments, files below `/proc`, and core dumps.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::LazyLock;

use chrono::TimeDelta;
use secrecy::ExposeSecret as _;

use super::super::compiled::compile;
use super::super::{Stage, is};
use super::{leaks, secrets};
use crate::support::child::{Child, eventually};

/// The files below `/proc` that every user may read.
const PUBLIC: [&str; 9] =
    ["cmdline", "comm", "limits", "mountinfo", "sched", "stat", "statm", "status", "cgroup"];

static WITHOUT_RIGHTS: LazyLock<PathBuf> =
    LazyLock::new(|| compile("leaks/without_rights.c", "without-rights", &[]));

/// Returns a command that runs a program without root's right to inspect other processes.
fn without_rights(program: &str) -> Command {
    let mut command = Command::new(&*WITHOUT_RIGHTS);
    command.arg(program);
    command
}

/// Starts the program on a host that writes core dumps into a directory of the stage.
fn careless(stage: &Stage) -> Child {
    let mut shell = without_rights("sh");
    let program = env!("CARGO_BIN_EXE_perennial");
    shell.args(["-c", "ulimit -S -c $(ulimit -H -c); exec \"$0\" run", program]);
    shell.current_dir(&stage.dir.0);
    shell.env("AN_OPERATORS_OWN", stage.sandbox.vault_identity.client_secret.expose_secret());
    Child::of(shell, &stage.config)
}

async fn at_work(stage: &Stage) -> Child {
    let daemon = careless(stage);
    daemon.logs(0, "at work", |event| is(event, "rotated", "one")).await;
    daemon
}

/// Whether another process of the same user can read this file.
fn readable(path: &str) -> bool {
    let mut command = without_rights("head");
    command.args(["-c1", path]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().expect("coreutils are installed").success()
}

#[tokio::test]
async fn other_processes_of_the_same_user_see_no_memory_and_no_environment() {
    let stage = Stage::set(TimeDelta::days(80)).await;
    let daemon = at_work(&stage).await;
    // For comparison, the test also inspects `cat`, which waits for input until the test kills it.
    let mut other = without_rights("cat").stdin(Stdio::piped()).spawn().expect("coreutils are installed");

    let seen = |id: u32| {
        let open = |file: &&str| readable(&format!("/proc/{id}/{file}"));
        ["environ", "maps", "auxv", "cmdline"].into_iter().filter(open).collect::<Vec<_>>()
    };
    let all = ["environ", "maps", "auxv", "cmdline"];
    eventually("all can be seen of any other process", || (seen(other.id()) == all).then_some(())).await;
    let of_daemon = seen(daemon.id());
    other.kill().expect("our own child");
    other.wait().expect("our own child");

    assert_eq!(of_daemon, ["cmdline"]);
}

#[tokio::test]
async fn world_readable_process_files_hold_no_secret() {
    let stage = Stage::set(TimeDelta::days(80)).await;
    let daemon = at_work(&stage).await;

    let read = |file: &str| std::fs::read_to_string(format!("/proc/{}/{file}", daemon.id()));
    let public: String = PUBLIC.iter().filter_map(|file| read(file).ok()).collect();
    assert!(public.contains("perennial\0run\0"), "{public}");
    assert_eq!(leaks(&public, &secrets(&stage)), Vec::<String>::new());

    // Only `AN_OPERATORS_OWN`, a variable that Perennial does not read, contains a secret. The program has no regular
    // file open.
    let own = stage.sandbox.vault_identity.client_secret.expose_secret();
    let environ = read("environ").unwrap_or_default();
    let others: Vec<&str> =
        environ.split('\0').filter(|line| !line.starts_with("AN_OPERATORS_OWN=")).collect();
    assert_eq!(environ.is_empty(), !environ.contains(own), "the operator's own variable is there");
    assert_eq!(leaks(&others.join("\n"), &secrets(&stage)), Vec::<String>::new());
    let open = std::fs::read_dir(format!("/proc/{}/fd", daemon.id()));
    let targets =
        open.into_iter().flatten().flatten().filter_map(|entry| std::fs::read_link(entry.path()).ok());
    let files: Vec<_> = targets.filter(|target| target.is_file()).collect();
    assert_eq!(files, Vec::<std::path::PathBuf>::new());
}

#[tokio::test]
async fn a_crash_leaves_no_core_dump() {
    for (name, number) in [("ABRT", 6), ("QUIT", 3)] {
        let stage = Stage::set(TimeDelta::days(80)).await;
        let daemon = at_work(&stage).await;
        let limits = std::fs::read_to_string(format!("/proc/{}/limits", daemon.id())).expect("it runs");
        let core = limits.lines().find(|line| line.starts_with("Max core file size")).expect("a limit");
        let words: Vec<&str> = core.split_whitespace().rev().take(3).collect();
        let listed = || {
            let entries = std::fs::read_dir(&stage.dir.0).expect("a directory of our own");
            entries.map(|entry| entry.expect("readable").file_name()).collect::<Vec<_>>()
        };
        let before = listed();

        daemon.signal(name);
        let ended = daemon.ended("crashed").await;

        assert_eq!(words, ["bytes", "0", "0"], "{core}");
        assert_eq!((ended.signal, ended.dumped), (Some(number), false));
        assert_eq!(listed(), before);
        let printed = ended.stdout + &ended.stderr;
        assert_eq!(leaks(&printed, &secrets(&stage)), Vec::<String>::new());
    }
}
