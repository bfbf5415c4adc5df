//! A table that is read while the stream goes on: what was asked for, and how far it is.
//!
//! Duty: the state of a table's incremental snapshot and its spelling in the offset topic. Pure.

use std::collections::BTreeSet;

use serde_json::Value as JsonValue;
use towpath_sdk::offset::{SourceOffset, SourcePartition, StoredOffsets};
use towpath_sdk::source::Mark;

use super::window::{Key, NULL};
use crate::offset::SERVER;

const TABLE: &str = "incremental";
const ID: &str = "id";
const CONDITION: &str = "condition";
const SURROGATE: &str = "surrogate_key";
const AFTER: &str = "after";
const UNTIL: &str = "until";
const IS_READ: &str = "read";
const AGAIN: &str = "again";
const ROWS: &str = "rows";
const IS_PAUSED: &str = "paused";

/// Rows that may have to be read once more; with more of them the table begins anew.
const AGAIN_MAX: usize = 1000;

/// What was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Request {
    /// The signal's id.
    pub(crate) id: String,
    /// `schema.table`.
    pub(crate) table: String,
    /// Which rows, as a condition of SQL; all if there is none.
    pub(crate) condition: Option<String>,
    /// The column by which rows are ordered in place of the key's.
    pub(crate) surrogate_key: Option<String>,
}

/// How far it is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Progress {
    /// The key of the last row that was read.
    pub(crate) after: Option<Key>,
    /// The last key that there was in the beginning.
    pub(crate) until: Option<Key>,
    /// Whether all up to it was read.
    pub(crate) is_read: bool,
    /// Rows that are read once more.
    pub(crate) again: BTreeSet<Key>,
    /// How many rows were handed over.
    pub(crate) rows: u64,
    /// Whether it waits until it is resumed.
    pub(crate) is_paused: bool,
}

impl Progress {
    /// Rows are to be read once more. If there are too many of them, or some can't be asked for, all are;
    /// whether it is so.
    pub(crate) fn read_again(&mut self, keys: impl IntoIterator<Item = Key>) -> bool {
        self.again.extend(keys);
        let has_null = self.again.iter().flatten().any(|text| text == NULL);
        let is_anew = has_null || self.again.len() > AGAIN_MAX;
        if is_anew {
            self.again.clear();
            (self.after, self.until, self.is_read) = (None, None, false);
        }
        is_anew
    }

    /// Whether nothing is left to be read.
    #[must_use]
    pub(crate) fn is_over(&self) -> bool {
        self.is_read && self.again.is_empty()
    }
}

fn partition(topic_prefix: &str, table: &str) -> SourcePartition {
    SourcePartition::of([(SERVER, topic_prefix), (TABLE, table)])
}

fn flat(nested: JsonValue) -> JsonValue {
    // Offsets are flat: nested values are texts.
    nested.to_string().into()
}

/// The mark that stores how far a table is, after `count` records.
#[must_use]
pub(crate) fn mark(count: usize, topic_prefix: &str, request: &Request, at: &Progress) -> Mark {
    let mut fields: Vec<(&str, JsonValue)> = vec![
        (ID, request.id.as_str().into()),
        (IS_READ, at.is_read.into()),
        (IS_PAUSED, at.is_paused.into()),
        (ROWS, at.rows.into()),
    ];
    let text = |text: &Option<String>| text.as_deref().map(JsonValue::from);
    fields.extend(text(&request.condition).map(|text| (CONDITION, text)));
    fields.extend(text(&request.surrogate_key).map(|text| (SURROGATE, text)));
    fields.extend(at.after.as_ref().map(|key| (AFTER, flat(key.as_slice().into()))));
    fields.extend(at.until.as_ref().map(|key| (UNTIL, flat(key.as_slice().into()))));
    if !at.again.is_empty() {
        let again = at.again.iter().map(|key| JsonValue::from(key.as_slice()));
        fields.push((AGAIN, flat(again.collect::<Vec<_>>().into())));
    }
    Mark::new(count, partition(topic_prefix, &request.table), SourceOffset::of(fields))
}

/// The mark that forgets a table, after `count` records.
#[must_use]
pub(crate) fn forget(count: usize, topic_prefix: &str, table: &str) -> Mark {
    Mark::forget(count, partition(topic_prefix, table))
}

/// The tables that were being read when offsets were stored.
#[must_use]
pub(crate) fn stored(topic_prefix: &str, offsets: &StoredOffsets) -> Vec<(Request, Progress)> {
    let of_table = |(partition, offset): &(SourcePartition, SourceOffset)| {
        if partition.get_str(SERVER) != Some(topic_prefix) {
            return None;
        }
        let text = |key| offset.get_str(key).map(str::to_owned);
        let request = Request {
            id: text(ID).unwrap_or_default(),
            table: partition.get_str(TABLE)?.to_owned(),
            condition: text(CONDITION),
            surrogate_key: text(SURROGATE),
        };
        let key = |key| offset.get_str(key).and_then(|text| serde_json::from_str(text).ok());
        let is = |key| offset.get(key).and_then(JsonValue::as_bool).unwrap_or_default();
        let again = offset.get_str(AGAIN).and_then(|text| serde_json::from_str(text).ok());
        let progress = Progress {
            after: key(AFTER),
            until: key(UNTIL),
            is_read: is(IS_READ),
            again: again.unwrap_or_default(),
            rows: offset.get_i64(ROWS).and_then(|rows| u64::try_from(rows).ok()).unwrap_or(0),
            is_paused: is(IS_PAUSED),
        };
        Some((request, progress))
    };
    offsets.iter().filter_map(of_table).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_stored_is_read_again() {
        let request = Request {
            id: "a".into(),
            table: "s.t".into(),
            condition: Some("x = 'y'".into()),
            surrogate_key: None,
        };
        let key = |text: &str| vec![text.to_owned(), "\"'\\".to_owned()];
        let mut progress = Progress {
            after: Some(key("1")),
            until: Some(key("9")),
            rows: 5,
            is_paused: true,
            ..Progress::default()
        };
        assert!(!progress.read_again([key("3"), key("4")]));
        let Mark { partition, offset, .. } = mark(7, "p", &request, &progress);
        let mut offsets = StoredOffsets::default();
        offsets.set(partition, offset);
        offsets.set(crate::offset::partition("p"), Some(SourceOffset::of([("lsn", 1)])));
        assert_eq!(stored("p", &offsets), [(request.clone(), progress)]);
        assert_eq!(stored("q", &offsets), []);
        let Mark { partition, offset, .. } = forget(0, "p", "s.t");
        offsets.set(partition, offset);
        assert_eq!(stored("p", &offsets), []);
    }

    #[test]
    fn with_too_much_to_read_again_all_is() {
        let mut progress = Progress { is_read: true, ..Progress::default() };
        assert!(!progress.read_again((0..AGAIN_MAX).map(|n| vec![n.to_string()])));
        assert!(progress.is_read && !progress.is_over() && progress.again.len() == AGAIN_MAX);
        assert!(progress.read_again([vec!["x".to_owned()]]));
        assert_eq!(progress, Progress::default());
        assert!(progress.read_again([vec![NULL.to_owned()]]));
    }
}
