//! The source pipeline with transactions.
//!
//! Duty: put the records of a transaction, their dead letters and the source offsets behind them into
//! one Kafka transaction; after an abort or an unknown outcome, learn where the source stands and
//! rewind it. While a transaction commits, the next batch is polled and converted.
//!
//! Invariants: one transaction at a time; what was staged before an abort is thrown away and polled
//! again; a fenced task ends and touches nothing more.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::sync::watch;
use tokio::time::Instant;
use towpath_sdk::context::{Backoff, Waiting};
use towpath_sdk::error::{Error, ErrorKind, Result};
use towpath_sdk::offset::StoredOffsets;
use towpath_sdk::source::{Mark, SourceBatch};

use super::at_least_once::{POLL_BYTES, changed, ensure_topics, poll_task};
use super::convert::{Converted, Converter};
use super::lent::{self, LentSource};
use super::pending::{Pending, to_acknowledge};
use super::sent::{As, Sent, await_records, send_alone};
use super::uncovered::{Uncovered, size};
use super::{Boundary, SourceSpec, Transactions, open_dead_letters, producer_spec};
use crate::home;
use crate::ports::{
    Cluster, PortError, PortErrorKind, Producer, TransactionOutcome, TransactionalProducer,
};
use crate::task::host::TaskHost;
use crate::task::status::Wait;
use crate::task::{Wanted, silence};

/// Records without an offset between them that a source may give, at most.
const UNCOVERED_MAX: usize = 1 << 16;

pub(super) async fn run(
    spec: SourceSpec,
    transactions: Transactions,
    cluster: Arc<dyn Cluster>,
    host: Arc<TaskHost>,
    wanted: watch::Receiver<Wanted>,
) -> Result<()> {
    let id = &transactions.transactional_id;
    let reason = || silence::reason(&format!("take the transactional id {id} over"), None);
    let connecting = connect(&spec, &transactions, &*cluster);
    let producer = silence::told(&host, Wait::Producer, reason, connecting).await?;
    // The former instance is fenced only now, so what it committed last may be news to us.
    let stored = host.offsets.read_back(&spec.id.connector).await?;
    let plain: Arc<dyn Producer> = producer.clone();
    let dead_letters = open_dead_letters(&spec, &*cluster, plain).await?;
    let task = lent::start(&spec, &host, stored.clone()).await?;
    let converter = Converter::new(&spec, &host, dead_letters);
    let mut driver = Driver {
        spec,
        transactions,
        cluster,
        host,
        producer,
        converter,
        task,
        stored,
        uncovered: Uncovered::default(),
        staged: VecDeque::new(),
        open: None,
        backoff: Backoff::default(),
    };
    let outcome = driver.drive(wanted).await;
    driver.end(outcome).await
}

async fn connect(
    spec: &SourceSpec,
    transactions: &Transactions,
    cluster: &dyn Cluster,
) -> Result<Arc<dyn TransactionalProducer>> {
    let id = &transactions.transactional_id;
    let producer = cluster.transactional_producer(id.clone(), producer_spec(spec)).await;
    Ok(producer.map_err(|e| e.context(format!("take the transactional id {id} over")))?)
}

struct Driver {
    spec: SourceSpec,
    transactions: Transactions,
    cluster: Arc<dyn Cluster>,
    host: Arc<TaskHost>,
    producer: Arc<dyn TransactionalProducer>,
    converter: Converter,
    task: LentSource,
    /// The offsets as this producer's transactions left them. The shared store follows the topic, and
    /// may be behind.
    stored: StoredOffsets,
    /// Polled records that no mark covers yet. No transaction takes them before, since after an abort
    /// the source would go back behind those that an earlier transaction had made visible.
    uncovered: Uncovered,
    /// Converted segments that no transaction holds yet, in order.
    staged: VecDeque<Segment>,
    open: Option<Open>,
    backoff: Backoff,
}

/// Part of a batch up to a boundary of the source, or to its end.
struct Segment {
    converted: Converted,
    /// Whether a transaction of the source ends here.
    boundary: bool,
}

/// The transaction in the making.
struct Open {
    began: Instant,
    bytes: usize,
    records: usize,
    letters: usize,
    marks: Pending,
    sent: Vec<Sent>,
}

/// How a transaction, or the try to make one, went wrong.
pub(super) enum Broken {
    /// Nothing of it is visible: rewind and do it again.
    Again(PortError),
    /// The broker will never take some records: without them it is done again.
    Refused(PortError, Converted),
    /// It may be visible: fence, read back, rewind.
    Unknown(PortError),
    /// The task must end.
    Fatal(Error),
}

impl From<Error> for Broken {
    fn from(error: Error) -> Self {
        Self::Fatal(error)
    }
}

impl From<PortError> for Broken {
    fn from(error: PortError) -> Self {
        match error.kind {
            PortErrorKind::Fenced
            | PortErrorKind::Invalid
            | PortErrorKind::Internal
            | PortErrorKind::Forbidden
            | PortErrorKind::Unauthenticated => Self::Fatal(error.into()),
            _ => Self::Unknown(error),
        }
    }
}

impl Driver {
    async fn drive(&mut self, mut wanted: watch::Receiver<Wanted>) -> Result<()> {
        let mut wish = *wanted.borrow_and_update();
        loop {
            match wish {
                Wanted::Stopped => return Ok(()),
                Wanted::Paused => {
                    let timeout = self.spec.settings.stop_timeout;
                    let interrupting = async {
                        self.task.interrupt().await;
                        Ok(())
                    };
                    home::within(timeout, &self.host.tenant(), "poll", interrupting).await?;
                    self.finish().await?;
                    self.host.status.paused();
                    wish = changed(Some(&mut wanted)).await;
                    continue;
                }
                Wanted::Running if self.backoff.tries() == 0 => self.host.status.running(),
                Wanted::Running => {}
            }
            match self.round(&mut wanted).await {
                Ok(Some(new)) => wish = new,
                Ok(None) => {}
                Err(broken) => self.recover(broken).await?,
            }
        }
    }

    /// Stages one more segment, or commits what is due; `Some` if the wish changed meanwhile.
    async fn round(
        &mut self,
        wanted: &mut watch::Receiver<Wanted>,
    ) -> Result<Option<Wanted>, Broken> {
        if let Some(segment) = self.staged.pop_front() {
            let boundary = segment.boundary;
            self.add(segment.converted).await?;
            if self.is_due(boundary) {
                self.commit().await?;
            }
            return Ok(None);
        }
        let due = self.open.as_ref().map(|open| self.deadline(open));
        tokio::select! {
            biased;
            wish = changed(Some(wanted)) => Ok(Some(wish)),
            () = crate::task::at(due) => {
                self.commit().await?;
                Ok(None)
            }
            polled = poll_task(Some(&mut self.task), POLL_BYTES) => {
                self.stage(polled?).await?;
                Ok(None)
            }
        }
    }

    fn deadline(&self, open: &Open) -> Instant {
        let age = match self.transactions.boundary {
            Boundary::Interval(interval) => interval.min(self.transactions.max_age),
            Boundary::Poll | Boundary::Connector => self.transactions.max_age,
        };
        open.began + age
    }

    fn is_due(&self, boundary: bool) -> bool {
        let Some(open) = &self.open else { return false };
        let by_rule = match self.transactions.boundary {
            Boundary::Poll => self.staged.is_empty(),
            Boundary::Connector => boundary,
            Boundary::Interval(_) => false,
        };
        by_rule
            || open.bytes >= self.transactions.max_bytes
            || Instant::now() >= self.deadline(open)
    }

    /// Cuts a polled batch at the boundaries of the source and converts the pieces.
    async fn stage(&mut self, batch: SourceBatch) -> Result<(), Broken> {
        let by_connector = self.transactions.boundary == Boundary::Connector;
        self.converter.check_given((batch.records.len(), size(&batch.records)))?;
        let batch = self.uncovered.cover(batch);
        let (records, bytes) = (self.uncovered.len(), self.uncovered.bytes());
        let bytes_max = self.converter.batch_max;
        if records > UNCOVERED_MAX || bytes > bytes_max {
            let text = format!(
                "the source gave {records} records of {bytes} bytes without an offset between them, and at most \
                 {UNCOVERED_MAX} records and {bytes_max} bytes can wait for one: it must give one more \
                 often to produce exactly once"
            );
            return Err(Broken::Fatal(Error::new(ErrorKind::Unsupported, text)));
        }
        if batch.is_empty() {
            return Ok(());
        }
        for (piece, boundary) in cut(batch, by_connector) {
            let converter = self.converter.clone();
            let convert = async move { converter.convert(piece).await };
            let converted = self.host.place.run(&self.host.tenant(), "convert", convert).await?;
            self.staged.push_back(Segment { converted, boundary });
        }
        Ok(())
    }

    /// Adds a segment to the open transaction, beginning one if need be.
    async fn add(&mut self, converted: Converted) -> Result<(), Broken> {
        ensure_topics(&self.spec.topics, &self.host, &converted).await?;
        if self.open.is_none() {
            self.producer.begin().await?;
            self.open = Some(Open {
                began: Instant::now(),
                bytes: 0,
                records: 0,
                letters: 0,
                marks: Pending::default(),
                sent: Vec::new(),
            });
        }
        let Some(open) = self.open.as_mut() else { return Ok(()) };
        for record in &converted.records {
            self.host.topics.used(&record.topic);
        }
        open.bytes += converted.bytes;
        open.records += converted.records.len();
        open.letters += converted.letters.len();
        open.marks.fold(converted.marks);
        self.host.metrics.held.set(i64::try_from(open.bytes).unwrap_or(i64::MAX));
        let mut refused = false;
        if converted.alone {
            refused = send_alone(&*self.producer, converted.records, &mut open.sent).await?;
        } else if !converted.records.is_empty() {
            let records = Arc::new(converted.records);
            let receipt = self.producer.send(Arc::clone(&records)).await?;
            open.sent.push(Sent { records, as_sent: As::Batch, receipt });
        }
        if !converted.letters.is_empty() {
            let records = Arc::new(converted.letters);
            let receipt = match refused {
                false => self.producer.send(Arc::clone(&records)).await?,
                true => Box::pin(std::future::ready(Vec::new())),
            };
            open.sent.push(Sent { records, as_sent: As::Letters, receipt });
        }
        Ok(())
    }

    /// Ends the open transaction with its offsets, and tells the source.
    async fn commit(&mut self) -> Result<(), Broken> {
        let (host, producer) = (Arc::clone(&self.host), Arc::clone(&self.producer));
        let reason = || silence::reason("produce", producer.trouble());
        silence::told(&host, Wait::Producer, reason, self.commit_now()).await
    }

    async fn commit_now(&mut self) -> Result<(), Broken> {
        let Some(mut open) = self.open.take() else { return Ok(()) };
        let began = open.began;
        let sent = std::mem::take(&mut open.sent);
        if let Some((error, without)) = await_records(&self.converter, sent).await? {
            let mut without = without;
            without.marks = open.marks.into_marks(without.records.len());
            without.bytes = open.bytes;
            return Err(Broken::Refused(error, without));
        }
        let committing = Instant::now();
        let offsets = open.marks.take();
        let connector = Arc::clone(&self.spec.id.connector);
        let records = self.host.offsets.transaction_records(&connector, &offsets);
        let receipt = self.producer.send(records.into()).await?;
        if let Some(failure) = receipt.await.into_iter().next() {
            return Err(Broken::Again(failure.error));
        }
        match self.producer.commit().await {
            TransactionOutcome::Committed => {}
            TransactionOutcome::Aborted(error) => return Err(Broken::Again(error)),
            TransactionOutcome::Unknown(error) => return Err(Broken::Unknown(error)),
            TransactionOutcome::Fenced(error) => return Err(Broken::Fatal(error.into())),
        }
        self.host.offsets.wrote(&connector, &offsets);
        for (partition, offset) in &offsets {
            self.stored.set(partition.clone(), offset.clone());
        }
        let metrics = &self.host.metrics;
        metrics.write_seconds.observe(began.elapsed().as_secs_f64());
        metrics.commit_seconds.observe(committing.elapsed().as_secs_f64());
        metrics.held.set(0);
        metrics.commits.inc();
        metrics.delivered.inc_by(open.records as u64);
        metrics.dead_letters.inc_by(open.letters as u64);
        if self.backoff.tries() > 0 {
            self.backoff.reset();
            self.host.status.resumed(&Wait::Producer);
        }
        self.task.acknowledge(to_acknowledge(offsets)).await?;
        Ok(())
    }

    /// After an abort or an unknown outcome: back to what is stored.
    async fn recover(&mut self, broken: Broken) -> Result<()> {
        self.open = None;
        if let Broken::Refused(error, without) = broken {
            tracing::warn!(task = %self.spec.id, %error, "a transaction is done again without a record");
            return match self.producer.abort().await {
                TransactionOutcome::Fenced(error) => Err(error.into()),
                TransactionOutcome::Aborted(_) => {
                    // Records that were refused leave a gap in the producer's sequence, which the broker
                    // does not accept: another one begins anew.
                    self.connect().await?;
                    let segment = Segment { converted: without, boundary: true };
                    self.staged.push_front(segment);
                    Ok(())
                }
                TransactionOutcome::Committed | TransactionOutcome::Unknown(_) => {
                    self.throw_away();
                    let stored = self.read_back().await?;
                    self.task.rewind(stored).await
                }
            };
        }
        self.throw_away();
        self.host.metrics.commit_failures.inc();
        self.host.metrics.retries.inc();
        self.host.metrics.held.set(0);
        let (error, unknown) = match broken {
            Broken::Fatal(error) => return Err(error),
            Broken::Again(error) => (error, false),
            Broken::Unknown(error) | Broken::Refused(error, _) => (error, true),
        };
        let delay = self.backoff.next(None);
        tracing::warn!(task = %self.spec.id, %error, unknown, "a transaction did not go through");
        let next_try = Some(self.host.clock.now() + delay);
        let reason = format!("produce: {error}");
        self.host.say(Wait::Producer, Some(Waiting { reason, next_try }));
        tokio::time::sleep(delay).await;
        let stored = match unknown {
            false => self.abort().await?,
            true => self.read_back().await?,
        };
        self.task.rewind(stored).await
    }

    /// The source is about to give again what is not in a transaction yet.
    fn throw_away(&mut self) {
        self.staged.clear();
        self.uncovered = Uncovered::default();
    }

    async fn abort(&mut self) -> Result<StoredOffsets> {
        match self.producer.abort().await {
            TransactionOutcome::Aborted(_) | TransactionOutcome::Committed => {
                Ok(self.stored.clone())
            }
            TransactionOutcome::Unknown(_) => self.read_back().await,
            TransactionOutcome::Fenced(error) => Err(error.into()),
        }
    }

    async fn connect(&mut self) -> Result<()> {
        self.producer = connect(&self.spec, &self.transactions, &*self.cluster).await?;
        Ok(())
    }

    /// A new producer with the same id ends whatever was open; then the offset topic tells the truth.
    async fn read_back(&mut self) -> Result<StoredOffsets> {
        self.connect().await?;
        self.stored = self.host.offsets.read_back(&self.spec.id.connector).await?;
        Ok(self.stored.clone())
    }

    /// Commits what is staged, before a pause or the end.
    async fn finish(&mut self) -> Result<()> {
        while let Some(segment) = self.staged.pop_front() {
            if let Err(broken) = self.add(segment.converted).await {
                return self.recover(broken).await;
            }
        }
        match self.commit().await {
            Ok(()) => Ok(()),
            Err(broken) => self.recover(broken).await,
        }
    }

    async fn end(mut self, outcome: Result<()>) -> Result<()> {
        let timeout = self.spec.settings.stop_timeout;
        let finished = match &outcome {
            Ok(()) => tokio::time::timeout(timeout, self.finish()).await.unwrap_or_else(|_| {
                tracing::warn!(task = %self.spec.id, ?timeout, "a transaction did not end in time");
                Ok(())
            }),
            Err(error) if error.kind() == ErrorKind::Fenced => Ok(()),
            Err(_) => {
                // What is open is void in any case; ending it now spares readers the time-out.
                let _outcome = tokio::time::timeout(timeout, self.producer.abort()).await;
                Ok(())
            }
        };
        let stopped =
            home::within(timeout, &self.host.tenant(), "stop", self.task.stop()).await.map(drop);
        outcome.and(finished).and(stopped)
    }
}

/// The batch in pieces that end at the source's own boundaries.
fn cut(batch: SourceBatch, by_connector: bool) -> Vec<(SourceBatch, bool)> {
    let SourceBatch { records, marks } = batch;
    if !by_connector || !marks.iter().any(|mark| mark.boundary) {
        return vec![(SourceBatch { records, marks }, false)];
    }
    let mut pieces = Vec::new();
    let mut records = records.into_iter();
    let mut piece: (usize, Vec<Mark>) = (0, Vec::new());
    let mut taken = 0;
    for mark in marks {
        let (after, boundary) = (mark.after, mark.boundary);
        piece.1.push(mark);
        piece.0 = after;
        if boundary {
            let part: Vec<_> = records.by_ref().take(after.saturating_sub(taken)).collect();
            taken = after;
            let marks = std::mem::take(&mut piece.1);
            pieces.push((SourceBatch { records: part, marks }, true));
        }
    }
    let rest = SourceBatch { records: records.collect(), marks: piece.1 };
    if !rest.is_empty() {
        pieces.push((rest, false));
    }
    pieces
}

#[cfg(test)]
mod tests {
    use towpath_sdk::offset::{SourceOffset, SourcePartition};
    use towpath_sdk::record::Record;
    use towpath_sdk::value::Datum;

    use super::*;

    #[test]
    fn a_batch_is_cut_at_the_boundaries_of_its_source() {
        let mark = |after, boundary| {
            let offset = SourceOffset::of([("o", after as u64)]);
            Mark::new(after, SourcePartition::of([("p", 1)]), offset).at_boundary(boundary)
        };
        let batch = || SourceBatch {
            records: vec![Record::new("t", Datum::null()); 5],
            marks: vec![mark(1, false), mark(2, true), mark(4, true)],
        };
        let shape = |pieces: Vec<(SourceBatch, bool)>| -> Vec<(usize, usize, bool)> {
            pieces.iter().map(|(b, end)| (b.records.len(), b.marks.len(), *end)).collect()
        };
        assert_eq!(shape(cut(batch(), true)), [(2, 2, true), (2, 1, true), (1, 0, false)]);
        assert_eq!(shape(cut(batch(), false)), [(5, 3, false)]);
    }
}
