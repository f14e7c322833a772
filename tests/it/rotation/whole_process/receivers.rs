//! The simulated receivers of alerts. They accept messages and can fail in several ways.
//!
//! A pager and a webhook keep incidents by the ids in the messages. A mailbox is read by people, who identify an
//! incident by its title and its tokens.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use chrono::TimeDelta;
use perennial::alert::forms::Mail;
use perennial::alert::notifier::{Carrier, Received, Undelivered};
use perennial::alert::sink::{Destination, Sink, SmtpServer};
use perennial::net::address::TargetUrl;
use perennial::net::no_response::NoResponse;
use perennial::process::clock::Timestamp;
use perennial::sandbox::world::World;
use perennial::status::condition::Severity;
use perennial::token::secret::Source;
use reqwest::Request;
use serde_json::Value;

/// A receiver's behavior.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mood {
    Works,
    Silent,
    Throttles(Option<u64>),
    Broken,
    /// The receiver rejects all messages until the address is corrected.
    Unknown,
    /// The receiver answers with the status 410 (Gone).
    Gone,
}

impl Mood {
    /// Returns the longest time for which a sink waits after an answer of this kind.
    fn waits(self) -> TimeDelta {
        match self {
            Self::Works => TimeDelta::zero(),
            Self::Silent | Self::Broken | Self::Unknown => TimeDelta::minutes(10),
            Self::Throttles(_) => TimeDelta::hours(1),
            Self::Gone => TimeDelta::days(1),
        }
    }
}

/// An open incident at a pager or at a webhook's receiver.
#[derive(Clone, Debug)]
pub(super) struct Incident {
    pub(super) kind: String,
    /// The names of tokens in the last message. A message about many tokens names only some of them.
    pub(super) tokens: Vec<String>,
    /// The number (`Running::start`) of the process that last reported the incident.
    pub(super) told_by: u64,
    pub(super) told_at: Timestamp,
    /// Whether the process in `told_by` must have marked the incident in the vault by now.
    pub(super) is_marked: bool,
    /// Whether the incident was reported as flapping. In that case, its end is reported an hour later.
    pub(super) is_flapping: bool,
    /// When the incident's condition was last current.
    pub(super) held_at: Timestamp,
}

pub(super) struct Inbox {
    mood: Mood,
    /// The latest time until which a sink may wait after a failure of the receiver.
    pub(super) sure_from: Timestamp,
    /// The open incidents by their ids.
    pub(super) open: BTreeMap<String, Incident>,
    /// The mails of the last days, each with its time and its text.
    pub(super) mails: Vec<(Timestamp, String)>,
    pub(super) messages: u64,
}

/// One receiver, which any process can use.
#[derive(Clone)]
pub(super) struct Receiver {
    pub(super) name: &'static str,
    world: World,
    inbox: Arc<Mutex<Inbox>>,
}

impl Receiver {
    pub(super) fn new(name: &'static str, world: &World) -> Self {
        let inbox = Inbox {
            mood: Mood::Works,
            sure_from: world.now(),
            open: BTreeMap::new(),
            mails: Vec::new(),
            messages: 0,
        };
        Self { name, world: world.clone(), inbox: Arc::new(Mutex::new(inbox)) }
    }

    pub(super) fn inbox(&self) -> MutexGuard<'_, Inbox> {
        self.inbox.lock().expect("not poisoned")
    }

    pub(super) fn set_mood(&self, mood: Mood) {
        let mut inbox = self.inbox();
        let sure_from = self.world.now() + inbox.mood.waits().max(mood.waits());
        inbox.sure_from = inbox.sure_from.max(sure_from);
        inbox.mood = mood;
    }

    pub(super) fn works(&self) -> bool {
        let inbox = self.inbox();
        inbox.mood == Mood::Works && inbox.sure_from <= self.world.now()
    }

    /// Returns the sink for this receiver. The sink reads addresses and keys from `secret` at each use.
    pub(super) fn sink(&self, secret: &Source) -> Sink {
        let to = match self.name {
            "pager" => Destination::PagerDuty {
                routing_key: secret.clone(),
                endpoint: TargetUrl::parse("https://events.pagerduty.com").expect("a URL"),
            },
            "desk" => Destination::Webhook { url: secret.clone(), signing_key: Some(secret.clone()) },
            _ => Destination::Email(SmtpServer {
                host: "mail.example".into(),
                port: 465,
                tls_first: true,
                from: "perennial@example.org".into(),
                to: vec!["people@example.org".into()],
                login: None,
            }),
        };
        Sink { name: self.name.into(), to, min_severity: Severity::Warning, tokens: Vec::new() }
    }

    /// Returns `Ok` if the receiver accepts messages now. Otherwise, returns the receiver's answer to any message.
    fn greets(&self) -> Result<(), Result<Received, NoResponse>> {
        let answer = |status, retry_after| Err(Ok(Received { status, retry_after, refusal: None }));
        let mut inbox = self.inbox();
        inbox.sure_from = inbox.sure_from.max(self.world.now() + inbox.mood.waits());
        match inbox.mood {
            Mood::Works => Ok(()),
            Mood::Silent => Err(Err(NoResponse::TimedOut)),
            Mood::Throttles(after) => answer(429, after.map(Duration::from_secs)),
            Mood::Broken => answer(500, None),
            Mood::Unknown => answer(404, None),
            Mood::Gone => answer(410, None),
        }
    }
}

/// The connection of one process to a receiver.
#[derive(Clone)]
pub(super) struct Link {
    pub(super) to: Receiver,
    pub(super) start: u64,
}

impl Link {
    /// Handles a message. A pager reads the incident's id and its end from `dedup_key` and `event_action`
    /// (docs/azure-facts.md F503). A webhook's receiver reads both from the event's `data`.
    fn take(&self, kind: &str, body: &Value) {
        let texts = |names: &Value| -> Vec<String> {
            names.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
        };
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let (id, over, tokens, kind) = if kind == "pagerduty" {
            let payload = &body["payload"];
            let names = text(&payload["custom_details"]["tokens"]);
            let names = names.split(", ").filter(|name| !name.is_empty()).map(str::to_owned).collect();
            let over = body["event_action"] == "resolve";
            (text(&body["dedup_key"]), over, names, text(&payload["class"]))
        } else {
            let condition = &body["data"]["condition"];
            let over = body["data"]["what"] == "resolved";
            (text(&condition["id"]), over, texts(&condition["tokens"]), text(&condition["kind"]))
        };
        let is_flapping = if body["data"].is_null() {
            !body["payload"]["custom_details"]["flapping"].is_null()
        } else {
            body["data"]["what"] == "flapping"
        };
        let told_at = self.to.world.now();
        let mut inbox = self.to.inbox();
        inbox.messages += 1;
        if over {
            inbox.open.remove(&id);
        } else {
            let is_marked = inbox.open.get(&id).is_some_and(|known| known.is_marked);
            let told_by = self.start;
            let held_at = told_at;
            inbox
                .open
                .insert(id, Incident { kind, tokens, told_by, told_at, is_marked, is_flapping, held_at });
        }
    }
}

impl Carrier for Link {
    async fn post(&self, kind: &'static str, request: Request) -> Result<Received, NoResponse> {
        tokio::time::sleep(Duration::from_millis(300)).await;
        if let Err(answer) = self.to.greets() {
            return answer;
        }
        let body = request.body().and_then(reqwest::Body::as_bytes).unwrap_or_default();
        let body: Value = serde_json::from_slice(body).expect("JSON is what was rendered");
        self.take(kind, &body);
        Ok(Received { status: 202, retry_after: None, refusal: None })
    }

    async fn mail(&self, _: &SmtpServer, mail: Mail) -> Result<(), Undelivered> {
        tokio::time::sleep(Duration::from_millis(300)).await;
        if let Err(answer) = self.to.greets() {
            let permanent = matches!(answer, Ok(Received { status: 404 | 410, .. }));
            return Err(Undelivered {
                permanent,
                ..Undelivered::passing("the mail server does not take it")
            });
        }
        let now = self.to.world.now();
        let mut inbox = self.to.inbox();
        inbox.messages += 1;
        inbox.mails.retain(|(at, _)| *at + TimeDelta::hours(30) > now);
        inbox.mails.push((now, mail.text));
        Ok(())
    }
}
