//! The table port: a compacted topic, read from its beginning and written by key.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;
use towpath_core::ports::{
    CompactedTable, Entry, NewTopic, OutHeaders, OutRecord, PortError, PortErrorKind, PortResult,
    Producer, ProducerSpec, TableEvent, TableSpec,
};

use crate::broker::Broker;
use crate::consumer::sleep_until;
use crate::partition::{Isolation, Partition, Read};
use crate::producer::LocalProducer;
use crate::topic::Topic;

/// Entries in one message to a follower.
const ENTRIES: usize = 500;
/// Messages that wait for a follower.
const QUEUE: usize = 16;
/// How long a failed read waits before the next.
const RETRY: Duration = Duration::from_secs(1);

/// See the module's head.
pub(crate) struct LocalTable {
    broker: Arc<Broker>,
    topic: Arc<Topic>,
    writer: LocalProducer,
}

impl LocalTable {
    pub(crate) fn open(broker: &Arc<Broker>, spec: &TableSpec) -> PortResult<Self> {
        let mut config: BTreeMap<String, String> = spec.config.clone();
        config.insert("cleanup.policy".to_owned(), "compact".to_owned());
        broker
            .create_topic(&NewTopic {
                name: spec.topic.clone(),
                partitions: spec.partitions,
                replication_factor: spec.replication_factor,
                config,
            })
            .map_err(|e| e.context(format!("the {} topic", spec.purpose)))?;
        let topic = broker.topic(&spec.topic).ok_or_else(|| {
            PortError::new(PortErrorKind::NotFound, format!("there is no topic {}", spec.topic))
        })?;
        if !topic.settings.compacted {
            return Err(PortError::new(
                PortErrorKind::Invalid,
                format!(
                    "the {} topic {} is not compacted, so it would forget: set its cleanup.policy to compact",
                    spec.purpose, spec.topic
                ),
            ));
        }
        let writer = LocalProducer::new(Arc::clone(broker), &ProducerSpec::default(), None)?;
        Ok(Self { broker: Arc::clone(broker), topic, writer })
    }

    async fn write(&self, entries: Vec<Entry>) -> PortResult<()> {
        let record = |entry: Entry| OutRecord {
            topic: Arc::clone(&self.topic.name),
            partition: None,
            key: Some(entry.key),
            value: entry.value,
            timestamp: None,
            headers: OutHeaders::default(),
        };
        let receipt = self.writer.send(Arc::new(entries.into_iter().map(record).collect())).await?;
        match receipt.await.into_iter().next() {
            None => Ok(()),
            Some(failure) => Err(failure.error.context(format!("write to {}", self.topic.name))),
        }
    }
}

impl CompactedTable for LocalTable {
    fn follow(&self) -> BoxFuture<'_, PortResult<mpsc::Receiver<TableEvent>>> {
        let (tx, rx) = mpsc::channel(QUEUE);
        let follower = Follower::new(Arc::clone(&self.broker), &self.topic, tx);
        // It ends with the receiver.
        tokio::spawn(follower.run());
        futures::future::ready(Ok(rx)).boxed()
    }

    fn put(&self, entries: Vec<Entry>) -> BoxFuture<'_, PortResult<()>> {
        self.write(entries).boxed()
    }

    fn topic(&self) -> &str {
        &self.topic.name
    }
}

struct Follower {
    broker: Arc<Broker>,
    places: Vec<(Arc<Partition>, i64)>,
    /// Ends when following began, until they are reached.
    ends: Option<Vec<i64>>,
    wake: Arc<Notify>,
    tx: mpsc::Sender<TableEvent>,
    troubled: bool,
}

impl Follower {
    fn new(broker: Arc<Broker>, topic: &Topic, tx: mpsc::Sender<TableEvent>) -> Self {
        let wake = Arc::new(Notify::new());
        topic.partitions.iter().for_each(|p| p.watch(&wake));
        let places =
            topic.partitions.iter().map(|p| (Arc::clone(p), p.bounds().start)).collect::<Vec<_>>();
        let ends = places.iter().map(|(p, _)| p.readable(Isolation::Committed)).collect();
        Self { broker, places, ends: Some(ends), wake, tx, troubled: false }
    }

    async fn run(mut self) {
        loop {
            let deadline = match self.advance().await {
                Ok(ControlFlow::Break(())) => return,
                Ok(ControlFlow::Continue(())) => {
                    self.broker.expire_transactions().unwrap_or_default()
                }
                Err(error) => {
                    self.troubled = true;
                    if self.tx.send(TableEvent::Trouble(Some(error))).await.is_err() {
                        return;
                    }
                    Some(Instant::now() + RETRY)
                }
            };
            let wake = Arc::clone(&self.wake);
            tokio::select! {
                biased;
                () = self.tx.closed() => return,
                () = wake.notified() => {}
                () = sleep_until(deadline) => {}
            }
        }
    }

    /// Hands over all there is; breaks if nobody listens any more.
    async fn advance(&mut self) -> PortResult<ControlFlow<()>> {
        for index in 0..self.places.len() {
            loop {
                let (partition, from) = self.places[index].clone();
                if from == partition.readable(Isolation::Committed) {
                    break;
                }
                let read = self.broker.call(move |broker| read(broker, &partition, from)).await?;
                let (entries, next) = read;
                if self.troubled {
                    self.troubled = false;
                    if self.tx.send(TableEvent::Trouble(None)).await.is_err() {
                        return Ok(ControlFlow::Break(()));
                    }
                }
                let empty = entries.is_empty();
                if !empty && self.tx.send(TableEvent::Entries(entries)).await.is_err() {
                    return Ok(ControlFlow::Break(()));
                }
                self.places[index].1 = next;
            }
        }
        let reached =
            |ends: &Vec<i64>| ends.iter().zip(&self.places).all(|(end, (_, at))| at >= end);
        if self.ends.as_ref().is_some_and(reached) {
            self.ends = None;
            if self.tx.send(TableEvent::CaughtUp).await.is_err() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }
}

/// Some entries from `from` on, and where to go on.
fn read(broker: &Broker, partition: &Partition, from: i64) -> PortResult<(Vec<Entry>, i64)> {
    let mut entries = Vec::new();
    let result = partition.read(&*broker.store, from, Isolation::Committed, &mut |_, row| {
        if entries.len() == ENTRIES {
            return ControlFlow::Break(());
        }
        entries.push(Entry {
            key: Bytes::copy_from_slice(row.key.unwrap_or_default()),
            value: row.value.map(Bytes::copy_from_slice),
        });
        ControlFlow::Continue(())
    })?;
    match result {
        Read::Upto(end) => Ok((entries, end)),
        Read::OutOfRange { start, next } => Ok((Vec::new(), start.max(from).min(next))),
    }
}
