//! Batches between being enqueued and being reported.
//!
//! Duty: enqueue records, and turn one report per record into one answer per batch, without allocating
//! per record. A record's opaque value is its batch's slot and its place in the batch.
//!
//! Invariants: a batch, which librdkafka points into, is held until every record of it that was enqueued
//! has been reported, or the client is gone; a batch is answered when every record that was enqueued has
//! been reported and nothing more will be; an answer that never came (the producer is gone) is
//! [`PortErrorKind::Unknown`] for every record, never success.

use std::hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};
use towpath_core::ports::{OutBatch, PortError, PortErrorKind, ProduceFailure};

use super::produce::{Headers, TopicHandle, produce};

/// The batches under way of one producer.
#[derive(Default)]
pub(crate) struct Deliveries {
    slots: Mutex<Slots>,
    in_flight: AtomicUsize,
    waiting: AtomicBool,
    /// Who waits is woken once fewer than this are in flight, besides whenever all reports were heard.
    wake_below: AtomicUsize,
    room: Notify,
    /// A bit for each partition that a report came from; several may share one.
    partitions: AtomicU64,
}

#[derive(Default)]
struct Slots {
    batches: Vec<Option<Batch>>,
    free: Vec<usize>,
}

impl Slots {
    fn take(&mut self, batch: Batch) -> usize {
        match self.free.pop() {
            Some(slot) => {
                self.batches[slot] = Some(batch);
                slot
            }
            None => {
                self.batches.push(Some(batch));
                self.batches.len() - 1
            }
        }
    }
}

struct Batch {
    /// Records without a report, and one more until the batch is sealed.
    open: usize,
    failures: Vec<ProduceFailure>,
    /// What librdkafka points into.
    held: OutBatch,
    answer: oneshot::Sender<Vec<ProduceFailure>>,
}

/// A batch that is being enqueued. Whatever was not enqueued when it is dropped will not be: a caller
/// who goes away half-way leaves nothing behind.
pub(crate) struct Enqueuing<'a> {
    deliveries: &'a Deliveries,
    records: OutBatch,
    /// Theirs, made before their turn.
    headers: Vec<Headers>,
    /// Milliseconds since the epoch.
    now: i64,
    slot: usize,
    /// Records that were neither enqueued nor refused.
    left: usize,
    /// Whether one of them is counted as in flight already.
    begun: bool,
}

impl Deliveries {
    /// Opens a batch, and makes of it what librdkafka wants, so that enqueuing takes no longer than it must: what
    /// is enqueued slowly is sent in parts. The receiver gets its failures, ordered by index.
    pub(crate) fn open(
        &self,
        records: OutBatch,
    ) -> (Enqueuing<'_>, oneshot::Receiver<Vec<ProduceFailure>>) {
        let headers = records.iter().map(|record| Headers::new(&record.headers)).collect();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        let now = i64::try_from(now).unwrap_or_default();
        let (answer, answered) = oneshot::channel();
        let (left, held) = (records.len(), Arc::clone(&records));
        let batch = Batch { open: left + 1, failures: Vec::new(), held, answer };
        let slot = self.slots.lock().take(batch);
        let enqueuing =
            Enqueuing { deliveries: self, records, headers, now, slot, left, begun: false };
        (enqueuing, answered)
    }

    /// The report for the record `opaque`.
    pub(crate) fn delivered(&self, opaque: usize, error: Option<PortError>) {
        let before = self.in_flight.fetch_sub(1, Ordering::SeqCst);
        if before <= self.wake_below.load(Ordering::Relaxed) {
            self.reported();
        }
        self.close(opaque >> 32, 1, error.map(|error| (opaque & 0xffff_ffff, error)));
    }

    /// The record `opaque` went to this partition. Cheap: only some records are looked at.
    pub(crate) fn went_to(&self, opaque: usize, partition: impl FnOnce() -> (usize, i32)) {
        const LOOK_AT_ONE_IN: usize = 64;
        if !opaque.is_multiple_of(LOOK_AT_ONE_IN) {
            return;
        }
        let hasher = BuildHasherDefault::<DefaultHasher>::default();
        let bit = 1 << (hasher.hash_one(partition()) % u64::from(u64::BITS));
        if self.partitions.load(Ordering::Relaxed) & bit == 0 {
            self.partitions.fetch_or(bit, Ordering::Relaxed);
        }
    }

    /// How many partitions are written to, as far as is known, and at most 64.
    pub(crate) fn partitions(&self) -> usize {
        self.partitions.load(Ordering::Relaxed).count_ones() as usize
    }

    /// Records enqueued and not reported.
    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::SeqCst)
    }

    /// Wakes who waits for room, or for all reports.
    pub(crate) fn reported(&self) {
        if self.waiting.load(Ordering::SeqCst) && self.waiting.swap(false, Ordering::SeqCst) {
            self.room.notify_waiters();
        }
    }

    /// Waits until fewer than `count` are in flight.
    pub(crate) async fn wait_below(&self, count: usize) {
        self.wake_below.store(count, Ordering::Relaxed);
        self.wait_until(|| (self.in_flight() < count).then_some(())).await;
        self.wake_below.store(0, Ordering::Relaxed);
    }

    /// Waits until `ready` says yes; it is asked again after reports came.
    pub(crate) async fn wait_until<T>(&self, mut ready: impl FnMut() -> Option<T>) -> T {
        loop {
            let notified = self.room.notified();
            let mut notified = std::pin::pin!(notified);
            notified.as_mut().enable();
            self.waiting.store(true, Ordering::SeqCst);
            if let Some(value) = ready() {
                return value;
            }
            notified.await;
        }
    }

    fn close(&self, slot: usize, records: usize, failure: Option<(usize, PortError)>) {
        let mut slots = self.slots.lock();
        let Some(batch) = slots.batches.get_mut(slot).and_then(Option::as_mut) else { return };
        if let Some((index, error)) = failure {
            batch.failures.push(ProduceFailure { index, error });
        }
        batch.open -= records.min(batch.open);
        if batch.open > 0 {
            return;
        }
        let done = slots.batches[slot].take();
        slots.free.push(slot);
        drop(slots);
        if let Some(Batch { mut failures, held, answer, .. }) = done {
            failures.sort_by_key(|f| f.index);
            // Before the answer, so that the records are the caller's alone again.
            drop(held);
            // Nobody has to wait for it.
            drop(answer.send(failures));
        }
    }
}

impl Enqueuing<'_> {
    /// Enqueues the record at `index`, or tries to, be it again.
    ///
    /// # Errors
    /// The code of librdkafka.
    pub(crate) fn produce(&mut self, topic: &TopicHandle, index: usize) -> Result<(), i32> {
        let opaque = self.begin(index);
        // SAFETY: the batch is held until the report, which comes to the deliveries of the client that the
        // topic is of; the client goes before its deliveries.
        unsafe {
            produce(topic, &self.records[index], &mut self.headers[index], self.now, opaque)?
        };
        self.enqueued();
        Ok(())
    }

    /// The opaque value for the record at `index`, which is about to be enqueued, be it again.
    fn begin(&mut self, index: usize) -> usize {
        if !std::mem::replace(&mut self.begun, true) {
            self.deliveries.in_flight.fetch_add(1, Ordering::SeqCst);
        }
        (self.slot << 32) | (index & 0xffff_ffff)
    }

    /// The record begun last was enqueued.
    fn enqueued(&mut self) {
        self.begun = false;
        self.left -= 1;
    }

    /// The record at `index` will not be enqueued.
    pub(crate) fn refused(&mut self, index: usize, error: PortError) {
        let opaque = self.begin(index);
        self.enqueued();
        self.deliveries.delivered(opaque, Some(error));
    }
}

impl Drop for Enqueuing<'_> {
    fn drop(&mut self) {
        if self.begun {
            self.deliveries.in_flight.fetch_sub(1, Ordering::SeqCst);
        }
        self.deliveries.close(self.slot, self.left + 1, None);
    }
}

/// The answers of a batch of `len` records; without one, nothing is known of any.
pub(crate) async fn failures(
    answered: oneshot::Receiver<Vec<ProduceFailure>>,
    len: usize,
) -> Vec<ProduceFailure> {
    answered.await.unwrap_or_else(|_gone| {
        let error = PortError::new(
            PortErrorKind::Unknown,
            "the producer was closed before the broker answered",
        );
        (0..len).map(|index| ProduceFailure { index, error: error.clone() }).collect()
    })
}

#[cfg(test)]
mod tests {
    use towpath_core::ports::OutRecord;

    use super::*;

    fn records(len: usize) -> OutBatch {
        let record = || OutRecord {
            topic: "t".into(),
            partition: None,
            key: None,
            value: None,
            timestamp: None,
            headers: Vec::new().into(),
        };
        Arc::new(std::iter::repeat_with(record).take(len).collect())
    }

    /// Enqueues all of a batch, and what its records are known by.
    fn enqueue(mut batch: Enqueuing<'_>) -> Vec<usize> {
        let all = 0..batch.records.len();
        let begin = |index| {
            let opaque = batch.begin(index);
            batch.enqueued();
            opaque
        };
        all.map(begin).collect()
    }

    #[tokio::test]
    async fn a_batch_is_answered_after_its_last_report_with_failures_by_index() {
        let deliveries = Deliveries::default();
        let (batch, answered) = deliveries.open(records(3));
        let opaque = enqueue(batch);
        let mut answered = Box::pin(failures(answered, 3));
        let error = PortError::new(PortErrorKind::TooLarge, "large");
        deliveries.delivered(opaque[2], Some(error.clone()));
        deliveries.delivered(opaque[0], Some(error));
        assert!(futures::poll!(&mut answered).is_pending());
        assert_eq!(deliveries.in_flight(), 1);
        deliveries.delivered(opaque[1], None);
        let failed: Vec<usize> = answered.await.iter().map(|f| f.index).collect();
        assert_eq!(failed, [0, 2]);
        assert_eq!(deliveries.in_flight(), 0);
    }

    #[tokio::test]
    async fn a_batch_given_up_half_way_is_answered_for_what_was_enqueued() {
        let deliveries = Deliveries::default();
        let (mut batch, answered) = deliveries.open(records(5));
        let first = batch.begin(0);
        batch.enqueued();
        batch.begin(1);
        drop(batch);
        assert_eq!(deliveries.in_flight(), 1);
        deliveries.delivered(first, None);
        assert!(failures(answered, 5).await.is_empty());
        // The slot serves the next batch.
        let (mut batch, answered) = deliveries.open(records(1));
        batch.refused(0, PortError::new(PortErrorKind::Invalid, "no"));
        drop(batch);
        assert_eq!(failures(answered, 1).await.len(), 1);
        assert_eq!(deliveries.slots.lock().batches.len(), 1);
    }

    #[test]
    fn records_are_held_until_all_are_reported_and_then_the_callers_alone() {
        let deliveries = Deliveries::default();
        let records = records(2);
        let (batch, mut answered) = deliveries.open(Arc::clone(&records));
        let opaque = enqueue(batch);
        deliveries.delivered(opaque[1], None);
        assert_eq!(Arc::strong_count(&records), 2);
        assert!(answered.try_recv().is_err());
        deliveries.delivered(opaque[0], None);
        assert_eq!(Arc::strong_count(&records), 1);
        assert!(answered.try_recv().unwrap().is_empty());
    }

    #[tokio::test]
    async fn who_waits_for_a_part_is_woken_by_the_report_that_makes_it_true() {
        let deliveries = Deliveries::default();
        let (batch, _answered) = deliveries.open(records(3));
        let opaque = enqueue(batch);
        let mut waiting = std::pin::pin!(deliveries.wait_below(2));
        assert!(futures::poll!(&mut waiting).is_pending());
        deliveries.delivered(opaque[0], None);
        assert!(futures::poll!(&mut waiting).is_pending());
        deliveries.delivered(opaque[1], None);
        assert!(futures::poll!(&mut waiting).is_ready());
    }

    #[test]
    fn partitions_are_counted_once_each() {
        let deliveries = Deliveries::default();
        assert_eq!(deliveries.partitions(), 0);
        for opaque in 0..1000 {
            deliveries.went_to(opaque, || (7, i32::from(opaque >= 640)));
        }
        assert_eq!(deliveries.partitions(), 2);
    }

    #[tokio::test]
    async fn without_an_answer_every_record_is_unknown() {
        let deliveries = Deliveries::default();
        let (batch, answered) = deliveries.open(records(2));
        std::mem::forget(batch);
        drop(deliveries);
        let failures = failures(answered, 2).await;
        assert_eq!(failures.len(), 2);
        assert!(failures.iter().all(|f| f.error.kind == PortErrorKind::Unknown));
    }
}
