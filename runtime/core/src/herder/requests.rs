//! What people ask for, one request of a connector at a time.
//!
//! Duty: check a request against the state as it is when its turn comes, and turn it into records, a
//! restart, or an answer.
//!
//! Invariants: a check and the write that follows it see the same state, since nothing else is written
//! for that connector in between.

use std::sync::Arc;

use towpath_formats::Properties;
use towpath_formats::config_topic::{
    ConfigRecord, ConnectorConfig, RestartRequest, Stamp, TargetState,
};
use towpath_formats::messages;
use towpath_formats::rest::{ConnectorInfo, ConnectorTaskId};
use towpath_formats::status_topic::State as Shown;
use towpath_sdk::clock::Timestamp;

use super::HerderError;
use super::configs::{Name, commit_records};
use super::event::{Command, Expect, OffsetsChange, Reply, Request, Slot, WriteId};
use super::state::{Connector, Queued, Stage, State, Then, Waiter, Work};
use super::step::QUEUE;

/// A new config for a connector, and whose doing it is.
struct Change {
    config: Arc<Properties>,
    who: Option<String>,
    action: &'static str,
}

impl State {
    /// Lets a request wait for its turn.
    pub(super) fn enqueue(&mut self, queued: Queued) {
        let name = match &queued.request {
            Request::Create { name, .. }
            | Request::Put { name, .. }
            | Request::Delete { name }
            | Request::SetTarget { name, .. }
            | Request::Restart { name, .. }
            | Request::ChangeOffsets { name, .. }
            | Request::ResetTopics { name } => Name::clone(name),
            Request::RestartTask { id } => Name::clone(&id.connector),
            Request::SetLogger { namespace, level } => {
                let record = ConfigRecord::LoggerCluster {
                    namespace: namespace.clone(),
                    level: Some(level.clone()),
                };
                let write = WriteId(self.next());
                self.loose.insert(write, queued);
                self.out.push(Command::WriteConfig { write, records: vec![record] });
                return;
            }
            Request::Ping => return self.reply(queued.slot, Ok(Reply::Done)),
        };
        let connector = self.connectors.entry(Name::clone(&name)).or_default();
        if connector.queue.len() >= QUEUE {
            let text = format!("too many requests wait for their turn at connector {name}");
            self.reply(queued.slot, Err(HerderError::Conflict(text)));
        } else {
            connector.queue.push_back(queued);
        }
        self.dirty.insert(name);
    }

    /// Begins queued requests until one keeps the connector busy.
    pub(super) fn advance(&mut self, name: &Name, connector: &mut Connector) {
        while connector.work.is_none() {
            let Some(Queued { slot, deadline, request }) = connector.queue.pop_front() else {
                return;
            };
            if let Err(error) = self.begin(name, connector, slot, deadline, request) {
                self.reply(slot, Err(error));
            }
        }
    }

    fn begin(
        &mut self,
        name: &Name,
        connector: &mut Connector,
        slot: Slot,
        deadline: Timestamp,
        request: Request,
    ) -> Result<(), HerderError> {
        match request {
            Request::Create { config, target, who, .. } => {
                if self.existing(name).is_some() {
                    return Err(HerderError::Exists(messages::connector_exists(name)));
                }
                let change = Change { config, who, action: "create" };
                self.create(name, connector, slot, deadline, target, change);
            }
            Request::Put { config, expect, who, action, .. } => {
                let change = Change { config, who, action };
                self.put(name, connector, slot, deadline, expect, change)?;
            }
            Request::Delete { .. } => {
                self.existing(name).ok_or_else(|| HerderError::not_found(name))?;
                let records = vec![
                    ConfigRecord::Connector { name: name.to_string(), config: None },
                    ConfigRecord::TargetState { connector: name.to_string(), state: None },
                ];
                self.write(connector, records, deadline, Then::Done(slot));
            }
            Request::SetTarget { target, .. } => {
                self.set_target(name, connector, slot, deadline, target)?;
            }
            Request::Restart { request, .. } => {
                self.begin_restart(name, connector, slot, deadline, request)?;
            }
            Request::RestartTask { id } => {
                let unknown = || messages::unknown_connector_to_restart(name);
                let (configured, _) =
                    self.existing(name).ok_or_else(|| HerderError::NotFound(unknown()))?;
                if configured.tasks.len() <= id.task as usize {
                    return Err(HerderError::NotFound(messages::unknown_task(name, id.task)));
                }
                let what = connector.tasks.entry(id.task).or_default().restart(self.now);
                self.do_task(name, id.task, what);
                connector.waiters.push(Waiter { slot, deadline, task: Some(id.task) });
            }
            Request::ChangeOffsets { change, .. } => {
                self.begin_offsets(name, connector, slot, deadline, change)?;
            }
            Request::ResetTopics { .. } => {
                if !self.options.topic_tracking {
                    return Err(HerderError::Forbidden(messages::topic_tracking_disabled()));
                }
                if !self.options.topic_tracking_reset {
                    return Err(HerderError::Forbidden(messages::topic_tracking_reset_disabled()));
                }
                let records = self.statuses.forget_topics(name);
                if !records.is_empty() {
                    self.out.push(Command::WriteStatus(records));
                }
                self.out.push(Command::ForgetTopics { connector: Name::clone(name) });
                self.reply(slot, Ok(Reply::Done));
            }
            Request::SetLogger { .. } | Request::Ping => self.reply(slot, Ok(Reply::Done)),
        }
        Ok(())
    }

    /// Writes `records`, awaits the last of them, then does `then`.
    pub(super) fn write(
        &mut self,
        connector: &mut Connector,
        records: Vec<ConfigRecord>,
        deadline: Timestamp,
        then: Then,
    ) {
        let write = WriteId(self.next());
        self.out.push(Command::WriteConfig { write, records: records.clone() });
        let stage = Stage::Writing { seen: false };
        connector.work = Some(Work::Write { write, records, stage, deadline, then });
    }

    fn connector_record(&self, name: &Name, change: Change) -> ConfigRecord {
        let former = self.configs.get(name).and_then(|configured| configured.stamp.as_ref());
        let stamp = Stamp {
            version: former.map_or(0, |stamp| stamp.version) + 1,
            changed_at_ms: self.now.millis(),
            changed_by: change.who,
            action: Some(change.action.to_owned()),
        };
        let properties = Properties::clone(&change.config);
        ConfigRecord::Connector {
            name: name.to_string(),
            config: Some(ConnectorConfig { properties, stamp: Some(stamp) }),
        }
    }

    fn create(
        &mut self,
        name: &Name,
        connector: &mut Connector,
        slot: Slot,
        deadline: Timestamp,
        target: TargetState,
        change: Change,
    ) {
        // Before the connector itself, so that it never starts by mistake; also where the state is the
        // usual one, in case an older one was left behind.
        let before = (target != TargetState::Started || self.configs.get(name).is_some())
            .then(|| target_record(name, target));
        let record = self.connector_record(name, change);
        let records = before.into_iter().chain([record]).collect();
        self.write(connector, records, deadline, Then::Connector { slot, created: true });
    }

    fn put(
        &mut self,
        name: &Name,
        connector: &mut Connector,
        slot: Slot,
        deadline: Timestamp,
        expect: Expect,
        change: Change,
    ) -> Result<(), HerderError> {
        let existing = self.existing(name);
        let found = existing
            .and_then(|(configured, _)| configured.stamp.as_ref())
            .map_or(0, |stamp| stamp.version);
        match (&expect, existing) {
            (Expect::Version(expected), _) if existing.is_none() || *expected != found => {
                let (connector, expected) = (name.to_string(), *expected);
                return Err(HerderError::Version { connector, found, expected });
            }
            (Expect::Config(_), None) => return Err(HerderError::not_found(name)),
            (Expect::Config(expected), Some((_, config))) if config != expected => {
                self.reply(slot, Ok(Reply::Stale));
            }
            (_, Some((_, config))) if *config == change.config => {
                // As it is: whoever applies the same file again restarts nothing.
                if let Some(reply) = self.connector_reply(name, false) {
                    self.reply(slot, Ok(reply));
                }
            }
            (_, Some(_)) => {
                let record = self.connector_record(name, change);
                let then = Then::Connector { slot, created: false };
                self.write(connector, vec![record], deadline, then);
            }
            (_, None) => {
                self.create(name, connector, slot, deadline, TargetState::Started, change);
            }
        }
        Ok(())
    }

    fn set_target(
        &mut self,
        name: &Name,
        connector: &mut Connector,
        slot: Slot,
        deadline: Timestamp,
        target: TargetState,
    ) -> Result<(), HerderError> {
        let unknown = || HerderError::NotFound(messages::unknown_connector(name));
        let (configured, _) = self.existing(name).ok_or_else(unknown)?;
        let has_tasks = !configured.tasks.is_empty() || configured.inconsistent;
        let empty = target == TargetState::Stopped && has_tasks;
        if configured.target() == target && !empty {
            self.reply(slot, Ok(Reply::Done));
            return Ok(());
        }
        let mut records = if empty { commit_records(name, &[]) } else { Vec::new() };
        records.push(target_record(name, target));
        self.write(connector, records, deadline, Then::Done(slot));
        Ok(())
    }

    fn begin_restart(
        &mut self,
        name: &Name,
        connector: &mut Connector,
        slot: Slot,
        deadline: Timestamp,
        request: RestartRequest,
    ) -> Result<(), HerderError> {
        let unknown = || HerderError::NotFound(messages::unknown_connector_to_restart(name));
        self.existing(name).ok_or_else(unknown)?;
        if request == RestartRequest::default() {
            let what = connector.planner.restart(self.now);
            self.do_planner(name, connector, what);
            connector.waiters.push(Waiter { slot, deadline, task: None });
            return Ok(());
        }
        let view = self.snapshot.connectors.get(name);
        let no_status = || HerderError::NotFound(messages::status_not_found(name));
        let patience = self.options.waiting_is_failed_after;
        let mut status = view.ok_or_else(no_status)?.status(self.now, patience);
        let affected = |state: Shown| !request.only_failed || state == Shown::Failed;
        if affected(status.connector.state) {
            status.connector.state = Shown::Restarting;
        }
        for task in status.tasks.iter_mut().filter(|task| affected(task.state)) {
            if request.include_tasks {
                task.state = Shown::Restarting;
            }
        }
        let record =
            ConfigRecord::RestartConnector { connector: name.to_string(), request: Some(request) };
        let then = Then::Restarting(slot, Box::new(status));
        self.write(connector, vec![record], deadline, then);
        Ok(())
    }

    fn begin_offsets(
        &mut self,
        name: &Name,
        connector: &mut Connector,
        slot: Slot,
        deadline: Timestamp,
        change: OffsetsChange,
    ) -> Result<(), HerderError> {
        let (configured, _) = self.existing(name).ok_or_else(|| HerderError::not_found(name))?;
        let stopped = configured.target() == TargetState::Stopped && configured.tasks.is_empty();
        if !stopped {
            return Err(HerderError::Invalid(messages::must_be_stopped(name)));
        }
        connector.work = Some(Work::Offsets { slot, deadline, change, asked: false });
        Ok(())
    }

    /// Changes offsets once nothing of the connector runs any more.
    pub(super) fn advance_offsets(&mut self, name: &Name, connector: &mut Connector) {
        let occupied = connector.is_occupied();
        let Some(Work::Offsets { slot, change, asked, .. }) = &mut connector.work else { return };
        if *asked || occupied {
            return;
        }
        *asked = true;
        let (slot, change) = (*slot, change.clone());
        let Some((_, properties)) = self.existing(name) else {
            // It can't have been deleted meanwhile, but by a writer who is not of this fleet.
            connector.work = None;
            self.reply(slot, Err(HerderError::not_found(name)));
            return;
        };
        let properties = Arc::clone(properties);
        let connector = Name::clone(name);
        self.out.push(Command::ChangeOffsets { connector, slot, properties, change });
    }

    /// The reply to a change of a config.
    pub(super) fn connector_reply(&self, name: &Name, created: bool) -> Option<Reply> {
        let (configured, config) = self.existing(name)?;
        let id = |(task, _)| ConnectorTaskId { connector: name.to_string(), task };
        let info = ConnectorInfo {
            name: name.to_string(),
            config: Properties::clone(config),
            tasks: (0..).zip(configured.tasks.iter()).map(id).collect(),
            kind: (self.describe)(config).kind,
        };
        let version = configured.stamp.as_ref().map_or(0, |stamp| stamp.version);
        Some(Reply::Connector { info, version, created })
    }
}

fn target_record(name: &Name, target: TargetState) -> ConfigRecord {
    ConfigRecord::TargetState { connector: name.to_string(), state: Some(target) }
}
