//! Compares the report of each surface with `/status`, for one situation.

use std::collections::BTreeSet;

use perennial::ports::failure::{Kind, Remedy};
use serde_json::Value;

use super::{PastItsEnd, Scene, Situation, message};
use crate::process::results;
use crate::support::child::{Child, get};

/// A row of the table, and the differences found so far.
pub(super) struct Row<'a> {
    situation: &'a Situation,
    /// The gravest condition in `/status`.
    gravest: Value,
    token: Value,
    pub(super) cells: Vec<String>,
    /// The sink's messages, as sections of docs/messages.md.
    pub(super) message: String,
    pub(super) wrong: Vec<String>,
}

fn word(value: &Value) -> String {
    value.as_str().unwrap_or("-").to_owned()
}

fn list<'a>(words: impl IntoIterator<Item = &'a str>) -> String {
    let all: Vec<&str> = words.into_iter().collect();
    if all.is_empty() { "-".to_owned() } else { all.join(", ") }
}

fn status_of(answer: &str) -> String {
    answer.split(' ').nth(1).unwrap_or("-").to_owned()
}

impl<'a> Row<'a> {
    pub(super) fn of(situation: &'a Situation, document: &Value) -> Self {
        let (gravest, token) = (document["conditions"][0].clone(), document["tokens"][0].clone());
        let kinds = list(situation.kinds.iter().copied());
        let (severity, remedy) = (word(&gravest["severity"]), word(&gravest["remedy"]));
        let cells = vec![situation.name.to_owned(), kinds, severity, remedy, word(&token["state"])];
        Self { situation, gravest, token, cells, message: String::new(), wrong: Vec::new() }
    }

    fn expect(&mut self, surface: &str, agrees: bool, said: &dyn std::fmt::Display) {
        if !agrees {
            self.wrong.push(format!("{}: {surface}: {said}", self.situation.name));
        }
    }

    fn severity(&self) -> &str {
        self.gravest["severity"].as_str().unwrap_or_default()
    }

    fn is_critical(&self) -> bool {
        self.severity() == "critical"
    }

    /// Returns who must act, in the words of the page and of messages.
    fn who(&self) -> &'static str {
        let remedies = [Remedy::Login, Remedy::Operator, Remedy::Retry];
        let told = self.gravest["remedy"].as_str();
        let kind = self.gravest["kind"].as_str().and_then(Kind::parse);
        let remedy = remedies.into_iter().find(|remedy| Some(remedy.as_str()) == told);
        remedy.zip(kind).map_or("", |(remedy, kind)| remedy.who(kind))
    }

    /// Checks the page, `/readyz`, `/health` and the metrics.
    pub(super) fn endpoints(&mut self, scene: &Scene, document: &Value) {
        let [page, health, ready, metrics] =
            ["/", "/health?token=one", "/readyz", "/metrics"].map(|path| get(&scene.address, path));
        for kind in self.situation.kinds {
            let title = Kind::parse(kind).expect("a kind").title();
            self.expect("page", page.contains(title), kind);
            let mut conditions = document["conditions"].as_array().expect("a list").iter();
            let severity = conditions.find(|one| one["kind"] == *kind).map(|one| &one["severity"]);
            let key = if severity == Some(&"critical".into()) { "\"critical\":[" } else { "\"warnings\":[" };
            let listed = health.split_once(key).and_then(|(_, rest)| rest.split_once(']'));
            self.expect("health", listed.is_some_and(|(kinds, _)| kinds.contains(*kind)), &health);
            let sample = format!("\nperennial_condition{{kind=\"{kind}\",token=\"one\"}} 1\n");
            self.expect("metrics", metrics.contains(&sample), kind);
        }
        let verdict = match self.severity() {
            "critical" => "Action needed",
            "warning" => "Working, with a warning",
            _ => "All is well",
        };
        self.expect("page", page.contains(&format!("<title>{verdict}")), &verdict);
        self.expect("page", page.contains(self.who()), &self.who());
        let wanted = if self.is_critical() { "503" } else { "200" };
        self.expect("health", status_of(&health) == wanted, &health);
        let sample = format!("\nperennial_tokens{{state=\"{}\"}} 1\n", word(&self.token["state"]));
        self.expect("metrics", metrics.contains(&sample), &sample);
        let name = "perennial_token_runway_seconds{token=\"one\"} ";
        let runway = metrics.lines().find_map(|line| line.strip_prefix(name)?.parse::<i64>().ok());
        let near = match (runway, self.token["runway_seconds"].as_i64()) {
            (None, None) => true,
            (Some(left), Some(told)) => (left - told).abs() < 60,
            _ => false,
        };
        self.expect("metrics", near, &metrics);
        let left = match runway {
            None => "unknown".to_owned(),
            Some(0) => "0".to_owned(),
            Some(left) => format!("{} d", (left + 43_200) / 86_400),
        };
        self.cells.extend([verdict.to_owned(), status_of(&ready), status_of(&health), left]);
    }

    /// Checks `status` and `status --monitor`, which ask the daemon.
    pub(super) async fn commands(&mut self, scene: &Scene) {
        let (status, monitor) = (scene.ended(&["status"]).await, scene.ended(&["status", "--monitor"]).await);
        for said in [&status, &monitor] {
            let viewed = said.stdout.contains("rom the running daemon, at ");
            self.expect("whose view", viewed, &said.stdout);
        }
        for kind in self.situation.kinds {
            self.expect("status", status.stdout.contains(&format!(" {kind} one, for ")), &status.stdout);
        }
        let shown = format!("one    {} ", word(&self.token["state"]));
        self.expect("status", status.stdout.contains(&shown), &status.stdout);
        let (code, begins) = match self.severity() {
            "critical" => (2, "PERENNIAL CRITICAL - "),
            "warning" => (1, "PERENNIAL WARNING - "),
            _ => (0, "PERENNIAL OK - 1 of 1 current"),
        };
        let line = format!("{begins}{}", self.situation.kinds.first().copied().unwrap_or_default());
        let agrees = monitor.code == Some(code) && monitor.stdout.starts_with(&line);
        self.expect("--monitor", agrees, &monitor.stdout);
        if self.is_critical() {
            let code = if self.gravest["remedy"] == "login" { 3 } else { 4 };
            self.expect("status", status.code == Some(code), &status.stdout);
        }
        self.cells.extend([&status, &monitor].map(|ended| ended.code.unwrap_or(-1).to_string()));
    }

    /// Checks the fields of the log events, and the sink's message.
    pub(super) async fn told(&mut self, scene: &Scene, daemon: &Child) {
        let events = daemon.events(0).into_iter().filter(|event| event["token"] == "one");
        let grave = events.filter(|event| event["level"] == "WARN" || event["level"] == "ERROR");
        let events: Vec<Value> = grave.collect();
        for event in &events {
            let typed = |name: &str, is: fn(&Value) -> bool| event.get(name).is_none_or(is);
            let fits = typed("mfa", Value::is_boolean)
                && typed("attempts", |count| count.as_u64() >= Some(1))
                && typed("code", Value::is_u64)
                && typed("status", Value::is_u64);
            self.expect("log", fits, event);
            // If Entra rejects an expired token, the only condition is the expiry. The log event has the kind of the
            // rejection, which is not the kind of this condition.
            let named = event["kind"].as_str().is_none_or(|kind| self.situation.kinds.contains(&kind));
            self.expect("log", named || self.situation.before == PastItsEnd, event);
        }
        let names: BTreeSet<&str> = events.iter().filter_map(|event| event["event"].as_str()).collect();
        self.cells.push(list(names));
        let Some(kind) = self.situation.kinds.first() else {
            self.expect("message", scene.inbox.letters().is_empty(), &"nothing is wrong");
            return self.cells.push("-".to_owned());
        };
        let title = Kind::parse(kind).expect("a kind").title();
        let told = scene.letter(title, self.who()).await;
        let headline = format!("{}: {title} (one)", if self.is_critical() { "Critical" } else { "Warning" });
        let agrees = told.as_ref().is_some_and(|body| body.contains(&headline));
        self.message = told.map(|body| message::section(kind, &body)).unwrap_or_default();
        for kind in &self.situation.kinds[1..] {
            let title = Kind::parse(kind).expect("a kind").title();
            let told = scene.letter(title, "").await;
            self.expect("message", told.is_some(), kind);
            self.message += &told.map(|body| message::section(kind, &body)).unwrap_or_default();
        }
        self.expect("message", agrees, &format!("{:?}", scene.inbox.letters()));
        self.cells.push(headline);
    }

    /// Checks `rotate`, which makes a pass in the same situation without the daemon.
    pub(super) async fn pass(&mut self, scene: &Scene) {
        let rotated = scene.ended(&["rotate", "one", "--json"]).await;
        let result = &results(&rotated)[0];
        let kind = result["kind"].as_str();
        // `rotate` cannot report a deletion, because its process has never seen the secret.
        let is_unseen = self.situation.name == "secret deleted" && kind == Some("never_signed_in");
        let known = kind.is_none_or(|kind| self.situation.kinds.contains(&kind));
        self.expect("rotate", known || is_unseen, result);
        if self.is_critical() && !is_unseen {
            let same = kind == self.situation.kinds.first().copied();
            self.expect("rotate", same && result["remedy"] == self.gravest["remedy"], result);
        }
        for told in ["summary", "action"] {
            self.expect("rotate", result[told].is_string() == kind.is_some(), result);
        }
        self.cells.push(rotated.code.unwrap_or(-1).to_string());
    }
}
