//! `ExtractField`: one field takes the place of the whole key or value.
//!
//! A schemaless JSON document is not decoded: the field is found in its text.

use std::sync::Arc;

use towpath_sdk::config::{ConnectorConfig, FieldError, FieldErrors, Properties};
use towpath_sdk::plugin::{
    BuildFor, PluginInfo, PluginName, Registry, TransformPlugin, definition_of,
};
use towpath_sdk::record::Record;
use towpath_sdk::schema::{Kind, Schema, SchemaRef};
use towpath_sdk::transform::{Transform, Transformed};
use towpath_sdk::value::{Datum, Value};
use towpath_sdk::{Error, Result};

use super::field_path::{self, FieldSyntax};
use crate::java::class_of;

const PURPOSE: &str = "field extraction";
const NESTED: &str = "nested field access";

/// The configuration of [`ExtractField`].
#[derive(Debug, ConnectorConfig)]
#[config(validate = ExtractFieldConfig::check)]
pub struct ExtractFieldConfig {
    /// The name of the field, or the path to it.
    #[config(importance = medium)]
    pub field: String,
    /// Whether a field that is null takes its default, if its schema has one.
    #[config(key = "replace.null.with.default", default = true, importance = medium)]
    pub replace_null_with_default: bool,
    /// How the field is named: `V1` is a field at the root; in `V2` dots lead into nested fields, and
    /// names with dots in them stand between backticks. V1, so that dots in names keep their meaning.
    #[config(key = "field.syntax.version", default = "V1", importance = high)]
    pub field_syntax_version: FieldSyntax,
}

impl ExtractFieldConfig {
    fn check(&self) -> Vec<FieldError> {
        let path = field_path::parse(&self.field, self.field_syntax_version);
        path.err().map(|why| FieldError::other("field", why)).into_iter().collect()
    }
}

/// Which part of a record is worked on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Of {
    /// The key.
    Key,
    /// The value.
    Value,
}

/// Replaces the key or the value by one of its fields. A null stays null.
#[derive(Debug)]
pub struct ExtractField {
    of: Of,
    path: Vec<String>,
    written: String,
    defaults: bool,
}

impl ExtractField {
    /// The transform.
    ///
    /// # Errors
    /// If the path is wrong.
    pub fn new(of: Of, config: ExtractFieldConfig) -> Result<Self, FieldErrors> {
        let path = field_path::parse(&config.field, config.field_syntax_version)
            .map_err(|why| FieldError::other("field", why))?;
        let defaults = config.replace_null_with_default;
        Ok(Self { of, path, written: config.field, defaults })
    }

    /// The field and its schema. On an error nothing is taken out of `datum`.
    fn extract(&self, datum: &mut Datum) -> Result<Datum> {
        let Some(schema) = &datum.schema else {
            return Ok(Datum::schemaless(Self::of_map(&mut datum.value, &self.path, PURPOSE)?));
        };
        if !matches!(datum.value, Value::Null | Value::Struct(_)) {
            return Err(not_a_struct(PURPOSE, &datum.value, Some(schema)));
        }
        let field = self.field(schema)?;
        Ok(Datum::new(field, self.of_struct(&mut datum.value)?))
    }

    fn field(&self, schema: &SchemaRef) -> Result<SchemaRef> {
        let mut schema = schema;
        for name in &self.path {
            let Kind::Struct(_) = schema.kind else {
                return Err(Error::data("Cannot look up fields on non-struct type"));
            };
            schema = &schema
                .field(name)
                .ok_or_else(|| {
                    Error::data(format!("Unknown field: {}", self.written))
                        .with_class("java.lang.IllegalArgumentException")
                })?
                .schema;
        }
        Ok(schema.clone())
    }

    fn of_struct(&self, value: &mut Value) -> Result<Value> {
        let mut current = value;
        let last = self.path.len() - 1;
        for (at, name) in self.path.iter().enumerate() {
            let Value::Struct(fields) = current else { return Ok(Value::Null) };
            let Some(index) = fields.schema().field_index(name) else { return Ok(Value::Null) };
            let schema = fields.schema().fields()[index].schema.clone();
            let field = &mut fields.values_mut()[index];
            if field.is_null()
                && let Some(default) = &schema.default
                && (at < last || self.defaults)
            {
                // Nobody else sees this record: the default may as well be put in place.
                *field = default.clone();
            }
            if at < last && !matches!(field, Value::Null | Value::Struct(_)) {
                return Err(not_a_struct(NESTED, field, Some(&schema)));
            }
            current = field;
        }
        Ok(std::mem::take(current))
    }

    fn of_map(value: &mut Value, path: &[String], purpose: &str) -> Result<Value> {
        let Some((name, rest)) = path.split_first() else { return Ok(std::mem::take(value)) };
        match value {
            Value::Null => Ok(Value::Null),
            Value::Json(json) if json.is_object() => match json.member(name) {
                Some(mut found) => Self::of_map(&mut found, rest, NESTED),
                None => Ok(Value::Null),
            },
            Value::Map(entries) => {
                match entries.iter_mut().find(|(key, _)| key.as_str() == Some(name)) {
                    Some((_, found)) => Self::of_map(found, rest, NESTED),
                    None => Ok(Value::Null),
                }
            }
            other => Err(Error::data(format!(
                "Only Map objects supported in absence of schema for [{purpose}], found: {}",
                class_of(other, None)
            ))),
        }
    }
}

fn not_a_struct(purpose: &str, found: &Value, schema: Option<&Schema>) -> Error {
    Error::data(format!(
        "Only Struct objects supported for [{purpose}], found: {}",
        class_of(found, schema)
    ))
}

impl Transform for ExtractField {
    fn apply(&self, record: &mut Record) -> Result<Transformed> {
        let datum = match self.of {
            Of::Key => &mut record.key,
            Of::Value => &mut record.value,
        };
        *datum = self.extract(datum)?;
        Ok(Transformed::Keep)
    }
}

pub(super) fn register(registry: &mut Registry) {
    const KEY: &[PluginName] =
        &[PluginName::new("org.apache.kafka.connect.transforms.ExtractField$Key")];
    const VALUE: &[PluginName] =
        &[PluginName::new("org.apache.kafka.connect.transforms.ExtractField$Value")];
    fn build(properties: &Properties, of: Of) -> Result<Arc<dyn Transform>, FieldErrors> {
        Ok(Arc::new(ExtractField::new(of, ExtractFieldConfig::parse(properties)?)?))
    }
    let plugin = |names, summary, build| TransformPlugin {
        info: PluginInfo { names, version: env!("CARGO_PKG_VERSION"), summary },
        definition: definition_of::<ExtractFieldConfig>,
        validate: |properties| build_errors(properties),
        build,
    };
    fn build_errors(properties: &Properties) -> FieldErrors {
        build(properties, Of::Value).err().unwrap_or_default()
    }
    fn build_key(properties: &Properties, _: BuildFor) -> Result<Arc<dyn Transform>, FieldErrors> {
        build(properties, Of::Key)
    }
    fn build_value(
        properties: &Properties,
        _: BuildFor,
    ) -> Result<Arc<dyn Transform>, FieldErrors> {
        build(properties, Of::Value)
    }
    registry
        .transform(plugin(KEY, "Replaces the key by one of its fields.", build_key))
        .transform(plugin(VALUE, "Replaces the value by one of its fields.", build_value));
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use towpath_sdk::config::testing;
    use towpath_sdk::value::Json;

    use super::*;

    fn extract(path: &str) -> ExtractField {
        let config = Properties::from([("field", path), ("field.syntax.version", "V2")]);
        ExtractField::new(Of::Value, ExtractFieldConfig::parse(&config).unwrap()).unwrap()
    }

    #[test]
    fn json_is_not_built() {
        let text = Bytes::from(r#"{"a":{"b":{"c":[1,2]}}}"#.to_owned());
        let value = Value::Json(Json::new(text.clone()).unwrap());
        let mut record = Record::new("t", Datum::schemaless(value));
        extract("a.b").apply(&mut record).unwrap();
        let Value::Json(json) = &record.value.value else { panic!("{:?}", record.value) };
        assert_eq!(json.as_str(), r#"{"c":[1,2]}"#);
        assert_eq!(json.bytes().as_ptr(), text[10..].as_ptr());
    }

    #[test]
    fn an_error_leaves_the_record_alone() {
        let value = Value::Map(vec![(Value::String("a".into()), Value::Int8(1))]);
        let before = Record::new("t", Datum::schemaless(value));
        let mut record = before.clone();
        assert!(extract("a.b").apply(&mut record).is_err());
        assert_eq!(record, before);
    }

    #[test]
    fn a_wrong_path_is_refused() {
        for path in ["", "`a"] {
            let config = Properties::from([("field", path), ("field.syntax.version", "v2")]);
            assert_eq!(ExtractFieldConfig::parse(&config).unwrap_err().of("field").count(), 1);
        }
    }

    #[test]
    fn every_key_has_its_effect() {
        testing::assert_definition::<ExtractFieldConfig>();
        testing::assert_every_key_is_claimed(
            ExtractFieldConfig::definition(),
            &[
                ("field", "everything_is_as_in_kafka_connect"),
                ("field.syntax.version", "everything_is_as_in_kafka_connect"),
                ("replace.null.with.default", "everything_is_as_in_kafka_connect"),
            ],
        );
    }
}
