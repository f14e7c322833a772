//! Prints the output of the demo: paragraphs, and lines that begin with the day of an event.
//!
//! This module owns the width and the colors. This module also keeps a copy of the output, which `watch` takes and
//! searches for secrets.

use chrono::TimeDelta;

use crate::process::clock::Timestamp;

/// The largest width of a line.
const WIDTH: usize = 80;

/// The column at which the text of a dated line begins, after `day 123  critical  `.
const TEXT_AT: usize = 19;

/// The tone of a line, which decides its color.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tone {
    /// A neutral event.
    Plain,
    /// A routine event.
    Quiet,
    /// An event that is good news.
    Good,
    /// An event that needs attention.
    Uneasy,
    /// An event that is bad news.
    Bad,
}

impl Tone {
    fn code(self) -> &'static str {
        match self {
            Self::Plain => "1",
            Self::Quiet => "2",
            Self::Good => "32",
            Self::Uneasy => "33",
            Self::Bad => "1;31",
        }
    }
}

/// Prints the story.
pub(super) struct Voice {
    say: Box<dyn FnMut(&str)>,
    colours: bool,
    since: Timestamp,
    said: String,
}

impl Voice {
    pub(super) fn new(say: Box<dyn FnMut(&str)>, colours: bool, since: Timestamp) -> Self {
        Self { say, colours, since, said: String::new() }
    }

    /// Prints a paragraph or a heading.
    pub(super) fn paragraph(&mut self, text: &str) {
        for line in wrapped(text, WIDTH - 2) {
            self.line(&format!("  {line}"));
        }
        self.line("");
    }

    /// Prints a line unchanged.
    pub(super) fn line(&mut self, text: &str) {
        self.said.push_str(text);
        self.said.push('\n');
        (self.say)(text);
    }

    /// Prints an event with its day.
    pub(super) fn dated(&mut self, at: Timestamp, tone: Tone, head: &str, text: &str) {
        let day = format!("day {:>3}", (at - self.since).num_days());
        for (nth, line) in wrapped(text, WIDTH - TEXT_AT).iter().enumerate() {
            let line = if nth == 0 {
                let head = self.coloured(tone, &format!("{head:<8}"));
                format!("{day}  {head}  {line}")
            } else {
                format!("{:TEXT_AT$}{line}", "")
            };
            self.line(&line);
        }
    }

    /// Returns `word` in the color of `tone`.
    pub(super) fn coloured(&self, tone: Tone, word: &str) -> String {
        if self.colours { format!("\u{1b}[{}m{word}\u{1b}[0m", tone.code()) } else { word.to_owned() }
    }

    /// Returns the output since the last call of this function.
    pub(super) fn take(&mut self) -> String {
        std::mem::take(&mut self.said)
    }
}

/// Returns a span of time in everyday words.
pub(super) fn span(of: TimeDelta) -> String {
    match (of.num_days(), of.num_hours(), of.num_minutes()) {
        (days @ 2.., _, _) => format!("{days} days"),
        (_, hours @ 1.., minutes) => format!("{hours} h {:02} min", minutes % 60),
        (_, _, minutes @ 1..) => format!("{minutes} min"),
        _ => "less than a minute".to_owned(),
    }
}

/// Breaks a text between words. A word that is wider than `width` gets a line of its own.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let last = lines.last_mut().expect("there is always one");
        let fits = last.is_empty() || last.chars().count() + 1 + word.chars().count() <= width;
        if fits {
            let gap = if last.is_empty() { "" } else { " " };
            last.push_str(gap);
            last.push_str(word);
        } else {
            lines.push(word.to_owned());
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;

    use super::*;

    fn said(colours: bool, act: impl FnOnce(&mut Voice)) -> Vec<String> {
        let lines = Rc::new(RefCell::new(Vec::new()));
        let kept = Rc::clone(&lines);
        let since = Timestamp::UNIX_EPOCH;
        let mut voice =
            Voice::new(Box::new(move |line| kept.borrow_mut().push(line.to_owned())), colours, since);
        act(&mut voice);
        assert_eq!(voice.take().lines().collect::<Vec<_>>(), *lines.borrow());
        lines.take()
    }

    #[test]
    fn a_long_text_hangs_below_its_day() {
        let at = Timestamp::UNIX_EPOCH + TimeDelta::days(42);

        let lines = said(false, |voice| voice.dated(at, Tone::Bad, "critical", &"word ".repeat(40)));

        assert!(lines[0].starts_with("day  42  critical  word word"), "{lines:?}");
        assert!(lines[1].starts_with(&format!("{:19}word", "")), "{lines:?}");
        assert!(lines.iter().all(|line| line.len() <= 80 && !line.contains('\u{1b}')), "{lines:?}");
    }

    #[test]
    fn colors_are_printed_only_on_request() {
        let lines = said(true, |voice| voice.dated(Timestamp::UNIX_EPOCH, Tone::Good, "over", "fine"));

        assert_eq!(lines, ["day   0  \u{1b}[32mover    \u{1b}[0m  fine"]);
    }

    #[test]
    fn spans_are_shown_in_words() {
        for (seconds, told) in [
            (20, "less than a minute"),
            (300, "5 min"),
            (3 * 3600 + 240, "3 h 04 min"),
            (26 * 3600, "26 h 00 min"),
            (6 * 86_400, "6 days"),
        ] {
            assert_eq!(span(TimeDelta::seconds(seconds)), told);
        }
    }
}
