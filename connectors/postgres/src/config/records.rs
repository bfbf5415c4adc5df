//! Topics, and what records have beside rows.

use towpath_sdk::config::ConnectorConfig;

/// The form of records.
#[derive(Debug, Clone, ConnectorConfig)]
#[config(group = "Records")]
pub struct Records {
    /// Whether a delete is followed by a tombstone.
    #[config(default = true)]
    pub tombstones_on_delete: bool,
    /// Whether transactions are shown: their begins and ends in a topic of their own, and their ids in
    /// each record.
    #[config(default = false)]
    pub provide_transaction_metadata: bool,
    /// The topic of begins and ends of transactions, behind the prefix.
    #[config(default = "transaction", non_empty)]
    pub topic_transaction: String,
    /// The topic of heartbeats (see `heartbeat.interval.ms`), before the prefix. Empty: there are no
    /// such records.
    #[config(default = "__debezium-heartbeat", alias("heartbeat.topics.prefix"), importance = low)]
    pub topic_heartbeat_prefix: String,
    /// The whole name of that topic, if it is to have another.
    #[config(default = "", importance = low)]
    pub topic_heartbeat_name: String,
    /// Between the parts of a topic's name.
    #[config(default = ".", importance = low)]
    pub topic_delimiter: String,
    /// Whether records have the headers `__debezium.context.*`.
    #[config(default = true, importance = low)]
    pub extended_headers_enabled: bool,
}
