//! Where a table is between two chunks, and what a change of the stream means to it.
//!
//! Duty: find the keys of the rows that a change is about, and pass it to what is under way. Pure.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::time::Instant;
use towpath_sdk::background::Background;

use super::ids::{Recent, Xid};
use super::job::{Progress, Request};
use super::read::Reader;
use super::window::{After, Chunk, Key, NULL, Touch, Touched, Window};
use crate::lsn::Lsn;
use crate::pgoutput::{Column, Old, Tuple};
use crate::table::{Row, Table};
use crate::unreadable::Read;

/// Bytes of a chunk, about.
const CHUNK_BYTES: usize = 8 * 1024 * 1024;
/// Rows of a table's first chunk, from which it is learnt how big they are.
const FIRST_ROWS: usize = 64;

/// A table that is being read.
pub(super) struct Job {
    /// Which of all jobs it is.
    pub(super) number: u64,
    pub(super) request: Request,
    pub(super) progress: Progress,
    pub(super) stage: Stage,
    pub(super) reader: Option<Reader>,
    /// Rows of the next chunk.
    pub(super) limit: usize,
    pub(super) next_try: Instant,
    /// Rows to be read once more that turned up since the last chunk was asked for.
    pub(super) fresh: BTreeSet<Key>,
    /// Whether it has begun anew since then.
    pub(super) is_anew: bool,
    /// The reading of a chunk.
    pub(super) work: Option<Background>,
    /// How many chunks were handed over.
    pub(super) chunks: u64,
}

pub(super) enum Stage {
    /// Nothing is under way.
    Idle,
    /// A chunk is being read.
    Reading {
        touched: Touched,
        /// How many transactions had come when the chunk was asked for.
        count: u64,
    },
    /// Its rows wait for the stream.
    Open {
        window: Window,
        /// How far the table is with it.
        progress: Progress,
    },
}

/// The rows before and after a change of the stream, as they came.
pub(crate) struct Images<'a> {
    pub(crate) old: Option<&'a Old>,
    pub(crate) new: Option<&'a Tuple>,
}

impl Job {
    /// One that has not begun; a chunk has at most `most` rows.
    pub(super) fn new(number: u64, request: Request, progress: Progress, most: usize) -> Self {
        Self {
            number,
            request,
            progress,
            stage: Stage::Idle,
            reader: None,
            limit: FIRST_ROWS.min(most),
            next_try: Instant::now(),
            fresh: BTreeSet::new(),
            is_anew: false,
            chunks: 0,
            work: None,
        }
    }

    /// Whether the next chunk may be asked for.
    pub(super) const fn is_idle(&self) -> bool {
        matches!(self.stage, Stage::Idle) && !self.progress.is_paused
    }

    /// The next chunk is asked for, after the stream has brought `count` transactions; from where.
    pub(super) fn asked(&mut self, count: u64) -> Progress {
        (self.is_anew, self.fresh) = (false, BTreeSet::new());
        self.stage = Stage::Reading { touched: Touched::default(), count };
        self.progress.clone()
    }

    /// A chunk has come, with which the table is as far as `progress` says. If not, it is to be asked for
    /// again.
    pub(super) fn arrived(
        &mut self,
        chunk: Chunk,
        progress: Progress,
        recent: &mut Recent,
    ) -> bool {
        let stage = std::mem::replace(&mut self.stage, Stage::Idle);
        let Stage::Reading { touched, count } = stage else { return false };
        if self.is_anew || !recent.are_seen(count, &chunk.seen) {
            return false;
        }
        let Some((window, again)) = Window::open(chunk, touched) else { return false };
        self.fresh.extend(again);
        self.stage = Stage::Open { window, progress };
        true
    }

    /// Whether rows wait that may follow now: all that was committed before `upto` was handed over.
    pub(super) fn is_over(&self, upto: Lsn) -> bool {
        matches!(&self.stage, Stage::Open { window, .. } if window.is_over(upto))
    }

    /// The rows whose turn has come, with how they were decoded and their bytes; `None` if they have to
    /// be read again.
    pub(super) fn close(&mut self) -> Option<(Arc<Table>, Vec<Read>, usize)> {
        let stage = std::mem::replace(&mut self.stage, Stage::Idle);
        let Stage::Open { window, progress } = stage else { return None };
        if window.is_void() || self.is_anew {
            return None;
        }
        let (table, rows, bytes) = window.close();
        let is_paused = self.progress.is_paused;
        let count = self.progress.rows + rows.len() as u64;
        self.progress = Progress { rows: count, is_paused, again: BTreeSet::new(), ..progress };
        self.progress.read_again(std::mem::take(&mut self.fresh));
        self.chunks += 1;
        Some((table, rows, bytes))
    }

    /// Learns from a chunk how many rows the next one may have.
    pub(super) fn adapt(&mut self, chunk: &Chunk, most: usize) {
        let each = chunk.bytes / chunk.rows.len().max(1);
        self.limit = (CHUNK_BYTES / each.max(1)).clamp(1, most);
    }

    /// A change is about to be handed over; `after` is the row after it, if that can be shown. What was read
    /// and is to be handed over before it, and whether it has to be stored what is to be read once more.
    pub(super) fn change(
        &mut self,
        table: &Table,
        xid: Xid,
        images: &Images<'_>,
        after: Option<&mut Row>,
    ) -> (Option<Read>, bool) {
        let old = images.old.map(|old| key_before(table, old));
        let new = images.new.map(|new| key_of(table, new));
        let (old, new) = match (old, new) {
            // TRUNCATE.
            (None, None) => {
                self.stage.truncate(xid);
                return (None, false);
            }
            (_, Some(None)) | (Some(None), _) => {
                self.stage.unknown(xid);
                return (None, false);
            }
            // A delete.
            (Some(Some(old)), None) => (None, old),
            (Some(Some(old)), Some(Some(new))) => ((old != new).then_some(old), new),
            (None, Some(Some(new))) => (None, new),
        };
        let moved_to = old.is_some().then(|| new.clone());
        let after = match (after, images.new) {
            (Some(row), _) => After::Row(row),
            (None, Some(new)) => After::Unreadable { is_partial: leaves_out(new) },
            (None, None) => After::Gone,
        };
        let mut touch = Touch { xid, old, new, after };
        let read = match &mut self.stage {
            Stage::Idle => None,
            Stage::Reading { touched, .. } => {
                touched.change(table, &touch);
                None
            }
            Stage::Open { window, .. } => window.change(table, &mut touch),
        };
        // Where it went may have been read before, and where it was may never be.
        let again = moved_to.filter(|_| touch.after.is_partial());
        let is_again = again.is_some();
        if let Some(key) = again {
            self.fresh.insert(key.clone());
            self.is_anew |= self.progress.read_again([key]);
        }
        (read, is_again)
    }
}

impl Stage {
    /// A change came of which it is not known what it is about.
    fn unknown(&mut self, xid: Xid) {
        match self {
            Self::Idle => {}
            Self::Reading { touched, .. } => touched.unknown(),
            Self::Open { window, .. } => window.unknown(xid),
        }
    }

    fn truncate(&mut self, xid: Xid) {
        match self {
            Self::Idle => {}
            Self::Reading { touched, .. } => touched.truncate(xid),
            Self::Open { window, .. } => window.truncate(xid),
        }
    }
}

/// Whether the stream did not send all of a row.
fn leaves_out(row: &Tuple) -> bool {
    row.columns().any(|column| matches!(column, Column::Unchanged))
}

/// The key of a row as the stream has it; `None` if that does not say.
fn key_of(table: &Table, row: &Tuple) -> Option<Key> {
    let value = |name: &Arc<str>| {
        let at = table.shape.columns.iter().position(|column| column.name == *name)?;
        match row.columns().nth(at)? {
            Column::Text(text) => std::str::from_utf8(text).ok().map(str::to_owned),
            Column::Null => Some(NULL.to_owned()),
            Column::Unchanged | Column::Binary(_) => None,
        }
    };
    table.shape.key.iter().map(value).collect()
}

/// The key of a row before a change; `None` if the replica identity does not cover it.
fn key_before(table: &Table, old: &Old) -> Option<Key> {
    let is_covered = |name: &Arc<str>| {
        let columns = &table.shape.columns;
        columns.iter().any(|column| column.name == *name && column.is_identity)
    };
    match old {
        Old::Row(tuple) => key_of(table, tuple),
        Old::Key(tuple) if table.shape.key.iter().all(is_covered) => key_of(table, tuple),
        Old::Key(_) => None,
    }
}
