//! One partition of a topic.
//!
//! Duty: the bounds of the log in memory, and reading the log: which rows a reader sees, and where it
//! goes on. Rows themselves are in the store.
//!
//! Invariants:
//! - below the last stable offset every transaction has ended, so that a row's fate is known;
//! - a read that found no visible row still moves on, over markers, gaps and aborted rows.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;
use towpath_core::ports::PortResult;
use towpath_sdk::record::TopicPartition;

use crate::chunk::{Chunk, Kind, Row};
use crate::keys;
use crate::store::{Space, Store};

/// Which rows a reader sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Isolation {
    /// Those of committed transactions and of none.
    Committed,
    /// All.
    Uncommitted,
}

/// A stretch that belongs to an aborted transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Aborted {
    pub(crate) producer_id: i64,
    pub(crate) first: i64,
    /// The offset of the marker.
    pub(crate) marker: i64,
}

/// Where a log begins and ends, and what is undecided in it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Bounds {
    /// The first offset that may be read.
    pub(crate) start: i64,
    /// The offset behind the last.
    pub(crate) next: i64,
    /// First offsets of open transactions by producer.
    pub(crate) open: BTreeMap<i64, i64>,
    pub(crate) aborted: Arc<Vec<Aborted>>,
    /// Stored bytes.
    pub(crate) bytes: u64,
    /// Stored bytes when the log was last compacted.
    pub(crate) compacted_bytes: u64,
    /// When retention by time last looked.
    pub(crate) looked_at: Option<Instant>,
}

impl Bounds {
    /// Everything below is decided.
    pub(crate) fn last_stable(&self) -> i64 {
        self.open.values().copied().min().unwrap_or(self.next)
    }

    /// How far a reader may read.
    pub(crate) fn readable(&self, isolation: Isolation) -> i64 {
        match isolation {
            Isolation::Committed => self.last_stable(),
            Isolation::Uncommitted => self.next,
        }
    }
}

/// One partition.
#[derive(Debug)]
pub(crate) struct Partition {
    pub(crate) at: TopicPartition,
    pub(crate) topic_id: u32,
    bounds: Mutex<Bounds>,
    watchers: Mutex<Vec<Weak<Notify>>>,
}

/// What became of a visible row: whether the reader takes it, and goes on.
pub(crate) type TakeRow<'a> = &'a mut dyn FnMut(i64, &Row<'_>) -> ControlFlow<()>;

/// How a read ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Read {
    /// Where to go on.
    Upto(i64),
    /// The offset is not in the log, which has these bounds.
    OutOfRange { start: i64, next: i64 },
}

impl Partition {
    pub(crate) fn new(at: TopicPartition, topic_id: u32, bounds: Bounds) -> Self {
        Self { at, topic_id, bounds: Mutex::new(bounds), watchers: Mutex::default() }
    }

    pub(crate) fn bounds(&self) -> Bounds {
        self.bounds.lock().clone()
    }

    pub(crate) fn readable(&self, isolation: Isolation) -> i64 {
        self.bounds.lock().readable(isolation)
    }

    /// Changes the bounds and wakes readers. Only the holder of the writer's lock calls it.
    pub(crate) fn update(&self, change: impl FnOnce(&mut Bounds)) {
        change(&mut self.bounds.lock());
        self.watchers.lock().retain(|watcher| match watcher.upgrade() {
            Some(notify) => {
                notify.notify_one();
                true
            }
            None => false,
        });
    }

    /// Remembers when retention looked at the partition.
    pub(crate) fn note_look(&self, at: Instant) {
        self.bounds.lock().looked_at = Some(at);
    }

    /// `notify` is told of every change from now on, for as long as it lives.
    pub(crate) fn watch(&self, notify: &Arc<Notify>) {
        let mut watchers = self.watchers.lock();
        let known = watchers.iter().any(|w| std::ptr::eq(w.as_ptr(), Arc::as_ptr(notify)));
        if !known {
            watchers.push(Arc::downgrade(notify));
        }
    }

    /// `notify` is told no more.
    pub(crate) fn unwatch(&self, notify: &Arc<Notify>) {
        self.watchers.lock().retain(|w| !std::ptr::eq(w.as_ptr(), Arc::as_ptr(notify)));
    }

    /// Hands the visible rows from `from` on to `take`, which breaks at a row that it does not take.
    pub(crate) fn read(
        &self,
        store: &dyn Store,
        from: i64,
        isolation: Isolation,
        take: TakeRow<'_>,
    ) -> PortResult<Read> {
        let bounds = self.bounds();
        let upto = bounds.readable(isolation);
        if from < bounds.start || from > bounds.next {
            return Ok(Read::OutOfRange { start: bounds.start, next: bounds.next });
        }
        let mut stopped_at = None;
        self.chunks(store, from, upto, &mut |chunk| {
            if !sees(&bounds.aborted, isolation, chunk) {
                return Ok(ControlFlow::Continue(()));
            }
            for row in chunk.rows() {
                let row = row?;
                let offset = chunk.base + i64::from(row.delta);
                if offset >= from && take(offset, &row).is_break() {
                    stopped_at = Some(offset);
                    return Ok(ControlFlow::Break(()));
                }
            }
            Ok(ControlFlow::Continue(()))
        })?;
        // Retention may have overtaken the read.
        let start = self.bounds.lock().start;
        if from < start {
            return Ok(Read::OutOfRange { start, next: bounds.next });
        }
        Ok(Read::Upto(stopped_at.unwrap_or(upto).max(from)))
    }

    /// Visits the chunks that hold offsets from `from` to `upto` (exclusive).
    pub(crate) fn chunks(
        &self,
        store: &dyn Store,
        from: i64,
        upto: i64,
        visit: &mut dyn FnMut(&Chunk) -> PortResult<ControlFlow<()>>,
    ) -> PortResult<()> {
        if from >= upto {
            return Ok(());
        }
        let key = |offset| keys::chunk(self.topic_id, self.at.partition, offset);
        let before = store.last(Space::Log, &key(0), &key(from.saturating_add(1)))?;
        let first = before.map_or_else(|| key(from), |(key, _)| key);
        let mut result = Ok(());
        store.scan(Space::Log, &first, &key(upto), &mut |key, value| {
            let base = keys::parse_chunk(key).map_or(0, |(_, _, base)| base);
            match Chunk::parse(base, value).and_then(|chunk| visit(&chunk)) {
                Ok(flow) => flow,
                Err(error) => {
                    result = Err(error);
                    ControlFlow::Break(())
                }
            }
        })?;
        result
    }
}

pub(crate) fn sees(aborted: &[Aborted], isolation: Isolation, chunk: &Chunk) -> bool {
    match (chunk.head.kind, isolation) {
        (Kind::Marker(_), _) => false,
        (Kind::Plain, _) | (Kind::Transactional(_), Isolation::Uncommitted) => true,
        (Kind::Transactional(id), Isolation::Committed) => !aborted
            .iter()
            .any(|a| a.producer_id == id && (a.first..a.marker).contains(&chunk.base)),
    }
}
