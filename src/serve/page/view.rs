//! The view of the status page. The view determines which tokens and which page of the list are shown, and whether the
//! status page reloads itself.
//!
//! This module owns the query string of the page, such as `?q=contoso&state=needs_login&page=2&paused`. Invalid values
//! are ignored. This module is pure.

use form_urlencoded::{Serializer, parse};

use crate::status::document::TokenStatus;
use crate::status::snapshot::TokenState;

/// The maximum length of the search text in characters. Token names and secret addresses are shorter.
pub(super) const MOST_SEARCHED: usize = 256;

/// The view that a reader chose.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct View {
    /// Whether automatic reloading is paused. A paused page helps slow readers and users of screen readers.
    pub paused: bool,
    /// The search text: a part of a token's name or of its secret's address. Case is ignored.
    pub(super) search: String,
    /// The state of the tokens to show. `None` shows tokens in every state.
    pub(super) state: Option<TokenState>,
    /// The page of the list, counted from 0.
    pub(super) number: usize,
}

impl View {
    /// Parses a query string.
    pub fn of(query: &str) -> Self {
        let mut view = Self::default();
        for (key, value) in parse(query.as_bytes()) {
            match &*key {
                "paused" => view.paused = true,
                "q" => view.search = value.trim().chars().take(MOST_SEARCHED).collect(),
                "state" => view.state = TokenState::ALL.into_iter().find(|state| state.as_str() == value),
                "page" => view.number = value.parse::<usize>().unwrap_or(1).saturating_sub(1),
                _ => {}
            }
        }
        view
    }

    /// The URL of this view, relative to the status page.
    pub(super) fn address(&self) -> String {
        let mut query = Serializer::new(String::new());
        if !self.search.is_empty() {
            query.append_pair("q", &self.search);
        }
        if let Some(state) = self.state {
            query.append_pair("state", state.as_str());
        }
        if self.number > 0 {
            query.append_pair("page", &(self.number + 1).to_string());
        }
        if self.paused {
            query.append_key_only("paused");
        }
        match query.finish() {
            query if query.is_empty() => "./".to_owned(),
            query => format!("./?{query}"),
        }
    }

    /// Returns this view with or without automatic reloading.
    pub(super) fn pausing(&self, paused: bool) -> Self {
        Self { paused, ..self.clone() }
    }

    /// Returns this view with another page of the list.
    pub(super) fn turned_to(&self, number: usize) -> Self {
        Self { number, ..self.clone() }
    }

    /// Whether the view hides some tokens.
    pub(super) fn filters(&self) -> bool {
        !self.search.is_empty() || self.state.is_some()
    }

    /// Whether this view shows a token.
    pub(super) fn shows(&self, token: &TokenStatus) -> bool {
        let wanted = self.search.to_lowercase();
        let found = |text: &str| text.to_lowercase().contains(&wanted);
        self.state.is_none_or(|state| token.state == state)
            && (wanted.is_empty() || found(&token.name) || found(&token.stored_in))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_and_its_view_say_the_same() {
        for (query, address) in [
            ("", "./"),
            ("paused", "./?paused"),
            ("q=contoso", "./?q=contoso"),
            ("q=+a%26b+&state=needs_login&page=3&paused", "./?q=a%26b&state=needs_login&page=3&paused"),
            ("q=&state=&page=", "./"),
            ("state=odd&page=-1&other=1", "./"),
            ("page=0", "./"),
            ("page=99999999999999999999", "./"),
            ("q=%0D%0AX:%20y%22%3E", "./?q=X%3A+y%22%3E"),
            ("q=%FF%1B", "./?q=%EF%BF%BD%1B"),
        ] {
            assert_eq!(View::of(query).address(), address, "{query}");
        }
        let long = format!("q={}", "é".repeat(10_000));
        assert_eq!(View::of(&long).search.chars().count(), MOST_SEARCHED);
    }
}
