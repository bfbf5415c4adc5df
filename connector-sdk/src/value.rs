//! Values.
//!
//! Duty: the decoded form of keys, values and header values. Text and bytes are slices of the batch
//! that they came in; a struct is a slice of values beside its schema. A schemaless JSON document
//! stays text ([`Json`]) until somebody asks for a field: it was validated once, nothing is built.
//!
//! Invariant: [`Json`] holds exactly one well-formed JSON object or array.

use std::sync::Arc;

use bytes::Bytes;
use bytestring::ByteString;

use crate::error::{Error, Result};
pub use crate::java_text::java_text;
use crate::json;
use crate::schema::SchemaRef;

/// A value, with or without a schema beside it (see [`Datum`]).
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Value {
    /// No value.
    #[default]
    Null,
    /// A column that the change did not touch and whose content is not known here (an UPDATE beside
    /// a TOASTed column). A sink leaves such a column as it is.
    Unchanged,
    /// A boolean.
    Boolean(bool),
    /// An 8-bit integer.
    Int8(i8),
    /// A 16-bit integer.
    Int16(i16),
    /// A 32-bit integer.
    Int32(i32),
    /// A 64-bit integer.
    Int64(i64),
    /// A single.
    Float32(f32),
    /// A double.
    Float64(f64),
    /// Text.
    String(ByteString),
    /// Bytes.
    Bytes(Bytes),
    /// Elements.
    Array(Vec<Value>),
    /// Entries in order.
    Map(Vec<(Value, Value)>),
    /// Fields by their place in a schema.
    Struct(Struct),
    /// A schemaless JSON object or array as text.
    Json(Json),
}

/// A struct's values in the order of its schema's fields.
#[derive(Debug, Clone)]
pub struct Struct {
    schema: SchemaRef,
    values: Values,
}

#[derive(Debug, Clone)]
enum Values {
    Own(Box<[Value]>),
    /// Copied when they are changed.
    Shared(Arc<[Value]>),
}

impl PartialEq for Struct {
    fn eq(&self, other: &Self) -> bool {
        self.schema == other.schema && self.values() == other.values()
    }
}

impl Struct {
    /// A struct of `schema`.
    ///
    /// # Errors
    /// If the number of values is not the number of fields.
    pub fn new(schema: SchemaRef, values: Vec<Value>) -> Result<Self> {
        if schema.fields().len() == values.len() {
            Ok(Self { schema, values: Values::Own(values.into_boxed_slice()) })
        } else {
            Err(Error::data(format!(
                "a struct of {} fields got {} values",
                schema.fields().len(),
                values.len()
            )))
        }
    }

    /// The schema.
    #[must_use]
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// The same struct, whose clones share its values until one of them is changed: for what many
    /// records have in common.
    #[must_use]
    pub fn shared(self) -> Self {
        let values = match self.values {
            Values::Own(values) => Values::Shared(values.into()),
            shared @ Values::Shared(_) => shared,
        };
        Self { values, ..self }
    }

    /// Whether its clones share its values.
    #[must_use]
    pub const fn is_shared(&self) -> bool {
        matches!(self.values, Values::Shared(_))
    }

    /// Whether both share their values, and the schema. Where they do not, they may still be equal.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        match (&self.values, &other.values) {
            (Values::Shared(one), Values::Shared(two)) => {
                Arc::ptr_eq(one, two) && Arc::ptr_eq(&self.schema, &other.schema)
            }
            _ => false,
        }
    }

    /// The values by field index.
    #[must_use]
    pub fn values(&self) -> &[Value] {
        match &self.values {
            Values::Own(values) => values,
            Values::Shared(values) => values,
        }
    }

    /// The values, to be changed in place.
    pub fn values_mut(&mut self) -> &mut [Value] {
        match &mut self.values {
            Values::Own(values) => values,
            Values::Shared(values) => Arc::make_mut(values),
        }
    }

    /// The value of the field called `name`.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.schema.field_index(name).and_then(|i| self.values().get(i))
    }

    /// The values alone.
    #[must_use]
    pub fn into_values(self) -> Vec<Value> {
        match self.values {
            Values::Own(values) => values.into_vec(),
            Values::Shared(values) => values.to_vec(),
        }
    }
}

/// A validated JSON object or array as text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Json(ByteString);

impl Json {
    /// Validates `text` in one scan and takes the first document in it; see [`crate::json`] for what
    /// counts as JSON.
    ///
    /// # Errors
    /// If that is no object or array, or malformed, or not UTF-8.
    pub fn new(text: Bytes) -> Result<Self> {
        let text = ByteString::try_from(text)
            .map_err(|e| Error::data("the JSON text is not valid UTF-8").with_source(e))?;
        let document = json::Document::scan(&text)
            .map_err(|e| Error::data(format!("malformed JSON: {e}")).with_source(e))?;
        document
            .and_then(|document| Self::of(text, &document))
            .ok_or_else(|| Error::data("not a JSON object or array"))
    }

    /// The `document` that was found in `text`, if it is an object or an array.
    #[must_use]
    pub fn of(text: ByteString, document: &json::Document) -> Option<Self> {
        match text.as_bytes().get(document.place().start) {
            Some(b'{' | b'[') => Some(Self(document.strict(text))),
            _ => None,
        }
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The text as shared bytes.
    #[must_use]
    pub fn bytes(&self) -> &Bytes {
        self.0.as_bytes()
    }

    /// Whether it is an object.
    #[must_use]
    pub fn is_object(&self) -> bool {
        self.0.starts_with('{')
    }

    /// The member called `name`, found without building the others; an object or array stays text.
    /// Of several members of this name the last counts.
    #[must_use]
    pub fn member(&self, name: &str) -> Option<Value> {
        let value = json::member(&self.0, name)?;
        Some(Value::of_json(self.0.slice_ref(value)))
    }

    /// The value tree: objects become [`Value::Map`] with text keys in the text's order, integers
    /// [`Value::Int64`], other numbers [`Value::Float64`].
    #[must_use]
    pub fn decode(&self) -> Value {
        json::Node::of(&self.0).into()
    }
}

impl From<json::Node> for Value {
    fn from(node: json::Node) -> Self {
        use json::Node;
        match node {
            Node::Null => Self::Null,
            Node::Boolean(b) => Self::Boolean(b),
            Node::Number(text) => number(&text),
            Node::String(text) => Self::String(text),
            Node::Array(items) => Self::Array(items.into_iter().map(Self::from).collect()),
            Node::Object(members) => Self::Map(
                members.into_iter().map(|(k, v)| (Self::String(k), Self::from(v))).collect(),
            ),
        }
    }
}

/// A JSON number: an integer if it is written as one and fits. There is no negative zero, as in Java's
/// decimals.
fn number(text: &str) -> Value {
    match text.parse() {
        Ok(integer) => Value::Int64(integer),
        Err(_) => Value::Float64(text.parse().unwrap_or(f64::NAN) + 0.0),
    }
}

impl From<serde_json::Value> for Value {
    fn from(json: serde_json::Value) -> Self {
        match json {
            serde_json::Value::Null => Self::Null,
            serde_json::Value::Bool(b) => Self::Boolean(b),
            serde_json::Value::Number(n) => number(&n.to_string()),
            serde_json::Value::String(s) => Self::String(s.into()),
            serde_json::Value::Array(items) => {
                Self::Array(items.into_iter().map(Self::from).collect())
            }
            serde_json::Value::Object(entries) => Self::Map(
                entries.into_iter().map(|(k, v)| (Self::String(k.into()), Self::from(v))).collect(),
            ),
        }
    }
}

impl Value {
    /// The value of a validated JSON document without white space around it: an object or array
    /// stays text.
    #[must_use]
    pub fn of_json(document: ByteString) -> Self {
        match document.as_bytes().first() {
            Some(b'{' | b'[') => Self::Json(Json(document)),
            _ => json::Node::of(&document).into(),
        }
    }

    /// The text, if this is text.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(s) => Some(s),
            _ => None,
        }
    }

    /// The number as 64-bit integer, if this is an integer.
    #[must_use]
    pub fn as_i64(&self) -> Option<i64> {
        match *self {
            Self::Int8(n) => Some(n.into()),
            Self::Int16(n) => Some(n.into()),
            Self::Int32(n) => Some(n.into()),
            Self::Int64(n) => Some(n),
            _ => None,
        }
    }

    /// Bytes that it holds, roughly: what it points to, and itself where it is part of another value.
    /// What is [shared](Struct::shared) does not count.
    #[must_use]
    pub fn size(&self) -> usize {
        let each = |values: &[Self]| values.iter().map(|v| size_of::<Self>() + v.size()).sum();
        match self {
            Self::String(text) => text.len(),
            Self::Bytes(bytes) => bytes.len(),
            Self::Json(json) => json.as_str().len(),
            Self::Array(items) => each(items),
            Self::Struct(Struct { values: Values::Own(values), .. }) => each(values),
            Self::Map(entries) => {
                entries.iter().map(|(k, v)| 2 * size_of::<Self>() + k.size() + v.size()).sum()
            }
            _ => size_of::<i64>(),
        }
    }

    /// Whether this is null.
    #[must_use]
    pub fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }

    /// The member called `name` of a struct, a map with text keys, or a JSON object. `None` where
    /// there is no such member or this is none of the three.
    #[must_use]
    pub fn member(&self, name: &str) -> Option<Value> {
        match self {
            Self::Struct(s) => s.get(name).cloned(),
            Self::Map(entries) => {
                entries.iter().find(|(k, _)| k.as_str() == Some(name)).map(|(_, v)| v.clone())
            }
            Self::Json(json) => json.member(name),
            _ => None,
        }
    }

    /// The member at a dotted path, by [`Value::member`] from name to name.
    #[must_use]
    pub fn at_path(&self, path: &str) -> Option<Value> {
        let mut names = path.split('.');
        let first = self.member(names.next()?)?;
        names.try_fold(first, |value, name| value.member(name))
    }
}

/// A value and what is known of its schema: what Connect calls `SchemaAndValue`.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Datum {
    /// The schema; `None` for schemaless data.
    pub schema: Option<SchemaRef>,
    /// The value.
    pub value: Value,
}

impl Datum {
    /// No schema, no value: a null key, or a tombstone.
    #[must_use]
    pub const fn null() -> Self {
        Self { schema: None, value: Value::Null }
    }

    /// A value without a schema.
    #[must_use]
    pub const fn schemaless(value: Value) -> Self {
        Self { schema: None, value }
    }

    /// A value of `schema`.
    #[must_use]
    pub const fn new(schema: SchemaRef, value: Value) -> Self {
        Self { schema: Some(schema), value }
    }

    /// Whether the value is null.
    #[must_use]
    pub fn is_null(&self) -> bool {
        self.value.is_null()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(text: &'static str) -> Result<Json> {
        Json::new(Bytes::from_static(text.as_bytes()))
    }

    #[test]
    fn a_shared_struct_changes_alone() {
        use crate::schema::{Kind, Schema};

        let number = Arc::new(Schema::new(Kind::Int64));
        let schema = Arc::new(Schema::structure([("a", Arc::clone(&number)), ("b", number)]));
        let own = Struct::new(schema, vec![Value::Int64(1), Value::Int64(2)]).unwrap();
        let shared = own.clone().shared();
        let size = |fields: &Struct| Value::Struct(fields.clone()).size();
        assert!(size(&shared) < size(&own));
        let mut changed = shared.clone();
        assert_eq!(changed.values().as_ptr(), shared.values().as_ptr());
        changed.values_mut()[1] = Value::Int64(3);
        assert_eq!((&shared, changed.get("b")), (&own, Some(&Value::Int64(3))));
        assert_eq!(changed.into_values(), [Value::Int64(1), Value::Int64(3)]);
        assert_eq!(shared.into_values(), own.into_values());
    }

    #[test]
    fn json_is_one_well_formed_document() {
        assert!(json(r#" {"a": [1, {"b": null}]} "#).is_ok());
        for bad in ["", "  ", "1", "{", "[1,]", "{\"a\":}", "nope"] {
            assert!(json(bad).is_err(), "{bad}");
        }
        assert!(Json::new(Bytes::from_static(b"[\"\xff\"]")).is_err());
    }

    #[test]
    fn members_are_found_in_every_form() {
        let text = json(r#"{"a":{"b":"x","l":[1]},"n":7,"f":1.5,"big":18446744073709551615}"#);
        let text = text.unwrap();
        for value in [Value::Json(text.clone()), text.decode()] {
            assert_eq!(value.member("n"), Some(Value::Int64(7)));
            assert_eq!(value.at_path("a.b"), Some(Value::String("x".into())));
            assert_eq!(value.at_path("a.c"), None);
            assert_eq!(value.member("f"), Some(Value::Float64(1.5)));
            assert_eq!(value.member("big"), Some(Value::Float64(18_446_744_073_709_551_615.0)));
        }
        let zero = json("[-0.0]").unwrap().decode();
        assert_eq!(format!("{zero:?}"), "Array([Float64(0.0)])");
        let list = text.member("a").and_then(|a| a.member("l"));
        assert!(matches!(list, Some(Value::Json(list)) if list.as_str() == "[1]"));
    }
}
