//! The broker: topics, and who may write when.
//!
//! Duty: own the store and everything remembered of it. One lock orders all writes to logs
//! ([`Broker::writer`]); readers take it never, and see a write once it is applied.
//!
//! Invariants:
//! - what is remembered changes only after the store has taken the change;
//! - after a failure whose outcome is open, the store says so by its generation, and everything is
//!   read back before the next write;
//! - a process that ended left its open transactions behind: opening aborts them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use parking_lot::{Mutex, MutexGuard, RwLock};
use towpath_core::ports::{NewTopic, PortError, PortErrorKind, PortResult};
use towpath_sdk::clock::Clock;
use towpath_sdk::record::{Topic as TopicName, TopicPartition};

use crate::group::Groups;
use crate::keys;
use crate::options::{Options, Quirks};
use crate::partition::{Aborted, Bounds, Partition};
use crate::seats::Seats;
use crate::store::{Space, Store, Write};
use crate::topic::{Settings, Topic, check_name};
use crate::transactions::Transactions;

/// See the module's head.
pub(crate) struct Broker {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) options: Options,
    pub(crate) quirks: Arc<dyn Quirks>,
    pub(crate) clock: Arc<dyn Clock>,
    topics: RwLock<BTreeMap<TopicName, Arc<Topic>>>,
    writer: Mutex<Writer>,
    pub(crate) groups: Mutex<Groups>,
    pub(crate) seats: Mutex<Seats>,
    log_bytes: AtomicU64,
    sync: tokio::sync::Mutex<u64>,
    applied: AtomicU64,
}

/// What only the holder of the writer's lock touches.
#[derive(Debug, Default)]
pub(crate) struct Writer {
    generation: u64,
    next_topic_id: u32,
    pub(crate) next_producer_id: i64,
    pub(crate) transactions: Transactions,
}

impl Writer {
    /// Whether the store was opened anew under this broker.
    pub(crate) const fn reloaded(&self) -> bool {
        self.generation != 0
    }
}

impl Broker {
    /// Reads the store and ends what an earlier process left open.
    pub(crate) fn open(
        store: Arc<dyn Store>,
        options: Options,
        quirks: Arc<dyn Quirks>,
        clock: Arc<dyn Clock>,
    ) -> PortResult<Self> {
        check_format(&*store)?;
        let broker = Self {
            writer: Mutex::default(),
            groups: Mutex::new(Groups::load(&*store, options.rebalance_timeout)?),
            seats: Mutex::default(),
            topics: RwLock::default(),
            log_bytes: AtomicU64::new(0),
            sync: tokio::sync::Mutex::new(0),
            applied: AtomicU64::new(0),
            store,
            options,
            quirks,
            clock,
        };
        broker.load(&mut broker.writer.lock())?;
        Ok(broker)
    }

    /// The right to write.
    pub(crate) fn writer(&self) -> PortResult<MutexGuard<'_, Writer>> {
        let mut writer = self.writer.lock();
        if writer.generation != self.store.generation() {
            tracing::warn!("the store was opened anew after a failure: reading it back");
            self.load(&mut writer)?;
        }
        Ok(writer)
    }

    fn load(&self, writer: &mut Writer) -> PortResult<()> {
        writer.generation = self.store.generation();
        if let Some(ids) = self.store.get(Space::Meta, &keys::next_ids())? {
            let (topic, producer) = decode_ids(&ids).ok_or_else(damaged)?;
            writer.next_topic_id = topic;
            writer.next_producer_id = producer;
        }
        writer.transactions = Transactions::load(&*self.store)?;
        let mut found = Vec::new();
        let (from, to) = keys::topics();
        self.store.scan(Space::Meta, &from, &to, &mut |key, value| {
            found.push((key.to_vec(), value));
            std::ops::ControlFlow::Continue(())
        })?;
        let mut sum = 0;
        for (key, value) in found {
            let topic = self.load_topic(&key, &value)?;
            sum += topic.partitions.iter().map(|p| p.bounds().bytes).sum::<u64>();
            self.remember(topic);
        }
        self.log_bytes.store(sum, Ordering::Relaxed);
        self.abort_left_open(writer)
    }

    /// Puts `topic` into place. Consumers hold partitions, so those that are known are kept and only
    /// their bounds change.
    fn remember(&self, topic: Topic) {
        let mut topics = self.topics.write();
        if let Some(known) = topics.get(&topic.name) {
            for (old, new) in known.partitions.iter().zip(&topic.partitions) {
                let bounds = new.bounds();
                old.update(|b| *b = bounds);
            }
        } else {
            topics.insert(Arc::clone(&topic.name), Arc::new(topic));
        }
    }

    fn load_topic(&self, key: &[u8], value: &[u8]) -> PortResult<Topic> {
        let name = key.get(1..key.len().saturating_sub(1)).unwrap_or_default();
        let name: TopicName = std::str::from_utf8(name).map_err(|_| damaged())?.into();
        let (id, partitions, given) = decode_topic(value).ok_or_else(damaged)?;
        let partitions = (0..partitions)
            .map(|number| self.load_partition(TopicPartition::new(Arc::clone(&name), number), id))
            .collect::<PortResult<_>>()?;
        Ok(Topic { name, id, partitions, settings: Settings::parse(&given)? })
    }

    fn load_partition(&self, at: TopicPartition, topic_id: u32) -> PortResult<Arc<Partition>> {
        let mut bounds = match self.store.get(Space::Meta, &keys::bounds(topic_id, at.partition))? {
            Some(bytes) => decode_bounds(&bytes).ok_or_else(damaged)?,
            None => Bounds::default(),
        };
        let mut aborted = Vec::new();
        let (from, to) = keys::aborted_in(topic_id, at.partition);
        self.store.scan(Space::Meta, &from, &to, &mut |key, value| {
            aborted.extend(decode_aborted(key, &value));
            std::ops::ControlFlow::Continue(())
        })?;
        bounds.aborted = Arc::new(aborted);
        Ok(Arc::new(Partition::new(at, topic_id, bounds)))
    }

    /// The topic called `name`.
    pub(crate) fn topic(&self, name: &str) -> Option<Arc<Topic>> {
        self.topics.read().get(name).cloned()
    }

    /// The topic with this id.
    pub(crate) fn topic_by_id(&self, id: u32) -> Option<Arc<Topic>> {
        self.topics.read().values().find(|t| t.id == id).cloned()
    }

    /// All topics in the order of their names.
    pub(crate) fn topics(&self) -> Vec<Arc<Topic>> {
        self.topics.read().values().cloned().collect()
    }

    /// The partition at `at`.
    pub(crate) fn partition(&self, at: &TopicPartition) -> Option<Arc<Partition>> {
        let index = usize::try_from(at.partition).ok()?;
        self.topics.read().get(&at.topic)?.partitions.get(index).cloned()
    }

    /// Creates a topic; false if it was there.
    pub(crate) fn create_topic(&self, new: &NewTopic) -> PortResult<bool> {
        check_name(&new.name)?;
        let count = match new.partitions {
            None | Some(-1) => self.options.default_partitions,
            Some(count) if count > 0 => count,
            Some(count) => {
                return Err(PortError::new(
                    PortErrorKind::Invalid,
                    format!(
                        "the topic {} can't have {count} partitions: ask for at least 1",
                        new.name
                    ),
                ));
            }
        };
        if let Some(replicas) = new.replication_factor.filter(|n| !matches!(n, -1 | 1)) {
            return Err(PortError::new(
                PortErrorKind::Invalid,
                format!(
                    "the topic {} can't have {replicas} replicas, since there is one broker: ask for 1",
                    new.name
                ),
            ));
        }
        let settings = Settings::parse(&new.config)?;
        let mut writer = self.writer()?;
        if self.topic(&new.name).is_some() {
            return Ok(false);
        }
        let id = writer.next_topic_id;
        let ids = encode_ids(id + 1, writer.next_producer_id);
        self.apply(vec![
            Write::put(Space::Meta, keys::next_ids(), ids),
            Write::put(Space::Meta, keys::topic(&new.name), encode_topic(id, count, &new.config)),
        ])?;
        writer.next_topic_id = id + 1;
        let name: TopicName = new.name.as_str().into();
        let partitions = (0..count)
            .map(|number| {
                let at = TopicPartition::new(Arc::clone(&name), number);
                Arc::new(Partition::new(at, id, Bounds::default()))
            })
            .collect();
        self.remember(Topic { name, id, partitions, settings });
        drop(writer);
        self.groups.lock().rebalance_all(&self.topics());
        Ok(true)
    }

    /// A new producer id, stored.
    pub(crate) fn next_producer_id(&self, writer: &mut Writer) -> PortResult<i64> {
        let id = writer.next_producer_id;
        let ids = encode_ids(writer.next_topic_id, id + 1);
        self.apply(vec![Write::put(Space::Meta, keys::next_ids(), ids)])?;
        writer.next_producer_id = id + 1;
        Ok(id)
    }

    /// Stores a batch.
    pub(crate) fn apply(&self, batch: Vec<Write>) -> PortResult<()> {
        self.store.apply(batch)?;
        self.applied.fetch_add(1, Ordering::AcqRel);
        Ok(())
    }

    /// Stored bytes of all logs.
    pub(crate) fn log_bytes(&self) -> u64 {
        self.log_bytes.load(Ordering::Relaxed)
    }

    pub(crate) fn count_bytes(&self, added: u64, removed: u64) {
        self.log_bytes.fetch_add(added, Ordering::Relaxed);
        self.log_bytes.fetch_sub(removed, Ordering::Relaxed);
    }

    /// Calls `work` where blocking is allowed, if the store blocks.
    pub(crate) async fn call<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Self) -> PortResult<T> + Send + 'static,
    ) -> PortResult<T> {
        if !self.store.blocks() {
            return work(self);
        }
        let broker = Arc::clone(self);
        tokio::task::spawn_blocking(move || work(&broker)).await.unwrap_or_else(|panic| {
            Err(PortError::new(
                PortErrorKind::Internal,
                format!("a call into the log died: {panic}"),
            ))
        })
    }

    /// Waits until everything applied before is as durable as an acknowledgement promises. Whoever
    /// comes first syncs for all who wait.
    pub(crate) async fn settle(self: &Arc<Self>) -> PortResult<()> {
        if !self.store.syncs_before_ack() {
            return Ok(());
        }
        let mine = self.applied.load(Ordering::Acquire);
        let mut synced = self.sync.lock().await;
        if *synced >= mine {
            return Ok(());
        }
        let upto = self.applied.load(Ordering::Acquire);
        self.call(|broker| broker.store.sync()).await?;
        *synced = upto;
        Ok(())
    }

    /// Milliseconds since the epoch.
    pub(crate) fn now_ms(&self) -> i64 {
        self.clock.now().millis()
    }
}

/// Refuses a store of a format that is not ours.
fn check_format(store: &dyn Store) -> PortResult<()> {
    let key = keys::format();
    match store.get(Space::Meta, &key)? {
        Some(found) if *found == keys::FORMAT.to_be_bytes() => Ok(()),
        Some(found) => Err(PortError::new(
            PortErrorKind::Invalid,
            format!(
                "the log has format {}, but this version reads format {}: use the version that wrote it, or \
                 another directory",
                found.first_chunk().map_or(0, |b| u32::from_be_bytes(*b)),
                keys::FORMAT
            ),
        )),
        None => store.apply(vec![Write::put(
            Space::Meta,
            key,
            Bytes::copy_from_slice(&keys::FORMAT.to_be_bytes()),
        )]),
    }
}

/// The error of a store whose entries can't be decoded.
pub(crate) fn damaged() -> PortError {
    PortError::new(
        PortErrorKind::Internal,
        "an entry of the log's store can't be decoded: the store is damaged; restore it from a copy, or \
         remove it to begin anew",
    )
}

pub(crate) fn encode_bounds(bounds: &Bounds) -> Vec<u8> {
    let mut out = Vec::with_capacity(32);
    out.extend(bounds.start.to_be_bytes());
    out.extend(bounds.next.to_be_bytes());
    out.extend(bounds.bytes.to_be_bytes());
    out.extend(bounds.compacted_bytes.to_be_bytes());
    out
}

fn decode_bounds(bytes: &[u8]) -> Option<Bounds> {
    let (start, rest) = bytes.split_first_chunk()?;
    let (next, rest) = rest.split_first_chunk()?;
    let (stored, rest) = rest.split_first_chunk()?;
    let compacted = rest.first_chunk()?;
    Some(Bounds {
        start: i64::from_be_bytes(*start),
        next: i64::from_be_bytes(*next),
        bytes: u64::from_be_bytes(*stored),
        compacted_bytes: u64::from_be_bytes(*compacted),
        ..Bounds::default()
    })
}

fn encode_ids(topic: u32, producer: i64) -> Vec<u8> {
    let mut out = topic.to_be_bytes().to_vec();
    out.extend(producer.to_be_bytes());
    out
}

fn decode_ids(bytes: &[u8]) -> Option<(u32, i64)> {
    let (topic, rest) = bytes.split_first_chunk()?;
    Some((u32::from_be_bytes(*topic), i64::from_be_bytes(*rest.first_chunk()?)))
}

/// Id, number of partitions, and `key=value` lines; a setting holds no line feed.
fn encode_topic(id: u32, partitions: i32, config: &BTreeMap<String, String>) -> Vec<u8> {
    let mut out = id.to_be_bytes().to_vec();
    out.extend(partitions.to_be_bytes());
    for (key, value) in config {
        out.extend(format!("{key}={value}\n").bytes());
    }
    out
}

fn decode_topic(bytes: &[u8]) -> Option<(u32, i32, BTreeMap<String, String>)> {
    let (id, rest) = bytes.split_first_chunk()?;
    let (partitions, rest) = rest.split_first_chunk()?;
    let config = std::str::from_utf8(rest)
        .ok()?
        .lines()
        .filter_map(|line| line.split_once('='))
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect();
    Some((u32::from_be_bytes(*id), i32::from_be_bytes(*partitions), config))
}

/// The producer and the marker's offset; the first offset is in the key.
pub(crate) fn encode_aborted(aborted: &Aborted) -> Vec<u8> {
    let mut out = aborted.producer_id.to_be_bytes().to_vec();
    out.extend(aborted.marker.to_be_bytes());
    out
}

fn decode_aborted(key: &[u8], value: &[u8]) -> Option<Aborted> {
    let (producer_id, rest) = value.split_first_chunk()?;
    Some(Aborted {
        producer_id: i64::from_be_bytes(*producer_id),
        first: i64::from_be_bytes(*key.last_chunk()?),
        marker: i64::from_be_bytes(*rest.first_chunk()?),
    })
}
