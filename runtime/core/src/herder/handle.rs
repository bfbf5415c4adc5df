//! What the REST API asks of the herder.
//!
//! Duty: Connect's operations, in Connect's shapes, plus our own.
//!
//! Invariants: reads come from the last snapshot and never wait for the herder, except while the worker
//! starts; every change is answered in bounded time, with the stage at which it hangs. A config is
//! validated here, before the herder sees it, where a connector's code may block without harm.

use std::sync::Arc;
use std::time::Duration;

use indexmap::IndexMap;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use towpath_formats::config_topic::{RestartRequest, TargetState};
use towpath_formats::rest::{
    ActiveTopics, ConnectorInfo, ConnectorOffsets, ConnectorStateInfo, ConnectorTaskId,
    ExpandedConnector, Health, HealthStatus, InitialState, TaskInfo, TaskState,
};
use towpath_formats::{PatchMap, Properties, messages};
use towpath_sdk::clock::Clock;
use towpath_sdk::leftover::{Fate, Leftover};
use towpath_sdk::signal::Signal;

use super::configs::Name;
use super::detail::ConnectorDetail;
use super::event::{Expect, OffsetsChange, Reply, Request};
use super::jobs::for_sdk;
use super::launcher::{Launcher, Problem, Validated};
use super::service::{Ask, Shared};
use super::view::{ConnectorView, Readiness, Snapshot};
use super::{HerderError, HerderOptions, stored_offsets};
use crate::task::TaskId;

/// How much longer a caller waits than the herder means to take.
const GRACE: Duration = Duration::from_secs(2);
/// How long a connector may take to tell its guarantee.
const DETAIL: Duration = Duration::from_secs(2);
/// How often a patch is made anew because the config changed meanwhile.
const PATCH_TRIES: u32 = 8;

/// The herder, for whoever asks. Cheap to clone.
#[derive(Clone)]
pub struct Herder {
    options: Arc<HerderOptions>,
    launcher: Arc<dyn Launcher>,
    clock: Arc<dyn Clock>,
    asks: mpsc::Sender<Ask>,
    shared: Arc<Shared>,
}

/// A connector after its config was set.
#[derive(Debug, Clone, PartialEq)]
pub struct Changed {
    /// The connector.
    pub info: ConnectorInfo,
    /// The version of its config, for an `ETag`.
    pub version: u64,
    /// It did not exist before.
    pub created: bool,
}

impl Herder {
    pub(super) fn new(
        options: Arc<HerderOptions>,
        launcher: Arc<dyn Launcher>,
        clock: Arc<dyn Clock>,
        asks: mpsc::Sender<Ask>,
        shared: Arc<Shared>,
    ) -> Self {
        Self { options, launcher, clock, asks, shared }
    }

    // ---- Reads ----

    /// The names of all connectors.
    ///
    /// # Errors
    /// If the worker does not know yet.
    pub async fn connectors(&self) -> Result<Vec<String>, HerderError> {
        let snapshot = self.snapshot().await?;
        Ok(snapshot.connectors.keys().map(ToString::to_string).collect())
    }

    /// All connectors with what was asked for.
    ///
    /// # Errors
    /// If the worker does not know yet.
    pub async fn connectors_expanded(
        &self,
        status: bool,
        info: bool,
    ) -> Result<IndexMap<String, ExpandedConnector>, HerderError> {
        let snapshot = self.snapshot().await?;
        let expanded = snapshot.connectors.iter().map(|(name, view)| {
            let status = status.then(|| self.status_of(view));
            (name.to_string(), ExpandedConnector { status, info: info.then(|| view.info()) })
        });
        Ok(expanded.collect())
    }

    /// A connector.
    ///
    /// # Errors
    /// If there is none.
    pub async fn info(&self, name: &str) -> Result<ConnectorInfo, HerderError> {
        Ok(self.view(name).await?.info())
    }

    /// A connector's config, references unresolved, and its version.
    ///
    /// # Errors
    /// If there is none.
    pub async fn config(&self, name: &str) -> Result<(Properties, u64), HerderError> {
        let view = self.view(name).await?;
        Ok((Properties::clone(&view.config), view.version()))
    }

    /// A connector's status.
    ///
    /// # Errors
    /// If there is none.
    pub async fn status(&self, name: &str) -> Result<ConnectorStateInfo, HerderError> {
        let snapshot = self.snapshot().await?;
        let view = snapshot.connectors.get(name);
        let none = || HerderError::NotFound(messages::no_status_for_connector(name));
        Ok(self.status_of(view.ok_or_else(none)?))
    }

    /// A task's status.
    ///
    /// # Errors
    /// If there is none.
    pub async fn task_status(&self, name: &str, task: u32) -> Result<TaskState, HerderError> {
        let none = || HerderError::NotFound(messages::no_status_for_task(name, task));
        let snapshot = self.snapshot().await?;
        let view = snapshot.connectors.get(name).ok_or_else(none)?;
        let found = self.status_of(view).tasks.into_iter().find(|found| found.id == task);
        found.ok_or_else(none)
    }

    /// A connector's tasks with their configs, references unresolved.
    ///
    /// # Errors
    /// If there is no such connector.
    pub async fn tasks(&self, name: &str) -> Result<Vec<TaskInfo>, HerderError> {
        let view = self.view(name).await?;
        let info = |(task, (config, _)): (u32, &(Arc<Properties>, _))| TaskInfo {
            id: ConnectorTaskId { connector: name.to_owned(), task },
            config: Properties::clone(config),
        };
        Ok((0..).zip(&view.tasks).map(info).collect())
    }

    /// The topics that a connector has used; none if it is not known.
    ///
    /// # Errors
    /// If the worker does not track topics.
    pub async fn active_topics(&self, name: &str) -> Result<ActiveTopics, HerderError> {
        if !self.options.topic_tracking {
            return Err(HerderError::Forbidden(messages::topic_tracking_disabled()));
        }
        let snapshot = self.snapshot().await?;
        let topics = snapshot.topics.get(name).map(|topics| topics.to_vec());
        Ok(ActiveTopics::new(name, topics.unwrap_or_default()))
    }

    /// Where a connector is.
    ///
    /// # Errors
    /// If there is none, or its offsets can't be read.
    pub async fn offsets(&self, name: &str) -> Result<ConnectorOffsets, HerderError> {
        let view = self.view(name).await?;
        let reading = stored_offsets::read(&*self.launcher, Name::clone(&view.name), &view.config);
        let stage = format!("reading the offsets of connector {name}");
        self.bounded(&stage, reading).await
    }

    /// Everything that we know of a connector.
    ///
    /// # Errors
    /// If there is none.
    pub async fn detail(&self, name: &str) -> Result<ConnectorDetail, HerderError> {
        let view = self.view(name).await?;
        // A connector whose validation hangs must not hide what it does.
        let validating = timeout(DETAIL, self.validate(name, &view.config)).await;
        let found = validating.ok().and_then(Result::ok);
        let (guarantee, leftovers) =
            found.map(|found| (found.guarantee, found.leftovers)).unwrap_or_default();
        let conditions = self.shared.conditions.read();
        let condition = |task| {
            let id = TaskId { connector: Name::clone(&view.name), task };
            conditions.get(&id).map(|condition| condition.status.view())
        };
        Ok(ConnectorDetail::new(&view, guarantee.as_ref(), leftovers, condition))
    }

    /// Hands `signal` to the tasks of a connector that run on this worker; how many of them listen.
    ///
    /// # Errors
    /// If there is no such connector.
    pub async fn signal(&self, name: &str, signal: &Signal) -> Result<usize, HerderError> {
        self.view(name).await?;
        let conditions = self.shared.conditions.read();
        let tasks = conditions.iter().filter(|(id, _)| &*id.connector == name);
        Ok(tasks.map(|(_, condition)| condition.signals.send(signal)).sum())
    }

    /// Whether the worker can do its work.
    pub async fn health(&self) -> Health {
        let readiness = self.shared.readiness.borrow().clone();
        let (status, message) = match readiness {
            Readiness::Starting(stage) => {
                let doing = format!("The worker is currently {stage}.");
                (HealthStatus::Starting, messages::starting(&doing))
            }
            Readiness::Out(reason) => (HealthStatus::Unhealthy, messages::unhealthy(&reason)),
            Readiness::Ready => match self.ping().await {
                Ok(()) => (HealthStatus::Healthy, messages::healthy()),
                Err(error) => (HealthStatus::Unhealthy, messages::unhealthy(&error.to_string())),
            },
        };
        Health { status, message }
    }

    // ---- Changes ----

    /// Creates a connector; `who` is for the audit trail.
    ///
    /// # Errors
    /// If the config is wrong or the name is taken.
    pub async fn create(
        &self,
        name: &str,
        config: Properties,
        initial_state: Option<InitialState>,
        who: Option<String>,
    ) -> Result<Changed, HerderError> {
        let config = self.sound(name, config).await?;
        let target = initial_state.unwrap_or_default().into();
        audit(&who, "create", name);
        let request = Request::Create { name: name.into(), config, target, who };
        changed(self.ask(request).await?)
    }

    /// Sets a connector's config, creating it if it is not there. With `if_match`, only if that is the
    /// config's version.
    ///
    /// # Errors
    /// If the config is wrong, or the version is another.
    pub async fn put_config(
        &self,
        name: &str,
        config: Properties,
        if_match: Option<u64>,
        who: Option<String>,
    ) -> Result<Changed, HerderError> {
        let config = self.sound(name, config).await?;
        let expect = if_match.map_or(Expect::Any, Expect::Version);
        audit(&who, "update", name);
        let action = "update";
        let request = Request::Put { name: name.into(), config, expect, who, action };
        changed(self.ask(request).await?)
    }

    /// Changes parts of a connector's config. Unlike Connect's, it never overwrites a change that
    /// somebody else made meanwhile.
    ///
    /// # Errors
    /// If there is no such connector, the outcome is wrong, or the version is another.
    pub async fn patch_config(
        &self,
        name: &str,
        patch: &PatchMap,
        if_match: Option<u64>,
        who: Option<String>,
    ) -> Result<Changed, HerderError> {
        audit(&who, "patch", name);
        for _ in 0..PATCH_TRIES {
            let view = self.view(name).await?;
            if let Some(expected) = if_match.filter(|version| *version != view.version()) {
                let (connector, found) = (name.to_owned(), view.version());
                return Err(HerderError::Version { connector, found, expected });
            }
            let config = self.sound(name, patch.apply(&view.config)).await?;
            let request = Request::Put {
                name: name.into(),
                config,
                expect: Expect::Config(Arc::clone(&view.config)),
                who: who.clone(),
                action: "patch",
            };
            match self.ask(request).await? {
                Reply::Stale => {}
                reply => return changed(reply),
            }
        }
        Err(HerderError::Conflict(messages::stale_config()))
    }

    /// Deletes a connector, and removes from the outside system what its configuration says is to go
    /// with it; what stays there all the same, for people to read.
    ///
    /// # Errors
    /// If there is none. What can't be removed is no error: it stays.
    pub async fn delete(
        &self,
        name: &str,
        who: Option<String>,
    ) -> Result<Vec<String>, HerderError> {
        audit(&who, "delete", name);
        // What its configuration was can't be asked for afterwards.
        let leftovers = match self.view(name).await {
            Ok(view) => self.leftovers(name, &view.config).await.map(|found| (view, found)),
            Err(_) => None,
        };
        self.ask(Request::Delete { name: name.into() }).await?;
        let Some((view, leftovers)) = leftovers else { return Ok(Vec::new()) };
        let (removed, stay): (Vec<_>, Vec<_>) =
            leftovers.into_iter().partition(|leftover| leftover.fate == Fate::Removed);
        let mut said: Vec<String> = stay.iter().map(ToString::to_string).collect();
        if !removed.is_empty() {
            let removing = self.launcher.deleted(Name::clone(&view.name), for_sdk(&view.config));
            let removing = timeout(self.options.request_timeout, removing).await;
            let why = match removing {
                Ok(Ok(())) => None,
                Ok(Err(error)) => Some(error.chain().to_string()),
                Err(_elapsed) => Some("it was not done in time".to_owned()),
            };
            if let Some(why) = why {
                said.extend(removed.iter().map(|leftover| {
                    let Leftover { kind, name, .. } = leftover;
                    format!("{kind} {name} stays, as it could not be removed: {why}")
                }));
            }
        }
        for text in &said {
            tracing::warn!(connector = name, "a deleted connector leaves this behind: {text}");
        }
        Ok(said)
    }

    /// What stays outside once a connector is deleted; nothing if its code does not tell in time.
    async fn leftovers(&self, name: &str, config: &Properties) -> Option<Vec<Leftover>> {
        let validating = timeout(DETAIL, self.validate(name, config)).await;
        Some(validating.ok()?.ok()?.leftovers)
    }

    /// Pauses a connector: its tasks keep their places and move nothing.
    ///
    /// # Errors
    /// If there is none.
    pub async fn pause(&self, name: &str, who: Option<String>) -> Result<(), HerderError> {
        self.set_target(name, TargetState::Paused, who).await
    }

    /// Resumes a connector that was paused or stopped.
    ///
    /// # Errors
    /// If there is none.
    pub async fn resume(&self, name: &str, who: Option<String>) -> Result<(), HerderError> {
        self.set_target(name, TargetState::Started, who).await
    }

    /// Stops a connector: it has no tasks until it is resumed.
    ///
    /// # Errors
    /// If there is none.
    pub async fn stop(&self, name: &str, who: Option<String>) -> Result<(), HerderError> {
        self.set_target(name, TargetState::Stopped, who).await
    }

    async fn set_target(
        &self,
        name: &str,
        target: TargetState,
        who: Option<String>,
    ) -> Result<(), HerderError> {
        audit(&who, target.name(), name);
        self.ask(Request::SetTarget { name: name.into(), target }).await.map(drop)
    }

    /// Restarts a connector and, as asked, its tasks. `None` if only the connector itself was restarted,
    /// which is done then; else its status with what is being restarted.
    ///
    /// # Errors
    /// If there is none, or the connector itself fails to start.
    pub async fn restart(
        &self,
        name: &str,
        include_tasks: bool,
        only_failed: bool,
        who: Option<String>,
    ) -> Result<Option<ConnectorStateInfo>, HerderError> {
        audit(&who, "restart", name);
        let request = RestartRequest { include_tasks, only_failed };
        match self.ask(Request::Restart { name: name.into(), request }).await? {
            Reply::Restarting(status) => Ok(Some(status)),
            _ => Ok(None),
        }
    }

    /// Restarts a task.
    ///
    /// # Errors
    /// If there is none.
    pub async fn restart_task(
        &self,
        name: &str,
        task: u32,
        who: Option<String>,
    ) -> Result<(), HerderError> {
        audit(&who, "restart a task of", name);
        let id = TaskId { connector: name.into(), task };
        self.ask(Request::RestartTask { id }).await.map(drop)
    }

    /// Sets offsets of a stopped connector; the text says what was done.
    ///
    /// # Errors
    /// If there is no such connector, it is not stopped, or an offset is wrong.
    pub async fn alter_offsets(
        &self,
        name: &str,
        offsets: &ConnectorOffsets,
        who: Option<String>,
    ) -> Result<String, HerderError> {
        let offsets = offsets.to_alter().map_err(HerderError::Invalid)?.to_vec();
        audit(&who, "alter the offsets of", name);
        self.change_offsets(name, OffsetsChange::Alter(offsets)).await
    }

    /// Forgets all offsets of a stopped connector; the text says what was done.
    ///
    /// # Errors
    /// If there is no such connector, or it is not stopped.
    pub async fn reset_offsets(
        &self,
        name: &str,
        who: Option<String>,
    ) -> Result<String, HerderError> {
        audit(&who, "reset the offsets of", name);
        self.change_offsets(name, OffsetsChange::Reset).await
    }

    async fn change_offsets(
        &self,
        name: &str,
        change: OffsetsChange,
    ) -> Result<String, HerderError> {
        match self.ask(Request::ChangeOffsets { name: name.into(), change }).await? {
            Reply::Message(text) => Ok(text),
            _ => Err(unexpected()),
        }
    }

    /// Forgets which topics a connector has used.
    ///
    /// # Errors
    /// If the worker does not track topics, or forbids this.
    pub async fn reset_topics(&self, name: &str, who: Option<String>) -> Result<(), HerderError> {
        audit(&who, "reset the topics of", name);
        self.ask(Request::ResetTopics { name: name.into() }).await.map(drop)
    }

    /// Sets a logger's level on every worker of the fleet.
    ///
    /// # Errors
    /// If the config topic can't be written.
    pub async fn set_fleet_log_level(
        &self,
        namespace: &str,
        level: &str,
        who: Option<String>,
    ) -> Result<(), HerderError> {
        audit(&who, "set the level of logger", namespace);
        let (namespace, level) = (namespace.to_owned(), level.to_owned());
        self.ask(Request::SetLogger { namespace, level }).await.map(drop)
    }

    // ---- Below ----

    fn status_of(&self, view: &ConnectorView) -> ConnectorStateInfo {
        view.status(self.clock.now(), self.options.waiting_is_failed_after)
    }

    /// The last snapshot, once there is one.
    async fn snapshot(&self) -> Result<Arc<Snapshot>, HerderError> {
        let mut readiness = self.shared.readiness.subscribe();
        let known = readiness.wait_for(|now| !matches!(now, Readiness::Starting(_)));
        match timeout(self.options.health_timeout, known).await {
            Ok(Ok(_)) => Ok(self.shared.snapshot.load_full()),
            Ok(Err(_)) => Err(going_down()),
            Err(_) => Err(HerderError::timeout(&self.shared.stage())),
        }
    }

    async fn view(&self, name: &str) -> Result<Arc<ConnectorView>, HerderError> {
        let snapshot = self.snapshot().await?;
        snapshot.connectors.get(name).cloned().ok_or_else(|| HerderError::not_found(name))
    }

    /// The config with its name, if nothing is wrong with it.
    async fn sound(
        &self,
        name: &str,
        mut config: Properties,
    ) -> Result<Arc<Properties>, HerderError> {
        match config.text("name") {
            Some(other) if other != name => {
                return Err(HerderError::Invalid(messages::name_mismatch(other, name)));
            }
            Some(_) => {}
            None => config.set("name", name),
        }
        match self.validate(name, &config).await?.problem {
            None => Ok(Arc::new(config)),
            Some(Problem::Class(text)) => Err(HerderError::Invalid(text)),
            Some(Problem::Fields(lines)) => {
                Err(HerderError::Invalid(messages::invalid_config(&lines)))
            }
        }
    }

    /// Validates where a connector's own code may block or panic.
    async fn validate(&self, name: &str, config: &Properties) -> Result<Validated, HerderError> {
        let (launcher, owned) = (Arc::clone(&self.launcher), name.to_owned());
        let properties = for_sdk(config);
        let validating =
            tokio::task::spawn_blocking(move || launcher.validate(&owned, &properties));
        let stage = format!("validating the config of connector {name}");
        self.bounded(&stage, async {
            validating.await.map_err(|error| {
                HerderError::Internal(format!("failed to validate the config: {error}"))
            })
        })
        .await
    }

    async fn bounded<T>(
        &self,
        stage: &str,
        work: impl Future<Output = Result<T, HerderError>>,
    ) -> Result<T, HerderError> {
        let limit = self.options.request_timeout;
        timeout(limit, work).await.unwrap_or_else(|_| Err(HerderError::timeout(stage)))
    }

    async fn ping(&self) -> Result<(), HerderError> {
        self.ask_within(Request::Ping, self.options.health_timeout).await.map(drop)
    }

    async fn ask(&self, request: Request) -> Result<Reply, HerderError> {
        self.ask_within(request, self.options.request_timeout).await
    }

    async fn ask_within(&self, request: Request, limit: Duration) -> Result<Reply, HerderError> {
        let (reply, answer) = oneshot::channel();
        let asking = async {
            let ask = Ask { request, limit, reply };
            self.asks.send(ask).await.map_err(|_| going_down())?;
            answer.await.unwrap_or_else(|_| Err(going_down()))
        };
        let patience = limit + GRACE;
        timeout(patience, asking)
            .await
            .unwrap_or_else(|_| Err(HerderError::timeout(&self.shared.stage())))
    }
}

/// Leaves a trace of who asked for what.
fn audit(who: &Option<String>, what: &str, name: &str) {
    let who = who.as_deref().unwrap_or("somebody");
    tracing::info!(target: "towpath::audit", who, what, name, "a change was asked for");
}

fn changed(reply: Reply) -> Result<Changed, HerderError> {
    match reply {
        Reply::Connector { info, version, created } => Ok(Changed { info, version, created }),
        _ => Err(unexpected()),
    }
}

fn unexpected() -> HerderError {
    HerderError::Internal("the herder gave an answer to another question".to_owned())
}

fn going_down() -> HerderError {
    HerderError::Conflict("the worker is going down".to_owned())
}
