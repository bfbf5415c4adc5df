//! Clusters that break one promise each, so that the simulation can show that it would notice.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use towpath_core::ports::{
    Admin, ClientOverrides, Cluster, CommitOutcome, CompactedTable, Consumer, ConsumerEvent,
    ConsumerSpec, Membership, OutBatch, PortResult, Producer, ProducerSpec, Receipt, Revoked,
    TableSpec, TransactionOutcome, TransactionalProducer,
};
use towpath_sdk::record::{RawBatch, TopicPartition};

use crate::worker::LETTERS;

/// What is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mutant {
    /// A commit covers every batch that was delivered.
    CommitsWhatItGot,
    /// A commit for what was let go comes after it was let go.
    CommitsAfterLettingGo,
    /// Dead letters are acknowledged and thrown away.
    LettersAreLost,
    /// One batch in ten is thrown away.
    BatchesAreLost,
    /// A batch from before a move is delivered after it.
    OldBatchesAreDelivered,
    /// Every receipt says that all is well.
    ReceiptsLie,
    /// Records that failed are sent again behind later ones.
    FailedRecordsComeLater,
    /// An unknown end of a transaction is called aborted.
    UnknownIsAborted,
    /// Each producer gets a transactional id of its own, so that nobody is fenced.
    FencesNobody,
    /// The source stays where it is when it is told to go back.
    SourceDoesNotRewind,
}

pub(crate) struct Mutated {
    inner: Arc<dyn Cluster>,
    mutant: Mutant,
    count: AtomicU32,
}

impl Mutated {
    pub(crate) fn new(inner: Arc<dyn Cluster>, mutant: Mutant) -> Self {
        Self { inner, mutant, count: AtomicU32::new(0) }
    }
}

impl Cluster for Mutated {
    fn id(&self) -> BoxFuture<'_, PortResult<String>> {
        self.inner.id()
    }

    fn producer(&self, spec: ProducerSpec) -> BoxFuture<'_, PortResult<Arc<dyn Producer>>> {
        async move {
            let inner = self.inner.producer(spec).await?;
            Ok(Arc::new(MutatedProducer { inner, mutant: self.mutant }) as Arc<dyn Producer>)
        }
        .boxed()
    }

    fn transactional_producer(
        &self,
        mut id: String,
        spec: ProducerSpec,
    ) -> BoxFuture<'_, PortResult<Arc<dyn TransactionalProducer>>> {
        async move {
            if self.mutant == Mutant::FencesNobody {
                id = format!("{id}-{}", self.count.fetch_add(1, Ordering::Relaxed));
            }
            let inner = self.inner.transactional_producer(id, spec).await?;
            let plain: Arc<dyn Producer> = inner.clone();
            let producer = MutatedProducer { inner: plain, mutant: self.mutant };
            Ok(Arc::new(MutatedTransactional { inner, producer }) as Arc<dyn TransactionalProducer>)
        }
        .boxed()
    }

    fn consumer(&self, spec: ConsumerSpec) -> BoxFuture<'_, PortResult<Box<dyn Consumer>>> {
        async move {
            let inner = self.inner.consumer(spec).await?;
            Ok(Box::new(MutatedConsumer {
                inner,
                mutant: self.mutant,
                got: BTreeMap::new(),
                old: None,
                count: 0,
            }) as Box<dyn Consumer>)
        }
        .boxed()
    }

    fn admin(&self, overrides: ClientOverrides) -> BoxFuture<'_, PortResult<Arc<dyn Admin>>> {
        self.inner.admin(overrides)
    }

    fn table(&self, spec: TableSpec) -> BoxFuture<'_, PortResult<Arc<dyn CompactedTable>>> {
        self.inner.table(spec)
    }

    fn join(
        &self,
        group: String,
        advertised: String,
    ) -> BoxFuture<'_, PortResult<Box<dyn Membership>>> {
        self.inner.join(group, advertised)
    }
}

struct MutatedProducer {
    inner: Arc<dyn Producer>,
    mutant: Mutant,
}

impl Producer for MutatedProducer {
    fn send(&self, batch: OutBatch) -> BoxFuture<'_, PortResult<Receipt>> {
        async move {
            let mut batch = batch;
            if self.mutant == Mutant::LettersAreLost {
                Arc::make_mut(&mut batch).retain(|record| &*record.topic != LETTERS);
            }
            let copy = Arc::clone(&batch);
            let receipt = self.inner.send(batch).await?;
            let inner = Arc::clone(&self.inner);
            Ok(match self.mutant {
                Mutant::ReceiptsLie => futures::future::ready(Vec::new()).boxed(),
                Mutant::FailedRecordsComeLater => async move {
                    let failures = receipt.await;
                    if failures.is_empty() {
                        return failures;
                    }
                    tokio::time::sleep(Duration::from_secs(3)).await;
                    let again: Vec<_> = failures.iter().map(|f| copy[f.index].clone()).collect();
                    match inner.send(again.into()).await {
                        Ok(receipt) => receipt.await,
                        Err(_) => failures,
                    }
                }
                .boxed(),
                _ => receipt,
            })
        }
        .boxed()
    }
}

struct MutatedTransactional {
    inner: Arc<dyn TransactionalProducer>,
    producer: MutatedProducer,
}

impl Producer for MutatedTransactional {
    fn send(&self, batch: OutBatch) -> BoxFuture<'_, PortResult<Receipt>> {
        self.producer.send(batch)
    }
}

impl MutatedTransactional {
    fn spoil(&self, outcome: TransactionOutcome) -> TransactionOutcome {
        match (self.producer.mutant, outcome) {
            (Mutant::UnknownIsAborted, TransactionOutcome::Unknown(error)) => {
                TransactionOutcome::Aborted(error)
            }
            (Mutant::ReceiptsLie, TransactionOutcome::Aborted(_)) => TransactionOutcome::Committed,
            (_, outcome) => outcome,
        }
    }
}

impl TransactionalProducer for MutatedTransactional {
    fn begin(&self) -> BoxFuture<'_, PortResult<()>> {
        self.inner.begin()
    }

    fn commit(&self) -> BoxFuture<'_, TransactionOutcome> {
        async move { self.spoil(self.inner.commit().await) }.boxed()
    }

    fn abort(&self) -> BoxFuture<'_, TransactionOutcome> {
        self.inner.abort()
    }
}

struct MutatedConsumer {
    inner: Box<dyn Consumer>,
    mutant: Mutant,
    /// How far each partition was delivered.
    got: BTreeMap<TopicPartition, i64>,
    old: Option<RawBatch>,
    count: u32,
}

impl MutatedConsumer {
    fn spoil(&mut self, event: ConsumerEvent) -> Option<ConsumerEvent> {
        match event {
            ConsumerEvent::Batch(batch) => {
                self.count += 1;
                if self.mutant == Mutant::BatchesAreLost && self.count.is_multiple_of(10) {
                    return None;
                }
                if self.mutant == Mutant::OldBatchesAreDelivered {
                    self.old = Some(RawBatch {
                        topic_partition: batch.topic_partition.clone(),
                        epoch: batch.epoch,
                        rows: batch.rows.clone(),
                        end: batch.end,
                        arena: batch.arena.clone(),
                    });
                }
                self.got.insert(batch.topic_partition.clone(), batch.end);
                Some(ConsumerEvent::Batch(batch))
            }
            ConsumerEvent::Revoking { partitions, done }
                if self.mutant == Mutant::CommitsAfterLettingGo =>
            {
                Some(ConsumerEvent::Revoking {
                    partitions: partitions.clone(),
                    done: self.late(partitions, done),
                })
            }
            event => Some(event),
        }
    }

    /// Commits for `partitions` some time after the task let them go.
    fn late(&self, partitions: Vec<TopicPartition>, done: Revoked) -> Revoked {
        let offsets = partitions.iter().filter_map(|at| Some((at.clone(), *self.got.get(at)?)));
        let commit = self.inner.commit(offsets.collect());
        let (token, dropped) = Revoked::channel();
        tokio::spawn(async move {
            drop(dropped.await);
            drop(done);
            tokio::time::sleep(Duration::from_secs(1)).await;
            drop(commit.await);
        });
        token
    }
}

impl Consumer for MutatedConsumer {
    fn next(&mut self) -> BoxFuture<'_, PortResult<ConsumerEvent>> {
        async move {
            loop {
                let event = self.inner.next().await?;
                if let Some(event) = self.spoil(event) {
                    return Ok(event);
                }
            }
        }
        .boxed()
    }

    fn start(&mut self, at: Vec<(TopicPartition, Option<i64>)>) -> BoxFuture<'_, PortResult<()>> {
        async move {
            // The reader goes on behind the old batch, as if that had been delivered.
            let at = at
                .into_iter()
                .map(|(at, from)| match &self.old {
                    Some(old) if old.topic_partition == at => (at, Some(old.end)),
                    _ => (at, from),
                })
                .collect();
            self.inner.start(at).await
        }
        .boxed()
    }

    fn halt(&mut self, partitions: &[TopicPartition]) -> PortResult<()> {
        self.inner.halt(partitions)
    }

    fn commit(&self, mut offsets: Vec<(TopicPartition, i64)>) -> BoxFuture<'static, CommitOutcome> {
        if self.mutant == Mutant::CommitsWhatItGot {
            for (at, offset) in &mut offsets {
                *offset = self.got.get(at).copied().unwrap_or(*offset);
            }
        }
        self.inner.commit(offsets)
    }

    fn end_offset(&self, partition: &TopicPartition) -> Option<i64> {
        self.inner.end_offset(partition)
    }

    fn close(self: Box<Self>) -> BoxFuture<'static, ()> {
        self.inner.close()
    }
}
