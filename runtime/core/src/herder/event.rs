//! What reaches the herder's state machine, and what it asks for.
//!
//! Duty: plain data, so that a simulation can make, log, drop and reorder it.

use std::sync::Arc;

use towpath_formats::Properties;
use towpath_formats::config_topic::{ConfigRecord, RestartRequest, TargetState};
use towpath_formats::rest::{ConnectorInfo, ConnectorStateInfo};
use towpath_formats::status_topic::StatusRecord;
use towpath_sdk::clock::Timestamp;
use towpath_sdk::error::{Action, Error};

use super::HerderError;
use super::configs::{Name, TaskSet};
use crate::task::status::Activity;
use crate::task::{TaskId, Wanted};
use crate::topics::TopicUse;

/// One run of a planner or a task. A report which names an older run is void.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Run(pub(crate) u64);

/// One write to the config topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct WriteId(pub(crate) u64);

/// Where a request's reply goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Slot(pub(crate) u64);

/// What happens.
#[derive(Debug, Clone)]
pub(crate) enum Event {
    /// It is this late. Comes before other events whenever time has passed.
    Tick(Timestamp),
    /// The next record of the config topic.
    Config(ConfigRecord),
    /// The config topic was read to the end that it had when reading began.
    ConfigCaughtUp,
    /// The config topic is being read anew from its beginning.
    ConfigRestarts,
    /// A record of the status topic.
    Status(StatusRecord),
    /// The status topic was read to the end that it had.
    StatusCaughtUp,
    /// A generation of the fleet began.
    Joined {
        /// Its number.
        generation: i32,
        /// Whether this worker leads it.
        leader: bool,
    },
    /// This worker is out of the fleet.
    Left {
        /// Why.
        reason: String,
    },
    /// A planner's report.
    Planner {
        /// Whose planner.
        connector: Name,
        /// Which run.
        run: Run,
        /// What.
        report: PlannerReport,
    },
    /// A task's report.
    Task {
        /// Which task.
        id: TaskId,
        /// Which run.
        run: Run,
        /// What.
        report: TaskReport,
    },
    /// A [`Command::WriteConfig`] is done.
    Written {
        /// Which.
        write: WriteId,
        /// How it went.
        result: Result<(), WriteFailure>,
    },
    /// A [`Command::Fence`] is done.
    Fenced {
        /// Whose producers.
        connector: Name,
        /// For which commit of tasks.
        commit: u64,
        /// How it went.
        result: Result<(), String>,
    },
    /// A [`Command::ChangeOffsets`] is done.
    OffsetsChanged {
        /// Whose.
        connector: Name,
        /// For which request.
        slot: Slot,
        /// The reply.
        result: Result<String, HerderError>,
    },
    /// A task uses a topic for the first time.
    TopicUsed(TopicUse),
    /// Somebody asks for something.
    Request {
        /// Where the reply goes.
        slot: Slot,
        /// When it is too late for one.
        deadline: Timestamp,
        /// For what.
        request: Request,
    },
    /// The worker goes down: everything here is to stop.
    Shutdown,
}

/// What a planner says.
#[derive(Debug, Clone)]
pub(crate) enum PlannerReport {
    /// It is up.
    Started,
    /// The work is to be shared like this.
    Planned(Vec<Properties>),
    /// It is over; `Ok` if it was told to stop.
    Ended(Result<(), Failure>),
}

/// What a task says.
#[derive(Debug, Clone)]
pub(crate) enum TaskReport {
    /// What it is doing now.
    Activity(Activity),
    /// It is over; `Ok` if it was told to stop.
    Ended(Result<(), Failure>),
}

/// Why something ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    /// For people, with all causes; begins with a Java class name, as Connect's traces do.
    pub(crate) trace: String,
    /// The same without the class.
    pub(crate) reason: String,
    /// What helps.
    pub(crate) action: Action,
}

impl From<&Error> for Failure {
    fn from(error: &Error) -> Self {
        let reason = error.chain();
        Self { trace: format!("{}: {reason}", error.class()), reason, action: error.action() }
    }
}

/// Why a write to the config topic failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum WriteFailure {
    /// Nothing was written, for this reason.
    Refused(String),
    /// It may have been written.
    Unknown(String),
    /// Another leader writes now.
    Fenced(String),
}

/// What somebody asks for.
#[derive(Debug, Clone)]
pub(crate) enum Request {
    /// A new connector, with a validated config.
    Create { name: Name, config: Arc<Properties>, target: TargetState, who: Option<String> },
    /// A validated config for a connector, new or not.
    Put {
        name: Name,
        config: Arc<Properties>,
        expect: Expect,
        who: Option<String>,
        action: &'static str,
    },
    /// No connector any more.
    Delete { name: Name },
    /// Another target state.
    SetTarget { name: Name, target: TargetState },
    /// A restart of the connector and perhaps its tasks.
    Restart { name: Name, request: RestartRequest },
    /// A restart of one task.
    RestartTask { id: TaskId },
    /// Other offsets, while the connector is stopped.
    ChangeOffsets { name: Name, change: OffsetsChange },
    /// The topics that the connector has used are forgotten.
    ResetTopics { name: Name },
    /// A level for a logger of all workers.
    SetLogger { namespace: String, level: String },
    /// A sign of life.
    Ping,
}

/// What a change of a config expects to find.
#[derive(Debug, Clone)]
pub(crate) enum Expect {
    /// Anything, or nothing.
    Any,
    /// This version.
    Version(u64),
    /// Exactly this config: what a patch was made from.
    Config(Arc<Properties>),
}

/// A change of offsets.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum OffsetsChange {
    /// These, as the request has them.
    Alter(Vec<towpath_formats::rest::ConnectorOffset>),
    /// Forget all.
    Reset,
}

/// The reply to a request.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Reply {
    /// It is done.
    Done,
    /// The connector was created or changed, or is as it was asked for.
    Connector {
        info: ConnectorInfo,
        /// The version of its config.
        version: u64,
        created: bool,
    },
    /// The connector's status with what is being restarted.
    Restarting(ConnectorStateInfo),
    /// A text for the client.
    Message(String),
    /// The config is not what a patch was made from any more.
    Stale,
}

/// What the driver is to do.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Command {
    /// Write these records in order, then report [`Event::Written`].
    WriteConfig { write: WriteId, records: Vec<ConfigRecord> },
    /// Write these statuses some time, the latest of each key.
    WriteStatus(Vec<StatusRecord>),
    /// Start a connector's planner, plan, and plan anew whenever it says so.
    StartPlanner { connector: Name, run: Run, properties: Arc<Properties> },
    /// Stop it.
    StopPlanner { connector: Name, run: Run },
    /// Start a task.
    StartTask {
        id: TaskId,
        run: Run,
        /// The connector's config when the tasks were planned.
        connector: Arc<Properties>,
        /// The task's own.
        properties: Arc<Properties>,
        wanted: Wanted,
        transactional_id: Option<String>,
    },
    /// Tell a task what to do.
    SetTask { id: TaskId, run: Run, wanted: Wanted },
    /// Fence these transactional ids, then report [`Event::Fenced`].
    Fence {
        connector: Name,
        commit: u64,
        properties: Arc<Properties>,
        transactional_ids: Vec<String>,
    },
    /// Change a connector's offsets, then report [`Event::OffsetsChanged`].
    ChangeOffsets {
        connector: Name,
        slot: Slot,
        properties: Arc<Properties>,
        change: OffsetsChange,
    },
    /// Let the connector's tasks note the topics that they use anew.
    ForgetTopics { connector: Name },
    /// Set a logger's level on this worker.
    SetLogger { namespace: String, level: String },
    /// Answer a request.
    Reply { slot: Slot, result: Result<Reply, HerderError> },
}

/// The plan of a connector as the configs that its tasks are stored with: the connector's own
/// properties and, over them, the share's.
pub(crate) fn task_set(connector: &Properties, shares: Vec<Properties>) -> TaskSet {
    let config = |share: Properties| {
        let mut config = connector.clone();
        for (key, value) in share {
            config.set(key, value);
        }
        Arc::new(config)
    };
    shares.into_iter().map(config).collect()
}
