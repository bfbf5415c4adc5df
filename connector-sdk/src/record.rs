//! Records and the batches they travel in.
//!
//! Duty: the rows between the engine and connectors. A consumed batch ([`RawBatch`]) is one arena
//! which every key, value and header of it slices; the arena's owner holds the byte permit of the
//! batch, so that what is really pinned is what is charged. A [`SinkRecord`] keeps its place in the
//! raw batch, so that a reject can be written to the dead letter queue byte for byte.

use std::fmt;
use std::ops::{Deref, DerefMut, Range};
use std::sync::Arc;

use bytes::Bytes;
use bytestring::ByteString;

use crate::error::Error;
use crate::value::Datum;

/// A topic's name, shared.
pub type Topic = Arc<str>;

/// A partition of a topic.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicPartition {
    /// The topic.
    pub topic: Topic,
    /// The partition's number.
    pub partition: i32,
}

impl TopicPartition {
    /// Partition `partition` of `topic`.
    pub fn new(topic: impl Into<Topic>, partition: i32) -> Self {
        Self { topic: topic.into(), partition }
    }
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.topic, self.partition)
    }
}

/// A header of a record.
#[derive(Debug, Clone, PartialEq)]
pub struct Header {
    /// The name.
    pub key: ByteString,
    /// The value.
    pub value: Datum,
}

/// A record's headers in order; a name may come twice. Clones share them until one is changed, as many
/// records have the same.
#[derive(Clone, Default)]
pub struct Headers(Option<Arc<Vec<Header>>>);

static NO_HEADERS: Vec<Header> = Vec::new();

impl Headers {
    /// No headers.
    #[must_use]
    pub const fn new() -> Self {
        Self(None)
    }

    /// Whether both are the same in memory; where they are not, they may still be equal.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            (one, other) => one.is_none() && other.is_none(),
        }
    }
}

impl Deref for Headers {
    type Target = Vec<Header>;

    fn deref(&self) -> &Vec<Header> {
        self.0.as_deref().unwrap_or(&NO_HEADERS)
    }
}

impl DerefMut for Headers {
    fn deref_mut(&mut self) -> &mut Vec<Header> {
        Arc::make_mut(self.0.get_or_insert_default())
    }
}

impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl PartialEq for Headers {
    fn eq(&self, other: &Self) -> bool {
        self.is_same(other) || **self == **other
    }
}

impl From<Vec<Header>> for Headers {
    fn from(headers: Vec<Header>) -> Self {
        Self((!headers.is_empty()).then(|| Arc::new(headers)))
    }
}

impl FromIterator<Header> for Headers {
    fn from_iter<I: IntoIterator<Item = Header>>(headers: I) -> Self {
        headers.into_iter().collect::<Vec<_>>().into()
    }
}

impl<'a> IntoIterator for &'a Headers {
    type Item = &'a Header;
    type IntoIter = std::slice::Iter<'a, Header>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl IntoIterator for Headers {
    type Item = Header;
    type IntoIter = std::vec::IntoIter<Header>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.map(Arc::unwrap_or_clone).unwrap_or_default().into_iter()
    }
}

/// What a source produces and a transform changes: the part that source and sink records share.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// The topic.
    pub topic: Topic,
    /// The partition; `None` lets the partitioner decide by the key.
    pub partition: Option<i32>,
    /// The key.
    pub key: Datum,
    /// The value; null is a tombstone.
    pub value: Datum,
    /// Milliseconds since the epoch; `None` lets the producer set it.
    pub timestamp: Option<i64>,
    /// The headers.
    pub headers: Headers,
    refusal: Option<Refusal>,
}

/// Why a source can't show what it has read.
#[derive(Debug, Clone)]
struct Refusal(Arc<Error>);

impl PartialEq for Refusal {
    fn eq(&self, other: &Self) -> bool {
        self.0.kind() == other.0.kind() && self.0.chain() == other.0.chain()
    }
}

impl Record {
    /// A record of `topic` with a value and nothing else.
    pub fn new(topic: impl Into<Topic>, value: Datum) -> Self {
        Self {
            topic: topic.into(),
            partition: None,
            key: Datum::null(),
            value,
            timestamp: None,
            headers: Headers::new(),
            refusal: None,
        }
    }

    /// The same with a key.
    #[must_use]
    pub fn with_key(mut self, key: Datum) -> Self {
        self.key = key;
        self
    }

    /// What a source has read and can't show, with key and value as far as they may be seen, and `why`. It
    /// never reaches its topic: in its turn it goes the way of `errors.tolerance`, which stops the task or
    /// makes a dead letter of it as it is, without transforms, and is durable before any mark behind it.
    #[must_use]
    pub fn refused(mut self, why: Error) -> Self {
        self.refusal = Some(Refusal(Arc::new(why)));
        self
    }

    /// Why the source can't show it, if it can't.
    #[must_use]
    pub fn refusal(&self) -> Option<&Arc<Error>> {
        self.refusal.as_ref().map(|Refusal(why)| why)
    }

    /// Bytes of key, value and headers in memory, roughly; schemas, which are shared, do not count.
    #[must_use]
    pub fn size(&self) -> usize {
        let headers: usize =
            self.headers.iter().map(|header| header.key.len() + header.value.value.size()).sum();
        self.key.value.size() + self.value.value.size() + headers
    }
}

/// How a consumed record's timestamp came about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TimestampType {
    /// Set by the producer.
    CreateTime,
    /// Set by the broker on append.
    LogAppendTime,
}

/// A record on its way into a sink.
#[derive(Debug, Clone)]
pub struct SinkRecord {
    record: Record,
    origin: Origin,
}

impl SinkRecord {
    /// The decoded `record` which came from row `row` of `batch`.
    #[must_use]
    pub fn new(record: Record, origin: Origin) -> Self {
        Self { record, origin }
    }

    /// Where it came from, untouched by transforms.
    #[must_use]
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// The offset in the partition that it was consumed from.
    #[must_use]
    pub fn offset(&self) -> i64 {
        self.origin.row().offset
    }

    /// The record alone.
    #[must_use]
    pub fn into_record(self) -> Record {
        self.record
    }
}

impl Deref for SinkRecord {
    type Target = Record;
    fn deref(&self) -> &Record {
        &self.record
    }
}

impl DerefMut for SinkRecord {
    fn deref_mut(&mut self) -> &mut Record {
        &mut self.record
    }
}

/// A row of a raw batch: the bytes as they were consumed.
#[derive(Debug, Clone)]
pub struct Origin {
    batch: Arc<RawBatch>,
    row: u32,
}

impl Origin {
    /// Row `row` of `batch`; `None` if there is no such row.
    #[must_use]
    pub fn new(batch: &Arc<RawBatch>, row: usize) -> Option<Self> {
        (row < batch.rows.len())
            .then(|| Self { batch: Arc::clone(batch), row: u32::try_from(row).unwrap_or(u32::MAX) })
    }

    /// The partition it was consumed from.
    #[must_use]
    pub fn topic_partition(&self) -> &TopicPartition {
        &self.batch.topic_partition
    }

    /// The row.
    #[must_use]
    pub fn row(&self) -> &RawRow {
        &self.batch.rows[self.row as usize]
    }

    /// The key's bytes.
    #[must_use]
    pub fn key(&self) -> Option<Bytes> {
        self.batch.slice(&self.row().key)
    }

    /// The value's bytes.
    #[must_use]
    pub fn value(&self) -> Option<Bytes> {
        self.batch.slice(&self.row().value)
    }

    /// The headers' bytes in order.
    pub fn headers(&self) -> impl Iterator<Item = (&str, Option<Bytes>)> {
        self.row().headers.iter().map(|h| (&*h.key, self.batch.slice(&h.value)))
    }
}

/// Records consumed from one partition, in order, in one arena.
///
/// Offsets ascend but need not be dense: compaction and transaction markers leave gaps.
pub struct RawBatch {
    /// The partition.
    pub topic_partition: TopicPartition,
    /// The assignment that it was consumed under; see [`crate::sink::Epoch`].
    pub epoch: crate::sink::Epoch,
    /// The rows in offset order; may be empty where only `end` moved (a run of markers).
    pub rows: Vec<RawRow>,
    /// The offset to go on at after this batch.
    pub end: i64,
    /// The bytes that the rows' ranges point into. The owner holds the byte permit.
    pub arena: Bytes,
}

/// A part of an arena; `None` is null, which is not the same as empty.
pub type Slot = Option<Range<u32>>;

/// One consumed record by its places in the arena.
#[derive(Debug, Clone)]
pub struct RawRow {
    /// The offset.
    pub offset: i64,
    /// Milliseconds since the epoch; `None` where the broker has none.
    pub timestamp: Option<i64>,
    /// How the timestamp came about.
    pub timestamp_type: TimestampType,
    /// The key.
    pub key: Slot,
    /// The value.
    pub value: Slot,
    /// The headers.
    pub headers: Vec<RawHeader>,
}

/// One header by its place in the arena.
#[derive(Debug, Clone)]
pub struct RawHeader {
    /// The name.
    pub key: ByteString,
    /// The value.
    pub value: Slot,
}

impl RawBatch {
    /// The bytes of `slot`.
    #[must_use]
    pub fn slice(&self, slot: &Slot) -> Option<Bytes> {
        let range = slot.as_ref()?;
        (range.end as usize <= self.arena.len())
            .then(|| self.arena.slice(range.start as usize..range.end as usize))
    }

    /// The offset of the first row, or the end where there is none.
    #[must_use]
    pub fn start(&self) -> i64 {
        self.rows.first().map_or(self.end, |r| r.offset)
    }
}

impl fmt::Debug for RawBatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "RawBatch({} {}..{}, {} rows, {} bytes)",
            self.topic_partition,
            self.start(),
            self.end,
            self.rows.len(),
            self.arena.len()
        )
    }
}

/// Fills an arena row by row. For the engine's ports and for tests.
#[derive(Debug, Default)]
pub struct RawBatchBuilder {
    arena: Vec<u8>,
    rows: Vec<RawRow>,
}

impl RawBatchBuilder {
    /// An empty builder with room for `bytes` and `rows`.
    #[must_use]
    pub fn with_capacity(bytes: usize, rows: usize) -> Self {
        Self { arena: Vec::with_capacity(bytes), rows: Vec::with_capacity(rows) }
    }

    /// Bytes held so far.
    #[must_use]
    pub fn len(&self) -> usize {
        self.arena.len()
    }

    /// Whether no row was added.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Adds a record. The caller keeps offsets ascending and an arena below 4 GiB.
    pub fn push<'a>(
        &mut self,
        offset: i64,
        timestamp: Option<i64>,
        timestamp_type: TimestampType,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: impl IntoIterator<Item = (&'a str, Option<&'a [u8]>)>,
    ) {
        let key = self.store(key);
        let value = self.store(value);
        let headers = headers
            .into_iter()
            .map(|(name, value)| RawHeader {
                key: ByteString::from(name),
                value: self.store(value),
            })
            .collect();
        self.rows.push(RawRow { offset, timestamp, timestamp_type, key, value, headers });
    }

    fn store(&mut self, bytes: Option<&[u8]>) -> Slot {
        let bytes = bytes?;
        let start = u32::try_from(self.arena.len()).unwrap_or(u32::MAX);
        self.arena.extend_from_slice(bytes);
        Some(start..u32::try_from(self.arena.len()).unwrap_or(u32::MAX))
    }

    /// The batch. `permit` is released when the last slice of the arena is dropped.
    #[must_use]
    pub fn build<P: Send + 'static>(
        self,
        topic_partition: TopicPartition,
        epoch: crate::sink::Epoch,
        end: i64,
        permit: P,
    ) -> RawBatch {
        let arena = Bytes::from_owner(Arena { bytes: self.arena, _permit: permit });
        RawBatch { topic_partition, epoch, rows: self.rows, end, arena }
    }
}

struct Arena<P> {
    bytes: Vec<u8>,
    _permit: P,
}

impl<P> AsRef<[u8]> for Arena<P> {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;
    use crate::sink::Epoch;

    struct Flag(Arc<AtomicBool>);
    impl Drop for Flag {
        fn drop(&mut self) {
            self.0.store(true, Ordering::SeqCst);
        }
    }

    #[test]
    fn headers_are_shared_until_one_changes() {
        let header = |key: &str| Header { key: key.into(), value: Datum::null() };
        let headers: Headers = vec![header("a"), header("b")].into();
        let mut changed = headers.clone();
        assert!(changed.is_same(&headers));
        changed.push(header("c"));
        let names =
            |headers: &Headers| headers.iter().map(|h| h.key.to_string()).collect::<String>();
        assert_eq!((names(&headers), names(&changed)), ("ab".to_owned(), "abc".to_owned()));
        assert!(!changed.is_same(&headers) && changed != headers);
        changed.pop();
        assert!(!changed.is_same(&headers) && changed == headers);
        assert_eq!(changed.into_iter().collect::<Headers>(), headers);
        assert!(Headers::new().is_same(&Vec::new().into()) && !Headers::new().is_same(&headers));
    }

    #[test]
    fn the_permit_lives_as_long_as_any_slice() {
        let released = Arc::new(AtomicBool::new(false));
        let mut builder = RawBatchBuilder::default();
        builder.push(
            7,
            Some(1),
            TimestampType::CreateTime,
            None,
            Some(b"v"),
            [("h", Some(&b"x"[..])), ("n", None)],
        );
        let batch = Arc::new(builder.build(
            TopicPartition::new("t", 0),
            Epoch(1),
            9,
            Flag(Arc::clone(&released)),
        ));
        let origin = Origin::new(&batch, 0).unwrap();
        assert!(Origin::new(&batch, 1).is_none());
        let value = origin.value().unwrap();
        assert_eq!(origin.key(), None);
        assert_eq!(
            origin.headers().collect::<Vec<_>>(),
            [("h", Some(Bytes::from_static(b"x"))), ("n", None)]
        );
        drop((origin, batch));
        assert!(!released.load(Ordering::SeqCst));
        drop(value);
        assert!(released.load(Ordering::SeqCst));
    }
}
