//! Fields that a header names, left out of keys and values.

use std::sync::Arc;

use towpath_builtin::cache::{ByPointer, Known};
use towpath_sdk::record::Header;
use towpath_sdk::schema::{Kind, SchemaRef};
use towpath_sdk::value::{Datum, Struct, Value};
use towpath_sdk::{Error, Result, Text};

use super::config::Config;
use crate::envelope;

/// How many sets of left out fields are remembered for each schema.
const SETS: usize = 256;

/// Which fields of a schema are left out, in its order, and what is left of it.
type Narrowed = (Box<[bool]>, SchemaRef);

#[derive(Debug)]
pub(super) struct Drops {
    header: String,
    from_key: bool,
    optional_only: bool,
    narrowed: ByPointer<Arc<Known<Box<[bool]>, SchemaRef>>>,
}

impl Drops {
    /// `None` if no header is named.
    pub(super) fn of(config: &Config) -> Option<Self> {
        let header = config.drop_fields_header_name.clone().filter(|name| !name.is_empty())?;
        Some(Self {
            header,
            from_key: config.drop_fields_from_key,
            optional_only: config.drop_fields_keep_schema_compatible,
            narrowed: ByPointer::new(super::SCHEMAS),
        })
    }

    /// The names in the first header of that name; none if it is missing or null.
    pub(super) fn names<'h>(
        &self,
        mut headers: impl Iterator<Item = &'h Header>,
    ) -> Result<Vec<Text>> {
        let Some(header) = headers.find(|header| header.key == *self.header) else {
            return Ok(Vec::new());
        };
        let names = |items: &[Value]| {
            items
                .iter()
                .filter_map(|item| match item {
                    Value::String(name) => Some(name.clone()),
                    _ => None,
                })
                .collect()
        };
        match &header.value.value {
            Value::Null => Ok(Vec::new()),
            Value::Array(items) => Ok(names(items)),
            Value::Json(json) if !json.is_object() => match json.decode() {
                Value::Array(items) => Ok(names(&items)),
                _ => Ok(Vec::new()),
            },
            _ => Err(Error::data(format!(
                "the header '{}', which drop.fields.header.name names, is no list of fields",
                self.header
            ))),
        }
    }

    /// What is left of a key; `None` if it stays as it is.
    pub(super) fn key(&self, key: &Datum, names: &[Text]) -> Result<Option<Datum>> {
        if !self.from_key || names.is_empty() || key.is_null() {
            return Ok(None);
        }
        let (Some(schema), Value::Struct(fields)) = (&key.schema, &key.value) else {
            return Err(Error::data(
                "the key is no struct with a schema, so no field can be left out of it: set \
                 drop.fields.from.key to false",
            ));
        };
        let Some(narrowed) = self.narrow(schema, schema.fields().len(), names)? else {
            return Ok(None);
        };
        let left = left(&narrowed, schema, fields.values().iter().cloned());
        let left = Struct::new(Arc::clone(&narrowed.1), left)?;
        Ok(Some(Datum::new(narrowed.1, Value::Struct(left))))
    }

    /// How a value is narrowed of whose fields only the first `limit` may go; `None` if it stays as it
    /// is.
    pub(super) fn narrow(
        &self,
        schema: &SchemaRef,
        limit: usize,
        names: &[Text],
    ) -> Result<Option<Narrowed>> {
        if names.is_empty() {
            return Ok(None);
        }
        let Kind::Struct(fields) = &schema.kind else {
            return Err(Error::data("fields can be left out of structs alone"));
        };
        let out: Box<[bool]> = fields
            .iter()
            .enumerate()
            .map(|(place, field)| {
                place < limit
                    && (field.schema.optional || !self.optional_only)
                    && names.iter().any(|name| **name == *field.name)
            })
            .collect();
        if self.optional_only && !out.contains(&true) {
            return Ok(None);
        }
        let sets = self.narrowed.get_or_make(schema, |_| Ok(Arc::new(Known::new(SETS))))?;
        if let Some(known) = sets.get(&*out) {
            return Ok(Some((out, known)));
        }
        let kept =
            fields.iter().zip(&out).filter(|(_, out)| !**out).map(|(field, _)| field.clone());
        let kept = envelope::struct_like(schema, kept.collect())?;
        sets.remember(&out, &kept);
        Ok(Some((out, kept)))
    }
}

/// The values that stay. As in Connect's `ReplaceField`, which does this in Debezium, what is null
/// takes its default.
pub(super) fn left(
    (out, _): &Narrowed,
    schema: &SchemaRef,
    values: impl Iterator<Item = Value>,
) -> Vec<Value> {
    let fields = schema.fields().iter().zip(out).zip(values);
    let kept = fields.filter(|((_, out), _)| !**out);
    kept.map(|((field, _), value)| match (value, &field.schema.default) {
        (Value::Null, Some(default)) => default.clone(),
        (value, _) => value,
    })
    .collect()
}
