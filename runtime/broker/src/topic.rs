//! One topic: its settings and its partitions.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use towpath_core::ports::{PortError, PortErrorKind, PortResult};
use towpath_sdk::record::Topic as TopicName;

use crate::partition::Partition;

/// Kafka's default for `max.message.bytes`.
const MAX_MESSAGE_BYTES: usize = 1_048_588;
/// Kafka's limit on the length of a name.
const MAX_NAME: usize = 249;

/// A topic.
#[derive(Debug)]
pub(crate) struct Topic {
    pub(crate) name: TopicName,
    pub(crate) id: u32,
    pub(crate) partitions: Vec<Arc<Partition>>,
    pub(crate) settings: Settings,
}

/// The settings of a topic that mean something here.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) compacted: bool,
    pub(crate) max_message_bytes: usize,
    /// Bytes per partition to keep; `None` is the broker's default.
    pub(crate) retention_bytes: Option<u64>,
    /// How long to keep; `None` is the broker's default.
    pub(crate) retention: Option<Duration>,
    /// How long a compacted topic keeps tombstones; `None` is Kafka's default.
    pub(crate) tombstones_ms: Option<i64>,
}

impl Settings {
    pub(crate) fn parse(given: &BTreeMap<String, String>) -> PortResult<Self> {
        if let Some((key, value)) = given.iter().find(|(_, v)| v.contains('\n')) {
            return Err(invalid(key, value, "one line"));
        }
        let policy = given.get("cleanup.policy").map_or("delete", String::as_str);
        let mut compacted = false;
        for word in policy.split(',').map(str::trim) {
            match word {
                "compact" => compacted = true,
                "delete" => {}
                _ => return Err(invalid("cleanup.policy", policy, "compact or delete")),
            }
        }
        Ok(Self {
            compacted,
            max_message_bytes: number(given, "max.message.bytes")?
                .and_then(|n| usize::try_from(n).ok())
                .unwrap_or(MAX_MESSAGE_BYTES),
            retention_bytes: number(given, "retention.bytes")?,
            tombstones_ms: number(given, "delete.retention.ms")?
                .map(|n| i64::try_from(n).unwrap_or(i64::MAX)),
            retention: number(given, "retention.ms")?.map(Duration::from_millis),
        })
    }
}

/// The number at `key`; Kafka's -1, no limit, is the largest.
fn number(given: &BTreeMap<String, String>, key: &str) -> PortResult<Option<u64>> {
    match given.get(key).map(String::as_str) {
        None => Ok(None),
        Some("-1") => Ok(Some(u64::MAX)),
        Some(text) => text
            .parse()
            .map(Some)
            .map_err(|_| invalid(key, text, "a whole number, or -1 for no limit")),
    }
}

fn invalid(key: &str, value: &str, expect: &str) -> PortError {
    PortError::new(
        PortErrorKind::Invalid,
        format!("the topic setting '{key}' is '{value}': it must be {expect}"),
    )
}

/// Kafka's rule for names of topics.
pub(crate) fn check_name(name: &str) -> PortResult<()> {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if name.is_empty()
        || name.len() > MAX_NAME
        || name == "."
        || name == ".."
        || !name.chars().all(legal)
    {
        return Err(PortError::new(
            PortErrorKind::Invalid,
            format!(
                "'{name}' can't be a topic's name: use 1 to {MAX_NAME} ASCII letters, digits, '.', '_' \
                 and '-'"
            ),
        ));
    }
    Ok(())
}
