//! Settings of a pipeline, as the engine uses them.
//!
//! Duty: the typed form of the framework's connector keys (`errors.*`, commit intervals, client
//! overrides). [`crate::validate`] makes them from a connector's properties.

use std::time::Duration;

use crate::ports::ClientOverrides;

/// `errors.*`: what happens to records that fail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tolerance {
    /// `errors.tolerance=all`: a failing record does not stop the task.
    pub all: bool,
    /// `errors.retry.timeout`: how long an operation that may heal is tried again; `None` is for ever.
    pub retry_timeout: Option<Duration>,
    /// `errors.retry.delay.max.ms`: the longest pause between tries.
    pub retry_delay_max: Duration,
    /// `errors.log.enable`: each failure is logged.
    pub log: bool,
    /// `errors.log.include.messages`: with the record in it.
    pub log_messages: bool,
    /// `errors.deadletterqueue.*`: where failing records go.
    pub dead_letters: Option<DeadLetterSettings>,
}

impl Default for Tolerance {
    fn default() -> Self {
        Self {
            all: false,
            retry_timeout: Some(Duration::ZERO),
            retry_delay_max: Duration::from_secs(60),
            log: false,
            log_messages: false,
            dead_letters: None,
        }
    }
}

/// Where failing records go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetterSettings {
    /// The topic, created with one partition if it is not there.
    pub topic: String,
    /// Its replicas, if it must be created; `None` is the broker's default.
    pub replication_factor: Option<i16>,
    /// Whether `__connect.errors.*` headers are added.
    pub headers: bool,
}

/// What every pipeline needs to know beside its connector.
#[derive(Debug, Clone)]
pub struct PipelineSettings {
    /// Failing records.
    pub tolerance: Tolerance,
    /// `offset.flush.interval.ms`: how often progress is stored.
    pub commit_interval: Duration,
    /// `task.shutdown.graceful.timeout.ms`: how long stopping may take.
    pub stop_timeout: Duration,
    /// Bytes that the pipeline may hold between Kafka and the outside system.
    pub budget_bytes: usize,
    /// `producer.override.*`.
    pub producer: ClientOverrides,
    /// `consumer.override.*`.
    pub consumer: ClientOverrides,
    /// `admin.override.*`.
    pub admin: ClientOverrides,
}
