//! One partition's lane: decode, write, wake, drain.
//!
//! Duty: run a [`DynSinkLane`] in a task of its own, fed by a queue whose bytes are bounded by the
//! consumer's budget, and collect its reports where the driver finds them. A record that fails to
//! decode is reported here, before the lane sees the batch, so a lane's `durable` can't pass it
//! unnoticed; where it stops the task, the lane sees nothing from it on.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;
use towpath_formats::dlq::Stage;
use towpath_sdk::clock::Clock;
use towpath_sdk::context::Backoff;
use towpath_sdk::error::{Action, Error, Result};
use towpath_sdk::plugin::erased::DynSinkLane;
use towpath_sdk::record::{Origin, RawBatch, SinkRecord, TopicPartition};
use towpath_sdk::sink::{ProgressSink, Settle, SinkBatch};

use super::ledger::Ticket;
use crate::chain::{Chain, Fault};
use crate::metrics::TaskMetrics;
use crate::settings::Tolerance;

/// Batches of a lane that are told apart while they are not durable.
const WRITTEN_MAX: usize = 1024;

/// A record that failed, with all that its dead letter needs.
#[derive(Debug)]
pub(super) struct Reject {
    pub(super) origin: Origin,
    pub(super) fault: Fault,
    /// Whoever waits for it to be held elsewhere.
    pub(super) settle: Option<Settle>,
}

/// What a lane reported since it was last asked.
#[derive(Debug, Default)]
pub(super) struct Reports {
    pub(super) durable: Option<i64>,
    pub(super) rejects: Vec<Reject>,
    /// Records in the batches that became durable as a whole, apart from the rejected ones.
    pub(super) delivered: u64,
}

/// The shared end of a lane: the queue in, the reports out.
pub(super) struct LaneCell {
    pub(super) partition: TopicPartition,
    pub(super) ticket: Ticket,
    queue: Mutex<VecDeque<RawBatch>>,
    arrived: Notify,
    /// Wakes the lane when something behind its back broke.
    broke: Notify,
    draining: AtomicBool,
    reports: Mutex<Reports>,
    /// Where each batch ends that the lane was given and that is not durable, and its records.
    written: Mutex<VecDeque<(i64, u64)>>,
    failed: Mutex<Option<Error>>,
    /// Wakes the driver.
    reported: Arc<Notify>,
    put_class: Arc<str>,
}

impl LaneCell {
    pub(super) fn new(
        partition: TopicPartition,
        ticket: Ticket,
        reported: Arc<Notify>,
        put_class: Arc<str>,
    ) -> Arc<Self> {
        Arc::new(Self {
            partition,
            ticket,
            queue: Mutex::default(),
            arrived: Notify::new(),
            broke: Notify::new(),
            draining: AtomicBool::new(false),
            reports: Mutex::default(),
            written: Mutex::default(),
            failed: Mutex::default(),
            reported,
            put_class,
        })
    }

    /// Hands the lane a batch. Its bytes are charged already.
    pub(super) fn push(&self, batch: RawBatch) {
        self.queue.lock().push_back(batch);
        self.arrived.notify_one();
    }

    /// Tells the lane to finish the batch in hand, drain and end; queued batches are dropped.
    pub(super) fn drain(&self) {
        self.draining.store(true, Ordering::Release);
        self.queue.lock().clear();
        self.arrived.notify_one();
    }

    /// Takes what was reported.
    pub(super) fn take_reports(&self) -> Reports {
        std::mem::take(&mut *self.reports.lock())
    }

    /// The lane is about to be given a batch of `records` that ends at `end`.
    fn gives(&self, end: i64, records: usize) {
        let mut written = self.written.lock();
        let full = written.len() >= WRITTEN_MAX;
        match written.back_mut() {
            // A sink that holds much back is counted in larger steps.
            Some(last) if full => *last = (end, last.1 + records as u64),
            _ => written.push_back((end, records as u64)),
        }
    }

    /// The records of batches that end at or below `end`, once.
    fn covered(&self, end: i64) -> u64 {
        let mut written = self.written.lock();
        let mut records = 0;
        while written.front().is_some_and(|(batch_end, _)| *batch_end <= end) {
            records += written.pop_front().map_or(0, |(_, count)| count);
        }
        records
    }

    fn report_fault(&self, origin: Origin, fault: Fault, settle: Option<Settle>) {
        self.reports.lock().rejects.push(Reject { origin, fault, settle });
        self.reported.notify_one();
    }

    fn next(&self) -> Option<RawBatch> {
        self.queue.lock().pop_front()
    }

    /// Resolves with the error that something behind the lane's back reported.
    async fn failure(&self) -> Error {
        loop {
            if let Some(error) = self.failed.lock().take() {
                return error;
            }
            self.broke.notified().await;
        }
    }
}

impl ProgressSink for LaneCell {
    fn durable(&self, end: i64) {
        let covered = self.covered(end);
        let mut reports = self.reports.lock();
        reports.delivered += covered;
        if reports.durable.is_none_or(|before| before < end) {
            reports.durable = Some(end);
            drop(reports);
            self.reported.notify_one();
        }
    }

    fn reject(&self, record: SinkRecord, error: Error, settle: Option<Settle>) {
        let origin = record.origin().clone();
        // It is in the first batch that ends behind it, and will not be durable with the rest.
        let mut written = self.written.lock();
        if let Some((_, records)) = written.iter_mut().find(|(end, _)| record.offset() < *end) {
            *records = records.saturating_sub(1);
        }
        drop(written);
        let fault = Fault::new(Stage::TaskPut, Arc::clone(&self.put_class), error);
        self.report_fault(origin, fault, settle);
    }

    fn fail(&self, error: Error) {
        self.failed.lock().get_or_insert(error);
        self.broke.notify_one();
    }
}

/// A batch for the sink, and what stopped it if the task must stop there.
struct Decoded {
    batch: SinkBatch,
    last: Option<(Origin, Fault)>,
}

/// What a lane needs to run.
pub(super) struct LaneRun {
    pub(super) cell: Arc<LaneCell>,
    pub(super) chain: Arc<Chain>,
    pub(super) tolerance: Arc<Tolerance>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) metrics: TaskMetrics,
}

impl LaneRun {
    /// Runs `lane` until it is drained or fails.
    pub(super) async fn run(self, lane: Box<dyn DynSinkLane>) -> Result<()> {
        let cell = Arc::clone(&self.cell);
        tokio::select! {
            biased;
            error = cell.failure() => Err(error),
            ended = self.work(lane) => ended,
        }
    }

    async fn work(self, mut lane: Box<dyn DynSinkLane>) -> Result<()> {
        loop {
            if self.cell.draining.load(Ordering::Acquire) {
                return lane.drain().await;
            }
            if lane.wake_at().is_some_and(|at| at <= self.clock.now()) {
                lane.wake().await?;
            }
            if let Some(raw) = self.cell.next() {
                let Decoded { batch, last } = self.decode(raw).await;
                let started = Instant::now();
                self.cell.gives(batch.end, batch.records.len());
                lane.write(batch).await?;
                self.metrics.write_seconds.observe(started.elapsed().as_secs_f64());
                if let Some((origin, fault)) = last {
                    self.cell.report_fault(origin, fault, None);
                    return Ok(());
                }
                continue;
            }
            match lane.wake_at() {
                None => self.cell.arrived.notified().await,
                Some(at) => {
                    let delay = at.since(self.clock.now());
                    tokio::select! {
                        biased;
                        () = self.cell.arrived.notified() => {}
                        () = tokio::time::sleep(delay) => {}
                    }
                }
            }
        }
    }

    /// Reports the records that fail, if the task goes on without them; else the batch ends before the
    /// first one, so that nothing which comes after it is written.
    async fn decode(&self, raw: RawBatch) -> Decoded {
        let raw = Arc::new(raw);
        let mut records = Vec::with_capacity(raw.rows.len());
        for row in 0..raw.rows.len() {
            let Some(origin) = Origin::new(&raw, row) else { continue };
            let decoded = match self.chain.decode(&origin) {
                Err(fault) if fault.error.action() == Action::Retry => {
                    self.retry(&origin, fault).await
                }
                other => other,
            };
            match decoded {
                Ok(record) => records.extend(record),
                Err(fault) if self.tolerance.all => self.cell.report_fault(origin, fault, None),
                Err(fault) => {
                    let end = origin.row().offset;
                    let last = Some((origin, fault));
                    return Decoded { batch: SinkBatch::new(records, end), last };
                }
            }
        }
        Decoded { batch: SinkBatch::new(records, raw.end), last: None }
    }

    /// Tries a stage that may heal again, as `errors.retry.*` say.
    async fn retry(
        &self,
        origin: &Origin,
        mut fault: Fault,
    ) -> std::result::Result<Option<SinkRecord>, Fault> {
        let started = Instant::now();
        let mut backoff = Backoff::default();
        loop {
            let delay = backoff.next(fault.error.retry_after()).min(self.tolerance.retry_delay_max);
            let timeout = self.tolerance.retry_timeout.unwrap_or(Duration::MAX);
            if started.elapsed().checked_add(delay).is_none_or(|spent| spent > timeout) {
                return Err(fault);
            }
            self.metrics.retries.inc();
            tokio::time::sleep(delay).await;
            match self.chain.decode(origin) {
                Ok(record) => return Ok(record),
                Err(again) if again.error.action() == Action::Retry => fault = again,
                Err(again) => return Err(again),
            }
        }
    }
}
