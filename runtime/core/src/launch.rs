//! The data plane: starts planners and tasks for the herder.
//!
//! Duty: resolve references, build pipelines, run them on the data plane's runtime, contain their
//! panics, and cut off a task that does not stop in time.
//!
//! Invariants: a resolved value lives only inside a running planner or task; what goes back to the
//! herder (errors of fields) shows the reference, not the value.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use towpath_formats::rest::{ConfigInfos, ConnectorType};
use towpath_sdk::clock::Clock;
use towpath_sdk::config::{ConnectorConfig, FieldError, FieldErrors, Properties};
use towpath_sdk::context::ConnectorContext;
use towpath_sdk::guarantee::Guarantee;
use towpath_sdk::offset::{SourceOffset, SourcePartition};
use towpath_sdk::plugin::erased::DynSourceConnector;
use towpath_sdk::plugin::{ConnectorPlugin, PluginInfo, Registry};
use towpath_sdk::{Error, ErrorKind, Result};

use crate::build::{self, Blueprint, Direction, WorkerDefaults};
use crate::framework::{CommonKeys, ExactlyOnceSupport, SourceKeys, TransactionBoundary};
use crate::herder::launcher::{
    Described, Launcher, Planner, Problem, TaskEnd, TaskHandle, TaskStart, Validated,
};
use crate::metrics::Metrics;
use crate::offsets::OffsetStore;
use crate::ports::{Admin, Cluster};
use crate::secrets::Resolver;
use crate::sink::{self, SinkSpec};
use crate::source::{self, Boundary, SourceSpec, Transactions};
use crate::task::host::TaskHost;
use crate::task::status::StatusCell;
use crate::task::{TaskId, Wanted, panic_text};
use crate::topics::{TopicCreator, TopicNotes, TopicRules, TopicUse};

/// Bytes after which a transaction of a source ends in any case.
const TRANSACTION_MAX_BYTES: usize = 16 << 20;
/// Age after which it does: a quarter of the default `transaction.timeout.ms`.
const TRANSACTION_MAX_AGE: Duration = Duration::from_secs(15);
/// What stopping may take beyond its parts' own deadlines.
const STOP_GRACE: Duration = Duration::from_secs(1);

/// How a connector's `topic.creation.*` become rules, and what is wrong with them.
pub type TopicRulesOf = fn(&Properties) -> Result<TopicRules, Vec<FieldError>>;
/// What of a connector's client overrides the worker's policy refuses.
pub type OverrideCheck = Arc<dyn Fn(&Properties) -> Vec<FieldError> + Send + Sync>;

/// What the engine is made of.
pub struct EngineOptions {
    /// The plug-ins.
    pub registry: Arc<Registry>,
    /// Kafka, or what stands in for it.
    pub cluster: Arc<dyn Cluster>,
    /// The worker's contribution to connectors.
    pub worker: WorkerDefaults,
    /// The configuration providers.
    pub resolver: Resolver,
    /// Measurements.
    pub metrics: Arc<Metrics>,
    /// Source offsets and small states.
    pub offsets: Arc<OffsetStore>,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// The data plane's runtime.
    pub data: Handle,
    /// Where tasks note the topics that they use.
    pub topic_uses: mpsc::Sender<TopicUse>,
    /// `topic.creation.*`.
    pub topic_rules: TopicRulesOf,
    /// The override policy.
    pub override_check: OverrideCheck,
}

/// Runs what the herder wants to run.
#[derive(Clone)]
pub struct Engine(Arc<EngineOptions>);

impl Engine {
    /// An engine.
    #[must_use]
    pub fn new(options: EngineOptions) -> Self {
        Self(Arc::new(options))
    }

    /// All that is wrong with `properties`, in Connect's order: framework, chain, connector. Values that
    /// came from a provider show as their reference.
    #[must_use]
    pub fn field_errors(&self, properties: &Properties) -> FieldErrors {
        let resolved = match self.0.resolver.resolve(properties) {
            Ok(resolved) => resolved,
            Err(error) => {
                return FieldErrors(vec![FieldError::other("config.providers", error.to_string())]);
            }
        };
        let mut errors = self.errors_of(&resolved);
        for error in &mut errors.0 {
            if let Some(raw) = properties.get(error.key()).filter(|raw| self.0.resolver.refers(raw))
            {
                *error = FieldError::invalid(error.key(), Some(raw), error.message());
            }
        }
        errors
    }

    /// `properties` held against everything that may be in them, for forms.
    #[must_use]
    pub fn config_infos(&self, properties: &Properties) -> ConfigInfos {
        let errors = self.field_errors(properties);
        crate::describe::config_infos(&self.0.registry, &self.0.worker, properties, &errors)
    }

    /// The plug-ins.
    #[must_use]
    pub fn registry(&self) -> &Registry {
        &self.0.registry
    }

    fn errors_of(&self, properties: &Properties) -> FieldErrors {
        let registry = &self.0.registry;
        let (plugin, name) = match build::find_plugin(registry, properties) {
            Ok(found) => found,
            Err(error) => return FieldErrors(vec![error]),
        };
        let mut errors = Blueprint::parse(registry, properties).err().unwrap_or_default();
        // One wrong key does not keep the others from being looked at.
        if let Ok(common) = CommonKeys::parse(&without(properties, &errors)) {
            let chain = build::chain(registry, &self.0.worker, &common, properties);
            errors.0.extend(chain.err().unwrap_or_default().0);
        }
        errors.0.extend((self.0.override_check)(properties));
        if let ConnectorPlugin::Source(_) = plugin {
            errors.0.extend((self.0.topic_rules)(properties).err().unwrap_or_default());
            errors.0.extend(self.exactly_once_errors(properties));
        }
        let filled = build::with_name_defaults(plugin, name, properties);
        let of_fields = plugin.validate(&filled);
        if !of_fields.is_empty() {
            // What is wrong between fields shows once each by itself is right.
            let between = plugin.validate(&without(&filled, &of_fields));
            errors.0.extend(between.into_iter().filter(|e| of_fields.of(e.key()).next().is_none()));
        }
        errors.0.extend(of_fields.0);
        errors
    }

    fn exactly_once_errors(&self, properties: &Properties) -> Option<FieldError> {
        let keys = SourceKeys::parse(properties).ok()?;
        (keys.exactly_once == ExactlyOnceSupport::Required && !self.0.worker.exactly_once).then(|| {
            FieldError::other(
                "exactly.once.support",
                "This worker does not have exactly-once support for source connectors enabled; set \
                 exactly.once.source.support=enabled in its configuration",
            )
        })
    }

    fn resolve(&self, properties: &Properties) -> Result<Properties> {
        self.0.resolver.resolve(properties)
    }

    fn guarantee(&self, properties: &Properties) -> Option<Guarantee> {
        let resolved = self.resolve(properties).ok()?;
        let (plugin, name) = build::find_plugin(&self.0.registry, &resolved).ok()?;
        let filled = build::with_name_defaults(plugin, name, &resolved);
        match plugin {
            ConnectorPlugin::Sink(plugin) => plugin.guarantee(&filled).ok(),
            ConnectorPlugin::Source(_) if !self.0.worker.exactly_once => {
                Some(Guarantee::at_least_once(
                    "records and offsets are produced without transactions \
                     (exactly.once.source.support is not enabled on the worker)",
                ))
            }
            ConnectorPlugin::Source(plugin) => plugin.guarantee(&filled).ok(),
        }
    }

    async fn run(
        self,
        start: TaskStart,
        status: StatusCell,
        topics: Arc<TopicNotes>,
        wanted: watch::Receiver<Wanted>,
    ) -> TaskEnd {
        let properties = self.resolve(&start.properties)?;
        let blueprint = Blueprint::parse(&self.0.registry, &properties)
            .map_err(|errors| Error::config(errors.to_string()))?;
        let chain = build::chain(&self.0.registry, &self.0.worker, &blueprint.common, &properties)
            .map_err(|errors| Error::config(errors.to_string()))?;
        let settings = blueprint.settings(&self.0.worker);
        let metrics = self.0.metrics.task(&start.id.connector, start.id.task);
        let host = Arc::new(TaskHost {
            topics,
            id: start.id.clone(),
            clock: Arc::clone(&self.0.clock),
            status,
            metrics,
            offsets: Arc::clone(&self.0.offsets),
        });
        let cluster = Arc::clone(&self.0.cluster);
        let filled =
            build::with_name_defaults(&blueprint.plugin, blueprint.plugin_name, &properties);
        match (&blueprint.plugin, &blueprint.direction) {
            (ConnectorPlugin::Sink(plugin), Direction::Sink(keys)) => {
                let spec = SinkSpec {
                    group_id: self.sink_group(&start.id.connector, &properties)?,
                    subscription: keys.subscription(),
                    class: class_of(plugin.info()),
                    plugin: Arc::clone(plugin),
                    id: start.id,
                    properties: filled,
                    chain: Arc::new(chain),
                    settings,
                };
                sink::run(spec, cluster, host, wanted).await
            }
            (ConnectorPlugin::Source(plugin), Direction::Source(keys)) => {
                let topics = self.topic_creator(&blueprint, &properties).await?;
                let spec = SourceSpec {
                    plugin: Arc::clone(plugin),
                    id: start.id,
                    share: start.share,
                    topics: Arc::new(topics),
                    exactly_once: start
                        .transactional_id
                        .map(|id| transactions(id, keys, &self.0.worker)),
                    properties: filled,
                    chain: Arc::new(chain),
                    settings,
                };
                source::run(spec, cluster, host, wanted).await
            }
            _ => Err(Error::internal("a blueprint's keys are not of its plug-in's direction")),
        }
    }

    async fn topic_creator(
        &self,
        blueprint: &Blueprint,
        properties: &Properties,
    ) -> Result<TopicCreator> {
        let settings = blueprint.settings(&self.0.worker);
        let admin = self.0.cluster.admin(settings.admin).await?;
        let rules = (self.0.topic_rules)(properties)
            .map_err(|errors| Error::config(FieldErrors(errors).to_string()))?;
        Ok(TopicCreator::new(admin, self.0.worker.topic_creation.then_some(rules)))
    }
}

/// `properties` without those that have errors.
fn without(properties: &Properties, errors: &FieldErrors) -> Properties {
    properties.iter().filter(|(key, _)| errors.of(key).next().is_none()).collect()
}

fn class_of(info: PluginInfo) -> Arc<str> {
    info.names.first().map_or("", |name| name.name).into()
}

fn transactions(
    transactional_id: String,
    keys: &SourceKeys,
    worker: &WorkerDefaults,
) -> Transactions {
    let boundary = match keys.boundary {
        TransactionBoundary::Poll => Boundary::Poll,
        TransactionBoundary::Connector => Boundary::Connector,
        TransactionBoundary::Interval => {
            Boundary::Interval(keys.boundary_interval.unwrap_or(worker.commit_interval))
        }
    };
    Transactions {
        transactional_id,
        boundary,
        max_bytes: TRANSACTION_MAX_BYTES,
        max_age: TRANSACTION_MAX_AGE,
    }
}

impl Launcher for Engine {
    fn describe(&self, properties: &Properties) -> Described {
        match build::find_plugin(&self.0.registry, properties) {
            Ok((plugin, _)) => {
                let source = matches!(plugin, ConnectorPlugin::Source(_));
                Described {
                    kind: if source { ConnectorType::Source } else { ConnectorType::Sink },
                    version: Some(plugin.info().version.to_owned()),
                    transactional: source && self.0.worker.exactly_once,
                }
            }
            Err(_) => {
                Described { kind: ConnectorType::Unknown, version: None, transactional: false }
            }
        }
    }

    fn validate(&self, _name: &str, properties: &Properties) -> Validated {
        let described = self.describe(properties);
        let problem = match build::find_plugin(&self.0.registry, properties) {
            Err(error) => Some(Problem::Class(error.message().to_owned())),
            Ok(_) => {
                let lines: Vec<String> =
                    self.field_errors(properties).iter().map(ToString::to_string).collect();
                (!lines.is_empty()).then_some(Problem::Fields(lines))
            }
        };
        Validated { described, guarantee: self.guarantee(properties), problem }
    }

    fn planner(
        &self,
        name: Arc<str>,
        properties: Properties,
    ) -> BoxFuture<'static, Result<Box<dyn Planner>>> {
        let engine = self.clone();
        let start = async move {
            let properties = engine.resolve(&properties)?;
            let blueprint = Blueprint::parse(&engine.0.registry, &properties)
                .map_err(|errors| Error::config(errors.to_string()))?;
            tell_of_outdated_keys(&name, &blueprint.plugin, &properties);
            let max = u32::try_from(blueprint.common.tasks_max).ok().and_then(NonZeroU32::new);
            let max = max.unwrap_or(NonZeroU32::MIN);
            let enforce = blueprint.common.tasks_max_enforce;
            let planner: Box<dyn Planner> = match &blueprint.plugin {
                ConnectorPlugin::Sink(_) => Box::new(SinkPlanner { tasks: max }),
                ConnectorPlugin::Source(plugin) => {
                    let filled = build::with_name_defaults(
                        &blueprint.plugin,
                        blueprint.plugin_name,
                        &properties,
                    );
                    let host = engine.planner_host(&name);
                    let cx = ConnectorContext::new(Arc::clone(&name), host);
                    let connector = plugin.start(filled, cx).await?;
                    Box::new(SourcePlanner { name, connector, max, enforce })
                }
            };
            Ok(planner)
        };
        on(self.0.data.clone(), start).boxed()
    }

    fn task(&self, start: TaskStart) -> TaskHandle {
        let (wanted, receiver) = watch::channel(start.wanted);
        let status = StatusCell::default();
        let id = start.id.clone();
        let of = id.clone();
        let topics = Arc::new(TopicNotes::new(id.clone(), self.0.topic_uses.clone()));
        let running =
            self.clone().run(start, status.clone(), Arc::clone(&topics), receiver.clone());
        let task = self.0.data.spawn(running);
        let deadline = self.0.worker.stop_timeout * 2 + STOP_GRACE;
        let ended = ended(id, task, receiver, deadline);
        let metrics = Arc::clone(&self.0.metrics);
        let ended = async move {
            let end = ended.await;
            match &end {
                Err(_) => {
                    metrics.task(&of.connector, of.task).ends.inc();
                }
                // It was stopped, so it is deleted, runs elsewhere, or begins anew.
                Ok(()) => metrics.forget(&of.connector, of.task),
            }
            end
        }
        .boxed();
        TaskHandle { wanted, status, topics, ended }
    }

    fn check_offsets(
        &self,
        properties: &Properties,
        offsets: &[(SourcePartition, Option<SourceOffset>)],
    ) -> Result<()> {
        let found = build::find_plugin(&self.0.registry, properties);
        let (plugin, _) = found.map_err(|error| Error::config(error.message()))?;
        match plugin {
            ConnectorPlugin::Source(plugin) => {
                offsets.iter().try_for_each(|(partition, offset)| {
                    plugin.check_offset(partition, offset.as_ref())
                })
            }
            ConnectorPlugin::Sink(_) => Ok(()),
        }
    }

    fn sink_group(&self, name: &str, properties: &Properties) -> Result<String> {
        let own = properties.get("consumer.override.group.id");
        match own {
            Some(group) => {
                let one: Properties = [("g", group)].into_iter().collect();
                Ok(self.resolve(&one)?.remove("g").unwrap_or_default())
            }
            None => Ok(format!("connect-{name}")),
        }
    }

    fn source_offsets(
        &self,
        _name: Arc<str>,
        _properties: Properties,
    ) -> BoxFuture<'static, Result<Arc<OffsetStore>>> {
        let store = Arc::clone(&self.0.offsets);
        async move {
            store.ready().await;
            Ok(store)
        }
        .boxed()
    }

    fn admin(&self, properties: Properties) -> BoxFuture<'static, Result<Arc<dyn Admin>>> {
        let engine = self.clone();
        async move {
            let resolved = engine.resolve(&properties)?.with_prefix("admin.override.");
            let overrides = resolved.iter().map(|(k, v)| (k.to_owned(), v.to_owned())).collect();
            Ok(engine.0.cluster.admin(overrides).await?)
        }
        .boxed()
    }
}

impl Engine {
    /// A planner has no task; its context counts as task 0's would.
    fn planner_host(&self, name: &Arc<str>) -> Arc<TaskHost> {
        let id = TaskId { connector: Arc::clone(name), task: 0 };
        Arc::new(TaskHost {
            topics: Arc::new(TopicNotes::new(id.clone(), self.0.topic_uses.clone())),
            metrics: self.0.metrics.task(name, 0),
            id,
            clock: Arc::clone(&self.0.clock),
            status: StatusCell::default(),
            offsets: Arc::clone(&self.0.offsets),
        })
    }
}

/// Nothing is read and silently ignored: whoever sets a key that is outdated, or that has nothing to
/// tune here, finds in the log what to do instead.
fn tell_of_outdated_keys(name: &str, plugin: &ConnectorPlugin, properties: &Properties) {
    for (key, advice) in plugin.definition().deprecated(properties) {
        tracing::warn!(connector = name, key, advice, "the configuration has an outdated key");
    }
}

/// Runs `future` on the data plane; dropping the result aborts it.
async fn on<T: Send + 'static>(
    data: Handle,
    future: impl Future<Output = Result<T>> + Send + 'static,
) -> Result<T> {
    let mut task = AbortOnDrop(data.spawn(future));
    match (&mut task.0).await {
        Ok(result) => result,
        Err(error) => Err(panicked(error)),
    }
}

struct AbortOnDrop<T>(JoinHandle<T>);

impl<T> Drop for AbortOnDrop<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn panicked(error: tokio::task::JoinError) -> Error {
    let text = if error.is_panic() {
        format!("panicked: {}", panic_text(error.into_panic()))
    } else {
        "was cut off".to_owned()
    };
    Error::new(ErrorKind::Internal, text)
}

async fn ended(
    id: TaskId,
    task: JoinHandle<TaskEnd>,
    mut wanted: watch::Receiver<Wanted>,
    deadline: Duration,
) -> TaskEnd {
    let mut task = AbortOnDrop(task);
    let overdue = async {
        // A dropped sender means the same as the wish to stop.
        let _gone = wanted.wait_for(|wish| *wish == Wanted::Stopped).await.is_err();
        tokio::time::sleep(deadline).await;
    };
    tokio::select! {
        biased;
        ended = &mut task.0 => ended.unwrap_or_else(|error| Err(panicked(error))),
        () = overdue => {
            tracing::error!(task = %id, ?deadline, "the task did not stop in time and is cut off");
            Ok(())
        }
    }
}

struct SinkPlanner {
    tasks: NonZeroU32,
}

impl Planner for SinkPlanner {
    fn plan(&mut self) -> BoxFuture<'_, Result<Vec<Properties>>> {
        let shares = vec![Properties::new(); self.tasks.get() as usize];
        std::future::ready(Ok(shares)).boxed()
    }

    fn changed(&mut self) -> BoxFuture<'_, Result<()>> {
        std::future::pending().boxed()
    }
}

struct SourcePlanner {
    name: Arc<str>,
    connector: Box<dyn DynSourceConnector>,
    max: NonZeroU32,
    enforce: bool,
}

impl Planner for SourcePlanner {
    fn plan(&mut self) -> BoxFuture<'_, Result<Vec<Properties>>> {
        async move {
            let shares = self.connector.plan(self.max).await?;
            let (planned, max) = (shares.len(), self.max.get());
            if planned > max as usize {
                let text = format!(
                    "The connector {} has generated {planned} tasks, which is greater than {max}, the \
                     maximum number of tasks it is configured to create.",
                    self.name
                );
                if self.enforce {
                    return Err(Error::config(text));
                }
                tracing::warn!("{text}");
            }
            Ok(shares)
        }
        .boxed()
    }

    fn changed(&mut self) -> BoxFuture<'_, Result<()>> {
        self.connector.changed()
    }
}
