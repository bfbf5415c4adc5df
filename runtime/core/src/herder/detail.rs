//! What our own endpoints tell of a connector, beyond Connect's shapes.

use serde::Serialize;
use towpath_formats::rest::ConnectorType;
use towpath_sdk::context::Work;
use towpath_sdk::guarantee::Guarantee;
use towpath_sdk::leftover::{Fate, Leftover};

use super::view::{ConnectorView, UnitState, UnitView};
use crate::task::status::TaskView;

/// Everything that is known of a connector. Times are milliseconds since 1970.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ConnectorDetail {
    /// Its name.
    pub name: String,
    /// Source or sink.
    #[serde(rename = "type")]
    pub kind: ConnectorType,
    /// What the user wants: `STARTED`, `PAUSED` or `STOPPED`.
    pub target_state: &'static str,
    /// Its config's history.
    pub config: ConfigDetail,
    /// What its configuration promises, if it is good enough to tell.
    pub guarantee: Option<GuaranteeDetail>,
    /// What stays in the outside system once the connector is deleted.
    pub leftovers: Vec<LeftoverDetail>,
    /// The connector itself, which plans tasks.
    pub connector: UnitDetail,
    /// Its tasks, by number.
    pub tasks: Vec<TaskDetail>,
}

/// Where a config comes from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct ConfigDetail {
    /// Its version; 0 if Towpath never wrote it.
    pub version: u64,
    /// When it was changed.
    pub changed_at_ms: Option<i64>,
    /// Who changed it.
    pub changed_by: Option<String>,
    /// How it was changed.
    pub action: Option<String>,
}

/// A promise and its reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct GuaranteeDetail {
    /// `at-least-once` or `exactly-once`.
    pub delivery: String,
    /// Why.
    pub because: String,
}

/// Something in the outside system that is there for the connector's sake.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LeftoverDetail {
    /// What it is.
    pub kind: &'static str,
    /// Its name there.
    pub name: String,
    /// Whether it goes with the connector.
    pub removed: bool,
    /// If it does not: what it costs, and how to remove it.
    pub note: Option<String>,
}

/// What a connector itself or a task does.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct UnitDetail {
    /// `unassigned`, `blocked`, `starting`, `running`, `paused`, `waiting`, `restarting`, `failed`,
    /// `stopping`, `stopped`, or `elsewhere`.
    pub state: &'static str,
    /// Why it is in that state, where that is not plain.
    pub reason: Option<String>,
    /// Since when.
    pub since_ms: Option<i64>,
    /// When it is tried again.
    pub next_try_ms: Option<i64>,
    /// Which try in a row that will be.
    pub attempt: Option<u32>,
    /// How often it was restarted by itself since the worker began.
    pub restarts: u64,
    /// Its worker.
    pub worker_id: String,
}

/// A task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TaskDetail {
    /// Its number.
    pub id: u32,
    /// What it does.
    #[serde(flatten)]
    pub unit: UnitDetail,
    /// What it promises, as learnt at run time, or the connector's promise.
    pub guarantee: Option<GuaranteeDetail>,
    /// Records behind, if it is known.
    pub lag: Option<i64>,
    /// How far a long piece of work is, such as a snapshot.
    pub work: Option<WorkDetail>,
}

/// How far a long piece of work is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct WorkDetail {
    /// What is being done.
    pub what: String,
    /// How much is done.
    pub done: u64,
    /// How much there is, if it is known.
    pub total: Option<u64>,
    /// What is counted.
    pub unit: &'static str,
    /// The time that is left, if it can be told.
    pub left_ms: Option<u64>,
}

impl From<Work> for WorkDetail {
    fn from(work: Work) -> Self {
        let Work { what, done, total, unit, left } = work;
        let left_ms = left.map(|left| u64::try_from(left.as_millis()).unwrap_or(u64::MAX));
        Self { what, done, total, unit, left_ms }
    }
}

impl From<&Guarantee> for GuaranteeDetail {
    fn from(guarantee: &Guarantee) -> Self {
        let Guarantee { delivery, because } = guarantee;
        Self { delivery: delivery.to_string(), because: because.to_string() }
    }
}

impl From<Leftover> for LeftoverDetail {
    fn from(leftover: Leftover) -> Self {
        let Leftover { kind, name, fate } = leftover;
        let note = match fate {
            Fate::Stays(note) => Some(note),
            Fate::Removed => None,
        };
        Self { kind, name, removed: note.is_none(), note }
    }
}

impl UnitDetail {
    fn new(view: &UnitView) -> Self {
        let blank = Self {
            state: view.state.name(),
            restarts: view.restarts,
            worker_id: view.worker_id.clone(),
            ..Self::default()
        };
        match view.state.clone() {
            UnitState::Unassigned | UnitState::Paused | UnitState::Stopped => blank,
            UnitState::Blocked { reason, since, next_try } => Self {
                reason: Some(reason),
                since_ms: since.map(|at| at.millis()),
                next_try_ms: next_try.map(|at| at.millis()),
                ..blank
            },
            UnitState::Starting { since }
            | UnitState::Running { since }
            | UnitState::RestartAsked { since }
            | UnitState::Stopping { since } => Self { since_ms: Some(since.millis()), ..blank },
            UnitState::Waiting { reason, since, next_try } => Self {
                reason: Some(reason),
                since_ms: Some(since.millis()),
                next_try_ms: next_try.map(|at| at.millis()),
                ..blank
            },
            UnitState::Restarting { trace, attempt, since, at } => Self {
                reason: Some(trace),
                since_ms: Some(since.millis()),
                next_try_ms: Some(at.millis()),
                attempt: Some(attempt),
                ..blank
            },
            UnitState::Failed { trace, since } => {
                Self { reason: Some(trace), since_ms: Some(since.millis()), ..blank }
            }
            UnitState::Elsewhere(status) => {
                let reason = status.trace.unwrap_or_else(|| status.state.name().to_owned());
                Self { reason: Some(reason), ..blank }
            }
        }
    }
}

impl ConnectorDetail {
    pub(super) fn new(
        view: &ConnectorView,
        guarantee: Option<&Guarantee>,
        leftovers: Vec<Leftover>,
        condition: impl Fn(u32) -> Option<TaskView>,
    ) -> Self {
        let stamp = view.stamp.clone();
        let config = stamp.map_or_else(ConfigDetail::default, |stamp| ConfigDetail {
            version: stamp.version,
            changed_at_ms: Some(stamp.changed_at_ms),
            changed_by: stamp.changed_by,
            action: stamp.action,
        });
        let task = |(id, (_, unit)): (u32, &(_, UnitView))| {
            let condition = condition(id);
            let learnt = condition.as_ref().and_then(|condition| condition.guarantee.as_ref());
            TaskDetail {
                id,
                unit: UnitDetail::new(unit),
                guarantee: learnt.or(guarantee).map(GuaranteeDetail::from),
                lag: condition.as_ref().and_then(|condition| condition.lag),
                work: condition.and_then(|condition| condition.work).map(WorkDetail::from),
            }
        };
        Self {
            name: view.name.to_string(),
            kind: view.described.kind,
            target_state: view.target.name(),
            config,
            guarantee: guarantee.map(GuaranteeDetail::from),
            leftovers: leftovers.into_iter().map(LeftoverDetail::from).collect(),
            connector: UnitDetail::new(&view.connector),
            tasks: (0..).zip(&view.tasks).map(task).collect(),
        }
    }
}
