//! The herder's loop.
//!
//! Duty: bring what happens to the state machine, one event at a time, and carry out its commands.
//!
//! Invariants: the loop never waits for anything but its queues; what takes long runs beside it
//! ([`super::jobs`]) and reports back. A snapshot is published before the replies that it explains.

use std::collections::HashMap;
use std::sync::Arc;

use indexmap::IndexMap;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use towpath_sdk::clock::Timestamp;

use super::configs::Name;
use super::event::{Command, Event, Reply, Run, Slot, WriteFailure, WriteId};
use super::follow::{self, Reading};
use super::launcher::{TaskHandle, TaskStart};
use super::service::{Ask, Condition, HerderService, Shared};
use super::state::State;
use super::step::step;
use super::view::Readiness;
use super::{HerderError, HerderOptions, jobs, stored_offsets};
use crate::ports::{CompactedTable, Entry, PortError, PortErrorKind, PortResult};
use crate::task::{TaskId, Wanted};
use crate::topics::TopicNotes;

/// Reports that may wait for the loop.
const NOTES: usize = 1_024;
/// How many of them are taken in before a new snapshot is published.
const BATCH: usize = 256;

/// What reaches the loop from the tasks beside it.
pub(super) enum Note {
    /// Things that happened, in order.
    Events(Vec<Event>),
    /// The config topic's writer is free again.
    ConfigsPut { writes: Vec<WriteId>, result: PortResult<()> },
    /// The status topic's writer is free again.
    StatusesPut { entries: Vec<Entry>, result: PortResult<()> },
    /// The worker can't go on.
    Fatal(PortError),
}

struct RunningTask {
    run: Run,
    wanted: watch::Sender<Wanted>,
    topics: Arc<TopicNotes>,
}

struct Tables {
    configs: Arc<dyn CompactedTable>,
    statuses: Arc<dyn CompactedTable>,
}

pub(super) struct Driver {
    service: HerderService,
    options: Arc<HerderOptions>,
    shared: Arc<Shared>,
    state: State,
    tables: Option<Tables>,
    notes: mpsc::Sender<Note>,
    inbox: mpsc::Receiver<Note>,
    jobs: JoinSet<()>,
    planners: HashMap<Run, CancellationToken>,
    tasks: HashMap<TaskId, RunningTask>,
    slots: HashMap<Slot, oneshot::Sender<Result<Reply, HerderError>>>,
    replies: Vec<(Slot, Result<Reply, HerderError>)>,
    config_writes: Vec<(WriteId, Vec<Entry>)>,
    configs_busy: bool,
    /// The latest status of each key that is not stored yet.
    status_writes: IndexMap<bytes::Bytes, Entry>,
    statuses_busy: bool,
    slot: u64,
    started: Instant,
    base: Timestamp,
    revision: u64,
}

impl Driver {
    pub(super) fn new(service: HerderService) -> Self {
        let (notes, inbox) = mpsc::channel(NOTES);
        let launcher = Arc::clone(&service.launcher);
        let describe = Arc::new(move |config: &_| launcher.describe(&jobs::for_sdk(config)));
        let options = Arc::clone(&service.options);
        let base = service.clock.now();
        Self {
            state: State::new(Arc::clone(&options), describe, base),
            shared: Arc::clone(&service.shared),
            service,
            options,
            tables: None,
            notes,
            inbox,
            jobs: JoinSet::new(),
            planners: HashMap::new(),
            tasks: HashMap::new(),
            slots: HashMap::new(),
            replies: Vec::new(),
            config_writes: Vec::new(),
            configs_busy: false,
            status_writes: IndexMap::new(),
            statuses_busy: false,
            slot: 0,
            started: Instant::now(),
            base,
            revision: 0,
        }
    }

    pub(super) async fn run(mut self, cancel: CancellationToken) -> PortResult<()> {
        let leave = CancellationToken::new();
        tokio::select! {
            biased;
            () = cancel.cancelled() => return Ok(()),
            tables = self.open() => self.tables = Some(tables?),
        }
        self.follow(&leave);
        let mut going_down = None;
        let result = loop {
            let over = going_down.is_some() && !self.state.is_occupied() && self.is_flushed();
            if over || going_down.is_some_and(|deadline| Instant::now() >= deadline) {
                break Ok(());
            }
            let wake = self.state.wake_at().map(|at| self.started + at.since(self.base));
            let wake = wake.into_iter().chain(going_down).min();
            tokio::select! {
                biased;
                () = cancel.cancelled(), if going_down.is_none() => {
                    going_down = Some(Instant::now() + self.options.shutdown_timeout);
                    self.feed(Event::Shutdown);
                }
                Some(note) = self.inbox.recv() => {
                    if let Err(error) = self.take(note) {
                        break Err(error);
                    }
                }
                Some(used) = self.service.topic_uses.recv() => self.feed(Event::TopicUsed(used)),
                Some(ask) = self.service.asks.recv() => self.ask(ask),
                () = crate::task::at(wake) => self.feed(Event::Tick(self.now())),
            }
            self.publish();
        };
        if self.state.is_occupied() {
            tracing::warn!("some tasks did not end in time and are left behind");
        }
        leave.cancel();
        self.wind_up().await;
        result
    }

    /// Lets what is under way end: leaving the fleet, above all.
    async fn wind_up(mut self) {
        drop(self.inbox);
        self.planners.clear();
        self.tasks.clear();
        let deadline = Instant::now() + std::time::Duration::from_secs(2);
        loop {
            tokio::select! {
                biased;
                ended = self.jobs.join_next() => if ended.is_none() { return },
                () = sleep_until(deadline) => return,
            }
        }
    }

    async fn open(&self) -> PortResult<Tables> {
        let cluster = &*self.service.cluster;
        let configs = follow::open(cluster, &self.options.config_topic, &self.shared).await?;
        let statuses = follow::open(cluster, &self.options.status_topic, &self.shared).await?;
        Ok(Tables { configs, statuses })
    }

    fn follow(&mut self, leave: &CancellationToken) {
        let Some(tables) = &self.tables else { return };
        for (table, reading) in
            [(&tables.configs, Reading::configs()), (&tables.statuses, Reading::statuses())]
        {
            let (table, shared) = (Arc::clone(table), Arc::clone(&self.shared));
            let (notes, leave) = (self.notes.clone(), leave.clone());
            self.jobs.spawn(async move {
                tokio::select! {
                    biased;
                    () = leave.cancelled() => {}
                    () = follow::follow(table, reading, shared, notes) => {}
                }
            });
        }
        let (cluster, options) = (Arc::clone(&self.service.cluster), Arc::clone(&self.options));
        let (shared, notes, leave) = (Arc::clone(&self.shared), self.notes.clone(), leave.clone());
        self.jobs.spawn(async move {
            let seat = follow::member(cluster, options, shared, notes.clone(), leave);
            if let Err(error) = seat.await {
                drop(notes.send(Note::Fatal(error)).await);
            }
        });
    }

    /// The wall clock's time when this began, and the time that has passed since: never back.
    fn now(&self) -> Timestamp {
        self.base + self.started.elapsed()
    }

    fn is_flushed(&self) -> bool {
        self.status_writes.is_empty() && !self.statuses_busy
    }

    // ---- Events in ----

    fn feed(&mut self, event: Event) {
        let now = self.now();
        if !matches!(event, Event::Tick(_)) {
            let commands = step(&mut self.state, Event::Tick(now));
            self.execute(commands);
        }
        let commands = step(&mut self.state, event);
        self.execute(commands);
    }

    fn take(&mut self, note: Note) -> PortResult<()> {
        let mut next = Some(note);
        let mut taken = 0;
        while let Some(note) = next {
            match note {
                Note::Events(events) => {
                    for event in events {
                        self.feed(event);
                    }
                }
                Note::ConfigsPut { writes, result } => self.configs_put(writes, result),
                Note::StatusesPut { entries, result } => self.statuses_put(entries, result),
                Note::Fatal(error) => return Err(error),
            }
            while self.jobs.try_join_next().is_some() {}
            taken += 1;
            next = if taken < BATCH { self.inbox.try_recv().ok() } else { None };
        }
        Ok(())
    }

    fn ask(&mut self, ask: Ask) {
        self.slot += 1;
        let slot = Slot(self.slot);
        self.slots.insert(slot, ask.reply);
        let deadline = self.now() + ask.limit;
        self.feed(Event::Request { slot, deadline, request: ask.request });
    }

    // ---- Commands out ----

    fn execute(&mut self, commands: Vec<Command>) {
        for command in commands {
            match command {
                Command::WriteConfig { write, records } => {
                    let entry = |record: &towpath_formats::config_topic::ConfigRecord| {
                        let (key, value) = record.to_key_value();
                        Entry { key: key.into(), value: value.map(Into::into) }
                    };
                    self.config_writes.push((write, records.iter().map(entry).collect()));
                }
                Command::WriteStatus(records) => {
                    for record in records {
                        let (key, value) = record.to_key_value();
                        let entry = Entry { key: key.into(), value: value.map(Into::into) };
                        self.status_writes.insert(entry.key.clone(), entry);
                    }
                }
                Command::Reply { slot, result } => self.replies.push((slot, result)),
                Command::SetLogger { namespace, level } => {
                    if let Some(set) = &self.options.loggers {
                        set(&namespace, &level);
                    }
                }
                Command::ForgetTopics { connector } => {
                    for (id, task) in &self.tasks {
                        if id.connector == connector {
                            task.topics.reset();
                        }
                    }
                }
                Command::StartPlanner { connector, run, properties } => {
                    tracing::info!(%connector, "starting the connector");
                    let stop = CancellationToken::new();
                    self.planners.insert(run, stop.clone());
                    let (launcher, data) =
                        (Arc::clone(&self.service.launcher), self.service.data.clone());
                    let notes = self.notes.clone();
                    self.jobs.spawn(jobs::planner(
                        launcher, data, connector, run, properties, notes, stop,
                    ));
                }
                Command::StopPlanner { run, .. } => {
                    if let Some(stop) = self.planners.remove(&run) {
                        stop.cancel();
                    }
                }
                Command::StartTask { id, run, connector, properties, wanted, transactional_id } => {
                    self.start_task(
                        run,
                        task_start(id, &connector, &properties, wanted, transactional_id),
                    );
                }
                Command::SetTask { id, run, wanted } => self.set_task(&id, run, wanted),
                Command::Fence { connector, commit, properties, transactional_ids } => {
                    let (launcher, notes) =
                        (Arc::clone(&self.service.launcher), self.notes.clone());
                    let limit = self.options.request_timeout;
                    self.jobs.spawn(jobs::fence(
                        launcher,
                        connector,
                        commit,
                        properties,
                        transactional_ids,
                        limit,
                        notes,
                    ));
                }
                Command::ChangeOffsets { connector, slot, properties, change } => {
                    self.change_offsets(connector, slot, properties, change);
                }
            }
        }
        self.put_configs();
        self.put_statuses();
    }

    fn start_task(&mut self, run: Run, start: TaskStart) {
        let id = start.id.clone();
        tracing::info!(task = %id, "starting the task");
        let handle: TaskHandle = self.service.launcher.task(start);
        let running =
            RunningTask { run, wanted: handle.wanted.clone(), topics: Arc::clone(&handle.topics) };
        let condition =
            Condition { status: handle.status.clone(), signals: handle.signals.clone() };
        self.shared.conditions.write().insert(id.clone(), condition);
        self.tasks.insert(id.clone(), running);
        self.jobs.spawn(jobs::task(id, run, handle, self.notes.clone()));
    }

    fn set_task(&mut self, id: &TaskId, run: Run, wanted: Wanted) {
        let Some(task) = self.tasks.get(id).filter(|task| task.run == run) else { return };
        task.wanted.send_replace(wanted);
        if wanted == Wanted::Stopped {
            self.tasks.remove(id);
            self.shared.conditions.write().remove(id);
        }
    }

    fn change_offsets(
        &mut self,
        connector: Name,
        slot: Slot,
        properties: Arc<towpath_formats::Properties>,
        change: super::event::OffsetsChange,
    ) {
        let (launcher, notes) = (Arc::clone(&self.service.launcher), self.notes.clone());
        let limit = self.options.request_timeout;
        self.jobs.spawn(async move {
            let changing =
                stored_offsets::change(launcher, Name::clone(&connector), &properties, change);
            let result = tokio::time::timeout(limit, changing).await.unwrap_or_else(|_| {
                Err(HerderError::timeout(&format!("changing the offsets of connector {connector}")))
            });
            let event = Event::OffsetsChanged { connector, slot, result };
            drop(notes.send(Note::Events(vec![event])).await);
        });
    }

    // ---- Internal topics ----

    /// Writes everything that has gathered, in one batch.
    fn put_configs(&mut self) {
        let Some(tables) = &self.tables else { return };
        if self.configs_busy || self.config_writes.is_empty() {
            return;
        }
        self.configs_busy = true;
        let (writes, entries): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.config_writes).into_iter().unzip();
        let (table, notes) = (Arc::clone(&tables.configs), self.notes.clone());
        self.jobs.spawn(async move {
            let result = jobs::put(&*table, entries.into_iter().flatten().collect()).await;
            drop(notes.send(Note::ConfigsPut { writes, result }).await);
        });
    }

    fn configs_put(&mut self, writes: Vec<WriteId>, result: PortResult<()>) {
        self.configs_busy = false;
        for write in writes {
            let result = result.clone().map_err(WriteFailure::from);
            self.feed(Event::Written { write, result });
        }
        self.put_configs();
    }

    fn put_statuses(&mut self) {
        let Some(tables) = &self.tables else { return };
        if self.statuses_busy || self.status_writes.is_empty() {
            return;
        }
        self.statuses_busy = true;
        let entries: Vec<Entry> = std::mem::take(&mut self.status_writes).into_values().collect();
        let (table, notes) = (Arc::clone(&tables.statuses), self.notes.clone());
        self.jobs.spawn(async move {
            let result = jobs::put(&*table, entries.clone()).await;
            drop(notes.send(Note::StatusesPut { entries, result }).await);
        });
    }

    fn statuses_put(&mut self, entries: Vec<Entry>, result: PortResult<()>) {
        self.statuses_busy = false;
        if let Err(error) = result {
            tracing::error!(%error, "failed to write statuses");
            if error.kind != PortErrorKind::TooLarge {
                for entry in entries {
                    // A later status of the same key has overtaken this one.
                    self.status_writes.entry(entry.key.clone()).or_insert(entry);
                }
            }
        }
        self.put_statuses();
    }

    /// Lets readers see what has changed, then answers.
    fn publish(&mut self) {
        let snapshot = self.state.snapshot();
        if self.revision != snapshot.revision {
            self.revision = snapshot.revision;
            let readiness = snapshot.readiness.clone();
            self.shared.snapshot.store(Arc::new(snapshot.clone()));
            self.shared.readiness.send_if_modified(|now| {
                // While it starts, whoever is busy with something says so in more detail.
                let both =
                    matches!((&*now, &readiness), (Readiness::Starting(_), Readiness::Starting(_)));
                let differs = *now != readiness && !both;
                if differs {
                    *now = readiness;
                }
                differs
            });
        }
        for (slot, result) in self.replies.drain(..) {
            if let Some(reply) = self.slots.remove(&slot) {
                // Who does not wait any more is not told.
                drop(reply.send(result));
            }
        }
    }
}

fn task_start(
    id: TaskId,
    connector: &towpath_formats::Properties,
    task: &towpath_formats::Properties,
    wanted: Wanted,
    transactional_id: Option<String>,
) -> TaskStart {
    let mut properties = jobs::for_sdk(connector);
    let mut share = towpath_sdk::config::Properties::new();
    for (key, value) in task {
        if connector.text(key) != Some(value) {
            properties.insert(key.as_str(), value.as_str());
            share.insert(key.as_str(), value.as_str());
        }
    }
    TaskStart { id, properties, share, wanted, transactional_id }
}
