//! The data plane: starts planners and tasks for the herder.
//!
//! Duty: resolve references, build pipelines, run them, contain their panics, and cut off a task that
//! does not stop in time. What is the engine's runs on the data plane's runtime; the connector's own
//! code runs in its home ([`crate::home`]).
//!
//! Invariants: a resolved value lives only inside a running planner or task; what goes back to the
//! herder (errors of fields) shows the reference, not the value.

mod planners;
mod pure_calls;

use std::ops::Deref;
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
use towpath_sdk::guarantee::Guarantee;
use towpath_sdk::leftover::Leftover;
use towpath_sdk::offset::{SourceOffset, SourcePartition};
use towpath_sdk::plugin::{ConnectorPlugin, PluginInfo, Registry};
use towpath_sdk::record::TopicPartition;
use towpath_sdk::{Error, Result};

use self::pure_calls::PureCalls;
use crate::build::{self, Blueprint, Direction, WorkerDefaults};
use crate::chain::Chain;
use crate::framework::{CommonKeys, ExactlyOnceSupport, SourceKeys, TransactionBoundary};
use crate::herder::launcher::{
    Described, Launcher, Planner, Problem, TaskEnd, TaskHandle, TaskStart, Validated,
};
use crate::home::{AbortOnDrop, Home, Homes, Place, Tenant, Who, broken};
use crate::metrics::{Metrics, TaskMetrics};
use crate::offsets::{OffsetStore, OwnOffsets};
use crate::ports::{Admin, Cluster};
use crate::secrets::Resolver;
use crate::settings::PipelineSettings;
use crate::sink::{self, SinkSpec};
use crate::source::{self, Boundary, SourceSpec, Transactions, WrittenTopics};
use crate::task::host::{SignalBox, TaskHost};
use crate::task::status::StatusCell;
use crate::task::{TaskId, Wanted};
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
    /// Where connectors' own code runs.
    pub homes: Homes,
    /// Where tasks note the topics that they use.
    pub topic_uses: mpsc::Sender<TopicUse>,
    /// `topic.creation.*`.
    pub topic_rules: TopicRulesOf,
    /// The override policy.
    pub override_check: OverrideCheck,
}

/// Runs what the herder wants to run.
#[derive(Clone)]
pub struct Engine(Arc<Inner>);

struct Inner {
    options: EngineOptions,
    own_offsets: OwnOffsets,
    pure_calls: PureCalls,
}

impl Deref for Inner {
    type Target = EngineOptions;
    fn deref(&self) -> &EngineOptions {
        &self.options
    }
}

impl Engine {
    /// An engine.
    #[must_use]
    pub fn new(options: EngineOptions) -> Self {
        let EngineOptions { cluster, offsets, data, .. } = &options;
        let own_offsets = OwnOffsets::new(Arc::clone(cluster), Arc::clone(offsets), data.clone());
        Self(Arc::new(Inner { options, own_offsets, pure_calls: PureCalls::default() }))
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
        let _call = match self.0.pure_calls.begin(primary_name(plugin.info())) {
            Ok(call) => call,
            Err(why) => return FieldErrors(vec![FieldError::other("connector.class", why)]),
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
        let _call = self.0.pure_calls.begin(primary_name(plugin.info())).ok()?;
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

    fn leftovers(&self, properties: &Properties) -> Vec<Leftover> {
        let of_source = || {
            let (plugin, filled) = self.filled(properties).ok()?;
            let _call = self.0.pure_calls.begin(primary_name(plugin.info())).ok()?;
            match plugin {
                ConnectorPlugin::Source(plugin) => plugin.leftovers(&filled).ok(),
                ConnectorPlugin::Sink(_) => None,
            }
        };
        of_source().unwrap_or_default()
    }

    async fn run(
        self,
        start: TaskStart,
        host: HostParts,
        wanted: watch::Receiver<Wanted>,
    ) -> TaskEnd {
        let properties = self.resolve(&start.properties)?;
        let prepared = self.prepare(&host, &properties).await?;
        let Prepared { blueprint, chain, settings, filled } = prepared;
        let offsets = self.0.own_offsets.of(blueprint.offsets_topic()).await?;
        let mut host = self.host(host, &settings, &offsets.store);
        let cluster = Arc::clone(&self.0.cluster);
        if let Direction::Source(_) = &blueprint.direction {
            let (id, chain) = (host.id.clone(), Arc::clone(&chain));
            let topics = WrittenTopics::new(id, chain, Arc::clone(&cluster), &settings);
            host.written = Some(Arc::new(topics));
        }
        let host = Arc::new(host);
        match (&blueprint.plugin, &blueprint.direction) {
            (ConnectorPlugin::Sink(plugin), Direction::Sink(keys)) => {
                let spec = SinkSpec {
                    group_id: self.sink_group(&start.id.connector, &properties)?,
                    subscription: keys.subscription(),
                    class: class_of(plugin.info()),
                    plugin: Arc::clone(plugin),
                    id: start.id,
                    properties: filled,
                    chain,
                    settings,
                };
                sink::run(spec, cluster, host, wanted).await
            }
            (ConnectorPlugin::Source(plugin), Direction::Source(keys)) => {
                let topics = self.topic_creator(&settings, &properties).await?;
                let spec = SourceSpec {
                    plugin: Arc::clone(plugin),
                    id: start.id,
                    share: start.share,
                    topics: Arc::new(topics),
                    exactly_once: start
                        .transactional_id
                        .map(|id| transactions(id, keys, &self.0.worker)),
                    properties: filled,
                    chain,
                    settings,
                };
                source::run(spec, cluster, host, wanted).await
            }
            _ => Err(Error::internal("a blueprint's keys are not of its plug-in's direction")),
        }
    }

    /// Parses the configuration and builds the chain, which may call code of plug-ins: in the home.
    async fn prepare(&self, host: &HostParts, properties: &Properties) -> Result<Prepared> {
        let (engine, properties) = (self.clone(), properties.clone());
        let prepare = async move {
            let EngineOptions { registry, worker, .. } = &engine.0.options;
            let all = |errors: FieldErrors| Error::config(errors.to_string());
            let blueprint = Blueprint::parse(registry, &properties).map_err(all)?;
            let chain =
                build::chain(registry, worker, &blueprint.common, &properties).map_err(all)?;
            let settings = blueprint.settings(worker);
            let filled =
                build::with_name_defaults(&blueprint.plugin, blueprint.plugin_name, &properties);
            Ok(Prepared { blueprint, chain: Arc::new(chain), settings, filled })
        };
        host.place.run(&host.tenant(), "configure", prepare).await
    }

    fn host(
        &self,
        parts: HostParts,
        settings: &PipelineSettings,
        offsets: &Arc<OffsetStore>,
    ) -> TaskHost {
        let HostParts { who, id, status, metrics, topics, signals, place } = parts;
        TaskHost {
            id,
            who,
            clock: Arc::clone(&self.0.clock),
            status,
            metrics,
            offsets: Arc::clone(offsets),
            topics,
            place,
            cluster: Arc::clone(&self.0.cluster),
            consumer: settings.consumer.clone(),
            signals,
            written: None,
        }
    }

    async fn topic_creator(
        &self,
        settings: &PipelineSettings,
        properties: &Properties,
    ) -> Result<TopicCreator> {
        let admin = self.0.cluster.admin(settings.admin.clone()).await?;
        let rules = (self.0.topic_rules)(properties)
            .map_err(|errors| Error::config(FieldErrors(errors).to_string()))?;
        Ok(TopicCreator::new(admin, self.0.worker.topic_creation.then_some(rules)))
    }
}

/// `properties` without those that have errors.
fn without(properties: &Properties, errors: &FieldErrors) -> Properties {
    properties.iter().filter(|(key, _)| errors.of(key).next().is_none()).collect()
}

/// What of a task's host is there before its configuration is understood.
struct HostParts {
    who: Who,
    id: TaskId,
    status: StatusCell,
    metrics: TaskMetrics,
    topics: Arc<TopicNotes>,
    signals: SignalBox,
    place: Place,
}

impl HostParts {
    fn tenant(&self) -> Tenant {
        Tenant { who: self.who.clone(), status: self.status.clone(), metrics: self.metrics.clone() }
    }
}

/// A configuration that was understood.
struct Prepared {
    blueprint: Blueprint,
    chain: Arc<Chain>,
    settings: PipelineSettings,
    filled: Properties,
}

fn primary_name(info: PluginInfo) -> &'static str {
    info.names.first().map_or("", |name| name.name)
}

fn class_of(info: PluginInfo) -> Arc<str> {
    primary_name(info).into()
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
        let (guarantee, leftovers) = (self.guarantee(properties), self.leftovers(properties));
        Validated { described, guarantee, leftovers, problem }
    }

    fn planner(
        &self,
        name: Arc<str>,
        properties: Properties,
    ) -> BoxFuture<'static, Result<Box<dyn Planner>>> {
        let engine = self.clone();
        on(self.0.data.clone(), async move { engine.start_planner(name, properties).await }).boxed()
    }

    fn task(&self, start: TaskStart) -> TaskHandle {
        let (wanted, receiver) = watch::channel(start.wanted);
        let status = StatusCell::default();
        let id = start.id.clone();
        let of = id.clone();
        let topics = Arc::new(TopicNotes::new(id.clone(), self.0.topic_uses.clone()));
        let signals = SignalBox::default();
        let home = match self.0.homes.of(&id.connector) {
            Ok(home) => home,
            Err(error) => {
                let ended = std::future::ready(Err(error)).boxed();
                return TaskHandle { wanted, status, topics, signals, ended };
            }
        };
        let parts = HostParts {
            who: Who::Task(id.clone()),
            id: id.clone(),
            status: status.clone(),
            metrics: self.0.metrics.task(&id.connector, id.task),
            topics: Arc::clone(&topics),
            signals: signals.clone(),
            place: home.place(),
        };
        let task = self.0.data.spawn(self.clone().run(start, parts, receiver.clone()));
        let deadline = self.0.worker.stop_timeout * 2 + STOP_GRACE;
        let ended = ended(id, home, task, receiver, deadline);
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
        TaskHandle { wanted, status, topics, signals, ended }
    }

    fn deleted(&self, name: Arc<str>, properties: Properties) -> BoxFuture<'static, Result<()>> {
        let engine = self.clone();
        let removed = async move {
            let (plugin, filled) = engine.filled(&properties)?;
            let ConnectorPlugin::Source(plugin) = plugin else { return Ok(()) };
            let home = engine.0.homes.of(&name)?;
            let host = engine.planner_host(&name, home.place());
            home.place().run(&host.tenant(), "remove what is left", plugin.deleted(filled)).await
        };
        on(self.0.data.clone(), removed).boxed()
    }

    fn check_offsets(
        &self,
        properties: &Properties,
        offsets: &[(SourcePartition, Option<SourceOffset>)],
    ) -> Result<()> {
        let (plugin, filled) = self.filled(properties)?;
        let _call = self.0.pure_calls.begin(primary_name(plugin.info())).map_err(Error::config)?;
        match plugin {
            ConnectorPlugin::Source(plugin) => {
                offsets.iter().try_for_each(|(partition, offset)| {
                    plugin.check_offset(&filled, partition, offset.as_ref())
                })
            }
            ConnectorPlugin::Sink(_) => Ok(()),
        }
    }

    fn sink_offsets_changed(
        &self,
        name: Arc<str>,
        properties: Properties,
        offsets: Vec<(TopicPartition, Option<i64>)>,
    ) -> BoxFuture<'static, Result<()>> {
        let engine = self.clone();
        async move {
            let (plugin, filled) = engine.filled(&properties)?;
            let ConnectorPlugin::Sink(plugin) = plugin else { return Ok(()) };
            let home = engine.0.homes.of(&name)?;
            let host = engine.planner_host(&name, home.place());
            let changing = plugin.offsets_changed(filled, offsets);
            home.place().run(&host.tenant(), "change offsets", changing).await
        }
        .boxed()
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
        properties: Properties,
    ) -> BoxFuture<'static, Result<Arc<OffsetStore>>> {
        let engine = self.clone();
        async move {
            let topic = engine.resolve(&properties)?.remove("offsets.storage.topic");
            let followed = engine.0.own_offsets.of(topic.as_deref()).await?;
            Ok(Arc::clone(&followed.store))
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
    /// The plug-in that resolved `properties` name, and these with the name's defaults filled in.
    fn filled(&self, properties: &Properties) -> Result<(ConnectorPlugin, Properties)> {
        let resolved = self.resolve(properties)?;
        let found = build::find_plugin(&self.0.registry, &resolved);
        let (plugin, name) = found.map_err(|error| Error::config(error.message()))?;
        let filled = build::with_name_defaults(plugin, name, &resolved);
        Ok((plugin.clone(), filled))
    }

    /// A planner has no task; its instruments are task 0's.
    fn planner_host(&self, name: &Arc<str>, place: Place) -> HostParts {
        let id = TaskId { connector: Arc::clone(name), task: 0 };
        HostParts {
            who: Who::Planner(Arc::clone(name)),
            topics: Arc::new(TopicNotes::new(id.clone(), self.0.topic_uses.clone())),
            metrics: self.0.metrics.task(name, 0),
            id,
            status: StatusCell::default(),
            signals: SignalBox::default(),
            place,
        }
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
        Err(error) => Err(broken(error, "the connector")),
    }
}

async fn ended(
    id: TaskId,
    home: Arc<Home>,
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
    let lost = async {
        match home.lost().await.judge(&Who::Task(id.clone())) {
            Err(error) => error,
            // The culprit is waited for: when its thread comes back, it goes on.
            Ok(()) => std::future::pending().await,
        }
    };
    tokio::select! {
        biased;
        ended = &mut task.0 => ended.unwrap_or_else(|error| Err(broken(error, "the task"))),
        error = lost => Err(error),
        () = overdue => {
            tracing::error!(task = %id, ?deadline, "the task did not stop in time and is cut off");
            Ok(())
        }
    }
}
