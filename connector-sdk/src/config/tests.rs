//! The derive, the reader and the definition together.

mod genuine;

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use proptest::prelude::*;
use proptest::sample::select;

use super::{
    ConfigDef, ConfigEnum, ConfigValue, ConnectorConfig, FieldError, FieldErrors, FieldType,
    Importance, Properties, Secret, Width,
};

/// Shared by several connectors.
#[derive(Debug, ConnectorConfig)]
#[config(group = "Retries", validate = Retries::check)]
struct Retries {
    /// How often to try again.
    #[config(default = 3, range(min = 0))]
    retry_max: i32,
    /// The first pause, in milliseconds.
    #[config(default = 100)]
    retry_first_ms: Duration,
    /// The longest pause, in milliseconds.
    #[config(default = 10_000)]
    retry_last_ms: Duration,
}

impl Retries {
    fn check(&self) -> Vec<FieldError> {
        let wrong = self.retry_first_ms > self.retry_last_ms;
        let message = "retry.first.ms must not exceed retry.last.ms";
        wrong.then(|| FieldError::other("retry.first.ms", message)).into_iter().collect()
    }
}

const MAX_PORT: u16 = 65535;

#[derive(Debug, PartialEq, ConfigEnum)]
enum Part {
    /// The key.
    Key,
    /// The value.
    #[config(alias("payload"))]
    Value,
    /// When.
    #[config(name = "ts")]
    Timestamp,
}

/// One field of each kind.
#[derive(Debug, ConnectorConfig)]
struct Everything {
    /// The host,
    /// by name or address.
    ///
    /// Never a URL.
    #[config(
        key = "server.host",
        importance = high,
        group = "Connection",
        width = long,
        display = "Host",
        dependents("server.port"),
        non_empty,
        alias("host", "hostname")
    )]
    host: String,
    /// The port.
    #[config(
        key = "server.port",
        default = 5432,
        range(min = 1, max = MAX_PORT),
        recommended(5432, 6432),
        group = "Connection"
    )]
    port: u16,
    /// The password.
    #[config(importance = low, validate = long_enough)]
    password: Option<Secret<String>>,
    /// How to order.
    #[config(default = "partition", one_of("partition", "key", "none"))]
    ordering: String,
    /// Columns.
    #[config(default = "", one_of("a", "b"))]
    columns: Vec<String>,
    /// Topics.
    #[config(non_empty)]
    topics: Vec<String>,
    /// Whether to be strict.
    #[config(default = true)]
    strict: bool,
    /// The share of malformed events.
    #[config(default = 0.5, range(min = 0, max = 1))]
    share: f64,
    /// A small number.
    small: Option<i16>,
    /// A big number.
    big: Option<i64>,
    /// A size.
    size: Option<u64>,
    /// A count.
    #[config(deprecated = "use size")]
    count: Option<u32>,
    /// How many at once.
    #[config(default = 1)]
    parallel: NonZeroU32,
    /// A file.
    file: Option<PathBuf>,
    /// The converter.
    #[config(class, default = "JsonConverter", order = 7)]
    converter: String,
    /// A time-out whose key is somebody else's, in milliseconds.
    #[config(key = "http.timeout", unit = "ms", default = 0)]
    timeout: Duration,
    /// When to rotate, in milliseconds; -1 for never.
    #[config(none = "-1", default = -1, range(min = 10))]
    rotate_ms: Option<Duration>,
    /// A limit.
    #[config(none = "")]
    limit: Option<i32>,
    /// What to write.
    #[config(default = "value")]
    fields: Vec<Part>,
    /// Headers to add.
    #[config(prefix = "header.", secret)]
    headers: Properties,
    #[config(nested)]
    retries: Retries,
    #[config(nested, prefix = "other.")]
    other: Retries,
}

fn long_enough(password: &Secret<String>) -> Result<(), String> {
    if password.expose().len() >= 8 { Ok(()) } else { Err("too short".to_owned()) }
}

fn parse(entries: &[(&str, &str)]) -> Result<Everything, FieldErrors> {
    let required = [("server.host", "db"), ("topics", "t")];
    Everything::parse(&required.iter().chain(entries).copied().collect())
}

/// The errors of a configuration in which all else is well.
fn check(entries: &[(&str, &str)], expect: &[&str]) {
    let errors = parse(entries).err().unwrap_or_default();
    let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
    assert_eq!(lines, expect, "{entries:?}");
}

#[test]
fn defaults_fill_what_is_absent() {
    let config = parse(&[]).unwrap();
    assert_eq!(config.host, "db");
    assert_eq!(config.port, 5432);
    assert!(config.password.is_none());
    assert_eq!(config.ordering, "partition");
    assert!(config.columns.is_empty());
    assert_eq!(config.topics, ["t"]);
    assert!(config.strict);
    assert_eq!(config.share, 0.5);
    assert_eq!((config.small, config.big, config.size, config.count), (None, None, None, None));
    assert_eq!(config.parallel.get(), 1);
    assert_eq!(config.file, None);
    assert_eq!(config.converter, "JsonConverter");
    assert_eq!(config.timeout, Duration::ZERO);
    assert_eq!((config.rotate_ms, config.limit), (None, None));
    assert_eq!(config.fields, [Part::Value]);
    assert!(config.headers.is_empty());
    assert_eq!((config.retries.retry_max, config.other.retry_max), (3, 3));
}

#[test]
fn values_are_read_as_connect_reads_them() {
    let config = parse(&[
        ("server.port", " +080 "),
        ("password", " long enough "),
        ("ordering", "key "),
        ("columns", "a , b"),
        ("topics", "x,y"),
        ("strict", "FALSE"),
        ("share", "1e-1"),
        ("small", "-32768"),
        ("big", "-9223372036854775808"),
        ("size", "9223372036854775807"),
        ("count", "2147483647"),
        ("parallel", "8"),
        ("file", " /tmp/a b "),
        ("http.timeout", "1500"),
        ("rotate.ms", "10"),
        ("limit", " "),
        ("fields", "ts, payload,key"),
        ("header.X-Token", " kept as is "),
        ("header.", "not a header"),
        ("retry.max", "1"),
        ("other.retry.max", "2"),
    ])
    .unwrap();
    assert_eq!(config.port, 80);
    assert_eq!(config.password.unwrap().expose(), "long enough");
    assert_eq!(config.ordering, "key");
    assert_eq!(config.columns, ["a", "b"]);
    assert_eq!(config.topics, ["x", "y"]);
    assert!(!config.strict);
    assert_eq!(config.share, 0.1);
    assert_eq!((config.small, config.big), (Some(i16::MIN), Some(i64::MIN)));
    assert_eq!((config.size, config.count), (Some(i64::MAX as u64), Some(i32::MAX as u32)));
    assert_eq!(config.parallel.get(), 8);
    assert_eq!(config.file, Some(PathBuf::from("/tmp/a b")));
    assert_eq!(config.timeout, Duration::from_millis(1500));
    assert_eq!((config.rotate_ms, config.limit), (Some(Duration::from_millis(10)), None));
    assert_eq!(config.fields, [Part::Timestamp, Part::Value, Part::Key]);
    assert_eq!(config.headers, Properties::from([("X-Token", " kept as is ")]));
    assert_eq!((config.retries.retry_max, config.other.retry_max), (1, 2));
}

#[test]
fn all_errors_come_at_once_in_the_order_of_the_fields() {
    let errors = Everything::parse(&Properties::from([
        ("server.port", "70000"),
        ("password", "hunter2"),
        ("columns", "a,z"),
        ("strict", "yes"),
        ("size", "-1"),
        ("retry.max", "-1"),
        ("other.retry.last.ms", "1"),
    ]))
    .unwrap_err();
    assert_eq!(
        errors.to_string(),
        "Missing required configuration \"server.host\" which has no default value.\n\
         Invalid value 70000 for configuration server.port: Value must be no more than 65535\n\
         Invalid value [hidden] for configuration password: too short\n\
         Invalid value z for configuration columns: String must be one of: a, b\n\
         Missing required configuration \"topics\" which has no default value.\n\
         Invalid value yes for configuration strict: Expected value to be either true or false\n\
         Invalid value -1 for configuration size: Value must be at least 0\n\
         Invalid value -1 for configuration retry.max: Value must be at least 0\n\
         retry.first.ms must not exceed retry.last.ms"
    );
    assert!(!format!("{errors:?}").contains("hunter2"));
    let at = errors.iter().last().map(FieldError::key);
    assert_eq!(at, Some("other.retry.first.ms"));
}

#[test]
fn each_check_refuses() {
    check(
        &[("server.host", " ")],
        &["Invalid value  for configuration server.host: String must be non-empty"],
    );
    check(
        &[("topics", "")],
        &["Configuration 'topics' must not be empty. Valid values include: any non-empty value"],
    );
    check(&[("topics", "a,")], &["Configuration 'topics' values must not be empty."]);
    check(
        &[("server.port", " 007 "), ("share", "1.5")],
        &["Invalid value 1.5 for configuration share: Value must be no more than 1.0"],
    );
    check(
        &[("share", "NaN")],
        &["Invalid value NaN for configuration share: Value must be finite"],
    );
    check(
        &[("ordering", " some ")],
        &["Invalid value some for configuration ordering: \
           String must be one of: partition, key, none"],
    );
    check(
        &[("small", "32768")],
        &["Invalid value 32768 for configuration small: Not a number of type SHORT"],
    );
    check(
        &[("count", "2147483648")],
        &["Invalid value 2147483648 for configuration count: Not a number of type INT"],
    );
    check(
        &[("parallel", "0")],
        &["Invalid value 0 for configuration parallel: Value must be at least 1"],
    );
    check(&[("retry.first.ms", "20000")], &["retry.first.ms must not exceed retry.last.ms"]);
}

#[test]
fn an_alias_means_its_key() {
    let mut properties = Properties::from([("hostname", "db"), ("topics", "t")]);
    assert_eq!(Everything::parse(&properties).unwrap().host, "db");
    properties.insert("hostname", "");
    assert_eq!(
        Everything::parse(&properties).unwrap_err().to_string(),
        "Invalid value  for configuration server.host: String must be non-empty (set as hostname)"
    );
    check(&[("host", "db")], &[]);
    check(
        &[("host", "other")],
        &["Invalid value db for configuration server.host: \
           host is another name of the same key and differs, remove one"],
    );
}

#[test]
fn the_definition_says_what_was_declared() {
    let definition = Everything::definition();
    assert!(std::ptr::eq(definition, Everything::definition()));
    let names: Vec<&str> = definition.keys.iter().map(|key| key.name.as_str()).collect();
    assert_eq!(names[..3], ["server.host", "server.port", "password"]);
    let rest = names.len() - 7;
    let nested = ["retry.max", "retry.first.ms", "retry.last.ms"];
    assert_eq!(names[rest], "header.*");
    assert_eq!(names[rest + 1..rest + 4], nested);
    assert_eq!(names[rest + 4..], nested.map(|key| format!("other.{key}")));

    let host = definition.get("server.host").unwrap();
    assert_eq!(host.documentation, "The host, by name or address.\n\nNever a URL.");
    assert_eq!((host.kind, host.required, &host.default), (FieldType::String, true, &None));
    assert_eq!((host.importance, host.width, host.order), (Importance::High, Width::Long, 1));
    assert_eq!(host.group.as_deref(), Some("Connection"));
    assert_eq!(host.display_name, "Host");
    assert_eq!(host.dependents, ["server.port"]);
    assert_eq!(host.aliases, ["host", "hostname"]);
    assert_eq!(host.valid_values.as_deref(), Some("non-empty string"));

    let port = definition.get("server.port").unwrap();
    assert_eq!((port.kind, port.required, port.order), (FieldType::Int, false, 2));
    assert_eq!(port.default.as_deref(), Some("5432"));
    assert_eq!(port.recommended, ["5432", "6432"]);
    assert_eq!(port.valid_values.as_deref(), Some("[1,...,65535]"));

    let valid = |key: &str| definition.get(key).and_then(|key| key.valid_values.clone());
    assert_eq!(valid("share").as_deref(), Some("[0.0,...,1.0]"));
    assert_eq!(valid("ordering").as_deref(), Some("[partition, key, none]"));
    assert_eq!(valid("size").as_deref(), Some("[0,...]"));
    assert_eq!(valid("topics"), None);
    assert_eq!(valid("rotate.ms").as_deref(), Some("-1 or [10,...]"));
    assert_eq!(valid("fields").as_deref(), Some("[key, value, ts]"));
    let choices = definition.get("fields").map(|key| key.choices.clone()).unwrap_or_default();
    assert_eq!((choices[2].name, choices[2].documentation), ("ts", "When."));

    let converter = definition.get("converter").unwrap();
    assert_eq!(
        (converter.kind, converter.order, converter.width),
        (FieldType::Class, 7, Width::None)
    );
    assert_eq!(definition.get("password").map(|key| key.kind), Some(FieldType::Password));
    assert_eq!(definition.get("header.*").map(|key| key.kind), Some(FieldType::Password));
    assert_eq!(definition.groups(), ["Connection", "Retries"]);
}

#[test]
fn unknown_and_outdated_keys_are_found() {
    let properties = Properties::from([
        ("sever.host", "x"),
        ("host", "x"),
        ("header.x", "x"),
        ("count", "1"),
        ("quite.different", "x"),
    ]);
    let definition = Everything::definition();
    assert_eq!(
        definition.unknown(&properties),
        [
            ("sever.host".to_owned(), Some("server.host".to_owned())),
            ("quite.different".to_owned(), None),
        ]
    );
    let many: Properties = (0..60).map(|n| (format!("host{n:02}"), "x")).collect();
    let suggested = definition.unknown(&many).into_iter().filter(|(_, near)| near.is_some());
    assert_eq!(suggested.count(), 50);
    assert_eq!(
        definition.deprecated(&properties),
        [
            ("host".to_owned(), "use server.host".to_owned()),
            ("count".to_owned(), "use size".to_owned())
        ]
    );
}

#[test]
fn values_are_repeated_without_secrets() {
    let definition = Everything::definition();
    let properties = Properties::from([
        ("hostname", " db "),
        ("password", "hunter2"),
        ("header.Authorization", "${file:/run/secrets:token}"),
        ("header.Cookie", "x${env:A}"),
        ("share", "1"),
        ("strict", "perhaps"),
    ]);
    let echo = |key: &str| definition.get(key).and_then(|key| key.echo(&properties));
    assert_eq!(echo("server.host").as_deref(), Some("db"));
    assert_eq!(echo("password").as_deref(), Some("[hidden]"));
    assert_eq!(echo("share").as_deref(), Some("1.0"));
    assert_eq!(echo("server.port").as_deref(), Some("5432"));
    assert_eq!((echo("strict"), echo("file")), (None, None));
    assert_eq!(
        definition.redact(&properties).iter().collect::<Vec<_>>(),
        [
            ("hostname", " db "),
            ("password", "[hidden]"),
            ("header.Authorization", "${file:/run/secrets:token}"),
            ("header.Cookie", "[hidden]"),
            ("share", "1"),
            ("strict", "perhaps"),
        ]
    );
}

#[test]
fn a_config_may_have_no_keys() {
    #[derive(Debug, ConnectorConfig)]
    struct Unit;
    #[derive(Debug, ConnectorConfig)]
    struct Empty {}
    #[derive(Debug, ConnectorConfig)]
    struct OnlyPrefix {
        /// All of it.
        #[config(prefix = "x.")]
        all: Properties,
    }
    assert!(Unit::parse(&Properties::new()).is_ok());
    assert!(Empty::parse(&Properties::new()).is_ok());
    assert_eq!(Unit::definition(), &ConfigDef::new());
    let parsed = OnlyPrefix::parse(&Properties::from([("x.y", "z")])).unwrap();
    assert_eq!(parsed.all.get("y"), Some("z"));
}

#[test]
fn definitions_are_embedded_under_a_prefix() {
    let mut definition = Everything::definition().clone();
    let before = definition.keys.len();
    definition.merge(Retries::definition().clone());
    assert_eq!(definition.keys.len(), before);
    definition.merge(Everything::definition().clone().prefixed("transforms.x."));
    assert_eq!(definition.keys.len(), 2 * before);
    let host = definition.resolve("transforms.x.hostname").unwrap();
    assert_eq!(host.name, "transforms.x.server.host");
    assert_eq!(host.dependents, ["transforms.x.server.port"]);
    assert_eq!(host.display_name, "Host");
    let port = definition.get("transforms.x.server.port").unwrap();
    assert_eq!(port.display_name, "transforms.x.server.port");
}

#[test]
fn names_of_a_plug_in_may_have_other_defaults() {
    let defaults = [("server.host", "localhost"), ("strict", "false")];
    let definition = Everything::definition().with_defaults(&defaults);
    let host = definition.get("server.host").unwrap();
    assert_eq!((host.required, host.default.as_deref()), (false, Some("localhost")));
    assert_eq!(definition.get("strict").and_then(|key| key.default.as_deref()), Some("false"));

    let mut properties = Properties::from([("hostname", "db"), ("topics", "t")]);
    definition.fill(&mut properties, &defaults);
    let config = Everything::parse(&properties).unwrap();
    assert_eq!((config.host.as_str(), config.strict), ("db", false));
}

#[test]
fn the_definition_is_sound() {
    super::testing::assert_definition::<Everything>();
}

proptest! {
    #[test]
    fn normal_text_stays_as_it_is(kind in kinds(), text in "[ \\t\\x01\u{a0},.a-cTtruefalsE0-9+-]{0,12}") {
        if let Ok(normal) = kind.normalize(&text) {
            prop_assert_eq!(kind.normalize(&normal), Ok(normal));
        }
    }

    #[test]
    fn any_text_is_taken_or_refused(text in any::<String>()) {
        for key in &Everything::definition().keys {
            let properties = Properties::from([(&key.name, &text)]);
            let refused = Everything::parse(&properties).unwrap_err();
            let echo = key.echo(&properties);
            prop_assert!(echo.is_some() || refused.of(&key.name).count() > 0 || super::value::java_trim(&text).is_empty());
        }
    }

    #[test]
    fn doubles_survive(number in any::<f64>().prop_filter("finite", |n| n.is_finite())) {
        let text = super::value::java_double(number);
        prop_assert_eq!(f64::parse_value(&text), Ok(number), "{}", text);
    }
}

fn kinds() -> impl Strategy<Value = FieldType> {
    use FieldType::{Boolean, Class, Double, Int, List, Long, Password, Short, String};
    select(vec![Boolean, String, Int, Short, Long, Double, List, Class, Password])
}
