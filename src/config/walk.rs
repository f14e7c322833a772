//! Reads the configuration key by key, after the file and the environment were merged, and collects the problems.
//!
//! This module owns the form of a problem. A problem has the key path and the expected value, but never the actual
//! value. The other modules of `config` own the names of the keys.
//!
//! Invariant: no value of the configuration gets into a problem.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use config::{Value, ValueKind};

/// A problem with one key, variable or file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The key path (such as `token[0].client_secret`), the environment variable, or the file that has the problem.
    pub key: String,
    /// The description of the problem, without the value.
    pub what: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.key, self.what)
    }
}

/// All problems of a configuration. Each problem is displayed on a line of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigProblems {
    /// The path of the file.
    pub path: PathBuf,
    /// The problems. There is at least one problem.
    pub problems: Vec<Problem>,
}

impl ConfigProblems {
    pub(super) fn one(path: &Path, key: impl Into<String>, what: impl Into<String>) -> Self {
        let problem = Problem { key: key.into(), what: what.into() };
        Self { path: path.to_owned(), problems: vec![problem] }
    }
}

impl fmt::Display for ConfigProblems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<String> = self.problems.iter().map(ToString::to_string).collect();
        f.write_str(&lines.join("\n"))
    }
}

impl std::error::Error for ConfigProblems {}

/// The error of a parse function that has recorded a problem.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reported;

/// A parsed value, or `Reported` if the value is wrong and the problem has been recorded.
pub(super) type Checked<T> = Result<T, Reported>;

/// The text that says which value is expected, such as `must be a GUID`.
pub(super) type Wanted = &'static str;

/// The problems found so far.
#[derive(Debug, Default)]
pub(super) struct Problems {
    found: RefCell<Vec<Problem>>,
    /// The environment variables that set keys, by key path. A problem with such a key also names the variable.
    variables: BTreeMap<String, String>,
}

impl Problems {
    pub(super) fn new(variables: BTreeMap<String, String>) -> Self {
        Self { found: RefCell::default(), variables }
    }

    pub(super) fn note(&self, key: impl Into<String>, what: impl Into<String>) -> Reported {
        let key = key.into();
        let key = match self.variables.get(&key) {
            Some(variable) => format!("{key} ({variable})"),
            None => key,
        };
        self.found.borrow_mut().push(Problem { key, what: what.into() });
        Reported
    }

    pub(super) fn into_vec(self) -> Vec<Problem> {
        self.found.into_inner()
    }
}

/// One table of the configuration.
#[derive(Debug)]
pub(super) struct Section<'a> {
    path: String,
    known: &'static [&'static str],
    table: BTreeMap<String, Value>,
    problems: &'a Problems,
}

impl<'a> Section<'a> {
    /// Opens `value` as a table and reports all keys that are not in `known`. A missing value counts as an empty table.
    pub(super) fn open(
        path: &str,
        value: Option<Value>,
        known: &'static [&'static str],
        problems: &'a Problems,
    ) -> Checked<Self> {
        let table = match value.map(|value| value.kind) {
            Some(ValueKind::Table(table)) => table.into_iter().collect(),
            None => BTreeMap::new(),
            Some(_) => return Err(problems.note(path, "must be a table of keys")),
        };
        let section = Self { path: path.to_owned(), known, table, problems };
        for key in section.table.keys().filter(|key| !known.contains(&key.as_str())) {
            section.note(&printable(key), unknown(key, known));
        }
        Ok(section)
    }

    /// Returns the path of a key of this table.
    pub(super) fn at(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    /// Records a problem with a key of this table.
    pub(super) fn note(&self, key: &str, what: impl Into<String>) -> Reported {
        self.problems.note(self.at(key), what)
    }

    /// Returns the unparsed value of a key.
    pub(super) fn get(&self, key: &str) -> Option<&Value> {
        debug_assert!(self.known.contains(&key), "{key} is missing from the list of keys");
        self.table.get(key)
    }

    /// Returns the collection of problems.
    pub(super) fn problems(&self) -> &'a Problems {
        self.problems
    }

    /// Whether the table has unknown keys. The unknown keys have already been reported.
    pub(super) fn has_strangers(&self) -> bool {
        self.table.keys().any(|key| !self.known.contains(&key.as_str()))
    }

    /// Returns those of `keys` that the table contains.
    pub(super) fn present<'k>(&self, keys: &[&'k str]) -> Vec<&'k str> {
        keys.iter().copied().filter(|key| self.table.contains_key(*key)).collect()
    }

    /// Opens a table within this one.
    pub(super) fn section(&self, key: &str, known: &'static [&'static str]) -> Checked<Section<'a>> {
        Section::open(&self.at(key), self.get(key).cloned(), known, self.problems)
    }

    /// Returns the text of a key. A blank text is a problem.
    pub(super) fn text(&self, key: &str) -> Checked<Option<&str>> {
        match self.get(key).map(|value| &value.kind) {
            None => Ok(None),
            Some(ValueKind::String(text)) if text.trim().is_empty() => Err(self.note(key, "is empty")),
            Some(ValueKind::String(text)) => Ok(Some(text)),
            Some(_) => Err(self.note(key, "must be text in quotes")),
        }
    }

    /// Returns the parsed text of a key. If `parse` rejects the text, records what is expected.
    pub(super) fn optional<T>(
        &self,
        key: &str,
        parse: impl FnOnce(&str) -> Result<T, Wanted>,
    ) -> Checked<Option<T>> {
        let Some(text) = self.text(key)? else { return Ok(None) };
        parse(text).map(Some).map_err(|wanted| self.note(key, wanted))
    }

    /// Returns the parsed text of a required key. If the key is missing, or if `parse` rejects the text, records a
    /// problem.
    pub(super) fn required<T>(&self, key: &str, parse: impl FnOnce(&str) -> Result<T, Wanted>) -> Checked<T> {
        self.optional(key, parse)?.ok_or_else(|| self.note(key, "is missing"))
    }

    /// Returns the parsed texts of a list. Returns `None` if the key is missing. An empty list is a problem.
    pub(super) fn list<T>(
        &self,
        key: &str,
        wanted: Wanted,
        parse: impl Fn(&str) -> Result<T, Wanted>,
    ) -> Checked<Option<Vec<T>>> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let ValueKind::Array(list) = &value.kind else { return Err(self.note(key, wanted)) };
        let one = |value: &Value| match &value.kind {
            ValueKind::String(text) if !text.trim().is_empty() => parse(text.trim()),
            _ => Err(wanted),
        };
        let list: Result<Vec<T>, Wanted> = list.iter().map(one).collect();
        match list {
            Ok(list) if !list.is_empty() => Ok(Some(list)),
            Ok(_) => Err(self.note(key, wanted)),
            Err(wanted) => Err(self.note(key, wanted)),
        }
    }

    /// Returns the value of a key that must be `true` or `false`. Also accepts the texts `true` and `false`,
    /// because environment variables have text values.
    pub(super) fn flag(&self, key: &str) -> Checked<Option<bool>> {
        let kind = self.get(key).map(|value| &value.kind);
        match kind {
            None => Ok(None),
            Some(ValueKind::Boolean(flag)) => Ok(Some(*flag)),
            Some(ValueKind::String(text)) if text == "true" => Ok(Some(true)),
            Some(ValueKind::String(text)) if text == "false" => Ok(Some(false)),
            Some(_) => Err(self.note(key, "must be true or false")),
        }
    }
}

/// Returns the message for an unknown key. If a known key is similar, the message suggests this known key.
fn unknown(key: &str, known: &[&str]) -> String {
    /// The maximum edit distance between an unknown key and the suggested key.
    const SLIPS: usize = 2;
    let nearest = known.iter().min_by_key(|candidate| strsim::damerau_levenshtein(key, candidate));
    match nearest.filter(|candidate| strsim::damerau_levenshtein(key, candidate) <= SLIPS) {
        Some(candidate) => format!("is not a key; did you mean `{candidate}`?"),
        None => "is not a key".to_owned(),
    }
}

/// Returns a key in a form that is safe to show: short and without control characters.
pub(super) fn printable(key: &str) -> String {
    const MOST: usize = 40;
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if key.len() <= MOST && !key.is_empty() && key.chars().all(plain) {
        return key.to_owned();
    }
    format!("\"{}\"", key.chars().take(MOST).flat_map(char::escape_debug).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelled_key_gets_a_suggestion() {
        assert_eq!(unknown("tokens", &["vault", "token"]), "is not a key; did you mean `token`?");
        assert_eq!(unknown("colour", &["vault", "token"]), "is not a key");
    }

    #[test]
    fn control_characters_of_an_unknown_key_are_not_printed() {
        assert_eq!(printable("a\u{1b}[31m\nb"), "\"a\\u{1b}[31m\\nb\"");
        assert!(printable(&"x".repeat(1000)).len() < 50);
    }

    #[test]
    fn a_problem_names_the_variable_that_caused_it() {
        let variables = BTreeMap::from([("http.listen".into(), "PERENNIAL__HTTP__LISTEN".into())]);
        let problems = Problems::new(variables);

        problems.note("http.listen", "is empty");

        assert_eq!(problems.into_vec()[0].to_string(), "http.listen (PERENNIAL__HTTP__LISTEN): is empty");
    }
}
