//! Rows that can't be decoded.
//!
//! Duty: of a row with a value that its column's codec refuses, make the record that the engine hands to
//! `errors.tolerance`: what was to be shown, as JSON, and why it can't be. Pure.
//!
//! Invariant: what the connector's settings leave out or mask of a row, its dead letter does not show
//! either.

use std::sync::Arc;

use serde_json::{Map, Value as Json};
use towpath_sdk::record::Record;
use towpath_sdk::value::{Datum, Value};
use towpath_sdk::{Error, ErrorKind, Result};

use crate::envelope::Source;
use crate::table::{Field, Row, Table};

/// A row as texts, as far as it may be shown.
#[derive(Debug, Default)]
pub(crate) struct Texts {
    /// The columns of the key.
    pub(crate) key: Map<String, Json>,
    /// The key's columns that the row may show, too.
    pub(crate) open_key: Map<String, Json>,
    /// The columns that are shown. What can't be decoded is as the server sent it, bytes in hexadecimal
    /// digits; what it did not send is not there.
    pub(crate) row: Map<String, Json>,
}

/// A row that was read, or what there is of it.
pub(crate) type Read = Result<Row, Box<Unreadable>>;

/// The fields of a row in the order of its columns.
pub(crate) type Fields<'a> = Vec<Field<'a>>;

/// A change, or a row of a snapshot, that can't be decoded.
#[derive(Debug)]
pub(crate) struct Unreadable {
    /// The rows before and after it.
    rows: [Option<Texts>; 2],
    why: Error,
}

/// Decodes a row that a snapshot has read.
///
/// # Errors
/// If it is not the table's.
pub(crate) fn read<'a, I: Iterator<Item = Field<'a>>>(
    table: &Table,
    fields: impl Fn() -> I,
) -> Result<Read> {
    match table.decode(fields()) {
        Ok(row) => Ok(Ok(row)),
        Err(why) if why.kind() == ErrorKind::Data => {
            Ok(Err(Box::new(Unreadable::new(table, [None, Some(fields().collect())], why))))
        }
        Err(error) => Err(error),
    }
}

impl Unreadable {
    /// What there is of the rows before and after a change, if `why` keeps them from being decoded.
    pub(crate) fn new(table: &Table, rows: [Option<Fields<'_>>; 2], why: Error) -> Self {
        let rows = rows.map(|fields| fields.map(|fields| table.texts(fields.into_iter())));
        Self { rows, why }
    }

    /// The record of it.
    pub(crate) fn record(self, table: &Table, operation: &'static str, source: &Source) -> Record {
        let Self { rows: [before, after], why } = self;
        let (mut key, mut open_key) = (Map::new(), Map::new());
        let mut shown = |texts: Option<Texts>| {
            let Some(texts) = texts else { return Json::Null };
            (key, open_key) = (texts.key, texts.open_key);
            Json::Object(texts.row)
        };
        let mut value = Map::new();
        value.insert("before".to_owned(), shown(before));
        value.insert("after".to_owned(), shown(after));
        value.insert("op".to_owned(), operation.into());
        value.insert("table".to_owned(), (*table.collection).into());
        value.insert("lsn".to_owned(), source.lsn.0.into());
        value.insert("txId".to_owned(), source.tx_id.into());
        value.insert("ts_us".to_owned(), source.ts_us.into());
        let row = match (key.is_empty(), Json::Object(open_key)) {
            (true, _) => "a row without a key".to_owned(),
            (false, key) => format!("the row with the key {key}"),
        };
        let key = if key.is_empty() { Datum::null() } else { text(key) };
        let why = why.context(format!("show {row} of table {}", table.collection));
        Record::new(Arc::clone(&table.topic), text(value)).with_key(key).refused(why)
    }
}

fn text(object: Map<String, Json>) -> Datum {
    Datum::schemaless(Value::String(Json::Object(object).to_string().into()))
}
