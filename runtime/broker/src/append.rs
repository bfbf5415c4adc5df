//! Writing records to logs.
//!
//! Duty: find each record's partition, encode chunks outside the lock, give them offsets under it, and
//! store a batch as one.
//!
//! Invariants: batches are appended in call order; a record that can't be written for what it is does
//! not stop the others; nothing is visible before the store has it.

use std::collections::BTreeMap;
use std::sync::Arc;

use towpath_core::ports::{
    NewTopic, OutRecord, PortError, PortErrorKind, PortResult, ProduceFailure,
};
use towpath_formats::partitioner::partition_for_key;

use crate::broker::{Broker, Writer, encode_bounds};
use crate::chunk::{Builder, Head, Kind, Row};
use crate::keys;
use crate::partition::{Bounds, Partition};
use crate::store::{Space, Write};
use crate::topic::Topic;
use crate::transactions::TransactionRef;

/// Encoded bytes after which a chunk is closed: what a reader decodes at least.
pub(crate) const CHUNK_BYTES: usize = 128 << 10;

/// Chunks for one partition.
struct Lane {
    partition: Arc<Partition>,
    topic: Arc<Topic>,
    chunks: Vec<(Head, bytes::Bytes)>,
    open: Option<Builder>,
}

/// A chunk with its place.
struct Placed {
    partition: Arc<Partition>,
    bounds: Bounds,
    stored: u64,
}

impl Broker {
    /// Appends `records`, as part of a transaction if there is one. `turn` picks the partition of
    /// records without key or partition; a caller passes another for each batch.
    pub(crate) fn append(
        &self,
        records: &[OutRecord],
        transaction: Option<&TransactionRef>,
        turn: usize,
    ) -> PortResult<Vec<ProduceFailure>> {
        let kind = transaction.map_or(Kind::Plain, |t| Kind::Transactional(t.producer_id));
        let mut failures = Vec::new();
        let lanes = self.encode(records, kind, turn, &mut failures);
        let stored = {
            let mut writer = self.writer()?;
            if let Some(transaction) = transaction {
                writer.transactions.check_open(transaction)?;
            }
            self.store_lanes(&mut writer, lanes, transaction)
        };
        if let Err(error) = stored {
            let failed = |index| ProduceFailure { index, error: error.clone() };
            return Ok((0..records.len()).map(failed).collect());
        }
        Ok(failures)
    }

    fn encode(
        &self,
        records: &[OutRecord],
        kind: Kind,
        turn: usize,
        failures: &mut Vec<ProduceFailure>,
    ) -> Vec<Lane> {
        let mut lanes: Vec<Lane> = Vec::new();
        let mut places: BTreeMap<(&str, i32), usize> = BTreeMap::new();
        let mut last: Option<(&str, Arc<Topic>)> = None;
        let now = self.now_ms();
        for (index, record) in records.iter().enumerate() {
            let topic = match &last {
                Some((name, topic)) if *name == &*record.topic => Ok(Arc::clone(topic)),
                _ => self.topic_to_write(&record.topic),
            };
            let number = topic.and_then(|topic| {
                last = Some((&record.topic, Arc::clone(&topic)));
                let number = place(record, &topic, turn)?;
                Ok((topic, number))
            });
            match number {
                Err(error) => failures.push(ProduceFailure { index, error }),
                Ok((topic, number)) => {
                    let lane = *places.entry((&record.topic, number)).or_insert_with(|| {
                        let partition = Arc::clone(&topic.partitions[number as usize]);
                        lanes.push(Lane { partition, topic, chunks: Vec::new(), open: None });
                        lanes.len() - 1
                    });
                    lanes[lane].push(record, kind, now);
                }
            }
        }
        lanes
    }

    fn topic_to_write(&self, name: &str) -> PortResult<Arc<Topic>> {
        if let Some(topic) = self.topic(name) {
            return Ok(topic);
        }
        if self.options.auto_create_topics {
            self.create_topic(&NewTopic {
                name: name.to_owned(),
                partitions: None,
                replication_factor: None,
                config: BTreeMap::new(),
            })?;
        }
        self.topic(name).ok_or_else(|| {
            PortError::new(
                PortErrorKind::NotFound,
                format!("there is no topic {name}, and none is created by writing: create it"),
            )
        })
    }

    fn store_lanes(
        &self,
        writer: &mut Writer,
        lanes: Vec<Lane>,
        transaction: Option<&TransactionRef>,
    ) -> PortResult<()> {
        let chunks = lanes.into_iter().map(Lane::finish).collect::<Vec<_>>();
        let bytes = chunks.iter().flat_map(|(_, _, c)| c).map(|(_, b)| b.len() as u64).sum();
        self.make_room(bytes)?;
        let mut writes = Vec::new();
        let mut placed = Vec::new();
        let mut topics = Vec::new();
        for (partition, topic, chunks) in chunks {
            let mut bounds = partition.bounds();
            let mut stored = 0;
            for (head, bytes) in chunks {
                let base = bounds.next + i64::from(self.quirks.gap());
                if let Some(transaction) = transaction {
                    let id = transaction.producer_id;
                    bounds.open.entry(id).or_insert_with(|| {
                        let at = &partition.at;
                        let key = keys::open_transaction(id, partition.topic_id, at.partition);
                        writes.push(Write::put(Space::Meta, key, base.to_be_bytes().to_vec()));
                        base
                    });
                }
                bounds.next = base + i64::from(head.last_delta) + 1;
                stored += bytes.len() as u64;
                let key = keys::chunk(partition.topic_id, partition.at.partition, base);
                writes.push(Write::put(Space::Log, key, bytes));
            }
            bounds.bytes += stored;
            let key = keys::bounds(partition.topic_id, partition.at.partition);
            writes.push(Write::put(Space::Meta, key, encode_bounds(&bounds)));
            placed.push(Placed { partition: Arc::clone(&partition), bounds, stored });
            topics.push((topic, partition));
        }
        if writes.is_empty() {
            return Ok(());
        }
        self.apply(writes)?;
        for Placed { partition, bounds, stored } in placed {
            if let Some(transaction) = transaction {
                writer.transactions.touch(transaction, &partition);
            }
            partition.update(|b| *b = bounds);
            self.count_bytes(stored, 0);
        }
        for (topic, partition) in topics {
            self.tidy(&topic, &partition);
        }
        Ok(())
    }
}

impl Lane {
    fn push(&mut self, record: &OutRecord, kind: Kind, now: i64) {
        let chunk = self.open.get_or_insert_with(|| Builder::new(kind));
        chunk.push(&Row {
            delta: chunk.count(),
            timestamp: record.timestamp.unwrap_or(now),
            key: record.key.as_deref(),
            value: record.value.as_deref(),
            headers: record.headers.iter().map(|(k, v)| (&**k, v.as_deref())).collect(),
        });
        if chunk.encoded_len() >= CHUNK_BYTES {
            self.chunks.extend(self.open.take().map(Builder::finish));
        }
    }

    fn finish(mut self) -> (Arc<Partition>, Arc<Topic>, Vec<(Head, bytes::Bytes)>) {
        self.chunks.extend(self.open.take().map(Builder::finish));
        (self.partition, self.topic, self.chunks)
    }
}

/// The partition of `topic` that `record` goes to.
fn place(record: &OutRecord, topic: &Topic, turn: usize) -> PortResult<i32> {
    let limit = topic.settings.max_message_bytes;
    if record.size() > limit {
        return Err(PortError::new(
            PortErrorKind::TooLarge,
            format!(
                "a record of {} bytes is larger than the {limit} that the topic {} takes: raise its \
                 max.message.bytes",
                record.size(),
                topic.name
            ),
        ));
    }
    if topic.settings.compacted && record.key.is_none() {
        return Err(PortError::new(
            PortErrorKind::Invalid,
            format!(
                "a record without a key can't be written to the compacted topic {}",
                topic.name
            ),
        ));
    }
    let count = topic.partitions.len();
    let number = match (record.partition, &record.key) {
        (Some(number), _) => usize::try_from(number).unwrap_or(usize::MAX),
        (None, Some(key)) => {
            let count = u32::try_from(count).unwrap_or(u32::MAX);
            partition_for_key(key, count).unwrap_or_default() as usize
        }
        (None, None) => turn % count.max(1),
    };
    if number >= count {
        return Err(PortError::new(
            PortErrorKind::Invalid,
            format!("the topic {} has no partition {number}: it has {count}", topic.name),
        ));
    }
    Ok(i32::try_from(number).unwrap_or(i32::MAX))
}
