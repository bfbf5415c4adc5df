//! Values that were read back from a topic, in the form that a schema gives them.
//!
//! Duty: make of what a converter has decoded, with a schema or without one, the value that was encoded.
//! Pure. A guess that is wrong does no harm: whoever asks encodes the result and compares.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use towpath_sdk::schema::{Kind, SchemaRef};
use towpath_sdk::value::{Struct, Value};

/// `value` in the form of `schema`; `None` if it has none.
#[must_use]
pub(super) fn fit(value: &Value, schema: &SchemaRef) -> Option<Value> {
    if value.is_null() {
        return schema.optional.then_some(Value::Null);
    }
    Some(match &schema.kind {
        Kind::Boolean => match value {
            Value::Boolean(_) => value.clone(),
            _ => return None,
        },
        Kind::Int8 => Value::Int8(value.as_i64()?.try_into().ok()?),
        Kind::Int16 => Value::Int16(value.as_i64()?.try_into().ok()?),
        Kind::Int32 => Value::Int32(value.as_i64()?.try_into().ok()?),
        Kind::Int64 => Value::Int64(value.as_i64()?),
        Kind::Float32 => Value::Float32(float(value)? as f32),
        Kind::Float64 => Value::Float64(float(value)?),
        Kind::String => Value::String(value.as_str()?.to_owned().into()),
        Kind::Bytes => match value {
            Value::Bytes(_) => value.clone(),
            // As JSON has them.
            Value::String(text) => Value::Bytes(STANDARD.decode(text.as_bytes()).ok()?.into()),
            _ => return None,
        },
        Kind::Array(of) => {
            let Value::Array(items) = value else { return None };
            Value::Array(items.iter().map(|item| fit(item, of)).collect::<Option<_>>()?)
        }
        Kind::Map(keys, values) => {
            let Value::Map(entries) = value else { return None };
            let entry =
                |(key, value): &(Value, Value)| Some((fit(key, keys)?, fit(value, values)?));
            Value::Map(entries.iter().map(entry).collect::<Option<_>>()?)
        }
        Kind::Struct(fields) => {
            let count = match value {
                Value::Struct(values) => values.values().len(),
                Value::Map(entries) => entries.len(),
                Value::Json(json) => return fit(&json.decode(), schema),
                // A transform may have taken it out of its struct.
                _ => {
                    let [field] = &fields[..] else { return None };
                    let value = fit(value, &field.schema)?;
                    return Struct::new(Arc::clone(schema), vec![value]).ok().map(Value::Struct);
                }
            };
            let field = |field: &towpath_sdk::schema::Field| {
                fit(&value.member(&field.name)?, &field.schema)
            };
            let values = fields.iter().map(field).collect::<Option<Vec<_>>>()?;
            if count != values.len() {
                return None;
            }
            Value::Struct(Struct::new(Arc::clone(schema), values).ok()?)
        }
    })
}

fn float(value: &Value) -> Option<f64> {
    match value {
        Value::Float32(number) => Some(f64::from(*number)),
        Value::Float64(number) => Some(*number),
        _ => value.as_i64().map(|number| number as f64),
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use towpath_sdk::schema::Schema;

    use super::*;

    fn schema(fields: Vec<(&'static str, Schema)>) -> SchemaRef {
        let fields = fields.into_iter().map(|(name, schema)| (name, Arc::new(schema)));
        Arc::new(Schema::structure(fields))
    }

    fn json(text: &'static str) -> Value {
        Value::of_json(text.into())
    }

    #[test]
    fn what_json_has_is_brought_back_to_its_schema() {
        let inner =
            schema(vec![("scale", Schema::new(Kind::Int32)), ("value", Schema::new(Kind::Bytes))]);
        let key = schema(vec![
            ("id", Schema::new(Kind::Int16)),
            ("at", Schema::new(Kind::Int64)),
            ("name", Schema::new(Kind::String).optional()),
            ("ratio", Schema::new(Kind::Float64)),
            ("yes", Schema::new(Kind::Boolean)),
            ("n", (*inner).clone()),
            ("all", Schema::new(Kind::Array(Arc::new(Schema::new(Kind::Int32))))),
        ]);
        let text = r#"{"id":7,"at":9007199254740993,"name":null,"ratio":2,"yes":true,"n":{"scale":2,"value":"AQ=="},"all":[1,2]}"#;
        let Some(Value::Struct(found)) = fit(&json(text), &key) else { panic!("it does not fit") };
        let number =
            Struct::new(inner, vec![Value::Int32(2), Value::Bytes(Bytes::from_static(&[1]))]);
        let expect = vec![
            Value::Int16(7),
            Value::Int64(9_007_199_254_740_993),
            Value::Null,
            Value::Float64(2.0),
            Value::Boolean(true),
            Value::Struct(number.unwrap()),
            Value::Array(vec![Value::Int32(1), Value::Int32(2)]),
        ];
        assert_eq!(found.values(), expect);
        // With a schema of its own it is the same.
        assert_eq!(fit(&Value::Struct(found.clone()), &key), Some(Value::Struct(found)));
    }

    #[test]
    fn what_is_no_value_of_the_schema_does_not_fit() {
        let key = schema(vec![("id", Schema::new(Kind::Int16))]);
        for text in [
            r#"{"id":40000}"#,
            r#"{"id":"7"}"#,
            r#"{"id":null}"#,
            "{}",
            r#"{"id":1,"of":"t"}"#,
            "[1]",
            "true",
        ] {
            assert_eq!(fit(&json(text), &key), None, "{text}");
        }
        assert_eq!(fit(&Value::Null, &key), None);
        let alone = Struct::new(Arc::clone(&key), vec![Value::Int16(7)]).unwrap();
        assert_eq!(fit(&json("7"), &key), Some(Value::Struct(alone)));
    }
}
