//! From a connector's properties to what runs it.
//!
//! Duty: find the plug-ins that a configuration names, parse every part of it once, and put pipelines
//! together. All that is wrong is collected, field by field. Pure: nothing outside is reached.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use towpath_formats::plugin_version::VersionRequirement;
use towpath_sdk::config::{ConnectorConfig, FieldError, FieldErrors, Properties};
use towpath_sdk::converter::Part;
use towpath_sdk::plugin::{
    BuildFor, ConnectorPlugin, ConverterPlugin, PluginInfo, PluginName, Registry,
};
use towpath_sdk::transform::Predicate;

use crate::chain::{Chain, Guard, NamedConverter, Step};
use crate::framework::{CommonKeys, DeadLetterKeys, ErrorsTolerance, SinkKeys, SourceKeys};
use crate::ports::{ClientOverrides, Subscription};
use crate::settings::{DeadLetterSettings, PipelineSettings, Tolerance};

/// What the worker's own configuration contributes to every connector.
#[derive(Debug, Clone)]
pub struct WorkerDefaults {
    /// `group.id`.
    pub group_id: String,
    /// `key.converter` and, without their prefix, its settings.
    pub key_converter: (String, Properties),
    /// `value.converter`.
    pub value_converter: (String, Properties),
    /// `header.converter`.
    pub header_converter: (String, Properties),
    /// `offset.flush.interval.ms`.
    pub commit_interval: Duration,
    /// `task.shutdown.graceful.timeout.ms`.
    pub stop_timeout: Duration,
    /// `exactly.once.source.support=enabled`.
    pub exactly_once: bool,
    /// `topic.creation.enable`.
    pub topic_creation: bool,
}

/// A configuration, understood.
pub struct Blueprint {
    /// Keys of every connector.
    pub common: CommonKeys,
    /// Keys of its direction.
    pub direction: Direction,
    /// The plug-in.
    pub plugin: ConnectorPlugin,
    /// The name under which it was asked for.
    pub plugin_name: &'static PluginName,
}

/// Keys of one direction.
pub enum Direction {
    /// Of a sink.
    Sink(SinkKeys),
    /// Of a source.
    Source(SourceKeys),
}

/// Which class a configuration asks for, or why none.
///
/// # Errors
/// In Connect's words.
pub fn find_plugin<'r>(
    registry: &'r Registry,
    properties: &Properties,
) -> Result<(&'r ConnectorPlugin, &'static PluginName), FieldError> {
    let Some(class) = properties.get("connector.class").map(str::trim).filter(|c| !c.is_empty())
    else {
        let shown: Vec<String> = properties.iter().map(|(k, v)| format!("{k}={v}")).collect();
        let text = format!("Connector config {{{}}} contains no connector type", shown.join(", "));
        return Err(FieldError::other("connector.class", text));
    };
    registry.find_connector(class).ok_or_else(|| {
        let known: Vec<String> = registry
            .connectors()
            .iter()
            .flat_map(|p| p.info().names.iter().map(move |n| (p.kind(), p.info().version, n.name)))
            .map(|(kind, version, name)| {
                format!("PluginDesc{{name='{name}', version='{version}', type={}}}", kind.name())
            })
            .collect();
        let text = format!(
            "Failed to find any class that implements Connector and which name matches {class}, \
             available connectors are: {}",
            known.join(", ")
        );
        FieldError::other("connector.class", text)
    })
}

/// The connector's properties with the defaults of the name that it was asked for under.
#[must_use]
pub fn with_name_defaults(
    plugin: &ConnectorPlugin,
    name: &PluginName,
    properties: &Properties,
) -> Properties {
    let mut filled = properties.clone();
    plugin.definition().fill(&mut filled, name.defaults);
    filled
}

impl Blueprint {
    /// Parses `properties`, in which no reference is left.
    ///
    /// # Errors
    /// All that is wrong with the framework's keys; the plug-ins' own keys are checked by
    /// [`chain`] and the connector.
    pub fn parse(registry: &Registry, properties: &Properties) -> Result<Self, FieldErrors> {
        let (plugin, plugin_name) =
            find_plugin(registry, properties).map_err(|e| FieldErrors(vec![e]))?;
        let mut errors = FieldErrors::default();
        let common = gather(CommonKeys::parse(properties), &mut errors);
        let wanted = common.as_ref().and_then(|common| common.connector_version.as_deref());
        errors.extend(wrong_version("connector.plugin.version", wanted, plugin.info()));
        let direction = match plugin {
            ConnectorPlugin::Sink(_) => {
                let keys = gather(SinkKeys::parse(properties), &mut errors);
                errors.0.extend(keys.iter().flat_map(SinkKeys::check));
                keys.map(Direction::Sink)
            }
            ConnectorPlugin::Source(_) => {
                gather(SourceKeys::parse(properties), &mut errors).map(Direction::Source)
            }
        };
        match (common, direction, errors.is_empty()) {
            (Some(common), Some(direction), true) => {
                Ok(Self { common, direction, plugin: plugin.clone(), plugin_name })
            }
            _ => Err(errors),
        }
    }

    /// The source connector's own topic for offsets.
    #[must_use]
    pub fn offsets_topic(&self) -> Option<&str> {
        match &self.direction {
            Direction::Source(keys) => keys.offsets_topic.as_deref(),
            Direction::Sink(_) => None,
        }
    }

    /// The framework's settings of one pipeline.
    #[must_use]
    pub fn settings(&self, worker: &WorkerDefaults) -> PipelineSettings {
        let common = &self.common;
        let dead_letters = match &self.direction {
            Direction::Sink(keys) => &keys.dead_letters,
            Direction::Source(keys) => &keys.dead_letters,
        };
        let retry_timeout = u64::try_from(common.retry_timeout_ms).ok().map(Duration::from_millis);
        PipelineSettings {
            tolerance: Tolerance {
                all: common.tolerance == ErrorsTolerance::All,
                retry_timeout,
                retry_delay_max: common.retry_delay_max,
                log: common.log_enable,
                log_messages: common.log_messages,
                dead_letters: dead_letter_settings(dead_letters),
            },
            commit_interval: worker.commit_interval,
            stop_timeout: worker.stop_timeout,
            budget_bytes: usize::try_from(common.buffer_bytes).unwrap_or(usize::MAX),
            producer: overrides(&common.producer),
            consumer: overrides(&common.consumer),
            admin: overrides(&common.admin),
        }
    }
}

impl SinkKeys {
    /// What to read.
    #[must_use]
    pub fn subscription(&self) -> Subscription {
        if self.topics.is_empty() {
            Subscription::Pattern(self.topics_regex.clone())
        } else {
            Subscription::Topics(self.topics.clone())
        }
    }
}

fn dead_letter_settings(keys: &DeadLetterKeys) -> Option<DeadLetterSettings> {
    (!keys.topic.trim().is_empty()).then(|| DeadLetterSettings {
        topic: keys.topic.trim().to_owned(),
        replication_factor: (keys.replication_factor > 0).then_some(keys.replication_factor),
        headers: keys.headers,
    })
}

fn overrides(properties: &Properties) -> ClientOverrides {
    properties.iter().map(|(k, v)| (k.to_owned(), v.to_owned())).collect()
}

fn gather<T>(parsed: Result<T, FieldErrors>, errors: &mut FieldErrors) -> Option<T> {
    parsed.map_err(|mut found| errors.0.append(&mut found.0)).ok()
}

/// Refuses a plug-in if `key` asks for other versions than its own (KIP-891). There is one version of each,
/// the one that is built in.
fn wrong_version(key: &str, wanted: Option<&str>, plugin: PluginInfo) -> Option<FieldError> {
    let wanted = wanted?;
    let reason = match VersionRequirement::parse(wanted) {
        Ok(requirement) if requirement.admits(plugin.version) => return None,
        Ok(_) => {
            let class = plugin.names.first().map_or("", |name| name.name);
            format!("Of {class} there is only version {}", plugin.version)
        }
        Err(reason) => reason,
    };
    Some(FieldError::invalid(key, Some(wanted), reason))
}

/// Puts the chain of a connector together.
///
/// # Errors
/// All that is wrong with converters, transforms and predicates.
pub fn chain(
    registry: &Registry,
    worker: &WorkerDefaults,
    common: &CommonKeys,
    properties: &Properties,
) -> Result<Chain, FieldErrors> {
    let mut errors = FieldErrors::default();
    let mut converter =
        |key: &str, own: Option<&String>, of_worker: &(String, Properties), part| {
            let built = named_converter(registry, properties, key, own, of_worker, part);
            gather(built, &mut errors)
        };
    let key =
        converter("key.converter", common.key_converter.as_ref(), &worker.key_converter, Part::Key);
    let value = converter(
        "value.converter",
        common.value_converter.as_ref(),
        &worker.value_converter,
        Part::Value,
    );
    let header = converter(
        "header.converter",
        common.header_converter.as_ref(),
        &worker.header_converter,
        Part::Header,
    );
    let predicates = predicates(registry, common, properties, &mut errors);
    let steps = gather(steps(registry, common, properties, &predicates), &mut errors);
    match (key, value, header, steps, errors.is_empty()) {
        (Some(key), Some(value), Some(header), Some(steps), true) => {
            Ok(Chain { key, value, header, steps })
        }
        _ => Err(errors),
    }
}

/// The converter for `key` and its settings: the connector's if it names one, else the worker's. As in
/// Connect, settings under the connector's prefix count only beside a class of its own.
#[must_use]
pub fn converter_source<'a>(
    properties: &Properties,
    key: &str,
    own: Option<&'a String>,
    of_worker: &'a (String, Properties),
) -> (&'a str, Properties) {
    match own {
        Some(class) => (class, properties.with_prefix(&format!("{key}."))),
        None => (&of_worker.0, of_worker.1.clone()),
    }
}

fn named_converter(
    registry: &Registry,
    properties: &Properties,
    key: &str,
    own: Option<&String>,
    of_worker: &(String, Properties),
    part: Part,
) -> Result<NamedConverter, FieldErrors> {
    let (class, mut settings) = converter_source(properties, key, own, of_worker);
    let plugin = match part {
        Part::Header => registry.find_header_converter(class),
        Part::Key | Part::Value => registry.find_converter(class),
    }
    .ok_or_else(|| not_found(key, class))?;
    // The connector's word counts for the worker's converter too: it is the one that will be used.
    settings.remove("plugin.version");
    let version_key = format!("{key}.plugin.version");
    let wanted = properties.get(&version_key);
    if let Some(error) = wrong_version(&version_key, wanted, plugin.info) {
        return Err(error.into());
    }
    let part_name = match part {
        Part::Key => "key",
        Part::Value => "value",
        Part::Header => "header",
    };
    settings.insert("converter.type", part_name);
    let prefix = format!("{key}.");
    let converter = (plugin.build)(&settings, BuildFor::Convert(part))
        .map_err(|errors| prefixed(errors, &prefix))?;
    Ok(NamedConverter { class: full_name(plugin), converter })
}

fn full_name(plugin: &ConverterPlugin) -> Arc<str> {
    plugin.info.names.first().map_or("", |name| name.name).into()
}

/// The predicates by alias, also those that guard nothing; those that are wrong are left out.
type Predicates<'a> = HashMap<&'a str, Arc<dyn Predicate>>;

fn predicates<'a>(
    registry: &Registry,
    common: &'a CommonKeys,
    properties: &Properties,
    errors: &mut FieldErrors,
) -> Predicates<'a> {
    let mut built = HashMap::new();
    for (index, alias) in common.predicates.iter().enumerate() {
        if common.predicates[..index].contains(alias) {
            let text = format!("Duplicate alias provided: {alias}");
            errors.0.push(FieldError::other("predicates", text));
        } else if let Some(predicate) = gather(predicate(registry, properties, alias), errors) {
            built.insert(alias.as_str(), predicate);
        }
    }
    built
}

fn predicate(
    registry: &Registry,
    properties: &Properties,
    alias: &str,
) -> Result<Arc<dyn Predicate>, FieldErrors> {
    let prefix = format!("predicates.{alias}.");
    let mut own = properties.with_prefix(&prefix);
    let type_key = format!("{prefix}type");
    let class =
        own.remove("type").ok_or_else(|| FieldErrors(vec![FieldError::missing(&*type_key)]))?;
    let version = own.remove("plugin.version");
    let plugin = registry.find_predicate(&class).ok_or_else(|| not_found(&type_key, &class))?;
    let version_key = format!("{prefix}plugin.version");
    if let Some(error) = wrong_version(&version_key, version.as_deref(), plugin.info) {
        return Err(error.into());
    }
    (plugin.build)(&own, BuildFor::Chain).map_err(|errors| prefixed(errors, &prefix))
}

fn steps(
    registry: &Registry,
    common: &CommonKeys,
    properties: &Properties,
    predicates: &Predicates<'_>,
) -> Result<Vec<Step>, FieldErrors> {
    let mut errors = FieldErrors::default();
    let mut steps = Vec::new();
    for (index, alias) in common.transforms.iter().enumerate() {
        if common.transforms[..index].contains(alias) {
            let text = format!("Duplicate alias provided: {alias}");
            errors.0.push(FieldError::other("transforms", text));
            continue;
        }
        if let Some(Some(step)) =
            gather(step(registry, common, properties, alias, predicates), &mut errors)
        {
            steps.push(step);
        }
    }
    if errors.is_empty() { Ok(steps) } else { Err(errors) }
}

/// The step of the transform `alias`; none if only its predicate is wrong.
fn step(
    registry: &Registry,
    common: &CommonKeys,
    properties: &Properties,
    alias: &str,
    predicates: &Predicates<'_>,
) -> Result<Option<Step>, FieldErrors> {
    let prefix = format!("transforms.{alias}.");
    let mut own = properties.with_prefix(&prefix);
    let type_key = format!("{prefix}type");
    let class =
        own.remove("type").ok_or_else(|| FieldErrors(vec![FieldError::missing(&*type_key)]))?;
    let predicate = own.remove("predicate");
    let negate = own.remove("negate");
    let version = own.remove("plugin.version");
    let plugin = registry.find_transform(&class).ok_or_else(|| not_found(&type_key, &class))?;
    let version_key = format!("{prefix}plugin.version");
    if let Some(error) = wrong_version(&version_key, version.as_deref(), plugin.info) {
        return Err(error.into());
    }
    let transform =
        (plugin.build)(&own, BuildFor::Chain).map_err(|errors| prefixed(errors, &prefix))?;
    let guard = match (predicate, negate) {
        (Some(name), negate) => {
            let negate = negate.is_some_and(|n| n.trim().eq_ignore_ascii_case("true"));
            if !common.predicates.contains(&name) {
                let key = format!("{prefix}predicate");
                let text = format!("'{name}' is not an alias that 'predicates' lists");
                return Err(FieldErrors(vec![FieldError::other(key, text)]));
            }
            // What is wrong with the predicate has been said already.
            let Some(predicate) = predicates.get(name.as_str()) else { return Ok(None) };
            Some(Guard { predicate: Arc::clone(predicate), negate })
        }
        (None, Some(_)) => {
            let text = format!(
                "there is no config '{prefix}predicate' defining a predicate to be negated"
            );
            return Err(FieldErrors(vec![FieldError::other(format!("{prefix}negate"), text)]));
        }
        (None, None) => None,
    };
    let class = plugin.info.names.first().map_or("", |name| name.name).into();
    Ok(Some(Step { class, transform, guard }))
}

fn not_found(key: &str, class: &str) -> FieldErrors {
    let reason = format!("Class {class} could not be found.");
    FieldErrors(vec![FieldError::invalid(key, Some(class), reason)])
}

fn prefixed(errors: FieldErrors, prefix: &str) -> FieldErrors {
    FieldErrors(errors.0.into_iter().map(|error| error.prefixed(prefix)).collect())
}
