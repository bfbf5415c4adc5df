//! The blanket step from typed traits to their boxed twins. The configuration is parsed here, once a
//! start.

use std::marker::PhantomData;
use std::num::NonZeroU32;
use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;

use super::erased::{
    DynSinkLane, DynSinkPlugin, DynSinkTask, DynSourceConnector, DynSourcePlugin, DynSourceTask,
};
use super::{PluginInfo, validate_as};
use crate::clock::Timestamp;
use crate::config::{ConfigDef, ConnectorConfig, FieldErrors, Properties};
use crate::context::{ConnectorContext, LaneContext, SinkTaskContext, SourceTaskContext};
use crate::error::{Error, Result};
use crate::guarantee::Guarantee;
use crate::leftover::Leftover;
use crate::offset::{SourceOffset, SourcePartition, StoredOffsets};
use crate::record::TopicPartition;
use crate::sink::{Epoch, SinkBatch, SinkConnector, SinkLane, SinkTask, StartAt};
use crate::source::{Budget, SourceBatch, SourceConnector, SourceTask, TaskShare};

pub(super) struct Source<C>(PhantomData<fn() -> C>);
pub(super) struct Sink<C>(PhantomData<fn() -> C>);

impl<C> Default for Source<C> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<C> Default for Sink<C> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

fn parse<C: ConnectorConfig>(properties: &Properties) -> Result<C> {
    C::parse(properties).map_err(|errors| Error::config(errors.to_string()))
}

impl<C: SourceConnector> DynSourcePlugin for Source<C> {
    fn info(&self) -> PluginInfo {
        C::plugin()
    }

    fn definition(&self) -> &'static ConfigDef {
        C::Config::definition()
    }

    fn validate(&self, properties: &Properties) -> FieldErrors {
        validate_as::<C::Config>(properties)
    }

    fn guarantee(&self, properties: &Properties) -> Result<Guarantee> {
        Ok(C::guarantee(&parse(properties)?))
    }

    fn start(
        &self,
        properties: Properties,
        cx: ConnectorContext,
    ) -> BoxFuture<'static, Result<Box<dyn DynSourceConnector>>> {
        async move {
            let connector = C::start(Arc::new(parse(&properties)?), cx).await?;
            Ok(Box::new(Connector(connector)) as Box<dyn DynSourceConnector>)
        }
        .boxed()
    }

    fn task(
        &self,
        properties: Properties,
        share: TaskShare,
        cx: SourceTaskContext,
    ) -> BoxFuture<'static, Result<Box<dyn DynSourceTask>>> {
        async move {
            let task = C::task(Arc::new(parse(&properties)?), share, cx).await?;
            Ok(Box::new(Task(task)) as Box<dyn DynSourceTask>)
        }
        .boxed()
    }

    fn check(&self, properties: Properties) -> BoxFuture<'static, Result<()>> {
        async move { C::check(Arc::new(parse(&properties)?)).await }.boxed()
    }

    fn leftovers(&self, properties: &Properties) -> Result<Vec<Leftover>> {
        Ok(C::leftovers(&parse(properties)?))
    }

    fn deleted(&self, properties: Properties) -> BoxFuture<'static, Result<()>> {
        async move { C::deleted(Arc::new(parse(&properties)?)).await }.boxed()
    }

    fn check_offset(
        &self,
        properties: &Properties,
        partition: &SourcePartition,
        offset: Option<&SourceOffset>,
    ) -> Result<()> {
        C::check_offset(&parse(properties)?, partition, offset)
    }
}

struct Connector<C>(C);

impl<C: SourceConnector> DynSourceConnector for Connector<C> {
    fn plan(&mut self, max: NonZeroU32) -> BoxFuture<'_, Result<Vec<TaskShare>>> {
        self.0.plan(max).boxed()
    }

    fn changed(&mut self) -> BoxFuture<'_, Result<()>> {
        self.0.changed().boxed()
    }
}

struct Task<T>(T);

impl<T: SourceTask> DynSourceTask for Task<T> {
    fn poll(&mut self, room: Budget) -> BoxFuture<'_, Result<SourceBatch>> {
        self.0.poll(room).boxed()
    }

    fn acknowledge<'a>(
        &'a mut self,
        upto: &'a [(SourcePartition, SourceOffset)],
    ) -> BoxFuture<'a, Result<()>> {
        self.0.acknowledge(upto).boxed()
    }

    fn rewind<'a>(&'a mut self, to: &'a StoredOffsets) -> BoxFuture<'a, Result<()>> {
        self.0.rewind(to).boxed()
    }

    fn stop(self: Box<Self>) -> BoxFuture<'static, Result<()>> {
        self.0.stop().boxed()
    }
}

impl<C: SinkConnector> DynSinkPlugin for Sink<C> {
    fn info(&self) -> PluginInfo {
        C::plugin()
    }

    fn definition(&self) -> &'static ConfigDef {
        C::Config::definition()
    }

    fn validate(&self, properties: &Properties) -> FieldErrors {
        validate_as::<C::Config>(properties)
    }

    fn guarantee(&self, properties: &Properties) -> Result<Guarantee> {
        Ok(C::guarantee(&parse(properties)?))
    }

    fn task(
        &self,
        properties: Properties,
        cx: SinkTaskContext,
    ) -> BoxFuture<'static, Result<Box<dyn DynSinkTask>>> {
        async move {
            let task = C::task(Arc::new(parse(&properties)?), cx).await?;
            Ok(Box::new(Task(task)) as Box<dyn DynSinkTask>)
        }
        .boxed()
    }

    fn check(&self, properties: Properties) -> BoxFuture<'static, Result<()>> {
        async move { C::check(Arc::new(parse(&properties)?)).await }.boxed()
    }

    fn offsets_changed(
        &self,
        properties: Properties,
        offsets: Vec<(TopicPartition, Option<i64>)>,
    ) -> BoxFuture<'static, Result<()>> {
        async move { C::offsets_changed(Arc::new(parse(&properties)?), offsets).await }.boxed()
    }
}

impl<T: SinkTask> DynSinkTask for Task<T> {
    fn open<'a>(
        &'a mut self,
        partitions: &'a [TopicPartition],
        epoch: Epoch,
    ) -> BoxFuture<'a, Result<StartAt>> {
        self.0.open(partitions, epoch).boxed()
    }

    fn lane(&mut self, cx: LaneContext) -> Box<dyn DynSinkLane> {
        Box::new(Lane(self.0.lane(cx)))
    }

    fn close<'a>(&'a mut self, partitions: &'a [TopicPartition]) -> BoxFuture<'a, Result<()>> {
        self.0.close(partitions).boxed()
    }

    fn stop(self: Box<Self>) -> BoxFuture<'static, Result<()>> {
        self.0.stop().boxed()
    }
}

struct Lane<L>(L);

impl<L: SinkLane> DynSinkLane for Lane<L> {
    fn write(&mut self, batch: SinkBatch) -> BoxFuture<'_, Result<()>> {
        self.0.write(batch).boxed()
    }

    fn wake_at(&self) -> Option<Timestamp> {
        self.0.wake_at()
    }

    fn wake(&mut self) -> BoxFuture<'_, Result<()>> {
        self.0.wake().boxed()
    }

    fn drain(&mut self) -> BoxFuture<'_, Result<()>> {
        self.0.drain().boxed()
    }
}
