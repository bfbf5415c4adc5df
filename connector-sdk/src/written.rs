//! What a source has written, as it is in Kafka.
//!
//! Duty: let a source that has lost its place find out what its topics say: how a record would be
//! written now, and what was written. Transforms and converters are the connector's, so that keys can be
//! compared as the bytes that they are.

use std::future::ready;

use bytes::Bytes;
use futures::future::BoxFuture;

use crate::error::{Error, ErrorKind, Result};
use crate::record::{Record, Topic};
use crate::signal::TopicRecord;
use crate::value::Datum;

/// Where a record is written.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Spot {
    /// The topic.
    pub topic: Topic,
    /// The key as bytes.
    pub key: Option<Bytes>,
    /// Whether it has no value, and so is the end of its key.
    pub is_tombstone: bool,
}

/// Asks about what the connector has written.
pub trait Written: Send + Sync + 'static {
    /// Whether records are written to the topics and with the keys that they are made with: there are no
    /// transforms.
    fn is_plain(&self) -> bool;

    /// Where `record` would be written; `None` if a transform leaves it out. Nothing is written.
    ///
    /// # Errors
    /// What a transform or the converter of keys says to it.
    fn spot(&self, record: Record) -> Result<Option<Spot>>;

    /// Key and value of a record that was read from `topic`.
    ///
    /// # Errors
    /// [`ErrorKind::Data`] for what the converters can't read.
    fn decode(&self, topic: &str, record: &TopicRecord) -> Result<(Datum, Datum)>;

    /// Opens `topics` to be read.
    ///
    /// # Errors
    /// If the cluster can't be reached, or does not let the connector read.
    fn scan(&self, topics: Vec<Topic>) -> BoxFuture<'static, Result<Box<dyn TopicScan>>>;
}

/// Reads topics from their beginnings to where they end now.
pub trait TopicScan: Send {
    /// Begins with a topic, again if it was read before: it has so many records, or fewer. `None` if
    /// there is no such topic, or it is not one of those that were opened.
    ///
    /// # Errors
    /// As [`Written::scan`].
    fn begin(&mut self, topic: &str) -> BoxFuture<'_, Result<Option<u64>>>;

    /// The next records of the topic that was begun, in order within each partition; `None` at the end
    /// as it was then. Records of aborted transactions are not among them. May be dropped at any await.
    ///
    /// # Errors
    /// As [`Written::scan`]; or if the topic was deleted, or made anew, meanwhile.
    fn next(&mut self) -> BoxFuture<'_, Result<Option<Vec<TopicRecord>>>>;

    /// Whether so far nothing was removed from the beginning of the topic that was begun; compaction does
    /// not count. To be asked when it was read.
    ///
    /// # Errors
    /// As [`Written::scan`].
    fn is_whole(&mut self) -> BoxFuture<'_, Result<bool>>;
}

/// Where there are no topics: for sinks, and hosts without a cluster.
#[derive(Debug, Clone, Copy, Default)]
pub struct Nothing;

impl Nothing {
    fn refusal() -> Error {
        Error::new(ErrorKind::Unsupported, "there are no topics that this connector writes to")
    }
}

impl Written for Nothing {
    fn is_plain(&self) -> bool {
        true
    }

    fn spot(&self, _: Record) -> Result<Option<Spot>> {
        Err(Self::refusal())
    }

    fn decode(&self, _: &str, _: &TopicRecord) -> Result<(Datum, Datum)> {
        Err(Self::refusal())
    }

    fn scan(&self, _: Vec<Topic>) -> BoxFuture<'static, Result<Box<dyn TopicScan>>> {
        Box::pin(ready(Err(Self::refusal())))
    }
}
