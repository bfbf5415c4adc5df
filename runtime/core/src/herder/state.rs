//! The herder's state.
//!
//! Duty: data, and what can be said of it without changing it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use towpath_formats::Properties;
use towpath_formats::config_topic::{ConfigRecord, TargetState};
use towpath_formats::rest::ConnectorType;
use towpath_sdk::clock::Timestamp;

use super::HerderOptions;
use super::configs::{Configs, Configured, Name, TaskSet};
use super::event::{Command, OffsetsChange, Request, Run, Slot, WriteId};
use super::launcher::Described;
use super::placement::{Weight, assign};
use super::statuses::Statuses;
use super::unit::{Desire, Unit};
use super::view::{Readiness, Snapshot};
use crate::task::Wanted;

/// Says what a connector's class is. Pure, so that the state machine may call it.
pub(crate) type Describe = Arc<dyn Fn(&Properties) -> Described + Send + Sync>;

/// Everything that the herder knows.
pub(crate) struct State {
    pub(super) options: Arc<HerderOptions>,
    pub(super) describe: Describe,
    pub(super) now: Timestamp,
    pub(super) fleet: Fleet,
    /// The last generation that this worker was part of.
    pub(super) generation: i32,
    pub(super) shutdown: bool,
    pub(super) configs: Configs,
    /// The config topic as far as it has been read, while it is being read from its beginning.
    pub(super) incoming: Option<Configs>,
    pub(super) configs_ready: bool,
    pub(super) statuses: Statuses,
    pub(super) statuses_ready: bool,
    pub(super) connectors: BTreeMap<Name, Connector>,
    pub(super) placement: BTreeMap<UnitId, Arc<str>>,
    /// Requests that wait for the worker to be ready.
    pub(super) lobby: Vec<Queued>,
    /// Writes that concern no connector.
    pub(super) loose: BTreeMap<WriteId, Queued>,
    pub(super) dirty: BTreeSet<Name>,
    pub(super) snapshot: Snapshot,
    pub(super) out: Vec<Command>,
    pub(super) counter: u64,
}

/// This worker's place in the fleet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fleet {
    /// Not in it yet.
    Joining,
    /// In it.
    In { leader: bool },
    /// Out of it.
    Out { reason: String },
}

/// What is placed on a worker.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum UnitId {
    /// A connector's planner.
    Planner(Name),
    /// A task.
    Task(Name, u32),
}

/// What a task is started with.
#[derive(Debug, Clone)]
pub(crate) struct TaskSpec {
    pub(crate) properties: Arc<Properties>,
    pub(crate) connector: Arc<Properties>,
    /// The commit that the task belongs to, if it produces in transactions: then every commit restarts
    /// it, since it fences every producer of the former set.
    pub(crate) commit: Option<u64>,
}

impl PartialEq for TaskSpec {
    fn eq(&self, other: &Self) -> bool {
        self.commit == other.commit
            && self.properties == other.properties
            && self.connector == other.connector
    }
}

/// One connector.
pub(crate) struct Connector {
    pub(super) described: Described,
    pub(super) planner: Unit<Arc<Properties>>,
    /// What the live planner said last.
    pub(super) planned: Option<TaskSet>,
    pub(super) tasks: BTreeMap<u32, Unit<TaskSpec>>,
    pub(super) fencing: Fencing,
    /// Why the last fencing failed.
    pub(super) fence_trouble: Option<Trouble>,
    /// Why the task configs could not be stored, and when that is tried again.
    pub(super) unpublished: Option<Trouble>,
    pub(super) work: Option<Work>,
    pub(super) queue: VecDeque<Queued>,
    pub(super) waiters: Vec<Waiter>,
    /// When it must be looked at again.
    pub(super) wake_at: Option<Timestamp>,
}

/// Something that is tried again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Trouble {
    pub(crate) reason: String,
    pub(crate) attempt: u32,
    pub(crate) since: Timestamp,
    pub(crate) at: Timestamp,
}

/// How far the fencing of the producers of former tasks is, for one commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fencing {
    /// Nothing was done.
    Open,
    /// The broker was asked.
    Asked { commit: u64 },
    /// The broker was asked in vain.
    Failed { commit: u64, trouble: Trouble },
    /// They are fenced; it has to be written down.
    Done { commit: u64 },
}

/// A request that waits for its turn.
#[derive(Debug, Clone)]
pub(crate) struct Queued {
    pub(super) slot: Slot,
    pub(super) deadline: Timestamp,
    pub(super) request: Request,
}

/// A request that waits for a restart.
#[derive(Debug, Clone)]
pub(crate) struct Waiter {
    pub(super) slot: Slot,
    pub(super) deadline: Timestamp,
    /// Of which task; `None` is the connector itself.
    pub(super) task: Option<u32>,
}

/// The one thing that is being done to a connector's records or offsets.
#[derive(Debug, Clone)]
pub(crate) enum Work {
    /// Records are written, then awaited in the log.
    Write {
        write: WriteId,
        records: Vec<ConfigRecord>,
        stage: Stage,
        deadline: Timestamp,
        then: Then,
    },
    /// Offsets are changed.
    Offsets { slot: Slot, deadline: Timestamp, change: OffsetsChange, asked: bool },
}

/// How far a write is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// The broker has not answered; the record may have come back already.
    Writing { seen: bool },
    /// The broker holds it; it has not come back.
    ReadingBack,
}

/// What happens once a write has come back.
#[derive(Debug, Clone)]
pub(crate) enum Then {
    /// The request is answered: done.
    Done(Slot),
    /// The request is answered with the connector.
    Connector { slot: Slot, created: bool },
    /// The request is answered with this status.
    Restarting(Slot, Box<towpath_formats::rest::ConnectorStateInfo>),
    /// Nobody waits.
    Nothing,
}

impl Then {
    pub(super) fn slot(&self) -> Option<Slot> {
        match self {
            Self::Done(slot) | Self::Connector { slot, .. } | Self::Restarting(slot, _) => {
                Some(*slot)
            }
            Self::Nothing => None,
        }
    }
}

impl Default for Connector {
    fn default() -> Self {
        Self {
            described: Described {
                kind: ConnectorType::Unknown,
                version: None,
                transactional: false,
            },
            planner: Unit::default(),
            planned: None,
            tasks: BTreeMap::new(),
            fencing: Fencing::Open,
            fence_trouble: None,
            unpublished: None,
            work: None,
            queue: VecDeque::new(),
            waiters: Vec::new(),
            wake_at: None,
        }
    }
}

impl Connector {
    /// Whether anything of it runs or is stopping.
    pub(super) fn is_occupied(&self) -> bool {
        self.planner.is_occupied() || self.has_occupied_tasks()
    }

    pub(super) fn has_occupied_tasks(&self) -> bool {
        self.tasks.values().any(Unit::is_occupied)
    }

    /// Whether nothing is left of it.
    pub(super) fn is_over(&self) -> bool {
        let idle = self.work.is_none() && self.queue.is_empty() && self.waiters.is_empty();
        idle && !self.is_occupied()
    }
}

impl State {
    pub(crate) fn new(options: Arc<HerderOptions>, describe: Describe, now: Timestamp) -> Self {
        let mut state = Self {
            options,
            describe,
            now,
            fleet: Fleet::Joining,
            generation: -1,
            shutdown: false,
            configs: Configs::default(),
            incoming: Some(Configs::default()),
            configs_ready: false,
            statuses: Statuses::default(),
            statuses_ready: false,
            connectors: BTreeMap::new(),
            placement: BTreeMap::new(),
            lobby: Vec::new(),
            loose: BTreeMap::new(),
            dirty: BTreeSet::new(),
            snapshot: Snapshot::default(),
            out: Vec::new(),
            counter: 0,
        };
        state.snapshot.readiness = state.readiness();
        state
    }

    /// What reads are served from.
    pub(crate) fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// When a [`super::event::Event::Tick`] is due.
    pub(crate) fn wake_at(&self) -> Option<Timestamp> {
        let connectors = self.connectors.values().filter_map(|connector| connector.wake_at);
        let requests = self.lobby.iter().chain(self.loose.values()).map(|queued| queued.deadline);
        connectors.chain(requests).min()
    }

    /// Whether anything runs here or is stopping.
    pub(crate) fn is_occupied(&self) -> bool {
        self.connectors.values().any(Connector::is_occupied)
    }

    pub(super) fn readiness(&self) -> Readiness {
        match &self.fleet {
            _ if self.shutdown => Readiness::Out("the worker is going down".to_owned()),
            Fleet::Out { reason } => Readiness::Out(reason.clone()),
            Fleet::Joining => Readiness::Starting("joining the fleet".to_owned()),
            Fleet::In { .. } if !self.configs_ready => {
                Readiness::Starting("reading the config topic".to_owned())
            }
            Fleet::In { .. } if !self.statuses_ready => {
                Readiness::Starting("reading the status topic".to_owned())
            }
            Fleet::In { .. } => Readiness::Ready,
        }
    }

    /// Whether this worker may run anything now.
    pub(super) fn is_active(&self) -> bool {
        self.readiness() == Readiness::Ready
    }

    pub(super) fn is_leader(&self) -> bool {
        self.fleet == Fleet::In { leader: true }
    }

    pub(super) fn is_here(&self, unit: &UnitId) -> bool {
        self.placement.get(unit).is_some_and(|worker| **worker == self.options.worker_id)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.counter += 1;
        self.counter
    }

    pub(super) fn next_run(&mut self) -> Run {
        Run(self.next())
    }

    /// Places everything anew, as a fleet of one.
    pub(super) fn place(&mut self) {
        let workers: Vec<Arc<str>> =
            self.is_leader().then(|| self.options.worker_id.as_str().into()).into_iter().collect();
        let mut units: BTreeMap<UnitId, Weight> = BTreeMap::new();
        for (name, configured) in self.configs.existing() {
            units.insert(UnitId::Planner(Name::clone(name)), 1);
            for (task, _) in (0..).zip(configured.tasks.iter()) {
                units.insert(UnitId::Task(Name::clone(name), task), 10);
            }
        }
        self.placement = assign(&workers, &units, &self.placement);
    }

    /// What is wanted of the connector's planner.
    pub(super) fn planner_desire(
        &self,
        name: &Name,
        connector: &Connector,
    ) -> Desire<Arc<Properties>> {
        let Some(configured) = self.configs.get(name) else { return Desire::Nothing };
        let Some(config) = &configured.config else { return Desire::Nothing };
        match configured.target() {
            TargetState::Stopped => Desire::Nothing,
            _ if !self.is_active() || matches!(connector.work, Some(Work::Offsets { .. })) => {
                Desire::Rest
            }
            _ if !self.is_here(&UnitId::Planner(Name::clone(name))) => Desire::Nothing,
            TargetState::Paused => Desire::Rest,
            TargetState::Started => Desire::Run(Arc::clone(config), Wanted::Running),
        }
    }

    /// What is wanted of a task.
    pub(super) fn task_desire(
        &self,
        name: &Name,
        task: u32,
        connector: &Connector,
    ) -> Desire<TaskSpec> {
        let Some(configured) = self.configs.get(name) else { return Desire::Nothing };
        let Some(applied) = &configured.applied else { return Desire::Nothing };
        let Some(properties) = configured.tasks.get(task as usize) else { return Desire::Nothing };
        let transactional = connector.described.transactional;
        let wanted = match configured.target() {
            TargetState::Stopped => return Desire::Nothing,
            TargetState::Paused => Wanted::Paused,
            TargetState::Started => Wanted::Running,
        };
        if !self.is_active() || matches!(connector.work, Some(Work::Offsets { .. })) {
            return Desire::Rest;
        }
        let fencing = transactional && configured.fencing_due;
        if fencing || !self.is_here(&UnitId::Task(Name::clone(name), task)) {
            return Desire::Nothing;
        }
        let spec = TaskSpec {
            properties: Arc::clone(properties),
            connector: Arc::clone(applied),
            commit: transactional.then_some(configured.commit),
        };
        Desire::Run(spec, wanted)
    }

    /// The connector's records, if it exists.
    pub(super) fn existing(&self, name: &str) -> Option<(&Configured, &Arc<Properties>)> {
        let configured = self.configs.get(name)?;
        Some((configured, configured.config.as_ref()?))
    }
}

impl Trouble {
    /// One more failure after `former`, to be tried again with growing pauses.
    pub(super) fn after(former: Option<&Self>, reason: String, now: Timestamp) -> Self {
        let attempt = former.map_or(0, |trouble| trouble.attempt) + 1;
        let since = former.map_or(now, |trouble| trouble.since);
        let pause = std::time::Duration::from_millis(250 << (attempt - 1).min(8));
        Self { reason, attempt, since, at: now + pause }
    }
}
