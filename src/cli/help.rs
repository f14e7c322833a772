//! `perennial help TOPIC`: explains exit codes, environment variables, conditions, states and metrics.

use std::fmt::Write as _;

use crate::ports::failure::Kind;
use crate::serve::metrics::METRICS;
use crate::status::snapshot::TokenState;

/// The exit codes. Each command's help ends with this text.
pub const EXIT_CODES: &str = "\
Exit codes:
  0   done
  1   failed; trying again may help
  2   wrong arguments
  3   a person must sign in
  4   an administrator must act: app credential, role, policy or network
  78  the configuration is wrong

If several codes apply, the command ends with 3 rather than 4, and with
4 rather than 1. `status --monitor` has the codes of monitoring plugins:
0 healthy, 1 warning, 2 critical, 3 unknown.
";

/// The environment variables that every command uses.
pub const ENVIRONMENT: &str = "\
Environment:
  PERENNIAL_CONFIG          the configuration file
  PERENNIAL__SECTION__KEY   overrides a key of the file, except in [[...]]
  RUST_LOG                  the log level, for example perennial=debug
  NO_COLOR, TERM=dumb       no colors
  HTTPS_PROXY, NO_PROXY     the proxy, and the hosts that bypass it
";

/// The name of a topic and the function that returns its text.
type Topic = (&'static str, fn() -> String);

/// All help topics.
pub const TOPICS: [Topic; 5] = [
    ("exit-codes", || EXIT_CODES.to_owned()),
    ("environment", || ENVIRONMENT.to_owned()),
    ("conditions", conditions),
    ("states", states),
    ("metrics", metrics),
];

/// Returns the text of the requested topic. Returns `None` if the words do not request a topic.
pub fn asked(words: &[String]) -> Option<String> {
    let [help, topic] = words else { return None };
    if help != "help" {
        return None;
    }
    if matches!(topic.as_str(), "--help" | "-h" | "topics") {
        let names: Vec<&str> = TOPICS.iter().map(|(name, _)| *name).collect();
        return Some(format!(
            "Usage: perennial help [COMMAND | TOPIC]\n\nTopics: {}\nCommands: see `perennial --help`\n",
            names.join(", ")
        ));
    }
    TOPICS.iter().find(|(name, _)| name == topic).map(|(_, text)| text())
}

fn conditions() -> String {
    let mut text = "The names of conditions in alerts, metrics and `status --json`:\n".to_owned();
    for kind in Kind::ALL {
        line(&mut text, kind.as_str(), kind.title());
    }
    text + "\nThe runbook has a section for each condition: docs/runbook.md\n"
}

fn states() -> String {
    let mut text = "States of a token:\n".to_owned();
    for state in TokenState::ALL {
        line(&mut text, state.as_str(), meaning(state));
    }
    text
}

fn meaning(state: TokenState) -> &'static str {
    match state {
        TokenState::Current => "Entra and Partner Center accepted the token",
        TokenState::Unsaved => "the new token is not saved in Key Vault yet",
        TokenState::NeedsLogin => "a person must sign in",
        TokenState::NeedsOperator => "an administrator must act",
        TokenState::PartnerCenterRefused => "Partner Center rejects the access token",
        TokenState::Expired => "expired: a person must sign in",
        TokenState::Off => "the newest version in Key Vault is disabled",
        TokenState::Unknown => "the last proof is older than twice prove_every",
    }
}

fn metrics() -> String {
    let mut text = "Metrics, with their labels:\n".to_owned();
    for metric in METRICS {
        let labels = metric.labels.join(", ");
        write_to(&mut text, &format!("  {} {{{labels}}}\n", metric.name));
        for words in wrapped(metric.help, 72) {
            write_to(&mut text, &format!("      {words}\n"));
        }
    }
    text
}

fn line(text: &mut String, name: &str, meaning: &str) {
    let mut name = name;
    for words in wrapped(meaning, 50) {
        write_to(text, &format!("  {name:<26} {words}\n"));
        name = "";
    }
}

/// Breaks a text into lines of at most `most` characters.
fn wrapped(text: &str, most: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= most => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

fn write_to(text: &mut String, more: &str) {
    text.write_str(more).expect("writing to a string never fails");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(words: &[&str]) -> Option<String> {
        asked(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn each_topic_fits_eighty_columns_and_names_everything() {
        for (topic, sign) in [
            ("exit-codes", "78"),
            ("environment", "PERENNIAL_CONFIG"),
            ("conditions", "login_required"),
            ("states", "partner_center_refused"),
            ("metrics", "perennial_tokens"),
            ("--help", "exit-codes, environment, conditions, states, metrics"),
        ] {
            let text = ask(&["help", topic]).expect(topic);
            assert!(text.contains(sign), "{topic}: {text}");
            for line in text.lines() {
                assert!(line.chars().count() <= 80, "{topic}: {line}");
            }
        }
        assert_eq!([ask(&["help", "run"]), ask(&["help"]), ask(&["status", "states"])], [None, None, None]);
    }
}
