//! Producers behind the simulated network.
//!
//! Duty: keep what a real client keeps (the order of batches) and break what a network breaks. A task
//! of the world, not of the worker, carries batches to the broker, so that a request may still arrive
//! after the worker that sent it has crashed.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};
use towpath_broker::producer::{Order, Sent, Unseen, is_of_record, overtaking};
use towpath_core::ports::{
    OutBatch, OutRecord, PortError, PortErrorKind, PortResult, ProduceFailure, Producer, Receipt,
    TransactionOutcome, TransactionalProducer,
};

use crate::net::{DELIVERY_TIMEOUT, Fate, Net, REQUEST_TIMEOUT, no_answer, refused};

/// Batches that a producer holds.
const QUEUE: usize = 32;

enum Job {
    Send(OutBatch, Sent, oneshot::Sender<Answer>),
    /// Answered when all before it is through.
    Flush(oneshot::Sender<()>),
}

/// What became of a batch. A failure counts as unseen until the caller drops this.
type Answer = (Vec<ProduceFailure>, Option<Unseen>);

/// A producer without transactions.
pub(crate) struct SimProducer {
    wire: Wire,
}

/// A producer of transactions.
pub(crate) struct SimTransactional {
    inner: Arc<dyn TransactionalProducer>,
    net: Arc<Net>,
    wire: Wire,
}

/// The worker's end of the task that carries batches.
struct Wire {
    jobs: mpsc::Sender<Job>,
    order: Order,
    alive: Arc<AtomicBool>,
    doomed: Doomed,
}

/// Why the open transaction can't commit.
type Doomed = Arc<Mutex<Option<PortError>>>;

impl Wire {
    fn open(inner: Arc<dyn Producer>, net: Arc<Net>) -> Self {
        let (jobs, queue) = mpsc::channel(QUEUE);
        let alive = Arc::new(AtomicBool::new(true));
        let doomed = Doomed::default();
        let order = Order::default();
        let carrier = Carrier {
            inner,
            net,
            queue,
            order: order.clone(),
            alive: Arc::clone(&alive),
            doomed: Arc::clone(&doomed),
        };
        tokio::spawn(carrier.run());
        Self { jobs, order, alive, doomed }
    }

    async fn send(&self, batch: OutBatch) -> PortResult<Receipt> {
        let count = batch.len();
        let sent = self.order.send();
        let (answer, receipt) = oneshot::channel();
        self.jobs.send(Job::Send(batch, sent, answer)).await.map_err(|_| gone())?;
        let receipt = async move {
            let (failures, unseen) = receipt.await.unwrap_or_else(|_| (all(count, &gone()), None));
            drop(unseen);
            failures
        };
        Ok(receipt.boxed())
    }

    async fn flush(&self) -> PortResult<()> {
        let (answer, done) = oneshot::channel();
        self.jobs.send(Job::Flush(answer)).await.map_err(|_| gone())?;
        done.await.map_err(|_| gone())
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.alive.store(false, Ordering::Release);
    }
}

struct Carrier {
    inner: Arc<dyn Producer>,
    net: Arc<Net>,
    queue: mpsc::Receiver<Job>,
    order: Order,
    alive: Arc<AtomicBool>,
    doomed: Doomed,
}

impl Carrier {
    async fn run(mut self) {
        while let Some(job) = self.queue.recv().await {
            match job {
                Job::Send(batch, sent, answer) => {
                    self.net.delay().await;
                    // Of a crashed worker's last requests, those on the wire may arrive, and none
                    // after one that did not.
                    let alive = || self.alive.load(Ordering::Acquire);
                    let down = self.net.is_down();
                    let arrived = self.net.wait_until_up(DELIVERY_TIMEOUT).await;
                    if !alive() && (down || self.net.chance(0.5)) {
                        return;
                    }
                    let count = batch.len();
                    let failures = match arrived {
                        Ok(()) if self.order.overtakes(sent) => all(count, &overtaking()),
                        Ok(()) => self.deliver(batch).await,
                        Err(error) => all(count, &error),
                    };
                    tracing::debug!(count, failed = failures.len(), "a batch was sent");
                    let own = failures.iter().all(|f| is_of_record(f.error.kind));
                    let unseen = (!own).then(|| self.order.failed());
                    if let Some(first) = failures.first() {
                        self.doomed.lock().get_or_insert_with(|| first.error.clone());
                    }
                    self.answer(answer, (failures, unseen));
                }
                // Whoever asked may be gone.
                Job::Flush(answer) => drop(answer.send(())),
            }
        }
    }

    async fn deliver(&self, batch: OutBatch) -> Vec<ProduceFailure> {
        let count = batch.len();
        if self.net.chance(self.net.fault(|f| f.produce_refused)) {
            return self.deliver_part(&batch).await;
        }
        match self.net.fate(self.net.fault(|f| f.produce_unknown)) {
            Fate::Answered => self.append(batch).await,
            Fate::AnswerLost => {
                drop(self.append(batch).await);
                tokio::time::sleep(REQUEST_TIMEOUT).await;
                all(count, &no_answer())
            }
            Fate::RequestLost => {
                tokio::time::sleep(REQUEST_TIMEOUT).await;
                all(count, &no_answer())
            }
        }
    }

    /// From some record on, the broker refuses the records of some partitions, or of all.
    async fn deliver_part(&self, batch: &[OutRecord]) -> Vec<ProduceFailure> {
        let from = self.net.pick(batch.len() + 1);
        let every = self.net.chance(0.5);
        let refuses = |index: usize, record: &OutRecord| {
            index >= from && (every || record.partition.is_none_or(|p| p % 2 == 0))
        };
        let lost: BTreeSet<usize> =
            batch.iter().enumerate().filter(|(i, r)| refuses(*i, r)).map(|(i, _)| i).collect();
        let mut kept = Vec::new();
        let mut places = Vec::new();
        for (index, record) in batch.iter().enumerate() {
            if !lost.contains(&index) {
                kept.push(record.clone());
                places.push(index);
            }
        }
        let mut failures: Vec<_> = self
            .append(kept.into())
            .await
            .into_iter()
            .map(|f| ProduceFailure { index: places[f.index], error: f.error })
            .chain(lost.into_iter().map(|index| ProduceFailure { index, error: refused() }))
            .collect();
        failures.sort_by_key(|failure| failure.index);
        failures
    }

    async fn append(&self, batch: OutBatch) -> Vec<ProduceFailure> {
        let count = batch.len();
        match self.inner.send(batch).await {
            Ok(receipt) => receipt.await,
            Err(error) => all(count, &error),
        }
    }

    fn answer(&self, to: oneshot::Sender<Answer>, answer: Answer) {
        let latency = self.net.latency();
        if latency.is_zero() {
            return drop(to.send(answer));
        }
        tokio::spawn(async move {
            tokio::time::sleep(latency).await;
            drop(to.send(answer));
        });
    }
}

impl SimProducer {
    pub(crate) fn new(inner: Arc<dyn Producer>, net: Arc<Net>) -> Self {
        Self { wire: Wire::open(inner, net) }
    }
}

impl Producer for SimProducer {
    fn send(&self, batch: OutBatch) -> BoxFuture<'_, PortResult<Receipt>> {
        self.wire.send(batch).boxed()
    }
}

impl SimTransactional {
    pub(crate) fn new(inner: Arc<dyn TransactionalProducer>, net: Arc<Net>) -> Self {
        let wire = Wire::open(Arc::clone(&inner) as Arc<dyn Producer>, Arc::clone(&net));
        Self { inner, net, wire }
    }

    async fn end(&self, commit: bool) -> TransactionOutcome {
        if let Err(error) = self.wire.flush().await {
            return TransactionOutcome::Unknown(error);
        }
        let doomed = self.wire.doomed.lock().take();
        if let Err(error) = self.net.arrive(REQUEST_TIMEOUT).await {
            return TransactionOutcome::Unknown(error);
        }
        let refuse = commit && self.net.chance(self.net.fault(|f| f.transaction_aborted));
        let doomed = doomed.or_else(|| refuse.then(refused));
        let inner = Arc::clone(&self.inner);
        let reason = doomed.clone();
        let end = async move {
            match reason {
                // A fenced producer is fenced whatever else went wrong.
                Some(error) => match inner.abort().await {
                    TransactionOutcome::Aborted(_) => TransactionOutcome::Aborted(error),
                    other => other,
                },
                None if commit => inner.commit().await,
                None => inner.abort().await,
            }
        };
        let fate = self.net.fate(self.net.fault(|f| f.transaction_unknown));
        tracing::debug!(commit, ?doomed, ?fate, "a transaction ends");
        match fate {
            Fate::Answered => {
                let outcome = end.await;
                self.net.delay().await;
                return outcome;
            }
            Fate::AnswerLost => drop(end.await),
            // It arrives late, when a newer producer may have fenced this one.
            Fate::RequestLost if self.net.chance(0.5) => {
                let late = self.net.between(Duration::ZERO, REQUEST_TIMEOUT * 2);
                tokio::spawn(async move {
                    tokio::time::sleep(late).await;
                    drop(end.await);
                });
            }
            Fate::RequestLost => {}
        }
        tokio::time::sleep(REQUEST_TIMEOUT).await;
        TransactionOutcome::Unknown(no_answer())
    }
}

impl Producer for SimTransactional {
    fn send(&self, batch: OutBatch) -> BoxFuture<'_, PortResult<Receipt>> {
        self.wire.send(batch).boxed()
    }
}

impl TransactionalProducer for SimTransactional {
    fn begin(&self) -> BoxFuture<'_, PortResult<()>> {
        async move {
            *self.wire.doomed.lock() = None;
            self.inner.begin().await
        }
        .boxed()
    }

    fn commit(&self) -> BoxFuture<'_, TransactionOutcome> {
        self.end(true).boxed()
    }

    fn abort(&self) -> BoxFuture<'_, TransactionOutcome> {
        self.end(false).boxed()
    }
}

fn all(count: usize, error: &PortError) -> Vec<ProduceFailure> {
    (0..count).map(|index| ProduceFailure { index, error: error.clone() }).collect()
}

fn gone() -> PortError {
    PortError::new(PortErrorKind::Unknown, "the producer's connection is gone (simulated)")
}
