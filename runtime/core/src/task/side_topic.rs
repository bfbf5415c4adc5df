//! A topic that a connector reads beside the records' way.
//!
//! Duty: a consumer of its own group, from where the connector says, or else from where the group
//! stands. What the connector says it has taken care of is committed before the next record is handed
//! over, so that the group shows it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use towpath_sdk::Result;
use towpath_sdk::record::{RawBatch, TopicPartition};
use towpath_sdk::signal::{TopicPositions, TopicReader, TopicRecord};

use super::TaskId;
use crate::budget::Budget;
use crate::ports::{
    ClientOverrides, Cluster, CommitOutcome, Consumer, ConsumerEvent, ConsumerSpec, Subscription,
};

/// Bytes that may be fetched ahead.
const BUDGET: usize = 1 << 20;

pub(super) struct SideTopic {
    topic: String,
    consumer: Box<dyn Consumer>,
    waiting: VecDeque<(TopicPartition, TopicRecord)>,
    /// Where partitions go on that the connector knows of.
    from: TopicPositions,
    /// What was taken care of and is not committed.
    done: BTreeMap<TopicPartition, i64>,
    committing: Option<BoxFuture<'static, CommitOutcome>>,
}

impl SideTopic {
    pub(super) async fn open(
        cluster: Arc<dyn Cluster>,
        task: TaskId,
        topic: String,
        from: TopicPositions,
        overrides: ClientOverrides,
    ) -> Result<Self> {
        let consumer = cluster
            .consumer(ConsumerSpec {
                group_id: format!("connect-{}-{topic}", task.connector),
                client_id: format!("connector-side-consumer-{task}"),
                subscription: Subscription::Topics(vec![topic.clone()]),
                overrides,
                budget: Budget::new(BUDGET),
            })
            .await?;
        let (waiting, done) = (VecDeque::new(), BTreeMap::new());
        Ok(Self { topic, consumer, waiting, from, done, committing: None })
    }

    async fn step(&mut self) -> Result<TopicRecord> {
        loop {
            if self.committing.is_none() && !self.done.is_empty() {
                let done = std::mem::take(&mut self.done).into_iter().collect();
                self.committing = Some(self.consumer.commit(done));
            }
            if self.committing.is_none()
                && let Some((partition, record)) = self.waiting.pop_front()
            {
                // Where it goes on should the group be divided anew.
                self.from.insert(partition.partition, record.offset + 1);
                return Ok(record);
            }
            tokio::select! {
                biased;
                outcome = answered(&mut self.committing) => self.committed(outcome),
                event = self.consumer.next() => self.take(event?).await?,
            }
        }
    }

    fn committed(&mut self, outcome: CommitOutcome) {
        self.committing = None;
        if let CommitOutcome::Failed(error) | CommitOutcome::Unknown(error) = outcome {
            // A later one covers it.
            tracing::warn!(topic = self.topic, %error, "committing what was read does not go through");
        }
    }

    async fn take(&mut self, event: ConsumerEvent) -> Result<()> {
        match event {
            ConsumerEvent::Assigned { partitions, .. } => {
                let start = partitions.into_iter().map(|partition| {
                    let from = self.from.get(&partition.partition).copied();
                    (partition, from)
                });
                self.consumer.start(start.collect()).await?;
            }
            ConsumerEvent::Revoking { partitions, done } => {
                self.forget(&partitions);
                drop(done);
            }
            ConsumerEvent::Lost { partitions } => self.forget(&partitions),
            ConsumerEvent::Batch(batch) => self.queue(&batch),
            ConsumerEvent::Trouble(Some(error)) => {
                tracing::warn!(topic = self.topic, %error, "reading the topic fails");
            }
            ConsumerEvent::Trouble(None) => {}
        }
        Ok(())
    }

    fn forget(&mut self, partitions: &[TopicPartition]) {
        self.waiting.retain(|(partition, _)| !partitions.contains(partition));
        self.done.retain(|partition, _| !partitions.contains(partition));
    }

    fn queue(&mut self, batch: &RawBatch) {
        let at = &batch.topic_partition;
        let rows = batch.rows.iter().map(|row| (at.clone(), TopicRecord::of(batch, row)));
        self.waiting.extend(rows);
    }
}

async fn answered(committing: &mut Option<BoxFuture<'static, CommitOutcome>>) -> CommitOutcome {
    match committing {
        Some(committing) => committing.await,
        None => std::future::pending().await,
    }
}

impl TopicReader for SideTopic {
    fn next(&mut self) -> BoxFuture<'_, Result<TopicRecord>> {
        self.step().boxed()
    }

    fn done(&mut self, partition: i32, next: i64) {
        self.done.insert(TopicPartition::new(self.topic.as_str(), partition), next);
    }
}
