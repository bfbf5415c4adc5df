//! Producing in transactions.
//!
//! Duty: the transactional producer. librdkafka's transaction calls block, so they run on threads
//! where blocking is allowed.
//!
//! Invariants:
//! - a time-out is never taken for an abort: the call is repeated, as librdkafka allows, until the
//!   outcome is known or the transaction's own time is over; then it is unknown;
//! - whatever says `Aborted` was aborted at the broker, or never reached it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::producer::Producer as _;
use towpath_core::ports::{
    OutBatch, PortError, PortErrorKind, PortResult, Producer, Receipt, TransactionOutcome,
    TransactionalProducer,
};

use crate::error;
use crate::producer::{Client, KafkaProducer, Running};

/// How long one blocking call lasts before it looks around.
const STEP: Duration = Duration::from_secs(10);

/// A producer of transactions.
pub(crate) struct KafkaTransactionalProducer {
    producer: KafkaProducer,
    /// How long an outcome is waited for.
    patience: Duration,
}

impl KafkaTransactionalProducer {
    /// Fences older producers with the same id. `transaction_timeout` is the one that was configured.
    pub(crate) async fn start(
        running: Running,
        request_timeout: Duration,
        transaction_timeout: Duration,
    ) -> PortResult<Self> {
        let producer = KafkaProducer::new(running);
        init(Arc::clone(producer.client()), request_timeout).await?;
        Ok(Self { producer, patience: transaction_timeout + request_timeout })
    }

    async fn end(&self, commit: bool) -> TransactionOutcome {
        let client = Arc::clone(self.producer.client());
        let deadline = Instant::now() + self.patience;
        if commit {
            // librdkafka would flush by steps of 100 ms: its own wait is over at once this way.
            let deliveries = &client.context().deliveries;
            let all = deliveries.wait_until(|| (deliveries.in_flight() == 0).then_some(()));
            if tokio::time::timeout(self.patience, all).await.is_err() {
                tracing::debug!("records of a transaction are still under way");
            }
        }
        blocking(move || {
            if commit { commit_now(&client, deadline) } else { abort(&client, deadline, None) }
        })
        .await
        .unwrap_or_else(TransactionOutcome::Unknown)
    }
}

/// Fences older producers with the client's transactional id and ends their open transaction.
pub(crate) async fn init(client: Arc<Client>, timeout: Duration) -> PortResult<()> {
    blocking(move || {
        let deadline = Instant::now() + timeout;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match client.native.init_transactions(left.min(STEP)) {
                Ok(()) => return Ok(()),
                Err(e) if retriable(&e) && Instant::now() < deadline => {}
                Err(e) => return Err(client.context().explain(error::from_kafka(&e))),
            }
        }
    })
    .await?
}

fn commit_now(client: &Client, deadline: Instant) -> TransactionOutcome {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let failed = match client.native.commit_transaction(left.min(STEP)) {
            Ok(()) => return TransactionOutcome::Committed,
            Err(failed) => failed,
        };
        let port = client.context().explain_unknown(error::from_kafka(&failed));
        match &failed {
            KafkaError::Transaction(e) if e.is_fatal() => return fatal(client, port),
            KafkaError::Transaction(e) if e.txn_requires_abort() => {
                return abort(client, deadline, Some(port));
            }
            failed if retriable(failed) && Instant::now() < deadline => {}
            _ => return TransactionOutcome::Unknown(port),
        }
    }
}

/// Aborts; `because` is why, where it was not the caller's wish.
fn abort(client: &Client, deadline: Instant, because: Option<PortError>) -> TransactionOutcome {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let failed = match client.native.abort_transaction(left.min(STEP)) {
            Ok(()) => {
                let asked = || PortError::new(PortErrorKind::Internal, "aborted as asked");
                return TransactionOutcome::Aborted(because.unwrap_or_else(asked));
            }
            Err(failed) => failed,
        };
        let port = client.context().explain_unknown(error::from_kafka(&failed));
        match &failed {
            KafkaError::Transaction(e) if e.is_fatal() => return fatal(client, port),
            // Nothing was begun, so nothing can become visible.
            KafkaError::Transaction(e) if e.code() == Code::State => {
                return TransactionOutcome::Aborted(because.unwrap_or(port));
            }
            failed if retriable(failed) && Instant::now() < deadline => {}
            _ => return TransactionOutcome::Unknown(port),
        }
    }
}

/// The outcome of a fatal error: only a newer instance makes it sure that nothing was committed here.
fn fatal(client: &Client, port: PortError) -> TransactionOutcome {
    let fatal = client.fatal().unwrap_or(port);
    match fatal.kind {
        PortErrorKind::Fenced => TransactionOutcome::Fenced(fatal),
        _ => TransactionOutcome::Unknown(fatal),
    }
}

/// Whether the same call may be made again and continues where it was.
fn retriable(failed: &KafkaError) -> bool {
    match failed {
        KafkaError::Transaction(e) => e.is_retriable(),
        KafkaError::Flush(code) => *code == Code::OperationTimedOut,
        _ => false,
    }
}

/// Runs `work` where blocking is allowed.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> PortResult<T> {
    tokio::task::spawn_blocking(work).await.map_err(|_| {
        PortError::new(
            PortErrorKind::Unknown,
            "the runtime stopped while a kafka call was under way",
        )
    })
}

impl Producer for KafkaTransactionalProducer {
    fn send(&self, batch: OutBatch) -> BoxFuture<'_, PortResult<Receipt>> {
        Box::pin(self.producer.send_batch(batch))
    }

    fn trouble(&self) -> Option<PortError> {
        self.producer.trouble()
    }
}

impl TransactionalProducer for KafkaTransactionalProducer {
    fn begin(&self) -> BoxFuture<'_, PortResult<()>> {
        Box::pin(async {
            let client = self.producer.client();
            client
                .native
                .begin_transaction()
                .map_err(|e| client.fatal().unwrap_or_else(|| error::from_kafka(&e)))
        })
    }

    fn commit(&self) -> BoxFuture<'_, TransactionOutcome> {
        Box::pin(self.end(true))
    }

    fn abort(&self) -> BoxFuture<'_, TransactionOutcome> {
        Box::pin(self.end(false))
    }
}
