//! Worker properties that have no effect here, and unknown ones: a warning for each, with the reason.

use super::storage::STORAGE_PREFIXES;
use crate::ClientRole;
use crate::client_properties;
use crate::fields::Fields;
use crate::finding::Warning;
use crate::nearest::nearest;

const PLUGINS: &str = "connectors, converters and transforms are built in; no jar is loaded";
const METRICS: &str = "metrics are served at /metrics of the REST listener";
const SIGNATURES: &str = "Towpath's workers do not sign requests to each other with a shared key";
const PROTOCOL: &str = "Towpath's workers have a group protocol of their own";
const VERSIONS: &str = "there is one version of each plugin, the built-in one";
const OLD_REST: &str = "it was removed in Kafka 3.0; set listeners=http://host:port";
const OLD_CONVERTER: &str = "it was removed in Kafka 3.0; internal topics are JSON without schemas";

/// Known properties without effect.
const NO_EFFECT: &[(&str, &str)] = &[
    ("plugin.path", PLUGINS),
    ("plugin.discovery", PLUGINS),
    ("metrics.sample.window.ms", METRICS),
    ("metrics.num.samples", METRICS),
    ("metrics.recording.level", METRICS),
    ("metric.reporters", METRICS),
    ("auto.include.jmx.reporter", METRICS),
    ("connect.protocol", PROTOCOL),
    ("worker.sync.timeout.ms", PROTOCOL),
    ("worker.unsync.backoff.ms", PROTOCOL),
    (
        "scheduled.rebalance.max.delay.ms",
        "the tasks of a lost worker move as soon as its session ends; session.timeout.ms says when",
    ),
    ("inter.worker.key.generation.algorithm", SIGNATURES),
    ("inter.worker.key.size", SIGNATURES),
    ("inter.worker.key.ttl.ms", SIGNATURES),
    ("inter.worker.signature.algorithm", SIGNATURES),
    ("inter.worker.verification.algorithms", SIGNATURES),
    ("key.converter.plugin.version", VERSIONS),
    ("value.converter.plugin.version", VERSIONS),
    ("header.converter.plugin.version", VERSIONS),
    ("rest.host.name", OLD_REST),
    ("rest.port", OLD_REST),
    (
        "offset.flush.timeout.ms",
        "a commit is awaited for as long as it takes, and the connector's status says that it waits",
    ),
    (
        "rebalance.timeout.ms",
        "no rebalance stops all tasks; task.shutdown.graceful.timeout.ms bounds how long one may take to stop",
    ),
    ("internal.key.converter", OLD_CONVERTER),
    ("internal.value.converter", OLD_CONVERTER),
    (
        "offset.storage.file.filename",
        "it belongs to a standalone worker; offsets are kept in offset.storage.topic",
    ),
];

/// Property families without effect.
const NO_EFFECT_PREFIXES: &[(&str, &str)] = &[
    ("metrics.context.", METRICS),
    ("internal.key.converter.", OLD_CONVERTER),
    ("internal.value.converter.", OLD_CONVERTER),
    ("confluent.", "it configures a product that is not part of Apache Kafka"),
];

/// Properties that [`super::WorkerConfig`] holds.
const TYPED: &[&str] = &[
    "bootstrap.servers",
    "group.id",
    "key.converter",
    "value.converter",
    "header.converter",
    "config.storage.topic",
    "config.storage.replication.factor",
    "offset.storage.topic",
    "offset.storage.replication.factor",
    "offset.storage.partitions",
    "status.storage.topic",
    "status.storage.replication.factor",
    "status.storage.partitions",
    "offset.flush.interval.ms",
    "task.shutdown.graceful.timeout.ms",
    "exactly.once.source.support",
    "config.providers",
    "connector.client.config.override.policy",
    "connector.client.config.override.allowlist",
    "topic.tracking.enable",
    "topic.tracking.allow.reset",
    "topic.creation.enable",
    "listeners",
    "admin.listeners",
    "rest.advertised.host.name",
    "rest.advertised.port",
    "rest.advertised.listener",
    "rest.extension.classes",
    "access.control.allow.origin",
    "access.control.allow.methods",
    "response.http.headers.config",
    "ssl.client.auth",
    "session.timeout.ms",
    "heartbeat.interval.ms",
];

/// Families that [`super::WorkerConfig`] holds.
const TYPED_PREFIXES: &[&str] = &[
    "key.converter.",
    "value.converter.",
    "header.converter.",
    "config.providers.",
    "producer.",
    "consumer.",
    "admin.",
    "listeners.https.",
    "admin.listeners.https.",
];

/// Is a property of a Kafka client meant for the worker itself where it stands without a prefix?
pub(super) fn is_workers_own(key: &str) -> bool {
    key != "bootstrap.servers"
        && (TYPED.contains(&key) || NO_EFFECT.iter().any(|(known, _)| *known == key))
}

/// One warning for each property that is neither used nor refused elsewhere.
pub(super) fn warnings(fields: &Fields<'_>) -> Vec<Warning> {
    fields.map.keys().filter_map(|key| warning(key)).collect()
}

fn warning(key: &str) -> Option<Warning> {
    let known = NO_EFFECT.iter().find(|(known, _)| *known == key);
    let family = || NO_EFFECT_PREFIXES.iter().find(|(prefix, _)| key.starts_with(prefix));
    if let Some((_, reason)) = known.or_else(family) {
        return Some(Warning::new(key, format!("has no effect in Towpath: {reason}")));
    }
    let typed = TYPED.contains(&key)
        || TYPED_PREFIXES.iter().chain(STORAGE_PREFIXES).any(|prefix| key.starts_with(prefix))
        || ClientRole::ALL.into_iter().any(|role| client_properties::is_known(key, role));
    if typed {
        return None;
    }
    let all = TYPED.iter().copied().chain(NO_EFFECT.iter().map(|(known, _)| *known));
    let hint = match nearest(key, all.chain(client_properties::known_keys())) {
        Some(near) => format!("; did you mean {near}?"),
        None => String::new(),
    };
    Some(Warning::new(key, format!("has no effect: there is no such worker property{hint}")))
}
