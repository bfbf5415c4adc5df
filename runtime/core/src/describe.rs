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
use towpath_sdk::plugin::{ConnectorPlugin, ConverterPlugin, PartPlugin, PluginName, Registry};

use crate::build::{self, WorkerDefaults};
use crate::framework::{CommonKeys, SinkKeys, SourceKeys};

/// `properties` held against everything that may be in them. `errors` are all errors found.
#[must_use]
pub fn config_infos(
    registry: &Registry,
    worker: &WorkerDefaults,
    properties: &Properties,
    errors: &FieldErrors,
) -> ConfigInfos {
    let class = properties.get("connector.class").map_or("", str::trim);
    let Ok((plugin, name)) = build::find_plugin(registry, properties) else {
        return ConfigInfos::new(class, Vec::new(), Vec::new());
    };
    let mut properties = properties.clone();
    for part in ["key", "value", "header"] {
        // What the worker tells a converter of the connector's own.
        if properties.contains_key(&format!("{part}.converter")) {
            properties.insert(format!("{part}.converter.converter.type"), part);
        }
    }
    let properties = &properties;
    let definition = definition_of(registry, worker, plugin, name, properties);
    let groups = definition.groups().into_iter().map(str::to_owned).collect();
    let errors = errors.clone().with_null_checks(&definition);
    let mut configs: Vec<ConfigInfo> = definition
        .keys
        .iter()
        .filter(|key| key.prefix().is_none())
        .map(|key| ConfigInfo {
            definition: key_info(key),
            value: ConfigValueInfo {
                // Without a plug-in there is no version to choose, nor to show.
                visible: !key.name.ends_with(".plugin.version") || key.default.is_some(),
                ..value_info(key, properties, &errors)
            },
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

/// The same for a connector under one of its names: its own keys, then those of every connector.
#[must_use]
pub fn connector_key_infos(plugin: &ConnectorPlugin, name: &PluginName) -> Vec<ConfigKeyInfo> {
    let mut all = plugin.definition().with_defaults(name.defaults);
    let mut framework = framework_keys(plugin);
    set_version(&mut framework, "connector.plugin.version", Some(plugin.info().version));
    all.merge(framework);
    // A form has no field for all keys with a prefix.
    all.keys.retain(|key| key.prefix().is_none());
    key_infos(&all)
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
        let find = |class: &str| match key {
            "header.converter" => registry.find_header_converter(class),
            _ => registry.find_converter(class),
        };
        let own = properties.get(key).map(str::trim).filter(|class| !class.is_empty());
        let used = own.or_else(|| all.get(key)?.default.as_deref()).and_then(find);
        let version = used.map(|plugin| plugin.info.version);
        set_version(&mut all, &format!("{key}.plugin.version"), version);
        if let Some(plugin) = own.and_then(find) {
            all.merge(embedded((plugin.definition)().clone(), &format!("{key}.")));
        }
    }
    all
}

fn framework(registry: &Registry, worker: &WorkerDefaults, plugin: &ConnectorPlugin) -> ConfigDef {
    let mut framework = framework_keys(plugin);
    set_version(&mut framework, "connector.plugin.version", Some(plugin.info().version));
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
    framework
}

fn framework_keys(plugin: &ConnectorPlugin) -> ConfigDef {
    let mut framework = CommonKeys::definition().clone();
    framework.merge(match plugin {
        ConnectorPlugin::Sink(_) => SinkKeys::definition().clone(),
        ConnectorPlugin::Source(_) => SourceKeys::definition().clone(),
    });
    framework
}

/// There is one version of a plug-in: it is the default, and the one to recommend.
fn set_version(definition: &mut ConfigDef, key: &str, version: Option<&str>) {
    if let Some(key) = definition.keys.iter_mut().find(|k| k.name == key) {
        key.default = version.map(str::to_owned);
        key.recommended = version.map(str::to_owned).into_iter().collect();
    }
}

/// The keys of the transform or predicate `alias`, under their prefix and in a group of their own: class and
/// version, then the others by name, as Connect orders them.
fn chain_part(registry: &Registry, properties: &Properties, kind: &str, alias: &str) -> ConfigDef {
    let prefix = format!("{kind}.{alias}.");
    let (title, word, names) = match kind {
        "transforms" => ("Transforms", "Transformation", part_names(registry.transforms())),
        _ => ("Predicates", "Predicate", part_names(registry.predicates())),
    };
    let found = properties.get(&format!("{prefix}type")).and_then(|class| match kind {
        "transforms" => registry.find_transform(class).map(|p| (p.info, (p.definition)())),
        _ => registry.find_predicate(class).map(|p| (p.info, (p.definition)())),
    });
    let mut class = ConfigKey::new("type", FieldType::Class, format!("The class of '{alias}'."));
    class.required = true;
    class.importance = config::Importance::High;
    class.width = config::Width::Long;
    class.display_name = format!("{word} type for {alias}");
    class.recommended = names;
    let mut version = ConfigKey::new(
        "plugin.version",
        FieldType::String,
        "Which version of that class: one, or ranges such as `[1.0,2.0)`; any if absent.",
    );
    version.importance = config::Importance::High;
    version.width = config::Width::Long;
    version.display_name = format!("{word} version for {alias}");
    let mut part = ConfigDef { keys: vec![class, version] };
    set_version(&mut part, "plugin.version", found.map(|(info, _)| info.version));
    let mut others = ConfigDef::new();
    if kind == "transforms" {
        others.keys = guard_keys();
    }
    others.merge(found.map(|(_, definition)| definition.clone()).unwrap_or_default());
    others.keys.sort_by(|a, b| a.name.cmp(&b.name));
    part.merge(others);
    for key in &mut part.keys {
        key.group = Some(format!("{title}: {alias}"));
    }
    for (order, key) in (0..).zip(&mut part.keys) {
        key.order = order;
    }
    embedded(part, &prefix)
}

/// `part` under `prefix`. Forms show its keys without the prefix, as Connect's do.
fn embedded(part: ConfigDef, prefix: &str) -> ConfigDef {
    let names: Vec<String> = part.keys.iter().map(|key| key.display_name.clone()).collect();
    let mut part = part.prefixed(prefix);
    for (key, name) in part.keys.iter_mut().zip(names) {
        key.display_name = name;
    }
    part
}

fn part_names<T: ?Sized>(plugins: &[PartPlugin<T>]) -> Vec<String> {
    let names = plugins.iter().flat_map(|plugin| plugin.info.names);
    names.map(|name| name.name.to_owned()).collect()
}

/// What a transform may be guarded by.
fn guard_keys() -> Vec<ConfigKey> {
    let mut predicate = ConfigKey::new(
        "predicate",
        FieldType::String,
        "The alias of a predicate: only records for which it holds are transformed.",
    );
    predicate.importance = config::Importance::Medium;
    let mut negate = ConfigKey::new(
        "negate",
        FieldType::Boolean,
        "Transforms the records for which the predicate does not hold, and no others.",
    );
    negate.default = Some("false".to_owned());
    negate.importance = config::Importance::Medium;
    vec![negate, predicate]
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
        // A class that there isn't is no value.
        value: key
            .echo(properties)
            .filter(|_| key.kind != FieldType::Class || errors.of(&key.name).next().is_none()),
        recommended_values: key.recommended.clone(),
        errors: errors.of(&key.name).map(ToString::to_string).collect(),
        visible: true,
    }
}
