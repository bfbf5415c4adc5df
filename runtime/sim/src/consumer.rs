//! Consumers behind the simulated network.
//!
//! Duty: deliver events late, nothing while no broker answers, and commits with every outcome there is.

use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::sync::watch;
use tokio::time::Instant;
use towpath_core::ports::{
    CommitOutcome, Consumer, ConsumerEvent, PortError, PortErrorKind, PortResult,
};
use towpath_sdk::record::TopicPartition;

use crate::net::{Fate, Net, REQUEST_TIMEOUT, no_answer, unreachable};

/// See the module's head.
pub(crate) struct SimConsumer {
    inner: Box<dyn Consumer>,
    net: Arc<Net>,
    down: watch::Receiver<bool>,
    /// What was last said about the brokers.
    told_down: bool,
    /// An event on its way, and when it is there.
    held: Option<(Instant, ConsumerEvent)>,
    /// Commits arrive in the order in which they were made.
    order: Arc<tokio::sync::Mutex<()>>,
}

impl SimConsumer {
    pub(crate) fn new(inner: Box<dyn Consumer>, net: Arc<Net>) -> Self {
        let down = net.watch_down();
        Self { inner, net, down, told_down: false, held: None, order: Arc::default() }
    }

    async fn next_event(&mut self) -> PortResult<ConsumerEvent> {
        loop {
            let down = *self.down.borrow_and_update();
            if down != self.told_down {
                self.told_down = down;
                return Ok(ConsumerEvent::Trouble(down.then(unreachable)));
            }
            if down {
                self.changed().await;
                continue;
            }
            if let Some((due, _)) = self.held {
                tokio::select! {
                    biased;
                    () = tokio::time::sleep_until(due) => {}
                    _ = self.down.changed() => continue,
                }
                if let Some((_, event)) = self.held.take() {
                    return Ok(event);
                }
            }
            tokio::select! {
                biased;
                _ = self.down.changed() => {}
                event = self.inner.next() => {
                    let due = Instant::now() + self.net.latency();
                    self.held = Some((due, event?));
                }
            }
        }
    }

    async fn changed(&mut self) {
        if self.down.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Forgets a batch of `at` that is on its way.
    fn forget(&mut self, at: &TopicPartition) {
        let old = |event: &ConsumerEvent| matches!(event, ConsumerEvent::Batch(b) if b.topic_partition == *at);
        if self.held.as_ref().is_some_and(|(_, event)| old(event)) {
            self.held = None;
        }
    }
}

impl Consumer for SimConsumer {
    fn next(&mut self) -> BoxFuture<'_, PortResult<ConsumerEvent>> {
        self.next_event().boxed()
    }

    fn start(&mut self, at: Vec<(TopicPartition, Option<i64>)>) -> BoxFuture<'_, PortResult<()>> {
        async move {
            at.iter().for_each(|(at, _)| self.forget(at));
            // A client asks for committed offsets until somebody answers.
            self.net.delay().await;
            self.inner.start(at).await
        }
        .boxed()
    }

    fn halt(&mut self, partitions: &[TopicPartition]) -> PortResult<()> {
        partitions.iter().for_each(|at| self.forget(at));
        self.inner.halt(partitions)
    }

    fn commit(&self, offsets: Vec<(TopicPartition, i64)>) -> BoxFuture<'static, CommitOutcome> {
        let net = Arc::clone(&self.net);
        let order = Arc::clone(&self.order);
        let commit = self.inner.commit(offsets);
        async move {
            let _order = order.lock().await;
            let began = Instant::now();
            if let Err(error) = net.arrive(REQUEST_TIMEOUT).await {
                return CommitOutcome::Failed(error);
            }
            if net.chance(net.fault(|f| f.commit_refused)) {
                return CommitOutcome::Failed(PortError::new(
                    PortErrorKind::Degraded,
                    "the group is rebalancing (simulated)",
                ));
            }
            match net.fate(net.fault(|f| f.commit_unknown)) {
                Fate::Answered => {
                    let outcome = commit.await;
                    net.delay().await;
                    return outcome;
                }
                Fate::AnswerLost => drop(commit.await),
                Fate::RequestLost => {}
            }
            tokio::time::sleep_until(began + REQUEST_TIMEOUT).await;
            CommitOutcome::Unknown(no_answer())
        }
        .boxed()
    }

    fn end_offset(&self, partition: &TopicPartition) -> Option<i64> {
        self.inner.end_offset(partition)
    }

    fn close(self: Box<Self>) -> BoxFuture<'static, ()> {
        self.inner.close()
    }
}
