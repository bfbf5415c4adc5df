//! Schemas in Kafka Connect's model.
//!
//! Duty: describe values ([`crate::value::Value`]). A logical type is a physical kind with a name
//! (`org.apache.kafka.connect.data.Decimal` is `Bytes`, `…Timestamp` is `Int64`). Schemas are shared
//! by `Arc`, so that a record carries a pointer. Equality is by content.
//!
//! Deliberately absent: projection, compatibility rules, registries.

use std::sync::Arc;

use indexmap::IndexMap;

use crate::value::Value;

/// A shared schema.
pub type SchemaRef = Arc<Schema>;

/// The shape and meaning of a value.
#[derive(Debug, Clone, PartialEq)]
pub struct Schema {
    /// The physical kind.
    pub kind: Kind,
    /// Whether null is a value.
    pub optional: bool,
    /// The full name: of a struct, or of a logical type.
    pub name: Option<Arc<str>>,
    /// The version of the named schema.
    pub version: Option<i32>,
    /// Documentation.
    pub doc: Option<Arc<str>>,
    /// Parameters of a logical type, such as `scale`, in order; empty for most.
    pub parameters: IndexMap<String, String>,
    /// The default value; `None` if there is none.
    pub default: Option<Value>,
}

/// The physical kinds.
#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    /// `true` or `false`.
    Boolean,
    /// 8 bits, signed.
    Int8,
    /// 16 bits, signed.
    Int16,
    /// 32 bits, signed.
    Int32,
    /// 64 bits, signed.
    Int64,
    /// IEEE 754 single.
    Float32,
    /// IEEE 754 double.
    Float64,
    /// UTF-8 text.
    String,
    /// Bytes.
    Bytes,
    /// Elements of one schema.
    Array(SchemaRef),
    /// Keys of one schema to values of another.
    Map(SchemaRef, SchemaRef),
    /// Named fields in order.
    Struct(Vec<Field>),
}

/// A field of a struct; its index is its place in the value.
#[derive(Debug, Clone, PartialEq)]
pub struct Field {
    /// The name.
    pub name: Arc<str>,
    /// The schema.
    pub schema: SchemaRef,
}

impl Schema {
    /// A required schema of `kind` without a name.
    #[must_use]
    pub fn new(kind: Kind) -> Self {
        Self {
            kind,
            optional: false,
            name: None,
            version: None,
            doc: None,
            parameters: IndexMap::new(),
            default: None,
        }
    }

    /// A struct of `fields`.
    pub fn structure<N: Into<Arc<str>>>(fields: impl IntoIterator<Item = (N, SchemaRef)>) -> Self {
        let fields =
            fields.into_iter().map(|(name, schema)| Field { name: name.into(), schema }).collect();
        Self::new(Kind::Struct(fields))
    }

    /// The same, and null is a value.
    #[must_use]
    pub fn optional(mut self) -> Self {
        self.optional = true;
        self
    }

    /// The same under a name.
    #[must_use]
    pub fn named(mut self, name: impl Into<Arc<str>>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// The same with a version.
    #[must_use]
    pub const fn versioned(mut self, version: i32) -> Self {
        self.version = Some(version);
        self
    }

    /// The same with a parameter.
    #[must_use]
    pub fn parameter(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.parameters.insert(key.into(), value.into());
        self
    }

    /// The same with a default.
    #[must_use]
    pub fn with_default(mut self, value: Value) -> Self {
        self.default = Some(value);
        self
    }

    /// The fields, if this is a struct.
    #[must_use]
    pub fn fields(&self) -> &[Field] {
        match &self.kind {
            Kind::Struct(fields) => fields,
            _ => &[],
        }
    }

    /// The place of the field called `name`.
    #[must_use]
    pub fn field_index(&self, name: &str) -> Option<usize> {
        self.fields().iter().position(|f| &*f.name == name)
    }

    /// The field called `name`.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&Field> {
        self.fields().iter().find(|f| &*f.name == name)
    }
}

impl Kind {
    /// Connect's name of the kind in upper case, as in its messages (`INT64`).
    #[must_use]
    pub const fn connect_name(&self) -> &'static str {
        match self {
            Self::Boolean => "BOOLEAN",
            Self::Int8 => "INT8",
            Self::Int16 => "INT16",
            Self::Int32 => "INT32",
            Self::Int64 => "INT64",
            Self::Float32 => "FLOAT32",
            Self::Float64 => "FLOAT64",
            Self::String => "STRING",
            Self::Bytes => "BYTES",
            Self::Array(_) => "ARRAY",
            Self::Map(..) => "MAP",
            Self::Struct(_) => "STRUCT",
        }
    }
}

/// Names of Kafka Connect's logical types.
pub mod logical {
    /// An unscaled big-endian integer as `Bytes`, with the parameter `scale`.
    pub const DECIMAL: &str = "org.apache.kafka.connect.data.Decimal";
    /// Days since 1970-01-01 as `Int32`.
    pub const DATE: &str = "org.apache.kafka.connect.data.Date";
    /// Milliseconds since midnight as `Int32`.
    pub const TIME: &str = "org.apache.kafka.connect.data.Time";
    /// Milliseconds since 1970-01-01T00:00:00Z as `Int64`.
    pub const TIMESTAMP: &str = "org.apache.kafka.connect.data.Timestamp";
}
