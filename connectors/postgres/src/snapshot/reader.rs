//! One connection that reads ranges of tables.
//!
//! Duty: take the next range, read its slices by COPY, and give the rows back as records, in chunks
//! each of which says up to where the range was read.

use std::sync::Arc;

use bytes::Bytes;
use futures::TryStreamExt as _;
use tokio_postgres::Client;
use towpath_sdk::clock::Clock;
use towpath_sdk::record::Record;
use towpath_sdk::{Error, Result};

use super::copy::{Fields, Lines};
use super::plan::{Range, Slice, Tid};
use crate::client::failed;
use crate::envelope::{Change, Envelopes, Source};
use crate::table::{Field, Table};
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
    let slices = range.slices();
    let (mut records, mut bytes, mut last) = (Vec::new(), 0, None);
    for slice in &slices {
        let sql = query(reading, slice);
        let what = format!("read table {}", reading.table.collection);
        let copy = client.copy_out(&sql).await.map_err(|error| failed(&what, error))?;
        let mut copy = std::pin::pin!(copy);
        let mut lines = Lines::default();
        while let Some(data) = copy.try_next().await.map_err(|error| failed(&what, error))? {
            lines.push(data);
            while let Some(line) = lines.next() {
                // Full, and not the last: what is behind the last row is marked as the end.
                if records.len() >= shared.max_records || bytes >= CHUNK_BYTES {
                    let read_to = last.filter(|_| slice.since.is_none()).map(ReadTo::Tuple);
                    let records = std::mem::take(&mut records);
                    give(Chunk { records, bytes: std::mem::take(&mut bytes), read_to }).await?;
                }
                bytes += line.len();
                last = row(reading, &line, shared, &mut records)?;
            }
        }
        last = None;
    }
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
    format!("copy (select {columns} from {from} where {condition}) to stdout")
}

/// Makes the record of a row; its place.
fn row(
    reading: &Reading,
    line: &Bytes,
    shared: &Shared,
    records: &mut Vec<Record>,
) -> Result<Option<Tid>> {
    let mut fields = Fields::of(line.clone());
    let tid = match reading.has_places {
        false => None,
        true => match fields.next() {
            Some(Field::Text(text)) => {
                std::str::from_utf8(&text).ok().and_then(|text| text.parse().ok())
            }
            _ => None,
        },
    };
    if reading.has_places && tid.is_none() {
        return Err(Error::internal("read a row's ctid"));
    }
    let table = &reading.table;
    // Columns that are not shown were not asked for.
    let fields = table.shown().map(|(_, is_shown)| match is_shown {
        true => fields.next().unwrap_or(Field::Null),
        false => Field::Null,
    });
    let row = table.decode(fields)?;
    let now = shared.clock.now();
    shared.envelopes.change(table, Change::Read(row), &shared.source, || None, now, records)?;
    Ok(tid)
}
