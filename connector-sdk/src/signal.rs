//! What reaches a running connector beside records and configuration.
//!
//! Duty: signals of people ("snapshot this table now"), and reading a topic that is not a sink's. What a
//! signal means is the connector's matter.

use std::collections::BTreeMap;
use std::future::pending;

use bytes::Bytes;
use futures::future::BoxFuture;
use serde_json::{Map, Value as JsonValue};
use tokio::sync::mpsc;

use crate::error::Result;
use crate::record::{RawBatch, RawRow};

/// Signals that may wait for one task.
pub const SIGNALS_MAX: usize = 64;

/// A signal.
#[derive(Debug, Clone, PartialEq)]
pub struct Signal {
    /// Whoever sends it may name it, to find it again in logs and statuses.
    pub id: Option<String>,
    /// What is to be done, in the connector's words (`execute-snapshot`).
    pub kind: String,
    /// The particulars.
    pub data: Map<String, JsonValue>,
}

/// Signals in order of arrival, from when they were asked for.
#[derive(Debug)]
pub struct Signals(mpsc::Receiver<Signal>);

impl Signals {
    /// What comes out of `receiver`.
    #[must_use]
    pub const fn new(receiver: mpsc::Receiver<Signal>) -> Self {
        Self(receiver)
    }

    /// No signals, ever.
    #[must_use]
    pub fn none() -> Self {
        Self(mpsc::channel(1).1)
    }

    /// The next signal. May be dropped at any await.
    pub async fn next(&mut self) -> Signal {
        match self.0.recv().await {
            Some(signal) => signal,
            None => pending().await,
        }
    }
}

/// A record of a topic that is read beside the records' way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicRecord {
    /// The partition.
    pub partition: i32,
    /// The offset.
    pub offset: i64,
    /// The key.
    pub key: Option<Bytes>,
    /// The value.
    pub value: Option<Bytes>,
}

impl TopicRecord {
    /// The record that `row` of `batch` is. It shares the batch's memory.
    #[must_use]
    pub fn of(batch: &RawBatch, row: &RawRow) -> Self {
        Self {
            partition: batch.topic_partition.partition,
            offset: row.offset,
            key: batch.slice(&row.key),
            value: batch.slice(&row.value),
        }
    }
}

/// Where each partition of a topic goes on.
pub type TopicPositions = BTreeMap<i32, i64>;

/// Reads a topic.
pub trait TopicReader: Send {
    /// The next record. May be dropped at any await.
    fn next(&mut self) -> BoxFuture<'_, Result<TopicRecord>>;

    /// All before `next` of a partition was taken care of, durably: a reader that is opened without
    /// positions goes on there. It is committed before the next record comes.
    fn done(&mut self, partition: i32, next: i64);
}
