//! A numbered sequence per source partition.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use tokio::time::Instant;
use towpath_sdk::config::{ConfigDef, FieldErrors, Properties};
use towpath_sdk::context::{ConnectorContext, SourceTaskContext};
use towpath_sdk::guarantee::Guarantee;
use towpath_sdk::leftover::Leftover;
use towpath_sdk::offset::{OffsetMap, SourceOffset, SourcePartition, StoredOffsets};
use towpath_sdk::plugin::erased::{DynSourceConnector, DynSourcePlugin, DynSourceTask};
use towpath_sdk::plugin::{PluginInfo, PluginName};
use towpath_sdk::record::Record;
use towpath_sdk::source::{Budget, Mark, SourceBatch, TaskShare};
use towpath_sdk::value::{Datum, Value};
use towpath_sdk::{Error, ErrorKind, Result};

use super::{Name, Violations, is_every, no_settings};
use crate::cluster::SimCluster;

/// How a simulated source behaves.
#[derive(Debug, Clone)]
pub struct SourceBehaviour {
    /// The topic it writes to.
    pub topic: String,
    /// Source partitions.
    pub partitions: u64,
    /// Records in each.
    pub records: u64,
    /// Keys in each.
    pub keys: u64,
    /// Records that one poll returns, at most.
    pub batch: usize,
    /// How long a record takes to come into being.
    pub interval: Duration,
    /// Which records it can't show; see [`is_every`].
    pub refuses_every: Option<u64>,
    /// Share of polls that fail.
    pub failures: f64,
    /// Whether a task goes back when it is told to. It must: for twins.
    pub rewinds: bool,
}

impl Default for SourceBehaviour {
    fn default() -> Self {
        Self {
            topic: "t".to_owned(),
            partitions: 2,
            records: 150,
            keys: 3,
            batch: 12,
            interval: Duration::from_millis(200),
            refuses_every: Some(13),
            failures: 0.01,
            rewinds: true,
        }
    }
}

/// Judges an acknowledgement: are all records of the partition below this number safe?
pub type Judge = Box<dyn Fn(u64, u64) -> std::result::Result<(), String> + Send + Sync>;

/// The outside of a source: what it holds, and what it was told is safe, which it then forgets.
pub struct SourceOutside {
    behaviour: SourceBehaviour,
    sim: Arc<SimCluster>,
    began: Instant,
    /// Below these numbers everything is forgotten.
    forgotten: Mutex<BTreeMap<u64, u64>>,
    judge: Judge,
    violations: Violations,
}

impl SourceOutside {
    /// An outside whose acknowledgements `judge` looks at.
    #[must_use]
    pub fn new(
        sim: Arc<SimCluster>,
        behaviour: SourceBehaviour,
        violations: Violations,
        judge: Judge,
    ) -> Arc<Self> {
        let began = Instant::now();
        let forgotten = Mutex::default();
        Arc::new(Self { behaviour, sim, began, forgotten, judge, violations })
    }

    /// The name of every record that there will ever be.
    pub fn names(&self) -> impl Iterator<Item = Name> {
        let records = self.behaviour.records;
        (0..self.behaviour.partitions)
            .flat_map(move |partition| (0..records).map(move |number| Name { partition, number }))
    }

    /// Up to which number each partition was acknowledged.
    #[must_use]
    pub fn acknowledged(&self) -> BTreeMap<u64, u64> {
        self.forgotten.lock().clone()
    }

    /// How many records of a partition there are by now.
    fn available(&self) -> u64 {
        let interval = self.behaviour.interval.as_micros().max(1);
        let made = self.began.elapsed().as_micros() / interval;
        u64::try_from(made).unwrap_or(u64::MAX).min(self.behaviour.records)
    }

    fn positions(&self, stored: &StoredOffsets) -> BTreeMap<u64, u64> {
        let position = |partition| {
            let offset = stored.get(&key_of(partition)).and_then(|offset| offset.get_i64("n"));
            u64::try_from(offset.unwrap_or(0)).unwrap_or(0)
        };
        let positions: BTreeMap<u64, u64> =
            (0..self.behaviour.partitions).map(|p| (p, position(p))).collect();
        let forgotten = self.forgotten.lock();
        for (partition, at) in &positions {
            let upto = forgotten.get(partition).copied().unwrap_or(0);
            if *at < upto {
                self.violations.note(format!(
                    "the source is to go on at {partition}:{at}, though everything below {upto} was \
                     acknowledged"
                ));
            }
        }
        positions
    }
}

/// The source partition as Connect names it.
fn key_of(partition: u64) -> SourcePartition {
    SourcePartition::of([("partition", partition)])
}

fn offset_of(number: u64) -> SourceOffset {
    OffsetMap::of([("n", number)])
}

/// The simulated source as a plug-in.
pub struct SimSource(pub Arc<SourceOutside>);

const NAMES: &[PluginName] = &[PluginName::new("sim-source")];

impl DynSourcePlugin for SimSource {
    fn info(&self) -> PluginInfo {
        PluginInfo { names: NAMES, version: "0", summary: "A simulated source." }
    }

    fn definition(&self) -> &'static ConfigDef {
        no_settings()
    }

    fn validate(&self, _properties: &Properties) -> FieldErrors {
        FieldErrors::default()
    }

    fn guarantee(&self, _properties: &Properties) -> Result<Guarantee> {
        Ok(Guarantee::exactly_once("its offsets are exact"))
    }

    fn start(
        &self,
        _properties: Properties,
        _cx: ConnectorContext,
    ) -> BoxFuture<'static, Result<Box<dyn DynSourceConnector>>> {
        futures::future::ready(Ok(Box::new(Planner) as Box<dyn DynSourceConnector>)).boxed()
    }

    fn task(
        &self,
        _properties: Properties,
        _share: TaskShare,
        cx: SourceTaskContext,
    ) -> BoxFuture<'static, Result<Box<dyn DynSourceTask>>> {
        let outside = Arc::clone(&self.0);
        async move {
            outside.sim.pause().await;
            let positions = outside.positions(&cx.offsets);
            Ok(Box::new(Task { outside, positions, unmarked: None }) as Box<dyn DynSourceTask>)
        }
        .boxed()
    }

    fn check(&self, _properties: Properties) -> BoxFuture<'static, Result<()>> {
        futures::future::ready(Ok(())).boxed()
    }

    fn leftovers(&self, _properties: &Properties) -> Result<Vec<Leftover>> {
        Ok(Vec::new())
    }

    fn deleted(&self, _properties: Properties) -> BoxFuture<'static, Result<()>> {
        futures::future::ready(Ok(())).boxed()
    }

    fn check_offset(
        &self,
        _properties: &Properties,
        _partition: &SourcePartition,
        _offset: Option<&SourceOffset>,
    ) -> Result<()> {
        Ok(())
    }
}

/// Plans one task.
struct Planner;

impl DynSourceConnector for Planner {
    fn plan(&mut self, _max: NonZeroU32) -> BoxFuture<'_, Result<Vec<TaskShare>>> {
        futures::future::ready(Ok(vec![TaskShare::new()])).boxed()
    }

    fn changed(&mut self) -> BoxFuture<'_, Result<()>> {
        futures::future::pending().boxed()
    }
}

struct Task {
    outside: Arc<SourceOutside>,
    /// The next number of each partition.
    positions: BTreeMap<u64, u64>,
    /// The partition whose last record has no mark behind it yet: it goes on first.
    unmarked: Option<u64>,
}

impl Task {
    async fn wait_and_poll(&mut self, room: Budget) -> Result<SourceBatch> {
        let sim = Arc::clone(&self.outside.sim);
        sim.pause().await;
        loop {
            let available = self.outside.available();
            let turn = |p: &u64| self.unmarked.is_none_or(|unmarked| unmarked == *p);
            let ready = self.positions.iter().filter(|(p, at)| **at < available && turn(p));
            let ready: Vec<u64> = ready.map(|(p, _)| *p).collect();
            if !ready.is_empty() {
                if sim.chance_unless_calm(self.outside.behaviour.failures) {
                    return Err(Error::new(
                        ErrorKind::Unavailable,
                        "the source hangs up (simulated)",
                    ));
                }
                return Ok(self.take(ready[sim.pick(ready.len())], available, room));
            }
            tokio::time::sleep(self.outside.behaviour.interval).await;
        }
    }

    /// Some records of `partition`. Nothing waits in here, so nothing is lost if the poll is dropped.
    fn take(&mut self, partition: u64, available: u64, room: Budget) -> SourceBatch {
        let SourceBehaviour { topic, records, keys, batch, refuses_every, .. } =
            &self.outside.behaviour;
        let from = self.positions.get(&partition).copied().unwrap_or(0);
        let most = 1 + self.outside.sim.pick((*batch).min(room.records));
        let upto = available.min(from + most as u64);
        let mut taken = SourceBatch::default();
        let topic: towpath_sdk::record::Topic = topic.as_str().into();
        for number in from..upto {
            let name = Name { partition, number };
            let text = |text: String| Datum::schemaless(Value::String(text.into()));
            let record = Record::new(Arc::clone(&topic), text(name.to_string()));
            let record = record.with_key(text(name.key(*keys)));
            taken.records.push(match is_every(number, *refuses_every) {
                true => record.refused(Error::data("show a record (simulated)")),
                false => record,
            });
            // A transaction of the source ends at every seventh record, a mark may be anywhere.
            let boundary = number % 7 == 6 || number + 1 == *records;
            if boundary || self.outside.sim.chance(0.3) {
                let after = taken.records.len();
                let mark = Mark::new(after, key_of(partition), offset_of(number + 1));
                taken.marks.push(mark.at_boundary(boundary));
            }
        }
        self.positions.insert(partition, upto);
        let marked = taken.marks.last().is_some_and(|mark| mark.after == taken.records.len());
        self.unmarked = (!marked).then_some(partition);
        taken
    }
}

impl DynSourceTask for Task {
    fn poll(&mut self, room: Budget) -> BoxFuture<'_, Result<SourceBatch>> {
        self.wait_and_poll(room).boxed()
    }

    fn acknowledge<'a>(
        &'a mut self,
        upto: &'a [(SourcePartition, SourceOffset)],
    ) -> BoxFuture<'a, Result<()>> {
        for (partition, offset) in upto {
            let number = |n: Option<i64>| n.and_then(|n| u64::try_from(n).ok()).unwrap_or(0);
            let (partition, upto) =
                (number(partition.get_i64("partition")), number(offset.get_i64("n")));
            self.outside.violations.check((self.outside.judge)(partition, upto));
            let mut forgotten = self.outside.forgotten.lock();
            let before = forgotten.entry(partition).or_insert(0);
            *before = upto.max(*before);
        }
        async move {
            self.outside.sim.pause().await;
            Ok(())
        }
        .boxed()
    }

    fn rewind<'a>(&'a mut self, to: &'a StoredOffsets) -> BoxFuture<'a, Result<()>> {
        if self.outside.behaviour.rewinds {
            self.positions = self.outside.positions(to);
            self.unmarked = None;
        }
        async move {
            self.outside.sim.pause().await;
            Ok(())
        }
        .boxed()
    }

    fn stop(self: Box<Self>) -> BoxFuture<'static, Result<()>> {
        futures::future::ready(Ok(())).boxed()
    }
}
