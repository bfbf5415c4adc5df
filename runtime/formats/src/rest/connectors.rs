//! Bodies about connectors and tasks.

use indexmap::IndexMap;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

use crate::Properties;
use crate::config_topic::TargetState;
use crate::status_topic::State;

/// The body of `POST /connectors`.
///
/// A missing name or config isn't refused here: Connect answers the first with a validation error,
/// and the second deserves one too.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CreateConnectorRequest {
    /// The connector's name, as sent. See [`CreateConnectorRequest::trimmed_name`].
    #[serde(default, deserialize_with = "scalar_text")]
    pub name: Option<String>,
    /// Its config.
    #[serde(default)]
    pub config: Option<Properties>,
    /// In which state it starts (KIP-980).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub initial_state: Option<InitialState>,
}

impl CreateConnectorRequest {
    /// The name without white space around it; empty if there is none.
    pub fn trimmed_name(&self) -> &str {
        self.name.as_deref().unwrap_or_default().trim()
    }
}

/// In which state a new connector starts. Read in any case of letters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum InitialState {
    /// It runs.
    #[default]
    Running,
    /// It is paused: its tasks exist but move nothing.
    Paused,
    /// It is stopped: it has no tasks.
    Stopped,
}

impl From<InitialState> for TargetState {
    fn from(state: InitialState) -> Self {
        match state {
            InitialState::Running => Self::Started,
            InitialState::Paused => Self::Paused,
            InitialState::Stopped => Self::Stopped,
        }
    }
}

impl<'de> Deserialize<'de> for InitialState {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        match name.to_ascii_uppercase().as_str() {
            "RUNNING" => Ok(Self::Running),
            "PAUSED" => Ok(Self::Paused),
            "STOPPED" => Ok(Self::Stopped),
            _ => {
                let text =
                    format!("initial_state must be one of RUNNING, PAUSED, STOPPED, not {name:?}");
                Err(serde::de::Error::custom(text))
            }
        }
    }
}

/// What a connector does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ConnectorType {
    /// Outside system → Kafka.
    Source,
    /// Kafka → outside system.
    Sink,
    /// The class isn't known to this worker.
    Unknown,
}

/// A connector's name, config and tasks: the reply to most reads and changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectorInfo {
    /// Its name.
    pub name: String,
    /// Its config as it was sent, with references to secrets unresolved.
    pub config: Properties,
    /// Its tasks.
    pub tasks: Vec<ConnectorTaskId>,
    /// Source or sink.
    #[serde(rename = "type")]
    pub kind: ConnectorType,
}

/// Which task of which connector.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ConnectorTaskId {
    /// The connector.
    pub connector: String,
    /// The task's number, from 0.
    pub task: u32,
}

/// One of `GET /connectors/{name}/tasks`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskInfo {
    /// Which task.
    pub id: ConnectorTaskId,
    /// Its config, with references to secrets unresolved.
    pub config: Properties,
}

/// `GET /connectors/{name}/status`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectorStateInfo {
    /// The connector.
    pub name: String,
    /// The state of the connector itself.
    pub connector: ConnectorState,
    /// The states of its tasks, by number.
    pub tasks: Vec<TaskState>,
    /// Source or sink.
    #[serde(rename = "type")]
    pub kind: ConnectorType,
}

/// The state of a connector itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectorState {
    /// What it does.
    pub state: State,
    /// The advertised `host:port` of its worker.
    pub worker_id: String,
    /// The version of its class, from 4.1 on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// If it failed: the error and its causes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<String>,
}

/// The state of a task; also `GET /connectors/{name}/tasks/{task}/status`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskState {
    /// Its number.
    pub id: u32,
    /// What it does.
    pub state: State,
    /// The advertised `host:port` of its worker.
    pub worker_id: String,
    /// The version of its class, from 4.1 on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// If it failed: the error and its causes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<String>,
}

/// One connector of `GET /connectors?expand=…`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExpandedConnector {
    /// With `expand=status`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<ConnectorStateInfo>,
    /// With `expand=info`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub info: Option<ConnectorInfo>,
}

/// `GET /connectors/{name}/topics`: an object with the connector's name as its only member.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ActiveTopics(IndexMap<String, Topics>);

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Topics {
    topics: Vec<String>,
}

impl ActiveTopics {
    /// The topics that `connector` has used.
    pub fn new(connector: impl Into<String>, topics: Vec<String>) -> Self {
        Self(IndexMap::from([(connector.into(), Topics { topics })]))
    }

    /// The topics listed for `connector`.
    pub fn of(&self, connector: &str) -> Option<&[String]> {
        self.0.get(connector).map(|entry| entry.topics.as_slice())
    }
}

/// A text; a number or a boolean counts as the text it is written as.
fn scalar_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let raw = Box::<RawValue>::deserialize(deserializer)?;
    crate::map::text_of(&raw).ok_or_else(|| serde::de::Error::custom("name must be a string"))
}
