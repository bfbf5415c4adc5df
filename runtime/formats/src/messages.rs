//! The error texts of Kafka Connect's REST API, in one place.
//!
//! Clients tell some cases apart by these words alone (a 409 has four meanings), so they are
//! Connect's where Connect has any. REST and the herder both take them from here.
//!
//! Invariant: no text shows a config's values, but for the one value that a validation error is about;
//! the caller hides that one if it is a secret.

use crate::Properties;

/// 404 of most reads and of `DELETE`, `PATCH …/config`.
pub fn connector_not_found(connector: &str) -> String {
    format!("Connector {connector} not found")
}

/// 404 of pause, resume and stop.
pub fn unknown_connector(connector: &str) -> String {
    format!("Unknown connector {connector}")
}

/// 404 of a restart.
pub fn unknown_connector_to_restart(connector: &str) -> String {
    format!("Unknown connector: {connector}")
}

/// 404 of a task's restart.
pub fn unknown_task(connector: &str, task: u32) -> String {
    format!("Unknown task: {connector}-{task}")
}

/// 404 of a status.
pub fn no_status_for_connector(connector: &str) -> String {
    format!("No status found for connector {connector}")
}

/// 404 of a task's status.
pub fn no_status_for_task(connector: &str, task: u32) -> String {
    format!("No status found for task {connector}-{task}")
}

/// 404 of a restart with `includeTasks` or `onlyFailed`.
pub fn status_not_found(connector: &str) -> String {
    format!("Status for connector {connector} not found")
}

/// 409 of a create.
pub fn connector_exists(connector: &str) -> String {
    format!("Connector {connector} already exists")
}

/// 400: the config's name isn't the one in the path.
pub fn name_mismatch(in_config: &str, in_path: &str) -> String {
    format!(
        "Connector name configuration ({in_config}) doesn't match connector name in the URL ({in_path})"
    )
}

/// 400: no `connector.class`. Connect prints the config; this prints its keys, and the name's value.
pub fn no_connector_class(config: &Properties) -> String {
    let entry = |(key, value): (&String, &String)| match key.as_str() {
        "name" => format!("name={value}"),
        _ => format!("{key}=[hidden]"),
    };
    let entries: Vec<_> = config.iter().map(entry).collect();
    format!("Connector config {{{}}} contains no connector type", entries.join(", "))
}

/// 400: no plugin of that name. `available` are the connectors there are, each readable.
pub fn unknown_connector_class(class: &str, available: &[String]) -> String {
    format!(
        "Failed to find any class that implements Connector and which name matches {class}, available connectors are: {}",
        available.join(", ")
    )
}

/// 400 of a create or change with a wrong config.
pub fn invalid_config<S: AsRef<str>>(errors: &[S]) -> String {
    let mut text = format!(
        "Connector configuration is invalid and contains the following {} error(s):",
        errors.len()
    );
    for error in errors {
        text.push('\n');
        text.push_str(error.as_ref());
    }
    text.push_str(
        "\nYou can also find the above list of errors at the endpoint `/connector-plugins/{connectorType}/config/validate`",
    );
    text
}

/// 400 of a validation: the config names another class than the path.
pub fn plugin_mismatch(in_config: &str, in_path: &str) -> String {
    format!("Included connector type {in_config} does not match request type {in_path}")
}

/// 404 of a plugin's config definition.
pub fn unknown_plugin(plugin: &str) -> String {
    format!("Unknown plugin {plugin}.")
}

/// 400 of a change of offsets.
pub fn must_be_stopped(connector: &str) -> String {
    format!(
        "Connectors must be in the STOPPED state before their offsets can be modified. This can be done for the specified connector by issuing a 'PUT' request to the '/connectors/{connector}/stop' endpoint"
    )
}

/// 400 of a change of offsets without any.
pub fn offsets_missing() -> String {
    "Partitions / offsets need to be provided for an alter offsets request".to_owned()
}

/// 400: a sink's offset without a partition.
pub fn sink_partition_missing() -> String {
    "The partition for a sink connector offset cannot be null or missing".to_owned()
}

/// 400: a sink's partition without its members.
pub fn sink_partition_members() -> String {
    "The partition for a sink connector offset must contain the keys 'kafka_topic' and 'kafka_partition'".to_owned()
}

/// 400: a sink's partition with a null topic.
pub fn sink_topic_missing() -> String {
    "Kafka topic names must be valid strings and may not be null".to_owned()
}

/// 400: a sink's partition with a null number.
pub fn sink_partition_number_missing() -> String {
    "Kafka partitions must be valid numbers and may not be null".to_owned()
}

/// 400: a sink's partition that isn't a number.
pub fn sink_partition_not_integer(found: &str) -> String {
    format!(
        "Failed to parse the following Kafka partition value in the provided offsets: '{found}'. Partition values for sink connectors need to be integers."
    )
}

/// 400: a sink's offset without its member.
pub fn sink_offset_members() -> String {
    "The offset for a sink connector should either be null or contain the key 'kafka_offset'"
        .to_owned()
}

/// 400: a sink's offset that isn't a number.
pub fn sink_offset_not_integer(found: &str) -> String {
    format!(
        "Failed to parse the following Kafka offset value in the provided offsets: '{found}'. Offset values for sink connectors need to be integers."
    )
}

/// What was done to offsets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OffsetChange {
    /// Set, by `PATCH`.
    Altered,
    /// Forgotten, by `DELETE`.
    Reset,
}

/// 200 of a change of offsets. `complete`: the connector said that it keeps no offsets of its own.
pub fn offsets_changed(change: OffsetChange, complete: bool) -> String {
    let done = match change {
        OffsetChange::Altered => "altered",
        OffsetChange::Reset => "reset",
    };
    if complete {
        return format!("The offsets for this connector have been {done} successfully");
    }
    format!(
        "The Connect framework-managed offsets for this connector have been {done} successfully. However, if this connector manages offsets externally, they will need to be manually {done} in the system that the connector uses."
    )
}

/// 500: a sink's consumer group couldn't be changed.
pub fn consumer_group_not_changed(change: OffsetChange, connector: &str) -> String {
    match change {
        OffsetChange::Altered => {
            format!("Failed to alter consumer group offsets for connector {connector}")
        }
        OffsetChange::Reset => {
            format!("Failed to reset consumer group offsets for sink connector {connector}")
        }
    }
}

/// 403 of the active topics.
pub fn topic_tracking_disabled() -> String {
    "Topic tracking is disabled.".to_owned()
}

/// 403 of the reset of active topics.
pub fn topic_tracking_reset_disabled() -> String {
    "Topic tracking reset is disabled.".to_owned()
}

/// 404 of a logger.
pub fn logger_not_found(logger: &str) -> String {
    format!("Logger {logger} not found.")
}

/// 404 of a change of level (sic).
pub fn invalid_log_level(level: &str) -> String {
    format!("invalid log level '{level}'.")
}

/// 400 of a change of level without one.
pub fn log_level_missing() -> String {
    "Desired 'level' parameter was not specified in request.".to_owned()
}

/// 409: the leader isn't known at the moment.
pub fn no_leader() -> String {
    "Cannot complete request momentarily due to no known leader URL, likely because a rebalance was underway."
        .to_owned()
}

/// 409: the worker's view of the configs is old.
pub fn stale_config() -> String {
    "Cannot complete request momentarily due to stale configuration (typically caused by a concurrent config change)"
        .to_owned()
}

/// 409: a second hop wasn't enough.
pub fn conflicting_operation() -> String {
    "Cannot complete request because of a conflicting operation (e.g. worker rebalance)".to_owned()
}

/// 400 of an endpoint that workers use among themselves.
pub fn internal_signature_missing() -> String {
    "Internal request missing required signature".to_owned()
}

/// A failure before any endpoint saw the request, such as `HTTP 404 Not Found`.
pub fn http(status: u16, reason: &str) -> String {
    format!("HTTP {status} {reason}")
}

/// The message of a healthy worker.
pub fn healthy() -> String {
    "Worker has completed startup and is ready to handle requests.".to_owned()
}

/// The message of a worker that isn't ready yet; `doing` says what it is busy with.
pub fn starting(doing: &str) -> String {
    format!("Worker is still starting up. {doing}").trim_end().to_owned()
}

/// The message of a worker that doesn't answer in time; `doing` says what it is busy with.
pub fn unhealthy(doing: &str) -> String {
    format!("Worker was unable to handle this request and may be unable to handle other requests. {doing}")
        .trim_end()
        .to_owned()
}

/// A config property's value is wrong. `None` is shown as `null`, as Java does.
pub fn invalid_value(value: Option<&str>, key: &str, problem: &str) -> String {
    let value = value.unwrap_or("null");
    if problem.is_empty() {
        return format!("Invalid value {value} for configuration {key}");
    }
    format!("Invalid value {value} for configuration {key}: {problem}")
}

/// A required config property isn't set.
pub fn missing_required(key: &str) -> String {
    format!("Missing required configuration \"{key}\" which has no default value.")
}

/// What is wrong with a value, for [`invalid_value`].
pub mod problem {
    /// Neither true nor false.
    pub const NOT_BOOLEAN: &str = "Expected value to be either true or false";
    /// No value where one is needed.
    pub const NULL: &str = "Value must be non-null";
    /// No text where one is needed.
    pub const EMPTY: &str = "String may not be empty";

    /// Not a number; `kind` is `INT`, `LONG`, `SHORT` or `DOUBLE`.
    pub fn not_a_number(kind: &str) -> String {
        format!("Not a number of type {kind}")
    }

    /// Too small.
    pub fn at_least(least: impl std::fmt::Display) -> String {
        format!("Value must be at least {least}")
    }

    /// Too great.
    pub fn at_most(most: impl std::fmt::Display) -> String {
        format!("Value must be no more than {most}")
    }

    /// None of the allowed texts.
    pub fn one_of(allowed: &[&str]) -> String {
        format!("String must be one of: {}", allowed.join(", "))
    }

    /// None of the allowed texts, in any case of letters.
    pub fn one_of_any_case(allowed: &[&str]) -> String {
        format!("String must be one of (case insensitive): {}", allowed.join(", "))
    }

    /// No such plugin.
    pub fn class_not_found(class: &str) -> String {
        format!("Class {class} could not be found.")
    }

    /// Control characters in a connector's name.
    pub fn control_characters(text: &str) -> String {
        let found: Vec<_> =
            text.chars().filter(|c| c.is_control()).map(|c| u32::from(c).to_string()).collect();
        format!(
            "String may not contain control sequences but had the following ASCII chars: {}",
            found.join(", ")
        )
    }
}

/// Neither `topics` nor `topics.regex` is set.
pub const NO_TOPICS: &str = "Must configure one of topics or topics.regex";
/// Both `topics` and `topics.regex` are set.
pub const BOTH_TOPICS: &str =
    "topics and topics.regex are mutually exclusive options, but both are set.";

/// The dead letter queue is among the topics that the sink consumes.
pub fn dlq_among_topics(dlq: &str, topics: &str) -> String {
    format!(
        "The DLQ topic '{dlq}' may not be included in the list of topics ('topics={topics}') consumed by the connector"
    )
}

/// The dead letter queue is matched by the pattern of topics that the sink consumes.
pub fn dlq_matches_topics(dlq: &str, regex: &str) -> String {
    format!(
        "The DLQ topic '{dlq}' may not be matched by the regex for the topics ('topics.regex={regex}') consumed by the connector"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The recorded error with this number, as text.
    fn recorded(number: u64) -> String {
        let sample =
            |line: &str| serde_json::from_str::<serde_json::Value>(line).expect("a sample");
        let samples = include_str!("../fixtures/rest.jsonl").lines().map(sample);
        let found = samples
            .into_iter()
            .find(|s| s["n"] == number)
            .unwrap_or_else(|| panic!("no sample {number}"));
        let body = found["response"].as_str().expect("a body");
        let body: serde_json::Value = serde_json::from_str(body).expect("JSON");
        body["message"].as_str().expect("a message").to_owned()
    }

    #[test]
    fn texts_are_the_recorded_ones() {
        let name = |problem: &str| invalid_value(Some(""), "name", problem);
        let control =
            invalid_value(Some("x\u{1}y"), "name", &problem::control_characters("x\u{1}y"));
        let tasks_max = invalid_value(Some("0"), "tasks.max", &problem::at_least(1));
        let not_int = invalid_value(Some("abc"), "tasks.max", &problem::not_a_number("INT"));
        let null = invalid_value(None, "tasks.max", problem::NULL);
        let tolerance =
            invalid_value(Some("some"), "errors.tolerance", &problem::one_of(&["none", "all"]));
        let support = problem::one_of_any_case(&["REQUIRED", "REQUESTED"]);
        let support = invalid_value(Some("maybe"), "exactly.once.support", &support);
        let class = problem::class_not_found("com.example.NoConv");
        let class = invalid_value(Some("com.example.NoConv"), "value.converter", &class);
        for (number, text) in [
            (7, connector_exists("file-sink")),
            (13, invalid_config(&[name(problem::EMPTY)])),
            (17, invalid_config(&[control])),
            (18, name_mismatch("y", "x")),
            (20, no_connector_class(&Properties::from([("name", "x")]))),
            (21, invalid_config(&[tasks_max.as_str(), NO_TOPICS, NO_TOPICS])),
            (22, invalid_config(&[not_int, null])),
            (23, invalid_config(&[BOTH_TOPICS, BOTH_TOPICS])),
            (24, invalid_config(&[class])),
            (26, invalid_config(&[missing_required("transforms.a.type")])),
            (27, invalid_config(&[tolerance, support])),
            (30, http(415, "Unsupported Media Type")),
            (53, no_status_for_task("file-sink", 9)),
            (56, connector_not_found("nope")),
            (58, no_status_for_connector("nope")),
            (64, unknown_connector_to_restart("nope")),
            (65, unknown_connector("nope")),
            (71, http(405, "Method Not Allowed")),
            (87, unknown_task("file-sink", 7)),
            (96, must_be_stopped("file-sink")),
            (104, offsets_changed(OffsetChange::Altered, true)),
            (108, sink_partition_members()),
            (109, sink_offset_not_integer("abc")),
            (110, consumer_group_not_changed(OffsetChange::Altered, "file-sink")),
            (111, offsets_missing()),
            (114, offsets_changed(OffsetChange::Reset, true)),
            (137, unknown_plugin("NoSuch")),
            (
                139,
                plugin_mismatch(
                    "FileStreamSink",
                    "org.apache.kafka.connect.file.FileStreamSinkConnector",
                ),
            ),
            (150, logger_not_found("no.such.logger")),
            (154, invalid_log_level("LOUD")),
            (155, log_level_missing()),
            (157, internal_signature_missing()),
            (2, healthy()),
        ] {
            assert_eq!(text, recorded(number), "sample {number}");
        }
    }

    #[test]
    fn a_config_without_a_class_shows_no_values() {
        let config = Properties::from([("name", "x"), ("password", "hunter2")]);
        let text = no_connector_class(&config);
        assert_eq!(text, "Connector config {name=x, password=[hidden]} contains no connector type");
    }
}
