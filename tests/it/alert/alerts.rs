//! Tests the messages of each kind of sink, field by field, and what each receiver's answers mean.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::TimeDelta;
use perennial::alert::notifier::{Notifier, Outbound};
use perennial::alert::rules::{EventKind, Notification};
use perennial::alert::sink::{Destination, Sink};
use perennial::net::address::{Roots, TargetUrl};
use perennial::net::calls::Calls;
use perennial::net::http::Http;
use perennial::ports::failure::{Kind, Remedy, Trace};
use perennial::process::clock::Timestamp;
use perennial::status::condition::{Cause, Condition, Severity};
use perennial::token::managed::Deployment;
use perennial::token::secret::{SecretAddress, SecretName, Source};
use serde_json::{Value, json};

use crate::support::harness::Scratch;
use crate::support::inbox::Inbox;

fn now() -> Timestamp {
    "2026-03-08T10:00:00Z".parse().expect("a time")
}

/// A directory with secret files, like those that an operator would mount.
struct Secrets(Scratch);

impl Secrets {
    fn new() -> Self {
        let dir = Scratch::new();
        std::fs::create_dir_all(&dir.0).expect("a directory of our own");
        Self(dir)
    }

    fn put(&self, name: &str, content: &str) -> Source {
        let path = self.0.0.join(name);
        std::fs::write(&path, content).expect("writable");
        Source::File(path)
    }
}

fn courier(to: Destination) -> Notifier {
    let http = Arc::new(Http::new(Roots::System, false).expect("a client"));
    let sink = Sink { name: "s".into(), to, min_severity: Severity::Warning, tokens: Vec::new() };
    Notifier { sink, here: here().into(), outbound: Outbound { http, calls: Arc::new(Calls::default()) } }
}

/// A deployment with an instance name, a runbook and a status page.
fn here() -> Deployment {
    Deployment {
        runbook_url: Some("https://wiki.example/runbook".into()),
        page_url: Some("https://status.example/".into()),
        ..Deployment::new(
            "https://login.microsoftonline.com/",
            "primary, Köln",
            "https://contoso.vault.azure.net/secrets/contoso",
        )
    }
}

fn endpoint(inbox: &Inbox) -> TargetUrl {
    TargetUrl::parse(&inbox.url("")).expect("a URL of this machine")
}

fn refused(token: &str) -> Condition {
    let name = SecretName::parse(token).expect("a name");
    let cause = Cause::token(&SecretAddress { vault: "https://contoso.vault.azure.net".into(), name });
    let since = now() - TimeDelta::hours(3);
    Condition {
        tokens: vec![token.to_owned()],
        runway_seconds: Some(0),
        owners: vec!["Ann, +49 30 1234".into()],
        trace: Trace { trace_id: Some("0ed4b3a5-1b4c-4a5e-8a6f-0123456789ab".into()), ..Trace::of(50173) },
        ..Condition::new(Kind::LoginRequired, &cause, (Severity::Critical, Remedy::Login), since)
    }
    .with_texts("the issuer refused: <invalid_grant> & more (AADSTS50173)".into(), "sign in again".into())
}

fn change(what: EventKind, token: &str) -> Notification {
    Notification { what, condition: refused(token), lasted: None, day: 0 }
}

#[tokio::test]
async fn teams_gets_an_adaptive_card_with_cause_and_action() {
    let (inbox, secrets) = (Inbox::open().await, Secrets::new());
    let url = secrets.put("url", &inbox.url("/workflows/x/triggers/manual/paths/invoke?sig=abc\n"));

    courier(Destination::Teams { url })
        .send(&[change(EventKind::Opened, "contoso")], now())
        .await
        .expect("sent");

    let [letter] = inbox.letters().try_into().expect("one");
    assert_eq!(letter.line, "POST /workflows/x/triggers/manual/paths/invoke?sig=abc");
    assert_eq!(letter.header("content-type"), "application/json");
    let body = letter.json();
    assert_eq!(body["type"], "message");
    let attachment = &body["attachments"][0];
    assert_eq!(attachment["contentType"], "application/vnd.microsoft.card.adaptive");
    assert_eq!(attachment["contentUrl"], Value::Null);
    let card = &attachment["content"];
    assert_eq!(card["$schema"], "http://adaptivecards.io/schemas/adaptive-card.json");
    assert_eq!((&card["type"], &card["version"]), (&json!("AdaptiveCard"), &json!("1.2")));
    assert_eq!(card["msteams"], json!({"width": "full"}));
    assert_eq!(
        card["body"][0],
        json!({"type": "TextBlock", "text": "Critical: Sign-in required (contoso)",
            "weight": "Bolder", "size": "Medium", "wrap": true, "style": "heading", "color": "Attention"})
    );
    let fact = |title: &str, value: &str| json!({"title": title, "value": value});
    assert_eq!(
        card["body"][1],
        json!({"type": "FactSet", "facts": [
            fact("Tokens", "contoso"),
            fact("What", "the issuer refused: <invalid_grant> & more (AADSTS50173)"),
            fact("Since", "2026-03-08 07:00 UTC (3 h ago)"),
            fact("Time left", "none: no access token can be obtained"),
            fact("Who can fix it", "anyone who can sign in as the integration user"),
            fact("Owner", "Ann, +49 30 1234"),
            fact("What to do", "sign in again"),
            fact("Instance", "primary, Köln"),
            fact("Status page", "https://status.example/"),
            fact("Runbook", "https://wiki.example/runbook#login_required"),
            fact("For support", "AADSTS50173, trace 0ed4b3a5-1b4c-4a5e-8a6f-0123456789ab"),
        ]})
    );
}

#[tokio::test]
async fn a_digest_is_one_card_that_teams_accepts() {
    let (inbox, secrets) = (Inbox::open().await, Secrets::new());
    let url = secrets.put("url", &inbox.url("/t"));
    let names: Vec<String> = (0..300).map(|n| format!("customer-{n}")).collect();
    let mut changes: Vec<Notification> = names.iter().map(|name| change(EventKind::Opened, name)).collect();
    for change in &mut changes {
        change.condition.tokens.clone_from(&names);
        change.condition.summary = "x".repeat(5000);
    }
    changes.push(change(EventKind::Resolved, "fabrikam"));

    courier(Destination::Teams { url }).send(&changes, now()).await.expect("sent");

    let [letter] = inbox.letters().try_into().expect("one");
    assert!(letter.body.len() < 28 * 1024, "{} bytes", letter.body.len());
    let body = &letter.json()["attachments"][0]["content"]["body"];
    assert_eq!(body[0]["text"], "Perennial: 300 critical, 1 resolved");
    let last = body.as_array().and_then(|all| all.last()).expect("a body");
    assert_eq!(last["text"], "and 291 more: see https://status.example/");
}

#[tokio::test]
async fn slack_gets_a_text_for_the_notification_and_blocks_with_three_letters_escaped() {
    let (inbox, secrets) = (Inbox::open().await, Secrets::new());
    let url = secrets.put("url", &inbox.url("/services/T/B/x"));

    let changes = [change(EventKind::Opened, "contoso")];
    courier(Destination::Slack { url }).send(&changes, now()).await.expect("sent");

    let [letter] = inbox.letters().try_into().expect("one");
    assert_eq!(
        (letter.line.as_str(), letter.header("content-type")),
        ("POST /services/T/B/x", "application/json")
    );
    let body = letter.json();
    assert_eq!(body["text"], "Critical: Sign-in required (contoso)");
    let blocks = body["blocks"].as_array().expect("blocks");
    assert_eq!(blocks.len(), 2);
    assert_eq!((&blocks[1]["type"], &blocks[1]["text"]["type"]), (&json!("section"), &json!("mrkdwn")));
    let text = blocks[1]["text"]["text"].as_str().expect("text");
    assert!(text.contains("*What:* the issuer refused: &lt;invalid_grant&gt; &amp; more"), "{text}");
    assert!(text.contains("*What to do:* sign in again"), "{text}");
}

#[tokio::test]
async fn pagerduty_triggers_and_resolves_one_incident_by_its_id() {
    let (inbox, secrets) = (Inbox::open().await, Secrets::new());
    let key = "0123456789abcdef0123456789abcdef";
    let (routing_key, endpoint) = (secrets.put("key", key), endpoint(&inbox));
    let courier = courier(Destination::PagerDuty { routing_key, endpoint });

    courier.send(&[change(EventKind::Opened, "contoso")], now()).await.expect("sent");
    courier.send(&[change(EventKind::Resolved, "contoso")], now()).await.expect("sent");

    let [trigger, resolve] = inbox.letters().try_into().expect("two");
    assert_eq!(trigger.line, "POST /v2/enqueue");
    let dedup_key = refused("contoso").id.to_string();
    assert_eq!(
        resolve.json(),
        json!({"routing_key": key, "event_action": "resolve", "dedup_key": dedup_key})
    );
    let event = trigger.json();
    assert_eq!(
        (&event["routing_key"], &event["event_action"], &event["dedup_key"]),
        (&json!(key), &json!("trigger"), &json!(dedup_key))
    );
    let payload = &event["payload"];
    let summary = payload["summary"].as_str().expect("text");
    assert!(summary.starts_with("Critical: Sign-in required (contoso): the issuer"), "{summary}");
    assert_eq!(payload["source"], "primary, Köln");
    assert_eq!(event["client_url"], "https://status.example/");
    let runbook = "https://wiki.example/runbook#login_required";
    assert_eq!(event["links"], json!([{"href": runbook, "text": "Runbook"}]));
    assert_eq!(payload["severity"], "critical");
    assert_eq!(payload["timestamp"], "2026-03-08T07:00:00Z");
    assert_eq!(payload["component"], "token:https://contoso.vault.azure.net/secrets/contoso");
    assert_eq!(payload["group"], "contoso");
    assert_eq!(payload["class"], "login_required");
    assert_eq!(payload["custom_details"]["what_to_do"], "sign in again");
    assert_eq!(payload["custom_details"]["runbook"], runbook);
}

#[tokio::test]
async fn a_webhook_gets_signed_cloud_events_whose_id_stays_the_same() {
    let (inbox, secrets) = (Inbox::open().await, Secrets::new());
    let key = b"a key of our own, for this test";
    let signing_key = Some(secrets.put("signing", &format!("whsec_{}", STANDARD.encode(key))));
    let url = secrets.put("url", &inbox.url("/hook"));
    let courier = courier(Destination::Webhook { url, signing_key });

    let opened = change(EventKind::Opened, "contoso");
    courier.send(&[opened.clone(), change(EventKind::Resolved, "contoso")], now()).await.expect("sent");
    let later = now() + TimeDelta::minutes(1);
    courier.send(std::slice::from_ref(&opened), later).await.expect("sent again");

    let [first, second, again] = inbox.letters().try_into().expect("three");
    assert_eq!(first.header("content-type"), "application/cloudevents+json; charset=utf-8");
    let event = first.json();
    assert_eq!(event["specversion"], "1.0");
    assert_eq!(event["source"], "/perennial/primary,%20K%C3%B6ln");
    assert_eq!(event["data"]["instance"], "primary, Köln");
    assert_eq!(event["type"], "dev.perennial.alert.opened.v1");
    assert_eq!(event["time"], "2026-03-08T10:00:00Z");
    assert_eq!(event["subject"], "token:https://contoso.vault.azure.net/secrets/contoso");
    assert_eq!(event["datacontenttype"], "application/json");
    assert_eq!(event["data"]["what"], "opened");
    assert_eq!(event["data"]["condition"], serde_json::to_value(refused("contoso")).expect("JSON"));
    assert_eq!(event["id"], again.json()["id"]);
    assert_eq!(second.json()["type"], "dev.perennial.alert.resolved.v1");
    assert_ne!(event["id"], second.json()["id"]);

    // The test verifies the signature like a receiver (Standard Webhooks, "Signature scheme").
    assert_eq!(first.header("webhook-id"), event["id"]);
    assert_eq!(first.header("webhook-timestamp"), now().timestamp().to_string());
    let signed =
        format!("{}.{}.{}", first.header("webhook-id"), first.header("webhook-timestamp"), first.body);
    let signature = first.header("webhook-signature").strip_prefix("v1,").expect("version 1");
    let tag = STANDARD.decode(signature).expect("base64");
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, key);
    aws_lc_rs::hmac::verify(&key, signed.as_bytes(), &tag).expect("the signature is right");
}

#[tokio::test]
async fn a_test_goes_the_same_way_and_leaves_nothing_open() {
    let (inbox, secrets) = (Inbox::open().await, Secrets::new());
    let (routing_key, endpoint) = (secrets.put("key", "k"), endpoint(&inbox));

    courier(Destination::PagerDuty { routing_key, endpoint }).test(now()).await.expect("sent");
    let url = secrets.put("url", &inbox.url("/t"));
    courier(Destination::Teams { url }).test(now()).await.expect("sent");

    let url = secrets.put("hook", &inbox.url("/h"));
    courier(Destination::Webhook { url, signing_key: None }).test(now()).await.expect("sent");

    let [trigger, resolve, card, event] = inbox.letters().try_into().expect("four");
    let payload = &trigger.json()["payload"];
    assert_eq!((&payload["severity"], &payload["class"]), (&json!("info"), &json!("test")));
    assert!(payload["summary"].as_str().is_some_and(|text| text.starts_with("Test message: this is a test")));
    let event = event.json();
    let told = &event["data"]["condition"];
    assert_eq!((&told["severity"], &told["kind"]), (&json!("info"), &json!("test")));
    assert_eq!(
        (&event["data"]["title"], &event["type"]),
        (&json!("Test message"), &json!("dev.perennial.alert.test.v1"))
    );
    assert!(
        !card.body.contains("could not be delivered") && card.body.contains("\"Test message\""),
        "{}",
        card.body
    );
    assert_eq!(trigger.json()["dedup_key"], resolve.json()["dedup_key"]);
    assert_eq!(resolve.json()["event_action"], "resolve");
    assert!(card.body.contains("this is a test of the alert sink s; nothing is wrong"), "{}", card.body);
}

#[tokio::test]
async fn an_answer_decides_about_retries_and_no_error_shows_an_address() {
    let (inbox, secrets) = (Inbox::open().await, Secrets::new());
    let path = "/canary-of-a-secret-path";
    let url = secrets.put("url", &inbox.url(path));
    let courier = courier(Destination::Slack { url });
    let sent = async || courier.send(&[change(EventKind::Opened, "contoso")], now()).await;

    for (status, settled) in
        [(503, Some(false)), (429, Some(false)), (404, Some(true)), (302, Some(true)), (200, None)]
    {
        inbox.answer(status);
        let missed = sent().await.err();
        assert_eq!(missed.as_ref().map(|missed| missed.permanent), settled, "{status}");
        assert!(missed.is_none_or(|missed| missed.why == format!("HTTP status {status}")));
    }
    inbox.answer(410);
    assert_eq!(sent().await.expect_err("gone").after, Some(Duration::from_secs(86_400)));

    for (content, why) in [
        ("http://hooks.example/canary", "the URL must start with https://"),
        ("canary", "the URL must start with https://"),
        ("https://canary:canary@hooks.example/", "the URL must not contain a user name or a password"),
    ] {
        secrets.put("url", content);
        let missed = sent().await.expect_err("refused");
        assert_eq!((missed.why.as_str(), missed.permanent), (why, true));
    }
    drop(secrets);
    let missed = sent().await.expect_err("no such file");
    assert!(missed.permanent && missed.why.starts_with("cannot read "), "{}", missed.why);
    assert_eq!(inbox.letters().len(), 6, "no redirect was followed");
}

/// Returns ten notifications of the kind `login_required`. Each notification has Chinese texts and ten thousand tokens
/// with names of maximum length.
fn crowded() -> Vec<Notification> {
    let tokens: Vec<String> = (0..10_000).map(|nth| format!("{nth:0>64}")).collect();
    let one = |nth: usize| {
        let mut one = change(EventKind::Opened, &format!("customer-{nth}"));
        one.condition.tokens.clone_from(&tokens);
        one.condition.owners = (0..1000).map(|owner| format!("負責人{owner}").repeat(20)).collect();
        one.condition.summary = "摘".repeat(700);
        one.condition.action = "做".repeat(700);
        one
    };
    (0..10).map(one).collect()
}

#[tokio::test]
async fn the_largest_message_fits_each_receiver() {
    let (inbox, secrets) = (Inbox::open().await, Secrets::new());
    let url = |path: &str| secrets.put(&path[1..], &inbox.url(path));
    let key = secrets.put("key", "k");
    for (to, most) in [
        (Destination::Teams { url: url("/t") }, 24_000),
        (Destination::Slack { url: url("/s") }, 12_000),
        (Destination::PagerDuty { routing_key: key, endpoint: endpoint(&inbox) }, 64_000),
        (Destination::Webhook { url: url("/w"), signing_key: None }, 64_000),
    ] {
        let (kind, before) = (to.as_str(), inbox.letters().len());
        courier(to).send(&crowded(), now()).await.expect("sent");
        let largest = inbox.letters()[before..].iter().map(|letter| letter.body.len()).max().expect("some");
        // The message fits and uses at least an eighth of the allowed size.
        assert!((most / 8..=most).contains(&largest), "{kind}: {largest} bytes");
    }
}

#[tokio::test]
async fn a_message_rejected_for_its_size_is_cut_and_delivered() {
    let (inbox, secrets) = (Inbox::open().await, Secrets::new());
    for (path, answer) in [
        (
            "/teams",
            (
                200,
                "Webhook message delivery failed with error: Microsoft Teams endpoint returned HTTP error 413 with ContextId x",
            ),
        ),
        ("/direct", (413, "too large")),
    ] {
        inbox.answer_longer_than(8_000, answer);
        let url = secrets.put("url", &inbox.url(path));
        courier(Destination::Teams { url }).send(&crowded(), now()).await.expect("cut and delivered");
    }
    let sizes: Vec<usize> = inbox.letters().iter().map(|letter| letter.body.len()).collect();
    assert!(sizes.len() == 4 && sizes[1] <= 8_000 && sizes[3] <= 8_000, "{sizes:?}");
}

#[tokio::test]
async fn a_body_that_means_failure_is_one() {
    let (inbox, secrets) = (Inbox::open().await, Secrets::new());
    let url = secrets.put("url", &inbox.url("/t"));
    let courier = courier(Destination::Teams { url });
    let behind = |status| {
        format!(
            "Webhook message delivery failed with error: Microsoft Teams endpoint returned HTTP error {status} with ContextId x"
        )
    };
    for (body, permanent, why) in [
        (behind(429), false, "HTTP status 200 from the webhook, but HTTP status 429 from Teams"),
        (behind(404), true, "HTTP status 200 from the webhook, but HTTP status 404 from Teams"),
        (
            "{\"ok\":false,\"error\":\"channel_not_found\"}".to_owned(),
            true,
            "HTTP status 200 (channel_not_found)",
        ),
    ] {
        inbox.answer_longer_than(0, (200, &body));
        let missed = courier.send(&[change(EventKind::Opened, "contoso")], now()).await.expect_err("refused");
        assert_eq!((missed.permanent, missed.why.as_str()), (permanent, why));
    }
}

#[tokio::test]
async fn an_invalid_signing_key_signs_nothing() {
    let (inbox, secrets) = (Inbox::open().await, Secrets::new());
    let url = secrets.put("url", &inbox.url("/hook"));
    for key in
        ["whsec_", "whsec_YWJj", "whsec_not base64", "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE"]
    {
        let signing_key = Some(secrets.put("signing", key));
        let courier = courier(Destination::Webhook { url: url.clone(), signing_key });
        let missed = courier.send(&[change(EventKind::Opened, "contoso")], now()).await.expect_err(key);
        assert!(
            missed.permanent && missed.why.contains("24 to 64 bytes in padded base64"),
            "{key}: {}",
            missed.why
        );
    }
    assert!(inbox.letters().is_empty());
}

#[test]
fn the_configuration_rejects_sinks_that_cannot_work() {
    let base = "[vault]\nurl = \"https://v.example\"\n[[token]]\nname = \"a\"\ntenant_id = \"c.example\"\n\
        client_id = \"00000000-0000-0000-0000-000000000001\"\nclient_secret = { env = \"X\" }\nrefresh_token = \"r\"\n";
    let problems = |more: &str| {
        let text = format!("{base}{more}");
        match perennial::config::Config::parse(Path::new("x"), &text, std::iter::empty()) {
            Ok(_) => Vec::new(),
            Err(found) => found.problems.iter().map(|problem| problem.key.clone()).collect(),
        }
    };
    for (more, keys) in [
        ("[[alert]]\nkind = \"slack\"\nurl = { env = \"U\" }\n", &[][..]),
        ("[[alert]]\nkind = \"pagerduty\"\nrouting_key = { env = \"U\" }\n", &[]),
        (
            "[[alert]]\nkind = \"pagerduty\"\nrouting_key = { env = \"U\" }\nendpoint = \"http://127.0.0.1:1\"\n",
            &[],
        ),
        (
            "[[alert]]\nkind = \"email\"\nserver = \"smtp://m.example\"\nfrom = \"a@b.example\"\nto = [\"c@d.example\"]\n",
            &[],
        ),
        (
            "[[alert]]\nkind = \"email\"\nserver = \"m.example:25\"\nfrom = \"Ann\"\nto = []\nusername = \"u\"\n",
            &["alert[0].server", "alert[0].from", "alert[0].to", "alert[0].password"],
        ),
        (
            "[[alert]]\nkind = \"email\"\nserver = \"m.example:25\"\nfrom = \"a@b.example\"\n",
            &["alert[0].server", "alert[0].to"],
        ),
        ("[[alert]]\nkind = \"fax\"\nurl = { env = \"U\" }\n", &["alert[0].kind"]),
        (
            "[[alert]]\nkind = \"fax\"\nurl = \"https://hooks.example/x\"\n",
            &["alert[0].kind", "alert[0].url"],
        ),
        ("[[alert]]\nkind = \"slack\"\nurl = { env = \"U\" }\ntokens = [\"A*\"]\n", &[]),
        (
            "[[alert]]\nkind = \"slack\"\nurl = { env = \"U\" }\ntokens = [\"a\", \"cotnoso\"]\n",
            &["alert[0].tokens[1]"],
        ),
        ("[[alert]]\nkind = \"slack\"\n", &["alert[0].url"]),
        ("[[alert]]\nkind = \"slack\"\nurl = \"https://hooks.example/x\"\n", &["alert[0].url"]),
        ("[[alert]]\nkind = \"slack\"\nurl = { secret = \"u\" }\n", &["alert[0].url"]),
        (
            "[[alert]]\nkind = \"slack\"\nurl = { env = \"U\" }\nrouting_key = { env = \"K\" }\n",
            &["alert[0].routing_key"],
        ),
        (
            "[[alert]]\nkind = \"pagerduty\"\nrouting_key = { env = \"U\" }\nendpoint = \"http://e.example\"\n",
            &["alert[0].endpoint"],
        ),
        (
            "[[alert]]\nkind = \"slack\"\nurl = { env = \"U\" }\nmin_severity = \"page\"\n",
            &["alert[0].min_severity"],
        ),
        ("[[alert]]\nkind = \"slack\"\nurl = { env = \"U\" }\ntokens = \"a\"\n", &["alert[0].tokens"]),
        (
            "[[alert]]\nkind = \"slack\"\nurl = { env = \"U\" }\n[[alert]]\nkind = \"slack\"\nurl = { env = \"V\" }\n",
            &["alert[1].name"],
        ),
        ("[heartbeat]\nurl = { env = \"H\" }\nevery = \"5m\"\n", &[]),
        ("[heartbeat]\nevery = \"5m\"\n", &["heartbeat.url"]),
        ("[heartbeat]\nurl = { env = \"H\" }\nevery = \"1s\"\n", &["heartbeat.every"]),
    ] {
        assert_eq!(problems(more), keys, "{more}");
    }
}
