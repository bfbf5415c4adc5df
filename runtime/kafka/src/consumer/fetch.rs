//! From librdkafka's messages to batches.
//!
//! Duty: hold what was taken from librdkafka until its permit is there, copy it once into a batch's
//! arena, and hand it on. Also used by tables, which have no group.
//!
//! Invariants:
//! - no byte is copied before its permit is held, and nothing more is taken from librdkafka while
//!   something waits;
//! - a batch holds records of one partition in order, and ends behind the last one; where only markers
//!   or gaps follow, an empty batch carries the end.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context as TaskContext, Poll, Waker};

use towpath_core::budget::{Budget, BytePermit};
use towpath_sdk::record::{RawBatch, RawBatchBuilder, RawRow, TopicPartition};
use towpath_sdk::sink::Epoch;

use crate::native::{Fetched, Queue, Record, Records};

/// Bytes that a batch aims at, at most. A single larger record makes a larger batch.
const BATCH_BYTES: usize = 512 * 1024;
/// Messages taken at once. So many that what is done per batch does not count, so few that what a batch
/// becomes, row by row, stays in the processor's cache.
const MIN_TAKE: usize = 64;
const MAX_TAKE: usize = 2_000;

/// What waits to be delivered.
pub(crate) struct Backlog {
    budget: Budget,
    items: VecDeque<Fetched>,
    fetched: Vec<Fetched>,
    /// The permit for the next batch, while it is waited for.
    permit: Permit,
    /// What a record takes on average.
    average: usize,
    /// Bytes that a batch aims at.
    target: usize,
}

enum Permit {
    None,
    Waiting(Pin<Box<dyn Future<Output = BytePermit> + Send>>),
}

/// What the next item of the backlog is.
pub(crate) enum Front<'a> {
    /// Records of a partition.
    Records { topic: &'a str, partition: i32, first: i64 },
    /// The end of a partition.
    End { topic: &'a str, partition: i32, offset: i64 },
    /// A partition that can't be fetched.
    Error { topic: &'a str, partition: i32, code: i32, text: &'a str },
}

impl Backlog {
    pub(crate) fn new(budget: Budget) -> Self {
        // Several batches fit into a budget, so that one can be fetched while others are worked on.
        let target = (budget.capacity() / 4).clamp(1, BATCH_BYTES);
        Self {
            target,
            budget,
            items: VecDeque::new(),
            fetched: Vec::new(),
            permit: Permit::None,
            average: 1024,
        }
    }

    /// Takes messages from `queue` if nothing waits. Says whether there is anything to deliver.
    pub(crate) fn fill(&mut self, queue: &mut Queue) -> bool {
        if self.items.is_empty() {
            let take = (self.target / self.average.max(1)).clamp(MIN_TAKE, MAX_TAKE);
            queue.fetch(take, &mut self.fetched);
            self.items.extend(self.fetched.drain(..));
        }
        !self.items.is_empty()
    }

    /// The next item.
    pub(crate) fn front(&self) -> Option<Front<'_>> {
        Some(match self.items.front()? {
            Fetched::Records(records) => {
                let (topic, partition) = records.place().unwrap_or(("", -1));
                let first = records.iter().next().map_or(-1, Record::offset);
                Front::Records { topic, partition, first }
            }
            Fetched::End { topic, partition, offset } => {
                Front::End { topic, partition: *partition, offset: *offset }
            }
            Fetched::Error { topic, partition, code, text } => {
                Front::Error { topic, partition: *partition, code: *code, text }
            }
        })
    }

    /// Drops the next item.
    pub(crate) fn skip(&mut self) {
        self.items.pop_front();
        self.permit = Permit::None;
    }

    /// Drops what belongs to partitions of which `keep` says no.
    pub(crate) fn retain(&mut self, keep: impl Fn(&str, i32) -> bool) {
        self.items.retain(|item| match item {
            Fetched::Records(records) => records.place().is_some_and(|(t, p)| keep(t, p)),
            Fetched::End { topic, partition, .. } | Fetched::Error { topic, partition, .. } => {
                keep(topic, *partition)
            }
        });
        self.permit = Permit::None;
    }

    /// Copies the next records into a batch; `None` if their permit is not there yet, in which case
    /// `waker` is woken when it is.
    pub(crate) fn batch(
        &mut self,
        place: &TopicPartition,
        epoch: Epoch,
        waker: &Waker,
    ) -> Option<RawBatch> {
        let Some(Fetched::Records(records)) = self.items.front_mut() else { return None };
        let (count, bytes) = portion(records, self.target);
        let permit = match std::mem::replace(&mut self.permit, Permit::None) {
            Permit::None => {
                // What the rows take is held as long as the bytes are.
                let charge = bytes + count * size_of::<RawRow>();
                match self.budget.try_acquire(charge) {
                    Some(permit) => permit,
                    None => {
                        let budget = self.budget.clone();
                        let wait = Box::pin(async move { budget.acquire(charge).await });
                        self.permit = Permit::Waiting(wait);
                        return self.batch(place, epoch, waker);
                    }
                }
            }
            Permit::Waiting(mut wait) => {
                match wait.as_mut().poll(&mut TaskContext::from_waker(waker)) {
                    Poll::Ready(permit) => permit,
                    Poll::Pending => {
                        self.permit = Permit::Waiting(wait);
                        return None;
                    }
                }
            }
        };
        self.average = (self.average * 7 + bytes / count.max(1) + 16) / 8;
        let (builder, end) = copy(records, count, bytes);
        records.advance(count);
        if records.len() == 0 {
            self.items.pop_front();
        }
        Some(builder.build(place.clone(), epoch, end, permit))
    }
}

/// How many of the first records make a batch, and their bytes.
fn portion(records: &Records, target: usize) -> (usize, usize) {
    let (mut count, mut bytes) = (0, 0);
    for record in records.iter() {
        let size = record.size();
        if count > 0 && bytes + size > target {
            break;
        }
        count += 1;
        bytes += size;
    }
    (count, bytes)
}

fn copy(records: &Records, count: usize, bytes: usize) -> (RawBatchBuilder, i64) {
    let mut builder = RawBatchBuilder::with_capacity(bytes, count);
    let mut end = 0;
    for record in records.iter().take(count) {
        end = record.offset() + 1;
        push(&mut builder, record);
    }
    (builder, end)
}

fn push(builder: &mut RawBatchBuilder, record: Record<'_>) {
    let (timestamp, timestamp_type) = record.timestamp();
    // A header's name is text by Kafka's protocol; what is not is made so, since a record must pass.
    let names: Vec<_> =
        record.headers().map(|(name, v)| (String::from_utf8_lossy(name), v)).collect();
    let headers = names.iter().map(|(name, value)| (name.as_ref(), *value));
    builder.push(record.offset(), timestamp, timestamp_type, record.key(), record.value(), headers);
}

/// A batch without records that says that the partition has nothing before `end`.
pub(crate) fn empty(place: &TopicPartition, epoch: Epoch, end: i64) -> RawBatch {
    RawBatchBuilder::default().build(place.clone(), epoch, end, ())
}
