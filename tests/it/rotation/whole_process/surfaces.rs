//! Reads the document, the metrics and the page of one daemon, as their users see them.

use perennial::net::calls::Calls;
use perennial::serve::metrics::Scrape;
use perennial::status::board::StatusBoard;
use perennial::status::document::Status;
use serde_json::Value;

/// The maximum number of conditions on the page.
const MOST_CONDITIONS: usize = 50;

/// The document, the metrics and the page of one daemon.
pub(super) struct Surfaces {
    pub(super) status: Status,
    pub(super) document: Value,
    metrics: String,
    page: String,
}

impl Surfaces {
    pub(super) fn of(board: &StatusBoard) -> Self {
        let status = board.status();
        let document = serde_json::to_value(&status).expect("the document is JSON");
        let conditions = status.conditions.clone();
        let scrape = Scrape {
            board: board.clone(),
            calls: Calls::default().into(),
            conditions,
            now: status.now,
            names: true,
        };
        let metrics: Result<String, _> = scrape.text().collect();
        let page =
            perennial::serve::page::render(&status, &perennial::serve::page::View::default()).into_string();
        Self { status, document, metrics: metrics.expect("text is written"), page }
    }

    /// Checks that the document, the metrics and the page agree with each other.
    pub(super) fn agree(&self) -> Result<(), String> {
        for (name, word) in self.states() {
            let count = self.states().filter(|(_, other)| *other == word).count();
            let line = format!("perennial_tokens{{state=\"{word}\"}} {count}");
            if !self.metrics.lines().any(|found| found == line) {
                return Err(format!("the metrics lack {line:?}, of {name}"));
            }
        }
        // The page shows at most `MOST_CONDITIONS` conditions, and the number of the others.
        for condition in self.status.conditions.iter().take(MOST_CONDITIONS) {
            let title = condition.kind.title();
            if !self.page.contains(title) {
                return Err(format!("the page does not show {title:?}"));
            }
        }
        let critical = self.status.gravest(None) == Some(perennial::status::condition::Severity::Critical);
        if self.document["healthy"] != Value::Bool(!critical) {
            return Err("`healthy` and the conditions do not agree".into());
        }
        Ok(())
    }

    fn states(&self) -> impl Iterator<Item = (&str, &str)> {
        let tokens = self.document["tokens"].as_array().into_iter().flatten();
        tokens.filter_map(|token| Some((token["name"].as_str()?, token["state"].as_str()?)))
    }
}
