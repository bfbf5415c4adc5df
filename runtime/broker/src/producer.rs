//! The producer ports.
//!
//! Invariants: batches are appended in the order of `send`; nothing overtakes a batch that failed
//! ([`Order`]); the receipt resolves when they are as durable as an acknowledgement promises.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use towpath_core::ports::{
    OutBatch, PortError, PortErrorKind, PortResult, ProduceFailure, Producer, ProducerSpec,
    Receipt, TransactionOutcome, TransactionalProducer,
};

use crate::broker::Broker;
use crate::transactions::TransactionRef;

/// Kafka's default for `transaction.timeout.ms`.
const TRANSACTION_TIMEOUT: Duration = Duration::from_secs(60);

/// Lets nothing overtake a failure: a batch that was sent before the caller could see an earlier one
/// fail must fail too. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Order {
    failed: Arc<AtomicU64>,
    seen: Arc<AtomicU64>,
}

/// The moment at which a batch was sent.
#[derive(Debug, Clone, Copy)]
pub struct Sent(u64);

impl Order {
    /// A batch is being sent now.
    #[must_use]
    pub fn send(&self) -> Sent {
        Sent(self.seen.load(Ordering::Acquire))
    }

    /// Whether a batch must fail, since its sender did not know of a failure before it.
    #[must_use]
    pub fn overtakes(&self, sent: Sent) -> bool {
        sent.0 < self.failed.load(Ordering::Acquire)
    }

    /// Wraps a receipt so that its failures count from `failures` on until they were seen.
    #[must_use]
    pub fn receipt(&self, failures: &[ProduceFailure], receipt: Receipt) -> Receipt {
        if failures.iter().all(|failure| is_of_record(failure.error.kind)) {
            return receipt;
        }
        let unseen = self.failed();
        async move {
            let failures = receipt.await;
            drop(unseen);
            failures
        }
        .boxed()
    }

    /// A batch has failed, for a reason that is not its own. Drop what this returns when the caller sees
    /// the failure, or never will.
    #[must_use]
    pub fn failed(&self) -> Unseen {
        self.failed.fetch_add(1, Ordering::AcqRel);
        Unseen(Arc::clone(&self.seen))
    }
}

/// A failure that the caller has not seen yet.
#[derive(Debug)]
pub struct Unseen(Arc<AtomicU64>);

impl Drop for Unseen {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::AcqRel);
    }
}

/// Whether a record was refused for what it is.
#[must_use]
pub const fn is_of_record(kind: PortErrorKind) -> bool {
    matches!(kind, PortErrorKind::TooLarge | PortErrorKind::Invalid)
}

/// The failure of a batch that would have overtaken another.
#[must_use]
pub fn overtaking() -> PortError {
    PortError::new(
        PortErrorKind::Degraded,
        "a batch before this one failed: it was not written, so that the order is kept",
    )
}

/// A producer of either kind.
pub(crate) struct LocalProducer {
    broker: Arc<Broker>,
    /// One batch at a time.
    turns: tokio::sync::Mutex<()>,
    order: Order,
    turn: AtomicUsize,
    transaction: Option<TransactionRef>,
    timeout: Duration,
    /// Why the open transaction can't commit.
    doomed: Mutex<Option<PortError>>,
}

impl LocalProducer {
    pub(crate) fn new(
        broker: Arc<Broker>,
        spec: &ProducerSpec,
        transaction: Option<TransactionRef>,
    ) -> PortResult<Self> {
        let key = "transaction.timeout.ms";
        let timeout = match spec.overrides.get(key) {
            None => TRANSACTION_TIMEOUT,
            Some(text) => text.parse().map(Duration::from_millis).map_err(|_| {
                PortError::new(
                    PortErrorKind::Invalid,
                    format!("'{text}' is no value of {key}: give milliseconds"),
                )
            })?,
        };
        Ok(Self {
            broker,
            turns: tokio::sync::Mutex::default(),
            order: Order::default(),
            turn: AtomicUsize::new(0),
            transaction,
            timeout,
            doomed: Mutex::default(),
        })
    }

    async fn append(&self, batch: OutBatch) -> PortResult<Receipt> {
        let sent = self.order.send();
        let order = self.turns.lock().await;
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let transaction = self.transaction.clone();
        let count = batch.len();
        let appended = if self.order.overtakes(sent) {
            Err(overtaking())
        } else {
            self.broker.call(move |broker| broker.append(&batch, transaction.as_ref(), turn)).await
        };
        let failures = match appended {
            Ok(failures) => failures,
            Err(error) if error.kind == PortErrorKind::Fenced => return Err(error),
            Err(error) => all_failed(count, &error),
        };
        if let Some(first) = failures.first().filter(|_| self.transaction.is_some()) {
            self.doomed.lock().get_or_insert_with(|| first.error.clone());
        }
        let broker = Arc::clone(&self.broker);
        let known = failures.clone();
        let receipt = async move {
            match broker.settle().await {
                Ok(()) => failures,
                Err(error) => all_failed(count, &error),
            }
        };
        let receipt = self.order.receipt(&known, receipt.boxed());
        drop(order);
        Ok(receipt)
    }

    async fn end(&self, commit: bool) -> TransactionOutcome {
        let Some(transaction) = self.transaction.clone() else {
            return TransactionOutcome::Fenced(not_transactional());
        };
        let order = self.turns.lock().await;
        let doomed = self.doomed.lock().take();
        let commit = commit && doomed.is_none();
        let ended = self
            .broker
            .call(move |broker| {
                let ended = broker.end(&transaction, commit);
                match &ended {
                    // Nothing was written: the other way may still be open.
                    Err(error) if commit && !decisive(error) => {
                        broker.end(&transaction, false).and(ended)
                    }
                    _ => ended,
                }
            })
            .await;
        drop(order);
        let ended = match ended {
            Ok(()) => self.broker.settle().await.map_err(|e| unknown(&e)),
            Err(error) => Err(error),
        };
        match ended {
            Ok(()) if commit => TransactionOutcome::Committed,
            Ok(()) => TransactionOutcome::Aborted(doomed.unwrap_or_else(asked)),
            Err(error) if error.kind == PortErrorKind::Fenced => TransactionOutcome::Fenced(error),
            Err(error) if error.kind == PortErrorKind::Unknown => {
                TransactionOutcome::Unknown(error)
            }
            Err(error) if commit => TransactionOutcome::Aborted(error),
            Err(error) => TransactionOutcome::Unknown(unknown(&error)),
        }
    }
}

impl Producer for LocalProducer {
    fn send(&self, batch: OutBatch) -> BoxFuture<'_, PortResult<Receipt>> {
        self.append(batch).boxed()
    }
}

impl TransactionalProducer for LocalProducer {
    fn begin(&self) -> BoxFuture<'_, PortResult<()>> {
        async move {
            let transaction = self.transaction.clone().ok_or_else(not_transactional)?;
            let timeout = self.timeout;
            *self.doomed.lock() = None;
            self.broker.call(move |broker| broker.begin(&transaction, timeout)).await
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

/// Whether the error says all there is to say, so that trying to abort is of no use.
fn decisive(error: &PortError) -> bool {
    matches!(error.kind, PortErrorKind::Fenced | PortErrorKind::Unknown)
}

fn unknown(error: &PortError) -> PortError {
    PortError::new(PortErrorKind::Unknown, error.text.clone())
}

fn all_failed(count: usize, error: &PortError) -> Vec<ProduceFailure> {
    (0..count).map(|index| ProduceFailure { index, error: error.clone() }).collect()
}

fn asked() -> PortError {
    PortError::new(PortErrorKind::Internal, "the transaction was aborted, as asked")
}

fn not_transactional() -> PortError {
    PortError::new(PortErrorKind::Internal, "this producer has no transactional id")
}
