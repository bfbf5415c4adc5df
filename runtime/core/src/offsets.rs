//! Stored source offsets and connectors' small states.
//!
//! Duty: the offset topic as a map from (connector, partition) to offset. The store follows the topic
//! from its beginning; what this worker writes is in the map once the broker holds it, so a task that
//! starts after another's last write sees that write.
//!
//! A source connector may keep its offsets in a topic of its own (`offsets.storage.topic`, KIP-618);
//! [`own`] opens it. What is not there yet is looked up in the worker's topic, and what is forgotten is
//! forgotten in both, so that it does not come back.
//!
//! Invariants: a partition keeps the bytes of the key that it was first seen under, so that Kafka
//! Connect finds its own key again; small states (sinks keep some) live under the connector's name with
//! the marker [`STATE_MARK`] and never show as source offsets.

mod own;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::RwLock;
use tokio::sync::watch;
use towpath_formats::offset_topic::{OffsetKey, OffsetRecord, SourceOffset as StoredOffset};
use towpath_sdk::context::Backoff;
use towpath_sdk::offset::{OffsetMap, SourceOffset, SourcePartition, StoredOffsets};

use crate::ports::{
    Cluster, CompactedTable, Entry, OutHeaders, OutRecord, PortError, PortErrorKind, PortResult,
    TableEvent, TableSpec,
};

pub use own::{Followed, OwnOffsets};

/// The member of a partition map that marks a small state.
pub const STATE_MARK: &str = "towpath.state";

/// The longest pause between tries to open the table.
const OPEN_BACKOFF_MAX: Duration = Duration::from_secs(5);

/// Offsets to store; `None` forgets a partition.
type Changes = Vec<(SourcePartition, Option<SourceOffset>)>;

/// Offsets by connector.
pub struct OffsetStore {
    cluster: Arc<dyn Cluster>,
    spec: TableSpec,
    table: watch::Sender<Option<Arc<dyn CompactedTable>>>,
    known: RwLock<Known>,
    health: watch::Sender<Health>,
    /// The worker's, behind a connector's own.
    fallback: Option<Arc<OffsetStore>>,
}

/// Whether the store can be trusted to be up to date.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Health {
    Reading,
    Ready,
}

type Known = BTreeMap<Arc<str>, BTreeMap<String, Kept>>;

#[derive(Debug, Clone)]
struct Kept {
    key: OffsetKey,
    offset: OffsetMap,
}

impl OffsetStore {
    /// A store in the table `spec` of `cluster`; [`OffsetStore::run`] opens and fills it.
    #[must_use]
    pub fn new(cluster: Arc<dyn Cluster>, spec: TableSpec) -> Self {
        Self {
            cluster,
            spec,
            table: watch::Sender::new(None),
            known: RwLock::default(),
            health: watch::Sender::new(Health::Reading),
            fallback: None,
        }
    }

    /// Opens the table, as often as it takes, and follows it until it ends.
    ///
    /// # Errors
    /// If the topic is there and is not what it must be.
    pub async fn run(&self) -> PortResult<()> {
        let table = self.open().await?;
        self.keep_up(table).await
    }

    /// Follows `table` until it ends.
    async fn keep_up(&self, table: Arc<dyn CompactedTable>) -> PortResult<()> {
        self.table.send_replace(Some(Arc::clone(&table)));
        let mut events = table.follow().await?;
        while let Some(event) = events.recv().await {
            match event {
                TableEvent::Entries(entries) => self.apply(&entries),
                TableEvent::CaughtUp => {
                    self.health.send_replace(Health::Ready);
                }
                TableEvent::Trouble(Some(error)) => {
                    tracing::warn!(%error, topic = self.spec.topic, "reading offsets fails");
                }
                TableEvent::Trouble(None) => {}
            }
        }
        Ok(())
    }

    async fn open(&self) -> PortResult<Arc<dyn CompactedTable>> {
        let mut backoff = Backoff::default();
        loop {
            match self.cluster.table(self.spec.clone()).await {
                Ok(table) => return Ok(table),
                Err(error) if error.kind == PortErrorKind::Invalid => return Err(error),
                Err(error) => {
                    tracing::warn!(%error, topic = self.spec.topic, "opening the offset topic fails");
                    tokio::time::sleep(backoff.next(None).min(OPEN_BACKOFF_MAX)).await;
                }
            }
        }
    }

    async fn table(&self) -> Arc<dyn CompactedTable> {
        let mut table = self.table.subscribe();
        loop {
            if let Some(table) = &*table.borrow_and_update() {
                return Arc::clone(table);
            }
            if table.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// Resolves when the topic was read to the end that it had at the start.
    pub async fn ready(&self) {
        let mut health = self.health.subscribe();
        if health.wait_for(|h| *h == Health::Ready).await.is_err() {
            std::future::pending::<()>().await;
        }
        if let Some(fallback) = &self.fallback {
            Box::pin(fallback.ready()).await;
        }
    }

    /// Reads the topic anew to its end as it is now, for when the outcome of a write is unknown.
    ///
    /// # Errors
    /// If it can't be read.
    pub async fn read_back(&self, connector: &str) -> PortResult<StoredOffsets> {
        if let Some(fallback) = &self.fallback {
            Box::pin(fallback.read_back(connector)).await?;
        }
        let mut events = self.table().await.follow().await?;
        let mut known = Known::new();
        while let Some(event) = events.recv().await {
            match event {
                TableEvent::Entries(entries) => apply_to(&mut known, &entries),
                TableEvent::CaughtUp => {
                    let fresh = known.remove(connector).unwrap_or_default();
                    self.known.write().insert(connector.into(), fresh);
                    return Ok(self.source_offsets(connector));
                }
                TableEvent::Trouble(Some(error)) => return Err(error),
                TableEvent::Trouble(None) => {}
            }
        }
        Err(PortError::new(PortErrorKind::Unreachable, "the offset topic ended before its end"))
    }

    /// The source offsets of `connector`, in a stable order.
    #[must_use]
    pub fn source_offsets(&self, connector: &str) -> StoredOffsets {
        let mut all =
            self.fallback.as_ref().map_or_else(Default::default, |f| f.source_offsets(connector));
        let known = self.known.read();
        let offsets =
            known.get(connector).into_iter().flat_map(BTreeMap::values).filter_map(|kept| {
                let partition = OffsetMap::from_json(kept.key.partition().clone()).ok()?;
                let partition = SourcePartition(Arc::new(partition));
                (partition.get(STATE_MARK).is_none()).then(|| (partition, kept.offset.clone()))
            });
        offsets.for_each(|(partition, offset)| all.set(partition, Some(offset)));
        all
    }

    /// The small state of `connector` under `key`.
    #[must_use]
    pub fn load(&self, connector: &str, key: &SourcePartition) -> Option<OffsetMap> {
        let wanted = OffsetKey::new(connector, marked(key));
        let known = self.known.read();
        let kept = known.get(connector).and_then(|kept| kept.get(wanted.canonical_partition()));
        match (kept, &self.fallback) {
            (Some(kept), _) => Some(kept.offset.clone()),
            (None, Some(fallback)) => fallback.load(connector, key),
            (None, None) => None,
        }
    }

    /// Stores small states of `connector`.
    ///
    /// # Errors
    /// As [`CompactedTable::put`].
    pub async fn store(
        &self,
        connector: &str,
        states: Vec<(SourcePartition, Option<OffsetMap>)>,
    ) -> PortResult<()> {
        if let Some(fallback) = &self.fallback {
            let gone = states
                .iter()
                .filter(|(key, value)| value.is_none() && fallback.load(connector, key).is_some());
            let gone: Vec<_> = gone.cloned().collect();
            if !gone.is_empty() {
                Box::pin(fallback.store(connector, gone)).await?;
            }
        }
        let records = states.into_iter().map(|(key, value)| OffsetRecord {
            key: OffsetKey::new(connector, marked(&key)),
            offset: value.map(|map| StoredOffset::new(map.as_json())),
        });
        self.put(records.collect()).await
    }

    /// Stores source offsets of `connector`; `None` forgets a partition.
    ///
    /// # Errors
    /// As [`CompactedTable::put`].
    pub async fn commit(
        &self,
        connector: &str,
        offsets: &[(SourcePartition, Option<SourceOffset>)],
    ) -> PortResult<()> {
        // First where it would be found otherwise.
        if let Some((fallback, gone)) = self.forgotten_behind(connector, offsets) {
            Box::pin(fallback.commit(connector, &gone)).await?;
        }
        self.put(self.records_for(connector, offsets)).await
    }

    /// The store behind this one, and what of `offsets` must be forgotten there too.
    fn forgotten_behind(
        &self,
        connector: &str,
        offsets: &[(SourcePartition, Option<SourceOffset>)],
    ) -> Option<(&Arc<Self>, Changes)> {
        let fallback = self.fallback.as_ref()?;
        let known = fallback.source_offsets(connector);
        let gone = offsets.iter().filter(|(p, offset)| offset.is_none() && known.get(p).is_some());
        let gone: Changes = gone.cloned().collect();
        (!gone.is_empty()).then_some((fallback, gone))
    }

    /// The records that [`OffsetStore::commit`] would write, for a transaction. Call
    /// [`OffsetStore::wrote`] once they are committed.
    #[must_use]
    pub fn transaction_records(
        &self,
        connector: &str,
        offsets: &[(SourcePartition, Option<SourceOffset>)],
    ) -> Vec<OutRecord> {
        let topic: Arc<str> = self.spec.topic.as_str().into();
        let records = self.records_for(connector, offsets);
        let out = records.iter().map(OffsetRecord::to_key_value).map(|(key, value)| OutRecord {
            topic: Arc::clone(&topic),
            partition: None,
            key: Some(key.into()),
            value: value.map(Bytes::from),
            timestamp: None,
            headers: OutHeaders::default(),
        });
        let mut out: Vec<OutRecord> = out.collect();
        if let Some((fallback, gone)) = self.forgotten_behind(connector, offsets) {
            out.extend(fallback.transaction_records(connector, &gone));
        }
        out
    }

    /// A transaction with these offsets of `connector` was committed.
    pub fn wrote(&self, connector: &str, offsets: &[(SourcePartition, Option<SourceOffset>)]) {
        if let Some((fallback, gone)) = self.forgotten_behind(connector, offsets) {
            fallback.wrote(connector, &gone);
        }
        let records = self.records_for(connector, offsets);
        self.keep(&records);
    }

    fn records_for(
        &self,
        connector: &str,
        offsets: &[(SourcePartition, Option<SourceOffset>)],
    ) -> Vec<OffsetRecord> {
        let known = self.known.read();
        let kept = known.get(connector);
        let records = offsets.iter().map(|(partition, offset)| {
            let fresh = OffsetKey::new(connector, partition.as_json().clone());
            let here = kept.and_then(|kept| kept.get(fresh.canonical_partition()));
            let key = here.map(|kept| kept.key.clone());
            let key = key.or_else(|| self.fallback.as_ref()?.key_of(connector, &fresh));
            let key = key.unwrap_or(fresh);
            OffsetRecord {
                key,
                offset: offset.as_ref().map(|map| StoredOffset::new(map.as_json())),
            }
        });
        records.collect()
    }

    /// The key under which the partition of `fresh` was first seen.
    fn key_of(&self, connector: &str, fresh: &OffsetKey) -> Option<OffsetKey> {
        let known = self.known.read();
        known.get(connector)?.get(fresh.canonical_partition()).map(|kept| kept.key.clone())
    }

    async fn put(&self, records: Vec<OffsetRecord>) -> PortResult<()> {
        let entries = records
            .iter()
            .map(OffsetRecord::to_key_value)
            .map(|(key, value)| Entry { key: key.into(), value: value.map(Bytes::from) });
        self.table().await.put(entries.collect()).await?;
        self.keep(&records);
        Ok(())
    }

    fn apply(&self, entries: &[Entry]) {
        apply_to(&mut self.known.write(), entries);
    }

    fn keep(&self, records: &[OffsetRecord]) {
        let mut known = self.known.write();
        for record in records {
            keep_in(&mut known, record);
        }
    }
}

fn apply_to(known: &mut Known, entries: &[Entry]) {
    for entry in entries {
        match OffsetRecord::parse(&entry.key, entry.value.as_deref()) {
            Ok(record) => keep_in(known, &record),
            Err(error) => tracing::warn!(%error, "skipped a record of the offset topic"),
        }
    }
}

fn keep_in(known: &mut Known, record: &OffsetRecord) {
    let partitions = known.entry(record.key.connector().into()).or_default();
    let canonical = record.key.canonical_partition();
    let offset = record.offset.as_ref().and_then(|o| OffsetMap::from_json(o.members()).ok());
    match offset {
        Some(offset) => {
            let kept = Kept { key: record.key.clone(), offset };
            partitions.insert(canonical.to_owned(), kept);
        }
        None => {
            partitions.remove(canonical);
        }
    }
}

fn marked(key: &SourcePartition) -> serde_json::Map<String, serde_json::Value> {
    let mut map = serde_json::Map::new();
    map.insert(STATE_MARK.to_owned(), serde_json::Value::Bool(true));
    map.extend(key.as_json().iter().map(|(k, v)| (k.clone(), v.clone())));
    map
}
