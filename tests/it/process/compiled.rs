//! Compiles C code for tests that need functions which Rust offers only with `unsafe`. The tests need no additional
//! compiler, because Rust already links with `cc`.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Compiles a source file of this directory. The compiler writes its output under a temporary name, since another test
/// run may write to the same output directory. Only the complete output gets the final name.
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
