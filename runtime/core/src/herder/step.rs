//! The herder's step: events in, commands out.
//!
//! Duty: take in one event, then let every connector that it concerns settle ([`State::refresh`]).
//! What is done follows from the state as a whole, never from the event alone, so that lost, repeated
//! and late events do no harm.
//!
//! Invariants: no I/O, no clock, no randomness. Each request gets exactly one reply.

use towpath_formats::config_topic::{ConfigRecord, RestartRequest};
use towpath_formats::messages;
use towpath_formats::status_topic::TopicStatus;
use towpath_sdk::clock::Timestamp;

use super::HerderError;
use super::configs::{Change, Configs, Name};
use super::event::{
    Command, Event, PlannerReport, Reply, Request, Slot, TaskReport, WriteFailure, WriteId,
    task_set,
};
use super::state::{Fencing, Fleet, Queued, Stage, State, Then, Trouble, Work};
use super::unit::Do;
use super::view::Readiness;
use crate::task::status::Activity;
use crate::topics::TopicUse;

/// How many requests may wait for a worker that is starting.
const LOBBY: usize = 1_000;
/// How many requests may wait for their turn at one connector.
pub(super) const QUEUE: usize = 64;

/// Takes one event in.
pub(crate) fn step(state: &mut State, event: Event) -> Vec<Command> {
    let before = state.readiness();
    state.take(event);
    let after = state.readiness();
    if before != after {
        state.snapshot.readiness = after;
        state.snapshot.revision += 1;
        state.touch_all();
        state.empty_lobby();
    }
    while let Some(name) = state.dirty.pop_first() {
        state.refresh(&name);
    }
    std::mem::take(&mut state.out)
}

impl State {
    fn take(&mut self, event: Event) {
        match event {
            Event::Tick(now) => self.tick(now),
            Event::Config(record) => self.config(record),
            Event::ConfigCaughtUp => self.caught_up(),
            Event::ConfigRestarts => self.incoming = Some(Configs::default()),
            Event::Status(record) => {
                let name = self.statuses.apply(record);
                self.dirty.extend(name);
            }
            Event::StatusCaughtUp => self.statuses_ready = true,
            Event::Joined { generation, leader } => {
                self.generation = generation;
                self.fleet = Fleet::In { leader };
                self.place();
                self.touch_all();
            }
            Event::Left { reason } => {
                self.fleet = Fleet::Out { reason };
                self.place();
            }
            Event::Planner { connector, run, report } => self.planner(&connector, run, report),
            Event::Task { id, run, report } => {
                let Some(connector) = self.connectors.get_mut(&id.connector) else { return };
                let Some(unit) = connector.tasks.get_mut(&id.task) else { return };
                let changed = match report {
                    TaskReport::Activity(activity) => unit.active(run, activity),
                    TaskReport::Ended(result) => {
                        unit.ended(run, self.now, result, &self.options.restarts)
                    }
                };
                if changed {
                    self.dirty.insert(id.connector);
                }
            }
            Event::Written { write, result } => self.written(write, result),
            Event::Fenced { connector, commit, result } => self.fenced(connector, commit, result),
            Event::OffsetsChanged { connector, slot, result } => {
                let Some(entry) = self.connectors.get_mut(&connector) else { return };
                if matches!(&entry.work, Some(Work::Offsets { slot: s, .. }) if *s == slot) {
                    entry.work = None;
                    self.reply(slot, result.map(Reply::Message));
                    self.dirty.insert(connector);
                }
            }
            Event::TopicUsed(used) => self.topic_used(used),
            Event::Request { slot, deadline, request } => {
                self.admit(Queued { slot, deadline, request });
            }
            Event::Shutdown => self.shutdown = true,
        }
    }

    pub(super) fn reply(&mut self, slot: Slot, result: Result<Reply, HerderError>) {
        self.out.push(Command::Reply { slot, result });
    }

    fn touch_all(&mut self) {
        let existing = self.configs.existing().map(|(name, _)| name);
        let all = existing.chain(self.connectors.keys()).chain(self.statuses.names());
        self.dirty.extend(all.cloned());
    }

    fn tick(&mut self, now: Timestamp) {
        self.now = self.now.max(now);
        let due = self.connectors.iter().filter(|(_, c)| c.wake_at.is_some_and(|at| at <= now));
        self.dirty.extend(due.map(|(name, _)| Name::clone(name)));
        self.lobby.sort_by_key(|queued| queued.deadline);
        let late = self.lobby.partition_point(|queued| queued.deadline <= now);
        let stage = match self.readiness() {
            Readiness::Starting(stage) => stage,
            Readiness::Ready => "ready".to_owned(),
            Readiness::Out(reason) => format!("out of the fleet ({reason})"),
        };
        for queued in self.lobby.drain(..late).collect::<Vec<_>>() {
            self.reply(queued.slot, Err(HerderError::timeout(&stage)));
        }
        let late: Vec<WriteId> =
            self.loose.iter().filter(|(_, q)| q.deadline <= now).map(|(w, _)| *w).collect();
        for write in late {
            if let Some(queued) = self.loose.remove(&write) {
                let stage = "writing to the config topic";
                self.reply(queued.slot, Err(HerderError::timeout(stage)));
            }
        }
    }

    // ---- The config topic ----

    fn config(&mut self, record: ConfigRecord) {
        if let Some(incoming) = &mut self.incoming {
            incoming.apply(record);
            return;
        }
        let change = self.configs.apply(record.clone());
        match change {
            Change::Connector(name) => {
                if matches!(record, ConfigRecord::Connector { .. }) {
                    self.describe(&name);
                }
                if matches!(record, ConfigRecord::Connector { .. } | ConfigRecord::Commit { .. }) {
                    self.place();
                }
                self.read_back(&name, &record);
                self.dirty.insert(name);
            }
            Change::Restart(name, request) => {
                self.restart(&name, request);
                self.read_back(&name, &record);
                self.dirty.insert(name);
            }
            Change::Logger { namespace, level } => {
                self.out.push(Command::SetLogger { namespace, level });
            }
            Change::None => {}
        }
    }

    fn caught_up(&mut self) {
        let Some(configs) = self.incoming.take() else { return };
        self.configs = configs;
        self.configs_ready = true;
        let names: Vec<Name> = self.configs.existing().map(|(name, _)| Name::clone(name)).collect();
        for name in &names {
            self.describe(name);
        }
        self.place();
        self.touch_all();
        // Whatever the broker held before the topic was read anew has been read by now.
        let awaited: Vec<Name> = self
            .connectors
            .iter()
            .filter(|(_, c)| matches!(c.work, Some(Work::Write { stage: Stage::ReadingBack, .. })))
            .map(|(name, _)| Name::clone(name))
            .collect();
        for name in awaited {
            self.finish(&name);
        }
    }

    fn describe(&mut self, name: &Name) {
        let Some((_, config)) = self.existing(name) else { return };
        let described = (self.describe)(config);
        self.connectors.entry(Name::clone(name)).or_default().described = described;
    }

    /// Does what a restart record asks for.
    fn restart(&mut self, name: &Name, request: RestartRequest) {
        let Some(mut connector) = self.connectors.remove(name) else { return };
        let now = self.now;
        if !request.only_failed || connector.planner.has_failed() {
            let what = connector.planner.restart(now);
            self.do_planner(name, &mut connector, what);
        }
        if request.include_tasks {
            let mut todo = Vec::new();
            for (task, unit) in &mut connector.tasks {
                if !request.only_failed || unit.has_failed() {
                    todo.push((*task, unit.restart(now)));
                }
            }
            for (task, what) in todo {
                self.do_task(name, task, what);
            }
        }
        self.connectors.insert(Name::clone(name), connector);
    }

    // ---- Writes ----

    /// A record came back from the config topic.
    fn read_back(&mut self, name: &Name, record: &ConfigRecord) {
        let Some(connector) = self.connectors.get_mut(name) else { return };
        let Some(Work::Write { records, stage, .. }) = &mut connector.work else { return };
        if records.last() != Some(record) {
            return;
        }
        match stage {
            Stage::Writing { seen } => *seen = true,
            Stage::ReadingBack => self.finish(name),
        }
    }

    fn written(&mut self, write: WriteId, result: Result<(), WriteFailure>) {
        if let Some(queued) = self.loose.remove(&write) {
            self.reply(queued.slot, result.map(|()| Reply::Done).map_err(refused));
            return;
        }
        let ours =
            |work: &Option<Work>| matches!(work, Some(Work::Write { write: w, .. }) if *w == write);
        let found = self.connectors.iter_mut().find(|(_, connector)| ours(&connector.work));
        let Some((name, connector)) = found else { return };
        let name = Name::clone(name);
        let Some(Work::Write { stage, then, .. }) = &mut connector.work else { return };
        match result {
            Ok(()) if *stage == (Stage::Writing { seen: true }) => self.finish(&name),
            Ok(()) => *stage = Stage::ReadingBack,
            Err(failure) => {
                let slot = then.slot();
                connector.work = None;
                match slot {
                    Some(slot) => self.reply(slot, Err(refused(failure))),
                    None => {
                        let reason =
                            format!("failed to store the configs of its tasks: {}", failure.text());
                        let trouble =
                            Trouble::after(connector.unpublished.as_ref(), reason, self.now);
                        connector.unpublished = Some(trouble);
                    }
                }
            }
        }
        self.dirty.insert(name);
    }

    /// The connector's write is in the log and has been read.
    fn finish(&mut self, name: &Name) {
        let Some(connector) = self.connectors.get_mut(name) else { return };
        let Some(Work::Write { then, .. }) = connector.work.take() else { return };
        let reply = match then {
            Then::Done(slot) => Some((slot, Reply::Done)),
            Then::Restarting(slot, status) => Some((slot, Reply::Restarting(*status))),
            Then::Connector { slot, created } => {
                self.connector_reply(name, created).map(|reply| (slot, reply))
            }
            Then::Nothing => {
                connector.unpublished = None;
                None
            }
        };
        if let Some((slot, reply)) = reply {
            self.reply(slot, Ok(reply));
        }
        self.dirty.insert(Name::clone(name));
    }

    // ---- Reports ----

    fn planner(&mut self, name: &Name, run: super::event::Run, report: PlannerReport) {
        let Some(connector) = self.connectors.get_mut(name) else { return };
        let changed = match report {
            PlannerReport::Started => connector.planner.active(run, Activity::Running),
            PlannerReport::Planned(shares) => match connector.planner.live() {
                Some((live, config)) if live == run => {
                    connector.planned = Some(task_set(config, shares));
                    connector.planner.active(run, Activity::Running);
                    true
                }
                _ => false,
            },
            PlannerReport::Ended(result) => {
                connector.planner.ended(run, self.now, result, &self.options.restarts)
            }
        };
        if changed {
            self.dirty.insert(Name::clone(name));
        }
    }

    fn fenced(&mut self, name: Name, commit: u64, result: Result<(), String>) {
        let Some(connector) = self.connectors.get_mut(&name) else { return };
        if connector.fencing != (Fencing::Asked { commit }) {
            return;
        }
        connector.fencing = match result {
            Ok(()) => Fencing::Done { commit },
            Err(reason) => {
                let reason = format!("failed to fence the producers of its former tasks: {reason}");
                let trouble = Trouble::after(connector.fence_trouble.as_ref(), reason, self.now);
                connector.fence_trouble = Some(trouble.clone());
                Fencing::Failed { commit, trouble }
            }
        };
        self.dirty.insert(name);
    }

    fn topic_used(&mut self, used: TopicUse) {
        let name = used.task.connector;
        if !self.options.topic_tracking || self.existing(&name).is_none() {
            return;
        }
        let status = TopicStatus {
            name: used.topic.to_string(),
            connector: name.to_string(),
            task: used.task.task,
            discover_timestamp: self.now.millis(),
        };
        if let Some(record) = self.statuses.note_topic(&name, status) {
            self.out.push(Command::WriteStatus(vec![record]));
            self.dirty.insert(name);
        }
    }

    // ---- Requests ----

    fn admit(&mut self, queued: Queued) {
        let slot = queued.slot;
        if matches!(queued.request, Request::Ping) {
            return self.reply(slot, Ok(Reply::Done));
        }
        match self.readiness() {
            Readiness::Starting(_) if self.lobby.len() < LOBBY => self.lobby.push(queued),
            Readiness::Starting(stage) => {
                let text = format!("too many requests wait for the worker, which is {stage}");
                self.reply(slot, Err(HerderError::Conflict(text)));
            }
            Readiness::Out(_) => {
                self.reply(slot, Err(HerderError::Conflict(messages::conflicting_operation())));
            }
            Readiness::Ready if !self.is_leader() => {
                self.reply(slot, Err(HerderError::Conflict(messages::no_leader())));
            }
            Readiness::Ready => self.enqueue(queued),
        }
    }

    fn empty_lobby(&mut self) {
        if !matches!(self.readiness(), Readiness::Starting(_)) {
            for queued in std::mem::take(&mut self.lobby) {
                self.admit(queued);
            }
        }
    }

    pub(super) fn do_planner(
        &mut self,
        name: &Name,
        connector: &mut super::state::Connector,
        what: Do<std::sync::Arc<towpath_formats::Properties>>,
    ) {
        match what {
            Do::Nothing | Do::Set(..) => {}
            Do::Start(run, properties, _) => {
                connector.planned = None;
                let connector = Name::clone(name);
                self.out.push(Command::StartPlanner { connector, run, properties });
            }
            Do::Stop(run) => {
                connector.planned = None;
                self.out.push(Command::StopPlanner { connector: Name::clone(name), run });
            }
        }
    }
}

impl WriteFailure {
    fn text(&self) -> &str {
        match self {
            Self::Refused(text) | Self::Unknown(text) | Self::Fenced(text) => text,
        }
    }
}

fn refused(failure: WriteFailure) -> HerderError {
    match failure {
        WriteFailure::Refused(text) => {
            HerderError::Internal(format!("failed to write to the config topic: {text}"))
        }
        WriteFailure::Unknown(text) => HerderError::timeout(&format!(
            "not told whether the config topic holds the change ({text})"
        )),
        WriteFailure::Fenced(_) => HerderError::Conflict(messages::conflicting_operation()),
    }
}
