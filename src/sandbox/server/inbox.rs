//! The inbox receives alerts, and shows each alert as plain text.
//!
//! The inbox accepts heartbeats and the messages of the sinks `teams`, `slack`, `webhook` and `pagerduty`. The inbox
//! rejects a message only if the body does not match the kind of sink in the URL. The inbox writes nothing to disk.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use serde_json::Value;

use super::{Routes, SandboxState, shown};
use crate::process::text;

/// The largest number of messages that the inbox keeps. Older messages are dropped.
const MOST: usize = 100;

/// The received messages.
#[derive(Debug, Default)]
pub(super) struct Inbox(Mutex<VecDeque<String>>);

impl Inbox {
    fn put(&self, message: String) {
        let mut messages = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        messages.push_back(message);
        let more = messages.len().saturating_sub(MOST);
        messages.drain(..more);
    }

    fn show(&self) -> String {
        let messages = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match messages.len() {
            0 => "The inbox is empty.\n".to_owned(),
            _ => messages.iter().cloned().collect::<Vec<_>>().join("\n"),
        }
    }

    fn empty(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

pub(super) fn routes() -> Routes {
    Router::new()
        .route("/_sandbox/inbox", get(show).delete(empty))
        .route("/_sandbox/inbox/{kind}", post(receive))
        .route("/v2/enqueue", post(receive_event))
}

async fn show(State(shared): State<Arc<SandboxState>>) -> String {
    shared.inbox.show()
}

async fn empty(State(shared): State<Arc<SandboxState>>) -> String {
    shared.inbox.empty();
    shared.inbox.show()
}

async fn receive_event(State(shared): State<Arc<SandboxState>>, body: Bytes) -> (StatusCode, &'static str) {
    take(&shared, "pagerduty", &body)
}

async fn receive(
    State(shared): State<Arc<SandboxState>>,
    Path(kind): Path<String>,
    body: Bytes,
) -> (StatusCode, &'static str) {
    take(&shared, &kind, &body)
}

fn take(shared: &SandboxState, kind: &str, body: &[u8]) -> (StatusCode, &'static str) {
    let text = match kind {
        "heartbeat" => Some(String::from_utf8_lossy(body).into_owned()),
        _ => serde_json::from_slice(body).ok().and_then(|body| read(kind, &body)),
    };
    let Some(text) = text else {
        return (StatusCode::BAD_REQUEST, "the body does not match the kind of sink in the URL\n");
    };
    let lines: Vec<String> = text.lines().map(|line| format!("  {}", text::defused(line))).collect();
    shared.inbox.put(format!("{} {kind}\n{}\n", shown(shared.world.now()), lines.join("\n")));
    (StatusCode::ACCEPTED, "ok")
}

/// Returns the text that a reader of the alert sees. `None` if the body does not match the kind of sink.
fn read(kind: &str, body: &Value) -> Option<String> {
    match kind {
        "teams" => {
            let card = &body["attachments"][0]["content"]["body"];
            let parts = card.as_array()?.iter().flat_map(|part| match part["facts"].as_array() {
                Some(facts) => facts
                    .iter()
                    .map(|fact| format!("{}: {}", word(&fact["title"]), word(&fact["value"])))
                    .collect(),
                None => vec![word(&part["text"]).to_owned()],
            });
            Some(parts.collect::<Vec<_>>().join("\n"))
        }
        "slack" => {
            let blocks = body["blocks"].as_array()?.iter();
            let texts: Vec<String> =
                blocks.map(|block| word(&block["text"]["text"]).replace('*', "")).collect();
            Some(texts.join("\n"))
        }
        "webhook" => {
            let (data, condition) = (&body["data"], &body["data"]["condition"]);
            let title = data["title"].as_str()?;
            let (summary, action) = (word(&condition["summary"]), word(&condition["action"]));
            Some(format!("{}: {title}\nWhat: {summary}\nWhat to do: {action}", word(&data["what"])))
        }
        "pagerduty" => {
            let action = body["event_action"].as_str()?;
            let (key, summary) = (word(&body["dedup_key"]), word(&body["payload"]["summary"]));
            Some(format!("{action} {key}\n{summary}"))
        }
        _ => None,
    }
}

fn word(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_kind_of_message_is_shown_as_people_read_it() {
        let fact = json!({"title": "What to do", "value": "sign in"});
        let card =
            json!([{"type": "TextBlock", "text": "Critical: x"}, {"type": "FactSet", "facts": [fact]}]);
        let teams = json!({"attachments": [{"content": {"body": card}}]});
        let slack = json!({"blocks": [{"text": {"text": "*Critical: x*"}}, {"text": {"text": "*What to do:* sign in"}}]});
        let event =
            json!({"data": {"what": "opened", "title": "x", "condition": {"summary": "s", "action": "a"}}});
        let page =
            json!({"event_action": "trigger", "dedup_key": "k", "payload": {"summary": "Critical: x"}});
        for (kind, body, text) in [
            ("teams", &teams, Some("Critical: x\nWhat to do: sign in")),
            ("slack", &slack, Some("Critical: x\nWhat to do: sign in")),
            ("webhook", &event, Some("opened: x\nWhat: s\nWhat to do: a")),
            ("pagerduty", &page, Some("trigger k\nCritical: x")),
            ("teams", &event, None),
            ("fax", &event, None),
        ] {
            assert_eq!(read(kind, body).as_deref(), text, "{kind}");
        }
    }

    #[test]
    fn only_the_newest_messages_are_kept() {
        let inbox = Inbox::default();
        assert_eq!(inbox.show(), "The inbox is empty.\n");
        (0..150).for_each(|nth| inbox.put(format!("<{nth}>")));
        assert!(inbox.show().contains("<149>") && !inbox.show().contains("<49>"));
        inbox.empty();
        assert_eq!(inbox.show(), "The inbox is empty.\n");
    }
}
