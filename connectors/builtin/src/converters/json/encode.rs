//! Values as JSON text, as Jackson writes it.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::{Bytes, BytesMut};
use towpath_sdk::decimal::{DECIMAL, Decimal, SCALE};
use towpath_sdk::java_text::{UNAVAILABLE, write_java_text};
use towpath_sdk::schema::{Kind, Schema, SchemaRef};
use towpath_sdk::value::{Struct, Value};
use towpath_sdk::{Error, Result};

use super::{DecimalFormat, JsonConverterConfig, memo};
use crate::java::{DATE, TIME, TIMESTAMP, class_of};

/// Appends JSON to the scratch buffer.
pub(super) struct Writer<'a> {
    out: &'a mut BytesMut,
    start: usize,
    config: &'a JsonConverterConfig,
}

/// What an error leaves behind is taken back.
impl Drop for Writer<'_> {
    fn drop(&mut self) {
        self.out.truncate(self.start);
    }
}

impl<'a> Writer<'a> {
    pub(super) fn new(out: &'a mut BytesMut, config: &'a JsonConverterConfig) -> Self {
        let start = out.len();
        Self { out, start, config }
    }

    /// What was written.
    pub(super) fn finish(self) -> Bytes {
        if self.start == 0 {
            return self.out.split().freeze();
        }
        Bytes::copy_from_slice(&self.out[self.start..])
    }

    pub(super) fn raw(&mut self, json: &str) {
        self.out.extend_from_slice(json.as_bytes());
    }

    fn text(&mut self, text: &str) {
        self.out.reserve(text.len() + 2);
        self.raw("\"");
        escape(text, |part| self.raw(part));
        self.raw("\"");
    }

    fn integer(&mut self, number: impl itoa::Integer) {
        self.raw(itoa::Buffer::new().format(number));
    }

    /// A float as Java shows it; what is not a number becomes a text.
    fn float(&mut self, value: &Value, finite: bool) {
        let mut text = String::new();
        write_java_text(&mut text, value, None);
        if finite { self.raw(&text) } else { self.text(&text) }
    }

    fn base64(&mut self, bytes: &[u8]) {
        self.raw("\"");
        let start = self.out.len();
        let room = base64::encoded_len(bytes.len(), true).unwrap_or_default();
        self.out.resize(start + room, 0);
        let written = STANDARD.encode_slice(bytes, &mut self.out[start..]).unwrap_or_default();
        self.out.truncate(start + written);
        self.raw("\"");
    }

    pub(super) fn value(&mut self, value: &Value, schema: Option<&SchemaRef>) -> Result<()> {
        match (value, schema) {
            (Value::Null, None) => self.raw("null"),
            (Value::Null, Some(schema)) => match &schema.default {
                Some(default) if self.config.replace_null_with_default => {
                    self.value(default, Some(schema))?;
                }
                _ if schema.optional => self.raw("null"),
                _ => {
                    return Err(Error::data(
                        "Conversion error: null value for field that is required and has no \
                         default value",
                    ));
                }
            },
            (value, None) => self.schemaless(value)?,
            (value, Some(schema)) => match schema.name.as_deref() {
                Some(name @ (DECIMAL | DATE | TIME | TIMESTAMP)) => {
                    self.logical(name, value, schema)?;
                }
                _ => self.physical(value, schema)?,
            },
        }
        Ok(())
    }

    fn logical(&mut self, name: &str, value: &Value, schema: &Schema) -> Result<()> {
        match (name, value) {
            (DECIMAL, Value::Bytes(bytes)) => match self.config.decimal_format {
                DecimalFormat::Base64 => self.base64(bytes),
                DecimalFormat::Numeric => {
                    let scale = schema.parameters.get(SCALE);
                    let scale = scale.and_then(|scale| scale.parse().ok()).ok_or_else(|| {
                        Error::data("Invalid Decimal schema: scale parameter not found.")
                    })?;
                    self.raw(&Decimal::from_unscaled(bytes, scale)?.to_string());
                }
            },
            (DATE, Value::Int32(days)) => self.integer(*days),
            (TIME, Value::Int32(ms @ 0..=86_400_000)) => self.integer(*ms),
            (TIME, Value::Int32(_)) => {
                return Err(Error::data(
                    "Kafka Connect Time type should not have any date fields set to non-zero \
                     values.",
                ));
            }
            (TIMESTAMP, Value::Int64(ms)) => self.integer(*ms),
            (_, Value::Unchanged) => self.unchanged(schema)?,
            (name, value) => {
                let short = name.rsplit('.').next().unwrap_or(name);
                let wanted = if name == DECIMAL { "BigDecimal" } else { "Date" };
                return Err(Error::data(format!(
                    "Invalid type for {short}, expected {wanted} but was class {}",
                    class_of(value, None)
                )));
            }
        }
        Ok(())
    }

    fn physical(&mut self, value: &Value, schema: &SchemaRef) -> Result<()> {
        match (&schema.kind, value) {
            (Kind::Boolean, Value::Boolean(_))
            | (Kind::Int8, Value::Int8(_))
            | (Kind::Int16, Value::Int16(_))
            | (Kind::Int32, Value::Int32(_))
            | (Kind::Int64, Value::Int64(_))
            | (Kind::Float32, Value::Float32(_))
            | (Kind::Float64, Value::Float64(_))
            | (Kind::String, Value::String(_))
            | (Kind::Bytes, Value::Bytes(_)) => self.scalar(value),
            (Kind::Array(of), Value::Array(items)) => {
                self.list(items, |writer, item| writer.value(item, Some(of)))?;
            }
            (Kind::Map(keys, values), Value::Map(entries)) => {
                self.map(entries, Some((keys, values)))?;
            }
            (Kind::Struct(_), Value::Struct(fields)) => {
                if !Arc::ptr_eq(fields.schema(), schema) && fields.schema() != schema {
                    return Err(Error::data("Mismatching schema."));
                }
                self.structure(fields)?;
            }
            (_, Value::Unchanged) => self.unchanged(schema)?,
            (kind, value) => {
                return Err(Error::data(format!(
                    "Invalid type for {}: class {}",
                    kind.connect_name(),
                    class_of(value, None)
                )));
            }
        }
        Ok(())
    }

    fn schemaless(&mut self, value: &Value) -> Result<()> {
        match value {
            Value::Array(items) => self.list(items, |writer, item| writer.value(item, None))?,
            Value::Map(entries) => self.map(entries, None)?,
            Value::Struct(fields) => self.structure(fields)?,
            Value::Json(json) => self.raw(json.as_str()),
            scalar => self.scalar(scalar),
        }
        Ok(())
    }

    fn scalar(&mut self, value: &Value) {
        match value {
            Value::Boolean(true) => self.raw("true"),
            Value::Boolean(false) => self.raw("false"),
            Value::Int8(n) => self.integer(*n),
            Value::Int16(n) => self.integer(*n),
            Value::Int32(n) => self.integer(*n),
            Value::Int64(n) => self.integer(*n),
            Value::Float32(n) => self.float(value, n.is_finite()),
            Value::Float64(n) => self.float(value, n.is_finite()),
            Value::String(text) => self.text(text),
            Value::Bytes(bytes) => self.base64(bytes),
            Value::Unchanged => self.text(UNAVAILABLE),
            Value::Null | Value::Array(_) | Value::Map(_) | Value::Struct(_) | Value::Json(_) => {
                self.raw("null");
            }
        }
    }

    /// Debezium's placeholder, in the shape that the schema asks for.
    fn unchanged(&mut self, schema: &Schema) -> Result<()> {
        match &schema.kind {
            Kind::String => self.text(UNAVAILABLE),
            Kind::Bytes => self.base64(UNAVAILABLE.as_bytes()),
            Kind::Array(of) => {
                self.raw("[");
                self.unchanged(of)?;
                self.raw("]");
            }
            Kind::Map(keys, values) if keys.kind == Kind::String => {
                self.raw("{");
                self.text(UNAVAILABLE);
                self.raw(":");
                self.unchanged(values)?;
                self.raw("}");
            }
            kind => {
                return Err(Error::data(format!(
                    "a column of type {} that the change did not touch has no placeholder: set \
                     the table's REPLICA IDENTITY to FULL or leave the column out",
                    kind.connect_name()
                )));
            }
        }
        Ok(())
    }

    fn list<T>(
        &mut self,
        items: &[T],
        mut write: impl FnMut(&mut Self, &T) -> Result<()>,
    ) -> Result<()> {
        self.raw("[");
        for (at, item) in items.iter().enumerate() {
            if at > 0 {
                self.raw(",");
            }
            write(self, item)?;
        }
        self.raw("]");
        Ok(())
    }

    /// An object if all keys are texts, else an array of pairs.
    fn map(
        &mut self,
        entries: &[(Value, Value)],
        schemas: Option<(&SchemaRef, &SchemaRef)>,
    ) -> Result<()> {
        let (keys, values) = schemas.unzip();
        let object = match keys {
            Some(keys) => keys.kind == Kind::String,
            None => entries.iter().all(|(key, _)| key.as_str().is_some()),
        };
        if !object {
            return self.list(entries, |writer, (key, value)| {
                writer.raw("[");
                writer.value(key, keys)?;
                writer.raw(",");
                writer.value(value, values)?;
                writer.raw("]");
                Ok(())
            });
        }
        self.raw("{");
        for (at, (key, value)) in entries.iter().enumerate() {
            if at > 0 {
                self.raw(",");
            }
            match key {
                Value::Null if keys.is_some_and(|keys| keys.optional) => self.text("null"),
                key => self.value(key, keys)?,
            }
            self.raw(":");
            self.value(value, values)?;
        }
        self.raw("}");
        Ok(())
    }

    fn structure(&mut self, fields: &Struct) -> Result<()> {
        if !fields.is_shared() {
            return self.members(fields);
        }
        if !memo::recall(fields, self.config, self.out) {
            let start = self.out.len();
            self.members(fields)?;
            memo::keep(fields, self.config, &self.out[start..]);
        }
        Ok(())
    }

    fn members(&mut self, fields: &Struct) -> Result<()> {
        let names = memo::names(fields.schema(), escaped);
        let members = fields.schema().fields().iter().zip(fields.values());
        for (name, (field, value)) in names.iter().zip(members) {
            self.raw(name);
            self.value(value, Some(&field.schema))?;
        }
        self.raw(if names.is_empty() { "{}" } else { "}" });
        Ok(())
    }

    fn schema(&mut self, schema: &Schema, field: Option<&str>) -> Result<()> {
        self.raw("{\"type\":\"");
        self.raw(match &schema.kind {
            Kind::Boolean => "boolean\"",
            Kind::Int8 => "int8\"",
            Kind::Int16 => "int16\"",
            Kind::Int32 => "int32\"",
            Kind::Int64 => "int64\"",
            Kind::Float32 => "float\"",
            Kind::Float64 => "double\"",
            Kind::String => "string\"",
            Kind::Bytes => "bytes\"",
            Kind::Array(_) => "array\",\"items\":",
            Kind::Map(..) => "map\",\"keys\":",
            Kind::Struct(_) => "struct\",\"fields\":",
        });
        match &schema.kind {
            Kind::Array(items) => self.schema(items, None)?,
            Kind::Map(keys, values) => {
                self.schema(keys, None)?;
                self.raw(",\"values\":");
                self.schema(values, None)?;
            }
            Kind::Struct(fields) => {
                self.list(fields, |writer, field| writer.schema(&field.schema, Some(&field.name)))?
            }
            _ => {}
        }
        self.raw(if schema.optional { ",\"optional\":true" } else { ",\"optional\":false" });
        for (key, text) in [("name", schema.name.as_deref()), ("doc", schema.doc.as_deref())] {
            if let Some(text) = text {
                self.raw(",\"");
                self.raw(key);
                self.raw("\":");
                self.text(text);
            }
            if let ("name", Some(version)) = (key, schema.version) {
                self.raw(",\"version\":");
                self.integer(version);
            }
        }
        if !schema.parameters.is_empty() {
            let parameters: Vec<_> = schema.parameters.iter().collect();
            self.raw(",\"parameters\":{");
            for (at, (key, value)) in parameters.into_iter().enumerate() {
                if at > 0 {
                    self.raw(",");
                }
                self.text(key);
                self.raw(":");
                self.text(value);
            }
            self.raw("}");
        }
        if let Some(default) = &schema.default {
            self.raw(",\"default\":");
            self.value(default, Some(&Arc::new(schema.clone())))?;
        }
        if let Some(field) = field {
            self.raw(",\"field\":");
            self.text(field);
        }
        self.raw("}");
        Ok(())
    }
}

/// Gives a text to `write` as it stands in a JSON text, part by part.
fn escape(text: &str, mut write: impl FnMut(&str)) {
    let mut rest = text;
    while let Some(at) = first_special(rest.as_bytes()) {
        let Some((plain, special)) = rest.split_at_checked(at) else { break };
        let mut chars = special.chars();
        let Some(c) = chars.next() else { break };
        write(plain);
        match c {
            '"' => write("\\\""),
            '\\' => write("\\\\"),
            '\n' => write("\\n"),
            '\r' => write("\\r"),
            '\t' => write("\\t"),
            '\x08' => write("\\b"),
            '\x0C' => write("\\f"),
            other => {
                for unit in other.encode_utf16(&mut [0; 2]) {
                    write(&format!("\\u{unit:04X}"));
                }
            }
        }
        rest = chars.as_str();
    }
    write(rest);
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    escape(text, |part| out.push_str(part));
    out
}

/// Where the first byte is of what can't stand in a text as it is.
fn first_special(bytes: &[u8]) -> Option<usize> {
    // Of what lies beyond U+FFFF, UTF-8 begins with 0xF0 and more.
    let is_special = |byte: &u8| *byte < b' ' || matches!(byte, b'"' | b'\\' | 0xF0..);
    let (words, rest) = bytes.as_chunks::<8>();
    let plain = words.iter().take_while(|word| !has_special(u64::from_le_bytes(**word))).count();
    let rest = if plain == words.len() { rest } else { bytes.get(8 * plain..)? };
    Some(bytes.len() - rest.len() + rest.iter().position(is_special)?)
}

/// Whether one of eight bytes is such a one. A borrow from one byte to the next only ever follows a byte
/// which is.
const fn has_special(word: u64) -> bool {
    const ONES: u64 = u64::MAX / 255;
    const TOPS: u64 = ONES << 7;
    const fn zeros(word: u64) -> u64 {
        word.wrapping_sub(ONES) & !word
    }
    let quotes = zeros(word ^ (ONES * b'"' as u64)) | zeros(word ^ (ONES * b'\\' as u64));
    let control = word.wrapping_sub(ONES * b' ' as u64) & !word;
    let beyond = word & word << 1 & word << 2 & word << 3;
    (quotes | control | beyond) & TOPS != 0
}

/// The schema as it stands in an envelope.
pub(super) fn schema_text(schema: &Schema, config: &JsonConverterConfig) -> Result<String> {
    let mut out = BytesMut::new();
    let mut writer = Writer::new(&mut out, config);
    writer.schema(schema, None)?;
    let text = writer.finish();
    String::from_utf8(text.into()).map_err(|e| Error::internal("JSON is UTF-8").with_source(e))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use towpath_sdk::config::{ConnectorConfig as _, Properties};

    use super::*;

    fn written(value: &Value, schema: &SchemaRef, config: &JsonConverterConfig) -> String {
        let mut out = BytesMut::new();
        let mut writer = Writer::new(&mut out, config);
        writer.value(value, Some(schema)).unwrap();
        String::from_utf8(writer.finish().into()).unwrap()
    }

    #[test]
    fn what_is_remembered_is_what_would_be_written() {
        let config = |format| {
            let entries = [("converter.type", "value"), ("decimal.format", format)];
            JsonConverterConfig::parse(&Properties::from(entries)).unwrap()
        };
        let (base64, numeric) = (config("base64"), config("numeric"));
        let mut decimal = Schema::new(Kind::Bytes).named(DECIMAL);
        decimal.parameters.insert(SCALE.to_owned(), "1".to_owned());
        let decimal = Arc::new(decimal);
        // More than are kept, some with names that can't stand as they are.
        for n in 0..40 {
            let fields = [
                (format!("a\"{n}\n"), Arc::clone(&decimal)),
                ("b".to_owned(), Arc::clone(&decimal)),
            ];
            let schema = Arc::new(Schema::structure(fields));
            let of = |byte: u8| {
                let values = vec![Value::Bytes(vec![byte].into()), Value::Bytes(vec![5].into())];
                Struct::new(Arc::clone(&schema), values).unwrap()
            };
            let name = format!("a\\\"{n}\\n");
            let one = Value::Struct(of(1).shared());
            let expect = format!(r#"{{"{name}":0.1,"b":0.5}}"#);
            for _ in 0..2 {
                assert_eq!(written(&one, &schema, &numeric), expect);
                // The same struct in another way, another one in the same, and a copy that was changed.
                assert_eq!(
                    written(&one, &schema, &base64),
                    format!(r#"{{"{name}":"AQ==","b":"BQ=="}}"#)
                );
                let two = Value::Struct(of(2).shared());
                assert_eq!(
                    written(&two, &schema, &numeric),
                    format!(r#"{{"{name}":0.2,"b":0.5}}"#)
                );
                assert_eq!(written(&one, &schema, &numeric), expect);
                let mut changed = one.clone();
                if let Value::Struct(fields) = &mut changed {
                    fields.values_mut()[1] = Value::Bytes(vec![7].into());
                }
                assert_eq!(
                    written(&changed, &schema, &numeric),
                    format!(r#"{{"{name}":0.1,"b":0.7}}"#)
                );
            }
        }
        let empty = Arc::new(Schema::structure::<String>([]));
        let value = Value::Struct(Struct::new(Arc::clone(&empty), Vec::new()).unwrap().shared());
        assert_eq!(written(&value, &empty, &base64), "{}");
    }

    proptest! {
        #[test]
        fn special_bytes_are_found_wherever_they_are(
            plain in "[a-zA-Z !#~é\u{7f}\u{ffff}]{0,40}",
            special in "[\"\\\\\u{0}-\u{1f}\u{10000}\u{1f6b2}]",
            more in "\\PC{0,20}",
        ) {
            prop_assert_eq!(first_special(plain.as_bytes()), None);
            let text = format!("{plain}{special}{more}");
            prop_assert_eq!(first_special(text.as_bytes()), Some(plain.len()));
        }
    }
}
