//! Columns' values in Debezium's mapping.
//!
//! Duty: of a column's type and the configuration's modes make a Connect schema and a decoder of the
//! server's text ([`codec`]), and say what stands for values that are not known and for defaults.
//!
//! Invariants:
//! - no I/O, and no input makes it panic: what can't be read is an error that says what is wrong with
//!   the value, without the value itself;
//! - a text stays a slice of the row that it came in; a number or a time allocates nothing, unless its
//!   schema says that it is text, bytes or a struct;
//! - struct values carry the schema that [`Codec::bind`] was given.
//!
//! The text is what the server writes under `DateStyle=ISO`, `IntervalStyle=postgres`,
//! `bytea_output=hex`, `extra_float_digits=1` and `lc_monetary=C`, in UTF-8.
//!
//! Sources: samples of Debezium 3.7 on PostgreSQL 15 for all that the tests call a sample; else
//! Debezium's sources of that version (`PostgresValueConverter`, `JdbcValueConverters`,
//! `PostgresDefaultValueConverter`, `io.debezium.time`, `io.debezium.data`), and where these are
//! silent a choice which the doc comment names.
//!
//! Types whose send functions are simple are read in binary, too ([`Codec::binary`]), to the same values;
//! all others as text alone.
//!
//! Deliberately absent: custom converters, columns' names.

mod array;
mod binary;
mod calendar;
mod decimal;
mod default;
mod form;
mod geometry;
mod hstore;
mod interval;
mod mapping;
mod modes;
mod number;
mod numeric;
mod slice;
mod structured;
mod text;
mod time;
mod uuid;
mod vector;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use bytes::Bytes;
use towpath_sdk::schema::{Schema, SchemaRef};
use towpath_sdk::value::Value;
use towpath_sdk::{Error, Result};

use form::Form;
pub use modes::{
    BinaryMode, DecimalMode, HstoreMode, IntervalMode, Modes, Placeholder, TimePrecision,
    UnknownTypes,
};
pub use slice::Slice;

/// A type as the catalogs describe it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PgType {
    /// Its `oid`. The server's own types are known by it.
    pub oid: u32,
    /// Its `typname`, without schema. Types of extensions are known by it: `hstore`, `citext`,
    /// `ltree`, `isbn`, `geometry`, `geography`, `vector`, `halfvec`, `sparsevec`.
    pub name: Arc<str>,
    /// What kind of type it is.
    pub kind: PgKind,
}

/// The kinds of types.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PgKind {
    /// A scalar.
    Base,
    /// An array of a type. `int2vector` and `oidvector`, which are none in text, are [`PgKind::Base`].
    Array(Arc<PgType>),
    /// An enum of these labels, in the order of `enumsortorder`.
    Enum(Vec<Arc<str>>),
    /// A domain.
    Domain {
        /// The type that it is made of, which may be a domain too.
        base: Arc<PgType>,
        /// Its `typtypmod`.
        typmod: i32,
    },
    /// A range or a multirange.
    Range,
    /// A row.
    Composite,
    /// A pseudo-type, or anything else.
    Other,
}

/// The mapping of a column: its schema and its decoder. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Codec {
    form: Arc<dyn Form>,
    /// A domain: without defaults.
    domain: bool,
    unavailable: Value,
}

/// The mapping of a column of type `ty` with the type modifier `typmod` (`atttypmod`, -1 if there is
/// none). `None` if the column is left out.
///
/// Of a domain over a domain the inner one's modifier is lost, as in Debezium.
#[must_use]
pub fn codec(ty: &PgType, typmod: i32, modes: &Modes) -> Option<Codec> {
    let domain = matches!(ty.kind, PgKind::Domain { .. });
    let form = mapping::form(ty, typmod, modes)?;
    let unavailable = form.unavailable(&modes.placeholder);
    Some(Codec { form, domain, unavailable })
}

impl Codec {
    /// The schema of a column that takes nulls if `optional`, with `default`. The caller may add to
    /// it. Some geometric types take nulls in any case.
    #[must_use]
    pub fn schema(&self, optional: bool, default: Option<Value>) -> Schema {
        let mut schema = self.form.schema();
        schema.optional |= optional;
        schema.default = default;
        schema
    }

    /// The same mapping whose structs carry `schema`, the column's schema as it stands in the row's.
    /// To be called once a column's schema is made, since consumers compare the two by pointer first.
    #[must_use]
    pub fn bind(self, schema: &SchemaRef) -> Self {
        let form = self.form.bind(schema).unwrap_or(self.form);
        Self { form, ..self }
    }

    /// Decodes the server's text. Where a mode has no way to show a value (`NaN` as a precise decimal)
    /// it is null, also in a column that takes none.
    ///
    /// # Errors
    /// If it is no text of this type, or the value is beyond what its schema holds. The error does not
    /// name the column.
    pub fn text(&self, text: &Bytes) -> Result<Value> {
        self.form.decode(text)
    }

    /// Whether [`Self::binary`] reads what the type's send function writes.
    #[must_use]
    pub fn reads_binary(&self) -> bool {
        self.form.binary().is_some()
    }

    /// Decodes what the type's send function writes, to the same value as [`Self::text`] of its text.
    ///
    /// # Errors
    /// As [`Self::text`]; and if the type is not [read](Self::reads_binary) in binary.
    pub fn binary(&self, value: Slice<'_>) -> Result<Value> {
        match self.form.binary() {
            Some(form) => form.read(value),
            None => Err(Error::internal("read a binary value of a type that is read as text")),
        }
    }

    /// What Debezium shows for a value that an UPDATE left alone and the server did not send, in the
    /// column's form. [`Value::Unchanged`] where it has nothing for the type.
    #[must_use]
    pub fn unavailable(&self) -> Value {
        self.unavailable.clone()
    }

    /// What Debezium shows in a column that takes no nulls where a value is not known: zero, an empty
    /// text, the epoch.
    #[must_use]
    pub fn zero(&self) -> Value {
        self.form.zero()
    }

    /// The default that Debezium shows for a column whose default is `expression`, as `pg_get_expr`
    /// writes it. A literal is its value; a function's result is the zero value of the type, also in a
    /// column that takes nulls. `None` if the type has no defaults, or the expression is something
    /// else.
    #[must_use]
    pub fn default(&self, expression: &str) -> Option<Value> {
        if self.domain {
            return None;
        }
        let value = self.form.default(&default::Written::parse(expression)?)?;
        (!matches!(value, Value::Null | Value::Struct(_))).then_some(value)
    }
}
