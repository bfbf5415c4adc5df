//! A list of rows, written late, slowly and with errors.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use towpath_sdk::clock::Timestamp;
use towpath_sdk::config::{ConfigDef, FieldErrors, Properties};
use towpath_sdk::context::{LaneContext, SinkTaskContext};
use towpath_sdk::guarantee::Guarantee;
use towpath_sdk::plugin::erased::{DynSinkLane, DynSinkPlugin, DynSinkTask};
use towpath_sdk::plugin::{PluginInfo, PluginName};
use towpath_sdk::record::{SinkRecord, TopicPartition};
use towpath_sdk::sink::{Epoch, SinkBatch, StartAt};
use towpath_sdk::{Error, ErrorKind, Result};

use super::{Name, Violations, is_every, no_settings};
use crate::cluster::SimCluster;

/// How a simulated sink behaves.
#[derive(Debug, Clone)]
pub struct SinkBehaviour {
    /// How long a write takes, at most.
    pub slow: Duration,
    /// Rows that a lane gathers before it writes, at most.
    pub gather: usize,
    /// How long a lane gathers, at most.
    pub hold: Duration,
    /// One of each so many records is rejected.
    pub rejects_every: Option<u64>,
    /// Share of writes that fail, in every way there is.
    pub failures: f64,
    /// Share of writes that panic.
    pub panics: f64,
    /// Whether the outside keeps the offsets beside the rows, so that each row is there once.
    pub keeps_offsets: bool,
}

impl Default for SinkBehaviour {
    fn default() -> Self {
        Self {
            slow: Duration::from_millis(300),
            gather: 20,
            hold: Duration::from_secs(3),
            rejects_every: None,
            failures: 0.03,
            panics: 0.0,
            keeps_offsets: false,
        }
    }
}

/// A durable row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Where it came from.
    pub from: TopicPartition,
    /// Its offset there.
    pub offset: i64,
    /// Its name.
    pub name: Name,
    /// The lane that wrote it; each lane has a number of its own.
    pub lane: u64,
}

#[derive(Default)]
struct Durable {
    rows: Vec<Row>,
    kept: BTreeMap<TopicPartition, i64>,
}

/// The outside of a sink.
pub struct SinkOutside {
    behaviour: SinkBehaviour,
    sim: Arc<SimCluster>,
    durable: Mutex<Durable>,
    lanes: AtomicU64,
    violations: Violations,
}

impl SinkOutside {
    /// An empty outside.
    #[must_use]
    pub fn new(
        sim: Arc<SimCluster>,
        behaviour: SinkBehaviour,
        violations: Violations,
    ) -> Arc<Self> {
        let (durable, lanes) = (Mutex::default(), AtomicU64::new(0));
        Arc::new(Self { behaviour, sim, durable, lanes, violations })
    }

    /// All rows in the order in which they were written.
    #[must_use]
    pub fn rows(&self) -> Vec<Row> {
        self.durable.lock().rows.clone()
    }

    /// Whether the record at this offset is a durable row.
    #[must_use]
    pub fn has(&self, from: &TopicPartition, offset: i64) -> bool {
        self.durable.lock().rows.iter().any(|row| row.offset == offset && row.from == *from)
    }

    fn kept(&self, from: &TopicPartition) -> Option<i64> {
        self.durable.lock().kept.get(from).copied()
    }

    /// Makes rows durable, with their offset. A lane that is not up to date is refused.
    fn write(&self, lane: &Lane, rows: &[Row], end: i64) -> Result<()> {
        let mut durable = self.durable.lock();
        if self.behaviour.keeps_offsets {
            let kept = durable.kept.get(&lane.from).copied();
            if kept != lane.base {
                return Err(Error::new(
                    ErrorKind::Conflict,
                    format!(
                        "another writer is at {kept:?}, this one at {:?} (simulated)",
                        lane.base
                    ),
                ));
            }
            durable.kept.insert(lane.from.clone(), end);
        }
        durable.rows.extend_from_slice(rows);
        Ok(())
    }
}

/// The simulated sink as a plug-in.
pub struct SimSink(pub Arc<SinkOutside>);

const NAMES: &[PluginName] = &[PluginName::new("sim-sink")];

impl DynSinkPlugin for SimSink {
    fn info(&self) -> PluginInfo {
        PluginInfo { names: NAMES, version: "0", summary: "A simulated sink." }
    }

    fn definition(&self) -> &'static ConfigDef {
        no_settings()
    }

    fn validate(&self, _properties: &Properties) -> FieldErrors {
        FieldErrors::default()
    }

    fn guarantee(&self, _properties: &Properties) -> Result<Guarantee> {
        Ok(if self.0.behaviour.keeps_offsets {
            Guarantee::exactly_once("it keeps the offsets beside the rows")
        } else {
            Guarantee::at_least_once("it writes before it reports")
        })
    }

    fn task(
        &self,
        _properties: Properties,
        _cx: SinkTaskContext,
    ) -> BoxFuture<'static, Result<Box<dyn DynSinkTask>>> {
        let outside = Arc::clone(&self.0);
        async move {
            outside.sim.pause().await;
            Ok(Box::new(Task { outside, open: BTreeMap::new() }) as Box<dyn DynSinkTask>)
        }
        .boxed()
    }

    fn offsets_changed(
        &self,
        _properties: Properties,
        _offsets: Vec<(TopicPartition, Option<i64>)>,
    ) -> BoxFuture<'static, Result<()>> {
        futures::future::ready(Ok(())).boxed()
    }

    fn check(&self, _properties: Properties) -> BoxFuture<'static, Result<()>> {
        futures::future::ready(Ok(())).boxed()
    }
}

struct Task {
    outside: Arc<SinkOutside>,
    open: BTreeMap<TopicPartition, Epoch>,
}

impl DynSinkTask for Task {
    fn open<'a>(
        &'a mut self,
        partitions: &'a [TopicPartition],
        epoch: Epoch,
    ) -> BoxFuture<'a, Result<StartAt>> {
        async move {
            self.outside.sim.pause().await;
            let mut start = StartAt::committed();
            for at in partitions {
                if let Some(before) = self.open.insert(at.clone(), epoch) {
                    let text =
                        format!("{at} was opened under {epoch:?} while open under {before:?}");
                    self.outside.violations.note(text);
                }
                start.0.extend(self.outside.kept(at).map(|offset| (at.clone(), offset)));
            }
            Ok(start)
        }
        .boxed()
    }

    fn lane(&mut self, cx: LaneContext) -> Box<dyn DynSinkLane> {
        if self.open.get(&cx.partition) != Some(&cx.epoch) {
            self.outside
                .violations
                .note(format!("a lane for {} under {:?}, not open", cx.partition, cx.epoch));
        }
        let outside = Arc::clone(&self.outside);
        Box::new(Lane {
            number: outside.lanes.fetch_add(1, Ordering::Relaxed),
            base: outside.kept(&cx.partition),
            from: cx.partition.clone(),
            outside,
            cx,
            rows: Vec::new(),
            end: None,
            flush_at: None,
            last: None,
        })
    }

    fn close<'a>(&'a mut self, partitions: &'a [TopicPartition]) -> BoxFuture<'a, Result<()>> {
        async move {
            self.outside.sim.pause().await;
            self.open.retain(|at, _| !partitions.contains(at));
            Ok(())
        }
        .boxed()
    }

    fn stop(self: Box<Self>) -> BoxFuture<'static, Result<()>> {
        futures::future::ready(Ok(())).boxed()
    }
}

struct Lane {
    outside: Arc<SinkOutside>,
    cx: LaneContext,
    from: TopicPartition,
    number: u64,
    /// The kept offset that this lane goes on from.
    base: Option<i64>,
    rows: Vec<Row>,
    /// The end of what was taken.
    end: Option<i64>,
    flush_at: Option<Timestamp>,
    /// The last offset taken.
    last: Option<i64>,
}

impl Lane {
    fn behaviour(&self) -> &SinkBehaviour {
        &self.outside.behaviour
    }

    async fn slow(&self) {
        let slow = self.outside.sim.between(Duration::ZERO, self.behaviour().slow);
        tokio::time::sleep(slow).await;
    }

    fn fails(&self) -> bool {
        self.outside.sim.chance_unless_calm(self.behaviour().failures)
    }

    fn error(&self) -> Error {
        let kinds = [
            ErrorKind::Unavailable,
            ErrorKind::Throttled,
            ErrorKind::Timeout,
            ErrorKind::OutOfSpace,
            ErrorKind::Conflict,
            ErrorKind::Internal,
        ];
        Error::new(kinds[self.outside.sim.pick(kinds.len())], "the target fails (simulated)")
    }

    fn take(&mut self, record: SinkRecord) {
        let offset = record.offset();
        if self.last.is_some_and(|last| offset <= last) {
            let text = format!("{}: {offset} came after {:?} in one lane", self.from, self.last);
            self.outside.violations.note(text);
        }
        self.last = Some(offset);
        // What the outside has already is not written again.
        if self.base.is_some_and(|base| offset < base) {
            return;
        }
        let name = record.origin().value().and_then(|value| Name::parse(&value));
        let Some(name) = name else {
            return self.cx.progress.reject(record, Error::data("not a name"));
        };
        if is_every(name.number, self.behaviour().rejects_every) {
            return self
                .cx
                .progress
                .reject(record, Error::data("the target refuses it (simulated)"));
        }
        self.rows.push(Row { from: self.from.clone(), offset, name, lane: self.number });
    }

    async fn take_batch(&mut self, batch: SinkBatch) -> Result<()> {
        if self.outside.sim.chance_unless_calm(self.behaviour().panics) {
            panic!("the lane panics (simulated)");
        }
        batch.records.into_iter().for_each(|record| self.take(record));
        self.end = Some(batch.end);
        let gather = 1 + self.outside.sim.pick(self.behaviour().gather);
        if self.rows.len() >= gather {
            return self.flush().await;
        }
        let hold = self.behaviour().hold;
        self.flush_at.get_or_insert(self.cx.task.clock().now() + hold);
        Ok(())
    }

    /// Writes what was gathered and reports it, or fails on the way.
    async fn flush(&mut self) -> Result<()> {
        self.flush_at = None;
        self.slow().await;
        let Some(end) = self.end.take() else { return Ok(()) };
        let rows = std::mem::take(&mut self.rows);
        if self.fails() {
            // Some of it may have been written, though nobody hears of it.
            let written = self.outside.sim.pick(rows.len() + 1);
            let upto = rows.get(written).map_or(end, |row| row.offset);
            if self.outside.sim.chance(0.5) {
                self.outside.write(self, &rows[..written], upto)?;
            }
            return Err(self.error());
        }
        let half = self.outside.sim.chance(0.3).then(|| self.outside.sim.pick(rows.len() + 1));
        if let Some(row) = half.and_then(|half| rows.get(half)) {
            let (first, rest) = rows.split_at(half.unwrap_or(0));
            self.outside.write(self, first, row.offset)?;
            self.reported(row.offset);
            self.slow().await;
            self.outside.write(self, rest, end)?;
        } else {
            self.outside.write(self, &rows, end)?;
        }
        // The report comes later than the write.
        self.slow().await;
        self.reported(end);
        Ok(())
    }

    fn reported(&mut self, end: i64) {
        if self.behaviour().keeps_offsets {
            self.base = Some(end);
        }
        self.cx.progress.durable(end);
    }
}

impl DynSinkLane for Lane {
    fn write(&mut self, batch: SinkBatch) -> BoxFuture<'_, Result<()>> {
        self.take_batch(batch).boxed()
    }

    fn wake_at(&self) -> Option<Timestamp> {
        self.flush_at
    }

    fn wake(&mut self) -> BoxFuture<'_, Result<()>> {
        self.flush().boxed()
    }

    fn drain(&mut self) -> BoxFuture<'_, Result<()>> {
        async move {
            // What is not drained is delivered again.
            if self.outside.sim.chance(0.7) { self.flush().await } else { Ok(()) }
        }
        .boxed()
    }
}
