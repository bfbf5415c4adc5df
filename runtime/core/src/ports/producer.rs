//! Producing.

use std::sync::Arc;

use bytes::Bytes;
use futures::future::BoxFuture;
use towpath_sdk::Text;
use towpath_sdk::record::Topic;

use super::{ClientOverrides, PortError, PortResult};

/// What a producer is for.
#[derive(Debug, Clone, Default)]
pub struct ProducerSpec {
    /// The client id that the broker sees.
    pub client_id: String,
    /// Java client properties that override the worker's.
    pub overrides: ClientOverrides,
}

/// Headers as names and bytes; the same for many records.
pub type OutHeaders = Arc<[(Text, Option<Bytes>)]>;

/// A record as bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutRecord {
    /// The topic.
    pub topic: Topic,
    /// The partition; `None` is Java's partitioner: murmur2 of the key, sticky without a key.
    pub partition: Option<i32>,
    /// The key.
    pub key: Option<Bytes>,
    /// The value.
    pub value: Option<Bytes>,
    /// Milliseconds since the epoch; `None` is now.
    pub timestamp: Option<i64>,
    /// The headers.
    pub headers: OutHeaders,
}

impl OutRecord {
    /// Bytes of key, value and headers.
    #[must_use]
    pub fn size(&self) -> usize {
        let headers: usize =
            self.headers.iter().map(|(k, v)| k.len() + v.as_ref().map_or(0, Bytes::len)).sum();
        headers
            + self.key.as_ref().map_or(0, Bytes::len)
            + self.value.as_ref().map_or(0, Bytes::len)
    }
}

/// Records that go together. The producer shares them with its caller, and holds them until the broker has
/// answered.
pub type OutBatch = Arc<Vec<OutRecord>>;

/// One record of a batch that did not reach the broker.
#[derive(Debug, Clone)]
pub struct ProduceFailure {
    /// Its place in the batch.
    pub index: usize,
    /// Why. [`super::PortErrorKind::Unknown`]: it may be there all the same.
    pub error: PortError,
}

/// Resolves when the broker has answered for every record of a batch: the failures, in batch order;
/// none is success. Dropping it forgets the answer, not the records.
pub type Receipt = BoxFuture<'static, Vec<ProduceFailure>>;

/// Produces idempotently with `acks=all`. Batches are appended in call order per partition. A record
/// that is refused for what it is ([`super::PortErrorKind::TooLarge`],
/// [`super::PortErrorKind::Invalid`]) does not stop those behind it. Any other failure does: what the
/// caller sent before it could see that failure fails too, so that nothing overtakes a record that is
/// sent again. A caller who must keep order stops at the first failure.
pub trait Producer: Send + Sync + 'static {
    /// Enqueues a batch, waiting for room. `Ok` says that it is queued, the receipt that it is durable.
    ///
    /// # Errors
    /// Only for what concerns the whole producer (fenced, broken); nothing of the batch was queued, or
    /// the producer is of no further use.
    fn send(&self, batch: OutBatch) -> BoxFuture<'_, PortResult<Receipt>>;

    /// What keeps records from being delivered now, for as long as it does: receipts are only late
    /// then. `None`: nothing is known to be wrong.
    fn trouble(&self) -> Option<PortError> {
        None
    }
}

/// How a transaction ended.
#[derive(Debug, Clone)]
pub enum TransactionOutcome {
    /// All of it is visible to read-committed readers.
    Committed,
    /// None of it is visible, now or later.
    Aborted(PortError),
    /// It may be either; start anew with the same transactional id, then read back.
    Unknown(PortError),
    /// A newer instance with this transactional id has taken over. This producer is of no further use.
    Fenced(PortError),
}

/// A producer of transactions. Calls come one at a time.
pub trait TransactionalProducer: Producer {
    /// Begins a transaction; what is sent until its end belongs to it.
    fn begin(&self) -> BoxFuture<'_, PortResult<()>>;
    /// Ends it, visible. Waits for all that was sent; a record that failed aborts.
    fn commit(&self) -> BoxFuture<'_, TransactionOutcome>;
    /// Ends it, invisible.
    fn abort(&self) -> BoxFuture<'_, TransactionOutcome>;
}
