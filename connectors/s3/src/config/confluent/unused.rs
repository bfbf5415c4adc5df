//! Confluent's keys that tune what does not exist here.

use towpath_sdk::config::ConnectorConfig;

/// Keys that are understood and have nothing to tune. Each is marked as outdated, so that whoever
/// sets it is told.
#[derive(Debug, Clone, ConnectorConfig)]
#[config(group = "Without effect")]
pub struct Unused {
    /// Confluent's sink: whether a part's buffer grows as needed. Here every buffer does.
    #[config(
        key = "s3.elastic.buffer.enable", importance = low,
        deprecated = "leave it out: buffers always grow as needed, buffer.max.bytes bounds them"
    )]
    pub elastic_buffer: Option<bool>,
    /// Confluent's sink: the first size of such a buffer.
    #[config(
        key = "s3.elastic.buffer.init.capacity", importance = low,
        deprecated = "leave it out: buffers always grow as needed, buffer.max.bytes bounds them"
    )]
    pub elastic_buffer_capacity: Option<i32>,
    /// Confluent's sink: the size of a cache of Avro schemas.
    #[config(importance = low, deprecated = "leave it out: JSON needs no cache of schemas")]
    pub schema_cache_size: Option<i32>,
    /// Confluent's sink: how long a call may write before it yields to the framework.
    #[config(importance = low, deprecated = "leave it out: writing never holds up the worker")]
    pub max_write_duration_ms: Option<i64>,
    /// Confluent's sink: the pause before a failed batch is delivered again, in milliseconds.
    #[config(
        importance = low,
        deprecated = "leave it out: pauses grow from 100 ms to 60 s by themselves, and the status shows them"
    )]
    pub retry_backoff_ms: Option<i64>,
    /// Confluent's sink: how long to wait for Hive at the end.
    #[config(importance = low, deprecated = "leave it out: there is no Hive integration")]
    pub shutdown_timeout_ms: Option<i64>,
    /// Confluent's sink: how schemas for Hive are made.
    #[config(class, importance = low, deprecated = "leave it out: there is no Hive integration")]
    pub schema_generator_class: Option<String>,
    /// Confluent's sink: the compression inside Avro files.
    #[config(importance = low, deprecated = "leave it out: use s3.compression.type")]
    pub avro_codec: Option<String>,
    /// Confluent's sink: the compression inside Parquet files.
    #[config(importance = low, deprecated = "leave it out: use s3.compression.type")]
    pub parquet_codec: Option<String>,
    /// Confluent's sink: whether to ask the store before a body is sent.
    #[config(
        key = "s3.http.send.expect.continue", importance = low,
        deprecated = "leave it out: bodies are sent at once"
    )]
    pub expect_continue: Option<bool>,
    /// Confluent's sink: the format of keys with `store.kafka.keys`.
    #[config(
        class, importance = low,
        deprecated = "leave it out: store.kafka.keys is not supported yet"
    )]
    pub keys_format_class: Option<String>,
    /// Confluent's sink: the format of headers with `store.kafka.headers`.
    #[config(
        class, importance = low,
        deprecated = "leave it out: store.kafka.headers is not supported yet"
    )]
    pub headers_format_class: Option<String>,
    /// Confluent's sink: the directory of tombstones with `behavior.on.null.values=write`.
    #[config(
        importance = low,
        deprecated = "leave it out: behavior.on.null.values=write is not supported yet"
    )]
    pub tombstone_encoded_partition: Option<String>,
    /// Confluent's sink: the user at `s3.proxy.url`.
    #[config(
        key = "s3.proxy.user", importance = low,
        deprecated = "leave it out: s3.proxy.url is not supported yet"
    )]
    pub proxy_user: Option<String>,
    /// Confluent's sink: the password at `s3.proxy.url`.
    #[config(
        key = "s3.proxy.password", importance = low,
        deprecated = "leave it out: s3.proxy.url is not supported yet"
    )]
    pub proxy_password: Option<towpath_sdk::config::Secret<String>>,
}
