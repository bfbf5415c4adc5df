//! The engine's end of what a source has written.
//!
//! Duty: the spot of a record by the connector's own chain, and its topics read from beginning to end by
//! a consumer that commits nothing.
//!
//! Invariants:
//! - a topic is read when every partition has come to the end that a read-committed reader saw when it
//!   was begun, be it behind markers or gaps; partitions that the group takes away meanwhile go on where
//!   they were;
//! - nobody waits for what can't come: a right that is missing is told whenever somebody asks, and where
//!   it is silent for long, the topic is looked at again.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::time::{Instant, timeout_at};
use towpath_sdk::record::{Record, Topic, TopicPartition};
use towpath_sdk::signal::TopicRecord;
use towpath_sdk::value::Datum;
use towpath_sdk::written::{Spot, TopicScan, Written};
use towpath_sdk::{Error, ErrorKind, Result};

use crate::budget::Budget;
use crate::chain::Chain;
use crate::ports::{
    Admin, ClientOverrides, Cluster, Consumer, ConsumerEvent, ConsumerSpec, PortError,
    PortErrorKind, Subscription,
};
use crate::settings::PipelineSettings;
use crate::task::TaskId;

/// Bytes that may be fetched ahead.
const BUDGET: usize = 4 << 20;
/// How long nothing may come before the topic is looked at again.
const SILENCE: Duration = Duration::from_secs(30);

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
    fn is_plain(&self) -> bool {
        self.chain.steps.is_empty()
    }

    fn spot(&self, record: Record) -> Result<Option<Spot>> {
        let spot = self.chain.spot(record);
        spot.map_err(|fault| {
            let text = format!("{} failed", fault.stage.name());
            Error::new(fault.error.kind(), text).with_source(fault.error)
        })
    }

    fn decode(&self, topic: &str, record: &TopicRecord) -> Result<(Datum, Datum)> {
        let Chain { key, value, .. } = &*self.chain;
        let key = key.converter.decode(topic, record.key.clone())?;
        Ok((key, value.converter.decode(topic, record.value.clone())?))
    }

    fn scan(&self, topics: Vec<Topic>) -> BoxFuture<'static, Result<Box<dyn TopicScan>>> {
        let (cluster, id) = (Arc::clone(&self.cluster), self.id.clone());
        let (mut overrides, admin) = (self.consumer.clone(), self.admin.clone());
        for (key, value) in
            [("isolation.level", "read_committed"), ("auto.offset.reset", "earliest")]
        {
            overrides.insert(key.to_owned(), value.to_owned());
        }
        async move {
            let admin = cluster.admin(admin).await?;
            let mut there = Vec::new();
            for topic in topics {
                if admin.describe_topic(&topic).await?.is_some() {
                    there.push(topic.to_string());
                }
            }
            let spec = ConsumerSpec {
                // One that nobody else is in, so that all partitions are ours.
                group_id: format!("connect-{}-written-{:016x}", id.connector, anything()),
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
            let scan = Scan {
                id,
                admin,
                topics,
                consumer,
                assigned: BTreeSet::new(),
                topic: String::new(),
                left: BTreeMap::new(),
                heard: Instant::now(),
                trouble: None,
            };
            Ok(Box::new(scan) as Box<dyn TopicScan>)
        }
        .boxed()
    }
}

/// A number that is another each time.
fn anything() -> u64 {
    RandomState::new().hash_one(0)
}

struct Scan {
    id: TaskId,
    admin: Arc<dyn Admin>,
    topics: BTreeSet<String>,
    /// None if none of the topics is there.
    consumer: Option<Box<dyn Consumer>>,
    assigned: BTreeSet<TopicPartition>,
    /// The topic that was begun.
    topic: String,
    /// Its partitions that are not read to their end.
    left: BTreeMap<TopicPartition, Left>,
    /// When something came last.
    heard: Instant,
    /// What keeps the consumer from reading, and won't pass by itself.
    trouble: Option<PortError>,
}

struct Left {
    next: i64,
    end: i64,
}

impl Scan {
    async fn begin_with(&mut self, topic: String) -> Result<Option<u64>> {
        self.halt(&self.left.keys().cloned().collect::<Vec<_>>())?;
        self.left.clear();
        self.topic = topic.clone();
        self.heard = Instant::now();
        if !self.topics.contains(&topic) {
            return Ok(None);
        }
        let ends = self.admin.topic_ends(&topic).await?;
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
        Ok(Some(records))
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
            if let Some(trouble) = &self.trouble {
                return Err(Error::from(trouble.clone()).context("read what was written"));
            }
            let Some(consumer) = &mut self.consumer else { break };
            let Ok(event) = timeout_at(self.heard + SILENCE, consumer.next()).await else {
                self.look().await?;
                continue;
            };
            let records = self.take(event?).await?;
            if !records.is_empty() {
                return Ok(Some(records));
            }
        }
        Ok(None)
    }

    /// Looks whether what is still to come can come.
    async fn look(&mut self) -> Result<()> {
        self.heard = Instant::now();
        let ends = self.admin.topic_ends(&self.topic).await?;
        let is_there = |(at, left): (&TopicPartition, &Left)| {
            ends.iter().any(|(partition, _, end)| *partition == at.partition && *end >= left.end)
        };
        match self.left.iter().all(is_there) {
            true => Ok(()),
            false => {
                let text = format!("topic {} was made anew while it was read", self.topic);
                Err(Error::new(ErrorKind::Unavailable, text))
            }
        }
    }

    async fn whole(&mut self) -> Result<bool> {
        let ends = self.admin.topic_ends(&self.topic).await?;
        Ok(ends.iter().all(|(_, first, _)| *first == 0))
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
                self.heard = Instant::now();
                left.next = left.next.max(batch.end);
                if left.next >= left.end {
                    self.left.remove(at);
                    self.halt(std::slice::from_ref(at))?;
                }
                let record = |row| TopicRecord::of(&batch, row);
                return Ok(batch.rows.iter().map(record).collect());
            }
            ConsumerEvent::Trouble(Some(error)) => {
                tracing::warn!(task = %self.id, %error, "reading topics is interrupted");
                // What is missing is granted by nobody who is not told.
                let is_refused = matches!(
                    error.kind,
                    PortErrorKind::Forbidden
                        | PortErrorKind::Unauthenticated
                        | PortErrorKind::Invalid
                );
                self.trouble = Some(error).filter(|_| is_refused);
            }
            ConsumerEvent::Trouble(None) => self.trouble = None,
        }
        Ok(Vec::new())
    }
}

impl TopicScan for Scan {
    fn begin(&mut self, topic: &str) -> BoxFuture<'_, Result<Option<u64>>> {
        self.begin_with(topic.to_owned()).boxed()
    }

    fn next(&mut self) -> BoxFuture<'_, Result<Option<Vec<TopicRecord>>>> {
        self.read().boxed()
    }

    fn is_whole(&mut self) -> BoxFuture<'_, Result<bool>> {
        self.whole().boxed()
    }
}
