//! A running source of a test's own, and what it gives, as JSON.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use serde_json::Value as Json;
use towpath_connector_postgres::PostgresSource;
use towpath_sdk::Result;
use towpath_sdk::config::Properties;
use towpath_sdk::converter::{Converter, Part};
use towpath_sdk::offset::StoredOffsets;
use towpath_sdk::plugin::erased::DynSourceTask;
use towpath_sdk::plugin::{BuildFor, ConnectorPlugin, Registry};
use towpath_sdk::record::Record;
use towpath_sdk::source::{Budget, SourceBatch};
use towpath_testkit::FakeHost;

use crate::server::Server;

/// Debezium's class, with Debezium's defaults.
pub(crate) const DEBEZIUM: &str = "io.debezium.connector.postgresql.PostgresConnector";

const ROOM: Budget = Budget { bytes: 1 << 30, records: 1 << 20 };
/// How long a test waits for what must come.
const PATIENCE: Duration = Duration::from_secs(60);

/// A task, and what it has stored.
pub(crate) struct Source {
    pub(crate) host: Arc<FakeHost>,
    pub(crate) offsets: StoredOffsets,
    task: Box<dyn DynSourceTask>,
    converter: Arc<dyn Converter>,
}

/// A record with its key and its value as JSON without schemas.
#[derive(Debug, Clone)]
pub(crate) struct Shown {
    pub(crate) record: Record,
    pub(crate) key: Json,
    pub(crate) value: Json,
}

impl Shown {
    /// The operation.
    pub(crate) fn op(&self) -> &str {
        self.value["op"].as_str().unwrap_or_default()
    }
}

/// A configuration for `server` as far as all tests agree, and `entries`.
pub(crate) fn config(server: &Server, entries: &[(&str, &str)]) -> Properties {
    let mut config = Properties::from([
        ("connector.class", DEBEZIUM),
        ("topic.prefix", "p"),
        ("database.hostname", "127.0.0.1"),
        ("database.user", "postgres"),
        ("database.dbname", "postgres"),
        ("plugin.name", "pgoutput"),
        ("status.update.interval.ms", "100"),
    ]);
    config.insert("database.port", server.target("postgres").port.to_string());
    config.extend(entries.iter().copied());
    config
}

impl Source {
    /// Starts one without offsets.
    pub(crate) async fn start(server: &Server, entries: &[(&str, &str)]) -> Self {
        Self::start_at(server, entries, StoredOffsets::default()).await
    }

    /// Starts one at `offsets`.
    pub(crate) async fn start_at(
        server: &Server,
        entries: &[(&str, &str)],
        offsets: StoredOffsets,
    ) -> Self {
        let mut registry = Registry::default();
        towpath_builtin::register(&mut registry);
        registry.source::<PostgresSource>();
        let config = config(server, entries);
        let class = config.get("connector.class").unwrap();
        let Some((ConnectorPlugin::Source(plugin), _)) = registry.find_connector(class) else {
            panic!("{class} is no source");
        };
        let host = FakeHost::new();
        let mut planner = plugin.start(config.clone(), host.connector()).await.unwrap();
        let share = planner.plan(NonZeroU32::MIN).await.unwrap().remove(0);
        let cx = host.source_task(0, offsets.clone());
        let task = plugin.task(config.clone(), share, cx).await.unwrap();
        let json = registry.find_converter("org.apache.kafka.connect.json.JsonConverter").unwrap();
        let plain = Properties::from([("schemas.enable", "false")]);
        let converter = (json.build)(&plain, BuildFor::Convert(Part::Value)).ok().unwrap();
        Self { host, offsets, task, converter }
    }

    /// Takes what there is, and says that it is stored.
    pub(crate) async fn poll(&mut self) -> Result<SourceBatch> {
        let batch = self.task.poll(ROOM).await?;
        let mut upto = Vec::new();
        for mark in &batch.marks {
            self.offsets.set(mark.partition.clone(), mark.offset.clone());
            upto.extend(mark.offset.clone().map(|offset| (mark.partition.clone(), offset)));
        }
        self.task.acknowledge(&upto).await?;
        Ok(batch)
    }

    /// Takes records until one of which `until` is true.
    pub(crate) async fn read(&mut self, until: impl Fn(&Shown) -> bool) -> Vec<Shown> {
        let mut all: Vec<Shown> = Vec::new();
        while !all.iter().any(&until) {
            let Ok(batch) = tokio::time::timeout(PATIENCE, self.poll()).await else {
                panic!("nothing came in time; the task says {:?}", self.host.reasons());
            };
            let records = batch.unwrap().records;
            all.extend(records.into_iter().map(|record| self.show(record)));
        }
        all
    }

    /// Takes records until `count` have come.
    pub(crate) async fn take(&mut self, count: usize) -> Vec<Shown> {
        let mut all: Vec<Shown> = Vec::new();
        while all.len() < count {
            all.extend(self.read(|_| true).await);
        }
        all
    }

    /// Takes records until `done` is true of the server's answer to `sql`.
    pub(crate) async fn run_until(
        &mut self,
        server: &Server,
        sql: &str,
        done: impl Fn(Option<&str>) -> bool,
    ) -> Vec<Shown> {
        let mut all = Vec::new();
        let client = server.client().await;
        let began = tokio::time::Instant::now();
        loop {
            let short = Duration::from_millis(50);
            if let Ok(batch) = tokio::time::timeout(short, self.poll()).await {
                let records = batch.unwrap().records;
                all.extend(records.into_iter().map(|record| self.show(record)));
            }
            let rows = client.simple_query(sql).await.unwrap();
            let value = rows.iter().find_map(|message| match message {
                tokio_postgres::SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
                _ => None,
            });
            if done(value.as_deref()) {
                return all;
            }
            assert!(began.elapsed() < PATIENCE, "{sql} gives {value:?}");
        }
    }

    /// The error that ends the task.
    pub(crate) async fn fails(&mut self) -> towpath_sdk::Error {
        loop {
            let poll = tokio::time::timeout(PATIENCE, self.poll()).await;
            if let Err(error) = poll.expect("the task fails in time") {
                return error;
            }
        }
    }

    /// Stops it, and what it has stored.
    pub(crate) async fn stop(self) -> StoredOffsets {
        self.task.stop().await.unwrap();
        self.offsets
    }

    fn show(&self, record: Record) -> Shown {
        let mut scratch = BytesMut::new();
        let mut json = |datum| {
            let bytes = self.converter.encode(&record.topic, datum, &mut scratch).unwrap();
            bytes.map_or(Json::Null, |bytes| serde_json::from_slice(&bytes).unwrap())
        };
        let (key, value) = (json(&record.key), json(&record.value));
        Shown { key, value, record }
    }
}
