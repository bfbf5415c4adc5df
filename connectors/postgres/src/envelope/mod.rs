//! Changes as records, in Debezium's form.
//!
//! Duty: the envelope around rows, keys, headers, tombstones, logical messages, and the begins and
//! ends of transactions. Pure.
//!
//! An update of a key becomes a delete of the old one and a create of the new one, each with the other
//! key in a header, as Debezium does.

pub(crate) mod schemas;

use std::sync::Arc;

use bytes::Bytes;
use towpath_sdk::Result;
use towpath_sdk::clock::Timestamp;
use towpath_sdk::record::{Header, Headers, Record, Topic};
use towpath_sdk::schema::{Kind, Schema, SchemaRef};
use towpath_sdk::value::{Datum, Struct, Value};

use crate::config::Config;
use crate::lsn::Lsn;
use crate::table::{Row, Table};
use crate::types::Codec;
use crate::unreadable::Read;

/// What is done to rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    Create,
    Update,
    Delete,
    Truncate,
}

/// The operation of a row that a snapshot has read.
const READ: &str = "r";

impl Operation {
    /// As records and settings have it.
    #[must_use]
    pub(crate) const fn text(self) -> &'static str {
        match self {
            Self::Create => "c",
            Self::Update => "u",
            Self::Delete => "d",
            Self::Truncate => "t",
        }
    }
}

/// What happened to a row.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Change {
    /// It was inserted.
    Create(Row),
    /// It was updated; the old row as far as the replica identity shows it.
    Update {
        /// The row before.
        before: Option<Row>,
        /// The row after.
        after: Row,
    },
    /// It was deleted; the row as far as the replica identity shows it.
    Delete(Row),
    /// All rows were.
    Truncate,
}

impl Change {
    /// Whether it is an update after which the row, and the key, are shown as before it.
    #[must_use]
    pub(crate) fn shows_nothing(&self) -> bool {
        matches!(self, Self::Update { before: Some(before), after } if before == after)
    }
}

/// Where in a snapshot a record is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SnapshotMark {
    /// In none.
    No,
    /// In the midst of it.
    Yes,
    /// Its first record.
    First,
    /// The first of a table.
    FirstOfTable,
    /// The last of a table.
    LastOfTable,
    /// Its last record.
    Last,
    /// In one that goes on beside the stream.
    Incremental,
}

impl SnapshotMark {
    /// As the block `source` shows it.
    #[must_use]
    pub(crate) const fn text(self) -> &'static str {
        match self {
            Self::No => "false",
            Self::Yes => "true",
            Self::First => "first",
            Self::FirstOfTable => "first_in_data_collection",
            Self::LastOfTable => "last_in_data_collection",
            Self::Last => "last",
            Self::Incremental => "incremental",
        }
    }
}

/// Where a change comes from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Source {
    /// Whether a snapshot has read it.
    pub(crate) snapshot: SnapshotMark,
    /// When its transaction was committed, in microseconds since 1970.
    pub(crate) ts_us: i64,
    /// Its transaction.
    pub(crate) tx_id: Option<u32>,
    /// Where it is in the log.
    pub(crate) lsn: Lsn,
    /// The end of the transaction before its own.
    pub(crate) last_commit: Option<Lsn>,
}

/// The block `source` that records have in common.
#[derive(Debug, Clone)]
pub(crate) struct Block {
    of: Source,
    value: Value,
}

/// The place of a change in its transaction, for `provide.transaction.metadata`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Order {
    /// Among all changes of the transaction, from 1.
    pub(crate) total: u64,
    /// Among those of its table, from 1.
    pub(crate) in_collection: u64,
}

/// Makes records.
#[derive(Debug)]
pub(crate) struct Envelopes {
    version: Value,
    connector: Value,
    server: Value,
    database: Value,
    headers: Headers,
    tombstones: bool,
    message_topic: Topic,
    transaction_topic: Topic,
    /// The topic of heartbeats; `None` if there are no such records.
    heartbeat_topic: Option<Topic>,
    message: Message,
}

#[derive(Debug)]
struct Message {
    content: Codec,
    block: SchemaRef,
    value: SchemaRef,
}

/// The place of `source` in an envelope, and of `snapshot` in it.
const SOURCE: usize = 2;
const SNAPSHOT: usize = 4;

fn text(text: &str) -> Value {
    Value::String(text.to_owned().into())
}

fn maybe(value: Option<i64>) -> Value {
    value.map_or(Value::Null, Value::Int64)
}

fn lsn_value(lsn: Lsn) -> Value {
    Value::Int64(lsn.0.cast_signed())
}

impl Envelopes {
    /// For a task; `run` is an id of this run, `bytea` decodes the content of logical messages.
    #[must_use]
    pub(crate) fn new(config: &Config, task: u32, run: &str, bytea: Codec) -> Self {
        let header = |key: &str, value: &str| Header {
            key: format!("__debezium.context.{key}").into(),
            value: Datum::new(Arc::new(Schema::new(Kind::String)), text(value)),
        };
        let headers = match config.records.extended_headers_enabled {
            false => Headers::new(),
            true => vec![
                header("connectorLogicalName", &config.topic_prefix),
                header("taskId", &task.to_string()),
                header("connectorName", "postgresql"),
                header("runId", run),
            ]
            .into(),
        };
        let topic = |name: &str| {
            format!("{}{}{name}", config.topic_prefix, config.records.topic_delimiter).into()
        };
        let block = schemas::message_block(Arc::new(bytea.schema(true, None)));
        Self {
            version: text(env!("CARGO_PKG_VERSION")),
            connector: text("postgresql"),
            server: text(&config.topic_prefix),
            database: text(&config.database.dbname),
            headers,
            tombstones: config.records.tombstones_on_delete,
            // Whatever the delimiter is.
            message_topic: format!("{}.message", config.topic_prefix).into(),
            transaction_topic: topic(&config.records.topic_transaction),
            heartbeat_topic: heartbeat_topic(config),
            message: Message { content: bytea, value: schemas::message(&block), block },
        }
    }

    fn source(&self, [schema, table]: &[Value; 2], source: &Source) -> Result<Value> {
        let sequence = sequence(source.last_commit, source.lsn);
        let values = vec![
            self.version.clone(),
            self.connector.clone(),
            self.server.clone(),
            Value::Int64(source.ts_us.div_euclid(1000)),
            Value::String(towpath_sdk::Text::from_static(source.snapshot.text())),
            self.database.clone(),
            Value::String(sequence),
            Value::Int64(source.ts_us),
            Value::Int64(source.ts_us.saturating_mul(1000)),
            schema.clone(),
            table.clone(),
            maybe(source.tx_id.map(i64::from)),
            match source.snapshot {
                SnapshotMark::Incremental => Value::Null,
                _ => lsn_value(source.lsn),
            },
            Value::Null,
            Value::Null,
            Value::Null,
        ];
        Ok(Value::Struct(Struct::new(Arc::clone(&schemas::SOURCE), values)?))
    }

    fn transaction(source: &Source, order: Option<Order>) -> Result<Value> {
        let Some(order) = order else { return Ok(Value::Null) };
        let values = vec![
            Value::String(transaction_id(source.tx_id, source.lsn).into()),
            Value::Int64(order.total.cast_signed()),
            Value::Int64(order.in_collection.cast_signed()),
        ];
        Ok(Value::Struct(Struct::new(Arc::clone(&schemas::TRANSACTION), values)?))
    }

    /// The block `source` of all rows of a table that a snapshot reads.
    ///
    /// # Errors
    /// None that can happen: the struct is this module's.
    pub(crate) fn block(&self, table: &Table, source: &Source) -> Result<Block> {
        let Value::Struct(block) = self.source(&table.names, source)? else {
            return Err(towpath_sdk::Error::internal("make the block source"));
        };
        Ok(Block { of: *source, value: Value::Struct(block.shared()) })
    }

    /// The record of a row that a snapshot has read.
    ///
    /// # Errors
    /// If it is not the table's.
    pub(crate) fn read(
        &self,
        table: &Table,
        row: Read,
        block: &Block,
        now: Timestamp,
    ) -> Result<Record> {
        let row = match row {
            Ok(row) => row,
            Err(unreadable) => return Ok(unreadable.record(table, READ, &block.of)),
        };
        let key = table.key_of(&row)?;
        let (after, source) = (Value::Struct(row.shown), block.value.clone());
        let value = envelope(table, READ, Value::Null, after, source, Value::Null, now)?;
        Ok(self.record(&table.topic, key, value, None))
    }

    /// How many changes `change` is to those who count them: two if it moves a row to another key.
    ///
    /// # Errors
    /// If its rows are not the table's.
    pub(crate) fn moved(table: &Table, change: &Change) -> Result<Option<(Datum, Datum)>> {
        let Change::Update { before: Some(before), after } = change else { return Ok(None) };
        let (old, new) = (table.key_of(before)?, table.key_of(after)?);
        Ok((table.has_key() && old != new).then_some((old, new)))
    }

    /// Appends the records of one change.
    ///
    /// # Errors
    /// If its rows are not the table's.
    pub(crate) fn change(
        &self,
        table: &Table,
        change: Change,
        source: &Source,
        mut order: impl FnMut() -> Option<Order>,
        now: Timestamp,
        out: &mut Vec<Record>,
    ) -> Result<()> {
        let moved = Self::moved(table, &change)?;
        let mut push = |op: Operation, before: Value, after: Value, key: Datum, other| {
            let (source, transaction) =
                (self.source(&table.names, source)?, Self::transaction(source, order())?);
            let value = envelope(table, op.text(), before, after, source, transaction, now)?;
            out.push(self.record(&table.topic, key, value, other));
            Ok::<_, towpath_sdk::Error>(())
        };
        match (change, moved) {
            (Change::Create(row), _) => {
                let key = table.key_of(&row)?;
                push(Operation::Create, Value::Null, Value::Struct(row.shown), key, None)
            }
            (Change::Update { before: Some(before), after }, Some((old, new))) => {
                let header = |key: &str, datum: &Datum| Header {
                    key: key.to_owned().into(),
                    value: datum.clone(),
                };
                let newkey = header("__debezium.newkey", &new);
                push(
                    Operation::Delete,
                    Value::Struct(before.shown),
                    Value::Null,
                    old.clone(),
                    Some(newkey.clone()),
                )?;
                if self.tombstones {
                    out.push(self.record(&table.topic, old.clone(), Datum::null(), Some(newkey)));
                }
                let oldkey = header("__debezium.oldkey", &old);
                let (source, transaction) =
                    (self.source(&table.names, source)?, Self::transaction(source, order())?);
                let after = Value::Struct(after.shown);
                let value = envelope(
                    table,
                    Operation::Create.text(),
                    Value::Null,
                    after,
                    source,
                    transaction,
                    now,
                )?;
                out.push(self.record(&table.topic, new, value, Some(oldkey)));
                Ok(())
            }
            (Change::Update { before, after }, _) => {
                let key = table.key_of(&after)?;
                push(
                    Operation::Update,
                    before.map_or(Value::Null, |before| Value::Struct(before.shown)),
                    Value::Struct(after.shown),
                    key,
                    None,
                )
            }
            (Change::Delete(row), _) => {
                let key = table.key_of(&row)?;
                push(Operation::Delete, Value::Struct(row.shown), Value::Null, key.clone(), None)?;
                // Also without a key, as Debezium does.
                if self.tombstones {
                    out.push(self.record(&table.topic, key, Datum::null(), None));
                }
                Ok(())
            }
            (Change::Truncate, _) => {
                push(Operation::Truncate, Value::Null, Value::Null, Datum::null(), None)
            }
        }
    }

    fn record(&self, topic: &Topic, key: Datum, value: Datum, header: Option<Header>) -> Record {
        let mut record = Record::new(Arc::clone(topic), value).with_key(key);
        record.headers = match header {
            None => self.headers.clone(),
            header => header.into_iter().chain(self.headers.iter().cloned()).collect(),
        };
        record
    }

    /// The record of a logical message.
    ///
    /// # Errors
    /// None that can happen: the struct is this module's.
    pub(crate) fn message(
        &self,
        prefix: &str,
        content: &Bytes,
        source: &Source,
        order: Option<Order>,
        now: Timestamp,
    ) -> Result<Record> {
        let Message { content: codec, block, value } = &self.message;
        let prefix = text(prefix);
        let content = codec.text(&hex(content))?;
        let block = Struct::new(Arc::clone(block), vec![prefix.clone(), content])?;
        let values = vec![
            Value::String(towpath_sdk::Text::from_static("m")),
            Value::Int64(now.millis()),
            self.source(&[text(""), text("")], source)?,
            Self::transaction(source, order)?,
            Value::Struct(block),
        ];
        let schema = Arc::clone(value);
        let value = Struct::new(Arc::clone(&schema), values)?;
        let key = Struct::new(Arc::clone(&schemas::MESSAGE_KEY), vec![prefix])?;
        let key = Datum::new(Arc::clone(&schemas::MESSAGE_KEY), Value::Struct(key));
        let value = Datum::new(schema, Value::Struct(value));
        Ok(Record::new(Arc::clone(&self.message_topic), value).with_key(key))
    }

    /// The record of a heartbeat, if there are such records.
    ///
    /// # Errors
    /// None that can happen: the structs are this module's.
    pub(crate) fn heartbeat(&self, now: Timestamp) -> Result<Option<Record>> {
        let Some(topic) = &self.heartbeat_topic else { return Ok(None) };
        let datum = |schema: &SchemaRef, value: Value| {
            let value = Struct::new(Arc::clone(schema), vec![value])?;
            Ok::<_, towpath_sdk::Error>(Datum::new(Arc::clone(schema), Value::Struct(value)))
        };
        let value = datum(&schemas::HEARTBEAT, Value::Int64(now.millis()))?;
        let key = datum(&schemas::HEARTBEAT_KEY, self.server.clone())?;
        let mut record = Record::new(Arc::clone(topic), value).with_key(key);
        record.partition = Some(0);
        Ok(Some(record))
    }

    /// The record of a transaction's begin, or of its end with how many changes each table had.
    ///
    /// # Errors
    /// None that can happen: the struct is this module's.
    pub(crate) fn transaction_record(
        &self,
        tx_id: u32,
        lsn: Lsn,
        ts_us: i64,
        ended: Option<&[(Arc<str>, u64)]>,
    ) -> Result<Record> {
        let id = transaction_id(Some(tx_id), lsn);
        let status = if ended.is_some() { "END" } else { "BEGIN" };
        let count = ended.map(|tables| tables.iter().map(|(_, count)| count).sum::<u64>());
        let tables = match ended {
            None => Value::Null,
            Some(tables) => {
                let table = |(name, count): &(Arc<str>, u64)| {
                    let values = vec![text(name), Value::Int64(count.cast_signed())];
                    Ok(Value::Struct(Struct::new(Arc::clone(&schemas::COLLECTION), values)?))
                };
                Value::Array(tables.iter().map(table).collect::<Result<_>>()?)
            }
        };
        let values = vec![
            Value::String(towpath_sdk::Text::from_static(status)),
            text(&id),
            maybe(count.map(u64::cast_signed)),
            tables,
            Value::Int64(ts_us.div_euclid(1000)),
        ];
        let value = Struct::new(Arc::clone(&schemas::TRANSACTION_VALUE), values)?;
        let value = Datum::new(Arc::clone(&schemas::TRANSACTION_VALUE), Value::Struct(value));
        let key = Struct::new(Arc::clone(&schemas::TRANSACTION_KEY), vec![text(&id)])?;
        let key = Datum::new(Arc::clone(&schemas::TRANSACTION_KEY), Value::Struct(key));
        Ok(Record::new(Arc::clone(&self.transaction_topic), value).with_key(key))
    }
}

/// The value of a change's record.
fn envelope(
    table: &Table,
    op: &'static str,
    before: Value,
    after: Value,
    source: Value,
    transaction: Value,
    now: Timestamp,
) -> Result<Datum> {
    let values = vec![
        before,
        after,
        source,
        transaction,
        Value::String(towpath_sdk::Text::from_static(op)),
        Value::Int64(now.millis()),
        Value::Int64(now.millis().saturating_mul(1000)),
        Value::Int64(now.millis().saturating_mul(1_000_000)),
    ];
    let value = Struct::new(Arc::clone(&table.envelope), values)?;
    Ok(Datum::new(Arc::clone(&table.envelope), Value::Struct(value)))
}

/// The topic of heartbeats, if they are shown.
fn heartbeat_topic(config: &Config) -> Option<Topic> {
    let records = &config.records;
    match (&*records.topic_heartbeat_name, &*records.topic_heartbeat_prefix) {
        ("", "") => None,
        ("", prefix) => {
            Some(format!("{prefix}{}{}", records.topic_delimiter, config.topic_prefix).into())
        }
        (name, _) => Some(name.into()),
    }
}

/// Both LSNs as texts in JSON.
fn sequence(last_commit: Option<Lsn>, lsn: Lsn) -> towpath_sdk::Text {
    let (mut first, mut second) = (itoa::Buffer::new(), itoa::Buffer::new());
    let (open, first) = match last_commit {
        Some(commit) => ("[\"", first.format(commit.0)),
        None => ("[null", ""),
    };
    let close = if last_commit.is_some() { "\",\"" } else { ",\"" };
    let parts = [open, first, close, second.format(lsn.0), "\"]"];
    // As long as it will be: what is too long is copied once more.
    let mut text = String::with_capacity(parts.iter().map(|part| part.len()).sum());
    parts.iter().for_each(|part| text.push_str(part));
    text.into()
}

/// Bytes as the server writes bytea.
pub(crate) fn hex(bytes: &[u8]) -> Bytes {
    let digit = |nibble: u8| b"0123456789abcdef"[usize::from(nibble & 15)];
    let mut text = Vec::with_capacity(2 + 2 * bytes.len());
    text.extend_from_slice(b"\\x");
    text.extend(bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(*byte)]));
    text.into()
}

fn transaction_id(tx_id: Option<u32>, lsn: Lsn) -> String {
    format!("{}:{}", tx_id.unwrap_or(0), lsn.0)
}

/// Says where in the snapshot a record is that was made before it was known.
pub(crate) fn set_snapshot(record: &mut Record, mark: SnapshotMark) {
    if let Value::Struct(envelope) = &mut record.value.value
        && let Some(Value::Struct(source)) = envelope.values_mut().get_mut(SOURCE)
        && let Some(snapshot) = source.values_mut().get_mut(SNAPSHOT)
    {
        *snapshot = Value::String(towpath_sdk::Text::from_static(mark.text()));
    }
}

/// What a record says of where in the snapshot it is.
#[must_use]
pub(crate) fn snapshot_of(record: &Record) -> Option<&str> {
    let Value::Struct(envelope) = &record.value.value else { return None };
    let Some(Value::Struct(source)) = envelope.values().get(SOURCE) else { return None };
    source.values().get(SNAPSHOT)?.as_str()
}
