//! What a form shows: definitions of configurations, and a configuration held against them.
//!
//! Duty: the bodies of `/connector-plugins/{plugin}/config` and `…/config/validate`. The definition of
//! a connector's configuration is put together as Connect does: the framework's keys, the transforms'
//! and predicates' under their prefixes, the connector's, and those of converters that it names itself.

use towpath_formats::rest::{
    ConfigInfo, ConfigInfos, ConfigKeyInfo, ConfigType, ConfigValueInfo, Importance, Width,
};
use towpath_sdk::config::{
    self, ConfigDef, ConfigKey, ConnectorConfig, FieldErrors, FieldType, Properties,
};
use towpath_sdk::plugin::{ConnectorPlugin, ConverterPlugin, PluginName, Registry};

use crate::build::{self, WorkerDefaults};
use crate::framework::{CommonKeys, SinkKeys, SourceKeys};

/// `properties` held against everything that may be in them. `errors` are all errors found.
#[must_use]
pub fn config_infos(
    registry: &Registry,
    worker: &WorkerDefaults,
    class: &str,
    properties: &Properties,
    errors: &FieldErrors,
) -> ConfigInfos {
    let Ok((plugin, name)) = build::find_plugin(registry, properties) else {
        return ConfigInfos::new(class, Vec::new(), Vec::new());
    };
    let definition = definition_of(registry, worker, plugin, name, properties);
    let groups = definition.groups().into_iter().map(str::to_owned).collect();
    let errors = errors.clone().with_null_checks(&definition);
    let mut configs: Vec<ConfigInfo> = definition
        .keys
        .iter()
        .filter(|key| key.prefix().is_none())
        .map(|key| ConfigInfo {
            definition: key_info(key),
            value: value_info(key, properties, &errors),
        })
        .collect();
    // An error of a key that no definition has still shows.
    for error in
        errors.iter().filter(|e| definition.get(e.key()).is_none_or(|k| k.prefix().is_some()))
    {
        let key = ConfigKey::new(error.key(), FieldType::String, "");
        let mut value = value_info(&key, properties, &FieldErrors::default());
        value.errors.push(error.to_string());
        configs.push(ConfigInfo { definition: key_info(&key), value });
    }
    ConfigInfos::new(class, groups, configs)
}

/// One definition, as `/connector-plugins/{plugin}/config` lists it.
#[must_use]
pub fn key_infos(definition: &ConfigDef) -> Vec<ConfigKeyInfo> {
    definition.keys.iter().map(key_info).collect()
}

fn definition_of(
    registry: &Registry,
    worker: &WorkerDefaults,
    plugin: &ConnectorPlugin,
    name: &PluginName,
    properties: &Properties,
) -> ConfigDef {
    let mut all = ConfigDef::new();
    all.merge(framework(registry, worker, plugin));
    let common = CommonKeys::parse(properties);
    let aliases = |key: &str| -> Vec<String> {
        properties
            .get(key)
            .into_iter()
            .flat_map(|list| list.split(','))
            .map(|alias| alias.trim().to_owned())
            .filter(|alias| !alias.is_empty())
            .collect()
    };
    for alias in aliases("transforms") {
        all.merge(chain_part(registry, properties, "transforms", &alias));
    }
    for alias in aliases("predicates") {
        all.merge(chain_part(registry, properties, "predicates", &alias));
    }
    all.merge(plugin.definition().with_defaults(name.defaults));
    for key in ["key.converter", "value.converter", "header.converter"] {
        let own = match (&common, key) {
            (Ok(common), "key.converter") => common.key_converter.clone(),
            (Ok(common), "value.converter") => common.value_converter.clone(),
            (Ok(common), _) => common.header_converter.clone(),
            (Err(_), key) => properties.get(key).map(str::to_owned),
        };
        let plugin = own.and_then(|class| match key {
            "header.converter" => registry.find_header_converter(&class),
            _ => registry.find_converter(&class),
        });
        if let Some(plugin) = plugin {
            all.merge((plugin.definition)().clone().prefixed(&format!("{key}.")));
        }
    }
    all
}

fn framework(registry: &Registry, worker: &WorkerDefaults, plugin: &ConnectorPlugin) -> ConfigDef {
    let mut framework = CommonKeys::definition().clone();
    let name = |p: &ConverterPlugin| p.info.names.iter().map(|n| n.name.to_owned());
    let converters: Vec<String> = registry.converters().iter().flat_map(name).collect();
    let header_converters: Vec<String> = registry.header_converters().flat_map(name).collect();
    for (key, default, recommended) in [
        ("key.converter", &worker.key_converter.0, &converters),
        ("value.converter", &worker.value_converter.0, &converters),
        ("header.converter", &worker.header_converter.0, &header_converters),
    ] {
        if let Some(key) = framework.keys.iter_mut().find(|k| k.name == key) {
            key.default = Some(default.clone());
            key.recommended.clone_from(recommended);
        }
    }
    framework.merge(match plugin {
        ConnectorPlugin::Sink(_) => SinkKeys::definition().clone(),
        ConnectorPlugin::Source(_) => SourceKeys::definition().clone(),
    });
    framework
}

/// The keys of the transform or predicate `alias`, under their prefix and in a group of their own.
fn chain_part(registry: &Registry, properties: &Properties, kind: &str, alias: &str) -> ConfigDef {
    let prefix = format!("{kind}.{alias}.");
    let (title, word) = match kind {
        "transforms" => (format!("Transforms: {alias}"), "Transformation"),
        _ => (format!("Predicates: {alias}"), "Predicate"),
    };
    let mut part = ConfigDef::new();
    let text = format!("Class for the '{alias}' {}.", word.to_lowercase());
    let mut class = ConfigKey::new("type", FieldType::Class, text);
    class.required = true;
    class.importance = config::Importance::High;
    class.width = config::Width::Long;
    class.display_name = format!("{word} type for {alias}");
    part.keys.push(class);
    if kind == "transforms" {
        let mut predicate = ConfigKey::new(
            "predicate",
            FieldType::String,
            "The alias of a predicate used to determine whether to apply this transformation.",
        );
        predicate.importance = config::Importance::Medium;
        part.keys.push(predicate);
        let mut negate = ConfigKey::new(
            "negate",
            FieldType::Boolean,
            "Whether the configured predicate should be negated.",
        );
        negate.default = Some("false".to_owned());
        negate.importance = config::Importance::Medium;
        part.keys.push(negate);
    }
    if let Some(class) = properties.get(&format!("{prefix}type")) {
        let own = match kind {
            "transforms" => registry.find_transform(class).map(|p| p.definition),
            _ => registry.find_predicate(class).map(|p| p.definition),
        };
        part.merge(own.map(|definition| definition().clone()).unwrap_or_default());
    }
    let mut part = part.prefixed(&prefix);
    for (order, key) in (0..).zip(&mut part.keys) {
        key.group = Some(title.clone());
        key.order = order;
    }
    part
}

fn key_info(key: &ConfigKey) -> ConfigKeyInfo {
    ConfigKeyInfo {
        name: key.name.clone(),
        kind: match key.kind {
            FieldType::Boolean => ConfigType::Boolean,
            FieldType::String => ConfigType::String,
            FieldType::Int => ConfigType::Int,
            FieldType::Short => ConfigType::Short,
            FieldType::Long => ConfigType::Long,
            FieldType::Double => ConfigType::Double,
            FieldType::List => ConfigType::List,
            FieldType::Class => ConfigType::Class,
            FieldType::Password => ConfigType::Password,
        },
        required: key.required,
        default_value: key.default.clone(),
        importance: match key.importance {
            config::Importance::High => Importance::High,
            config::Importance::Medium => Importance::Medium,
            config::Importance::Low => Importance::Low,
        },
        documentation: key.documentation.clone(),
        group: key.group.clone(),
        order_in_group: key.order,
        width: match key.width {
            config::Width::None => Width::None,
            config::Width::Short => Width::Short,
            config::Width::Medium => Width::Medium,
            config::Width::Long => Width::Long,
        },
        display_name: key.display_name.clone(),
        dependents: key.dependents.clone(),
    }
}

fn value_info(key: &ConfigKey, properties: &Properties, errors: &FieldErrors) -> ConfigValueInfo {
    ConfigValueInfo {
        name: key.name.clone(),
        value: key.echo(properties),
        recommended_values: key.recommended.clone(),
        errors: errors.of(&key.name).map(ToString::to_string).collect(),
        visible: true,
    }
}
