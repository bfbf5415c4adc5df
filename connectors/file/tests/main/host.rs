//! The engine's end of the contexts, for tests.

use std::num::NonZeroU32;
use std::path::Path;
use std::sync::{Arc, Mutex};

use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::sync::watch;
use towpath_sdk::clock::{Clock, Timestamp, TokioClock};
use towpath_sdk::config::Properties;
use towpath_sdk::context::{
    ConnectorContext, Host, LaneContext, SourceTaskContext, TaskContext, Waiting,
};
use towpath_sdk::guarantee::Guarantee;
use towpath_sdk::offset::{OffsetMap, StoredOffsets};
use towpath_sdk::plugin::erased::{DynSinkLane, DynSinkTask, DynSourceTask};
use towpath_sdk::plugin::{ConnectorPlugin, DynSinkPlugin, DynSourcePlugin, Registry};
use towpath_sdk::record::{
    Origin, RawBatchBuilder, Record, SinkRecord, TimestampType, TopicPartition,
};
use towpath_sdk::sink::{Epoch, Progress, ProgressSink, Settle, SinkBatch};
use towpath_sdk::source::{Budget, SourceBatch};
use towpath_sdk::value::{Datum, Value};
use towpath_sdk::{Error, Result};

/// 2023-11-14T22:13:20Z.
pub(crate) const NOW: i64 = 1_700_000_000_000;

/// Room for anything.
pub(crate) const ROOM: Budget = Budget { bytes: 1 << 30, records: 1 << 20 };

pub(crate) struct TestHost {
    clock: Arc<dyn Clock>,
    waiting: watch::Sender<Option<String>>,
}

impl TestHost {
    pub(crate) fn new() -> Arc<Self> {
        let clock = Arc::new(TokioClock::starting_at(Timestamp(NOW)));
        Arc::new(Self { clock, waiting: watch::channel(None).0 })
    }

    /// Resolves when the task waits for a reason that contains `text`.
    pub(crate) async fn waits_for(&self, text: &str) {
        let mut waiting = self.waiting.subscribe();
        let said = |reason: &Option<String>| reason.as_ref().is_some_and(|r| r.contains(text));
        waiting.wait_for(said).await.unwrap();
    }

    pub(crate) fn reason(&self) -> Option<String> {
        self.waiting.borrow().clone()
    }

    pub(crate) fn connector(self: &Arc<Self>) -> ConnectorContext {
        ConnectorContext::new("c", Arc::clone(self) as Arc<dyn Host>)
    }

    pub(crate) fn task(self: &Arc<Self>) -> TaskContext {
        TaskContext::new("c", 0, Arc::clone(self) as Arc<dyn Host>)
    }
}

impl Host for TestHost {
    fn clock(&self) -> Arc<dyn Clock> {
        Arc::clone(&self.clock)
    }
    fn waiting(&self, reason: Option<Waiting>) {
        self.waiting.send_replace(reason.map(|r| r.reason));
    }
    fn load_state(&self, _key: OffsetMap) -> BoxFuture<'static, Result<Option<OffsetMap>>> {
        async { Ok(None) }.boxed()
    }
    fn store_state(
        &self,
        _key: OffsetMap,
        _value: Option<OffsetMap>,
    ) -> BoxFuture<'static, Result<()>> {
        async { Ok(()) }.boxed()
    }
    fn count(&self, _name: &'static str, _n: u64) {}
    fn guarantee(&self, _guarantee: Guarantee) {}
}

pub(crate) fn registry() -> Registry {
    let mut registry = Registry::default();
    registry.source::<towpath_connector_file::source::FileSource>();
    registry.source::<towpath_connector_file::stream_source::FileStreamSource>();
    registry.sink::<towpath_connector_file::stream_sink::FileStreamSink>();
    registry.sink::<towpath_connector_file::sink::FileSink>();
    registry
}

pub(crate) fn source_plugin(alias: &str) -> Arc<dyn DynSourcePlugin> {
    match registry().find_connector(alias) {
        Some((ConnectorPlugin::Source(plugin), _)) => Arc::clone(plugin),
        _ => panic!("{alias} is no source"),
    }
}

pub(crate) fn sink_plugin(alias: &str) -> Arc<dyn DynSinkPlugin> {
    match registry().find_connector(alias) {
        Some((ConnectorPlugin::Sink(plugin), _)) => Arc::clone(plugin),
        _ => panic!("{alias} is no sink"),
    }
}

/// A source's only task, and what the engine would have stored for it.
pub(crate) struct SourceRun {
    pub(crate) host: Arc<TestHost>,
    pub(crate) task: Box<dyn DynSourceTask>,
    pub(crate) stored: StoredOffsets,
}

impl SourceRun {
    pub(crate) async fn start(
        alias: &str,
        config: &Properties,
        stored: StoredOffsets,
    ) -> Result<Self> {
        let host = TestHost::new();
        let plugin = source_plugin(alias);
        let mut planner = plugin.start(config.clone(), host.connector()).await?;
        let shares = planner.plan(NonZeroU32::MIN).await?;
        let [share] = <[Properties; 1]>::try_from(shares).unwrap();
        let cx = SourceTaskContext { task: host.task(), offsets: stored.clone() };
        let task = plugin.task(config.clone(), share, cx).await?;
        Ok(Self { host, task, stored })
    }

    /// Polls once and stores the marks.
    pub(crate) async fn poll(&mut self, room: Budget) -> Result<SourceBatch> {
        let batch = self.task.poll(room).await?;
        for mark in &batch.marks {
            self.stored.set(mark.partition.clone(), mark.offset.clone());
        }
        Ok(batch)
    }

    /// Polls until `count` values have come.
    pub(crate) async fn values(&mut self, count: usize) -> Vec<String> {
        let mut values = Vec::new();
        while values.len() < count {
            let batch = self.poll(ROOM).await.unwrap();
            values.extend(batch.records.iter().map(text_of));
        }
        values
    }

    /// Nothing comes by the time that the runtime has nothing else to do.
    pub(crate) async fn is_idle(&mut self) -> bool {
        let wait = std::time::Duration::from_secs(30);
        tokio::time::timeout(wait, self.task.poll(ROOM)).await.is_err()
    }
}

pub(crate) fn text_of(record: &Record) -> String {
    match &record.value.value {
        Value::String(text) => text.to_string(),
        other => format!("{other:?}"),
    }
}

/// What a lane reported.
#[derive(Default)]
pub(crate) struct Reports {
    pub(crate) durable: Mutex<Option<i64>>,
    pub(crate) rejected: Mutex<Vec<(i64, String)>>,
}

impl ProgressSink for Reports {
    fn durable(&self, end: i64) {
        *self.durable.lock().unwrap() = Some(end);
    }
    fn reject(&self, record: SinkRecord, error: Error, _: Option<Settle>) {
        self.rejected.lock().unwrap().push((record.offset(), error.to_string()));
    }
    fn fail(&self, error: Error) {
        panic!("the lane failed: {error:?}");
    }
}

/// A sink's task with lanes of topic `t`.
pub(crate) struct SinkRun {
    pub(crate) host: Arc<TestHost>,
    pub(crate) task: Box<dyn DynSinkTask>,
}

pub(crate) struct LaneRun {
    pub(crate) lane: Box<dyn DynSinkLane>,
    pub(crate) reports: Arc<Reports>,
    partition: TopicPartition,
}

impl SinkRun {
    pub(crate) async fn start(alias: &str, config: &Properties) -> Result<Self> {
        let host = TestHost::new();
        let task = sink_plugin(alias).task(config.clone(), host.task()).await?;
        Ok(Self { host, task })
    }

    pub(crate) async fn lane(&mut self, partition: i32) -> LaneRun {
        let partition = TopicPartition::new("t", partition);
        let opened = std::slice::from_ref(&partition);
        self.task.open(opened, Epoch(1)).await.unwrap();
        let reports = Arc::new(Reports::default());
        let lane = self.task.lane(LaneContext {
            task: self.host.task(),
            partition: partition.clone(),
            epoch: Epoch(1),
            progress: Progress::new(Arc::clone(&reports) as Arc<dyn ProgressSink>),
        });
        LaneRun { lane, reports, partition }
    }
}

impl LaneRun {
    pub(crate) fn durable(&self) -> Option<i64> {
        *self.reports.durable.lock().unwrap()
    }

    /// The values as records from offset `start` on.
    pub(crate) fn batch(&self, start: i64, values: &[Datum]) -> SinkBatch {
        let mut raw = RawBatchBuilder::default();
        for (offset, _) in (start..).zip(values) {
            raw.push(offset, Some(NOW), TimestampType::CreateTime, None, None, []);
        }
        let end = start + i64::try_from(values.len()).unwrap();
        let raw = Arc::new(raw.build(self.partition.clone(), Epoch(1), end, ()));
        let record = |(row, value): (usize, &Datum)| {
            let mut record = Record::new(Arc::clone(&self.partition.topic), value.clone());
            record.partition = Some(self.partition.partition);
            record.timestamp = Some(NOW);
            SinkRecord::new(record, Origin::new(&raw, row).unwrap())
        };
        SinkBatch::new(values.iter().enumerate().map(record).collect(), end)
    }

    pub(crate) async fn write(&mut self, start: i64, values: &[Datum]) -> Result<()> {
        let batch = self.batch(start, values);
        self.lane.write(batch).await
    }
}

pub(crate) fn text(value: &str) -> Datum {
    Datum::schemaless(Value::String(value.into()))
}

pub(crate) fn properties<const N: usize>(entries: [(&str, &str); N]) -> Properties {
    Properties::from(entries)
}

pub(crate) fn utf8(path: &Path) -> &str {
    path.to_str().unwrap()
}
