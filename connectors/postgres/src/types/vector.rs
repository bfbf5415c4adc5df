//! pgvector's `vector`, `halfvec` and `sparsevec`, after Debezium's sources; no sample shows them.

use std::sync::Arc;

use bytes::Bytes;
use towpath_sdk::schema::{Kind, Schema, SchemaRef};
use towpath_sdk::value::{Struct, Value};
use towpath_sdk::{Error, Result};

use super::form::{Form, ascii, named};
use super::number::{float, integer};

/// `vector`, an array of doubles, and `halfvec`, an array of singles.
#[derive(Debug, Clone, Copy)]
pub(super) enum Dense {
    Double,
    Single,
}

impl Form for Dense {
    fn schema(&self) -> Schema {
        let array = |of| Kind::Array(Arc::new(Schema::new(of)));
        match self {
            Self::Double => named(array(Kind::Float64), "io.debezium.data.DoubleVector"),
            Self::Single => named(array(Kind::Float32), "io.debezium.data.FloatVector"),
        }
    }

    fn decode(&self, text: &Bytes) -> Result<Value> {
        let wrong = || Error::data("not a vector, as in [1,2,3]");
        let body = text.strip_prefix(b"[").and_then(|body| body.strip_suffix(b"]"));
        let numbers =
            body.ok_or_else(wrong)?.split(|byte| *byte == b',').map(|number| match self {
                Self::Double => float(number).map(Value::Float64),
                Self::Single => {
                    ascii(number).parse().map(Value::Float32).map_err(|e| wrong().with_source(e))
                }
            });
        numbers.collect::<Result<_>>().map(Value::Array)
    }
}

/// `sparsevec`: how many dimensions it has, which is at most 32,767 in Debezium's mapping, and the
/// numbers that are not zero by their place.
#[derive(Debug)]
pub(super) struct Sparse {
    schema: SchemaRef,
}

impl Sparse {
    pub(super) fn new() -> Self {
        let short = || Arc::new(Schema::new(Kind::Int16));
        let vector = Kind::Map(short(), Arc::new(Schema::new(Kind::Float64)));
        let fields = [("dimensions", short()), ("vector", Arc::new(Schema::new(vector)))];
        let kind = Schema::structure(fields).kind;
        let mut schema = named(kind, "io.debezium.data.SparseDoubleVector");
        schema.doc = Some("Sparse double vector".into());
        Self { schema: Arc::new(schema) }
    }
}

impl Form for Sparse {
    fn schema(&self) -> Schema {
        Schema::clone(&self.schema)
    }

    fn decode(&self, text: &Bytes) -> Result<Value> {
        let (dimensions, entries) = sparse(text).ok_or_else(|| {
            Error::data("not a sparse vector of up to 32767 dimensions, as in {1:0.5,3:2}/5")
        })?;
        let values = vec![Value::Int16(dimensions), Value::Map(entries)];
        Struct::new(self.schema.clone(), values).map(Value::Struct)
    }

    fn bind(&self, schema: &SchemaRef) -> Option<Arc<dyn Form>> {
        Some(Arc::new(Self { schema: schema.clone() }))
    }

    fn zero(&self) -> Value {
        self.decode(&Bytes::from_static(b"{}/0")).unwrap_or_default()
    }
}

fn sparse(text: &[u8]) -> Option<(i16, Vec<(Value, Value)>)> {
    let short = |text: &[u8]| integer(text).and_then(|number| i16::try_from(number).ok());
    let slash = text.iter().rposition(|byte| *byte == b'/')?;
    let (body, dimensions) = text.split_at_checked(slash)?;
    let dimensions = short(dimensions.strip_prefix(b"/")?)?;
    let body = body.strip_prefix(b"{")?.strip_suffix(b"}")?;
    if body.is_empty() {
        return Some((dimensions, Vec::new()));
    }
    let entry = |entry: &[u8]| {
        let colon = entry.iter().position(|byte| *byte == b':')?;
        let (place, number) = entry.split_at_checked(colon)?;
        let number = float(number.strip_prefix(b":")?).ok()?;
        Some((Value::Int16(short(place)?), Value::Float64(number)))
    };
    let entries: Option<Vec<_>> = body.split(|byte| *byte == b',').map(entry).collect();
    Some((dimensions, entries?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(form: &dyn Form, text: &'static str) -> Option<Value> {
        form.decode(&Bytes::from_static(text.as_bytes())).ok()
    }

    #[test]
    fn dense_vectors_are_arrays() {
        let doubles = [1.0, -2.5, 3e-7].map(Value::Float64).to_vec();
        assert_eq!(decode(&Dense::Double, "[1,-2.5,3e-07]"), Some(Value::Array(doubles)));
        let singles = [1.0, 0.5].map(Value::Float32).to_vec();
        assert_eq!(decode(&Dense::Single, "[1,0.5]"), Some(Value::Array(singles)));
        for wrong in ["", "[", "[]", "[1,]", "1,2", "[a]"] {
            assert_eq!(decode(&Dense::Double, wrong), None, "{wrong}");
        }
    }

    #[test]
    fn sparse_vectors_are_maps() {
        for (text, dimensions, entries) in
            [("{1:0.5,3:2}/5", 5, vec![(1, 0.5), (3, 2.0)]), ("{}/3", 3, vec![])]
        {
            let Some(Value::Struct(fields)) = decode(&Sparse::new(), text) else {
                panic!("{text}")
            };
            let entries = entries.into_iter().map(|(k, v)| (Value::Int16(k), Value::Float64(v)));
            assert_eq!(fields.values(), [Value::Int16(dimensions), Value::Map(entries.collect())]);
        }
        for wrong in ["", "{1:2}", "{1}/2", "{1:2}/40000", "{1:2}/", "1:2/3"] {
            assert_eq!(decode(&Sparse::new(), wrong), None, "{wrong}");
        }
    }
}
