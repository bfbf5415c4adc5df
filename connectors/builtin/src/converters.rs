//! Converters: between bytes in Kafka and values.
//!
//! A converter is made for one part of a record. Connect's key `converter.type` says which; the
//! runtime sets it, and a configuration may repeat it but not contradict it.

mod boolean;
mod bytes;
mod header;
mod json;
mod number;
mod string;

use std::sync::Arc;

use towpath_sdk::config::{ConfigEnum, ConnectorConfig, FieldError, FieldErrors, Properties};
use towpath_sdk::converter::{Converter, Part};
use towpath_sdk::plugin::{
    BuildFor, ConverterPlugin, PluginInfo, PluginName, Registry, definition_of,
};
use towpath_sdk::schema::{Kind, Schema, SchemaRef};

pub use boolean::BooleanConverter;
pub use bytes::ByteArrayConverter;
pub use header::{SimpleHeaderConverter, SimpleHeaderConverterConfig};
pub use json::{DecimalFormat, JsonConverter, JsonConverterConfig};
pub use number::{
    DoubleConverter, FloatConverter, IntegerConverter, LongConverter, NumberConverter,
    ShortConverter,
};
pub use string::{Encoding, StringConverter, StringConverterConfig};

const TYPE: &str = "converter.type";

/// Which part of a record a converter is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ConfigEnum)]
pub enum ConverterType {
    /// Keys.
    Key,
    /// Values.
    Value,
    /// The values of headers.
    Header,
}

/// The configuration of a converter that has nothing to configure.
#[derive(Debug, ConnectorConfig)]
pub struct PlainConverterConfig {
    /// Which part of a record the converter is for. The runtime sets it.
    #[config(key = "converter.type", importance = low)]
    pub converter_type: ConverterType,
}

/// A converter with a typed configuration.
trait Configured: Converter + Sized {
    type Config: ConnectorConfig;

    fn new(config: Self::Config) -> Result<Self, FieldErrors>;
}

pub(crate) fn register(registry: &mut Registry) {
    registry
        .converter(plugin::<StringConverter>(string::NAMES, string::SUMMARY))
        .converter(plugin::<JsonConverter>(json::NAMES, json::SUMMARY))
        .converter(plugin::<ByteArrayConverter>(bytes::NAMES, bytes::SUMMARY))
        .converter(plugin::<BooleanConverter>(boolean::NAMES, boolean::SUMMARY));
    number::register(registry);
    registry.header_converter(plugin::<SimpleHeaderConverter>(header::NAMES, header::SUMMARY));
}

/// The plug-in of a converter.
fn plugin<C: Configured>(names: &'static [PluginName], summary: &'static str) -> ConverterPlugin {
    ConverterPlugin {
        info: PluginInfo { names, version: env!("CARGO_PKG_VERSION"), summary },
        definition: definition_of::<C::Config>,
        validate: |properties| {
            let part = match properties.get(TYPE) {
                Some("key") => Part::Key,
                Some("header") => Part::Header,
                _ => Part::Value,
            };
            build::<C>(properties, BuildFor::Convert(part)).err().unwrap_or_default()
        },
        build: build::<C>,
    }
}

fn build<C: Configured>(
    properties: &Properties,
    purpose: BuildFor,
) -> Result<Arc<dyn Converter>, FieldErrors> {
    let part = match purpose {
        BuildFor::Convert(Part::Key) => "key",
        BuildFor::Convert(Part::Header) => "header",
        BuildFor::Convert(Part::Value) | BuildFor::Chain => "value",
    };
    let mut properties = properties.clone();
    let given = properties.insert(TYPE, part).filter(|given| given.trim() != part);
    let config = C::Config::parse(&properties);
    if let Some(given) = given {
        let reason = format!("the converter is for the record's {part}: leave this key out");
        let mut errors = config.err().unwrap_or_default();
        errors.extend([FieldError::invalid(TYPE, Some(&given), reason)]);
        return Err(errors);
    }
    Ok(Arc::new(C::new(config?)?))
}

/// The schema of a value that may be null.
fn optional(kind: Kind) -> SchemaRef {
    Arc::new(Schema::new(kind).optional())
}

#[cfg(test)]
mod tests {
    use towpath_sdk::config::testing;

    use super::*;

    #[test]
    fn the_type_may_be_repeated_but_not_contradicted() {
        let mut registry = Registry::default();
        register(&mut registry);
        for plugin in registry.converters() {
            let validate = |value: &str| (plugin.validate)(&Properties::from([(TYPE, value)]));
            assert!((plugin.validate)(&Properties::new()).is_empty());
            for part in ["key", "value", "header"] {
                assert!(validate(part).is_empty());
            }
            assert_eq!(validate("vallue").len(), 1);
            let of_keys = Properties::from([(TYPE, "key")]);
            assert!((plugin.build)(&of_keys, BuildFor::Convert(Part::Key)).is_ok());
            let errors = (plugin.build)(&of_keys, BuildFor::Convert(Part::Header)).err().unwrap();
            assert_eq!(errors.of(TYPE).count(), 1);
        }
    }

    #[test]
    fn every_key_has_its_effect() {
        testing::assert_definition::<PlainConverterConfig>();
        testing::assert_every_key_is_claimed(
            PlainConverterConfig::definition(),
            &[(TYPE, "the_type_may_be_repeated_but_not_contradicted")],
        );
    }
}
