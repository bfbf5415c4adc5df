//! A worker of the simulation: runs tasks, restarts those that fail, and can crash.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use towpath_core::chain::{Chain, NamedConverter};
use towpath_core::home::{Place, Who};
use towpath_core::metrics::Metrics;
use towpath_core::offsets::OffsetStore;
use towpath_core::ports::{ClientOverrides, Cluster, NewTopic, PortError, Subscription, TableSpec};
use towpath_core::settings::{DeadLetterSettings, PipelineSettings, Tolerance};
use towpath_core::sink::{self, SinkSpec};
use towpath_core::source::{self, SourceSpec, Transactions};
use towpath_core::task::host::TaskHost;
use towpath_core::task::{TaskId, Wanted};
use towpath_core::topics::{TopicCreator, TopicNotes};
use towpath_sdk::clock::TokioClock;
use towpath_sdk::config::Properties;
use towpath_sdk::context::Backoff;
use towpath_sdk::error::Action;
use towpath_sim::EPOCH;
use towpath_sim::outside::{
    SimSink, SimSource, SinkOutside, SourceOutside, TextConverter, Violations,
};

/// The topic of source offsets.
pub(crate) const OFFSETS: &str = "offsets";
/// The dead letter topic.
pub(crate) const LETTERS: &str = "letters";
/// The sink's group.
pub(crate) const GROUP: &str = "connect-sink";
/// Bytes that a pipeline may hold.
const BUDGET: usize = 64 << 10;

/// What a worker runs.
#[derive(Clone)]
pub(crate) enum Job {
    Source { outside: Arc<SourceOutside>, transactions: Option<Transactions> },
    Sinks { outside: Arc<SinkOutside>, topics: Vec<String>, tasks: u32 },
}

/// A plan for workers, one after the other.
#[derive(Clone)]
pub(crate) struct Plan {
    pub(crate) cluster: Arc<dyn Cluster>,
    pub(crate) jobs: Vec<Job>,
    /// One of each so many records can't be converted.
    pub(crate) refuses_every: Option<u64>,
    pub(crate) violations: Violations,
}

/// A running worker. Dropping it is a crash.
pub(crate) struct Worker {
    tasks: JoinSet<()>,
    wanted: watch::Sender<Wanted>,
}

impl Worker {
    pub(crate) fn start(plan: &Plan) -> Self {
        let (wanted, wish) = watch::channel(Wanted::Running);
        let mut tasks = JoinSet::new();
        tasks.spawn(run(plan.clone(), wish));
        Self { tasks, wanted }
    }

    pub(crate) fn want(&self, wanted: Wanted) {
        self.wanted.send_replace(wanted);
    }

    /// Stops in order, or crashes if that takes too long.
    pub(crate) async fn stop(mut self) {
        self.want(Wanted::Stopped);
        let ended = tokio::time::timeout(Duration::from_secs(300), self.tasks.join_next()).await;
        if let Ok(Some(Err(error))) = ended {
            std::panic::resume_unwind(error.into_panic());
        }
    }
}

/// Calls `operation` until the cluster can do it.
async fn insist<T, F: Future<Output = Result<T, PortError>>>(operation: impl Fn() -> F) -> T {
    let mut backoff = Backoff::default();
    loop {
        match operation().await {
            Ok(value) => return value,
            Err(_) => tokio::time::sleep(backoff.next(None)).await,
        }
    }
}

async fn run(plan: Plan, wish: watch::Receiver<Wanted>) {
    let spec = TableSpec {
        topic: OFFSETS.to_owned(),
        partitions: Some(2),
        replication_factor: Some(1),
        config: std::collections::BTreeMap::new(),
        purpose: "offset",
        client_id: "worker".to_owned(),
    };
    let offsets = Arc::new(OffsetStore::new(Arc::clone(&plan.cluster), spec));
    let mut tasks = JoinSet::new();
    let mut follow = JoinSet::new();
    let followed = Arc::clone(&offsets);
    follow.spawn(async move {
        insist(|| followed.run()).await;
    });
    offsets.ready().await;
    let metrics = Arc::new(Metrics::new());
    for job in &plan.jobs {
        match job {
            Job::Source { .. } => {
                tasks.spawn(keep_running(
                    plan.clone(),
                    job.clone(),
                    0,
                    Arc::clone(&offsets),
                    Arc::clone(&metrics),
                    wish.clone(),
                ));
            }
            Job::Sinks { tasks: count, .. } => {
                for task in 0..*count {
                    tasks.spawn(keep_running(
                        plan.clone(),
                        job.clone(),
                        task,
                        Arc::clone(&offsets),
                        Arc::clone(&metrics),
                        wish.clone(),
                    ));
                }
            }
        }
    }
    while let Some(ended) = tasks.join_next().await {
        if let Err(error) = ended {
            std::panic::resume_unwind(error.into_panic());
        }
    }
}

/// Runs one task until it is told to stop, again after each failure that a restart may cure.
async fn keep_running(
    plan: Plan,
    job: Job,
    task: u32,
    offsets: Arc<OffsetStore>,
    metrics: Arc<Metrics>,
    wish: watch::Receiver<Wanted>,
) {
    let connector = match job {
        Job::Source { .. } => "source",
        Job::Sinks { .. } => "sink",
    };
    let id = TaskId { connector: connector.into(), task };
    let (uses, mut used) = mpsc::channel(16);
    let mut failures: u32 = 0;
    let drain = async { while used.recv().await.is_some() {} };
    let work = async {
        loop {
            let host = Arc::new(TaskHost {
                id: id.clone(),
                clock: Arc::new(TokioClock::starting_at(EPOCH)),
                status: Default::default(),
                metrics: metrics.task(connector, task),
                offsets: Arc::clone(&offsets),
                topics: Arc::new(TopicNotes::new(id.clone(), uses.clone())),
                who: Who::Task(id.clone()),
                place: Place::here(),
                cluster: Arc::clone(&plan.cluster),
                consumer: ClientOverrides::new(),
                signals: Default::default(),
                written: None,
            });
            let held = host.metrics.held.clone();
            let ended = run_once(&plan, &job, &id, host, wish.clone()).await;
            if held.get() > i64::try_from(BUDGET).unwrap_or(i64::MAX) {
                plan.violations.note(format!("{id} held {} bytes of {BUDGET}", held.get()));
            }
            match ended {
                Ok(()) => return,
                Err(error) if error.action() == Action::Fail => {
                    return plan.violations.note(format!("{id} failed for good: {error:?}"));
                }
                Err(_) => {}
            }
            if *wish.borrow() == Wanted::Stopped {
                return;
            }
            failures += 1;
            tokio::time::sleep(Duration::from_millis(200) * failures.min(10)).await;
        }
    };
    tokio::select! {
        biased;
        () = work => {}
        () = drain => {}
    }
}

async fn run_once(
    plan: &Plan,
    job: &Job,
    id: &TaskId,
    host: Arc<TaskHost>,
    wish: watch::Receiver<Wanted>,
) -> towpath_sdk::Result<()> {
    let cluster = Arc::clone(&plan.cluster);
    match job {
        Job::Source { outside, transactions } => {
            let admin = cluster.admin(ClientOverrides::new()).await?;
            let rules = Arc::new(|name: &str| NewTopic {
                name: name.to_owned(),
                partitions: Some(3),
                replication_factor: Some(1),
                config: std::collections::BTreeMap::new(),
            });
            let spec = SourceSpec {
                id: id.clone(),
                plugin: Arc::new(SimSource(Arc::clone(outside))),
                properties: Properties::new(),
                share: Properties::new(),
                chain: chain(plan),
                settings: settings(),
                topics: Arc::new(TopicCreator::new(admin, Some(rules))),
                exactly_once: transactions.clone(),
            };
            source::run(spec, cluster, host, wish).await
        }
        Job::Sinks { outside, topics, .. } => {
            let spec = SinkSpec {
                id: id.clone(),
                plugin: Arc::new(SimSink(Arc::clone(outside))),
                class: "SimSink".into(),
                properties: Properties::new(),
                chain: chain(plan),
                settings: settings(),
                subscription: Subscription::Topics(topics.clone()),
                group_id: GROUP.to_owned(),
            };
            sink::run(spec, cluster, host, wish).await
        }
    }
}

fn chain(plan: &Plan) -> Arc<Chain> {
    let named = |refuses_every| NamedConverter {
        class: "TextConverter".into(),
        converter: Arc::new(TextConverter { refuses_every }),
    };
    Arc::new(Chain {
        key: named(None),
        value: named(plan.refuses_every),
        header: named(None),
        steps: Vec::new(),
    })
}

fn settings() -> PipelineSettings {
    PipelineSettings {
        tolerance: Tolerance {
            all: true,
            dead_letters: Some(DeadLetterSettings {
                topic: LETTERS.to_owned(),
                replication_factor: Some(1),
                headers: true,
            }),
            ..Tolerance::default()
        },
        commit_interval: Duration::from_secs(2),
        stop_timeout: Duration::from_secs(10),
        budget_bytes: BUDGET,
        producer: ClientOverrides::new(),
        consumer: ClientOverrides::new(),
        admin: ClientOverrides::new(),
    }
}
