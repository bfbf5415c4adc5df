//! The framework's connector keys, typed.
//!
//! Duty: what Kafka Connect reads of every connector's configuration, whatever the connector: names,
//! classes, converters, error tolerance, topics, exactly-once. Keys, defaults, groups and order are
//! Connect's, so that its tools show the same form. Keys of the connector, of converters and of
//! transforms are their own (see [`crate::build`]).

use std::time::Duration;

use towpath_sdk::config::{ConfigEnum, ConnectorConfig, FieldError, Properties};

/// `errors.tolerance`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ConfigEnum)]
pub enum ErrorsTolerance {
    /// The first failing record fails the task.
    None,
    /// Failing records are skipped, or go to the dead letter queue.
    All,
}

/// `config.action.reload`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ConfigEnum)]
pub enum ReloadAction {
    /// Nothing happens.
    None,
    /// The connector is restarted.
    Restart,
}

/// `exactly.once.support`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ConfigEnum)]
#[config(ignore_case)]
pub enum ExactlyOnceSupport {
    /// Exactly-once where the connector can, else at least once.
    Requested,
    /// Exactly-once, or the connector is refused.
    Required,
}

/// `transaction.boundary`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ConfigEnum)]
#[config(ignore_case)]
pub enum TransactionBoundary {
    /// Each polled batch.
    Poll,
    /// A time.
    Interval,
    /// The connector says where.
    Connector,
}

/// Keys that every connector has.
#[derive(Debug, Clone, ConnectorConfig)]
#[config(group = "Common")]
pub struct CommonKeys {
    /// Globally unique name to use for this connector.
    #[config(key = "name", importance = high, order = 1, width = medium, display = "Connector name", validate = name_is_sound)]
    pub name: String,
    /// The connector: a full class name of Kafka Connect's world, which means that class's defaults,
    /// its simple name, or a short name of Towpath's, which means better defaults.
    #[config(key = "connector.class", importance = high, order = 2, width = long, display = "Connector class")]
    pub connector_class: String,
    /// Which version of the connector's class: one version, or ranges in Maven's notation such as
    /// `[1.0,2.0)`. Any if absent.
    #[config(key = "connector.plugin.version", order = 3, width = medium, display = "Connector version")]
    pub connector_version: Option<String>,
    /// The most tasks that the connector may have.
    #[config(key = "tasks.max", default = 1, importance = high, order = 4, width = short, display = "Tasks max", range(min = 1))]
    pub tasks_max: i32,
    /// Whether a connector that plans more tasks than `tasks.max` fails. If not, the surplus runs and a
    /// warning is logged.
    #[config(key = "tasks.max.enforce", default = true, importance = low, order = 5, width = short, display = "Enforce tasks max")]
    pub tasks_max_enforce: bool,
    /// The converter of record keys; the worker's if absent.
    #[config(key = "key.converter", importance = low, order = 6, width = short, display = "Key converter class", class)]
    pub key_converter: Option<String>,
    /// Which version of the key converter's class, like `connector.plugin.version`.
    #[config(key = "key.converter.plugin.version", importance = low, order = 7, width = short, display = "Key converter version")]
    pub key_converter_version: Option<String>,
    /// The converter of record values; the worker's if absent.
    #[config(key = "value.converter", importance = low, order = 8, width = short, display = "Value converter class", class)]
    pub value_converter: Option<String>,
    /// Which version of the value converter's class, like `connector.plugin.version`.
    #[config(key = "value.converter.plugin.version", importance = low, order = 9, width = short, display = "Value converter version")]
    pub value_converter_version: Option<String>,
    /// The converter of header values; the worker's if absent.
    #[config(key = "header.converter", importance = low, order = 10, width = short, display = "Header converter class", class)]
    pub header_converter: Option<String>,
    /// Which version of the header converter's class, like `connector.plugin.version`.
    #[config(key = "header.converter.plugin.version", importance = low, order = 11, width = short, display = "Header converter version")]
    pub header_converter_version: Option<String>,
    /// Aliases of the transforms to apply to each record, in order.
    #[config(key = "transforms", default = "", importance = low, group = "Transforms", order = 12, width = long, display = "Transforms")]
    pub transforms: Vec<String>,
    /// Aliases of the predicates that transforms refer to.
    #[config(key = "predicates", default = "", importance = low, group = "Predicates", order = 13, width = long, display = "Predicates")]
    pub predicates: Vec<String>,
    /// What happens when a referenced secret changes: `restart` takes the new value by restarting the
    /// connector, `none` keeps the old one until the next restart.
    #[config(key = "config.action.reload", default = "restart", importance = low, order = 14, width = medium, display = "Reload Action")]
    pub reload: ReloadAction,
    /// How long, in milliseconds, an operation that may heal is tried again before its record counts as
    /// failed; -1 is for ever.
    #[config(key = "errors.retry.timeout", default = 0, group = "Error Handling", order = 1, width = medium, display = "Retry Timeout for Errors", range(min = -1))]
    pub retry_timeout_ms: i64,
    /// The longest pause, in milliseconds, between tries.
    #[config(key = "errors.retry.delay.max.ms", default = 60000, group = "Error Handling", order = 2, width = medium, display = "Maximum Delay Between Retries for Errors")]
    pub retry_delay_max: Duration,
    /// Whether a record that fails stops the task (`none`), or is skipped or sent to the dead letter
    /// queue (`all`).
    #[config(key = "errors.tolerance", default = "none", group = "Error Handling", order = 3, width = short, display = "Error Tolerance")]
    pub tolerance: ErrorsTolerance,
    /// Whether each failure is logged, also where it is tolerated.
    #[config(key = "errors.log.enable", default = false, group = "Error Handling", order = 4, width = short, display = "Log Errors")]
    pub log_enable: bool,
    /// Whether the log of a failure holds the record. Off by default, since records are private.
    #[config(key = "errors.log.include.messages", default = false, group = "Error Handling", order = 5, width = short, display = "Log Error Details")]
    pub log_messages: bool,
    /// Bytes that a task may hold between Kafka and the outside system.
    #[config(key = "towpath.buffer.bytes", default = 16777216, importance = low, order = 30, width = short, display = "Buffer", range(min = 65536))]
    pub buffer_bytes: u64,
    /// Settings of the connector's producers, over the worker's.
    #[config(prefix = "producer.override.", importance = low, secret)]
    pub producer: Properties,
    /// Settings of the connector's consumers, over the worker's.
    #[config(prefix = "consumer.override.", importance = low, secret)]
    pub consumer: Properties,
    /// Settings of the connector's admin clients, over the worker's.
    #[config(prefix = "admin.override.", importance = low, secret)]
    pub admin: Properties,
}

/// Keys of the dead letter queue.
#[derive(Debug, Clone, ConnectorConfig)]
#[config(group = "Error Handling")]
pub struct DeadLetterKeys {
    /// The topic that takes records which failed, if `errors.tolerance` is `all`. Empty: none.
    #[config(key = "errors.deadletterqueue.topic.name", default = "", order = 6, width = medium, display = "Dead Letter Queue Topic Name")]
    pub topic: String,
    /// Replicas of that topic, if it must be created.
    #[config(key = "errors.deadletterqueue.topic.replication.factor", default = 3, order = 7, width = medium, display = "Dead Letter Queue Topic Replication Factor")]
    pub replication_factor: i16,
    /// Whether headers say where and why a record failed. The names begin with `__connect.errors.`.
    #[config(key = "errors.deadletterqueue.context.headers.enable", default = false, order = 8, width = medium, display = "Enable Error Context Headers")]
    pub headers: bool,
}

/// Keys of sinks.
#[derive(Debug, Clone, ConnectorConfig)]
#[config(group = "Common")]
pub struct SinkKeys {
    /// The topics to read.
    #[config(key = "topics", default = "", importance = high, order = 4, width = long, display = "Topics")]
    pub topics: Vec<String>,
    /// A Java regular expression; topics whose whole name matches are read, also those that appear
    /// later.
    #[config(key = "topics.regex", default = "", importance = high, order = 4, width = long, display = "Topics regex")]
    pub topics_regex: String,
    /// The dead letter queue.
    #[config(nested)]
    pub dead_letters: DeadLetterKeys,
}

/// Keys of sources.
#[derive(Debug, Clone, ConnectorConfig)]
pub struct SourceKeys {
    /// Names of groups of topics with settings of their own.
    #[config(key = "topic.creation.groups", default = "", importance = low, group = "Topic Creation", order = 1, width = long, display = "Topic Creation Groups")]
    pub creation_groups: Vec<String>,
    /// Whether exactly-once is required of this connector or used where it can be.
    #[config(key = "exactly.once.support", default = "requested", group = "Exactly Once Support", order = 2, width = short, display = "Exactly once support")]
    pub exactly_once: ExactlyOnceSupport,
    /// Where transactions end: with each polled batch, after a time, or where the connector says.
    #[config(key = "transaction.boundary", default = "poll", group = "Exactly Once Support", order = 3, width = short, display = "Transaction Boundary")]
    pub boundary: TransactionBoundary,
    /// How long a transaction lasts with `transaction.boundary=interval`; `offset.flush.interval.ms` of
    /// the worker if absent.
    #[config(key = "transaction.boundary.interval.ms", importance = low, group = "Exactly Once Support", order = 4, width = short, display = "Transaction boundary interval", range(min = 0))]
    pub boundary_interval: Option<Duration>,
    /// A topic of the connector's own for its offsets, created compacted if it is missing; the worker's
    /// if absent. What is not in it yet is taken over from the worker's.
    #[config(key = "offsets.storage.topic", importance = low, group = "offsets.topic", order = 1, width = long, display = "Offsets topic", non_empty)]
    pub offsets_topic: Option<String>,
    /// The dead letter queue. Kafka Connect has none for sources.
    #[config(nested)]
    pub dead_letters: DeadLetterKeys,
}

#[expect(clippy::ptr_arg, reason = "the derive passes the field")]
fn name_is_sound(name: &String) -> Result<(), String> {
    if name.trim().is_empty() {
        return Err("String may not be empty".to_owned());
    }
    let control: Vec<String> =
        name.chars().filter(|c| c.is_control()).map(|c| u32::from(c).to_string()).collect();
    if control.is_empty() {
        return Ok(());
    }
    Err(format!(
        "String may not contain control sequences but had the following ASCII chars: {}",
        control.join(", ")
    ))
}

impl SinkKeys {
    /// What is wrong with the keys together, in Connect's words.
    #[must_use]
    pub fn check(&self) -> Vec<FieldError> {
        let both = |text: &str| {
            vec![FieldError::other("topics", text), FieldError::other("topics.regex", text)]
        };
        let regex = !self.topics_regex.trim().is_empty();
        match (self.topics.is_empty(), regex) {
            (true, false) => both("Must configure one of topics or topics.regex"),
            (false, true) => {
                both("topics and topics.regex are mutually exclusive options, but both are set.")
            }
            (false, false) if self.topics.contains(&self.dead_letters.topic) => {
                let text = format!(
                    "The DLQ topic '{}' may not be included in the list of topics ('topics=[{}]') \
                     consumed by the connector",
                    self.dead_letters.topic,
                    self.topics.join(", ")
                );
                vec![FieldError::other("topics", text)]
            }
            _ => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(properties: &[(&str, &str)]) -> Vec<String> {
        let keys = SinkKeys::parse(&properties.iter().copied().collect()).expect("sound");
        keys.check().iter().map(|e| e.message().to_owned()).collect()
    }

    #[test]
    fn topics_and_regex_exclude_each_other() {
        assert_eq!(texts(&[]).len(), 2);
        assert_eq!(texts(&[("topics", "a"), ("topics.regex", "b")]).len(), 2);
        assert!(texts(&[("topics", "a,b")]).is_empty());
        let dead = texts(&[("topics", "a,b"), ("errors.deadletterqueue.topic.name", "b")]);
        assert!(dead[0].contains("'topics=[a, b]'"), "{dead:?}");
    }

    #[test]
    fn names_without_control_characters() {
        assert!(name_is_sound(&"a/b c".to_owned()).is_ok());
        assert!(name_is_sound(&" ".to_owned()).is_err());
        assert!(name_is_sound(&"x\u{1}y".to_owned()).unwrap_err().ends_with("chars: 1"));
    }
}
