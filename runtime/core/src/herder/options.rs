//! Settings of the herder.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::ports::TableSpec;

/// Settings of the herder.
#[derive(Clone)]
pub struct HerderOptions {
    /// `group.id`: the fleet's name, and the first part of transactional ids.
    pub group_id: String,
    /// The advertised `host:port` of this worker's REST API: its name in statuses.
    pub worker_id: String,
    /// The config topic; it has one partition.
    pub config_topic: TableSpec,
    /// The status topic.
    pub status_topic: TableSpec,
    /// When connectors and tasks that failed are started again.
    pub restarts: RestartPolicy,
    /// Show a task as FAILED once it has waited this long, for alerts that look for it. `None`: it stays
    /// RUNNING, as far as Connect's endpoints can tell.
    pub waiting_is_failed_after: Option<Duration>,
    /// `topic.tracking.enable`: note which topics a connector uses.
    pub topic_tracking: bool,
    /// `topic.tracking.allow.reset`: let people reset these notes.
    pub topic_tracking_reset: bool,
    /// How long a change may take before its caller is told at which stage it hangs.
    pub request_timeout: Duration,
    /// How long a read waits for a worker that is starting, and a health check for the herder.
    pub health_timeout: Duration,
    /// How long the first attempt to join the fleet goes on while another worker holds the seat: longer
    /// than a session, so that a worker can follow its own crashed predecessor.
    pub seat_timeout: Duration,
    /// How long tasks may take to end when the worker goes down.
    pub shutdown_timeout: Duration,
    /// Sets a level that somebody set for a logger of all workers.
    pub loggers: Option<LoggerHook>,
}

/// Sets a logger's level on this worker: the logger's name, and the level as the user wrote it.
pub type LoggerHook = Arc<dyn Fn(&str, &str) + Send + Sync>;

/// When something that failed is started again by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RestartPolicy {
    /// The first pause; each further one is twice as long.
    pub first: Duration,
    /// The longest pause.
    pub longest: Duration,
    /// After running this long, the next failure counts as the first.
    pub healthy_after: Duration,
    /// How often in a row; `None` is without a limit. Waiting for something that may heal, such as a
    /// target that is down, is not limited.
    pub limit: Option<u32>,
}

impl Default for RestartPolicy {
    fn default() -> Self {
        Self {
            first: Duration::from_secs(1),
            longest: Duration::from_secs(300),
            healthy_after: Duration::from_secs(600),
            limit: None,
        }
    }
}

impl HerderOptions {
    /// Connect's defaults for the worker `worker_id` of the fleet `group_id`, with internal topics
    /// named `config_topic` and `status_topic`.
    #[must_use]
    pub fn new(
        group_id: impl Into<String>,
        worker_id: impl Into<String>,
        config_topic: impl Into<String>,
        status_topic: impl Into<String>,
    ) -> Self {
        let worker_id = worker_id.into();
        let table = |topic: String, partitions, purpose| TableSpec {
            topic,
            partitions: Some(partitions),
            replication_factor: Some(3),
            config: BTreeMap::new(),
            purpose,
            client_id: format!("towpath-{worker_id}-{purpose}s"),
        };
        Self {
            group_id: group_id.into(),
            config_topic: table(config_topic.into(), 1, "config"),
            status_topic: table(status_topic.into(), 5, "status"),
            worker_id,
            restarts: RestartPolicy::default(),
            waiting_is_failed_after: None,
            topic_tracking: true,
            topic_tracking_reset: true,
            request_timeout: Duration::from_secs(90),
            health_timeout: Duration::from_secs(10),
            seat_timeout: Duration::from_secs(60),
            shutdown_timeout: Duration::from_secs(15),
            loggers: None,
        }
    }
}

impl fmt::Debug for HerderOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HerderOptions")
            .field("group_id", &self.group_id)
            .field("worker_id", &self.worker_id)
            .field("config_topic", &self.config_topic.topic)
            .field("status_topic", &self.status_topic.topic)
            .field("restarts", &self.restarts)
            .finish_non_exhaustive()
    }
}
