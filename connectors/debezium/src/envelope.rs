//! Envelopes: the structs around rows that say what happened to them.
//!
//! Duty: tell them from other records, look up columns with errors that name what is missing, and
//! Kafka Connect's rules for new schemas and for nulls.

use std::sync::Arc;

use towpath_sdk::schema::{Field, Kind, Schema, SchemaRef};
use towpath_sdk::value::{Datum, Value};
use towpath_sdk::{Error, Result, Text};

/// The fields of an envelope.
pub(crate) const BEFORE: &str = "before";
pub(crate) const AFTER: &str = "after";
pub(crate) const SOURCE: &str = "source";
pub(crate) const TRANSACTION: &str = "transaction";
pub(crate) const OP: &str = "op";
pub(crate) const TS_MS: &str = "ts_ms";

/// The schema of `value`, if it is that of an envelope.
pub(crate) fn schema_of(value: &Datum) -> Option<&SchemaRef> {
    let schema = value.schema.as_ref()?;
    schema.name.as_deref().is_some_and(|name| name.ends_with(".Envelope")).then_some(schema)
}

/// The values of an envelope, by the places of its schema's fields.
///
/// # Errors
/// If it is none in spite of its name.
pub(crate) fn values(value: &Value) -> Result<&[Value]> {
    match value {
        Value::Struct(envelope) => Ok(envelope.values()),
        _ => Err(Error::data("the value is called an envelope and is no struct")),
    }
}

/// What the field at `place` holds.
pub(crate) fn at(values: &[Value], place: usize) -> &Value {
    values.get(place).unwrap_or(&Value::Null)
}

/// An error of a record, under the class that Debezium throws where it is not the usual one.
pub(crate) fn refused(text: impl Into<String>) -> Error {
    Error::data(text).with_class("org.apache.kafka.connect.errors.ConnectException")
}

/// The place of a column of texts.
///
/// # Errors
/// If there is no such column, or it has another type; `key` says where it is named.
pub(crate) fn text_column(row: &Schema, column: &str, key: &str) -> Result<usize> {
    let place = column_of(row, column, key)?;
    typed(row, place, &Kind::String, key).map(|()| place)
}

/// The place of a column.
///
/// # Errors
/// If there is none; `key` says where it is named.
pub(crate) fn column_of(row: &Schema, column: &str, key: &str) -> Result<usize> {
    row.field_index(column)
        .ok_or_else(|| Error::data(format!("the row has no column '{column}', which {key} names")))
}

/// Whether the column at `place` is of `kind`.
///
/// # Errors
/// If it is not; `key` says where it is named.
pub(crate) fn typed(row: &Schema, place: usize, kind: &Kind, key: &str) -> Result<()> {
    let Field { name, schema } = &row.fields()[place];
    if schema.kind == *kind {
        return Ok(());
    }
    Err(Error::data(format!(
        "the column '{name}', which {key} names, is {} and not {}",
        schema.kind.connect_name(),
        kind.connect_name()
    )))
}

/// The text at `place`; `None` if it is null.
pub(crate) fn text(values: &[Value], place: usize) -> Option<&Text> {
    match at(values, place) {
        Value::String(text) => Some(text),
        _ => None,
    }
}

/// A value, or its schema's default if it is null, as Connect's `Struct.get` has it.
pub(crate) fn or_default(value: &Value, schema: &Schema) -> Value {
    match (value, &schema.default) {
        (Value::Null, Some(default)) => default.clone(),
        (value, _) => value.clone(),
    }
}

/// A struct of `fields` that is called and described like `like`: what Connect's transforms make of a
/// schema that they change. Whether it is optional, and its default, are not taken over.
///
/// # Errors
/// If two fields have one name.
pub(crate) fn struct_like(like: &Schema, fields: Vec<Field>) -> Result<SchemaRef> {
    for (place, field) in fields.iter().enumerate() {
        if fields[..place].iter().any(|other| other.name == field.name) {
            return Err(Error::data(format!(
                "the record would have two fields called '{}': rename the added one, as in \
                 op:operation, or choose another prefix",
                field.name
            )));
        }
    }
    Ok(Arc::new(basics(like, Kind::Struct(fields))))
}

/// A required schema of `kind` with the name, version, parameters and documentation of `like`.
pub(crate) fn basics(like: &Schema, kind: Kind) -> Schema {
    Schema { kind, optional: false, default: None, ..like.clone() }
}
