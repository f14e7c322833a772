//! Splits an action into clauses and its commands into words. Parses the options, dates and times of a command.

use std::collections::BTreeMap;

use chrono::NaiveDate;
use perennial::process::clock::Timestamp;

use super::hands::Told;

/// The options of a command.
pub(super) struct Flags(BTreeMap<String, String>);

impl Flags {
    pub(super) fn of(words: &[String]) -> Self {
        let mut flags: BTreeMap<String, String> = BTreeMap::new();
        let mut last = None;
        for word in words {
            match (word.strip_prefix("--"), &last) {
                (Some(flag), _) => {
                    flags.insert(flag.to_owned(), String::new());
                    last = Some(flag.to_owned());
                }
                (None, Some(flag)) => {
                    let value = flags.get_mut(flag).expect("inserted");
                    if !value.is_empty() {
                        value.push(' ');
                    }
                    value.push_str(word);
                }
                (None, None) => {}
            }
        }
        Self(flags)
    }

    pub(super) fn is(&self, flag: &str, value: &str) -> bool {
        self.0.get(flag).is_some_and(|given| given == value)
    }

    pub(super) fn take(&mut self, flag: &str) -> Told<String> {
        self.0.remove(flag).ok_or_else(|| format!("--{flag} is missing"))
    }

    pub(super) fn expect(&mut self, wanted: &[(&str, &str)]) -> Told<()> {
        for (flag, value) in wanted {
            let given = self.take(flag)?;
            if given != *value {
                return Err(format!("--{flag} is {given:?}, not {value:?}"));
            }
        }
        Ok(())
    }

    pub(super) fn nothing_left(self) -> Told<()> {
        if self.0.is_empty() { Ok(()) } else { Err(format!("more options: {:?}", self.0)) }
    }
}

/// Returns the words of a command. A variable or a placeholder is an error.
pub(super) fn words(command: &str) -> Told<Vec<String>> {
    let (mut words, mut word, mut quote) = (Vec::new(), String::new(), None);
    for letter in command.chars().chain([' ']) {
        match (letter, quote) {
            ('"', Some('"')) if word.ends_with('\\') => {
                word.pop();
                word.push('"');
            }
            ('"' | '\'', None) => quote = Some(letter),
            (_, Some(open)) if letter == open => quote = None,
            (' ', None) if word.is_empty() => {}
            (' ', None) => words.push(std::mem::take(&mut word)),
            _ => word.push(letter),
        }
    }
    let is_blank = |word: &&String| {
        word.len() > 2 && word.chars().all(|letter| letter.is_ascii_uppercase() || letter == '_')
    };
    let open = words.iter().find(|word| word.contains(['$', '<']) && !word.starts_with("$("));
    match words.iter().find(is_blank).or(open) {
        Some(word) => Err(format!("{word:?} is left open in {command:?}")),
        None => Ok(words),
    }
}

/// Returns the parts of an action, each with its commands.
pub(super) fn clauses(action: &str) -> Vec<String> {
    let mut is_command = false;
    let mut clauses = vec![String::new()];
    for part in action.split_inclusive("; ") {
        let clause = clauses.last_mut().expect("one at least");
        clause.push_str(part);
        is_command ^= part.matches('`').count() % 2 == 1;
        if !is_command {
            clauses.push(String::new());
        }
    }
    let trimmed = clauses.iter().map(|clause| clause.trim_end_matches("; ").to_owned());
    trimmed.filter(|clause| !clause.is_empty()).collect()
}

pub(super) fn between<'a>(text: &'a str, before: &str, after: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(before)?;
    Some(rest.split_once(after).map_or(rest, |(found, _)| found))
}

/// Parses a time in the only form that the Azure CLI accepts: whole seconds in UTC.
pub(super) fn time(text: &str) -> Told<Timestamp> {
    let read = chrono::NaiveDateTime::parse_from_str(text, "%Y-%m-%dT%H:%M:%SZ");
    read.map(|time| time.and_utc()).map_err(|_| format!("{text} is not a time"))
}

pub(super) fn midnight(text: &str) -> Told<Timestamp> {
    let day: NaiveDate = text.parse().map_err(|_| format!("{text} is not a day"))?;
    time(&format!("{day}T00:00:00Z"))
}
