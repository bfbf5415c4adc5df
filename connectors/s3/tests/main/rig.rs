//! What stands in for the engine: a host, partitions with records, and lanes that are driven by hand.

use std::collections::HashMap;
use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use towpath_connector_s3::config::confluent::{Config, OUR_DEFAULTS};
use towpath_connector_s3::connector::S3Sink;
use towpath_connector_s3::task::{Lane, Task};
use towpath_sdk::Bytes;
use towpath_sdk::clock::{Clock, Timestamp};
use towpath_sdk::config::{ConnectorConfig, Properties};
use towpath_sdk::context::{Host, LaneContext, TaskContext, Waiting};
use towpath_sdk::error::{Error, Result};
use towpath_sdk::guarantee::Guarantee;
use towpath_sdk::offset::OffsetMap;
use towpath_sdk::record::{
    Origin, RawBatch, RawBatchBuilder, Record, SinkRecord, TimestampType, TopicPartition,
};
use towpath_sdk::sink::{
    Epoch, Progress, ProgressSink, Settle, SinkBatch, SinkConnector, SinkLane, SinkTask,
};
use towpath_sdk::value::{Datum, Json, Value};

use crate::bucket::Bucket;

pub(crate) const TOPIC: &str = "orders";
/// A path for each value of the field `path`.
pub(crate) const FIELDS: [(&str, &str); 2] =
    [("partitioner.class", "FieldPartitioner"), ("partition.field.name", "path")];

/// A clock that is set by hand.
#[derive(Debug, Default)]
pub(crate) struct HandClock(Mutex<i64>);

impl HandClock {
    pub(crate) fn set(&self, now: i64) {
        *self.0.lock() = now;
    }
}

impl Clock for HandClock {
    fn now(&self) -> Timestamp {
        Timestamp(*self.0.lock())
    }
}

/// What outlives tasks: stored states, and what was reported.
#[derive(Default)]
pub(crate) struct World {
    pub(crate) clock: Arc<HandClock>,
    pub(crate) states: Mutex<HashMap<String, OffsetMap>>,
    pub(crate) waiting: Mutex<Vec<String>>,
    pub(crate) guarantee: Mutex<Option<Guarantee>>,
    pub(crate) counts: Mutex<HashMap<&'static str, u64>>,
    pub(crate) rejected: Mutex<Vec<(i64, String)>>,
    pub(crate) durable: Mutex<i64>,
    pub(crate) changed: tokio::sync::Notify,
}

struct WorldHost(Arc<World>);

impl Host for WorldHost {
    fn clock(&self) -> Arc<dyn Clock> {
        Arc::clone(&self.0.clock) as Arc<dyn Clock>
    }
    fn waiting(&self, reason: Option<Waiting>) {
        if let Some(waiting) = reason {
            self.0.waiting.lock().push(waiting.reason);
            self.0.changed.notify_waiters();
        }
    }
    fn load_state(&self, key: OffsetMap) -> BoxFuture<'static, Result<Option<OffsetMap>>> {
        let found = self.0.states.lock().get(&format!("{key:?}")).cloned();
        async { Ok(found) }.boxed()
    }
    fn store_state(
        &self,
        key: OffsetMap,
        value: Option<OffsetMap>,
    ) -> BoxFuture<'static, Result<()>> {
        let world = Arc::clone(&self.0);
        async move {
            // As slow as a broker's answer, so that a crash can come before it.
            tokio::task::yield_now().await;
            let mut states = world.states.lock();
            match value {
                Some(value) => states.insert(format!("{key:?}"), value),
                None => states.remove(&format!("{key:?}")),
            };
            Ok(())
        }
        .boxed()
    }
    fn count(&self, name: &'static str, n: u64) {
        *self.0.counts.lock().entry(name).or_default() += n;
    }
    fn guarantee(&self, guarantee: Guarantee) {
        *self.0.guarantee.lock() = Some(guarantee);
    }
}

/// Ends with its lane: what a dropped lane reports is ignored.
struct Reports {
    world: Arc<World>,
    alive: Arc<Mutex<bool>>,
}

impl ProgressSink for Reports {
    fn durable(&self, end: i64) {
        if *self.alive.lock() {
            let mut durable = self.world.durable.lock();
            assert!(end >= *durable, "durable went back from {durable} to {end}");
            *durable = end;
            self.world.changed.notify_waiters();
        }
    }
    fn reject(&self, record: SinkRecord, error: Error, _: Option<Settle>) {
        self.world.rejected.lock().push((record.offset(), error.chain()));
    }
    fn fail(&self, error: Error) {
        panic!("the lane failed: {error:?}");
    }
}

impl World {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self::default())
    }

    pub(crate) fn durable(&self) -> i64 {
        *self.durable.lock()
    }

    /// Waits until `done`.
    pub(crate) async fn until(&self, what: &str, done: impl Fn(&Self) -> bool) {
        let wait = async {
            loop {
                let mut changed = std::pin::pin!(self.changed.notified());
                changed.as_mut().enable();
                if done(self) {
                    return;
                }
                changed.await;
            }
        };
        let waited = tokio::time::timeout(std::time::Duration::from_secs(60), wait).await;
        waited.unwrap_or_else(|_| panic!("waited in vain for {what}: {:?}", self.waiting.lock()));
    }

    pub(crate) fn context(self: &Arc<Self>) -> TaskContext {
        TaskContext::new("test-sink", 0, Arc::new(WorldHost(Arc::clone(self))))
    }
}

/// A task with one lane, as the engine would drive it.
pub(crate) struct Running {
    pub(crate) world: Arc<World>,
    pub(crate) task: Task,
    pub(crate) lane: Lane,
    alive: Arc<Mutex<bool>>,
}

impl Running {
    pub(crate) async fn start(world: &Arc<World>, config: &Config) -> Self {
        let task = S3Sink::task(Arc::new(config.clone()), world.context()).await.expect("a task");
        Self::of(world, task)
    }

    pub(crate) fn of(world: &Arc<World>, mut task: Task) -> Self {
        let (lane, alive) = lane(world, &mut task);
        Self { world: Arc::clone(world), task, lane, alive }
    }

    /// A new lane in place of one that failed.
    pub(crate) fn renew(&mut self) {
        *self.alive.lock() = false;
        (self.lane, self.alive) = lane(&self.world, &mut self.task);
    }

    /// The partition belongs to somebody else now, and this one has not heard of it.
    pub(crate) fn disown(&self) {
        *self.alive.lock() = false;
    }

    /// Gone without a word, as by kill -9.
    pub(crate) fn kill(self) {
        *self.alive.lock() = false;
    }

    pub(crate) async fn stop(mut self) {
        self.lane.drain().await.expect("a drained lane");
        self.task.stop().await.expect("a stopped task");
    }
}

fn lane(world: &Arc<World>, task: &mut Task) -> (Lane, Arc<Mutex<bool>>) {
    let alive = Arc::new(Mutex::new(true));
    let reports = Reports { world: Arc::clone(world), alive: Arc::clone(&alive) };
    let lane = task.lane(LaneContext {
        task: world.context(),
        partition: TopicPartition::new(TOPIC, 0),
        epoch: Epoch(1),
        progress: Progress::new(Arc::new(reports)),
    });
    (lane, alive)
}

/// A configuration under our own name for `bucket`.
pub(crate) fn config(bucket: &Bucket, entries: &[(&str, &str)]) -> Config {
    let spool = bucket.spool.path().to_str().expect("a readable path").to_owned();
    let mut properties = Properties::from([
        ("s3.bucket.name", bucket.name.as_str()),
        ("store.url", &bucket.url),
        ("s3.region", &bucket.region),
        ("aws.access.key.id", &bucket.access_key),
        ("aws.secret.access.key", &bucket.secret_key),
        ("spool.dir", &spool),
    ]);
    properties.extend(entries.iter().copied());
    Config::definition().fill(&mut properties, OUR_DEFAULTS);
    Config::parse(&properties).unwrap_or_else(|errors| panic!("{errors}"))
}

/// Record `offset` of the partition: its value tells which it is.
pub(crate) fn value(offset: i64, paths: i64) -> String {
    format!(
        r#"{{"offset":{offset},"path":"p{}","text":"some text to fill the record"}}"#,
        offset % paths
    )
}

/// Records `from..to`, in one batch.
pub(crate) fn batch(from: i64, to: i64, paths: i64) -> SinkBatch {
    batch_of((from..to).map(|offset| (offset, Some(value(offset, paths)))), to)
}

/// Records `from..to`, of which a hundred make more than a part.
pub(crate) fn large(from: i64, to: i64) -> SinkBatch {
    let filler = "x".repeat(60_000);
    let value =
        |offset: i64| (offset, Some(format!(r#"{{"offset":{offset},"filler":"{filler}"}}"#)));
    batch_of((from..to).map(value), to)
}

pub(crate) fn batch_of(
    records: impl Iterator<Item = (i64, Option<String>)>,
    end: i64,
) -> SinkBatch {
    let records: Vec<_> = records.collect();
    let mut builder = RawBatchBuilder::default();
    for (offset, value) in &records {
        let value = value.as_deref().map(str::as_bytes);
        builder.push(*offset, Some(offset * 1000), TimestampType::CreateTime, None, value, []);
    }
    let raw: Arc<RawBatch> =
        Arc::new(builder.build(TopicPartition::new(TOPIC, 0), Epoch(1), end, ()));
    let topic: Arc<str> = TOPIC.into();
    let records = records.into_iter().enumerate().map(|(row, (offset, value))| {
        let value = value.map_or(Datum::null(), |text| {
            Datum::schemaless(match Json::new(Bytes::from(text.clone())) {
                Ok(json) => Value::Json(json),
                Err(_) => Value::String(text.into()),
            })
        });
        let mut record = Record::new(Arc::clone(&topic), value);
        record.timestamp = Some(offset * 1000);
        SinkRecord::new(record, Origin::new(&raw, row).expect("a row"))
    });
    SinkBatch::new(records.collect(), end)
}
