//! The search itself: one table after the other.
//!
//! Duty: read a table's keys and its topics, and hand over the deletes of what only the topics have.

use std::sync::Arc;
use std::time::Duration;

use towpath_sdk::context::{TaskContext, Waiting, Work};
use towpath_sdk::record::{Record, Topic};
use towpath_sdk::signal::TopicRecord;
use towpath_sdk::source::Mark;
use towpath_sdk::value::{Struct, Value};
use towpath_sdk::written::{Spot, TopicScan, Written};
use towpath_sdk::{Error, ErrorKind, Result};

use super::fit::fit;
use super::keys::{Gone, Hasher, Pass};
use crate::client::{self, Session};
use crate::envelope::{Change, Envelopes, Source};
use crate::output::Output;
use crate::pieces::Piece;
use crate::table::{Row, Table};
use crate::wire::quote_identifier;

/// Records of a topic after which people are told how far it is.
const TELL: u64 = 100_000;
/// How long nothing may come before people are told.
const PATIENCE: Duration = Duration::from_secs(10);

/// A table and what its rows are selected from.
pub(crate) struct Shown {
    /// The table.
    pub(crate) table: Arc<Table>,
    /// As SQL has it.
    pub(crate) from: String,
}

/// Why the deletes of a table can't be found, or not all; `None` if all were.
pub(crate) type Lack = Option<String>;

/// What searching needs.
pub(crate) struct Search<'a> {
    /// The task.
    pub(crate) cx: &'a TaskContext,
    /// What it has written.
    pub(crate) written: Arc<dyn Written>,
    /// Where deletes go.
    pub(crate) output: &'a Output,
    /// Where the offset stands meanwhile: what was found is in the topic, and not found again.
    pub(crate) mark: Mark,
    /// Makes records.
    pub(crate) envelopes: &'a Envelopes,
    /// What all deletes have in their block `source`.
    pub(crate) source: Source,
    /// The logical name of the server, as records have it.
    pub(crate) server: &'a str,
    /// Bytes that keys may take.
    pub(crate) bytes: usize,
    /// The most records in a piece.
    pub(crate) max_records: usize,
}

/// Where deletes of a table go.
#[derive(Debug, Clone)]
pub(crate) struct Way {
    /// The topics; none if no deletes are written.
    pub(crate) topics: Vec<Topic>,
    /// Whether a delete ends with a tombstone there: without it, it was torn.
    pub(crate) has_tombstones: bool,
}

/// A table whose deletes are looked for.
struct Target<'a> {
    shown: &'a Shown,
    way: Way,
    hasher: Hasher,
    /// How many keys can't be brought back.
    strange: u64,
    /// Why something may be left.
    lack: Lack,
}

/// What a record says of its key.
#[derive(Debug, PartialEq, Eq)]
enum Word {
    There,
    Gone,
    /// It is another table's.
    Foreign,
    /// It does not say whose it is.
    Unclear,
}

impl Search<'_> {
    /// The way of a table's deletes.
    ///
    /// # Errors
    /// If the transforms or the converter of keys refuse them.
    pub(crate) fn way(&self, table: &Table) -> Result<Way> {
        let spots = self.spots(table, table.row_of_key(None)?)?;
        let has_tombstones = spots.iter().any(|spot| spot.is_tombstone);
        let mut topics: Vec<Topic> = spots.into_iter().map(|spot| spot.topic).collect();
        topics.sort();
        topics.dedup();
        Ok(Way { topics, has_tombstones })
    }

    /// Hands over the deletes of the keys that the topics of `way` have of a table and the table does not.
    ///
    /// # Errors
    /// If server or cluster can't be reached, or nobody polls any more.
    pub(crate) async fn table(
        &self,
        client: &Session,
        scan: &mut dyn TopicScan,
        shown: &Shown,
        way: Way,
    ) -> Result<Lack> {
        if way.topics.is_empty() {
            // No deletes are written: nobody misses them.
            return Ok(None);
        }
        let mut target = Target { shown, way, hasher: Hasher::default(), strange: 0, lack: None };
        let mut pass = Some(Pass::first(self.bytes));
        while let Some(mut now) = pass {
            let searched = match self.rows(client, &target, &mut now).await {
                Ok(()) => self.read(scan, &mut target, &mut now).await,
                error => error,
            };
            match searched {
                Ok(()) => {}
                // A right that is missing, a row that can't be shown.
                Err(error) if is_answer(&error) => return Ok(Some(error.chain())),
                Err(error) => return Err(error),
            }
            self.hand_over(&mut target, &now).await?;
            pass = now.next();
        }
        if target.strange > 0 {
            let count = target.strange;
            target.lacks(|| {
                format!("{count} keys in its topics are not as the table's keys are written now")
            });
        }
        Ok(target.lack)
    }

    /// The records of a row's delete.
    fn deletes(&self, table: &Table, row: Row) -> Result<Vec<Record>> {
        let (now, mut records) = (self.cx.clock().now(), Vec::new());
        let change = Change::Delete(row);
        self.envelopes.change(table, change, &self.source, || None, now, &mut records)?;
        Ok(records)
    }

    /// Where the records of a row's delete are written.
    fn spots(&self, table: &Table, row: Row) -> Result<Vec<Spot>> {
        let records = self.deletes(table, row)?.into_iter();
        records.filter_map(|record| self.written.spot(record).transpose()).collect()
    }

    /// Takes the keys of the table's rows.
    async fn rows(&self, client: &Session, target: &Target<'_>, pass: &mut Pass) -> Result<()> {
        let Shown { table, from } = target.shown;
        let what = format!("read the keys of table {}", table.collection);
        let columns: Vec<String> =
            table.key_columns().map(|column| quote_identifier(&column.name)).collect();
        let sql = format!("copy (select {} from {from}) to stdout", columns.join(", "));
        client::copy_text(client, &what, &sql, |row| {
            let row = table.decode(table.spread_key(row.fields()))?;
            let mut last = None;
            for Spot { topic, key, .. } in self.spots(table, row)? {
                if !target.way.topics.contains(&topic) {
                    return Err(Error::data(format!(
                        "transforms choose its topics by more than the table: {topic} is another one"
                    )));
                }
                let hash = target.hasher.hash(&topic, &key.unwrap_or_default());
                // The tombstone has the delete's key.
                if last.replace(hash) != Some(hash) {
                    pass.row(hash);
                }
            }
            Ok(())
        })
        .await?;
        pass.rows_end();
        Ok(())
    }

    /// Takes what the topics say.
    async fn read(
        &self,
        scan: &mut dyn TopicScan,
        target: &mut Target<'_>,
        pass: &mut Pass,
    ) -> Result<()> {
        for at in 0..target.way.topics.len() {
            let topic = Arc::clone(&target.way.topics[at]);
            let Some(total) = scan.begin(&topic).await? else {
                // Where nothing was written nothing is left; but transforms may send rows and deletes
                // on different ways.
                if !self.written.is_plain() && pass.has_rows() {
                    target.lacks(|| format!("topic {topic}, where deletes would go, is not there"));
                }
                continue;
            };
            let mut done = 0;
            self.tell(&topic, done, total);
            while let Some(records) = self.next(scan, &topic).await? {
                let before = done / TELL;
                done += records.len() as u64;
                if done / TELL > before {
                    self.tell(&topic, done, total);
                }
                for record in records {
                    self.hear(at, &record, target, pass)?;
                }
            }
            if !scan.is_whole().await? {
                target.lacks(|| format!("topic {topic} has lost its oldest records"));
            }
        }
        self.cx.work(None);
        Ok(())
    }

    /// The next records of a topic. While none come, people are told.
    async fn next(
        &self,
        scan: &mut dyn TopicScan,
        topic: &str,
    ) -> Result<Option<Vec<TopicRecord>>> {
        let mut reason = None;
        loop {
            match tokio::time::timeout(PATIENCE, scan.next()).await {
                Ok(records) => return records,
                Err(_) => reason.get_or_insert_with(|| self.cx.reason()).give(Waiting {
                    reason: format!(
                        "looking for rows that were deleted: nothing comes from topic {topic}; is the \
                         connector let into its group, and are its partitions' leaders there?"
                    ),
                    next_try: None,
                }),
            }
        }
    }

    fn tell(&self, topic: &str, done: u64, total: u64) {
        self.cx.work(Some(Work {
            what: format!("looking in topic {topic} for rows that were deleted"),
            done,
            total: Some(total),
            unit: "records",
            left: None,
        }));
    }

    /// Takes what one record says.
    fn hear(
        &self,
        at: usize,
        record: &TopicRecord,
        target: &mut Target<'_>,
        pass: &mut Pass,
    ) -> Result<()> {
        let topic = Arc::clone(&target.way.topics[at]);
        let Some(key) = &record.key else { return Ok(()) };
        let hash = target.hasher.hash(&topic, key);
        if !pass.asks(hash) {
            return Ok(());
        }
        let word = match record.value {
            None => Word::Gone,
            Some(_) => match self.written.decode(&topic, record) {
                // A null with a schema, as JSON writes it.
                Ok((_, value)) if value.is_null() => Word::Gone,
                Ok((_, value)) => {
                    match word(&value.value, &target.shown.table, self.server, &topic) {
                        Word::Gone if target.way.has_tombstones => Word::There,
                        word => word,
                    }
                }
                // Nobody else can read it either.
                Err(_) => Word::Unclear,
            },
        };
        match word {
            Word::There => {
                let gone = || Gone { topic: at, key: bytes::Bytes::copy_from_slice(key) };
                pass.has(hash, record.partition, gone);
            }
            Word::Gone | Word::Foreign => pass.forget(hash, record.partition),
            Word::Unclear => {
                pass.forget(hash, record.partition);
                target.lacks(|| {
                    format!("records in topic {topic} do not say of which table they are")
                });
            }
        }
        Ok(())
    }

    /// Hands over the deletes of what a pass has found.
    async fn hand_over(&self, target: &mut Target<'_>, pass: &Pass) -> Result<()> {
        let table = &target.shown.table;
        let mut records = Vec::new();
        let mut found = 0;
        for gone in pass.gone() {
            let topic = &target.way.topics[gone.topic];
            let Some(deletes) = self.deletes_of(table, topic, gone)? else {
                target.strange += 1;
                continue;
            };
            found += 1;
            records.extend(deletes);
            if records.len() >= self.max_records {
                self.send(&mut records).await?;
            }
        }
        self.send(&mut records).await?;
        self.cx.count("deletes_found", found);
        if found > 0 {
            tracing::info!(connector = %self.cx.connector, table = %table.collection, found, "found rows that were deleted");
        }
        Ok(())
    }

    async fn send(&self, records: &mut Vec<Record>) -> Result<()> {
        let records = std::mem::take(records);
        if records.is_empty() {
            return Ok(());
        }
        let bytes = records.iter().map(Record::size).sum();
        let mut mark = self.mark.clone();
        mark.after = records.len();
        self.output.send(Piece { records, marks: vec![mark] }, bytes).await
    }

    /// The delete of a key as it is in a topic, if it would be written under that key.
    fn deletes_of(&self, table: &Table, topic: &Topic, gone: &Gone) -> Result<Option<Vec<Record>>> {
        let key = Some(gone.key.clone());
        let record = TopicRecord { partition: 0, offset: 0, key, value: None };
        let Ok((key, _)) = self.written.decode(topic, &record) else { return Ok(None) };
        let schema = table.key_schema().ok_or_else(|| Error::internal("find a table's key"))?;
        let Some(Value::Struct(key)) = fit(&key.value, schema) else { return Ok(None) };
        let row = |key: &Struct| table.row_of_key(Some(key));
        let Ok(spots) = self.spots(table, row(&key)?) else { return Ok(None) };
        if !spots.iter().any(|spot| spot.topic == *topic && spot.key.as_ref() == Some(&gone.key)) {
            return Ok(None);
        }
        self.deletes(table, row(&key)?).map(Some)
    }
}

impl Target<'_> {
    fn lacks(&mut self, why: impl FnOnce() -> String) {
        self.lack.get_or_insert_with(why);
    }
}

/// Whether an error says that something can't be done, and not that it could not be done now.
#[must_use]
pub(crate) fn is_answer(error: &Error) -> bool {
    use ErrorKind::{Config, Data, Forbidden, TooLarge, Unsupported};
    matches!(error.kind(), Forbidden | Data | TooLarge | Config | Unsupported)
}

/// What the value of a record in `topic` says, be it an envelope or a row without one.
fn word(value: &Value, table: &Table, server: &str, topic: &Topic) -> Word {
    let of = |value: &Value, name: &str| value.member(name);
    let is = |value: Option<Value>, text: &str| value.is_some_and(|v| v.as_str() == Some(text));
    let source = of(value, "source").filter(|source| of(source, "table").is_some());
    match &source {
        Some(source) => {
            let [schema, name] = &table.names;
            let is_ours = is(of(source, "name"), server)
                && of(source, "schema").as_ref() == Some(schema)
                && of(source, "table").as_ref() == Some(name);
            if !is_ours {
                return Word::Foreign;
            }
        }
        // The name of the server is in the topic's.
        None if *topic == table.topic => {}
        None => return Word::Unclear,
    }
    let is_marked = of(value, "__deleted")
        .is_some_and(|mark| mark.as_str() == Some("true") || mark == Value::Boolean(true));
    match is_marked || (source.is_some() && is(of(value, "op"), "d")) {
        true => Word::Gone,
        false => Word::There,
    }
}
