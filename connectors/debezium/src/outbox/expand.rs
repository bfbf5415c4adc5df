//! JSON in a text, taken apart: a schema is inferred, and the values follow it.
//!
//! The rules are Debezium's. An object is a struct that is called after the path to it; an array has
//! elements of one type, where objects are put together from the fields of all of them; numbers are
//! 32-bit integers, 64-bit ones or doubles, as they are written.
//!
//! Differences on purpose: fields of objects in arrays come in the order in which they are first seen
//! (Debezium's order changes from run to run), and documents that nest more than [`MAX_DEPTH`] levels
//! stay text.

use std::collections::HashMap;
use std::sync::Arc;

use indexmap::IndexMap;
use towpath_sdk::json::{Document, Node};
use towpath_sdk::schema::{Field, Kind, Schema, SchemaRef};
use towpath_sdk::value::{Struct, Value};
use towpath_sdk::{Result, Text};

use super::config::{JsonEmptyArray, JsonNull};
use crate::envelope;

/// How deep documents may nest that are taken apart.
pub(super) const MAX_DEPTH: usize = 100;

/// Takes documents apart.
#[derive(Debug)]
pub(super) struct Expander {
    pub(super) nulls: JsonNull,
    pub(super) empty_arrays: JsonEmptyArray,
}

/// Why a document stays text.
type Why = String;

impl Expander {
    /// The schema and value of the object in `text`. Structs are called after `name`.
    pub(super) fn expand(&self, name: &str, text: &Text) -> Result<(SchemaRef, Value), Why> {
        if !text.starts_with(['{', '[']) {
            return Err("it does not begin with '{'".to_owned());
        }
        let document = Document::scan(text).map_err(|why| why.to_string())?;
        let document = document.ok_or("it is empty")?;
        let strict = document.strict(text.clone());
        if strict.len() < document.place().len() {
            return Err("a number begins with a zero".to_owned());
        }
        let node = Node::of(&strict);
        if !matches!(node, Node::Object(_)) {
            return Err("it is an array and no object".to_owned());
        }
        let schema = self.infer(Some(name), &node, MAX_DEPTH)?.ok_or("it has no type")?;
        let value = value_of(&node, &schema)?;
        Ok((schema, value))
    }

    /// The schema of a value; `None` if nobody knows its type and it is left out.
    fn infer(
        &self,
        name: Option<&str>,
        node: &Node,
        depth: usize,
    ) -> Result<Option<SchemaRef>, Why> {
        let optional = |kind| Ok(Some(Arc::new(Schema::new(kind).optional())));
        let Some(below) = depth.checked_sub(1) else {
            return Err(format!("it nests more than {MAX_DEPTH} levels"));
        };
        match node {
            Node::String(_) => optional(Kind::String),
            Node::Boolean(_) => optional(Kind::Boolean),
            Node::Number(number) => optional(kind_of(number)),
            Node::Null => match self.nulls {
                JsonNull::Ignore => Ok(None),
                JsonNull::OptionalBytes => optional(Kind::Bytes),
            },
            Node::Array(items) if items.is_empty() => match self.empty_arrays {
                JsonEmptyArray::Ignore => Ok(None),
                JsonEmptyArray::OptionalString => {
                    optional(Kind::Array(Arc::new(Schema::new(Kind::String).optional())))
                }
            },
            Node::Array(items) => optional(Kind::Array(self.elements(name, items, below)?)),
            Node::Object(members) => {
                let mut fields = Vec::with_capacity(members.len());
                for (member, value) in members {
                    let path = match name {
                        Some(name) if !name.trim().is_empty() => format!("{name}.{member}"),
                        _ => member.to_string(),
                    };
                    let Some(schema) = self.infer(Some(&path), value, below)? else { continue };
                    if member.is_empty() {
                        return Err("a member has an empty name".to_owned());
                    }
                    fields.push(Field { name: (&**member).into(), schema });
                }
                let schema = Schema::new(Kind::Struct(fields)).optional();
                Ok(Some(Arc::new(match name {
                    Some(name) => schema.named(name),
                    None => schema,
                })))
            }
        }
    }

    /// The schema of an array's elements.
    fn elements(&self, name: Option<&str>, items: &[Node], depth: usize) -> Result<SchemaRef, Why> {
        let mut known = items.iter().filter(|item| !matches!(item, Node::Null));
        let first = known.next().unwrap_or(&Node::Null);
        if known.any(|item| !alike(first, item)) {
            return Err("an array has elements of several types".to_owned());
        }
        if !matches!(first, Node::Object(_)) {
            let schema = self.infer(None, first, depth)?;
            return schema.ok_or_else(|| "an array has elements of no known type".to_owned());
        }
        let mut objects = items.iter().filter(|item| matches!(item, Node::Object(_)));
        let schema = |object| self.infer(name, object, depth);
        let Some(first) = objects.next().map(schema).transpose()?.flatten() else {
            return Err("an array has elements of no known type".to_owned());
        };
        let mut merged: Option<IndexMap<Arc<str>, SchemaRef>> = None;
        for object in objects {
            let Some(next) = schema(object)? else { continue };
            if merged.is_none() && next == first {
                continue;
            }
            let merged = merged.get_or_insert_with(|| fields_of(&first).collect());
            for (field, schema) in fields_of(&next) {
                let slot = merged.entry(field).or_insert_with(|| Arc::clone(&schema));
                // Bytes stand for a null, which any other type fits.
                if matches!(slot.kind, Kind::Bytes) {
                    *slot = schema;
                }
            }
        }
        Ok(match merged {
            None => first,
            Some(merged) => {
                let fields = merged.into_iter().map(|(name, schema)| Field { name, schema });
                Arc::new(envelope::basics(&first, Kind::Struct(fields.collect())))
            }
        })
    }
}

fn fields_of(schema: &Schema) -> impl Iterator<Item = (Arc<str>, SchemaRef)> {
    schema.fields().iter().map(|field| (Arc::clone(&field.name), Arc::clone(&field.schema)))
}

/// Whether both are of one type; numbers of one kind.
fn alike(one: &Node, other: &Node) -> bool {
    match (one, other) {
        (Node::Number(one), Node::Number(other)) => kind_of(one) == kind_of(other),
        (one, other) => std::mem::discriminant(one) == std::mem::discriminant(other),
    }
}

fn is_integer(number: &str) -> bool {
    !number.contains(['.', 'e', 'E'])
}

fn kind_of(number: &str) -> Kind {
    if is_integer(number) && number.parse::<i32>().is_ok() {
        Kind::Int32
    } else if is_integer(number) && number.parse::<i64>().is_ok() {
        Kind::Int64
    } else {
        Kind::Float64
    }
}

/// The value of a node, which must be of `schema`.
fn value_of(node: &Node, schema: &SchemaRef) -> Result<Value, Why> {
    Ok(match (node, &schema.kind) {
        (Node::Null, _) if schema.optional => Value::Null,
        (Node::String(text), Kind::String) => Value::String(text.clone()),
        (Node::Boolean(value), Kind::Boolean) => Value::Boolean(*value),
        (Node::Number(number), kind) if kind_of(number) == *kind => match kind {
            Kind::Int32 => number.parse().map_or(Value::Null, Value::Int32),
            Kind::Int64 => number.parse().map_or(Value::Null, Value::Int64),
            _ if is_integer(number) => return Err("an integer has more than 64 bits".to_owned()),
            _ => number.parse().map_or(Value::Null, Value::Float64),
        },
        (Node::Array(items), Kind::Array(of)) => {
            Value::Array(items.iter().map(|item| value_of(item, of)).collect::<Result<_, _>>()?)
        }
        (Node::Object(members), Kind::Struct(fields)) => {
            let mut values = vec![Value::Null; fields.len()];
            // Members come in the order of the fields, but for those left out and objects in arrays.
            let (mut next, mut places) = (0, None);
            for (name, node) in members {
                let is = |at: &usize| fields.get(*at).is_some_and(|field| *field.name == **name);
                let found = Some(next).filter(is).or_else(|| {
                    places.get_or_insert_with(|| places_of(fields)).get(&**name).copied()
                });
                let Some(at) = found else { continue };
                values[at] = value_of(node, &fields[at].schema)?;
                next = at + 1;
            }
            let value = Struct::new(Arc::clone(schema), values).map_err(|e| e.to_string())?;
            Value::Struct(value)
        }
        _ => {
            return Err("objects in an array have members of one name and several types".to_owned());
        }
    })
}

fn places_of(fields: &[Field]) -> HashMap<&str, usize> {
    fields.iter().enumerate().map(|(at, field)| (&*field.name, at)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expand(text: &str) -> Result<(SchemaRef, Value), Why> {
        let (nulls, empty_arrays) = (JsonNull::Ignore, JsonEmptyArray::Ignore);
        Expander { nulls, empty_arrays }.expand("payload", &text.into())
    }

    #[test]
    fn fields_of_objects_in_arrays_come_as_they_are_seen() {
        let (schema, value) = expand(r#"{"a":[{"z":1},{"y":"x","z":2}]}"#).unwrap();
        let Kind::Array(of) = &schema.fields()[0].schema.kind else { panic!("{schema:?}") };
        assert_eq!(of.fields().iter().map(|f| &*f.name).collect::<Vec<_>>(), ["z", "y"]);
        let Some(Value::Array(items)) = value.member("a") else { panic!("{value:?}") };
        assert_eq!(items[0].member("y"), Some(Value::Null));
        assert_eq!(items[1].member("y"), Some(Value::String("x".into())));
    }

    #[test]
    fn deep_documents_stay_text() {
        let nested = |levels| format!("{{\"a\":{}1{}}}", "[".repeat(levels), "]".repeat(levels));
        assert!(expand(&nested(MAX_DEPTH - 2)).is_ok());
        assert!(expand(&nested(MAX_DEPTH - 1)).unwrap_err().contains("100 levels"));
        assert!(expand(&nested(900)).is_err());
    }
}
