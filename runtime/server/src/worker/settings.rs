//! Where a worker's settings come from: the properties file, then the environment.
//!
//! Duty: references to configuration providers are resolved here, all errors come at once, and what has
//! no effect is a warning. No text holds a value that may be a secret.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, bail};
use towpath_core::secrets::Resolver;
use towpath_formats::environment::{self, Environment};
use towpath_formats::worker_config::{ProviderConfig, WorkerConfig, config_providers};
use towpath_formats::{FieldError, Properties, Warning, properties_file};
use towpath_sdk::config::Properties as Plain;

use super::clients;
use crate::logging::Logging;
use crate::registry::registry;

/// What a worker starts from.
pub(crate) struct Settings {
    /// Its configuration.
    pub(crate) config: WorkerConfig,
    /// Resolves references in the configurations of connectors.
    pub(crate) resolver: Resolver,
}

/// Reads and understands them, and sets the log levels that they name.
///
/// # Errors
/// All wrong settings at once.
pub(crate) fn read(file: Option<&Path>, logging: &Logging) -> Result<Settings> {
    let mut properties = Properties::new();
    if let Some(file) = file {
        let bytes = std::fs::read(file).with_context(|| format!("read {}", file.display()))?;
        let parsed = properties_file::parse(&bytes);
        properties = parsed.with_context(|| format!("read {}", file.display()))?;
    }
    let variables = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    let environment = environment::read(variables);
    set_levels(&environment, logging);
    for warning in &environment.warnings {
        tracing::warn!("{warning}");
    }
    properties.extend(environment.properties);
    if properties.is_empty() {
        bail!(
            "there are no settings: name a Kafka Connect worker properties file, or set CONNECT_* \
             variables"
        );
    }
    understand(properties)
}

/// Understands settings that are all there.
///
/// # Errors
/// All wrong settings at once.
pub(crate) fn understand(mut properties: Properties) -> Result<Settings> {
    let mut errors = Vec::new();
    let resolver = match config_providers(&properties) {
        Ok(providers) => resolver(&providers, &mut errors),
        // They come again when the whole is looked at.
        Err(_) => Resolver::default(),
    };
    resolve(&resolver, &mut properties, &mut errors);
    let (config, mut warnings, wrong) = WorkerConfig::examine(&properties);
    errors.extend(wrong);
    let clients = clients::check(&config.clients);
    warnings.extend(clients.warnings);
    errors.extend(clients.errors);
    let (unknown, wrong) = converters(&config);
    warnings.extend(unknown);
    errors.extend(wrong);
    // Also beside errors: a key that is missing may be there under a slip of the pen.
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    if errors.is_empty() {
        return Ok(Settings { config, resolver });
    }
    let lines: Vec<String> = errors.iter().map(|error| format!("  {error}")).collect();
    let errors = if lines.len() == 1 { "an error" } else { "errors" };
    bail!("the worker's settings have {errors}:\n{}", lines.join("\n"))
}

/// The providers that the worker's file names.
fn resolver(configs: &[ProviderConfig], errors: &mut Vec<FieldError>) -> Resolver {
    let registry = registry();
    let mut providers = BTreeMap::new();
    for ProviderConfig { name, class, params } in configs {
        let Some(plugin) = registry.find_provider(class) else {
            let known: Vec<&str> = registry
                .providers()
                .iter()
                .flat_map(|plugin| plugin.info.names.iter().map(|name| name.name))
                .collect();
            let problem = format!("there is no provider {class}; there are {}", known.join(", "));
            errors.push(FieldError::new(format!("config.providers.{name}.class"), problem));
            continue;
        };
        let params: Plain = params.iter().collect();
        match (plugin.build)(&params) {
            Ok(provider) => {
                providers.insert(name.clone(), provider);
            }
            Err(wrong) => errors.extend(wrong.iter().map(|error| {
                let key = format!("config.providers.{name}.param.{}", error.key());
                FieldError::new(key, error.to_string())
            })),
        }
    }
    Resolver::new(providers)
}

/// Puts values in the place of references. Those of providers themselves are not looked at, as in Connect.
fn resolve(resolver: &Resolver, properties: &mut Properties, errors: &mut Vec<FieldError>) {
    let mut resolved = Properties::new();
    for (key, value) in properties.iter() {
        if key.starts_with("config.providers") || !resolver.refers(value) {
            continue;
        }
        match resolver.resolve(&Plain::from([(key, value)])) {
            Ok(one) => resolved.set(key.clone(), one.get(key).unwrap_or_default()),
            Err(error) => {
                let text = error.to_string();
                // The key stands in front of it anyway.
                let problem = text.strip_prefix(&format!("resolve {key}: ")).unwrap_or(&text);
                errors.push(FieldError::new(key.clone(), problem));
            }
        }
    }
    properties.extend(resolved);
}

/// What is to say about the worker's converters. One that is not built in only concerns connectors which
/// name none of their own, so it does not keep the worker from starting.
fn converters(config: &WorkerConfig) -> (Vec<Warning>, Vec<FieldError>) {
    let registry = registry();
    let (mut unknown, mut wrong) = (Vec::new(), Vec::new());
    for (key, converter) in [
        ("key.converter", &config.key_converter),
        ("value.converter", &config.value_converter),
        ("header.converter", &config.header_converter),
    ] {
        let plugin = match key {
            "header.converter" => registry.find_header_converter(&converter.class),
            _ => registry.find_converter(&converter.class),
        };
        let Some(plugin) = plugin else {
            if converter.class.is_empty() {
                continue;
            }
            let text = format!(
                "{} is not built in: connectors that name no {key} of their own are refused; \
                 GET /connector-plugins?connectorsOnly=false lists what there is",
                converter.class
            );
            unknown.push(Warning::new(key, text));
            continue;
        };
        let properties: Plain = converter.properties.iter().collect();
        let errors = (plugin.validate)(&properties);
        wrong.extend(
            errors
                .iter()
                .map(|error| FieldError::new(format!("{key}.{}", error.key()), error.to_string())),
        );
    }
    (unknown, wrong)
}

/// The levels that variables like `CONNECT_LOG4J_ROOT_LOGLEVEL` name.
fn set_levels(environment: &Environment, logging: &Logging) {
    for (logger, level) in &environment.log_levels {
        match logging.set(logger, level) {
            Ok(concerned) if concerned.is_empty() => tracing::warn!(
                "CONNECT_LOG4J_LOGGERS: {logger} has no effect: nothing logs under that name here; \
                 GET /admin/loggers lists the names"
            ),
            Ok(_) => {}
            Err(_) => tracing::warn!(
                "the environment sets the log level of {logger} to {level}, which there isn't: use \
                 OFF, ERROR, WARN, INFO, DEBUG or TRACE"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(pairs: &[(&str, &str)]) -> Result<Settings> {
        let mut properties = Properties::from([
            ("bootstrap.servers", "localhost:9092"),
            ("group.id", "g"),
            ("config.storage.topic", "c"),
            ("offset.storage.topic", "o"),
            ("status.storage.topic", "s"),
            ("key.converter", "org.apache.kafka.connect.storage.StringConverter"),
            ("value.converter", "org.apache.kafka.connect.json.JsonConverter"),
            ("config.providers", "env"),
            (
                "config.providers.env.class",
                "org.apache.kafka.common.config.provider.EnvVarConfigProvider",
            ),
            // Cargo sets it for every test.
            ("config.providers.env.param.allowlist.pattern", "CARGO_PKG_.*"),
        ]);
        properties
            .extend(pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())));
        understand(properties)
    }

    fn errors(pairs: &[(&str, &str)]) -> String {
        with(pairs).err().map(|error| error.to_string()).unwrap_or_default()
    }

    #[test]
    fn references_are_resolved_before_anything_is_understood() {
        let settings = with(&[("group.id", "${env:CARGO_PKG_NAME}-1")]).unwrap();
        assert_eq!(settings.config.group_id, "towpath-server-1");
        let text = errors(&[("group.id", "${env:HOME}")]);
        assert!(text.contains("group.id: ${env:HOME}: "), "{text}");
    }

    #[test]
    fn errors_of_all_kinds_come_at_once_and_show_no_secret() {
        let text = errors(&[
            ("offset.flush.interval.ms", "soon"),
            ("value.converter.schemas.enable", "maybe"),
            ("config.providers", "env,vault"),
            ("config.providers.vault.class", "com.example.Vault"),
            ("security.protocol", "SASL_SSL"),
            ("sasl.mechanism", "PLAIN"),
            ("sasl.jaas.config", "PlainLoginModule required password=\"hunter2\";"),
            ("consumer.auto.offset.reset", "newest"),
        ]);
        for key in [
            "offset.flush.interval.ms",
            "value.converter.schemas.enable",
            "config.providers.vault.class",
            "sasl.jaas.config",
            "consumer.auto.offset.reset",
        ] {
            assert!(text.contains(&format!("\n  {key}: ")), "{key}: {text}");
        }
        assert!(!text.contains("hunter2"), "{text}");
    }

    #[test]
    fn a_converter_that_is_not_built_in_keeps_no_worker_from_starting() {
        assert!(with(&[("key.converter", "io.confluent.connect.avro.AvroConverter")]).is_ok());
    }
}
