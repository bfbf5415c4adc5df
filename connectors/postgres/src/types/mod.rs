//! Columns' values in Debezium's mapping.
//!
//! Duty: of a column's type and the configuration's modes make a Connect schema and a decoder of the
//! server's text, and say what stands for values that are not known and for defaults.
//!
//! Invariants:
//! - no I/O, and no input makes it panic: what can't be read is an error that says what is wrong with
//!   the value, without the value itself;
//! - a text stays a slice of the row that it came in; a number or a time allocates nothing, unless its
//!   schema says that it is text, bytes or a struct.
//!
//! The text is what the server writes under `DateStyle=ISO`, `IntervalStyle=postgres`,
//! `bytea_output=hex`, `extra_float_digits=1` and `lc_monetary=C`, in UTF-8.
//!
//! Sources: samples of Debezium 3.7 on PostgreSQL 15 for all that the tests call a sample; else
//! Debezium's sources of that version (`PostgresValueConverter`, `JdbcValueConverters`,
//! `PostgresDefaultValueConverter`, `io.debezium.time`, `io.debezium.data`), and where these are
//! silent a choice which the doc comment names.
//!
//! Deliberately absent: binary decoding, `time.precision.mode=structured`, custom converters, columns'
//! names.

mod array;
mod binary;
mod calendar;
mod decimal;
mod default;
mod form;
mod geometry;
mod hstore;
mod interval;
mod modes;
mod number;
mod text;
mod time;
mod vector;

pub use modes::{
    BinaryMode, DecimalMode, HstoreMode, IntervalMode, Modes, Placeholder, TimePrecision,
    UnknownTypes,
};
