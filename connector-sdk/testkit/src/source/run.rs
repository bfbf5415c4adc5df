//! A source on the stage, driven as the engine drives it.

use std::num::NonZeroU32;
use std::sync::Arc;

use towpath_sdk::config::Properties;
use towpath_sdk::offset::{SourceOffset, SourcePartition, StoredOffsets};
use towpath_sdk::plugin::erased::DynSourceTask;
use towpath_sdk::plugin::{ConnectorPlugin, DynSourcePlugin, Registry};
use towpath_sdk::record::Record;
use towpath_sdk::source::{Budget, SourceBatch, SourceConnector};
use towpath_sdk::value::{Datum, Value};

use super::SourceDriver;
use crate::host::FakeHost;
use crate::item::{Item, each_once};
use crate::seed::Chance;
use crate::stage::{Problem, Stage};

/// Room for anything.
pub(super) const ROOM: Budget = Budget { bytes: 1 << 30, records: 1 << 20 };

/// The outside system, the source, and the means to try it.
pub(super) struct Run<'d, D: SourceDriver> {
    pub(super) driver: &'d mut D,
    pub(super) stage: Stage,
    pub(super) plugin: Arc<dyn DynSourcePlugin>,
    pub(super) config: Properties,
    pub(super) host: Arc<FakeHost>,
    pub(super) chance: Chance,
}

/// What polls returned.
#[derive(Debug, Default)]
pub(super) struct Polled {
    pub(super) items: Vec<Item>,
    /// Marks, each with the number of records before it.
    pub(super) marks: Vec<(usize, SourcePartition, Option<SourceOffset>)>,
}

impl Polled {
    /// The offsets as they stood after `records` records.
    pub(super) fn offsets_at(&self, records: usize) -> StoredOffsets {
        let mut stored = StoredOffsets::default();
        for (_, partition, offset) in self.marks.iter().filter(|(at, ..)| *at <= records) {
            stored.set(partition.clone(), offset.clone());
        }
        stored
    }

    /// Whether all marks are of one partition, so that each covers everything before it.
    pub(super) fn has_one_partition(&self) -> bool {
        self.marks.windows(2).all(|pair| pair[0].1 == pair[1].1)
    }

    /// Whether the last mark has all records before it.
    pub(super) fn is_covered(&self) -> bool {
        self.marks.last().map_or(0, |(at, ..)| *at) == self.items.len()
    }

    /// Adds a batch, unless something is wrong with it.
    fn add<D: SourceDriver>(&mut self, driver: &D, batch: &SourceBatch) -> Result<(), Problem> {
        if batch.is_empty() {
            return Err("a poll returned neither records nor marks".to_owned());
        }
        let mut last = 0;
        for mark in &batch.marks {
            if mark.after < last || mark.after > batch.records.len() {
                return Err(format!(
                    "a mark after {} of {} records follows one after {last}",
                    mark.after,
                    batch.records.len()
                ));
            }
            last = mark.after;
            let at = self.items.len() + mark.after;
            self.marks.push((at, mark.partition.clone(), mark.offset.clone()));
        }
        self.items.extend(batch.records.iter().map(|record| driver.identify(record)));
        Ok(())
    }
}

impl<'d, D: SourceDriver> Run<'d, D> {
    pub(super) fn new(driver: &'d mut D, seed: u64) -> Result<Self, Problem> {
        let stage = Stage::new(driver.patience())?;
        let config = stage.outside(driver.fresh());
        let plugin = plugin::<D::Connector>()?;
        let host = FakeHost::new();
        Ok(Self { driver, stage, plugin, config, host, chance: Chance::new(seed) })
    }

    pub(super) fn put(&mut self, count: usize) -> Vec<Item> {
        self.stage.outside(self.driver.put(count))
    }

    /// A task for each share of a plan.
    pub(super) fn start(
        &self,
        offsets: &StoredOffsets,
        max: NonZeroU32,
    ) -> Result<Vec<Box<dyn DynSourceTask>>, Problem> {
        let start = async {
            let cx = self.host.connector();
            let mut connector = self.plugin.start(self.config.clone(), cx).await?;
            let mut tasks = Vec::new();
            for share in connector.plan(max).await? {
                let number = u32::try_from(tasks.len()).unwrap_or(u32::MAX);
                let cx = self.host.source_task(number, offsets.clone());
                tasks.push(self.plugin.task(self.config.clone(), share, cx).await?);
            }
            Ok::<_, towpath_sdk::Error>(tasks)
        };
        self.stage.inside("starting", start)?.map_err(|e| format!("starting failed: {e:?}"))
    }

    /// The only task of a plan for one.
    pub(super) fn start_one(
        &self,
        offsets: &StoredOffsets,
    ) -> Result<Box<dyn DynSourceTask>, Problem> {
        let mut tasks = self.start(offsets, NonZeroU32::MIN)?;
        match (tasks.pop(), tasks.len()) {
            (Some(task), 0) => Ok(task),
            (_, others) => Err(format!("a plan for one task has {others} others, or none")),
        }
    }

    /// Takes what a poll returned.
    pub(super) fn take(
        &self,
        batch: towpath_sdk::Result<SourceBatch>,
        polled: &mut Polled,
    ) -> Result<SourceBatch, Problem> {
        let batch = batch.map_err(|e| format!("a poll failed: {e:?}"))?;
        polled.add(self.driver, &batch)?;
        Ok(batch)
    }

    /// Polls once.
    pub(super) fn poll(
        &self,
        task: &mut dyn DynSourceTask,
        room: Budget,
        polled: &mut Polled,
    ) -> Result<SourceBatch, Problem> {
        let batch = self
            .stage
            .inside("a poll", task.poll(room))
            .map_err(|why| format!("{why}, after {} records", polled.items.len()))?;
        self.take(batch, polled)
    }

    /// Polls once; if nothing comes, says what of `expected` is lost.
    pub(super) fn poll_for(
        &self,
        task: &mut dyn DynSourceTask,
        room: Budget,
        expected: &[Item],
        polled: &mut Polled,
    ) -> Result<SourceBatch, Problem> {
        let poll = self.poll(task, room, polled);
        poll.map_err(|why| match each_once(expected, &polled.items) {
            Ok(()) => why,
            Err(lost) => format!("{lost}; {why}"),
        })
    }

    /// Polls until as many records have come as are `expected` in all, with room for some at a time.
    pub(super) fn collect(
        &mut self,
        task: &mut dyn DynSourceTask,
        expected: &[Item],
        polled: &mut Polled,
    ) -> Result<(), Problem> {
        while polled.items.len() < expected.len() {
            let room = self.some_room(expected.len() - polled.items.len());
            self.poll_for(task, room, expected, polled)?;
            if self.chance.once_in(3) {
                self.acknowledge(task, polled)?;
            }
        }
        Ok(())
    }

    /// Room for some records; an endless source is not asked for more than are wanted.
    pub(super) fn some_room(&mut self, wanted: usize) -> Budget {
        let records = 1 + self.chance.below(7);
        let records = if self.driver.is_endless() { records.min(wanted) } else { records };
        Budget { records, ..ROOM }
    }

    pub(super) fn acknowledge(
        &self,
        task: &mut dyn DynSourceTask,
        polled: &Polled,
    ) -> Result<(), Problem> {
        let stored = polled.offsets_at(polled.items.len());
        let upto: Vec<_> = stored.iter().cloned().collect();
        self.stage
            .inside("acknowledge", task.acknowledge(&upto))?
            .map_err(|e| format!("acknowledge failed: {e:?}"))
    }

    pub(super) fn stop(&self, task: Box<dyn DynSourceTask>) -> Result<(), Problem> {
        self.stage.inside("stop", task.stop())?.map_err(|e| format!("stop failed: {e:?}"))
    }
}

fn plugin<C: SourceConnector>() -> Result<Arc<dyn DynSourcePlugin>, Problem> {
    let mut registry = Registry::default();
    match registry.source::<C>().connectors() {
        [ConnectorPlugin::Source(plugin)] => Ok(Arc::clone(plugin)),
        _ => Err("the registry did not take the source".to_owned()),
    }
}

/// The fewest bytes that a record's key, value and headers can be counted as.
pub(super) fn size_of(record: &Record) -> usize {
    let headers = record.headers.iter().map(|header| header.key.len() + size(&header.value));
    size(&record.key) + size(&record.value) + headers.sum::<usize>()
}

fn size(datum: &Datum) -> usize {
    match &datum.value {
        Value::String(text) => text.len(),
        Value::Bytes(bytes) => bytes.len(),
        Value::Json(json) => json.as_str().len(),
        _ => 0,
    }
}
