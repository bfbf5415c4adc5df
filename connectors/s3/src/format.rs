//! How records become the bytes of an object.
//!
//! Duty: append one record to a buffer, and tell what stands before, between and after the records of
//! an object. A schemaless JSON value is copied as it is, once. A record that can't be written leaves
//! the buffer as it was.
//!
//! Deliberately absent: Avro, Parquet and CSV, which need a state per object: they come as further
//! variants of [`Format`].

mod json;

use towpath_sdk::error::{Error, Result};
use towpath_sdk::record::SinkRecord;
use towpath_sdk::value::{Datum, Value};

pub use json::Decimals;

/// The form of an object's content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Format {
    /// A JSON document per line, as Confluent's `JsonFormat`.
    JsonLines {
        /// How decimals are written.
        decimals: Decimals,
    },
    /// The bytes of values, each with a separator behind it, as Confluent's `ByteArrayFormat`.
    Raw {
        /// The separator.
        separator: String,
    },
    /// Chosen parts of records as JSON, as Aiven's `jsonl` and `json`.
    Envelope(Envelope),
}

/// Aiven's JSON output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// The parts, in order.
    pub fields: Vec<OutputField>,
    /// Whether a single part stands in an object of its own.
    pub wrapped: bool,
    /// One array per object in place of lines.
    pub array: bool,
}

/// A part of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, towpath_sdk::config::ConfigEnum)]
pub enum OutputField {
    /// The key.
    Key,
    /// The value.
    Value,
    /// The offset.
    Offset,
    /// The timestamp.
    Timestamp,
    /// The headers.
    Headers,
}

impl Format {
    /// What an object begins with.
    #[must_use]
    pub fn head(&self) -> &'static [u8] {
        match self {
            Self::Envelope(Envelope { array: true, .. }) => b"[\n",
            _ => b"",
        }
    }

    /// What an object ends with.
    #[must_use]
    pub fn tail(&self) -> &'static [u8] {
        match self {
            Self::Envelope(Envelope { array: true, .. }) => b"\n]",
            _ => b"",
        }
    }

    /// Appends `record`; `first` tells whether it is the object's first.
    ///
    /// # Errors
    /// [`towpath_sdk::ErrorKind::Data`] if this format can't hold the value; `out` is as before.
    pub fn append(&self, record: &SinkRecord, first: bool, out: &mut Vec<u8>) -> Result<()> {
        let before = out.len();
        let result = self.try_append(record, first, out);
        if result.is_err() {
            out.truncate(before);
        }
        result
    }

    fn try_append(&self, record: &SinkRecord, first: bool, out: &mut Vec<u8>) -> Result<()> {
        match self {
            Self::JsonLines { decimals } => {
                json::append(&record.value, *decimals, out)?;
                out.push(b'\n');
            }
            Self::Raw { separator } => {
                out.extend_from_slice(raw(&record.value)?);
                out.extend_from_slice(separator.as_bytes());
            }
            Self::Envelope(envelope) => {
                if envelope.array && !first {
                    out.extend_from_slice(b",\n");
                }
                envelope.append(record, out)?;
                if !envelope.array {
                    out.push(b'\n');
                }
            }
        }
        Ok(())
    }

    /// A number of bytes that `value` will hardly exceed, without looking into it.
    #[must_use]
    pub fn estimate(&self, value: &Datum) -> usize {
        let text = match &value.value {
            Value::Json(json) => json.bytes().len(),
            Value::String(text) => text.len(),
            Value::Bytes(bytes) => bytes.len() * 4 / 3,
            _ => 256,
        };
        text + 64
    }

    /// The media type of objects.
    #[must_use]
    pub fn content_type(&self) -> &'static str {
        match self {
            Self::JsonLines { .. } => "application/x-ndjson",
            Self::Raw { .. } => "application/octet-stream",
            Self::Envelope(envelope) if envelope.array => "application/json",
            Self::Envelope(_) => "application/x-ndjson",
        }
    }
}

fn raw(value: &Datum) -> Result<&[u8]> {
    match &value.value {
        Value::Bytes(bytes) => Ok(bytes),
        Value::String(text) => Ok(text.as_bytes()),
        Value::Json(json) => Ok(json.bytes()),
        _ => Err(Error::data(
            "the byte array format takes bytes and text only: use the ByteArrayConverter or the \
             StringConverter as value.converter, or another format.class",
        )),
    }
}

impl Envelope {
    fn append(&self, record: &SinkRecord, out: &mut Vec<u8>) -> Result<()> {
        if let ([field], false) = (&self.fields[..], self.wrapped) {
            return field.append(record, out);
        }
        out.push(b'{');
        for (at, field) in self.fields.iter().enumerate() {
            if at > 0 {
                out.push(b',');
            }
            out.push(b'"');
            out.extend_from_slice(field.name().as_bytes());
            out.extend_from_slice(b"\":");
            field.append(record, out)?;
        }
        out.push(b'}');
        Ok(())
    }
}

impl OutputField {
    fn name(self) -> &'static str {
        match self {
            Self::Key => "key",
            Self::Value => "value",
            Self::Offset => "offset",
            Self::Timestamp => "timestamp",
            Self::Headers => "headers",
        }
    }

    fn append(self, record: &SinkRecord, out: &mut Vec<u8>) -> Result<()> {
        match self {
            Self::Key => json::append(&record.key, Decimals::Base64, out),
            Self::Value => json::append(&record.value, Decimals::Base64, out),
            Self::Offset => {
                json::append_integer(record.offset(), out);
                Ok(())
            }
            Self::Timestamp => {
                match record.timestamp.and_then(json::iso_instant) {
                    Some(text) => json::append_text(&text, out),
                    None => out.extend_from_slice(b"null"),
                }
                Ok(())
            }
            Self::Headers => {
                out.push(b'[');
                for (at, header) in record.headers.iter().enumerate() {
                    out.extend_from_slice(if at > 0 { b",{\"key\":" } else { b"{\"key\":" });
                    json::append_text(&header.key, out);
                    out.extend_from_slice(b",\"value\":");
                    json::append(&header.value, Decimals::Base64, out)?;
                    out.push(b'}');
                }
                out.push(b']');
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use towpath_sdk::Bytes;
    use towpath_sdk::record::{
        Header, Origin, RawBatchBuilder, Record, TimestampType, TopicPartition,
    };
    use towpath_sdk::sink::Epoch;
    use towpath_sdk::value::Json;

    use super::*;

    fn record(value: Value) -> SinkRecord {
        let mut builder = RawBatchBuilder::default();
        builder.push(42, Some(0), TimestampType::CreateTime, None, None, []);
        let batch = builder.build(TopicPartition::new("t", 0), Epoch(0), 43, ());
        let origin = Origin::new(&Arc::new(batch), 0).unwrap();
        let mut record = Record::new("t", Datum::schemaless(value));
        record.timestamp = Some(1_500);
        record.key = Datum::schemaless(Value::String("k".into()));
        record.headers = vec![Header { key: "h".into(), value: Datum::null() }].into();
        SinkRecord::new(record, origin)
    }

    fn json(text: &'static str) -> Value {
        Value::Json(Json::new(Bytes::from_static(text.as_bytes())).unwrap())
    }

    fn object(format: &Format, values: Vec<Value>) -> String {
        let mut out = format.head().to_vec();
        for (at, value) in values.into_iter().enumerate() {
            format.append(&record(value), at == 0, &mut out).unwrap();
        }
        out.extend_from_slice(format.tail());
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn json_lines() {
        let format = Format::JsonLines { decimals: Decimals::Base64 };
        let values =
            vec![json("{\"a\": 1}"), json("[\n1,\r\n\"x\\n y\"\n]"), Value::String("s".into())];
        assert_eq!(object(&format, values), "{\"a\": 1}\n[1,\"x\\n y\"]\n\"s\"\n");
    }

    #[test]
    fn raw_values() {
        let format = Format::Raw { separator: ";\n".to_owned() };
        let values =
            vec![Value::Bytes(Bytes::from_static(b"\x01")), json("{}"), Value::String("s".into())];
        assert_eq!(object(&format, values), "\u{1};\n{};\ns;\n");
        // Empty is not null: the record is there.
        assert_eq!(object(&format, vec![Value::Bytes(Bytes::new())]), ";\n");
        let mut out = b"before".to_vec();
        assert!(format.append(&record(Value::Int64(1)), false, &mut out).is_err());
        assert_eq!(out, b"before");
    }

    #[test]
    fn envelopes() {
        use OutputField as Field;
        let envelope = |fields: &[Field], wrapped, array| {
            Format::Envelope(Envelope { fields: fields.to_vec(), wrapped, array })
        };
        let all = [Field::Key, Field::Value, Field::Offset, Field::Timestamp, Field::Headers];
        assert_eq!(
            object(&envelope(&all, true, false), vec![json("{\"a\":1}")]),
            "{\"key\":\"k\",\"value\":{\"a\":1},\"offset\":42,\
             \"timestamp\":\"1970-01-01T00:00:01.500Z\",\"headers\":[{\"key\":\"h\",\"value\":null}]}\n"
        );
        let values = || vec![json("{}"), Value::Null];
        let value = &[Field::Value];
        assert_eq!(
            object(&envelope(value, true, false), values()),
            "{\"value\":{}}\n{\"value\":null}\n"
        );
        assert_eq!(object(&envelope(value, false, false), values()), "{}\nnull\n");
        assert_eq!(object(&envelope(value, false, true), values()), "[\n{},\nnull\n]");
    }

    #[test]
    fn a_record_that_fails_leaves_no_trace() {
        let format = Format::Envelope(Envelope {
            fields: vec![OutputField::Key, OutputField::Value],
            wrapped: true,
            array: true,
        });
        let mut out = b"[\n".to_vec();
        let map = Value::Map(vec![(Value::String("k".into()), Value::Unchanged)]);
        format.append(&record(map), true, &mut out).unwrap();
        let before = out.clone();
        let deep = (0..2000).fold(Value::Null, |inner, _| Value::Array(vec![inner]));
        assert!(format.append(&record(deep), false, &mut out).is_err());
        assert_eq!(out, before);
    }
}
