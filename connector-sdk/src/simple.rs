//! Connectors in a few lines.
//!
//! Duty: for sources with one stream and sinks that write a batch at once. [`SimpleSource`] and
//! [`SimpleSink`] leave offsets, lanes and reports to this layer; `registry.source::<Source<MySource>>()`
//! and `registry.sink::<Sink<MySink>>()` register them. Whoever needs more (several source partitions,
//! durability that comes later, single records rejected) implements the full traits.
//!
//! ```
//! use towpath_sdk::config::ConnectorConfig;
//! use towpath_sdk::plugin::{PluginInfo, PluginName};
//! use towpath_sdk::record::SinkRecord;
//! use towpath_sdk::{Result, simple};
//!
//! /// Where to count.
//! #[derive(ConnectorConfig)]
//! struct CountConfig {
//!     /// What to call the count.
//!     label: String,
//! }
//!
//! struct Count(String, usize);
//!
//! impl simple::SimpleSink for Count {
//!     type Config = CountConfig;
//!     const PLUGIN: PluginInfo =
//!         PluginInfo { names: &[PluginName::new("count-sink")], version: "1", summary: "Counts." };
//!     async fn open(config: &CountConfig) -> Result<Self> {
//!         Ok(Self(config.label.clone(), 0))
//!     }
//!     async fn write(&mut self, records: &[SinkRecord]) -> Result<()> {
//!         self.1 += records.len();
//!         Ok(())
//!     }
//! }
//!
//! towpath_sdk::plugin::Registry::default().sink::<simple::Sink<Count>>();
//! ```

use std::future::Future;
use std::marker::PhantomData;
use std::num::NonZeroU32;
use std::sync::Arc;

use crate::config::{ConnectorConfig, Properties};
use crate::context::{ConnectorContext, LaneContext, SinkTaskContext, SourceTaskContext};
use crate::error::Result;
use crate::guarantee::Guarantee;
use crate::offset::{SourceOffset, SourcePartition, StoredOffsets};
use crate::plugin::PluginInfo;
use crate::record::{Record, SinkRecord};
use crate::sink::{SinkBatch, SinkConnector, SinkLane, SinkTask};
use crate::source::{Budget, SourceBatch, SourceConnector, SourceTask, TaskShare};

/// A source with one stream: it opens at an offset and gives what comes next.
pub trait SimpleSource: Sized + Send + 'static {
    /// The typed configuration.
    type Config: ConnectorConfig;
    /// Its names and what it is.
    const PLUGIN: PluginInfo;
    /// Opens the stream at `from`, or at its beginning.
    fn open(
        config: &Self::Config,
        from: Option<&SourceOffset>,
    ) -> impl Future<Output = Result<Self>> + Send;
    /// Waits for records; the offset says where to open to go on behind them. May be dropped at any
    /// await: what was not returned is returned by a later call.
    fn next(&mut self) -> impl Future<Output = Result<(Vec<Record>, SourceOffset)>> + Send;
}

/// A sink that writes a batch at once.
pub trait SimpleSink: Sized + Send + 'static {
    /// The typed configuration.
    type Config: ConnectorConfig;
    /// Its names and what it is.
    const PLUGIN: PluginInfo;
    /// Opens the target, once for each partition.
    fn open(config: &Self::Config) -> impl Future<Output = Result<Self>> + Send;
    /// Writes records of one partition in order; they are durable when it returns.
    fn write(&mut self, records: &[SinkRecord]) -> impl Future<Output = Result<()>> + Send;
}

/// Makes a [`SimpleSource`] a source connector.
pub struct Source<S>(PhantomData<fn() -> S>);

/// The task of a [`Source`].
pub struct OneStream<S: SimpleSource> {
    stream: S,
    config: Arc<S::Config>,
    partition: SourcePartition,
}

fn the_partition() -> SourcePartition {
    SourcePartition::of([("stream", "0")])
}

impl<S: SimpleSource> SourceConnector for Source<S> {
    type Config = S::Config;
    type Task = OneStream<S>;

    fn plugin() -> PluginInfo {
        S::PLUGIN
    }

    fn guarantee(_config: &S::Config) -> Guarantee {
        Guarantee::exactly_once("the stream is read again from the stored offset")
    }

    async fn start(_config: Arc<S::Config>, _cx: ConnectorContext) -> Result<Self> {
        Ok(Self(PhantomData))
    }

    async fn plan(&mut self, _max: NonZeroU32) -> Result<Vec<TaskShare>> {
        Ok(vec![Properties::new()])
    }

    async fn task(
        config: Arc<S::Config>,
        _share: TaskShare,
        cx: SourceTaskContext,
    ) -> Result<OneStream<S>> {
        let partition = the_partition();
        let stream = S::open(&config, cx.offsets.get(&partition)).await?;
        Ok(OneStream { stream, config, partition })
    }
}

impl<S: SimpleSource> SourceTask for OneStream<S> {
    async fn poll(&mut self, _room: Budget) -> Result<SourceBatch> {
        let (records, offset) = self.stream.next().await?;
        Ok(SourceBatch::upto(records, self.partition.clone(), offset))
    }

    async fn rewind(&mut self, to: &StoredOffsets) -> Result<()> {
        self.stream = S::open(&self.config, to.get(&self.partition)).await?;
        Ok(())
    }

    async fn stop(self) -> Result<()> {
        Ok(())
    }
}

/// Makes a [`SimpleSink`] a sink connector.
pub struct Sink<S>(PhantomData<fn() -> S>);

/// The task of a [`Sink`].
pub struct PerPartition<S: SimpleSink>(Arc<S::Config>);

/// The lane of a [`Sink`].
pub struct OneTarget<S: SimpleSink> {
    config: Arc<S::Config>,
    target: Option<S>,
    cx: LaneContext,
}

impl<S: SimpleSink> SinkConnector for Sink<S> {
    type Config = S::Config;
    type Task = PerPartition<S>;

    fn plugin() -> PluginInfo {
        S::PLUGIN
    }

    fn guarantee(_config: &S::Config) -> Guarantee {
        Guarantee::at_least_once("a batch that was written before a crash may be written again")
    }

    async fn task(config: Arc<S::Config>, _cx: SinkTaskContext) -> Result<PerPartition<S>> {
        Ok(PerPartition(config))
    }
}

impl<S: SimpleSink> SinkTask for PerPartition<S> {
    type Lane = OneTarget<S>;

    fn lane(&mut self, cx: LaneContext) -> OneTarget<S> {
        OneTarget { config: Arc::clone(&self.0), target: None, cx }
    }
}

impl<S: SimpleSink> SinkLane for OneTarget<S> {
    async fn write(&mut self, batch: SinkBatch) -> Result<()> {
        let target = match &mut self.target {
            Some(target) => target,
            none => none.insert(S::open(&self.config).await?),
        };
        if !batch.records.is_empty() {
            target.write(&batch.records).await?;
        }
        self.cx.progress.durable(batch.end);
        Ok(())
    }
}

/// Compiles the example of the guide.
#[cfg(doctest)]
#[doc = include_str!("../../docs/writing-a-connector.md")]
struct Guide;
