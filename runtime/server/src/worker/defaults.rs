//! From a worker's settings to the options of the engine's parts.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use towpath_core::build::WorkerDefaults;
use towpath_core::herder::HerderOptions;
use towpath_core::launch::OverrideCheck;
use towpath_core::ports::{NewTopic, TableSpec};
use towpath_core::topics::TopicRules;
use towpath_formats::ClientRole;
use towpath_formats::topic_creation::TopicCreation;
use towpath_formats::worker_config::{
    ExactlyOnceSource, InternalTopic, PluginConfig, WorkerConfig,
};
use towpath_sdk::config::{FieldError, Properties};

use crate::logging::Logging;

/// Beyond the tasks' own time to stop: their last commits and the way out of the group.
const SHUTDOWN_EXTRA: Duration = Duration::from_secs(10);

/// Options of the herder.
pub(crate) fn herder_options(
    config: &WorkerConfig,
    advertised: String,
    logging: &Logging,
) -> HerderOptions {
    let mut options = HerderOptions::new(
        config.group_id.clone(),
        advertised,
        config.config_storage.name.clone(),
        config.status_storage.name.clone(),
    );
    options.config_topic = table(&config.config_storage, "config", &options.worker_id);
    options.status_topic = table(&config.status_storage, "status", &options.worker_id);
    options.topic_tracking = config.topic_tracking_enable;
    options.topic_tracking_reset = config.topic_tracking_allow_reset;
    options.shutdown_timeout =
        Duration::from_millis(config.task_shutdown_timeout_ms) * 2 + SHUTDOWN_EXTRA;
    options.seat_timeout =
        Duration::from_millis(config.session_timeout_ms.into()) * 2 + SHUTDOWN_EXTRA;
    let logging = logging.clone();
    options.loggers = Some(Arc::new(move |logger, level| logging.set_from_fleet(logger, level)));
    options
}

/// The table that an internal topic is.
pub(crate) fn table(topic: &InternalTopic, purpose: &'static str, worker_id: &str) -> TableSpec {
    TableSpec {
        topic: topic.name.clone(),
        partitions: topic.partitions.and_then(|n| i32::try_from(n).ok()),
        replication_factor: topic.replication_factor.and_then(|n| i16::try_from(n).ok()),
        config: topic.settings.iter().map(|(k, v)| (k.clone(), v.clone())).collect(),
        purpose,
        client_id: format!("towpath-{worker_id}-{purpose}s"),
    }
}

/// What the worker contributes to connectors.
pub(crate) fn worker_defaults(config: &WorkerConfig) -> WorkerDefaults {
    WorkerDefaults {
        group_id: config.group_id.clone(),
        key_converter: converter(&config.key_converter),
        value_converter: converter(&config.value_converter),
        header_converter: converter(&config.header_converter),
        commit_interval: Duration::from_millis(config.offset_flush_interval_ms),
        stop_timeout: Duration::from_millis(config.task_shutdown_timeout_ms),
        exactly_once: config.exactly_once_source == ExactlyOnceSource::Enabled,
        topic_creation: config.topic_creation_enable,
    }
}

fn converter(plugin: &PluginConfig) -> (String, Properties) {
    let properties = plugin.properties.iter().collect();
    (plugin.class.clone(), properties)
}

/// `topic.creation.*` of a source.
///
/// # Errors
/// What is wrong with them, in Connect's words.
pub(crate) fn topic_rules(properties: &Properties) -> Result<TopicRules, Vec<FieldError>> {
    let (creation, _warnings) = TopicCreation::parse(&plain(properties)).map_err(field_errors)?;
    Ok(Arc::new(move |topic: &str| {
        let settings = creation.as_ref().and_then(|creation| {
            let found = creation.settings_for(topic);
            found
                .inspect_err(|error| tracing::warn!(topic, %error, "topic.creation is not used"))
                .ok()
        });
        NewTopic {
            name: topic.to_owned(),
            partitions: settings.and_then(|s| i32::try_from(s.partitions?).ok()),
            replication_factor: settings.and_then(|s| i16::try_from(s.replication_factor?).ok()),
            config: settings.map_or_else(BTreeMap::new, |s| {
                s.configs.iter().map(|(k, v)| (k.clone(), v.clone())).collect()
            }),
        }
    }))
}

/// The override policy.
pub(crate) fn override_check(config: &WorkerConfig) -> OverrideCheck {
    let policy = config.override_policy.clone();
    Arc::new(move |properties| {
        let properties = plain(properties);
        let roles = [ClientRole::Producer, ClientRole::Consumer, ClientRole::Admin];
        roles.into_iter().flat_map(|role| field_errors(policy.check(role, &properties))).collect()
    })
}

fn plain(properties: &Properties) -> towpath_formats::Properties {
    properties.iter().map(|(k, v)| (k.to_owned(), v.to_owned())).collect()
}

fn field_errors(errors: Vec<towpath_formats::FieldError>) -> Vec<FieldError> {
    errors.into_iter().map(|e| FieldError::other(e.field, e.problem)).collect()
}
