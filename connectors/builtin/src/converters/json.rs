//! JSON, with or without a schema beside it.
//!
//! Without schemas a document is validated in one scan and stays text ([`Value::Json`]); no tree is
//! built, and it is written as a slice. With schemas the envelope `{"schema":…,"payload":…}` is taken
//! apart in place, the schema is looked up by its text, and only the payload is built.
//!
//! Payloads that do not fit their schema are taken as Kafka Connect takes them: a text where a number
//! is expected is 0, a number where a text is expected is null, a number too large wraps around.
//!
//! Differences on purpose: members of an object keep their order, spelling and numbers where no
//! schema is given (Connect sorts them by hash and wraps large integers around); a decimal given as a
//! number is brought to its schema's scale if no digit is lost, and refused otherwise (Connect fails
//! later, when it writes it); documents are UTF-8 (Connect guesses UTF-16 and UTF-32); an escaped
//! surrogate without its other half becomes U+FFFD.

mod decode;
mod encode;
mod memo;
mod schema;

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use towpath_sdk::config::{ConfigEnum, ConnectorConfig, FieldError, FieldErrors};
use towpath_sdk::converter::Converter;
use towpath_sdk::json::{Document, Node, members, unquote};
use towpath_sdk::plugin::PluginName;
use towpath_sdk::schema::SchemaRef;
use towpath_sdk::value::{Datum, Value};
use towpath_sdk::{Error, Result, Text};

use super::{Configured, ConverterType};
use crate::cache::{ByPointer, ByText};
use encode::Writer;

pub(super) const NAMES: &[PluginName] =
    &[PluginName::new("org.apache.kafka.connect.json.JsonConverter")];
pub(super) const SUMMARY: &str = "JSON, with or without a schema beside each value.";

const MALFORMED: &str =
    "Converting byte[] to Kafka Connect data failed due to serialization error: ";
const NO_ENVELOPE: &str = "JsonConverter with schemas.enable requires \"schema\" and \"payload\" \
     fields and may not contain additional fields. If you are trying to deserialize plain JSON \
     data, set schemas.enable=false in your converter configuration.";

/// The configuration of a [`JsonConverter`].
#[derive(Debug, ConnectorConfig)]
pub struct JsonConverterConfig {
    /// Which part of a record the converter is for. The runtime sets it.
    #[config(key = "converter.type", importance = low)]
    pub converter_type: ConverterType,
    /// Whether each document is an envelope of a schema and a payload. Without it a document is the
    /// value itself.
    #[config(
        key = "schemas.enable",
        default = true,
        importance = high,
        group = "Schemas",
        order = 0,
        width = medium,
        display = "Enable Schemas"
    )]
    pub schemas_enable: bool,
    /// How many schemas are kept, so that each is read and written once; 0 keeps none.
    #[config(
        key = "schemas.cache.size",
        default = 1000,
        importance = high,
        group = "Schemas",
        order = 1,
        width = medium,
        display = "Schema Cache Size"
    )]
    pub schemas_cache_size: u32,
    /// A schema, in the form that it has in an envelope, for documents that are payloads only. Reading
    /// with `schemas.enable` takes it for every document; writing ignores it.
    #[config(
        key = "schema.content",
        importance = high,
        group = "Schemas",
        order = 2,
        width = medium,
        display = "Schema Content"
    )]
    pub schema_content: Option<String>,
    /// How decimals are written. Both forms are read.
    #[config(
        key = "decimal.format",
        default = "BASE64",
        importance = low,
        group = "Serialization",
        order = 0,
        width = medium,
        display = "Decimal Format"
    )]
    pub decimal_format: DecimalFormat,
    /// Whether a field that is null takes its default, if it has one.
    #[config(
        key = "replace.null.with.default",
        default = true,
        importance = low,
        group = "Serialization",
        order = 1,
        width = medium,
        display = "Replace null with default"
    )]
    pub replace_null_with_default: bool,
}

/// How a decimal is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ConfigEnum)]
#[config(ignore_case)]
pub enum DecimalFormat {
    /// The unscaled number's bytes in base64, which needs the schema to be read.
    #[config(name = "BASE64")]
    Base64,
    /// A number.
    #[config(name = "NUMERIC")]
    Numeric,
}

/// JSON with or without schemas.
pub struct JsonConverter {
    config: JsonConverterConfig,
    /// The schema of all documents.
    content: Option<SchemaRef>,
    read: ByText,
    written: ByPointer<Arc<str>>,
}

impl Configured for JsonConverter {
    type Config = JsonConverterConfig;

    fn new(config: JsonConverterConfig) -> Result<Self, FieldErrors> {
        let rules = decode::Rules { defaults: config.replace_null_with_default };
        let content = match config.schema_content.as_deref() {
            None | Some("") => None,
            Some(text) => read_schema(text, rules).map_err(|error| {
                FieldError::invalid("schema.content", Some(text), error.chain())
            })?,
        };
        let size = config.schemas_cache_size as usize;
        Ok(Self { config, content, read: ByText::new(size), written: ByPointer::new(size) })
    }
}

impl JsonConverter {
    fn rules(&self) -> decode::Rules {
        decode::Rules { defaults: self.config.replace_null_with_default }
    }

    fn decode_envelope(&self, document: Option<Text>) -> Result<Datum> {
        if let Some(schema) = &self.content {
            let payload = document.as_ref().map_or(Node::Null, Node::of);
            let value = self.rules().value(schema, Some(&payload))?;
            return Ok(Datum::new(schema.clone(), value));
        }
        let no_envelope = || Error::data(NO_ENVELOPE);
        let document = document.ok_or_else(no_envelope)?;
        let (mut schema, mut payload) = (None, None);
        for (name, value) in members(&document) {
            match unquote(name).as_ref() {
                "schema" => schema = Some(value),
                "payload" => payload = Some(value),
                _ => return Err(no_envelope()),
            }
        }
        let (schema, payload) = schema.zip(payload).ok_or_else(no_envelope)?;
        let payload = document.slice_ref(payload);
        if schema == "null" {
            return Ok(Datum::schemaless(Value::of_json(payload)));
        }
        let schema = self
            .read
            .get_or_read(schema, |text| read_schema(text, self.rules())?.ok_or_else(no_envelope))?;
        let value = self.rules().value(&schema, Some(&Node::of(&payload)))?;
        Ok(Datum::new(schema, value))
    }
}

/// The schema that `text` describes; `None` for JSON's null.
fn read_schema(text: &str, rules: decode::Rules) -> Result<Option<SchemaRef>> {
    let text = Text::from(text);
    match Document::scan(&text) {
        Ok(Some(document)) => schema::read(&Node::of(&document.strict(text)), rules),
        Ok(None) => Err(Error::data("Schema must contain 'type' field")),
        Err(malformed) => Err(Error::data(
            "Failed to parse schema in converter config due to serialization error: ",
        )
        .with_source(malformed)),
    }
}

impl Converter for JsonConverter {
    fn decode(&self, _: &str, bytes: Option<Bytes>) -> Result<Datum> {
        let Some(bytes) = bytes else { return Ok(Datum::null()) };
        let text = Text::try_from(bytes).map_err(|e| Error::data(MALFORMED).with_source(e))?;
        let document = Document::scan(&text).map_err(|e| Error::data(MALFORMED).with_source(e))?;
        if self.config.schemas_enable {
            return self.decode_envelope(document.map(|document| document.strict(text)));
        }
        let Some(document) = document else { return Ok(Datum::null()) };
        Ok(Datum::schemaless(Value::of_json(document.strict(text))))
    }

    fn encode(&self, _: &str, datum: &Datum, scratch: &mut BytesMut) -> Result<Option<Bytes>> {
        let schema = datum.schema.as_ref();
        if schema.is_none() && datum.is_null() {
            return Ok(None);
        }
        let enveloped = self.config.schemas_enable;
        if let (Value::Json(json), None, false) = (&datum.value, schema, enveloped) {
            return Ok(Some(json.bytes().clone()));
        }
        let mut writer = Writer::new(scratch, &self.config);
        if !enveloped {
            writer.value(&datum.value, schema)?;
            return Ok(Some(writer.finish()));
        }
        match schema {
            None => writer.raw("{\"schema\":null,\"payload\":"),
            Some(schema) => {
                let text = self.written.get_or_make(schema, |schema| {
                    Ok(encode::schema_text(schema, &self.config)?.into())
                })?;
                writer.raw("{\"schema\":");
                writer.raw(&text);
                writer.raw(",\"payload\":");
            }
        }
        writer.value(&datum.value, schema)?;
        writer.raw("}");
        Ok(Some(writer.finish()))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use towpath_sdk::config::testing;

    use super::*;

    fn config(keys: &[(&str, &str)]) -> Result<JsonConverterConfig, FieldErrors> {
        let properties = [("converter.type", "value")].iter().chain(keys).copied();
        JsonConverterConfig::parse(&properties.collect())
    }

    fn converter(keys: &[(&str, &str)]) -> JsonConverter {
        JsonConverter::new(config(keys).unwrap()).unwrap()
    }

    #[test]
    fn a_document_passes_through_as_a_slice() {
        let converter = converter(&[("schemas.enable", "false")]);
        let bytes = Bytes::from(r#"{"a":[1,2,{"b":null}]}"#.to_owned());
        let datum = converter.decode("t", Some(bytes.clone())).unwrap();
        let back = converter.encode("t", &datum, &mut BytesMut::new()).unwrap().unwrap();
        assert_eq!((back.as_ptr(), back.len()), (bytes.as_ptr(), bytes.len()));
    }

    #[test]
    fn a_malformed_document_says_where() {
        let converter = converter(&[("schemas.enable", "false")]);
        let error = converter.decode("t", Some(Bytes::from_static(b"{bad json"))).unwrap_err();
        assert_eq!(
            error.chain(),
            format!(
                "{MALFORMED}: unexpected 'b' at line 1, column 2: expected a double quote to start \
                 a field name"
            )
        );
    }

    #[test]
    fn schemas_are_shared_while_the_cache_has_room() {
        let envelope = |kind: &str| {
            Bytes::from(format!(
                r#"{{"schema":{{"type":"{kind}","optional":true}},"payload":null}}"#
            ))
        };
        for (size, shared) in [("0", false), ("1", true)] {
            let converter = converter(&[("schemas.cache.size", size)]);
            let read = |kind| converter.decode("t", Some(envelope(kind))).unwrap().schema.unwrap();
            let (first, second) = (read("int32"), read("int32"));
            assert_eq!(Arc::ptr_eq(&first, &second), shared, "{size}");
            assert_eq!(read("string").kind, towpath_sdk::schema::Kind::String);
        }
        assert!(config(&[("schemas.cache.size", "-1")]).is_err());
    }

    #[test]
    fn the_schema_of_the_configuration_is_checked() {
        for bad in ["{", "{}", r#"{"type":"int"}"#] {
            let errors =
                JsonConverter::new(config(&[("schema.content", bad)]).unwrap()).err().unwrap();
            assert_eq!(errors.of("schema.content").count(), 1, "{bad}");
        }
        let converter = converter(&[("schema.content", r#"{"type":"int32"}"#)]);
        let datum = converter.decode("t", Some(Bytes::from_static(b"7"))).unwrap();
        assert_eq!(datum.value, Value::Int32(7));
        assert!(config(&[("decimal.format", "hex")]).is_err());
    }

    #[test]
    fn what_an_error_left_is_gone() {
        let converter = converter(&[("schemas.enable", "false")]);
        let mut scratch = BytesMut::new();
        let schema = towpath_sdk::schema::Schema::new(towpath_sdk::schema::Kind::Array(Arc::new(
            towpath_sdk::schema::Schema::new(towpath_sdk::schema::Kind::Int8),
        )));
        let bad = Value::Array(vec![Value::Int8(1), Value::Int16(2)]);
        let bad = Datum::new(Arc::new(schema), bad);
        let error = converter.encode("t", &bad, &mut scratch).unwrap_err();
        assert_eq!(error.to_string(), "Invalid type for INT8: class java.lang.Short");
        assert!(scratch.is_empty());
    }

    /// Key, type, default, importance, group, order, width and name in Kafka Connect's answer to
    /// `GET /connector-plugins/JsonConverter/config`.
    #[test]
    fn the_keys_are_connects() {
        let keys = JsonConverterConfig::definition().keys.iter().map(|key| {
            format!(
                "{} {} {} {} {} {} {} {}",
                key.name,
                key.kind.name(),
                key.default.as_deref().unwrap_or("-"),
                key.importance.name(),
                key.group.as_deref().unwrap_or("-"),
                key.order,
                key.width.name(),
                key.display_name
            )
        });
        assert_eq!(
            keys.collect::<Vec<_>>(),
            [
                "converter.type STRING - LOW - -1 NONE converter.type",
                "schemas.enable BOOLEAN true HIGH Schemas 0 MEDIUM Enable Schemas",
                "schemas.cache.size INT 1000 HIGH Schemas 1 MEDIUM Schema Cache Size",
                "schema.content STRING - HIGH Schemas 2 MEDIUM Schema Content",
                "decimal.format STRING BASE64 LOW Serialization 0 MEDIUM Decimal Format",
                "replace.null.with.default BOOLEAN true LOW Serialization 1 MEDIUM Replace null with \
                 default",
            ]
        );
    }

    #[test]
    fn every_key_has_its_effect() {
        testing::assert_definition::<JsonConverterConfig>();
        testing::assert_every_key_is_claimed(
            JsonConverterConfig::definition(),
            &[
                ("converter.type", "the_type_may_be_repeated_but_not_contradicted"),
                ("schemas.enable", "everything_is_as_in_kafka_connect"),
                ("schemas.cache.size", "schemas_are_shared_while_the_cache_has_room"),
                ("schema.content", "the_schema_of_the_configuration_is_checked"),
                ("decimal.format", "everything_is_as_in_kafka_connect"),
                ("replace.null.with.default", "everything_is_as_in_kafka_connect"),
            ],
        );
    }
}
