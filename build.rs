//! Records the origin of the program, for `--version` and `perennial_build_info`: the commit, the compiler, the
//! target. It records no time and no path, so that the same source gives the same bytes.
//!
//! The commit is `PERENNIAL_REVISION` if that is set (a source archive, a container build), else git's for
//! this directory, else `unknown`.

use std::env;
use std::path::Path;
use std::process::Command;

/// The program's inputs. A change outside them does not mark the commit as dirty.
const INPUTS: [&str; 4] = ["build.rs", "Cargo.lock", "Cargo.toml", "src"];

fn main() {
    let set = env::var("PERENNIAL_REVISION").ok().filter(|revision| !revision.is_empty());
    let revision = set.or_else(checked_out).unwrap_or_else(|| "unknown".to_owned());
    println!("cargo::rustc-env=PERENNIAL_REVISION={revision}");
    let rustc = said(&env::var("RUSTC").expect("cargo sets it"), &["--version"]).unwrap_or_default();
    println!("cargo::rustc-env=PERENNIAL_RUSTC={}", rustc.split(' ').nth(1).unwrap_or("unknown"));
    println!("cargo::rustc-env=PERENNIAL_TARGET={}", env::var("TARGET").expect("cargo sets it"));

    println!("cargo::rerun-if-env-changed=PERENNIAL_REVISION");
    for input in INPUTS {
        println!("cargo::rerun-if-changed={input}");
    }
    // The files that change with a new commit. A missing file would make each build a new one.
    let branch = git(&["symbolic-ref", "--quiet", "HEAD"]);
    let names = ["HEAD", "packed-refs"].into_iter().chain(branch.as_deref());
    for file in names.filter_map(|name| git(&["rev-parse", "--git-path", name])) {
        if Path::new(&file).exists() {
            println!("cargo::rerun-if-changed={file}");
        }
    }
}

/// The commit, marked if the inputs are modified. An archive unpacked inside another repository does not have
/// that repository's commit: only its top directory counts.
fn checked_out() -> Option<String> {
    let above = git(&["rev-parse", "--show-cdup"])?;
    let commit = git(&["rev-parse", "--short=12", "HEAD"]).filter(|_| above.is_empty())?;
    let changed = git(&[&["status", "--porcelain", "--"], &INPUTS[..]].concat())?;
    Some(if changed.is_empty() { commit } else { format!("{commit}-dirty") })
}

fn git(arguments: &[&str]) -> Option<String> {
    said("git", &[&["--no-optional-locks"], arguments].concat())
}

/// A program's output, if it exists and succeeds.
fn said(program: &str, arguments: &[&str]) -> Option<String> {
    let output =
        Command::new(program).args(arguments).output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8(output.stdout).ok()?.trim().to_owned())
}
