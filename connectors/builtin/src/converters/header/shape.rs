//! What is known of the type of a value that was read: schemas that may have holes.

use std::sync::Arc;

use towpath_sdk::schema::{Kind, Schema, SchemaRef};
use towpath_sdk::value::Value;

use super::write;

/// A schema in which element types may be unknown.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Shape {
    Scalar(SchemaRef),
    Array(Option<Box<Shape>>),
    Map(Option<Box<Shape>>, Option<Box<Shape>>),
}

impl Shape {
    pub(super) fn of(kind: Kind) -> Self {
        Self::Scalar(Arc::new(Schema::new(kind)))
    }

    /// The schema, if nothing is unknown.
    pub(super) fn schema(&self) -> Option<SchemaRef> {
        match self {
            Self::Scalar(schema) => Some(schema.clone()),
            Self::Array(of) => Some(Arc::new(Schema::new(Kind::Array(of.as_ref()?.schema()?)))),
            Self::Map(keys, values) => {
                let kind = Kind::Map(keys.as_ref()?.schema()?, values.as_ref()?.schema()?);
                Some(Arc::new(Schema::new(kind)))
            }
        }
    }

    /// `value` of this shape where its schema gets lost: a date or decimal becomes text.
    pub(super) fn without(&self, value: Value) -> Value {
        match (self, value) {
            (Self::Scalar(schema), value) if schema.name.is_some() => {
                let mut text = String::new();
                write::value(&mut text, &value, Some(schema), false);
                Value::String(text.into())
            }
            (Self::Array(Some(of)), Value::Array(items)) => {
                Value::Array(items.into_iter().map(|item| of.without(item)).collect())
            }
            (Self::Map(keys, values), Value::Map(entries)) => {
                let part = |shape: &Option<Box<Self>>, value| match shape {
                    Some(shape) => shape.without(value),
                    None => value,
                };
                let entry = |(key, value)| (part(keys, key), part(values, value));
                Value::Map(entries.into_iter().map(entry).collect())
            }
            (_, value) => value,
        }
    }

    /// How wide a number is; `None` if it is none.
    fn rank(&self) -> Option<usize> {
        const RANKS: [Kind; 6] =
            [Kind::Int8, Kind::Int16, Kind::Int32, Kind::Int64, Kind::Float32, Kind::Float64];
        match self {
            Self::Scalar(schema) => RANKS.iter().position(|kind| *kind == schema.kind),
            _ => None,
        }
    }

    /// The shape that both fit: the wider of two numbers, or the later of two shapes of one kind.
    fn merge(self, later: Self) -> Option<Self> {
        match (&self, &later) {
            (Self::Scalar(a), Self::Scalar(b)) if a.kind == b.kind => Some(later),
            (Self::Array(_), Self::Array(_)) | (Self::Map(..), Self::Map(..)) => Some(later),
            _ => Some(if self.rank()? < later.rank()? { later } else { self }),
        }
    }

    /// `value` of shape `from`, as this shape. `None` if it does not fit.
    pub(super) fn align(&self, value: Value, from: Option<&Self>) -> Option<Value> {
        let (from, to) = match (from?, self) {
            (Self::Scalar(from), Self::Scalar(to)) => (from, to),
            _ => return Some(value),
        };
        if from == to {
            return Some(value);
        }
        // A date is no number, but a number may be taken for a date.
        if from.name.is_some() {
            return None;
        }
        let number = match value {
            Value::Float32(n) => f64::from(n),
            Value::Float64(n) => n,
            Value::Int64(n) if to.kind == Kind::Int64 => return Some(Value::Int64(n)),
            ref value => value.as_i64()? as f64,
        };
        Some(match to.kind {
            Kind::Int8 => Value::Int8(number as i8),
            Kind::Int16 => Value::Int16(number as i16),
            Kind::Int32 => Value::Int32(number as i32),
            Kind::Int64 => Value::Int64(number as i64),
            Kind::Float32 => Value::Float32(number as f32),
            Kind::Float64 => Value::Float64(number),
            _ => return None,
        })
    }
}

/// Finds the shape that all elements of a container have.
#[derive(Debug, Default)]
pub(super) struct Merger {
    common: Option<Shape>,
    incompatible: bool,
}

impl Merger {
    pub(super) fn add(&mut self, shape: Option<&Shape>) {
        let Some(shape) = shape.filter(|_| !self.incompatible) else { return };
        self.common = match self.common.take() {
            None => Some(shape.clone()),
            Some(common) => {
                let merged = common.merge(shape.clone());
                self.incompatible = merged.is_none();
                merged
            }
        };
    }

    pub(super) fn common(self) -> Option<Box<Shape>> {
        self.common.map(Box::new)
    }
}
