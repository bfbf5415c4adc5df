//! The world that the state machine's tests run in.
//!
//! Duty: carry out commands as a driver would, but only as far and as fast as a test says; check what
//! must hold at any moment.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use towpath_formats::Properties;
use towpath_formats::config_topic::{ConfigRecord, TargetState};
use towpath_formats::rest::{ConnectorStateInfo, ConnectorType};
use towpath_formats::status_topic::{State as Shown, Status, StatusRecord};
use towpath_sdk::clock::Timestamp;
use towpath_sdk::error::Action;

use crate::herder::configs::{Configs, Name};
use crate::herder::event::{
    Command, Event, Expect, Failure, PlannerReport, Reply, Request, Run, Slot, TaskReport,
    WriteFailure, WriteId,
};
use crate::herder::launcher::Described;
use crate::herder::state::State;
use crate::herder::step::step;
use crate::herder::{HerderError, HerderOptions};
use crate::task::status::Activity;
use crate::task::{TaskId, Wanted};

/// A planner that runs.
#[derive(Debug, Clone)]
pub(super) struct LivePlanner {
    pub(super) run: Run,
    pub(super) properties: Arc<Properties>,
    pub(super) stopping: bool,
}

/// A task that runs.
#[derive(Debug, Clone)]
pub(super) struct LiveTask {
    pub(super) run: Run,
    pub(super) properties: Arc<Properties>,
    pub(super) wanted: Wanted,
    pub(super) transactional_id: Option<String>,
}

/// How often something was started and stopped.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Count {
    pub(super) starts: u32,
    pub(super) stops: u32,
}

pub(super) struct World {
    pub(super) state: State,
    pub(super) now: Timestamp,
    /// The config topic.
    pub(super) log: Vec<ConfigRecord>,
    /// How much of it the worker has read.
    pub(super) read: usize,
    pub(super) writes: VecDeque<(WriteId, Vec<ConfigRecord>)>,
    pub(super) planners: BTreeMap<Name, LivePlanner>,
    pub(super) tasks: BTreeMap<TaskId, LiveTask>,
    pub(super) counts: BTreeMap<String, Count>,
    pub(super) fences: VecDeque<(Name, u64, Vec<String>)>,
    pub(super) fenced: Vec<Vec<String>>,
    pub(super) offset_changes: VecDeque<(Name, Slot)>,
    pub(super) statuses: BTreeMap<Vec<u8>, StatusRecord>,
    pub(super) asked: u64,
    pub(super) replies: BTreeMap<Slot, Result<Reply, HerderError>>,
}

pub(super) fn options() -> HerderOptions {
    HerderOptions::new("fleet", "a:1", "configs", "statuses")
}

/// Connectors whose class begins with `tx` produce in transactions.
fn describe(config: &Properties) -> Described {
    let class = config.text("connector.class").unwrap_or_default();
    let transactional = class.starts_with("tx");
    let kind = if transactional { ConnectorType::Source } else { ConnectorType::Sink };
    Described { kind, version: Some("1".into()), transactional }
}

pub(super) fn config(name: &str, class: &str, tasks: usize, extra: &str) -> Arc<Properties> {
    Arc::new(Properties::from([
        ("name", name),
        ("connector.class", class),
        ("tasks.max", &tasks.to_string()),
        ("extra", extra),
    ]))
}

pub(super) fn failure(action: Action) -> Failure {
    Failure { trace: "class: boom".into(), reason: "boom".into(), action }
}

impl World {
    pub(super) fn new() -> Self {
        Self::with(options())
    }

    /// A world whose worker has read empty topics and leads the fleet.
    pub(super) fn with(options: HerderOptions) -> Self {
        Self::taking_over(options, Vec::new())
    }

    /// A world whose worker finds `log` in the config topic.
    pub(super) fn taking_over(options: HerderOptions, log: Vec<ConfigRecord>) -> Self {
        let now = Timestamp(1_000_000);
        let mut world = Self {
            state: State::new(Arc::new(options), Arc::new(describe), now),
            now,
            read: log.len(),
            log: log.clone(),
            writes: VecDeque::new(),
            planners: BTreeMap::new(),
            tasks: BTreeMap::new(),
            counts: BTreeMap::new(),
            fences: VecDeque::new(),
            fenced: Vec::new(),
            offset_changes: VecDeque::new(),
            statuses: BTreeMap::new(),
            asked: 0,
            replies: BTreeMap::new(),
        };
        for record in log {
            world.feed(Event::Config(record));
        }
        world.feed(Event::ConfigCaughtUp);
        world.feed(Event::StatusCaughtUp);
        world.feed(Event::Joined { generation: 1, leader: true });
        world
    }

    pub(super) fn feed(&mut self, event: Event) {
        for command in step(&mut self.state, event) {
            self.carry_out(command);
        }
    }

    fn carry_out(&mut self, command: Command) {
        match command {
            Command::WriteConfig { write, records } => {
                assert!(!records.is_empty());
                self.writes.push_back((write, records));
            }
            Command::WriteStatus(records) => {
                for record in records {
                    self.statuses.insert(record.key(), record);
                }
            }
            Command::StartPlanner { connector, run, properties } => {
                self.count(&connector).starts += 1;
                let planner = LivePlanner { run, properties, stopping: false };
                let former = self.planners.insert(connector, planner);
                assert!(former.is_none(), "two planners of one connector");
            }
            Command::StopPlanner { connector, run } => {
                self.count(&connector).stops += 1;
                let planner = self.planners.get_mut(&connector).expect("a live planner");
                assert_eq!(planner.run, run);
                assert!(!planner.stopping, "stopped twice");
                planner.stopping = true;
            }
            Command::StartTask { id, run, properties, wanted, transactional_id, .. } => {
                self.count(&id.to_string()).starts += 1;
                let task = LiveTask { run, properties, wanted, transactional_id };
                let former = self.tasks.insert(id, task);
                assert!(former.is_none(), "two runs of one task");
            }
            Command::SetTask { id, run, wanted } => {
                if wanted == Wanted::Stopped {
                    self.count(&id.to_string()).stops += 1;
                }
                let task = self.tasks.get_mut(&id).expect("a live task");
                assert_eq!(task.run, run);
                assert_ne!(task.wanted, Wanted::Stopped, "told something while stopping");
                task.wanted = wanted;
            }
            Command::Fence { connector, commit, transactional_ids, .. } => {
                let live = self.tasks.keys().any(|id| id.connector == connector);
                assert!(!live, "fenced while tasks of the former set run");
                self.fences.push_back((connector, commit, transactional_ids));
            }
            Command::ChangeOffsets { connector, slot, .. } => {
                let live = self.tasks.keys().any(|id| id.connector == connector);
                assert!(!live && !self.planners.contains_key(&connector), "offsets of a live one");
                self.offset_changes.push_back((connector, slot));
            }
            Command::Reply { slot, result } => {
                let former = self.replies.insert(slot, result);
                assert!(former.is_none(), "two replies to one request");
            }
            Command::ForgetTopics { .. } | Command::SetLogger { .. } => {}
        }
    }

    fn count(&mut self, what: &str) -> &mut Count {
        self.counts.entry(what.to_owned()).or_default()
    }

    // ---- What the world does ----

    pub(super) fn advance(&mut self, by: Duration) {
        self.now = self.now + by;
        self.feed(Event::Tick(self.now));
    }

    pub(super) fn ask(&mut self, request: Request) -> Slot {
        self.asked += 1;
        let slot = Slot(self.asked);
        let deadline = self.now + Duration::from_secs(90);
        self.feed(Event::Request { slot, deadline, request });
        slot
    }

    /// Carries out the oldest write, as `result` says. `Unknown`: it is done all the same.
    pub(super) fn write(&mut self, result: Result<(), WriteFailure>) -> bool {
        let Some((write, records)) = self.writes.pop_front() else { return false };
        if matches!(result, Ok(()) | Err(WriteFailure::Unknown(_))) {
            self.log.extend(records);
        }
        self.feed(Event::Written { write, result });
        true
    }

    /// Lets the worker read the next record.
    pub(super) fn deliver(&mut self) -> bool {
        let Some(record) = self.log.get(self.read).cloned() else { return false };
        self.read += 1;
        self.feed(Event::Config(record));
        true
    }

    /// A planner comes up and plans `tasks.max` tasks, or ends if it was told to.
    pub(super) fn planner_works(&mut self, name: &Name) {
        let Some(planner) = self.planners.get(name).cloned() else { return };
        let run = planner.run;
        if planner.stopping {
            return self.planner_ends(name, Ok(()));
        }
        let tasks = planner.properties.text("tasks.max").and_then(|n| n.parse().ok()).unwrap_or(1);
        let share = |task: usize| Properties::from([("share", task.to_string().as_str())]);
        let shares = (0..tasks).map(share).collect();
        for report in [PlannerReport::Started, PlannerReport::Planned(shares)] {
            self.feed(Event::Planner { connector: Name::clone(name), run, report });
        }
    }

    pub(super) fn planner_ends(&mut self, name: &Name, result: Result<(), Failure>) {
        if let Some(planner) = self.planners.remove(name) {
            let report = PlannerReport::Ended(result);
            self.feed(Event::Planner { connector: Name::clone(name), run: planner.run, report });
        }
    }

    /// A task does as it is told.
    pub(super) fn task_works(&mut self, id: &TaskId) {
        let Some(task) = self.tasks.get(id).cloned() else { return };
        let activity = match task.wanted {
            Wanted::Running => Activity::Running,
            Wanted::Paused => Activity::Paused,
            Wanted::Stopped => return self.task_ends(id, Ok(())),
        };
        let report = TaskReport::Activity(activity);
        self.feed(Event::Task { id: id.clone(), run: task.run, report });
    }

    pub(super) fn task_ends(&mut self, id: &TaskId, result: Result<(), Failure>) {
        if let Some(task) = self.tasks.remove(id) {
            let report = TaskReport::Ended(result);
            self.feed(Event::Task { id: id.clone(), run: task.run, report });
        }
    }

    pub(super) fn fence(&mut self, result: Result<(), String>) -> bool {
        let Some((connector, commit, ids)) = self.fences.pop_front() else { return false };
        if result.is_ok() {
            self.fenced.push(ids);
        }
        self.feed(Event::Fenced { connector, commit, result });
        true
    }

    pub(super) fn change_offsets(&mut self) -> bool {
        let Some((connector, slot)) = self.offset_changes.pop_front() else { return false };
        let result = Ok("changed".to_owned());
        self.feed(Event::OffsetsChanged { connector, slot, result });
        true
    }

    /// Lets everything that can happen without time passing happen.
    pub(super) fn settle(&mut self) {
        for _ in 0..1_000 {
            let before = (self.log.len(), self.read, self.counts.clone(), self.replies.len());
            while self.write(Ok(())) || self.deliver() || self.fence(Ok(())) {}
            while self.change_offsets() {}
            for name in self.planners.keys().cloned().collect::<Vec<_>>() {
                self.planner_works(&name);
            }
            for id in self.tasks.keys().cloned().collect::<Vec<_>>() {
                self.task_works(&id);
            }
            let after = (self.log.len(), self.read, self.counts.clone(), self.replies.len());
            if before == after && self.writes.is_empty() && self.fences.is_empty() {
                return;
            }
        }
        panic!("it never settles");
    }

    // ---- What tests say and see ----

    pub(super) fn create(&mut self, name: &str, class: &str, tasks: usize) -> Slot {
        self.create_as(name, class, tasks, TargetState::Started)
    }

    pub(super) fn create_as(
        &mut self,
        name: &str,
        class: &str,
        tasks: usize,
        target: TargetState,
    ) -> Slot {
        let config = config(name, class, tasks, "");
        self.ask(Request::Create { name: name.into(), config, target, who: None })
    }

    pub(super) fn put(&mut self, name: &str, config: Arc<Properties>) -> Slot {
        let (expect, action) = (Expect::Any, "update");
        self.ask(Request::Put { name: name.into(), config, expect, who: None, action })
    }

    pub(super) fn target(&mut self, name: &str, target: TargetState) -> Slot {
        self.ask(Request::SetTarget { name: name.into(), target })
    }

    pub(super) fn reply(&self, slot: Slot) -> &Result<Reply, HerderError> {
        self.replies.get(&slot).expect("a reply")
    }

    pub(super) fn done(&self, slot: Slot) {
        assert_eq!(self.reply(slot), &Ok(Reply::Done));
    }

    pub(super) fn refused(&self, slot: Slot) -> String {
        self.reply(slot).as_ref().expect_err("a refusal").to_string()
    }

    pub(super) fn status(&self, name: &str) -> ConnectorStateInfo {
        let view = &self.state.snapshot().connectors[name];
        view.status(self.now, None)
    }

    /// The states of the connector and its tasks, as Connect's clients see them.
    pub(super) fn shown(&self, name: &str) -> String {
        let status = self.status(name);
        let tasks: Vec<_> = status.tasks.iter().map(|task| task.state.name()).collect();
        format!("{} [{}]", status.connector.state.name(), tasks.join(" "))
    }

    /// The state that the status topic has for a task.
    pub(super) fn told(&self, name: &str, task: u32) -> Option<Status> {
        let key = StatusRecord::Task { connector: name.into(), task, status: None }.key();
        match self.statuses.get(&key)? {
            StatusRecord::Task { status, .. } => status.clone(),
            _ => None,
        }
    }

    pub(super) fn told_state(&self, name: &str, task: u32) -> Option<Shown> {
        self.told(name, task).map(|status| status.state)
    }

    pub(super) fn counted(&self, what: &str) -> Count {
        self.counts.get(what).copied().unwrap_or_default()
    }

    /// What another worker would make of the config topic.
    pub(super) fn replayed(&self) -> Configs {
        let mut configs = Configs::default();
        for record in &self.log {
            configs.apply(record.clone());
        }
        configs
    }
}

pub(super) fn id(name: &str, task: u32) -> TaskId {
    TaskId { connector: name.into(), task }
}
