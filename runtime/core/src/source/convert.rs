//! A polled batch becomes bytes.
//!
//! Duty: run the chain over a batch on a thread of the data plane, with retries of stages that may
//! heal, and apply `errors.tolerance` to records that fail, and to those that the source refused.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;
use towpath_formats::dlq::Stage;
use towpath_sdk::context::Backoff;
use towpath_sdk::error::{Action, Error, ErrorKind, Result};
use towpath_sdk::java_text::java_text;
use towpath_sdk::record::Record;
use towpath_sdk::source::{Mark, SourceBatch};
use towpath_sdk::value::{Datum, Value};

use super::SourceSpec;
use super::at_least_once::POLL_BYTES;
use crate::chain::{Chain, Failed, Fault, Scratch};
use crate::dead_letters::{DeadLetters, JavaLike};
use crate::metrics::TaskMetrics;
use crate::ports::{OutRecord, PortErrorKind, ProduceFailure};
use crate::settings::Tolerance;
use crate::task::TaskId;
use crate::task::host::TaskHost;

/// Bytes of a record that are written to, at first, and of a batch at most; then as many again.
const SCRATCH_RECORD: usize = 1024;
const SCRATCH_MAX: usize = 64 * 1024;

/// What converting needs.
#[derive(Clone)]
pub(super) struct Converter {
    pub(super) id: TaskId,
    pub(super) chain: Arc<Chain>,
    pub(super) tolerance: Arc<Tolerance>,
    pub(super) dead_letters: Option<Arc<DeadLetters>>,
    pub(super) metrics: TaskMetrics,
    /// The class name of the source task, for faults in reading and producing.
    pub(super) class: Arc<str>,
    /// Bytes that the source may give in one poll.
    pub(super) batch_max: usize,
}

/// A batch as bytes.
#[derive(Debug, Default)]
pub(super) struct Converted {
    pub(super) records: Vec<OutRecord>,
    /// Records that failed, as dead letters.
    pub(super) letters: Vec<OutRecord>,
    pub(super) marks: Vec<Mark>,
    /// Bytes of records and letters.
    pub(super) bytes: usize,
    /// How many records the source gave, and their bytes as [`Record::size`] counts them.
    pub(super) given: (usize, usize),
    /// Each record goes to the broker by itself: together they were refused as too large.
    pub(super) alone: bool,
}

impl Converted {
    fn letter(&mut self, letter: Option<OutRecord>) {
        self.bytes += letter.as_ref().map_or(0, OutRecord::size);
        self.letters.extend(letter);
    }
}

/// Whether the broker refused several records as too large. It looks at what a client has put together,
/// so most of them, or all, may be fine by themselves.
pub(super) fn refused_together(failures: &[ProduceFailure]) -> bool {
    failures.iter().filter(|f| f.error.kind == PortErrorKind::TooLarge).nth(1).is_some()
}

impl Converter {
    pub(super) fn new(
        spec: &SourceSpec,
        host: &TaskHost,
        dead_letters: Option<DeadLetters>,
    ) -> Self {
        Self {
            id: spec.id.clone(),
            chain: Arc::clone(&spec.chain),
            tolerance: Arc::new(spec.settings.tolerance.clone()),
            dead_letters: dead_letters.map(Arc::new),
            metrics: host.metrics.clone(),
            class: spec.plugin.info().names.first().map_or("", |n| n.name).into(),
            batch_max: spec.settings.budget_bytes.max(POLL_BYTES),
        }
    }

    /// Converts `batch`, keeping its order.
    ///
    /// # Errors
    /// If a record fails and the tolerance says that the task must stop.
    pub(super) async fn convert(&self, batch: SourceBatch) -> Result<Converted> {
        // What grows from nothing would be copied several times for each record.
        let room = (batch.records.len() * SCRATCH_RECORD).min(SCRATCH_MAX);
        let mut scratch = Scratch::with_capacity(room);
        let mut converted = Converted {
            records: Vec::with_capacity(batch.records.len()),
            letters: Vec::new(),
            marks: batch.marks,
            bytes: 0,
            given: (batch.records.len(), 0),
            alone: false,
        };
        let mut sent = 0;
        for record in batch.records {
            converted.given.1 += record.size();
            if let Some(why) = record.refusal() {
                let (stage, class) = (Stage::TaskPoll, Arc::clone(&self.class));
                let fault = Fault::new(stage, class, Arc::clone(why));
                converted.letter(self.reject(&fault, as_text(&record))?);
                continue;
            }
            let encoded = match self.chain.encode(record, 0, &mut scratch) {
                Err(failed) => self.encode_again(*failed, &mut scratch).await,
                encoded => encoded,
            };
            match encoded {
                Ok(Some(out)) => {
                    sent += out.size();
                    converted.records.push(out);
                }
                Ok(None) => {}
                Err(failed) => {
                    converted.letter(self.reject(&failed.fault, as_text(&failed.record))?);
                }
            }
        }
        self.metrics.records.inc_by(converted.records.len() as u64);
        self.metrics.bytes.inc_by(sent as u64);
        converted.bytes += sent;
        self.metrics.batches.inc();
        Ok(converted)
    }

    /// What becomes of records that the broker refused.
    ///
    /// # Errors
    /// If a failure concerns more than its record, or the tolerance says that the task must stop.
    pub(super) fn refused(
        &self,
        records: &[OutRecord],
        failures: Vec<ProduceFailure>,
    ) -> Result<Vec<OutRecord>> {
        let mut letters = Vec::new();
        for failure in failures {
            if !matches!(failure.error.kind, PortErrorKind::TooLarge | PortErrorKind::Invalid) {
                return Err(Error::from(failure.error).context("produce"));
            }
            let Some(record) = records.get(failure.index) else { continue };
            let error = Error::new(ErrorKind::TooLarge, failure.error.text);
            let fault = Fault::new(Stage::KafkaProduce, Arc::clone(&self.class), error);
            letters.extend(self.reject(&fault, record.clone())?);
        }
        Ok(letters)
    }

    fn reject(&self, fault: &Fault, record: OutRecord) -> Result<Option<OutRecord>> {
        self.metrics.failures.inc();
        let stage = fault.stage.name();
        if self.tolerance.log {
            let error = JavaLike::of(&fault.error).trace;
            let (task, class) = (&self.id, &*fault.class);
            if self.tolerance.log_messages {
                let text = |bytes: &Option<Bytes>| {
                    String::from_utf8_lossy(bytes.as_deref().unwrap_or_default()).into_owned()
                };
                let (key, value) = (text(&record.key), text(&record.value));
                tracing::error!(%task, stage, class, error, key, value, "a record failed");
            } else {
                tracing::error!(%task, stage, class, error, "a record failed");
            }
        }
        if !self.tolerance.all {
            let text =
                format!("{stage} failed for a record and errors.tolerance=none stops the task");
            let text = format!("{text}: {}", fault.error.chain());
            return Err(Error::new(ErrorKind::Data, text));
        }
        match &self.dead_letters {
            Some(queue) => Ok(Some(queue.source_letter(record, fault))),
            None => {
                self.metrics.skipped.inc();
                Ok(None)
            }
        }
    }

    /// Says so if the source has given so many records of so many bytes in one poll, and that is more than it
    /// may, since memory is bounded by that. One record may be of any size.
    ///
    /// # Errors
    /// If so.
    pub(super) fn check_given(&self, (records, bytes): (usize, usize)) -> Result<()> {
        let max = self.batch_max;
        if bytes <= max || records == 1 {
            return Ok(());
        }
        let text = format!(
            "the source gave {records} records of {bytes} bytes in one poll, but the task may hold {max}: the \
             connector must keep to the budget of its polls; until it does, towpath.buffer.bytes can be raised"
        );
        Err(Error::new(ErrorKind::Unsupported, text))
    }

    /// Encodes a record that has failed again, for as long as that may help.
    async fn encode_again(
        &self,
        mut failed: Failed,
        scratch: &mut Scratch,
    ) -> std::result::Result<Option<OutRecord>, Box<Failed>> {
        let started = Instant::now();
        let mut backoff = Backoff::default();
        loop {
            let error = &failed.fault.error;
            if error.action() != Action::Retry {
                return Err(failed.into());
            }
            let delay = backoff.next(error.retry_after()).min(self.tolerance.retry_delay_max);
            let timeout = self.tolerance.retry_timeout.unwrap_or(Duration::MAX);
            if started.elapsed().checked_add(delay).is_none_or(|spent| spent > timeout) {
                return Err(failed.into());
            }
            self.metrics.retries.inc();
            tokio::time::sleep(delay).await;
            failed = match self.chain.encode(failed.record, failed.done, scratch) {
                Ok(out) => return Ok(out),
                Err(failed) => *failed,
            };
        }
    }
}

/// The bytes of a record that could not be converted, as far as they can be made: text and bytes as
/// they are, everything else as Java would print it.
fn as_text(record: &Record) -> OutRecord {
    let bytes = |datum: &Datum| match &datum.value {
        Value::Null => None,
        Value::Bytes(bytes) => Some(bytes.clone()),
        Value::String(text) => Some(text.as_bytes().clone()),
        Value::Json(json) => Some(json.bytes().clone()),
        _ => Some(Bytes::from(java_text(datum).into_owned())),
    };
    OutRecord {
        topic: Arc::clone(&record.topic),
        partition: record.partition,
        key: bytes(&record.key),
        value: bytes(&record.value),
        timestamp: record.timestamp,
        headers: record
            .headers
            .iter()
            .map(|header| (header.key.clone(), bytes(&header.value)))
            .collect(),
    }
}
