//! The source pipeline without transactions.
//!
//! Duty: keep the producer busy with many batches, store the offsets of the acknowledged prefix, and
//! tell the source. Stages run beside each other and hand over in order: converting, sending (one batch
//! waits for the producer's room), in flight (waiting for the broker and the dead letter queue).

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use futures::stream::{FuturesOrdered, StreamExt};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use towpath_sdk::error::{Error, ErrorKind, Result};
use towpath_sdk::source::{Budget, Mark, SourceBatch};

use super::convert::{Converted, Converter, refused_together};
use super::lent::{self, LentSource};
use super::pending::{Offsets, Pending, to_acknowledge};
use super::{SourceSpec, open_dead_letters, producer_spec};
use crate::home;
use crate::metrics::TaskMetrics;
use crate::ports::{Cluster, OutRecord, PortResult, ProduceFailure, Producer};
use crate::task::host::TaskHost;
use crate::task::status::Wait;
use crate::task::{Wanted, silence};
use crate::topics::{TopicCreator, TopicNotes};

/// Records that one poll may return.
pub(super) const POLL_RECORDS: usize = 4096;
/// Bytes that one poll may return: what fits into one request of a producer, which is a megabyte.
pub(super) const POLL_BYTES: usize = 900_000;
/// Batches being converted at once.
const CONVERTING_MAX: usize = 4;
/// How long the offsets of an acknowledged prefix may wait to be stored, at most.
const STORE_INTERVAL_MAX: Duration = Duration::from_secs(1);

pub(super) async fn run(
    spec: SourceSpec,
    cluster: Arc<dyn Cluster>,
    host: Arc<TaskHost>,
    wanted: watch::Receiver<Wanted>,
) -> Result<()> {
    let producer = cluster.producer(producer_spec(&spec)).await?;
    let dead_letters = open_dead_letters(&spec, &*cluster, Arc::clone(&producer)).await?;
    let stored = host.offsets.source_offsets(&spec.id.connector);
    let task = lent::start(&spec, &host, stored).await?;
    let converter = Converter::new(&spec, &host, dead_letters);
    let mut driver = Driver {
        sender: Sender {
            producer,
            failed: Arc::default(),
            topics: Arc::clone(&spec.topics),
            notes: Arc::clone(&host.topics),
            converter: converter.clone(),
            waits: Arc::clone(&host),
        },
        converter,
        metrics: host.metrics.clone(),
        host,
        task: Some(task),
        converting: FuturesOrdered::new(),
        sending: None,
        waiting: VecDeque::new(),
        in_flight: FuturesOrdered::new(),
        sent_at: VecDeque::new(),
        next_look: Instant::now(),
        bytes: 0,
        acknowledged: Pending::default(),
        storing: None,
        next_store: Instant::now(),
        paused: false,
        spec,
    };
    let outcome = driver.drive(wanted).await;
    driver.end(outcome).await
}

struct Driver {
    spec: SourceSpec,
    host: Arc<TaskHost>,
    metrics: TaskMetrics,
    converter: Converter,
    sender: Sender,
    /// Taken when the task ends.
    task: Option<LentSource>,
    converting: FuturesOrdered<JoinHandle<Result<Converted>>>,
    sending: Option<BoxFuture<'static, Result<InFlight>>>,
    waiting: VecDeque<Converted>,
    in_flight: FuturesOrdered<BoxFuture<'static, Result<Landed>>>,
    /// When each batch in flight was sent.
    sent_at: VecDeque<Instant>,
    /// When it is looked at how long they take.
    next_look: Instant,
    /// Bytes from conversion to the broker's answer.
    bytes: usize,
    acknowledged: Pending,
    storing: Option<Storing>,
    next_store: Instant,
    paused: bool,
}

struct Storing {
    offsets: Offsets,
    started: Instant,
    outcome: BoxFuture<'static, PortResult<()>>,
}

/// A batch that the producer has; resolves when the broker has it too.
type InFlight = BoxFuture<'static, Result<Landed>>;

/// A batch that has landed.
struct Landed {
    marks: Vec<Mark>,
    records: usize,
    letters: usize,
    bytes: usize,
    started: Instant,
}

enum Step {
    Wanted(Wanted),
    Converted(Converted),
    Sent(InFlight),
    Landed(Landed),
    Stored(PortResult<()>),
    StoreDue,
    LookDue,
    Polled(SourceBatch),
}

impl Driver {
    async fn drive(&mut self, mut wanted: watch::Receiver<Wanted>) -> Result<()> {
        let mut wish = Some(*wanted.borrow_and_update());
        loop {
            if let Some(wish) = wish.take() {
                if wish == Wanted::Stopped {
                    return Ok(());
                }
                self.obey(wish).await?;
            }
            match self.step(Some(&mut wanted), !self.paused).await? {
                Step::Wanted(new) => wish = Some(new),
                other => self.on(other).await?,
            }
        }
    }

    async fn obey(&mut self, wanted: Wanted) -> Result<()> {
        self.paused = wanted == Wanted::Paused;
        if self.paused {
            let timeout = self.spec.settings.stop_timeout;
            if let Some(task) = &mut self.task {
                let interrupting = async {
                    task.interrupt().await;
                    Ok(())
                };
                home::within(timeout, &self.host.tenant(), "poll", interrupting).await?;
            }
            self.settle(timeout).await?;
            self.host.status.paused();
        } else {
            self.host.status.running();
        }
        Ok(())
    }

    async fn step(
        &mut self,
        wanted: Option<&mut watch::Receiver<Wanted>>,
        poll: bool,
    ) -> Result<Step> {
        let room = self.spec.settings.budget_bytes.saturating_sub(self.bytes).min(POLL_BYTES);
        let poll =
            poll && room > 0 && self.converting.len() < CONVERTING_MAX && self.waiting.len() < 2;
        let store_at =
            (self.storing.is_none() && !self.acknowledged.is_empty()).then_some(self.next_store);
        let look_at = (!self.in_flight.is_empty()).then_some(self.next_look);
        tokio::select! {
            biased;
            wish = changed(wanted) => Ok(Step::Wanted(wish)),
            Some(landed) = self.in_flight.next() => Ok(Step::Landed(landed?)),
            sent = sent(&mut self.sending) => {
                self.sending = None;
                Ok(Step::Sent(sent?))
            }
            stored = stored(&mut self.storing) => Ok(Step::Stored(stored)),
            () = crate::task::at(store_at) => Ok(Step::StoreDue),
            () = crate::task::at(look_at) => Ok(Step::LookDue),
            Some(converted) = self.converting.next() => Ok(Step::Converted(joined(converted)?)),
            polled = poll_task(self.task.as_mut(), room), if poll => Ok(Step::Polled(polled?)),
        }
    }

    async fn on(&mut self, step: Step) -> Result<()> {
        match step {
            Step::Wanted(_) => {}
            Step::Polled(batch) => self.on_polled(batch),
            Step::Converted(converted) => {
                self.converter.check_given(converted.given)?;
                self.bytes += converted.bytes;
                self.waiting.push_back(converted);
                self.send_next();
            }
            Step::Sent(in_flight) => {
                self.in_flight.push_back(in_flight);
                self.sent_at.push_back(Instant::now());
                self.send_next();
            }
            Step::Landed(landed) => self.on_landed(landed),
            Step::StoreDue => self.store(),
            Step::LookDue => self.look(),
            Step::Stored(outcome) => self.on_stored(outcome).await?,
        }
        Ok(())
    }

    fn on_polled(&mut self, batch: SourceBatch) {
        if batch.is_empty() {
            return;
        }
        let converter = self.converter.clone();
        let convert = async move { converter.convert(batch).await };
        self.converting.push_back(self.host.place.spawn(&self.host.tenant(), "convert", convert));
    }

    fn send_next(&mut self) {
        if self.sending.is_none()
            && let Some(converted) = self.waiting.pop_front()
        {
            self.sending = Some(self.sender.clone().send(converted).boxed());
        }
    }

    fn on_landed(&mut self, landed: Landed) {
        self.bytes -= landed.bytes;
        self.sent_at.pop_front();
        self.metrics.delivered.inc_by(landed.records as u64);
        self.metrics.dead_letters.inc_by(landed.letters as u64);
        self.metrics.write_seconds.observe(landed.started.elapsed().as_secs_f64());
        self.metrics.held.set(i64::try_from(self.bytes).unwrap_or(i64::MAX));
        self.acknowledged.fold(landed.marks);
        if self.in_flight.is_empty() {
            self.host.status.resumed(&Wait::Producer);
        }
    }

    /// Says why the oldest batch in flight is not answered, if it should have been long ago.
    fn look(&mut self) {
        self.next_look = Instant::now() + silence::LOOK;
        if self.sent_at.front().is_some_and(|sent| sent.elapsed() >= silence::PATIENCE) {
            let reason = silence::reason("produce", self.sender.producer.trouble());
            self.host.waits(Wait::Producer, reason);
        } else {
            self.host.status.resumed(&Wait::Producer);
        }
    }

    fn store(&mut self) {
        let offsets = self.acknowledged.take();
        let store = Arc::clone(&self.host.offsets);
        let connector = Arc::clone(&self.spec.id.connector);
        let entries = offsets.clone();
        let outcome = async move { store.commit(&connector, &entries).await }.boxed();
        self.storing = Some(Storing { offsets, started: Instant::now(), outcome });
        self.next_store =
            Instant::now() + self.spec.settings.commit_interval.min(STORE_INTERVAL_MAX);
    }

    async fn on_stored(&mut self, outcome: PortResult<()>) -> Result<()> {
        let Some(storing) = self.storing.take() else { return Ok(()) };
        self.metrics.commit_seconds.observe(storing.started.elapsed().as_secs_f64());
        match outcome {
            Ok(()) => {
                self.metrics.commits.inc();
                self.host.status.resumed(&Wait::Offsets);
                match self.task.as_mut() {
                    Some(task) => task.acknowledge(to_acknowledge(storing.offsets)).await,
                    None => Ok(()),
                }
            }
            // Written or not, the same offsets may be written again.
            Err(error) => {
                self.metrics.commit_failures.inc();
                tracing::warn!(task = %self.spec.id, %error, "storing offsets did not go through");
                self.host.waits(Wait::Offsets, format!("store offsets: {error}"));
                self.acknowledged.put_back(storing.offsets);
                self.next_store = Instant::now() + STORE_INTERVAL_MAX;
                Ok(())
            }
        }
    }

    fn is_settled(&self) -> bool {
        self.converting.is_empty()
            && self.waiting.is_empty()
            && self.sending.is_none()
            && self.in_flight.is_empty()
            && self.storing.is_none()
            && self.acknowledged.is_empty()
    }

    /// Without polling, waits until all that was polled has landed and its offsets are stored.
    async fn settle(&mut self, timeout: Duration) -> Result<()> {
        let deadline = Instant::now() + timeout;
        self.next_store = Instant::now();
        while !self.is_settled() {
            match tokio::time::timeout_at(deadline, self.step(None, false)).await {
                Ok(step) => {
                    let step = step?;
                    self.on(step).await?;
                }
                Err(_elapsed) => {
                    tracing::warn!(task = %self.spec.id, ?timeout, "records did not land in time");
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    async fn end(mut self, outcome: Result<()>) -> Result<()> {
        let timeout = self.spec.settings.stop_timeout;
        let settled = match &outcome {
            Ok(()) => self.settle(timeout).await,
            Err(_) => self.store_landed(timeout).await,
        };
        let stopped = match self.task.take() {
            Some(task) => {
                home::within(timeout, &self.host.tenant(), "stop", task.stop()).await.map(drop)
            }
            None => Ok(()),
        };
        outcome.and(settled).and(stopped)
    }

    /// After a failure: what has landed counts, nothing else is sent.
    async fn store_landed(&mut self, timeout: Duration) -> Result<()> {
        if self.storing.is_none() && !self.acknowledged.is_empty() {
            self.store();
        }
        if let Ok(outcome) = tokio::time::timeout(timeout, stored(&mut self.storing)).await {
            self.on_stored(outcome).await?;
        }
        Ok(())
    }
}

/// Brings converted batches to the broker.
#[derive(Clone)]
struct Sender {
    producer: Arc<dyn Producer>,
    /// Whether a batch in flight has failed, so that none may be sent behind it. The failure itself
    /// waits its turn behind the batches before it.
    failed: Arc<AtomicBool>,
    topics: Arc<TopicCreator>,
    notes: Arc<TopicNotes>,
    converter: Converter,
    waits: Arc<TaskHost>,
}

impl Sender {
    async fn send(self, converted: Converted) -> Result<InFlight> {
        let started = Instant::now();
        ensure_topics(&self.topics, &self.waits, &converted).await?;
        for record in &converted.records {
            self.notes.used(&record.topic);
        }
        let Converted { records, letters, marks, bytes, .. } = converted;
        let records = Arc::new(records);
        if self.failed.load(Ordering::Acquire) {
            return std::future::pending().await;
        }
        let receipt = self.producer.send(Arc::clone(&records)).await?;
        Ok(async move {
            let mut failures = receipt.await;
            if refused_together(&failures) {
                failures = self.send_alone(&records, failures).await?;
            }
            let refused = failures.len();
            let mut letters = letters;
            let more = self.converter.refused(&records, failures);
            letters.extend(more.inspect_err(|_| self.failed.store(true, Ordering::Release))?);
            let written = letters.len();
            if let Some(queue) = self.converter.dead_letters.as_ref().filter(|_| written > 0) {
                queue.write(letters).await?;
            }
            let records = records.len() - refused;
            Ok(Landed { marks, records, letters: written, bytes, started })
        }
        .boxed())
    }
}

impl Sender {
    /// Sends those of `records` that failed one after the other, each by itself. What is in flight
    /// behind them may come before them. Returns which failed again.
    async fn send_alone(
        &self,
        records: &[OutRecord],
        failures: Vec<ProduceFailure>,
    ) -> Result<Vec<ProduceFailure>> {
        let mut again = Vec::new();
        for failure in failures {
            let Some(record) = records.get(failure.index) else { continue };
            let receipt = self.producer.send(vec![record.clone()].into()).await?;
            let failed = receipt.await.into_iter();
            again.extend(failed.map(|failed| ProduceFailure { index: failure.index, ..failed }));
            if !again.is_empty() && !self.converter.tolerance.all {
                // The task stops here, so nothing comes behind it.
                break;
            }
        }
        Ok(again)
    }
}

/// Creates missing topics, waiting with the reason shown while that is not possible.
pub(super) async fn ensure_topics(
    topics: &TopicCreator,
    host: &Arc<TaskHost>,
    converted: &Converted,
) -> Result<()> {
    let cx = towpath_sdk::context::TaskContext::new(
        Arc::clone(&host.id.connector),
        host.id.task,
        host.clone(),
    );
    for topic in topics.unknown(converted.records.iter().map(|r| &r.topic)) {
        cx.retry("produce", || topics.ensure(&topic)).await?;
    }
    Ok(())
}

pub(super) async fn changed(wanted: Option<&mut watch::Receiver<Wanted>>) -> Wanted {
    match wanted {
        Some(wanted) => match wanted.changed().await {
            Ok(()) => *wanted.borrow_and_update(),
            Err(_gone) => Wanted::Stopped,
        },
        None => std::future::pending().await,
    }
}

async fn sent(sending: &mut Option<BoxFuture<'static, Result<InFlight>>>) -> Result<InFlight> {
    match sending {
        Some(sending) => sending.await,
        None => std::future::pending().await,
    }
}

async fn stored(storing: &mut Option<Storing>) -> PortResult<()> {
    match storing {
        Some(storing) => (&mut storing.outcome).await,
        None => std::future::pending().await,
    }
}

pub(super) async fn poll_task(task: Option<&mut LentSource>, bytes: usize) -> Result<SourceBatch> {
    match task {
        Some(task) => task.poll(Budget { bytes, records: POLL_RECORDS }).await,
        None => std::future::pending().await,
    }
}

pub(super) fn joined(
    joined: std::result::Result<Result<Converted>, tokio::task::JoinError>,
) -> Result<Converted> {
    joined.unwrap_or_else(|error| {
        let text = if error.is_panic() {
            crate::task::panic_text(error.into_panic())
        } else {
            "converting was cancelled".to_owned()
        };
        Err(Error::new(ErrorKind::Internal, format!("a converter or transform panicked: {text}")))
    })
}
