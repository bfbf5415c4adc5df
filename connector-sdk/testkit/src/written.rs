//! What a source has written, for tests: topics in memory, with the converters of a worker.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use bytes::BytesMut;
use futures::FutureExt;
use futures::future::BoxFuture;
use towpath_sdk::Result;
use towpath_sdk::converter::Converter;
use towpath_sdk::record::{Record, Topic};
use towpath_sdk::signal::TopicRecord;
use towpath_sdk::value::Datum;
use towpath_sdk::written::{Spot, TopicScan, Written};

use crate::host::lock;

/// Records in a batch of a scan.
const BATCH: usize = 100;

/// Topics of one partition each. Clones share them.
#[derive(Clone)]
pub struct KeptTopics {
    key: Arc<dyn Converter>,
    value: Arc<dyn Converter>,
    topics: Arc<Mutex<BTreeMap<Topic, Kept>>>,
}

#[derive(Clone, Default)]
struct Kept {
    first: usize,
    records: Vec<TopicRecord>,
}

impl KeptTopics {
    /// None so far; records are converted by `key` and `value`.
    #[must_use]
    pub fn new(key: Arc<dyn Converter>, value: Arc<dyn Converter>) -> Self {
        Self { key, value, topics: Arc::default() }
    }

    /// Appends a record to its topic.
    ///
    /// # Errors
    /// If it can't be converted.
    pub fn keep(&self, record: &Record) -> Result<()> {
        let mut scratch = BytesMut::new();
        let key = self.key.encode(&record.topic, &record.key, &mut scratch)?;
        let value = self.value.encode(&record.topic, &record.value, &mut scratch)?;
        let mut topics = lock(&self.topics);
        let kept = topics.entry(Arc::clone(&record.topic)).or_default();
        let offset = kept.records.len() as i64;
        kept.records.push(TopicRecord { partition: 0, offset, key, value });
        Ok(())
    }

    /// Removes the first `count` records of a topic, as its retention would.
    pub fn expire(&self, topic: &str, count: usize) {
        if let Some(kept) = lock(&self.topics).get_mut(topic) {
            kept.first = count.min(kept.records.len());
        }
    }
}

impl Written for KeptTopics {
    fn is_plain(&self) -> bool {
        true
    }

    fn spot(&self, record: Record) -> Result<Option<Spot>> {
        let key = self.key.encode(&record.topic, &record.key, &mut BytesMut::new())?;
        let is_tombstone = record.value.is_null();
        Ok(Some(Spot { topic: record.topic, key, is_tombstone }))
    }

    fn decode(&self, topic: &str, record: &TopicRecord) -> Result<(Datum, Datum)> {
        let key = self.key.decode(topic, record.key.clone())?;
        Ok((key, self.value.decode(topic, record.value.clone())?))
    }

    fn scan(&self, topics: Vec<Topic>) -> BoxFuture<'static, Result<Box<dyn TopicScan>>> {
        let (kept, topic) = (Arc::clone(&self.topics), None);
        let scan: Box<dyn TopicScan> = Box::new(KeptScan { topics, kept, topic, left: Vec::new() });
        std::future::ready(Ok(scan)).boxed()
    }
}

struct KeptScan {
    topics: Vec<Topic>,
    kept: Arc<Mutex<BTreeMap<Topic, Kept>>>,
    /// The topic that was begun.
    topic: Option<String>,
    /// What is left of it, the next one last.
    left: Vec<TopicRecord>,
}

impl TopicScan for KeptScan {
    fn begin(&mut self, topic: &str) -> BoxFuture<'_, Result<Option<u64>>> {
        let is_open = self.topics.iter().any(|open| **open == *topic);
        let kept = lock(&self.kept).get(topic).filter(|_| is_open).cloned();
        self.topic = Some(topic.to_owned());
        let records = kept.iter().flat_map(|kept| kept.records.iter().skip(kept.first));
        self.left = records.rev().cloned().collect();
        let count = kept.map(|_| self.left.len() as u64);
        std::future::ready(Ok(count)).boxed()
    }

    fn next(&mut self) -> BoxFuture<'_, Result<Option<Vec<TopicRecord>>>> {
        let rest = self.left.len().saturating_sub(BATCH);
        let batch: Vec<TopicRecord> = self.left.drain(rest..).rev().collect();
        std::future::ready(Ok((!batch.is_empty()).then_some(batch))).boxed()
    }

    fn is_whole(&mut self) -> BoxFuture<'_, Result<bool>> {
        let kept = lock(&self.kept);
        let first = self.topic.as_deref().and_then(|topic| kept.get(topic)).map(|kept| kept.first);
        std::future::ready(Ok(first.unwrap_or_default() == 0)).boxed()
    }
}
