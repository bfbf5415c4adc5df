//! Reading all rows of tables under one snapshot, by several connections.
//!
//! Duty: a *pass*: share the ranges of [`plan`] out to readers ([`reader`]), hand their rows over with
//! the marks that say what was read, and say of each row where in the snapshot it is. What an earlier
//! pass has read is taken up.
//!
//! Invariant: a mark follows the rows that it speaks of in the same piece.

pub(crate) mod copy;
pub(crate) mod plan;
mod reader;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::mpsc;
use towpath_sdk::context::{TaskContext, Work};
use towpath_sdk::instruments::Gauge;
use towpath_sdk::offset::StoredOffsets;
use towpath_sdk::record::Record;
use towpath_sdk::source::Mark;
use towpath_sdk::{Error, Result};

use crate::catalog::{Heap, Listed};
use crate::client::{self, Session};
use crate::envelope::{Envelopes, SnapshotMark, Source, set_snapshot};
use crate::notification::{Aggregate, Notification, Notifier};
use crate::output::Output;
use crate::pieces::Piece;
use crate::table::Table;
use crate::wire::quote_identifier;
use plan::{Known, Marks, Range};
use reader::{Chunk, ReadTo, Reading, Shared};

/// Bytes of rows that can't be shown which are kept with the last one that is; behind more of them it is not
/// said which was the last.
const HELD_BYTES: usize = 4 * 1024 * 1024;
/// How often progress is told.
const TELL: Duration = Duration::from_millis(500);

/// A pass over tables.
pub(crate) struct Pass<'a> {
    /// The task.
    pub(crate) cx: &'a TaskContext,
    /// Where people are told.
    pub(crate) notifier: &'a Notifier,
    /// Where pieces go.
    pub(crate) output: &'a Output,
    /// Where progress is stored.
    pub(crate) marks: Marks,
    /// Connections in a transaction under the snapshot.
    pub(crate) readers: Vec<Session>,
    /// The xmin of the snapshot.
    pub(crate) xmin: u32,
    /// What all rows have in their block `source`.
    pub(crate) source: Source,
    /// Makes records.
    pub(crate) envelopes: Arc<Envelopes>,
    /// The most records in a piece.
    pub(crate) max_records: usize,
}

/// Rows of a table, on their way.
struct Arrived {
    table: usize,
    range: usize,
    chunk: Result<Chunk>,
}

/// A table of a pass.
struct Progress {
    reading: Reading,
    ranges: Vec<Range>,
    /// Ranges that are not done.
    left: usize,
    has_rows: bool,
    rows: u64,
    /// The last piece, kept until it is known whether it is the table's last.
    held: Option<(Piece, usize)>,
}

impl Pass<'_> {
    /// Reads `tables`, but for what `known` says was read before. What it says of tables that are not
    /// among them, or were rewritten, is forgotten.
    ///
    /// # Errors
    /// The first error of a reader, or if nobody polls any more.
    pub(crate) async fn run(self, tables: Vec<(Arc<Table>, Heap)>, mut known: Known) -> Result<()> {
        let mut stale = Vec::new();
        let mut all = Vec::new();
        for (table, heap) in tables {
            let ranges = known.remove(&heap.shape.oid).unwrap_or_default();
            let is_same = ranges.iter().all(|(filenode, _)| *filenode == heap.filenode);
            if !is_same {
                stale.extend(ranges.iter().map(|(_, range)| (heap.shape.oid, range.from)));
            }
            let ranges = if is_same {
                ranges.into_iter().map(|(_, range)| range).collect()
            } else {
                Vec::new()
            };
            let ranges = plan::ranges(heap.blocks, heap.has_places, ranges);
            let reading = Reading::new(table, heap);
            let left = ranges.len();
            all.push(Progress { reading, ranges, left, has_rows: false, rows: 0, held: None });
        }
        stale.extend(known.into_iter().flat_map(|(table, ranges)| {
            ranges.into_iter().map(move |(_, range)| (table, range.from))
        }));
        self.forget(stale).await?;
        self.read_all(all).await
    }

    async fn forget(&self, ranges: Vec<(u32, u32)>) -> Result<()> {
        if ranges.is_empty() {
            return Ok(());
        }
        let marks = ranges.iter().map(|(table, from)| self.marks.forget(*table, *from)).collect();
        self.output.send(Piece { records: Vec::new(), marks }, 0).await
    }

    async fn read_all(self, mut tables: Vec<Progress>) -> Result<()> {
        let queue: VecDeque<(usize, usize)> = tables
            .iter()
            .enumerate()
            .flat_map(|(table, progress)| {
                (0..progress.ranges.len()).map(move |range| (table, range))
            })
            .collect();
        let total = queue.len();
        let queue = Arc::new(Mutex::new(queue));
        let plan: Arc<[(Reading, Vec<Range>)]> =
            tables.iter().map(|table| (table.reading.clone(), table.ranges.clone())).collect();
        let shared = Arc::new(Shared {
            envelopes: Arc::clone(&self.envelopes),
            clock: self.cx.clock(),
            source: self.source,
            max_records: self.max_records,
        });
        let (give, mut arrived) = mpsc::channel(2);
        let mut readers = Vec::new();
        for client in self.readers {
            let (queue, plan) = (Arc::clone(&queue), Arc::clone(&plan));
            let (shared, give) = (Arc::clone(&shared), give.clone());
            readers.push(
                self.cx.spawn("snapshot reader", read_ranges(client, queue, plan, shared, give)),
            );
        }
        drop(give);
        let mut telling = Telling::new(self.cx, total, tables.len());
        let mut is_first = true;
        let mut last: Option<(Piece, usize)> = None;
        while let Some(Arrived { table, range, chunk }) = arrived.recv().await {
            let chunk = chunk?;
            let Some(progress) = tables.get_mut(table) else { continue };
            telling.rows += chunk.records.len() as u64;
            progress.rows += chunk.records.len() as u64;
            let mut piece = Piece { records: chunk.records, marks: Vec::new() };
            if let Some(record) = piece.records.iter_mut().find(|record| is_shown(record)) {
                if std::mem::take(&mut is_first) {
                    set_snapshot(record, SnapshotMark::First);
                } else if !progress.has_rows {
                    set_snapshot(record, SnapshotMark::FirstOfTable);
                }
                progress.has_rows = true;
            }
            if let (Some(read_to), Some(range)) = (chunk.read_to, progress.ranges.get(range)) {
                let tid = match read_to {
                    ReadTo::Tuple(tid) => Some(tid),
                    ReadTo::End => None,
                };
                let offset =
                    Marks::offset(range, range.progress(tid, self.xmin), progress.reading.filenode);
                let partition = self.marks.partition(progress.reading.oid, range.from);
                piece.marks.push(Mark::new(piece.records.len(), partition, offset));
                if read_to == ReadTo::End {
                    progress.left -= 1;
                    telling.done += 1;
                }
            }
            telling.tell(self.cx, &progress.reading.table);
            progress.hold(piece, chunk.bytes, self.output).await?;
            if progress.left == 0 {
                telling.tables -= 1;
                progress.tell_end(self.notifier, self.output).await?;
                let held = progress.held.take();
                if let Some((mut piece, bytes)) = held {
                    if !piece.records.iter().any(is_shown) {
                        self.output.send(piece, bytes).await?;
                        continue;
                    }
                    mark_last(&mut piece.records, SnapshotMark::LastOfTable);
                    if let Some((piece, bytes)) = last.replace((piece, bytes)) {
                        self.output.send(piece, bytes).await?;
                    }
                }
            }
        }
        for reader in readers {
            reader.await?;
        }
        if let Some((mut piece, bytes)) = last {
            mark_last(&mut piece.records, SnapshotMark::Last);
            self.output.send(piece, bytes).await?;
        }
        telling.show();
        self.cx.work(None);
        Ok(())
    }
}

/// Whether a record says where in the snapshot it is: one that can't be shown does not.
fn is_shown(record: &Record) -> bool {
    record.refusal().is_none()
}

/// Says that the last record that is shown is the last of something. The snapshot's first record stays that.
fn mark_last(records: &mut [Record], mark: SnapshotMark) {
    let is_only = records.iter().filter(|record| is_shown(record)).take(2).count() == 1;
    if let Some(record) = records.iter_mut().rev().find(|record| is_shown(record))
        && !(is_only
            && mark == SnapshotMark::LastOfTable
            && crate::envelope::snapshot_of(record) == Some(SnapshotMark::First.text()))
    {
        set_snapshot(record, mark);
    }
}

impl Progress {
    /// Tells people that the table was read.
    async fn tell_end(&self, notifier: &Notifier, output: &Output) -> Result<()> {
        let data = vec![
            ("scanned_collection", self.reading.table.collection.to_string()),
            ("total_rows_scanned", self.rows.to_string()),
            ("status", if self.rows == 0 { "EMPTY" } else { "SUCCEEDED" }.to_owned()),
        ];
        let (id, aggregate) = (String::new(), Aggregate::Initial);
        let notification = Notification { id, aggregate, kind: "TABLE_SCAN_COMPLETED", data };
        let records = notifier.tell(notification)?.into_iter().collect();
        output.send(Piece { records, marks: Vec::new() }, 0).await
    }

    /// Keeps a piece with the last rows so far, and hands over what was kept.
    async fn hold(&mut self, mut piece: Piece, bytes: usize, output: &Output) -> Result<()> {
        let shows = piece.records.iter().any(is_shown);
        let (piece, bytes) = match self.held.take() {
            // Without rows that are shown it goes with those before it, whose order it keeps.
            Some((mut held, held_bytes))
                if piece.records.is_empty() || (!shows && held_bytes < HELD_BYTES) =>
            {
                let count = held.records.len();
                held.records.append(&mut piece.records);
                held.marks.extend(piece.marks.into_iter().map(|mut mark| {
                    mark.after += count;
                    mark
                }));
                (held, held_bytes + bytes)
            }
            Some((held, held_bytes)) => {
                output.send(held, held_bytes).await?;
                (piece, bytes)
            }
            None => (piece, bytes),
        };
        self.held = Some((piece, bytes));
        Ok(())
    }
}

/// Reads ranges until none is left.
async fn read_ranges(
    client: Session,
    queue: Arc<Mutex<VecDeque<(usize, usize)>>>,
    plan: Arc<[(Reading, Vec<Range>)]>,
    shared: Arc<Shared>,
    give: mpsc::Sender<Arrived>,
) -> Result<()> {
    loop {
        let next = queue.lock().pop_front();
        let Some((table, range)) = next else { return Ok(()) };
        let Some((reading, ranges)) = plan.get(table) else { continue };
        let Some(of) = ranges.get(range) else { continue };
        let hand = |chunk| {
            let give = give.clone();
            async move {
                let sent = give.send(Arrived { table, range, chunk: Ok(chunk) }).await;
                sent.map_err(|_gone| Error::internal("hand rows over"))
            }
        };
        if let Err(error) = reader::read(&client, reading, of, &shared, hand).await {
            // If nobody hears it, the pass is over.
            drop(give.send(Arrived { table, range, chunk: Err(error) }).await);
            return Ok(());
        }
    }
}

/// Progress for people.
struct Telling {
    began: Instant,
    told: Option<Instant>,
    /// Ranges done, and all of them.
    done: usize,
    total: usize,
    tables: usize,
    rows: u64,
    meters: Meters,
}

/// Progress for machines.
struct Meters {
    ranges: Gauge,
    ranges_done: Gauge,
    rows: Gauge,
    /// -1 while it can't be told.
    left_ms: Gauge,
}

impl Telling {
    fn new(cx: &TaskContext, total: usize, tables: usize) -> Self {
        let gauge = |name| cx.gauge(name, &[]);
        let meters = Meters {
            ranges: gauge("snapshot_ranges"),
            ranges_done: gauge("snapshot_ranges_done"),
            rows: gauge("snapshot_rows"),
            left_ms: gauge("snapshot_left_ms"),
        };
        Self { began: Instant::now(), told: None, done: 0, total, tables, rows: 0, meters }
    }

    /// How long the rest takes, if it goes on as so far.
    fn left(&self) -> Option<Duration> {
        (self.done > 0).then(|| {
            let part = (self.total - self.done) as f64 / self.done as f64;
            self.began.elapsed().mul_f64(part)
        })
    }

    fn show(&self) {
        let whole = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
        self.meters.ranges.set(whole(self.total));
        self.meters.ranges_done.set(whole(self.done));
        self.meters.rows.set(i64::try_from(self.rows).unwrap_or(i64::MAX));
        let left = self.left().map(|left| i64::try_from(left.as_millis()).unwrap_or(i64::MAX));
        self.meters.left_ms.set(left.unwrap_or(-1));
    }

    fn tell(&mut self, cx: &TaskContext, table: &Table) {
        let now = Instant::now();
        if self.told.is_some_and(|told| told + TELL > now) {
            return;
        }
        self.told = Some(now);
        self.show();
        let left = self.left();
        let more = match self.tables.saturating_sub(1) {
            0 => String::new(),
            others => format!(" and {others} more tables"),
        };
        cx.work(Some(Work {
            what: format!("snapshot of {}{more} ({} rows so far)", table.collection, self.rows),
            done: self.done as u64,
            total: Some(self.total as u64),
            unit: "ranges",
            left,
        }));
    }
}

/// Puts connections into transactions under one snapshot; the snapshot's xmin.
///
/// # Errors
/// If the server does not let us.
pub(crate) async fn enter(readers: &[Session], snapshot: &str) -> Result<u32> {
    let what = "read under an exported snapshot";
    let literal = crate::wire::quote_literal(snapshot);
    // A mark says that all tuples before it were read. Neither a scan that joins another's midway nor
    // one by several processes gives them in order.
    let begin = format!(
        "set synchronize_seqscans = off; set max_parallel_workers_per_gather = 0; \
         begin isolation level repeatable read read only; set transaction snapshot {literal}"
    );
    for client in readers {
        client.batch_execute(&begin).await.map_err(|error| client::failed(what, error))?;
    }
    let Some(first) = readers.first() else { return Err(Error::internal("find a connection")) };
    xmin(first).await
}

/// Keeps tables from being rewritten while connections are in their transactions: of a table that was
/// begun earlier, the places of what is left would be others.
///
/// # Errors
/// If the server does not let us.
pub(crate) async fn hold(readers: &[Session], tables: impl Iterator<Item = &Listed>) -> Result<()> {
    for table in tables {
        let name = format!("{}.{}", quote_identifier(&table.schema), quote_identifier(&table.name));
        let lock = format!("lock table only {name} in access share mode");
        for client in readers {
            let locked = client.batch_execute(&lock).await;
            locked.map_err(|error| client::failed("keep a table as it is", error))?;
        }
    }
    Ok(())
}

/// The xmin of the snapshot of a connection's transaction, as tuples have it: without the epoch.
///
/// # Errors
/// If the server can't be asked.
pub(crate) async fn xmin(client: &Session) -> Result<u32> {
    // The functions of PostgreSQL 13 have these names, too.
    let sql = "select (txid_snapshot_xmin(txid_current_snapshot()) & 4294967295)::int8";
    let row = client.query_one(sql, &[]).await;
    let row = row.map_err(|error| client::failed("read the snapshot's xmin", error))?;
    let xmin: i64 =
        row.try_get(0).map_err(|error| client::failed("read the snapshot's xmin", error))?;
    Ok(u32::try_from(xmin).unwrap_or(0))
}

/// The partitions of all that was stored of ranges.
#[must_use]
pub(crate) fn stored_ranges(marks: &Marks, known: &StoredOffsets) -> Vec<Mark> {
    marks
        .stored(known)
        .into_iter()
        .flat_map(|(table, ranges)| ranges.into_iter().map(move |(_, range)| (table, range.from)))
        .map(|(table, from)| marks.forget(table, from))
        .collect()
}
