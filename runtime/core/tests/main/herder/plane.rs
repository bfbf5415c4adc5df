//! A data plane for the herder's tests, and a worker on it.
//!
//! A connector's class says what it is (`source`, `sink`, `tx-source`), its other properties how its
//! planner and its tasks behave:
//! - `planner`: `hang` never comes up, `panic` panics, `refuse` fails for good;
//! - `leaves` and `removes`: names of what stays outside and of what goes with it; `removes=hard` can't be
//!   removed;
//! - `task`: `wait` waits for something, `fail` fails soon after its start, `deaf` never stops.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use towpath_core::herder::launcher::{
    Described, Launcher, Planner, Problem, TaskEnd, TaskHandle, TaskStart, Validated,
};
use towpath_core::herder::{Herder, HerderOptions, HerderService};
use towpath_core::offsets::OffsetStore;
use towpath_core::ports::{Admin, ClientOverrides, Cluster, PortResult, TableSpec};
use towpath_core::task::host::SignalBox;
use towpath_core::task::status::{StatusCell, Wait};
use towpath_core::task::{TaskId, Wanted};
use towpath_core::topics::{TopicNotes, TopicUse};
use towpath_formats::rest::ConnectorType;
use towpath_sdk::clock::{Clock, TokioClock};
use towpath_sdk::config::Properties;
use towpath_sdk::guarantee::Guarantee;
use towpath_sdk::leftover::{Fate, Leftover};
use towpath_sdk::offset::{SourceOffset, SourcePartition};
use towpath_sdk::record::TopicPartition;
use towpath_sdk::{Error, Result};
use towpath_sim::{EPOCH, Faults, SimCluster};

pub(super) struct Plane {
    cluster: Arc<SimCluster>,
    clock: Arc<dyn Clock>,
    uses: mpsc::Sender<TopicUse>,
    /// What runs, by task: what it was started with.
    running: Arc<Mutex<BTreeMap<TaskId, Properties>>>,
    /// How often each task was started.
    started: Arc<Mutex<BTreeMap<TaskId, u32>>>,
    /// Of which connectors something was to be removed.
    deleted: Arc<Mutex<Vec<Properties>>>,
}

/// What a connector leaves outside.
fn leftovers(properties: &Properties) -> Vec<Leftover> {
    let of = |key, fate| {
        let name = properties.get(key)?.to_owned();
        Some(Leftover { kind: "thing", name, fate })
    };
    let stays = of("leaves", Fate::Stays("remove it".to_owned()));
    stays.into_iter().chain(of("removes", Fate::Removed)).collect()
}

impl Plane {
    pub(super) fn running(&self) -> BTreeMap<TaskId, Properties> {
        self.running.lock().clone()
    }

    pub(super) fn deleted(&self) -> Vec<Properties> {
        self.deleted.lock().clone()
    }

    pub(super) fn started(&self, id: &TaskId) -> u32 {
        self.started.lock().get(id).copied().unwrap_or(0)
    }
}

struct TestPlanner {
    properties: Properties,
}

impl Planner for TestPlanner {
    fn plan(&mut self) -> BoxFuture<'_, Result<Vec<Properties>>> {
        let tasks = self.properties.get("tasks.max").and_then(|max| max.parse().ok()).unwrap_or(1);
        let share = |n: usize| Properties::from([("share", n.to_string())]);
        let result = match self.properties.get("planner") {
            Some("panic") => panic!("a defect in the planner"),
            _ => Ok((0..tasks).map(share).collect()),
        };
        std::future::ready(result).boxed()
    }

    fn changed(&mut self) -> BoxFuture<'_, Result<()>> {
        std::future::pending().boxed()
    }
}

impl Launcher for Plane {
    fn describe(&self, properties: &Properties) -> Described {
        let class = properties.get("connector.class").unwrap_or_default();
        let kind = match class {
            "source" | "tx-source" => ConnectorType::Source,
            "sink" => ConnectorType::Sink,
            _ => ConnectorType::Unknown,
        };
        Described { kind, version: Some("1.2".to_owned()), transactional: class == "tx-source" }
    }

    fn validate(&self, _name: &str, properties: &Properties) -> Validated {
        let described = self.describe(properties);
        let problem = match (described.kind, properties.get("wrong")) {
            (ConnectorType::Unknown, _) => Some(Problem::Class("no such class".to_owned())),
            (_, Some("panic")) => panic!("a defect in the validation"),
            (_, Some(lines)) => Some(Problem::Fields(lines.split(';').map(Into::into).collect())),
            _ => None,
        };
        let guarantee = Some(Guarantee::at_least_once("it is a test"));
        Validated { described, guarantee, leftovers: leftovers(properties), problem }
    }

    fn planner(
        &self,
        _name: Arc<str>,
        properties: Properties,
    ) -> BoxFuture<'static, Result<Box<dyn Planner>>> {
        if properties.get("planner") == Some("hang") {
            return std::future::pending().boxed();
        }
        if properties.get("planner") == Some("refuse") {
            return std::future::ready(Err(Error::config("it never works"))).boxed();
        }
        let planner: Box<dyn Planner> = Box::new(TestPlanner { properties });
        std::future::ready(Ok(planner)).boxed()
    }

    fn task(&self, start: TaskStart) -> TaskHandle {
        let (wanted, wishes) = watch::channel(start.wanted);
        let status = StatusCell::default();
        let topics = Arc::new(TopicNotes::new(start.id.clone(), self.uses.clone()));
        let (id, properties) = (start.id.clone(), start.properties);
        *self.started.lock().entry(id.clone()).or_default() += 1;
        let former = self.running.lock().insert(id.clone(), properties.clone());
        assert!(former.is_none(), "two runs of {id}");
        let running = Arc::clone(&self.running);
        let gone = Gone { id, running };
        let signals = SignalBox::default();
        let work =
            work(properties, status.clone(), wishes, Arc::clone(&topics), self.clock.clone());
        let task: JoinHandle<TaskEnd> = tokio::spawn(async move {
            let end = work.await;
            drop(gone);
            end
        });
        let ended =
            async move { task.await.unwrap_or_else(|e| Err(Error::internal(e.to_string()))) };
        TaskHandle { wanted, status, topics, signals, ended: ended.boxed() }
    }

    fn deleted(&self, _name: Arc<str>, properties: Properties) -> BoxFuture<'static, Result<()>> {
        let removed = match properties.get("removes") {
            Some("hard") => Err(Error::config("it is too hard")),
            _ => Ok(()),
        };
        self.deleted.lock().push(properties);
        std::future::ready(removed).boxed()
    }

    fn check_offsets(
        &self,
        _properties: &Properties,
        offsets: &[(SourcePartition, Option<SourceOffset>)],
    ) -> Result<()> {
        match offsets.iter().find(|(partition, _)| partition.get("file").is_none()) {
            Some(_) => Err(Error::config("a partition has the key 'file'")),
            None => Ok(()),
        }
    }

    fn source_offsets(
        &self,
        _name: Arc<str>,
        _properties: Properties,
    ) -> BoxFuture<'static, Result<Arc<OffsetStore>>> {
        let spec = TableSpec {
            topic: "offsets".to_owned(),
            partitions: Some(5),
            replication_factor: Some(1),
            config: BTreeMap::new(),
            purpose: "offset",
            client_id: "test".to_owned(),
        };
        let store = Arc::new(OffsetStore::new(Arc::clone(&self.cluster) as _, spec));
        async move {
            let running = Arc::clone(&store);
            tokio::spawn(async move { running.run().await });
            store.ready().await;
            Ok(store)
        }
        .boxed()
    }

    fn sink_offsets_changed(
        &self,
        _name: Arc<str>,
        _properties: Properties,
        _offsets: Vec<(TopicPartition, Option<i64>)>,
    ) -> BoxFuture<'static, Result<()>> {
        std::future::ready(Ok(())).boxed()
    }

    fn sink_group(&self, name: &str, properties: &Properties) -> Result<String> {
        let own = properties.get("consumer.override.group.id");
        Ok(own.map_or_else(|| format!("connect-{name}"), str::to_owned))
    }

    fn admin(&self, _properties: Properties) -> BoxFuture<'static, Result<Arc<dyn Admin>>> {
        let cluster = Arc::clone(&self.cluster);
        async move { Ok(cluster.admin(ClientOverrides::new()).await?) }.boxed()
    }
}

/// Notes that a task is gone, also if it is cut off.
struct Gone {
    id: TaskId,
    running: Arc<Mutex<BTreeMap<TaskId, Properties>>>,
}

impl Drop for Gone {
    fn drop(&mut self) {
        self.running.lock().remove(&self.id);
    }
}

async fn work(
    properties: Properties,
    status: StatusCell,
    mut wishes: watch::Receiver<Wanted>,
    topics: Arc<TopicNotes>,
    clock: Arc<dyn Clock>,
) -> TaskEnd {
    let topic = properties.get("topic").map(towpath_sdk::record::Topic::from);
    loop {
        let wish = *wishes.borrow_and_update();
        match (wish, properties.get("task")) {
            (Wanted::Stopped, Some("deaf")) => return std::future::pending().await,
            (Wanted::Stopped, _) => return Ok(()),
            (Wanted::Paused, _) => status.paused(),
            (Wanted::Running, Some("wait")) => {
                status.lag(7);
                let reason = "target refused connections".to_owned();
                status.waiting(Wait::Connector, reason, clock.now(), None);
            }
            (Wanted::Running, Some("fail")) => {
                status.running();
                tokio::time::sleep(Duration::from_millis(100)).await;
                return Err(Error::internal("it broke"));
            }
            (Wanted::Running, _) => {
                status.running();
                if let Some(topic) = &topic {
                    topics.used(topic);
                }
            }
        }
        if wishes.changed().await.is_err() {
            return Ok(());
        }
    }
}

/// A worker on a simulated cluster.
pub(super) struct Worker {
    pub(super) herder: Herder,
    pub(super) plane: Arc<Plane>,
    cancel: CancellationToken,
    service: JoinHandle<PortResult<()>>,
}

pub(super) fn options() -> HerderOptions {
    let mut options = HerderOptions::new("fleet", "a:1", "configs", "statuses");
    options.config_topic.replication_factor = Some(1);
    options.status_topic.replication_factor = Some(1);
    options
}

pub(super) fn cluster() -> Arc<SimCluster> {
    SimCluster::new(7, Faults::none())
}

impl Worker {
    pub(super) fn start(cluster: &Arc<SimCluster>) -> Self {
        Self::with(cluster, options())
    }

    pub(super) fn with(cluster: &Arc<SimCluster>, options: HerderOptions) -> Self {
        let (uses, topic_uses) = mpsc::channel(16);
        let clock: Arc<dyn Clock> = Arc::new(TokioClock::starting_at(EPOCH));
        let plane = Arc::new(Plane {
            cluster: Arc::clone(cluster),
            clock: Arc::clone(&clock),
            uses,
            running: Arc::default(),
            started: Arc::default(),
            deleted: Arc::default(),
        });
        let (service, herder) = HerderService::new(
            options,
            Arc::clone(cluster) as _,
            Arc::clone(&plane) as _,
            clock,
            Handle::current(),
            topic_uses,
        );
        let cancel = CancellationToken::new();
        let service = tokio::spawn(service.run(cancel.clone()));
        Self { herder, plane, cancel, service }
    }

    /// Ends it in good order.
    pub(super) async fn stop(self) -> PortResult<()> {
        self.cancel.cancel();
        self.service.await.expect("no panic")
    }

    /// Waits for what ends it by itself.
    pub(super) async fn ended(self) -> PortResult<()> {
        self.service.await.expect("no panic")
    }

    /// Ends it as a crash does.
    pub(super) async fn crash(self) {
        self.service.abort();
        drop(self.service.await);
    }

    /// Waits until Connect's clients see these states.
    pub(super) async fn shows(&self, name: &str, expect: &str) {
        let mut shown = String::new();
        for _ in 0..40_000 {
            shown = match self.herder.status(name).await {
                Ok(status) => {
                    let tasks: Vec<_> = status.tasks.iter().map(|t| t.state.name()).collect();
                    format!("{} [{}]", status.connector.state.name(), tasks.join(" "))
                }
                Err(error) => error.to_string(),
            };
            if shown == expect {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("{name} shows {shown}, not {expect}");
    }
}

pub(super) fn id(name: &str, task: u32) -> TaskId {
    TaskId { connector: name.into(), task }
}

pub(super) fn config(class: &str, more: &[(&str, &str)]) -> towpath_formats::Properties {
    let all = [("connector.class", class), ("tasks.max", "2")];
    all.iter().chain(more).copied().collect()
}
