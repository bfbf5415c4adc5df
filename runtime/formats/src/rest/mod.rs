//! The bodies of Kafka Connect's REST API.
//!
//! Invariants: members, their names, their order and where `null` stands or a member is left out are
//! those of Kafka Connect 4.3.1. These shapes hold only what Connect's clients know; our own facts
//! have endpoints of their own. Request bodies refuse unknown members, as Connect does.
//!
//! Deliberately absent: paths, status codes, HTTP. The error texts are in [`crate::messages`].

mod connectors;
mod offsets;
mod plugins;
mod worker;

pub use connectors::{
    ActiveTopics, ConnectorInfo, ConnectorState, ConnectorStateInfo, ConnectorTaskId,
    ConnectorType, CreateConnectorRequest, ExpandedConnector, InitialState, TaskInfo, TaskState,
};
pub use offsets::{ConnectorOffset, ConnectorOffsets, SinkOffset};
pub use plugins::{
    ConfigInfo, ConfigInfos, ConfigKeyInfo, ConfigType, ConfigValueInfo, Importance, PluginInfo,
    PluginType, Width,
};
pub use worker::{
    ErrorBody, Health, HealthStatus, LoggerLevel, Message, SetLoggerLevel, WorkerInfo,
};

#[cfg(test)]
mod tests;
