//! The headers that Connect adds to a record in the dead letter queue (KIP-298).
//!
//! Invariant: names, order and values are those of Kafka Connect 4.3.1, so that existing tools and
//! dashboards read our queues. A record's own headers come first and are kept; these are appended.

use serde::{Deserialize, Serialize};

/// What every such header's name starts with.
pub const HEADER_PREFIX: &str = "__connect.errors.";
/// The topic that the record was consumed from.
pub const TOPIC: &str = "__connect.errors.topic";
/// Its partition there.
pub const PARTITION: &str = "__connect.errors.partition";
/// Its offset there.
pub const OFFSET: &str = "__connect.errors.offset";
/// The connector.
pub const CONNECTOR_NAME: &str = "__connect.errors.connector.name";
/// The number of the connector's task.
pub const TASK_ID: &str = "__connect.errors.task.id";
/// Where in the pipeline it failed: the name of a [`Stage`].
pub const STAGE: &str = "__connect.errors.stage";
/// The class that failed, such as the converter's.
pub const CLASS_NAME: &str = "__connect.errors.class.name";
/// The class of the error.
pub const EXCEPTION_CLASS_NAME: &str = "__connect.errors.exception.class.name";
/// The error's message.
pub const EXCEPTION_MESSAGE: &str = "__connect.errors.exception.message";
/// The error and its causes in full.
pub const EXCEPTION_STACKTRACE: &str = "__connect.errors.exception.stacktrace";

/// A step of a pipeline, by Connect's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Stage {
    /// A source task's poll.
    TaskPoll,
    /// A sink task's write.
    TaskPut,
    /// A transform or its predicate.
    Transformation,
    /// The key's converter.
    KeyConverter,
    /// The value's converter.
    ValueConverter,
    /// A header's converter.
    HeaderConverter,
    /// Producing to Kafka.
    KafkaProduce,
    /// Consuming from Kafka.
    KafkaConsume,
}

impl Stage {
    /// All stages, in Connect's order.
    pub const ALL: [Self; 8] = [
        Self::TaskPoll,
        Self::TaskPut,
        Self::Transformation,
        Self::KeyConverter,
        Self::ValueConverter,
        Self::HeaderConverter,
        Self::KafkaProduce,
        Self::KafkaConsume,
    ];

    /// Connect's name, such as `VALUE_CONVERTER`.
    pub fn name(self) -> &'static str {
        match self {
            Self::TaskPoll => "TASK_POLL",
            Self::TaskPut => "TASK_PUT",
            Self::Transformation => "TRANSFORMATION",
            Self::KeyConverter => "KEY_CONVERTER",
            Self::ValueConverter => "VALUE_CONVERTER",
            Self::HeaderConverter => "HEADER_CONVERTER",
            Self::KafkaProduce => "KAFKA_PRODUCE",
            Self::KafkaConsume => "KAFKA_CONSUME",
        }
    }

    /// The stage of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|stage| stage.name() == name)
    }
}

/// Where and why a record was rejected.
#[derive(Clone, Copy, Debug)]
pub struct ErrorContext<'a> {
    /// Where the record was consumed; `None` for a record of a source, which never was in Kafka.
    pub origin: Option<Origin<'a>>,
    /// The connector.
    pub connector: &'a str,
    /// The task's number.
    pub task: u32,
    /// Where in the pipeline it failed.
    pub stage: Stage,
    /// What failed there: the class name of the converter, the transform or the task.
    pub class_name: &'a str,
    /// The error itself; without one only the headers above are written.
    pub exception: Option<Exception<'a>>,
}

/// Where a record was consumed.
#[derive(Clone, Copy, Debug)]
pub struct Origin<'a> {
    /// The topic.
    pub topic: &'a str,
    /// Its partition there.
    pub partition: i32,
    /// Its offset there.
    pub offset: i64,
}

/// An error as Java describes one.
#[derive(Clone, Copy, Debug)]
pub struct Exception<'a> {
    /// Its kind; Connect's class name where one fits.
    pub class_name: &'a str,
    /// Its message, if it has one.
    pub message: Option<&'a str>,
    /// It and its causes in full.
    pub stacktrace: &'a str,
}

impl ErrorContext<'_> {
    /// The headers to append to the record's own, in Connect's order.
    pub fn headers(&self) -> Vec<(String, Option<Vec<u8>>)> {
        let header = |name: &str, value: &str| (name.to_owned(), Some(value.as_bytes().to_vec()));
        let mut headers = Vec::with_capacity(10);
        if let Some(origin) = &self.origin {
            headers.extend([
                header(TOPIC, origin.topic),
                header(PARTITION, &origin.partition.to_string()),
                header(OFFSET, &origin.offset.to_string()),
            ]);
        }
        headers.extend([
            header(CONNECTOR_NAME, self.connector),
            header(TASK_ID, &self.task.to_string()),
            header(STAGE, self.stage.name()),
            header(CLASS_NAME, self.class_name),
        ]);
        if let Some(exception) = &self.exception {
            let message = exception.message.map(|text| text.as_bytes().to_vec());
            headers.extend([
                header(EXCEPTION_CLASS_NAME, exception.class_name),
                (EXCEPTION_MESSAGE.to_owned(), message),
                header(EXCEPTION_STACKTRACE, exception.stacktrace),
            ]);
        }
        headers
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Records in the dead letter queue of Kafka Connect 4.3.1, stack traces shortened.
    #[test]
    fn headers_are_those_of_the_recorded_queue() {
        let samples = include_str!("../fixtures/dlq.jsonl");
        for line in samples.lines() {
            let headers: Vec<(String, Option<String>)> =
                serde_json::from_str(line).expect("a sample");
            let start = headers.iter().position(|(name, _)| name == TOPIC).expect("context");
            let recorded = &headers[start..];
            let value = |name: &str| {
                recorded
                    .iter()
                    .find(|(n, _)| n == name)
                    .and_then(|(_, v)| v.as_deref())
                    .unwrap_or_else(|| panic!("{name}"))
            };
            let context = ErrorContext {
                origin: Some(Origin {
                    topic: value(TOPIC),
                    partition: value(PARTITION).parse().expect("a number"),
                    offset: value(OFFSET).parse().expect("a number"),
                }),
                connector: value(CONNECTOR_NAME),
                task: value(TASK_ID).parse().expect("a number"),
                stage: Stage::from_name(value(STAGE)).expect("a known stage"),
                class_name: value(CLASS_NAME),
                exception: Some(Exception {
                    class_name: value(EXCEPTION_CLASS_NAME),
                    message: Some(value(EXCEPTION_MESSAGE)),
                    stacktrace: value(EXCEPTION_STACKTRACE),
                }),
            };
            let built: Vec<(String, Option<String>)> = context
                .headers()
                .into_iter()
                .map(|(name, value)| (name, value.map(|v| String::from_utf8(v).expect("text"))))
                .collect();
            assert_eq!(built, recorded);
        }
        assert!(samples.lines().count() > 1);
    }

    #[test]
    fn without_a_message_the_header_is_null() {
        let exception = Exception { class_name: "c", message: None, stacktrace: "s" };
        let context = ErrorContext {
            origin: Some(Origin { topic: "t", partition: 0, offset: 1 }),
            connector: "c",
            task: 0,
            stage: Stage::TaskPut,
            class_name: "k",
            exception: Some(exception),
        };
        assert_eq!(context.headers()[8], (EXCEPTION_MESSAGE.to_owned(), None));
        assert_eq!(ErrorContext { exception: None, ..context }.headers().len(), 7);
        assert_eq!(ErrorContext { origin: None, ..context }.headers()[0].0, CONNECTOR_NAME);
    }

    #[test]
    fn names_and_serde_agree() {
        for stage in Stage::ALL {
            assert_eq!(serde_json::to_value(stage).expect("a name"), stage.name());
            assert_eq!(Stage::from_name(stage.name()), Some(stage));
        }
    }
}
