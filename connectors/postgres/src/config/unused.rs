//! Debezium's keys that tune what does not exist here.

use towpath_sdk::config::{ConnectorConfig, Properties};

macro_rules! unused {
    (
        $($(#[doc = $doc:literal])+ $key:literal $field:ident, $advice:literal;)+
        prefixes: $($(#[doc = $group:literal])+ $prefix:literal $under:ident, $hint:literal;)+
    ) => {
        /// Keys that are understood and have nothing to tune. Each is marked as outdated, so that
        /// whoever sets it is told.
        #[derive(Debug, Clone, ConnectorConfig)]
        #[config(group = "Without effect")]
        pub struct Unused {
            $(
                $(#[doc = $doc])+
                #[config(key = $key, importance = low, deprecated = $advice)]
                pub $field: Option<String>,
            )+
            $(
                $(#[doc = $group])+
                #[config(prefix = $prefix, importance = low, deprecated = $hint)]
                pub $under: Properties,
            )+
        }
    };
}

unused! {
    /// Debezium: how long the thread that makes batches sleeps while there is nothing.
    "poll.interval.ms" poll_interval, "leave it out: records are handed over as they come";
    /// Debezium: how long a batch waits for more.
    "poll.dispatch.interval.ms" poll_dispatch, "leave it out: records are handed over as they come";
    /// Debezium: the most records in its queue.
    "max.queue.size" max_queue_size,
        "leave it out: what is held is bounded in bytes by max.queue.size.in.bytes";
    /// Debezium: how many rows the driver fetches at a time in a snapshot.
    "snapshot.fetch.size" snapshot_fetch_size,
        "leave it out: rows are streamed, and what is held is bounded by max.queue.size.in.bytes";
    /// Debezium: how many rows the driver fetches at a time.
    "query.fetch.size" query_fetch_size,
        "leave it out: rows are streamed, and what is held is bounded by max.queue.size.in.bytes";
    /// Debezium: into how many parts tables are cut for its threads.
    "snapshot.max.threads.multiplier" threads_multiplier,
        "leave it out: tables are cut into ranges of 8 MiB by themselves";
    /// Debezium: whether a thread reads whole tables.
    "legacy.snapshot.max.threads" legacy_threads,
        "leave it out: tables are cut into ranges of 8 MiB by themselves";
    /// Debezium: the isolation of the snapshot's transaction.
    "snapshot.isolation.mode" isolation,
        "leave it out: all rows are read under one exported snapshot in REPEATABLE READ, whatever it says";
    /// Debezium: whether the schema is part of a snapshot that the configuration puts together.
    "snapshot.mode.configuration.based.snapshot.schema" based_schema,
        "leave it out: schemas are always read";
    /// Debezium: whether the schema is read again if it is lost.
    "snapshot.mode.configuration.based.snapshot.on.schema.error" based_on_schema_error,
        "leave it out: schemas are always read";
    /// Debezium: when schemas in memory are read anew.
    "schema.refresh.mode" schema_refresh,
        "leave it out: a table's schema is what the stream says of it";
    /// Debezium: how many names of topics it keeps.
    "topic.cache.size" topic_cache, "leave it out: a table keeps its topic's name";
    /// Debezium: how often it tries to connect to a slot.
    "slot.max.retries" slot_max_retries,
        "leave it out: a slot in use is waited for, with the process that has it in the status";
    /// Debezium: how long it waits before it restarts after an error.
    "retriable.restart.connector.wait.ms" restart_wait,
        "leave it out: pauses grow from 100 ms to 60 s by themselves, and the status shows them";
    /// Debezium: how long it waits for a confirmed position to be flushed.
    "lsn.flush.timeout.ms" lsn_flush_timeout, "leave it out: nothing waits for it";
    /// Debezium: what it does after that time.
    "lsn.flush.timeout.action" lsn_flush_timeout_action, "leave it out: nothing waits for it";
    /// Debezium: how long the check of a connection may take.
    "connection.validation.timeout.ms" validation_timeout,
        "leave it out: connecting may take 30 seconds";
    /// Debezium: how long it waits for its threads at the end.
    "executor.shutdown.timeout.ms" shutdown_timeout, "leave it out: there are no such threads";
    /// Debezium: which keys are secrets.
    "custom.sanitize.pattern" sanitize_pattern,
        "leave it out: secrets are known by their keys and shown nowhere";
    /// Debezium: further names of its metrics.
    "custom.metric.tags" metric_tags, "leave it out: metrics are labelled by connector and task";
    /// Debezium: whether it counts latencies.
    "statistics.metrics.enabled" statistics, "leave it out: metrics are always there";
    prefixes:
    /// Debezium: where it keeps schemas in memory.
    "memory.management." memory, "leave it out: schemas are kept in memory";
    /// Debezium: incremental snapshots.
    "incremental.snapshot." incremental,
        "leave it out: no watermarks are written, and tables may be altered meanwhile";
    /// Debezium: signals.
    "signal." signal,
        "leave it out: signals are taken as they come, those of a topic over the worker's own connection";
    /// Debezium: notifications.
    "notification." notification, "leave it out: notifications go to a topic and to the log only";
    /// Debezium: OpenLineage.
    "openlineage.integration." open_lineage, "leave it out: OpenLineage is not supported";
    /// Debezium: switches of its own developers.
    "internal." internal, "leave it out: it is about the inside of Debezium";
}
