//! Brings one connector from what is to what is wanted.
//!
//! Duty: everything that follows from the state without anybody asking: start and stop, store a new
//! plan, fence, time out, tell statuses.
//!
//! Invariants: settling twice in a row does nothing the second time.

use std::sync::Arc;
use std::time::Duration;

use towpath_formats::config_topic::{ConfigRecord, TargetState};
use towpath_formats::status_topic::Status;
use towpath_sdk::clock::Timestamp;

use super::HerderError;
use super::configs::{Configured, Name, commit_records};
use super::event::{Command, Failure, Reply};
use super::state::{
    Connector, Fencing, Stage, State, TaskSpec, Then, Trouble, UnitId, Waiter, Work,
};
use super::unit::{Desire, Do, Phase, Unit};
use super::view::{ConnectorView, Readiness, UnitState, UnitView};
use crate::task::status::Activity;
use crate::task::{TaskId, Wanted};

impl State {
    /// Settles the connector `name`.
    pub(super) fn refresh(&mut self, name: &Name) {
        let mut connector = self.connectors.remove(name).unwrap_or_default();
        self.expire(name, &mut connector);
        self.advance(name, &mut connector);
        self.run_units(name, &mut connector);
        self.advance_offsets(name, &mut connector);
        self.publish(name, &mut connector);
        self.fence(name, &mut connector);
        self.answer_waiters(&mut connector);
        self.show(name, &connector);
        connector.wake_at = self.wake_of(&connector);
        if self.existing(name).is_some() || !connector.is_over() {
            self.connectors.insert(Name::clone(name), connector);
        }
    }

    // ---- Units ----

    fn run_units(&mut self, name: &Name, connector: &mut Connector) {
        let now = self.now;
        let desire = self.planner_desire(name, connector);
        let run = self.next_run();
        let what = connector.planner.reconcile(now, desire, || run);
        self.do_planner(name, connector, what);
        let count = self.configs.get(name).map_or(0, |configured| configured.tasks.len());
        for task in 0..u32::try_from(count).unwrap_or(u32::MAX) {
            connector.tasks.entry(task).or_default();
        }
        let tasks: Vec<u32> = connector.tasks.keys().copied().collect();
        for task in tasks {
            let desire = self.task_desire(name, task, connector);
            let run = self.next_run();
            let Some(unit) = connector.tasks.get_mut(&task) else { continue };
            let gone = desire == Desire::Nothing && task as usize >= count;
            let what = unit.reconcile(now, desire, || run);
            if gone && !unit.is_occupied() {
                connector.tasks.remove(&task);
            }
            self.start_task(name, task, connector.described.transactional, what);
        }
    }

    /// Carries out what does not start a task.
    pub(super) fn do_task(&mut self, name: &Name, task: u32, what: Do<TaskSpec>) {
        self.start_task(name, task, false, what);
    }

    fn start_task(&mut self, name: &Name, task: u32, transactional: bool, what: Do<TaskSpec>) {
        let id = TaskId { connector: Name::clone(name), task };
        let command = match what {
            Do::Nothing => return,
            Do::Set(run, wanted) => Command::SetTask { id, run, wanted },
            Do::Stop(run) => Command::SetTask { id, run, wanted: Wanted::Stopped },
            Do::Start(run, spec, wanted) => Command::StartTask {
                id,
                run,
                connector: spec.connector,
                properties: spec.properties,
                wanted,
                transactional_id: transactional.then(|| self.transactional_id(name, task)),
            },
        };
        self.out.push(command);
    }

    fn transactional_id(&self, name: &Name, task: u32) -> String {
        format!("{}-{name}-{task}", self.options.group_id)
    }

    // ---- Task configs ----

    /// Stores what the planner planned, if that is not what is stored.
    fn publish(&mut self, name: &Name, connector: &mut Connector) {
        let Some(planned) = connector.planned.clone() else { return };
        let Some((configured, config)) = self.existing(name) else { return };
        let current =
            connector.planner.live().is_some_and(|(_, planned_for)| planned_for == config);
        let stored = !configured.inconsistent && configured.tasks == planned;
        let started = configured.target() == TargetState::Started;
        if stored {
            connector.unpublished = None;
        }
        let early = connector.unpublished.as_ref().is_some_and(|trouble| trouble.at > self.now);
        let may = started && self.is_active() && self.is_leader() && connector.work.is_none();
        if stored || early || !current || !may {
            return;
        }
        let deadline = self.now + self.options.request_timeout;
        self.write(connector, commit_records(name, &planned), deadline, Then::Nothing);
    }

    // ---- Fencing ----

    /// Fences the producers of former tasks before new ones start.
    fn fence(&mut self, name: &Name, connector: &mut Connector) {
        let Some((configured, config)) = self.existing(name) else { return };
        let wanted = configured.target() != TargetState::Stopped && !configured.tasks.is_empty();
        let due = connector.described.transactional && configured.fencing_due && wanted;
        if !due || !self.is_active() || !self.is_leader() {
            return;
        }
        let commit = configured.commit;
        let state = match &connector.fencing {
            Fencing::Asked { commit: c }
            | Fencing::Failed { commit: c, .. }
            | Fencing::Done { commit: c }
                if *c != commit =>
            {
                connector.fence_trouble = None;
                Fencing::Open
            }
            state => state.clone(),
        };
        let tasks = u32::try_from(configured.tasks.len()).unwrap_or(u32::MAX);
        match state {
            // Those that stop in good order end their transactions themselves.
            Fencing::Open if connector.has_occupied_tasks() => {}
            Fencing::Failed { trouble, .. } if trouble.at > self.now => {}
            Fencing::Asked { .. } => {}
            Fencing::Open | Fencing::Failed { .. } => {
                let former = configured.fenced.unwrap_or(0);
                // A single task fences its single predecessor by itself.
                if former == 0 || (former == 1 && tasks == 1) {
                    connector.fencing = Fencing::Done { commit };
                    return self.record_fencing(name, connector, tasks);
                }
                let transactional_ids =
                    (0..former).map(|task| self.transactional_id(name, task)).collect();
                let properties = Arc::clone(config);
                connector.fencing = Fencing::Asked { commit };
                let connector = Name::clone(name);
                self.out.push(Command::Fence { connector, commit, properties, transactional_ids });
            }
            Fencing::Done { .. } => self.record_fencing(name, connector, tasks),
        }
    }

    fn record_fencing(&mut self, name: &Name, connector: &mut Connector, tasks: u32) {
        let early = connector.unpublished.as_ref().is_some_and(|trouble| trouble.at > self.now);
        if connector.work.is_some() || early {
            return;
        }
        connector.fence_trouble = None;
        let record = ConfigRecord::TasksFencing { connector: name.to_string(), tasks: Some(tasks) };
        let deadline = self.now + self.options.request_timeout;
        self.write(connector, vec![record], deadline, Then::Nothing);
    }

    // ---- Time ----

    /// Gives up what took too long.
    fn expire(&mut self, name: &Name, connector: &mut Connector) {
        let now = self.now;
        let late = |deadline: &Timestamp| *deadline <= now;
        let stage = format!("busy with another change to connector {name}");
        let (expired, queue) = std::mem::take(&mut connector.queue)
            .into_iter()
            .partition::<Vec<_>, _>(|queued| late(&queued.deadline));
        connector.queue = queue.into();
        for queued in expired {
            self.reply(queued.slot, Err(HerderError::timeout(&stage)));
        }
        let (expired, waiters) = std::mem::take(&mut connector.waiters)
            .into_iter()
            .partition::<Vec<_>, _>(|waiter| late(&waiter.deadline));
        connector.waiters = waiters;
        for waiter in expired {
            let stage = match waiter.task {
                Some(task) => format!("restarting task {name}-{task}"),
                None => format!("restarting connector {name}"),
            };
            self.reply(waiter.slot, Err(HerderError::timeout(&stage)));
        }
        match &connector.work {
            Some(Work::Write { stage, deadline, then, .. }) if late(deadline) => {
                let stage = match stage {
                    Stage::Writing { .. } => "writing to the config topic",
                    Stage::ReadingBack => "reading the config topic up to the change",
                };
                let slot = then.slot();
                connector.work = None;
                match slot {
                    Some(slot) => self.reply(slot, Err(HerderError::timeout(stage))),
                    None => {
                        let reason = format!(
                            "failed to store the configs of its tasks: {stage} took too long"
                        );
                        let trouble = Trouble::after(connector.unpublished.as_ref(), reason, now);
                        connector.unpublished = Some(trouble);
                    }
                }
            }
            // Once the change was asked for it may be half made: its end must be awaited.
            Some(Work::Offsets { slot, deadline, asked: false, .. }) if late(deadline) => {
                let slot = *slot;
                connector.work = None;
                let stage = format!("stopping the tasks of connector {name}");
                self.reply(slot, Err(HerderError::timeout(&stage)));
            }
            _ => {}
        }
    }

    fn wake_of(&self, connector: &Connector) -> Option<Timestamp> {
        let work = connector.work.as_ref().and_then(|work| match work {
            Work::Write { deadline, .. } | Work::Offsets { deadline, asked: false, .. } => {
                Some(*deadline)
            }
            Work::Offsets { .. } => None,
        });
        let fencing = match &connector.fencing {
            Fencing::Failed { trouble, .. } => Some(trouble.at),
            _ => None,
        };
        let queue = connector.queue.iter().map(|queued| queued.deadline);
        let waiters = connector.waiters.iter().map(|waiter| waiter.deadline);
        let patience = self.options.waiting_is_failed_after;
        let units = connector.tasks.values().flat_map(|unit| unit_wake(unit, patience));
        unit_wake(&connector.planner, patience)
            .into_iter()
            .chain(units)
            .chain(queue)
            .chain(waiters)
            .chain(work)
            .chain(fencing)
            .chain(connector.unpublished.as_ref().map(|trouble| trouble.at))
            .filter(|at| *at > self.now)
            .min()
    }

    // ---- Telling ----

    fn answer_waiters(&mut self, connector: &mut Connector) {
        let waiters = std::mem::take(&mut connector.waiters);
        for waiter in waiters {
            let Waiter { slot, task, .. } = waiter;
            let result = match task {
                None => restarted(&connector.planner, true),
                Some(task) => {
                    connector.tasks.get(&task).map_or(Some(Ok(())), |u| restarted(u, false))
                }
            };
            match result {
                Some(result) => self.reply(slot, result.map(|()| Reply::Done)),
                None => connector.waiters.push(waiter),
            }
        }
    }

    /// Brings snapshot and status topic up to date.
    fn show(&mut self, name: &Name, connector: &Connector) {
        let view = self.existing(name).map(|(configured, config)| ConnectorView {
            name: Name::clone(name),
            config: Arc::clone(config),
            stamp: configured.stamp.clone(),
            target: configured.target(),
            described: connector.described.clone(),
            connector: self.connector_view(name, configured, connector),
            tasks: (0..)
                .zip(configured.tasks.iter())
                .map(|(task, config)| {
                    (Arc::clone(config), self.task_view(name, task, configured, connector))
                })
                .collect(),
        });
        self.tell(name, connector, view.as_ref());
        let topics = self.statuses.topics(name);
        let snapshot = &mut self.snapshot;
        let topics_differ =
            snapshot.topics.get(name).map_or(&[][..], |known| known) != topics.as_slice();
        if topics_differ && topics.is_empty() {
            snapshot.topics.remove(name);
        } else if topics_differ {
            snapshot.topics.insert(Name::clone(name), topics.into());
        }
        let differs = snapshot.connectors.get(name).map(|known| &**known) != view.as_ref();
        match view {
            _ if !differs => {}
            Some(view) => {
                snapshot.connectors.insert(Name::clone(name), Arc::new(view));
            }
            None => {
                snapshot.connectors.remove(name);
            }
        }
        if differs || topics_differ {
            snapshot.revision += 1;
        }
    }

    /// Writes the statuses that the topic lacks.
    fn tell(&mut self, name: &Name, connector: &Connector, view: Option<&ConnectorView>) {
        if !self.statuses_ready || !self.configs_ready || self.generation < 0 {
            return;
        }
        let mut records = Vec::new();
        let Some(view) = view else {
            if self.is_leader() && connector.is_over() {
                records.extend(self.statuses.send_connector(name, None));
                records.extend(self.statuses.forget_tasks(name, 0));
                records.extend(self.statuses.forget_topics(name));
            }
            if !records.is_empty() {
                self.out.push(Command::WriteStatus(records));
            }
            return;
        };
        if self.was_here(&UnitId::Planner(Name::clone(name)), &view.connector) {
            let status = self.status_of(view, &view.connector);
            records.extend(self.statuses.send_connector(name, Some(status)));
        }
        for (task, (_, unit)) in (0..).zip(&view.tasks) {
            if self.was_here(&UnitId::Task(Name::clone(name), task), unit) {
                let status = self.status_of(view, unit);
                records.extend(self.statuses.send_task(name, task, Some(status)));
            }
        }
        let count = u32::try_from(view.tasks.len()).unwrap_or(u32::MAX);
        let surplus = connector.tasks.range(count..).any(|(_, unit)| unit.is_occupied());
        if self.is_leader() && !surplus {
            records.extend(self.statuses.forget_tasks(name, count));
        }
        if !records.is_empty() {
            self.out.push(Command::WriteStatus(records));
        }
    }

    /// Whether this worker has a say about the unit: it runs it, or was the one that did.
    fn was_here(&self, unit: &UnitId, view: &UnitView) -> bool {
        self.is_here(unit) || (view.worker_id == self.options.worker_id && !self.is_active())
    }

    fn status_of(&self, view: &ConnectorView, unit: &UnitView) -> Status {
        let (state, trace) = unit.state.for_connect(self.now, self.options.waiting_is_failed_after);
        Status {
            state,
            trace,
            worker_id: self.options.worker_id.clone(),
            generation: self.generation,
            version: view.described.version.clone(),
        }
    }

    fn connector_view(
        &self,
        name: &Name,
        configured: &Configured,
        connector: &Connector,
    ) -> UnitView {
        let failed = matches!(connector.planner.phase, Phase::Failed { .. });
        let state = match (configured.target(), &connector.unpublished) {
            (TargetState::Stopped, _) => UnitState::Stopped,
            (TargetState::Paused, _) if !failed && self.is_active() => UnitState::Paused,
            // A planner that failed for good will not store anything any more: that is the reason.
            (TargetState::Started, Some(trouble)) if !failed => UnitState::Waiting {
                reason: trouble.reason.clone(),
                since: trouble.since,
                next_try: Some(trouble.at),
            },
            _ => state_of(&connector.planner),
        };
        let here = self.is_here(&UnitId::Planner(Name::clone(name))) || !self.is_active();
        self.unit_view(here, state, connector.planner.restarts, self.statuses.connector(name))
    }

    fn task_view(
        &self,
        name: &Name,
        task: u32,
        configured: &Configured,
        connector: &Connector,
    ) -> UnitView {
        let unit = connector.tasks.get(&task);
        let fencing = connector.described.transactional && configured.fencing_due;
        let state = match (unit, &connector.fencing) {
            (Some(unit), _) if unit.phase != Phase::Idle => state_of(unit),
            _ if let Some(reason) = self.out_of_fleet() => {
                UnitState::Blocked { reason, since: None, next_try: None }
            }
            (_, Fencing::Failed { trouble, .. }) if fencing => UnitState::Blocked {
                reason: trouble.reason.clone(),
                since: Some(trouble.since),
                next_try: Some(trouble.at),
            },
            _ if fencing => UnitState::Blocked {
                reason: "the producers of its former tasks are being fenced".to_owned(),
                since: None,
                next_try: None,
            },
            _ => UnitState::Unassigned,
        };
        let restarts = unit.map_or(0, |unit| unit.restarts);
        let here = self.is_here(&UnitId::Task(Name::clone(name), task)) || !self.is_active();
        self.unit_view(here, state, restarts, self.statuses.task(name, task))
    }

    /// Why nothing can run here, if this worker is out of the fleet.
    fn out_of_fleet(&self) -> Option<String> {
        match self.readiness() {
            Readiness::Out(reason) => Some(format!("this worker is out of the fleet: {reason}")),
            Readiness::Ready | Readiness::Starting(_) => None,
        }
    }

    fn unit_view(
        &self,
        here: bool,
        state: UnitState,
        restarts: u64,
        told: Option<&Status>,
    ) -> UnitView {
        match told {
            Some(told) if !here => UnitView {
                state: UnitState::Elsewhere(told.clone()),
                worker_id: told.worker_id.clone(),
                restarts,
            },
            _ => UnitView { state, worker_id: self.options.worker_id.clone(), restarts },
        }
    }
}

/// What a unit does, for people.
fn state_of<S>(unit: &Unit<S>) -> UnitState {
    match unit.phase.clone() {
        Phase::Idle => UnitState::Unassigned,
        Phase::Live { since, activity, restarted, .. } => match activity {
            Activity::Starting if restarted => UnitState::RestartAsked { since },
            Activity::Starting => UnitState::Starting { since },
            Activity::Running => UnitState::Running { since },
            Activity::Paused => UnitState::Paused,
            Activity::Waiting { reason, since, next_try } => {
                UnitState::Waiting { reason, since, next_try }
            }
        },
        Phase::Stopping { since, restart: true, .. } => UnitState::RestartAsked { since },
        Phase::Stopping { since, .. } => UnitState::Stopping { since },
        Phase::Waiting { failure, since, at, .. } => {
            UnitState::Waiting { reason: failure.reason, since, next_try: Some(at) }
        }
        Phase::Restarting { failure: Failure { trace, .. }, attempt, since, at } => {
            UnitState::Restarting { trace, attempt, since, at }
        }
        Phase::Failed { failure, since } => UnitState::Failed { trace: failure.trace, since },
    }
}

/// Whether a user's restart is done, and how; `None`: not yet.
fn restarted<S>(unit: &Unit<S>, until_up: bool) -> Option<Result<(), HerderError>> {
    match &unit.phase {
        Phase::Stopping { .. } => None,
        Phase::Live { activity: Activity::Starting, .. } if until_up => None,
        Phase::Live { .. } | Phase::Idle => Some(Ok(())),
        Phase::Waiting { failure, .. }
        | Phase::Restarting { failure, .. }
        | Phase::Failed { failure, .. } => Some(Err(HerderError::Internal(failure.trace.clone()))),
    }
}

/// When a unit must be looked at: to start it again, or to show its waiting as a failure.
fn unit_wake<S: Clone + PartialEq>(unit: &Unit<S>, patience: Option<Duration>) -> Vec<Timestamp> {
    let waits = match &unit.phase {
        Phase::Waiting { since, .. }
        | Phase::Live { activity: Activity::Waiting { since, .. }, .. } => Some(*since),
        _ => None,
    };
    let shown = waits.zip(patience).map(|(since, patience)| since + patience);
    unit.wake_at().into_iter().chain(shown).collect()
}
