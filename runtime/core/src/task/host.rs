//! The engine's end of the connectors' contexts.

use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use towpath_sdk::Result;
use towpath_sdk::clock::Clock;
use towpath_sdk::context::{Host, OperationId, Waiting};
use towpath_sdk::guarantee::Guarantee;
use towpath_sdk::offset::{OffsetMap, SourcePartition};

use super::TaskId;
use super::status::{StatusCell, Wait};
use crate::metrics::TaskMetrics;
use crate::offsets::OffsetStore;
use crate::topics::TopicNotes;

/// Serves one task's contexts.
pub struct TaskHost {
    /// Whose.
    pub id: TaskId,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// Its condition.
    pub status: StatusCell,
    /// Its instruments.
    pub metrics: TaskMetrics,
    /// Where small states live, under the connector's name.
    pub offsets: Arc<OffsetStore>,
    /// The topics it uses.
    pub topics: Arc<TopicNotes>,
}

impl TaskHost {
    /// The task waits on account of `wait`, or not any more.
    pub(crate) fn say(&self, wait: Wait, waiting: Option<Waiting>) {
        match waiting {
            Some(Waiting { reason, next_try }) => {
                self.status.waiting(wait, reason, self.clock.now(), next_try);
            }
            None => self.status.resumed(&wait),
        }
    }

    /// The task waits on account of `wait` for `reason`, and nobody knows for how long.
    pub(crate) fn waits(&self, wait: Wait, reason: String) {
        self.say(wait, Some(Waiting { reason, next_try: None }));
    }
}

impl Host for TaskHost {
    fn clock(&self) -> Arc<dyn Clock> {
        Arc::clone(&self.clock)
    }

    fn waiting(&self, waiting: Option<Waiting>) {
        self.say(Wait::Connector, waiting);
    }

    fn operation_waiting(&self, operation: OperationId, waiting: Option<Waiting>) {
        self.say(Wait::Operation(operation), waiting);
    }

    fn load_state(&self, key: OffsetMap) -> BoxFuture<'static, Result<Option<OffsetMap>>> {
        let store = Arc::clone(&self.offsets);
        let connector = Arc::clone(&self.id.connector);
        async move { Ok(store.load(&connector, &SourcePartition(Arc::new(key)))) }.boxed()
    }

    fn store_state(
        &self,
        key: OffsetMap,
        value: Option<OffsetMap>,
    ) -> BoxFuture<'static, Result<()>> {
        let store = Arc::clone(&self.offsets);
        let connector = Arc::clone(&self.id.connector);
        async move {
            let entry = vec![(SourcePartition(Arc::new(key)), value)];
            store.store(&connector, entry).await.map_err(Into::into)
        }
        .boxed()
    }

    fn count(&self, name: &'static str, n: u64) {
        match name {
            // What contexts count when they try again for a connector (`TaskContext::retry`).
            "retries" => {
                self.metrics.retries.inc_by(n);
            }
            _ => self.metrics.event(name, n),
        }
    }

    fn guarantee(&self, guarantee: Guarantee) {
        self.status.guarantee(guarantee);
    }
}
