//! Values are the same whether they are read as text or in binary, for every type that is read in both
//! ways, in every mode.

use std::sync::Arc;

use bytes::Bytes;
use futures::future::BoxFuture;
use tokio_postgres::types::{FromSql, Type};
use tokio_postgres::{Client, SimpleQueryMessage};
use towpath_connector_postgres::types::{
    BinaryMode, Codec, DecimalMode, IntervalMode, Modes, PgKind, PgType, Slice, TimePrecision,
    codec,
};
use towpath_sdk::value::Value;

use crate::server::{Options, Server, Version};

/// Settings of the sessions that rows are read in.
const SETTINGS: &str = "set DateStyle = 'ISO'; set IntervalStyle = 'postgres'; set TimeZone = 'UTC'; \
     set bytea_output = 'hex'; set extra_float_digits = 1; set lc_monetary = 'C'";

const OWN_TYPES: &str = "
    create type mood as enum ('sad', 'ok', 'very happy');
    create domain price as numeric(12, 4);
    create domain label as varchar(20);
    create domain price_list as price[]";

/// Types that are read in both ways, and what selects values of them.
const BOTH: &[(&str, &str)] = &[
    ("bool", "values (true), (false), (null)"),
    ("int2", "values (-32768), (0), (32767)"),
    ("int4", "values (-2147483648), (-1), (0), (2147483647)"),
    ("int8", "values (-9223372036854775808), (-1), (9223372036854775807)"),
    ("oid", "values (0), (2147483648), (4294967295)"),
    (
        "float4",
        "select unnest(array['NaN', 'Infinity', '-Infinity', '-0', '1.5', '1e-45', '3.4028235e38'])",
    ),
    ("float4", "select random() * 10 ^ (n % 60 - 30) from generate_series(1, 300) n"),
    (
        "float8",
        "select unnest(array['NaN', 'Infinity', '-Infinity', '-0', '0.1', '5e-324', '1.7976931348623157e308'])",
    ),
    ("float8", "select (random() - 0.5) * 10 ^ (n % 600 - 300) from generate_series(1, 600) n"),
    (
        "text",
        r"select unnest(array['', 'a', E'tab\there\nand \\ there', 'NULL', 'héllo 🚲', repeat('x', 5000)])",
    ),
    ("varchar(9)", "select unnest(array['', 'nine char'])"),
    ("bpchar(5)", "select unnest(array['', 'ab', 'abcde'])"),
    ("name", "values ('pg_class'), ('')"),
    ("json", r#"select unnest(array['{"a": 1,  "a":[1,2]}', 'null', '"x"'])"#),
    ("jsonb", r#"select unnest(array['{"a": 1,  "b":[1,2.50]}', 'null', '"\\"'])"#),
    ("mood", "select unnest(enum_range(null::mood))"),
    ("label", "values (''), ('a label')"),
    ("uuid", "select md5(n::text)::uuid from generate_series(1, 50) n"),
    ("bytea", r"select unnest(array['\x', '\x00', '\xff00fe10'])"),
    ("bytea", "select decode(repeat(md5(n::text), n % 9), 'hex') from generate_series(1, 50) n"),
    ("bit(1)", "values (b'0'), (b'1')"),
    ("bit(3)", "select n::bit(3) from generate_series(0, 7) n"),
    ("bit(8)", "select n::bit(8) from generate_series(0, 255, 5) n"),
    ("bit(19)", "select (n * 523)::bit(19) from generate_series(0, 1000, 7) n"),
    ("varbit", "values (b''), (b'1'), (b'0000000000'), (b'10000000000000001')"),
    ("varbit(1)", "values (b''), (b'0'), (b'1')"),
    (
        "varbit(12)",
        "select substring((n * 37)::bit(12)::text, 1, n % 13)::varbit from generate_series(0, 200) n",
    ),
    (
        "date",
        "select unnest(array['2024-02-29', '0044-03-15 BC', '4713-01-01 BC', '5874897-12-31', 'infinity', '-infinity'])",
    ),
    ("date", "select '0001-01-01'::date + n * 997 from generate_series(-300, 3000) n"),
    ("time", "values ('00:00:00'), ('23:59:59.999999'), ('24:00:00'), ('12:34:56.5')"),
    ("time(3)", "values ('00:00:00.001'), ('23:59:59.999'), ('24:00:00')"),
    ("time(0)", "values ('12:34:56')"),
    (
        "timetz",
        "values ('04:05:06.789+02'), ('00:30:00+05:30'), ('23:00:00-03:00:30'), ('24:00:00+00'), ('24:00:00-01')",
    ),
    (
        "timestamp",
        "select unnest(array['2024-02-29 12:34:56.123456', '1969-12-31 23:59:59.999999', '0001-01-01 00:00:00 BC', '4713-01-02 00:00:00 BC', '294276-12-31 23:59:59.999999', 'infinity', '-infinity'])",
    ),
    (
        "timestamp",
        "select '1600-01-01'::timestamp + n * interval '91 days 07:11:13.123457' from generate_series(1, 3000) n",
    ),
    ("timestamp(3)", "select unnest(array['2024-02-29 12:34:56.123', 'infinity', '-infinity'])"),
    ("timestamp(0)", "select unnest(array['2024-02-29 12:34:56', 'infinity'])"),
    (
        "timestamptz",
        "select unnest(array['2024-02-29 12:34:56.123456+02', '9999-12-31 23:59:59.999999+00', '10000-01-01 00:00:00+00', '0044-03-15 00:00:00+00 BC', 'infinity', '-infinity'])",
    ),
    (
        "timestamptz",
        "select '1600-01-01'::timestamptz + n * interval '91 days 07:11:13.123457' from generate_series(1, 3000) n",
    ),
    ("timestamptz(3)", "select unnest(array['2024-02-29 12:34:56.12+00', 'infinity'])"),
    ("timestamptz(0)", "select unnest(array['2024-02-29 12:34:56+00'])"),
    (
        "interval",
        "select unnest(array['1 year 2 mons 3 days 04:05:06.789', '-1 mons +2 days -03:00:00', '0', '-00:00:00.5', '-2 years -3 days', '2562047788:00:54.775807', '-178000000 years', '14 months -13 days 00:00:00.000001'])",
    ),
    (
        "interval",
        "select make_interval(months => n * 7919 - 99, days => 50 - n, secs => n * 1234.567891 - 3000) from generate_series(-50, 200) n",
    ),
    (
        "money",
        "select unnest(array['12.34', '-1234.50', '-0.01', '0', '92233720368547758.07', '-92233720368547758.08'])",
    ),
    (
        "numeric",
        "select unnest(array['0', '0.00', '1', '-1', '10000', '100000000', '0.0001', '0.00001', '1.500', '123456789.123456789000', 'NaN'])",
    ),
    (
        "numeric",
        "select unnest(array['1e100', '-1e-100', '170141183460469231731687303715884105727', '170141183460469231731687303715884105728', '99999999999999999999999999999999999999.999', '1e1000'])",
    ),
    (
        "numeric",
        "select (random() - 0.5)::numeric * power(10::numeric, n % 50 - 20) from generate_series(1, 1000) n",
    ),
    ("numeric", "select round((random() * 1e9)::numeric, n % 12) from generate_series(1, 300) n"),
    (
        "numeric(12,2)",
        "select unnest(array['0', '0.01', '-0.01', '9999999999.99', '10000', '12340000', 'NaN'])",
    ),
    ("numeric(12,2)", "select (random() * 1e9 - 5e8) from generate_series(1, 500)"),
    (
        "numeric(50,20)",
        "select unnest(array['0', '123456789012345678901234567890.12345678901234567890', '0.00000000000000000001'])",
    ),
    ("numeric(5,0)", "values (0), (99999), (-10000)"),
    ("price", "values (1.5), (-0.0001), (99999999.9999)"),
    (
        "int4[]",
        "select unnest(array['{}', '{1,NULL,-3}', '{{1,2,3},{4,5,6}}', '[0:1]={7,8}', '{{{1}},{{2}}}'])",
    ),
    ("text[]", r#"select unnest(array['{}', '{a,"b c","NULL",NULL,"","\"q\\"}'])"#),
    ("numeric(10,2)[]", "values ('{1.5,NULL,-0.01,NaN}')"),
    ("numeric[]", "values ('{1.5,1e30,-0.01,100}')"),
    ("timestamptz[]", r#"values ('{"2024-02-29 12:34:56+00",infinity}')"#),
    ("date[]", "values ('{2024-02-29,infinity}')"),
    ("uuid[]", "values ('{a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11}')"),
    ("bool[]", "values ('{t,f,NULL}')"),
    ("jsonb[]", r#"values ('{"{\"a\": [1, 2]}",null}')"#),
    ("bytea[]", r#"values ('{"\\x00ff","\\x"}')"#),
    ("mood[]", r#"values ('{sad,"very happy"}')"#),
    ("price[]", "values ('{1.5,2}')"),
    ("price_list", "values ('{1.5,2}')"),
];

/// Those that are read as text alone.
const TEXT: &[&str] = &[
    "\"char\"",
    "xml",
    "inet",
    "cidr",
    "macaddr",
    "int4range",
    "tsvector",
    "point",
    "polygon",
    "pg_lsn",
    "inet[]",
    "int4multirange",
];

/// A value as it is sent.
struct Raw(Vec<u8>);

impl<'a> FromSql<'a> for Raw {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        Ok(Self(raw.to_vec()))
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}

fn type_of(client: &Client, oid: u32) -> BoxFuture<'_, PgType> {
    Box::pin(async move {
        let sql = "select typname::text, typtype::text, typelem, typbasetype, typtypmod,
                          typelem <> 0 and typlen = -1,
                          (select array_agg(enumlabel::text order by enumsortorder)
                             from pg_enum where enumtypid = t.oid)
                     from pg_type t where oid = $1";
        let row = client.query_one(sql, &[&oid]).await.unwrap();
        let labels: Option<Vec<String>> = row.get(6);
        let kind = match row.get::<_, &str>(1) {
            "e" => PgKind::Enum(labels.unwrap().into_iter().map(Into::into).collect()),
            "d" => PgKind::Domain {
                base: Arc::new(type_of(client, row.get(3)).await),
                typmod: row.get(4),
            },
            "r" | "m" => PgKind::Range,
            _ if row.get(5) => PgKind::Array(Arc::new(type_of(client, row.get(2)).await)),
            _ => PgKind::Base,
        };
        PgType { oid, name: row.get::<_, &str>(0).into(), kind }
    })
}

/// Each mode once beside Debezium's defaults.
fn modes() -> Vec<Modes> {
    let all = Modes {
        money_fraction_digits: 2,
        unknown: towpath_connector_postgres::types::UnknownTypes::Text,
        ..Modes::default()
    };
    let with = |change: &dyn Fn(&mut Modes)| {
        let mut modes = all.clone();
        change(&mut modes);
        modes
    };
    let mut list = vec![all.clone(), with(&|modes| modes.money_fraction_digits = 1)];
    list.extend(
        [DecimalMode::Double, DecimalMode::String].map(|decimal| with(&|m| m.decimal = decimal)),
    );
    list.push(with(&|modes| modes.interval = IntervalMode::String));
    for time in [
        TimePrecision::AdaptiveTimeMicroseconds,
        TimePrecision::Connect,
        TimePrecision::Isostring,
        TimePrecision::Microseconds,
        TimePrecision::Nanoseconds,
    ] {
        list.push(with(&|modes| modes.time = time));
    }
    for binary in [BinaryMode::Base64, BinaryMode::Base64UrlSafe, BinaryMode::Hex] {
        list.push(with(&|modes| modes.binary = binary));
    }
    list
}

async fn codecs(client: &Client, sql_type: &str) -> Vec<Codec> {
    client
        .batch_execute(&format!(
            "drop table if exists of_type; create table of_type (v {sql_type})"
        ))
        .await
        .unwrap();
    let sql = "select atttypid, atttypmod from pg_attribute where attrelid = 'of_type'::regclass and attnum = 1";
    let row = client.query_one(sql, &[]).await.unwrap();
    let ty = type_of(client, row.get(0)).await;
    modes()
        .iter()
        .map(|modes| {
            let codec = codec(&ty, row.get(1), modes).unwrap();
            let schema = Arc::new(codec.schema(true, None));
            codec.bind(&schema)
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn values_are_the_same_in_text_and_in_binary() {
    for version in [Version::V15, Version::V18] {
        let server = Server::start_with(Options { version, ..Options::default() }).await;
        let client = server.client().await;
        client.batch_execute(SETTINGS).await.unwrap();
        client.batch_execute(OWN_TYPES).await.unwrap();
        let mut both = BOTH.to_vec();
        if matches!(version, Version::V18) {
            both.push(("interval", "select unnest(array['infinity', '-infinity'])"));
        }
        both.push(("numeric", "select unnest(array['Infinity', '-Infinity'])"));
        for (sql_type, values) in both {
            let codecs = codecs(&client, sql_type).await;
            // By way of a table, as a cast may make another length of them.
            let insert =
                format!("insert into of_type select v::text::{sql_type} from ({values}) x (v)");
            client.batch_execute(&insert).await.unwrap();
            let texts: Vec<Option<Bytes>> = client
                .simple_query("select v from of_type order by ctid")
                .await
                .unwrap()
                .iter()
                .filter_map(|message| match message {
                    SimpleQueryMessage::Row(row) => {
                        Some(row.get(0).map(|text| Bytes::copy_from_slice(text.as_bytes())))
                    }
                    _ => None,
                })
                .collect();
            let sent = client.query("select v from of_type order by ctid", &[]).await.unwrap();
            assert!(!sent.is_empty() && sent.len() == texts.len(), "{sql_type}");
            for (row, text) in sent.iter().zip(&texts) {
                let (Some(Raw(sent)), Some(text)) = (row.get(0), text) else { continue };
                let sent = Bytes::from(sent);
                for (codec, modes) in codecs.iter().zip(modes()) {
                    let read = codec.binary(Slice::whole(&sent));
                    let expect = codec.text(text);
                    let same = match (&read, &expect) {
                        (Ok(read), Ok(expect)) => is_same(read, expect),
                        (read, expect) => read.is_err() && expect.is_err(),
                    };
                    assert!(same, "{sql_type} {text:?} {modes:?}: {read:?}, not {expect:?}");
                }
                // Whatever is cut off or added is an error or another value, never a panic.
                for end in 0..sent.len().min(64) {
                    drop(codecs[0].binary(Slice::whole(&sent.slice(..end))));
                }
            }
        }
        for sql_type in TEXT {
            assert!(
                codecs(&client, sql_type).await.iter().all(|codec| !codec.reads_binary()),
                "{sql_type}"
            );
        }
    }
}

/// Not a number is the same as itself here, and minus zero is not zero.
fn is_same(a: &Value, b: &Value) -> bool {
    format!("{a:?}") == format!("{b:?}")
}
