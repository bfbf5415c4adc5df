//! One connection that reads ranges of tables.
//!
//! Duty: take the next range, read its slices by COPY, and give the rows back as records, in chunks
//! each of which says up to where the range was read.

use std::sync::Arc;

use futures::TryStreamExt as _;
use tokio_postgres::Client;
use towpath_sdk::clock::Clock;
use towpath_sdk::record::Record;
use towpath_sdk::{Error, Result};

use super::copy::{self, Format, Rows};
use super::plan::{Range, Slice, Tid};
use crate::catalog::Heap;
use crate::client::failed;
use crate::envelope::{Envelopes, Source};
use crate::table::Table;
use crate::unreadable;
use crate::wire::quote_identifier;

/// Bytes of rows in a chunk, about.
const CHUNK_BYTES: usize = 512 * 1024;

/// A table that is read.
#[derive(Debug, Clone)]
pub(super) struct Reading {
    pub(super) table: Arc<Table>,
    /// The object id of what holds the rows.
    pub(super) oid: u32,
    /// What its rows are selected from.
    pub(super) from: String,
    pub(super) filenode: u32,
    pub(super) has_places: bool,
    /// How its rows are read. Those of a query are text: its columns may have other types.
    pub(super) format: Format,
}

impl Reading {
    pub(super) fn new(table: Arc<Table>, heap: Heap) -> Self {
        let Heap { shape, from, filenode, has_places, .. } = heap;
        let format = match has_places && table.reads_binary() {
            true => Format::Binary,
            false => Format::Text,
        };
        Self { table, oid: shape.oid, from, filenode, has_places, format }
    }
}

/// Rows of a range.
#[derive(Debug)]
pub(super) struct Chunk {
    pub(super) records: Vec<Record>,
    /// Bytes of the rows as they came.
    pub(super) bytes: usize,
    /// Up to where the range was read; `None` while the part is read again that an earlier pass had.
    pub(super) read_to: Option<ReadTo>,
}

/// A chunk that is being made.
struct Filling {
    records: Vec<Record>,
    bytes: usize,
}

/// Up to where a range was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ReadTo {
    Tuple(Tid),
    End,
}

/// What all readers of a pass share.
pub(super) struct Shared {
    pub(super) envelopes: Arc<Envelopes>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) source: Source,
    pub(super) max_records: usize,
}

/// Reads a range and gives its chunks to `give`, which says whether to go on.
pub(super) async fn read<F>(
    client: &Client,
    reading: &Reading,
    range: &Range,
    shared: &Shared,
    mut give: impl FnMut(Chunk) -> F + Send,
) -> Result<()>
where
    F: Future<Output = Result<()>> + Send,
{
    let table = &reading.table;
    let block = shared.envelopes.block(table, &shared.source)?;
    let chunk = || Filling { records: Vec::with_capacity(shared.max_records), bytes: 0 };
    let mut filling = chunk();
    let mut last = None;
    let mut now = shared.clock.now();
    for slice in &range.slices() {
        let sql = query(reading, slice);
        let what = format!("read table {}", table.collection);
        let copy = client.copy_out(&sql).await.map_err(|error| failed(&what, error))?;
        let mut copy = std::pin::pin!(copy);
        let mut rows = Rows::new(reading.format);
        while let Some(data) = copy.try_next().await.map_err(|error| failed(&what, error))? {
            rows.push(data);
            while let Some(row) = rows.next()? {
                // Full, and not the last: what is behind the last row is marked as the end.
                if filling.records.len() >= shared.max_records || filling.bytes >= CHUNK_BYTES {
                    let read_to = last.filter(|_| slice.since.is_none()).map(ReadTo::Tuple);
                    let Filling { records, bytes } = std::mem::replace(&mut filling, chunk());
                    give(Chunk { records, bytes, read_to }).await?;
                    now = shared.clock.now();
                }
                filling.bytes += row.len();
                let tid = tid(reading, &row)?;
                let places = usize::from(reading.has_places);
                let row = unreadable::read(table, || table.spread(row.fields().skip(places)))?;
                filling.records.push(shared.envelopes.read(table, row, &block, now)?);
                last = tid;
            }
        }
        last = None;
    }
    let Filling { records, bytes } = filling;
    give(Chunk { records, bytes, read_to: Some(ReadTo::End) }).await
}

fn query(reading: &Reading, slice: &Slice) -> String {
    let mut columns = Vec::new();
    if reading.has_places {
        columns.push("ctid".to_owned());
    }
    let shown = reading.table.shown().filter(|(_, is_shown)| *is_shown);
    columns.extend(shown.map(|(column, _)| quote_identifier(&column.name)));
    let condition = if reading.has_places { slice.condition() } else { "true".to_owned() };
    let (columns, from) = (columns.join(", "), &reading.from);
    let format = reading.format.name();
    format!("copy (select {columns} from {from} where {condition}) to stdout (format {format})")
}

/// The place of a row, if its table has places.
fn tid(reading: &Reading, row: &copy::Row) -> Result<Option<Tid>> {
    if !reading.has_places {
        return Ok(None);
    }
    row.fields().tid().map(Some).ok_or_else(|| Error::internal("read a row's ctid"))
}
