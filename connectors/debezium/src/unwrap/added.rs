//! Fields of an envelope that are added to a record, as fields or as headers.

use std::sync::Arc;

use towpath_sdk::schema::{Kind, Schema, SchemaRef};
use towpath_sdk::value::Value;
use towpath_sdk::{Error, Result};

use crate::envelope::{self, OP, SOURCE, TRANSACTION};

/// What is to be added, as it is configured.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Reference {
    /// The block that has the field; `None` for the envelope itself.
    block: Option<String>,
    field: String,
    /// Its name in the record.
    name: String,
}

impl Reference {
    /// Reads `field`, `block.field` or either with `:name`. Further names after a second dot count for
    /// nothing, as in Debezium. The error is a reason for people.
    pub(super) fn parse(prefix: &str, written: &str) -> Result<Self, String> {
        let parts = split(written, ':');
        let path = split(parts.first().copied().unwrap_or_default(), '.');
        let (block, field) = match (&*parts, &*path) {
            ([], _) | (_, []) => return Err(format!("'{written}' names no field")),
            (_, [field]) => (block_of(field).map(str::to_owned), *field),
            (_, [block, field, ..]) => (Some((*block).to_owned()), *field),
        };
        let name = match (&*parts, &*path) {
            ([_], [_]) => format!("{prefix}{field}"),
            ([_], [block, ..]) => format!("{prefix}{block}_{field}"),
            ([_, name], _) => format!("{prefix}{name}"),
            _ => return Err(format!("'{written}' has more than one new name")),
        };
        Ok(Self { block, field: field.to_owned(), name })
    }

    /// Its name in the record, if it is what was done: all that a tombstone knows.
    pub(super) fn operation(&self) -> Option<&str> {
        (self.field == OP).then_some(&*self.name)
    }

    /// Finds it in envelopes of `schema`; `None` if they do not have it.
    pub(super) fn find(&self, schema: &Schema) -> Result<Option<Added>> {
        let top = schema.field_index(&self.field);
        let place = match &self.block {
            None => top.map(Place::Envelope),
            Some(block) => {
                let at = schema.field_index(block).ok_or_else(|| {
                    Error::data(format!(
                        "the envelope has no block '{block}' to add '{}' from",
                        self.field
                    ))
                })?;
                let inner = &schema.fields()[at].schema;
                if !matches!(inner.kind, Kind::Struct(_)) {
                    return Err(Error::data(format!(
                        "'{block}' is no block of the envelope, so there is no '{block}.{}' to add",
                        self.field
                    )));
                }
                match inner.field_index(&self.field) {
                    Some(field) => Some(Place::Block(at, field)),
                    // A field that another transform has put beside the blocks.
                    None => top.map(|top| Place::Beside(at, top)),
                }
            }
        };
        let Some(place) = place else { return Ok(None) };
        let found = match place {
            Place::Envelope(top) | Place::Beside(_, top) => &schema.fields()[top].schema,
            Place::Block(block, field) => &schema.fields()[block].schema.fields()[field].schema,
        };
        let (kind, whole) = match &found.kind {
            Kind::Struct(_) => (Kind::Struct(Vec::new()), true),
            kind => (kind.clone(), false),
        };
        let added = envelope::basics(found, kind).optional();
        Ok(Some(Added { name: self.name.as_str().into(), schema: Arc::new(added), place, whole }))
    }
}

/// The block of a field that is named without one.
fn block_of(field: &str) -> Option<&'static str> {
    match field {
        "id" | "total_order" | "data_collection_order" => Some(TRANSACTION),
        OP | "ts_ms" | "ts_us" | "ts_ns" => None,
        // MongoDB's.
        "updateDescription" => Some("updateDescription"),
        _ => Some(SOURCE),
    }
}

/// As Java splits: empty parts at the end do not count, unless there is no separator at all.
fn split(text: &str, separator: char) -> Vec<&str> {
    let mut parts: Vec<_> = text.split(separator).collect();
    if parts.len() > 1 {
        let kept = parts.iter().rposition(|part| !part.is_empty()).map_or(0, |last| last + 1);
        parts.truncate(kept);
    }
    parts
}

#[derive(Debug, Clone, Copy)]
enum Place {
    /// A field of the envelope.
    Envelope(usize),
    /// A field of a block.
    Block(usize, usize),
    /// A field of the envelope, which counts if the block is there.
    Beside(usize, usize),
}

/// What is added to records of one schema.
#[derive(Debug)]
pub(super) struct Added {
    /// Its name in the record.
    pub(super) name: Arc<str>,
    /// Its schema in the record.
    pub(super) schema: SchemaRef,
    place: Place,
    /// Whether it is a whole block, which can't be added unless it is null.
    whole: bool,
}

impl Added {
    /// What an envelope has of it.
    pub(super) fn value(&self, envelope: &[Value]) -> Result<Value> {
        let found = match self.place {
            Place::Envelope(top) => envelope::at(envelope, top),
            Place::Beside(block, _) if envelope::at(envelope, block).is_null() => &Value::Null,
            Place::Beside(_, top) => envelope::at(envelope, top),
            Place::Block(block, field) => match envelope::at(envelope, block) {
                Value::Struct(block) => envelope::at(block.values(), field),
                _ => &Value::Null,
            },
        };
        if self.whole && !found.is_null() {
            return Err(Error::data(format!(
                "a whole block can't be added as '{}': name the fields in it, as in source.lsn",
                self.name
            )));
        }
        Ok(found.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::Reference;

    #[test]
    fn references_are_read_as_debezium_reads_them() {
        let check = |written, block: Option<&str>, field: &str, name: &str| {
            let expected = Reference {
                block: block.map(str::to_owned),
                field: field.to_owned(),
                name: name.to_owned(),
            };
            assert_eq!(Reference::parse("__", written), Ok(expected), "{written}");
        };
        check("op", None, "op", "__op");
        check("lsn", Some("source"), "lsn", "__lsn");
        check("id", Some("transaction"), "id", "__id");
        check("source.ts_ms", Some("source"), "ts_ms", "__source_ts_ms");
        check("source.ts_ms:When", Some("source"), "ts_ms", "__When");
        check("a.", Some("source"), "a", "__a");
        check("a.b.c", Some("a"), "b", "__a_b");
        check("", Some("source"), "", "__");
        for wrong in [":", ".", "a:b:c"] {
            assert!(Reference::parse("__", wrong).is_err(), "{wrong}");
        }
    }
}
