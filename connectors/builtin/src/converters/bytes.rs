//! Bytes as they are.

use bytes::{Bytes, BytesMut};
use towpath_sdk::config::FieldErrors;
use towpath_sdk::converter::Converter;
use towpath_sdk::plugin::PluginName;
use towpath_sdk::schema::{Kind, SchemaRef};
use towpath_sdk::value::{Datum, Value};
use towpath_sdk::{Error, Result};

use super::{Configured, PlainConverterConfig, optional};
use crate::java::class_of;

pub(super) const NAMES: &[PluginName] =
    &[PluginName::new("org.apache.kafka.connect.converters.ByteArrayConverter")];
pub(super) const SUMMARY: &str = "Passes bytes through.";

/// Passes bytes through.
#[derive(Debug)]
pub struct ByteArrayConverter {
    schema: SchemaRef,
}

impl Configured for ByteArrayConverter {
    type Config = PlainConverterConfig;

    fn new(_: PlainConverterConfig) -> Result<Self, FieldErrors> {
        Ok(Self { schema: optional(Kind::Bytes) })
    }
}

impl Converter for ByteArrayConverter {
    fn decode(&self, _: &str, bytes: Option<Bytes>) -> Result<Datum> {
        Ok(Datum::new(self.schema.clone(), bytes.map_or(Value::Null, Value::Bytes)))
    }

    fn encode(&self, _: &str, datum: &Datum, _: &mut BytesMut) -> Result<Option<Bytes>> {
        if let Some(schema) = datum.schema.as_ref().filter(|schema| schema.kind != Kind::Bytes) {
            return Err(Error::data(format!(
                "Invalid schema type for ByteArrayConverter: {}",
                schema.kind.connect_name()
            )));
        }
        match (&datum.value, class_of(&datum.value, datum.schema.as_deref())) {
            (Value::Null, _) => Ok(None),
            (Value::Bytes(bytes), "[B") => Ok(Some(bytes.clone())),
            (_, class) => Err(Error::data(format!(
                "ByteArrayConverter is not compatible with objects of type class {class}"
            ))),
        }
    }
}
