//! A message as docs/messages.md shows it: what differs from run to run has the value of an example.

use serde_json::Value;

/// The section of one kind.
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

fn steady(line: &str) -> String {
    line.to_owned()
}
