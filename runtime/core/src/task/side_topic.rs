//! A topic that a connector reads beside the records' way.
//!
//! Duty: a consumer of its own group, so that what was handed over once is not handed over again by a
//! later task. When the connector asks for more, it has taken care of what it got: that is committed
//! before the next record is handed over.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use towpath_sdk::Result;
use towpath_sdk::record::{RawBatch, TopicPartition};
use towpath_sdk::signal::{TopicReader, TopicRecord};

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
    waiting: VecDeque<(TopicPartition, i64, TopicRecord)>,
    /// Where each partition goes on behind what was handed over.
    handed: BTreeMap<TopicPartition, i64>,
    committing: Option<Committing>,
}

struct Committing {
    offsets: Vec<(TopicPartition, i64)>,
    outcome: BoxFuture<'static, CommitOutcome>,
}

impl SideTopic {
    pub(super) async fn open(
        cluster: Arc<dyn Cluster>,
        task: TaskId,
        topic: String,
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
        let (waiting, handed) = (VecDeque::new(), BTreeMap::new());
        Ok(Self { topic, consumer, waiting, handed, committing: None })
    }

    async fn step(&mut self) -> Result<TopicRecord> {
        loop {
            if self.committing.is_none() && !self.handed.is_empty() {
                let offsets: Vec<_> = std::mem::take(&mut self.handed).into_iter().collect();
                let outcome = self.consumer.commit(offsets.clone());
                self.committing = Some(Committing { offsets, outcome });
            }
            if self.committing.is_none()
                && let Some((partition, end, record)) = self.waiting.pop_front()
            {
                self.handed.insert(partition, end);
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
        let Some(committing) = self.committing.take() else { return };
        if let CommitOutcome::Failed(error) | CommitOutcome::Unknown(error) = outcome {
            tracing::warn!(topic = self.topic, %error, "committing what was read does not go through");
            // The next record's commit covers it; until then a restart repeats it.
            drop(committing.offsets);
        }
    }

    async fn take(&mut self, event: ConsumerEvent) -> Result<()> {
        match event {
            ConsumerEvent::Assigned { partitions, .. } => {
                let start = partitions.into_iter().map(|partition| (partition, None)).collect();
                self.consumer.start(start).await?;
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
        self.waiting.retain(|(partition, ..)| !partitions.contains(partition));
        self.handed.retain(|partition, _| !partitions.contains(partition));
    }

    /// Rows in order; the last one's end is the batch's, so that markers behind it are passed too.
    fn queue(&mut self, batch: &RawBatch) {
        let last = batch.rows.len().saturating_sub(1);
        for (at, row) in batch.rows.iter().enumerate() {
            let end = if at == last { batch.end } else { batch.rows[at + 1].offset };
            let record = TopicRecord::of(batch, row);
            self.waiting.push_back((batch.topic_partition.clone(), end, record));
        }
    }
}

async fn answered(committing: &mut Option<Committing>) -> CommitOutcome {
    match committing {
        Some(committing) => (&mut committing.outcome).await,
        None => std::future::pending().await,
    }
}

impl TopicReader for SideTopic {
    fn next(&mut self) -> BoxFuture<'_, Result<TopicRecord>> {
        self.step().boxed()
    }
}
