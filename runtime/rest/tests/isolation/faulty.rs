//! Connectors that misbehave wherever their configuration says, and one that does not.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use towpath_sdk::config::{ConfigEnum, ConnectorConfig, Properties};
use towpath_sdk::context::{ConnectorContext, LaneContext, SourceTaskContext, TaskContext};
use towpath_sdk::guarantee::Guarantee;
use towpath_sdk::offset::{SourceOffset, SourcePartition, StoredOffsets};
use towpath_sdk::plugin::{PluginInfo, PluginName};
use towpath_sdk::record::{Record, TopicPartition};
use towpath_sdk::signal::Signals;
use towpath_sdk::sink::{Epoch, SinkBatch, SinkConnector, SinkLane, SinkTask, StartAt};
use towpath_sdk::source::{Budget, SourceBatch, SourceConnector, SourceTask, TaskShare};
use towpath_sdk::value::{Datum, Value};
use towpath_sdk::{Result, Text};

const SOURCE: &[PluginName] = &[PluginName::new("faulty-source")];
const SINK: &[PluginName] = &[PluginName::new("faulty-sink")];

/// Lets all threads go that are held.
pub(crate) static RELEASED: AtomicBool = AtomicBool::new(false);
/// Records that the steady sink has written.
pub(crate) static WRITTEN: AtomicU64 = AtomicU64::new(0);
/// Signals that were heard.
pub(crate) static HEARD: AtomicU64 = AtomicU64::new(0);
/// Records that tasks without a fault of [`FaultySource`] have given in connector `siblings`.
pub(crate) static SIBLINGS: AtomicU64 = AtomicU64::new(0);

#[derive(Debug, Clone, Copy, PartialEq, Eq, ConfigEnum)]
pub(crate) enum How {
    /// Does what it should.
    Well,
    /// Blocks its thread.
    Block,
    /// Burns its core.
    Burn,
    /// Panics.
    Panic,
    /// Gives far more than it was asked for.
    Greed,
}

#[derive(Debug, Clone, PartialEq, ConnectorConfig)]
#[config(validate = judge)]
pub(crate) struct Fault {
    /// The call that goes wrong.
    #[config(default = "")]
    pub(crate) at: String,
    /// How.
    #[config(default = "well")]
    pub(crate) how: How,
    /// The topic of a source.
    #[config(key = "to", default = "steady")]
    pub(crate) topic: String,
    /// Tasks from this number on do what they should.
    #[config(key = "sound.from", default = 1000)]
    pub(crate) sound_from: u32,
}

fn judge(fault: &Fault) -> Vec<towpath_sdk::config::FieldError> {
    fault.strike("validate");
    Vec::new()
}

impl Fault {
    fn strike(&self, at: &str) {
        if self.at != at {
            return;
        }
        match self.how {
            How::Panic => panic!("on purpose in {at}"),
            How::Block => {
                while !RELEASED.load(Ordering::Relaxed) {
                    std::thread::sleep(Duration::from_millis(50));
                }
            }
            How::Burn => {
                while !RELEASED.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            }
            How::Well | How::Greed => {}
        }
    }

    /// The same for task `task`, which may be a sound one.
    fn of_task(self: &Arc<Self>, task: u32) -> Arc<Self> {
        if task < self.sound_from {
            return Arc::clone(self);
        }
        Arc::new(Self { how: How::Well, ..Self::clone(self) })
    }
}

pub(crate) struct FaultySource(Arc<Fault>);

pub(crate) struct FaultySourceTask {
    fault: Arc<Fault>,
    partition: SourcePartition,
    next: i64,
    counts: bool,
    signals: Signals,
}

impl SourceConnector for FaultySource {
    type Config = Fault;
    type Task = FaultySourceTask;

    fn plugin() -> PluginInfo {
        PluginInfo { names: SOURCE, version: "1", summary: "Goes wrong where it is told to." }
    }

    fn guarantee(_fault: &Fault) -> Guarantee {
        Guarantee::exactly_once("it counts")
    }

    async fn start(config: Arc<Fault>, _cx: ConnectorContext) -> Result<Self> {
        config.strike("start");
        Ok(Self(config))
    }

    async fn plan(&mut self, max: NonZeroU32) -> Result<Vec<TaskShare>> {
        self.0.strike("plan");
        Ok((0..max.get()).map(|n| Properties::from([("share", n.to_string())])).collect())
    }

    async fn changed(&mut self) -> Result<()> {
        tokio::task::yield_now().await;
        self.0.strike("changed");
        std::future::pending().await
    }

    async fn task(
        config: Arc<Fault>,
        _share: TaskShare,
        cx: SourceTaskContext,
    ) -> Result<FaultySourceTask> {
        let fault = config.of_task(cx.task.task);
        fault.strike("task");
        let counts = &*cx.task.connector == "siblings";
        let partition = SourcePartition::of([("task", cx.task.task)]);
        let next = cx.offsets.get(&partition).and_then(|o| o.get_i64("next")).unwrap_or(0);
        let signals = cx.task.signals();
        Ok(FaultySourceTask { fault, partition, next, counts, signals })
    }

    fn check_offset(
        config: &Fault,
        _partition: &SourcePartition,
        _offset: Option<&SourceOffset>,
    ) -> Result<()> {
        config.strike("check_offset");
        Ok(())
    }
}

impl SourceTask for FaultySourceTask {
    async fn poll(&mut self, _room: Budget) -> Result<SourceBatch> {
        if self.fault.at == "signal" {
            let signal = self.signals.next().await;
            assert_eq!((signal.kind.as_str(), signal.data.len()), ("execute-snapshot", 1));
            HEARD.fetch_add(1, Ordering::Relaxed);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
        self.fault.strike("poll");
        let greedy = self.fault.how == How::Greed && self.fault.at == "poll";
        let (count, text) = if greedy { (64, "x".repeat(1 << 20)) } else { (1, "x".to_owned()) };
        let text = Text::from(text);
        let record = || {
            Record::new(self.fault.topic.as_str(), Datum::schemaless(Value::String(text.clone())))
        };
        let records = (0..count).map(|_| record()).collect();
        self.next += count;
        if self.counts {
            SIBLINGS.fetch_add(1, Ordering::Relaxed);
        }
        let offset = SourceOffset::of([("next", self.next)]);
        Ok(SourceBatch::upto(records, self.partition.clone(), offset))
    }

    async fn acknowledge(&mut self, _upto: &[(SourcePartition, SourceOffset)]) -> Result<()> {
        self.fault.strike("acknowledge");
        Ok(())
    }

    async fn rewind(&mut self, to: &StoredOffsets) -> Result<()> {
        self.next = to.get(&self.partition).and_then(|o| o.get_i64("next")).unwrap_or(0);
        Ok(())
    }

    async fn stop(self) -> Result<()> {
        self.fault.strike("stop");
        Ok(())
    }
}

impl Drop for FaultySourceTask {
    fn drop(&mut self) {
        if self.fault.how != How::Panic {
            self.fault.strike("drop");
        }
    }
}

pub(crate) struct FaultySink;
pub(crate) struct FaultySinkTask(Arc<Fault>);
pub(crate) struct FaultyLane {
    fault: Arc<Fault>,
    cx: LaneContext,
    woken: bool,
}

impl SinkConnector for FaultySink {
    type Config = Fault;
    type Task = FaultySinkTask;

    fn plugin() -> PluginInfo {
        PluginInfo { names: SINK, version: "1", summary: "Goes wrong where it is told to." }
    }

    fn guarantee(fault: &Fault) -> Guarantee {
        fault.strike("guarantee");
        Guarantee::at_least_once("it only counts")
    }

    async fn task(config: Arc<Fault>, _cx: TaskContext) -> Result<FaultySinkTask> {
        config.strike("task");
        Ok(FaultySinkTask(config))
    }
}

impl SinkTask for FaultySinkTask {
    type Lane = FaultyLane;

    async fn open(&mut self, _partitions: &[TopicPartition], _epoch: Epoch) -> Result<StartAt> {
        self.0.strike("open");
        Ok(StartAt::committed())
    }

    fn lane(&mut self, cx: LaneContext) -> FaultyLane {
        self.0.strike("lane");
        FaultyLane { fault: Arc::clone(&self.0), cx, woken: false }
    }

    async fn close(&mut self, _partitions: &[TopicPartition]) -> Result<()> {
        self.0.strike("close");
        Ok(())
    }

    async fn stop(self) -> Result<()> {
        self.0.strike("stop");
        Ok(())
    }
}

impl SinkLane for FaultyLane {
    async fn write(&mut self, batch: SinkBatch) -> Result<()> {
        self.fault.strike("write");
        if self.fault.how == How::Well {
            WRITTEN.fetch_add(batch.records.len() as u64, Ordering::Relaxed);
        }
        self.cx.progress.durable(batch.end);
        Ok(())
    }

    fn wake_at(&self) -> Option<towpath_sdk::clock::Timestamp> {
        (!self.woken).then(|| self.cx.task.clock().now())
    }

    async fn wake(&mut self) -> Result<()> {
        self.woken = true;
        self.fault.strike("wake");
        Ok(())
    }

    async fn drain(&mut self) -> Result<()> {
        self.fault.strike("drain");
        Ok(())
    }
}
