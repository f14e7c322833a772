//! Tests that the runbook, the reference tables, the alert rules and the dashboard agree with the code.
use perennial::ports::diagnosis::{Diagnosis, ROWS, Row};

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use perennial::ports::failure::Kind;
use perennial::serve::metrics::METRICS;
use prometheus_client::metrics::MetricType;
use serde_json::Value;

const RUNBOOK: &str = include_str!("../../../docs/runbook.md");
const CONDITIONS: &str = include_str!("../../../docs/conditions.md");
const LOGS: &str = include_str!("../../../docs/logs.md");
const RULES: &str = include_str!("../../../deploy/prometheus/rules.yml");
const RULES_TEST: &str = include_str!("../../../deploy/prometheus/rules_test.yml");
const DASHBOARD: &str = include_str!("../../../deploy/grafana/perennial.json");

/// Returns the runbook's sections by name.
fn sections() -> BTreeMap<&'static str, &'static str> {
    let sections = RUNBOOK.split("\n## ").skip(1);
    sections.map(|section| section.split_once('\n').expect("a text below the heading")).collect()
}

#[test]
fn each_kind_has_a_complete_runbook_section() {
    let sections = sections();

    for kind in Kind::ALL.map(Kind::as_str) {
        let text = sections.get(kind).unwrap_or_else(|| panic!("there is no section {kind}"));
        for part in ["**Means**", "**Seen**", "**Do**", "**Over when**"] {
            assert_eq!(text.matches(part).count(), 1, "{part} in {kind}");
        }
    }
    let others = sections.keys().filter(|name| Kind::parse(name).is_none());
    assert_eq!(others.collect::<Vec<_>>(), [&"perennial_is_gone", &"runway_short"]);
    let inner: Vec<&str> = RUNBOOK.split("](#").skip(1).filter_map(|rest| rest.split(')').next()).collect();
    assert!(inner.iter().all(|link| sections.contains_key(link)), "{inner:?}");
}

#[test]
fn each_kind_of_condition_has_a_row_in_the_table_of_failures() {
    let cells = CONDITIONS.lines().filter_map(|line| line.strip_prefix("| ")?.split(" | ").nth(1));
    let names = cells.filter_map(|cell| cell.strip_prefix('`')?.strip_suffix('`'));
    let kinds: BTreeSet<Kind> = names.map(|name| Kind::parse(name).expect(name)).collect();

    assert_eq!(kinds, Kind::ALL.into_iter().collect());
}

#[test]
fn each_kind_of_condition_is_listed_once_with_its_title() {
    for kind in Kind::ALL {
        let row = format!("\n| `{}` | {} | ", kind.as_str(), kind.title());
        assert_eq!(CONDITIONS.matches(&row).count(), 1, "{row}");
    }
}

/// Returns the values of a key in all lines of the alert rules.
fn values(key: &str) -> Vec<&'static str> {
    let value = |line: &'static str| line.trim().trim_start_matches("- ").strip_prefix(key);
    RULES.lines().filter_map(value).map(str::trim).collect()
}

#[test]
fn every_rule_links_to_a_section_and_every_kind_has_a_rule_and_every_rule_a_test() {
    let (names, links, rules) = (values("alert:"), values("runbook_url:"), values("expr:"));
    assert_eq!((names.len(), names.len()), (links.len(), rules.len()));
    let mut told = BTreeSet::new();

    for (link, rule) in links.iter().zip(&rules) {
        let section = link.strip_prefix("docs/runbook.md#").expect("a path in this repository");
        if section == "{{ $labels.kind }}" {
            let (_, kinds) = rule.split_once("kind=~\"").expect("kinds");
            let (kinds, _) = kinds.split_once('"').expect("their end");
            for kind in kinds.split('|') {
                assert!(told.insert(kind), "{kind} has two rules");
            }
        } else {
            assert!(sections().contains_key(section), "{section}");
        }
    }
    assert_eq!(told, Kind::ALL.map(Kind::as_str).into_iter().collect());
    for name in names {
        let tests = RULES_TEST.matches(&format!("alertname: {name}")).count();
        assert!(tests >= 1, "{name} is not tested");
    }
}

/// Returns the names of metrics in a text, such as a query.
fn metrics_in(text: &str) -> BTreeSet<String> {
    let parts = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    parts.filter(|word| word.starts_with("perennial_")).map(ToOwned::to_owned).collect()
}

/// Returns every metric name that a query may use.
fn served() -> BTreeSet<String> {
    let of = |name: &str, kind| match kind {
        MetricType::Histogram => {
            vec![format!("{name}_bucket"), format!("{name}_sum"), format!("{name}_count")]
        }
        _ => vec![name.to_owned()],
    };
    METRICS.iter().flat_map(|metric| of(metric.name, metric.kind)).collect()
}

#[test]
fn rules_and_dashboard_use_existing_metrics() {
    let served = served();
    let asked: BTreeSet<String> = values("expr:").into_iter().flat_map(metrics_in).collect();
    assert!(asked.len() >= 8 && asked.is_subset(&served), "{asked:?}");

    let dashboard: Value = serde_json::from_str(DASHBOARD).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("panels");
    let targets = panels.iter().flat_map(|panel| panel["targets"].as_array().expect("targets"));
    let queries = targets.map(|target| target["expr"].as_str().expect("a query"));
    let shown: BTreeSet<String> = queries.flat_map(metrics_in).collect();
    assert!(shown.is_subset(&served), "{:?}", shown.difference(&served));
    let bases = |name: &str| shown.iter().any(|shown| shown.starts_with(name));
    let missing: Vec<&str> = METRICS.iter().map(|metric| metric.name).filter(|name| !bases(name)).collect();
    assert_eq!(missing, [""; 0], "not on the dashboard");
    let ids: BTreeSet<u64> = panels.iter().filter_map(|panel| panel["id"].as_u64()).collect();
    assert_eq!(ids.len(), panels.len());
}

/// The table in docs/codes.md must contain exactly the rows of the program's table.
#[test]
fn every_code_that_the_program_knows_is_in_the_table_of_codes() {
    let codes = |row: &Row| {
        let single = row.codes.iter().map(u32::to_string);
        let ranges = row.ranges.iter().map(|range| format!("{}-{}", range.start(), range.end()));
        single.chain(ranges).collect::<Vec<_>>().join(", ")
    };
    let known = ROWS.iter().map(|row| {
        let Diagnosis { remedy, kind, meaning, ends_grant, is_definite, .. } = row.diagnosis;
        let note = match (ends_grant, is_definite) {
            (true, _) => "ends the grant",
            (false, true) => "",
            (false, false) => "confirmed by a second attempt",
        };
        let kind = kind.as_str();
        let link = format!("[{kind}](runbook.md#{kind})");
        format!("| {} | {meaning} | {} | {link} | {note} |", codes(row), remedy.as_str())
    });
    let known: BTreeSet<String> = known.collect();
    let documented = include_str!("../../../docs/codes.md").lines();
    let documented: BTreeSet<String> = documented
        .filter(|line| line.starts_with("| ") && !line.contains("| Meaning |"))
        .map(ToOwned::to_owned)
        .collect();

    let missing: Vec<&String> = known.difference(&documented).collect();
    let stale: Vec<&String> = documented.difference(&known).collect();
    assert!(missing.is_empty() && stale.is_empty(), "missing: {missing:#?}\nstale: {stale:#?}");
}

/// Returns all sources except tests, as one text.
fn sources() -> String {
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
    let mut text = String::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("a folder of sources") {
            let path: PathBuf = entry.expect("readable").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|kind| kind == "rs") && !path.ends_with("tests.rs") {
                text += &std::fs::read_to_string(&path).expect("text");
            }
        }
    }
    text
}

/// Returns the field names of a log call in the source. A field has an equals sign after its name, or consists only of
/// the name.
fn fields(after_event: &str) -> BTreeSet<String> {
    let end = after_event.find(");").expect("the end of the macro");
    let plain = |c: char| c.is_ascii_lowercase() || c == '_';
    let parts = after_event[..end].split(", ").flat_map(|part| part.split(",\n"));
    let parts = parts.take_while(|part| !part.trim().starts_with('"'));
    let names = parts.filter_map(|part| part.trim().trim_start_matches('%').split(" = ").next());
    names.filter(|name| !name.is_empty() && name.chars().all(plain)).map(ToOwned::to_owned).collect()
}

#[test]
fn every_event_is_documented_with_its_fields() {
    let mut logged: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for after in sources().split("event = \"").skip(1) {
        let (name, rest) = after.split_once('"').expect("its end");
        logged.entry(name.to_owned()).or_default().extend(fields(rest));
    }
    let quoted = |cell: &str| -> BTreeSet<String> {
        cell.split('`').skip(1).step_by(2).map(ToOwned::to_owned).collect()
    };
    let rows = LOGS.lines().filter_map(|line| line.strip_prefix("| `"));
    let documented: BTreeMap<String, BTreeSet<String>> = rows
        .filter_map(|row| row.split_once("` |"))
        .filter(|(name, _)| *name != "event")
        .map(|(name, rest)| {
            (name.to_owned(), quoted(rest.trim_end_matches(" |").rsplit("| ").next().unwrap_or("")))
        })
        .collect();

    assert!(logged.len() > 20, "{logged:?}");
    assert_eq!(documented, logged);
}

const PROMISES: &str = include_str!("../../../docs/promises.md");
const THREATS: &str = include_str!("../../../docs/threat-model.md");
const FACTS: &str = include_str!("../../../docs/azure-facts.md");

/// Returns the texts between backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// Returns the fact numbers in a text, such as `F101`.
fn facts_in(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric());
    let is_fact = |word: &&str| {
        word.strip_prefix('F').is_some_and(|rest| rest.len() == 3 && rest.bytes().all(|b| b.is_ascii_digit()))
    };
    words.filter(is_fact).map(str::to_owned).collect()
}

#[test]
fn each_test_named_by_a_promise_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (paths, unknown) = named_by_path(PROMISES);
    let tests: Vec<&str> = quoted(PROMISES)
        .filter(|word| word.contains('_') && word.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'))
        .collect();
    let code = all_text(&root.join("src")) + &all_text(&root.join("tests"));

    assert!(paths > 10 && tests.len() > 10, "{paths} {tests:?}");
    assert_eq!(unknown, [""; 0], "docs/promises.md names what is not there");
    for test in tests {
        let is_there = code.contains(&format!("fn {test}(")) || code.contains(&format!("{test}:"));
        assert!(is_there, "docs/promises.md names {test}, which is not there");
    }
}

#[test]
fn what_stops_each_threat_is_there_under_the_path_that_is_given() {
    let (paths, unknown) = named_by_path(THREATS);

    assert!(paths > 80, "found only {paths}");
    assert_eq!(unknown, [""; 0], "docs/threat-model.md names what is not there");
    let (_, made_up) = named_by_path("`process::leaks::a_test_that_there_is_not` `tests/acceptance/none`");
    assert_eq!(made_up.len(), 2, "they would be found");
}

/// Returns how many files and test paths a page names, and which of them do not exist.
fn named_by_path(page: &str) -> (usize, Vec<&str>) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let is_part = |part: &str| part.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_'));
    let is_file = |word: &str| word.starts_with("src/") || word.starts_with("tests/");
    let is_path = |word: &str| word.contains("::") && word.split("::").all(is_part);
    let named: Vec<&str> = quoted(page).filter(|word| is_file(word) || is_path(word)).collect();
    let is_there = |word: &str| if is_file(word) { root.join(word).exists() } else { is_test(root, word) };
    let unknown = named.iter().copied().filter(|word| !is_there(word)).collect();
    (named.len(), unknown)
}

/// Whether a test with this path, such as `rotation::save::tests::name`, exists in the corresponding file.
fn is_test(root: &Path, path: &str) -> bool {
    let Some((modules, name)) = path.rsplit_once("::") else { return false };
    let file = modules.replace("::", "/");
    // A module with tests may be inside its parent's file.
    let parent = file.strip_suffix("/tests").unwrap_or(&file);
    let mut files = Vec::new();
    for base in ["src", "tests/it"] {
        for module in [file.as_str(), parent] {
            files.push(format!("{base}/{module}.rs"));
            files.push(format!("{base}/{module}/mod.rs"));
        }
    }
    let has_it = |text: String| text.contains(&format!("fn {name}("));
    files.iter().any(|file| std::fs::read_to_string(root.join(file)).is_ok_and(has_it))
}

#[test]
fn every_cited_fact_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let stated: BTreeSet<String> =
        FACTS.split("- **").skip(1).filter_map(|rest| rest.split("**").next()).map(str::to_owned).collect();
    let texts = [all_text(&root.join("src")), all_text(&root.join("tests")), PROMISES.to_owned()];
    let cited: BTreeSet<String> = texts.iter().flat_map(|text| facts_in(text)).collect();

    assert!(stated.len() > 50 && cited.len() > 30, "{} stated, {} cited", stated.len(), cited.len());
    let unknown: Vec<&String> = cited.difference(&stated).collect();
    assert!(unknown.is_empty(), "{unknown:?}");
}

/// Returns every Rust file below a directory, as one text.
fn all_text(folder: &Path) -> String {
    let mut text = String::new();
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("readable").path();
        if path.is_dir() {
            text += &all_text(&path);
        } else if path.extension().is_some_and(|kind| kind == "rs") {
            text += &std::fs::read_to_string(&path).expect("text");
        }
    }
    text
}
