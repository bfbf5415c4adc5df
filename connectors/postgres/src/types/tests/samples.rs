//! The mapping against what Debezium 3.7 showed of one table on PostgreSQL 15.

use super::*;

/// Type, type modifier, the server's text, the sample's schema, and its value.
type Row = (PgType, i32, &'static str, &'static str, Value);

/// The columns of the first sample whose values are no structs, in the sample's order.
fn samples() -> Vec<Row> {
    let time = text("2024-01-01T00:00:00.000000Z");
    vec![
        (base(21, "int2"), -1, "-32768", "INT16?", Value::Int16(-32_768)),
        (base(23, "int4"), -1, "2147483647", "INT32?", Value::Int32(i32::MAX)),
        (base(20, "int8"), -1, "9223372036854775807", "INT64?", Value::Int64(i64::MAX)),
        (
            base(1700, "numeric"),
            numeric(10, 2),
            "99999999.99",
            "BYTES? org.apache.kafka.connect.data.Decimal v1 scale=2 connect.decimal.precision=10",
            bytes(&[0x02, 0x54, 0x0b, 0xe3, 0xff]),
        ),
        (
            base(1700, "numeric"),
            numeric(38, 0),
            "12345678901234567890123456789012345678",
            "BYTES? org.apache.kafka.connect.data.Decimal v1 scale=0 connect.decimal.precision=38",
            bytes(b"\x09\x49\xb0\xf6\xf0\x02\x33\x13\xc4\x49\x90\x50\xde\x38\xf3\x4e"),
        ),
        (
            base(790, "money"),
            -1,
            "$12.34",
            "BYTES? org.apache.kafka.connect.data.Decimal v1 scale=2",
            bytes(&[0x04, 0xd2]),
        ),
        (base(700, "float4"), -1, "1.5", "FLOAT32?", Value::Float32(1.5)),
        (
            base(701, "float8"),
            -1,
            "2.718281828459045",
            "FLOAT64?",
            Value::Float64(std::f64::consts::E),
        ),
        (base(16, "bool"), -1, "t", "BOOLEAN?", Value::Boolean(true)),
        (base(25, "text"), -1, "héllo \"w\"", "STRING?", text("héllo \"w\"")),
        (base(1043, "varchar"), 24, "vc", "STRING?", text("vc")),
        (base(1042, "bpchar"), 9, "ab   ", "STRING?", text("ab   ")),
        (base(17, "bytea"), -1, r"\x00ff10", "BYTES?", bytes(&[0, 0xff, 0x10])),
        (
            base(1082, "date"),
            -1,
            "2024-02-29",
            "INT32? io.debezium.time.Date v1",
            Value::Int32(19_782),
        ),
        (
            base(1083, "time"),
            -1,
            "23:59:59.123456",
            "INT64? io.debezium.time.MicroTime v1",
            Value::Int64(86_399_123_456),
        ),
        (
            base(1083, "time"),
            3,
            "01:02:03.456",
            "INT32? io.debezium.time.Time v1",
            Value::Int32(3_723_456),
        ),
        (
            base(1266, "timetz"),
            -1,
            "04:05:06.789+02",
            "STRING? io.debezium.time.ZonedTime v1",
            text("02:05:06.789Z"),
        ),
        (
            base(1114, "timestamp"),
            -1,
            "2024-02-29 12:34:56.123456",
            "INT64? io.debezium.time.MicroTimestamp v1",
            Value::Int64(1_709_210_096_123_456),
        ),
        (
            base(1114, "timestamp"),
            3,
            "2024-02-29 12:34:56.123",
            "INT64? io.debezium.time.Timestamp v1",
            Value::Int64(1_709_210_096_123),
        ),
        (
            base(1184, "timestamptz"),
            -1,
            "2024-02-29 10:34:56.123456+00",
            "STRING? io.debezium.time.ZonedTimestamp v1",
            text("2024-02-29T10:34:56.123456Z"),
        ),
        (
            base(1186, "interval"),
            -1,
            "1 year 2 mons 3 days 04:05:06.789",
            "INT64? io.debezium.time.MicroDuration v1",
            Value::Int64(37_091_106_789_000),
        ),
        (
            base(2950, "uuid"),
            -1,
            "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
            "STRING? io.debezium.data.Uuid v1",
            text("a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"),
        ),
        (
            base(114, "json"),
            -1,
            r#"{"a": 1, "b":[1,2]}"#,
            "STRING? io.debezium.data.Json v1",
            text(r#"{"a": 1, "b":[1,2]}"#),
        ),
        (
            base(3802, "jsonb"),
            -1,
            r#"{"a": 1.50, "b": 2}"#,
            "STRING? io.debezium.data.Json v1",
            text(r#"{"a": 1.50, "b": 2}"#),
        ),
        (base(142, "xml"), -1, "<a>1</a>", "STRING? io.debezium.data.Xml v1", text("<a>1</a>")),
        (
            array(base(23, "int4")),
            -1,
            "{1,2,NULL}",
            "ARRAY<INT32?>?",
            Value::Array(vec![Value::Int32(1), Value::Int32(2), Value::Null]),
        ),
        (
            array(base(25, "text")),
            -1,
            "{x,\"y z\",NULL}",
            "ARRAY<STRING?>?",
            Value::Array(vec![text("x"), text("y z"), Value::Null]),
        ),
        (
            array(base(1700, "numeric")),
            numeric(5, 2),
            "{1.10,2.25}",
            "ARRAY<BYTES? org.apache.kafka.connect.data.Decimal v1 scale=2 connect.decimal.precision=5>?",
            Value::Array(vec![bytes(&[0x6e]), bytes(&[0x00, 0xe1])]),
        ),
        (
            array(base(1184, "timestamptz")),
            -1,
            "{\"2024-01-01 00:00:00+00\"}",
            "ARRAY<STRING? io.debezium.time.ZonedTimestamp v1>?",
            Value::Array(vec![time]),
        ),
        (
            array(base(23, "int4")),
            -1,
            "{{1,2},{3,4}}",
            "ARRAY<INT32?>?",
            Value::Array(vec![Value::Null, Value::Null]),
        ),
        (
            mood(),
            -1,
            "happy",
            "STRING? io.debezium.data.Enum v1 allowed=sad,ok,happy",
            text("happy"),
        ),
        (
            array(mood()),
            -1,
            "{sad,ok}",
            "ARRAY<STRING io.debezium.data.Enum v1 allowed=sad,ok,happy>?",
            Value::Array(vec![text("sad"), text("ok")]),
        ),
        (base(869, "inet"), -1, "192.168.1.10/24", "STRING?", text("192.168.1.10/24")),
        (base(650, "cidr"), -1, "10.0.0.0/8", "STRING?", text("10.0.0.0/8")),
        (base(829, "macaddr"), -1, "08:00:2b:01:02:03", "STRING?", text("08:00:2b:01:02:03")),
        (
            base(16_400, "hstore"),
            -1,
            "\"k1\"=>\"v1\", \"k2\"=>NULL",
            "STRING? io.debezium.data.Json v1",
            text(r#"{"k1":"v1","k2":null}"#),
        ),
        (range(3904, "int4range"), -1, "[1,10)", "STRING?", text("[1,10)")),
        (
            range(3910, "tstzrange"),
            -1,
            "[\"2024-01-01 00:00:00+00\",)",
            "STRING?",
            text("[\"2024-01-01 00:00:00+00\",)"),
        ),
        (base(1560, "bit"), 1, "1", "BOOLEAN?", Value::Boolean(true)),
        (base(1560, "bit"), 3, "101", "BYTES? io.debezium.data.Bits v1 length=3", bytes(&[5])),
        (
            base(1562, "varbit"),
            8,
            "1011",
            "BYTES? io.debezium.data.Bits v1 length=8",
            bytes(&[0x0b]),
        ),
        (domain(base(23, "int4"), -1), -1, "5", "INT32?", Value::Int32(5)),
        (base(26, "oid"), -1, "4294967295", "INT64?", Value::Int64(4_294_967_295)),
    ]
}

#[test]
fn the_first_sample() {
    for (ty, typmod, shown_as, schema, value) in samples() {
        let found = codec(&ty, typmod, &debezium()).unwrap().schema(true, None);
        assert_eq!(shown(&found), schema, "{}", ty.name);
        assert_eq!(decode(&ty, typmod, &debezium(), shown_as), value, "{}", ty.name);
    }
}

#[test]
fn the_first_samples_structs() {
    for (ty, shown_as, schema, doc, values) in [
        (base(1700, "numeric"), "123.456",
            "STRUCT<scale: INT32, value: BYTES>? io.debezium.data.VariableScaleDecimal v1",
            "Variable scaled decimal",
            vec![Value::Int32(3), bytes(&[0x01, 0xe2, 0x40])]),
        (base(600, "point"), "(1.5,2.5)",
            "STRUCT<x: FLOAT64, y: FLOAT64, wkb: BYTES?, srid: INT32?>? \
             io.debezium.data.geometry.Point v1",
            "Geometry (POINT)",
            vec![Value::Float64(1.5), Value::Float64(2.5),
                bytes(b"\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\xf8\x3f\x00\x00\x00\x00\x00\x00\x04\x40"),
                Value::Null]),
    ] {
        let found = codec(&ty, -1, &debezium()).unwrap().schema(true, None);
        assert_eq!((shown(&found).as_str(), found.doc.as_deref()), (schema, Some(doc)));
        let Value::Struct(fields) = decode(&ty, -1, &debezium(), shown_as) else { panic!() };
        assert_eq!(fields.values(), values);
    }
}

#[test]
fn the_samples_of_special_values() {
    let types = [
        base(1700, "numeric"),
        base(1082, "date"),
        base(1114, "timestamp"),
        base(1184, "timestamptz"),
        base(1186, "interval"),
        base(1083, "time"),
    ];
    for (at, shown_as, adaptive, connect) in [
        (0, "NaN", Value::Null, text("NAN")),
        (1, "infinity", Value::Int32(2_146_033_979), Value::Int32(2_146_033_979)),
        (2, "infinity", Value::Int64(i64::MAX), Value::Int64(9_223_372_036_825_200_000)),
        (3, "-infinity", text("-infinity"), text("-infinity")),
        (
            4,
            "-1 mons +2 days -03:00:00",
            Value::Int64(-2_467_800_000_000),
            text("P0Y-1M2DT-3H0M0S"),
        ),
        (1, "0001-01-01", Value::Int32(-719_162), Value::Int32(-719_162)),
        (2, "1969-12-31 23:59:59.999999", Value::Int64(-1), Value::Int64(-1)),
        (5, "24:00:00", Value::Int64(86_400_000_000), Value::Int32(86_400_000)),
    ] {
        assert_eq!(decode(&types[at], -1, &debezium(), shown_as), adaptive, "{shown_as}");
        assert_eq!(decode(&types[at], -1, &others(), shown_as), connect, "{shown_as}");
    }
}

#[test]
fn the_second_sample() {
    for (ty, typmod, shown_as, value) in [
        (base(1700, "numeric"), -1, "123.456", text("123.456")),
        (base(1700, "numeric"), numeric(10, 2), "99999999.99", text("99999999.99")),
        (base(790, "money"), -1, "$12.34", text("12.34")),
        (base(17, "bytea"), -1, r"\x00ff10", text("00ff10")),
        (base(1083, "time"), -1, "23:59:59.123456", Value::Int32(86_399_123)),
        (base(1083, "time"), 3, "01:02:03.456", Value::Int32(3_723_456)),
        (
            base(1114, "timestamp"),
            -1,
            "2024-02-29 12:34:56.123456",
            Value::Int64(1_709_210_096_123),
        ),
        (
            base(1186, "interval"),
            -1,
            "1 year 2 mons 3 days 04:05:06.789",
            text("P1Y2M3DT4H5M6.789S"),
        ),
        (
            array(base(1700, "numeric")),
            numeric(5, 2),
            "{1.10,2.25}",
            Value::Array(vec![text("1.10"), text("2.25")]),
        ),
        (
            base(16_400, "hstore"),
            -1,
            "\"k1\"=>\"v1\", \"k2\"=>NULL",
            Value::Map(vec![(text("k1"), text("v1")), (text("k2"), Value::Null)]),
        ),
    ] {
        assert_eq!(decode(&ty, typmod, &others(), shown_as), value, "{}", ty.name);
    }
}
