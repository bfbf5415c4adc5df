//! The engine's end of what a source has written.
//!
//! Duty: the spot of a record by the connector's own chain, and its topics read from beginning to end by
//! a consumer that commits nothing.
//!
//! Invariant: a topic is read when every partition has come to the end that a read-committed reader saw
//! when it was begun, be it behind markers or gaps; partitions that the group takes away meanwhile go on
//! where they were.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use towpath_sdk::error::Action;
use towpath_sdk::record::{Record, Topic, TopicPartition};
use towpath_sdk::signal::TopicRecord;
use towpath_sdk::value::Datum;
use towpath_sdk::written::{Extent, Spot, TopicScan, Written};
use towpath_sdk::{Error, ErrorKind, Result};

use crate::budget::Budget;
use crate::chain::{Chain, Scratch};
use crate::ports::{
    Admin, ClientOverrides, Cluster, Consumer, ConsumerEvent, ConsumerSpec, Subscription,
};
use crate::settings::PipelineSettings;
use crate::task::TaskId;

/// Bytes that may be fetched ahead.
const BUDGET: usize = 4 << 20;

/// See the module's head.
pub struct WrittenTopics {
    id: TaskId,
    chain: Arc<Chain>,
    cluster: Arc<dyn Cluster>,
    consumer: ClientOverrides,
    admin: ClientOverrides,
}

impl WrittenTopics {
    /// What the task `id`, whose records go through `chain`, has written to `cluster`.
    pub fn new(
        id: TaskId,
        chain: Arc<Chain>,
        cluster: Arc<dyn Cluster>,
        settings: &PipelineSettings,
    ) -> Self {
        let (consumer, admin) = (settings.consumer.clone(), settings.admin.clone());
        Self { id, chain, cluster, consumer, admin }
    }
}

impl Written for WrittenTopics {
    fn spot(&self, record: Record) -> Result<Option<Spot>> {
        let spot = self.chain.spot(record, &mut Scratch::default());
        spot.map_err(|fault| Error::new(fault.error.kind(), fault.error.chain()))
    }

    fn decode(&self, topic: &str, record: &TopicRecord) -> Result<(Datum, Datum)> {
        let Chain { key, value, .. } = &*self.chain;
        let key = key.converter.decode(topic, record.key.clone())?;
        Ok((key, value.converter.decode(topic, record.value.clone())?))
    }

    fn scan(&self, topics: Vec<Topic>) -> BoxFuture<'static, Result<Box<dyn TopicScan>>> {
        let (cluster, id) = (Arc::clone(&self.cluster), self.id.clone());
        let (mut overrides, admin) = (self.consumer.clone(), self.admin.clone());
        overrides.insert("isolation.level".to_owned(), "read_committed".to_owned());
        async move {
            let admin = cluster.admin(admin).await?;
            let mut there = Vec::new();
            for topic in topics {
                if admin.describe_topic(&topic).await?.is_some() {
                    there.push(topic.to_string());
                }
            }
            let spec = ConsumerSpec {
                group_id: format!("connect-{}-written", id.connector),
                client_id: format!("connector-written-{id}"),
                subscription: Subscription::Topics(there.clone()),
                overrides,
                budget: Budget::new(BUDGET),
            };
            let consumer = match there.is_empty() {
                true => None,
                false => Some(cluster.consumer(spec).await?),
            };
            let topics = there.into_iter().collect();
            let (assigned, left) = (BTreeSet::new(), BTreeMap::new());
            Ok(Box::new(Scan { id, admin, topics, consumer, assigned, left }) as Box<dyn TopicScan>)
        }
        .boxed()
    }
}

struct Scan {
    id: TaskId,
    admin: Arc<dyn Admin>,
    topics: BTreeSet<String>,
    /// None if none of the topics is there.
    consumer: Option<Box<dyn Consumer>>,
    assigned: BTreeSet<TopicPartition>,
    /// Partitions that are not read to their end.
    left: BTreeMap<TopicPartition, Left>,
}

struct Left {
    next: i64,
    end: i64,
}

impl Scan {
    async fn begin_with(&mut self, topic: String) -> Result<Option<Extent>> {
        self.halt(&self.left.keys().cloned().collect::<Vec<_>>())?;
        self.left.clear();
        if !self.topics.contains(&topic) {
            return Ok(None);
        }
        let ends = self.admin.topic_ends(&topic).await?;
        let is_whole = ends.iter().all(|(_, first, _)| *first == 0);
        let records = ends.iter().map(|(_, first, end)| (end - first).max(0).cast_unsigned()).sum();
        let topic = Topic::from(topic);
        self.left = ends
            .into_iter()
            .filter(|(_, first, end)| first < end)
            .map(|(partition, next, end)| {
                (TopicPartition { topic: Arc::clone(&topic), partition }, Left { next, end })
            })
            .collect();
        let assigned = self.assigned.clone();
        self.start(assigned.iter()).await?;
        Ok(Some(Extent { is_whole, records }))
    }

    /// Starts those of `partitions` that are to be read.
    async fn start(&mut self, partitions: impl Iterator<Item = &TopicPartition>) -> Result<()> {
        let at = |partition: &TopicPartition| {
            Some((partition.clone(), Some(self.left.get(partition)?.next)))
        };
        let at: Vec<_> = partitions.filter_map(at).collect();
        match &mut self.consumer {
            Some(consumer) if !at.is_empty() => Ok(consumer.start(at).await?),
            _ => Ok(()),
        }
    }

    fn halt(&mut self, partitions: &[TopicPartition]) -> Result<()> {
        match &mut self.consumer {
            Some(consumer) => Ok(consumer.halt(partitions)?),
            None => Ok(()),
        }
    }

    async fn read(&mut self) -> Result<Option<Vec<TopicRecord>>> {
        while !self.left.is_empty() {
            let Some(consumer) = &mut self.consumer else { break };
            let event = consumer.next().await?;
            let records = self.take(event).await?;
            if !records.is_empty() {
                return Ok(Some(records));
            }
        }
        Ok(None)
    }

    async fn take(&mut self, event: ConsumerEvent) -> Result<Vec<TopicRecord>> {
        match event {
            ConsumerEvent::Assigned { partitions, .. } => {
                self.assigned.extend(partitions.iter().cloned());
                self.start(partitions.iter()).await?;
            }
            ConsumerEvent::Revoking { partitions, done } => {
                self.assigned.retain(|partition| !partitions.contains(partition));
                drop(done);
            }
            ConsumerEvent::Lost { partitions } => {
                self.assigned.retain(|partition| !partitions.contains(partition));
            }
            ConsumerEvent::Batch(batch) => {
                let at = &batch.topic_partition;
                let Some(left) = self.left.get_mut(at) else { return Ok(Vec::new()) };
                left.next = left.next.max(batch.end);
                if left.next >= left.end {
                    self.left.remove(at);
                    self.halt(std::slice::from_ref(at))?;
                }
                let record = |row| TopicRecord::of(&batch, row);
                return Ok(batch.rows.iter().map(record).collect());
            }
            ConsumerEvent::Trouble(Some(error)) => {
                let error = Error::from(error).context("read what was written");
                // A right that is missing is granted by nobody who does not know of it.
                if error.action() != Action::Retry || error.kind() == ErrorKind::Forbidden {
                    return Err(error);
                }
                tracing::warn!(task = %self.id, error = %error.chain(), "reading topics is interrupted");
            }
            ConsumerEvent::Trouble(None) => {}
        }
        Ok(Vec::new())
    }
}

impl TopicScan for Scan {
    fn begin(&mut self, topic: &str) -> BoxFuture<'_, Result<Option<Extent>>> {
        self.begin_with(topic.to_owned()).boxed()
    }

    fn next(&mut self) -> BoxFuture<'_, Result<Option<Vec<TopicRecord>>>> {
        self.read().boxed()
    }
}
