//! Bodies about offsets (KIP-875), and what a sink's offsets must look like.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::messages;
use crate::offset_topic::OffsetMap;

/// The member of a sink's partition that names the topic.
const TOPIC: &str = "kafka_topic";
/// The member of a sink's partition that numbers the partition.
const PARTITION: &str = "kafka_partition";
/// The member of a sink's offset.
const OFFSET: &str = "kafka_offset";

/// `GET`, and the body of `PATCH /connectors/{name}/offsets`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConnectorOffsets {
    /// One for each partition; `None` or none at all is refused in a change.
    pub offsets: Option<Vec<ConnectorOffset>>,
}

/// Where a connector is in one partition.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConnectorOffset {
    /// The partition: the source's own members, or for a sink `kafka_topic` and `kafka_partition`.
    pub partition: Option<OffsetMap>,
    /// The offset: the source's own members, or for a sink `kafka_offset`. `None` forgets it.
    pub offset: Option<OffsetMap>,
}

/// A change of a sink's offset, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SinkOffset {
    /// The topic.
    pub topic: String,
    /// Its partition.
    pub partition: i32,
    /// The next offset to consume; `None` forgets it.
    pub offset: Option<i64>,
}

impl ConnectorOffsets {
    /// The entries of a change.
    ///
    /// # Errors
    /// Connect's text (for a 400), if there are none.
    pub fn to_alter(&self) -> Result<&[ConnectorOffset], String> {
        match self.offsets.as_deref() {
            None | Some([]) => Err(messages::offsets_missing()),
            Some(offsets) => Ok(offsets),
        }
    }
}

impl From<SinkOffset> for ConnectorOffset {
    /// With the members in the order in which Connect shows them.
    fn from(sink: SinkOffset) -> Self {
        let partition =
            [(PARTITION, Value::from(sink.partition)), (TOPIC, Value::from(sink.topic))];
        let offset = |offset: i64| OffsetMap::from_iter([(OFFSET.to_owned(), Value::from(offset))]);
        let partition =
            partition.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        Self { partition: Some(partition), offset: sink.offset.map(offset) }
    }
}

impl TryFrom<&ConnectorOffset> for SinkOffset {
    /// Connect's text, for a 400.
    type Error = String;

    fn try_from(entry: &ConnectorOffset) -> Result<Self, String> {
        let partition = entry.partition.as_ref().ok_or_else(messages::sink_partition_missing)?;
        let (Some(topic), Some(number)) = (partition.get(TOPIC), partition.get(PARTITION)) else {
            return Err(messages::sink_partition_members());
        };
        let topic = scalar(topic).ok_or_else(messages::sink_topic_missing)?;
        let number = scalar(number).ok_or_else(messages::sink_partition_number_missing)?;
        let partition =
            number.parse().map_err(|_| messages::sink_partition_not_integer(&number))?;
        let offset = entry.offset.as_ref().map(|offset| {
            let value = offset.get(OFFSET).ok_or_else(messages::sink_offset_members)?;
            let text = scalar(value).unwrap_or_else(|| "null".to_owned());
            text.parse().map_err(|_| messages::sink_offset_not_integer(&text))
        });
        Ok(Self { topic, partition, offset: offset.transpose()? })
    }
}

/// A scalar as Java's `String.valueOf` shows it; `None` for null.
fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<SinkOffset, String> {
        SinkOffset::try_from(&serde_json::from_str::<ConnectorOffset>(json).expect("an entry"))
    }

    #[test]
    fn sink_offsets_are_read_with_numbers_as_texts_too() {
        let expect = SinkOffset { topic: "t".into(), partition: 3, offset: Some(7) };
        let json = r#"{"partition":{"kafka_topic":"t","kafka_partition":"3"},"offset":{"kafka_offset":"7"}}"#;
        assert_eq!(read(json), Ok(expect));
        let forget = r#"{"partition":{"kafka_topic":"t","kafka_partition":3},"offset":null}"#;
        assert_eq!(read(forget), Ok(SinkOffset { topic: "t".into(), partition: 3, offset: None }));
    }

    #[test]
    fn sink_offsets_are_refused_in_connects_words() {
        for (json, expect) in [
            ("{}", "The partition for a sink connector offset cannot be null or missing"),
            (
                r#"{"partition":{"topic":"t"}}"#,
                "The partition for a sink connector offset must contain the keys 'kafka_topic' and 'kafka_partition'",
            ),
            (
                r#"{"partition":{"kafka_topic":null,"kafka_partition":0}}"#,
                "Kafka topic names must be valid strings and may not be null",
            ),
            (
                r#"{"partition":{"kafka_topic":"t","kafka_partition":"x"}}"#,
                "Failed to parse the following Kafka partition value in the provided offsets: 'x'. Partition values for sink connectors need to be integers.",
            ),
            (
                r#"{"partition":{"kafka_topic":"t","kafka_partition":0},"offset":{"kafka_offset":"abc"}}"#,
                "Failed to parse the following Kafka offset value in the provided offsets: 'abc'. Offset values for sink connectors need to be integers.",
            ),
            (
                r#"{"partition":{"kafka_topic":"t","kafka_partition":0},"offset":{"o":1}}"#,
                "The offset for a sink connector should either be null or contain the key 'kafka_offset'",
            ),
        ] {
            assert_eq!(read(json), Err(expect.to_owned()));
        }
    }
}
