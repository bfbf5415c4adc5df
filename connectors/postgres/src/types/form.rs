//! What every mapping of a type can do.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use towpath_sdk::decimal::DECIMAL;
use towpath_sdk::schema::{Kind, Schema, SchemaRef};
use towpath_sdk::value::Value;
use towpath_sdk::{Error, Result, Text};

use super::default::Written;
use super::modes::Placeholder;
use super::slice::Slice;

/// A mapping: one type under one set of modes.
pub(super) trait Form: fmt::Debug + Send + Sync {
    /// The schema, not optional unless Debezium has it so in any case, without default.
    fn schema(&self) -> Schema;

    /// Decodes the server's text.
    fn decode(&self, text: &Bytes) -> Result<Value>;

    /// The same mapping for what the type's send function writes; `None` if that is not read.
    fn binary(&self) -> Option<&dyn Binary> {
        None
    }

    /// The same mapping whose structs carry `schema`. `None` if values are no structs.
    fn bind(&self, _schema: &SchemaRef) -> Option<Arc<dyn Form>> {
        None
    }

    /// The value of a column's default. `None` if Debezium shows none.
    fn default(&self, _written: &Written) -> Option<Value> {
        None
    }

    /// What stands for a value that is not known in a column that takes no nulls, where the replica
    /// identity does not cover it: zero, nothing, the beginning of 1970. Records of Debezium's verify it
    /// for each type but PostGIS's and pgvector's.
    fn zero(&self) -> Value {
        zero(&self.schema())
    }

    /// What stands for a value that an UPDATE left alone.
    fn unavailable(&self, placeholder: &Placeholder) -> Value {
        match self.schema() {
            Schema { kind: Kind::String, .. } => Value::String(placeholder.text().clone()),
            _ => Value::Unchanged,
        }
    }
}

/// The zero of a schema.
pub(super) fn zero(schema: &Schema) -> Value {
    match schema.kind {
        Kind::Boolean => Value::Boolean(false),
        Kind::Int8 => Value::Int8(0),
        Kind::Int16 => Value::Int16(0),
        Kind::Int32 => Value::Int32(0),
        Kind::Int64 => Value::Int64(0),
        Kind::Float32 => Value::Float32(0.0),
        Kind::Float64 => Value::Float64(0.0),
        Kind::String => Value::String(Text::new()),
        Kind::Bytes if schema.name.as_deref() == Some(DECIMAL) => {
            Value::Bytes(Bytes::from_static(&[0]))
        }
        Kind::Bytes => Value::Bytes(Bytes::new()),
        Kind::Array(_) => Value::Array(Vec::new()),
        Kind::Map(..) => Value::Map(Vec::new()),
        // Each has its own.
        Kind::Struct(_) => Value::Null,
    }
}

/// A mapping that reads binary values, too.
pub(super) trait Binary {
    /// Decodes what the type's send function writes, to the same value as the text of it.
    fn read(&self, value: Slice<'_>) -> Result<Value>;
}

/// The text itself.
pub(super) fn utf8(text: &Bytes) -> Result<Text> {
    Text::try_from(text.clone()).map_err(|e| Error::data("not valid UTF-8").with_source(e))
}

/// Bytes that are to be read as ASCII; what is not UTF-8 is nothing.
pub(super) fn ascii(text: &[u8]) -> &str {
    std::str::from_utf8(text).unwrap_or_default()
}

/// A schema with name and version 1.
pub(super) fn named(kind: Kind, name: &'static str) -> Schema {
    Schema::new(kind).named(name).versioned(1)
}
