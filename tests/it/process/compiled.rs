//! C that tests need beside the program: what Rust does not do without `unsafe`. Rust links with `cc`, so it is there.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Compiles a source beside this one. The result has its name only once it is whole, since other runs may use the
/// same directory.
pub(super) fn compile(source: &str, name: &str, options: &[&str]) -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/process").join(source);
    let result = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let unfinished = format!("{}.{}", result.display(), std::process::id());
    let mut compiler = Command::new("cc");
    compiler.args(["-std=c11", "-Wall", "-Wextra", "-Werror", "-O1", "-o", &unfinished]).arg(source);
    let output = compiler.args(options).output().expect("`cc`, with which Rust links too");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    std::fs::rename(unfinished, &result).expect("a directory for tests");
    result
}
