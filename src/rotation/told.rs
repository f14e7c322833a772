//! Records which alerts the sinks have received about each token. The records are stored as *marks* in the tag `told`,
//! so that the next process can read them. A mark is a number for one incident and one sink.
//!
//! This module owns the marks and passes them from the sinks' tasks to the tokens' tasks. `alert::rules` computes the
//! mark from an incident and a sink.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::token::tags::Tags;
use crate::token::version::tag;

/// The largest number of marks that fit into a tag (docs/azure-facts.md F207).
const MOST: usize = 28;

/// A sorted set of marks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Marks(Vec<u32>);

impl Marks {
    /// Reads the marks in a version's tags.
    pub fn on(tags: &Tags) -> Self {
        let words = tags.get(tag::TOLD).unwrap_or_default().split_whitespace().take(MOST);
        let mut marks = Self::default();
        for mark in words.filter_map(|word| u32::from_str_radix(word, 16).ok()) {
            marks.add(mark);
        }
        marks
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn contains(&self, mark: u32) -> bool {
        self.0.binary_search(&mark).is_ok()
    }

    /// Adds a mark. Returns whether the mark is new and fits into the tag.
    pub fn add(&mut self, mark: u32) -> bool {
        match self.0.binary_search(&mark) {
            Err(place) if self.0.len() < MOST => {
                self.0.insert(place, mark);
                true
            }
            Ok(_) | Err(_) => false,
        }
    }

    /// Removes a mark. Returns whether the set contained the mark.
    fn remove(&mut self, mark: u32) -> bool {
        let place = self.0.binary_search(&mark);
        place.map(|place| self.0.remove(place)).is_ok()
    }

    /// Writes the marks into a version's tags.
    pub fn put(&self, tags: &mut Tags) {
        if self.is_empty() {
            tags.remove(tag::TOLD);
        } else {
            let words: Vec<String> = self.0.iter().map(|mark| format!("{mark:08x}")).collect();
            tags.insert(tag::TOLD, &words.join(" "));
        }
    }
}

/// The marks of all tokens. Cloning is cheap.
#[derive(Clone, Debug, Default)]
pub struct ToldOfAll(Arc<[MarksOfOne]>);

#[derive(Debug, Default)]
struct MarksOfOne {
    marks: Mutex<OwnMarks>,
    news: Notify,
}

/// This process's changes to the marks of one token. `told` has the marks that this process has added. `over` has the
/// marks that this process has removed, but that may still be in the tag. Marks of another instance stay in the tag.
#[derive(Debug, Default)]
struct OwnMarks {
    told: Marks,
    over: Marks,
}

impl OwnMarks {
    fn note(&mut self, mark: u32) -> bool {
        self.over.remove(mark);
        self.told.add(mark)
    }

    fn forget(&mut self, mark: u32) -> bool {
        let was_told = self.told.remove(mark);
        if was_told {
            self.over.add(mark);
        }
        was_told
    }
}

impl ToldOfAll {
    /// Creates an empty set of marks for each of `tokens` tokens.
    pub fn new(tokens: usize) -> Self {
        Self((0..tokens).map(|_| MarksOfOne::default()).collect())
    }

    /// Returns the handle to one token's marks.
    pub fn of(&self, token: usize) -> Told {
        Told { all: self.clone(), token }
    }

    /// Records a delivered alert about a token.
    pub fn note(&self, token: usize, mark: u32) {
        if let Some(record) = self.0.get(token) {
            record.change(|marks| marks.note(mark));
        }
    }

    /// Removes a mark from every token that has this mark.
    pub fn forget(&self, mark: u32) {
        self.0.iter().for_each(|record| record.change(|marks| marks.forget(mark)));
    }
}

impl MarksOfOne {
    fn marks(&self) -> MutexGuard<'_, OwnMarks> {
        self.marks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut OwnMarks) -> bool) {
        if change(&mut self.marks()) {
            self.news.notify_one();
        }
    }
}

/// The handle to one token's marks. The default handle is for a process without sinks.
#[derive(Clone, Debug, Default)]
pub struct Told {
    all: ToldOfAll,
    token: usize,
}

impl Told {
    /// Returns the marks that these tags should contain. Returns `None` in a process without sinks.
    pub fn on(&self, tags: &Tags) -> Option<Marks> {
        let mut own = self.all.0.get(self.token)?.marks();
        let mut noted = Marks::on(tags);
        own.over.0.retain(|mark| noted.remove(*mark));
        for mark in &own.told.0 {
            noted.add(*mark);
        }
        Some(noted)
    }

    /// Adds the marks of the previous process.
    pub fn inherit(&self, found: &Marks) {
        if let Some(record) = self.all.0.get(self.token) {
            let mut marks = record.marks();
            for mark in &found.0 {
                marks.told.add(*mark);
            }
        }
    }

    /// Waits for the next change of the marks.
    pub async fn changed(&self) {
        match self.all.0.get(self.token) {
            Some(record) => record.news.notified().await,
            None => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_survive_in_a_tag_and_invalid_text_is_ignored() {
        let mut tags = Tags::new();
        let mut marks = Marks::default();
        assert!(marks.add(0xffff_ffff) && marks.add(7) && !marks.add(7));
        assert!(marks.contains(7) && !marks.contains(8));
        marks.put(&mut tags);
        assert_eq!(tags.get(tag::TOLD), Some("00000007 ffffffff"));
        assert_eq!(Marks::on(&tags), marks);

        for mark in 0..100 {
            marks.add(mark);
        }
        marks.put(&mut tags);
        assert!(tags.get(tag::TOLD).is_some_and(|text| text.len() <= crate::token::version::MAX_TAG_CHARS));

        tags.insert(tag::TOLD, "x 100000000 \u{1b}[31m 7 00000007 -1");
        assert_eq!(Marks::on(&tags).0, [7]);
        Marks::default().put(&mut tags);
        assert!(!tags.contains(tag::TOLD));
    }

    #[test]
    fn a_tag_holds_28_marks() {
        let mut marks = Marks::default();
        assert_eq!((0..40).filter(|mark| marks.add(*mark)).count(), 28);
        assert!(marks.remove(3) && !marks.remove(3) && marks.add(39));
    }

    #[tokio::test(start_paused = true)]
    async fn only_a_change_of_ones_own_marks_is_news() {
        let all = ToldOfAll::new(2);
        let (own, other) = (all.of(0), all.of(1));
        let is_news = async |told: &Told| {
            tokio::time::timeout(std::time::Duration::from_secs(1), told.changed()).await.is_ok()
        };

        all.note(0, 7);
        assert!(is_news(&own).await && !is_news(&other).await);
        all.note(0, 7);
        all.forget(8);
        assert!(!is_news(&own).await, "nothing changed");
        all.forget(7);
        assert!(is_news(&own).await && !is_news(&other).await);
        assert!(!is_news(&Told::default()).await, "there are no sinks");
    }

    #[test]
    fn a_cleared_mark_leaves_every_token_and_inherited_marks_stay() {
        let all = ToldOfAll::new(2);
        all.of(0).inherit(&Marks(vec![1, 2]));
        all.note(0, 3);
        all.note(1, 3);
        all.forget(3);

        let none = Tags::new();
        assert_eq!(
            [0, 1, 2].map(|token| all.of(token).on(&none).map(|marks| marks.0)),
            [Some(vec![1, 2]), Some(vec![]), None]
        );
    }

    #[test]
    fn marks_of_another_instance_stay() {
        let all = ToldOfAll::new(1);
        let mut tags = Tags::new();
        Marks(vec![1, 7]).put(&mut tags);
        all.note(0, 7);
        all.note(0, 9);
        assert_eq!(all.of(0).on(&tags).map(|marks| marks.0), Some(vec![1, 7, 9]));

        all.forget(7);
        all.forget(1);
        assert_eq!(all.of(0).on(&tags).map(|marks| marks.0), Some(vec![1, 9]));
        all.note(0, 7);
        assert_eq!(all.of(0).on(&tags).map(|marks| marks.0), Some(vec![1, 7, 9]));
    }
}
