//! Bodies about the worker itself: its version, its health, its loggers; errors.

use serde::{Deserialize, Serialize};

/// `GET /`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerInfo {
    /// The worker's version.
    pub version: String,
    /// The commit it was built from.
    pub commit: String,
    /// The id of the Kafka cluster behind it.
    pub kafka_cluster_id: Option<String>,
}

/// `GET /health` (KIP-1017).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// Ready or not.
    pub status: HealthStatus,
    /// Why.
    pub message: String,
}

/// How a worker is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HealthStatus {
    /// Ready for requests.
    Healthy,
    /// Not ready yet.
    Starting,
    /// Was ready, doesn't answer.
    Unhealthy,
}

impl HealthStatus {
    /// The status code that goes with it.
    pub fn http_status(self) -> u16 {
        match self {
            Self::Healthy => 200,
            Self::Starting => 503,
            Self::Unhealthy => 500,
        }
    }
}

/// The body of every failure.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorBody {
    /// The HTTP status.
    pub error_code: u16,
    /// What went wrong.
    pub message: String,
}

/// The reply to a change of offsets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// What was done.
    pub message: String,
}

/// One logger of `GET /admin/loggers`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoggerLevel {
    /// Its level in capitals.
    pub level: String,
    /// When it was set through the API, in milliseconds since 1970.
    pub last_modified: Option<i64>,
}

/// The body of `PUT /admin/loggers/{logger}`. Connect ignores other members here.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetLoggerLevel {
    /// The wanted level.
    #[serde(default)]
    pub level: Option<String>,
}
