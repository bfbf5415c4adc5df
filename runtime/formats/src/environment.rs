//! The environment variables by which container images of Kafka Connect are configured.
//!
//! Two families are known, and may be mixed:
//! - Confluent's and most others: `CONNECT_GROUP_ID` → `group.id`; two underscores stand for one, three
//!   for a dash;
//! - Debezium's: names without a prefix (`GROUP_ID`, `CONFIG_STORAGE_TOPIC` …), which win over the
//!   prefixed ones, and that image's own defaults. They are looked at only if one of the storage
//!   topics is named so, since a name like `GROUP_ID` may mean anything elsewhere.
//!
//! Invariant: a variable that is known to configure a JVM's worker is used or named in a warning.
//!
//! Deliberately absent: reading the process's environment.

use std::collections::BTreeMap;

use crate::Properties;
use crate::finding::Warning;

/// The worker properties that an environment spells.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Environment {
    /// The properties, as a worker's file would hold them.
    pub properties: Properties,
    /// Log levels: logger (`root` for all others) and level.
    pub log_levels: Vec<(String, String)>,
    /// Variables without effect.
    pub warnings: Vec<Warning>,
}

const PREFIX: &str = "CONNECT_";
const LOG4J: &str = "CONNECT_LOG4J_";

/// Debezium's names without a prefix.
const DEBEZIUM: &[(&str, &str)] = &[
    ("BOOTSTRAP_SERVERS", "bootstrap.servers"),
    ("GROUP_ID", "group.id"),
    ("CONFIG_STORAGE_TOPIC", "config.storage.topic"),
    ("OFFSET_STORAGE_TOPIC", "offset.storage.topic"),
    ("STATUS_STORAGE_TOPIC", "status.storage.topic"),
    ("KEY_CONVERTER", "key.converter"),
    ("VALUE_CONVERTER", "value.converter"),
    ("OFFSET_FLUSH_INTERVAL_MS", "offset.flush.interval.ms"),
    ("OFFSET_FLUSH_TIMEOUT_MS", "offset.flush.timeout.ms"),
    ("SHUTDOWN_TIMEOUT", "task.shutdown.graceful.timeout.ms"),
    ("REST_HOST_NAME", "rest.host.name"),
    ("REST_PORT", "rest.port"),
    ("ADVERTISED_HOST_NAME", "rest.advertised.host.name"),
    ("ADVERTISED_PORT", "rest.advertised.port"),
];

/// By these names Debezium's image is recognised: it requires the first two.
const DEBEZIUM_MARKS: &[&str] =
    &["CONFIG_STORAGE_TOPIC", "OFFSET_STORAGE_TOPIC", "STATUS_STORAGE_TOPIC"];

/// What Debezium's image sets where its user says nothing.
const DEBEZIUM_DEFAULTS: &[(&str, &str)] = &[
    ("group.id", "1"),
    ("key.converter", "org.apache.kafka.connect.json.JsonConverter"),
    ("value.converter", "org.apache.kafka.connect.json.JsonConverter"),
    ("status.storage.topic", "connect-status"),
    ("config.storage.replication.factor", "1"),
    ("offset.storage.replication.factor", "1"),
    ("status.storage.replication.factor", "1"),
    ("task.shutdown.graceful.timeout.ms", "10000"),
];

const NO_JVM: &str = "has no effect: Towpath runs without a Java virtual machine";
const BUILT_IN: &str = "has no effect: Towpath brings its own connectors and converters";
const METRICS: &str = "has no effect: metrics are served at /metrics of the REST listener";
/// Variables that mean something to a JVM's worker only.
const JVM: &[(&str, &str)] = &[
    ("KAFKA_HEAP_OPTS", NO_JVM),
    ("HEAP_OPTS", NO_JVM),
    ("KAFKA_JVM_PERFORMANCE_OPTS", NO_JVM),
    ("KAFKA_GC_LOG_OPTS", NO_JVM),
    ("KAFKA_OPTS", "has no effect: put a login into sasl.jaas.config and agents beside Towpath"),
    (
        "KAFKA_LOG4J_OPTS",
        "has no effect: set log levels with CONNECT_LOG4J_ROOT_LOGLEVEL or through /admin/loggers",
    ),
    ("KAFKA_JMX_OPTS", METRICS),
    ("KAFKA_JMX_PORT", METRICS),
    ("JMXPORT", METRICS),
];
/// Switches of Debezium's image, of interest only if switched on.
const SWITCHES: &[(&str, &str)] = &[
    ("ENABLE_JOLOKIA", METRICS),
    ("ENABLE_JMX_EXPORTER", METRICS),
    ("ENABLE_OTEL", BUILT_IN),
    ("ENABLE_APICURIO_CONVERTERS", BUILT_IN),
    ("ENABLE_DEBEZIUM_SCRIPTING", BUILT_IN),
    ("ENABLE_DEBEZIUM_KC_REST_EXTENSION", BUILT_IN),
    ("ENABLE_CHRONICLE_QUEUE", BUILT_IN),
    ("ENABLE_JFR", NO_JVM),
];

/// Reads the variables. The result is the same in whatever order they come.
pub fn read(variables: impl IntoIterator<Item = (String, String)>) -> Environment {
    let variables: BTreeMap<String, String> = variables.into_iter().collect();
    let mut read = Environment::default();
    for (name, value) in &variables {
        if let Some(rest) = name.strip_prefix(LOG4J) {
            log4j(rest, name, value, &mut read);
        } else if let Some(rest) = name.strip_prefix(PREFIX).filter(|rest| !rest.is_empty()) {
            read.properties.set(property_name(rest), value.as_str());
        }
    }
    // An empty variable is as good as none to that image.
    let bare = |name: &str| variables.get(name).filter(|value| !value.is_empty());
    if DEBEZIUM_MARKS.iter().any(|name| bare(name).is_some()) {
        for (name, key) in DEBEZIUM {
            if let Some(value) = bare(name) {
                read.properties.set(*key, value.as_str());
            }
        }
        for (key, value) in DEBEZIUM_DEFAULTS {
            if !read.properties.contains_key(*key) {
                read.properties.set(*key, *value);
            }
        }
        if let Some(level) = bare("LOG_LEVEL") {
            read.log_levels.push(("root".to_owned(), level.clone()));
        }
    }
    if !read.properties.is_empty() {
        let switched = |name: &str| {
            variables.get(name).is_some_and(|value| value.eq_ignore_ascii_case("true"))
        };
        let jvm = JVM.iter().filter(|(name, _)| variables.contains_key(*name));
        let switches = SWITCHES.iter().filter(|(name, _)| switched(name));
        read.warnings.extend(jvm.chain(switches).map(|(name, text)| Warning::new(*name, *text)));
    }
    read
}

/// `KEY_CONVERTER` → `key.converter`; `A__B` → `a_b`; `A___B` → `a-b`.
fn property_name(rest: &str) -> String {
    let mut name = String::with_capacity(rest.len());
    let mut run = 0;
    for c in rest.chars().map(Some).chain([None]) {
        if c == Some('_') {
            run += 1;
            continue;
        }
        match run {
            0 => {}
            1 if !name.is_empty() && c.is_some() => name.push('.'),
            2 if !name.is_empty() && c.is_some() => name.push('_'),
            3 if !name.is_empty() && c.is_some() => name.push('-'),
            // What more underscores mean, or some at an end, nobody says.
            many => name.push_str(&"_".repeat(many)),
        }
        run = 0;
        name.extend(c.into_iter().flat_map(char::to_lowercase));
    }
    name
}

fn log4j(rest: &str, name: &str, value: &str, read: &mut Environment) {
    match rest {
        "ROOT_LOGLEVEL" => read.log_levels.push(("root".to_owned(), value.trim().to_owned())),
        // `a.b=DEBUG,c=INFO`; Debezium's image takes `INFO, stdout` here.
        "LOGGERS" => {
            for item in value.split(',').map(str::trim).filter(|item| !item.is_empty()) {
                match item.split_once('=') {
                    Some((logger, level)) => {
                        read.log_levels.push((logger.trim().to_owned(), level.trim().to_owned()));
                    }
                    None if is_level(item) => {
                        read.log_levels.push(("root".to_owned(), item.to_owned()))
                    }
                    None => {
                        let text = format!("{item:?} has no effect: it is no logger=LEVEL");
                        read.warnings.push(Warning::new(name, text));
                    }
                }
            }
        }
        _ => {
            let text = "has no effect: there is no Log4j; set levels with CONNECT_LOG4J_ROOT_LOGLEVEL, CONNECT_LOG4J_LOGGERS or through /admin/loggers";
            read.warnings.push(Warning::new(name, text));
        }
    }
}

fn is_level(text: &str) -> bool {
    const LEVELS: [&str; 8] = ["OFF", "FATAL", "ERROR", "WARN", "INFO", "DEBUG", "TRACE", "ALL"];
    LEVELS.iter().any(|level| level.eq_ignore_ascii_case(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from<const N: usize>(variables: [(&str, &str); N]) -> Environment {
        read(variables.map(|(name, value)| (name.to_owned(), value.to_owned())))
    }

    #[test]
    fn names_are_converted_as_confluents_image_does() {
        for (variable, property) in [
            ("CONNECT_BOOTSTRAP_SERVERS", "bootstrap.servers"),
            ("CONNECT_KEY_CONVERTER_SCHEMA_REGISTRY_URL", "key.converter.schema.registry.url"),
            ("CONNECT_A__B_C___D", "a_b.c-d"),
            ("CONNECT_A____B", "a____b"),
            ("CONNECT_A_", "a_"),
            ("CONNECT__A", "_a"),
        ] {
            assert_eq!(from([(variable, "v")]).properties, Properties::from([(property, "v")]));
        }
        assert_eq!(
            from([("CONNECT_", "v"), ("GROUP_ID", "x"), ("PATH", "/bin")]),
            Environment::default()
        );
    }

    #[test]
    fn debeziums_names_win_and_bring_its_defaults() {
        let read = from([
            ("BOOTSTRAP_SERVERS", "kafka:9092"),
            ("CONFIG_STORAGE_TOPIC", "c"),
            ("OFFSET_STORAGE_TOPIC", "o"),
            ("CONNECT_GROUP_ID", "prefixed"),
            ("GROUP_ID", "bare"),
            ("CONNECT_OFFSET_STORAGE_REPLICATION_FACTOR", "3"),
            ("LOG_LEVEL", "DEBUG"),
            ("ENABLE_JOLOKIA", "true"),
            ("ENABLE_OTEL", "false"),
            ("HEAP_OPTS", "-Xmx2g"),
        ]);
        let text = |key| read.properties.text(key);
        assert_eq!(text("bootstrap.servers"), Some("kafka:9092"));
        assert_eq!(text("group.id"), Some("bare"));
        assert_eq!(text("config.storage.replication.factor"), Some("1"));
        assert_eq!(text("offset.storage.replication.factor"), Some("3"));
        assert_eq!(text("status.storage.topic"), Some("connect-status"));
        assert_eq!(text("key.converter"), Some("org.apache.kafka.connect.json.JsonConverter"));
        assert_eq!(read.log_levels, [("root".to_owned(), "DEBUG".to_owned())]);
        let warned: Vec<_> = read.warnings.iter().map(|w| w.field.as_str()).collect();
        assert_eq!(warned, ["HEAP_OPTS", "ENABLE_JOLOKIA"]);
    }

    #[test]
    fn log4j_variables_are_levels_or_warnings() {
        let read = from([
            ("CONNECT_GROUP_ID", "g"),
            ("CONNECT_LOG4J_LOGGERS", "a.b=DEBUG, c=WARN,INFO, stdout"),
            ("CONNECT_LOG4J_ROOT_LOGLEVEL", "ERROR"),
            ("CONNECT_LOG4J_APPENDER_STDOUT_LAYOUT", "x"),
        ]);
        let levels: Vec<_> =
            read.log_levels.iter().map(|(l, v)| (l.as_str(), v.as_str())).collect();
        assert_eq!(levels, [("a.b", "DEBUG"), ("c", "WARN"), ("root", "INFO"), ("root", "ERROR")]);
        let warned: Vec<_> = read.warnings.iter().map(|w| w.field.as_str()).collect();
        assert_eq!(warned, ["CONNECT_LOG4J_APPENDER_STDOUT_LAYOUT", "CONNECT_LOG4J_LOGGERS"]);
        assert_eq!(read.properties, Properties::from([("group.id", "g")]));
    }
}
