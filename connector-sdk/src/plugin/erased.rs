//! The boxed twins of the authors' traits: what the engine calls.
//!
//! Duty: object safety, nothing else. Each method is the typed one of the same name.

use std::num::NonZeroU32;

use futures::future::BoxFuture;

use super::PluginInfo;
use crate::clock::Timestamp;
use crate::config::{ConfigDef, FieldErrors, Properties};
use crate::context::{ConnectorContext, LaneContext, SinkTaskContext, SourceTaskContext};
use crate::error::Result;
use crate::guarantee::Guarantee;
use crate::leftover::Leftover;
use crate::offset::{SourceOffset, SourcePartition, StoredOffsets};
use crate::record::TopicPartition;
use crate::sink::{Epoch, SinkBatch, StartAt};
use crate::source::{Budget, SourceBatch, TaskShare};

/// Twin of [`crate::source::SourceConnector`]'s associated functions. Properties are resolved: no
/// `${…}` is left in them.
pub trait DynSourcePlugin: Send + Sync + 'static {
    /// Its names.
    fn info(&self) -> PluginInfo;
    /// Its keys.
    fn definition(&self) -> &'static ConfigDef;
    /// All that is wrong.
    fn validate(&self, properties: &Properties) -> FieldErrors;
    /// What is promised.
    ///
    /// # Errors
    /// If the properties are wrong.
    fn guarantee(&self, properties: &Properties) -> Result<Guarantee>;
    /// Starts a planner.
    fn start(
        &self,
        properties: Properties,
        cx: ConnectorContext,
    ) -> BoxFuture<'static, Result<Box<dyn DynSourceConnector>>>;
    /// Starts a task.
    fn task(
        &self,
        properties: Properties,
        share: TaskShare,
        cx: SourceTaskContext,
    ) -> BoxFuture<'static, Result<Box<dyn DynSourceTask>>>;
    /// Reaches out.
    fn check(&self, properties: Properties) -> BoxFuture<'static, Result<()>>;
    /// What stays outside once it is deleted.
    ///
    /// # Errors
    /// If the properties are wrong.
    fn leftovers(&self, properties: &Properties) -> Result<Vec<Leftover>>;
    /// Removes what is to go with it.
    fn deleted(&self, properties: Properties) -> BoxFuture<'static, Result<()>>;
    /// Judges an offset that a person wants to set.
    ///
    /// # Errors
    /// With what would be right.
    fn check_offset(
        &self,
        properties: &Properties,
        partition: &SourcePartition,
        offset: Option<&SourceOffset>,
    ) -> Result<()>;
}

/// Twin of [`crate::source::SourceConnector`].
pub trait DynSourceConnector: Send {
    /// Shares of the work.
    fn plan(&mut self, max: NonZeroU32) -> BoxFuture<'_, Result<Vec<TaskShare>>>;
    /// Resolves when the plan must be made anew.
    fn changed(&mut self) -> BoxFuture<'_, Result<()>>;
}

/// Twin of [`crate::source::SourceTask`].
pub trait DynSourceTask: Send {
    /// Waits for records.
    fn poll(&mut self, room: Budget) -> BoxFuture<'_, Result<SourceBatch>>;
    /// Offsets up to here are stored.
    fn acknowledge<'a>(
        &'a mut self,
        upto: &'a [(SourcePartition, SourceOffset)],
    ) -> BoxFuture<'a, Result<()>>;
    /// Goes back.
    fn rewind<'a>(&'a mut self, to: &'a StoredOffsets) -> BoxFuture<'a, Result<()>>;
    /// Releases what is held.
    fn stop(self: Box<Self>) -> BoxFuture<'static, Result<()>>;
}

/// Twin of [`crate::sink::SinkConnector`]'s associated functions.
pub trait DynSinkPlugin: Send + Sync + 'static {
    /// Its names.
    fn info(&self) -> PluginInfo;
    /// Its keys.
    fn definition(&self) -> &'static ConfigDef;
    /// All that is wrong.
    fn validate(&self, properties: &Properties) -> FieldErrors;
    /// What is promised.
    ///
    /// # Errors
    /// If the properties are wrong.
    fn guarantee(&self, properties: &Properties) -> Result<Guarantee>;
    /// Starts a task.
    fn task(
        &self,
        properties: Properties,
        cx: SinkTaskContext,
    ) -> BoxFuture<'static, Result<Box<dyn DynSinkTask>>>;
    /// Reaches out.
    fn check(&self, properties: Properties) -> BoxFuture<'static, Result<()>>;
    /// A person changes offsets.
    fn offsets_changed(
        &self,
        properties: Properties,
        offsets: Vec<(TopicPartition, Option<i64>)>,
    ) -> BoxFuture<'static, Result<()>>;
}

/// Twin of [`crate::sink::SinkTask`].
pub trait DynSinkTask: Send {
    /// Partitions were assigned.
    fn open<'a>(
        &'a mut self,
        partitions: &'a [TopicPartition],
        epoch: Epoch,
    ) -> BoxFuture<'a, Result<StartAt>>;
    /// A lane for one partition.
    fn lane(&mut self, cx: LaneContext) -> Box<dyn DynSinkLane>;
    /// Partitions were revoked.
    fn close<'a>(&'a mut self, partitions: &'a [TopicPartition]) -> BoxFuture<'a, Result<()>>;
    /// Releases what is held.
    fn stop(self: Box<Self>) -> BoxFuture<'static, Result<()>>;
}

/// Twin of [`crate::sink::SinkLane`].
pub trait DynSinkLane: Send {
    /// Takes a batch.
    fn write(&mut self, batch: SinkBatch) -> BoxFuture<'_, Result<()>>;
    /// When to be woken.
    fn wake_at(&self) -> Option<Timestamp>;
    /// Is woken.
    fn wake(&mut self) -> BoxFuture<'_, Result<()>>;
    /// Finishes what can be finished.
    fn drain(&mut self) -> BoxFuture<'_, Result<()>>;
}
