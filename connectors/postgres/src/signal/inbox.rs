//! Signals from outside the database: the REST API, and a topic.
//!
//! Duty: wait for the next one. Those for other connectors in the same topic are passed over: a record's
//! key is the `topic.prefix` it is for, as Debezium has it.

use std::time::Duration;

use serde_json::{Map, Value as JsonValue};
use towpath_sdk::context::TaskContext;
use towpath_sdk::signal::{Signal, Signals, TopicReader, TopicRecord};

use crate::config::Config;
use crate::config::signals::Channel;

/// How long the topic is left alone after an error.
const PAUSE: Duration = Duration::from_secs(10);

/// Where signals come from.
pub(crate) struct Inbox {
    cx: TaskContext,
    prefix: String,
    people: Signals,
    /// The topic, if signals are taken from one.
    topic: Option<String>,
    reader: Option<Box<dyn TopicReader>>,
}

impl Inbox {
    /// For a task; it hears from now on.
    #[must_use]
    pub(crate) fn new(config: &Config, cx: &TaskContext) -> Self {
        let signals = &config.signals;
        let topic = signals.has(Channel::Kafka).then(|| signals.topic(&config.topic_prefix));
        Self {
            cx: cx.clone(),
            prefix: config.topic_prefix.clone(),
            people: cx.signals(),
            topic,
            reader: None,
        }
    }

    /// The next signal, or what is wrong with it. May be dropped at any await.
    pub(crate) async fn next(&mut self) -> Result<Signal, String> {
        let Self { cx, prefix, people, topic, reader } = self;
        tokio::select! {
            signal = people.next() => Ok(signal),
            signal = from_topic(cx, prefix, topic.as_deref(), reader) => signal,
        }
    }
}

async fn from_topic(
    cx: &TaskContext,
    prefix: &str,
    topic: Option<&str>,
    reader: &mut Option<Box<dyn TopicReader>>,
) -> Result<Signal, String> {
    let Some(topic) = topic else { return std::future::pending().await };
    loop {
        let outcome = match reader {
            Some(reader) => reader.next().await,
            None => match cx.read_topic(topic).await {
                Ok(opened) => {
                    *reader = Some(opened);
                    continue;
                }
                Err(error) => Err(error),
            },
        };
        match outcome {
            Ok(record) => match read(prefix, &record) {
                None => {}
                Some(signal) => return signal,
            },
            Err(error) => {
                tracing::warn!(topic, error = %error.chain(), "signals can't be read from their topic");
                *reader = None;
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// The signal in a record, if it is for this connector.
fn read(prefix: &str, record: &TopicRecord) -> Option<Result<Signal, String>> {
    if record.key.as_deref() != Some(prefix.as_bytes()) {
        return None;
    }
    let value = record.value.as_deref()?;
    let signal = signal(value).map_err(|why| {
        format!("the record at offset {} of partition {} {why}", record.offset, record.partition)
    });
    Some(signal)
}

/// The signal that a record's value is: `{"id": …, "type": …, "data": {…}}`.
fn signal(value: &[u8]) -> Result<Signal, String> {
    let written: Map<String, JsonValue> =
        serde_json::from_slice(value).map_err(|error| format!("is no object of JSON: {error}"))?;
    let id = written.get("id").filter(|id| !id.is_null());
    let id = id.map(|id| id.as_str().map_or_else(|| id.to_string(), str::to_owned));
    let kind = written.get("type").and_then(JsonValue::as_str);
    let kind = kind.ok_or("has no text 'type'")?.to_owned();
    let data = match written.get("data") {
        None | Some(JsonValue::Null) => Map::new(),
        Some(JsonValue::Object(data)) => data.clone(),
        Some(other) => return Err(format!("has 'data' that is no object: {other}")),
    };
    Ok(Signal { id, kind, data })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(key: &'static str, value: Option<&'static str>) -> TopicRecord {
        let bytes = |text: &'static str| bytes::Bytes::from_static(text.as_bytes());
        TopicRecord { partition: 0, offset: 7, key: Some(bytes(key)), value: value.map(bytes) }
    }

    #[test]
    fn signals_are_for_the_connector_that_their_key_names() {
        let value = Some(r#"{"id": 1, "type": "log", "data": {"message": "m"}}"#);
        let signal = read("p", &record("p", value)).unwrap().unwrap();
        assert_eq!((signal.id.as_deref(), signal.kind.as_str()), (Some("1"), "log"));
        assert_eq!(signal.data["message"], "m");
        assert!(read("p", &record("q", value)).is_none());
        assert!(read("p", &record("p", None)).is_none());
        let error = read("p", &record("p", Some("x"))).unwrap().unwrap_err();
        assert!(error.contains("offset 7"), "{error}");
        let text = Some(r#"{"type": "log", "data": "{}"}"#);
        let error = read("p", &record("p", text)).unwrap().unwrap_err();
        assert!(error.contains("no object"), "{error}");
    }
}
