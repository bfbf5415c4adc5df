//! The engine's end of a task that is killed at any moment, and the topics and tables that come of it.
//!
//! [`Reader`] polls, stores offsets and acknowledges them as the engine does. It keeps two topics: the
//! *exactly-once* one has what a mark that is stored covers and nothing else, as if the rest had been
//! in an aborted transaction; the *at-least-once* one has of that rest, at each crash, as much as
//! chance will have it.

use std::collections::{BTreeMap, VecDeque};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_postgres::Client;
use towpath_connector_postgres::PostgresSource;
use towpath_connector_postgres::lsn::Lsn;
use towpath_sdk::Result;
use towpath_sdk::config::Properties;
use towpath_sdk::converter::Part;
use towpath_sdk::offset::{SourceOffset, SourcePartition, StoredOffsets};
use towpath_sdk::plugin::erased::DynSourceTask;
use towpath_sdk::plugin::{BuildFor, ConnectorPlugin, Registry};
use towpath_sdk::record::Record;
use towpath_sdk::source::{Budget, Mark};
use towpath_sdk::value::{Struct, Value};
use towpath_testkit::{FakeHost, KeptTopics};

use crate::server::Server;

/// Room for all there is.
pub(crate) const ROOM: Budget = Budget { bytes: 1 << 30, records: 1 << 20 };

/// How long anything may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Numbers that are the same for the same seed (splitmix64).
#[derive(Debug, Clone)]
pub(crate) struct Rng(u64);

impl Rng {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Less than `n`.
    pub(crate) fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }

    pub(crate) fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    pub(crate) fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len())]
    }
}

/// The seeds to run: `PG_SIM_RUNS` of them from `PG_SIM_SEED` on.
pub(crate) fn seeds(runs: u64) -> impl Iterator<Item = Seed> {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let first = number("PG_SIM_SEED").unwrap_or(1);
    (first..first + number("PG_SIM_RUNS").unwrap_or(runs)).map(Seed)
}

/// A seed, which is told if its test fails.
#[derive(Debug)]
pub(crate) struct Seed(pub(crate) u64);

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("to see this again: PG_SIM_SEED={} PG_SIM_RUNS=1", self.0);
        }
    }
}

/// A configuration for `server`, with `more`.
pub(crate) fn config(server: &Server, more: &[(&str, &str)]) -> Properties {
    let mut config = Properties::from([
        ("topic.prefix", "p"),
        ("database.hostname", "127.0.0.1"),
        ("database.user", "postgres"),
        ("database.dbname", "postgres"),
        ("database.sslmode", "disable"),
        ("status.update.interval.ms", "100"),
        ("skipped.operations", "none"),
    ]);
    config.insert("database.port", server.target("postgres").port.to_string());
    config.extend(more.iter().copied());
    config
}

/// A value as the server shows it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Cell {
    Null,
    Unchanged,
    Text(String),
}

/// Values by column.
pub(crate) type Row = BTreeMap<String, Cell>;

/// A record as a consumer sees it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Event {
    /// Without the prefix.
    pub(crate) topic: String,
    pub(crate) key: Option<Row>,
    /// The operation; empty for a tombstone.
    pub(crate) op: String,
    pub(crate) before: Option<Row>,
    pub(crate) after: Option<Row>,
    /// The key of the other half, where a row was moved to another key.
    pub(crate) other: Option<Row>,
    pub(crate) snapshot: String,
    /// Of a logical message.
    pub(crate) content: String,
    /// Of a transaction's begin or end: which, and how many changes it had.
    pub(crate) status: Option<(String, Option<i64>)>,
    /// The transaction, and the change's number in it.
    pub(crate) transaction: Option<(String, i64)>,
}

fn cell(value: &Value) -> Cell {
    match value {
        Value::Null => Cell::Null,
        Value::Unchanged => Cell::Unchanged,
        Value::String(text) => Cell::Text(text.to_string()),
        Value::Bytes(bytes) => Cell::Text(String::from_utf8_lossy(bytes).into_owned()),
        other => Cell::Text(other.as_i64().map(|n| n.to_string()).unwrap_or_default()),
    }
}

fn row(value: &Value) -> Option<Row> {
    let Value::Struct(row) = value else { return None };
    let names = row.schema().fields().iter().map(|field| field.name.to_string());
    Some(names.zip(row.values().iter().map(cell)).collect())
}

impl Event {
    fn of(record: &Record) -> Self {
        let topic = record.topic.split_once('.').unwrap().1.to_owned();
        let envelope = match &record.value.value {
            Value::Struct(envelope) => Some(envelope),
            _ => None,
        };
        let at = |name: &str| envelope.and_then(|envelope: &Struct| envelope.get(name));
        let text = |value: Option<&Value>| value.and_then(Value::as_str).map(str::to_owned);
        let other = record
            .headers
            .iter()
            .find(|header| matches!(&*header.key, "__debezium.newkey" | "__debezium.oldkey"));
        let block = |name: &str, field: &str| match at(name) {
            Some(Value::Struct(block)) => block.get(field).cloned(),
            _ => None,
        };
        let number = |value: Option<Value>| value.as_ref().and_then(Value::as_i64);
        // Behind the transaction's id is an LSN, which is another for each change.
        let xid = |id: Option<String>| id.and_then(|id| Some(id.split_once(':')?.0.to_owned()));
        let status = text(at("status"));
        let id = match &status {
            Some(_) => xid(text(at("id"))),
            None => xid(text(block("transaction", "id").as_ref())),
        };
        let place = number(block("transaction", "total_order")).unwrap_or_default();
        Self {
            topic,
            status: status.map(|status| (status, number(at("event_count").cloned()))),
            transaction: id.map(|id| (id, place)),
            key: row(&record.key.value),
            op: text(at("op")).unwrap_or_default(),
            before: at("before").and_then(row),
            after: at("after").and_then(row),
            other: other.and_then(|header| row(&header.value.value)),
            snapshot: text(block("source", "snapshot").as_ref()).unwrap_or_default(),
            content: match block("message", "content").as_ref().map(cell) {
                Some(Cell::Text(text)) => text,
                _ => String::new(),
            },
        }
    }

    /// What of a row a column has: after the change, or else before it.
    pub(crate) fn value(&self, column: &str) -> String {
        match self.after.as_ref().or(self.before.as_ref()).and_then(|row| row.get(column)) {
            Some(Cell::Text(text)) => text.clone(),
            other => format!("{other:?}"),
        }
    }
}

/// Marks that came together and cover so much of what is not stored yet.
#[derive(Debug)]
struct Standing {
    covers: usize,
    marks: Vec<Mark>,
}

/// The engine's end of a task.
pub(crate) struct Reader {
    config: Properties,
    slot: String,
    server: Client,
    pub(crate) host: Arc<FakeHost>,
    task: Option<Box<dyn DynSourceTask>>,
    pub(crate) stored: StoredOffsets,
    /// What is not stored yet.
    pending: Vec<Event>,
    /// The exactly-once topic as bytes, if they are kept, and the records of what is not stored yet.
    pub(crate) topics: Option<KeptTopics>,
    records: VecDeque<Record>,
    /// The marks of what is not stored yet: those that stand at one place are stored together.
    marks: Vec<Standing>,
    /// The topic of an engine that produces exactly once.
    pub(crate) once: Vec<Event>,
    /// The topic of one that produces at least once.
    pub(crate) least: Vec<Event>,
    pub(crate) rng: Rng,
    /// Which rows snapshots have read since the task started: topics and `id`s.
    pub(crate) reads: Vec<(String, String)>,
    /// How often the confirmed LSN was seen, and was that of the stored offset.
    pub(crate) looks: usize,
}

impl Reader {
    /// A reader of `server` that has not started.
    pub(crate) async fn new(server: &Server, more: &[(&str, &str)], seed: u64) -> Self {
        let config = config(server, more);
        Self {
            slot: config.get("slot.name").unwrap_or("debezium").to_owned(),
            config,
            server: server.client().await,
            host: FakeHost::new(),
            task: None,
            stored: StoredOffsets::default(),
            pending: Vec::new(),
            topics: None,
            records: VecDeque::new(),
            marks: Vec::new(),
            once: Vec::new(),
            least: Vec::new(),
            rng: Rng::new(seed),
            reads: Vec::new(),
            looks: 0,
        }
    }

    /// Keeps the exactly-once topic as JSON, for tasks that read it back, with schemas or without.
    pub(crate) fn keep_topics(&mut self, schemas: bool) {
        let mut registry = Registry::default();
        towpath_builtin::register(&mut registry);
        let json = registry.find_converter("org.apache.kafka.connect.json.JsonConverter").unwrap();
        let [key, value] = [Part::Key, Part::Value].map(|part| {
            let settings = [("schemas.enable", schemas.to_string())].into_iter().collect();
            (json.build)(&settings, BuildFor::Convert(part)).unwrap()
        });
        self.topics = Some(KeptTopics::new(key, value));
    }

    /// After the server was stopped.
    pub(crate) async fn reconnect(&mut self, server: &Server) {
        self.server = server.client().await;
    }

    /// Changes the configuration of the tasks to come.
    pub(crate) fn set(&mut self, key: &str, value: &str) {
        self.config.insert(key, value);
    }

    /// The stored offset of the stream.
    pub(crate) fn offset(&self) -> Option<&SourceOffset> {
        self.stored.get(&SourcePartition::of([("server", "p")]))
    }

    /// Where the stored offset says that the last whole transaction ended.
    pub(crate) fn stored_end(&self) -> Lsn {
        let end = self.offset().and_then(|offset| offset.get_i64("lsn_commit"));
        Lsn(end.unwrap_or_default().cast_unsigned())
    }

    /// A worker starts: a task from the stored offsets.
    pub(crate) async fn start(&mut self) {
        let mut registry = Registry::default();
        towpath_builtin::register(&mut registry);
        registry.source::<PostgresSource>();
        let class = "io.debezium.connector.postgresql.PostgresConnector";
        let Some((ConnectorPlugin::Source(plugin), _)) = registry.find_connector(class) else {
            panic!("{class} is no source");
        };
        self.host = FakeHost::new();
        if let Some(topics) = &self.topics {
            self.host.set_written(Arc::new(topics.clone()));
        }
        self.reads.clear();
        let config = &self.config;
        let mut planner = plugin.start(config.clone(), self.host.connector()).await.unwrap();
        let share = planner.plan(NonZeroU32::MIN).await.unwrap().remove(0);
        let cx = self.host.source_task(0, self.stored.clone());
        self.task = Some(plugin.task(config.clone(), share, cx).await.unwrap());
    }

    /// The worker is killed.
    pub(crate) async fn crash(&mut self) {
        self.end().await;
        self.look().await;
    }

    /// The same, where somebody else may have moved the slot.
    pub(crate) async fn end(&mut self) {
        self.task = None;
        self.lose_pending();
        self.slot_is_free().await;
    }

    /// The transaction is aborted, and the worker goes on.
    pub(crate) async fn rewind(&mut self) {
        self.lose_pending();
        let stored = self.stored.clone();
        self.task.as_mut().unwrap().rewind(&stored).await.unwrap();
    }

    fn lose_pending(&mut self) {
        let came = self.rng.below(self.pending.len() + 1);
        self.least.extend(self.pending.drain(..).take(came));
        self.records.clear();
        self.marks.clear();
    }

    /// Waits until the server has seen that the connection is gone.
    pub(crate) async fn slot_is_free(&self) {
        let sql = "select 1 from pg_replication_slots where slot_name = $1 and active";
        let began = Instant::now();
        while !self.server.query(sql, &[&self.slot]).await.unwrap().is_empty() {
            assert!(began.elapsed() < PATIENCE, "the slot stays active");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// The slot must never be ahead of the stored offset.
    pub(crate) async fn look(&mut self) -> Lsn {
        let sql = "select confirmed_flush_lsn::text from pg_replication_slots where slot_name = $1";
        let found = self.server.query(sql, &[&self.slot]).await.unwrap();
        let confirmed: Option<String> = found.first().and_then(|row| row.get(0));
        let confirmed = confirmed.map_or(Lsn::ZERO, |text| text.parse().unwrap());
        if self.offset().is_some() {
            let stored = self.stored_end();
            assert!(confirmed <= stored, "confirmed {confirmed}, but only {stored} is stored");
            self.looks += 1;
        }
        confirmed
    }

    /// Polls once, for at most `within`; whether something came.
    pub(crate) async fn poll(&mut self, within: Duration) -> Result<bool> {
        let room = match self.rng.below(4) {
            0 => ROOM,
            1 => Budget { bytes: 1, records: 10 },
            2 => Budget { bytes: 1 << 16, records: 100 },
            _ => Budget { bytes: 1 << 20, records: 1 + self.rng.below(7) },
        };
        self.poll_for(room, within).await
    }

    pub(crate) async fn poll_for(&mut self, room: Budget, within: Duration) -> Result<bool> {
        let task = self.task.as_mut().expect("a task");
        let Ok(batch) = tokio::time::timeout(within, task.poll(room)).await else {
            return Ok(false);
        };
        let batch = batch?;
        assert!(batch.records.len() <= room.records, "more records than there is room for");
        let before = self.pending.len();
        let old = self.marks.len();
        for mark in batch.marks {
            let covers = before + mark.after;
            match self.marks[old..].last_mut() {
                // Of two of one partition either may be stored.
                Some(last)
                    if last.covers == covers
                        && last.marks.iter().all(|other| other.partition != mark.partition) =>
                {
                    last.marks.push(mark);
                }
                Some(last) => {
                    assert!(last.covers <= covers, "marks out of order");
                    self.marks.push(Standing { covers, marks: vec![mark] });
                }
                None => self.marks.push(Standing { covers, marks: vec![mark] }),
            }
        }
        self.pending.extend(batch.records.iter().map(Event::of));
        if self.topics.is_some() {
            self.records.extend(batch.records);
        }
        let reads = self.pending[before..].iter().filter(|event| event.op == "r");
        self.reads.extend(reads.map(|event| (event.topic.clone(), event.value("id"))));
        Ok(true)
    }

    /// Stores what the first `count` of the places that have marks cover, and acknowledges it.
    pub(crate) async fn store(&mut self, count: usize) -> Result<()> {
        let Some(last) = count.checked_sub(1).and_then(|last| self.marks.get(last)) else {
            return Ok(());
        };
        let covered = last.covers;
        let mut upto = Vec::new();
        for mark in self.marks.drain(..count).flat_map(|standing| standing.marks) {
            upto.retain(|(partition, _)| *partition != mark.partition);
            upto.extend(mark.offset.clone().map(|offset| (mark.partition.clone(), offset)));
            self.stored.set(mark.partition, mark.offset);
        }
        self.marks.iter_mut().for_each(|standing| standing.covers -= covered);
        if let Some(topics) = &self.topics {
            self.records.drain(..covered).try_for_each(|record| topics.keep(&record))?;
        }
        let covered: Vec<Event> = self.pending.drain(..covered).collect();
        self.least.extend(covered.iter().cloned());
        self.once.extend(covered);
        self.task.as_mut().expect("a task").acknowledge(&upto).await
    }

    /// Stores all that can be.
    pub(crate) async fn store_all(&mut self) -> Result<()> {
        self.store(self.marks.len()).await
    }

    /// One step of an engine: a poll, and now and then storing up to some mark.
    pub(crate) async fn step(&mut self, within: Duration) {
        self.poll(within).await.unwrap();
        if self.rng.chance(40) {
            let count = self.rng.below(self.marks.len() + 1);
            self.store(count).await.unwrap();
        }
        if self.rng.chance(10) {
            self.look().await;
        }
    }

    /// Polls and stores until `until` is true of the reader.
    pub(crate) async fn read_until(&mut self, until: impl Fn(&Self) -> bool) {
        let result = self.try_until(until).await;
        result.unwrap_or_else(|error| panic!("the task ended: {}", error.chain()));
    }

    /// The same, or the error that ended the task.
    pub(crate) async fn try_until(&mut self, until: impl Fn(&Self) -> bool) -> Result<()> {
        let began = Instant::now();
        while !until(self) {
            let reasons = self.host.reasons();
            assert!(began.elapsed() < PATIENCE, "nothing came in time; the task says {reasons:?}");
            let within = Duration::from_millis(100);
            match self.rng.chance(20) {
                true => self.poll(within).await?,
                false => self.poll_for(ROOM, within).await?,
            };
            self.store_all().await?;
        }
        Ok(())
    }

    /// Whether all rows of the snapshot are stored.
    pub(crate) fn is_snapshot_done(&self) -> bool {
        let flag = |offset: &SourceOffset| offset.get("snapshot").is_none();
        self.offset().is_some_and(flag)
    }

    /// Whether, as offsets are stored, tables are being read beside the stream.
    pub(crate) fn is_beside(&self) -> bool {
        self.stored.iter().any(|(partition, _)| partition.get("incremental").is_some())
    }

    /// How many events wait for being stored.
    pub(crate) fn pending(&self) -> usize {
        self.pending.len()
    }

    /// Whether one of them is `it`.
    pub(crate) fn has_pending(&self, it: impl Fn(&Event) -> bool) -> bool {
        self.pending.iter().any(it)
    }

    /// How many places with marks wait for being stored.
    pub(crate) fn marks_count(&self) -> usize {
        self.marks.len()
    }

    /// How many places with marks are before the one that says that the snapshot is over.
    pub(crate) fn mark_of_the_end(&self) -> usize {
        let is_end = |mark: &Mark| {
            let offset = mark.offset.as_ref();
            offset.is_some_and(|offset| {
                offset.get("lsn").is_some() && offset.get("snapshot").is_none()
            })
        };
        let place = self.marks.iter().position(|standing| standing.marks.iter().any(is_end));
        place.unwrap_or(self.marks.len())
    }

    /// Whether that mark has come.
    pub(crate) fn has_polled_the_end(&self) -> bool {
        self.mark_of_the_end() < self.marks.len()
    }

    /// The error that ends the task.
    pub(crate) async fn error(&mut self) -> String {
        match self.try_until(|_| false).await {
            Err(error) => error.chain().to_string(),
            Ok(()) => unreachable!("it waits for what never is"),
        }
    }
}
