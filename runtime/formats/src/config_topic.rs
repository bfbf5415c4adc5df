//! The records of Connect's config topic (one partition, compacted).
//!
//! Invariants: what this module writes, Kafka Connect 2.0 to 4.3 reads with the same meaning, and the
//! bytes are those that Connect would write (but for [`Stamp`] and a commit's digest, below). What Connect wrote is read
//! here; members that this version doesn't know are ignored, keys that it doesn't know come back as
//! [`ConfigRecord::Unknown`].
//!
//! A connector's record may carry a [`Stamp`] beside `properties`: the version behind an `ETag`, and
//! who changed it when. Connect reads only `properties`, so a worker on the JVM is not disturbed; a
//! connector that it wrote simply has no stamp. In the same way a commit may carry a digest of the task
//! configs that it commits, by which a reader sees that two writers' records got mixed.
//!
//! Deliberately absent: what records mean together (a task's config counts only from its commit on).

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::{Error, Kind, shown};
use crate::{Properties, to_java_json};

const CONNECTOR: &str = "connector-";
const TASK: &str = "task-";
const COMMIT: &str = "commit-";
const TARGET_STATE: &str = "target-state-";
const TASKS_FENCING: &str = "tasks-fencing-";
const RESTART: &str = "restart-connector-";
const SESSION_KEY: &str = "session-key";
const LOGGER: &str = "logger-cluster-";

/// One record of the config topic. Where a value is an `Option`, `None` is a tombstone.
#[derive(Clone, Debug, PartialEq)]
pub enum ConfigRecord {
    /// `connector-<name>`: a connector's config. `None`: the connector is deleted.
    Connector {
        /// The connector.
        name: String,
        /// Its config.
        config: Option<ConnectorConfig>,
    },
    /// `task-<connector>-<n>`: one task's config, which counts once a commit follows.
    Task {
        /// The connector.
        connector: String,
        /// The task's number, from 0.
        task: u32,
        /// Its config, with references to secrets unresolved.
        properties: Option<Properties>,
    },
    /// `commit-<connector>`: the task configs written before this are the ones to run.
    Commit {
        /// The connector.
        connector: String,
        /// How many tasks there are.
        tasks: Option<u32>,
        /// A digest of the configs that this commits, if a Towpath worker wrote it.
        digest: Option<u64>,
    },
    /// `target-state-<connector>`: what the user wants. `None`: started.
    TargetState {
        /// The connector.
        connector: String,
        /// The wanted state.
        state: Option<TargetState>,
    },
    /// `tasks-fencing-<connector>`: the transactional ids of tasks below this count are fenced.
    TasksFencing {
        /// The connector.
        connector: String,
        /// How many tasks may have written since.
        tasks: Option<u32>,
    },
    /// `restart-connector-<connector>`: a request to restart, of no meaning once it is old.
    RestartConnector {
        /// The connector.
        connector: String,
        /// What to restart.
        request: Option<RestartRequest>,
    },
    /// `session-key`: the key with which workers on the JVM sign requests to each other.
    SessionKey(SessionKey),
    /// `logger-cluster-<namespace>`: a log level for all workers, of no meaning once it is old.
    LoggerCluster {
        /// The logger.
        namespace: String,
        /// The level, as the user wrote it.
        level: Option<String>,
    },
    /// A key that this version doesn't know; kept as it is.
    Unknown {
        /// The key's bytes.
        key: Vec<u8>,
        /// The value's bytes.
        value: Option<Vec<u8>>,
    },
}

/// The value of a `connector-` record.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ConnectorConfig {
    /// The config as the user sent it, with references to secrets unresolved.
    pub properties: Properties,
    /// Which version this is and where it comes from, if a Towpath worker wrote it.
    pub stamp: Option<Stamp>,
}

/// Our own facts about a connector's config; Connect ignores them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamp {
    /// Grows by one with each change of this connector's config; the `ETag`.
    pub version: u64,
    /// When it was changed, in milliseconds since 1970.
    pub changed_at_ms: i64,
    /// Who changed it, as far as the REST API could tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changed_by: Option<String>,
    /// How it was changed: `create`, `update`, `patch` …
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<String>,
}

/// What the user wants a connector to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum TargetState {
    /// Run.
    #[default]
    Started,
    /// Keep the tasks and their resources, move no data.
    Paused,
    /// Run no task at all.
    Stopped,
}

/// What `POST /connectors/{name}/restart` asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct RestartRequest {
    /// Restart tasks too, not only the connector itself.
    pub include_tasks: bool,
    /// Restart only what is failed.
    pub only_failed: bool,
}

/// The JVM workers' session key; passed through unread. `Debug` doesn't show it.
#[derive(Clone, PartialEq, Eq)]
pub struct SessionKey(Option<Vec<u8>>);

impl SessionKey {
    /// The record's value, as it is.
    pub fn as_bytes(&self) -> Option<&[u8]> {
        self.0.as_deref()
    }
}

impl std::fmt::Debug for SessionKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SessionKey(…)")
    }
}

impl TargetState {
    /// Connect's name: `STARTED`, `PAUSED`, `STOPPED`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Started => "STARTED",
            Self::Paused => "PAUSED",
            Self::Stopped => "STOPPED",
        }
    }

    /// The state of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Started, Self::Paused, Self::Stopped].into_iter().find(|state| state.name() == name)
    }

    /// What workers older than 3.5 are told, which don't know `STOPPED`.
    fn v1_name(self) -> &'static str {
        if self == Self::Stopped { Self::Paused.name() } else { self.name() }
    }
}

#[derive(Serialize)]
struct ConnectorValue<'a> {
    properties: &'a Properties,
    #[serde(skip_serializing_if = "Option::is_none")]
    towpath: Option<&'a Stamp>,
}

#[derive(Deserialize)]
struct PropertiesValue {
    properties: Properties,
    /// Lenient: a stamp of a later version must not hide the config.
    #[serde(default)]
    towpath: Option<Value>,
}

#[derive(Serialize, Deserialize)]
struct CommitValue {
    tasks: u32,
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "lenient")]
    towpath: Option<CommitStamp>,
}

/// Our own fact about a commit; Connect ignores it.
#[derive(Serialize, Deserialize)]
struct CommitStamp {
    /// In hexadecimal, since JSON's numbers are not all exact.
    digest: String,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct FencingValue {
    task_count: u32,
}

#[derive(Serialize, Deserialize)]
struct TargetStateValue {
    state: Option<String>,
    #[serde(rename = "state.v2")]
    state_v2: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct RestartValue {
    #[serde(default)]
    include_tasks: bool,
    #[serde(default)]
    only_failed: bool,
}

#[derive(Serialize, Deserialize)]
struct LoggerValue {
    level: String,
}

impl ConfigRecord {
    /// Reads one record.
    ///
    /// # Errors
    /// If the key has a known prefix but the rest of it, or the value, isn't what belongs there.
    pub fn parse(key: &[u8], value: Option<&[u8]>) -> Result<Self, Error> {
        let text =
            std::str::from_utf8(key).map_err(|_| Error::new(shown(key), Kind::KeyNotText))?;
        // To Connect's converter the JSON text null is the same as no value.
        let original = value;
        let value = value.filter(|v| v.trim_ascii() != b"null");
        let after = |prefix| text.strip_prefix(prefix).map(str::to_owned);
        let read = || -> Result<Self, Kind> {
            if let Some(name) = after(CONNECTOR) {
                return Ok(Self::Connector {
                    name,
                    config: value.map(connector_config).transpose()?,
                });
            }
            if let Some(rest) = after(TASK) {
                let (connector, task) =
                    split_task(&rest).ok_or(Kind::KeyShape("task-<connector>-<number>"))?;
                let properties = parsed::<PropertiesValue>(value)?.map(|v| v.properties);
                return Ok(Self::Task { connector: connector.to_owned(), task, properties });
            }
            if let Some(connector) = after(COMMIT) {
                let commit = parsed::<CommitValue>(value)?;
                let stamp = commit.as_ref().and_then(|v| v.towpath.as_ref());
                let digest = stamp.and_then(|s| u64::from_str_radix(&s.digest, 16).ok());
                return Ok(Self::Commit { connector, tasks: commit.map(|v| v.tasks), digest });
            }
            if let Some(connector) = after(TARGET_STATE) {
                return Ok(Self::TargetState {
                    connector,
                    state: value.map(target_state).transpose()?,
                });
            }
            if let Some(connector) = after(TASKS_FENCING) {
                let tasks = parsed::<FencingValue>(value)?.map(|v| v.task_count);
                return Ok(Self::TasksFencing { connector, tasks });
            }
            if let Some(connector) = after(RESTART) {
                let request = parsed::<RestartValue>(value)?.map(|v| RestartRequest {
                    include_tasks: v.include_tasks,
                    only_failed: v.only_failed,
                });
                return Ok(Self::RestartConnector { connector, request });
            }
            if let Some(namespace) = after(LOGGER) {
                let level = parsed::<LoggerValue>(value)?.map(|v| v.level);
                return Ok(Self::LoggerCluster { namespace, level });
            }
            let value = original.map(<[u8]>::to_vec);
            if text == SESSION_KEY {
                return Ok(Self::SessionKey(SessionKey(value)));
            }
            Ok(Self::Unknown { key: key.to_vec(), value })
        };
        read().map_err(|kind| Error::new(shown(key), kind))
    }

    /// The record's key.
    pub fn key(&self) -> Vec<u8> {
        match self {
            Self::Connector { name, .. } => format!("{CONNECTOR}{name}").into_bytes(),
            Self::Task { connector, task, .. } => format!("{TASK}{connector}-{task}").into_bytes(),
            Self::Commit { connector, .. } => format!("{COMMIT}{connector}").into_bytes(),
            Self::TargetState { connector, .. } => {
                format!("{TARGET_STATE}{connector}").into_bytes()
            }
            Self::TasksFencing { connector, .. } => {
                format!("{TASKS_FENCING}{connector}").into_bytes()
            }
            Self::RestartConnector { connector, .. } => {
                format!("{RESTART}{connector}").into_bytes()
            }
            Self::SessionKey(_) => SESSION_KEY.as_bytes().to_vec(),
            Self::LoggerCluster { namespace, .. } => format!("{LOGGER}{namespace}").into_bytes(),
            Self::Unknown { key, .. } => key.clone(),
        }
    }

    /// The record as key and value, ready to produce; a value of `None` is a tombstone.
    pub fn to_key_value(&self) -> (Vec<u8>, Option<Vec<u8>>) {
        (self.key(), self.value())
    }

    fn value(&self) -> Option<Vec<u8>> {
        match self {
            Self::Connector { config, .. } => config.as_ref().map(|config| {
                let stamp = config.stamp.as_ref();
                json(&ConnectorValue { properties: &config.properties, towpath: stamp })
            }),
            Self::Task { properties, .. } => properties
                .as_ref()
                .map(|properties| json(&ConnectorValue { properties, towpath: None })),
            Self::Commit { tasks, digest, .. } => tasks.map(|tasks| {
                let towpath = digest.map(|d| CommitStamp { digest: format!("{d:016x}") });
                json(&CommitValue { tasks, towpath })
            }),
            Self::TargetState { state, .. } => state.map(|state| {
                let (v1, v2) = (state.v1_name().to_owned(), state.name().to_owned());
                json(&TargetStateValue { state: Some(v1), state_v2: Some(v2) })
            }),
            Self::TasksFencing { tasks, .. } => {
                tasks.map(|task_count| json(&FencingValue { task_count }))
            }
            Self::RestartConnector { request, .. } => request.map(|request| {
                let RestartRequest { include_tasks, only_failed } = request;
                json(&RestartValue { include_tasks, only_failed })
            }),
            Self::SessionKey(SessionKey(value)) | Self::Unknown { value, .. } => value.clone(),
            Self::LoggerCluster { level, .. } => {
                level.as_ref().map(|level| json(&LoggerValue { level: level.clone() }))
            }
        }
    }
}

/// Splits `<connector>-<n>`; a connector's name may itself hold dashes.
pub(crate) fn split_task(rest: &str) -> Option<(&str, u32)> {
    let (connector, task) = rest.rsplit_once('-')?;
    let number: u32 = task.parse().ok()?;
    // Only the form that is written: not "+1", not "01".
    (number.to_string() == task).then_some((connector, number))
}

/// A stamp of a later version must not hide the record.
fn lenient<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<CommitStamp>, D::Error> {
    let value = Value::deserialize(from)?;
    Ok(serde_json::from_value(value).ok())
}

fn connector_config(value: &[u8]) -> Result<ConnectorConfig, Kind> {
    let PropertiesValue { properties, towpath } =
        serde_json::from_slice(value).map_err(Kind::Json)?;
    let stamp = towpath.and_then(|stamp| serde_json::from_value(stamp).ok());
    Ok(ConnectorConfig { properties, stamp })
}

fn target_state(value: &[u8]) -> Result<TargetState, Kind> {
    let TargetStateValue { state, state_v2 } = serde_json::from_slice(value).map_err(Kind::Json)?;
    let name = state_v2.or(state).ok_or(Kind::Member("state is missing"))?;
    let allowed = "STARTED, PAUSED, STOPPED";
    TargetState::from_name(&name).ok_or(Kind::Name { found: name, allowed })
}

fn parsed<'a, T: Deserialize<'a>>(value: Option<&'a [u8]>) -> Result<Option<T>, Kind> {
    value.map(serde_json::from_slice).transpose().map_err(Kind::Json)
}

/// The shapes above have text keys and finite numbers only, so writing them can't fail.
fn json<T: Serialize>(value: &T) -> Vec<u8> {
    to_java_json(value).unwrap_or_default().into_bytes()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn connector(properties: Properties) -> ConfigRecord {
        let config = ConnectorConfig { properties, stamp: None };
        ConfigRecord::Connector { name: "n".into(), config: Some(config) }
    }

    #[track_caller]
    fn check(record: &ConfigRecord, key: &str, value: &str) {
        let (k, v) = record.to_key_value();
        assert_eq!(String::from_utf8(k).expect("text"), key);
        assert_eq!(String::from_utf8(v.expect("a value")).expect("text"), value);
        let read = ConfigRecord::parse(key.as_bytes(), Some(value.as_bytes())).expect("readable");
        assert_eq!(&read, record);
    }

    /// Values written by Kafka Connect 4.3.1's own schemas and JsonConverter.
    #[test]
    fn the_bytes_are_connects() {
        let properties = Properties::from([("name", "n"), ("text", "é \u{1f} \" 😀")]);
        let json = r#"{"properties":{"name":"n","text":"é \u001F \" \uD83D\uDE00"}}"#;
        check(&connector(properties.clone()), "connector-n", json);
        let task =
            ConfigRecord::Task { connector: "a-b".into(), task: 12, properties: Some(properties) };
        check(&task, "task-a-b-12", json);
        check(
            &ConfigRecord::Commit { connector: "n".into(), tasks: Some(3), digest: None },
            "commit-n",
            r#"{"tasks":3}"#,
        );
        check(
            &ConfigRecord::Commit { connector: "n".into(), tasks: Some(3), digest: Some(255) },
            "commit-n",
            r#"{"tasks":3,"towpath":{"digest":"00000000000000ff"}}"#,
        );
        let fencing = ConfigRecord::TasksFencing { connector: "n".into(), tasks: Some(3) };
        check(&fencing, "tasks-fencing-n", r#"{"task-count":3}"#);
        for (state, json) in [
            (TargetState::Started, r#"{"state":"STARTED","state.v2":"STARTED"}"#),
            (TargetState::Paused, r#"{"state":"PAUSED","state.v2":"PAUSED"}"#),
            (TargetState::Stopped, r#"{"state":"PAUSED","state.v2":"STOPPED"}"#),
        ] {
            let record = ConfigRecord::TargetState { connector: "n".into(), state: Some(state) };
            check(&record, "target-state-n", json);
        }
        let request = RestartRequest { include_tasks: true, only_failed: false };
        let restart =
            ConfigRecord::RestartConnector { connector: "n".into(), request: Some(request) };
        check(&restart, "restart-connector-n", r#"{"include-tasks":true,"only-failed":false}"#);
        let logger =
            ConfigRecord::LoggerCluster { namespace: "a.b".into(), level: Some("DEBUG".into()) };
        check(&logger, "logger-cluster-a.b", r#"{"level":"DEBUG"}"#);
        let session = r#"{"key":"a2V5","algorithm":"HmacSHA256","creation-timestamp":1}"#;
        let record =
            ConfigRecord::parse(b"session-key", Some(session.as_bytes())).expect("readable");
        check(&record, "session-key", session);
        assert!(!format!("{record:?}").contains("a2V5"));
    }

    #[test]
    fn a_stamp_stands_beside_the_properties() {
        let stamp =
            Stamp { version: 7, changed_at_ms: 1, changed_by: Some("ann".into()), action: None };
        let config =
            ConnectorConfig { properties: Properties::from([("a", "b")]), stamp: Some(stamp) };
        let record = ConfigRecord::Connector { name: "n".into(), config: Some(config) };
        let json = r#"{"properties":{"a":"b"},"towpath":{"version":7,"changed_at_ms":1,"changed_by":"ann"}}"#;
        check(&record, "connector-n", json);
    }

    #[test]
    fn a_strange_stamp_does_not_hide_the_config() {
        let json = br#"{"other":[1],"properties":{"a":"b"},"towpath":{"version":"x"}}"#;
        let read = ConfigRecord::parse(b"connector-n", Some(json)).expect("readable");
        assert_eq!(read, connector(Properties::from([("a", "b")])));
    }

    #[test]
    fn tombstones_and_json_null_both_delete() {
        for value in [None, Some(b"null".as_slice())] {
            let read = ConfigRecord::parse(b"connector-n", value).expect("readable");
            assert_eq!(read, ConfigRecord::Connector { name: "n".into(), config: None });
            assert_eq!(read.to_key_value(), (b"connector-n".to_vec(), None));
        }
    }

    #[test]
    fn old_target_states_have_no_second_member() {
        let read = ConfigRecord::parse(b"target-state-n", Some(br#"{"state":"PAUSED"}"#))
            .expect("readable");
        assert_eq!(
            read,
            ConfigRecord::TargetState { connector: "n".into(), state: Some(TargetState::Paused) }
        );
    }

    #[test]
    fn unknown_keys_are_kept() {
        let read = ConfigRecord::parse(b"cluster-id", Some(b"x")).expect("readable");
        assert_eq!(read.to_key_value(), (b"cluster-id".to_vec(), Some(b"x".to_vec())));
    }

    #[test]
    fn what_does_not_fit_is_an_error_that_names_the_key() {
        for (key, value, expect) in [
            ("task-x", "{}", "the key should look like task-<connector>-<number>"),
            ("task-x-+1", "{}", "the key should look like task-<connector>-<number>"),
            ("task-x-99999999999", "{}", "the key should look like task-<connector>-<number>"),
            ("connector-x", "{}", "missing field `properties`"),
            ("connector-x", "{", "the JSON does not fit"),
            ("commit-x", r#"{"tasks":-1}"#, "the JSON does not fit"),
            (
                "target-state-x",
                r#"{"state":"ASLEEP"}"#,
                "\"ASLEEP\" is none of STARTED, PAUSED, STOPPED",
            ),
            ("target-state-x", "{}", "the member state is missing"),
        ] {
            let error = ConfigRecord::parse(key.as_bytes(), Some(value.as_bytes()))
                .expect_err(key)
                .to_string();
            assert!(error.contains(expect) && error.contains(key), "{error}");
        }
        assert!(ConfigRecord::parse(b"\xff", None).is_err());
    }

    fn properties() -> impl Strategy<Value = Properties> {
        prop::collection::vec((".{0,8}", ".{0,12}"), 0..5).prop_map(|v| v.into_iter().collect())
    }

    fn record() -> impl Strategy<Value = ConfigRecord> {
        let stamp =
            (any::<u64>(), any::<i64>(), prop::option::of(".{0,6}"), prop::option::of(".{0,6}"))
                .prop_map(|(version, changed_at_ms, changed_by, action)| Stamp {
                    version,
                    changed_at_ms,
                    changed_by,
                    action,
                });
        let config = (properties(), prop::option::of(stamp))
            .prop_map(|(properties, stamp)| ConnectorConfig { properties, stamp });
        let state = prop::sample::select(vec![
            TargetState::Started,
            TargetState::Paused,
            TargetState::Stopped,
        ]);
        let request = any::<(bool, bool)>()
            .prop_map(|(include_tasks, only_failed)| RestartRequest { include_tasks, only_failed });
        prop_oneof![
            (".{0,9}", prop::option::of(config))
                .prop_map(|(name, config)| ConfigRecord::Connector { name, config }),
            (".{0,9}", any::<u32>(), prop::option::of(properties())).prop_map(
                |(connector, task, properties)| ConfigRecord::Task { connector, task, properties }
            ),
            (".{0,9}", any::<Option<u32>>(), any::<Option<u64>>()).prop_map(
                |(connector, tasks, digest)| {
                    let digest = tasks.and(digest);
                    ConfigRecord::Commit { connector, tasks, digest }
                }
            ),
            (".{0,9}", prop::option::of(state))
                .prop_map(|(connector, state)| ConfigRecord::TargetState { connector, state }),
            (".{0,9}", any::<Option<u32>>())
                .prop_map(|(connector, tasks)| ConfigRecord::TasksFencing { connector, tasks }),
            (".{0,9}", prop::option::of(request)).prop_map(|(connector, request)| {
                ConfigRecord::RestartConnector { connector, request }
            }),
            (".{0,9}", prop::option::of(".{0,9}"))
                .prop_map(|(namespace, level)| ConfigRecord::LoggerCluster { namespace, level }),
        ]
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(record in record()) {
            let (key, value) = record.to_key_value();
            prop_assert_eq!(ConfigRecord::parse(&key, value.as_deref()).expect("readable"), record);
        }

        #[test]
        fn any_bytes_give_a_record_or_an_error(key in any::<Vec<u8>>(), value in any::<Option<Vec<u8>>>()) {
            if let Ok(record) = ConfigRecord::parse(&key, value.as_deref()) {
                prop_assert_eq!(record.key(), key);
            }
        }
    }
}
