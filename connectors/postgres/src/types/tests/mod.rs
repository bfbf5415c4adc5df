//! The whole mapping: which type becomes what, and that no input makes it panic.

mod samples;

use proptest::prelude::*;
use towpath_sdk::Text;
use towpath_sdk::schema::Kind;
use towpath_sdk::value::Struct;

use super::*;

fn base(oid: u32, name: &str) -> PgType {
    PgType { oid, name: name.into(), kind: PgKind::Base }
}

fn array(element: PgType) -> PgType {
    let name = format!("_{}", element.name).into();
    PgType { oid: 0, name, kind: PgKind::Array(Arc::new(element)) }
}

fn mood() -> PgType {
    let labels = ["sad", "ok", "happy"].map(Arc::from).to_vec();
    PgType { oid: 16_500, name: "mood".into(), kind: PgKind::Enum(labels) }
}

fn domain(base: PgType, typmod: i32) -> PgType {
    let kind = PgKind::Domain { base: Arc::new(base), typmod };
    PgType { oid: 16_600, name: "dom".into(), kind }
}

fn range(oid: u32, name: &str) -> PgType {
    PgType { oid, name: name.into(), kind: PgKind::Range }
}

fn numeric(precision: i32, scale: i32) -> i32 {
    (precision << 16 | scale) + 4
}

fn debezium() -> Modes {
    Modes { money_fraction_digits: 2, ..Modes::default() }
}

/// The modes of the second sample.
fn others() -> Modes {
    Modes {
        decimal: DecimalMode::String,
        interval: IntervalMode::String,
        hstore: HstoreMode::Map,
        time: TimePrecision::Connect,
        binary: BinaryMode::Hex,
        unknown: UnknownTypes::Opaque,
        ..debezium()
    }
}

/// A schema as Connect's JSON converter shows it, in short.
fn shown(schema: &Schema) -> String {
    let kind = match &schema.kind {
        Kind::Array(items) => format!("ARRAY<{}>", shown(items)),
        Kind::Map(keys, values) => format!("MAP<{}, {}>", shown(keys), shown(values)),
        Kind::Struct(fields) => {
            let fields: Vec<_> =
                fields.iter().map(|f| format!("{}: {}", f.name, shown(&f.schema))).collect();
            format!("STRUCT<{}>", fields.join(", "))
        }
        kind => kind.connect_name().to_owned(),
    };
    let name = schema.name.as_deref().map_or(String::new(), |name| format!(" {name}"));
    let version = schema.version.map_or(String::new(), |version| format!(" v{version}"));
    let parameters: String =
        schema.parameters.iter().map(|(key, value)| format!(" {key}={value}")).collect();
    format!("{kind}{}{name}{version}{parameters}", if schema.optional { "?" } else { "" })
}

fn decode(ty: &PgType, typmod: i32, modes: &Modes, text: &str) -> Value {
    let codec = codec(ty, typmod, modes).unwrap();
    let schema = Arc::new(codec.schema(true, None));
    codec.bind(&schema).text(&Bytes::copy_from_slice(text.as_bytes())).unwrap()
}

fn text(text: &'static str) -> Value {
    Value::String(Text::from_static(text))
}

fn bytes(bytes: &'static [u8]) -> Value {
    Value::Bytes(Bytes::from_static(bytes))
}

#[test]
fn structs_carry_the_schema_that_they_are_bound_to() {
    let types = [
        (base(1700, "numeric"), "1.5"),
        (base(600, "point"), "(1,2)"),
        (base(718, "circle"), "<(1,2),3>"),
        (base(16_401, "sparsevec"), "{1:2}/3"),
    ];
    for (ty, shown_as) in types {
        let codec = codec(&ty, -1, &debezium()).unwrap();
        let schema = Arc::new(codec.schema(true, None).parameter("added", "later"));
        let value = codec.bind(&schema).text(&Bytes::from_static(shown_as.as_bytes())).unwrap();
        let Value::Struct(fields) = value else { panic!("{}", ty.name) };
        assert!(Arc::ptr_eq(fields.schema(), &schema), "{}", ty.name);
    }
    let codec = codec(&array(base(1700, "numeric")), -1, &debezium()).unwrap();
    let schema = Arc::new(codec.schema(false, None));
    let Kind::Array(items) = &schema.kind else { panic!() };
    let value = codec.bind(&schema).text(&Bytes::from_static(b"{1.5}")).unwrap();
    let Value::Array(values) = value else { panic!() };
    let [Value::Struct(fields)] = &values[..] else { panic!() };
    assert!(Arc::ptr_eq(fields.schema(), items) && items.optional);
}

#[test]
fn types_without_a_mapping_by_mode() {
    let composite = PgType { oid: 16_700, name: "pair".into(), kind: PgKind::Composite };
    let multirange = range(4451, "int4multirange");
    let modes = |unknown| Modes { unknown, ..debezium() };
    let schema = |ty: &PgType, unknown| {
        codec(ty, -1, &modes(unknown)).map(|codec| shown(&codec.schema(false, None)))
    };
    for (ty, drop, opaque, ours) in [
        (composite.clone(), None, Some("BYTES"), Some("STRING")),
        (multirange, None, Some("BYTES"), Some("STRING")),
        (base(3220, "pg_lsn"), None, Some("BYTES"), Some("STRING")),
        (array(composite), None, Some("ARRAY<BYTES>"), Some("ARRAY<STRING?>")),
        (
            array(base(790, "money")),
            None,
            None,
            Some("ARRAY<BYTES? org.apache.kafka.connect.data.Decimal v1 scale=2>"),
        ),
        (array(base(19, "name")), None, None, Some("ARRAY<STRING?>")),
        (array(domain(base(23, "int4"), -1)), None, Some("ARRAY<BYTES>"), Some("ARRAY<INT32?>")),
        (
            array(base(3614, "tsvector")),
            Some("ARRAY<STRING io.debezium.data.Tsvector v1>"),
            Some("ARRAY<STRING io.debezium.data.Tsvector v1>"),
            Some("ARRAY<STRING io.debezium.data.Tsvector v1>"),
        ),
    ] {
        assert_eq!(schema(&ty, UnknownTypes::Drop).as_deref(), drop, "{}", ty.name);
        assert_eq!(schema(&ty, UnknownTypes::Opaque).as_deref(), opaque, "{}", ty.name);
        assert_eq!(schema(&ty, UnknownTypes::Text).as_deref(), ours, "{}", ty.name);
    }
    let value = decode(&base(3220, "pg_lsn"), -1, &modes(UnknownTypes::Opaque), "0/16B3748");
    assert_eq!(value, bytes(b"0/16B3748"));
}

#[test]
fn types_of_extensions_by_name() {
    for (name, schema) in [
        ("citext", "STRING"),
        ("isbn", "STRING"),
        ("ltree", "STRING io.debezium.data.Ltree v1"),
        ("vector", "ARRAY<FLOAT64> io.debezium.data.DoubleVector v1"),
        ("halfvec", "ARRAY<FLOAT32> io.debezium.data.FloatVector v1"),
        (
            "sparsevec",
            "STRUCT<dimensions: INT16, vector: MAP<INT16, FLOAT64>> \
            io.debezium.data.SparseDoubleVector v1",
        ),
        ("geography", "STRUCT<wkb: BYTES, srid: INT32?> io.debezium.data.geometry.Geography v1"),
        (
            "geometry",
            "STRUCT<wkb: BYTES, srid: INT32?, extensions: MAP<STRING, STRING>?>? \
            io.debezium.data.geometry.Geometry v2",
        ),
    ] {
        let codec = codec(&base(16_402, name), -1, &debezium()).unwrap();
        assert_eq!(shown(&codec.schema(false, None)), schema);
    }
    let map = codec(&base(16_400, "hstore"), -1, &others()).unwrap();
    assert_eq!(shown(&map.schema(false, None)), "MAP<STRING, STRING?>");
    let boxes = decode(&array(base(603, "box")), -1, &debezium(), "{(1,1),(0,0);(2,2),(1,1)}");
    assert!(matches!(boxes, Value::Array(values) if values.len() == 2));
}

#[test]
fn domains_take_their_own_modifier_only() {
    let inner = domain(base(1700, "numeric"), numeric(10, 2));
    let schema = |ty: &PgType| shown(&codec(ty, -1, &debezium()).unwrap().schema(false, None));
    let decimal =
        "BYTES org.apache.kafka.connect.data.Decimal v1 scale=2 connect.decimal.precision=10";
    assert_eq!(schema(&inner), decimal);
    assert!(schema(&domain(inner, -1)).contains("VariableScaleDecimal"));
    assert_eq!(schema(&domain(mood(), -1)), "STRING io.debezium.data.Enum v1 allowed=sad,ok,happy");
    assert_eq!(schema(&domain(array(base(25, "text")), -1)), "ARRAY<STRING?>");
}

#[test]
fn what_is_not_known_has_the_columns_form() {
    let placeholder = "__debezium_unavailable_value";
    let unavailable = |ty: PgType, modes: &Modes| codec(&ty, -1, modes).unwrap().unavailable();
    let modes = debezium();
    for ty in [base(25, "text"), base(3802, "jsonb"), base(142, "xml"), mood(), base(869, "inet")] {
        assert_eq!(unavailable(ty, &modes), text(placeholder));
    }
    assert_eq!(unavailable(base(17, "bytea"), &modes), bytes(placeholder.as_bytes()));
    assert_eq!(unavailable(base(17, "bytea"), &others()), text(placeholder));
    assert_eq!(unavailable(base(1700, "numeric"), &modes), Value::Unchanged);
    assert_eq!(unavailable(base(23, "int4"), &modes), Value::Unchanged);
    assert_eq!(unavailable(array(base(701, "float8")), &modes), Value::Unchanged);
    for ty in [base(25, "text"), base(1043, "varchar"), base(114, "json")] {
        assert_eq!(unavailable(array(ty), &modes), Value::Array(vec![text(placeholder)]));
    }
    let uuid = text("b68a35a7-17ad-35b3-af2a-ae46edb4545a");
    assert_eq!(unavailable(array(base(2950, "uuid")), &modes), Value::Array(vec![uuid]));
    let numbers = placeholder.bytes().map(|byte| Value::Int32(byte.into())).collect();
    assert_eq!(unavailable(array(base(23, "int4")), &modes), Value::Array(numbers));
    let map = Value::Map(vec![(text(placeholder), text(placeholder))]);
    assert_eq!(unavailable(base(16_400, "hstore"), &others()), map);
    let custom = Modes { placeholder: Placeholder::parse("hex:4142").unwrap(), ..debezium() };
    assert_eq!(unavailable(base(25, "text"), &custom), text("AB"));
}

#[test]
fn defaults_are_literals_or_zero() {
    for (ty, typmod, expression, default) in [
        (base(23, "int4"), -1, "7", Some(Value::Int32(7))),
        (base(23, "int4"), -1, "'-7'::integer", Some(Value::Int32(-7))),
        (base(23, "int4"), -1, "nextval('s.seq'::regclass)", Some(Value::Int32(0))),
        (base(23, "int4"), -1, "(1 + 2)", None),
        (base(20, "int8"), -1, "'9223372036854775807'::bigint", Some(Value::Int64(i64::MAX))),
        (base(26, "oid"), -1, "1", None),
        (base(16, "bool"), -1, "true", Some(Value::Boolean(true))),
        (base(16, "bool"), -1, "s.f()", Some(Value::Boolean(false))),
        (base(25, "text"), -1, "'it''s'::text", Some(text("it's"))),
        (base(25, "text"), -1, "5", Some(text("5"))),
        (base(25, "text"), -1, "NULL::text", None),
        (base(25, "text"), -1, "CURRENT_USER", Some(text(""))),
        (base(25, "text"), -1, "upper('a'::text)", Some(text(""))),
        (base(869, "inet"), -1, "'::1'::inet", None),
        (base(1700, "numeric"), numeric(10, 2), "1.5", Some(bytes(&[0x00, 0x96]))),
        (base(1700, "numeric"), numeric(10, 2), "f()", Some(bytes(&[0]))),
        (base(1700, "numeric"), numeric(10, 2), "1.234", None),
        (base(1700, "numeric"), -1, "1.5", None),
        (base(701, "float8"), -1, "1.5", Some(Value::Float64(1.5))),
        (base(3802, "jsonb"), -1, "'{\"a\": 1}'::jsonb", Some(text("{\"a\": 1}"))),
        (base(3802, "jsonb"), -1, "jsonb_build_object()", Some(text("{}"))),
        (
            base(2950, "uuid"),
            -1,
            "gen_random_uuid()",
            Some(text("00000000-0000-0000-0000-000000000000")),
        ),
        (base(1082, "date"), -1, "'2024-02-29'::date", Some(Value::Int32(19_782))),
        (base(1082, "date"), -1, "CURRENT_DATE", Some(Value::Int32(0))),
        (base(1082, "date"), -1, "('now'::text)::date", None),
        (base(1114, "timestamp"), -1, "now()", Some(Value::Int64(0))),
        (base(1184, "timestamptz"), -1, "now()", Some(text("1970-01-01T00:00:00.000000Z"))),
        (
            base(1184, "timestamptz"),
            3,
            "'2024-01-01 00:00:00+00'::timestamp with time zone",
            Some(text("2024-01-01T00:00:00.000Z")),
        ),
        (base(1266, "timetz"), -1, "CURRENT_TIME", None),
        (base(1186, "interval"), -1, "'1 day'::interval", Some(Value::Int64(86_400_000_000))),
        (base(1560, "bit"), 1, "B'1'::\"bit\"", Some(Value::Boolean(true))),
        (base(1560, "bit"), 3, "B'101'::\"bit\"", Some(bytes(&[5]))),
        (mood(), -1, "'sad'::s.mood", Some(text("sad"))),
        (mood(), -1, "s.f()", None),
        (array(base(23, "int4")), -1, "'{}'::integer[]", None),
        (base(17, "bytea"), -1, "'\\x00'::bytea", None),
        (domain(base(23, "int4"), -1), -1, "5", None),
        (base(600, "point"), -1, "'(1,2)'::point", None),
    ] {
        let found = codec(&ty, typmod, &debezium()).unwrap().default(expression);
        assert_eq!(found, default, "{} {expression}", ty.name);
    }
    let strings = codec(&base(1700, "numeric"), numeric(10, 2), &others()).unwrap();
    assert_eq!(strings.default("1.5"), Some(text("1.50")));
    assert_eq!(strings.default("f()"), Some(text("0.00")));
    let schema = strings.schema(false, strings.default("1.5"));
    assert_eq!((schema.optional, schema.default), (false, Some(text("1.50"))));
}

/// All types that are mapped, each with modifiers of its own, in all modes.
fn all_codecs() -> Vec<Codec> {
    let builtin = [
        16, 17, 18, 19, 20, 21, 23, 25, 26, 114, 142, 600, 601, 602, 603, 604, 628, 650, 700, 701,
        718, 774, 790, 829, 869, 1042, 1043, 1082, 1083, 1114, 1184, 1186, 1266, 1560, 1562, 1700,
        2950, 3614, 3802, 3904, 4451,
    ];
    let mut types: Vec<_> = builtin.into_iter().map(|oid| base(oid, "builtin")).collect();
    let names =
        ["hstore", "citext", "ltree", "geometry", "geography", "vector", "halfvec", "sparsevec"];
    types.extend(names.map(|name| base(16_400, name)));
    types.push(mood());
    let arrays: Vec<_> = types.iter().cloned().map(array).collect();
    types.extend(arrays);
    let times = [
        TimePrecision::Adaptive,
        TimePrecision::Connect,
        TimePrecision::Isostring,
        TimePrecision::Nanoseconds,
    ];
    let binaries =
        [BinaryMode::Bytes, BinaryMode::Base64, BinaryMode::Base64UrlSafe, BinaryMode::Hex];
    let decimals =
        [DecimalMode::Precise, DecimalMode::Double, DecimalMode::String, DecimalMode::Precise];
    let mut codecs = Vec::new();
    for ((time, binary), decimal) in times.into_iter().zip(binaries).zip(decimals) {
        for (hstore, interval) in
            [(HstoreMode::Json, IntervalMode::Numeric), (HstoreMode::Map, IntervalMode::String)]
        {
            let unknown = UnknownTypes::Text;
            let modes = Modes { time, binary, decimal, hstore, interval, unknown, ..debezium() };
            for typmod in [-1, 1, 3, numeric(10, 2)] {
                codecs.extend(types.iter().filter_map(|ty| codec(ty, typmod, &modes)));
            }
        }
    }
    codecs
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_input_makes_a_codec_panic(
        any in prop::collection::vec(any::<u8>(), 0..40),
        alike in "[-+0-9a-fx:. ,;/{}()<>\\[\\]\"\\\\=NULLBCinity]{0,40}",
        stamp in "[0-9]{4,7}-[0-1][0-9]-[0-3][0-9]( [0-2][0-9]:[0-5][0-9]:[0-5][0-9](\\.[0-9]{1,6})?)?([+-][0-9]{2})?( BC)?",
        expression in "\\PC{0,20}",
    ) {
        for codec in all_codecs() {
            for text in [Bytes::from(any.clone()), Bytes::from(alike.clone()), Bytes::from(stamp.clone())] {
                if let Ok(Value::Struct(fields)) = codec.text(&text) {
                    prop_assert_eq!(Struct::schema(&fields).fields().len(), fields.values().len());
                }
            }
            drop(codec.default(&expression));
            drop(codec.default(&format!("'{alike}'::text")));
            drop(codec.unavailable());
        }
    }
}
