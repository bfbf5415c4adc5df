//! Booleans as one byte.

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
    &[PluginName::new("org.apache.kafka.connect.converters.BooleanConverter")];
pub(super) const SUMMARY: &str = "Booleans as one byte, 0 or 1.";

/// Booleans as one byte, 0 or 1.
#[derive(Debug)]
pub struct BooleanConverter {
    schema: SchemaRef,
}

impl Configured for BooleanConverter {
    type Config = PlainConverterConfig;

    fn new(_: PlainConverterConfig) -> Result<Self, FieldErrors> {
        Ok(Self { schema: optional(Kind::Boolean) })
    }
}

impl Converter for BooleanConverter {
    fn decode(&self, _: &str, bytes: Option<Bytes>) -> Result<Datum> {
        let fail = |cause: String| {
            Err(Error::data("Failed to deserialize boolean: ").with_source(Error::data(cause)))
        };
        let value = match bytes.as_deref() {
            None => Value::Null,
            Some([0]) => Value::Boolean(false),
            Some([1]) => Value::Boolean(true),
            Some(&[other]) => return fail(format!("unexpected byte {other}, expected 0 or 1")),
            Some(other) => return fail(format!("{} bytes, expected 1", other.len())),
        };
        Ok(Datum::new(self.schema.clone(), value))
    }

    fn encode(&self, _: &str, datum: &Datum, _: &mut BytesMut) -> Result<Option<Bytes>> {
        if let Some(schema) = datum.schema.as_ref().filter(|schema| schema.kind != Kind::Boolean) {
            return Err(Error::data(format!(
                "Invalid schema type for BooleanConverter: {}",
                schema.kind.connect_name()
            )));
        }
        match datum.value {
            Value::Null => Ok(None),
            Value::Boolean(true) => Ok(Some(Bytes::from_static(&[1]))),
            Value::Boolean(false) => Ok(Some(Bytes::from_static(&[0]))),
            ref other => Err(Error::data(format!(
                "BooleanConverter is not compatible with objects of type class {}",
                class_of(other, datum.schema.as_deref())
            ))),
        }
    }
}
