//! A column's type as Debezium describes it: name, length and scale.
//!
//! Debezium takes lengths and scales from pgjdbc (`TypeInfoCache`), which knows the server's types by
//! their oids; a type without a length has the largest number. Pure.

use towpath_sdk::schema::Schema;

use crate::table::ColumnShape;
use crate::types::{PgKind, PgType};

/// What pgjdbc calls the length of a type that has none.
const UNKNOWN: i32 = i32::MAX;

/// Length and scale of a column's type.
#[must_use]
pub(crate) fn size(kind: &PgType, typmod: i32) -> (i32, i32) {
    match &kind.kind {
        PgKind::Array(element) => size(element, typmod),
        PgKind::Domain { base, typmod } => size(base, *typmod),
        _ => builtin(kind.oid, typmod),
    }
}

fn builtin(oid: u32, typmod: i32) -> (i32, i32) {
    // What a time has behind the whole seconds, and the length of that.
    let precision = if typmod < 0 { 6 } else { typmod };
    let fraction = match typmod {
        ..0 => 7,
        0 => 0,
        1 => 3,
        n => n + 1,
    };
    match oid {
        // bool, "char"
        16 | 18 => (1, 0),
        21 => (5, 0),
        // int4, oid
        23 | 26 => (10, 0),
        20 => (19, 0),
        700 => (8, 8),
        701 => (17, 17),
        // numeric
        1700 if typmod < 4 => (131_089, 0),
        1700 => ((typmod - 4) >> 16, (typmod - 4) & 0xffff),
        // bpchar, varchar
        1042 | 1043 if typmod >= 4 => (typmod - 4, 0),
        1082 => (13, 0),
        1083 => (8 + fraction, precision),
        1266 => (14 + fraction, precision),
        1114 => (22 + fraction, precision),
        1184 => (28 + fraction, precision),
        1186 if typmod < 0 => (49, 6),
        1186 => (49, typmod & 0xffff),
        // bit, varbit
        1560 | 1562 if typmod >= 0 => (typmod, 0),
        _ => (UNKNOWN, 0),
    }
}

/// A column's schema with the parameters that describe the column.
#[must_use]
pub(crate) fn describe(schema: Schema, column: &ColumnShape) -> Schema {
    let (length, scale) = size(&column.kind, column.typmod);
    schema
        .parameter("__debezium.source.column.type", column.kind.name.to_uppercase())
        .parameter("__debezium.source.column.length", length.to_string())
        .parameter("__debezium.source.column.scale", scale.to_string())
        .parameter("__debezium.source.column.name", &*column.name)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn sizes_are_pgjdbcs() {
        let base = |oid| PgType { oid, name: "x".into(), kind: PgKind::Base };
        let numeric = (8 << 16 | 4) + 4;
        for (oid, typmod, expect) in [
            (23, -1, (10, 0)),
            (700, -1, (8, 8)),
            (1700, numeric, (8, 4)),
            (1700, -1, (131_089, 0)),
            (1043, 132, (128, 0)),
            (25, -1, (i32::MAX, 0)),
            (1114, -1, (29, 6)),
            (1184, 3, (32, 3)),
            (1083, 0, (8, 0)),
            (1560, 5, (5, 0)),
        ] {
            assert_eq!(size(&base(oid), typmod), expect, "{oid} {typmod}");
        }
        let kind = PgKind::Domain { base: Arc::new(base(1043)), typmod: 14 };
        assert_eq!(size(&PgType { oid: 99_999, name: "d".into(), kind }, -1), (10, 0));
    }
}
