//! Rows that were read and are not handed over yet, beside a stream that goes on.
//!
//! Duty: of a chunk and the changes of the stream around it, say what is handed over: each row once its
//! turn comes, unless a change that the chunk does not show was handed over instead. Pure. Why this is
//! sound: `docs/decisions/044-snapshots-beside-the-stream.md`.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use super::ids::{Seen, Xid};
use crate::lsn::Lsn;
use crate::table::{Row, Table};
use crate::unreadable::Read;

/// What a row is known by: the texts of its key's columns.
pub(crate) type Key = Vec<String>;

/// In a key: a column without a value. No text of PostgreSQL has this character.
pub(crate) const NULL: &str = "\0";

/// Rows of different keys that the stream may change while a chunk is being read; with more, the chunk
/// is read again.
const TOUCHED: usize = 100_000;

/// Rows that were read together.
#[derive(Debug)]
pub(crate) struct Chunk {
    /// How they were decoded.
    pub(crate) table: Arc<Table>,
    /// What the snapshot they were read under sees.
    pub(crate) seen: Seen,
    /// All that it sees was committed before this.
    pub(crate) high: Lsn,
    /// The rows, each with what it is known by; a table without a key has rows that are known by nothing.
    pub(crate) rows: Vec<(Option<Key>, Read)>,
    /// Bytes of the rows as they came.
    pub(crate) bytes: usize,
}

/// A change of the stream, as far as it concerns rows that are read.
#[derive(Debug)]
pub(crate) struct Touch<'a> {
    /// Its transaction.
    pub(crate) xid: Xid,
    /// The row's key before it, if it had another one.
    pub(crate) old: Option<Key>,
    /// The key of the row that it is about.
    pub(crate) new: Key,
    /// The row after it.
    pub(crate) after: After<'a>,
}

/// The row after a change.
#[derive(Debug)]
pub(crate) enum After<'a> {
    /// There is none.
    Gone,
    /// As it is shown.
    Row(&'a mut Row),
    /// It can't be shown.
    Unreadable {
        /// Whether it was sent without some values.
        is_partial: bool,
    },
}

impl After<'_> {
    /// Whether values are left out of it.
    #[must_use]
    pub(crate) fn is_partial(&self) -> bool {
        match self {
            Self::Gone => false,
            Self::Row(row) => row.is_partial(),
            Self::Unreadable { is_partial } => *is_partial,
        }
    }
}

/// What the stream changed while a chunk was being read.
#[derive(Debug, Default)]
pub(crate) struct Touched {
    /// The columns of the key.
    names: Option<Vec<Arc<str>>>,
    /// By key: the last transaction, and whether a change left out values.
    keys: HashMap<Key, (Xid, bool)>,
    /// The last TRUNCATE.
    truncated: Option<Xid>,
    /// Whether more happened than can be kept.
    is_unknown: bool,
}

/// An open window: rows between their being read and their being handed over.
#[derive(Debug)]
pub(crate) struct Window {
    table: Arc<Table>,
    seen: Seen,
    high: Lsn,
    rows: Vec<Option<Read>>,
    by_key: HashMap<Key, usize>,
    bytes: usize,
    is_void: bool,
}

impl Touched {
    /// A change was handed over.
    pub(crate) fn change(&mut self, table: &Table, touch: &Touch<'_>) {
        let Touch { xid, old, new, after } = touch;
        let names = self.names.get_or_insert_with(|| table.shape.key.clone());
        if *names != table.shape.key {
            return self.unknown();
        }
        let is_partial = after.is_partial();
        for (key, is_partial) in old.iter().map(|old| (old, false)).chain([(new, is_partial)]) {
            if self.keys.len() >= TOUCHED && !self.keys.contains_key(key) {
                self.is_unknown = true;
                return;
            }
            let known = self.keys.entry(key.clone()).or_insert((*xid, false));
            *known = (*xid, known.1 || is_partial);
        }
    }

    /// All rows were removed.
    pub(crate) fn truncate(&mut self, xid: Xid) {
        self.truncated = Some(xid);
    }

    /// A change of which it is not known what it is about.
    pub(crate) const fn unknown(&mut self) {
        self.is_unknown = true;
    }
}

impl Window {
    /// Opens a window with what was read while `touched` happened; the keys of rows that have to be read
    /// once more, since a change that the chunk does not show was handed over without all of its values.
    /// `None`: the chunk has to be read again.
    #[must_use]
    pub(crate) fn open(chunk: Chunk, touched: Touched) -> Option<(Self, BTreeSet<Key>)> {
        let is_other = touched.names.as_ref().is_some_and(|names| *names != chunk.table.shape.key);
        if touched.is_unknown || is_other {
            return None;
        }
        let Chunk { table, seen, high, rows, bytes } = chunk;
        let is_emptied = touched.truncated.is_some_and(|xid| !seen.sees(xid));
        let mut by_key = HashMap::new();
        let mut kept = Vec::with_capacity(rows.len());
        let mut again = BTreeSet::new();
        for (key, row) in if is_emptied { Vec::new() } else { rows } {
            if let Some(key) = key {
                match touched.keys.get(&key) {
                    Some((xid, is_partial)) if !seen.sees(*xid) => {
                        if *is_partial {
                            again.insert(key);
                        }
                        continue;
                    }
                    // It was read in its turn and once more.
                    _ if by_key.contains_key(&key) => continue,
                    _ => {
                        by_key.insert(key, kept.len());
                    }
                }
            }
            kept.push(Some(row));
        }
        Some((Self { table, seen, high, rows: kept, by_key, bytes, is_void: false }, again))
    }

    /// What the rows show.
    #[cfg(test)]
    pub(crate) const fn seen(&self) -> &Seen {
        &self.seen
    }

    /// Whether everything that the rows show has come, if all that was committed before `upto` has.
    #[must_use]
    pub(crate) fn is_over(&self, upto: Lsn) -> bool {
        self.high <= upto
    }

    /// Whether what was read can't be handed over any more, and has to be read again.
    #[must_use]
    pub(crate) const fn is_void(&self) -> bool {
        self.is_void
    }

    /// A change is about to be handed over. If the row that was read does not show it, the change stands
    /// for the row; what it left alone is taken from the row. Where it can't be, since one of the two can't
    /// be shown, the row is returned, and its turn is before the change.
    pub(crate) fn change(&mut self, table: &Table, touch: &mut Touch<'_>) -> Option<Read> {
        let Touch { xid, old, new, after } = touch;
        if self.seen.sees(*xid) {
            return None;
        }
        if self.table.shape.key != table.shape.key || *self.table.row != *table.row {
            // The table has been altered since.
            self.is_void = true;
            return None;
        }
        let before = old.as_ref().and_then(|old| self.take(old));
        let at = self.take(new);
        match (after, before.or(at)?) {
            (After::Row(after), Ok(row)) => after.fill_unchanged(&row),
            (after, row) if after.is_partial() => return Some(row),
            _ => {}
        }
        None
    }

    /// All rows are about to be removed.
    pub(crate) fn truncate(&mut self, xid: Xid) {
        if !self.seen.sees(xid) {
            self.rows.clear();
            self.by_key.clear();
        }
    }

    /// A change of which it is not known what it is about.
    pub(crate) fn unknown(&mut self, xid: Xid) {
        self.is_void |= !self.seen.sees(xid);
    }

    fn take(&mut self, key: &Key) -> Option<Read> {
        let at = self.by_key.remove(key)?;
        self.rows.get_mut(at)?.take()
    }

    /// What is handed over at the end, in the order in which it was read, and its bytes.
    #[must_use]
    pub(crate) fn close(self) -> (Arc<Table>, Vec<Read>, usize) {
        (self.table, self.rows.into_iter().flatten().collect(), self.bytes)
    }
}
