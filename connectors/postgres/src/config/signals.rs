//! Signals, notifications, and snapshots that go on beside the stream.

use towpath_sdk::config::{ConnectorConfig, FieldError};

/// A channel of signals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Channel {
    /// A table of the database.
    Source,
    /// A topic.
    Kafka,
}

/// Signals and notifications.
#[derive(Debug, Clone, ConnectorConfig)]
#[config(group = "Signals and notifications", validate = Signals::check)]
pub struct Signals {
    /// The table of signals, `schema.table`. Its first three columns are an id, a type and particulars
    /// as JSON. It is published and its changes are shown whatever the filters say.
    #[config(none = "")]
    pub signal_data_collection: Option<String>,
    /// Where signals come from beside the REST API (`POST /towpath/v1/connectors/<name>/signals`):
    /// `source` is `signal.data.collection`, `kafka` is `signal.kafka.topic`.
    #[config(default = "source", one_of("source", "kafka"))]
    pub signal_enabled_channels: Vec<String>,
    /// The topic of signals: a record's key is the `topic.prefix` that it is for, its value is JSON with
    /// `type` and `data`. Without it: `<topic.prefix>-signal`.
    #[config(none = "")]
    pub signal_kafka_topic: Option<String>,
    /// Where notifications of snapshots go: `sink` is `notification.sink.topic.name`, `log` the worker's
    /// log.
    #[config(default = "", one_of("sink", "log"))]
    pub notification_enabled_channels: Vec<String>,
    /// The topic of notifications.
    #[config(none = "")]
    pub notification_sink_topic_name: Option<String>,
    /// The most rows of a table that an incremental snapshot reads at a time. Where rows are big it
    /// takes fewer.
    #[config(default = 1024, range(min = 1))]
    pub incremental_snapshot_chunk_size: u32,
}

impl Signals {
    /// Whether signals come from `channel`.
    #[must_use]
    pub fn has(&self, channel: Channel) -> bool {
        let name = match channel {
            Channel::Source => "source",
            Channel::Kafka => "kafka",
        };
        self.signal_enabled_channels.iter().any(|enabled| enabled == name)
    }

    /// The table of signals, if they come from one.
    #[must_use]
    pub fn table(&self) -> Option<&str> {
        self.signal_data_collection.as_deref().filter(|_| self.has(Channel::Source))
    }

    /// The topic of signals.
    #[must_use]
    pub fn topic(&self, prefix: &str) -> String {
        self.signal_kafka_topic.clone().unwrap_or_else(|| format!("{prefix}-signal"))
    }

    fn check(&self) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let has_sink = self.notification_enabled_channels.iter().any(|channel| channel == "sink");
        if has_sink && self.notification_sink_topic_name.is_none() {
            errors.push(FieldError::other(
                "notification.sink.topic.name",
                "the channel 'sink' needs the topic of notifications",
            ));
        }
        let is_table = |name: &String| name.split('.').filter(|part| !part.is_empty()).count() == 2;
        if let Some(name) = self.signal_data_collection.as_ref().filter(|name| !is_table(name)) {
            errors.push(FieldError::invalid(
                "signal.data.collection",
                Some(name),
                "it is a table's name with its schema, as in public.signals",
            ));
        }
        errors
    }
}
