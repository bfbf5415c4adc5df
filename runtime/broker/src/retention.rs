//! What logs forget.
//!
//! Duty: retention of plain topics by bytes and time, compaction of compacted topics, and the bound on
//! all logs together.
//!
//! Invariants: an undecided record is never touched; a follower of a compacted topic never misses a
//! deletion, since tombstones stay for `delete.retention.ms`; an offset never changes its record.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use towpath_core::ports::{PortError, PortErrorKind, PortResult};

use crate::append::CHUNK_BYTES;
use crate::broker::{Broker, encode_bounds};
use crate::chunk::{Builder, Kind};
use crate::keys;
use crate::partition::{Bounds, Isolation, Partition, sees};
use crate::store::{Space, Write};
use crate::topic::Topic;

/// How often a partition's age is looked at.
const LOOK: Duration = Duration::from_secs(1);
/// Chunks removed in one go, so that nobody waits long.
const REMOVE: usize = 256;
/// Growth since the last compaction below which a compacted log is left alone.
const GROWTH: u64 = 256 << 10;
/// Kafka's default for `delete.retention.ms`.
const TOMBSTONES_MS: i64 = 24 * 60 * 60 * 1000;

/// What a partition may forget.
struct Forget {
    /// Nothing at or behind this.
    floor: i64,
    /// Bytes above which the oldest goes.
    bytes: u64,
    /// Time in milliseconds since the epoch before which everything goes.
    before: i64,
}

impl Broker {
    /// Retention or compaction of one partition, when it is due. The caller holds the writer's lock.
    pub(crate) fn tidy(&self, topic: &Topic, partition: &Arc<Partition>) {
        let bounds = partition.bounds();
        let result = if topic.settings.compacted {
            let due =
                bounds.bytes > bounds.compacted_bytes.saturating_mul(2).saturating_add(GROWTH);
            if due { self.compact(topic, partition) } else { Ok(()) }
        } else {
            self.retain(topic, partition, &bounds)
        };
        if let Err(error) = result {
            tracing::warn!(partition = %partition.at, %error, "retention failed; it is tried again later");
        }
    }

    fn retain(&self, topic: &Topic, partition: &Arc<Partition>, bounds: &Bounds) -> PortResult<()> {
        let settings = &topic.settings;
        let limit = settings.retention_bytes.or(self.options.retention_bytes).unwrap_or(u64::MAX);
        let age = settings.retention.or(self.options.retention);
        let looked = bounds.looked_at.is_some_and(|at| at.elapsed() < LOOK);
        if bounds.bytes <= limit && (age.is_none() || looked) {
            return Ok(());
        }
        partition.note_look(Instant::now());
        let age = age.and_then(|age| i64::try_from(age.as_millis()).ok());
        let before = age.map_or(i64::MIN, |age| self.now_ms().saturating_sub(age));
        let floor = self.floor(partition, bounds);
        self.forget(partition, &Forget { floor, bytes: limit, before })?;
        Ok(())
    }

    /// Up to where a partition may be forgotten.
    fn floor(&self, partition: &Partition, bounds: &Bounds) -> i64 {
        let stable = bounds.last_stable();
        match self.options.keep_unread {
            None => stable,
            Some(grace) => stable.min(self.groups.lock().read_upto(&partition.at, grace)),
        }
    }

    /// Removes the oldest chunks; how many bytes that freed.
    fn forget(&self, partition: &Arc<Partition>, what: &Forget) -> PortResult<u64> {
        let mut bounds = partition.bounds();
        let mut writes = Vec::new();
        let mut freed = 0_u64;
        partition.chunks(&*self.store, bounds.start, what.floor, &mut |chunk| {
            let excess = bounds.bytes - freed > what.bytes;
            let old = chunk.head.max_timestamp < what.before;
            if !(excess || old) || chunk.end() > what.floor || writes.len() >= REMOVE {
                return Ok(ControlFlow::Break(()));
            }
            let (topic, number) = (partition.topic_id, partition.at.partition);
            writes.push(Write::delete(Space::Log, keys::chunk(topic, number, chunk.base)));
            freed += chunk.stored_len() as u64;
            bounds.start = chunk.end();
            Ok(ControlFlow::Continue(()))
        })?;
        if writes.is_empty() {
            return Ok(0);
        }
        bounds.bytes = bounds.bytes.saturating_sub(freed);
        self.drop_aborted(partition, &mut bounds, &mut writes, |start, marker| marker < start);
        self.rewrite(partition, bounds, writes, freed)?;
        Ok(freed)
    }

    /// Removes the memory of aborted stretches that no chunk belongs to any more.
    fn drop_aborted(
        &self,
        partition: &Partition,
        bounds: &mut Bounds,
        writes: &mut Vec<Write>,
        gone: impl Fn(i64, i64) -> bool,
    ) {
        let start = bounds.start;
        let (topic, number) = (partition.topic_id, partition.at.partition);
        Arc::make_mut(&mut bounds.aborted).retain(|aborted| {
            let gone = gone(start, aborted.marker);
            if gone {
                let key = keys::aborted(topic, number, aborted.first);
                writes.push(Write::delete(Space::Meta, key));
            }
            !gone
        });
    }

    fn rewrite(
        &self,
        partition: &Partition,
        bounds: Bounds,
        mut writes: Vec<Write>,
        freed: u64,
    ) -> PortResult<()> {
        let key = keys::bounds(partition.topic_id, partition.at.partition);
        writes.push(Write::put(Space::Meta, key, encode_bounds(&bounds)));
        self.apply(writes)?;
        partition.update(|b| *b = bounds);
        self.count_bytes(0, freed);
        Ok(())
    }

    /// Refuses `bytes` more if all logs together would exceed their bound, after forgetting the oldest
    /// of what may be forgotten. The caller holds the writer's lock.
    pub(crate) fn make_room(&self, bytes: u64) -> PortResult<()> {
        let Some(limit) = self.options.max_bytes else { return Ok(()) };
        while self.log_bytes().saturating_add(bytes) > limit {
            if !self.forget_largest(bytes)? {
                return Err(PortError::new(
                    PortErrorKind::OutOfSpace,
                    format!(
                        "the log holds its {limit} bytes and nothing of it may be removed: let its readers \
                         catch up, or raise the bound"
                    ),
                ));
            }
        }
        Ok(())
    }

    /// Forgets the oldest of the largest log that may be forgotten; false if there is none.
    fn forget_largest(&self, bytes: u64) -> PortResult<bool> {
        let mut candidates: Vec<_> = self
            .topics()
            .iter()
            .filter(|topic| !topic.settings.compacted)
            .flat_map(|topic| topic.partitions.clone())
            .map(|partition| (partition.bounds().bytes, partition))
            .filter(|(size, _)| *size > 0)
            .collect();
        candidates.sort_by_key(|(size, _)| std::cmp::Reverse(*size));
        for (size, partition) in candidates {
            let floor = self.floor(&partition, &partition.bounds());
            let target = size.saturating_sub(bytes.max(size / 16));
            let what = Forget { floor, bytes: target, before: i64::MIN };
            if self.forget(&partition, &what)? > 0 {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Rewrites the decided part of a compacted log with the latest row of each key. The caller holds
    /// the writer's lock.
    pub(crate) fn compact(&self, topic: &Topic, partition: &Arc<Partition>) -> PortResult<()> {
        let mut bounds = partition.bounds();
        let stable = bounds.last_stable();
        let mut latest: BTreeMap<Vec<u8>, i64> = BTreeMap::new();
        partition.read(&*self.store, bounds.start, Isolation::Committed, &mut |offset, row| {
            latest.insert(row.key.unwrap_or_default().to_vec(), offset);
            ControlFlow::Continue(())
        })?;
        let keep_ms = topic.settings.tombstones_ms.unwrap_or(TOMBSTONES_MS);
        let before = self.now_ms().saturating_sub(keep_ms);
        let mut writes = Vec::new();
        let mut removed = BTreeSet::new();
        let (mut old, mut new) = (0_u64, 0_u64);
        let mut fill = Refill::new(partition);
        partition.chunks(&*self.store, bounds.start, stable, &mut |chunk| {
            if chunk.end() > stable {
                return Ok(ControlFlow::Break(()));
            }
            old += chunk.stored_len() as u64;
            removed.insert(keys::chunk(partition.topic_id, partition.at.partition, chunk.base));
            if !sees(&bounds.aborted, Isolation::Committed, chunk) {
                return Ok(ControlFlow::Continue(()));
            }
            for row in chunk.rows() {
                let mut row = row?;
                let offset = chunk.base + i64::from(row.delta);
                let current = latest.get(row.key.unwrap_or_default()) == Some(&offset);
                let forgotten = row.value.is_none() && row.timestamp < before;
                if current && !forgotten {
                    fill.push(offset, &mut row);
                }
            }
            Ok(ControlFlow::Continue(()))
        })?;
        for write in fill.finish() {
            if let Write::Put { key, value, .. } = &write {
                new += value.len() as u64;
                // One batch may touch a key only once.
                removed.remove(key);
            }
            writes.push(write);
        }
        writes.extend(removed.into_iter().map(|key| Write::delete(Space::Log, key)));
        self.drop_aborted(partition, &mut bounds, &mut writes, |_, marker| marker < stable);
        bounds.bytes = bounds.bytes.saturating_sub(old).saturating_add(new);
        bounds.compacted_bytes = bounds.bytes;
        self.count_bytes(new, 0);
        self.rewrite(partition, bounds, writes, old)
    }
}

/// Packs surviving rows into chunks anew, each at its old offset.
struct Refill<'a> {
    partition: &'a Partition,
    chunk: Option<(i64, Builder)>,
    writes: Vec<Write>,
}

impl<'a> Refill<'a> {
    const fn new(partition: &'a Partition) -> Self {
        Self { partition, chunk: None, writes: Vec::new() }
    }

    fn push(&mut self, offset: i64, row: &mut crate::chunk::Row<'_>) {
        let far = |base: i64| u32::try_from(offset - base).is_err();
        if self.chunk.as_ref().is_some_and(|(base, c)| c.encoded_len() >= CHUNK_BYTES || far(*base))
        {
            self.close();
        }
        let (base, chunk) = self.chunk.get_or_insert_with(|| (offset, Builder::new(Kind::Plain)));
        row.delta = u32::try_from(offset - *base).unwrap_or(u32::MAX);
        chunk.push(row);
    }

    fn close(&mut self) {
        if let Some((base, chunk)) = self.chunk.take() {
            let (_, bytes) = chunk.finish();
            let key = keys::chunk(self.partition.topic_id, self.partition.at.partition, base);
            self.writes.push(Write::put(Space::Log, key, bytes));
        }
    }

    fn finish(mut self) -> Vec<Write> {
        self.close();
        self.writes
    }
}
