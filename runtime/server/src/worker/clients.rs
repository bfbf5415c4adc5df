//! Kafka clients of a worker: its own, and its connectors'.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, bail};
use towpath_core::ports::{Cluster, PortError, PortErrorKind};
use towpath_formats::client_properties::{self, Translation};
use towpath_formats::java_regex::JavaRegex;
use towpath_formats::worker_config::WorkerConfig;
use towpath_formats::{ClientRole, Properties};
use towpath_kafka::{ClientKind, KafkaCluster, KafkaOptions, Matcher};

/// The worker's own: internal topics, membership.
///
/// # Errors
/// All client properties that can't be used.
pub(crate) fn of_worker(config: &WorkerConfig) -> Result<Arc<dyn Cluster>> {
    cluster(config, |role| config.clients.of_worker(role), true)
}

/// Those of connectors, before their overrides.
///
/// # Errors
/// All client properties that can't be used.
pub(crate) fn of_connectors(config: &WorkerConfig) -> Result<Arc<dyn Cluster>> {
    cluster(config, |role| config.clients.of_connectors(role), false)
}

fn cluster(
    config: &WorkerConfig,
    properties: impl Fn(ClientRole) -> Properties,
    warn: bool,
) -> Result<Arc<dyn Cluster>> {
    let mut errors = Vec::new();
    let mut translated = |role| {
        let translation = client_properties::translate(role, &properties(role), &read_file);
        for warning in &translation.warnings {
            if warn {
                tracing::warn!("{} properties: {warning}", role_name(role));
            }
        }
        errors.extend(translation.errors.iter().map(|e| format!("  {} {e}", role_name(role))));
        plain(&translation)
    };
    let producer = translated(ClientRole::Producer);
    let consumer = translated(ClientRole::Consumer);
    let admin = translated(ClientRole::Admin);
    if !errors.is_empty() {
        bail!("the Kafka clients' properties have errors:\n{}", errors.join("\n"));
    }
    let common =
        BTreeMap::from([("bootstrap.servers".to_owned(), config.bootstrap_servers.clone())]);
    let mut options = KafkaOptions::new(common, config.config_storage.name.clone());
    options.producer = producer;
    options.consumer = consumer;
    options.admin = admin;
    options.seat = BTreeMap::from([
        ("session.timeout.ms".to_owned(), config.session_timeout_ms.to_string()),
        ("heartbeat.interval.ms".to_owned(), config.heartbeat_interval_ms.to_string()),
    ]);
    options.request_timeout = Duration::from_secs(30);
    options.translate = Arc::new(|kind, overrides| {
        let role = match kind {
            ClientKind::Producer => ClientRole::Producer,
            ClientKind::Consumer => ClientRole::Consumer,
            ClientKind::Admin => ClientRole::Admin,
        };
        let java: Properties = overrides.iter().map(|(k, v)| (k.clone(), v.clone())).collect();
        let translation = client_properties::translate(role, &java, &read_file);
        for warning in &translation.warnings {
            tracing::warn!("{} override: {warning}", role_name(role));
        }
        if translation.errors.is_empty() {
            return Ok(plain(&translation));
        }
        let lines: Vec<String> = translation.errors.iter().map(ToString::to_string).collect();
        Err(PortError::new(PortErrorKind::Invalid, lines.join("; ")))
    });
    options.compile_pattern = Arc::new(|pattern| {
        let regex = JavaRegex::new(pattern).map_err(|error| {
            PortError::new(PortErrorKind::Invalid, format!("topics.regex: {error}"))
        })?;
        let matcher: Matcher = Arc::new(move |name| regex.matches(name).unwrap_or(false));
        Ok(matcher)
    });
    Ok(Arc::new(KafkaCluster::new(options)?))
}

fn plain(translation: &Translation) -> BTreeMap<String, String> {
    let settings = translation.librdkafka.iter();
    settings.map(|(key, setting)| (key.clone(), setting.text().to_owned())).collect()
}

fn read_file(path: &str) -> std::io::Result<Vec<u8>> {
    std::fs::read(path)
}

fn role_name(role: ClientRole) -> &'static str {
    match role {
        ClientRole::Producer => "producer",
        ClientRole::Consumer => "consumer",
        ClientRole::Admin => "admin",
    }
}
