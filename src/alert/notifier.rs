//! Delivers alerts to sinks, with retries. `heartbeat` reports that this process is alive.
//!
//! This module owns one task per sink. In a loop, the task finds the due notifications and sends them. A failed message
//! stays due. A retry follows after a wait that doubles each time, or at the time that the receiver requested.
//!
//! Invariants: Perennial reads a sink's URL and key anew for each message, and never shows them. Messages are sent only
//! over TLS, except to loopback. Redirects are not followed.

mod answer;
mod heartbeat;
mod mail;
mod retries;

use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, HeaderValue};
use reqwest::{Method, Request};
use secrecy::ExposeSecret as _;
use secrecy::SecretString;
use serde_json::Value;
use tokio::time::Instant;
use tracing::{info, warn};

use self::answer::{GONE_WAIT, judged};
pub use self::answer::{Received, Refusal, Undelivered};
pub use self::heartbeat::{keep_beating, try_heartbeat};

use self::retries::Retries;
use crate::alert::forms;
use crate::alert::forms::SigningKey;
use crate::alert::rules::{EventKind, Notification, SinkState, test_message, was_undeliverable};
use crate::alert::sink::{Destination, Sink, SmtpServer};
use crate::net::address::{TargetUrl, TargetUrlError};
use crate::net::backoff::{doubled, equal_jitter, heed};
use crate::net::calls::{CallTarget, Calls};
use crate::net::http::{Http, exchange_unseen};
use crate::net::no_response::NoResponse;
use crate::process::clock::Timestamp;
use crate::status::board::StatusBoard;
use crate::status::condition::Severity;
use crate::status::sink_health::{Miss, undeliverable};
use crate::token::local_secret::read_local;
use crate::token::managed::Deployment;
use crate::token::secret::Source;

/// The timeout of one HTTP request. If the receiver answers later, the delivery counts as failed and is retried.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// Changes that occur within this time are sent in one message.
const SETTLES: Duration = Duration::from_millis(250);
/// The minimum time between two deliveries to a sink. One delivery may have several messages.
const PACE: Duration = Duration::from_secs(5);
/// The first wait after a failure.
const FIRST_WAIT: Duration = Duration::from_secs(2);
const LONGEST_WAIT: Duration = Duration::from_secs(10 * 60);
/// The maximum time between two reads of the status board. The notifier also reads the board without an event, because
/// time alone can start a condition.
const LOOK_EVERY: Duration = Duration::from_secs(5 * 60);
/// The maximum number of times that one delivery splits a rejected message.
const MOST_SPLITS: usize = 8;
/// At start-up, alerts wait until the board is ready, but at most this long. So the first message can contain the
/// alerts of all tokens.
const ALL_TRIED_WITHIN: Duration = Duration::from_secs(60);

/// Sends formatted messages to their receivers.
pub trait Carrier: Clone + Send + Sync + 'static {
    /// Sends a request to a receiver of kind `kind` and returns the response.
    fn post(
        &self,
        kind: &'static str,
        request: Request,
    ) -> impl Future<Output = Result<Received, NoResponse>> + Send;

    /// Sends a mail through a mail server.
    fn mail(
        &self,
        server: &SmtpServer,
        mail: forms::Mail,
    ) -> impl Future<Output = Result<(), Undelivered>> + Send;
}

/// Sends messages over HTTP and SMTP.
#[derive(Clone, Debug)]
pub struct Outbound {
    /// The HTTP client that all parts of the process share.
    pub http: Arc<Http>,
    /// The recorder that counts each call.
    pub calls: Arc<Calls>,
}

/// Sends notifications to one sink.
#[derive(Clone, Debug)]
pub struct Notifier<C = Outbound> {
    /// The sink that receives the notifications.
    pub sink: Sink,
    /// The deployment, whose instance and links appear in messages.
    pub here: Arc<Deployment>,
    /// Sends the messages over HTTP or SMTP.
    pub outbound: C,
}

impl<C: Carrier> Notifier<C> {
    /// Sends `changes` in one message. A sink that tracks incidents by id gets one message per change.
    ///
    /// # Errors
    /// The delivery failed, or it is unknown whether it succeeded.
    pub async fn send(&self, changes: &[Notification], now: Timestamp) -> Result<(), Undelivered> {
        let here = &*self.here;
        match &self.sink.to {
            Destination::Teams { url } => {
                let form = |most| forms::teams(changes, here, now, most);
                self.post_within(forms::TEAMS_BYTES, &address(url)?, form).await
            }
            Destination::Slack { url } => {
                let form = |most| forms::slack(changes, here, now, most);
                self.post_within(forms::SLACK_BYTES, &address(url)?, form).await
            }
            Destination::PagerDuty { routing_key, endpoint } => {
                let key = secret(routing_key)?;
                let url = endpoint.with_path(&["v2", "enqueue"]);
                for change in changes {
                    let event = forms::pagerduty(change, key.expose_secret(), here, now);
                    self.post_json(&url, &event).await?;
                }
                Ok(())
            }
            Destination::Webhook { url, signing_key } => {
                let url = address(url)?;
                let key = signing_key.as_ref().map(signing).transpose()?;
                for change in changes {
                    self.post_event(&url, key.as_ref(), change, now).await?;
                }
                Ok(())
            }
            Destination::Email(server) => self.outbound.mail(server, forms::mail(changes, here, now)).await,
        }
    }

    /// Sends a test message in the same way as any other message. If the test opens an incident at the receiver, a
    /// second message closes this incident.
    ///
    /// # Errors
    /// The delivery failed, or it is unknown whether it succeeded.
    pub async fn test(&self, now: Timestamp) -> Result<(), Undelivered> {
        let test = test_message(&self.sink.name, &self.here, now);
        self.send(std::slice::from_ref(&test), now).await?;
        if matches!(self.sink.to, Destination::PagerDuty { .. }) {
            self.send(&[Notification { what: EventKind::Resolved, ..test }], now).await?;
        }
        Ok(())
    }

    /// Sends a message of at most `most_bytes`. If the receiver rejects the message, sends a shorter message of at most
    /// `most_bytes / 4`.
    async fn post_within(
        &self,
        most_bytes: usize,
        url: &TargetUrl,
        form: impl Fn(usize) -> Value,
    ) -> Result<(), Undelivered> {
        let message = form(most_bytes);
        let Err(missed) = self.post_json(url, &message).await else { return Ok(()) };
        let smaller = missed.message_rejected.then(|| form(most_bytes / 4));
        match smaller.filter(|smaller| *smaller != message) {
            Some(smaller) => self.post_json(url, &smaller).await,
            None => Err(missed),
        }
    }

    async fn post_json(&self, url: &TargetUrl, body: &Value) -> Result<(), Undelivered> {
        let mut request = Request::new(Method::POST, url.clone().into());
        request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        *request.body_mut() = Some(body.to_string().into());
        self.exchange(request).await
    }

    /// Sends a `CloudEvents` event. With a key, adds the headers of Standard Webhooks 1.0 ("Webhook headers").
    async fn post_event(
        &self,
        url: &TargetUrl,
        key: Option<&SigningKey>,
        change: &Notification,
        now: Timestamp,
    ) -> Result<(), Undelivered> {
        const STRUCTURED: &str = "application/cloudevents+json; charset=utf-8";
        let body = forms::cloud_event(change, &self.here, now).to_string();
        let (id, seconds) = (change.id().to_string(), now.timestamp());
        let mut request = Request::new(Method::POST, url.clone().into());
        request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(STRUCTURED));
        if let Some(key) = key {
            let signature = key.signature(&id, seconds, &body);
            let headers = [
                ("webhook-id", id),
                ("webhook-timestamp", seconds.to_string()),
                ("webhook-signature", signature),
            ];
            for (name, value) in headers {
                let value = HeaderValue::try_from(value).expect("hexadecimal, digits and base64");
                request.headers_mut().insert(name, value);
            }
        }
        *request.body_mut() = Some(body.into());
        self.exchange(request).await
    }

    async fn exchange(&self, request: Request) -> Result<(), Undelivered> {
        judged(self.outbound.post(self.sink.to.as_str(), request).await)
    }
}

impl Carrier for Outbound {
    async fn post(&self, kind: &'static str, request: Request) -> Result<Received, NoResponse> {
        self.exchange((CallTarget::AlertSink, kind), request).await
    }

    async fn mail(&self, server: &SmtpServer, mail: forms::Mail) -> Result<(), Undelivered> {
        mail::send(server, mail, self).await
    }
}

impl Outbound {
    async fn exchange(
        &self,
        what: (CallTarget, &'static str),
        mut request: Request,
    ) -> Result<Received, NoResponse> {
        *request.timeout_mut() = Some(ANSWER_WITHIN);
        let answer = exchange_unseen(&self.http, &self.calls, what, request).await?;
        let refusal = answer.body.as_ref().and_then(|body| Refusal::in_body(body));
        Ok(Received { status: answer.status, retry_after: answer.retry_after(), refusal })
    }
}

fn secret(source: &Source) -> Result<SecretString, Undelivered> {
    read_local(source).map_err(|error| Undelivered::settled(error.to_string()))
}

fn signing(source: &Source) -> Result<SigningKey, Undelivered> {
    SigningKey::parse(secret(source)?.expose_secret()).map_err(Undelivered::settled)
}

fn address(source: &Source) -> Result<TargetUrl, Undelivered> {
    TargetUrl::parse(secret(source)?.expose_secret()).map_err(|error| {
        Undelivered::settled(match error {
            TargetUrlError::NotPrivate => "the URL must start with https://",
            TargetUrlError::UserInfo => "the URL must not contain a user name or a password",
        })
    })
}

/// Delivers alerts to one sink until canceled. `index` is the sink's index on the board.
pub async fn keep_told<C: Carrier>(courier: Notifier<C>, board: StatusBoard, index: usize) {
    let (sink, courier) = (courier.sink.clone(), Arc::new(courier));
    let send = move |changes: Vec<Notification>, now| {
        let courier = courier.clone();
        async move { courier.send(&changes, now).await }
    };
    keep_told_by(send, &sink, &board, index).await;
}

/// Delivers alerts with the given `send` function, so that tests can simulate days of deliveries.
pub async fn keep_told_by<S>(
    send: impl Fn(Vec<Notification>, Timestamp) -> S,
    sink: &Sink,
    board: &StatusBoard,
    index: usize,
) where
    S: Future<Output = Result<(), Undelivered>>,
{
    let mut news = board.subscribe_to_news();
    let all_tried = async {
        while !board.is_ready() {
            // `changed` cannot fail, because the board owns the sender and lives longer than this loop.
            let _news = news.changed().await;
        }
    };
    let _late = tokio::time::timeout(ALL_TRIED_WITHIN, all_tried).await;
    // `SinkState::new` needs the vault's time, which is unknown until Perennial has tried the tokens.
    let mut ledger = SinkState::new(sink.clone(), board.clock().now()).beside(board.deliveries().names());
    let mut retries = Retries::new();
    loop {
        inherit_trouble(board);
        news.mark_unchanged();
        let mut due = board.drawn(|snapshots, holding, now| ledger.due(snapshots, &holding, now));
        if due.is_empty()
            && let Some(since) = board.deliveries().troubled_since(index)
        {
            due.extend(board.read(|all| Some(works_again(sink, &all.first()?.grant.deployment, since))));
        }
        let next_at = retries.next_at(&due);
        let ready = retries.ready(due);
        if !ready.is_empty() {
            deliver(&send, sink, &ready, (board, index), (&mut ledger, &mut retries)).await;
            continue;
        }
        let now = board.clock().now();
        let by_time = ledger.next_at(now).map(|at| (at - now).to_std().unwrap_or_default());
        let by_time = Instant::now() + by_time.unwrap_or(LOOK_EVERY).min(LOOK_EVERY);
        let until = next_at.map_or(by_time, |at| at.min(by_time));
        tokio::select! {
            () = tokio::time::sleep_until(until) => {}
            _ = news.changed() => tokio::time::sleep(SETTLES).await,
        }
    }
}

/// Sends messages and records the deliveries. After any failure except a rejection, the remaining messages wait.
async fn deliver<S>(
    send: &impl Fn(Vec<Notification>, Timestamp) -> S,
    sink: &Sink,
    ready: &[Notification],
    (board, index): (&StatusBoard, usize),
    (ledger, retries): (&mut SinkState, &mut Retries),
) where
    S: Future<Output = Result<(), Undelivered>>,
{
    let Sink { name, to, .. } = sink;
    let at_once = if to.keeps_incidents() { 1 } else { ready.len() };
    let mut failed: Option<Undelivered> = None;
    let mut left: Vec<&Notification> = Vec::new();
    let mut splits = 0;
    let mut messages: Vec<&[Notification]> = ready.chunks(at_once).rev().collect();
    while let Some(message) = messages.pop() {
        if failed.as_ref().is_some_and(|missed| !missed.message_rejected) {
            left.extend(message);
            continue;
        }
        let now = board.clock().now();
        match send(message.to_vec(), now).await {
            Ok(()) => {
                board.deliveries().delivered(index);
                retries.delivered(message);
                for change in message {
                    let Notification { what, condition, .. } = change;
                    info!(event = "alert_delivered", sink = %name, what = what.as_str(),
                        kind = condition.kind.as_str(), cause = %condition.cause, id = %condition.id);
                    ledger.note(change, now);
                    let mark = ledger.mark(condition.id);
                    if *what == EventKind::Resolved {
                        board.told().forget(mark);
                    } else {
                        board.note_told(mark, &condition.tokens);
                    }
                }
            }
            // The message may be too long, or the receiver may reject the message because of a single change. So the
            // message is split.
            Err(missed) if missed.message_rejected && message.len() > 1 && splits < MOST_SPLITS => {
                splits += 1;
                let (first, second) = message.split_at(message.len() / 2);
                messages.extend([second, first]);
            }
            Err(missed) => {
                warn!(event = "alert_undelivered", sink = %name, changes = message.len(), reason = %missed.why);
                retries.missed(message, &missed);
                left.extend(message);
                failed = Some(missed);
            }
        }
    }
    let Some(missed) = failed else {
        if !retries.has_refused() {
            board.all_delivered(index);
        }
        return;
    };
    let is_critical = |change: &&Notification| {
        change.what != EventKind::Resolved && change.condition.severity == Severity::Critical
    };
    let severity = if left.iter().any(is_critical) { Severity::Critical } else { Severity::Warning };
    board.missed(index, Miss { why: missed.why, permanent: missed.permanent, severity });
}

/// Adopts the sink failures that the previous process reported. This must happen before `SinkState::due`, which would
/// otherwise report these failures as cleared.
fn inherit_trouble(board: &StatusBoard) {
    let sinks = board.deliveries().names();
    let was_told = |sink: &str| board.read(|snapshots| was_undeliverable(sink, snapshots, &sinks));
    let troubled = (0..sinks.len()).filter(|place| was_told(&sinks[*place]));
    troubled.for_each(|place| board.inherit_trouble(place));
}

/// Creates a resolved notification about the sink's own failed deliveries. No other notification is due, because the
/// conditions of the undelivered messages have ended. Only a successful delivery shows that the sink works again.
fn works_again(sink: &Sink, here: &Deployment, since: Timestamp) -> Notification {
    let why = "the undelivered messages were about problems that have ended";
    let condition = undeliverable(&sink.name, here, why, (Severity::Warning, since));
    Notification { what: EventKind::Resolved, condition, lasted: None, day: 0 }
}

fn wait(attempts: u32, missed: &Undelivered, sample: f64) -> Duration {
    let span = doubled(FIRST_WAIT, LONGEST_WAIT, attempts as usize);
    heed(equal_jitter(span, sample), missed.after, GONE_WAIT)
}

#[cfg(test)]
mod tests;
