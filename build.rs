//! Records the origin of the program, for `--version` and `perennial_build_info`: the commit, the compiler, the
//! target. It records no time and no path, so that the same source gives the same bytes.
//!
//! `PERENNIAL_REVISION` sets the commit for a build without a repository, such as a source archive or a container. If
//! the variable is not set, git names the commit of this directory. If git fails, the commit is `unknown`.

use std::env;
use std::path::Path;
use std::process::Command;

/// The program's inputs. Changes to other files do not mark the commit as dirty.
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
    // Cargo reruns this script after each commit, because each commit changes at least one of git's files below. If the
    // branch has no file of its own yet, the commit still changes `logs/HEAD`. The loop skips missing files, because a
    // missing file makes cargo rerun this script in every build.
    let branch = git(&["symbolic-ref", "--quiet", "HEAD"]);
    let names = ["HEAD", "logs/HEAD", "packed-refs"].into_iter().chain(branch.as_deref());
    for file in names.filter_map(|name| git(&["rev-parse", "--git-path", name])) {
        if Path::new(&file).exists() {
            println!("cargo::rerun-if-changed={file}");
        }
    }
}

/// The commit, with the suffix `-dirty` if the inputs are modified. Returns `None` if this directory is not the top of
/// a repository: a source archive may have been unpacked inside the repository of another project.
fn checked_out() -> Option<String> {
    let above = git(&["rev-parse", "--show-cdup"])?;
    let commit = git(&["rev-parse", "--short=12", "HEAD"]).filter(|_| above.is_empty())?;
    let changed = git(&[&["status", "--porcelain", "--"], &INPUTS[..]].concat())?;
    Some(if changed.is_empty() { commit } else { format!("{commit}-dirty") })
}

fn git(arguments: &[&str]) -> Option<String> {
    said("git", &[&["--no-optional-locks"], arguments].concat())
}

/// The trimmed output of a program. Returns `None` if the program does not exist or if it fails.
fn said(program: &str, arguments: &[&str]) -> Option<String> {
    let output =
        Command::new(program).args(arguments).output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8(output.stdout).ok()?.trim().to_owned())
}
