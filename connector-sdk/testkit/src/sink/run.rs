//! A sink on the stage, driven as the engine drives it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::Notify;
use towpath_sdk::Error;
use towpath_sdk::clock::Clock;
use towpath_sdk::config::Properties;
use towpath_sdk::error::Action;
use towpath_sdk::guarantee::Delivery;
use towpath_sdk::plugin::erased::{DynSinkLane, DynSinkTask};
use towpath_sdk::plugin::{ConnectorPlugin, DynSinkPlugin, Registry};
use towpath_sdk::record::{
    Origin, RawBatchBuilder, Record, SinkRecord, TimestampType, Topic, TopicPartition,
};
use towpath_sdk::sink::{Epoch, Progress, ProgressSink, Settle, SinkBatch, SinkConnector};

use super::SinkDriver;
use super::target::{Entry, Log, Logs};
use crate::host::{FakeHost, lock};
use crate::seed::Chance;
use crate::stage::{Problem, Stage};

const TOPIC: &str = "suite";

/// The outside system, the sink, and what was handed to it.
pub(super) struct Run<'d, D: SinkDriver> {
    pub(super) driver: &'d mut D,
    pub(super) stage: Stage,
    pub(super) plugin: Arc<dyn DynSinkPlugin>,
    pub(super) config: Properties,
    pub(super) host: Arc<FakeHost>,
    pub(super) chance: Chance,
    pub(super) logs: Logs,
    topic: Topic,
    exactly_once: bool,
    epoch: u64,
    restarts: usize,
    task: Option<Box<dyn DynSinkTask>>,
    pub(super) lanes: BTreeMap<i32, Lane>,
}

/// A lane and what it was given.
pub(super) struct Lane {
    pub(super) lane: Box<dyn DynSinkLane>,
    reports: Arc<Reports>,
    /// The number of the next entry to hand over.
    next: usize,
}

/// What a lane reports.
#[derive(Debug, Default)]
struct Reports {
    state: Mutex<Reported>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Reported {
    /// Everything below was handed over.
    handed: i64,
    durable: i64,
    rejected: Vec<i64>,
    problem: Option<Problem>,
    closed: bool,
}

impl Reported {
    fn object(&mut self, problem: Problem) {
        self.problem.get_or_insert(problem);
    }
}

impl ProgressSink for Reports {
    fn durable(&self, end: i64) {
        let mut state = lock(&self.state);
        if state.closed {
            return;
        }
        if end < state.durable {
            let before = state.durable;
            state.object(format!("the durable end went back from {before} to {end}"));
        }
        if end > state.handed {
            let handed = state.handed;
            state.object(format!("{end} was reported durable, but only {handed} was handed over"));
        }
        state.durable = end;
        self.changed.notify_one();
    }

    fn reject(&self, record: SinkRecord, error: Error, settle: Option<Settle>) {
        let mut state = lock(&self.state);
        let offset = record.offset();
        if state.closed {
            return;
        }
        if offset < state.durable {
            state.object(format!("offset {offset} was rejected after it was reported durable"));
        }
        if state.rejected.contains(&offset) {
            state.object(format!("offset {offset} was rejected twice"));
        }
        if error.action() != Action::Reject {
            state.object(format!(
                "offset {offset} was rejected with {error:?}, which is no error of a record"
            ));
        }
        state.rejected.push(offset);
        settle.into_iter().for_each(Settle::done);
    }

    fn fail(&self, error: Error) {
        lock(&self.state).object(format!("a lane failed behind its back: {error:?}"));
        self.changed.notify_one();
    }
}

impl<'d, D: SinkDriver> Run<'d, D> {
    pub(super) fn new(driver: &'d mut D, seed: u64) -> Result<Self, Problem> {
        let stage = Stage::new(driver.patience())?;
        let config = stage.outside(driver.fresh());
        let plugin = plugin::<D::Connector>()?;
        let guarantee = plugin.guarantee(&config).map_err(|e| format!("{e:?}"))?;
        Ok(Self {
            driver,
            stage,
            plugin,
            config,
            host: FakeHost::new(),
            chance: Chance::new(seed),
            logs: Logs::default(),
            topic: TOPIC.into(),
            exactly_once: guarantee.delivery == Delivery::ExactlyOnce,
            epoch: 0,
            restarts: 0,
            task: None,
            lanes: BTreeMap::new(),
        })
    }

    /// Appends records to a partition's log, with gaps now and then.
    pub(super) fn produce(&mut self, partition: i32, count: usize) {
        for _ in 0..count {
            self.produce_one(partition, false);
        }
    }

    /// Appends a record that the outside system refuses.
    pub(super) fn produce_poison(&mut self, partition: i32) -> i64 {
        self.produce_one(partition, true)
    }

    fn produce_one(&mut self, partition: i32, poison: bool) -> i64 {
        let gap = if self.chance.once_in(5) { 1 + self.chance.below(4) as i64 } else { 0 };
        let log = self.logs.0.entry(partition).or_default();
        let offset = log.end + gap;
        log.entries.push(Entry { offset, id: format!("p{partition}-{offset}"), poison });
        log.end = offset + 1;
        offset
    }

    /// Moves a partition's end without a record, as a marker of a transaction does.
    pub(super) fn produce_nothing(&mut self, partition: i32) {
        self.logs.0.entry(partition).or_default().end += 1;
    }

    /// Starts a task and opens all partitions where they are to go on.
    pub(super) fn open(&mut self) -> Result<(), Problem> {
        if self.task.is_none() {
            let task = self.plugin.task(self.config.clone(), self.host.task(0));
            let task = self.stage.inside("starting", task)?;
            self.task = Some(task.map_err(|e| format!("starting failed: {e:?}"))?);
        }
        self.epoch += 1;
        let epoch = Epoch(self.epoch);
        let partitions = self.partitions();
        let Some(task) = &mut self.task else { return Ok(()) };
        let start_at = self
            .stage
            .inside("open", task.open(&partitions, epoch))?
            .map_err(|e| format!("open failed: {e:?}"))?;
        for (partition, offset) in start_at.0 {
            let log = self.logs.0.get_mut(&partition.partition);
            let log = log.ok_or_else(|| format!("open says where {partition} starts"))?;
            if offset > log.end {
                return Err(format!("{partition} is to start at {offset}, behind its end"));
            }
            // What the sink keeps itself counts in place of what was committed.
            log.durable = offset;
        }
        for partition in partitions {
            let log = self.logs.0.entry(partition.partition).or_default();
            let state =
                Reported { handed: log.durable, durable: log.durable, ..Reported::default() };
            let reports = Arc::new(Reports { state: Mutex::new(state), changed: Notify::new() });
            let next = log.entries.partition_point(|entry| entry.offset < log.durable);
            // What a rejected record's successor delivers again is judged anew.
            log.rejected.retain(|offset| *offset < log.durable);
            let progress = Progress::new(Arc::clone(&reports) as Arc<dyn ProgressSink>);
            let number = partition.partition;
            let cx = self.host.lane(partition, epoch, progress);
            let lane = self.stage.inside("making a lane", async { task.lane(cx) })?;
            self.lanes.insert(number, Lane { lane, reports, next });
        }
        Ok(())
    }

    fn partitions(&self) -> Vec<TopicPartition> {
        let topic = || Arc::clone(&self.topic);
        self.logs.0.keys().map(|number| TopicPartition::new(topic(), *number)).collect()
    }

    /// Everything goes at once, as when the process is killed.
    pub(super) fn crash(&mut self) -> Result<(), Problem> {
        self.observe()?;
        self.lanes.values().for_each(|lane| lock(&lane.reports.state).closed = true);
        self.lanes.clear();
        self.task = None;
        self.restarts += 1;
        self.stage.crash()
    }

    /// Partitions are taken away in an orderly manner; the task stays.
    pub(super) fn revoke(&mut self) -> Result<(), Problem> {
        self.drain()?;
        self.lanes.values().for_each(|lane| lock(&lane.reports.state).closed = true);
        self.lanes.clear();
        self.restarts += 1;
        let partitions = self.partitions();
        let Some(task) = &mut self.task else { return Ok(()) };
        let close = self.stage.inside("close", task.close(&partitions))?;
        close.map_err(|e| format!("close failed: {e:?}"))
    }

    pub(super) fn stop(&mut self) -> Result<(), Problem> {
        self.revoke()?;
        let Some(task) = self.task.take() else { return Ok(()) };
        self.stage.inside("stop", task.stop())?.map_err(|e| format!("stop failed: {e:?}"))
    }

    /// Hands over up to `most` records of a partition. With `waits`, the call is dropped when it waits
    /// for the so manieth time; says whether it was. Nothing may be asked of the sink then.
    pub(super) fn write(
        &mut self,
        partition: i32,
        most: usize,
        waits: Option<usize>,
    ) -> Result<bool, Problem> {
        let Some(batch) = self.batch(partition, most)? else { return Ok(false) };
        let Some(lane) = self.lanes.get_mut(&partition) else { return Ok(false) };
        lock(&lane.reports.state).handed = batch.end;
        let write = lane.lane.write(batch);
        let written = match waits {
            Some(waits) => self.stage.cut("a write", waits, write)?,
            None => Some(self.stage.inside("a write", write)?),
        };
        match written {
            Some(written) => written.map_err(|e| format!("a write failed: {e:?}"))?,
            None => return Ok(true),
        }
        self.observe()?;
        Ok(false)
    }

    /// The next records of a partition, and how far they bring it: into the gap behind them.
    fn batch(&mut self, partition: i32, most: usize) -> Result<Option<SinkBatch>, Problem> {
        let (Some(lane), Some(log)) = (self.lanes.get_mut(&partition), self.logs.0.get(&partition))
        else {
            return Ok(None);
        };
        let entries: Vec<Entry> = log.entries.iter().skip(lane.next).take(most).cloned().collect();
        lane.next += entries.len();
        let after = log.entries.get(lane.next).map_or(log.end, |next| next.offset);
        let least = entries.last().map_or(lock(&lane.reports.state).handed, |last| last.offset + 1);
        let end = if self.chance.once_in(2) { after } else { least };
        if entries.is_empty() && end == lock(&lane.reports.state).handed {
            return Ok(None);
        }
        self.records(partition, &entries).map(|records| Some(SinkBatch::new(records, end)))
    }

    fn records(&self, partition: i32, entries: &[Entry]) -> Result<Vec<SinkRecord>, Problem> {
        // A record has the same time whenever it is delivered.
        let time = |entry: &Entry| Some(FakeHost::START.millis() + entry.offset);
        let mut raw = RawBatchBuilder::default();
        let created = TimestampType::CreateTime;
        for entry in entries {
            raw.push(entry.offset, time(entry), created, None, Some(entry.id.as_bytes()), []);
        }
        let at = TopicPartition::new(Arc::clone(&self.topic), partition);
        let end = entries.last().map_or(0, |last| last.offset + 1);
        let raw = Arc::new(raw.build(at, Epoch(self.epoch), end, ()));
        let record = |(row, entry): (usize, &Entry)| {
            let both = if entry.poison { self.driver.poison() } else { None };
            let (key, value) = both.unwrap_or_else(|| self.driver.record(&entry.id));
            let mut record = Record::new(Arc::clone(&self.topic), value).with_key(key);
            record.partition = Some(partition);
            record.timestamp = time(entry);
            Some(SinkRecord::new(record, Origin::new(&raw, row)?))
        };
        let records = entries.iter().enumerate().map(record).collect::<Option<_>>();
        records.ok_or_else(|| "a batch has no such row".to_owned())
    }

    /// Takes note of what the lanes have reported.
    pub(super) fn observe(&mut self) -> Result<(), Problem> {
        for (partition, lane) in &self.lanes {
            let state = lock(&lane.reports.state);
            if let Some(problem) = &state.problem {
                return Err(format!("in partition {partition} {problem}"));
            }
            if let Some(log) = self.logs.0.get_mut(partition) {
                log.durable = state.durable;
                log.rejected.extend(&state.rejected);
            }
        }
        Ok(())
    }

    /// Holds the outside system against what was reported.
    pub(super) fn verify(&mut self) -> Result<(), Problem> {
        self.observe()?;
        if self.driver.is_void() {
            return Ok(());
        }
        let shown = self.stage.outside(self.driver.read());
        self.logs.verify(&shown, self.exactly_once, self.restarts)
    }

    /// Wakes the lanes that are due. One that has been woken wants a later time.
    pub(super) fn wake(&mut self) -> Result<(), Problem> {
        let now = self.host.manual_clock().now();
        for (partition, lane) in &mut self.lanes {
            if lane.lane.wake_at().is_none_or(|at| at > now) {
                continue;
            }
            let wake = self.stage.inside("wake", lane.lane.wake())?;
            wake.map_err(|e| format!("wake failed: {e:?}"))?;
            if lane.lane.wake_at().is_some_and(|at| at <= now) {
                return Err(format!(
                    "partition {partition} was woken, and wants to be woken at the same time again"
                ));
            }
        }
        self.observe()
    }

    /// Moves the clock to the next time at which a lane wants to be woken, and wakes it; says whether
    /// there was one.
    pub(super) fn wake_next(&mut self) -> Result<bool, Problem> {
        let Some(next) = self.lanes.values().filter_map(|lane| lane.lane.wake_at()).min() else {
            return Ok(false);
        };
        let clock = self.host.manual_clock();
        clock.set(clock.now().max(next));
        self.wake()?;
        Ok(true)
    }

    /// Hands over the rest of all partitions, and waits until all of it is durable.
    pub(super) fn settle(&mut self) -> Result<(), Problem> {
        let partitions: Vec<i32> = self.logs.0.keys().copied().collect();
        for partition in partitions {
            while !self.is_handed_over(partition) {
                let most = 1 + self.chance.below(9);
                self.write(partition, most, None)?;
            }
        }
        // Each wake-up must bring something, sooner or later.
        let mut wakes = 0;
        while let Some((partition, durable, end)) = self.undurable() {
            if wakes < 100 && self.wake_next()? {
                wakes += 1;
                continue;
            }
            let reports = Arc::clone(&self.lanes[&partition].reports);
            let changed = self.stage.within(self.stage.patience, reports.changed.notified())?;
            if changed.is_none() {
                return Err(format!(
                    "partition {partition} stays durable up to {durable} only, though everything \
                     up to {end} was handed over"
                ));
            }
            self.observe()?;
        }
        self.verify()
    }

    fn is_handed_over(&self, partition: i32) -> bool {
        let (Some(lane), Some(log)) = (self.lanes.get(&partition), self.logs.0.get(&partition))
        else {
            return true;
        };
        lane.next == log.entries.len() && lock(&lane.reports.state).handed == log.end
    }

    fn undurable(&self) -> Option<(i32, i64, i64)> {
        let found = self.logs.0.iter().find(|(_, log): &(&i32, &Log)| log.durable < log.end);
        found.map(|(partition, log)| (*partition, log.durable, log.end))
    }

    /// Drains all lanes, which is the last that is asked of them.
    pub(super) fn drain(&mut self) -> Result<(), Problem> {
        for lane in self.lanes.values_mut() {
            let drain = self.stage.inside("drain", lane.lane.drain())?;
            drain.map_err(|e| format!("drain failed: {e:?}"))?;
        }
        self.observe()
    }

    /// Moves the clock on by up to a minute.
    pub(super) fn pass_time(&mut self) -> Result<(), Problem> {
        let by = Duration::from_millis(self.chance.below(60_000) as u64);
        self.host.manual_clock().advance(by);
        self.wake()
    }
}

fn plugin<C: SinkConnector>() -> Result<Arc<dyn DynSinkPlugin>, Problem> {
    let mut registry = Registry::default();
    match registry.sink::<C>().connectors() {
        [ConnectorPlugin::Sink(plugin)] => Ok(Arc::clone(plugin)),
        _ => Err("the registry did not take the sink".to_owned()),
    }
}
