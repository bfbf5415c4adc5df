//! What the herder asks of the data plane.
//!
//! Duty: the line between deciding what runs and running it. The engine implements [`Launcher`] over
//! the plug-ins' registry and the ports; tests implement it without either.
//!
//! Invariants:
//! - values stay unresolved (`${…}`) on the herder's side; the launcher resolves them whenever it
//!   starts something, and what it returns holds references, never secrets;
//! - the calls that return no future are pure and quick: no I/O, nothing that waits;
//! - no panic of a connector leaves the launcher: it becomes an error of kind
//!   [`towpath_sdk::ErrorKind::Internal`].

use std::fmt;
use std::sync::Arc;

use futures::future::BoxFuture;
use tokio::sync::watch;
use towpath_formats::rest::ConnectorType;
use towpath_sdk::config::Properties;
use towpath_sdk::guarantee::Guarantee;
use towpath_sdk::leftover::Leftover;
use towpath_sdk::offset::{SourceOffset, SourcePartition};
use towpath_sdk::record::TopicPartition;
use towpath_sdk::{Error, Result};

use crate::offsets::OffsetStore;
use crate::ports::Admin;
use crate::task::host::SignalBox;
use crate::task::status::StatusCell;
use crate::task::{TaskId, Wanted};
use crate::topics::TopicNotes;

/// Starts what the herder wants to run.
pub trait Launcher: Send + Sync + 'static {
    /// What the class that `properties` name is, without judging the rest of them. Called for every
    /// configuration that is read, also for wrong ones.
    fn describe(&self, properties: &Properties) -> Described;

    /// Everything that is wrong with a connector's properties. They hold `name` already. It may call a
    /// connector's own code; the herder calls it where blocking is allowed.
    fn validate(&self, name: &str, properties: &Properties) -> Validated;

    /// Starts a connector's planner.
    ///
    /// The future and the planner are polled on the data plane's runtime, and dropped to stop them; the
    /// connector's own code runs elsewhere.
    ///
    /// # Errors
    /// Their [`towpath_sdk::error::Action`] says whether to try again.
    fn planner(
        &self,
        name: Arc<str>,
        properties: Properties,
    ) -> BoxFuture<'static, Result<Box<dyn Planner>>>;

    /// Starts a task on the data plane's runtime. Never blocks; what fails shows in
    /// [`TaskHandle::ended`].
    fn task(&self, start: TaskStart) -> TaskHandle;

    /// The source connector `name` was deleted: what its configuration says is to go with it is removed
    /// from the outside system.
    fn deleted(&self, name: Arc<str>, properties: Properties) -> BoxFuture<'static, Result<()>>;

    /// Whether a person may set these offsets of a source connector (`None` forgets a partition). It
    /// calls the connector's own code; the herder calls it where blocking is allowed.
    ///
    /// # Errors
    /// With what would be right.
    fn check_offsets(
        &self,
        properties: &Properties,
        offsets: &[(SourcePartition, Option<SourceOffset>)],
    ) -> Result<()>;

    /// A person changes the offsets of the sink connector `name`, of which nothing runs: a sink that
    /// keeps offsets itself follows.
    ///
    /// # Errors
    /// Nothing may be changed then.
    fn sink_offsets_changed(
        &self,
        name: Arc<str>,
        properties: Properties,
        offsets: Vec<(TopicPartition, Option<i64>)>,
    ) -> BoxFuture<'static, Result<()>>;

    /// Where the source connector `name` keeps its offsets, read to its end as it is now: the worker's
    /// store, or that of its own `offsets.storage.topic`.
    ///
    /// # Errors
    /// If a reference can't be resolved, or the topic can't be read.
    fn source_offsets(
        &self,
        name: Arc<str>,
        properties: Properties,
    ) -> BoxFuture<'static, Result<Arc<OffsetStore>>>;

    /// The consumer group of the sink connector `name`: `connect-<name>`, or the one that its
    /// `consumer.override.group.id` names.
    ///
    /// # Errors
    /// If a reference can't be resolved.
    fn sink_group(&self, name: &str, properties: &Properties) -> Result<String>;

    /// Administration of the cluster that the connector works on, as its `admin.override.*` say: for
    /// a sink's group, and for fencing a source's transactional ids.
    ///
    /// # Errors
    /// If a reference can't be resolved, or the cluster can't be reached.
    fn admin(&self, properties: Properties) -> BoxFuture<'static, Result<Arc<dyn Admin>>>;
}

/// What a connector's class is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Described {
    /// Source or sink; unknown if no plug-in answers to the class.
    pub kind: ConnectorType,
    /// The plug-in's version.
    pub version: Option<String>,
    /// Its tasks produce in transactions (an exactly-once source): each gets a transactional id, and
    /// the ids of a former task set are fenced before a new one starts.
    pub transactional: bool,
}

/// What validation found.
#[derive(Debug, Clone, PartialEq)]
pub struct Validated {
    /// What the class is.
    pub described: Described,
    /// The promise under these properties, if they are good enough to tell.
    pub guarantee: Option<Guarantee>,
    /// What stays outside once the connector is deleted, if its properties are good enough to tell.
    pub leftovers: Vec<Leftover>,
    /// What is wrong.
    pub problem: Option<Problem>,
}

/// Why a configuration is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Problem {
    /// No class, or one that no plug-in answers to: the whole text, in Connect's words.
    Class(String),
    /// Wrong fields: one line each, in Connect's words and order.
    Fields(Vec<String>),
}

/// Plans the tasks of one connector.
pub trait Planner: Send + 'static {
    /// The shares of the work, one a task: the properties which each task has beside the connector's
    /// own. A sink's are `tasks.max` empty ones. `tasks.max` and `tasks.max.enforce` are the planner's
    /// to honour. Called once after the start and after each [`Planner::changed`], and whenever the
    /// stored shares turn out to be incomplete.
    ///
    /// # Errors
    /// As [`Launcher::planner`]; the planner is dropped then.
    fn plan(&mut self) -> BoxFuture<'_, Result<Vec<Properties>>>;

    /// Resolves when the shares must be planned anew. May be dropped at any await.
    ///
    /// # Errors
    /// As [`Planner::plan`].
    fn changed(&mut self) -> BoxFuture<'_, Result<()>>;
}

/// What a task is started with.
pub struct TaskStart {
    /// Which task.
    pub id: TaskId,
    /// The connector's properties as they were when the task set was planned, with those of the
    /// task's share put over them.
    pub properties: Properties,
    /// The share alone: what the task's stored properties have beside the connector's.
    pub share: Properties,
    /// What it is to do from the start.
    pub wanted: Wanted,
    /// The id under which it produces in transactions, where [`Described::transactional`] says so.
    pub transactional_id: Option<String>,
}

/// A started task.
pub struct TaskHandle {
    /// Tells it what to do. To drop it means [`Wanted::Stopped`].
    pub wanted: watch::Sender<Wanted>,
    /// Its condition.
    pub status: StatusCell,
    /// Notes the topics that it uses; the herder resets it when a person wants them noted anew.
    pub topics: Arc<TopicNotes>,
    /// Where what people signal goes.
    pub signals: SignalBox,
    /// Resolves when the task is over and will touch nothing any more: `Ok` if it was told to stop.
    ///
    /// After [`Wanted::Stopped`] it resolves within the worker's `task.shutdown.graceful.timeout.ms`
    /// and a little: a task that does not end by then is cut off from its clients and left behind.
    pub ended: BoxFuture<'static, TaskEnd>,
}

/// How a task ended. The error's [`towpath_sdk::error::Action`] says whether a restart helps.
pub type TaskEnd = std::result::Result<(), Error>;

impl fmt::Debug for TaskStart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TaskStart")
            .field("id", &self.id)
            .field("share", &self.share)
            .field("wanted", &self.wanted)
            .field("transactional_id", &self.transactional_id)
            .finish_non_exhaustive()
    }
}
