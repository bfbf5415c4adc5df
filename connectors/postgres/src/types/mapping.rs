//! Which type is mapped in which way.
//!
//! Debezium knows the server's types by their oids (`PgOid`) and those of extensions by their names
//! (`TypeRegistry`); so does this.

use std::sync::Arc;

use super::array::{Array, Unavailable};
use super::binary::{Bits, Octets, Source};
use super::decimal::{Money, numeric};
use super::form::Form;
use super::geometry::{Shape, ShapeForm};
use super::hstore::Hstore;
use super::interval::IntervalForm;
use super::modes::{Modes, TimePrecision, UnknownTypes};
use super::number::Number;
use super::structured::{self, Structured};
use super::text::{Boolean, Plain, Sent};
use super::time::{DateForm, TimeForm, TimestampForm, ZonedTime, ZonedTimestamp};
use super::uuid::Uuid;
use super::vector::{Dense, Sparse};
use super::{PgKind, PgType};

/// Oids of `pg_type.dat` that are needed by name.
mod oid {
    pub(super) const BYTEA: u32 = 17;
    pub(super) const NAME: u32 = 19;
    pub(super) const INT8: u32 = 20;
    pub(super) const INT4: u32 = 23;
    pub(super) const XML: u32 = 142;
    pub(super) const POINT: u32 = 600;
    pub(super) const BOX: u32 = 603;
    pub(super) const MONEY: u32 = 790;
    pub(super) const DATE: u32 = 1082;
    pub(super) const INTERVAL: u32 = 1186;
    pub(super) const BIT: u32 = 1560;
    pub(super) const VARBIT: u32 = 1562;
    pub(super) const UUID: u32 = 2950;
    pub(super) const TSVECTOR: u32 = 3614;
}

/// The mapping of a type; `None` if its columns are left out.
pub(super) fn form(ty: &PgType, typmod: i32, modes: &Modes) -> Option<Arc<dyn Form>> {
    match &ty.kind {
        PgKind::Domain { base, typmod } => form(root(base), *typmod, modes),
        PgKind::Array(element) => array(element, typmod, modes),
        _ => known(ty, typmod, modes).or_else(|| unknown(modes)),
    }
}

/// The type below all domains.
fn root(ty: &PgType) -> &PgType {
    match &ty.kind {
        PgKind::Domain { base, .. } => root(base),
        _ => ty,
    }
}

/// A type that Debezium has no mapping for.
fn unknown(modes: &Modes) -> Option<Arc<dyn Form>> {
    match modes.unknown {
        UnknownTypes::Drop => None,
        UnknownTypes::Text => {
            Some(Arc::new(Plain::Text { defaults: false, sent: Sent::Otherwise }))
        }
        UnknownTypes::Opaque => Some(Arc::new(Octets { mode: modes.binary, source: Source::Text })),
    }
}

/// The mapping of a type that is no array and no domain.
fn known(ty: &PgType, typmod: i32, modes: &Modes) -> Option<Arc<dyn Form>> {
    match &ty.kind {
        PgKind::Enum(labels) => Some(Arc::new(Plain::of_labels(labels))),
        PgKind::Base => builtin(ty.oid, typmod, modes).or_else(|| extension(&ty.name, modes)),
        PgKind::Range => builtin(ty.oid, typmod, modes),
        _ => None,
    }
}

/// How a type of times is shown as a struct.
fn structured(oid: u32, typmod: i32) -> Option<Arc<dyn Form>> {
    let shape = match oid {
        oid::DATE => structured::Shape::Date,
        1083 => structured::Shape::Time,
        1114 => structured::Shape::Timestamp,
        1184 => structured::Shape::ZonedTimestamp,
        oid::INTERVAL => structured::Shape::Duration,
        1266 => structured::Shape::ZonedTime,
        _ => return None,
    };
    Some(Arc::new(Structured::new(shape, typmod)))
}

fn builtin(oid: u32, typmod: i32, modes: &Modes) -> Option<Arc<dyn Form>> {
    if modes.time == TimePrecision::Structured
        && let Some(form) = structured(oid, typmod)
    {
        return Some(form);
    }
    let text = |defaults, sent| Some(Arc::new(Plain::Text { defaults, sent }) as Arc<dyn Form>);
    let named =
        |name, zero, sent| Some(Arc::new(Plain::Named { name, zero, sent }) as Arc<dyn Form>);
    let shape = |shape| Some(Arc::new(ShapeForm::new(shape)) as Arc<dyn Form>);
    let number = |number: Number| Some(Arc::new(number) as Arc<dyn Form>);
    match oid {
        16 => Some(Arc::new(Boolean)),
        oid::BYTEA => Some(Arc::new(Octets { mode: modes.binary, source: Source::Hex })),
        21 => number(Number::Int16),
        oid::INT4 => number(Number::Int32),
        oid::INT8 => number(Number::Int64),
        26 => number(Number::Oid),
        700 => number(Number::Float32),
        701 => number(Number::Float64),
        1700 => Some(numeric(typmod, modes.decimal)),
        oid::MONEY => Some(Arc::new(Money {
            mode: modes.decimal,
            fraction_digits: modes.money_fraction_digits,
        })),
        // text, bpchar, varchar
        25 | 1042 | 1043 => text(true, Sent::AsText),
        oid::NAME => text(false, Sent::AsText),
        // "char", cidr, macaddr8, macaddr, inet, and the ranges of int4, numeric, timestamp,
        // timestamptz, date and int8
        18 | 650 | 774 | 829 | 869 | 3904 | 3906 | 3908 | 3910 | 3912 | 3926 => {
            text(false, Sent::Otherwise)
        }
        114 => named("io.debezium.data.Json", Some("{}"), Sent::AsText),
        3802 => named("io.debezium.data.Json", Some("{}"), Sent::Versioned),
        oid::XML => named("io.debezium.data.Xml", Some(""), Sent::Otherwise),
        oid::UUID => Some(Arc::new(Uuid)),
        oid::TSVECTOR => named("io.debezium.data.Tsvector", None, Sent::Otherwise),
        oid::POINT => shape(Shape::Point),
        601 => shape(Shape::Segment),
        602 => shape(Shape::Path),
        oid::BOX => shape(Shape::Box),
        604 => shape(Shape::Polygon),
        628 => shape(Shape::Line),
        718 => shape(Shape::Circle),
        oid::DATE => Some(Arc::new(DateForm::new(modes.time))),
        1083 => Some(Arc::new(TimeForm::new(typmod, modes.time))),
        1114 => Some(Arc::new(TimestampForm::new(typmod, modes.time))),
        1184 => Some(Arc::new(ZonedTimestamp::new(typmod))),
        oid::INTERVAL => Some(Arc::new(IntervalForm(modes.interval))),
        1266 => Some(Arc::new(ZonedTime)),
        oid::BIT => Some(Arc::new(Bits::new(typmod))),
        // Without a length it may have any.
        oid::VARBIT => Some(Arc::new(Bits::new(if typmod < 0 { i32::MAX } else { typmod }))),
        _ => None,
    }
}

fn extension(name: &str, modes: &Modes) -> Option<Arc<dyn Form>> {
    Some(match name {
        "citext" => Arc::new(Plain::Text { defaults: false, sent: Sent::AsText }),
        "isbn" => Arc::new(Plain::Text { defaults: false, sent: Sent::Otherwise }),
        // Before version 13 it can't be sent.
        "ltree" => {
            let (name, sent) = ("io.debezium.data.Ltree", Sent::Otherwise);
            Arc::new(Plain::Named { name, zero: None, sent })
        }
        "hstore" => Arc::new(Hstore(modes.hstore)),
        "geometry" => Arc::new(ShapeForm::new(Shape::Geometry)),
        "geography" => Arc::new(ShapeForm::new(Shape::Geography)),
        "vector" => Arc::new(Dense::Double),
        "halfvec" => Arc::new(Dense::Single),
        "sparsevec" => Arc::new(Sparse::new()),
        _ => return None,
    })
}

/// The mapping of an array. Arrays of some types that have a mapping are none to Debezium; with
/// [`UnknownTypes::Text`] they are arrays here.
fn array(element: &PgType, typmod: i32, modes: &Modes) -> Option<Arc<dyn Form>> {
    let ours = modes.unknown == UnknownTypes::Text;
    let (form, optional) = match &element.kind {
        PgKind::Domain { .. } if ours => (form(element, typmod, modes)?, true),
        PgKind::Domain { .. } => (unknown(modes)?, false),
        // A row of its own, which the server does not have.
        PgKind::Array(_) => return None,
        _ => match (known(element, typmod, modes), arrays_of(element)) {
            (Some(_), Arrays::Dropped) if !ours => return None,
            (Some(form), arrays) => (form, arrays != Arrays::Required),
            (None, _) => (unknown(modes)?, ours),
        },
    };
    let delimiter = if element.oid == oid::BOX { b';' } else { b',' };
    Some(Arc::new(Array::new(form, optional, delimiter, unavailable(element, modes))))
}

/// What Debezium makes of arrays of a type that it has a mapping for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Arrays {
    /// Elements may be null.
    Optional,
    /// The schema says that elements are never null, though they may be: it is so for all arrays that
    /// are not listed in `PostgresValueConverter`.
    Required,
    /// They are left out, whatever `include.unknown.datatypes` says. That of `bit` is left out here
    /// because its schema is no array in Debezium, which no value fits.
    Dropped,
}

fn arrays_of(element: &PgType) -> Arrays {
    match (&element.kind, element.oid) {
        (PgKind::Enum(_), _) | (_, oid::TSVECTOR) => Arrays::Required,
        (
            _,
            oid::NAME | oid::XML | oid::POINT | oid::MONEY | oid::INTERVAL | oid::BIT | oid::VARBIT,
        ) => Arrays::Dropped,
        // lseg, path, box, polygon, line and circle, whose own schemas say what they take
        (_, 601..=604 | 628 | 718) => Arrays::Required,
        _ if matches!(&*element.name, "isbn" | "vector" | "halfvec" | "sparsevec") => {
            Arrays::Required
        }
        _ => Arrays::Optional,
    }
}

/// How an array that is not known is shown. Debezium lists types; here all arrays of texts and bytes
/// are as those that it lists.
fn unavailable(element: &PgType, modes: &Modes) -> Unavailable {
    match element.oid {
        oid::DATE if modes.time == TimePrecision::Structured => Unavailable::Element,
        oid::INT4 | oid::DATE => Unavailable::Int32,
        oid::INT8 => Unavailable::Int64,
        oid::UUID => Unavailable::Uuid,
        _ => Unavailable::Element,
    }
}
