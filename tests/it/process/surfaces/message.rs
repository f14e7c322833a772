//! Converts a Slack message to a section of docs/messages.md. Placeholders such as TIME replace the values that differ
//! from run to run.

use serde_json::Value;

/// Returns the section about one kind of condition.
pub(super) fn section(kind: &str, slack: &str) -> String {
    let message: Value = serde_json::from_str(slack).expect("JSON");
    let mut lines = Vec::new();
    texts(&message["blocks"], &mut lines);
    let lines: Vec<String> = lines.iter().map(|line| steady(line)).collect();
    format!("## {kind}\n\n```text\n{}\n```\n\n", lines.join("\n"))
}

fn texts(value: &Value, lines: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            if let Some(text) = fields.get("text").and_then(Value::as_str) {
                lines.extend(text.lines().map(str::to_owned));
            }
            fields.values().for_each(|value| texts(value, lines));
        }
        Value::Array(values) => values.iter().for_each(|value| texts(value, lines)),
        _ => {}
    }
}

/// Returns the line with a placeholder for each value that differs from run to run.
fn steady(line: &str) -> String {
    let line = line.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&");
    for (label, placeholder) in [("*Since:* ", "TIME"), ("*Instance:* ", "HOST"), ("*Time left:* ", "SPAN")] {
        if let Some(value) = line.strip_prefix(label) {
            let value = if value.starts_with("none") { value } else { placeholder };
            return format!("{label}{value}");
        }
    }
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == ':';
    let mut steady = String::new();
    for piece in line.split_inclusive(|c| !is_part(c)) {
        let word = piece.trim_end_matches(|c| !is_part(c)).trim_end_matches(':');
        steady.push_str(placeholder(word));
        steady.push_str(&piece[word.len()..]);
    }
    steady
}

fn placeholder(word: &str) -> &str {
    let digits = |text: &str| text.bytes().filter(u8::is_ascii_digit).count();
    if uuid::Uuid::try_parse(word).is_ok() {
        if word.len() == 36 { "GUID" } else { "VERSION" }
    } else if word.starts_with("localhost:") {
        "localhost"
    } else if word.len() == 10 && word.matches('-').count() == 2 && digits(word) == 8 {
        "DATE"
    } else if word.ends_with('Z') && digits(word) >= 14 {
        "TIME"
    } else {
        word
    }
}
