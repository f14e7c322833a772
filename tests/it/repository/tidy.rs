//! Tests coding rules that a program can check.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use perennial::ports::diagnosis::row_of;

/// Files that may exceed the limit of lines, each with the reason.
const LONG: [(&str, &str); 1] = [("azure/key_vault/tests.rs", "one test per answer of the vault")];
const LONGEST: usize = 400;

/// The pure modules, in which the same input always gives the same output.
const PURE: [&str; 23] = [
    "process/text",
    "token/mod",
    "token/version",
    "ports/failure",
    "ports/oauth_error",
    "ports/diagnosis",
    "rotation/state",
    "rotation/schedule",
    "rotation/save",
    "rotation/pace",
    "status/snapshot",
    "status/condition",
    "login",
    "process/relative",
    "serve/metrics",
    "alert/forms",
    "alert/rules",
    "token/managed",
    "token/secret",
    "net/no_response",
    "net/backoff",
    "alert/sink",
    "status/line",
];

/// A room is a top-level module. `lib.rs` lists the rooms in dependency order. A room may name only the rooms above it.
#[test]
fn a_room_uses_only_the_rooms_above_it() {
    let order = modules();
    let place = |name: &str| order.iter().position(|module| module == name);
    let mut looked_at = 0;

    for (file, text) in sources() {
        let Some(own) = place(&module_of(&file)) else { continue };
        for named in named_modules(&text) {
            let at =
                place(&named).unwrap_or_else(|| panic!("{file} names crate::{named}, which lib.rs lacks"));
            assert!(at <= own, "{file} must not depend on {named}");
            looked_at += 1;
        }
    }
    assert!(looked_at > 10, "found only {looked_at} imports");
}

/// Outside the sandbox and the tests, only `ports/diagnosis/table.rs` contains the numbers of Entra's error codes.
#[test]
fn only_the_table_and_the_sandbox_know_entras_numbers() {
    let mut looked_at = 0;
    for (file, text) in sources() {
        if file.ends_with("tests.rs") || file.starts_with("sandbox/") || file == "ports/diagnosis/table.rs" {
            continue;
        }
        let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
        for line in code.lines().filter(|line| !line.trim_start().starts_with("//")) {
            let words = line.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
            for number in words.filter_map(|word| word.replace('_', "").parse::<u32>().ok()) {
                assert!(number < 10_000 || row_of(number, "invalid_client").is_none(), "{file}: {line}");
                looked_at += 1;
            }
        }
    }
    assert!(looked_at > 100, "found only {looked_at} numbers");
}

#[test]
fn pure_modules_have_no_side_effects() {
    for module in PURE {
        let found = sources().any(|(file, _)| is_part(&file, module));
        assert!(found, "{module} is listed, and there is no such module");
    }
    let effects =
        ["::now()", "tokio", "rand::", "fastrand", "std::fs", "std::net", "std::env", "std::process"];

    for (file, text) in sources().filter(|(file, _)| PURE.iter().any(|module| is_part(file, module))) {
        let code = without_tests(&text);
        let found = effects.iter().find(|effect| code.contains(**effect));
        assert_eq!(found, None, "{file}");
    }
}

#[test]
fn only_the_clock_reads_the_time() {
    let readers = ["Utc::now", "Local::now", "SystemTime", "OffsetDateTime::now", "std::time::Instant"];

    for (file, text) in sources().filter(|(file, _)| file != "process/clock.rs") {
        let found = readers.iter().find(|reader| code(&text).contains(**reader));
        assert_eq!(found, None, "{file}");
    }
}

#[test]
fn only_results_reach_stdout() {
    for (file, text) in sources().filter(|(file, _)| file != "cli/out.rs") {
        assert!(!text.contains("stdout()"), "{file}: use cli::out");
    }
}

#[test]
fn no_unfinished_code_and_no_suppressed_lint() {
    let marks =
        ["#[allow(", "#![allow(", "TODO", "FIXME", "XXX", "unwrap()", "todo!", "unimplemented!", "#[ignore"];

    for (file, text) in sources() {
        let found = marks.iter().find(|mark| text.contains(**mark));
        assert_eq!(found, None, "{file}");
    }
}

#[test]
fn every_file_has_a_header_and_a_limited_length() {
    let mut long: Vec<String> = Vec::new();
    for (file, text) in sources() {
        assert!(text.starts_with("//! "), "{file} has no header");
        if text.lines().count() > LONGEST {
            long.push(file);
        }
    }
    assert_eq!(long, LONG.map(|(file, _)| file), "over {LONGEST} lines, and the list of those that may be");
    assert!(read("src/main.rs").lines().count() < 40);
}

#[test]
fn the_changelog_has_this_version() {
    let heading = format!("## [{}]", env!("CARGO_PKG_VERSION"));

    assert!(read("CHANGELOG.md").lines().any(|line| line.starts_with(&heading)), "{heading}");
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Returns the rooms in the order of `lib.rs`.
fn modules() -> Vec<String> {
    let declared = |line: &str| Some(line.trim_start_matches("pub ").strip_prefix("mod ")?.to_owned());
    let name = |line: &str| Some(declared(line)?.strip_suffix(';')?.to_owned());
    read("src/lib.rs").lines().filter_map(name).collect()
}

/// Returns every source file with its path below `src/`.
fn sources() -> impl Iterator<Item = (String, String)> {
    let src = root().join("src");
    let mut folders = vec![src.clone()];
    let mut files: Vec<PathBuf> = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("a folder of sources") {
            let path = entry.expect("readable").path();
            if path.is_dir() { folders.push(path) } else { files.push(path) }
        }
    }
    files.sort();
    files.into_iter().filter(|path| path.extension().is_some_and(|kind| kind == "rs")).map(move |path| {
        let file = path.strip_prefix(&src).expect("below src").display().to_string();
        let text = std::fs::read_to_string(&path).expect("text");
        (file, text)
    })
}

/// Whether a file belongs to a module. For example, `state.rs` and all files in `state/` belong to `state`.
fn is_part(file: &str, module: &str) -> bool {
    file.strip_prefix(module).is_some_and(|rest| rest == ".rs" || rest.starts_with('/'))
}

/// Returns the room of a file, such as `config` for all files below `config/`.
fn module_of(file: &str) -> String {
    file.split(['/', '.']).next().unwrap_or_default().to_owned()
}

/// Returns the modules that the code names after `crate::`.
fn named_modules(text: &str) -> Vec<String> {
    let word =
        |rest: &str| rest.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or("").to_owned();
    code(text).split("crate::").skip(1).map(word).collect()
}

/// Returns a text without comments.
fn code(text: &str) -> String {
    text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

fn without_tests(text: &str) -> String {
    code(text.split("#[cfg(test)]").next().unwrap_or_default())
}

/// A name has one meaning in the whole crate, so that a search for a type finds only one definition.
#[test]
fn no_type_name_is_defined_twice() {
    let mut known: BTreeMap<String, String> = BTreeMap::new();
    let mut twice = Vec::new();
    for (file, text) in sources().filter(|(file, _)| !file.contains("tests")) {
        let code = without_tests(&text);
        for name in code.lines().filter_map(type_name) {
            if let Some(before) = known.insert(name.to_owned(), file.clone()) {
                twice.push(format!("{name}: {before} and {file}"));
            }
        }
    }
    assert!(known.len() > 250, "found only {} types", known.len());
    assert_eq!(twice, Vec::<String>::new());
}

/// Returns the name of the type that a line defines. Returns `None` for an indented line, because such a line belongs
/// to an `impl` or to a function.
fn type_name(line: &str) -> Option<&str> {
    let rest = line.strip_prefix("pub(crate) ").or(line.strip_prefix("pub(super) ")).unwrap_or(line);
    let rest = rest.strip_prefix("pub ").unwrap_or(rest);
    let kinds = ["struct ", "enum ", "trait ", "type "];
    let named = kinds.into_iter().find_map(|kind| rest.strip_prefix(kind))?;
    named.split(|c: char| !c.is_alphanumeric()).next()
}
