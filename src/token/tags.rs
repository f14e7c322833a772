//! The tags of a Key Vault version, as names and values ordered by name.
//!
//! This module is pure. For each token, the process always keeps the tags of one version in memory. To save memory,
//! tags are stored as one text instead of a map. A change rebuilds the text, but tags rarely change.

use std::collections::BTreeMap;
use std::ops::Index;

use serde::{Deserialize, Serialize};

/// The tags of one version.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(from = "BTreeMap<String, String>", into = "BTreeMap<String, String>")]
pub struct Tags {
    /// Each name followed by its value, without separators.
    text: Box<str>,
    /// The end positions of all names and values in `text`.
    ends: Box<[u32]>,
}

impl Tags {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn len(&self) -> usize {
        self.ends.len() / 2
    }

    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Iterates over names and values, ordered by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        let mut from = 0;
        let mut next = move |end: u32| {
            let start = std::mem::replace(&mut from, end as usize);
            &self.text[start..end as usize]
        };
        self.ends.chunks_exact(2).map(move |ends| (next(ends[0]), next(ends[1])))
    }

    /// Iterates over names and values as owned strings, ordered by name.
    pub fn owned(&self) -> impl Iterator<Item = (String, String)> {
        self.iter().map(|(name, value)| (name.into(), value.into()))
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        self.iter().find(|(known, _)| *known == name).map(|(_, value)| value)
    }

    pub fn contains(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// Adds or replaces the tag `name`.
    pub fn insert(&mut self, name: &str, value: &str) {
        let mut all: BTreeMap<&str, &str> = self.iter().collect();
        all.insert(name, value);
        *self = all.into_iter().collect();
    }

    pub fn remove(&mut self, name: &str) {
        *self = self.iter().filter(|(known, _)| *known != name).collect();
    }
}

impl<N: AsRef<str> + Ord, V: AsRef<str>> FromIterator<(N, V)> for Tags {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(all: I) -> Self {
        let sorted: BTreeMap<N, V> = all.into_iter().collect();
        let (mut text, mut ends) = (String::new(), Vec::new());
        for (name, value) in &sorted {
            for part in [name.as_ref(), value.as_ref()] {
                text.push_str(part);
                ends.push(u32::try_from(text.len()).expect("the tags are much smaller than 4 GB"));
            }
        }
        Self { text: text.into(), ends: ends.into() }
    }
}

impl From<BTreeMap<String, String>> for Tags {
    fn from(all: BTreeMap<String, String>) -> Self {
        all.into_iter().collect()
    }
}

impl<const N: usize> From<[(&str, &str); N]> for Tags {
    fn from(all: [(&str, &str); N]) -> Self {
        all.into_iter().collect()
    }
}

impl From<Tags> for BTreeMap<String, String> {
    fn from(tags: Tags) -> Self {
        tags.owned().collect()
    }
}

impl Index<&str> for Tags {
    type Output = str;

    fn index(&self, name: &str) -> &str {
        self.get(name).expect("such a tag")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::any;
    use proptest::{prop_assert_eq, proptest};

    use super::*;

    proptest! {
        #[test]
        fn tags_behave_like_a_map(
            mut map in any::<BTreeMap<String, String>>(),
            (name, value) in any::<(String, String)>(),
        ) {
            let mut tags = Tags::from(map.clone());
            prop_assert_eq!(BTreeMap::from(tags.clone()), map.clone());
            prop_assert_eq!(tags.len(), map.len());
            prop_assert_eq!(tags.get(&name), map.get(&name).map(String::as_str));

            tags.insert(&name, &value);
            map.insert(name.clone(), value);
            prop_assert_eq!(BTreeMap::from(tags.clone()), map.clone());

            tags.remove(&name);
            map.remove(&name);
            prop_assert_eq!(BTreeMap::from(tags), map);
        }
    }
}
