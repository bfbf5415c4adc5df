//! The answers of genuine Kafka's `ConfigDef` to single values, against ours.
//!
//! `fixtures/ConfigAnswers.java` printed them.

use serde::Deserialize;

use crate::config::{ConfigDef, ConfigEnum, ConnectorConfig, FieldErrors, Properties, Secret};

const ANSWERS: &str = include_str!("../fixtures/connect-4.3.1.jsonl");

/// Where we refuse what Java takes, or the reverse.
const DIFFERENCES: [(&str, &str); 7] = [
    // No setting means anything with a number that is not finite.
    ("double", "NaN"),
    ("double", "-Infinity"),
    ("double", "1e400"),
    // Java's hexadecimal numbers.
    ("double", "0x1p3"),
    // A list may name a thing twice, as it might before 4.2.
    ("list of a, b", ","),
    ("list of a, b", "a,a"),
    ("non-empty list", "a,a"),
];

#[derive(Deserialize)]
struct Answer {
    of: String,
    input: Option<String>,
    errors: Vec<String>,
    value: Option<String>,
    #[serde(deserialize_with = "text_or_null")]
    valid: String,
}

fn text_or_null<'de, D: serde::Deserializer<'de>>(text: D) -> Result<String, D::Error> {
    Option::deserialize(text).map(Option::unwrap_or_default)
}

#[derive(ConfigEnum)]
#[config(ignore_case)]
enum Support {
    #[config(name = "REQUIRED")]
    Required,
    #[config(name = "REQUESTED")]
    Requested,
}

struct Subject {
    definition: &'static ConfigDef,
    errors: fn(&Properties) -> FieldErrors,
}

/// A configuration with the one key `k`.
macro_rules! subject {
    ($type:ty $(, $($attribute:tt)+)?) => {{
        #[derive(ConnectorConfig)]
        #[expect(dead_code, reason = "only its errors are looked at")]
        struct Config {
            /// The value.
            #[config($($($attribute)+)?)]
            k: $type,
        }
        Subject {
            definition: Config::definition(),
            errors: |properties| Config::parse(properties).err().unwrap_or_default(),
        }
    }};
}

fn too_short(_: &Secret<String>) -> Result<(), String> {
    Err("too short".to_owned())
}

fn subject(of: &str) -> Subject {
    match of {
        "boolean" | "required BOOLEAN" => subject!(bool),
        "int" | "required INT" => subject!(i32),
        "short" | "required SHORT" => subject!(i16),
        "long" | "required LONG" => subject!(i64),
        "double" | "required DOUBLE" => subject!(f64),
        "string" | "required STRING" => subject!(String),
        "list" | "required LIST" => subject!(Vec<String>),
        "password" | "required PASSWORD" => subject!(Secret<String>),
        "required CLASS" => subject!(String, class),
        "int at least 1" => subject!(i32, range(min = 1)),
        "int 1 to 10" => subject!(i32, default = 5, range(min = 1, max = 10)),
        "long at least 0" => subject!(u64),
        "double 0 to 1" => subject!(f64, range(min = 0, max = 1)),
        "one of none, all" => subject!(String, one_of("none", "all")),
        "REQUIRED or REQUESTED in any case" => subject!(Support),
        "list of a, b" => subject!(Vec<String>, one_of("a", "b")),
        "non-empty list of a, b" => subject!(Vec<String>, one_of("a", "b"), non_empty),
        "non-empty list" => subject!(Vec<String>, non_empty),
        "non-empty string" => subject!(String, non_empty),
        "short password" => subject!(Secret<String>, validate = too_short),
        other => panic!("no configuration for {other}"),
    }
}

#[test]
fn values_are_taken_and_refused_as_by_genuine_connect() {
    let mut seen = 0;
    for line in ANSWERS.lines() {
        let Answer { of, input, errors, value, valid } = serde_json::from_str(line).unwrap();
        let Subject { definition, errors: validate } = subject(&of);
        let properties: Properties = input.iter().map(|input| ("k", input)).collect();
        let ours = validate(&properties).with_null_checks(definition);
        let ours: Vec<String> = ours.iter().map(ToString::to_string).collect();
        if DIFFERENCES.contains(&(&of, input.as_deref().unwrap_or_default())) {
            assert_ne!(ours, errors, "no difference after all: {line}");
            seen += 1;
            continue;
        }
        assert_eq!(ours, errors, "{line}");
        let key = definition.get("k").unwrap();
        assert_eq!(key.echo(&properties), value, "{line}");
        if of != "short password" {
            assert_eq!(key.valid_values.as_deref().unwrap_or_default(), valid, "{line}");
        }
    }
    assert_eq!(seen, DIFFERENCES.len());
}
