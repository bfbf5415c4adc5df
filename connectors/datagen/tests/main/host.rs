//! The engine's end of the contexts, for tests.

use std::num::NonZeroU32;
use std::sync::{Arc, Mutex};

use futures::FutureExt;
use futures::future::BoxFuture;
use towpath_connector_datagen::Datagen;
use towpath_sdk::clock::{Clock, Timestamp, TokioClock};
use towpath_sdk::config::Properties;
use towpath_sdk::context::{ConnectorContext, Host, SourceTaskContext, TaskContext, Waiting};
use towpath_sdk::guarantee::Guarantee;
use towpath_sdk::offset::{OffsetMap, StoredOffsets};
use towpath_sdk::plugin::erased::DynSourceTask;
use towpath_sdk::plugin::{ConnectorPlugin, DynSourcePlugin, Registry};
use towpath_sdk::record::Record;
use towpath_sdk::source::{Budget, SourceBatch};
use towpath_sdk::{Error, Result};

/// 2023-11-14T22:13:20Z.
pub(crate) const NOW: i64 = 1_700_000_000_000;

pub(crate) struct TestHost {
    clock: Arc<dyn Clock>,
    pub(crate) reason: Mutex<Option<String>>,
}

impl Host for TestHost {
    fn clock(&self) -> Arc<dyn Clock> {
        Arc::clone(&self.clock)
    }
    fn waiting(&self, reason: Option<Waiting>) {
        *self.reason.lock().unwrap() = reason.map(|r| r.reason);
    }
    fn load_state(&self, _key: OffsetMap) -> BoxFuture<'static, Result<Option<OffsetMap>>> {
        async { Err(Error::internal("no state is kept here")) }.boxed()
    }
    fn store_state(
        &self,
        _key: OffsetMap,
        _value: Option<OffsetMap>,
    ) -> BoxFuture<'static, Result<()>> {
        async { Err(Error::internal("no state is kept here")) }.boxed()
    }
    fn count(&self, _name: &'static str, _n: u64) {}
    fn guarantee(&self, _guarantee: Guarantee) {}
}

pub(crate) fn plugin() -> Arc<dyn DynSourcePlugin> {
    let mut registry = Registry::default();
    registry.source::<Datagen>();
    match registry.find_connector("datagen") {
        Some((ConnectorPlugin::Source(plugin), _)) => Arc::clone(plugin),
        _ => panic!("datagen is no source"),
    }
}

/// All tasks of a connector, and what the engine would have stored for them.
pub(crate) struct Run {
    pub(crate) host: Arc<TestHost>,
    pub(crate) tasks: Vec<Box<dyn DynSourceTask>>,
    pub(crate) stored: StoredOffsets,
}

impl Run {
    pub(crate) async fn start(config: &Properties, max: u32, stored: StoredOffsets) -> Self {
        let clock = Arc::new(TokioClock::starting_at(Timestamp(NOW)));
        let host = Arc::new(TestHost { clock, reason: Mutex::default() });
        let plugin = plugin();
        let dyn_host = || Arc::clone(&host) as Arc<dyn Host>;
        let cx = ConnectorContext::new("c", dyn_host());
        let mut planner = plugin.start(config.clone(), cx).await.unwrap();
        let mut tasks = Vec::new();
        for share in planner.plan(NonZeroU32::new(max).unwrap()).await.unwrap() {
            let task = TaskContext::new("c", 0, dyn_host());
            let cx = SourceTaskContext { task, offsets: stored.clone() };
            tasks.push(plugin.task(config.clone(), share, cx).await.unwrap());
        }
        Self { host, tasks, stored }
    }

    /// Polls a task and stores the marks.
    pub(crate) async fn poll(&mut self, task: usize, room: Budget) -> SourceBatch {
        let batch = self.tasks[task].poll(room).await.unwrap();
        for mark in &batch.marks {
            self.stored.set(mark.partition.clone(), mark.offset.clone());
        }
        batch
    }

    /// At least `count` records of the first task.
    pub(crate) async fn records(&mut self, count: usize) -> Vec<Record> {
        let mut records = Vec::new();
        while records.len() < count {
            let room = Budget { bytes: 1 << 20, records: count - records.len() };
            records.extend(self.poll(0, room).await.records);
        }
        records
    }
}
