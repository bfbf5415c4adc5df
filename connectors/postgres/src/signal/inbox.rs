//! Signals from outside the database: the REST API, and a topic.
//!
//! Duty: wait for the next one. Those for other connectors in the same topic are passed over: a record's
//! key is the `topic.prefix` it is for, as Debezium has it.
//!
//! Invariants: how far the topic was read is stored with what its signals have led to, so that none is
//! lost and none comes twice; what came otherwise and was not handed over comes again when the stream is
//! begun anew.

use std::collections::VecDeque;
use std::time::Duration;

use serde_json::{Map, Value as JsonValue};
use tokio::sync::watch;
use towpath_sdk::context::TaskContext;
use towpath_sdk::offset::{SourceOffset, SourcePartition, StoredOffsets};
use towpath_sdk::signal::{Signal, Signals, TopicPositions, TopicReader, TopicRecord};
use towpath_sdk::source::Mark;

use crate::config::Config;
use crate::config::signals::Channel;
use crate::offset::SERVER;

/// How long the topic is left alone after an error.
const PAUSE: Duration = Duration::from_secs(10);

const TOPIC: &str = "signals";
const PARTITION: &str = "partition";
const NEXT: &str = "next";

/// A signal, or what is wrong with it.
pub(crate) struct Heard {
    /// The signal.
    pub(crate) signal: Result<Signal, String>,
    /// What is stored once it is taken care of.
    pub(crate) mark: Option<Mark>,
}

/// Where signals come from.
pub(crate) struct Inbox {
    people: Signals,
    /// Those of people that were given out, and what they led to was not handed over.
    given: Vec<Signal>,
    /// Those that are given out again.
    again: VecDeque<Signal>,
    /// The topic, if signals are taken from one.
    topic: Option<Topic>,
}

/// A topic of signals.
struct Topic {
    cx: TaskContext,
    prefix: String,
    name: String,
    /// Where it is read from.
    from: TopicPositions,
    /// Up to where that is stored.
    stored: watch::Receiver<TopicPositions>,
    reader: Option<Box<dyn TopicReader>>,
}

impl Inbox {
    /// For a task; it hears from now on. `stored` says how far the topic's signals are stored.
    #[must_use]
    pub(crate) fn new(
        config: &Config,
        cx: &TaskContext,
        stored: watch::Receiver<TopicPositions>,
    ) -> Self {
        let signals = &config.signals;
        let topic = signals.has(Channel::Kafka).then(|| Topic {
            cx: cx.clone(),
            prefix: config.topic_prefix.clone(),
            name: signals.topic(&config.topic_prefix),
            from: TopicPositions::new(),
            stored,
            reader: None,
        });
        Self { people: cx.signals(), given: Vec::new(), again: VecDeque::new(), topic }
    }

    /// A stream begins, before which offsets stand at `handed`.
    pub(crate) fn begin(&mut self, handed: &StoredOffsets) {
        self.again.extend(self.given.drain(..));
        if let Some(topic) = &mut self.topic {
            topic.from = positions(handed.iter(), &topic.prefix, &topic.name);
            topic.reader = None;
        }
    }

    /// What signals have led to so far was handed over.
    pub(crate) fn handed(&mut self) {
        self.given.clear();
    }

    /// The next signal. May be dropped at any await.
    pub(crate) async fn next(&mut self) -> Heard {
        let Self { people, given, again, topic } = self;
        let signal = match again.pop_front() {
            Some(signal) => signal,
            None => tokio::select! {
                signal = people.next() => signal,
                heard = from_topic(topic) => return heard,
            },
        };
        given.push(signal.clone());
        Heard { signal: Ok(signal), mark: None }
    }
}

/// Where partitions of a topic of signals go on, of all that is stored.
pub(crate) fn positions<'a>(
    stored: impl IntoIterator<Item = &'a (SourcePartition, SourceOffset)>,
    prefix: &str,
    topic: &str,
) -> TopicPositions {
    let position = |(partition, offset): &(SourcePartition, SourceOffset)| {
        let is = |key, text| partition.get(key).and_then(JsonValue::as_str) == Some(text);
        let number = partition.get_i64(PARTITION)?;
        let next = offset.get_i64(NEXT)?;
        (is(SERVER, prefix) && is(TOPIC, topic)).then_some((i32::try_from(number).ok()?, next))
    };
    stored.into_iter().filter_map(position).collect()
}

impl Topic {
    async fn record(&mut self) -> towpath_sdk::Result<TopicRecord> {
        loop {
            let Some(reader) = &mut self.reader else {
                let opened = self.cx.read_topic(&*self.name, self.from.clone()).await?;
                self.reader = Some(opened);
                continue;
            };
            if self.stored.has_changed().unwrap_or(false) {
                let stored = self.stored.borrow_and_update().clone();
                stored.into_iter().for_each(|(partition, next)| reader.done(partition, next));
            }
            return reader.next().await;
        }
    }

    /// The mark behind a record.
    fn mark(&self, record: &TopicRecord) -> Mark {
        let partition = SourcePartition::of([
            (SERVER, JsonValue::from(&*self.prefix)),
            (TOPIC, (&*self.name).into()),
            (PARTITION, record.partition.into()),
        ]);
        Mark::new(0, partition, SourceOffset::of([(NEXT, record.offset + 1)]))
    }
}

async fn from_topic(topic: &mut Option<Topic>) -> Heard {
    let Some(topic) = topic else { return std::future::pending().await };
    loop {
        match topic.record().await {
            Ok(record) => {
                topic.from.insert(record.partition, record.offset + 1);
                if let Some(signal) = read(&topic.prefix, &record) {
                    return Heard { signal, mark: Some(topic.mark(&record)) };
                }
            }
            Err(error) => {
                tracing::warn!(topic = topic.name, error = %error.chain(), "signals can't be read from their topic");
                topic.reader = None;
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

    #[test]
    fn a_position_is_read_back_among_others() {
        let of = |topic: &str, partition: i32, next: i64| {
            let partition = SourcePartition::of([
                (SERVER, JsonValue::from("p")),
                (TOPIC, topic.into()),
                (PARTITION, partition.into()),
            ]);
            (partition, SourceOffset::of([(NEXT, next)]))
        };
        let stream = (SourcePartition::of([(SERVER, "p")]), SourceOffset::of([("lsn", 5)]));
        let all = [of("a", 0, 7), of("b", 0, 8), of("a", 2, 9), stream];
        let found = positions(&all, "p", "a");
        assert_eq!(found, TopicPositions::from([(0, 7), (2, 9)]));
        let other = positions(&all, "q", "a");
        assert!(other.is_empty());
    }
}
