//! Tests that links between the pages are valid, and that the pages use plain words.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Phrases that the pages must not contain.
const HARD_TO_READ: [&str; 6] =
    ["nobody", "whoever", "there is nothing that", "of no use", "as good as", "it is told that"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Returns the four pages in the root folder and every page in `docs`, without the code blocks.
fn pages() -> Vec<(PathBuf, String)> {
    let mut paths: Vec<PathBuf> = ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "SECURITY.md"]
        .map(|name| root().join(name))
        .into();
    for entry in std::fs::read_dir(root().join("docs")).expect("a folder") {
        let path = entry.expect("readable").path();
        if path.extension().is_some_and(|kind| kind == "md") {
            paths.push(path);
        }
    }
    paths.into_iter().map(|path| (path.clone(), without_code(&text_of(&path)))).collect()
}

fn text_of(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn without_code(page: &str) -> String {
    let mut is_code = false;
    let mut prose = Vec::new();
    for line in page.lines() {
        if line.trim_start().starts_with("```") {
            is_code = !is_code;
        } else if !is_code {
            prose.push(line);
        }
    }
    prose.join("\n")
}

/// Returns the anchors that GitHub creates from the headings of a page.
fn anchors(page: &str) -> BTreeSet<String> {
    let headings = page.lines().filter(|line| line.starts_with('#'));
    let anchor = |heading: &str| -> String {
        let text = heading.trim_start_matches('#').trim().to_lowercase();
        let kept = text.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
        kept.map(|c| if c == ' ' { '-' } else { c }).collect()
    };
    headings.map(anchor).collect()
}

#[test]
fn links_between_pages_lead_to_a_file_and_to_a_heading() {
    let mut followed = 0;
    for (path, page) in pages() {
        let links = page.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        for link in links.filter(|link| !link.starts_with("http")) {
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target =
                if file.is_empty() { path.clone() } else { path.parent().expect("a folder").join(file) };
            assert!(target.exists(), "{}: {link}", path.display());
            if !anchor.is_empty() {
                let known = anchors(&without_code(&text_of(&target)));
                assert!(known.contains(anchor), "{}: {link} is none of {known:?}", path.display());
            }
            followed += 1;
        }
    }
    assert!(followed > 100, "found only {followed}");
}

#[test]
fn every_page_is_linked_from_the_readme() {
    let readme = text_of(&root().join("README.md"));
    for (path, _) in pages() {
        let name = path.strip_prefix(root()).expect("below the root").display().to_string();
        assert!(name == "README.md" || readme.contains(&format!("]({name}")), "{name}");
    }
}

#[test]
fn pages_keep_to_plain_words() {
    for (path, page) in pages() {
        // Text in back-ticks is left out, because it contains names of tests.
        let prose = page.split('`').step_by(2).collect::<Vec<_>>().join(" ").to_lowercase();
        for phrase in HARD_TO_READ {
            assert!(!prose.contains(phrase), "{}: {phrase}", path.display());
        }
    }
}

/// A secret must not be an argument, because every user of the machine can read the arguments of a program.
#[test]
fn no_page_shows_a_command_with_a_secret_among_its_arguments() {
    let mut stored = 0;
    for (path, _) in pages() {
        let page = text_of(&path);
        for form in ["--value=\"$", "--value \"$", "--password \"$", "--client-secret \"$"] {
            assert!(!page.contains(form), "{}: {form}", path.display());
        }
        stored += page.matches("--file /dev/stdin").count();
    }
    assert!(stored >= 4, "found only {stored}");
}
