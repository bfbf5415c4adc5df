//! What becomes of rejected records.
//!
//! Duty: apply `errors.tolerance` to what lanes rejected: to the dead letter queue and settle on its
//! ack, skip and settle at once, or fail the task. Letters in flight are bounded; beyond the bound the
//! driver stops dispatching.

use std::sync::Arc;

use futures::stream::{FuturesUnordered, StreamExt};
use tokio::time::Instant;
use towpath_sdk::record::TopicPartition;
use towpath_sdk::sink::Settle;
use towpath_sdk::{Error, ErrorKind};

use super::lane::Reject;
use super::ledger::{Ledger, Ticket};
use crate::dead_letters::{DeadLetters, JavaLike};
use crate::metrics::TaskMetrics;
use crate::settings::Tolerance;
use crate::task::{TaskId, silence};

/// Bytes of letters in flight at which dispatching stops.
const LETTERS_MAX_BYTES: usize = 8 << 20;

type Writing = futures::future::BoxFuture<'static, Written>;

/// Letters of one lane on their way, and how that went.
struct Written {
    partition: TopicPartition,
    ticket: Ticket,
    offsets: Vec<i64>,
    settle: Vec<Settle>,
    bytes: usize,
    outcome: Result<(), Error>,
}

/// The rejects of one task.
pub(super) struct Rejects {
    id: TaskId,
    tolerance: Arc<Tolerance>,
    dead_letters: Option<DeadLetters>,
    metrics: TaskMetrics,
    writing: FuturesUnordered<Writing>,
    bytes: usize,
    /// When the queue last answered, or was first asked after it had answered everything.
    heard: Instant,
}

impl Rejects {
    pub(super) fn new(
        id: TaskId,
        tolerance: Arc<Tolerance>,
        dead_letters: Option<DeadLetters>,
        metrics: TaskMetrics,
    ) -> Self {
        Self {
            id,
            tolerance,
            dead_letters,
            metrics,
            writing: FuturesUnordered::new(),
            bytes: 0,
            heard: Instant::now(),
        }
    }

    /// Whether so much is in flight that no more records should be handed out.
    pub(super) fn full(&self) -> bool {
        self.bytes >= LETTERS_MAX_BYTES
    }

    /// Why nothing is heard of letters in flight, if that is so.
    pub(super) fn silence(&self) -> Option<String> {
        let queue = self.dead_letters.as_ref()?;
        let silent = !self.is_idle() && self.heard.elapsed() >= silence::PATIENCE;
        silent.then(|| silence::reason(&queue.doing(), queue.trouble()))
    }

    /// Whether anything is in flight.
    pub(super) fn is_idle(&self) -> bool {
        self.writing.is_empty()
    }

    /// Takes what the lane `ticket` of `partition` rejected.
    ///
    /// # Errors
    /// If the tolerance says that the task must stop.
    pub(super) fn take(
        &mut self,
        ledger: &mut Ledger,
        partition: &TopicPartition,
        ticket: Ticket,
        rejects: Vec<Reject>,
    ) -> Result<(), Error> {
        let mut letters = Vec::new();
        let mut offsets = Vec::new();
        let mut waiting = Vec::new();
        for Reject { origin, fault, settle } in rejects {
            let offset = origin.row().offset;
            if !ledger.rejected(partition, ticket, offset) {
                continue;
            }
            self.metrics.failures.inc();
            self.log(partition, offset, &origin, &fault);
            if !self.tolerance.all {
                let text = format!(
                    "{} failed for the record at {partition} offset {offset} and \
                     errors.tolerance=none stops the task",
                    fault.stage.name()
                );
                return Err(Error::new(ErrorKind::Data, text).with_source(fault.error));
            }
            match &self.dead_letters {
                Some(queue) => {
                    letters.push(queue.letter(&origin, &fault));
                    offsets.push(offset);
                    waiting.extend(settle);
                }
                None => {
                    self.metrics.skipped.inc();
                    ledger.settled(partition, ticket, offset);
                    settle.into_iter().for_each(Settle::done);
                }
            }
        }
        if let Some(queue) = self.dead_letters.as_ref().filter(|_| !letters.is_empty()) {
            let bytes = letters.iter().map(crate::ports::OutRecord::size).sum();
            let write = queue.write(letters);
            let partition = partition.clone();
            if self.is_idle() {
                self.heard = Instant::now();
            }
            self.bytes += bytes;
            self.writing.push(Box::pin(async move {
                let outcome = write.await.map_err(Error::from);
                Written { partition, ticket, offsets, settle: waiting, bytes, outcome }
            }));
        }
        Ok(())
    }

    /// Resolves when a write has ended and its records are settled; pending while nothing is in flight.
    ///
    /// # Errors
    /// If the queue can't take a letter: the task must stop, the record is in neither place.
    pub(super) async fn settle(&mut self, ledger: &mut Ledger) -> Result<(), Error> {
        let Some(written) = self.writing.next().await else {
            return std::future::pending().await;
        };
        let Written { partition, ticket, offsets, settle, bytes, outcome } = written;
        self.bytes -= bytes;
        self.heard = Instant::now();
        if let Err(error) = outcome {
            self.metrics.dead_letter_failures.inc();
            return Err(error);
        }
        self.metrics.dead_letters.inc_by(offsets.len() as u64);
        for offset in offsets {
            ledger.settled(&partition, ticket, offset);
        }
        settle.into_iter().for_each(Settle::done);
        Ok(())
    }

    fn log(
        &self,
        partition: &TopicPartition,
        offset: i64,
        origin: &towpath_sdk::record::Origin,
        fault: &crate::chain::Fault,
    ) {
        if !self.tolerance.log {
            return;
        }
        let error = JavaLike::of(&fault.error);
        let (stage, class) = (fault.stage.name(), &*fault.class);
        if self.tolerance.log_messages {
            let text = |bytes: Option<bytes::Bytes>| {
                bytes.map(|b| String::from_utf8_lossy(&b).into_owned()).unwrap_or_default()
            };
            tracing::error!(
                task = %self.id, %partition, offset, stage, class, error = error.trace,
                key = text(origin.key()), value = text(origin.value()), "a record failed"
            );
        } else {
            tracing::error!(
                task = %self.id, %partition, offset, stage, class, error = error.trace,
                "a record failed"
            );
        }
    }
}
