//! The status topic as a table, and what this worker has to add to it.
//!
//! Duty: what is known of every connector's and task's status and of the topics that connectors use;
//! which statuses must be written so that the topic says what this worker knows better.
//!
//! Invariants: a status is written once for each change; FAILED and UNASSIGNED never over a newer
//! generation's word; a status that another worker of this or a later generation wrote is left alone
//! until ours changes, so that two workers never write against each other for ever.
//!
//! Deliberately absent: retries; the driver writes the latest status of each key until it is stored.

use std::collections::BTreeMap;

use towpath_formats::status_topic::{
    Status, StatusRecord, TopicStatus, is_stale_task_status, may_write_safely,
};

use super::configs::Name;

/// What the status topic says.
#[derive(Debug, Clone, Default)]
pub(crate) struct Statuses {
    connectors: BTreeMap<Name, ConnectorStatuses>,
}

/// What it says of one connector.
#[derive(Debug, Clone, Default)]
struct ConnectorStatuses {
    connector: Seen,
    tasks: BTreeMap<u32, Seen>,
    topics: BTreeMap<String, TopicStatus>,
}

/// A status in the topic, and what was last sent there.
#[derive(Debug, Clone, Default)]
struct Seen {
    known: Option<Status>,
    sent: Option<Option<Status>>,
}

impl Seen {
    /// Whether `wanted` has to be written.
    fn send(&mut self, wanted: Option<&Status>) -> bool {
        let Some(status) = wanted else {
            let there = self.sent.as_ref().map_or(self.known.is_some(), Option::is_some);
            if there {
                self.sent = Some(None);
            }
            return there;
        };
        let outdated = self.known.as_ref().is_some_and(|known| {
            known != status
                && known.worker_id != status.worker_id
                && known.generation < status.generation
        });
        let as_sent = match &self.sent {
            Some(sent) => sent.as_ref() == Some(status),
            None => self.known.as_ref() == Some(status),
        };
        if as_sent && !outdated {
            return false;
        }
        if status.state.is_written_safely() && !may_write_safely(self.known.as_ref(), status) {
            return false;
        }
        self.sent = Some(Some(status.clone()));
        if outdated {
            // What is about to be overwritten must not look outdated again before it is.
            self.known.clone_from(&self.sent.clone().flatten());
        }
        true
    }

    fn is_blank(&self) -> bool {
        self.known.is_none() && self.sent.as_ref().is_none_or(Option::is_none)
    }
}

impl Statuses {
    /// Takes one record.
    pub(crate) fn apply(&mut self, record: StatusRecord) -> Option<Name> {
        let name: Name = match &record {
            StatusRecord::Connector { connector, .. }
            | StatusRecord::Task { connector, .. }
            | StatusRecord::Topic { connector, .. } => connector.as_str().into(),
            StatusRecord::Unknown { .. } => return None,
        };
        let entry = self.connectors.entry(Name::clone(&name)).or_default();
        match record {
            StatusRecord::Connector { status, .. } => entry.connector.known = status,
            StatusRecord::Task { task, status, .. } => {
                let seen = entry.tasks.entry(task).or_default();
                let stale =
                    status.as_ref().is_some_and(|s| is_stale_task_status(seen.known.as_ref(), s));
                if !stale {
                    seen.known = status;
                }
            }
            StatusRecord::Topic { topic, status: Some(status), .. } => {
                entry.topics.insert(topic, status);
            }
            StatusRecord::Topic { topic, status: None, .. } => {
                entry.topics.remove(&topic);
            }
            StatusRecord::Unknown { .. } => {}
        }
        entry.tasks.retain(|_, seen| !seen.is_blank());
        if entry.tasks.is_empty() && entry.topics.is_empty() && entry.connector.is_blank() {
            self.connectors.remove(&name);
        }
        Some(name)
    }

    /// The connectors of which anything is known.
    pub(crate) fn names(&self) -> impl Iterator<Item = &Name> {
        self.connectors.keys()
    }

    /// The status of a connector in the topic.
    pub(crate) fn connector(&self, name: &str) -> Option<&Status> {
        self.connectors.get(name)?.connector.known.as_ref()
    }

    /// The status of a task in the topic.
    pub(crate) fn task(&self, name: &str, task: u32) -> Option<&Status> {
        self.connectors.get(name)?.tasks.get(&task)?.known.as_ref()
    }

    /// The topics that a connector uses.
    pub(crate) fn topics(&self, name: &str) -> Vec<String> {
        let topics = self.connectors.get(name).map(|entry| entry.topics.keys().cloned().collect());
        topics.unwrap_or_default()
    }

    /// The record to write, if any, for the connector to have this status.
    pub(crate) fn send_connector(
        &mut self,
        name: &Name,
        status: Option<Status>,
    ) -> Option<StatusRecord> {
        if status.is_none() && !self.connectors.contains_key(name) {
            return None;
        }
        let entry = self.connectors.entry(Name::clone(name)).or_default();
        let connector = name.to_string();
        entry
            .connector
            .send(status.as_ref())
            .then_some(StatusRecord::Connector { connector, status })
    }

    /// The record to write, if any, for the task to have this status.
    pub(crate) fn send_task(
        &mut self,
        name: &Name,
        task: u32,
        status: Option<Status>,
    ) -> Option<StatusRecord> {
        if status.is_none() && !self.connectors.contains_key(name) {
            return None;
        }
        let entry = self.connectors.entry(Name::clone(name)).or_default();
        let connector = name.to_string();
        let sent = entry.tasks.entry(task).or_default().send(status.as_ref());
        sent.then_some(StatusRecord::Task { connector, task, status })
    }

    /// The tombstones of tasks from number `count` on.
    pub(crate) fn forget_tasks(&mut self, name: &Name, count: u32) -> Vec<StatusRecord> {
        let surplus: Vec<u32> = self
            .connectors
            .get(name)
            .map(|entry| entry.tasks.range(count..).map(|(task, _)| *task).collect())
            .unwrap_or_default();
        surplus.into_iter().filter_map(|task| self.send_task(name, task, None)).collect()
    }

    /// The record to write, if any, for the connector to use `topic`.
    pub(crate) fn note_topic(&mut self, name: &Name, status: TopicStatus) -> Option<StatusRecord> {
        let entry = self.connectors.entry(Name::clone(name)).or_default();
        if entry.topics.contains_key(&status.name) {
            return None;
        }
        entry.topics.insert(status.name.clone(), status.clone());
        Some(StatusRecord::Topic {
            topic: status.name.clone(),
            connector: name.to_string(),
            status: Some(status),
        })
    }

    /// The tombstones of the topics that a connector used.
    pub(crate) fn forget_topics(&mut self, name: &Name) -> Vec<StatusRecord> {
        let Some(entry) = self.connectors.get_mut(name) else { return Vec::new() };
        let topics = std::mem::take(&mut entry.topics).into_keys();
        topics
            .map(|topic| StatusRecord::Topic { topic, connector: name.to_string(), status: None })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use towpath_formats::status_topic::State;

    use super::*;

    fn status(state: State, worker: &str, generation: i32) -> Status {
        Status { state, trace: None, worker_id: worker.into(), generation, version: None }
    }

    fn known(statuses: &mut Statuses, status: Option<Status>) {
        statuses.apply(StatusRecord::Connector { connector: "c".into(), status });
    }

    #[test]
    fn a_status_is_written_once_and_again_over_a_former_generation() {
        let mut statuses = Statuses::default();
        let name: Name = "c".into();
        let ours = status(State::Running, "a:1", 2);
        assert!(statuses.send_connector(&name, Some(ours.clone())).is_some());
        assert!(statuses.send_connector(&name, Some(ours.clone())).is_none());
        known(&mut statuses, Some(ours.clone()));
        assert!(statuses.send_connector(&name, Some(ours.clone())).is_none());
        // A worker of a former generation writes late.
        known(&mut statuses, Some(status(State::Running, "b:1", 1)));
        assert!(statuses.send_connector(&name, Some(ours.clone())).is_some());
        assert!(statuses.send_connector(&name, Some(ours.clone())).is_none());
        // One of this generation, or a later one, has the last word until ours changes.
        known(&mut statuses, Some(status(State::Running, "b:1", 2)));
        assert!(statuses.send_connector(&name, Some(ours)).is_none());
        let failed = status(State::Failed, "a:1", 2);
        assert!(statuses.send_connector(&name, Some(failed)).is_some());
    }

    #[test]
    fn failures_are_not_written_over_a_newer_generation() {
        let mut statuses = Statuses::default();
        let name: Name = "c".into();
        known(&mut statuses, Some(status(State::Running, "b:1", 7)));
        let failed = status(State::Failed, "a:1", 6);
        assert!(statuses.send_connector(&name, Some(failed)).is_none());
    }

    #[test]
    fn what_is_gone_is_forgotten_once() {
        let mut statuses = Statuses::default();
        let name: Name = "c".into();
        for task in 0..3 {
            let status = Some(status(State::Running, "a:1", 1));
            statuses.apply(StatusRecord::Task { connector: "c".into(), task, status });
        }
        assert_eq!(statuses.forget_tasks(&name, 1).len(), 2);
        assert_eq!(statuses.forget_tasks(&name, 1).len(), 0);
        for task in 0..3 {
            statuses.apply(StatusRecord::Task { connector: "c".into(), task, status: None });
        }
        assert_eq!(statuses.names().count(), 0);
    }

    #[test]
    fn topics_are_noted_once_and_forgotten_together() {
        let mut statuses = Statuses::default();
        let name: Name = "c".into();
        let topic = |name: &str| TopicStatus {
            name: name.into(),
            connector: "c".into(),
            task: 0,
            discover_timestamp: 5,
        };
        assert!(statuses.note_topic(&name, topic("t")).is_some());
        assert!(statuses.note_topic(&name, topic("t")).is_none());
        assert!(statuses.note_topic(&name, topic("u")).is_some());
        assert_eq!(statuses.topics("c"), ["t", "u"]);
        assert_eq!(statuses.forget_topics(&name).len(), 2);
        assert!(statuses.topics("c").is_empty());
    }
}
