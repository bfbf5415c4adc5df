//! How the clients are configured.
//!
//! Duty: the defaults, in one place; what the user set goes over them. Names are librdkafka's.
//!
//! Memory of one consumer: at most [`PREFETCH_KIB`] KiB queued in librdkafka, and one fetch answer of
//! at most [`FETCH_BYTES`] per broker on top, since a fetch is sent while the queue is not full yet;
//! with three brokers 13 MiB, unless the user sets larger ones. A batch that waits for its permit is
//! part of that: librdkafka counts it as taken, so that it may fetch as much once more.
//! Memory of one producer: at most [`PRODUCER_KIB`] KiB of keys and values in at most 100 000 records.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;
use towpath_core::ports::{ClientOverrides, PortError, PortErrorKind, PortResult};
use towpath_formats::java_regex::JavaRegex;

/// KiB that a consumer keeps queued.
pub const PREFETCH_KIB: u32 = 4 * 1024;
/// Bytes of one fetch answer.
pub const FETCH_BYTES: u32 = 3 * 1024 * 1024;
/// KiB of keys and values that a producer keeps queued.
pub const PRODUCER_KIB: u32 = 32 * 1024;

/// Properties by librdkafka's names.
pub type Properties = BTreeMap<String, String>;

/// What a client is for: which of its properties count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ClientKind {
    /// Writes records.
    Producer,
    /// Reads records.
    Consumer,
    /// Asks and changes topics and groups.
    Admin,
}

/// From the Java clients' properties to librdkafka's. The error names each property at fault.
pub type Translate = dyn Fn(ClientKind, &ClientOverrides) -> PortResult<Properties> + Send + Sync;

/// Says whether a topic's whole name matches.
pub type Matcher = Arc<dyn Fn(&str) -> bool + Send + Sync>;

/// Compiles a Java regular expression for topic names.
pub type CompilePattern = dyn Fn(&str) -> PortResult<Matcher> + Send + Sync;

/// How to reach a cluster.
#[derive(Clone)]
pub struct KafkaOptions {
    /// For every client; `bootstrap.servers` is required.
    pub common: Properties,
    /// For producers, over the common ones.
    pub producer: Properties,
    /// For consumers, over the common ones.
    pub consumer: Properties,
    /// For administration, over the common ones.
    pub admin: Properties,
    /// Translates a connector's overrides.
    pub translate: Arc<Translate>,
    /// Compiles `topics.regex`; by default as Java means it.
    pub compile_pattern: Arc<CompilePattern>,
    /// For the worker's seat in its fleet, over the consumers' ones: `session.timeout.ms` and the
    /// like.
    pub seat: Properties,
    /// The topic whose first partition is a fleet's seat: the config topic.
    pub seat_topic: String,
    /// How long a request that a caller waits for may take.
    pub request_timeout: Duration,
}

impl KafkaOptions {
    /// Options with these properties for every client, and nothing else set. Overrides are refused
    /// until [`KafkaOptions::translate`] is replaced.
    pub fn new(common: Properties, seat_topic: impl Into<String>) -> Self {
        Self {
            common,
            producer: Properties::new(),
            consumer: Properties::new(),
            admin: Properties::new(),
            translate: Arc::new(refuse_all),
            compile_pattern: Arc::new(java_pattern),
            seat: Properties::from([
                ("session.timeout.ms".to_owned(), "10000".to_owned()),
                ("heartbeat.interval.ms".to_owned(), "3000".to_owned()),
            ]),
            seat_topic: seat_topic.into(),
            request_timeout: Duration::from_secs(30),
        }
    }

    /// The addresses of the brokers, for messages.
    pub(crate) fn brokers(&self) -> &str {
        ["bootstrap.servers", "metadata.broker.list"]
            .iter()
            .find_map(|key| self.common.get(*key))
            .map_or("(no bootstrap.servers)", String::as_str)
    }

    /// The configuration of a client, from the weakest to the strongest: `defaults`, the worker's
    /// properties, `overrides`, `forced`.
    pub(crate) fn client(
        &self,
        kind: ClientKind,
        client_id: &str,
        overrides: &ClientOverrides,
        forced: &[(&str, &str)],
    ) -> PortResult<Settings> {
        let (defaults, own) = match kind {
            ClientKind::Producer => (PRODUCER, &self.producer),
            ClientKind::Consumer => (CONSUMER, &self.consumer),
            ClientKind::Admin => (ADMIN, &self.admin),
        };
        let mut properties = Properties::new();
        for (key, value) in COMMON.iter().chain(defaults) {
            properties.insert((*key).to_owned(), (*value).to_owned());
        }
        let mut chosen = BTreeSet::new();
        let mut set = |key: &str, value: &str| {
            // An alias set by the user must not stand beside the default of the same thing.
            let key = ALIASES.iter().find(|(alias, _)| *alias == key).map_or(key, |(_, name)| name);
            properties.insert(key.to_owned(), value.to_owned());
            chosen.insert(key.to_owned());
        };
        if !client_id.is_empty() {
            set("client.id", client_id);
        }
        let overrides = match overrides.is_empty() {
            true => Properties::new(),
            false => (self.translate)(kind, overrides)?,
        };
        for (key, value) in self.common.iter().chain(own).chain(&overrides) {
            set(key, value);
        }
        for (key, value) in forced {
            set(key, value);
        }
        // Java does the same: whoever asks for fewer acknowledgements gets no idempotence.
        if properties.get("acks").is_some_and(|acks| !matches!(acks.as_str(), "all" | "-1")) {
            properties.insert("enable.idempotence".to_owned(), "false".to_owned());
        }
        Ok(Settings { properties, chosen })
    }
}

impl fmt::Debug for KafkaOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Values may be secrets: names alone are shown.
        f.debug_struct("KafkaOptions")
            .field("brokers", &self.brokers())
            .field("common", &self.common.keys().collect::<Vec<_>>())
            .field("producer", &self.producer.keys().collect::<Vec<_>>())
            .field("consumer", &self.consumer.keys().collect::<Vec<_>>())
            .field("admin", &self.admin.keys().collect::<Vec<_>>())
            .field("seat_topic", &self.seat_topic)
            .field("request_timeout", &self.request_timeout)
            .finish_non_exhaustive()
    }
}

fn refuse_all(_: ClientKind, overrides: &ClientOverrides) -> PortResult<Properties> {
    let names: Vec<&str> = overrides.keys().map(String::as_str).collect();
    let text = format!("client properties can't be overridden here: {}", names.join(", "));
    Err(PortError::new(PortErrorKind::Invalid, text))
}

fn java_pattern(pattern: &str) -> PortResult<Matcher> {
    let regex = JavaRegex::new(pattern).map_err(|error| {
        PortError::new(PortErrorKind::Invalid, format!("topics.regex: {error}"))
    })?;
    Ok(Arc::new(move |name| {
        regex.matches(name).unwrap_or_else(|error| {
            tracing::warn!(topic = name, %error, "a topic is left out: its match was given up");
            false
        })
    }))
}

/// The properties of one client.
pub(crate) struct Settings {
    properties: Properties,
    /// Those that are not defaults of ours.
    chosen: BTreeSet<String>,
}

impl Settings {
    /// A property as set.
    pub(crate) fn get(&self, key: &str) -> Option<&str> {
        self.properties.get(key).map(String::as_str)
    }

    /// A number of milliseconds that somebody chose.
    pub(crate) fn chosen_millis(&self, key: &str) -> Option<Duration> {
        self.chosen.contains(key).then(|| self.millis(key, Duration::ZERO))
    }

    /// A property that is a number of milliseconds.
    pub(crate) fn millis(&self, key: &str, default: Duration) -> Duration {
        self.get(key)
            .and_then(|v| v.trim().parse::<u64>().ok())
            .map_or(default, Duration::from_millis)
    }

    /// Without a time-out for delivery: in a transaction librdkafka takes the transaction's.
    #[must_use]
    pub(crate) fn without_delivery_timeout(mut self) -> Self {
        self.properties.remove("delivery.timeout.ms");
        self
    }

    /// Without any group.
    #[must_use]
    pub(crate) fn without_group(mut self) -> Self {
        self.properties.retain(|key, _| !key.starts_with("group."));
        self
    }

    /// For the safe crate.
    pub(crate) fn native(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        for (key, value) in &self.properties {
            config.set(key, value);
        }
        // librdkafka filters before it formats: nothing is formatted that nobody would see.
        config.set_log_level(if tracing::enabled!(target: "librdkafka", tracing::Level::DEBUG) {
            RDKafkaLogLevel::Debug
        } else {
            RDKafkaLogLevel::Info
        });
        config
    }
}

const ALIASES: &[(&str, &str)] = &[
    ("metadata.broker.list", "bootstrap.servers"),
    ("max.partition.fetch.bytes", "fetch.message.max.bytes"),
    ("request.required.acks", "acks"),
    ("queue.buffering.max.ms", "linger.ms"),
    ("message.timeout.ms", "delivery.timeout.ms"),
    ("compression.codec", "compression.type"),
    ("max.in.flight", "max.in.flight.requests.per.connection"),
    ("sasl.mechanisms", "sasl.mechanism"),
    ("message.send.max.retries", "retries"),
];

const COMMON: &[(&str, &str)] = &[
    // Java's: a broker that returns is found within a second, not ten.
    ("reconnect.backoff.max.ms", "1000"),
    // Idle connections are closed by brokers all the time.
    ("log.connection.close", "false"),
    ("socket.keepalive.enable", "true"),
    // A worker is no place to create topics by mistake.
    ("allow.auto.create.topics", "false"),
];

const PRODUCER: &[(&str, &str)] = &[
    ("enable.idempotence", "true"),
    ("acks", "all"),
    ("partitioner", "murmur2_random"),
    ("compression.type", "none"),
    ("linger.ms", "5"),
    // What a wave holds (see `wave`): a full one is sent at once.
    ("batch.num.messages", "8192"),
    // Java's max.request.size.
    ("message.max.bytes", "1048576"),
    ("queue.buffering.max.kbytes", "32768"),
    ("queue.buffering.max.messages", "100000"),
    // As Connect: a record is tried until it is in, and the trouble is shown meanwhile.
    ("delivery.timeout.ms", "2147483647"),
];

const CONSUMER: &[(&str, &str)] = &[
    ("enable.auto.commit", "false"),
    ("enable.auto.offset.store", "false"),
    ("enable.partition.eof", "true"),
    ("auto.offset.reset", "earliest"),
    ("isolation.level", "read_committed"),
    ("partition.assignment.strategy", "cooperative-sticky"),
    // The partitions of a worker that died move, or come back to it, after this long.
    ("session.timeout.ms", "10000"),
    ("heartbeat.interval.ms", "3000"),
    ("queued.max.messages.kbytes", "4096"),
    ("fetch.max.bytes", "3145728"),
    ("fetch.message.max.bytes", "1048576"),
    // The queue is small, hence emptied in no time: look again soon whether there is room.
    ("fetch.queue.backoff.ms", "10"),
    // librdkafka takes some 700 bytes for a message beside its payload, which the bound in bytes does
    // not count: small records are bounded by number, per partition.
    ("queued.min.messages", "30000"),
    // How soon a subscribed topic that is created later, or a new partition, is found.
    ("topic.metadata.refresh.interval.ms", "10000"),
];

const ADMIN: &[(&str, &str)] = &[];

#[cfg(test)]
mod tests {
    use super::*;

    fn options() -> KafkaOptions {
        KafkaOptions::new(
            Properties::from([
                ("bootstrap.servers".into(), "k:1".into()),
                ("sasl.password".into(), "hunter2".into()),
            ]),
            "configs",
        )
    }

    #[test]
    fn what_the_user_sets_wins_over_defaults_also_by_an_alias() {
        let mut options = options();
        options.producer.insert("queue.buffering.max.ms".into(), "50".into());
        options.producer.insert("acks".into(), "1".into());
        let none = ClientOverrides::new();
        let settings =
            options.client(ClientKind::Producer, "c", &none, &[("acks", "all")]).unwrap();
        assert_eq!(settings.get("linger.ms"), Some("50"));
        assert_eq!(settings.get("queue.buffering.max.ms"), None);
        assert_eq!(settings.get("acks"), Some("all"), "forced");
        assert_eq!(settings.get("client.id"), Some("c"));
    }

    #[test]
    fn the_defaults_are_properties_that_librdkafka_takes() {
        let options = options();
        let none = ClientOverrides::new();
        let check = |kind| {
            options.client(kind, "c", &none, &[]).unwrap().native().create_native_config().map(drop)
        };
        check(ClientKind::Producer).unwrap();
        check(ClientKind::Consumer).unwrap();
        check(ClientKind::Admin).unwrap();
    }

    #[test]
    fn what_others_count_on_is_what_is_set() {
        let (options, none) = (options(), ClientOverrides::new());
        let check = |kind, key: &str, expect: usize| {
            let settings = options.client(kind, "c", &none, &[]).unwrap();
            assert_eq!(settings.get(key), Some(&*expect.to_string()), "{key}");
        };
        check(ClientKind::Producer, "batch.num.messages", crate::wave::RECORDS);
        check(ClientKind::Producer, "queue.buffering.max.kbytes", PRODUCER_KIB as usize);
        check(ClientKind::Consumer, "queued.max.messages.kbytes", PREFETCH_KIB as usize);
        check(ClientKind::Consumer, "fetch.max.bytes", FETCH_BYTES as usize);
    }

    #[test]
    fn overrides_are_translated_and_refused_without_a_translation() {
        let mut options = options();
        let overrides = ClientOverrides::from_iter([("linger.ms".to_owned(), "1".to_owned())]);
        let refused = options.client(ClientKind::Producer, "c", &overrides, &[]);
        assert!(refused.is_err_and(|e| e.text.contains("linger.ms")));
        options.translate = Arc::new(|_, overrides| {
            Ok(overrides.iter().map(|(k, v)| (k.clone(), format!("{v}0"))).collect())
        });
        let settings = options.client(ClientKind::Producer, "c", &overrides, &[]).unwrap();
        assert_eq!(settings.get("linger.ms"), Some("10"));
    }

    #[test]
    fn debug_shows_no_values() {
        let text = format!("{:?}", options());
        assert!(text.contains("sasl.password"), "{text}");
        assert!(!text.contains("hunter2"), "{text}");
    }
}
