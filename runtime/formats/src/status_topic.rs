//! The records of Connect's status topic (compacted), and the two rules that order racing writers.
//!
//! Invariants as in [`crate::config_topic`]: the bytes are those of Kafka Connect 4.3.1, older values
//! (without `version`) are read too. The endpoints that show these records know only Connect's
//! states; why a task waits is told elsewhere.

use serde::{Deserialize, Serialize};

use crate::config_topic::split_task;
use crate::error::{Error, Kind, shown};
use crate::to_java_json;

const CONNECTOR: &str = "status-connector-";
const TASK: &str = "status-task-";
const TOPIC: &str = "status-topic-";
const TOPIC_SEPARATOR: &str = ":connector-";

/// One record of the status topic. A status of `None` is a tombstone.
#[derive(Clone, Debug, PartialEq)]
pub enum StatusRecord {
    /// `status-connector-<connector>`.
    Connector {
        /// The connector.
        connector: String,
        /// Its status.
        status: Option<Status>,
    },
    /// `status-task-<connector>-<n>`.
    Task {
        /// The connector.
        connector: String,
        /// The task's number, from 0.
        task: u32,
        /// Its status.
        status: Option<Status>,
    },
    /// `status-topic-<topic>:connector-<connector>`: the connector has used the topic (KIP-558).
    Topic {
        /// The topic.
        topic: String,
        /// The connector.
        connector: String,
        /// Which task used it first, and when.
        status: Option<TopicStatus>,
    },
    /// A key that this version doesn't know; kept as it is.
    Unknown {
        /// The key's bytes.
        key: Vec<u8>,
        /// The value's bytes.
        value: Option<Vec<u8>>,
    },
}

/// The status of a connector or a task, as its worker saw it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// What it does.
    pub state: State,
    /// For [`State::Failed`]: the error, with its causes.
    #[serde(default)]
    pub trace: Option<String>,
    /// The worker's advertised `host:port`.
    pub worker_id: String,
    /// The generation of the worker group when this was written.
    pub generation: i32,
    /// The connector's version; unknown before Kafka 4.1.
    #[serde(default)]
    pub version: Option<String>,
}

/// Connect's states. Clients fail on any other, so none may be added here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum State {
    /// No worker runs it yet.
    Unassigned,
    /// It runs.
    Running,
    /// It is paused: nothing moves, resources are kept.
    Paused,
    /// It failed; `trace` says why.
    Failed,
    /// It is gone. Never shown: its record is a tombstone.
    Destroyed,
    /// It was asked to restart.
    Restarting,
    /// It is stopped: it has no tasks. For connectors only.
    Stopped,
}

/// That a connector has used a topic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopicStatus {
    /// The topic.
    pub name: String,
    /// The connector.
    pub connector: String,
    /// The task that used it first.
    pub task: u32,
    /// When it did, in milliseconds since 1970.
    #[serde(rename = "discoverTimestamp")]
    pub discover_timestamp: i64,
}

#[derive(Serialize, Deserialize)]
struct TopicValue<T> {
    topic: T,
}

impl State {
    /// Connect's name of the state.
    pub fn name(self) -> &'static str {
        match self {
            Self::Unassigned => "UNASSIGNED",
            Self::Running => "RUNNING",
            Self::Paused => "PAUSED",
            Self::Failed => "FAILED",
            Self::Destroyed => "DESTROYED",
            Self::Restarting => "RESTARTING",
            Self::Stopped => "STOPPED",
        }
    }

    /// Whether this state is written by [`may_write_safely`]'s rule: those that an outdated worker
    /// could write over the truth.
    pub fn is_written_safely(self) -> bool {
        matches!(self, Self::Failed | Self::Unassigned)
    }
}

/// May `new` be written although `known` is there? (Connect's `putSafe`.)
///
/// Yes if nothing is known, if the same worker wrote it, or if it is no newer than `new`. Use it where
/// [`State::is_written_safely`] says so; the other states are written in any case.
pub fn may_write_safely(known: Option<&Status>, new: &Status) -> bool {
    known.is_none_or(|known| known.worker_id == new.worker_id || known.generation <= new.generation)
}

/// Should a reader of the topic ignore a task's status that follows `known`?
///
/// An `UNASSIGNED` (written by the leader) may arrive after the `RUNNING` of the same or a later
/// generation (written by the task's worker): the latter is the truth. Connectors know no such rule.
pub fn is_stale_task_status(known: Option<&Status>, new: &Status) -> bool {
    new.state == State::Unassigned
        && known.is_some_and(|known| {
            known.state == State::Running && known.generation >= new.generation
        })
}

impl StatusRecord {
    /// Reads one record.
    ///
    /// # Errors
    /// If the key has a known prefix but the rest of it, or the value, isn't what belongs there.
    pub fn parse(key: &[u8], value: Option<&[u8]>) -> Result<Self, Error> {
        let text =
            std::str::from_utf8(key).map_err(|_| Error::new(shown(key), Kind::KeyNotText))?;
        let original = value;
        let value = value.filter(|v| v.trim_ascii() != b"null");
        let read = || -> Result<Self, Kind> {
            if let Some(connector) = text.strip_prefix(CONNECTOR) {
                return Ok(Self::Connector {
                    connector: connector.to_owned(),
                    status: parsed(value)?,
                });
            }
            if let Some(rest) = text.strip_prefix(TASK) {
                let shape = Kind::KeyShape("status-task-<connector>-<number>");
                let (connector, task) = split_task(rest).ok_or(shape)?;
                return Ok(Self::Task {
                    connector: connector.to_owned(),
                    task,
                    status: parsed(value)?,
                });
            }
            if let Some(rest) = text.strip_prefix(TOPIC) {
                let shape = Kind::KeyShape("status-topic-<topic>:connector-<connector>");
                // A topic's name can't hold a colon, a connector's can.
                let (topic, connector) = rest.split_once(TOPIC_SEPARATOR).ok_or(shape)?;
                let status = parsed::<TopicValue<TopicStatus>>(value)?.map(|v| v.topic);
                return Ok(Self::Topic {
                    topic: topic.to_owned(),
                    connector: connector.to_owned(),
                    status,
                });
            }
            Ok(Self::Unknown { key: key.to_vec(), value: original.map(<[u8]>::to_vec) })
        };
        read().map_err(|kind| Error::new(shown(key), kind))
    }

    /// The record's key.
    pub fn key(&self) -> Vec<u8> {
        match self {
            Self::Connector { connector, .. } => format!("{CONNECTOR}{connector}").into_bytes(),
            Self::Task { connector, task, .. } => format!("{TASK}{connector}-{task}").into_bytes(),
            Self::Topic { topic, connector, .. } => {
                format!("{TOPIC}{topic}{TOPIC_SEPARATOR}{connector}").into_bytes()
            }
            Self::Unknown { key, .. } => key.clone(),
        }
    }

    /// The record as key and value, ready to produce; [`State::Destroyed`] is a tombstone.
    pub fn to_key_value(&self) -> (Vec<u8>, Option<Vec<u8>>) {
        let value = match self {
            Self::Connector { status, .. } | Self::Task { status, .. } => {
                status.as_ref().filter(|s| s.state != State::Destroyed).map(json)
            }
            Self::Topic { status, .. } => status.as_ref().map(|topic| json(&TopicValue { topic })),
            Self::Unknown { value, .. } => value.clone(),
        };
        (self.key(), value)
    }
}

fn parsed<'a, T: Deserialize<'a>>(value: Option<&'a [u8]>) -> Result<Option<T>, Kind> {
    value.map(serde_json::from_slice).transpose().map_err(Kind::Json)
}

/// The shapes above have text keys and integers only, so writing them can't fail.
fn json<T: Serialize>(value: &T) -> Vec<u8> {
    to_java_json(value).unwrap_or_default().into_bytes()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn status(state: State, worker: &str, generation: i32) -> Status {
        Status { state, trace: None, worker_id: worker.into(), generation, version: None }
    }

    #[track_caller]
    fn check(record: &StatusRecord, key: &str, value: &str) {
        let (k, v) = record.to_key_value();
        assert_eq!(String::from_utf8(k).expect("text"), key);
        assert_eq!(String::from_utf8(v.expect("a value")).expect("text"), value);
        let read = StatusRecord::parse(key.as_bytes(), Some(value.as_bytes())).expect("readable");
        assert_eq!(&read, record);
    }

    /// Values written by Kafka Connect 4.3.1's own schemas and JsonConverter.
    #[test]
    fn the_bytes_are_connects() {
        let running = status(State::Running, "127.0.0.1:8083", 7);
        let json = r#"{"state":"RUNNING","trace":null,"worker_id":"127.0.0.1:8083","generation":7,"version":null}"#;
        let record =
            StatusRecord::Connector { connector: "n".into(), status: Some(running.clone()) };
        check(&record, "status-connector-n", json);
        let failed = Status {
            state: State::Failed,
            trace: Some("x\n\tat".into()),
            version: Some("4.3.1".into()),
            ..running
        };
        let json = r#"{"state":"FAILED","trace":"x\n\tat","worker_id":"127.0.0.1:8083","generation":7,"version":"4.3.1"}"#;
        let record = StatusRecord::Task { connector: "a-b".into(), task: 0, status: Some(failed) };
        check(&record, "status-task-a-b-0", json);
        let topic = TopicStatus {
            name: "t".into(),
            connector: "a:b".into(),
            task: 2,
            discover_timestamp: 1_795_229_778_250,
        };
        let record =
            StatusRecord::Topic { topic: "t".into(), connector: "a:b".into(), status: Some(topic) };
        let json = r#"{"topic":{"name":"t","connector":"a:b","task":2,"discoverTimestamp":1795229778250}}"#;
        check(&record, "status-topic-t:connector-a:b", json);
    }

    #[test]
    fn older_values_have_no_version() {
        let json = br#"{"state":"RUNNING","trace":null,"worker_id":"w","generation":1,"new":{}}"#;
        let read = StatusRecord::parse(b"status-connector-n", Some(json)).expect("readable");
        let expect = status(State::Running, "w", 1);
        assert_eq!(read, StatusRecord::Connector { connector: "n".into(), status: Some(expect) });
    }

    #[test]
    fn destroyed_is_a_tombstone() {
        let gone = Some(status(State::Destroyed, "w", 1));
        let record = StatusRecord::Task { connector: "n".into(), task: 1, status: gone };
        assert_eq!(record.to_key_value(), (b"status-task-n-1".to_vec(), None));
    }

    #[test]
    fn a_failure_of_an_older_generation_is_not_written_over_a_newer_status() {
        let known = status(State::Running, "b", 5);
        assert!(!may_write_safely(Some(&known), &status(State::Failed, "a", 4)));
        assert!(may_write_safely(Some(&known), &status(State::Failed, "a", 5)));
        assert!(may_write_safely(Some(&known), &status(State::Failed, "b", 4)));
        assert!(may_write_safely(None, &status(State::Failed, "a", 0)));
    }

    #[test]
    fn unassigned_does_not_hide_running() {
        let running = status(State::Running, "w", 5);
        assert!(is_stale_task_status(Some(&running), &status(State::Unassigned, "l", 5)));
        assert!(!is_stale_task_status(Some(&running), &status(State::Unassigned, "l", 6)));
        assert!(!is_stale_task_status(Some(&running), &status(State::Failed, "l", 4)));
        assert!(!is_stale_task_status(None, &status(State::Unassigned, "l", 0)));
        let failed = status(State::Failed, "w", 5);
        assert!(!is_stale_task_status(Some(&failed), &status(State::Unassigned, "l", 5)));
    }

    #[test]
    fn what_does_not_fit_is_an_error() {
        for (key, value) in [
            ("status-task-x", "{}"),
            ("status-topic-x", "{}"),
            ("status-connector-x", r#"{"state":"ASLEEP","worker_id":"w","generation":1}"#),
            (
                "status-connector-x",
                r#"{"state":"RUNNING","worker_id":"w","generation":99999999999}"#,
            ),
        ] {
            assert!(
                StatusRecord::parse(key.as_bytes(), Some(value.as_bytes())).is_err(),
                "{key} {value}"
            );
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(
            connector in ".{0,9}",
            task in any::<u32>(),
            trace in prop::option::of(".{0,20}"),
            worker_id in ".{0,9}",
            generation in any::<i32>(),
            version in prop::option::of(".{0,9}"),
        ) {
            let status = Some(Status { state: State::Failed, trace, worker_id, generation, version });
            let record = StatusRecord::Task { connector, task, status };
            let (key, value) = record.to_key_value();
            prop_assert_eq!(StatusRecord::parse(&key, value.as_deref()).expect("readable"), record);
        }

        #[test]
        fn any_bytes_give_a_record_or_an_error(key in any::<Vec<u8>>(), value in any::<Option<Vec<u8>>>()) {
            if let Ok(record) = StatusRecord::parse(&key, value.as_deref()) {
                prop_assert_eq!(record.key(), key);
            }
        }
    }
}
