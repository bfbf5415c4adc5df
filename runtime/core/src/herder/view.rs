//! What people see of connectors and tasks.
//!
//! Duty: snapshots that reads are served from, and the one mapping from what a connector or task does to
//! the few states that Connect's clients know.
//!
//! Deliberately absent: deciding anything.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use towpath_formats::Properties;
use towpath_formats::config_topic::{Stamp, TargetState};
use towpath_formats::rest::{
    ConnectorInfo, ConnectorState, ConnectorStateInfo, ConnectorTaskId, TaskState,
};
use towpath_formats::status_topic::{State, Status};
use towpath_sdk::clock::Timestamp;

use super::configs::Name;
use super::launcher::Described;

/// Everything that reads are served from.
#[derive(Debug, Clone, Default)]
pub(crate) struct Snapshot {
    /// Grows with each change.
    pub(crate) revision: u64,
    /// Whether the rest can be trusted.
    pub(crate) readiness: Readiness,
    /// The connectors that exist.
    pub(crate) connectors: BTreeMap<Name, Arc<ConnectorView>>,
    /// The topics that connectors use, also of connectors that are gone.
    pub(crate) topics: BTreeMap<Name, Arc<[String]>>,
}

/// Whether this worker can serve requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Readiness {
    /// Not yet; it is busy with this.
    Starting(String),
    /// Yes.
    Ready,
    /// It was, but it is out of the fleet for this reason.
    Out(String),
}

impl Default for Readiness {
    fn default() -> Self {
        Self::Starting("connecting to Kafka".to_owned())
    }
}

/// A connector as it is seen.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ConnectorView {
    pub(crate) name: Name,
    pub(crate) config: Arc<Properties>,
    pub(crate) stamp: Option<Stamp>,
    pub(crate) target: TargetState,
    pub(crate) described: Described,
    pub(crate) connector: UnitView,
    pub(crate) tasks: Vec<(Arc<Properties>, UnitView)>,
}

/// A connector's planner or a task as it is seen.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct UnitView {
    pub(crate) state: UnitState,
    pub(crate) worker_id: String,
    /// How often it was restarted by itself.
    pub(crate) restarts: u64,
}

/// What a connector's planner or a task does.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum UnitState {
    /// No worker runs it.
    Unassigned,
    /// It can't be started yet.
    Blocked { reason: String, since: Option<Timestamp>, next_try: Option<Timestamp> },
    /// It is being started.
    Starting { since: Timestamp },
    /// It works.
    Running { since: Timestamp },
    /// The user paused it.
    Paused,
    /// It can't go on for a reason that may heal, and does so by itself.
    Waiting { reason: String, since: Timestamp, next_try: Option<Timestamp> },
    /// It failed, and is restarted by itself.
    Restarting { trace: String, attempt: u32, since: Timestamp, at: Timestamp },
    /// A user asked for a restart that is going on.
    RestartAsked { since: Timestamp },
    /// It failed, and needs a person.
    Failed { trace: String, since: Timestamp },
    /// It is ending.
    Stopping { since: Timestamp },
    /// The user stopped it.
    Stopped,
    /// Another worker runs it, and says this.
    Elsewhere(Status),
}

impl UnitState {
    /// Connect's state, and its trace. Connect knows neither waiting nor automatic restarts: what waits
    /// is RUNNING (or FAILED after `patience`, for those whose alerts look for that), and what failed is
    /// FAILED until it runs again, as on the JVM.
    pub(crate) fn for_connect(
        &self,
        now: Timestamp,
        patience: Option<Duration>,
    ) -> (State, Option<String>) {
        match self {
            Self::Unassigned
            | Self::Blocked { .. }
            | Self::Starting { .. }
            | Self::Stopping { .. } => (State::Unassigned, None),
            Self::Running { .. } => (State::Running, None),
            Self::Waiting { reason, since, .. } => match patience {
                Some(patience) if now.since(*since) >= patience => {
                    (State::Failed, Some(format!("waiting for too long: {reason}")))
                }
                _ => (State::Running, None),
            },
            Self::Paused => (State::Paused, None),
            Self::Restarting { trace, .. } | Self::Failed { trace, .. } => {
                (State::Failed, Some(trace.clone()))
            }
            Self::RestartAsked { .. } => (State::Restarting, None),
            Self::Stopped => (State::Stopped, None),
            Self::Elsewhere(status) => (status.state, status.trace.clone()),
        }
    }

    /// Our own name of the state.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Unassigned => "unassigned",
            Self::Blocked { .. } => "blocked",
            Self::Starting { .. } => "starting",
            Self::Running { .. } => "running",
            Self::Paused => "paused",
            Self::Waiting { .. } => "waiting",
            Self::Restarting { .. } | Self::RestartAsked { .. } => "restarting",
            Self::Failed { .. } => "failed",
            Self::Stopping { .. } => "stopping",
            Self::Stopped => "stopped",
            Self::Elsewhere(_) => "elsewhere",
        }
    }
}

impl ConnectorView {
    /// The version of its config; 0 if Towpath never wrote it.
    pub(crate) fn version(&self) -> u64 {
        self.stamp.as_ref().map_or(0, |stamp| stamp.version)
    }

    pub(crate) fn info(&self) -> ConnectorInfo {
        let id = |(task, _)| ConnectorTaskId { connector: self.name.to_string(), task };
        ConnectorInfo {
            name: self.name.to_string(),
            config: Properties::clone(&self.config),
            tasks: (0..).zip(&self.tasks).map(id).collect(),
            kind: self.described.kind,
        }
    }

    pub(crate) fn status(&self, now: Timestamp, patience: Option<Duration>) -> ConnectorStateInfo {
        let version = &self.described.version;
        let (state, trace) = self.connector.state.for_connect(now, patience);
        let task = |(id, (_, unit)): (u32, &(_, UnitView))| {
            let (state, trace) = unit.state.for_connect(now, patience);
            let worker_id = unit.worker_id.clone();
            TaskState { id, state, worker_id, version: version.clone(), trace }
        };
        ConnectorStateInfo {
            name: self.name.to_string(),
            connector: ConnectorState {
                state,
                worker_id: self.connector.worker_id.clone(),
                version: version.clone(),
                trace,
            },
            tasks: (0..).zip(&self.tasks).map(task).collect(),
            kind: self.described.kind,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connects_states_are_mapped_in_one_place() {
        let at = Timestamp(1_000);
        let waiting = UnitState::Waiting { reason: "down".into(), since: at, next_try: None };
        let restarting = UnitState::Restarting { trace: "boom".into(), attempt: 1, since: at, at };
        for (state, expect, trace) in [
            (UnitState::Unassigned, "UNASSIGNED", None),
            (UnitState::Starting { since: at }, "UNASSIGNED", None),
            (UnitState::Running { since: at }, "RUNNING", None),
            (waiting.clone(), "RUNNING", None),
            (UnitState::Paused, "PAUSED", None),
            (restarting, "FAILED", Some("boom")),
            (UnitState::Failed { trace: "boom".into(), since: at }, "FAILED", Some("boom")),
            (UnitState::RestartAsked { since: at }, "RESTARTING", None),
            (UnitState::Stopped, "STOPPED", None),
        ] {
            let (found, why) = state.for_connect(at, None);
            assert_eq!((found.name(), why.as_deref()), (expect, trace), "{state:?}");
        }
        let patience = Some(Duration::from_secs(60));
        assert_eq!(waiting.for_connect(Timestamp(60_999), patience).0, State::Running);
        assert_eq!(waiting.for_connect(Timestamp(61_000), patience).0, State::Failed);
    }
}
